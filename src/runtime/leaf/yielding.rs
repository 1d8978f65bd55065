//! Yielding to other tasks.

use std::pin::Pin;
use std::task::{Context, Poll};

/// Yields once to every other ready task. The event loop checks timers and completions after all ready tasks have been
/// polled, or when the budget of polls or time is used up (see [`Builder::budget`](crate::runtime::Builder::budget)). So
/// a long computation that yields between steps delays them by a step or two.
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
/// Dropping the future loses nothing. Cancellation does not affect it: in a canceled scope it completes as usual.
// Test: tests/tasks/main.rs
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
