//! Network interfaces by name: the plain system call that looks one up.

use std::ffi::CStr;
use std::io;

/// Returns the index of an interface: `if_nametoindex(3)`, which never waits.
pub(crate) fn interface_index(name: &CStr) -> io::Result<u32> {
    // SAFETY: the name is a NUL-terminated string for the duration of the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}
