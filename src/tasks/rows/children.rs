//! Tasks that a future polls: the children of a group, of a join, of a race.

use super::{ChildPlace, Claim, Origin, Stage, TaskRow, Tasks};
use crate::table::{Key, Leaf, Owner};
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
    /// Whether there is a handle.
    pub(crate) held: bool,
    pub(crate) ready: bool,
    /// The scope of its group.
    pub(crate) scope: Key,
}

/// A child that is to be polled now.
#[derive(Clone, Copy)]
pub(crate) struct ReadyChild {
    pub(crate) key: Key,
    /// The child's slot in its child set.
    pub(crate) slot: u32,
    /// As in [`ReadyTask`].
    pub(crate) leaf: Option<Leaf>,
    pub(crate) has_scope: bool,
}

/// What a child leaves to do when it ends.
#[must_use]
pub(crate) struct EndedChild {
    /// The joiner, to be woken outside the borrow.
    pub(crate) joiner: Option<Waker>,
    /// The child's own scope, to be closed.
    pub(crate) scope: Option<Key>,
    /// The leaf that it waited for, if it had no scope of its own.
    pub(crate) leaf: Option<Leaf>,
}

const QUEUE: &str = "K5: a queue is there until the future that has the children closes it";

impl Tasks {
    pub(crate) fn open_ready_queue(&mut self) -> Key {
        self.queues.insert(ReadyQueue::default())
    }

    /// Closes the ready queue of a child set whose children are gone. Returns its waker, for the caller to drop outside
    /// the borrow.
    pub(crate) fn close_ready_queue(&mut self, queue: Key) -> Option<Waker> {
        self.queues.remove(queue)?.waker
    }

    /// Inserts a child with this slot in a child set. It is first polled when it is first woken: at once, if it is
    /// `ready`. Returns its key, and a waker for the caller to wake outside the borrow.
    #[inline]
    pub(crate) fn insert_child(
        &mut self,
        queue: Key,
        child: NewChild,
        origin: Origin,
    ) -> (Key, Option<Waker>) {
        let child_of = ChildPlace {
            queue: queue.index(),
            slot: child.slot,
        };
        let key = self.rows.insert(TaskRow {
            task: None,
            stage: Stage::Parked,
            queued: child.ready,
            aborted: false,
            claim: match child.held {
                true => Claim::Handle,
                false => Claim::Dropped,
            },
            cancel_called: false,
            has_scope: false,
            rejections: 0,
            child_of,
            joiner: None,
            join_owner: Owner::scope(child.scope),
            scope: child.scope,
            leaf: None,
            origin,
        });
        let foreign = if child.ready {
            self.wake_parent(key, child_of)
        } else {
            None
        };
        (key, foreign)
    }

    /// Begins a poll of the future that owns these children, and sets its waker. Returns the replaced waker, for the
    /// caller to drop outside the borrow.
    pub(crate) fn begin_children(&mut self, queue: Key, waker: Waker) -> Option<Waker> {
        let queue = self.queues.get_mut(queue).expect(QUEUE);
        queue.polled = true;
        queue.waker.replace(waker)
    }

    /// Ends the poll. Returns whether there are woken children that it has not polled.
    pub(crate) fn end_children(&mut self, queue: Key) -> bool {
        match self.queues.get_mut(queue) {
            Some(queue) => {
                queue.polled = false;
                queue.ready.trim();
                queue.ready.len() > 0
            }
            None => false,
        }
    }

    /// Whether a woken child is queued.
    #[inline]
    pub(crate) fn has_ready_child(&self, queue: Key) -> bool {
        let queue = self.queues.get(queue);
        queue.is_some_and(|queue| queue.ready.len() > 0)
    }

    /// Unqueues a woken child without polling it.
    pub(crate) fn unqueue_child(&mut self, key: Key) {
        if let Some(row) = self.rows.get_mut(key) {
            row.queued = false;
        }
    }

    /// Returns the slot of the next sub-future that was woken.
    pub(crate) fn next_sub_waker(&mut self, queue: Key) -> Option<u32> {
        let ready = &mut self.queues.get_mut(queue)?.ready;
        loop {
            if let Some((_, row)) = self.rows.at_mut(ready.pop()?)
                && row.queued
                && row.child_of.queue == queue.index()
            {
                row.queued = false;
                return Some(row.child_of.slot);
            }
        }
    }

    /// Removes the row of a child that is only a wake ID. It has no joiner and no scope.
    pub(crate) fn remove_sub_waker(&mut self, key: Key) {
        let row = self.rows.remove(key);
        debug_assert!(row.is_none_or(|row| row.joiner.is_none() && !row.has_scope));
    }

