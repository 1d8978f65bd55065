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

mod datagram;
mod fd;
mod fifo_lock;
mod file;
mod future;
mod loops;
mod nop;
mod operation;
mod socket;
mod stream;

pub use crate::sys::{Completion, Entry, Fd, Opcode};
pub use datagram::*;
pub(crate) use fd::{FdOwner, fd_type, idle};
pub use fd::{PollAdd, SharedFd};
pub use file::*;
pub(crate) use future::{Collect, OwnedOp};
pub use future::{Op, WithDeadline};
pub(crate) use loops::{
    check_room, count_read, count_written, ended_early, nothing_taken, read_in_loop, retry,
    room_for, write_in_loop,
};
pub use nop::{Nop, nop};
pub use operation::{Operation, Readiness};
pub(crate) use socket::*;
pub use stream::*;

#[cfg(test)]
mod no_effect_tests;
