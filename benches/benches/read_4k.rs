//! Reads of 4 KiB from a file in the page cache: gimmal, a bare ring, `pread` in a loop, a pool of 4 threads beside an epoll
//! loop, and tokio (`spawn_blocking` with a `pread`).

mod common;

use common::side;
use gimmal_benches::meter;
use gimmal_benches::stand::Stand;

fn main() {
    let mut criterion = common::criterion();
    let mut stand = Stand::new().expect("a stand");
    let stand = &mut stand;
    let mut group = criterion.benchmark_group("read_4k");
    side(
        &mut group,
        stand,
        ("pread", 1),
        meter::wall,
        Stand::read_std,
    );
    for depth in [1, 32] {
        side(&mut group, stand, ("gimmal", depth), meter::wall, |s, n| {
            s.read_ours(depth, n)
        });
        side(&mut group, stand, ("ring", depth), meter::wall, |s, n| {
            s.read_ring(depth, n)
        });
        side(&mut group, stand, ("pool", depth), meter::wall, |s, n| {
            s.read_pool(depth, n)
        });
        side(&mut group, stand, ("tokio", depth), meter::wall, |s, n| {
            s.read_peer(depth, n)
        });
    }
    group.finish();
    criterion.final_summary();
}
