//! Unix sockets: addresses, listeners, credentials, and the descriptors that go with bytes.
//!
//! What they have in common with TCP is in `tests/streams.rs`.

#![expect(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect fails there"
)]

#[macro_use]
mod common;
#[path = "unix/connecting.rs"]
mod connecting;
#[path = "unix/passing.rs"]
mod passing;
#[path = "tasks/support.rs"]
mod support;

use gimmal::Runtime;

/// Descriptors are counted, so one test runs at a time.
fn run<T>(main: impl Future<Output = T>) -> T {
    let _alone = common::alone();
    Runtime::new().unwrap().block_on(main)
}
