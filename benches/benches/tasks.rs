//! Spawning and joining, one task after another, and yielding among 100 tasks, compared with tokio on one thread.

mod common;

use common::side;
use gimmal_benches::{gimmal_side, meter, tokio_side};

fn main() {
    let mut criterion = common::criterion();
    let mut fixtures = (gimmal_side::runtime(), tokio_side::runtime());
    let fixtures = &mut fixtures;
    let mut group = criterion.benchmark_group("spawn_and_join");
    side(&mut group, fixtures, ("gimmal", 1), meter::wall, |s, n| {
        gimmal_side::spawn_and_join(&mut s.0, n);
    });
    side(&mut group, fixtures, ("tokio", 1), meter::wall, |s, n| {
        tokio_side::spawn_and_join(&s.1, n);
    });
    group.finish();
    let mut group = criterion.benchmark_group("yield");
    side(
        &mut group,
        fixtures,
        ("gimmal", 100),
        meter::wall,
        |s, n| {
            gimmal_side::yields(&mut s.0, 100, n);
        },
    );
    side(&mut group, fixtures, ("tokio", 100), meter::wall, |s, n| {
        tokio_side::yields(&s.1, 100, n);
    });
    group.finish();
    criterion.final_summary();
}
