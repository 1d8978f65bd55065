//! `wait`: awaits any of many futures, repeatedly.

use super::sub_wakers::SubWakers;
use crate::runtime::{self, Alarm};
use crate::sys::Instant;
use std::fmt;
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Collects futures, to be awaited as they become ready: asyncio's `wait`, in its three modes, and `as_completed`.
///
/// On the returned [`Wait`], [`first`](Wait::first), [`first_error`](Wait::first_error) and [`all`](Wait::all) choose
/// what to wait for, and [`within`](Wait::within) limits how long. They return the outputs that became available since
/// the last call, each with the index of its future, in order of completion. The other futures stay as they are,
/// neither canceled nor dropped, and can be awaited again; [`into_pending`](Wait::into_pending) returns them.
///
/// The futures must be `Unpin`, as those of this crate are, or `&mut` to such futures; put others into a `Box::pin`.
/// Only futures that were woken are polled.
///
/// ```
/// use std::time::Duration;
///
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let sleeps = [30, 1, 3600].map(|seconds| gimmal::sleep(Duration::from_millis(seconds)));
///     let mut wait = gimmal::wait(sleeps);
///     assert_eq!(wait.first().await, [(1, Ok(()))]);
///     assert_eq!(wait.first().await, [(0, Ok(()))]);
///     let pending = wait.into_pending();
///     assert_eq!(pending.len(), 1);
///     assert_eq!(pending[0].0, 2);
///     Ok(())
/// })
/// # }
/// ```
///
/// # Cancel safety
///
/// Nothing is lost: an output stays here until it is returned, and a pending future stays pending. Only dropping the
/// `Wait` drops them.
// Test: tests/groups/combinators.rs
#[track_caller]
pub fn wait<I>(futures: I) -> Wait<I::Item>
where
    I: IntoIterator<Item: Future + Unpin>,
{
    let futures: Vec<_> = futures.into_iter().map(Some).collect();
    Wait {
        left: futures.len(),
        wakers: SubWakers::new(futures.len(), Location::caller()),
        done: Vec::new(),
        futures,
    }
}

/// Futures to await as they become ready, and outputs that have not been returned yet: see [`wait`].
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use std::time::Duration;
///
/// gimmal::run(async {
///     let tasks = [1, 2, 3].map(|number| gimmal::spawn(async move { number * number }));
///     let mut wait = gimmal::wait(tasks);
///     let mut squares = Vec::new();
///     while !wait.is_empty() {
///         for (_index, square) in wait.first().await {
///             squares.push(square?);
///         }
///     }
///     squares.sort();
///     assert_eq!(squares, [1, 4, 9]);
///     Ok(())
/// })
/// # }
/// ```
#[must_use = "nothing is awaited before `first`, `all` or `first_error` is called"]
pub struct Wait<F: Future> {
    futures: Vec<Option<F>>,
    /// The number of pending futures.
    left: usize,
    done: Vec<(usize, F::Output)>,
    wakers: SubWakers,
}

impl<F: Future + Unpin> Wait<F> {
    /// Waits until at least one future is ready, and returns all available outputs. Returns an empty list if no future
    /// is left.
    ///
    /// To handle outputs one by one: `while !wait.is_empty() { for (place, output) in wait.first().await { … } }`.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use std::time::Duration;
    ///
    /// gimmal::run(async {
    ///     let hour = Duration::from_secs(3600);
    ///     let mut wait = gimmal::wait([hour, Duration::ZERO].map(gimmal::sleep));
    ///     assert_eq!(wait.first().await, [(1, Ok(()))]);
    ///     assert_eq!(wait.pending(), 1);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if one of the futures panics, and outside of a runtime.
    ///
    /// # Cancel safety
    ///
    /// Dropping the wait loses nothing: the futures and outputs stay here for the next one. In a canceled scope, each
    /// future is canceled, and the outputs are what they return.
    // Test: tests/groups/combinators.rs
    pub async fn first(&mut self) -> Vec<(usize, F::Output)> {
        self.until(has_one, None).await
    }

