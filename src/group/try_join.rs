//! `try_join`: awaits several futures at once, until one of them fails.

use super::join::{AGAIN, poll_one};
use super::sub_wakers::{Look, SubWakers};
use crate::cancel::ScopedPoll;
use crate::runtime::JointPoll;
use crate::scope::ScopeKind;
use crate::tasks::TaskCell;
use pin_project_lite::pin_project;
use std::fmt;
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

/// Several futures: polled until one has failed, and from then on until all have ended. Returns `Pending` from the poll
/// in which the first one fails.
pub trait Trying: Future<Output = ()> {
    /// The values, if no future failed.
    type Values;

    /// The error type of each future.
    type Error;

    /// Whether a future has failed.
    fn has_failed(&self) -> bool;

    /// Takes the result, once this is ready or has failed.
    fn take_result(self: Pin<&mut Self>) -> Result<Self::Values, Self::Error>;
}

pin_project! {
    /// The future of [`try_join`] and [`try_join_all`].
    #[must_use = "futures do nothing unless they are awaited"]
    pub struct TryJoined<I> {
        // Must be dropped before `scoped`, which leaves the scope.
        #[pin]
        inner: Option<I>,
        scoped: ScopedPoll,
        canceled: bool,
    }
}

impl<I> TryJoined<I> {
    fn new(inner: I) -> TryJoined<I> {
        TryJoined {
            inner: Some(inner),
            scoped: ScopedPoll::new(ScopeKind::Plain),
            canceled: false,
        }
    }
}

impl<I: Trying> Future for TryJoined<I> {
    type Output = Result<I::Values, I::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let mut inner = this.inner.as_mut().as_pin_mut().expect(AGAIN);
        let mut ended = false;
        if !*this.canceled {
            ended = this.scoped.poll_through(inner.as_mut(), context).is_ready();
            if !ended && !inner.has_failed() {
                return Poll::Pending;
            }
        }
        if !ended {
            if !std::mem::replace(this.canceled, true) {
                this.scoped.cancel();
            }
            // Futures that wait for something foreign are dropped with `inner`.
            if this.scoped.poll(inner.as_mut(), context).is_pending() {
                return Poll::Pending;
            }
        }
        let result = inner.take_result();
        this.inner.set(None);
        this.scoped.close();
        Poll::Ready(result)
    }
}

impl<I> fmt::Debug for TryJoined<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TryJoined")
            .field("canceled", &self.canceled)
            .finish_non_exhaustive()
    }
}

