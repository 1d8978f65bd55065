//! The error of a timeout.

use super::ask::{
    Source, Wraps, ask, is_cancellation, is_known_cancellation, register_type, source,
};
use super::probe::{Ask, Hold};
use super::{Canceled, Elapsed, ElapsedOver, fmt_elapsed, is_canceled};
use std::error::Error;
use std::fmt;
use std::io;

/// The error of a timeout: the deadline passed, or the future failed by itself.
///
/// `?` converts it as it converts `E`: into the future's own error, unless that is a cancellation; otherwise into the
/// timeout, with the future's error as its source.
///
/// A timeout can tell whether these errors are cancellations: an [`io::Error`], the errors of this crate (a
/// [`BufError`](crate::BufError) only with a usual buffer, such as `Vec<u8>` or `Bytes`), an `anyhow::Error`, and a
/// boxed error of any type. Errors of other types are classified by `?` (see
/// [`impl_from_errors!`](crate::impl_from_errors)) and by [`settle`](TimeoutError::settle).
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use std::io::ErrorKind;
/// use std::time::Duration;
///
/// gimmal::run(async {
///     let missing = gimmal::fs::read("no/such/file");
///     let error = gimmal::timeout(Duration::from_secs(10), missing).await.unwrap_err();
///     assert!(!error.is_elapsed());
///     assert_eq!(error.into_inner().map(|error| error.kind()), Some(ErrorKind::NotFound));
///
///     let asleep = gimmal::sleep(Duration::from_secs(3600));
///     let error = gimmal::timeout(Duration::from_millis(1), asleep).await.unwrap_err();
///     assert!(error.is_elapsed());
///     // As an `io::Error`, which `?` makes of it, it is still known.
///     let error = std::io::Error::from(error);
///     assert!(gimmal::is_timeout(&error) && error.kind() == ErrorKind::TimedOut);
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TimeoutError<E>(TimeoutErrorKind<E>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum TimeoutErrorKind<E> {
    /// The error that the future returned after the deadline, unless it was dropped: a cancellation, or an error of
    /// unknown type.
    Elapsed(Option<E>),
    Failed(E),
    /// The future was dropped, because a scope around the timeout was canceled.
    Canceled,
}

impl<E> TimeoutError<E> {
    /// The deadline passed. `inner` is the error that the future returned, unless it was dropped.
    pub(crate) fn elapsed(inner: Option<E>) -> TimeoutError<E> {
        TimeoutError::new(match inner {
            Some(inner) if is_cancellation(&inner) == Some(false) => {
                TimeoutErrorKind::Failed(inner)
            }
            inner => TimeoutErrorKind::Elapsed(inner),
        })
    }

    pub(crate) fn failed(inner: E) -> TimeoutError<E> {
        TimeoutError::new(TimeoutErrorKind::Failed(inner))
    }

    fn new(kind: TimeoutErrorKind<E>) -> TimeoutError<E> {
        register_type::<TimeoutError<E>>();
        TimeoutError(kind)
    }

    /// Whether the deadline cut the future short.
    ///
    /// Also true if, after the deadline, the future returned an error of its own of a type that the timeout does not
    /// know (see [`settle`](TimeoutError::settle)).
    #[must_use]
    pub fn is_elapsed(&self) -> bool {
        matches!(self.0, TimeoutErrorKind::Elapsed(_))
    }

    /// Returns the future's error. `None` if the future was dropped while it waited for something of another crate.
    pub fn inner(&self) -> Option<&E> {
        match &self.0 {
            TimeoutErrorKind::Elapsed(inner) => inner.as_ref(),
            TimeoutErrorKind::Failed(inner) => Some(inner),
            TimeoutErrorKind::Canceled => None,
        }
    }

    /// Returns the future's error. `None` if the future was dropped while it waited for something of another crate.
    pub fn into_inner(self) -> Option<E> {
        match self.0 {
            TimeoutErrorKind::Elapsed(inner) => inner,
            TimeoutErrorKind::Failed(inner) => Some(inner),
            TimeoutErrorKind::Canceled => None,
        }
    }

    /// Classifies an error of your own type as a failure or a cancellation, which a timeout cannot do. After that,
    /// [`is_elapsed`](TimeoutError::is_elapsed) is false for every error that is not a cancellation.
    ///
    /// It cannot look inside an error of this crate that wraps yours, such as a `GroupError<MyError>`: then nothing
    /// changes.
    ///
    /// `?` needs no such call, however errors are nested: [`impl_from_errors!`](crate::impl_from_errors) classifies them. Error
    /// types that a timeout knows (see [`TimeoutError`]) need none either.
    #[must_use]
    pub fn settle(self) -> TimeoutError<E>
    where
        E: Error + 'static,
    {
        TimeoutError(match self.0 {
            TimeoutErrorKind::Elapsed(Some(inner))
                if is_known_cancellation(&inner) == Some(false) =>
            {
                TimeoutErrorKind::Failed(inner)
            }
            kind => kind,
        })
    }

    /// Converts the error into another type: from the future's own error, unless `ask` shows that it is a cancellation;
    /// otherwise from an [`io::Error`] of the timeout, which holds what the future returned if `hold` can.
    #[doc(hidden)]
    pub fn into_error<O>(self, ask: Ask<O>, hold: Hold<O>) -> O
    where
        E: Into<O>,
        O: From<io::Error>,
    {
        let timeout: io::Error = match self.0 {
            TimeoutErrorKind::Failed(inner) => return inner.into(),
            TimeoutErrorKind::Canceled => Canceled.into(),
            TimeoutErrorKind::Elapsed(None) => Elapsed.into(),
            TimeoutErrorKind::Elapsed(Some(inner)) => {
                let inner: O = inner.into();
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
            TimeoutErrorKind::Elapsed(None) => write!(f, "{Elapsed}"),
            TimeoutErrorKind::Elapsed(Some(inner)) => fmt_elapsed(inner, f),
            TimeoutErrorKind::Failed(inner) => write!(f, "{inner}"),
            TimeoutErrorKind::Canceled => write!(f, "{Canceled}"),
        }
    }
}

impl<E: fmt::Debug> fmt::Debug for TimeoutError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            TimeoutErrorKind::Elapsed(inner) => f.debug_tuple("Elapsed").field(inner).finish(),
            TimeoutErrorKind::Failed(inner) => f.debug_tuple("Failed").field(inner).finish(),
            TimeoutErrorKind::Canceled => f.write_str("Canceled"),
        }
    }
}

/// The error inside need not implement `Error`, so that it can be an `anyhow::Error` or a `Box<dyn Error>`, which do
/// not. Its source is the error inside, or what that comes from, if its type is known.
impl<E: fmt::Debug + fmt::Display + 'static> Error for TimeoutError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        source(self)
    }
}

impl<E> Wraps for TimeoutError<E> {
    type Inner = E;

    fn known_source(&self) -> Option<Source<'_>> {
        match &self.0 {
            TimeoutErrorKind::Elapsed(_) => Some(Source::new(&Elapsed)),
            TimeoutErrorKind::Failed(inner) => ask(inner),
            TimeoutErrorKind::Canceled => Some(Source::new(&Canceled)),
        }
    }
}

impl<E: Into<io::Error>> From<TimeoutError<E>> for io::Error {
    fn from(error: TimeoutError<E>) -> io::Error {
        error.into_error(|error| Some(error), |error| Ok(error.into()))
    }
}

impl<E> From<Canceled> for TimeoutError<E> {
    fn from(_: Canceled) -> TimeoutError<E> {
        TimeoutError::new(TimeoutErrorKind::Canceled)
    }
}
