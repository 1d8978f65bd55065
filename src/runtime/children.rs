//! What a group asks of the runtime for its children.

use super::core::Core;
use super::current::drop_waker;
use super::fault::{Fault, catch, message_of};
use super::turn::Allowance;
use crate::table::{Key, Leaf};
use crate::tasks::{NewChild, Origin, ReadyChild, WakeId, copy_waker, waker};
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

    /// A row for a new child. The waker is to be woken.
    #[inline]
    pub(crate) fn insert_child(
        &self,
        queue: Key,
        child: NewChild,
        origin: Origin,
    ) -> (Key, Option<Waker>) {
        self.tasks.borrow_mut().insert_child(queue, child, origin)
    }

    /// A child that is only a name: a part of the future that has the child set, polled in the same scope as that, and woken
    /// alone.
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
            scope: self.root,
            canceled: false,
        };
        // It is not ready: there is nobody to wake.
        self.insert_child(queue, name, origin).0
    }

    pub(crate) fn remove_sub_waker(&self, name: Key) {
        self.tasks.borrow_mut().remove_sub_waker(name);
    }

    /// Polls what has a name. It stands where whoever polls it stands, and may pass as many ready leaves as a child.
    pub(crate) fn poll_sub_waker<T>(
        &self,
        name: Key,
        poll: impl FnOnce(&mut Context<'_>) -> T,
    ) -> T {
        self.tasks.borrow_mut().unqueue_child(name);
        self.allowance.set(Allowance::FULL);
        // A waker of ours has nothing to drop.
        let waker = ManuallyDrop::new(waker(WakeId::new(self.number, name)));
        let polled = poll(&mut Context::from_waker(&waker));
        if self.tasks.borrow().is_woken(name) {
            self.count_yield();
        }
        polled
    }

    /// Has a child polled.
    pub(crate) fn wake_child(&self, child: Key) {
        let name = WakeId::new(self.number, child);
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

    /// What a child belongs to is not canceled any more.
    pub(crate) fn free_child(&self, child: Key) {
        self.tasks.borrow_mut().free(child);
    }

    /// A child that has not begun was woken, and is not polled for that. Whether it is canceled.
    pub(crate) fn unqueue_child(&self, child: Key) -> bool {
        self.tasks.borrow_mut().unqueue_child(child)
    }

    pub(crate) fn next_sub_waker(&self, queue: Key) -> Option<u32> {
        self.tasks.borrow_mut().next_sub_waker(queue)
    }

    /// The next child that was woken, which stands where it belongs, and may pass as many ready leaves as any task.
    #[inline]
    pub(crate) fn next_child(&self, queue: Key) -> Option<ReadyChild> {
        let turn = self.tasks.borrow_mut().next_child(queue)?;
        self.enter_task(turn.key, turn.leaf, turn.canceled, turn.has_scope);
        self.allowance.set(Allowance::FULL);
        Some(turn)
    }

    /// The waker of a child. It has nothing to drop.
    #[inline]
    pub(crate) fn waker_of_child(&self, child: Key) -> ManuallyDrop<Waker> {
        ManuallyDrop::new(waker(WakeId::new(self.number, child)))
    }

    /// The child that was polled is not ready.
    #[inline]
    pub(crate) fn park_child(&self, child: Key) {
        if self.tasks.borrow_mut().park_child(child, self.leaf.get()) {
            self.count_yield();
        }
    }

    /// A child has ended, and its future is gone. What it left pending belongs to the group.
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

    /// The handle of a child that has ended takes what it left.
    #[inline]
    pub(crate) fn take_child(&self, child: Key) {
        let joiner = self.tasks.borrow_mut().take_child(child);
        drop_waker(joiner);
    }

    pub(crate) fn release_child(&self, child: Key) {
        let joiner = self.tasks.borrow_mut().release_child(child);
        drop_waker(joiner);
    }

    /// Runs a user's code; if it panics, the hook hears of it.
    pub(crate) fn guard<T>(&self, what: &'static str, run: impl FnOnce() -> T) -> Option<T> {
        self.hook.guard(what, run)
    }

    /// Runs a user's code, and keeps its panic.
    pub(crate) fn catch<T>(&self, run: impl FnOnce() -> T) -> Result<T, Box<dyn Any + Send>> {
        catch(run)
    }

    /// A child failed, and nobody will ask for that.
    pub(crate) fn report_child(&self, child: Key, message: String) {
        let child = self.describe_task(WakeId::new(self.number, child));
        self.hook.report(&Fault::ChildFailed { child, message });
    }

    /// A child panicked, and nobody will ask for that.
    pub(crate) fn report_panic(&self, child: Key, payload: Box<dyn Any + Send>) {
        let fault = Fault::Panicked {
            task: self.describe_task(WakeId::new(self.number, child)),
            message: message_of(&*payload),
        };
        self.hook.report(&fault);
        self.hook.drop_payload(payload);
    }

    /// A panic in a group that is not carried on: the second one, or that of a group that was dropped before its end.
    pub(crate) fn report_panic_of_group(&self, payload: Box<dyn Any + Send>) {
        let fault = Fault::Panicked {
            task: self.running_task(),
            message: message_of(&*payload),
        };
        self.hook.report(&fault);
        self.hook.drop_payload(payload);
    }

    /// A group is gone, and its children with it. If it was canceled from outside, and something was `refused` in it, that
    /// counts once for the scope around it: a loop that opens a group each time is a loop (C2).
    pub(crate) fn close_scope_of_group(&self, scope: Key, refused: bool) {
        if refused && self.is_canceled_from_outside(scope) {
            self.count_refusal_above(scope);
        }
        self.close_scope(scope);
    }
}
