//! The cost of scopes, timeouts, cancels and groups: ratios, differences, and memory.
//!
//! `scopes [--pairs N] [WORD…]` measures the lines whose names contain one of the words, or all lines.

use gimmal_benches::gimmal_side;
use gimmal_benches::interleave::{self, Arguments, Effort, Quartiles, Work};
use gimmal_benches::meter::{Counting, wall};
use gimmal_benches::ring::Ring;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::ExitCode;
use std::time::Duration;

#[global_allocator]
static HEAP: Counting = Counting;

const PAIRS: usize = 41;
const CHUNK: Duration = Duration::from_millis(10);
const CHILDREN: u64 = 100_000;
const SHORT_CHILDREN: u64 = 10_000_000;

struct Fixtures {
    arguments: Arguments,
    gimmal: gimmal::Runtime,
    ring: Ring,
    /// Nothing is ever written to this pipe.
    pipe: gimmal::fs::File,
    _writer: OwnedFd,
}

/// Measures `a` and `b` in turn, and prints the median ratio a / b and the median difference in nanoseconds.
fn compare(
    fixtures: &mut Fixtures,
    rounds: usize,
    name: &str,
    goal: &str,
    ops: Option<u64>,
    a: impl FnMut(&mut Fixtures, u64) + 'static,
    b: impl FnMut(&mut Fixtures, u64) + 'static,
) {
    if !fixtures.arguments.choose(name) {
        return;
    }
    let mut works: [Work<Fixtures>; 2] = [Box::new(a), Box::new(b)];
    let samples = match ops {
        None => {
            let effort = Effort {
                rounds,
                chunk: CHUNK,
            };
            interleave::take_turns(fixtures, &mut works, effort)
        }
        Some(ops) => interleave::turns(fixtures, &mut works, &[ops; 2], rounds / 4 + 1),
    };
    let (a, b) = (samples[0].ns(wall), samples[1].ns(wall));
    let ratio = Quartiles::of_ratios(&a, &b);
    let more = Quartiles::of(a.iter().zip(&b).map(|(a, b)| a - b).collect());
    println!(
        "{name:<58} {:>6.3} [{:.3} {:.3}]  {:>+7.1} ns  {:>8.1} {:>8.1}  {goal}",
        ratio.median,
        ratio.low,
        ratio.high,
        more.median,
        Quartiles::of(a).median,
        Quartiles::of(b).median,
    );
}

fn main() -> io::Result<ExitCode> {
    let Some(arguments) = Arguments::parse("scopes", PAIRS) else {
        return Ok(ExitCode::FAILURE);
    };
    let rounds = arguments.rounds;
    let (reader, writer) = io::pipe()?;
    let mut fixtures = Fixtures {
        arguments,
        gimmal: gimmal_side::runtime(),
        ring: Ring::new()?,
        pipe: gimmal::fs::File::from(OwnedFd::from(reader)),
        _writer: writer.into(),
    };
    let fixtures = &mut fixtures;
    println!(
        "{:<58} {:>6} [quartiles]    {:>10}  {:>8} {:>8}",
        "a / b", "ratio", "a - b", "a, ns", "b, ns"
    );
    for depth in [1, 32] {
        compare(
            fixtures,
            rounds,
            &format!("no-op, {depth} at once: inside a scope / plain"),
            "",
            None,
            move |s, n| gimmal_side::nop_in_scope(&mut s.gimmal, depth, n),
            move |s, n| gimmal_side::nop(&mut s.gimmal, depth, n),
        );
        compare(
            fixtures,
            rounds,
            &format!("no-op, {depth} at once: with .timeout / plain"),
            "goal: ≤ 60 ns more",
            None,
            move |s, n| gimmal_side::nop_in_time(&mut s.gimmal, depth, n),
            move |s, n| gimmal_side::nop(&mut s.gimmal, depth, n),
        );
        compare(
            fixtures,
            rounds,
            &format!("no-op, {depth} at once: in time::timeout / plain"),
            "",
            None,
            move |s, n| gimmal_side::nop_in_timeout(&mut s.gimmal, depth, n),
            move |s, n| gimmal_side::nop(&mut s.gimmal, depth, n),
        );
    }
    compare(
        fixtures,
        rounds,
        "a waiting read is canceled / ring",
        "goal: ≤ 1.5",
        None,
        |s, n| gimmal_side::cancel_waiting_read(&mut s.gimmal, &s.pipe, n),
        |s, n| s.ring.cancel_waiting_read(s.pipe.as_raw_fd(), n),
    );
    for (name, times, goal) in [
        ("10^5 children of a new group / 10^5 tasks", 1, ""),
        (
            "10^5 children of a group, 8 times / 10^5 tasks, 8 times",
            8,
            "goal: ≤ 1.3",
        ),
    ] {
        compare(
            fixtures,
            rounds,
            name,
            goal,
            Some(CHILDREN * times),
            move |s, n| gimmal_side::children(&mut s.gimmal, times, n),
            move |s, n| gimmal_side::tasks(&mut s.gimmal, times, n),
        );
    }
    wake_one(fixtures, rounds / 4 + 1);
    short_children(fixtures);
    Ok(ExitCode::SUCCESS)
}

/// Measures the yield of one child while many siblings sleep, and while few do.
fn wake_one(fixtures: &mut Fixtures, rounds: usize) {
    const YIELDS: u32 = 100_000;
    const NAME: &str = "a yield of one child of 10^5 / of one child of 10";
    if !fixtures.arguments.choose(NAME) {
        return;
    }
    let mut one =
        |of| gimmal_side::yields_of_one(&mut fixtures.gimmal, of, YIELDS).as_nanos() as f64;
    let (mut many, mut few) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        many.push(one(CHILDREN));
        few.push(one(10));
    }
    let ratio = Quartiles::of_ratios(&many, &few);
    println!(
        "{:<58} {:>6.3} [{:.3} {:.3}]  {:>10}  {:>8.1} {:>8.1}  goal: 1",
        NAME,
        ratio.median,
        ratio.low,
        ratio.high,
        "",
        Quartiles::of(many).median,
        Quartiles::of(few).median,
    );
}

/// Prints the peak memory of many short children, a thousand at once.
fn short_children(fixtures: &mut Fixtures) {
    if !fixtures.arguments.choose("short children") {
        return;
    }
    for children in [SHORT_CHILDREN / 100, SHORT_CHILDREN] {
        Counting::start();
        gimmal_side::short_children(&mut fixtures.gimmal, children);
        let bytes = Counting::stop();
        println!(
            "{children} short children through one group, 1000 at once: at most {bytes} bytes"
        );
    }
}
