//! The error that returns the buffer (B1).
//!
//! It owns the underlying error, the lent buffer, and the number of bytes transferred. It decides nothing: operations
//! create it; users take it apart or let `?` turn it into an [`io::Error`].

use super::ask::{Source, Wraps};
use std::error::Error;
use std::fmt;
use std::io;

/// The result of an operation that lends a buffer: its value and the buffer, or an error that contains the buffer.
///
/// # Examples
///
/// ```
/// use gimmal::buf::{BufError, BufResult};
///
/// fn first<'a>(result: BufResult<usize, &'a str>) -> &'a str {
///     match result {
///         Ok((n, buf)) => &buf[..n],
///         Err(error) => error.into_buf(),
///     }
/// }
/// assert_eq!(first(Ok((2, "abc"))), "ab");
/// assert_eq!(first(Err(BufError::new(std::io::ErrorKind::NotFound.into(), "abc"))), "abc");
/// ```
pub type BufResult<T, B> = Result<(T, B), BufError<B>>;

/// An error that contains the buffer lent to the failed operation.
///
/// `?` turns it into an [`io::Error`] and drops the buffer. A loop over several operations (`read_exact`, `write_all`)
/// also reports how many bytes were [`transferred`](BufError::transferred) before it failed.
///
/// It is displayed like its `io::Error`, which is also its source, so a report that prints the whole chain prints it
/// twice.
///
/// # Examples
///
/// ```
/// use gimmal::buf::BufError;
/// use std::io::{self, ErrorKind};
///
/// let error = BufError::new(ErrorKind::UnexpectedEof.into(), vec![1, 2, 3]).with_transferred(2);
/// assert_eq!((error.kind(), error.transferred()), (ErrorKind::UnexpectedEof, 2));
/// assert_eq!(error.to_string(), "unexpected end of file (after 2 bytes)");
/// let (error, buf) = error.into_parts();
/// assert_eq!((error.kind(), buf), (ErrorKind::UnexpectedEof, vec![1, 2, 3]));
///
/// fn lossy() -> io::Result<()> {
///     Err(BufError::new(ErrorKind::NotFound.into(), "path"))?
/// }
/// assert_eq!(lossy().unwrap_err().kind(), ErrorKind::NotFound);
/// ```
pub struct BufError<B> {
    error: io::Error,
    buf: B,
    transferred: usize,
}

impl<B> BufError<B> {
    /// Creates an error from a cause and the buffer, with no bytes transferred.
    pub fn new(error: io::Error, buf: B) -> BufError<B> {
        BufError {
            error,
            buf,
            transferred: 0,
        }
    }

    /// Sets the number of bytes that were transferred before the failure.
    #[must_use]
    pub fn with_transferred(self, bytes: usize) -> BufError<B> {
        BufError {
            transferred: bytes,
            ..self
        }
    }

    /// Returns the underlying error.
    pub fn error(&self) -> &io::Error {
        &self.error
    }

    /// Returns the kind of the underlying error.
    pub fn kind(&self) -> io::ErrorKind {
        self.error.kind()
    }

    /// Returns how many bytes were read or written before the failure: 0, unless it was a loop over several operations.
    pub fn transferred(&self) -> usize {
        self.transferred
    }

    /// Returns the buffer.
    pub fn buf(&self) -> &B {
        &self.buf
    }

    /// Returns the underlying error, and drops the buffer.
    pub fn into_error(self) -> io::Error {
        self.error
    }

    /// Returns the buffer for reuse, and drops the error.
    pub fn into_buf(self) -> B {
        self.buf
    }

    /// Returns the underlying error and the buffer.
    pub fn into_parts(self) -> (io::Error, B) {
        (self.error, self.buf)
    }

    /// Maps the buffer to another one and keeps the error: `error.map_buf(Slice::into_inner)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use gimmal::buf::{BufError, IoBufMut, Slice};
    ///
    /// let part = Vec::from("abc").slice(1..2);
    /// let error = BufError::new(std::io::ErrorKind::NotFound.into(), part);
    /// assert_eq!(error.map_buf(Slice::into_inner).into_buf(), b"abc");
    /// ```
    #[must_use]
    pub fn map_buf<C>(self, map: impl FnOnce(B) -> C) -> BufError<C> {
        BufError {
            error: self.error,
            buf: map(self.buf),
            transferred: self.transferred,
        }
    }
}

