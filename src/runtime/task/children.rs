//! The runtime's calls for groups and their children.

use crate::error::panic_message;
use crate::runtime::core::Core;
use crate::runtime::current::drop_waker;
use crate::runtime::fault::{Fault, catch};
use crate::table::{Key, Leaf};
use crate::tasks::{NewChild, Origin, ReadyChild, copy_waker};
use std::any::Any;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::task::{Context, Waker};

impl Core {
    pub(crate) fn open_ready_queue(&self) -> Key {
        self.tasks.borrow_mut().open_ready_queue()
    }

    pub(crate) fn close_ready_queue(&self, queue: Key) {
        let waker = self.tasks.borrow_mut().close_ready_queue(queue);
        drop_waker(waker);
    }

    /// Inserts a row for a new child. Returns its key, and a waker for the caller to wake.
    #[inline]
    pub(crate) fn insert_child(
        &self,
        queue: Key,
        child: NewChild,
        origin: Origin,
    ) -> (Key, Option<Waker>) {
        self.tasks.borrow_mut().insert_child(queue, child, origin)
    }

    /// Inserts a child that is only a wake ID: a part of the future that owns the child set, polled in the scope of that
    /// future, but woken separately.
    pub(crate) fn insert_sub_waker(
        &self,
        queue: Key,
        slot: u32,
        location: &'static Location<'static>,
    ) -> Key {
        let origin = Origin {
            name: None,
            location,
        };
        let name = NewChild {
            slot,
            held: false,
            ready: false,
            scope: self.context.root,
        };
        // The child is not ready, so there is no waker to wake.
        self.insert_child(queue, name, origin).0
    }

    pub(crate) fn remove_sub_waker(&self, name: Key) {
        self.tasks.borrow_mut().remove_sub_waker(name);
    }

    /// Polls a sub-future under its own waker. It runs in the scope of its poller, with the coop budget of a child.
    pub(crate) fn poll_sub_waker<T>(
        &self,
        name: Key,
        poll: impl FnOnce(&mut Context<'_>) -> T,
    ) -> T {
        self.tasks.borrow_mut().unqueue_child(name);
        self.context.fill_coop_budget();
        // A waker of ours has nothing to drop.
        let waker = ManuallyDrop::new(self.waker_of(name));
        let polled = poll(&mut Context::from_waker(&waker));
        if self.tasks.borrow().is_woken(name) {
            self.count_yield();
        }
        polled
    }

    /// Wakes a child.
    pub(crate) fn wake_child(&self, child: Key) {
        let name = self.wake_id(child);
        let foreign = self.tasks.borrow_mut().wake(name);
        self.wake_foreign(foreign);
    }

    #[inline]
    pub(crate) fn begin_children(&self, queue: Key, waker: &Waker) {
        let waker = copy_waker(waker);
        let replaced = self.tasks.borrow_mut().begin_children(queue, waker);
        drop_waker(replaced);
    }

    #[inline]
    pub(crate) fn end_children(&self, queue: Key) -> bool {
        self.tasks.borrow_mut().end_children(queue)
    }

    #[inline]
    pub(crate) fn has_ready_child(&self, queue: Key) -> bool {
        self.tasks.borrow().has_ready_child(queue)
    }

    pub(crate) fn next_sub_waker(&self, queue: Key) -> Option<u32> {
        self.tasks.borrow_mut().next_sub_waker(queue)
    }

    /// Returns the next child that was woken, after entering its scope with the coop budget of a task. A child without a
    /// scope of its own is canceled if its group is: `canceled`.
    #[inline]
    pub(crate) fn next_child(&self, queue: Key, canceled: bool) -> Option<ReadyChild> {
        let turn = self.tasks.borrow_mut().next_child(queue)?;
        self.enter_task(turn.key, turn.leaf, canceled, turn.has_scope);
        Some(turn)
    }

    /// Returns the waker of a child, which has nothing to drop.
    #[inline]
    pub(crate) fn waker_of_child(&self, child: Key) -> ManuallyDrop<Waker> {
        ManuallyDrop::new(self.waker_of(child))
    }

    /// Parks the child that was polled and is pending.
    #[inline]
    pub(crate) fn park_child(&self, child: Key) {
        if self
            .tasks
            .borrow_mut()
            .park_child(child, self.context.leaf.get())
        {
            self.count_yield();
        }
    }

    /// Ends a child whose future was dropped. Leaves that it left pending move to the group.
    #[inline]
    pub(crate) fn end_child(&self, child: Key, leaf: Option<Leaf>, group: Key) {
        let ended = self.tasks.borrow_mut().end_child(child, leaf);
        self.wake_foreign(ended.joiner);
        if let Some(leaf) = ended.leaf {
            self.inherit(child, leaf, group);
        }
        if let Some(scope) = ended.scope {
            self.close_scope(scope);
        }
    }

    /// Frees the row of a child that has ended, when its handle takes the result.
    #[inline]
    pub(crate) fn take_child(&self, child: Key) {
        let joiner = self.tasks.borrow_mut().take_child(child);
        drop_waker(joiner);
    }

    pub(crate) fn release_child(&self, child: Key) {
        let joiner = self.tasks.borrow_mut().release_child(child);
        drop_waker(joiner);
    }

    /// Runs user code, and reports its panic to the hook. Returns `None` after a panic.
    pub(crate) fn guard<T>(&self, what: &'static str, run: impl FnOnce() -> T) -> Option<T> {
        self.hook.guard(what, run)
    }

    /// Runs user code, and returns its panic as an error.
    pub(crate) fn catch<T>(&self, run: impl FnOnce() -> T) -> Result<T, Box<dyn Any + Send>> {
        catch(run)
    }

    /// Reports the error of a child that no handle will take.
    pub(crate) fn report_child(&self, child: Key, message: String) {
        let child = self.describe_task(self.wake_id(child));
        self.hook.report(&Fault::ChildFailed { child, message });
    }

    /// Reports the panic of a child that no handle will take.
    pub(crate) fn report_panic(&self, child: Key, payload: Box<dyn Any + Send>) {
        let fault = Fault::Panicked {
            task: self.describe_task(self.wake_id(child)),
            message: panic_message(&*payload),
        };
        self.hook.report(&fault);
        self.hook.drop_payload(payload);
    }

    /// Reports a panic in a group that is not resumed: a second one, or that of a group that was dropped before its end.
    pub(crate) fn report_panic_of_group(&self, payload: Box<dyn Any + Send>) {
        let fault = Fault::Panicked {
            task: self.running_task(),
            message: panic_message(&*payload),
        };
        self.hook.report(&fault);
        self.hook.drop_payload(payload);
    }
}
