//! The wake ID of a task: all that a waker holds.

#![forbid(unsafe_code)]

use crate::table::Key;

const GENERATION_BITS: u32 = 24;
const INDEX_BITS: u32 = 28;
const RUNTIME_BITS: u32 = 12;

/// The most runtimes that can live in a process at once.
pub(crate) const RUNTIMES_MAX: usize = 1 << RUNTIME_BITS;

/// The slot number of a runtime, the index of a task in it, and as much of its generation as fits.
///
/// A generation repeats after 2²⁴ tasks; a stale wake is then a false one, which does no harm (K3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct WakeId(u64);

impl WakeId {
    #[inline]
    pub(crate) fn new(runtime: u16, key: Key) -> WakeId {
        debug_assert!(u32::from(runtime) < 1 << RUNTIME_BITS);
        debug_assert!(key.index() < 1 << INDEX_BITS);
        let generation = u64::from(key.generation()) & ((1 << GENERATION_BITS) - 1);
        WakeId(
            u64::from(runtime) << (INDEX_BITS + GENERATION_BITS)
                | u64::from(key.index()) << GENERATION_BITS
                | generation,
        )
    }

    pub(crate) const fn from_bits(bits: u64) -> WakeId {
        WakeId(bits)
    }

    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    #[inline]
    pub(crate) const fn runtime(self) -> u16 {
        (self.0 >> (INDEX_BITS + GENERATION_BITS)) as u16
    }

    #[inline]
    pub(crate) const fn index(self) -> u32 {
        (self.0 >> GENERATION_BITS) as u32 & ((1 << INDEX_BITS) - 1)
    }

    /// Whether this can be the wake ID of the row with this key.
    #[inline]
    pub(crate) const fn fits(self, key: Key) -> bool {
        let mask = (1 << GENERATION_BITS) - 1;
        self.index() == key.index() && self.0 & mask == key.generation() as u64 & mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_id_returns_the_parts_it_was_made_of() {
        for runtime in [0, 1, RUNTIMES_MAX as u16 - 1] {
            for index in [0, 77, (1 << INDEX_BITS) - 1] {
                for generation in [0, 1, (1 << GENERATION_BITS) - 1, u32::MAX] {
                    let key = Key::new(index, generation);
                    let name = WakeId::from_bits(WakeId::new(runtime, key).bits());
                    assert_eq!(name.runtime(), runtime);
                    assert_eq!(name.index(), index);
                    assert!(name.fits(key));
                    assert!(!name.fits(Key::new(index, generation ^ 1)));
                    assert!(!name.fits(Key::new(index ^ 1, generation)));
                }
            }
        }
    }
}
