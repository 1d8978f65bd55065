//! A no-op request through a task, compared with a bare ring: what the runtime adds to an operation.

mod common;

use common::side;
use gimmal_benches::fixtures::Fixtures;
use gimmal_benches::{gimmal_side, meter};

fn main() {
    let mut criterion = common::criterion();
    let mut fixtures = Fixtures::new().expect("runtimes and a ring");
    let fixtures = &mut fixtures;
    let mut group = criterion.benchmark_group("nop");
    for depth in [1, 32, 128] {
        side(
            &mut group,
            fixtures,
            ("gimmal", depth),
            meter::wall,
            |s, n| {
                gimmal_side::nop(&mut s.gimmal, depth, n);
            },
        );
        side(
            &mut group,
            fixtures,
            ("ring", depth),
            meter::wall,
            |s, n| {
                s.ring.nop(depth, n);
            },
        );
    }
    group.finish();
    criterion.final_summary();
}
