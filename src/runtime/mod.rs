//! The runtime: its builder, handles, statistics and faults.

// This layer connects the tables: the turn, the current runtime, `block_on`, spawning, shutdown, other threads, the
// pool.
//
// - R1: User code never runs while the ring or a table is borrowed. User code is polling a future; cloning, waking and
//   dropping a foreign waker; dropping an operation, an output, a panic's payload; disposing of a late result.
// - O8: Shutdown follows the order in `shutdown.rs`; whatever is left is leaked and reported.
// - O9: Whatever holds a key also holds the ID of its runtime, and reaches the runtime through `current.rs`.

pub(crate) mod builder;
mod core;
mod current;
mod fault;
mod handle;
pub(crate) mod leaf;
pub(crate) mod pool;
mod scopes;
mod shutdown;
pub(crate) mod task;
mod turn;

pub use self::builder::{Builder, Runtime};
pub use self::fault::Fault;
pub(crate) use self::fault::catch;
pub use self::handle::{Handle, OperationInfo, Stats, TaskInfo};
pub use crate::sys::FeatureMask;

pub(crate) use self::core::Core;
pub(crate) use self::current::{
    Local, drop_waker, end_orphans, guard, hold_own, reach, required, try_with, wake_all, with,
    with_own,
};
pub(crate) use self::leaf::{
    Alarm, BUFFER_GROUP, JointPoll, LeafState, Proceed, QueueLeaf, READ_AHEAD_MAX, WakerQueue,
    poll_coop_budget, proceed, proceed_with, ready_err, wait_until,
};
pub(crate) use self::pool::{Worker, no_thread_for};
pub(crate) use self::scopes::{Attribution, Before, Mirror, SavedContext, Waiting};
