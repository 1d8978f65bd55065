//! The wait of an operation that cannot be started yet, because another goes first.

use crate::error::Elapsed;
use crate::runtime::{self, Alarm, Core, Waiting};
use crate::sys::Instant;
use std::io;
use std::task::{Context, Poll};

/// A leaf that ends when the operation is canceled or its own deadline passes.
#[derive(Debug, Default)]
pub(super) struct QueuedWait {
    waiting: Waiting,
    /// The alarm for the deadline.
    alarm: Alarm,
}

impl QueuedWait {
    /// Returns the error if the operation must not be started any more.
    pub(super) fn over(
        &mut self,
        context: &Context<'_>,
        deadline: Option<Instant>,
    ) -> Option<io::Error> {
        if runtime::with(Core::is_canceled)
            && let Poll::Ready(canceled) = self.waiting.poll(context)
        {
            return Some(canceled.into());
        }
        let is_late = deadline.is_some_and(|deadline| deadline <= Instant::now());
        is_late.then(|| Elapsed.into())
    }

    /// Keeps waiting.
    pub(super) fn wait(
        &mut self,
        context: &Context<'_>,
        deadline: Option<Instant>,
    ) -> Poll<io::Error> {
        if let Some(deadline) = deadline {
            // An alarm that has fired woke this task, which checked the time before it got here.
            self.alarm
                .poll(&runtime::required(), deadline, context.waker());
        }
        self.waiting.poll(context).map(io::Error::from)
    }
}
