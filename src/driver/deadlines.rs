//! The deadlines of operations: which of them must be canceled, and when.
//!
//! Most operations complete long before their deadline, many in the turn that submits them. So a new deadline is only
//! appended to a list, and the nearest is remembered; if the operation is still in flight when the next turn enters the
//! kernel, the deadline moves to a heap. An entry is not removed when its operation ends: when the heap has doubled,
//! stale entries are swept out.
//!
//! - **D1** An operation that is in flight, awaited and has a deadline has one entry until it is canceled.
//! - **D2** No deadline of a new entry is before `new_next`, and no other deadline is before `next`.
//! - **D3** The heap is never longer than twice the largest number in flight at once, plus a constant.

use crate::sys::Instant;
use crate::table::Key;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::mem;

/// A heap of this length is not worth a sweep.
const SHORT: usize = 32;

/// Deadlines by operation. The caller knows whether an operation is in flight and awaited.
#[derive(Debug)]
pub(super) struct Deadlines {
    /// Set since the last turn entered the kernel.
    new: Vec<(Instant, Key)>,
    new_next: Instant,
    /// Set in the turn before that.
    recent: Vec<(Instant, Key)>,
    heap: BinaryHeap<Reverse<(Instant, u64)>>,
    /// The number of entries at which the heap is swept.
    sweep_at: usize,
    next: Instant,
}

impl Deadlines {
    pub(super) const fn new() -> Deadlines {
        Deadlines {
            new: Vec::new(),
            new_next: Instant::FAR_FUTURE,
            recent: Vec::new(),
            heap: BinaryHeap::new(),
            sweep_at: SHORT,
            next: Instant::FAR_FUTURE,
        }
    }

    /// Sets the time at which an operation is canceled.
    #[inline]
    pub(super) fn set(&mut self, deadline: Instant, key: Key) {
        // A deadline that is never reached is not kept.
        if deadline < Instant::FAR_FUTURE {
            self.new_next = self.new_next.min(deadline);
            self.new.push((deadline, key));
        }
    }

    /// Returns a time that no deadline precedes (D2).
    #[inline]
    pub(super) fn next(&self) -> Option<Instant> {
        let next = self.next.min(self.new_next);
        (next < Instant::FAR_FUTURE).then_some(next)
    }

    /// Called before the kernel is entered. Moves the deadlines set before the previous enter to the heap, if still in
    /// flight.
    pub(super) fn age(&mut self, is_live: impl Fn(Key) -> bool) {
        for (deadline, key) in self.recent.drain(..) {
            if is_live(key) {
                self.heap.push(Reverse((deadline, key.to_u64())));
            }
        }
        mem::swap(&mut self.new, &mut self.recent);
        if self.heap.len() >= self.sweep_at {
            self.sweep(is_live);
        }
        self.next = mem::replace(&mut self.new_next, Instant::FAR_FUTURE);
        if let Some(Reverse((first, _))) = self.heap.peek() {
            self.next = self.next.min(*first);
        }
    }

    #[cold]
    fn sweep(&mut self, is_live: impl Fn(Key) -> bool) {
        self.heap
            .retain(|Reverse((_, bits))| is_live(Key::from_u64(*bits)));
        self.sweep_at = 2 * self.heap.len() + SHORT;
        self.heap.shrink_to(self.sweep_at);
    }

    /// Returns the number of entries, including stale ones.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.new.len() + self.recent.len() + self.heap.len()
    }

    /// Returns the first deadline of an operation that is in flight.
    pub(super) fn first(&mut self, is_live: impl Fn(Key) -> bool) -> Option<Instant> {
        // All of them move to the heap, where the stale ones before the first are dropped.
        self.age(&is_live);
        self.age(&is_live);
        let popped = self.pop(Instant::from_ns(0), is_live);
        debug_assert!(popped.is_none(), "no deadline is before the start of time");
        self.next()
    }

    /// Takes the next operation whose deadline has passed out of the heap.
    pub(super) fn pop(&mut self, now: Instant, is_live: impl Fn(Key) -> bool) -> Option<Key> {
        while let Some(Reverse((deadline, bits))) = self.heap.peek().copied() {
            let key = Key::from_u64(bits);
            let is_live = is_live(key);
            if is_live && deadline > now {
                self.next = deadline;
                return None;
            }
            self.heap.pop();
            if is_live {
                return Some(key);
            }
        }
        self.next = Instant::FAR_FUTURE;
        None
    }
}
