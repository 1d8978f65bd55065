//! Scopes, shields and soft cancels: what is canceled, which scope is responsible, and that nothing is left behind.
//!
//! Order is forced by yields, channels and counts; nothing here waits by sleeping.

#![expect(clippy::unwrap_used, reason = "a test fails on an unexpected error")]

#[path = "scopes/answering.rs"]
mod answering;
#[path = "scopes/blocking.rs"]
mod blocking;
#[path = "scopes/canceling.rs"]
mod canceling;
#[path = "scopes/closing.rs"]
mod closing;
mod common;
#[path = "scopes/deadlines.rs"]
mod deadlines;
#[path = "scopes/drops.rs"]
mod drops;
#[path = "scopes/handles.rs"]
mod handles;
#[path = "scopes/ignoring.rs"]
mod ignoring;
#[path = "scopes/leaves.rs"]
mod leaves;
#[path = "tasks/support.rs"]
mod support;
#[path = "scopes/tasks.rs"]
mod tasks;

use common::alone;
use gimmal::fs::File;
use gimmal::time::Instant;
use gimmal::{Canceled, Handle, Runtime, yield_now};
use std::io::{self, PipeWriter};
use std::os::fd::OwnedFd;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(2);

/// Tests count descriptors, so they run one at a time.
fn run<T>(main: impl Future<Output = T>) -> T {
    let _alone = alone();
    Runtime::new().unwrap().block_on(main)
}

/// The read end of a pipe as a file, and the write end.
fn pipe() -> (File, PipeWriter) {
    let (reader, writer) = io::pipe().unwrap();
    (File::from(OwnedFd::from(reader)), writer)
}

/// Lets the other tasks run until none of them is ready.
async fn settle() {
    for _ in 0..8 {
        common::next_turn().await;
    }
}

/// Keeps the thread busy until `at`.
fn compute_until(at: Instant) {
    while Instant::now() < at {
        std::hint::spin_loop();
    }
}

/// Yields until the condition holds.
async fn until(what: &str, is: impl Fn() -> bool) {
    for _ in 0..10_000_000 {
        if is() {
            return;
        }
        yield_now().await;
    }
    panic!("{what}: {:?}", Handle::current().stats());
}

/// The output of a future without a value.
type Nothing = Result<(), Canceled>;
