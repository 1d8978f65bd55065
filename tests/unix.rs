//! Unix sockets: addresses, listeners, credentials, and descriptors passed with bytes.
//!
//! What they share with TCP is tested in `tests/streams.rs`.

#![expect(clippy::unwrap_used, reason = "a test fails on an unexpected error")]

#[macro_use]
mod common;
#[path = "unix/connecting.rs"]
mod connecting;
#[path = "unix/passing.rs"]
mod passing;
#[path = "tasks/support.rs"]
mod support;

use gimmal::Runtime;

/// Tests count descriptors, so they run one at a time.
fn run<T>(main: impl Future<Output = T>) -> T {
    let _alone = common::alone();
    Runtime::new().unwrap().block_on(main)
}
