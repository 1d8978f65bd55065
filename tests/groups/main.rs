//! Groups: nothing outlives them, failures cancel the rest, children borrow.
//!
//! Tests count descriptors, so they run one after another.

#![expect(clippy::unwrap_used, reason = "a test fails on an unexpected error")]
#![expect(clippy::async_yields_async, reason = "handles leave scopes on purpose")]

mod cleanup;
mod combinators;
mod failures;
mod gone;
mod handles;
mod help;
mod limits;
mod panics;
mod scopes;
mod siblings;
mod supervised;
mod waking;
mod watching;
