//! Waiting until no operation is at work on a descriptor.

use super::SharedFd;
use crate::runtime::{self, Core, Local, QueueLeaf, WakerQueue};
use crate::wait_queue::WaitQueue;
use std::future::poll_fn;
use std::io;
use std::marker::PhantomData;
use std::os::fd::AsRawFd;
use std::task::{Poll, Waker};

/// The waiters that a runtime, which has this ID, wakes after each reap.
#[derive(Debug)]
struct Closers(u64, Local);

impl WakerQueue for Closers {
    fn with<T>(&self, f: impl FnOnce(&mut WaitQueue<Waker>) -> T) -> Option<T> {
        let core = runtime::reach(self.0)?;
        let mut closers = core.closers.borrow_mut();
        Some(f(&mut closers))
    }
}

/// Cancels the operations on a descriptor, and waits until the kernel has none of them (C13).
pub(crate) async fn idle(fd: &SharedFd) -> io::Result<()> {
    let fd = fd.as_raw_fd();
    let closers = Closers(runtime::with(Core::runtime_id), PhantomData);
    let mut wait = QueueLeaf::new(closers);
    poll_fn(|context| {
        if !runtime::with(|core| core.cancel_on(fd)) {
            return Poll::Ready(Ok(()));
        }
        wait.poll(context).map(|canceled| Err(canceled.into()))
    })
    .await
}
