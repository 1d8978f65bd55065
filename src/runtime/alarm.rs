//! A timer that wakes, and is not awaited itself.

use super::current::{self, Local, drop_waker};
use crate::sys::Instant;
use crate::table::Key;
use crate::tasks::copy_waker;
use std::task::Waker;

/// A moment at which somebody is woken. It is no leaf: a canceled scope does not end it.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    /// The runtime and the row of the timer, once it was polled.
    row: Option<(u64, Key)>,
    _local: Local,
}

impl Alarm {
    /// Whether it has gone off. If not, it wakes this from now on. The first poll sets it to `deadline`, also if that is past: so
    /// at least one turn goes by.
    pub(crate) fn poll(&mut self, deadline: Instant, waker: &Waker) -> bool {
        let waker = copy_waker(waker);
        let Some((serial, key)) = self.row else {
            let arm = |core: &super::Core| (core.serial(), core.arm_alarm(deadline, waker));
            self.row = Some(current::with(arm));
            return false;
        };
        match current::with_own(serial, |core| core.poll_alarm(key, waker)) {
            Ok(()) => true,
            Err(replaced) => {
                drop_waker(Some(replaced));
                false
            }
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some((serial, key)) = self.row
            && let Some(core) = current::reach(serial)
        {
            drop_waker(core.release_timer(key));
        }
    }
}
