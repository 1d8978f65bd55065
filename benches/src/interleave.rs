//! Comparing by interleaved pairs: these machines are noisy and change speed, so only what ran side by side is compared.
//!
//! Every side does the work in chunks of a few milliseconds, in turn: A B A B …. Each round gives one ratio, and what is
//! reported is their median, with the quartiles.

use crate::meter::Times;
use std::time::Duration;

/// What a bench is told on its command line: `[--pairs N] [WORD…]`.
#[derive(Debug)]
pub struct Arguments {
    /// How many rounds.
    pub rounds: usize,
    /// Lines whose names contain one of them are measured.
    pub words: Vec<String>,
}

impl Arguments {
    /// Those of this process, with so many rounds where it names none; where they are not understood it says how `bench` is
    /// called.
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

    /// Whether a line of this name is to be measured.
    pub fn choose(&self, name: &str) -> bool {
        let words = &self.words;
        words.is_empty() || words.iter().any(|word| name.contains(word.as_str()))
    }
}

/// What is compared: a clock.
pub type Clock = fn(&Times) -> Duration;

/// Does a number of operations on a stand.
pub type Work<S> = Box<dyn FnMut(&mut S, u64)>;

/// How often, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds, each of one chunk of every side.
    pub rounds: usize,
    /// What a chunk is to take.
    pub chunk: Duration,
}

/// The samples of one side: what each chunk took for one operation, in nanoseconds, by each clock.
#[derive(Debug, Default)]
pub struct Samples {
    chunks: Vec<(Times, u64)>,
}

impl Samples {
    /// Nanoseconds an operation, chunk by chunk.
    pub fn ns(&self, clock: Clock) -> Vec<f64> {
        let each = |(times, ops): &(Times, u64)| clock(times).as_nanos() as f64 / *ops as f64;
        self.chunks.iter().map(each).collect()
    }
}

/// Has the sides take turns.
pub fn take_turns<S>(stand: &mut S, sides: &mut [Work<S>], effort: Effort) -> Vec<Samples> {
    let sizes: Vec<u64> = sides
        .iter_mut()
        .map(|work| chunk_size(stand, work, effort.chunk))
        .collect();
    turns(stand, sides, &sizes, effort.rounds)
}

/// Has the sides take turns, with chunks of so many operations.
pub fn turns<S>(
    stand: &mut S,
    sides: &mut [Work<S>],
    sizes: &[u64],
    rounds: usize,
) -> Vec<Samples> {
    let mut samples: Vec<Samples> = sides.iter().map(|_| Samples::default()).collect();
    for _ in 0..rounds {
        for ((work, &ops), samples) in sides.iter_mut().zip(sizes).zip(&mut samples) {
            let times = Times::of(|| work(stand, ops));
            samples.chunks.push((times, ops));
        }
    }
    samples
}

/// How many operations fill a chunk. What the work makes on its first call is made here.
fn chunk_size<S>(stand: &mut S, work: &mut Work<S>, chunk: Duration) -> u64 {
    work(stand, 1);
    let mut ops = 16;
    loop {
        let took = Times::of(|| work(stand, ops)).wall;
        if took * 4 >= chunk {
            let scaled = ops as f64 * chunk.as_secs_f64() / took.as_secs_f64();
            return (scaled as u64).max(1);
        }
        ops *= 2;
    }
}

/// A median and what is around it.
#[derive(Clone, Copy, Debug)]
pub struct Quartiles {
    /// A quarter is below it.
    pub low: f64,
    /// Half is.
    pub median: f64,
    /// Three quarters are.
    pub high: f64,
}

impl Quartiles {
    /// Those of some values, of which there is at least one.
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

    /// Those of the ratios, round by round.
    pub fn of_ratios(ours: &[f64], theirs: &[f64]) -> Quartiles {
        Quartiles::of(ours.iter().zip(theirs).map(|(a, b)| a / b).collect())
    }
}