    /// Returns the next woken child, which is about to be polled.
    #[inline]
    pub(crate) fn next_child(&mut self, queue: Key) -> Option<ReadyChild> {
        let ready = &mut self.queues.get_mut(queue)?.ready;
        loop {
            if let Some((key, row)) = self.rows.at_mut(ready.pop()?)
                && row.queued
                && row.child_of.queue == queue.index()
                && row.stage == Stage::Parked
            {
                row.queued = false;
                row.stage = Stage::Running;
                return Some(ReadyChild {
                    key,
                    slot: row.child_of.slot,
                    leaf: row.leaf.take(),
                    has_scope: row.has_scope,
                });
            }
        }
    }

    /// Parks a child that was polled and is pending. Returns whether it was woken during the poll.
    #[inline]
    pub(crate) fn park_child(&mut self, key: Key, leaf: Option<Leaf>) -> bool {
        let row = self.running(key);
        row.stage = Stage::Parked;
        row.leaf = leaf;
        row.queued
    }

    /// Stores the leaf of a task after its poll, if it has no scope of its own. Returns whether it was woken during the
    /// poll.
    #[inline]
    pub(crate) fn keep_leaf(&mut self, key: Key, leaf: Option<Leaf>) -> bool {
        self.rows.get_mut(key).is_some_and(|row| {
            row.leaf = leaf;
            row.queued
        })
    }

    /// Whether a task is queued to be polled again.
    #[inline]
    pub(crate) fn is_woken(&self, key: Key) -> bool {
        self.rows.get(key).is_some_and(|row| row.queued)
    }

    /// Ends a child that is ready or dropped; the child set keeps its output. Removes the row if there is no handle.
    #[inline]
    pub(crate) fn end_child(&mut self, key: Key, leaf: Option<Leaf>) -> EndedChild {
        let Some(row) = self.rows.get_mut(key) else {
            unreachable!("K5: a child's row is there until it has ended")
        };
        row.stage = Stage::Output;
        let joiner = row.joiner.take();
        let scope = row.has_scope.then_some(row.scope);
        let leaf = row.leaf.take().or(leaf);
        row.has_scope = false;
        if row.claim != Claim::Handle {
            self.rows.remove(key);
        }
        let joiner = match joiner.as_ref().and_then(wake_id_of) {
            Some(name) if self.is_ours(name) => self.wake(name),
            _ => joiner,
        };
        EndedChild {
            joiner,
            scope,
            leaf,
        }
    }

    /// Removes the row of a child that has ended, when its handle takes the result. Returns its joiner.
    #[inline]
    pub(crate) fn take_child(&mut self, key: Key) -> Option<Waker> {
        self.rows.remove(key)?.joiner
    }

    /// Releases the row of a child when its handle is dropped or has taken the result. Returns the joiner, for the
    /// caller to drop outside the borrow.
    pub(crate) fn release_child(&mut self, key: Key) -> Option<Waker> {
        let row = self.rows.get_mut(key)?;
        row.claim = Claim::Dropped;
        let joiner = row.joiner.take();
        if row.has_ended() {
            self.rows.remove(key);
        }
        joiner
    }

    /// Queues a woken child, and wakes the future that polls it (K5). A loop, because that future may be part of a child
    /// itself.
    #[inline]
    pub(super) fn wake_parent(&mut self, key: Key, child: ChildPlace) -> Option<Waker> {
        let (_, queue) = self.queues.at_mut(child.queue)?;
        queue.ready.push(key);
        match queue.polled {
            true => None,
            false => self.wake_above(child),
        }
    }

    fn wake_above(&mut self, mut child: ChildPlace) -> Option<Waker> {
        loop {
            let (_, queue) = self.queues.at_mut(child.queue)?;
            if queue.polled {
                return None;
            }
            let name = match wake_id_of(queue.waker.as_ref()?) {
                Some(name) if name.runtime() == self.runtime => name,
                // The next poll sets the waker again.
                _ => return queue.waker.take(),
            };
            let (key, row) = self.rows.at_mut(name.index())?;
            if !name.fits(key) || row.queued {
                return None;
            }
            row.queued = true;
            if row.child_of == ChildPlace::NONE {
                self.ready.push(key);
                return None;
            }
            child = row.child_of;
            let (_, queue) = self.queues.at_mut(child.queue)?;
            queue.ready.push(key);
        }
    }
}
