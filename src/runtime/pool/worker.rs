//! An extra io-wq worker, for a request that may block until a peer acts.
//!
//! Requests that the ring cannot complete without blocking, such as writes to files, run in a few kernel worker threads.
//! Opening a FIFO occupies one until its other end is opened, so it adds a worker of its own.

use crate::runtime::current::{self, Local};
use std::marker::PhantomData;

/// Guard that raises the limit of workers by one.
#[derive(Debug)]
pub(crate) struct Worker {
    runtime_id: u64,
    /// Whether the kernel raised the limit.
    added: bool,
    _local: Local,
}

impl Worker {
    /// Adds a worker to the ring of the current runtime.
    pub(crate) fn add() -> Worker {
        current::with(|core| Worker {
            runtime_id: core.runtime_id(),
            added: core.driver.borrow_mut().hold_worker(),
            _local: PhantomData,
        })
    }

    /// Whether another blocking request of the current runtime may find no worker: others are blocked, and no thread can
    /// be created.
    pub(crate) fn may_lack() -> bool {
        let core = current::required();
        core.driver.borrow().held_workers() > 0 && core.lacks_threads_now()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(core) = current::reach(self.runtime_id) {
            core.driver.borrow_mut().release_worker(self.added);
        }
    }
}
