//! The bytes of a stream in pieces, as they arrive.
//!
//! Where the kernel can, one multishot receive brings them, into buffers of the runtime. It belongs to [`Chunks`], not to the
//! wait for a piece: a wait that is dropped or cancelled loses none. When `Chunks` is dropped, the stream keeps what was
//! received and not asked for, and what the orphan still brings, in order (C8). It holds the stream's gate from the first
//! piece on, so no other read comes between.
//!
//! The kernel may end the receive at any completion. It is started again by whoever asks next:
//!
//! | it ended with | what is done first |
//! |---|---|
//! | bytes, or because it had collected enough | nothing |
//! | no buffer | what others have collected and not asked for is copied; if that frees none, wait for one |
//! | the end of the stream, an error | it is not started before the next is asked for |
//!
//! Elsewhere, plain receives into memory of their own bring the same.

use super::recv_many::{Arrived, COLLECT_MAX, RecvMany, What, keep};
use super::{Chunk, Op, Opcode, Recv, Standing, Stream, StreamKind};
use crate::buf::BufError;
use crate::runtime::{self, Collects, Core, Waiting};
use crate::scope::is_canceled;
use crate::sys::BufRing;
use crate::table::Key;
use crate::tasks::copy_waker;
use futures_core::Stream as FuturesStream;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

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
    source: Source,
    leaf: Waiting,
    /// It has begun to wait for a chunk.
    waits: bool,
    /// The peer has ended its side.
    ended: bool,
    _stream: PhantomData<&'a Stream>,
}

/// Where chunks come from: settled when the first is asked for.
enum Source {
    Unknown,
    Ring(Ring),
    Heap(Option<Op<Recv<Vec<u8>>>>),
}

/// A multishot receive, and what to do when it has ended.
struct Ring {
    buffers: Arc<BufRing>,
    serial: u64,
    collecting: Key,
    receiving: Rc<RefCell<Receiving>>,
    /// There was no buffer.
    is_short: bool,
    /// It waits for one, by that number.
    wait: Option<u64>,
}

/// What the runtime can reach when buffers are short.
struct Receiving {
    standing: Standing<RecvMany>,
    /// What came and was copied before anybody asked for it.
    spilled: VecDeque<Arrived>,
}

impl Receiving {
    /// The next thing that came, `None` if there is none and the kernel does not have the receive.
    fn poll(&mut self, waker: &mut Option<Waker>) -> Poll<Option<Arrived>> {
        match self.spilled.pop_front() {
            Some(arrived) => Poll::Ready(Some(arrived)),
            None => self.standing.poll(waker),
        }
    }
}

impl Collects for RefCell<Receiving> {
    fn spill(&self, woken: &mut Vec<Waker>) {
        let Receiving { standing, spilled } = &mut *self.borrow_mut();
        while let Poll::Ready(Some(mut arrived)) = standing.poll(&mut None) {
            if let Some(chunk) = &mut arrived.chunk {
                woken.append(&mut chunk.spill());
            }
            spilled.push_back(arrived);
        }
        if spilled.len() >= COLLECT_MAX as usize {
            standing.ask_cancel();
        }
    }
}

impl Ring {
    fn new(buffers: Arc<BufRing>) -> Ring {
        let receiving = Rc::new(RefCell::new(Receiving {
            standing: Standing::new(),
            spilled: VecDeque::new(),
        }));
        let collector: Weak<RefCell<Receiving>> = Rc::downgrade(&receiving);
        let (serial, collecting) =
            runtime::with(|core| (core.serial(), core.begin_collecting(collector)));
        Ring {
            buffers,
            serial,
            collecting,
            receiving,
            is_short: false,
            wait: None,
        }
    }

