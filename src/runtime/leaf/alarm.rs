//! A timer that wakes a task but is not a leaf.

use crate::runtime::current::{self, Local, drop_waker};
use crate::sys::Instant;
use crate::table::Key;
use crate::tasks::copy_waker;
use std::task::Waker;

/// A deadline at which a task is woken. It is not a leaf: a canceled scope does not end it.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    /// The runtime's ID and the timer's row, once polled.
    row: Option<(u64, Key)>,
    _local: Local,
}

impl Alarm {
    /// Returns whether the alarm has gone off. If it has not, sets its waker. The first poll arms it for `deadline`,
    /// even if that is past, and returns false: so at least one turn goes by.
    pub(crate) fn poll(&mut self, deadline: Instant, waker: &Waker) -> bool {
        let waker = copy_waker(waker);
        let Some((runtime_id, key)) = self.row else {
            let arm =
                |core: &crate::runtime::Core| (core.runtime_id(), core.arm_alarm(deadline, waker));
            self.row = Some(current::with(arm));
            return false;
        };
        match current::with_own(runtime_id, |core| core.poll_alarm(key, waker)) {
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
        if let Some((runtime_id, key)) = self.row
            && let Some(core) = current::reach(runtime_id)
        {
            drop_waker(core.release_timer(key));
        }
    }
}
