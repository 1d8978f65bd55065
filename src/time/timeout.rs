//! Timeouts: a time limit for a future, after which its waits are canceled.

use super::{Instant, TryFuture};
use crate::cancel::{Due, ScopedPoll, opaque_debug};
use crate::error::{Canceled, CutShort, TimeoutError};
use crate::scope::ScopeKind;
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Limits a future to `duration`, counted from its first poll. When the time has passed, the future's waits are
/// canceled, and the timeout waits until the future ends.
///
/// Returns `Ok` whenever the future succeeds, late or not: no result is thrown away. If the future fails with an error
/// of its own after the time has passed, such as a full disk during cleanup, it returns that error, not a timeout
/// ([`TimeoutError`] lists the error types for which this is known). One `?` is enough. See [`cancel`](crate::cancel)
/// for scopes.
///
/// The rules are those of a [`Scope`](crate::cancel::Scope): once the time has passed, every wait of the future ends
/// with [`Canceled`](crate::Canceled), not only the first as in asyncio. A duration of zero has passed at the first
/// poll. For a deadline that several futures share, use [`timeout_at`].
///
/// Only the future and its waits are canceled, not tasks that it spawned: when the time of `spawn(f)` has passed, the
/// wait ends, the handle is dropped, and the task continues. To cancel the task as well, give the timeout
/// `spawn(f).cancel_on_drop()` ([`JoinHandle::cancel_on_drop`](crate::task::JoinHandle::cancel_on_drop)).
///
/// A future that computes is cut short only where it awaits something: call [`checkpoint`](crate::cancel::checkpoint)
/// between steps.
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
/// [`TimeoutError`]: timed out, if the deadline cut the future short; otherwise the future's own error.
///
/// # Cancel safety
///
/// A timeout loses nothing: operations that it cancels did not happen, or return their result. Dropping it drops the
/// future inside.
// Test: tests/timeouts.rs
pub fn timeout<F: TryFuture>(duration: Duration, future: F) -> Timeout<F> {
    Timeout {
        inner: timeout_any(duration, future),
    }
}

/// Limits a future until `deadline`, as [`timeout`] does. A deadline in the past takes effect at the first poll.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::time::{Instant, timeout_at};
/// use std::time::Duration;
///
/// gimmal::run(async {
///     // One limit for both.
///     let deadline = Instant::now() + Duration::from_secs(10);
///     let mut size = 0;
///     for name in ["Cargo.toml", "README.md"] {
///         size += timeout_at(deadline, gimmal::fs::read(name)).await?.len();
///     }
///     assert!(size > 0);
///
///     let slept = timeout_at(Instant::now(), gimmal::sleep(Duration::from_secs(3600))).await;
///     assert!(gimmal::is_timeout(&slept.unwrap_err()));
///     Ok(())
/// })
/// # }
/// ```
///
/// # Errors
///
/// [`TimeoutError`], as for [`timeout`].
///
/// # Cancel safety
///
/// A timeout loses nothing, as [`timeout`]. Dropping it drops the future inside.
// Test: tests/timeouts.rs
pub fn timeout_at<F: TryFuture>(deadline: Instant, future: F) -> Timeout<F> {
    Timeout {
        inner: timeout_any_at(deadline, future),
    }
}

/// Limits a future whose output is not a `Result`, as [`timeout`] does. If the deadline cut it short, the error has its
/// output.
///
/// ```
/// use std::time::Duration;
///
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let waits = std::future::pending::<u8>();
///     let error = gimmal::time::timeout_any(Duration::from_millis(1), waits).await.unwrap_err();
///     assert!(error.is_elapsed());
///     Ok(())
/// })
/// # }
/// ```
///
/// # Errors
///
/// [`CutShort`], also if a scope around it was canceled and the future had to be dropped.
///
/// # Cancel safety
///
/// A timeout loses nothing: an output that comes late is in the error. Dropping it drops the future inside.
// Test: tests/timeouts.rs
pub fn timeout_any<F: Future>(duration: Duration, future: F) -> TimeoutAny<F> {
    TimeoutAny::new(future, Due::After(duration))
}

/// Limits a future until `deadline`, as [`timeout_any`] does.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::time::{Instant, timeout_any_at};
/// use std::time::Duration;
///
/// gimmal::run(async {
///     let (sender, receiver) = async_channel::unbounded();
///     let deadline = Instant::now() + Duration::from_millis(5);
///     sender.try_send(1).map_err(std::io::Error::other)?;
///     let mut received = Vec::new();
///     while let Ok(Ok(number)) = timeout_any_at(deadline, receiver.recv()).await {
///         received.push(number);
///     }
///     assert_eq!(received, [1]);
///     Ok(())
/// })
/// # }
/// ```
///
/// # Errors
///
/// [`CutShort`], also if a scope around it was canceled and the future had to be dropped.
///
/// # Cancel safety
///
/// A timeout loses nothing: an output that comes late is in the error. Dropping it drops the future inside.
// Test: tests/timeouts.rs
pub fn timeout_any_at<F: Future>(deadline: Instant, future: F) -> TimeoutAny<F> {
    TimeoutAny::new(future, Due::At(deadline))
}

pin_project! {
    /// The future of [`timeout_any`].
    #[must_use = "futures do nothing unless they are awaited"]
    pub struct TimeoutAny<F> {
        // Must be dropped before `scoped`, which leaves the scope.
        #[pin]
        future: Option<F>,
        scoped: ScopedPoll,
    }
}

impl<F: Future> TimeoutAny<F> {
    fn new(future: F, due: Due) -> TimeoutAny<F> {
        let mut scoped = ScopedPoll::new(ScopeKind::Plain);
        scoped.set_due(due);
        TimeoutAny {
            future: Some(future),
            scoped,
        }
    }

    /// Polls the future. Returns its output, unless it was dropped, and whether the deadline cut it short.
    fn poll_both(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<(Option<F::Output>, bool)> {
        let mut this = self.project();
        let Some(future) = this.future.as_mut().as_pin_mut() else {
            panic!("a timeout was polled after it was ready")
        };
        match this.scoped.poll(future, context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(output) => {
                this.future.set(None);
                Poll::Ready((output, this.scoped.close()))
            }
        }
    }
}

impl<F: Future> Future for TimeoutAny<F> {
    type Output = Result<F::Output, CutShort<F::Output>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_both(context).map(|ended| match ended {
            (Some(output), false) => Ok(output),
            (output, is_timeout) => Err(CutShort::new(output, is_timeout)),
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
            (Some(Err(error)), false) => Err(TimeoutError::failed(error)),
            (Some(Err(error)), true) => Err(TimeoutError::elapsed(Some(error))),
            (None, true) => Err(TimeoutError::elapsed(None)),
            (None, false) => Err(Canceled.into()),
        })
    }
}

opaque_debug! { TimeoutAny Timeout }
