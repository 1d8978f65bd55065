//! Paths as the kernel takes them, errors that name one, and the plain call that makes a FIFO of one.

use super::error::with_context;
use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A path as the kernel takes it.
pub(crate) fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{}: a path must not contain a zero byte", path.display()),
        )
    })
}

/// The error of something that was done with this path.
#[cold]
pub(crate) fn with_path(error: io::Error, what: &str, path: &Path) -> io::Error {
    with_context(error, format!("{what} {}", path.display()))
}

/// Makes a FIFO: `mkfifo(3)`, which has no opcode.
pub(crate) fn make_fifo(path: &CStr, mode: u32) -> io::Result<()> {
    // SAFETY: the path is a string that ends with a zero byte, for the length of the call.
    match unsafe { libc::mkfifo(path.as_ptr(), mode) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
