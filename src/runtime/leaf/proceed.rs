//! A leaf that needs no kernel: for data that is already in a buffer, or a step that cannot be done at all.

use super::coop::poll_coop_budget;
use super::state::LeafState;
use crate::buf::BufError;
use crate::error::Canceled;
use crate::runtime::core::Core;
use crate::runtime::current::try_with;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A leaf that is ready at once, but yields when the task's coop budget is used up, and ends with [`Canceled`] in a
/// canceled scope (C2).
#[derive(Debug, Default)]
#[must_use = "futures do nothing unless they are awaited"]
pub(crate) struct Proceed(LeafState);

pub(crate) fn proceed() -> Proceed {
    Proceed::default()
}

impl Future for Proceed {
    type Output = Result<(), Canceled>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // Outside a runtime there is neither.
        if try_with(Core::is_canceled) == Some(true) {
            return self.0.cancel(context).map(Err);
        }
        ready!(poll_coop_budget(context.waker()));
        try_with(Core::spend_coop_budget);
        Poll::Ready(Ok(()))
    }
}

/// Passes a buffer through [`proceed`]. A cancel returns it in the error.
pub(crate) async fn proceed_with<B>(buf: B) -> Result<B, BufError<B>> {
    match proceed().await {
        Ok(()) => Ok(buf),
        Err(canceled) => Err(BufError::new(canceled.into(), buf)),
    }
}

/// Returns an error through [`proceed`], without a call to the kernel.
#[cold]
pub(crate) async fn ready_err<T>(error: io::Error) -> io::Result<T> {
    proceed().await?;
    Err(error)
}
