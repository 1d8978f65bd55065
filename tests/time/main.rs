//! Sleeps, intervals, deadlines and timeouts.

#![expect(clippy::unwrap_used, reason = "a test fails on an unexpected error")]
#![allow(
    clippy::async_yields_async,
    reason = "handles leave block_on on purpose"
)]

mod timeouts;
mod timers;
mod virtual_clock;
