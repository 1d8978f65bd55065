//! Operations: requests to the kernel together with the memory they lend to it, and the one future that awaits them.
//!
//! The life of an operation: [`Op`] calls [`Operation::entry`] and hands the [`Entry`] to the runtime, which records it
//! and submits it to the ring. The completion wakes the task, and [`Op`] passes it to [`Operation::complete`], which
//! turns it into the output. If the future is dropped first, the runtime takes over the operation, cancels it, and
//! passes every late completion to [`Operation::dispose`].
//!
//! To await an operation of your own, implement [`Operation`] and pass it to [`Op::new`]:
//!
//! ```
//! use gimmal::op::{Completion, Entry, Op, Opcode, Operation};
//! use std::io;
//!
//! /// `ftruncate`, which has an opcode since Linux 6.9.
//! struct Truncate {
//!     file: std::fs::File,
//!     length: u64,
//! }
//!
//! // SAFETY: the entry lends no memory, and its descriptor stays open for as long as the operation is there.
//! unsafe impl Operation for Truncate {
//!     type Output = io::Result<std::fs::File>;
//!     const NAME: &'static str = "ftruncate";
//!
//!     fn entry(&mut self) -> Entry {
//!         use std::os::fd::AsRawFd;
//!         Entry::new(Opcode::new(55)).fd(self.file.as_raw_fd()).offset(self.length)
//!     }
//!
//!     fn complete(self, completion: Completion) -> Self::Output {
//!         completion.result().map(|_| self.file)
//!     }
//!
//!     fn fail(self, error: io::Error) -> Self::Output {
//!         Err(error)
//!     }
//!
//!     fn had_no_effect(&self, completion: Completion) -> bool {
//!         completion.raw() == -libc::ECANCELED
//!     }
//!
//!     fn dispose(&mut self, _: Completion) {}
//! }
//!
//! # fn main() -> io::Result<()> {
//! gimmal::run(async {
//!     let file = tempfile::tempfile()?;
//!     match Op::new(Truncate { file, length: 4096 }).await {
//!         Ok(file) => assert_eq!(file.metadata()?.len(), 4096),
//!         Err(error) => assert_eq!(error.kind(), io::ErrorKind::Unsupported),
//!     }
//!     Ok(())
//! })
//! # }
//! ```

mod accept;
mod cached;
mod chunk;
mod chunks;
mod connect;
mod control;
mod datagram;
mod deadline;
mod fd;
mod fds;
mod fifo_lock;
mod fsync;
mod future;
mod header;
mod idle;
mod message;
mod nop;
mod object_op;
mod open;
mod owned;
mod part;
mod peer;
mod place;
mod poll;
mod queue;
mod recv;
mod recv_hint;
mod recv_many;
mod recv_message;
mod rw;
mod send;
mod send_message;
mod splice;
mod stream;
mod stream_vectored;
mod vectored;

pub use crate::sys::{Completion, Entry, Fd, Opcode};
pub(crate) use accept::{Accept, Accepted, Arrived};
pub use chunk::Chunk;
pub use chunks::Chunks;
pub(crate) use connect::Connect;
pub(crate) use control::{ControlMessages, push_control};
pub(crate) use datagram::Datagrams;
pub use deadline::WithDeadline;
pub use fd::SharedFd;
pub use fds::{RecvFds, SendFds};
pub use fsync::Fsync;
pub use future::Op;
pub(crate) use idle::Idle;
pub use message::FromMessage;
pub(crate) use message::Message;
pub use nop::{Nop, nop};
pub(crate) use object_op::{Collect, ObjectOp};
pub(crate) use open::busy;
pub use open::{Close, OpenAt};
pub(crate) use owned::Owned;
pub(crate) use peer::describe;
pub(crate) use place::Offset;
pub use poll::PollAdd;
pub use recv::Recv;
pub(crate) use recv::RecvExact;
pub use recv_message::RecvMessage;
pub(crate) use rw::no_room;
pub use rw::{Read, Write};
pub use send::{Send, SendZeroCopy};
pub(crate) use send::{nothing_taken, send_all};
pub use send_message::{SendMessage, SendMessageFds};
#[doc(hidden)]
pub use splice::Outlet;
pub(crate) use splice::Splice;
pub(crate) use stream::{Stream, StreamKind};
pub use stream_vectored::{RecvVectored, SendVectored};
pub use vectored::{ReadVectored, WriteVectored};

use std::io;
use std::task::Waker;

