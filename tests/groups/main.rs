//! Groups: nothing outlives them, failures cancel the rest, children borrow.
//!
//! Tests count descriptors, so they run one after another.

#![expect(clippy::unwrap_used, reason = "a test fails on an unexpected error")]
#![expect(clippy::async_yields_async, reason = "handles leave scopes on purpose")]

#[path = "groups/cleanup.rs"]
mod cleanup;
mod common;
#[path = "groups/failures.rs"]
mod failures;
#[path = "groups/gone.rs"]
mod gone;
#[path = "groups/handles.rs"]
mod handles;
#[path = "groups/help.rs"]
mod help;
#[path = "groups/limits.rs"]
mod limits;
#[path = "groups/panics.rs"]
mod panics;
#[path = "groups/scopes.rs"]
mod scopes;
#[path = "groups/siblings.rs"]
mod siblings;
#[path = "groups/supervised.rs"]
mod supervised;
#[path = "tasks/support.rs"]
mod support;
#[path = "groups/waking.rs"]
mod waking;
#[path = "groups/watching.rs"]
mod watching;
