//! The bytes of a stream in pieces, as they arrive.
//!
//! The kernel takes a buffer of the runtime when there is something to put into it, so a stream that waits holds none. The
//! receive belongs to [`Chunks`], not to the wait for a piece: a wait that is dropped or canceled loses none. When `Chunks` is
//! dropped, the stream keeps what was received and not asked for, and what the orphan still brings, in order (C8). `Chunks` has
//! the stream's gate from the first piece on, so no other read comes between.
//!
//! Where the kernel can bound it, one multishot receive brings several pieces: as many bytes as may be read ahead
//! ([`READ_AHEAD_MAX`](crate::runtime::READ_AHEAD_MAX)). It is started again when all of them have been asked for, so a peer that
//! is not read is received no further. Elsewhere each receive brings one piece.
//!
//! The kernel may end the receive at any completion. The next call starts:
//!
//! | it ended with | what is started next |
//! |---|---|
//! | bytes, or because it had brought enough | the same |
//! | no buffer | for some pieces, a receive into memory of its own: nobody waits for a buffer (B4) |
//! | the end of the stream, an error | nothing before the next is asked for |

use super::part::Part;
use super::recv_many::{Arrived, RecvMany, What};
use super::stream::{Direction, Permit};
use super::{Chunk, ObjectOp, Op, Recv, Stream, StreamKind};
use crate::buf::BufError;
use crate::runtime::{self, Core, Waiting, canceled_here};
use crate::scope::is_canceled;
use crate::sys::BufRing;
use futures_core::Stream as FuturesStream;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

/// How many pieces are received into memory of their own after a receive that found no buffer: each further try without one
/// costs a request.
const OWN_PIECES: u8 = 16;

/// The bytes of a stream in chunks, as they arrive: of [`TcpStream::chunks`](crate::net::TcpStream::chunks).
///
/// It is a [`Stream`](futures_core::Stream) of other crates' combinators, too.
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
/// No byte is lost when a wait, or this, is dropped: the stream's next read gives what nobody asked for
/// (`tests/chunks.rs`).
#[must_use = "nothing is received before the first chunk is asked for"]
pub struct Chunks<'a> {
    stream: Rc<Stream>,
    /// The right to receive, or a place in line for it, while no receive has it.
    pass: Option<Permit>,
    source: Source,
    /// A receive into memory of its own.
    own: Option<Op<Part<Recv<Vec<u8>>>>>,
    leaf: Waiting,
    /// It has begun to wait for a chunk.
    waits: bool,
    /// The peer has ended its side.
    ended: bool,
    _stream: PhantomData<&'a Stream>,
}

/// Whether there are buffers of the runtime: settled when the first chunk is asked for.
enum Source {
    Unknown,
    Own,
    Shared(Shared),
}

/// Receives into buffers of the runtime.
struct Shared {
    buffers: Arc<BufRing>,
    serial: u64,
    standing: ObjectOp<RecvMany>,
    /// How many pieces still go into memory of their own, because there was no buffer.
    own_left: u8,
}

