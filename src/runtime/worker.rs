//! One more worker of the kernel, for a request that may keep one for as long as somebody else likes.
//!
//! What the ring cannot do without waiting is done by a few worker threads of the kernel: writes to files, among others. An
//! open of a FIFO sits in one until the other side comes. So it brings its own.

use super::current::{self, Local};
use std::marker::PhantomData;

/// A worker more than there were, until this is dropped.
#[derive(Debug)]
pub(crate) struct Worker {
    serial: u64,
    /// The kernel was told.
    added: bool,
    _local: Local,
}

impl Worker {
    /// For the current runtime.
    pub(crate) fn add() -> Worker {
        current::with(|core| Worker {
            serial: core.serial(),
            added: core.driver.borrow_mut().hold_worker(),
            _local: PhantomData,
        })
    }

    /// Whether there may be none for another request of the current runtime that waits: others are waiting, and no thread can
    /// be made.
    pub(crate) fn may_lack() -> bool {
        let core = current::required();
        core.driver.borrow().held_workers() > 0 && core.lacks_threads_now()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(core) = current::reach(self.serial) {
            core.driver.borrow_mut().release_worker(self.added);
        }
    }
}
