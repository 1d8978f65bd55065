//! Cancellation: scopes, shields, and futures that can be stopped.
//!
//! Every wait happens in a scope. Scopes form a tree: a task has one, and a [`timeout`](crate::time::timeout()), a
//! [`group`](crate::group()) and a [`Scope`] open one inside it. When a scope is canceled, every wait in it or below
//! it, now or later, ends with [`Canceled`]: its operation did not happen, and no byte and no buffer is lost. So
//! cleanup that awaits needs a [`shield`].
//!
//! [`deadline`] returns the time at which the current scope will be canceled. [`Scope`] lists the rules.
//!
//! A cancel is a request. An operation in the kernel is asked to stop and then awaited; if it completed first, it
//! returns its result as usual. A future of another crate that waits for nothing of this runtime is dropped once its
//! scope is canceled: [`cancelable`] makes it end with [`Canceled`] instead.
//!
//! ```
//! use gimmal::cancel::{self, Scope};
//! use std::time::Duration;
//!
//! # fn main() -> std::io::Result<()> {
//! gimmal::run(async {
//!     let scope = Scope::new();
//!     let outcome: Result<(), gimmal::Canceled> = scope
//!         .run(async {
//!             scope.cancel();
//!             let error = gimmal::sleep(Duration::from_secs(3600)).await.unwrap_err();
//!             // Cleaning up is awaited in peace.
//!             let _ = cancel::shield(gimmal::sleep(Duration::from_millis(1))).await;
//!             Err(error)
//!         })
//!         .await;
//!     assert!(outcome.is_err() && scope.canceled_caught());
//!     Ok(())
//! })
//! # }
//! ```

mod cancelable;
mod checkpoint;
mod deadline;
mod opaque_debug;
mod remote;
mod scope;
mod scoped_poll;
mod shield;
mod wake_probe;

pub use crate::error::Canceled;
pub use cancelable::{Cancelable, cancelable};
pub use checkpoint::{Checkpoint, checkpoint};
pub use deadline::deadline;
pub(crate) use opaque_debug::opaque_debug;
pub use scope::{RunScope, RunScopeAny, Scope, ScopeHandle};
pub(crate) use scoped_poll::{Due, ScopedPoll};
pub use shield::{Shield, shield};
