//! What the benches share: their settings, and one way to measure.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion};
use gimmal_benches::meter::Times;
use gimmal_benches::pairs::Clock;
use std::time::Duration;

/// Settings under which all benches together take a few minutes at most.
pub fn criterion() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(30)
        .configure_from_args()
}

/// Measures a side of a group by this clock: `work` does so many operations, `depth` at once.
pub fn side<S>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    stand: &mut S,
    (name, depth): (&str, u64),
    clock: Clock,
    mut work: impl FnMut(&mut S, u64),
) {
    group.bench_function(BenchmarkId::new(name, depth), |bencher| {
        bencher.iter_custom(|ops| clock(&Times::of(|| work(stand, ops))));
    });
}
