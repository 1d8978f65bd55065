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
    _local: Local,
}

impl Worker {
    /// For the current runtime.
    pub(crate) fn add() -> Worker {
        let serial = current::with(|core| {
            core.add_workers(1);
            core.serial()
        });
        Worker {
            serial,
            _local: PhantomData,
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(core) = current::reach(self.serial) {
            core.add_workers(-1);
        }
    }
}
