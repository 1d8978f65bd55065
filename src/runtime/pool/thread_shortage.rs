//! Fallbacks when no thread can be created, by the kernel or for the pool.
//!
//! The ring hands requests that would block to kernel threads. If the first one cannot be created (RLIMIT_NPROC, the
//! `pids.max` of a cgroup), the request completes with ECANCELED after some 50 ms (6.18); if there are others, requests
//! queue behind the ones that these serve. So when an operation ends like that, or one on a file has not ended for a
//! second, the runtime tries to create a thread. If it cannot:
//!
//! - operations on files run on this thread, as plain system calls;
//! - operations that may have to wait for a peer fail, with an error that names the limits;
//! - operations that the kernel waits for by polling, without a thread, are not affected.
//!
//! The result is cached for a second, so that other operations do not wait to find out, and no thread is tried for each.
//! Before an operation fails, the runtime tries again.

use crate::runtime::core::Core;
use crate::runtime::fault::Fault;
use crate::sys::{Completion, Entry, Instant, Port, no_thread};
use crate::table::Key;
use std::cell::Cell;
use std::io;
use std::time::Duration;

/// How long the result "no thread can be created" is cached.
const BELIEVED: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct ThreadShortage {
    /// The time before which it is not tried again, if the last try to create a thread failed.
    until: Cell<Option<Instant>>,
}

impl ThreadShortage {
    /// Whether the last try to create a thread failed, perhaps longer ago than the cache holds.
    #[inline]
    pub(crate) fn is_short(&self) -> bool {
        self.until.get().is_some()
    }
}

impl Core {
    /// Returns whether no thread can be created: tries it, unless a failure is cached. May call the hook, which is user
    /// code: the caller borrows nothing.
    #[cold]
    pub(crate) fn lacks_threads(&self) -> bool {
        let until = self.thread_shortage.until.get();
        until.is_some_and(|until| self.real_now() < until) || self.lacks_threads_now()
    }

    /// As [`lacks_threads`](Core::lacks_threads), but always tries: the caller is about to fail an operation for it.
    #[cold]
    pub(crate) fn lacks_threads_now(&self) -> bool {
        let tried = self.driver.borrow().ring.try_thread();
        let until = tried.is_err().then(|| self.real_now() + BELIEVED);
        let was_short = self.thread_shortage.until.replace(until).is_some();
        let Err(error) = tried else {
            return false;
        };
        if !was_short {
            let message = no_thread(error, "requests that may block").to_string();
            self.hook.report(&Fault::NoThreads { message });
        }
        true
    }

    /// Runs a file operation on this thread, as a plain system call. `None` if the entry cannot be served so.
    pub(crate) fn serve(&self, entry: &Entry, refused: bool) -> Option<Completion> {
        let completion = self.driver.borrow_mut().serve(entry, refused)?;
        self.count_attempt(completion);
        Some(completion)
    }

    /// Handles file operations that have not ended for a second: withdraws them from the kernel if it lacks threads.
    #[cold]
    pub(in crate::runtime) fn look_at_overdue(&self, overdue: &mut Vec<Key>) {
        if self.lacks_threads() {
            let mut driver = self.driver.borrow_mut();
            for key in overdue.iter() {
                driver.withdraw(*key);
            }
        }
        overdue.clear();
    }
}

/// Returns the error of an operation that no thread can serve.
#[cold]
pub(crate) fn no_thread_for(kind: &'static str) -> io::Error {
    no_thread(io::Error::from_raw_os_error(libc::EAGAIN), kind)
}
