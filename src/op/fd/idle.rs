//! Waiting until no operation is at work on a descriptor.

use super::SharedFd;
use crate::runtime::{self, Core, Local, Waiting};
use crate::tasks::copy_waker;
use crate::wait_queue::Ticket;
use std::io;
use std::marker::PhantomData;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Cancels the operations on a descriptor, and waits until the kernel has none of them (C13).
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub(crate) struct Idle<'a> {
    fd: &'a SharedFd,
    waiting: Waiting,
    /// The runtime's ID, and the ticket among the waiters that it wakes after each reap.
    ticket: Option<(u64, Ticket)>,
    _local: Local,
}

impl Idle<'_> {
    pub(crate) fn new(fd: &SharedFd) -> Idle<'_> {
        Idle {
            fd,
            waiting: Waiting::default(),
            ticket: None,
            _local: PhantomData,
        }
    }

    /// Waits for the next reap, to check again.
    fn wait(&mut self, context: &Context<'_>) {
        let waker = copy_waker(context.waker());
        let replaced = match self.ticket {
            Some((runtime_id, ticket)) => runtime::with_own(runtime_id, |core| {
                core.closers.borrow_mut().renew(ticket, waker)
            }),
            None => {
                let push = |core: &Core| (core.runtime_id(), core.closers.borrow_mut().push(waker));
                self.ticket = Some(runtime::with(push));
                None
            }
        };
        runtime::drop_waker(replaced);
    }

    fn end(&mut self) {
        self.waiting.end();
        if let Some((runtime_id, ticket)) = self.ticket.take()
            && let Some(core) = runtime::reach(runtime_id)
        {
            let left = core.closers.borrow_mut().remove(ticket);
            runtime::drop_waker(left);
        }
    }
}

impl Future for Idle<'_> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let fd = self.fd.as_raw_fd();
        if !runtime::with(|core| core.cancel_on(fd)) {
            self.end();
            return Poll::Ready(Ok(()));
        }
        self.wait(context);
        self.waiting
            .poll(context)
            .map(|canceled| Err(canceled.into()))
    }
}

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        self.end();
    }
}
