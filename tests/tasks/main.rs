//! Tasks, from spawn to join, with all features of this kernel and with those of 6.1 and 5.15.
//!
//! Polls and drops are counted exactly; nothing here waits by sleeping.

#![expect(clippy::unwrap_used, reason = "a test fails on an unexpected error")]
#![allow(
    clippy::async_yields_async,
    reason = "handles leave block_on on purpose"
)]

mod aborting;
mod blocking;
mod busy;
mod detached;
mod ending;
mod fairness;
mod foreign;
mod life;
mod panics;
mod storms;
mod threads;
