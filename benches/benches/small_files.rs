//! Whole files of 1 to 8 KiB, 64 at once: gimmal, a bare ring with one read of each file and with two, `std::fs::read` in a
//! loop, a pool of 4 threads beside an epoll loop, and tokio.

mod common;

use common::side;
use gimmal_benches::meter;
use gimmal_benches::stand::Stand;

const DEPTH: u64 = 64;

fn main() {
    let mut criterion = common::criterion();
    let mut stand = Stand::new().expect("a stand");
    let stand = &mut stand;
    let mut group = criterion.benchmark_group("small_files");
    side(&mut group, stand, ("gimmal", DEPTH), meter::wall, |s, n| {
        s.small_ours(DEPTH, n)
    });
    side(
        &mut group,
        stand,
        ("ring, 1 read", DEPTH),
        meter::wall,
        |s, n| {
            s.small_ring(false, DEPTH, n);
        },
    );
    side(
        &mut group,
        stand,
        ("ring, 2 reads", DEPTH),
        meter::wall,
        |s, n| {
            s.small_ring(true, DEPTH, n);
        },
    );
    side(&mut group, stand, ("std", 1), meter::wall, Stand::small_std);
    side(&mut group, stand, ("pool", DEPTH), meter::wall, |s, n| {
        s.small_pool(DEPTH, n)
    });
    side(&mut group, stand, ("tokio", DEPTH), meter::wall, |s, n| {
        s.small_peer(DEPTH, n)
    });
    group.finish();
    criterion.final_summary();
}
