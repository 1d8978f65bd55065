//! Tasks that a future polls: the children of a group, of a join, of a race.

use super::{ChildOf, Claim, Origin, ReadyTask, Stage, TaskRow, TaskState, Tasks};
use crate::table::Key;
use crate::tasks::queue::KeyQueue;
use crate::tasks::waker::wake_id_of;
use std::task::Waker;

/// The woken children of one child set, and the waker of the future that polls them (K5).
#[derive(Default)]
pub(super) struct ReadyQueue {
    pub(super) ready: KeyQueue,
    pub(super) waker: Option<Waker>,
    /// Whether that future is being polled: it checks `ready` before it parks.
    polled: bool,
}

/// The properties of a new child.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewChild {
    /// The child's slot in its child set.
    pub(crate) slot: u32,
    pub(crate) claim: Claim,
    /// Whether the child is held back until it is [started](Tasks::start_child).
    pub(crate) waits: bool,
    /// The scope of its group.
    pub(crate) scope: Key,
}

const SET: &str = "K5: a child set is open until the future that has the children closes it";

impl Tasks {
    pub(crate) fn open_child_set(&mut self) -> Key {
        self.sets.insert(ReadyQueue::default())
    }

    /// Closes a child set whose children are gone. Returns its waker, for the caller to drop outside the borrow.
    pub(crate) fn close_child_set(&mut self, set: Key) -> Option<Waker> {
        self.sets.remove(set)?.waker
    }

    /// Inserts a child, which is ready unless it waits. Returns its key, and a waker for the caller to wake outside the
    /// borrow.
    #[inline]
    pub(crate) fn insert_child(
        &mut self,
        set: Key,
        child: NewChild,
        origin: Origin,
    ) -> (Key, Option<Waker>) {
        let child_of = ChildOf {
            set: set.index(),
            slot: child.slot,
        };
        let stage = match child.waits {
            true => Stage::Waiting,
            false => Stage::Parked,
        };
        let state = TaskState::new(stage, !child.waits, child.claim);
        let row = TaskRow::new(None, state, child_of, child.scope, origin);
        let key = self.rows.insert(row);
        let foreign = match child.waits {
            true => None,
            false => self.wake_parent(key, child_of),
        };
        (key, foreign)
    }

    /// Inserts a wake ID for a part of the future that has the child set. It is not ready.
    pub(crate) fn insert_sub_waker(&mut self, set: Key, slot: u32, origin: Origin) -> Key {
        /// The scope is that of the poller, which the row need not know.
        const NO_SCOPE: Key = Key::new(0, 0);
        let child_of = ChildOf {
            set: set.index(),
            slot,
        };
        let state = TaskState::new(Stage::Parked, false, Claim::Dropped);
        let row = TaskRow::new(None, state, child_of, NO_SCOPE, origin);
        self.rows.insert(row)
    }

    /// Begins a poll of the future that owns these children, and sets its waker. Returns the replaced waker, for the
    /// caller to drop outside the borrow.
    pub(crate) fn begin_children(&mut self, set: Key, waker: Waker) -> Option<Waker> {
        let set = self.sets.get_mut(set).expect(SET);
        set.polled = true;
        set.waker.replace(waker)
    }

    /// Ends the poll. Returns whether there are woken children that it has not polled.
    pub(crate) fn end_children(&mut self, set: Key) -> bool {
        self.sets.get_mut(set).is_some_and(|set| {
            set.polled = false;
            set.ready.trim();
            set.ready.len() > 0
        })
    }

    /// Whether a woken child is queued.
    #[inline]
    pub(crate) fn has_ready_child(&self, set: Key) -> bool {
        let set = self.sets.get(set);
        set.is_some_and(|set| set.ready.len() > 0)
    }

    /// Returns the slot of the next sub-future that was woken.
    pub(crate) fn next_sub_waker(&mut self, set: Key) -> Option<u32> {
        let ready = &mut self.sets.get_mut(set)?.ready;
        loop {
            if let Some((_, row)) = self.rows.at_mut(ready.pop()?)
                && row.child_of.set == set.index()
                && row.state.unqueue()
            {
                return Some(row.child_of.slot);
            }
        }
    }

    /// Removes the row of a child that is only a wake ID. It has no joiner and no scope.
    pub(crate) fn remove_sub_waker(&mut self, key: Key) {
        let row = self.rows.remove(key);
        debug_assert!(row.is_none_or(|row| row.joiner.is_none() && !row.state.has_scope()));
    }

    /// Returns the next woken child, which is about to be polled, and its slot.
    #[inline]
    pub(crate) fn next_child(&mut self, set: Key) -> Option<(ReadyTask, u32)> {
        let queue = &mut self.sets.get_mut(set)?.ready;
        loop {
            if let Some((key, row)) = self.rows.at_mut(queue.pop()?)
                && row.child_of.set == set.index()
                && let Some(ready) = row.begin_poll(key)
            {
                return Some((ready, row.child_of.slot));
            }
        }
    }

    /// Starts a child that was held back. Returns its slot, or `None` if it was not held back; and a waker for the
    /// caller to wake outside the borrow.
    pub(crate) fn start_child(&mut self, key: Key) -> (Option<u32>, Option<Waker>) {
        if let Some(row) = self.rows.get_mut(key)
            && row.state.start()
        {
            let slot = row.child_of.slot;
            let name = self.name(key);
            return (Some(slot), self.wake(name));
        }
        (None, None)
    }

    /// Puts a woken child into the ready queue of its child set, and wakes the future that polls it (K5), which may be
    /// part of a child itself: as deep as those futures are nested in each other when they are polled.
    #[inline]
    pub(super) fn wake_parent(&mut self, key: Key, child_of: ChildOf) -> Option<Waker> {
        let (_, set) = self.sets.at_mut(child_of.set)?;
        set.ready.push(key);
        match set.polled {
            true => None,
            false => self.wake_above(child_of.set),
        }
    }

    fn wake_above(&mut self, set: u32) -> Option<Waker> {
        let (_, set) = self.sets.at_mut(set)?;
        match wake_id_of(set.waker.as_ref()?) {
            Some(name) if name.runtime() == self.runtime => self.wake(name),
            // The next poll sets the waker again.
            _ => set.waker.take(),
        }
    }
}
