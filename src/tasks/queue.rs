//! The order in which tasks are polled.

use crate::table::Key;

/// The capacity that each half of a queue keeps, in rows.
const ROOM_KEPT: usize = 1024;

/// A FIFO of the indices of ready rows: first the batch that is being polled, from `next` on, then the rows woken since.
/// Two vectors that swap cost less at each end than one ring buffer.
///
/// Each row records whether it is queued. An index whose row is not queued is skipped: the row was removed, or was
/// reused by another task that has already had its turn.
#[derive(Default)]
pub(super) struct KeyQueue {
    ready: Vec<u32>,
    next: usize,
    woken: Vec<u32>,
}

impl KeyQueue {
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

    /// Frees half of the excess capacity that a peak has left. Returns whether there is more to free.
    pub(super) fn trim(&mut self) -> bool {
        let mut more = false;
        for list in [&mut self.ready, &mut self.woken] {
            let room = list.capacity();
            if room > ROOM_KEPT && list.len() < room / 4 {
                list.shrink_to(room / 2);
                more |= room / 2 > ROOM_KEPT;
            }
        }
        more
    }

    /// Returns the row that will be polled after `others` more, if it is in the current batch.
    #[inline]
    pub(super) fn upcoming(&self, others: usize) -> Option<u32> {
        self.ready.get(self.next + others).copied()
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.ready.len() - self.next + self.woken.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_many_entries_is_released_and_none_is_lost() {
        const MANY: u32 = 100_000;
        let mut queue = KeyQueue::default();
        for n in 0..MANY {
            queue.push(Key::new(n, 1));
        }
        for n in 0..MANY {
            assert_eq!(queue.pop(), Some(n));
            queue.push(Key::new(MANY + n, 1));
            queue.trim();
        }
        for n in 0..MANY {
            queue.trim();
            assert_eq!(queue.pop(), Some(MANY + n));
        }
        assert_eq!(queue.pop(), None);
        while queue.trim() {}
        let room = queue.ready.capacity().max(queue.woken.capacity());
        assert!(room <= ROOM_KEPT, "{room}");
    }
}
