//! Tasks, from spawn to join, with all features of this kernel and with those of 6.1 and 5.15.
//!
//! Polls and drops are counted exactly; nothing here waits by sleeping.

#![expect(clippy::unwrap_used, reason = "a test fails on an unexpected error")]
#![allow(
    clippy::async_yields_async,
    reason = "handles leave block_on on purpose"
)]

#[path = "tasks/aborting.rs"]
mod aborting;
#[path = "tasks/busy.rs"]
mod busy;
#[path = "tasks/detached.rs"]
mod detached;
#[path = "tasks/ending.rs"]
mod ending;
#[path = "tasks/fairness.rs"]
mod fairness;
#[path = "tasks/foreign.rs"]
mod foreign;
#[path = "tasks/life.rs"]
mod life;
#[path = "tasks/panics.rs"]
mod panics;
#[path = "tasks/storms.rs"]
mod storms;
#[path = "tasks/support.rs"]
mod support;
#[path = "tasks/threads.rs"]
mod threads;
