//! Errors with context: a description in front, the errno behind it.

use std::error::Error;
use std::fmt;
use std::io;

/// A description of what was tried, and the error that it met.
#[derive(Debug)]
struct Explained {
    what: String,
    source: io::Error,
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.source)
    }
}

impl Error for Explained {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

/// A number of things for a message: "1 byte", "2 bytes".
pub(crate) fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Puts `what` before an error: its kind stays, and `source()` leads to it.
#[cold]
pub(crate) fn with_context(source: io::Error, what: impl Into<String>) -> io::Error {
    explain_as(source.kind(), source, what)
}

/// Does the same, and changes the kind.
#[cold]
pub(super) fn explain_as(
    kind: io::ErrorKind,
    source: io::Error,
    what: impl Into<String>,
) -> io::Error {
    let what = what.into();
    io::Error::new(kind, Explained { what, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_and_the_errno_are_kept() {
        let error = with_context(io::Error::from_raw_os_error(libc::ENOENT), "open /x");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().starts_with("open /x: "));
        let source = error
            .source()
            .and_then(|source| source.downcast_ref::<io::Error>())
            .unwrap();
        assert_eq!(source.raw_os_error(), Some(libc::ENOENT));
    }
}
