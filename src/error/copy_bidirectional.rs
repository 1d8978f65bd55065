//! The error of a copy in both directions.

use super::{CopyError, is_canceled};
use std::error::Error;
use std::fmt;
use std::io;

/// A direction of [`copy_bidirectional`](crate::io::copy_bidirectional).
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::io::{CopyDirection, copy_bidirectional};
/// use std::io::Cursor;
///
/// gimmal::run(async {
///     let (mut question, mut answer) = (&b"question"[..], Vec::new());
///     // This side has no room for it.
///     let (mut silent, mut full) = (&b""[..], Cursor::new([0; 0]));
///     let copied = copy_bidirectional((&mut question, &mut answer), (&mut silent, &mut full)).await;
///     let receiver = match copied.unwrap_err().direction() {
///         CopyDirection::AToB => "the second side",
///         CopyDirection::BToA => "the first side",
///     };
///     assert_eq!(receiver, "the second side");
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CopyDirection {
    /// From the first side to the second.
    AToB,
    /// From the second side to the first.
    BToA,
}

/// The error of a copy in both directions: which direction failed, and how far both of them got.
///
/// `?` converts it into an [`io::Error`].
///
/// ```
/// use gimmal::io::{CopyDirection, copy_bidirectional, pipe};
/// use std::io::Cursor;
///
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     // It has room for four bytes.
///     let (mut peer, mut full) = (pipe()?.0, Cursor::new([0; 4]));
///     let (mut reader, writer) = (Cursor::new("question"), pipe()?.1);
///     let copied = copy_bidirectional((&mut reader, writer), (&mut peer, &mut full)).await;
///     let error = copied.unwrap_err();
///     assert_eq!(error.direction(), CopyDirection::AToB);
///     assert_eq!(error.kind(), std::io::ErrorKind::WriteZero);
///     assert_eq!(error.copied(), (4, 0));
///     // Bytes that could not be written are back at their reader.
///     assert_eq!(reader.position(), 4);
///     Ok(())
/// })
/// # }
/// ```
pub struct CopyBidirectionalError {
    direction: CopyDirection,
    error: CopyError,
    /// How the other direction ended.
    other: Result<u64, CopyError>,
}

impl CopyBidirectionalError {
    /// Returns the counts if both directions have succeeded. `first` is the direction that failed first.
    pub(crate) fn check(
        first: CopyDirection,
        a_to_b: Result<u64, CopyError>,
        b_to_a: Result<u64, CopyError>,
    ) -> Result<(u64, u64), CopyBidirectionalError> {
        // A cancellation is reported only if nothing failed.
        let is_second = |a: &CopyError, b: &CopyError| match (is_canceled(a), is_canceled(b)) {
            (false, true) => false,
            (true, false) => true,
            _ => first == CopyDirection::BToA,
        };
        let (direction, error, other) = match (a_to_b, b_to_a) {
            (Ok(a_to_b), Ok(b_to_a)) => return Ok((a_to_b, b_to_a)),
            (Err(a), Err(b)) if is_second(&a, &b) => (CopyDirection::BToA, b, Err(a)),
            (Err(error), other) => (CopyDirection::AToB, error, other),
            (other, Err(error)) => (CopyDirection::BToA, error, other),
        };
        Err(CopyBidirectionalError {
            direction,
            error,
            other,
        })
    }

    /// Returns the direction that failed: the first, if both did.
    #[must_use]
    pub fn direction(&self) -> CopyDirection {
        self.direction
    }

    /// Returns the error of the direction that failed.
    #[must_use]
    pub fn error(&self) -> &CopyError {
        &self.error
    }

    /// Returns the kind of the cause.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.error.kind()
    }

    /// Returns the numbers of bytes that were copied from the first side to the second, and from the second to the
    /// first.
    #[must_use]
    pub fn copied(&self) -> (u64, u64) {
        let other = self.other.as_ref();
        let other = other.map_or_else(CopyError::copied, |copied| *copied);
        match self.direction {
            CopyDirection::AToB => (self.error.copied(), other),
            CopyDirection::BToA => (other, self.error.copied()),
        }
    }

    /// Returns how each direction ended: from the first side to the second, and from the second to the first. One that
    /// was canceled because the other failed has [`Canceled`](crate::Canceled) as its error.
    pub fn into_results(self) -> (Result<u64, CopyError>, Result<u64, CopyError>) {
        match self.direction {
            CopyDirection::AToB => (Err(self.error), self.other),
            CopyDirection::BToA => (self.other, Err(self.error)),
        }
    }

    /// The error of the other direction, if it failed as well.
    fn other_failure(&self) -> Option<&CopyError> {
        let other = self.other.as_ref().err();
        other.filter(|error| !is_canceled(*error))
    }
}

/// If both directions failed, the `io::Error` holds this error.
impl From<CopyBidirectionalError> for io::Error {
    fn from(error: CopyBidirectionalError) -> io::Error {
        match error.other_failure() {
            Some(_) => io::Error::new(error.kind(), error),
            None => error.error.into(),
        }
    }
}

impl fmt::Display for CopyBidirectionalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (this, other) = match self.direction {
            CopyDirection::AToB => ("a to b", "b to a"),
            CopyDirection::BToA => ("b to a", "a to b"),
        };
        write!(f, "copy from {this}: {}", self.error)?;
        match self.other_failure() {
            Some(error) => write!(f, "; copy from {other}: {error}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for CopyBidirectionalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyBidirectionalError")
            .field("direction", &self.direction)
            .field("error", &self.error)
            .field("other", &self.other)
            .finish()
    }
}

impl Error for CopyBidirectionalError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}
