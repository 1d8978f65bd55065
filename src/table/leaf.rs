//! Identifies a pending leaf and its owner (task or scope).

use super::Key;
use std::num::NonZeroU64;

/// The table that contains a leaf's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeafKind {
    Operation,
    Timer,
    /// The wait for the end of the task with that key.
    Join,
    /// Any other wait.
    Wait,
}

/// Something pending that the runtime will complete: the key of its row, and the kind of table. Row indices have 28
/// bits, which leaves room for the kind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Leaf(NonZeroU64);

const KIND_SHIFT: u32 = 28;
const INDEX_MASK: u32 = (1 << KIND_SHIFT) - 1;

impl Leaf {
    #[inline]
    pub(crate) fn new(kind: LeafKind, key: Key) -> Leaf {
        debug_assert!(key.index() <= INDEX_MASK);
        let index = key.index() | (kind as u32) << KIND_SHIFT;
        let bits = Key::new(index, key.generation()).to_u64();
        match NonZeroU64::new(bits) {
            Some(bits) => Leaf(bits),
            None => unreachable!("no row has generation zero"),
        }
    }

    #[inline]
    pub(crate) fn kind(self) -> LeafKind {
        match Key::from_u64(self.0.get()).index() >> KIND_SHIFT {
            0 => LeafKind::Operation,
            1 => LeafKind::Timer,
            2 => LeafKind::Join,
            _ => LeafKind::Wait,
        }
    }

    #[inline]
    pub(crate) fn key(self) -> Key {
        let key = Key::from_u64(self.0.get());
        Key::new(key.index() & INDEX_MASK, key.generation())
    }
}

/// The owner of a leaf: a scope of the tree, or a task without a scope of its own, because it never awaited two things
/// at once. Such a task acts as its own scope: it keeps the one leaf in its row.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Owner(u64);

/// An owner, taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OwnerKind {
    Task(Key),
    Scope(Key),
}

/// Row indices have 28 bits, so the bit is free.
const TASK: u64 = 1 << 31;

impl Owner {
    #[inline]
    pub(crate) const fn scope(key: Key) -> Owner {
        Owner(key.to_u64())
    }

    #[inline]
    pub(crate) const fn task(key: Key) -> Owner {
        Owner(key.to_u64() | TASK)
    }

    #[inline]
    pub(crate) const fn kind(self) -> OwnerKind {
        let key = Key::from_u64(self.0 & !TASK);
        if self.0 & TASK != 0 {
            OwnerKind::Task(key)
        } else {
            OwnerKind::Scope(key)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_returns_the_parts_it_was_made_of() {
        for kind in [
            LeafKind::Operation,
            LeafKind::Timer,
            LeafKind::Join,
            LeafKind::Wait,
        ] {
            for key in [Key::new(0, 1), Key::new(INDEX_MASK, u32::MAX)] {
                let leaf = Leaf::new(kind, key);
                assert_eq!((leaf.kind(), leaf.key()), (kind, key));
            }
        }
    }

    #[test]
    fn an_owner_is_a_task_or_a_scope() {
        let key = Key::new(INDEX_MASK, u32::MAX);
        assert_eq!(Owner::task(key).kind(), OwnerKind::Task(key));
        assert_eq!(Owner::scope(key).kind(), OwnerKind::Scope(key));
        assert_ne!(Owner::task(key), Owner::scope(key));
    }
}
