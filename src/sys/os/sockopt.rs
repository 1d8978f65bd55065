//! Socket options that std and socket2 have no functions for.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Sets an option whose value is a number: `setsockopt(2)`.
pub(crate) fn set_option(fd: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    let len = size_of::<i32>() as libc::socklen_t;
    let value: *const i32 = &raw const value;
    // SAFETY: the value is an i32 of this length, which the call only reads; the descriptor is open while it is
    // borrowed.
    match unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, value.cast(), len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Returns the value of an option that is a number: `getsockopt(2)`.
pub(crate) fn option(fd: BorrowedFd<'_>, level: i32, name: i32) -> io::Result<i32> {
    let mut value: i32 = 0;
    let mut len = size_of::<i32>() as libc::socklen_t;
    let start: *mut i32 = &raw mut value;
    // SAFETY: there is room for an i32, and `len` is its size; both live through the call.
    match unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, start.cast(), &raw mut len) } {
        0 => Ok(value),
        _ => Err(io::Error::last_os_error()),
    }
}