impl<B> From<BufError<B>> for io::Error {
    fn from(error: BufError<B>) -> io::Error {
        error.error
    }
}

impl<B> fmt::Display for BufError<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.transferred {
            0 => write!(f, "{}", self.error),
            1 => write!(f, "{} (after 1 byte)", self.error),
            done => write!(f, "{} (after {done} bytes)", self.error),
        }
    }
}

// Not derived: that would require `B: Debug`, and a page of bytes would hide the error.
impl<B> fmt::Debug for BufError<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufError")
            .field("error", &self.error)
            .field("transferred", &self.transferred)
            .finish_non_exhaustive()
    }
}

// The source is the `io::Error` itself, not its source: what it wraps is found only through `io::Error::get_ref`.
impl<B> Error for BufError<B> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}

impl<B> Wraps for BufError<B> {
    type Inner = io::Error;

    fn known_source(&self) -> Option<Source<'_>> {
        Some(Source::new(&self.error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Implements neither `Debug` nor `Clone` nor `IoBuf`: the error requires nothing of its buffer.
    struct Opaque(u8);

    const ENOSPC: i32 = 28;

    fn fails() -> BufResult<usize, Opaque> {
        let error = io::Error::from_raw_os_error(ENOSPC);
        Err(BufError::new(error, Opaque(5)).with_transferred(3))
    }

    #[test]
    fn a_buf_error_converts_into_every_common_error_type() {
        fn io() -> io::Result<usize> {
            Ok(fails()?.0)
        }
        fn boxed() -> Result<usize, Box<dyn Error>> {
            Ok(fails()?.0)
        }
        fn boxed_send() -> Result<usize, Box<dyn Error + Send + Sync>> {
            Ok(fails()?.0)
        }
        fn any() -> anyhow::Result<usize> {
            Ok(fails()?.0)
        }
        fn errno(error: &(dyn Error + 'static)) -> Option<i32> {
            error.source()?.downcast_ref::<io::Error>()?.raw_os_error()
        }
        assert_eq!(io().unwrap_err().raw_os_error(), Some(ENOSPC));
        assert_eq!(errno(&*boxed().unwrap_err()), Some(ENOSPC));
        assert_eq!(errno(&*boxed_send().unwrap_err()), Some(ENOSPC));
        let error = any().unwrap_err();
        let root = error.root_cause().downcast_ref::<io::Error>().unwrap();
        assert_eq!(root.raw_os_error(), Some(ENOSPC));
        let carried = error.downcast::<BufError<Opaque>>().unwrap();
        assert_eq!(carried.into_buf().0, 5);
    }

    #[test]
    fn a_buf_error_returns_each_of_its_parts() {
        let error = || fails().err().unwrap();
        assert_eq!(error().transferred(), 3);
        assert_eq!(error().buf().0, 5);
        assert_eq!(error().kind(), io::ErrorKind::StorageFull);
        assert_eq!(error().error().raw_os_error(), Some(ENOSPC));
        assert_eq!(error().into_error().raw_os_error(), Some(ENOSPC));
        let (inner, buf) = error().into_parts();
        assert_eq!((inner.raw_os_error(), buf.0), (Some(ENOSPC), 5));
        let mapped = error().map_buf(|buf| vec![buf.0]);
        assert_eq!((mapped.transferred(), mapped.into_buf()), (3, vec![5]));
    }

    #[test]
    fn a_buf_error_displays_the_error_and_the_progress() {
        let text = |done| {
            let error = io::Error::other("broken");
            BufError::new(error, Opaque(5))
                .with_transferred(done)
                .to_string()
        };
        assert_eq!(text(0), "broken");
        assert_eq!(text(1), "broken (after 1 byte)");
        assert_eq!(text(4096), "broken (after 4096 bytes)");
        let debug = format!("{:?}", fails().err().unwrap());
        assert!(
            debug.contains("28") && debug.contains("transferred: 3"),
            "{debug}"
        );
    }

    #[test]
    fn a_buf_error_is_send_and_sync_if_its_buffer_is() {
        fn check<T: Send + Sync + 'static>() {}
        check::<BufError<Vec<u8>>>();
    }
}
