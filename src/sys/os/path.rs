//! Paths as C strings, errors that name a path, and the plain system call that creates a FIFO.

use crate::sys::with_context;
use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Converts a path to a C string for the kernel.
pub(crate) fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{}: a path must not contain a zero byte", path.display()),
        )
    })
}

/// Adds the path, and what was done with it, to an error.
#[cold]
pub(crate) fn with_path(error: io::Error, what: &str, path: &Path) -> io::Error {
    with_context(error, format!("{what} {}", path.display()))
}

/// Creates a FIFO: `mkfifo(3)`, which has no opcode.
pub(crate) fn make_fifo(path: &CStr, mode: u32) -> io::Result<()> {
    // SAFETY: the path is a NUL-terminated string for the duration of the call.
    match unsafe { libc::mkfifo(path.as_ptr(), mode) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
