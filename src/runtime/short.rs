//! What is done where the kernel can make no thread, for itself or for the pool.
//!
//! The ring hands what would block to threads of the kernel. If the first one cannot be made (RLIMIT_NPROC, the `pids.max` of
//! a cgroup), it answers ECANCELED after some 50 ms (6.18); if others are there, what they do not come to waits behind them.
//! So where an operation ends like that, or one on a file has not ended for a second, a thread is tried. If there is none:
//!
//! - operations on files are served on this thread, by a plain system call;
//! - what may have to wait for somebody else fails, and names the limits;
//! - what the kernel waits for by polling, without a thread, is as ever.
//!
//! That is believed for a second, so that no other operation waits to find it out, and no thread is tried for each. Before one
//! fails it is tried again.

use super::core::Core;
use super::fault::Fault;
use crate::sys::{Completion, Entry, Instant, no_thread};
use crate::table::Key;
use std::cell::Cell;
use std::io;
use std::time::Duration;

/// How long it is believed that no thread can be made.
const BELIEVED: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Short {
    /// No thread could be made when it was last tried.
    is: Cell<bool>,
    /// It is not tried again before this.
    until: Cell<Instant>,
}

impl Short {
    pub(super) const fn new() -> Short {
        Short {
            is: Cell::new(false),
            until: Cell::new(Instant::from_ns(0)),
        }
    }
}

impl Core {
    /// Whether it is known that no thread can be made, or was a moment ago.
    #[inline]
    pub(crate) fn is_short_of_threads(&self) -> bool {
        self.short.is.get()
    }

    /// Whether no thread can be made: tries it, unless it is believed. It may tell the hook, which is a user's code: nothing
    /// is borrowed.
    #[cold]
    pub(crate) fn lacks_threads(&self) -> bool {
        let is_believed = self.short.is.get() && self.now() < self.short.until.get();
        is_believed || self.lacks_threads_now()
    }

    /// The same where it is not to be believed: an operation is to fail for it.
    #[cold]
    pub(crate) fn lacks_threads_now(&self) -> bool {
        let tried = self.driver.borrow().try_thread();
        let was_short = self.short.is.replace(tried.is_err());
        let Err(error) = tried else {
            return false;
        };
        self.short.until.set(self.now() + BELIEVED);
        if !was_short {
            let message = no_thread(error, "requests that may block").to_string();
            self.report(&Fault::NoThreads { message });
        }
        true
    }

    /// Serves an operation on a file on this thread. `None`, if it is not one, or this turn has no more time for such.
    pub(crate) fn serve(&self, entry: &Entry, refused: bool) -> Option<Completion> {
        let completion = self.driver.borrow_mut().serve(entry, refused)?;
        self.count_attempt(completion);
        Some(completion)
    }

    /// Operations on files have not ended for a second.
    #[cold]
    pub(super) fn look_at_overdue(&self, overdue: &mut Vec<Key>) {
        if self.lacks_threads() {
            let mut driver = self.driver.borrow_mut();
            for key in overdue.iter() {
                driver.withdraw(*key);
            }
        }
        overdue.clear();
    }
}

/// The error of an operation that no thread can serve.
#[cold]
pub(crate) fn no_thread_for(kind: &'static str) -> io::Error {
    no_thread(io::Error::from_raw_os_error(libc::EAGAIN), kind)
}
