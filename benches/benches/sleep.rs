//! 10⁵ tasks that sleep at once, for 50 to 150 ms each, beside tokio on one thread. The time is the processor's, of all of
//! them together: from the first that is spawned to the last that is joined.

mod common;

use common::side;
use criterion::{SamplingMode, Throughput};
use gimmal_benches::{meter, ours, peer};
use std::time::Duration;

const TASKS: u64 = 100_000;
const FROM: Duration = Duration::from_millis(50);
const TO: Duration = Duration::from_millis(150);

fn main() {
    let mut criterion = common::criterion();
    let mut stand = (ours::runtime(), peer::runtime());
    let stand = &mut stand;
    let mut group = criterion.benchmark_group("sleep");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.throughput(Throughput::Elements(TASKS));
    side(
        &mut group,
        stand,
        ("gimmal", TASKS),
        meter::thread,
        |s, rounds| {
            (0..rounds).for_each(|_| ours::sleeps(&mut s.0, TASKS, FROM, TO));
        },
    );
    side(
        &mut group,
        stand,
        ("tokio", TASKS),
        meter::thread,
        |s, rounds| {
            (0..rounds).for_each(|_| peer::sleeps(&s.1, TASKS, FROM, TO));
        },
    );
    group.finish();
    criterion.final_summary();
}
