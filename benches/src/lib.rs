//! What the benches share: the work, done by gimmal and by its baselines, the files that it is done on, and the meters.
//!
//! One piece of work has the same name and the same arguments in [`ours`], [`ring`], [`plain`], [`pool`] and [`peer`];
//! what it does is said in README.md. `benches/` runs them under criterion; `src/bin/budget.rs` compares them in one run.

pub mod echo;
pub mod files;
pub mod meter;
pub mod ours;
pub mod pairs;
pub mod peer;
pub mod plain;
pub mod pool;
pub mod ring;
pub mod stand;

/// One page, at an address that O_DIRECT takes.
#[repr(align(4096))]
#[derive(Clone)]
pub struct Block(pub [u8; Block::SIZE]);

impl Block {
    /// What one read asks for.
    pub const SIZE: usize = 4096;
}

impl Default for Block {
    fn default() -> Block {
        Block([0; Block::SIZE])
    }
}

/// A fixed sequence that looks random (xorshift), so that every side gets the same one.
#[derive(Clone, Debug)]
pub struct Sequence(u64);

impl Sequence {
    /// The sequence of this number.
    pub fn new(number: u64) -> Sequence {
        Sequence(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next of its values that is below `end`.
    #[inline]
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The upper bits, scaled: a division would cost more than the task that is measured.
        ((u128::from(self.0) * u128::from(end)) >> 64) as u64
    }

    /// Where the next read of a block begins in a file of so many blocks.
    #[inline]
    pub fn offset(&mut self, blocks: u64) -> u64 {
        self.below(blocks) * Block::SIZE as u64
    }
}

/// The share of `ops` that worker `n` of `workers` does.
pub(crate) fn share(ops: u64, workers: u64, n: u64) -> u64 {
    ops / workers + u64::from(n < ops % workers)
}
