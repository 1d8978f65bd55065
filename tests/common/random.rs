//! Seeded random numbers.

/// A reproducible source of random numbers: set `GIMMAL_SEED` to the seed that a failure printed.
#[derive(Debug)]
pub struct Random {
    seed: u64,
    state: u64,
}

#[expect(
    clippy::new_without_default,
    clippy::should_implement_trait,
    reason = "…"
)]
impl Random {
    pub fn new() -> Random {
        let seed = match std::env::var("GIMMAL_SEED") {
            Ok(seed) => seed.parse().expect("GIMMAL_SEED is a number"),
            Err(_) => {
                let now = std::time::SystemTime::UNIX_EPOCH
                    .elapsed()
                    .expect("a clock");
                now.as_nanos() as u64
            }
        };
        Random { seed, state: seed }
    }

    /// A separate source for a task, derived from this one.
    pub fn fork(&mut self) -> Random {
        Random {
            seed: self.seed,
            state: self.next(),
        }
    }

    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

impl Drop for Random {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("run again with GIMMAL_SEED={}", self.seed);
        }
    }
}
