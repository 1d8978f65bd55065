//! Waiting until no operation is at work on a descriptor.

use super::SharedFd;
use crate::runtime::{self, Waiting};
use crate::tasks::copy_waker;
use std::io;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Asks the operations on a descriptor to stop, and waits until the kernel has none of them (C13).
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub(crate) struct Idle<'a> {
    fd: &'a SharedFd,
    waiting: Waiting,
}

impl Idle<'_> {
    pub(crate) fn new(fd: &SharedFd) -> Idle<'_> {
        Idle {
            fd,
            waiting: Waiting::default(),
        }
    }
}

impl Future for Idle<'_> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut waker = Some(copy_waker(context.waker()));
        let fd = self.fd.as_raw_fd();
        let busy = runtime::with(|core| core.poll_busy(fd, &mut waker));
        runtime::drop_waker(waker);
        if !busy {
            self.waiting.end();
            return Poll::Ready(Ok(()));
        }
        self.waiting
            .poll(context)
            .map(|canceled| Err(canceled.into()))
    }
}
