//! The bytes of a stream in pieces, as they arrive.
//!
//! The kernel takes a buffer from the runtime only when there is data to put into it, so an idle stream holds none. The
//! receive belongs to [`Chunks`], not to the wait for a piece, so a wait that is dropped or canceled loses none. When
//! `Chunks` is dropped, the stream keeps, in order, the data that was received but not returned, and the data that the
//! orphaned receive still delivers (C8). `Chunks` holds the stream's FIFO lock from the first piece on, so no other
//! read comes between.
//!
//! Where the kernel supports a limit, one multishot receive delivers several pieces: as many bytes as may be read ahead
//! ([`READ_AHEAD_MAX`](crate::runtime::READ_AHEAD_MAX)). It is restarted when all of them have been taken, so a slow
//! reader receives no further. On other kernels, each receive delivers one piece.
//!
//! The kernel may end the receive at any completion. The next call starts:
//!
//! | it ended with | what is started next |
//! |---|---|
//! | bytes, or because it had delivered enough | the same |
//! | no buffer | for some pieces, a receive into an allocation of its own: nothing waits for a buffer (B4) |
//! | the end of the stream, an error | nothing before the next piece is requested |

use super::recv_multishot::{Received, RecvMultishot, RecvStatus};
use super::shared::StreamPermit;
use super::with_permit::WithPermit;
use crate::buf::BufError;
use crate::error::is_canceled;
use crate::op::fd::Lane;
use crate::op::{Chunk, Op, OwnedOp, Recv, Stream, StreamKind};
use crate::runtime::{self, Core, Waiting};
use crate::sys::BufRing;
use futures_core::Stream as FuturesStream;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

/// How many pieces are received into allocations of their own after a receive found no buffer: each further try without
/// a buffer costs a request.
const HEAP_CHUNKS: u8 = 16;

/// The bytes of a stream in chunks, as they arrive. Created by [`TcpStream::chunks`](crate::net::TcpStream::chunks) and
/// its counterparts.
///
/// It implements [`Stream`](futures_core::Stream), so the combinators of other crates work on it.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::net::{TcpListener, TcpStream};
///
/// gimmal::run(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let client = TcpStream::connect(listener.local_addr()?).await?;
///     let (server, _peer) = listener.accept().await?;
///     client.write_all("hello, world").await?;
///     drop(client);
///     let mut chunks = server.chunks();
///     let mut length = 0;
///     while let Some(chunk) = chunks.next().await? {
///         length += chunk.len();
///     }
///     assert_eq!(length, 12);
///     Ok(())
/// })
/// # }
/// ```
///
/// # Cancel safety
///
/// No byte is lost when a wait, or `Chunks` itself, is dropped: the stream's next read returns whatever was not taken.
// Test: tests/streams/chunks.rs
#[must_use = "nothing is received before the first chunk is requested"]
pub struct Chunks<'a> {
    stream: Rc<Stream>,
    /// The right to receive, or a place in line for it, while no receive holds it.
    permit: Option<StreamPermit>,
    /// Where chunks are received to, if there are provided buffers: decided when the first one is requested.
    provided: Option<Provided>,
    is_decided: bool,
    /// The receive into an allocation of its own.
    heap_receive: Option<Op<WithPermit<Recv<Vec<u8>>>>>,
    leaf: Waiting,
    /// It is waiting for a chunk.
    is_waiting: bool,
    /// The peer has ended its side.
    has_ended: bool,
    _stream: PhantomData<&'a Stream>,
}

/// Receives into the runtime's provided buffers.
struct Provided {
    buffers: Arc<BufRing>,
    runtime_id: u64,
    receive: OwnedOp<RecvMultishot>,
    /// How many more pieces go into allocations of their own, because there was no buffer.
    heap_left: u8,
}

