//! A descriptor that one side signals and a ring polls: wakes a sleeping runtime, and counts signals.

use super::fd::Descriptor;
use super::limits::no_descriptor;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// An eventfd, for writing. The one that wakes a runtime is never read: a multishot poll on it completes for every
/// write, because each write adds to the counter and so is an edge; reading it would cost a system call and gain
/// nothing (this is the cheapest of the ways to wake a ring that were measured on 6.18). One that counts has a second
/// descriptor for reading.
#[derive(Debug)]
pub(crate) struct EventFd {
    fd: OwnedFd,
}

impl EventFd {
    pub(crate) fn new() -> io::Result<EventFd> {
        EventFd::with(0, "an eventfd to wake a runtime")
    }

    /// Creates one that counts, and the descriptor for polling and reading it (see [`take_one`](EventFd::take_one)).
    /// The two are closed independently: the writer can write whatever happens to the other one.
    pub(crate) fn counting(wanted: &str) -> io::Result<(EventFd, Descriptor)> {
        let written = EventFd::with(libc::EFD_SEMAPHORE, wanted)?;
        let read = written.fd.try_clone();
        let read = read.map_err(|error| no_descriptor(error, wanted))?;
        Ok((written, Descriptor::from(read)))
    }

    fn with(flags: i32, wanted: &str) -> io::Result<EventFd> {
        // SAFETY: no address is passed.
        let fd = unsafe { libc::eventfd(0, flags | libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(no_descriptor(io::Error::last_os_error(), wanted));
        }
        // SAFETY: the kernel has just created this descriptor for us, and nothing else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(EventFd { fd })
    }

    /// Wakes whatever polls it. After 2⁶⁴ − 1 writes, the counter is full and the write fails; that is thousands of
    /// years of waking every 10 ns, so there is nothing to handle. May be called in a signal handler.
    pub(crate) fn signal(&self) {
        EventFd::signal_raw(self.fd.as_raw_fd());
    }

    /// Does the same by descriptor number. Async-signal-safe.
    pub(super) fn signal_raw(fd: RawFd) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: the eight bytes are valid for reading for the length of the call.
        unsafe { libc::write(fd, one.as_ptr().cast(), one.len()) };
    }

    /// Takes one off the counter of an eventfd that counts, and returns whether there was one. Never waits.
    pub(crate) fn take_one(read: &Descriptor) -> io::Result<bool> {
        let mut one = [0; size_of::<u64>()];
        match read.with_std(|mut file| file.read(&mut one)) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_eventfd_can_be_read_as_often_as_it_was_signaled() {
        let (written, read) = EventFd::counting("a test").unwrap();
        assert!(!EventFd::take_one(&read).unwrap());
        written.signal();
        written.signal();
        assert!(EventFd::take_one(&read).unwrap());
        drop(written);
        assert!(EventFd::take_one(&read).unwrap());
        assert!(!EventFd::take_one(&read).unwrap());
    }
}