    /// Waits until all futures are ready, and returns their outputs.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// gimmal::run(async {
    ///     let mut wait = gimmal::wait([1, 2].map(|number| gimmal::spawn(async move { number })));
    ///     let mut numbers = vec![0, 0];
    ///     for (index, number) in wait.all().await {
    ///         numbers[index] = number?;
    ///     }
    ///     assert_eq!(numbers, [1, 2]);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if one of the futures panics, and outside of a runtime.
    ///
    /// # Cancel safety
    ///
    /// Dropping the wait loses nothing, as with [`first`](Wait::first).
    // Test: tests/groups/combinators.rs
    pub async fn all(&mut self) -> Vec<(usize, F::Output)> {
        self.until(|_| false, None).await
    }

    /// Limits the wait to a duration, counted from the first poll. [`first`](Within::first), [`all`](Within::all) and
    /// [`first_error`](Within::first_error) then return what is ready by the deadline, which may be nothing. Pending
    /// futures stay as they are, neither canceled nor dropped: this is asyncio's `wait` with a `timeout`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gimmal::run(async {
    ///     let mut wait = gimmal::wait([1, 40].map(|ms| gimmal::sleep(Duration::from_millis(ms))));
    ///     let in_time = wait.within(Duration::from_millis(10)).all().await;
    ///     // The others are still asleep.
    ///     assert_eq!(in_time.len() + wait.pending(), 2);
    ///     assert_eq!(in_time.len() + wait.all().await.len(), 2);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn within(&mut self, duration: Duration) -> Within<'_, F> {
        Within {
            wait: self,
            duration,
        }
    }

    /// Returns the outputs that are available and have not been returned yet. Does not wait or poll.
    pub fn take_done(&mut self) -> Vec<(usize, F::Output)> {
        std::mem::take(&mut self.done)
    }

    /// Returns the futures that are not ready, with their indexes, to be awaited elsewhere. Outputs that were not
    /// returned yet are dropped: take them first with [`take_done`](Wait::take_done).
    #[must_use]
    pub fn into_pending(self) -> Vec<(usize, F)> {
        let futures = self.futures.into_iter().enumerate();
        let pending = futures.filter_map(|(index, future)| Some((index, future?)));
        pending.collect()
    }

    /// Returns the number of pending futures.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.left
    }

    /// Whether no future is pending and every output has been returned.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.left == 0 && self.done.is_empty()
    }

    async fn until(
        &mut self,
        enough: impl Fn(&Wait<F>) -> bool,
        limit: Option<Duration>,
    ) -> Vec<(usize, F::Output)> {
        let mut alarm = Alarm::default();
        let mut deadline = None;
        poll_fn(|context| {
            if self.left > 0 && !enough(self) {
                self.poll_woken(context);
            }
            let is_over = self.left == 0
                || enough(self)
                || limit.is_some_and(|limit| {
                    let deadline = deadline.get_or_insert_with(|| Instant::now() + limit);
                    alarm.poll(&runtime::required(), *deadline, context.waker())
                });
            match is_over {
                true => Poll::Ready(self.take_done()),
                false => Poll::Pending,
            }
        })
        .await
    }

    fn poll_woken(&mut self, context: &mut Context<'_>) {
        self.wakers.poll(context, &mut |index, context| {
            let Some(Poll::Ready(output)) = self.futures[index]
                .as_mut()
                .map(|future| Pin::new(future).poll(context))
            else {
                return Poll::Pending;
            };
            self.futures[index] = None;
            self.done.push((index, output));
            self.left -= 1;
            Poll::Ready(ControlFlow::Continue(()))
        });
    }
}

impl<F, T, E> Wait<F>
where
    F: Future<Output = Result<T, E>> + Unpin,
{
    /// Waits until one future has failed or all are ready, and returns all available outputs.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use std::io::ErrorKind;
    ///
    /// gimmal::run(async {
    ///     let paths = ["Cargo.toml", "no/such/file"];
    ///     let mut wait = gimmal::wait(paths.map(|path| Box::pin(gimmal::fs::read(path))));
    ///     let ended = wait.first_error().await;
    ///     let failed = ended.iter().find_map(|(index, read)| Some((index, read.as_ref().err()?)));
    ///     assert!(failed.is_some_and(|(index, error)| *index == 1 && error.kind() == ErrorKind::NotFound));
    ///     // The other one has returned its text, or goes on.
    ///     assert_eq!(ended.len() + wait.pending(), 2);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if one of the futures panics, and outside of a runtime.
    ///
    /// # Cancel safety
    ///
    /// Dropping the wait loses nothing, as with [`first`](Wait::first).
    // Test: tests/groups/combinators.rs
    pub async fn first_error(&mut self) -> Vec<(usize, Result<T, E>)> {
        self.until(has_failed, None).await
    }
}