impl Chunks<'_> {
    pub(crate) fn new(stream: Rc<Stream>) -> Self {
        Chunks {
            stream,
            permit: None,
            provided: None,
            is_decided: false,
            heap_receive: None,
            leaf: Waiting::default(),
            is_waiting: false,
            has_ended: false,
            _stream: PhantomData,
        }
    }

    /// Waits for the next chunk, which contains at least one byte. Returns `None` once the peer has ended its side.
    ///
    /// It never waits for other streams: while all of the runtime's buffers are taken, it allocates memory instead.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::UnixStream;
    /// use std::time::Duration;
    ///
    /// gimmal::run(async {
    ///     let (left, right) = UnixStream::pair()?;
    ///     let mut chunks = right.chunks();
    ///     let early = gimmal::timeout(Duration::from_millis(1), chunks.next()).await;
    ///     assert!(gimmal::is_timeout(&early.unwrap_err()));
    ///     // That wait has taken nothing.
    ///     left.write_all("late").await?;
    ///     let chunk = chunks.next().await?;
    ///     assert_eq!(chunk.as_deref(), Some(&b"late"[..]));
    ///
    ///     left.close().await?;
    ///     assert!(chunks.next().await?.is_none());
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `recv(2)`, with the peer's address, such as `ConnectionReset`; [`Canceled`](crate::Canceled).
    ///
    /// # Cancel safety
    ///
    /// No byte is lost: data that arrives for a canceled or dropped wait goes to the next one.
    // Test: tests/streams/chunks.rs
    pub async fn next(&mut self) -> io::Result<Option<Chunk>> {
        NextChunk(self).await.transpose()
    }

    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Chunk>>> {
        // A wait that starts in a canceled scope is rejected, whether there is a chunk or not (C2).
        if !self.is_waiting && runtime::with(Core::is_canceled) {
            let canceled = self.leaf.poll(context);
            return canceled.map(|canceled| Some(Err(canceled.into())));
        }
        ready!(runtime::poll_coop_budget(context.waker()));
        match self.poll_source(context) {
            Poll::Ready(chunk) => {
                runtime::with(Core::spend_coop_budget);
                self.is_waiting = false;
                self.leaf.end();
                Poll::Ready(chunk)
            }
            Poll::Pending => {
                self.is_waiting = true;
                if self.permit.is_none() {
                    // The receive is itself a leaf.
                    return Poll::Pending;
                }
                let canceled = ready!(self.leaf.poll(context));
                self.stop_waiting();
                Poll::Ready(Some(Err(canceled.into())))
            }
        }
    }

    /// Returns the next chunk that has arrived, and starts the next receive if there is none.
    ///
    /// # Panics
    ///
    /// If polled in another runtime than the first time, whether or not a receive is in flight: the buffers belong to
    /// the first one (O9).
    fn poll_source(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Chunk>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        if !mem::replace(&mut self.is_decided, true) {
            self.provided = provided(&self.stream);
        }
        loop {
            if let Some(receive) = &mut self.heap_receive {
                let (received, permit) = ready!(Pin::new(receive).poll(context));
                self.heap_receive = None;
                self.permit = Some(permit);
                return match received {
                    Ok((0, _)) => self.end(),
                    Ok((_, bytes)) => Poll::Ready(Some(Ok(Chunk::heap(bytes)))),
                    // It was canceled for an earlier wait that is gone.
                    Err(error) if is_stale(&error) => continue,
                    Err(error) => self.fail(error.into_error()),
                };
            }
            match ready!(self.take_arrived(context)) {
                None => {}
                Some(Received { chunk, status }) => match status {
                    RecvStatus::Bytes => return Poll::Ready(chunk.map(Ok)),
                    RecvStatus::End => return self.end(),
                    RecvStatus::Failed(error) => return self.fail(self.stream.recv_error(error)),
                    RecvStatus::Stopped if runtime::with(Core::is_canceled) => {
                        return Poll::Ready(Some(Err(
                            runtime::with(Core::attribute_canceled).into()
                        )));
                    }
                    RecvStatus::Stopped => continue,
                    RecvStatus::NoBuffer => self.note_no_buffer(),
                },
            }
            if let Some(not_started) = ready!(self.start(context.waker())) {
                return Poll::Ready(Some(not_started));
            }
        }
    }

    /// Returns the next completion of the receive into provided buffers; `None` if there is no such receive in flight.
    #[inline]
    fn take_arrived(&mut self, context: &Context<'_>) -> Poll<Option<Received>> {
        let Some(shared) = &mut self.provided else {
            return Poll::Ready(None);
        };
        runtime::with_own(shared.runtime_id, |_| {});
        shared.receive.poll_awaited(context)
    }

    #[cold]
    fn note_no_buffer(&mut self) {
        if let Some(shared) = &mut self.provided {
            shared.heap_left = HEAP_CHUNKS;
        }
    }

    /// Starts a receive, unless something comes first: bytes or an error that the stream has kept, or the wait for its
    /// FIFO lock, which wakes `waker`. Nothing is borrowed while a waker is copied or dropped (R1).
    fn start(&mut self, waker: &Waker) -> Poll<Option<io::Result<Chunk>>> {
        self.take_permit_back();
        let mut permit = match self.permit.take() {
            Some(permit) => permit,
            None => StreamPermit::new(self.stream.clone(), Lane::In),
        };
        let may_receive = permit.enter(waker);
        if !may_receive || self.stream.has_kept() {
            self.permit = Some(permit);
            return match may_receive {
                true => Poll::Ready(Some(self.stream.take_all_kept().map(Chunk::heap))),
                false => Poll::Pending,
            };
        }
        if let Some(shared) = &mut self.provided {
            if shared.heap_left == 0 {
                let receive = RecvMultishot::new(permit, shared.buffers.clone());
                return Poll::Ready(shared.receive.start(receive).err().map(Err));
            }
            shared.heap_left -= 1;
        }
        let size = runtime::with(|core| core.provided.receive_size());
        self.heap_receive = Some(Recv::part(permit, Vec::with_capacity(size), 0..size));
        Poll::Ready(None)
    }

    /// Takes the right to receive back from a receive that has ended.
    fn take_permit_back(&mut self) {
        if let Some(shared) = &mut self.provided
            && let Some(ended) = shared.receive.take_ended()
        {
            self.permit = Some(ended.into_permit());
        }
    }

    /// Gives up the right to receive: nothing is left that other reads could come between. That wakes other readers, so
    /// nothing is borrowed here (R1).
    #[cold]
    fn release_permit(&mut self) {
        self.take_permit_back();
        self.permit = None;
    }

    fn end(&mut self) -> Poll<Option<io::Result<Chunk>>> {
        self.has_ended = true;
        self.release_permit();
        Poll::Ready(None)
    }

    #[cold]
    fn fail(&mut self, error: io::Error) -> Poll<Option<io::Result<Chunk>>> {
        if !is_canceled(&error) {
            self.release_permit();
        }
        Poll::Ready(Some(Err(error)))
    }

    /// Ends the wait for a chunk.
    fn stop_waiting(&mut self) {
        if let Some(shared) = &self.provided {
            shared.receive.stop_awaiting();
        }
        self.leaf.end();
        self.is_waiting = false;
    }
}

