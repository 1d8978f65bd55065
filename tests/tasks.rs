//! Tasks, from spawn to join: on this kernel, and with what 6.1 and 5.15 have.
//!
//! Each file has one subject. Polls and drops are counted exactly; nothing here waits by sleeping.

#![allow(
    clippy::unwrap_used,
    clippy::async_yields_async,
    clippy::type_complexity,
    reason = "helpers of tests may fail like tests, and handles are carried out of a runtime on purpose"
)]

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
