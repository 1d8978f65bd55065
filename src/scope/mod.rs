//! The cancellation tree: the open scopes, which of them are canceled, and the leaves awaited in each.
//!
//! A scope is a row with its parent, its children, its leaves, and the waker to wake when it is canceled. The tree only
//! decides: it returns the leaves to notify and the wakers to wake to the caller, and asks the caller whether an
//! enlisted leaf is still pending.
//!
//! | event | effect |
//! |---|---|
//! | opened | it starts canceled if its parent is, unless it is a shield |
//! | canceled | so is all below it, but not into shields; each pending leaf is notified, each scope's future woken, once |
//! | a leaf starts or is polled in it | the leaf is enlisted; finished leaves are removed when the list needs room |
//! | a leaf ends `Canceled` in it | attributed to the outermost canceled scope that it sees; the walk stops at a shield |
//! | its future polled elsewhere | it moves there with its subtree, becomes canceled if the new parent is, and ancestors that wait for orphans check again |
//! | given a deadline | it counts for the outlook of the scope and of all below it, but not into shields |
//! | closed, or its future dropped | leaves that are still pending in it, and scopes that outlive it, move to its parent |
//!
//! - **S1** A scope is canceled if and only if it was itself canceled, or its parent is canceled and it is not a shield.
//! - **S2** Every pending leaf of a scope is in the scope's list, or in that of the task that it belongs to; a list may hold
//!   more.
//! - **S3** Every row but the root has a parent, and is in its parent's list of children once.
//! - **S4** No walk is recursive, and each is bounded by the number of scopes below its start, or by its depth.
//! - **S5** The outlook of a scope is the time at which it is canceled: now, at the earliest deadline around it, or never.
//!   Around a scope are the scope itself and its ancestors, up to and including the nearest shield. A mirror shows the outlook: every call that
//!   changes one returns the new values for the mirrors.

#![forbid(unsafe_code)]

mod leaves;
mod tree;

pub(crate) use leaves::LeafStatus;
pub(crate) use tree::{CANCELED, CancelEffects, Mirrored, NEVER, ScopeKind, Scopes};

#[cfg(test)]
mod tests;
