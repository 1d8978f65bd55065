//! Task groups.
//!
//! # What children can borrow
//!
//! Everything that lives outside the group: variables of the function that awaits the group, and what those borrow.
//! Variables of the body itself cannot be borrowed, because the body is dropped before the children; move them into a
//! child with `async move`.
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
//!             g.spawn(async move {
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
//! Children need not be `Send`: they run inside the group's future, and make progress only while it is polled. In
//! return nothing outlives a group: when [`group()`] returns, its body, its children and their operations are gone,
//! whatever happened. To start a task that may outlive the group, use [`spawn`](crate::spawn).
//!
//! # Failures and cancellations
//!
//! The first failure of the body or of a child cancels the rest. So does [`Group::cancel`], and so does a scope or
//! timeout around the group. If a child is canceled and ends with the cancellation ([`is_canceled`](crate::is_canceled)
//! is true of its error), that is not a failure; [`GroupError::canceled_errors`] has the error. Every other error is a failure,
//! whenever it occurs: also that of a child that was canceled, caught the cancellation, and failed while it cleaned up
//! under a [`shield`](crate::cancel::shield()). So no failure is lost:
//!
//! - A group that canceled itself returns `Ok` only if nothing failed.
//! - A group that was cut short by a scope around it never returns `Ok`. Its [`GroupError`] has the failures; without
//!   failures it is [canceled](GroupError::is_canceled), and has the value of the body.
//! - A child that was canceled by its own handle ([`Child::cancel`]) ends alone; the group continues.
//!
//! ```
//! use gimmal::{cancel, fs, sleep};
//! use std::io;
//! use std::time::Duration;
//!
//! # fn main() -> io::Result<()> {
//! gimmal::run(async {
//!     let group = gimmal::group(async |g| {
//!         g.spawn(async {
//!             // Canceled, it saves its state in a directory that does not exist.
//!             let _ = sleep(Duration::from_secs(3600)).await;
//!             cancel::shield(fs::write("no/such/directory/state", "42")).await?;
//!             Ok(())
//!         });
//!         gimmal::yield_now().await;
//!         g.cancel_with("shutting down");
//!         Ok::<_, io::Error>(())
//!     });
//!     let error = group.await.unwrap_err();
//!     assert_eq!(error.first().unwrap().kind(), io::ErrorKind::NotFound);
//!     assert_eq!(error.reason(), Some("shutting down"));
//!     Ok(())
//! })
//! # }
//! ```
//!
//! A group can tell whether these errors are cancellations: a [`std::io::Error`], the errors of this crate (a
//! [`BufError`](crate::BufError) only with a usual buffer, such as `Vec<u8>` or `Bytes`), an `anyhow::Error`, and a
//! boxed error of any type. An error of another type, such as your own, counts as a failure, so the group returns an error in place of `Ok`. In your function the type is known: `?` tells failures from cancellations (see
//! [`impl_from_errors!`](crate::impl_from_errors)), and [`GroupError::settle`] returns the value of the body if there are only
//! cancellations.
//!
//! An `anyhow::Error` or a box that was made from a `GroupError<MyError>` or a `TimeoutError<MyError>` hides such an
//! error, too: convert it into `MyError` first, with `?`.
//!
//! Differences from asyncio: cancellation is a state, not an exception that is thrown once, so every wait in a canceled
//! group ends with [`Canceled`](crate::Canceled) until the group is left. A child that has not started when the group
//! is canceled still runs to its first wait (asyncio never starts it), also if it is queued under a
//! [`limit`](Group::set_limit). If an outer scope cancels a group and its cleanup fails, that failure is the group's
//! error, as in asyncio and AnyIO.
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
//! The last five start no tasks: their futures are polled as part of the task that awaits them, in its scope.

#[cfg(doctest)]
mod borrowing;

#[expect(
    clippy::module_inception,
    reason = "the noun of the module has a file of its own, as the others have"
)]
mod group;

mod child;
mod child_cell;
mod child_set;
mod map;
mod nursery;
mod outcome;
mod supervise;

pub use crate::concurrent::{
    Join, JoinAll, Race, RaceAll, Raced, Select, Select2, Select3, Select4, Select5, Select6,
    Select7, Select8, Selecting, TryJoin, TryJoined, Wait, Within, join, join_all, race, select,
    try_join, try_join_all, wait,
};
pub use crate::error::GroupError;
pub use child::{Child, ChildId, Supervised};
pub use group::{Group, group};
pub use map::map;
pub use outcome::{Outcome, Report};
pub use supervise::{Supervisor, supervise};
