//! `join`: awaits several futures at once, for all of their outputs.

use super::branches::{AGAIN, Branch, Branches, List};
use crate::cancel::opaque_debug;
use crate::tasks::TaskCell;
use pin_project_lite::pin_project;
use std::convert::Infallible;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Awaits several futures in one task, and returns the tuple of their outputs: asyncio's `gather`.
///
/// They run in the current scope, as if they were awaited one after another. A failure of one does not cancel the
/// others: for that, use [`try_join`](crate::try_join()).
///
/// ```
/// use gimmal::fs;
///
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let (left, right) = gimmal::join((fs::read("Cargo.toml"), fs::read("README.md"))).await;
///     assert!(left?.len() + right?.len() > 0);
///     Ok(())
/// })
/// # }
/// ```
///
/// # Panics
///
/// Panics if one of the futures panics; the others are dropped.
///
/// # Cancel safety
///
/// A cancel loses nothing: each future is canceled, and the outputs are what they return. Dropping this drops the
/// futures and the outputs of those that were ready.
// Test: tests/combinators.rs
pub fn join<J: Join>(futures: J) -> J::Joined {
    futures.into_joined()
}

/// The argument of [`join`]: a tuple of one to eight futures.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be joined",
    label = "this is not a tuple of up to eight futures",
    note = "for a list of futures, use `join_all`"
)]
pub trait Join {
    /// The tuple of the outputs.
    type Outputs;

    /// The future that returns the outputs.
    type Joined: Future<Output = Self::Outputs>;

    #[doc(hidden)]
    fn into_joined(self) -> Self::Joined;
}

/// Nothing ends the wait early.
impl<F: Future> Branch<Infallible> for TaskCell<F> {
    type Output = F::Output;

    fn run(
        self: Pin<&mut Self>,
        _: usize,
        _: &mut Option<Infallible>,
        context: &mut Context<'_>,
    ) -> bool {
        self.is_ready() || self.poll_stored(context).is_ready()
    }

    fn take(self: Pin<&mut Self>) -> F::Output {
        self.output().take().expect(AGAIN)
    }
}

pin_project! {
    /// The future of [`join`].
    #[must_use = "futures do nothing unless they are awaited"]
    pub struct Joined<B> {
        // `None` once the outputs have been returned.
        #[pin]
        branches: Option<B>,
    }
}

impl<B> Joined<B> {
    pub(super) fn new(branches: B) -> Joined<B> {
        Joined {
            branches: Some(branches),
        }
    }
}

impl<B: Branches<Infallible>> Future for Joined<B> {
    type Output = B::Outputs;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<B::Outputs> {
        let mut this = self.project().branches;
        let mut branches = this.as_mut().as_pin_mut().expect(AGAIN);
        if branches.as_mut().poll_all(&mut None, context).is_pending() {
            return Poll::Pending;
        }
        let outputs = branches.take_all();
        this.set(None);
        Poll::Ready(outputs)
    }
}

opaque_debug! { Joined }

/// Awaits any number of futures of one type at once, and returns their outputs in the order of the futures.
///
/// They run in the current scope. Only futures that were woken are polled, and in one pass of the event loop no more
/// than its poll budget allows.
///
/// ```
/// use gimmal::fs;
///
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let paths = ["Cargo.toml", "README.md"];
///     let mut total = 0;
///     for text in gimmal::join_all(paths.map(|path| fs::read(path))).await {
///         total += text?.len();
///     }
///     assert!(total > 0);
///     Ok(())
/// })
/// # }
/// ```
///
/// # Panics
///
/// Panics if one of the futures panics; the others are dropped. Panics outside of a runtime.
///
/// # Cancel safety
///
/// A cancel loses nothing: each future is canceled, and the outputs are what they return. Dropping this drops the
/// futures and the outputs of those that were ready.
// Test: tests/combinators.rs
#[track_caller]
pub fn join_all<I>(futures: I) -> JoinAll<I::Item>
where
    I: IntoIterator<Item: Future>,
{
    let cells = futures.into_iter().map(TaskCell::new);
    Joined::new(List::new(cells, Location::caller()))
}

/// The future of [`join_all`].
pub type JoinAll<F> = Joined<List<TaskCell<F>>>;
