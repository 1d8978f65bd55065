//! Task groups.
//!
//! # What children can borrow
//!
//! Everything that lives outside of the group: variables of the function that awaits it, and what those borrow. Not
//! variables of the body itself, which is gone before the children are; a child gets these by `async move`.
//!
//! ```
//! use gimmal::fs;
//!
//! # fn main() -> std::io::Result<()> {
//! gimmal::run(async {
//!     let paths = vec!["Cargo.toml", "README.md", "CHANGELOG.md"];
//!     let total = std::cell::Cell::new(0);
//!     gimmal::group(async |g| {
//!         // One child for each item of a list: what the loop declares is moved, the rest is borrowed.
//!         for path in &paths {
//!             let total = &total;
//!             let _ = g.spawn(async move {
//!                 total.set(total.get() + fs::read(path).await?.len());
//!                 Ok::<_, std::io::Error>(())
//!             });
//!         }
//!         Ok(())
//!     })
//!     .await?;
//!     assert!(total.get() > 0);
//!     Ok(())
//! })
//! # }
//! ```
//!
//! Children need not be `Send`, and stand still while the group's future is not polled: they run inside of it. In return
//! nothing outlives a group: when [`group()`] returns, its body, its children and their operations are gone, whatever
//! happened. A task that shall live longer is started with [`spawn`](crate::spawn).
//!
//! | | Trio | asyncio |
//! |---|---|---|
//! | [`group()`] | `open_nursery` | `TaskGroup` |
//! | [`supervise()`] | | `gather(return_exceptions=True)` |
//! | [`map`] | | |
//! | [`join`], [`join_all`] | | `gather` |
//! | [`try_join`], [`try_join_all`] | | |
//! | [`race`] | | `wait(FIRST_COMPLETED)`, then `cancel` |
//! | [`select`], [`wait`] | | `wait` |
//!
//! The last five start nothing: their futures are parts of the task that awaits them, and run in its scope.

#[cfg(doctest)]
mod borrowing;

#[expect(
    clippy::module_inception,
    reason = "the noun of the module has a file of its own, as the others have"
)]
mod group;

mod brood;
mod child;
mod core;
mod join;
mod map;
mod names;
mod outcome;
mod race;
mod select;
mod stow;
mod supervise;
mod try_join;
mod wait;

pub use crate::error::GroupError;
pub use child::{Child, ChildId, Supervised};
pub use group::{Group, group};
pub use join::{Join, JoinAll, join, join_all};
pub use map::map;
pub use outcome::{Outcome, Report};
pub use race::{Race, RaceAll, RaceArray, Raced, race};
pub use select::{Select, Select2, Select3, Select4, Selecting, select};
pub use supervise::{Supervisor, supervise};
pub use try_join::{TryJoin, TryJoined, try_join, try_join_all};
pub use wait::{Wait, Within, wait};
