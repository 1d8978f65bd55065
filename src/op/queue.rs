//! The wait of an operation that cannot be started yet, because another goes first.

use crate::runtime::{self, Core, Local, Waiting};
use crate::scope::Elapsed;
use crate::sys::Instant;
use crate::table::Key;
use crate::tasks::copy_waker;
use std::io;
use std::task::{Context, Poll};

/// A leaf, which ends when the operation is cancelled or its own deadline has come.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Waiting,
    /// The timer of the deadline: the runtime's serial and the row.
    alarm: Option<(u64, Key)>,
    _local: Local,
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
            let waker = copy_waker(context.waker());
            let replaced = match self.alarm {
                None => {
                    self.alarm = Some(runtime::with(|core| {
                        (core.serial(), core.arm_alarm(deadline, waker))
                    }));
                    None
                }
                // One that has gone off has woken this, which looked at the time before it came here.
                Some((serial, key)) => {
                    runtime::with_own(serial, |core| core.poll_alarm(key, waker)).err()
                }
            };
            runtime::drop_waker(replaced);
        }
        self.waiting.poll(context).map(io::Error::from)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        if let Some((serial, key)) = self.alarm
            && let Some(core) = runtime::reach(serial)
        {
            runtime::drop_waker(core.release_timer(key));
        }
    }
}
