//! Measures several sides in interleaved chunks of work.
//!
//! Machines are noisy and change speed, so a figure is comparable only with one that was measured at the same time. All
//! sides take turns, each with a chunk of a few milliseconds: A B A B …. Each round yields one ratio; the benches
//! report the median of the ratios, with their quartiles.

use crate::meter::Times;
use std::time::Duration;

/// The command line of a bench: `[--pairs N] [WORD…]`.
#[derive(Debug)]
pub struct Arguments {
    /// The number of rounds.
    pub rounds: usize,
    /// Selects the lines whose names contain one of them.
    pub words: Vec<String>,
}

impl Arguments {
    /// Parses the arguments of this process. `rounds` is the default. If they are invalid, prints the usage of `bench`.
    pub fn parse(bench: &str, rounds: usize) -> Option<Arguments> {
        let mut parsed = Arguments {
            rounds,
            words: Vec::new(),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            if argument != "--pairs" {
                parsed.words.push(argument);
                continue;
            }
            match arguments.next().and_then(|n| n.parse().ok()) {
                Some(n) if n > 0 => parsed.rounds = n,
                _ => {
                    eprintln!("usage: {bench} [--pairs N] [WORD…]");
                    return None;
                }
            }
        }
        Some(parsed)
    }

    /// Whether a line with this name is selected.
    pub fn choose(&self, name: &str) -> bool {
        let words = &self.words;
        words.is_empty() || words.iter().any(|word| name.contains(word.as_str()))
    }
}

/// Selects one of the three clocks.
pub type Clock = fn(&Times) -> Duration;

/// Performs a number of operations with some fixtures.
pub type Work<S> = Box<dyn FnMut(&mut S, u64)>;

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// The number of rounds. In each, every side runs one chunk.
    pub rounds: usize,
    /// The time that one chunk should take.
    pub chunk: Duration,
}

/// The chunks of one side: the time of each, by all clocks, and its number of operations.
#[derive(Debug, Default)]
pub struct Samples {
    chunks: Vec<(Times, u64)>,
}

impl Samples {
    /// Returns the nanoseconds per operation of each chunk.
    pub fn ns(&self, clock: Clock) -> Vec<f64> {
        let each = |(times, ops): &(Times, u64)| clock(times).as_nanos() as f64 / *ops as f64;
        self.chunks.iter().map(each).collect()
    }
}

/// Runs the sides in turn, with chunks that take about `effort.chunk`.
pub fn take_turns<S>(fixtures: &mut S, sides: &mut [Work<S>], effort: Effort) -> Vec<Samples> {
    let sizes: Vec<u64> = sides
        .iter_mut()
        .map(|work| chunk_size(fixtures, work, effort.chunk))
        .collect();
    turns(fixtures, sides, &sizes, effort.rounds)
}

/// Runs the sides in turn, with chunks of `sizes` operations.
pub fn turns<S>(
    fixtures: &mut S,
    sides: &mut [Work<S>],
    sizes: &[u64],
    rounds: usize,
) -> Vec<Samples> {
    let mut samples: Vec<Samples> = sides.iter().map(|_| Samples::default()).collect();
    for _ in 0..rounds {
        for ((work, &ops), samples) in sides.iter_mut().zip(sizes).zip(&mut samples) {
            let times = Times::of(|| work(fixtures, ops));
            samples.chunks.push((times, ops));
        }
    }
    samples
}

/// Returns the number of operations that take the time of a chunk. The first call of the work is made here, so what it
/// sets up is not measured.
fn chunk_size<S>(fixtures: &mut S, work: &mut Work<S>, chunk: Duration) -> u64 {
    work(fixtures, 1);
    let mut ops = 16;
    loop {
        let took = Times::of(|| work(fixtures, ops)).wall;
        if took * 4 >= chunk {
            let scaled = ops as f64 * chunk.as_secs_f64() / took.as_secs_f64();
            return (scaled as u64).max(1);
        }
        ops *= 2;
    }
}

/// A median and its quartiles.
#[derive(Clone, Copy, Debug)]
pub struct Quartiles {
    /// A quarter of the values are below this.
    pub low: f64,
    /// Half of the values are below this.
    pub median: f64,
    /// Three quarters of the values are below this.
    pub high: f64,
}

impl Quartiles {
    /// Returns the quartiles of some values, of which there is at least one.
    pub fn of(mut values: Vec<f64>) -> Quartiles {
        values.sort_by(f64::total_cmp);
        let at = |part: f64| {
            let place = part * (values.len() - 1) as f64;
            let (below, above) = (
                values[place.floor() as usize],
                values[place.ceil() as usize],
            );
            below + (above - below) * place.fract()
        };
        Quartiles {
            low: at(0.25),
            median: at(0.5),
            high: at(0.75),
        }
    }

    /// Returns the quartiles of the ratios a / b of each round.
    pub fn of_ratios(a: &[f64], b: &[f64]) -> Quartiles {
        Quartiles::of(a.iter().zip(b).map(|(a, b)| a / b).collect())
    }
}