    /// Looks at what came, and starts the receive if it is not there.
    ///
    /// # Panics
    ///
    /// In another runtime than the first time, whether the kernel has the receive or not: its buffers are of that one (O9).
    fn look(
        &mut self,
        stream: &Rc<Stream>,
        context: &Context<'_>,
    ) -> Poll<Option<io::Result<Chunk>>> {
        let core = runtime::hold_own(self.serial);
        let mut waker = Some(copy_waker(context.waker()));
        let looked = loop {
            let arrived = self.receiving.borrow_mut().poll(&mut waker);
            let arrived = match arrived {
                Poll::Pending => break Poll::Pending,
                Poll::Ready(None) => match self.start(stream, context.waker()) {
                    Poll::Ready(None) => continue,
                    not_started => break not_started,
                },
                Poll::Ready(Some(arrived)) => arrived,
            };
            let Arrived { chunk, what } = arrived;
            match what {
                What::Bytes => break Poll::Ready(chunk.map(Ok)),
                What::End => {
                    self.let_go();
                    break Poll::Ready(None);
                }
                What::Failed(error) => {
                    self.let_go();
                    break Poll::Ready(Some(Err(stream.failed(error))));
                }
                What::Stopped => {}
                What::Short => {
                    self.is_short = true;
                    core.spill();
                }
            }
        };
        runtime::drop_waker(waker);
        looked
    }

    /// Starts the receive, unless something comes first: what the stream has kept, an error, or a wait of which `waker` hears
    /// the end. Nothing is borrowed while a waker is copied or dropped (R1).
    fn start(&mut self, stream: &Rc<Stream>, waker: &Waker) -> Poll<Option<io::Result<Chunk>>> {
        let resting = self.receiving.borrow_mut().standing.take_resting();
        let mut receive =
            resting.unwrap_or_else(|| RecvMany::new(stream.clone(), self.buffers.clone()));
        let first = if !receive.enter(waker) {
            Some(Poll::Pending)
        } else if stream.has_kept() {
            Some(Poll::Ready(Some(stream.take_all_kept().map(Chunk::heap))))
        } else if self.waits_for_buffer(waker) {
            Some(Poll::Pending)
        } else {
            None
        };
        let standing = &mut self.receiving.borrow_mut().standing;
        if let Some(first) = first {
            standing.rest(receive);
            return first;
        }
        Poll::Ready(standing.start(receive).err().map(Err))
    }

    /// There is nothing more that others could come between: they may read. That wakes them, so nothing is borrowed (R1).
    fn let_go(&self) {
        let ended = self.receiving.borrow_mut().standing.take_resting();
        drop(ended);
    }

    /// Whether there is no buffer: then `waker` is woken when there is one.
    fn waits_for_buffer(&mut self, waker: &Waker) -> bool {
        if self.is_short {
            let mut waker = Some(copy_waker(waker));
            self.is_short = self.buffers.wait(&mut self.wait, &mut waker);
            runtime::drop_waker(waker);
        }
        self.is_short
    }

    fn stop_waiting(&mut self) {
        if let Some(wait) = self.wait.take() {
            runtime::drop_waker(self.buffers.stop_waiting(wait));
        }
    }

    /// The stream keeps what nobody has asked for: first what was copied, then what the receive has and still brings.
    fn give_up(&mut self, stream: &Stream) {
        self.stop_waiting();
        if let Some(core) = runtime::reach(self.serial) {
            core.end_collecting(self.collecting);
        }
        let spilled = std::mem::take(&mut self.receiving.borrow_mut().spilled);
        for arrived in spilled {
            keep(stream, arrived);
        }
    }
}

