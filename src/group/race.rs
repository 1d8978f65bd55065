//! `race`: awaits the first of several futures, without losing the outputs of the others.

use super::join::AGAIN;
use super::sub_wakers::{Look, SubWakers};
use crate::cancel::ScopedPoll;
use crate::runtime::JointPoll;
use crate::scope::ScopeKind;
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
/// Takes tuples of two to eight futures, vectors and arrays. If several are ready at once, the first in order wins. A
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

/// The argument of [`race`]: a tuple of two to eight futures, a vector or an array.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot race",
    label = "this is not a tuple of two to eight futures, and not a vector or an array of futures"
)]
pub trait Race {
    /// An `Option` of each output, in a tuple, a vector or an array like that of the futures.
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
    struct Racer<F: Future> {
        // Must be dropped before `scoped`, which leaves the scope.
        #[pin]
        future: Option<F>,
        output: Option<F::Output>,
        scoped: ScopedPoll,
        lost: bool,
    }
}

/// A racer with its future's type erased.
trait PollRacer {
    /// Polls the future, unless it has ended. Returns whether it has ended.
    fn run(self: Pin<&mut Self>, context: &mut Context<'_>) -> bool;

    /// Cancels the racer, because another was faster. It must be polled after that.
    fn lose(self: Pin<&mut Self>);
}

impl<F: Future> Racer<F> {
    fn new(future: F) -> Racer<F> {
        Racer {
            future: Some(future),
            output: None,
            scoped: ScopedPoll::new(ScopeKind::Plain),
            lost: false,
        }
    }

    fn output(self: Pin<&mut Self>) -> Option<F::Output> {
        self.project().output.take()
    }
}

impl<F: Future> PollRacer for Racer<F> {
    fn run(self: Pin<&mut Self>, context: &mut Context<'_>) -> bool {
        let mut this = self.project();
        let Some(future) = this.future.as_mut().as_pin_mut() else {
            return true;
        };
        let polled = match *this.lost {
            false => this.scoped.poll_through(future, context).map(Some),
            true => this.scoped.poll(future, context),
        };
        let Poll::Ready(output) = polled else {
            return false;
        };
        *this.output = output;
        this.future.set(None);
        this.scoped.close();
        true
    }

    fn lose(self: Pin<&mut Self>) {
        let this = self.project();
        if this.future.is_some() && !std::mem::replace(this.lost, true) {
            this.scoped.cancel();
        }
    }
}

/// Polls the racers until one wins; then cancels and polls the losers.
fn run_all(
    racers: &mut [Pin<&mut dyn PollRacer>],
    first: &mut Option<usize>,
    context: &mut Context<'_>,
) -> Poll<usize> {
    let _joint = JointPoll::begin();
    let first = match *first {
        Some(first) => first,
        None => {
            let mut all = racers.iter_mut();
            let Some(winner) = all.position(|racer| racer.as_mut().run(context)) else {
                return Poll::Pending;
            };
            for racer in &mut *racers {
                racer.as_mut().lose();
            }
            *first.insert(winner)
        }
    };
    let mut all = true;
    for racer in racers {
        all &= racer.as_mut().run(context);
    }
    if all {
        Poll::Ready(first)
    } else {
        Poll::Pending
    }
}

macro_rules! race_tuples {
    ($($name:ident: $($F:ident $f:ident),+;)+) => {$(
        pin_project! {
            /// The future of [`race`](crate::race()).
            #[must_use = "futures do nothing unless they are awaited"]
            pub struct $name<$($F: Future),+> {
                $(#[pin] $f: Racer<$F>,)+
                first: Option<usize>,
                given: bool,
            }
        }

        impl<$($F: Future),+> Race for ($($F,)+) {
            type Outputs = ($(Option<$F::Output>,)+);
            type Racing = $name<$($F),+>;

            fn into_race(self) -> $name<$($F),+> {
                let ($($f,)+) = self;
                $name { $($f: Racer::new($f),)+ first: None, given: false }
            }
        }

        impl<$($F: Future),+> Future for $name<$($F),+> {
            type Output = Raced<($(Option<$F::Output>,)+)>;

            fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
                let mut this = self.project();
                assert!(!*this.given, "{AGAIN}");
                match run_all(&mut [$(this.$f.as_mut()),+], this.first, context) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(first) => {
                        *this.given = true;
                        let outputs = ($(this.$f.output(),)+);
                        Poll::Ready(Raced { first, outputs })
                    }
                }
            }
        }

        impl<$($F: Future),+> fmt::Debug for $name<$($F),+> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("first", &self.first).finish_non_exhaustive()
            }
        }
    )+};
}

