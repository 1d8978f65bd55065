//! Receiving one piece after the other into buffers of the runtime.

use super::stream::{Direction, Pass};
use super::{
    Chunk, Collect, Completion, Entry, Opcode, Operation, Prepared, SharedFd, Stream, StreamKind,
};
use crate::runtime::BUFFER_GROUP;
use crate::sys::{BufRing, Lent};
use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

/// `IORING_RECV_MULTISHOT` (6.0).
const MULTISHOT: u16 = 2;

/// Pieces of one stream that are received before anybody asks for them. In bulk from another thread 16, 32 and 64 cost the
/// same, though with 16 the receive is started again more often (measured on 6.18).
pub(super) const COLLECT_MAX: u32 = 16;

/// What one completion of it brings. The buffer may be there whatever it says (O4).
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) chunk: Option<Chunk>,
    pub(super) what: What,
}

/// What one completion of it says.
#[derive(Debug)]
pub(super) enum What {
    Bytes,
    /// The peer has ended its side.
    End,
    /// It ended before the stream did: it had collected enough, or the kernel thought that it was others' turn.
    Stopped,
    /// There was no buffer.
    Short,
    /// The errno, negative.
    Failed(i32),
}

/// Receives from a stream into provided buffers until it is stopped.
pub(super) struct RecvMany {
    pass: Pass,
    buffers: Arc<BufRing>,
}

impl RecvMany {
    pub(super) fn new(stream: Rc<Stream>, buffers: Arc<BufRing>) -> RecvMany {
        RecvMany {
            pass: Pass::new(stream, Direction::In),
            buffers,
        }
    }

    /// Whether it may begin. If not, `waker` is woken to ask again.
    pub(super) fn enter(&mut self, waker: &Waker) -> bool {
        self.pass.enter(waker)
    }

    fn take(&mut self, completion: Completion) -> Arrived {
        // The buffer before anything else, whatever the result (O4).
        let taken = usize::try_from(completion.raw()).unwrap_or(0);
        let chunk = completion.buffer().map(|id| {
            // SAFETY: the request takes its buffers from this ring, and each of its completions comes here once, whether it is
            // waited for or not. The result is the number of bytes that the kernel has written from the start.
            Chunk::lent(unsafe { Lent::from_completion(&self.buffers, id, taken) })
        });
        let stream = self.pass.stream();
        let what = match completion.result() {
            Ok(0) => What::End,
            Ok(_) => {
                assert!(chunk.is_some(), "what was received is in a buffer");
                stream.arrival().note(completion);
                What::Bytes
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => What::Short,
            Err(_) if completion.was_interrupted() => What::Stopped,
            Err(_) => What::Failed(completion.raw()),
        };
        Arrived { chunk, what }
    }
}

/// Keeps for the next read what nobody has asked for.
pub(super) fn keep(stream: &Stream, arrived: Arrived) {
    let Arrived { chunk, what } = arrived;
    if let Some(chunk) = chunk {
        stream.keep(&chunk);
    }
    // The rest the kernel says again.
    if let What::Failed(error) = what {
        stream.keep_error(error);
    }
}

// SAFETY: the entry lends no memory of its own; the memory that the kernel takes its buffers from is there for as long as the
// operation holds the ring of them. It holds the stream, and that its descriptor (O5). Every buffer that a completion names
// is taken by `take`, once.
unsafe impl Operation for RecvMany {
    type Output = io::Result<Arrived>;
    const NAME: &'static str = "recv_chunks";

    fn shared_fd(&self) -> Option<&SharedFd> {
        Some(self.pass.stream().fd())
    }

    fn prepare(&mut self, waker: &Waker) -> Prepared {
        match self.enter(waker) {
            true => Prepared::Start,
            false => Prepared::Wait,
        }
    }

    fn entry(&mut self) -> Entry {
        let stream = self.pass.stream();
        match stream.kind() {
            StreamKind::Tcp => stream
                .entry(Opcode::RECV)
                .ioprio(MULTISHOT | stream.arrival().flags()),
            // One after the other: where data and a hang-up come together, a multishot receive on a Unix socket gives the data,
            // and then waits for an event that it has had (seen on 6.18).
            StreamKind::Unix => stream.entry(Opcode::RECV).ioprio(stream.arrival().flags()),
            StreamKind::Pipe => stream.entry(Opcode::READ_MULTISHOT).offset(u64::MAX),
        }
        .buffer_of(BUFFER_GROUP)
    }

    fn complete(mut self, completion: Completion) -> Self::Output {
        Ok(self.take(completion))
    }

    fn fail(self, error: io::Error) -> Self::Output {
        Err(error)
    }

    fn proves_nothing_happened(&self, completion: Completion) -> bool {
        completion.was_interrupted()
    }

    /// The next read gives the bytes.
    fn dispose(&mut self, completion: Completion) {
        let arrived = self.take(completion);
        keep(self.pass.stream(), arrived);
    }
}

// SAFETY: it takes the buffer that the completion names.
unsafe impl Collect for RecvMany {
    type Item = Arrived;

    /// It stays inside the gate: what came before it ended may still be unread, and no other read may come between.
    const RESTS: bool = true;

    fn max(&self) -> u32 {
        COLLECT_MAX
    }

    fn collect(&mut self, completion: Completion) -> Arrived {
        self.take(completion)
    }
}

impl fmt::Debug for RecvMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvMany")
            .field("stream", &self.pass.stream())
            .finish_non_exhaustive()
    }
}
