//! Operations from submission to completion: nothing is lost, and direct calls change nothing.

#![expect(clippy::unwrap_used, reason = "a test fails on an unexpected error")]

mod direct_calls;
mod direct_reads;
mod lifecycle;
mod nothing_lost;