race_tuples! {
    Race2: A a, B b;
    Race3: A a, B b, C c;
    Race4: A a, B b, C c, D d;
    Race5: A a, B b, C c, D d, E e;
    Race6: A a, B b, C c, D d, E e, F f;
    Race7: A a, B b, C c, D d, E e, F f, G g;
    Race8: A a, B b, C c, D d, E e, F f, G g, H h;
}

/// The future of [`race`](crate::race()) of a vector.
#[must_use = "futures do nothing unless they are awaited"]
pub struct RaceAll<F: Future> {
    racers: Vec<Pin<Box<Racer<F>>>>,
    /// The number of racers that have not ended.
    left: usize,
    first: Option<usize>,
    names: SubWakers,
}

/// The futures are pinned in their boxes, and outputs are never pinned.
impl<F: Future> Unpin for RaceAll<F> {}

impl<F: Future> RaceAll<F> {
    #[track_caller]
    fn new(futures: impl IntoIterator<Item = F>) -> RaceAll<F> {
        let racers = futures.into_iter().map(|f| Box::pin(Racer::new(f)));
        let racers: Vec<_> = racers.collect();
        assert!(!racers.is_empty(), "a race of nobody would never end");
        RaceAll {
            left: racers.len(),
            first: None,
            names: SubWakers::new(racers.len(), Location::caller()),
            racers,
        }
    }

    /// Polls the racers that were woken, until one wins.
    fn run_woken(&mut self, context: &mut Context<'_>) {
        let had_first = self.first.is_some();
        self.names.poll(context, &mut |index, context| {
            if !self.racers[index].as_mut().run(context) {
                return Look::Pending;
            }
            self.left -= 1;
            if had_first {
                return Look::Ended;
            }
            self.first = Some(index);
            Look::EndedAndStop
        });
    }
}

impl<F: Future> Future for RaceAll<F> {
    type Output = Raced<Vec<Option<F::Output>>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        assert!(!this.racers.is_empty(), "{AGAIN}");
        if this.first.is_none() {
            this.run_woken(context);
            if this.first.is_some() {
                for (index, racer) in this.racers.iter_mut().enumerate() {
                    racer.as_mut().lose();
                    this.names.wake(index);
                }
            }
        }
        if this.first.is_some() && this.left > 0 {
            this.run_woken(context);
        }
        match this.first {
            Some(first) if this.left == 0 => {
                let racers = std::mem::take(&mut this.racers).into_iter();
                let outputs = racers.map(|mut racer| racer.as_mut().output()).collect();
                Poll::Ready(Raced { first, outputs })
            }
            _ => Poll::Pending,
        }
    }
}

impl<F: Future> fmt::Debug for RaceAll<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RaceAll")
            .field("first", &self.first)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

impl<F: Future> Race for Vec<F> {
    type Outputs = Vec<Option<F::Output>>;
    type Racing = RaceAll<F>;

    #[track_caller]
    fn into_race(self) -> RaceAll<F> {
        RaceAll::new(self)
    }
}

/// The future of [`race`](crate::race()) of an array.
#[must_use = "futures do nothing unless they are awaited"]
#[derive(Debug)]
pub struct RaceArray<F: Future, const N: usize>(RaceAll<F>);

impl<F: Future, const N: usize> Future for RaceArray<F, N> {
    type Output = Raced<[Option<F::Output>; N]>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|raced| Raced {
            first: raced.first,
            outputs: match raced.outputs.try_into() {
                Ok(outputs) => outputs,
                Err(_) => unreachable!("there is an output or none for each of the futures"),
            },
        })
    }
}

impl<F: Future, const N: usize> Race for [F; N] {
    type Outputs = [Option<F::Output>; N];
    type Racing = RaceArray<F, N>;

    #[track_caller]
    fn into_race(self) -> RaceArray<F, N> {
        RaceArray(RaceAll::new(self))
    }
}
