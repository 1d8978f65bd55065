//! What the benches share: the work, as done by gimmal and by its baselines, its files, and the meters.
//!
//! The same work has the same function name and arguments in [`gimmal_side`], [`ring`], [`std_side`], [`pool`] and
//! [`tokio_side`]; README.md describes it. `benches/` runs the work under criterion; `bin/budget.rs` compares the
//! sides in one run.

pub mod echo;
pub mod files;
pub mod fixtures;
pub mod gimmal_side;
pub mod interleave;
pub mod meter;
pub mod pool;
pub mod ring;
pub mod std_side;
pub mod tokio_side;

/// One page, aligned for O_DIRECT.
#[repr(align(4096))]
#[derive(Clone)]
pub struct Block(pub [u8; Block::SIZE]);

impl Block {
    /// The size of one read in bytes.
    pub const SIZE: usize = 4096;
}

impl Default for Block {
    fn default() -> Block {
        Block([0; Block::SIZE])
    }
}

/// A pseudorandom sequence (xorshift), so that every side gets the same values.
#[derive(Clone, Debug)]
pub struct Sequence(u64);

impl Sequence {
    /// Creates the sequence with this seed.
    pub fn new(number: u64) -> Sequence {
        Sequence(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Returns the next value, which is below `end`.
    #[inline]
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // Scaling the upper bits is cheaper than a division, which would cost more than the task that is measured.
        ((u128::from(self.0) * u128::from(end)) >> 64) as u64
    }

    /// Returns the offset of the next read of a block, in a file of `blocks`.
    #[inline]
    pub fn offset(&mut self, blocks: u64) -> u64 {
        self.below(blocks) * Block::SIZE as u64
    }
}

/// Returns the share of `ops` of worker `n` of `workers`.
pub(crate) fn share(ops: u64, workers: u64, n: u64) -> u64 {
    ops / workers + u64::from(n < ops % workers)
}
