//! The error of a copy.

use super::BufError;
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
pub struct CopyError(BufError<Vec<u8>>);

impl CopyError {
    pub(crate) fn new(error: io::Error, copied: u64, unwritten: Vec<u8>) -> CopyError {
        // Supported platforms have 64 bits.
        CopyError(BufError::new(error, unwritten).with_transferred(copied as usize))
    }

    /// Returns the cause.
    #[must_use]
    pub fn error(&self) -> &io::Error {
        self.0.error()
    }

    /// Returns the kind of the cause.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.0.kind()
    }

    /// Returns the number of bytes that were read and written. A buffered writer may still hold some of them until its
    /// next flush.
    #[must_use]
    pub fn copied(&self) -> u64 {
        self.0.transferred() as u64
    }

    /// Returns bytes that were read and not written, if the reader did not take them back. They precede what the reader
    /// returns next.
    #[must_use]
    pub fn unwritten(&self) -> &[u8] {
        self.0.buf()
    }

    /// Returns the cause, and the bytes that were read and not written.
    #[must_use]
    pub fn into_parts(self) -> (io::Error, Vec<u8>) {
        self.0.into_parts()
    }
}

impl From<CopyError> for io::Error {
    fn from(error: CopyError) -> io::Error {
        error.0.into_error()
    }
}

impl fmt::Display for CopyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The bytes are omitted: they would hide the error.
impl fmt::Debug for CopyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyError")
            .field("error", self.error())
            .field("copied", &self.copied())
            .field("unwritten", &self.unwritten().len())
            .finish()
    }
}

impl Error for CopyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}
