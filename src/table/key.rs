//! The name of a row.

/// An index, and the generation that tells this row from those that had its place before.
///
/// A row's generation comes back after 2³² values. Whoever must not meet another's value after that owns the row until it
/// releases it; wakers do not, for them a false wake is harmless.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    pub(crate) const fn new(index: u32, generation: u32) -> Key {
        Key { index, generation }
    }

    pub(crate) const fn index(self) -> u32 {
        self.index
    }

    pub(crate) const fn generation(self) -> u32 {
        self.generation
    }

    /// The key as one number, for the user data of a submission.
    pub(crate) const fn to_u64(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    pub(crate) const fn from_u64(bits: u64) -> Key {
        Key {
            index: bits as u32,
            generation: (bits >> 32) as u32,
        }
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
