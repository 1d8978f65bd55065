//! What leaves call: operations and direct calls, timers, the coop budget, provided buffers. Leaves that need no kernel.

mod coop;
mod direct;
mod operation;
mod proceed;
mod provided_buffers;
mod queue_leaf;
mod state;
mod timer;
mod yielding;

pub use self::yielding::{YieldNow, yield_now};

pub(in crate::runtime) use self::coop::CoopBudget;
pub(crate) use self::coop::poll_coop_budget;
pub(in crate::runtime) use self::direct::ATTEMPTED_BYTES_PER_TURN;
pub(crate) use self::direct::JointPoll;
pub(crate) use self::proceed::{Proceed, proceed, proceed_with, ready_err};
pub(in crate::runtime) use self::provided_buffers::ProvidedBuffers;
pub(crate) use self::provided_buffers::{BUFFER_GROUP, READ_AHEAD_MAX};
pub(crate) use self::queue_leaf::{QueueLeaf, WakerQueue, wait_until};
pub(crate) use self::state::LeafState;
pub(crate) use self::timer::Alarm;
