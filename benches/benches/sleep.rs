//! 10⁵ tasks that sleep at once, for 50 to 150 ms each, compared with tokio on one thread: the CPU time of all of them
//! together, from the first spawn to the last join.

mod common;

use common::side;
use criterion::{SamplingMode, Throughput};
use gimmal_benches::{gimmal_side, meter, tokio_side};
use std::time::Duration;

const TASKS: u64 = 100_000;
const FROM: Duration = Duration::from_millis(50);
const TO: Duration = Duration::from_millis(150);

fn main() {
    let mut criterion = common::criterion();
    let mut fixtures = (gimmal_side::runtime(), tokio_side::runtime());
    let fixtures = &mut fixtures;
    let mut group = criterion.benchmark_group("sleep");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.throughput(Throughput::Elements(TASKS));
    side(
        &mut group,
        fixtures,
        ("gimmal", TASKS),
        meter::thread,
        |s, rounds| {
            (0..rounds).for_each(|_| gimmal_side::sleeps(&mut s.0, TASKS, FROM, TO));
        },
    );
    side(
        &mut group,
        fixtures,
        ("tokio", TASKS),
        meter::thread,
        |s, rounds| {
            (0..rounds).for_each(|_| tokio_side::sleeps(&s.1, TASKS, FROM, TO));
        },
    );
    group.finish();
    criterion.final_summary();
}
