//! The error of a timeout.

use super::ask::{Found, Wraps, ask, introduce, is_cancellation, is_known_cancellation, source};
use super::own::{Ask, Hold};
use crate::scope::{Canceled, Elapsed, ElapsedOver, is_canceled};
use std::error::Error;
use std::fmt;
use std::io;

/// Why there is no value: the time was over, or the future failed by itself.
///
/// `?` turns it into whatever `E` turns into: the future's own error, if that is no cancellation; else the timeout, with the
/// future's error as its source.
///
/// A timeout can ask these errors whether they are cancellations: an [`io::Error`], the errors of this crate (a
/// [`BufError`](crate::BufError) only around a usual buffer, such as `Vec<u8>` or `Bytes`), an `anyhow::Error`, and a box of any
/// error. One of another type is asked by `?` (see [`errors_into!`](crate::errors_into)) and by [`settle`](TimeoutError::settle).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TimeoutError<E>(Kind<E>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind<E> {
    /// What the future returned when the time was over, unless it was dropped: a cancellation, or an error that cannot be asked.
    Elapsed(Option<E>),
    Failed(E),
    /// It was dropped, because a scope around the timeout was canceled.
    Canceled,
}

impl<E> TimeoutError<E> {
    /// The time was over. `inner` is what the future returned, unless it was dropped.
    pub(crate) fn elapsed(inner: Option<E>) -> TimeoutError<E> {
        TimeoutError::new(match inner {
            Some(inner) if is_cancellation(&inner) == Some(false) => Kind::Failed(inner),
            inner => Kind::Elapsed(inner),
        })
    }

    pub(crate) fn failed(inner: E) -> TimeoutError<E> {
        TimeoutError::new(Kind::Failed(inner))
    }

    fn new(kind: Kind<E>) -> TimeoutError<E> {
        introduce::<TimeoutError<E>>();
        TimeoutError(kind)
    }

    /// Whether the time cut the future short.
    ///
    /// It is true also if the future returned an error of its own after the time was over, of a type that a timeout cannot ask
    /// (see [`settle`](TimeoutError::settle)).
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self.0, Kind::Elapsed(_))
    }

    /// The future's error. `None` if the future was dropped while it waited for something of another crate.
    pub fn inner(&self) -> Option<&E> {
        match &self.0 {
            Kind::Elapsed(inner) => inner.as_ref(),
            Kind::Failed(inner) => Some(inner),
            Kind::Canceled => None,
        }
    }

    /// The future's error. `None` if the future was dropped while it waited for something of another crate.
    pub fn into_inner(self) -> Option<E> {
        match self.0 {
            Kind::Elapsed(inner) => inner,
            Kind::Failed(inner) => Some(inner),
            Kind::Canceled => None,
        }
    }

    /// Asks an error of a type of your own what it comes from, which a timeout cannot do: after that
    /// [`is_timeout`](TimeoutError::is_timeout) is false for every error that is no cancellation.
    ///
    /// It cannot look into an error of this crate that has yours inside, such as a `GroupError<MyError>`: then nothing changes.
    ///
    /// `?` needs no such call, whatever is inside of what: [`errors_into!`](crate::errors_into) asks. Errors that a timeout can ask
    /// (see [`TimeoutError`]) need none either.
    #[must_use]
    pub fn settle(self) -> TimeoutError<E>
    where
        E: Error + 'static,
    {
        TimeoutError(match self.0 {
            Kind::Elapsed(Some(inner)) if is_known_cancellation(&inner) == Some(false) => {
                Kind::Failed(inner)
            }
            kind => kind,
        })
    }

    /// An error of another type: the future's own error, if that is no cancellation as far as `ask` finds; else an
    /// [`io::Error`] that is the timeout, and holds what the future returned if `hold` can.
    #[doc(hidden)]
    pub fn into_error<O>(self, ask: Ask<O>, hold: Hold<O>) -> O
    where
        O: From<E> + From<io::Error>,
    {
        let timeout: io::Error = match self.0 {
            Kind::Failed(inner) => return O::from(inner),
            Kind::Canceled => Canceled.into(),
            Kind::Elapsed(None) => Elapsed.into(),
            Kind::Elapsed(Some(inner)) => {
                let inner = O::from(inner);
                if ask(&inner).is_some_and(|error| !is_canceled(error)) {
                    return inner;
                }
                hold(inner).map_or_else(|_| Elapsed.into(), |inner| ElapsedOver(inner).into())
            }
        };
        O::from(timeout)
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

/// It does not require `Error` of what is inside, so that `anyhow::Error` and `Box<dyn Error>`, which are none, can be inside,
/// too. What is inside, or what that comes from, is the source if its type can be asked.
impl<E: fmt::Debug + fmt::Display + 'static> Error for TimeoutError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        source(self)
    }
}

impl<E> Wraps for TimeoutError<E> {
    type Inner = E;

    fn comes_from(&self) -> Option<Found<'_>> {
        match &self.0 {
            Kind::Elapsed(_) => Some(Found::new(&Elapsed)),
            Kind::Failed(inner) => ask(inner),
            Kind::Canceled => Some(Found::new(&Canceled)),
        }
    }
}

impl<E: Into<io::Error>> From<TimeoutError<E>> for io::Error {
    fn from(error: TimeoutError<E>) -> io::Error {
        error
            .map(Into::into)
            .into_error(|error| Some(error), |error| Ok(error.into()))
    }
}

impl<E> TimeoutError<E> {
    fn map<O>(self, into: impl FnOnce(E) -> O) -> TimeoutError<O> {
        TimeoutError::new(match self.0 {
            Kind::Elapsed(inner) => Kind::Elapsed(inner.map(into)),
            Kind::Failed(inner) => Kind::Failed(into(inner)),
            Kind::Canceled => Kind::Canceled,
        })
    }
}

impl<E> From<Canceled> for TimeoutError<E> {
    fn from(_: Canceled) -> TimeoutError<E> {
        TimeoutError::new(Kind::Canceled)
    }
}
