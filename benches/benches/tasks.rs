//! Spawning and joining, one task after the other, and yielding among 100 tasks, beside tokio on one thread.

mod common;

use common::side;
use gimmal_benches::{meter, ours, peer};

fn main() {
    let mut criterion = common::criterion();
    let mut stand = (ours::runtime(), peer::runtime());
    let stand = &mut stand;
    let mut group = criterion.benchmark_group("spawn_and_join");
    side(&mut group, stand, ("gimmal", 1), meter::wall, |s, n| {
        ours::spawn_and_join(&mut s.0, n);
    });
    side(&mut group, stand, ("tokio", 1), meter::wall, |s, n| {
        peer::spawn_and_join(&s.1, n);
    });
    group.finish();
    let mut group = criterion.benchmark_group("yield");
    side(&mut group, stand, ("gimmal", 100), meter::wall, |s, n| {
        ours::yields(&mut s.0, 100, n);
    });
    side(&mut group, stand, ("tokio", 100), meter::wall, |s, n| {
        peer::yields(&s.1, 100, n);
    });
    group.finish();
    criterion.final_summary();
}
