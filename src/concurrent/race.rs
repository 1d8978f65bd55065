//! `race`: awaits the first of several futures, without losing the outputs of the others.

use super::branches::{AGAIN, Branch, Branches, List};
use crate::cancel::ScopedPoll;
use pin_project_lite::pin_project;
use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Awaits several futures in one task until the first is ready, cancels the others, and waits until they have ended.
/// Returns every output there is.
///
/// A cancel is a request: a loser may have become ready at the same moment, or its operation may complete before the
/// kernel stops it. Such an output is not lost; it is returned beside the first one. A loser that is cut short returns
/// its own error, with the buffer it had lent. Only a loser that waits for something of another crate is dropped, and
/// has no output.
///
/// Takes tuples of one to eight futures, vectors and arrays. If several are ready at once, the first in order wins. A
/// loser that was never polled is still polled, in a canceled scope, because it may have something to give back.
///
/// ```
/// use std::time::Duration;
///
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let read = gimmal::fs::read("Cargo.toml");
///     let asleep = gimmal::sleep(Duration::from_secs(3600));
///     let raced = gimmal::race((read, asleep)).await;
///     assert_eq!(raced.first, 0);
///     match raced.outputs {
///         (Some(text), Some(Err(gimmal::Canceled))) => assert!(!text?.is_empty()),
///         _ => unreachable!("both say how they ended"),
///     }
///     Ok(())
/// })
/// # }
/// ```
///
/// # Panics
///
/// Panics if one of the futures panics; the others are dropped. Panics outside of a runtime, and if the vector
/// or array is empty, because no future could win.
///
/// # Cancel safety
///
/// A cancel loses nothing: each future is canceled, and the outputs are what they return. Dropping the race drops the
/// futures and the outputs of those that were ready.
// Test: tests/groups/combinators.rs
#[track_caller]
pub fn race<R: Race>(futures: R) -> R::Racing {
    futures.into_race()
}

/// The argument of [`race`]: a tuple of one to eight futures, a vector or an array.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot race",
    label = "this is not a tuple of up to eight futures, and not a vector or an array of futures"
)]
pub trait Race {
    /// An `Option` of each output, in a tuple like that of the futures, or in a vector.
    type Outputs;

    /// The future of the race.
    type Racing: Future<Output = Raced<Self::Outputs>>;

    #[doc(hidden)]
    #[track_caller]
    fn into_race(self) -> Self::Racing;
}

/// The result of a [`race`].
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let raced = gimmal::race([1, 2, 3].map(|number| async move { number })).await;
///     assert_eq!(raced.first, 0);
///     // Those that were just as fast are not lost.
///     assert_eq!(raced.outputs, [Some(1), Some(2), Some(3)]);
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raced<O> {
    /// The index of the future that was ready first. Its output is present.
    pub first: usize,
    /// The outputs, in the order of the futures. `None` for a future that was dropped, because it was canceled while it
    /// waited for something of another crate, or ignored the cancel.
    pub outputs: O,
}

pin_project! {
    /// One of the futures, in its own scope, and later its output.
    pub struct Racer<F: Future> {
        // Must be dropped before `scoped`, which leaves the scope.
        #[pin]
        future: Option<F>,
        output: Option<F::Output>,
        scoped: ScopedPoll,
    }
}

impl<F: Future> Racer<F> {
    pub(super) fn new(future: F) -> Racer<F> {
        Racer {
            future: Some(future),
            output: None,
            scoped: ScopedPoll::deferring(),
        }
    }
}

/// The first that ends becomes the winner; the others then cancel themselves.
impl<F: Future> Branch<usize> for Racer<F> {
    type Output = Option<F::Output>;

    fn run(
        self: Pin<&mut Self>,
        index: usize,
        winner: &mut Option<usize>,
        context: &mut Context<'_>,
    ) -> bool {
        let mut this = self.project();
        let Some(future) = this.future.as_mut().as_pin_mut() else {
            return true;
        };
        if winner.is_some() {
            this.scoped.cancel();
        }
        let Poll::Ready(output) = this.scoped.poll(future, context) else {
            return false;
        };
        *this.output = output;
        this.future.set(None);
        this.scoped.close();
        winner.get_or_insert(index);
        true
    }

    fn take(self: Pin<&mut Self>) -> Option<F::Output> {
        self.project().output.take()
    }
}

pin_project! {
    /// The future of [`race`](crate::race()).
    #[must_use = "futures do nothing unless they are awaited"]
    pub struct Racing<B> {
        // `None` once the outputs have been returned.
        #[pin]
        racers: Option<B>,
        winner: Option<usize>,
    }
}

impl<B> Racing<B> {
    pub(super) fn new(racers: B) -> Racing<B> {
        Racing {
            racers: Some(racers),
            winner: None,
        }
    }
}

impl<B: Branches<usize>> Future for Racing<B> {
    type Output = Raced<B::Outputs>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let mut racers = this.racers.as_mut().as_pin_mut().expect(AGAIN);
        let had_winner = this.winner.is_some();
        let mut polled = racers.as_mut().poll_all(this.winner, context);
        if !had_winner && this.winner.is_some() {
            polled = racers.as_mut().poll_all(this.winner, context);
        }
        match (*this.winner, polled) {
            (Some(first), Poll::Ready(())) => {
                let outputs = racers.take_all();
                this.racers.set(None);
                Poll::Ready(Raced { first, outputs })
            }
            _ => Poll::Pending,
        }
    }
}

impl<B> fmt::Debug for Racing<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Racing")
            .field("first", &self.winner)
            .finish_non_exhaustive()
    }
}

/// The future of [`race`](crate::race()) of a vector or an array.
pub type RaceAll<F> = Racing<List<Racer<F>>>;

impl<F: Future> Race for Vec<F> {
    type Outputs = Vec<Option<F::Output>>;
    type Racing = RaceAll<F>;

    #[track_caller]
    fn into_race(self) -> RaceAll<F> {
        assert!(!self.is_empty(), "a race of no futures would never end");
        let racers = self.into_iter().map(Racer::new);
        Racing::new(List::new(racers, Location::caller()))
    }
}

impl<F: Future, const N: usize> Race for [F; N] {
    type Outputs = Vec<Option<F::Output>>;
    type Racing = RaceAll<F>;

    #[track_caller]
    fn into_race(self) -> RaceAll<F> {
        Vec::from(self).into_race()
    }
}
