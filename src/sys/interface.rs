//! The interfaces of the network by name: the plain call that asks the kernel.

use std::ffi::CStr;
use std::io;

/// The number of an interface: `if_nametoindex(3)`, which waits for nothing.
pub(crate) fn interface_index(name: &CStr) -> io::Result<u32> {
    // SAFETY: the name is a string that ends with a zero byte, for the length of the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}
