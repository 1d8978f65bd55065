//! Tasks: what they are while they live, and how they are woken.
//!
//! A task is a row in [`Tasks`] and one allocation, its [`TaskCell`] future. It is named by a [`WakeId`], which is all that a
//! waker holds. The row goes through these states; the runtime calls, and the table decides.
//!
//! | state | what it holds | woken | polled (`next`) | handle dropped |
//! |---|---|---|---|---|
//! | Parked | the future | into the ready queue, once | → Running, the future goes out to the runtime | stays |
//! | Running | nothing: the runtime polls | into the ready queue, once | impossible: assert | stays |
//! | Ended | output, panic or "aborted", if a handle wants it | nothing | nothing | → gone |
//!
//! An abort is a mark: it wakes the task, and its next turn drops the future instead of polling it (C14).
//!
//! A child is a row too, but its future is elsewhere: with the one future that polls it and all its siblings, its child set.
//! Waking it puts it into the ready queue of the child set and wakes that future, so of many children only those are polled that
//! were woken. A child may be a name and nothing else: then its future is polled where its parent stands, and the row is for
//! wakes only.
//!
//! - **K1** No code of a user runs in this module but in [`TaskCell`], which is called while no table is borrowed. What a
//!   transition gives back (a waker, a future, an ended task) is the caller's to use or drop outside of the borrow (R1).
//! - **K2** A row is removed once: when it ends without a handle, or by its handle.
//! - **K3** Waking by a name that fits no row does nothing. A false wake does no harm.
//! - **K5** A row of a child set is there for longer than the rows of its children. A child that is queued is in the ready queue
//!   of its child set, and whoever polls that has been woken, or is at it.

mod cell;
mod inbox;
mod local;
mod queue;
mod rows;
mod wake_id;
mod waker;

pub(crate) use cell::{Task, TaskCell};
pub(crate) use inbox::{Inbox, Interrupt, Posted, RuntimeSlot};
pub(crate) use local::{LocalGuard, SharedTasks};
pub(crate) use rows::{End, Finished, NewChild, Origin, ReadyChild, ReadyTask, Tasks};
pub(crate) use wake_id::WakeId;
pub(crate) use waker::{copy_waker, wake_id_of, waker};
