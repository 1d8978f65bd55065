//! The order in which tasks are polled.

use crate::table::Key;

/// The room of each half of a queue that is kept, in rows.
const ROOM_KEPT: usize = 1024;

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

    /// Gives back half of the room that a crowd has left. True if there is more to do.
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

    /// The row that will be polled after `others` more, as far as that is known.
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
    fn the_room_of_a_crowd_is_given_back_and_nothing_is_lost() {
        const CROWD: u32 = 100_000;
        let mut queue = Queue::default();
        for n in 0..CROWD {
            queue.push(Key::new(n, 1));
        }
        for n in 0..CROWD {
            assert_eq!(queue.pop(), Some(n));
            queue.push(Key::new(CROWD + n, 1));
            queue.trim();
        }
        for n in 0..CROWD {
            queue.trim();
            assert_eq!(queue.pop(), Some(CROWD + n));
        }
        assert_eq!(queue.pop(), None);
        while queue.trim() {}
        let room = queue.ready.capacity().max(queue.woken.capacity());
        assert!(room <= ROOM_KEPT, "{room}");
    }
}
