//! The runtime as a whole: how it is built, what it reports and limits, and what is left when it has ended.

#![expect(clippy::unwrap_used, reason = "a test fails on an unexpected error")]
#![allow(
    clippy::async_yields_async,
    reason = "handles leave block_on on purpose"
)]

mod after_runtime;
mod errno;
mod error_conversions;
mod interrupted;
mod limits;
mod privileges;
mod regressions;
mod setup;
mod signals;
mod staying;
mod without_threads;
