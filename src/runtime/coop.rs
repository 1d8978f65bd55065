//! A step that needs no kernel, as a leaf: what is in a buffer already, or cannot be done at all.

use super::core::{Core, Refusal};
use super::current::try_with;
use super::scopes::reject_canceled;
use crate::buf::BufError;
use crate::scope::Canceled;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Is ready at once, but lets others go first when the task has passed enough such leaves in this turn, and ends with
/// [`Canceled`] in a canceled scope (C2).
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub(crate) struct Pass {
    refusal: Refusal,
}

pub(crate) fn pass() -> Pass {
    Pass {
        refusal: Refusal::None,
    }
}

impl Future for Pass {
    type Output = Result<(), Canceled>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // Outside of a runtime nobody waits for his turn.
        let (is_canceled, has_budget) =
            try_with(|core: &Core| (core.is_canceled(), core.has_budget()))
                .unwrap_or((false, true));
        if is_canceled {
            return reject_canceled(&mut self.refusal, context).map(Err);
        }
        if !has_budget {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        try_with(Core::consume_budget);
        Poll::Ready(Ok(()))
    }
}

/// The same with a buffer, which is in the error, too.
pub(crate) async fn pass_with<B>(buf: B) -> Result<B, BufError<B>> {
    match pass().await {
        Ok(()) => Ok(buf),
        Err(canceled) => Err(BufError::new(canceled.into(), buf)),
    }
}

/// An error that is there at once.
#[cold]
pub(crate) async fn ready_err<T>(error: io::Error) -> io::Result<T> {
    pass().await?;
    Err(error)
}
