//! `try_join`: awaits several futures at once, until one of them fails.

use super::branches::{AGAIN, Branch, Branches, List};
use crate::cancel::ScopedPoll;
use crate::tasks::TaskCell;
use pin_project_lite::pin_project;
use std::fmt;
use std::future::poll_fn;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Awaits several futures in one task, and returns the tuple of their values, or the first error.
///
/// The first failure cancels the others. `try_join` waits until they have ended, so that none of their operations is
/// abandoned midway, and discards their outputs. All futures have the same error type. To keep every error, or for
/// children that start others, use a [`group`](crate::group()).
///
/// ```
/// use gimmal::fs;
///
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let (left, right) = gimmal::try_join((fs::read("Cargo.toml"), fs::read("README.md"))).await?;
///     assert!(left.len() + right.len() > 0);
///
///     let hour = std::time::Duration::from_secs(3600);
///     let asleep = async { Ok(gimmal::sleep(hour).await?) };
///     let failed = gimmal::try_join((fs::read("there/is/no/such/file"), asleep)).await;
///     assert_eq!(failed.unwrap_err().kind(), std::io::ErrorKind::NotFound);
///     Ok(())
/// })
/// # }
/// ```
///
/// # Errors
///
/// The first error. In a canceled scope, that is the error of the first future that is cut short.
///
/// # Panics
///
/// Panics if one of the futures panics; the others are dropped. Panics outside of a runtime.
///
/// # Cancel safety
///
/// An error loses the values of futures that were ready, and what the others return when they are canceled: their
/// operations did not happen, or their results are disposed of. Dropping this drops the futures, with the same loss.
// Test: tests/groups/combinators.rs
pub fn try_join<J: TryJoin>(futures: J) -> J::Joined {
    futures.into_try_joined()
}

/// The argument of [`try_join`]: a tuple of one to eight futures of `Result`s with one error type.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be joined with `try_join`",
    label = "this is not a tuple of up to eight futures of `Result`s with one error type",
    note = "for a list of futures, use `try_join_all`; for futures of other outputs, `join`"
)]
pub trait TryJoin {
    /// The tuple of the values.
    type Values;

    /// The error type of each future.
    type Error;

    /// The future that returns the values, or the first error.
    type Joined: Future<Output = Result<Self::Values, Self::Error>>;

    #[doc(hidden)]
    fn into_try_joined(self) -> Self::Joined;
}

/// The first error, which ends the wait for the values.
#[derive(Debug)]
pub struct Failed<E>(E);

impl<F, T, E> Branch<Failed<E>> for TaskCell<F>
where
    F: Future<Output = Result<T, E>>,
{
    type Output = T;

    fn run(
        mut self: Pin<&mut Self>,
        _: usize,
        first: &mut Option<Failed<E>>,
        context: &mut Context<'_>,
    ) -> bool {
        if self.is_ready() {
            return true;
        }
        if self.as_mut().poll_stored(context).is_pending() {
            return false;
        }
        let output = self.output();
        match output.take() {
            Some(Err(error)) if first.is_none() => *first = Some(Failed(error)),
            other => *output = other,
        }
        true
    }

    fn take(self: Pin<&mut Self>) -> T {
        match self.output().take() {
            Some(Ok(value)) => value,
            _ => unreachable!("all are ready, and none has failed"),
        }
    }
}

pin_project! {
    /// The future of [`try_join`] and [`try_join_all`].
    #[must_use = "futures do nothing unless they are awaited"]
    pub struct TryJoined<B, E> {
        // Must be dropped before `scoped`, which leaves the scope.
        #[pin]
        branches: Option<B>,
        scoped: ScopedPoll,
        error: Option<Failed<E>>,
    }
}

impl<B, E> TryJoined<B, E> {
    pub(super) fn new(branches: B) -> TryJoined<B, E> {
        TryJoined {
            branches: Some(branches),
            scoped: ScopedPoll::deferring(),
            error: None,
        }
    }
}

impl<E, B: Branches<Failed<E>>> Future for TryJoined<B, E> {
    type Output = Result<B::Outputs, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let mut branches = this.branches.as_mut().as_pin_mut().expect(AGAIN);
        let (error, scoped) = (this.error, this.scoped);
        loop {
            let had_failed = error.is_some();
            let mut all = poll_fn(|context| branches.as_mut().poll_all(error, context));
            // Once it is canceled, futures that wait for something foreign are dropped with `branches`.
            if scoped.poll(Pin::new(&mut all), context).is_ready() {
                break;
            }
            if had_failed || error.is_none() {
                return Poll::Pending;
            }
            scoped.cancel();
        }
        let result = match error.take() {
            Some(Failed(error)) => Err(error),
            None => Ok(branches.take_all()),
        };
        this.branches.set(None);
        scoped.close();
        Poll::Ready(result)
    }
}

impl<B, E> fmt::Debug for TryJoined<B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TryJoined")
            .field("canceled", &self.error.is_some())
            .finish_non_exhaustive()
    }
}

/// Awaits any number of futures of `Result`s at once, and returns their values in the order of the futures, or the
/// first error.
///
/// The first failure cancels the others, and this waits until they have ended, as [`try_join`] does. Only futures that
/// were woken are polled.
///
/// ```
/// use gimmal::fs;
///
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let paths = ["Cargo.toml", "README.md"];
///     let texts = gimmal::try_join_all(paths.map(|path| fs::read(path))).await?;
///     assert!(texts.iter().all(|text| !text.is_empty()));
///     Ok(())
/// })
/// # }
/// ```
///
/// # Errors
///
/// The first error. In a canceled scope, that is the error of the first future that is cut short.
///
/// # Panics
///
/// Panics if one of the futures panics; the others are dropped. Panics outside of a runtime.
///
/// # Cancel safety
///
/// An error loses the values of futures that were ready, and what the others return when they are canceled: their
/// operations did not happen, or their results are disposed of. Dropping this drops the futures, with the same loss.
// Test: tests/groups/combinators.rs
#[track_caller]
pub fn try_join_all<I, T, E>(futures: I) -> TryJoined<List<TaskCell<I::Item>>, E>
where
    I: IntoIterator<Item: Future<Output = Result<T, E>>>,
{
    let cells = futures.into_iter().map(TaskCell::new);
    TryJoined::new(List::new(cells, Location::caller()))
}
