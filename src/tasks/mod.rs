//! Tasks: their states, and how they are woken.
//!
//! A task is a row in [`Tasks`] and one allocation, its [`TaskCell`]. A [`WakeId`] identifies it, and is all that a
//! waker holds. `state.rs` has the stages and flags of a row, and everything that changes them. The runtime makes the
//! calls, and the table does what goes with a change:
//!
//! | stage | holds | woken | polled | handle dropped |
//! |---|---|---|---|---|
//! | Waiting | nothing: only children wait | skipped when its turn comes | – | stays |
//! | Parked | the future | into the ready queue, once | → Running, the runtime takes the future out | stays |
//! | Running | nothing: the runtime has the future | into the ready queue, once | – | stays |
//! | ended | output, panic or "aborted", if a handle wants it | skipped when its turn comes | – | → gone |
//!
//! An abort only sets a mark and wakes the task; when its turn comes, the future is dropped instead of polled (C14).
//!
//! A child is such a row, too, but its future and its output are in a slot of its child set, which one future owns and
//! polls. Waking a child puts it into the ready queue of the child set and wakes that future, so that of many children
//! only those that were woken are polled. A child may be a mere wake ID: then its future is polled in the context of its
//! parent, and the row serves wakes only.
//!
//! - **K1** No user code runs in this module except in [`TaskCell`], which is called while no table is borrowed. What a
//!   transition returns (a waker, a future, an ended task) is for the caller to use or drop outside the borrow (R1).
//! - **K2** A row is removed once: when it ends without a handle; or by its handle, or by the group that closes before
//!   that.
//! - **K3** Waking by a wake ID that fits no row does nothing. A false wake does no harm.
//! - **K5** The ready queue of a child set outlives the rows of its children. A queued child is in that queue, and the
//!   future that polls the set has been woken or is polling it now.

mod cell;
mod inbox;
mod local;
mod queue;
mod rows;
mod state;
mod wake_id;
mod waker;

pub(crate) use cell::{Task, TaskCell};
pub(crate) use inbox::{Inbox, Interrupt, Posted, RuntimeSlot};
pub(crate) use local::{LocalGuard, SharedTasks};
pub(crate) use rows::{End, Finished, NewChild, Origin, ReadyTask, Tasks, Unclaimed};
pub(crate) use state::Claim;
pub(crate) use wake_id::WakeId;
pub(crate) use waker::{
    copy_waker, counted_waker, has_nothing_to_drop, wake_id_of, waker, watched_waker,
};
