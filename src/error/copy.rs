//! The error of a copy.

use std::error::Error;
use std::fmt;
use std::io;

/// A copy that did not come to the end: why, how far it came, and what was read and is not written.
///
/// `?` turns it into an [`io::Error`].
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

    /// What went wrong.
    #[must_use]
    pub fn error(&self) -> &io::Error {
        &self.error
    }

    /// The kind of what went wrong.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.error.kind()
    }

    /// How many bytes were read and written. A writer with a buffer may hold some of them back, for its next flush.
    #[must_use]
    pub fn copied(&self) -> u64 {
        self.copied
    }

    /// What was read and is not written, if the reader did not take it back: it comes before what the reader gives next.
    #[must_use]
    pub fn unwritten(&self) -> &[u8] {
        &self.unwritten
    }

    /// What went wrong, and what was read and is not written.
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

/// Not the bytes: they would hide the error.
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
