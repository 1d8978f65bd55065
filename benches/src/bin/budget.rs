//! The budget, as far as files, tasks and timers reach: ratios in one run, each beside its goal.
//!
//! `budget [--pairs N] [WORD…]` measures the lines whose names contain one of the words, or all of them.

use gimmal_benches::meter::{Counting, process, thread, wall};
use gimmal_benches::pairs::{self, Arguments, Clock, Effort, Quartiles, Samples, Work};
use gimmal_benches::stand::Stand;
use gimmal_benches::{ours, peer};
use std::io;
use std::process::ExitCode;
use std::time::Duration;

#[global_allocator]
static HEAP: Counting = Counting;

const PAIRS: usize = 41;
const CHUNK: Duration = Duration::from_millis(10);
/// Rounds of the work that takes seconds: so many fewer.
const SLEEPS_DIVISOR: usize = 5;
const MANY_SLEEPS_DIVISOR: usize = 14;

/// One side of a line, with what gimmal's ratio to it is to be.
struct Side {
    name: &'static str,
    clock: Clock,
    goal: Option<f64>,
    work: Work<Stand>,
}

/// One line of the budget.
struct Line {
    name: &'static str,
    ours: Work<Stand>,
    /// Operations in a chunk, and what divides the number of rounds; measured and one, where there is none.
    fixed: Option<(u64, usize)>,
    sides: Vec<Side>,
}

impl Line {
    fn new(name: &'static str, ours: impl FnMut(&mut Stand, u64) + 'static) -> Line {
        Line {
            name,
            ours: Box::new(ours),
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
        work: impl FnMut(&mut Stand, u64) + 'static,
    ) -> Line {
        self.sides.push(Side {
            name,
            clock,
            goal: goal.into(),
            work: Box::new(work),
        });
        self
    }

    fn measure(self, stand: &mut Stand, rounds: usize) {
        let mut works = vec![self.ours];
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
                pairs::take_turns(stand, &mut works, effort)
            }
            Some((ops, divisor)) => {
                let sizes = vec![ops; works.len()];
                pairs::turns(stand, &mut works, &sizes, (rounds / divisor).max(3))
            }
        };
        for (theirs, (name, clock, goal)) in samples[1..].iter().zip(sides) {
            report(self.name, name, clock, goal, &samples[0], theirs);
        }
    }
}

fn report(
    line: &str,
    side: &str,
    clock: Clock,
    goal: Option<f64>,
    ours: &Samples,
    theirs: &Samples,
) {
    let (ours, theirs) = (ours.ns(clock), theirs.ns(clock));
    let ratio = Quartiles::of_ratios(&ours, &theirs);
    println!(
        "{line:<32} {side:<16} {:>6.3} [{:.3} {:.3}]  {:<22} {:>9.1} {:>9.1}",
        ratio.median,
        ratio.low,
        ratio.high,
        verdict(ratio.median, goal),
        Quartiles::of(ours).median,
        Quartiles::of(theirs).median,
    );
}