/// A request to the kernel that owns all the memory it lends.
///
/// # Safety
///
/// The implementation promises:
///
/// 1. **Lent memory stays in place.** Every address in the [`Entry`] is valid, for the accesses its opcode makes, from
///    the call of `entry` until the operation is passed to `complete` or dropped. That also holds while the operation
///    itself is moved, and if it is forgotten and never dropped. So the memory is never inside the operation.
/// 2. **Nothing else accesses lent memory** in that time: nothing writes memory that the kernel reads, and nothing
///    reads or writes memory that the kernel writes. This binds `dispose` as well, which may be called while the kernel
///    still has the request.
/// 3. **Its descriptor stays open** in that time.
/// 4. The entry posts exactly one completion without `IORING_CQE_F_MORE`, its last. If it posts several completions,
///    the first is the result; the others go to `dispose`.
/// 5. Every descriptor or other resource that a completion hands over is taken exactly once, by `complete` or by
///    `dispose`.
pub unsafe trait Operation: Sized + 'static {
    /// The output of the future that awaits the operation.
    type Output;

    /// The operation's name in listings of pending work.
    const NAME: &'static str;

    /// Whether the operation can be rejected and canceled. Only closing cannot.
    const CANCELABLE: bool = true;

    /// Returns the shared descriptor that the operation works on, if there is one. If the operation is dropped in
    /// flight after the descriptor's owner, the runtime enters the kernel at once to cancel it. So the descriptor is
    /// closed when the drop returns, unless the kernel does not give the operation up at once.
    fn shared_fd(&self) -> Option<&SharedFd> {
        None
    }

    /// Returns whether the operation can start now. Called before `entry`, and again after each wake of `waker`.
    ///
    /// Operations that must follow one another, such as those of one stream, wait here. Most operations can always
    /// start.
    #[inline]
    fn prepare(&mut self, waker: &Waker) -> Readiness {
        let _ = waker;
        Readiness::Start
    }

    /// Returns the request. Called once each time the operation is started.
    fn entry(&mut self) -> Entry;

    /// Called right before the request goes to the ring, if no direct system call has served it. Does nothing by
    /// default.
    #[doc(hidden)]
    #[inline]
    fn enter_ring(&mut self) {}

    /// Called when a request that went to the ring has completed and is still awaited, right before `complete`.
    #[doc(hidden)]
    #[inline]
    fn leave_ring(&self, completion: Completion) {
        let _ = completion;
    }

    /// Called when a direct system call ([`Entry::try_direct`]) would have blocked, so that the request goes to the
    /// ring. `is_never` means that its descriptor does not support such calls at all. An operation may remember either.
    #[inline]
    fn would_wait(&mut self, is_never: bool) {
        let _ = is_never;
    }

    /// Returns whether this error completion is not the caller's result: nothing has happened, and the operation starts
    /// again when [`prepare`](Operation::prepare) allows. Called on a poll after the last completion; of several
    /// completions, it receives the first. Returns `false` by default.
    #[inline]
    fn should_retry(&mut self, completion: Completion) -> bool {
        let _ = completion;
        false
    }

    /// Turns the completion into the output. Of several completions, it receives the first.
    fn complete(self, completion: Completion) -> Self::Output;

    /// Turns an error into the output of an operation that had no effect: it was never submitted, or it was canceled
    /// and its completion proves that nothing happened. The output returns what was lent, unchanged.
    fn fail(self, error: io::Error) -> Self::Output;

    /// Returns whether this completion proves that nothing happened: nothing was read, written, opened or consumed.
    /// Called for the result after a cancel request; without one, called for EINTR and ECANCELED, and `true` then
    /// restarts the operation.
    fn had_no_effect(&self, completion: Completion) -> bool;

    /// Disposes of a completion that is no longer awaited: closes the descriptor it delivered, returns the resources it
    /// used. The operation itself is dropped after its last completion. There is no default, because an operation that
    /// forgot this would leak.
    fn dispose(&mut self, completion: Completion);
}

/// Whether an operation can be started: the result of [`Operation::prepare`].
#[derive(Debug)]
pub enum Readiness {
    /// Submit it to the kernel.
    Start,
    /// Not yet. The operation has kept the waker and wakes it when `prepare` is to be called again.
    Wait,
    /// Complete it with this completion, without the kernel.
    Done(Completion),
    /// Fail it with this error: it cannot be started.
    Failed(io::Error),
}

/// Returns whether an operation that is ready without the kernel yields first, because the task has spent its coop
/// budget. If so, it has woken `waker`, and the operation is polled again.
fn yields_first(waker: &Waker) -> bool {
    let yields = !crate::runtime::with(crate::runtime::Core::has_budget);
    if yields {
        waker.wake_by_ref();
    }
    yields
}
