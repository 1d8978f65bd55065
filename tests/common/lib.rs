//! Helpers shared by the tests: counts that must return to a baseline, buffers watched after they are freed, futures
//! dropped at a chosen poll, seeded random numbers, and child processes of the test program.

mod counts;
mod drops;
mod ends;
mod faults;
mod polls;
mod process;
mod random;
mod reader_model;
mod size;
mod skip;
mod values;
mod watched;

pub use counts::{Baseline, Counts, descriptors};
pub use drops::{MOMENTS, Moment, dropped_after, dropped_everywhere};
pub use ends::{byte, bytes, errno, has_v6, longest_path, make_fifo, pipe, tcp_pair};
pub use faults::Faults;
pub use polls::{
    Counted, Done, ForeignGuard, counted, foreign_waker, poll_and_drop, poll_once, poll_with,
};
pub use process::{
    CHILD, assert_passed, child, is_child, limit_descriptors, passes_in_child,
    passes_in_child_that_leaks, ran_in_own_process, without_leak_checker,
};
pub use random::Random;
pub use reader_model::{ReadEvent, ReaderCase, ReaderStep};
pub use size::{is_full, quick_or_full};
pub use skip::{relay as relay_skips, report as report_skip};
pub use values::{Census, DropBomb, Finally, Journal, Member, OnDrop, caught, panic_message};
pub use watched::{CANARY, Watched};

pub(crate) use process::{is_alone, is_child_process};

use gimmal::runtime::{Builder, FeatureMask};
use gimmal::{Handle, Runtime, yield_now};
use std::path::PathBuf;

/// What cargo calls `CARGO_TARGET_TMPDIR` when it builds a test: `tmp` beside the folder of the profile.
fn target_tmpdir() -> PathBuf {
    let program = std::env::current_exe().expect("the test's own program");
    let target = program.ancestors().nth(3).expect("target/debug/deps");
    target.join("tmp")
}

/// A temporary directory on a real disk.
pub fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(target_tmpdir()).expect("a directory under the target directory")
}

/// The kernels that the tests of files emulate, each with rings of the default and of the smallest size.
pub fn rings() -> Vec<(String, Builder)> {
    let masks = [
        ("all", FeatureMask::none()),
        ("6.1", FeatureMask::linux_6_1()),
        ("5.15", FeatureMask::linux_5_15()),
    ];
    let by_ring = Runtime::builder().mask(FeatureMask::none().without_attempts());
    let mut rings = vec![("all, without direct calls".to_owned(), by_ring)];
    for (name, mask) in masks {
        let builder = || Runtime::builder().mask(mask);
        rings.push((format!("{name}, 256/4096"), builder()));
        rings.push((
            format!("{name}, 4/8"),
            builder().entries(4).completion_entries(8),
        ));
    }
    rings
}

/// Completes in a later turn: by then, what was ready has been polled, and what it queued has been submitted to the
/// kernel. (A task that yields may be polled again in the same turn, and a turn may run out of time before it has
/// polled the other tasks.)
pub async fn next_turn() {
    // A task that was already woken is polled before those that became ready later.
    yield_now().await;
    let handle = Handle::current();
    let later = handle.stats().turns + 2;
    while handle.stats().turns < later {
        yield_now().await;
    }
}

/// Runs a test with all features of this kernel, then with those of 6.1 and 5.15.
pub fn everywhere(test: impl Fn(Builder)) {
    for mask in [
        FeatureMask::none(),
        FeatureMask::linux_6_1(),
        FeatureMask::linux_5_15(),
    ] {
        let builder = Runtime::builder().entries(64).completion_entries(256);
        test(builder.mask(mask));
    }
}

/// Runs a test on each of [`rings`].
pub fn on_each_ring(test: impl AsyncFn() -> std::io::Result<()>) {
    for (name, ring) in rings() {
        println!("ring: {name}");
        let mut runtime = ring.build().expect("a runtime");
        runtime.block_on(test()).expect("the test ends well");
    }
}

/// Runs a future on a new runtime.
pub fn block_on<T>(main: impl Future<Output = T>) -> T {
    let mut runtime = Runtime::new().expect("a runtime");
    runtime.block_on(main)
}

/// Runs a future on a new runtime whose time is virtual, so that no sleep takes any and none ends early or late.
pub fn on_virtual_time<T>(main: impl Future<Output = T>) -> T {
    let mut runtime = Runtime::builder()
        .virtual_time()
        .build()
        .expect("a runtime");
    runtime.block_on(main)
}

/// Runs a test on a new runtime, which must release everything that the test took. The test runs in its own process.
pub fn returning_to_baseline(test: impl AsyncFnOnce() -> std::io::Result<()>) {
    if ran_in_own_process() {
        return;
    }
    let passed = block_on(async {
        let baseline = Baseline::take();
        test().await?;
        baseline.returns("the test").await;
        std::io::Result::Ok(())
    });
    passed.expect("the test ends well");
}
