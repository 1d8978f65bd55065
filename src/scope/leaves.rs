//! The leaves of one scope.

use crate::table::Leaf;
use std::collections::BinaryHeap;

/// The status of a leaf, according to the table that holds its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeafStatus {
    /// No longer pending, or pending in another scope.
    Finished,
    /// Awaited by a future.
    Pending,
    /// In flight in the kernel, although its future was dropped.
    Orphaned,
}

/// The capacity that a list keeps.
const ROOM_KEPT: usize = 16;

/// The pending leaves of one scope, and some that are no longer pending. Most scopes have one leaf at a time, and
/// allocate nothing for it.
#[derive(Debug, Default)]
pub(super) struct Leaves {
    one: Option<Leaf>,
    more: Vec<Leaf>,
}

impl Leaves {
    /// Adds a leaf. Finished leaves are removed before the list grows, so it is at most twice as long as necessary.
    pub(super) fn add(&mut self, leaf: Leaf, status: impl Fn(Leaf) -> LeafStatus) {
        let is_gone = |leaf| status(leaf) == LeafStatus::Finished;
        match self.one {
            Some(one) if one == leaf => return,
            Some(one) if !is_gone(one) => {}
            _ => {
                self.one = Some(leaf);
                if !self.more.is_empty() {
                    self.forget_some(is_gone);
                }
                return;
            }
        }
        if self.more.len() == self.more.capacity() {
            self.more.retain(|leaf| !is_gone(*leaf));
            if self.more.len() * 2 > self.more.capacity() {
                // A leaf that left and came back is listed once for each time. A heap sorts in a tenth of the code that a
                // slice takes.
                self.more = BinaryHeap::from(std::mem::take(&mut self.more)).into_sorted_vec();
                self.more.dedup();
            }
            if self.more.len() * 2 > self.more.capacity() {
                self.more.reserve(self.more.len());
            }
        }
        self.more.push(leaf);
    }

    /// Removes up to two finished leaves, so that the list shrinks faster than it grows, and frees its excess capacity.
    #[cold]
    fn forget_some(&mut self, is_gone: impl Fn(Leaf) -> bool) {
        for _ in 0..2 {
            self.more.pop_if(|last| is_gone(*last));
        }
        if self.more.capacity() / 4 > self.more.len().max(ROOM_KEPT) {
            self.more.shrink_to(self.more.len() * 2);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Leaf> {
        self.one.into_iter().chain(self.more.iter().copied())
    }

    /// Returns the status of the first leaf that is not finished, or `Finished` if there is none. Removes the finished
    /// leaves that it passes, so that the next call is cheap.
    #[inline]
    pub(super) fn pending(&mut self, status: impl Fn(Leaf) -> LeafStatus) -> LeafStatus {
        while let Some(leaf) = self.one.or_else(|| self.more.last().copied()) {
            let found = status(leaf);
            if found != LeafStatus::Finished {
                return found;
            }
            if self.one.take().is_none() {
                self.more.pop();
            }
        }
        LeafStatus::Finished
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Key, LeafKind};

    #[test]
    fn a_list_is_at_most_twice_as_long_as_its_pending_leaves() {
        let mut leaves = Leaves::default();
        let leaf = |n| Leaf::new(LeafKind::Timer, Key::new(n, 1));
        for n in 0..100_000 {
            // The last ten are pending.
            leaves.add(leaf(n), |leaf| {
                if leaf.key().index() + 10 > n {
                    LeafStatus::Pending
                } else {
                    LeafStatus::Finished
                }
            });
            for pending in n.saturating_sub(9)..=n {
                assert!(leaves.iter().any(|kept| kept == leaf(pending)));
            }
        }
        assert!(leaves.more.capacity() <= 64, "{}", leaves.more.capacity());
        assert_eq!(
            leaves.pending(|_| LeafStatus::Finished),
            LeafStatus::Finished
        );
        assert_eq!(leaves.iter().count(), 0);
    }

    #[test]
    fn the_memory_of_many_leaves_is_released_by_later_ones() {
        const MANY: u32 = 10_000;
        let mut leaves = Leaves::default();
        let leaf = |n| Leaf::new(LeafKind::Timer, Key::new(n, 1));
        for n in 0..MANY {
            leaves.add(leaf(n), |_| LeafStatus::Pending);
        }
        // One after another, while the first leaf stays.
        for n in MANY..2 * MANY {
            leaves.add(leaf(n), |leaf| match leaf.key().index() {
                1 => LeafStatus::Pending,
                _ => LeafStatus::Finished,
            });
            assert!(leaves.iter().any(|kept| kept == leaf(1)));
        }
        assert!(leaves.more.capacity() <= 64, "{}", leaves.more.capacity());
    }

    #[test]
    fn leaves_that_leave_and_come_back_do_not_make_the_list_grow() {
        let mut leaves = Leaves::default();
        let leaf = |n| Leaf::new(LeafKind::Wait, Key::new(n, 1));
        // The first leaf stays. Of the others, those up to `here` are back, and the rest have not come back yet.
        leaves.add(leaf(0), |_| LeafStatus::Pending);
        for _ in 0..10_000 {
            for here in 1..8 {
                leaves.add(leaf(here), |leaf| {
                    if leaf.key().index() <= here {
                        LeafStatus::Pending
                    } else {
                        LeafStatus::Finished
                    }
                });
            }
        }
        assert!(leaves.more.capacity() <= 64, "{}", leaves.more.capacity());
        for n in 0..8 {
            assert!(leaves.iter().any(|kept| kept == leaf(n)));
        }
    }
}
