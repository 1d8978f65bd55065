//! A request that does nothing, through a task, beside a bare ring: what the runtime adds to an operation.

mod common;

use common::side;
use gimmal_benches::stand::Stand;
use gimmal_benches::{meter, ours};

fn main() {
    let mut criterion = common::criterion();
    let mut stand = Stand::new().expect("a stand");
    let stand = &mut stand;
    let mut group = criterion.benchmark_group("nop");
    for depth in [1, 32, 128] {
        side(&mut group, stand, ("gimmal", depth), meter::wall, |s, n| {
            ours::nop(&mut s.ours, depth, n);
        });
        side(&mut group, stand, ("ring", depth), meter::wall, |s, n| {
            s.ring.nop(depth, n);
        });
    }
    group.finish();
    criterion.final_summary();
}
