//! Timers: those that are leaves, and alarms, which only wake.

use crate::runtime::core::Core;
use crate::runtime::current::{self, Local, drop_waker};
use crate::runtime::scopes::{NO_OWNER, Sleeper};
use crate::sys::Instant;
use crate::table::{Key, Leaf, LeafKind};
use crate::tasks::copy_waker;
use std::mem;
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

    /// Returns whether the timer has fired. If it has not, its waker is exchanged for `waker`, for the caller to drop the
    /// old one.
    pub(crate) fn poll_timer(&self, key: Key, waker: &mut Waker) -> bool {
        let owner = {
            let mut timers = self.timers.borrow_mut();
            let Some(kept) = timers.wake_mut(key) else {
                return true;
            };
            mem::swap(&mut kept.waker, waker);
            kept.owner
        };
        self.keep_here(Leaf::new(LeafKind::Timer, key), owner);
        false
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
    pub(crate) fn is_armed(&self) -> bool {
        self.row.is_some()
    }

    /// Returns whether the alarm has gone off. If it has not, sets its waker. The first poll arms it for `deadline`,
    /// even if that is past, and returns false: so at least one turn goes by. All polls are in one runtime.
    pub(crate) fn poll(&mut self, core: &Core, deadline: Instant, waker: &Waker) -> bool {
        let mut waker = copy_waker(waker);
        let Some((runtime_id, key)) = self.row else {
            let sleeper = Sleeper {
                waker,
                owner: NO_OWNER,
            };
            let key = core.timers.borrow_mut().insert(deadline.as_ns(), sleeper);
            self.row = Some((core.runtime_id(), key));
            return false;
        };
        assert!(
            runtime_id == core.runtime_id(),
            "O9: its holder was polled in another runtime"
        );
        let kept = match core.timers.borrow_mut().wake_mut(key) {
            Some(sleeper) => {
                mem::swap(&mut sleeper.waker, &mut waker);
                true
            }
            None => false,
        };
        drop_waker(Some(waker));
        !kept
    }
}

impl Drop for Alarm {
    #[inline]
    fn drop(&mut self) {
        if let Some((runtime_id, key)) = self.row {
            disarm(runtime_id, key);
        }
    }
}

fn disarm(runtime_id: u64, key: Key) {
    if let Some(core) = current::reach(runtime_id) {
        drop_waker(core.release_timer(key));
    }
}
