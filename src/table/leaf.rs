//! The name of something pending, and of where it belongs.

use super::Key;
use std::num::NonZeroU64;

/// Which table the row of a leaf is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Operation,
    Timer,
    /// The wait for the end of the task of that key.
    Join,
    /// Anything else that is awaited.
    Wait,
}

/// Something pending that the runtime will complete: the key of its row, and which table that is in. Indices of rows have
/// 28 bits, so there is room for the kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Leaf(NonZeroU64);

const KIND_SHIFT: u32 = 28;
const INDEX_MASK: u32 = (1 << KIND_SHIFT) - 1;

impl Leaf {
    #[inline]
    pub(crate) fn new(kind: Kind, key: Key) -> Leaf {
        debug_assert!(key.index() <= INDEX_MASK);
        let index = key.index() | (kind as u32) << KIND_SHIFT;
        let bits = Key::new(index, key.generation()).to_u64();
        match NonZeroU64::new(bits) {
            Some(bits) => Leaf(bits),
            None => unreachable!("no row has generation zero"),
        }
    }

    #[inline]
    pub(crate) fn kind(self) -> Kind {
        match Key::from_u64(self.0.get()).index() >> KIND_SHIFT {
            0 => Kind::Operation,
            1 => Kind::Timer,
            2 => Kind::Join,
            _ => Kind::Wait,
        }
    }

    #[inline]
    pub(crate) fn key(self) -> Key {
        let key = Key::from_u64(self.0.get());
        Key::new(key.index() & INDEX_MASK, key.generation())
    }
}

/// Where a leaf belongs: a scope of the tree, or a task that has none of its own as yet, because it never awaited two
/// things at once. Such a task is its own scope: it keeps the one leaf in its row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Owner(u64);

/// Indices of rows have 28 bits, so the bit is free.
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

    /// The task, or else the scope.
    #[inline]
    pub(crate) const fn find(self) -> Result<Key, Key> {
        let key = Key::from_u64(self.0 & !TASK);
        if self.0 & TASK != 0 {
            Ok(key)
        } else {
            Err(key)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_says_what_it_was_made_of() {
        for kind in [Kind::Operation, Kind::Timer, Kind::Join, Kind::Wait] {
            for key in [Key::new(0, 1), Key::new(INDEX_MASK, u32::MAX)] {
                let leaf = Leaf::new(kind, key);
                assert_eq!((leaf.kind(), leaf.key()), (kind, key));
            }
        }
    }

    #[test]
    fn a_place_is_a_task_or_a_scope() {
        let key = Key::new(INDEX_MASK, u32::MAX);
        assert_eq!(Owner::task(key).find(), Ok(key));
        assert_eq!(Owner::scope(key).find(), Err(key));
        assert_ne!(Owner::task(key), Owner::scope(key));
    }
}
