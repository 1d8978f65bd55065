//! The deadlines of operations: which of them is to be asked to stop, and when.
//!
//! Most operations are over long before their deadline, and many in the turn that submits them. So a deadline is first only
//! written down, beside the nearest; what is still in flight when the turn after that enters the kernel goes into a heap.
//! An entry is not taken back when its operation ends: when the heap has doubled, those that stand for nothing any more are
//! swept out.
//!
//! - **D1** What is in flight, is awaited and has a deadline has one entry until it is asked to stop.
//! - **D2** No deadline of a young entry is before `young_next`, and none of another is before `next`.
//! - **D3** The heap is never longer than twice what was in flight at once, and some.

use crate::sys::Instant;
use crate::table::Key;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::mem;

/// So long a heap is not worth a sweep.
const SHORT: usize = 32;

/// Deadlines by operation. Whether one is in flight and awaited is asked of the caller.
#[derive(Debug)]
pub(super) struct Limits {
    /// Set since the last turn entered the kernel.
    young: Vec<(Instant, Key)>,
    young_next: Instant,
    /// Set in the turn before.
    recent: Vec<(Instant, Key)>,
    heap: BinaryHeap<Reverse<(Instant, u64)>>,
    /// With so many entries the heap is swept.
    sweep_at: usize,
    next: Instant,
}

impl Limits {
    pub(super) const fn new() -> Limits {
        Limits {
            young: Vec::new(),
            young_next: Instant::FAR_FUTURE,
            recent: Vec::new(),
            heap: BinaryHeap::new(),
            sweep_at: SHORT,
            next: Instant::FAR_FUTURE,
        }
    }

    /// This operation is to be stopped then.
    #[inline]
    pub(super) fn set(&mut self, deadline: Instant, key: Key) {
        // What is never reached is not kept.
        if deadline < Instant::FAR_FUTURE {
            self.young_next = self.young_next.min(deadline);
            self.young.push((deadline, key));
        }
    }

    /// No deadline is before this (D2).
    #[inline]
    pub(super) fn next(&self) -> Option<Instant> {
        let next = self.next.min(self.young_next);
        (next < Instant::FAR_FUTURE).then_some(next)
    }

    /// The kernel is about to be entered. Of what was set before the last time, that which is in flight goes into the heap.
    pub(super) fn grow_older(&mut self, is_live: impl Fn(Key) -> bool) {
        for (deadline, key) in self.recent.drain(..) {
            if is_live(key) {
                self.heap.push(Reverse((deadline, key.to_u64())));
            }
        }
        mem::swap(&mut self.young, &mut self.recent);
        if self.heap.len() >= self.sweep_at {
            self.sweep(is_live);
        }
        self.next = mem::replace(&mut self.young_next, Instant::FAR_FUTURE);
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

    /// How many entries there are, stale ones among them.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.recent.len() + self.heap.len()
    }

    /// Takes the next operation out of the heap whose deadline has come.
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
