//! Tasks and children: spawning them, and the handles that join and abort them.

mod abort;
mod children;
mod end;
mod join;
mod spawn;
#[cfg(doctest)]
mod variance_doctests;

pub use self::abort::AbortHandle;
pub use self::join::{CancelOnDrop, JoinHandle};
pub use self::spawn::{TaskBuilder, spawn};

pub(in crate::runtime) use self::abort::Ending;
