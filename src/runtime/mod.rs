//! The runtime: its builder, handles, statistics and faults.

// This layer connects the tables: the turn, the current runtime, `block_on`, spawning, shutdown, other threads, the
// pool.
//
// - R1: User code never runs while the ring or a table is borrowed. User code is polling a future; cloning, waking and
//   dropping a foreign waker; dropping an operation, an output, a panic's payload; disposing of a late result.
// - O8: Shutdown follows the order in `shutdown.rs`; whatever is left is leaked and reported.
// - O9: Whatever holds a key also holds the ID of its runtime, and reaches the runtime through `current.rs`.

pub(crate) mod abort;
mod alarm;
pub(crate) mod blocking;
pub(crate) mod builder;
mod children;
mod coop;
mod core;
mod current;
mod direct;
mod fault;
mod handle;
mod interrupt;
pub(crate) mod join;
mod pool;
mod proceed;
mod provided_buffers;
mod scopes;
mod shutdown;
pub(crate) mod spawn;
mod stats;
mod thread_shortage;
mod tidy;
mod turn;
mod turn_budget;
#[cfg(doctest)]
mod variance_doctests;
mod worker;
pub(crate) mod yielding;

pub use self::builder::{Builder, Runtime};
pub use self::fault::Fault;
pub use self::handle::Handle;
pub use self::stats::{OperationInfo, Stats, TaskInfo};
pub use crate::sys::FeatureMask;

pub(crate) use self::alarm::Alarm;
pub(crate) use self::core::{Core, Rejection};
pub(crate) use self::current::{
    Local, drop_waker, end_orphans, guard, hold_own, reach, required, try_with, wake_all, with,
    with_own,
};
pub(crate) use self::direct::JointPoll;
pub(crate) use self::proceed::{proceed, proceed_with, ready_err};
pub(crate) use self::provided_buffers::{BUFFER_GROUP, READ_AHEAD_MAX};
pub(crate) use self::scopes::{
    Attribution, Before, Mirror, SavedContext, Waiting, canceled_here, reject_canceled,
};
pub(crate) use self::thread_shortage::no_thread_for;
pub(crate) use self::worker::Worker;
