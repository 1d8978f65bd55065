//! The error of a copy.

use std::error::Error;
use std::fmt;
use std::io;

/// The error of a copy that did not finish: its cause, the number of bytes copied, and the bytes read but not written.
///
/// `?` converts it into an [`io::Error`].
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::io::copy;
/// use std::io::{Cursor, ErrorKind};
///
/// gimmal::run(async {
///     let mut reader = &b"head body"[..];
///     let mut writer = Cursor::new([0; 5]);
///     let error = copy(&mut reader, &mut writer).await.unwrap_err();
///     assert_eq!((error.kind(), error.copied()), (ErrorKind::WriteZero, 5));
///     // A stream or a file would take these bytes back and return them again; a slice does not.
///     assert_eq!(error.unwritten(), b"body");
///     Ok(())
/// })
/// # }
/// ```
pub struct CopyError {
    error: io::Error,
    copied: u64,
    unwritten: Vec<u8>,
}

impl CopyError {
    pub(crate) fn new(error: io::Error, copied: u64, unwritten: Vec<u8>) -> CopyError {
        CopyError {
            error,
            copied,
            unwritten,
        }
    }

    /// Returns the cause.
    #[must_use]
    pub fn error(&self) -> &io::Error {
        &self.error
    }

    /// Returns the kind of the cause.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.error.kind()
    }

    /// Returns the number of bytes that were read and written. A buffered writer may still hold some of them until its
    /// next flush.
    #[must_use]
    pub fn copied(&self) -> u64 {
        self.copied
    }

    /// Returns bytes that were read and not written, if the reader did not take them back. They precede what the reader
    /// returns next.
    #[must_use]
    pub fn unwritten(&self) -> &[u8] {
        &self.unwritten
    }

    /// Returns the cause, and the bytes that were read and not written.
    #[must_use]
    pub fn into_parts(self) -> (io::Error, Vec<u8>) {
        (self.error, self.unwritten)
    }
}

impl From<CopyError> for io::Error {
    fn from(error: CopyError) -> io::Error {
        error.error
    }
}

impl fmt::Display for CopyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.copied {
            0 => write!(f, "{}", self.error),
            1 => write!(f, "{} (after 1 byte)", self.error),
            copied => write!(f, "{} (after {copied} bytes)", self.error),
        }
    }
}

/// The bytes are omitted: they would hide the error.
impl fmt::Debug for CopyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyError")
            .field("error", &self.error)
            .field("copied", &self.copied)
            .field("unwritten", &self.unwritten.len())
            .finish()
    }
}

/// The `io::Error` itself is the source: what it wraps is found only through `io::Error::get_ref`.
impl Error for CopyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}