fn has_one<F: Future>(wait: &Wait<F>) -> bool {
    !wait.done.is_empty()
}

fn has_failed<F, T, E>(wait: &Wait<F>) -> bool
where
    F: Future<Output = Result<T, E>>,
{
    wait.done.iter().any(|(_, result)| result.is_err())
}

/// A [`Wait`] with a time limit: see [`Wait::within`].
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use std::time::Duration;
///
/// gimmal::run(async {
///     let hour = Duration::from_secs(3600);
///     let mut wait = gimmal::wait([gimmal::sleep(hour)]);
///     let within = wait.within(Duration::from_millis(1));
///     assert!(within.first().await.is_empty());
///     // It sleeps on.
///     assert_eq!(wait.pending(), 1);
///     Ok(())
/// })
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is awaited before `first`, `all` or `first_error` is called"]
pub struct Within<'a, F: Future> {
    wait: &'a mut Wait<F>,
    duration: Duration,
}

impl<F: Future + Unpin> Within<'_, F> {
    /// Waits as [`Wait::first`] does, until the deadline at most.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use std::time::Duration;
    ///
    /// gimmal::run(async {
    ///     let (quick, hour) = (Duration::ZERO, Duration::from_secs(3600));
    ///     let mut wait = gimmal::wait([quick, hour].map(gimmal::sleep));
    ///     assert_eq!(wait.within(hour).first().await, [(0, Ok(()))]);
    ///     assert!(wait.within(Duration::from_millis(1)).first().await.is_empty());
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// As [`Wait::first`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the wait loses nothing: the futures and outputs stay in the [`Wait`].
    // Test: tests/groups/combinators.rs
    pub async fn first(self) -> Vec<(usize, F::Output)> {
        self.wait.until(has_one, Some(self.duration)).await
    }

    /// Waits as [`Wait::all`] does, until the deadline at most.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use std::time::Duration;
    ///
    /// gimmal::run(async {
    ///     let hour = Duration::from_secs(3600);
    ///     let mut wait = gimmal::wait([Duration::ZERO, hour, Duration::ZERO].map(gimmal::sleep));
    ///     let in_time = wait.within(Duration::from_millis(5)).all().await;
    ///     assert_eq!(in_time, [(0, Ok(())), (2, Ok(()))]);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// As [`Wait::first`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the wait loses nothing: the futures and outputs stay in the [`Wait`].
    // Test: tests/groups/combinators.rs
    pub async fn all(self) -> Vec<(usize, F::Output)> {
        self.wait.until(|_| false, Some(self.duration)).await
    }
}

impl<F, T, E> Within<'_, F>
where
    F: Future<Output = Result<T, E>> + Unpin,
{
    /// Waits as [`Wait::first_error`] does, until the deadline at most.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use std::time::Duration;
    ///
    /// gimmal::run(async {
    ///     let mut wait = gimmal::wait([1, 2].map(|_| gimmal::sleep(Duration::from_secs(3600))));
    ///     let failed = wait.within(Duration::from_millis(1)).first_error().await;
    ///     assert!(failed.is_empty());
    ///     assert_eq!(wait.pending(), 2);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// As [`Wait::first`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the wait loses nothing: the futures and outputs stay in the [`Wait`].
    // Test: tests/groups/combinators.rs
    pub async fn first_error(self) -> Vec<(usize, Result<T, E>)> {
        self.wait.until(has_failed, Some(self.duration)).await
    }
}

impl<F: Future> fmt::Debug for Wait<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait")
            .field("pending", &self.left)
            .field("done", &self.done.len())
            .finish_non_exhaustive()
    }
}
