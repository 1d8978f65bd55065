//! The name of a row.

/// An index, and the generation that tells this row from those that had its place before.
///
/// A row's generation comes back after 2³¹ values at the earliest (T5). A holder that must not meet another's value after that owns the row until it
/// releases it; wakers do not, for them a false wake is harmless.
///
/// It is one number, so that it is written and read as one: whoever reads the whole of what was just written in halves waits
/// until both are in the cache, which cost a task or a child more than any look-up.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
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

    /// The key as one number, for the user data of a submission.
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
    fn a_key_survives_the_way_through_user_data() {
        for key in [Key::new(0, 0), Key::new(u32::MAX, 1), Key::new(7, u32::MAX)] {
            assert_eq!(Key::from_u64(key.to_u64()), key);
        }
    }
}
