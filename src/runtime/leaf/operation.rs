//! Operations: submitting, polling and abandoning them for the running task.

use crate::driver::lifecycle::{COLLECT_MAX, Polled};
use crate::driver::{DroppedDuty, OperationKind, Payload, Request};
use crate::runtime::core::Core;
use crate::runtime::scopes::NO_OWNER;
use crate::sys::{Completion, Entry, Instant, Opcode};
use crate::table::{Key, Leaf, LeafKind};
use std::io;
use std::task::Waker;

impl Core {
    /// Queues an operation for submission. On an error, returns the waker too, for the caller to drop.
    #[inline]
    pub(crate) fn submit(
        &self,
        entry: &Entry,
        kind: &'static OperationKind,
        waker: Option<Waker>,
    ) -> Result<Key, (io::Error, Option<Waker>)> {
        self.push(entry, kind, waker, None)
    }

    /// Queues an owned operation for submission. It belongs to no scope: it continues when the task that polls it is
    /// gone.
    pub(crate) fn submit_owned(
        &self,
        entry: &Entry,
        kind: &'static OperationKind,
        collect_max: u32,
    ) -> io::Result<Key> {
        let pushed = self.push(entry, kind, None, Some(collect_max));
        pushed.map_err(|(error, _)| error)
    }

    /// Queues an operation: a leaf of the current scope, or an owned one that collects this many completions.
    fn push(
        &self,
        entry: &Entry,
        kind: &'static OperationKind,
        waker: Option<Waker>,
        owned: Option<u32>,
    ) -> Result<Key, (io::Error, Option<Waker>)> {
        if let Err(error) = self.may_submit(kind.is_cancelable) {
            return Err((error, waker));
        }
        let (owner, collect_max) = match owned {
            None => (self.owner_of_next_leaf(), COLLECT_MAX),
            Some(collect_max) => (NO_OWNER, collect_max),
        };
        let mut driver = self.driver.borrow_mut();
        if !driver.supported().opcodes.contains(entry.opcode()) {
            return Err((lacks(entry.opcode()), waker));
        }
        let request = Request {
            kind,
            task: self.id_of_running().bits(),
            owner,
            since_ns: self.turn.coarse_ns(&driver),
            collect_max,
        };
        let key = driver.submit(entry, request, waker);
        drop(driver);
        if owned.is_none() {
            self.enlist(Leaf::new(LeafKind::Operation, key), owner);
        }
        Ok(key)
    }

    /// Polls an owned operation for the task that waits for its next item. Until an item arrives the operation may be a
    /// leaf ([`wait_for_operation`](Core::wait_for_operation)); the item ends that.
    #[inline]
    pub(crate) fn poll_owned(&self, key: Key) -> Polled {
        let polled = self.poll_operation(key);
        if let Polled::Item(_) = polled {
            self.rest_owned(key);
        }
        polled
    }

    /// Detaches an owned operation from its scope: no task awaits it, and it is not a leaf.
    #[inline]
    pub(crate) fn rest_owned(&self, key: Key) {
        self.driver.borrow_mut().set_owner(key, NO_OWNER);
        self.context.leaf_ended(Leaf::new(LeafKind::Operation, key));
    }

    /// Sets the waker of an owned operation, for the running task. Returns the replaced waker, for the caller to drop.
    pub(crate) fn watch_owned(&self, key: Key, waker: Waker) -> Option<Waker> {
        let task = self.id_of_running().bits();
        self.driver.borrow_mut().renew(key, waker, task).0
    }

    /// Makes an owned operation a leaf of the current scope, before it is abandoned there (G1).
    pub(crate) fn enlist_orphan(&self, key: Key) {
        if self.driver.borrow().is_in_flight(key) && !self.has_ended() {
            self.context.leaf_ended(Leaf::new(LeafKind::Operation, key));
            let owner = self.owner_of_next_leaf();
            self.driver.borrow_mut().set_owner(key, owner);
            self.enlist(Leaf::new(LeafKind::Operation, key), owner);
        }
    }

    /// Cancels an operation at this deadline if it is still in the kernel. The deadline does not wake the task that
    /// awaits the operation; its completion does.
    #[inline]
    pub(crate) fn limit_operation(&self, key: Key, deadline: Instant) {
        self.driver.borrow_mut().set_deadline(key, deadline);
    }

    /// Fails if operations can no longer be submitted. Closes always can, except in a forked child.
    #[inline]
    pub(super) fn may_submit(&self, stoppable: bool) -> io::Result<()> {
        if self.is_open() && !self.is_forked() {
            return Ok(());
        }
        self.submits_no_more(stoppable)
    }

    #[cold]
    fn submits_no_more(&self, stoppable: bool) -> io::Result<()> {
        let why = if self.is_forked() {
            "this gimmal runtime belongs to the process that forked this one: build a new one in the child"
        } else if stoppable {
            "the runtime is shutting down and takes no more operations"
        } else {
            return Ok(());
        };
        Err(io::Error::other(why))
    }

    #[inline]
    pub(crate) fn poll_operation(&self, key: Key) -> Polled {
        let polled = self.driver.borrow_mut().poll(key);
        if let Polled::Last { .. } = polled {
            self.context.leaf_ended(Leaf::new(LeafKind::Operation, key));
        }
        polled
    }

    /// Makes an operation the leaf that the running task waits for. Returns the replaced waker, for the caller to drop.
    pub(crate) fn wait_for_operation(&self, key: Key, waker: Waker) -> Option<Waker> {
        let task = self.id_of_running().bits();
        if self.is_canceled() {
            self.ask_cancel(key);
        }
        let (replaced, owner) = self.driver.borrow_mut().renew(key, waker, task);
        self.keep_here(Leaf::new(LeafKind::Operation, key), owner);
        replaced
    }

    #[inline]
    pub(crate) fn ask_cancel(&self, key: Key) {
        if !self.is_forked() {
            self.driver.borrow_mut().ask_cancel(key);
        }
    }

    /// Requests the cancel of every operation on a descriptor. Returns whether there is any.
    pub(crate) fn cancel_on(&self, fd: i32) -> bool {
        !self.is_forked() && self.driver.borrow_mut().cancel_on(fd)
    }

    /// Abandons an operation whose future was dropped. Results that need disposal are disposed of here, outside the
    /// borrow: `first` is a completion that the future had already taken.
    pub(crate) fn abandon(&self, key: Key, first: Option<Completion>, payload: Box<dyn Payload>) {
        if self.has_ended() && self.driver.borrow().is_in_flight(key) {
            // The kernel may still write into the lent memory, and the completion will never be reaped (O8).
            std::mem::forget(payload);
            self.driver.borrow_mut().forget(key);
            return;
        }
        let dropped = self.driver.borrow_mut().abandon(key, payload);
        self.hook.guard("a waker", || drop(dropped.waker));
        match dropped.duty {
            DroppedDuty::Items(key, items) => {
                if first.is_some() || !items.is_empty() {
                    self.dispose_in_flight(key, first.into_iter().chain(items));
                }
            }
            DroppedDuty::Ended(mut payload, items) => {
                self.dispose(&mut *payload, first.into_iter().chain(items));
                self.hook.guard("an operation", || drop(payload));
            }
        }
    }

    pub(in crate::runtime) fn dispose(
        &self,
        payload: &mut dyn Payload,
        completions: impl IntoIterator<Item = Completion>,
    ) {
        for completion in completions {
            self.hook
                .guard("an operation's disposal", || payload.dispose(completion));
        }
    }
}

#[cold]
fn lacks(opcode: Opcode) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!("this kernel's io_uring has no {opcode:?}"),
    )
}