fn provided(stream: &Stream) -> Option<Provided> {
    // Pipes do not support `recv`. (They have no `chunks` method either.)
    let is_socket = stream.kind() != StreamKind::Pipe;
    runtime::with(|core| {
        Some(Provided {
            buffers: core.receive_buffers().filter(|_| is_socket)?,
            runtime_id: core.runtime_id(),
            receive: OwnedOp::new(),
            heap_left: 0,
        })
    })
}

/// Whether an error is from an earlier cancellation, while the current scope is not canceled.
fn is_stale(error: &BufError<Vec<u8>>) -> bool {
    is_canceled(error) && !runtime::with(Core::is_canceled)
}

impl FuturesStream for Chunks<'_> {
    type Item = io::Result<Chunk>;

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Chunk>>> {
        self.get_mut().poll_chunk(context)
    }
}

impl fmt::Debug for Chunks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunks")
            .field("stream", &self.stream)
            .field("is_waiting", &self.is_waiting)
            .field("has_ended", &self.has_ended)
            .finish_non_exhaustive()
    }
}

/// The wait for the next chunk.
struct NextChunk<'a, 'c>(&'a mut Chunks<'c>);

impl Future for NextChunk<'_, '_> {
    type Output = Option<io::Result<Chunk>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().0.poll_chunk(context)
    }
}

impl Drop for NextChunk<'_, '_> {
    fn drop(&mut self) {
        if self.0.is_waiting {
            self.0.stop_waiting();
        }
    }
}