impl Chunks<'_> {
    pub(crate) fn new(stream: Rc<Stream>) -> Self {
        Chunks {
            stream,
            source: Source::Unknown,
            leaf: Waiting::default(),
            waits: false,
            ended: false,
            _stream: PhantomData,
        }
    }

    /// Waits for the next chunk, which holds at least one byte. `None` when the peer has ended its side.
    ///
    /// When all buffers of the runtime are held as chunks, it waits until one is dropped.
    ///
    /// # Errors
    ///
    /// What the kernel says, with the peer's address; [`Canceled`](crate::Canceled).
    ///
    /// # Cancel safety
    ///
    /// No byte is lost: what arrives for a wait that was cancelled or dropped is for the next (`tests/chunks.rs`).
    pub async fn next(&mut self) -> io::Result<Option<Chunk>> {
        Next(self).await.transpose()
    }

    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Chunk>>> {
        // What begins in a cancelled scope is refused, whether there is a chunk or not (C2).
        if !self.waits && runtime::with(Core::is_canceled) {
            let canceled = self.leaf.poll(context);
            return canceled.map(|canceled| Some(Err(canceled.into())));
        }
        if !runtime::with(Core::may_pass) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        match self.look(context) {
            Poll::Ready(chunk) => {
                runtime::with(Core::charge);
                self.stop_waiting();
                Poll::Ready(chunk)
            }
            Poll::Pending => {
                self.waits = true;
                let canceled = ready!(self.leaf.poll(context));
                self.stop_waiting();
                Poll::Ready(Some(Err(canceled.into())))
            }
        }
    }

    fn look(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Chunk>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let looked = match &mut self.source {
            Source::Ring(ring) => ring.look(&self.stream, context),
            Source::Heap(receive) => receive_plainly(receive, &self.stream, context),
            Source::Unknown => {
                self.source = source(&self.stream);
                return self.look(context);
            }
        };
        self.ended = matches!(looked, Poll::Ready(None));
        looked
    }

    /// It does not wait for a chunk any more.
    fn stop_waiting(&mut self) {
        self.leaf.end();
        self.waits = false;
        if let Source::Ring(ring) = &mut self.source {
            ring.stop_waiting();
        }
    }
}

fn source(stream: &Stream) -> Source {
    let buffers = runtime::with(|core| match stream.kind() {
        StreamKind::Pipe if !core.supports(Opcode::READ_MULTISHOT) => None,
        _ => core.receive_buffers(),
    });
    match buffers {
        Some(buffers) => Source::Ring(Ring::new(buffers)),
        None => Source::Heap(None),
    }
}

/// The next chunk in memory of its own.
fn receive_plainly(
    receive: &mut Option<Op<Recv<Vec<u8>>>>,
    stream: &Rc<Stream>,
    context: &mut Context<'_>,
) -> Poll<Option<io::Result<Chunk>>> {
    loop {
        let op = receive.get_or_insert_with(|| {
            let size = runtime::with(Core::receive_size);
            Recv::new(stream.clone(), Vec::with_capacity(size))
        });
        let received = ready!(Pin::new(op).poll(context));
        *receive = None;
        return Poll::Ready(match received {
            Ok((0, _)) => None,
            Ok((_, bytes)) => Some(Ok(Chunk::heap(bytes))),
            // It was cancelled for a wait that is gone.
            Err(error) if is_stale(&error) => continue,
            Err(error) => Some(Err(error.into_error())),
        });
    }
}

/// Whether an error says that a scope was cancelled, and this one is not.
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

impl Drop for Chunks<'_> {
    fn drop(&mut self) {
        if let Source::Ring(ring) = &mut self.source {
            ring.give_up(&self.stream);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{RecvExact, SharedFd};
    use crate::runtime::{Mask, Runtime};
    use std::io::Write;
    use std::os::fd::OwnedFd;

    /// With and without READ_MULTISHOT, and without provided buffers.
    #[test]
    fn a_pipe_comes_in_chunks_too_and_loses_nothing() {
        for mask in [Mask::none(), Mask::linux_6_1(), Mask::linux_5_15()] {
            let builder = Runtime::builder().mask(mask).receive_buffers(4, 16);
            let ran: io::Result<()> = builder.run(async {
                let (reader, mut writer) = io::pipe()?;
                let stream = Stream::new(SharedFd::from(OwnedFd::from(reader)), StreamKind::Pipe);
                writer.write_all(&[1; 100])?;
                let mut chunks = Chunks::new(stream.clone());
                let first = chunks.next().await?.unwrap();
                assert_eq!(first[..], [1; 16]);
                let second = chunks.next().await?.unwrap();
                let out = crate::Handle::current().stats().receive_buffers_out;
                assert_eq!(out, 2 * usize::from(mask == Mask::none()));
                drop((first, second, chunks));
                let rest = RecvExact::new(stream.clone(), vec![0; 68], 68).await?;
                assert_eq!(rest, [1; 68]);
                drop(writer);
                assert!(Chunks::new(stream).next().await?.is_none());
                Ok(())
            });
            ran.unwrap();
        }
    }
}
