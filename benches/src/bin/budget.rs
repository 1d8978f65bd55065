//! The performance budget for files, tasks and timers: ratios measured in one run, each with its goal.
//!
//! `budget [--pairs N] [WORD…]` measures the lines whose names contain one of the words, or all lines.

use gimmal_benches::fixtures::Fixtures;
use gimmal_benches::interleave::{self, Arguments, Clock, Effort, Quartiles, Samples, Work};
use gimmal_benches::meter::{Counting, process, thread, wall};
use gimmal_benches::{gimmal_side, tokio_side};
use std::io;
use std::process::ExitCode;
use std::time::Duration;

#[global_allocator]
static HEAP: Counting = Counting;

const PAIRS: usize = 41;
const CHUNK: Duration = Duration::from_millis(10);
/// Work that takes seconds is measured in fewer rounds: their number is divided by this.
const SLEEPS_DIVISOR: usize = 5;
const MANY_SLEEPS_DIVISOR: usize = 14;

/// What a line compares gimmal with, and the goal for the ratio.
struct Side {
    name: &'static str,
    clock: Clock,
    goal: Option<f64>,
    work: Work<Fixtures>,
}

/// One line of the budget.
struct Line {
    name: &'static str,
    gimmal: Work<Fixtures>,
    /// The number of operations per chunk, and the divisor of the number of rounds. By default the number is measured,
    /// and the divisor is one.
    fixed: Option<(u64, usize)>,
    sides: Vec<Side>,
}

impl Line {
    fn new(name: &'static str, gimmal: impl FnMut(&mut Fixtures, u64) + 'static) -> Line {
        Line {
            name,
            gimmal: Box::new(gimmal),
            fixed: None,
            sides: Vec::new(),
        }
    }

    fn fixed(mut self, ops: u64, divisor: usize) -> Line {
        self.fixed = Some((ops, divisor));
        self
    }

    fn beside(
        mut self,
        name: &'static str,
        clock: Clock,
        goal: impl Into<Option<f64>>,
        work: impl FnMut(&mut Fixtures, u64) + 'static,
    ) -> Line {
        self.sides.push(Side {
            name,
            clock,
            goal: goal.into(),
            work: Box::new(work),
        });
        self
    }

    fn measure(self, fixtures: &mut Fixtures, rounds: usize) {
        let mut works = vec![self.gimmal];
        let mut sides = Vec::new();
        for side in self.sides {
            works.push(side.work);
            sides.push((side.name, side.clock, side.goal));
        }
        let samples = match self.fixed {
            None => {
                let effort = Effort {
                    rounds,
                    chunk: CHUNK,
                };
                interleave::take_turns(fixtures, &mut works, effort)
            }
            Some((ops, divisor)) => {
                let sizes = vec![ops; works.len()];
                interleave::turns(fixtures, &mut works, &sizes, (rounds / divisor).max(3))
            }
        };
        for (other, (name, clock, goal)) in samples[1..].iter().zip(sides) {
            report(self.name, name, clock, goal, &samples[0], other);
        }
    }
}

fn report(
    line: &str,
    side: &str,
    clock: Clock,
    goal: Option<f64>,
    gimmal: &Samples,
    other: &Samples,
) {
    let (gimmal, other) = (gimmal.ns(clock), other.ns(clock));
    let ratio = Quartiles::of_ratios(&gimmal, &other);
    println!(
        "{line:<32} {side:<16} {:>6.3} [{:.3} {:.3}]  {:<22} {:>9.1} {:>9.1}",
        ratio.median,
        ratio.low,
        ratio.high,
        verdict(ratio.median, goal),
        Quartiles::of(gimmal).median,
        Quartiles::of(other).median,
    );
}

fn verdict(value: f64, goal: Option<f64>) -> String {
    match goal {
        None => "no goal".to_owned(),
        Some(goal) if value <= goal => format!("≤ {goal}: met"),
        Some(goal) => format!("≤ {goal}: missed by {:.0} %", (value / goal - 1.0) * 100.0),
    }
}

