//! An operation that belongs to a thing, not to a wait.
//!
//! A listener's accept is in the kernel whether somebody awaits a connection or not, and what it brings belongs to the
//! listener: a wait that is dropped or canceled loses none (C8). So it is no leaf of any scope while its owner is there.
//! When the owner goes, it is an orphan of the scope in which that happens.

use super::future::{Left, start_standing, wait};
use super::{Completion, Operation, SharedFd};
use crate::driver::lifecycle::Polled;
use crate::runtime::{self, Local};
use crate::table::Key;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::task::{Context, Poll, Waker};

/// An operation that completes once or several times, and what each completion brings.
///
/// # Safety
///
/// [`collect`](Collect::collect) takes over what the completion hands over, as `complete` does.
pub(crate) unsafe trait Collect: Operation {
    type Item;

    /// With so many completions that nobody has taken it is asked to stop; it is started again when they are taken.
    fn max(&self) -> u32;

    /// Whether it is kept when it has ended, to be started again with what it holds.
    const RESTS: bool = false;

    /// What one completion brings. It is called once for each that does not go to `dispose`.
    fn collect(&mut self, completion: Completion) -> Self::Item;
}

/// A standing operation. It is polled by whoever wants what it brings; one of them is woken for each item.
pub(crate) struct ObjectOp<O: Collect> {
    operation: Option<O>,
    /// The runtime and the row, while there is one.
    row: Option<(u64, Key)>,
    _local: Local,
}

impl<O: Collect> ObjectOp<O> {
    pub(crate) const fn new() -> ObjectOp<O> {
        ObjectOp {
            operation: None,
            row: None,
            _local: PhantomData,
        }
    }

    /// Whether the kernel has it, or something that it brought is still to be taken.
    pub(crate) fn is_started(&self) -> bool {
        self.row.is_some()
    }

    /// The operation, while the kernel has it, or something that it brought is still to be taken.
    pub(crate) fn started(&self) -> Option<&O> {
        self.row.and(self.operation.as_ref())
    }

    /// Starts it. The one before has ended.
    pub(crate) fn start(&mut self, mut operation: O) -> io::Result<()> {
        assert!(self.row.is_none(), "a standing operation is started once");
        let (entry, max) = (operation.entry(), operation.max());
        self.rest(operation);
        self.row = Some(start_standing::<O>(&entry, max)?);
        Ok(())
    }

    /// Keeps an operation that is still to be started.
    pub(crate) fn rest(&mut self, operation: O) {
        self.operation = Some(operation);
    }

    /// The operation, if the kernel does not have it: to be started, with what it holds.
    pub(crate) fn take_resting(&mut self) -> Option<O> {
        match self.row {
            None => self.operation.take(),
            Some(_) => None,
        }
    }

    /// As [`poll`](ObjectOp::poll), and while there is nothing it is a leaf of the task that waits: if its scope is canceled, it
    /// is asked to stop.
    pub(crate) fn poll_awaited(&mut self, context: &Context<'_>) -> Poll<Option<O::Item>> {
        let Some((serial, key)) = self.row else {
            return Poll::Ready(None);
        };
        let polled = runtime::with_own(serial, |core| core.poll_standing(key));
        if let Polled::Pending = polled {
            wait(serial, key, context);
        }
        self.take(polled)
    }

    /// It is awaited no longer.
    pub(crate) fn stop_awaiting(&self) {
        if let Some((serial, key)) = self.row
            && let Some(core) = runtime::reach(serial)
        {
            core.rest_standing(key);
        }
    }

    /// The next thing that it brought; `None` if it has ended. If there is nothing it wakes `waker`, and no other: the one
    /// that this replaces is left there, to be dropped. It runs no code of a user (R1).
    pub(crate) fn poll(&mut self, waker: &mut Option<Waker>) -> Poll<Option<O::Item>> {
        let Some((serial, key)) = self.row else {
            return Poll::Ready(None);
        };
        let polled = runtime::with_own(serial, |core| core.poll_operation(key));
        if let Polled::Pending = polled
            && let Some(new) = waker.take()
        {
            *waker = runtime::with_own(serial, |core| core.watch_standing(key, new));
        }
        self.take(polled)
    }

    #[inline]
    fn take(&mut self, polled: Polled) -> Poll<Option<O::Item>> {
        let Some(operation) = &mut self.operation else {
            unreachable!("the operation is there while it has a row")
        };
        match polled {
            Polled::Pending => Poll::Pending,
            Polled::Item(completion) => Poll::Ready(Some(operation.collect(completion))),
            Polled::Last { completion, .. } => {
                let item = operation.collect(completion);
                self.row = None;
                if !O::RESTS {
                    // It holds the descriptor no longer (O5).
                    self.operation = None;
                }
                Poll::Ready(Some(item))
            }
        }
    }

    /// Asks the kernel to stop it.
    pub(crate) fn ask_cancel(&self) {
        if let Some((serial, key)) = self.row
            && let Some(core) = runtime::reach(serial)
        {
            core.ask_cancel(key);
        }
    }
}

impl<O: Collect> Drop for ObjectOp<O> {
    fn drop(&mut self) {
        if let (Some((serial, key)), Some(operation)) = (self.row.take(), self.operation.take()) {
            match runtime::reach(serial) {
                Some(core) => {
                    let is_left = operation.shared_fd().is_some_and(SharedFd::is_left);
                    core.abandon_standing(key, Box::new(Left(operation)));
                    if is_left {
                        core.end_orphans();
                    }
                }
                // The kernel may still write into what was lent (O9).
                None => mem::forget(operation),
            }
        }
    }
}

impl<O: Collect> fmt::Debug for ObjectOp<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectOp")
            .field("operation", &O::NAME)
            .field("is_started", &self.is_started())
            .finish_non_exhaustive()
    }
}
