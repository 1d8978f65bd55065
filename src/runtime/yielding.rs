//! Letting the others go first.

use std::pin::Pin;
use std::task::{Context, Poll};

/// Lets every other ready task go first, once. Timers and completions are looked at when all that is ready has had its turn
/// or the budget of the turn is spent, in polls or in time (see [`Builder::budget`](crate::runtime::Builder::budget)): so a long
/// computation that yields from step to step holds them up by a step or two.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let other = gimmal::spawn(async { 1 });
///     while !other.is_finished() {
///         gimmal::yield_now().await;
///     }
///     Ok(())
/// })
/// # }
/// ```
///
/// # Cancel safety
///
/// There is nothing to lose. It is not a leaf: it ends in a canceled scope too, as it always does (`tests/tasks.rs`).
pub fn yield_now() -> YieldNow {
    YieldNow { yielded: false }
}

/// The future of [`yield_now`].
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct YieldNow {
    yielded: bool,
}

impl Future for YieldNow {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
