//! The key of a row.

/// A row index plus a generation that detects reuse.
///
/// A row's generation recurs after 2³¹ values at the earliest (T4). A holder that must never reach another's value owns
/// the row until it releases it; wakers do not, because a spurious wake is harmless for them.
///
/// The default names no row: generations start at 1.
///
/// It is a single number, so that it is written and read as one: reading as a whole what was just written in halves
/// stalls until both are in the cache, which cost a task or a child more than any lookup.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Key(u64);

impl Key {
    #[inline]
    pub(crate) const fn new(index: u32, generation: u32) -> Key {
        Key((generation as u64) << 32 | index as u64)
    }

    #[inline]
    pub(crate) const fn index(self) -> u32 {
        self.0 as u32
    }

    #[inline]
    pub(crate) const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Returns the key as one number, for the user data of a submission.
    pub(crate) const fn to_u64(self) -> u64 {
        self.0
    }

    pub(crate) const fn from_u64(bits: u64) -> Key {
        Key(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_the_round_trip_through_user_data() {
        for key in [Key::new(0, 0), Key::new(u32::MAX, 1), Key::new(7, u32::MAX)] {
            assert_eq!(Key::from_u64(key.to_u64()), key);
        }
    }
}
