//! A time for a future, after which what it awaits is cancelled.

use super::Instant;
use crate::buf::BufError;
use crate::cancel::Region;
use crate::runtime::join::JoinError;
use crate::scope::{Canceled, Elapsed, Rank};
use bytes::{Bytes, BytesMut};
use pin_project_lite::pin_project;
use std::any::Any;
use std::error::Error;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Gives a future so much time. Then what it awaits is cancelled, and it is waited for until it ends.
///
/// It gives `Ok` whenever the future ended well, late or not: nothing that happened is thrown away. One `?` is enough; what
/// the future itself said about being cut short is in the error. Read about scopes in [`cancel`](crate::cancel).
///
/// ```
/// use std::time::Duration;
///
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let text = gimmal::time::timeout(Duration::from_secs(5), gimmal::fs::read_to_string("Cargo.toml")).await?;
///     assert!(text.contains("gimmal"));
///
///     let asleep = gimmal::sleep(Duration::from_secs(3600));
///     let error = gimmal::time::timeout(Duration::from_millis(1), asleep).await.unwrap_err();
///     assert!(gimmal::is_timeout(&error));
///     Ok(())
/// })
/// # }
/// ```
///
/// # Errors
///
/// [`TimeoutError`]: timed out, if the time cut it short; else what the future said.
///
/// # Cancel safety
///
/// Dropping it drops the future inside. A timeout itself loses nothing: operations that it cancels did not happen, or give
/// their result (`tests/timeouts.rs`).
pub fn timeout<F, T, E>(duration: Duration, future: F) -> Timeout<F>
where
    F: Future<Output = Result<T, E>>,
{
    timeout_at(Instant::now() + duration, future)
}

/// Gives a future time until this moment, as [`timeout`] does.
///
/// # Errors
///
/// Those of [`timeout`].
///
/// # Cancel safety
///
/// That of [`timeout`] (`tests/timeouts.rs`).
pub fn timeout_at<F, T, E>(deadline: Instant, future: F) -> Timeout<F>
where
    F: Future<Output = Result<T, E>>,
{
    Timeout {
        inner: timeout_any_at(deadline, future),
    }
}

/// As [`timeout`], for a future whose output is no `Result`. If the time cut it short, its output is in the error.
///
/// ```
/// use std::time::Duration;
///
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let waits = std::future::pending::<u8>();
///     let error = gimmal::time::timeout_any(Duration::from_millis(1), waits).await.unwrap_err();
///     assert!(error.is_timeout());
///     Ok(())
/// })
/// # }
/// ```
///
/// # Errors
///
/// [`TimeoutError`].
///
/// # Cancel safety
///
/// That of [`timeout`] (`tests/timeouts.rs`).
pub fn timeout_any<F: Future>(duration: Duration, future: F) -> TimeoutAny<F> {
    timeout_any_at(Instant::now() + duration, future)
}

/// As [`timeout_any`], until this moment.
///
/// # Errors
///
/// [`TimeoutError`].
///
/// # Cancel safety
///
/// That of [`timeout`] (`tests/timeouts.rs`).
pub fn timeout_any_at<F: Future>(deadline: Instant, future: F) -> TimeoutAny<F> {
    TimeoutAny {
        future: Some(future),
        region: Region::new(Rank::Plain, Some(deadline)),
    }
}

pin_project! {
    /// The future of [`timeout_any`].
    #[must_use = "futures do nothing unless they are awaited"]
    pub struct TimeoutAny<F> {
        // Dropped before the scope is left.
        #[pin]
        future: Option<F>,
        region: Region,
    }
}

impl<F: Future> TimeoutAny<F> {
    /// What the future said, if it was not dropped, and whether the time cut it short.
    fn poll_both(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<(Option<F::Output>, bool)> {
        let mut this = self.project();
        let Some(future) = this.future.as_mut().as_pin_mut() else {
            panic!("a timeout was polled after it was ready")
        };
        match this.region.poll(future, context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(output) => {
                this.future.set(None);
                Poll::Ready((output, this.region.close()))
            }
        }
    }
}

impl<F: Future> Future for TimeoutAny<F> {
    type Output = Result<F::Output, TimeoutError<F::Output>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_both(context).map(|ended| match ended {
            (Some(output), false) => Ok(output),
            (output, true) => Err(TimeoutError(Kind::Elapsed(output))),
            (None, false) => Err(TimeoutError(Kind::Canceled)),
        })
    }
}

pin_project! {
    /// The future of [`timeout`].
    #[must_use = "futures do nothing unless they are awaited"]
    pub struct Timeout<F> {
        #[pin]
        inner: TimeoutAny<F>,
    }
}

impl<F, T, E> Future for Timeout<F>
where
    F: Future<Output = Result<T, E>>,
{
    type Output = Result<T, TimeoutError<E>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let ended = self.project().inner.poll_both(context);
        ended.map(|ended| match ended {
            (Some(Ok(value)), _) => Ok(value),
            (Some(Err(error)), false) => Err(TimeoutError(Kind::Failed(error))),
            (Some(Err(error)), true) => Err(TimeoutError(Kind::Elapsed(Some(error)))),
            (None, true) => Err(TimeoutError(Kind::Elapsed(None))),
            (None, false) => Err(TimeoutError(Kind::Canceled)),
        })
    }
}

impl<F> fmt::Debug for TimeoutAny<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutAny").finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for Timeout<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout").finish_non_exhaustive()
    }
}

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

/// The usual errors that a future ends with. An error of any other type is inside, but what it comes from is not found
/// through this one.
fn as_error(inner: &dyn Any) -> Option<&(dyn Error + 'static)> {
    fn is<T: Error + 'static>(inner: &dyn Any) -> Option<&(dyn Error + 'static)> {
        inner.downcast_ref::<T>().map(|error| error as _)
    }
    fn boxed(inner: &dyn Any) -> Option<&(dyn Error + 'static)> {
        if let Some(error) = inner.downcast_ref::<Box<dyn Error>>() {
            return Some(&**error);
        }
        let error = inner.downcast_ref::<Box<dyn Error + Send + Sync>>();
        error.map(|error| &**error as _)
    }
    fn of_time<E: fmt::Debug + fmt::Display + 'static>(
        inner: &dyn Any,
    ) -> Option<&(dyn Error + 'static)> {
        is::<TimeoutError<E>>(inner).or_else(|| is::<TimeoutError<TimeoutError<E>>>(inner))
    }
    is::<io::Error>(inner)
        .or_else(|| is::<Canceled>(inner))
        .or_else(|| is::<JoinError>(inner))
        .or_else(|| is::<BufError<Vec<u8>>>(inner))
        .or_else(|| is::<BufError<Box<[u8]>>>(inner))
        .or_else(|| is::<BufError<BytesMut>>(inner))
        .or_else(|| is::<BufError<Bytes>>(inner))
        .or_else(|| is::<BufError<String>>(inner))
        .or_else(|| is::<BufError<&'static str>>(inner))
        .or_else(|| is::<BufError<&'static [u8]>>(inner))
        .or_else(|| of_time::<io::Error>(inner))
        .or_else(|| of_time::<Canceled>(inner))
        .or_else(|| of_time::<JoinError>(inner))
        .or_else(|| of_time::<BufError<Vec<u8>>>(inner))
        .or_else(|| boxed(inner))
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
