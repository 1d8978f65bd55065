//! Timers: those that are leaves, and alarms, which only wake.

use crate::runtime::core::Core;
use crate::runtime::current::{self, Local, drop_waker};
use crate::runtime::scopes::{NO_OWNER, Sleeper};
use crate::sys::Instant;
use crate::table::{Key, Leaf, LeafKind};
use crate::tasks::copy_waker;
use std::task::Waker;

impl Core {
    /// Arms a timer that is awaited, and so is a leaf.
    pub(crate) fn arm_timer(&self, deadline: Instant, waker: Waker) -> Key {
        let owner = self.owner_of_next_leaf();
        let sleeper = Sleeper { waker, owner };
        let key = self.timers.borrow_mut().insert(deadline.as_ns(), sleeper);
        self.enlist(Leaf::new(LeafKind::Timer, key), owner);
        key
    }

    /// Returns whether the timer has fired. If it has not, `waker` becomes its waker, and is replaced by the old one,
    /// for the caller to drop.
    pub(crate) fn poll_timer(&self, key: Key, waker: &mut Option<Waker>) -> bool {
        let owner = {
            let mut timers = self.timers.borrow_mut();
            let Some(kept) = timers.wake_mut(key) else {
                return true;
            };
            if let Some(new) = waker.take() {
                *waker = Some(std::mem::replace(&mut kept.waker, new));
            }
            kept.owner
        };
        self.keep_here(Leaf::new(LeafKind::Timer, key), owner);
        false
    }

    /// Arms an alarm: the timer of a deadline, which only wakes and is not a leaf.
    pub(crate) fn arm_alarm(&self, deadline: Instant, waker: Waker) -> Key {
        let owner = NO_OWNER;
        let sleeper = Sleeper { waker, owner };
        self.timers.borrow_mut().insert(deadline.as_ns(), sleeper)
    }

    /// Returns `Ok` if the alarm has gone off. If it has not, sets its waker and returns the old one, for the caller to
    /// drop.
    pub(crate) fn poll_alarm(&self, key: Key, waker: Waker) -> Result<(), Waker> {
        match self.timers.borrow_mut().wake_mut(key) {
            Some(kept) => Err(std::mem::replace(&mut kept.waker, waker)),
            None => Ok(()),
        }
    }

    /// Frees the row of a timer. Returns its waker, for the caller to drop.
    pub(crate) fn release_timer(&self, key: Key) -> Option<Waker> {
        self.context.leaf_ended(Leaf::new(LeafKind::Timer, key));
        let released = self.timers.borrow_mut().release(key);
        released.map(|sleeper| sleeper.waker)
    }
}

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
            let arm = |core: &Core| (core.runtime_id(), core.arm_alarm(deadline, waker));
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
