//! A descriptor that one thread signals and a ring polls: how a sleeping runtime is woken.

use super::setup::no_descriptor;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// An eventfd that is written and never read. A multishot poll on it completes for every write, because each adds to the
/// counter and so is an edge; reading it would cost a system call and buy nothing (of the ways to wake a ring that were measured on 6.18 this is the cheapest).
#[derive(Debug)]
pub(crate) struct EventFd {
    fd: OwnedFd,
}

impl EventFd {
    pub(crate) fn new() -> io::Result<EventFd> {
        // SAFETY: no address is passed.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            let error = io::Error::last_os_error();
            return Err(no_descriptor(
                error,
                "an eventfd, by which a runtime is woken",
            ));
        }
        // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(EventFd { fd })
    }

    /// Wakes whoever polls it. At 2⁶⁴ − 1 writes the counter is full and the write fails; that is thousands of years of
    /// waking every 10 ns, so there is nothing to handle.
    pub(crate) fn signal(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: the eight bytes are valid for reading for the length of the call.
        unsafe { libc::write(self.fd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}
