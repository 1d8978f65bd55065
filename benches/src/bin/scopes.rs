//! What scopes, timeouts, canceling and groups cost, in interleaved chunks: ratios, differences, and memory.
//!
//! `scopes [--pairs N] [WORD…]` measures the lines whose names contain one of the words, or all of them.

use gimmal_benches::meter::{Counting, wall};
use gimmal_benches::ours;
use gimmal_benches::pairs::{self, Arguments, Effort, Quartiles, Work};
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

struct Stand {
    arguments: Arguments,
    ours: gimmal::Runtime,
    ring: Ring,
    /// Nothing is ever written to it.
    pipe: gimmal::fs::File,
    _writer: OwnedFd,
}

/// Two kinds of work, side by side: the median ratio, and the median difference in nanoseconds.
fn compare(
    stand: &mut Stand,
    rounds: usize,
    name: &str,
    goal: &str,
    ops: Option<u64>,
    a: impl FnMut(&mut Stand, u64) + 'static,
    b: impl FnMut(&mut Stand, u64) + 'static,
) {
    if !stand.arguments.choose(name) {
        return;
    }
    let mut works: [Work<Stand>; 2] = [Box::new(a), Box::new(b)];
    let samples = match ops {
        None => {
            let effort = Effort {
                rounds,
                chunk: CHUNK,
            };
            pairs::take_turns(stand, &mut works, effort)
        }
        Some(ops) => pairs::turns(stand, &mut works, &[ops; 2], rounds / 4 + 1),
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
    let mut stand = Stand {
        arguments,
        ours: ours::runtime(),
        ring: Ring::new()?,
        pipe: gimmal::fs::File::from(OwnedFd::from(reader)),
        _writer: writer.into(),
    };
    let stand = &mut stand;
    println!(
        "{:<58} {:>6} [quartiles]    {:>10}  {:>8} {:>8}",
        "work", "ratio", "more", "a, ns", "b, ns"
    );
    for depth in [1, 32] {
        compare(
            stand,
            rounds,
            &format!("no-op, {depth} at once: inside of a scope / plain"),
            "",
            None,
            move |s, n| ours::nop_in_scope(&mut s.ours, depth, n),
            move |s, n| ours::nop(&mut s.ours, depth, n),
        );
        compare(
            stand,
            rounds,
            &format!("no-op, {depth} at once: with .timeout / plain"),
            "at most 60 ns more",
            None,
            move |s, n| ours::nop_in_time(&mut s.ours, depth, n),
            move |s, n| ours::nop(&mut s.ours, depth, n),
        );
        compare(
            stand,
            rounds,
            &format!("no-op, {depth} at once: in time::timeout / plain"),
            "",
            None,
            move |s, n| ours::nop_in_timeout(&mut s.ours, depth, n),
            move |s, n| ours::nop(&mut s.ours, depth, n),
        );
    }
    compare(
        stand,
        rounds,
        "a parked read is canceled, its buffer back / ring",
        "at most 1.5",
        None,
        |s, n| ours::cancel_parked(&mut s.ours, &s.pipe, n),
        |s, n| s.ring.cancel_parked(s.pipe.as_raw_fd(), n),
    );
    for (name, times, goal) in [
        ("10^5 children of a new group / 10^5 tasks", 1, ""),
        (
            "10^5 children of a group, 8 times / 10^5 tasks, 8 times",
            8,
            "at most 1.3",
        ),
    ] {
        compare(
            stand,
            rounds,
            name,
            goal,
            Some(CHILDREN * times),
            move |s, n| ours::children(&mut s.ours, times, n),
            move |s, n| ours::tasks(&mut s.ours, times, n),
        );
    }
    wake_one(stand, rounds / 4 + 1);
    short_children(stand);
    Ok(ExitCode::SUCCESS)
}

/// One child yields, of many that sleep, and of few.
fn wake_one(stand: &mut Stand, rounds: usize) {
    const YIELDS: u32 = 100_000;
    const NAME: &str = "a yield of one child of 10^5 / of one of 10";
    if !stand.arguments.choose(NAME) {
        return;
    }
    let mut one = |of| ours::yields_of_one(&mut stand.ours, of, YIELDS).as_nanos() as f64;
    let (mut many, mut few) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        many.push(one(CHILDREN));
        few.push(one(10));
    }
    let ratio = Quartiles::of_ratios(&many, &few);
    println!(
        "{:<58} {:>6.3} [{:.3} {:.3}]  {:>10}  {:>8.1} {:>8.1}  the same",
        NAME,
        ratio.median,
        ratio.low,
        ratio.high,
        "",
        Quartiles::of(many).median,
        Quartiles::of(few).median,
    );
}

/// What many short children take at most, of which a thousand live at once.
fn short_children(stand: &mut Stand) {
    if !stand.arguments.choose("short children") {
        return;
    }
    for children in [SHORT_CHILDREN / 100, SHORT_CHILDREN] {
        Counting::start();
        ours::short_children(&mut stand.ours, children);
        let bytes = Counting::stop();
        println!(
            "{children} short children through one group, 1000 at once: at most {bytes} bytes"
        );
    }
}
