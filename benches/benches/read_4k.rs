//! Reads of 4 KiB from a file in the page cache: gimmal, a bare ring, `pread` in a loop, a pool of 4 threads beside an
//! epoll loop, and tokio (`spawn_blocking` with a `pread`).

mod common;

use common::side;
use gimmal_benches::fixtures::Fixtures;
use gimmal_benches::meter;

fn main() {
    let mut criterion = common::criterion();
    let mut fixtures = Fixtures::new().expect("runtimes and a ring");
    let fixtures = &mut fixtures;
    let mut group = criterion.benchmark_group("read_4k");
    side(
        &mut group,
        fixtures,
        ("pread", 1),
        meter::wall,
        Fixtures::read_std,
    );
    for depth in [1, 32] {
        side(
            &mut group,
            fixtures,
            ("gimmal", depth),
            meter::wall,
            |s, n| s.read_gimmal(depth, n),
        );
        side(
            &mut group,
            fixtures,
            ("ring", depth),
            meter::wall,
            |s, n| s.read_ring(depth, n),
        );
        side(
            &mut group,
            fixtures,
            ("pool", depth),
            meter::wall,
            |s, n| s.read_pool(depth, n),
        );
        side(
            &mut group,
            fixtures,
            ("tokio", depth),
            meter::wall,
            |s, n| s.read_tokio(depth, n),
        );
    }
    group.finish();
    criterion.final_summary();
}