/// A future, then its value, with the type erased.
trait Tries<E> {
    /// Polls the future, unless it is ready. Returns whether it is. If it fails first, moves its error into `error`.
    fn run(self: Pin<&mut Self>, error: &mut Option<E>, context: &mut Context<'_>) -> bool;
}

impl<F, T, E> Tries<E> for TaskCell<F>
where
    F: Future<Output = Result<T, E>>,
{
    fn run(mut self: Pin<&mut Self>, error: &mut Option<E>, context: &mut Context<'_>) -> bool {
        if self.is_ready() {
            return true;
        }
        if self.as_mut().poll_stored(context).is_pending() {
            return false;
        }
        let output = self.output();
        match output.take() {
            Some(Err(failed)) if error.is_none() => *error = Some(failed),
            other => *output = other,
        }
        true
    }
}

fn run_all<E>(
    futures: &mut [Pin<&mut dyn Tries<E>>],
    error: &mut Option<E>,
    context: &mut Context<'_>,
) -> Poll<()> {
    let _joint = JointPoll::begin();
    let had_failed = error.is_some();
    let mut all = true;
    for future in futures {
        all &= future.as_mut().run(error, context);
        if error.is_some() && !had_failed {
            return Poll::Pending;
        }
    }
    if all { Poll::Ready(()) } else { Poll::Pending }
}

/// The value of a future that did not fail.
fn value<T, E>(output: &mut Option<Result<T, E>>) -> T {
    match output.take() {
        Some(Ok(value)) => value,
        _ => unreachable!("all are ready, and none has failed"),
    }
}

macro_rules! try_join_tuples {
    ($($name:ident: $($F:ident $T:ident $f:ident),+;)+) => {$(
        pin_project! {
            pub struct $name<X, $($F: Future),+> {
                $(#[pin] $f: TaskCell<$F>,)+
                error: Option<X>,
            }
        }

        impl<X, $($F, $T),+> TryJoin for ($($F,)+)
        where
            $($F: Future<Output = Result<$T, X>>,)+
        {
            type Values = ($($T,)+);
            type Error = X;
            type Joined = TryJoined<$name<X, $($F),+>>;

            fn into_try_joined(self) -> Self::Joined {
                let ($($f,)+) = self;
                TryJoined::new($name { $($f: TaskCell::new($f),)+ error: None })
            }
        }

        impl<X, $($F, $T),+> Future for $name<X, $($F),+>
        where
            $($F: Future<Output = Result<$T, X>>,)+
        {
            type Output = ();

            fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
                let mut this = self.project();
                run_all(&mut [$(this.$f.as_mut()),+], this.error, context)
            }
        }

        impl<X, $($F, $T),+> Trying for $name<X, $($F),+>
        where
            $($F: Future<Output = Result<$T, X>>,)+
        {
            type Values = ($($T,)+);
            type Error = X;

            fn has_failed(&self) -> bool {
                self.error.is_some()
            }

            fn take_result(self: Pin<&mut Self>) -> Result<Self::Values, X> {
                let this = self.project();
                match this.error.take() {
                    Some(error) => Err(error),
                    None => Ok(($(value(this.$f.output()),)+)),
                }
            }
        }

        impl<X, $($F: Future),+> fmt::Debug for $name<X, $($F),+> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )+};
}

try_join_tuples! {
    Trying1: A T1 a;
    Trying2: A T1 a, B T2 b;
    Trying3: A T1 a, B T2 b, C T3 c;
    Trying4: A T1 a, B T2 b, C T3 c, D T4 d;
    Trying5: A T1 a, B T2 b, C T3 c, D T4 d, E T5 e;
    Trying6: A T1 a, B T2 b, C T3 c, D T4 d, E T5 e, F T6 f;
    Trying7: A T1 a, B T2 b, C T3 c, D T4 d, E T5 e, F T6 f, G T7 g;
    Trying8: A T1 a, B T2 b, C T3 c, D T4 d, E T5 e, F T6 f, G T7 g, H T8 h;
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
pub fn try_join_all<I, T, E>(futures: I) -> TryJoined<TryingAll<I::Item, T, E>>
where
    I: IntoIterator<Item: Future<Output = Result<T, E>>>,
{
    let futures: Vec<_> = futures.into_iter().map(|f| Some(Box::pin(f))).collect();
    TryJoined::new(TryingAll {
        left: futures.len(),
        values: futures.iter().map(|_| None).collect(),
        error: None,
        names: SubWakers::new(futures.len(), Location::caller()),
        futures,
    })
}

pub struct TryingAll<F, T, E> {
    futures: Vec<Option<Pin<Box<F>>>>,
    values: Vec<Option<T>>,
    error: Option<E>,
    left: usize,
    names: SubWakers,
}

/// The futures are pinned in their boxes, and values are never pinned.
impl<F, T, E> Unpin for TryingAll<F, T, E> {}

impl<F, T, E> Future for TryingAll<F, T, E>
where
    F: Future<Output = Result<T, E>>,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.left == 0 {
            return Poll::Ready(());
        }
        this.names.poll(context, &mut |index, context| {
            let Some(result) = poll_one(&mut this.futures[index], context) else {
                return Look::Pending;
            };
            this.left -= 1;
            match result {
                Ok(value) => this.values[index] = Some(value),
                Err(error) if this.error.is_none() => {
                    this.error = Some(error);
                    return Look::EndedAndStop;
                }
                Err(_) => {}
            }
            Look::Ended
        });
        match this.left {
            0 => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }
}

impl<F, T, E> Trying for TryingAll<F, T, E>
where
    F: Future<Output = Result<T, E>>,
{
    type Values = Vec<T>;
    type Error = E;

    fn has_failed(&self) -> bool {
        self.error.is_some()
    }

    fn take_result(mut self: Pin<&mut Self>) -> Result<Vec<T>, E> {
        match self.error.take() {
            Some(error) => Err(error),
            None => Ok(std::mem::take(&mut self.values)
                .into_iter()
                .flatten()
                .collect()),
        }
    }
}

impl<F, T, E> fmt::Debug for TryingAll<F, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TryingAll")
            .field("pending", &self.left)
            .finish_non_exhaustive()
    }
}
