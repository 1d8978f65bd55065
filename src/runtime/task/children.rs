//! The poll of a future that has a child set.

use crate::runtime::core::Core;
use crate::runtime::current::drop_waker;
use crate::table::Key;
use crate::tasks::copy_waker;
use std::mem::ManuallyDrop;
use std::task::{Context, Waker};

/// A guard: while it exists, the future that has the child set is being polled.
pub(crate) struct PollingChildren<'a> {
    core: &'a Core,
    set: Key,
    waker: &'a Waker,
}

impl Core {
    /// Begins a poll of the future that has this child set. If the guard is dropped while woken children are left, it
    /// wakes that future again.
    pub(crate) fn poll_children<'a>(&'a self, set: Key, waker: &'a Waker) -> PollingChildren<'a> {
        let copy = copy_waker(waker);
        let replaced = self.tasks.borrow_mut().begin_children(set, copy);
        drop_waker(replaced);
        PollingChildren {
            core: self,
            set,
            waker,
        }
    }

    /// Polls a sub-future under its own waker. It runs in the scope of its poller, with the coop budget of a child.
    pub(crate) fn poll_sub_waker<T>(
        &self,
        name: Key,
        poll: impl FnOnce(&mut Context<'_>) -> T,
    ) -> T {
        self.context.fill_coop_budget();
        // A waker of ours has nothing to drop.
        let waker = ManuallyDrop::new(self.polling_waker_of(name));
        let polled = poll(&mut Context::from_waker(&waker));
        if self.tasks.borrow().is_woken(name) {
            self.count_yield();
        }
        polled
    }
}

impl Drop for PollingChildren<'_> {
    fn drop(&mut self) {
        let has_more = self.core.tasks.borrow_mut().end_children(self.set);
        if has_more {
            // It may be foreign, and this drop a part of an unwinding (R1).
            self.core.hook.guard("a waker", || self.waker.wake_by_ref());
        }
    }
}