fn verdict(value: f64, goal: Option<f64>) -> String {
    match goal {
        None => "no goal".to_owned(),
        Some(goal) if value <= goal => format!("≤ {goal}: met"),
        Some(goal) => format!("≤ {goal}: {:.2} × over", value / goal),
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
            Line::new(name, move |s, n| ours::nop(&mut s.ours, depth, n)).beside(
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
            Line::new(name, move |s, n| s.read_ours(depth, n))
                .beside("/ ring", wall, 1.08, move |s, n| s.read_ring(depth, n))
                .beside("/ tokio", wall, 0.22, move |s, n| s.read_peer(depth, n))
                .beside("/ pread", wall, None, move |s, n| s.read_std(n)),
        );
    }
    // Never much worse than plain ones.
    for (name, size, goal) in [
        ("cached 64 KiB read, alone", 64 << 10, 1.3),
        ("cached 1 MiB read, alone", 1 << 20, 1.1),
    ] {
        lines.push(Line::new(name, move |s, n| s.large_ours(size, n)).beside(
            "/ pread",
            wall,
            goal,
            move |s, n| s.large_std(size, n),
        ));
    }
    lines.push(
        Line::new("whole small files, 64 at once", |s, n| s.small_ours(64, n))
            .beside("/ ring, 1 read", wall, 1.15, |s, n| {
                s.small_ring(false, 64, n)
            })
            .beside("/ ring, 2 reads", wall, None, |s, n| {
                s.small_ring(true, 64, n)
            })
            .beside("/ std", wall, 1.0, |s, n| s.small_std(n))
            .beside("/ pool of 4", wall, None, |s, n| s.small_pool(64, n))
            .beside("/ tokio", wall, None, |s, n| s.small_peer(64, n)),
    );
    lines.push(
        Line::new("O_DIRECT 4 KiB read, 32 at once", |s, n| {
            s.direct_ours(32, n)
        })
        .beside("/ ring", wall, 1.0, |s, n| s.direct_ring(32, n))
        .beside("/ tokio, CPU", process, 0.25, |s, n| s.direct_peer(32, n)),
    );
    lines.push(
        Line::new("write and read, with a timeout", |s, n| {
            ours::talk(&mut s.ours, n)
        })
        .beside("/ ring", wall, 1.1, |s, n| s.ring.talk(n))
        .beside("/ tokio", wall, 1.0, |s, n| peer::talk(&s.peer, n))
        .beside("/ by its ring", wall, None, |s, n| {
            ours::talk(&mut s.ours_by_ring, n)
        }),
    );
    lines.push(
        Line::new("spawn and join", |s, n| {
            ours::spawn_and_join(&mut s.ours, n)
        })
        .beside("/ tokio", wall, 0.18, |s, n| {
            peer::spawn_and_join(&s.peer, n)
        }),
    );
    lines.push(
        Line::new("yield among 100 tasks", |s, n| {
            ours::yields(&mut s.ours, 100, n)
        })
        .beside("/ tokio", wall, 0.22, |s, n| peer::yields(&s.peer, 100, n)),
    );
    // All are asleep before the first one wakes.
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
            Line::new(name, move |s, n| ours::sleeps(&mut s.ours, n, from, to))
                .fixed(tasks, divisor)
                .beside("/ tokio, CPU", thread, 0.33, move |s, n| {
                    peer::sleeps(&s.peer, n, from, to);
                }),
        );
    }
    lines
}

/// What a sleeping task takes beyond its future.
fn memory(name: &str, tasks: u64) {
    let goal = 200.0;
    let mut ours = ours::runtime();
    Counting::start();
    let size = ours::fall_asleep(&mut ours, tasks);
    let beyond = beyond(Counting::stop(), tasks, size);
    let peer = peer::runtime();
    Counting::start();
    let peer_size = peer::fall_asleep(&peer, tasks);
    let peer_beyond = self::beyond(Counting::stop(), tasks, peer_size);
    println!(
        "{name:<32} bytes a task beyond its future: {beyond:.0}  {}  (future: {size}; tokio: {peer_beyond:.0} beyond \
         its future of {peer_size})",
        verdict(beyond, Some(goal)),
    );
}

fn beyond(bytes: i64, tasks: u64, size: usize) -> f64 {
    bytes as f64 / tasks as f64 - size as f64
}

fn main() -> io::Result<ExitCode> {
    let Some(arguments) = Arguments::parse("budget", PAIRS) else {
        return Ok(ExitCode::FAILURE);
    };
    let mut stand = Stand::new()?;
    println!(
        "{:<32} {:<16} {:>6} [quartiles]    {:<22} {:>9} {:>9}",
        "work", "beside", "ratio", "goal", "our ns", "their ns"
    );
    for line in lines() {
        if arguments.choose(line.name) {
            line.measure(&mut stand, arguments.rounds);
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
