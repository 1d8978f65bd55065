//! Operations: requests to the kernel with all that they lend to it, and the one future that awaits them.
//!
//! An operation's way: [`Op`] asks it for its [`Entry`] and hands that to the runtime, which gives it a row and puts it
//! into the ring; the completion finds the row, the row wakes the task, and [`Op`] has the operation say what the
//! completion means. If the future is dropped first, the operation moves into the row, is canceled, and disposes of what
//! still comes.
//!
//! Operations of your own implement [`Operation`] and are awaited through [`Op::new`]:
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
//!     fn proves_nothing_happened(&self, completion: Completion) -> bool {
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
mod timed;
mod vectored;

pub use crate::sys::{Completion, Entry, Fd, Opcode};
pub(crate) use accept::{Accept, Accepted, Arrived};
pub use chunk::Chunk;
pub use chunks::Chunks;
pub(crate) use connect::Connect;
pub(crate) use control::{ControlMessages, push_control};
pub(crate) use datagram::Datagrams;
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
pub(crate) use place::Place;
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
pub(crate) use stream::{Kind as StreamKind, Stream};
pub use stream_vectored::{RecvVectored, SendVectored};
pub use timed::Timed;
pub use vectored::{ReadVectored, WriteVectored};

use std::io;
use std::task::Waker;

/// A request to the kernel that owns all that it lends.
///
/// # Safety
///
/// Whoever implements it promises:
///
/// 1. **What the entry points at stays.** Every address in the [`Entry`] is valid, for what the opcode does with it, from
///    the call of `entry` until the operation is passed to `complete` or dropped; also while the operation itself is
///    moved, and also if it is forgotten and never dropped. So what it points at is not inside the operation.
/// 2. **Nobody else touches it** in that time: nobody writes what the kernel reads, nobody reads or writes what the kernel
///    writes. `dispose`, which may be called while the kernel still has the request, keeps to that too.
/// 3. **Its descriptor stays open** in that time.
/// 4. The entry posts one completion without `IORING_CQE_F_MORE`, its last. If it posts several, the first is the result;
///    the others go to `dispose`.
/// 5. Every descriptor or other thing that a completion hands over is taken by `complete` or by `dispose`, once.
pub unsafe trait Operation: Sized + 'static {
    /// What awaiting it gives.
    type Output;

    /// What lists of what is running call it.
    const NAME: &'static str;

    /// Whether it is never refused and never asked to stop: for closing, and for nothing else.
    const ALWAYS: bool = false;

    /// The descriptor that it works on, if it shares that. When its owner is gone, and the operation is dropped while the kernel
    /// has it, the runtime enters the kernel for it: so the descriptor is closed when the drop returns, unless the kernel does
    /// not give the operation up at once.
    fn shared_fd(&self) -> Option<&SharedFd> {
        None
    }

    /// Whether it can be started now. Asked before `entry`, and again each time that `waker` was woken.
    ///
    /// Operations that follow one another wait here: those of one stream. Most can always be started.
    #[inline]
    fn prepare(&mut self, waker: &Waker) -> Prepared {
        let _ = waker;
        Prepared::Start
    }

    /// The request. It is asked for when the operation is started, once each time.
    fn entry(&mut self) -> Entry;

    /// The ring gets the request now: no plain system call has served it in its place. Most have nothing to do then.
    #[doc(hidden)]
    #[inline]
    fn enter_ring(&mut self) {}

    /// The ring has done with the request, and somebody waits for it: `complete` comes next.
    #[doc(hidden)]
    #[inline]
    fn leave_ring(&self, completion: Completion) {
        let _ = completion;
    }

    /// A plain system call ([`Entry::try_first`]) has found nothing to do at once, so the request goes into the ring. With
    /// `is_never`, what it works on has no such call at all. An operation may remember that.
    #[inline]
    fn would_wait(&mut self, is_never: bool) {
        let _ = is_never;
    }

    /// Whether this completion, an error, is none for the caller: nothing has happened, and the operation is to
    /// be started again when [`prepare`](Operation::prepare) says so. Most have no such completion. Asked when the operation is
    /// polled, after the last completion; of an operation with several completions it is the first one.
    #[inline]
    fn start_again(&mut self, completion: Completion) -> bool {
        let _ = completion;
        false
    }

    /// What the completion means to the caller. Of an operation with several completions it is the first one.
    fn complete(self, completion: Completion) -> Self::Output;

    /// The operation did not happen: it was not submitted, or it was canceled and its completion proves that nothing had
    /// happened. What was lent goes back as it was.
    fn fail(self, error: io::Error) -> Self::Output;

    /// Whether this completion proves that nothing happened: nothing was read, written, opened or consumed. It is asked
    /// after a cancel was asked for; and, if nobody asked, of EINTR and ECANCELED: then the operation is started again.
    fn proves_nothing_happened(&self, completion: Completion) -> bool;

    /// What to do with a completion that nobody waits for any more: close the descriptor that it brought, give back what
    /// it used up. The operation itself is dropped after its last one. There is no default: to forget this is to leak.
    fn dispose(&mut self, completion: Completion);
}

/// Whether an operation can be started: what [`Operation::prepare`] says.
#[derive(Debug)]
pub enum Prepared {
    /// It is handed to the kernel.
    Start,
    /// Not yet. It has kept the waker, and wakes it when it is to be asked again.
    Wait,
    /// It needs no kernel: this is what it completes with.
    Done(Completion),
    /// It failed before it began.
    Failed(io::Error),
}

/// What is ready without the kernel lets others go first, when the task has passed enough such leaves in this turn: then
/// `waker` is woken, and the operation asks again.
fn yields_first(waker: &Waker) -> bool {
    let yields = !crate::runtime::with(crate::runtime::Core::has_budget);
    if yields {
        waker.wake_by_ref();
    }
    yields
}
