//! A signal of the process, caught and counted by an eventfd.
//!
//! A signal has one handler in a process. It belongs to signal-hook-registry, which calls the handler that was there
//! before, and then the registered actions in order. It stays for good: when the last action is gone, it only calls the
//! handler that was there before.

use super::eventfd::EventFd;
use super::fd::Descriptor;
use super::fork::ForkMark;
use signal_hook_registry::SigId;
use std::io;
use std::mem;
use std::os::fd::RawFd;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// While this exists, each signal adds one to its counter.
#[derive(Debug)]
pub(crate) struct Caught {
    action: SigId,
}

impl Caught {
    /// Starts catching `signal`. The descriptor becomes readable with each one; [`EventFd::take_one`] takes it.
    pub(crate) fn new(signal: i32) -> io::Result<(Caught, Descriptor)> {
        let (counter, read) = EventFd::counting("an eventfd to count a signal")?;
        // A forked child inherits handler and counter, but a signal sent to the child must not count for the parent.
        let mark = ForkMark::new()?;
        let count = move || {
            if !mark.is_forked() {
                counter.signal();
            }
        };
        // SAFETY: the action loads an atomic number and calls write(2), which is async-signal-safe
        // (`signal-safety(7)`); it cannot panic, takes no lock and allocates nothing. It owns the eventfd that it
        // writes to, which `unregister` closes outside the handler, when no handler runs it any more. The registry
        // restores errno.
        let action = with_blocked(signal, || unsafe {
            signal_hook_registry::register(signal, count)
        })?;
        Ok((Caught { action }, read))
    }

    /// Starts catching `signal`: counts it in `count`, and writes to `wake`, an eventfd that the reader of `count`
    /// polls. It must never be closed while the process lives.
    pub(crate) fn counted(signal: i32, count: Arc<AtomicU32>, wake: RawFd) -> io::Result<Caught> {
        let mark = ForkMark::new()?;
        let count = move || {
            if !mark.is_forked() {
                count.fetch_add(1, Ordering::SeqCst);
                EventFd::signal_raw(wake);
            }
        };
        // SAFETY: as in `new`: atomic numbers and write(2), to an eventfd that is never closed.
        let action = with_blocked(signal, || unsafe {
            signal_hook_registry::register(signal, count)
        })?;
        Ok(Caught { action })
    }
}

/// Calls `register` while this thread blocks the signal. The registry installs its handler before it stores the action: a
/// signal in between would be lost, and so it waits. (Another thread of the process may still take it.)
fn with_blocked<T>(signal: i32, register: impl FnOnce() -> T) -> T {
    // SAFETY: a `sigset_t` is a plain array of bits, of which zeros are an empty set on Linux.
    let (mut set, mut before): (libc::sigset_t, libc::sigset_t) = unsafe { mem::zeroed() };
    // SAFETY: the set is valid, and only written during the call, which rejects a number that is no signal.
    unsafe { libc::sigaddset(&raw mut set, signal) };
    // SAFETY: both sets are valid during the call, which changes the mask of this thread.
    let blocked =
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, &raw mut before) };
    assert_eq!(blocked, 0, "SIG_BLOCK is valid");
    let registered = register();
    // SAFETY: as above; the mask is the one that this thread had.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut()) };
    registered
}

impl Drop for Caught {
    fn drop(&mut self) {
        signal_hook_registry::unregister(self.action);
    }
}
