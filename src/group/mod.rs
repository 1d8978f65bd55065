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
//! Children need not be `Send`, and stand still while the group's future is not polled: they run inside of it. In return
//! nothing outlives a group: when [`group()`] returns, its body, its children and their operations are gone, whatever
//! happened. A task that shall live longer is started with [`spawn`](crate::spawn).
//!
//! # Failures and cancellations
//!
//! The first failure of the body or of a child cancels the rest. So does [`Group::cancel`], and a scope or timeout around the
//! group. A child that is canceled and ends with that ([`is_canceled`](crate::is_canceled) is true of its error) is no failure:
//! [`GroupError::echoes`] has its error. Every other error is a failure, whenever it comes: also that of a child which was
//! canceled, caught that, and failed while it cleaned up under a [`shield`](crate::cancel::shield()). So no failure is lost:
//!
//! - A group that canceled itself returns `Ok` only if nothing failed.
//! - A group that a scope around it cut short never returns `Ok`. Its [`GroupError`] has the failures; without one it is
//!   [canceled](GroupError::is_canceled), and has the value of the body.
//! - A child that its own handle canceled ([`Child::cancel`]) ends alone; the group goes on.
//!
//! A group can ask these errors whether they are cancellations: a [`std::io::Error`], the errors of this crate (a
//! [`BufError`](crate::BufError) only around a usual buffer, such as `Vec<u8>` or `Bytes`), an `anyhow::Error`, and a box of any
//! error. An error of another type, such as your own, counts as a failure, so the group returns an error in place of `Ok`. In your
//! function the type is known: `?` tells the failures from the cancellations (see [`errors_into!`](crate::errors_into)), and
//! [`GroupError::settle`] gives the value of the body if there are only cancellations.
//!
//! Such an error is also hidden by an `anyhow::Error` or a box that was made of a `GroupError<MyError>` or a
//! `TimeoutError<MyError>`: turn it into `MyError` first, by `?`.
//!
//! Differences to asyncio: cancellation is a state and no exception that is thrown once, so each wait in a canceled group ends
//! with [`Canceled`](crate::Canceled) until the group is left. A child that has not started when the group is canceled still runs
//! to its first wait, where asyncio never starts it; only children that wait for room under a [`limit`](Group::limit) are dropped.
//! A failure in the cleanup of a group that an outer scope cancels is the group's error, as in asyncio and AnyIO.
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

mod child;
mod child_cell;
mod child_set;
mod core;
mod join;
mod map;
mod outcome;
mod race;
mod select;
mod sub_wakers;
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
