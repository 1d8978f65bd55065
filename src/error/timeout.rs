//! The error of a timeout.

use super::as_error;
use crate::scope::{Canceled, Elapsed};
use std::error::Error;
use std::fmt;
use std::io;

/// Why there is no value: the time was over, or the future failed by itself.
///
/// `?` takes it into whatever `E` goes into; see [`into_inner`](TimeoutError::into_inner) for what the future said.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TimeoutError<E>(Kind<E>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind<E> {
    /// What the future said when it was cut short, unless it was dropped.
    Elapsed(Option<E>),
    Failed(E),
    /// It was dropped, because a scope around the timeout was cancelled.
    Canceled,
}

impl<E> TimeoutError<E> {
    pub(crate) fn elapsed(inner: Option<E>) -> TimeoutError<E> {
        TimeoutError(Kind::Elapsed(inner))
    }

    pub(crate) fn failed(inner: E) -> TimeoutError<E> {
        TimeoutError(Kind::Failed(inner))
    }

    pub(crate) fn canceled() -> TimeoutError<E> {
        TimeoutError(Kind::Canceled)
    }

    /// Whether the time cut the future short.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self.0, Kind::Elapsed(_))
    }

    /// What the future said. `None` if it was dropped while it waited for something of another crate.
    pub fn inner(&self) -> Option<&E> {
        match &self.0 {
            Kind::Elapsed(inner) => inner.as_ref(),
            Kind::Failed(inner) => Some(inner),
            Kind::Canceled => None,
        }
    }

    /// What the future said. `None` if it was dropped while it waited for something of another crate.
    pub fn into_inner(self) -> Option<E> {
        match self.0 {
            Kind::Elapsed(inner) => inner,
            Kind::Failed(inner) => Some(inner),
            Kind::Canceled => None,
        }
    }

    /// An error of another type, which what the future said goes into, and which [`Elapsed`] and [`Canceled`] go into as an
    /// [`io::Error`].
    #[doc(hidden)]
    pub fn into_error<O>(self) -> O
    where
        O: From<E> + From<io::Error>,
    {
        match self.0 {
            Kind::Elapsed(_) => O::from(io::Error::from(Elapsed)),
            Kind::Failed(inner) => O::from(inner),
            Kind::Canceled => O::from(io::Error::from(Canceled)),
        }
    }
}

impl<E: fmt::Display> fmt::Display for TimeoutError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Elapsed(None) => write!(f, "{Elapsed}"),
            Kind::Elapsed(Some(inner)) => write!(f, "{Elapsed}: {inner}"),
            Kind::Failed(inner) => write!(f, "{inner}"),
            Kind::Canceled => write!(f, "{Canceled}"),
        }
    }
}

impl<E: fmt::Debug> fmt::Debug for TimeoutError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Elapsed(inner) => f.debug_tuple("Elapsed").field(inner).finish(),
            Kind::Failed(inner) => f.debug_tuple("Failed").field(inner).finish(),
            Kind::Canceled => f.write_str("Canceled"),
        }
    }
}

/// It asks for no `Error` of what is inside, so that `anyhow::Error` and `Box<dyn Error>`, which are none, can be inside too.
/// What is inside is the source where it is an error that can be looked into.
impl<E: fmt::Debug + fmt::Display + 'static> Error for TimeoutError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0 {
            Kind::Elapsed(_) => Some(&Elapsed),
            Kind::Failed(inner) => as_error(inner),
            Kind::Canceled => Some(&Canceled),
        }
    }
}

impl<E: Into<io::Error>> From<TimeoutError<E>> for io::Error {
    fn from(error: TimeoutError<E>) -> io::Error {
        match error.0 {
            Kind::Elapsed(None) => Elapsed.into(),
            Kind::Elapsed(Some(inner)) => {
                let inner: io::Error = inner.into();
                io::Error::new(
                    io::ErrorKind::TimedOut,
                    TimeoutError(Kind::Elapsed(Some(inner))),
                )
            }
            Kind::Failed(inner) => inner.into(),
            Kind::Canceled => Canceled.into(),
        }
    }
}