impl Chunks<'_> {
    pub(crate) fn new(stream: Rc<Stream>) -> Self {
        Chunks {
            stream,
            pass: None,
            source: Source::Unknown,
            own: None,
            leaf: Waiting::default(),
            waits: false,
            ended: false,
            _stream: PhantomData,
        }
    }

    /// Waits for the next chunk, which holds at least one byte. `None` when the peer has ended its side.
    ///
    /// It never waits for other streams: while all buffers of the runtime are held, it receives into memory of its own.
    ///
    /// # Errors
    ///
    /// What the kernel says, with the peer's address; [`Canceled`](crate::Canceled).
    ///
    /// # Cancel safety
    ///
    /// No byte is lost: what arrives for a wait that was canceled or dropped is for the next (`tests/chunks.rs`).
    pub async fn next(&mut self) -> io::Result<Option<Chunk>> {
        Next(self).await.transpose()
    }

    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Chunk>>> {
        // What begins in a canceled scope is refused, whether there is a chunk or not (C2).
        if !self.waits && runtime::with(Core::is_canceled) {
            let canceled = self.leaf.poll(context);
            return canceled.map(|canceled| Some(Err(canceled.into())));
        }
        if !runtime::with(Core::has_budget) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        match self.look(context) {
            Poll::Ready(chunk) => {
                runtime::with(Core::consume_budget);
                self.waits = false;
                self.leaf.end();
                Poll::Ready(chunk)
            }
            Poll::Pending => {
                self.waits = true;
                if self.pass.is_none() {
                    // The receive is a leaf itself.
                    return Poll::Pending;
                }
                let canceled = ready!(self.leaf.poll(context));
                self.stop_waiting();
                Poll::Ready(Some(Err(canceled.into())))
            }
        }
    }

    /// Looks at what came, and starts the next receive if there is none.
    ///
    /// # Panics
    ///
    /// In another runtime than the first time, whether the kernel has a receive or not: the buffers are of that one (O9).
    fn look(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Chunk>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Source::Unknown = self.source {
            self.source = source(&self.stream);
        }
        loop {
            if let Some(receive) = &mut self.own {
                let (received, pass) = ready!(Pin::new(receive).poll(context));
                self.own = None;
                self.pass = Some(pass);
                return match received {
                    Ok((0, _)) => self.end(),
                    Ok((_, bytes)) => Poll::Ready(Some(Ok(Chunk::heap(bytes)))),
                    // It was canceled for a wait that is gone.
                    Err(error) if is_stale(&error) => continue,
                    Err(error) => self.fail(error.into_error()),
                };
            }
            match ready!(self.take_arrived(context)) {
                None => {}
                Some(Arrived { chunk, what }) => match what {
                    What::Bytes => return Poll::Ready(chunk.map(Ok)),
                    What::End => return self.end(),
                    What::Failed(error) => return self.fail(self.stream.failed(error)),
                    What::Stopped if runtime::with(Core::is_canceled) => {
                        return Poll::Ready(Some(Err(runtime::with(canceled_here).into())));
                    }
                    What::Stopped => continue,
                    What::Short => self.has_no_buffer(),
                },
            }
            if let Some(not_started) = ready!(self.start(context.waker())) {
                return Poll::Ready(Some(not_started));
            }
        }
    }

    /// The next thing that was received into a buffer of the runtime; `None` if the kernel has no such receive.
    #[inline]
    fn take_arrived(&mut self, context: &Context<'_>) -> Poll<Option<Arrived>> {
        let Source::Shared(shared) = &mut self.source else {
            return Poll::Ready(None);
        };
        runtime::with_own(shared.serial, |_| {});
        shared.standing.poll_awaited(context)
    }

    #[cold]
    fn has_no_buffer(&mut self) {
        if let Source::Shared(shared) = &mut self.source {
            shared.own_left = OWN_PIECES;
        }
    }

    /// Starts a receive, unless something comes first: what the stream has kept, an error, or the wait for its gate, of which
    /// `waker` hears the end. Nothing is borrowed while a waker is copied or dropped (R1).
    fn start(&mut self, waker: &Waker) -> Poll<Option<io::Result<Chunk>>> {
        self.regain_pass();
        let mut pass = match self.pass.take() {
            Some(pass) => pass,
            None => Permit::new(self.stream.clone(), Direction::In),
        };
        let may_receive = pass.enter(waker);
        if !may_receive || self.stream.has_kept() {
            self.pass = Some(pass);
            return match may_receive {
                true => Poll::Ready(Some(self.stream.take_all_kept().map(Chunk::heap))),
                false => Poll::Pending,
            };
        }
        if let Source::Shared(shared) = &mut self.source {
            if shared.own_left == 0 {
                let receive = RecvMany::new(pass, shared.buffers.clone());
                return Poll::Ready(shared.standing.start(receive).err().map(Err));
            }
            shared.own_left -= 1;
        }
        let size = runtime::with(Core::receive_size);
        self.own = Some(Recv::part(pass, Vec::with_capacity(size), 0..size));
        Poll::Ready(None)
    }

    /// A receive that has ended gives back the right to the next.
    fn regain_pass(&mut self) {
        if let Source::Shared(shared) = &mut self.source
            && let Some(ended) = shared.standing.take_resting()
        {
            self.pass = Some(ended.into_pass());
        }
    }

    /// There is nothing more that others could come between: they may read. That wakes them, so nothing is borrowed (R1).
    #[cold]
    fn let_go(&mut self) {
        self.regain_pass();
        self.pass = None;
    }

    fn end(&mut self) -> Poll<Option<io::Result<Chunk>>> {
        self.ended = true;
        self.let_go();
        Poll::Ready(None)
    }

    #[cold]
    fn fail(&mut self, error: io::Error) -> Poll<Option<io::Result<Chunk>>> {
        if !is_canceled(&error) {
            self.let_go();
        }
        Poll::Ready(Some(Err(error)))
    }

    /// It does not wait for a chunk any more.
    fn stop_waiting(&mut self) {
        if let Source::Shared(shared) = &self.source {
            shared.standing.stop_awaiting();
        }
        self.leaf.end();
        self.waits = false;
    }
}

fn source(stream: &Stream) -> Source {
    // Pipes, which nobody has chunks of, know no receive.
    let is_socket = stream.kind() != StreamKind::Pipe;
    let shared = runtime::with(|core| {
        let buffers = core.receive_buffers().filter(|_| is_socket)?;
        Some((core.serial(), buffers))
    });
    match shared {
        None => Source::Own,
        Some((serial, buffers)) => Source::Shared(Shared {
            buffers,
            serial,
            standing: ObjectOp::new(),
            own_left: 0,
        }),
    }
}

/// Whether an error says that a scope was canceled, and this one is not.
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
            .field("waits", &self.waits)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

/// The wait for the next chunk.
struct Next<'a, 'c>(&'a mut Chunks<'c>);

impl Future for Next<'_, '_> {
    type Output = Option<io::Result<Chunk>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().0.poll_chunk(context)
    }
}

impl Drop for Next<'_, '_> {
    fn drop(&mut self) {
        if self.0.waits {
            self.0.stop_waiting();
        }
    }
}
