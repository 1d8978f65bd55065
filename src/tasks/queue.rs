//! The order in which tasks are polled.

use crate::table::Key;

/// Rows that are to be polled, by index, first in, first out: what is being worked off, from `next` on, and behind it what
/// has been woken since. Two vectors that change places cost less at each end than one ring does.
///
/// A row says itself that it is in a queue. One that does not is passed over: what was there has gone, or another has its
/// place, and has had its turn.
#[derive(Default)]
pub(super) struct Queue {
    ready: Vec<u32>,
    next: usize,
    woken: Vec<u32>,
}

impl Queue {
    #[inline]
    pub(super) fn push(&mut self, key: Key) {
        self.woken.push(key.index());
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<u32> {
        loop {
            if let Some(&index) = self.ready.get(self.next) {
                self.next += 1;
                return Some(index);
            }
            self.ready.clear();
            self.next = 0;
            if self.woken.is_empty() {
                return None;
            }
            std::mem::swap(&mut self.ready, &mut self.woken);
        }
    }

    /// The row that will be polled after so many others, as far as that is known.
    #[inline]
    pub(super) fn upcoming(&self, others: usize) -> Option<u32> {
        self.ready.get(self.next + others).copied()
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.ready.len() - self.next + self.woken.len()
    }
}
