//! Tasks that are polled by a future: the children of a group, of a join, of a race.

use super::{Child, Origin, Stage, TaskRow, Tasks};
use crate::table::{Key, Leaf, Owner};
use crate::tasks::queue::Queue;
use crate::tasks::waker::wake_id_of;
use std::task::Waker;

/// Children that one future polls: those that were woken, and whom to wake for them (K5).
#[derive(Default)]
pub(super) struct ReadyQueue {
    pub(super) ready: Queue,
    pub(super) waker: Option<Waker>,
    /// It is being polled, and looks at `ready` before it parks.
    polled: bool,
}

/// What a new child is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewChild {
    /// Where it is in its child set.
    pub(crate) slot: u32,
    /// There is a handle.
    pub(crate) held: bool,
    pub(crate) ready: bool,
    /// The scope of its group, and whether that is canceled.
    pub(crate) scope: Key,
    pub(crate) canceled: bool,
}

/// A child whose turn it is.
#[derive(Clone, Copy)]
pub(crate) struct ReadyChild {
    pub(crate) key: Key,
    /// Where it is in its child set.
    pub(crate) slot: u32,
    /// As in [`ReadyTask`].
    pub(crate) leaf: Option<Leaf>,
    pub(crate) canceled: bool,
    pub(crate) has_scope: bool,
}

/// What a child leaves.
#[must_use]
pub(crate) struct EndedChild {
    /// To be woken.
    pub(crate) joiner: Option<Waker>,
    /// Its own scope, to be closed.
    pub(crate) scope: Option<Key>,
    /// What it waited for, if it had none.
    pub(crate) leaf: Option<Leaf>,
}

const QUEUE: &str = "K5: a queue is there until the future that has the children closes it";

impl Tasks {
    pub(crate) fn open_ready_queue(&mut self) -> Key {
        self.queues.insert(ReadyQueue::default())
    }

    /// The child set is gone, and its children before it. The waker is to be dropped outside of the borrow.
    pub(crate) fn close_ready_queue(&mut self, queue: Key) -> Option<Waker> {
        self.queues.remove(queue)?.waker
    }

    /// A child for this place of a child set. It is polled when it is woken for the first time: at once, if it is `ready`. The
    /// waker is to be woken outside of the borrow.
    #[inline]
    pub(crate) fn insert_child(
        &mut self,
        queue: Key,
        child: NewChild,
        origin: Origin,
    ) -> (Key, Option<Waker>) {
        let child_of = Child {
            queue: queue.index(),
            slot: child.slot,
        };
        let key = self.rows.insert(TaskRow {
            task: None,
            stage: Stage::Parked,
            queued: child.ready,
            aborted: false,
            held: child.held,
            canceled: child.canceled,
            cancel_called: false,
            has_scope: false,
            refusals: 0,
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

    /// The future that has these children is polled, and wants to be woken by this for them. The waker that this replaces
    /// is to be dropped outside of the borrow.
    pub(crate) fn begin_children(&mut self, queue: Key, waker: Waker) -> Option<Waker> {
        let queue = self.queues.get_mut(queue).expect(QUEUE);
        queue.polled = true;
        queue.waker.replace(waker)
    }

    /// It was polled. True if children were woken that it has not looked at.
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

    /// Whether a child was woken.
    #[inline]
    pub(crate) fn has_ready_child(&self, queue: Key) -> bool {
        let queue = self.queues.get(queue);
        queue.is_some_and(|queue| queue.ready.len() > 0)
    }

    /// A child is not polled although it was woken. Whether it is canceled.
    pub(crate) fn unqueue_child(&mut self, key: Key) -> bool {
        match self.rows.get_mut(key) {
            Some(row) => {
                row.queued = false;
                row.stage = Stage::Parked;
                row.canceled
            }
            None => false,
        }
    }

    /// The next name that was woken, by its place.
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

    /// A child that was only a name is gone. Nobody waits for its end, and it had no scope.
    pub(crate) fn remove_sub_waker(&mut self, key: Key) {
        let row = self.rows.remove(key);
        debug_assert!(row.is_none_or(|row| row.joiner.is_none() && !row.has_scope));
    }

    /// The next child that was woken. It is about to be polled.
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
                    canceled: row.canceled,
                    has_scope: row.has_scope,
                });
            }
        }
    }

    /// A child was polled and is not ready. True if it was woken meanwhile.
    #[inline]
    pub(crate) fn park_child(&mut self, key: Key, leaf: Option<Leaf>) -> bool {
        let row = self.running(key);
        row.stage = Stage::Parked;
        row.leaf = leaf;
        row.queued
    }

    /// What a task waits for that is not polled any more, and has no scope of its own. True if it was woken meanwhile.
    #[inline]
    pub(crate) fn keep_leaf(&mut self, key: Key, leaf: Option<Leaf>) -> bool {
        self.rows.get_mut(key).is_some_and(|row| {
            row.leaf = leaf;
            row.queued
        })
    }

    /// Whether a task is to be polled again.
    #[inline]
    pub(crate) fn is_woken(&self, key: Key) -> bool {
        self.rows.get(key).is_some_and(|row| row.queued)
    }

    /// A child has ended, or is dropped: its output is with the one that has the children. Without a handle its row is
    /// free. What is left of it: whom to wake outside of the borrow, its own scope, and what it waited for without one.
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
        if !row.held {
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

    /// The handle of a child that has ended takes what it left.
    #[inline]
    pub(crate) fn take_child(&mut self, key: Key) -> Option<Waker> {
        self.rows.remove(key)?.joiner
    }

    /// The handle of a child lets go, or has taken its end. The waker is to be dropped outside of the borrow.
    pub(crate) fn release_child(&mut self, key: Key) -> Option<Waker> {
        let row = self.rows.get_mut(key)?;
        row.held = false;
        let joiner = row.joiner.take();
        if row.has_ended() {
            self.rows.remove(key);
        }
        joiner
    }

    /// A child was woken: the future that polls it is, too (K5). A loop, for that may be a child itself.
    #[inline]
    pub(super) fn wake_parent(&mut self, key: Key, child: Child) -> Option<Waker> {
        let (_, queue) = self.queues.at_mut(child.queue)?;
        queue.ready.push(key);
        match queue.polled {
            true => None,
            false => self.wake_above(child),
        }
    }

    fn wake_above(&mut self, mut child: Child) -> Option<Waker> {
        loop {
            let (_, queue) = self.queues.at_mut(child.queue)?;
            if queue.polled {
                return None;
            }
            let name = match wake_id_of(queue.waker.as_ref()?) {
                Some(name) if name.runtime() == self.runtime => name,
                // It comes back with the next poll.
                _ => return queue.waker.take(),
            };
            let (key, row) = self.rows.at_mut(name.index())?;
            if !name.fits(key) || row.queued {
                return None;
            }
            row.queued = true;
            if row.child_of == Child::NONE {
                self.ready.push(key);
                return None;
            }
            child = row.child_of;
            let (_, queue) = self.queues.at_mut(child.queue)?;
            queue.ready.push(key);
        }
    }
}
