//! The wait of an operation that cannot be started yet, because another goes first.

use crate::runtime::{self, Alarm, Core, Waiting};
use crate::scope::Elapsed;
use crate::sys::Instant;
use std::io;
use std::task::{Context, Poll};

/// A leaf, which ends when the operation is canceled or its own deadline has come.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Waiting,
    /// Of the deadline.
    alarm: Alarm,
}

impl Queue {
    /// Why the operation is not to be started any more, if that is so.
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

    /// Waits on.
    pub(super) fn wait(
        &mut self,
        context: &Context<'_>,
        deadline: Option<Instant>,
    ) -> Poll<io::Error> {
        if let Some(deadline) = deadline {
            // One that has gone off has woken this, which looked at the time before it came here.
            self.alarm.poll(deadline, context.waker());
        }
        self.waiting.poll(context).map(io::Error::from)
    }
}
