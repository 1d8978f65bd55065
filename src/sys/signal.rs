//! A signal of the process that is caught, and counted by an eventfd.
//!
//! A signal has one handler in a process. It belongs to signal-hook-registry, which calls the one that it found there, and
//! then the actions of all who registered, in their order. It stays for good: when the last action is gone, the signal does
//! nothing but call the handler that was there before.

use super::eventfd::EventFd;
use super::fd::Descriptor;
use super::fork::ForkMark;
use signal_hook_registry::SigId;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// While it is there, each signal adds one to its counter.
#[derive(Debug)]
pub(crate) struct Caught {
    action: SigId,
}

impl Caught {
    /// Catches `signal` from now on. The descriptor becomes readable with each one; [`EventFd::take_one`] takes it.
    pub(crate) fn new(signal: i32) -> io::Result<(Caught, Descriptor)> {
        let (counter, read) = EventFd::counting("an eventfd, by which a signal is told")?;
        // A child made by fork has inherited handler and counter, but what is sent to the child is not the parent's.
        let mark = ForkMark::new()?;
        let count = move || {
            if !mark.is_forked() {
                counter.signal();
            }
        };
        // SAFETY: the action loads an atomic number and calls write(2), which is async-signal-safe (`signal-safety(7)`); it
        // cannot panic, takes no lock and allocates nothing. The eventfd that it writes to is its own, and is closed by
        // `unregister`, outside of the handler, when no handler runs it any more. The registry puts errno back.
        let action = unsafe { signal_hook_registry::register(signal, count) }?;
        Ok((Caught { action }, read))
    }

    /// Catches `signal` from now on: counts it in `count`, and writes to `wake`, which is polled by the one who looks there.
    /// That is an eventfd which is never closed while the process lives.
    pub(crate) fn counted(signal: i32, count: Arc<AtomicU32>, wake: RawFd) -> io::Result<Caught> {
        let mark = ForkMark::new()?;
        let count = move || {
            if !mark.is_forked() {
                count.fetch_add(1, Ordering::SeqCst);
                EventFd::signal_raw(wake);
            }
        };
        // SAFETY: as in `new`: atomic numbers and write(2), to an eventfd that is never closed.
        let action = unsafe { signal_hook_registry::register(signal, count) }?;
        Ok(Caught { action })
    }
}

impl Drop for Caught {
    fn drop(&mut self) {
        signal_hook_registry::unregister(self.action);
    }
}
