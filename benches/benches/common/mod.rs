//! What the criterion benches share: settings, and a function that measures one side.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion};
use gimmal_benches::interleave::Clock;
use gimmal_benches::meter::Times;
use std::time::Duration;

/// Settings with which all benches together take a few minutes.
pub fn criterion() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(30)
        .configure_from_args()
}

/// Measures one side of a group by this clock. `work` performs the given number of operations, `depth` at once.
pub fn side<S>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    fixtures: &mut S,
    (name, depth): (&str, u64),
    clock: Clock,
    mut work: impl FnMut(&mut S, u64),
) {
    group.bench_function(BenchmarkId::new(name, depth), |bencher| {
        bencher.iter_custom(|ops| clock(&Times::of(|| work(fixtures, ops))));
    });
}