fn lines() -> Vec<Line> {
    let mut lines = Vec::new();
    for (name, depth, goal) in [
        ("no-op, 1 at once", 1, 1.15),
        ("no-op, 32 at once", 32, 1.8),
        ("no-op, 128 at once", 128, 1.8),
    ] {
        lines.push(
            Line::new(name, move |s, n| gimmal_side::nop(&mut s.gimmal, depth, n)).beside(
                "/ ring",
                wall,
                goal,
                move |s, n| s.ring.nop(depth, n),
            ),
        );
    }
    for (name, depth) in [
        ("cached 4 KiB read, 1 at once", 1),
        ("cached 4 KiB read, 32 at once", 32),
    ] {
        lines.push(
            Line::new(name, move |s, n| s.read_gimmal(depth, n))
                .beside("/ ring", wall, 1.08, move |s, n| s.read_ring(depth, n))
                .beside("/ tokio", wall, 0.22, move |s, n| s.read_tokio(depth, n))
                .beside("/ pread", wall, None, move |s, n| s.read_std(n)),
        );
    }
    // Must never be much slower than plain reads.
    for (name, size, goal) in [
        ("cached 64 KiB read, alone", 64 << 10, 1.3),
        ("cached 1 MiB read, alone", 1 << 20, 1.1),
    ] {
        lines.push(Line::new(name, move |s, n| s.large_gimmal(size, n)).beside(
            "/ pread",
            wall,
            goal,
            move |s, n| s.large_std(size, n),
        ));
    }
    lines.push(
        Line::new("whole small files, 64 at once", |s, n| {
            s.small_gimmal(64, n)
        })
        .beside("/ ring, 1 read", wall, 1.15, |s, n| {
            s.small_ring(false, 64, n)
        })
        .beside("/ ring, 2 reads", wall, None, |s, n| {
            s.small_ring(true, 64, n)
        })
        .beside("/ std", wall, 1.0, |s, n| s.small_std(n))
        .beside("/ pool of 4", wall, None, |s, n| s.small_pool(64, n))
        .beside("/ tokio", wall, None, |s, n| s.small_tokio(64, n)),
    );
    lines.push(
        Line::new("O_DIRECT 4 KiB read, 32 at once", |s, n| {
            s.direct_gimmal(32, n)
        })
        .beside("/ ring", wall, 1.0, |s, n| s.direct_ring(32, n))
        .beside("/ tokio, CPU", process, 0.25, |s, n| s.direct_tokio(32, n)),
    );
    lines.push(
        Line::new("write and read, with a timeout", |s, n| {
            gimmal_side::talk(&mut s.gimmal, n)
        })
        .beside("/ ring", wall, 1.1, |s, n| s.ring.talk(n))
        .beside("/ tokio", wall, 1.0, |s, n| tokio_side::talk(&s.tokio, n))
        .beside("/ ring only", wall, None, |s, n| {
            gimmal_side::talk(&mut s.gimmal_ring_only, n)
        }),
    );
    lines.push(
        Line::new("spawn and join", |s, n| {
            gimmal_side::spawn_and_join(&mut s.gimmal, n)
        })
        .beside("/ tokio", wall, 0.18, |s, n| {
            tokio_side::spawn_and_join(&s.tokio, n)
        }),
    );
    lines.push(
        Line::new("yield among 100 tasks", |s, n| {
            gimmal_side::yields(&mut s.gimmal, 100, n)
        })
        .beside("/ tokio", wall, 0.22, |s, n| {
            tokio_side::yields(&s.tokio, 100, n)
        }),
    );
    // All tasks are asleep before the first one wakes.
    for (name, tasks, divisor, from, to) in [
        ("10^5 sleeping tasks", 100_000, SLEEPS_DIVISOR, 50, 150),
        (
            "10^6 sleeping tasks",
            1_000_000,
            MANY_SLEEPS_DIVISOR,
            1000,
            1500,
        ),
    ] {
        let (from, to) = (Duration::from_millis(from), Duration::from_millis(to));
        lines.push(
            Line::new(name, move |s, n| {
                gimmal_side::sleeps(&mut s.gimmal, n, from, to)
            })
            .fixed(tasks, divisor)
            .beside("/ tokio, CPU", thread, 0.33, move |s, n| {
                tokio_side::sleeps(&s.tokio, n, from, to);
            }),
        );
    }
    lines
}

/// Prints the memory of a sleeping task, without its future.
fn memory(name: &str, tasks: u64) {
    let goal = 200.0;
    let mut gimmal = gimmal_side::runtime();
    Counting::start();
    let size = gimmal_side::fall_asleep(&mut gimmal, tasks);
    let bytes = overhead(Counting::stop(), tasks, size);
    let tokio = tokio_side::runtime();
    Counting::start();
    let tokio_size = tokio_side::fall_asleep(&tokio, tasks);
    let tokio_bytes = overhead(Counting::stop(), tasks, tokio_size);
    println!(
        "{name:<32} bytes per task beside its future ({size}): {bytes:.0}  {}  (tokio: {tokio_bytes:.0} beside {tokio_size})",
        verdict(bytes, Some(goal)),
    );
}

fn overhead(bytes: i64, tasks: u64, size: usize) -> f64 {
    bytes as f64 / tasks as f64 - size as f64
}

fn main() -> io::Result<ExitCode> {
    let Some(arguments) = Arguments::parse("budget", PAIRS) else {
        return Ok(ExitCode::FAILURE);
    };
    let mut fixtures = Fixtures::new()?;
    println!(
        "{:<32} {:<16} {:>6} [quartiles]    {:<22} {:>9} {:>9}",
        "gimmal", "/ compared with", "ratio", "goal", "ns", "other ns"
    );
    for line in lines() {
        if arguments.choose(line.name) {
            line.measure(&mut fixtures, arguments.rounds);
        }
    }
    for (name, tasks) in [
        ("memory of 10^5 sleeping tasks", 100_000),
        ("memory of 10^6 sleeping tasks", 1_000_000),
    ] {
        if arguments.choose(name) {
            memory(name, tasks);
        }
    }
    Ok(ExitCode::SUCCESS)
}
