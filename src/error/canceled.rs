//! The errors of cancels and timeouts, and how to tell them from every other error.

use std::error::Error;
use std::fmt;
use std::io;

/// Error of a wait that was canceled: the operation had no effect. Nothing was moved, opened or lost.
///
/// It converts into an [`std::io::Error`] of a kind that no loop of std retries. [`is_canceled`] finds it however deep
/// it is wrapped.
///
/// ```
/// let error = std::io::Error::from(gimmal::Canceled);
/// assert!(gimmal::is_canceled(&error));
/// assert_ne!(error.kind(), std::io::ErrorKind::Interrupted);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Canceled;

impl fmt::Display for Canceled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("canceled")
    }
}

impl Error for Canceled {}

impl From<Canceled> for io::Error {
    fn from(canceled: Canceled) -> io::Error {
        io::Error::other(canceled)
    }
}

/// Whether this error is a [`Canceled`] that no timeout caused. The first [`Canceled`] or
/// [`Elapsed`](crate::time::Elapsed) in the chain of sources decides.
///
/// ```
/// let error: Box<dyn std::error::Error> = Box::new(std::io::Error::other("disk on fire"));
/// assert!(!gimmal::is_canceled(&*error));
/// ```
#[doc(alias = "is_cancelled")]
#[must_use]
pub fn is_canceled(error: &(dyn Error + 'static)) -> bool {
    matches!(cause(error), Some(StopCause::Canceled))
}

/// Error of a future that was stopped because its own timeout or deadline passed.
///
/// It converts into an [`std::io::Error`] of kind `TimedOut`. [`is_timeout`] finds it, and never mistakes an errno of
/// the kernel for it.
///
/// ```
/// let error = std::io::Error::from(gimmal::time::Elapsed);
/// assert!(gimmal::is_timeout(&error));
/// assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("timed out")
    }
}

impl Error for Elapsed {}

impl From<Elapsed> for io::Error {
    fn from(elapsed: Elapsed) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, elapsed)
    }
}

/// [`Elapsed`], with the error of the future that was stopped.
#[derive(Debug)]
pub(crate) struct ElapsedOver(pub(crate) Box<dyn Error + Send + Sync>);

impl fmt::Display for ElapsedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_elapsed(&self.0, f)
    }
}

/// Displays a timeout and the error of its future, unless that is a mere "canceled", which the timeout has caused.
pub(super) fn fmt_elapsed(inner: &impl fmt::Display, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let inner = inner.to_string();
    match inner == Canceled.to_string() {
        true => write!(f, "{Elapsed}"),
        false => write!(f, "{Elapsed}: {inner}"),
    }
}

impl Error for ElapsedOver {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

impl From<ElapsedOver> for io::Error {
    fn from(elapsed: ElapsedOver) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, elapsed)
    }
}

/// Whether this error is an [`Elapsed`](crate::time::Elapsed): a timeout or a deadline of this crate, not a timeout that
/// the kernel or a peer reported. The first [`Canceled`] or [`Elapsed`](crate::time::Elapsed) in the chain of sources
/// decides.
///
/// ```
/// let peer = std::io::Error::from(std::io::ErrorKind::TimedOut);
/// assert!(!gimmal::is_timeout(&peer));
/// ```
#[must_use]
pub fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    matches!(cause(error), Some(StopCause::Elapsed))
}

/// Why a future was stopped.
enum StopCause {
    Canceled,
    Elapsed,
}

/// Returns the first cause in the chain of sources: a timeout ends the waits that it stops with [`Canceled`], so a
/// `Canceled` below an `Elapsed` does not count.
fn cause(error: &(dyn Error + 'static)) -> Option<StopCause> {
    chain(error).find_map(|error| {
        if error.is::<Canceled>() {
            Some(StopCause::Canceled)
        } else if error.is::<Elapsed>() || error.is::<ElapsedOver>() {
            Some(StopCause::Elapsed)
        } else {
            None
        }
    })
}

/// Returns the error and its chain of sources.
pub(crate) fn chain<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        match error.downcast_ref::<io::Error>() {
            // `io::Error::source` skips the error that it wraps.
            Some(error) => error.get_ref().map(|inner| inner as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Wrapper(io::Error);

    impl fmt::Display for Wrapper {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("wrapped")
        }
    }

    impl Error for Wrapper {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn canceled_is_recognized_through_any_number_of_wrappers() {
        let mut error = io::Error::from(Canceled);
        for _ in 0..4 {
            assert!(is_canceled(&error));
            error = io::Error::new(io::ErrorKind::NotFound, Wrapper(error));
        }
        assert!(!is_canceled(&Wrapper(io::Error::from_raw_os_error(
            libc::ECANCELED
        ))));
    }
}
