//! Whole files of 1 to 8 KiB, 64 at once: gimmal, a bare ring with one read per file and with two, `std::fs::read` in a
//! loop, a pool of 4 threads beside an epoll loop, and tokio.

mod common;

use common::side;
use gimmal_benches::fixtures::Fixtures;
use gimmal_benches::meter;

const DEPTH: u64 = 64;

fn main() {
    let mut criterion = common::criterion();
    let mut fixtures = Fixtures::new().expect("runtimes and a ring");
    let fixtures = &mut fixtures;
    let mut group = criterion.benchmark_group("small_files");
    side(
        &mut group,
        fixtures,
        ("gimmal", DEPTH),
        meter::wall,
        |s, n| s.small_gimmal(DEPTH, n),
    );
    side(
        &mut group,
        fixtures,
        ("ring, 1 read", DEPTH),
        meter::wall,
        |s, n| {
            s.small_ring(false, DEPTH, n);
        },
    );
    side(
        &mut group,
        fixtures,
        ("ring, 2 reads", DEPTH),
        meter::wall,
        |s, n| {
            s.small_ring(true, DEPTH, n);
        },
    );
    side(
        &mut group,
        fixtures,
        ("std", 1),
        meter::wall,
        Fixtures::small_std,
    );
    side(
        &mut group,
        fixtures,
        ("pool", DEPTH),
        meter::wall,
        |s, n| s.small_pool(DEPTH, n),
    );
    side(
        &mut group,
        fixtures,
        ("tokio", DEPTH),
        meter::wall,
        |s, n| s.small_tokio(DEPTH, n),
    );
    group.finish();
    criterion.final_summary();
}
