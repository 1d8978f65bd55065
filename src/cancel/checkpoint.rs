//! A point where a computation yields and can be canceled.

use crate::error::Canceled;
use crate::runtime::{self, Core, LeafState};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Lets every other ready task run once, and returns [`Canceled`] if the scope is canceled. Use it in computations that
/// await nothing else. Timers, deadlines and I/O are served before the next step, if the time of this pass of the event
/// loop is used up (see [`Builder::budget`](crate::runtime::Builder::budget)).
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let mut sum = 0;
///     for chunk in 0..10 {
///         sum += chunk;
///         gimmal::cancel::checkpoint().await?;
///     }
///     assert_eq!(sum, 45);
///     Ok(())
/// })
/// # }
/// ```
///
/// # Errors
///
/// [`Canceled`], if the scope is canceled.
///
/// # Cancel safety
///
/// Nothing is lost: the wait holds nothing.
// Test: tests/scopes.rs
pub fn checkpoint() -> Checkpoint {
    Checkpoint(LeafState::New)
}

/// The future of [`checkpoint`].
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct Checkpoint(LeafState);

impl Future for Checkpoint {
    type Output = Result<(), Canceled>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match (self.0, runtime::with(Core::is_canceled)) {
            (_, true) => self.0.cancel(context).map(Err),
            (LeafState::Waiting, false) => Poll::Ready(Ok(())),
            (_, false) => {
                self.0 = LeafState::Waiting;
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}
