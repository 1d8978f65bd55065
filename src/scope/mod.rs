//! The cancellation tree: which scopes there are, which of them are canceled, and what is awaited in each.
//!
//! A scope is a row that names its parent, its children, what is pending in it, and whom to wake when it is canceled. The
//! tree decides and does nothing else: whom to tell and whom to wake goes out to the caller, and whether something that was
//! enlisted is still pending is asked of the caller.
//!
//! | event | what follows |
//! |---|---|
//! | opened | it is canceled from the start if its parent is, unless it is a shield |
//! | canceled | it and all below it, but not into shields; each pending leaf is told, each scope's future woken, once |
//! | a leaf starts or is polled in it | it is enlisted; what is not pending any more is forgotten when room is needed |
//! | a leaf ends `Canceled` in it | the outermost canceled scope that it sees is attributed; the walk stops at a shield |
//! | its future polled elsewhere | it moves there with all below it, canceled if that is; a wait above for orphans looks again |
//! | given a deadline | it counts for the outlook of the scope and of all below it, but not into shields |
//! | closed, or its future dropped | what is still pending in it, and scopes that outlive it, move to its parent |
//!
//! - **S1** A scope is canceled if and only if it was asked for, or its parent is canceled and it is no shield.
//! - **S2** What is pending in a scope is in its list, or in that of the task that it belongs to; a list may have more.
//! - **S3** Every row but the root has a parent, and is in its parent's list of children once.
//! - **S4** No walk is recursive, and each is bounded by the scopes below the one that it starts from, or by its depth.
//! - **S5** The outlook of a scope is when it is canceled: now, at the earliest deadline around it, or never. What is behind a
//!   shield is not around it, but the shield is. A mirror shows it: whatever changes an outlook says what the mirrors are to show.

#![forbid(unsafe_code)]

mod canceled;
mod leaves;
mod tree;

pub use canceled::{Canceled, Elapsed, is_canceled, is_timeout};
pub(crate) use canceled::{ElapsedOver, chain};
pub(crate) use leaves::LeafStatus;
pub(crate) use tree::{CANCELED, CancelEffects, Mirrored, NEVER, ScopeKind, Scopes};

#[cfg(test)]
mod tests;
