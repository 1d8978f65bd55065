//! An operation owned by an object, not by a wait.
//!
//! The results of a listener's accept belong to the listener, and those of a multishot receive to its
//! [`Chunks`](crate::op::Chunks): a wait that is dropped or canceled loses none (C8). So the operation is a leaf only
//! while a task waits for its next item by [`OwnedOp::poll_awaited`]. When the owner is dropped, it becomes an orphan of
//! the scope in which that happens.

use super::{Slot, abandon, start_owned, wait};
use crate::driver::lifecycle::Polled;
use crate::op::{Completion, Operation};
use crate::runtime::{self, Local};
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::task::{Context, Poll, Waker};

/// An operation that completes once or several times, and the item that each completion delivers.
///
/// # Safety
///
/// [`collect`](Collect::collect) takes over the resources that the completion hands over, as `complete` does.
pub(crate) unsafe trait Collect: Operation {
    type Item;

    /// The number of untaken items at which the operation is stopped. It is restarted when they are taken.
    fn max(&self) -> u32;

    /// Whether the ended operation is kept, to be restarted with the values it holds.
    const IS_REUSED: bool = false;

    /// Turns one completion into an item. Called once for each completion that does not go to `dispose`.
    fn collect(&mut self, completion: Completion) -> Self::Item;
}

/// An operation owned by an object. Any waiter may poll it; each item wakes one of them.
pub(crate) struct OwnedOp<O: Collect> {
    operation: Option<O>,
    slot: Option<Slot>,
    _local: Local,
}

impl<O: Collect> OwnedOp<O> {
    pub(crate) const fn new() -> OwnedOp<O> {
        OwnedOp {
            operation: None,
            slot: None,
            _local: PhantomData,
        }
    }

    /// Whether the operation is in flight, or an item is still to be taken.
    pub(crate) fn is_started(&self) -> bool {
        self.slot.is_some()
    }

    /// Returns the operation, while it is in flight or an item is still to be taken.
    pub(crate) fn started(&self) -> Option<&O> {
        self.slot.and(self.operation.as_ref())
    }

    /// Starts the operation. The previous one must have ended.
    pub(crate) fn start(&mut self, mut operation: O) -> io::Result<()> {
        assert!(self.slot.is_none(), "an owned operation is started once");
        let entry = operation.entry();
        let operation = self.operation.insert(operation);
        self.slot = Some(start_owned(operation, &entry)?);
        Ok(())
    }

    /// Returns the operation if the kernel does not have it, to be restarted with the values it holds.
    pub(crate) fn take_ended(&mut self) -> Option<O> {
        match self.slot {
            None => self.operation.take(),
            Some(_) => None,
        }
    }

    /// Like [`poll`](OwnedOp::poll), but while there is no item, the operation is a leaf of the waiting task: if its
    /// scope is canceled, the operation is asked to stop.
    pub(crate) fn poll_awaited(&mut self, context: &Context<'_>) -> Poll<Option<O::Item>> {
        let Some((runtime_id, key)) = self.slot else {
            return Poll::Ready(None);
        };
        let polled = runtime::with_own(runtime_id, |core| core.poll_owned(key));
        if let Polled::Pending = polled {
            wait((runtime_id, key), context);
        }
        self.take(polled)
    }

    /// Ends the wait for it.
    pub(crate) fn stop_awaiting(&self) {
        if let Some((runtime_id, key)) = self.slot
            && let Some(core) = runtime::reach(runtime_id)
        {
            core.rest_owned(key);
        }
    }

    /// Returns the next item; `None` if the operation has ended. If there is no item, stores `waker` as the only one to
    /// wake, and leaves the waker that it replaces in its place, for the caller to drop. Runs no user code (R1).
    pub(crate) fn poll(&mut self, waker: &mut Option<Waker>) -> Poll<Option<O::Item>> {
        let Some((runtime_id, key)) = self.slot else {
            return Poll::Ready(None);
        };
        let polled = runtime::with_own(runtime_id, |core| core.poll_operation(key));
        if let Polled::Pending = polled
            && let Some(new) = waker.take()
        {
            *waker = runtime::with_own(runtime_id, |core| core.watch_owned(key, new));
        }
        self.take(polled)
    }

    #[inline]
    fn take(&mut self, polled: Polled) -> Poll<Option<O::Item>> {
        let Some(operation) = &mut self.operation else {
            unreachable!("the operation is there while it has a slot")
        };
        match polled {
            Polled::Pending => Poll::Pending,
            Polled::Item(completion) => Poll::Ready(Some(operation.collect(completion))),
            Polled::Last { completion, .. } => {
                let item = operation.collect(completion);
                self.slot = None;
                if !O::IS_REUSED {
                    // Lets go of the descriptor (O5).
                    self.operation = None;
                }
                Poll::Ready(Some(item))
            }
        }
    }

    /// Asks the kernel to stop the operation.
    pub(crate) fn ask_cancel(&self) {
        if let Some((runtime_id, key)) = self.slot
            && let Some(core) = runtime::reach(runtime_id)
        {
            core.ask_cancel(key);
        }
    }
}

impl<O: Collect> Drop for OwnedOp<O> {
    fn drop(&mut self) {
        if let (Some(slot), Some(operation)) = (self.slot.take(), self.operation.take()) {
            let (runtime_id, key) = slot;
            if let Some(core) = runtime::reach(runtime_id) {
                core.enlist_orphan(key);
            }
            abandon(slot, None, operation);
        }
    }
}

impl<O: Collect> fmt::Debug for OwnedOp<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedOp")
            .field("operation", &O::NAME)
            .field("is_started", &self.is_started())
            .finish_non_exhaustive()
    }
}
