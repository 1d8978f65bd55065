//! Scopes, shields and soft cancels: what is canceled, which scope is responsible, and that nothing is left behind.
//!
//! Order is forced by yields, channels and counts; nothing here waits by sleeping.

#![expect(clippy::unwrap_used, reason = "a test fails on an unexpected error")]

mod answering;
mod blocking;
mod canceling;
mod closing;
mod deadlines;
mod drops;
mod handles;
mod ignoring;
mod leaves;
mod tasks;

use common::pipe;
use gimmal::time::Instant;
use gimmal::{Canceled, Handle, yield_now};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(2);

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
