//! A step that needs no kernel, as a leaf: what is in a buffer already.

use crate::runtime::{self, Core, Refusal, refuse};
use crate::scope::Canceled;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Is ready at once, but lets others go first when the task has passed enough such leaves in this turn, and ends with
/// [`Canceled`] in a cancelled scope (C2).
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub(super) struct Pass {
    refusal: Refusal,
}

pub(super) fn pass() -> Pass {
    Pass {
        refusal: Refusal::None,
    }
}

impl Future for Pass {
    type Output = Result<(), Canceled>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if runtime::with(Core::is_canceled) {
            return refuse(&mut self.refusal, context).map(Err);
        }
        if !runtime::with(Core::may_pass) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        runtime::with(Core::charge);
        Poll::Ready(Ok(()))
    }
}
