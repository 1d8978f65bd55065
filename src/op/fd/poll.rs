//! Waiting until a descriptor is ready.

use crate::op::operation::operation;
use crate::op::{Entry, Op, Opcode, Operation, SharedFd};

/// The operation of [`AsyncFd::readable`](crate::io::AsyncFd::readable) and
/// [`AsyncFd::writable`](crate::io::AsyncFd::writable): `poll(2)`, once. It takes nothing from the descriptor, so there
/// is nothing to lose.
#[derive(Debug)]
pub struct PollAdd {
    fd: SharedFd,
    events: u32,
}

impl PollAdd {
    /// Waits until a read would not block, which includes the end of the data and errors.
    pub(crate) fn readable(fd: SharedFd) -> Op<PollAdd> {
        let events = libc::POLLIN as u32;
        Op::new(PollAdd { fd, events })
    }

    /// Waits until a write would not block, even if it would fail.
    pub(crate) fn writable(fd: SharedFd) -> Op<PollAdd> {
        let events = libc::POLLOUT as u32;
        Op::new(PollAdd { fd, events })
    }
}

// SAFETY: the entry has no address. The operation holds the descriptor (O5). A poll that is not multishot completes
// once.
unsafe impl Operation for PollAdd {
    operation!(simple "poll");
    const EINTR_HAD_NO_EFFECT: bool = true;

    #[inline]
    fn waits_for_peer(&self) -> bool {
        true
    }

    fn shared_fd(&self) -> Option<&SharedFd> {
        Some(&self.fd)
    }

    fn entry(&mut self) -> Entry {
        self.fd.entry(Opcode::POLL_ADD).poll_events(self.events)
    }
}
