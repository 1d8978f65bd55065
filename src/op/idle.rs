//! Waiting until no operation is at work on a descriptor.

use super::SharedFd;
use crate::runtime::{self, Refusal};
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
    refusal: Refusal,
}

impl Idle<'_> {
    pub(crate) fn new(fd: &SharedFd) -> Idle<'_> {
        Idle {
            fd,
            refusal: Refusal::None,
        }
    }
}

impl Future for Idle<'_> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut waker = Some(copy_waker(context.waker()));
        let fd = self.fd.as_raw_fd();
        let (busy, canceled) =
            runtime::with(|core| (core.poll_busy(fd, &mut waker), core.is_canceled()));
        runtime::drop_waker(waker);
        match busy {
            false => Poll::Ready(Ok(())),
            true if canceled => {
                runtime::refuse(&mut self.refusal, context).map(|canceled| Err(canceled.into()))
            }
            true => Poll::Pending,
        }
    }
}
