//! Waiting until a descriptor is ready.

use super::{Completion, Entry, Op, Opcode, Operation, SharedFd};
use std::io;

/// Waits for an event on a descriptor: `poll(2)`, once. It consumes nothing, so there is nothing to lose.
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
    type Output = io::Result<()>;
    const NAME: &'static str = "poll";
    const EINTR_HAD_NO_EFFECT: bool = true;

    fn shared_fd(&self) -> Option<&SharedFd> {
        Some(&self.fd)
    }

    fn entry(&mut self) -> Entry {
        self.fd.entry(Opcode::POLL_ADD).poll_events(self.events)
    }

    fn complete(self, completion: Completion) -> io::Result<()> {
        completion.result().map(drop)
    }

    fn fail(self, error: io::Error) -> io::Result<()> {
        Err(error)
    }

    fn dispose(&mut self, _: Completion) {}
}
