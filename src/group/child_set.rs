//! The memory of the children of one group: their futures, later their outputs.
//!
//! A child is a row of the task table, as a task is: its key is the child's only name, and its state, claim, scope and
//! origin are there. But children may borrow what outlives the group, and the table lives longer than that. So what
//! the table has of a child's future is the number of a slot here, and only polling and dropping the group's future
//! touches what is in the slot (G4). A slot is there for as long as the row.
//!
//! - **G4a** [`ChildSet::clear`] drops what the slots hold. The group's future calls it before it is gone, on every way
//!   out. If that future is forgotten instead, it is never polled again, and nothing here is touched again.
//! - **G4b** An output is taken as the type that the child was spawned with, by the handle that `spawn` made for it.
//! - **G4c** Nothing is dropped, and no future polled, while the slots are borrowed (R1).

use super::child::ChildHandle;
use super::child_cell::{ChildCell, ErasedChild, FailureReport};
use crate::runtime::{self, Attribution, Core, Fault, SavedContext, catch};
use crate::table::{Key, Leaf};
use crate::tasks::{Claim, End, NewChild, Origin, Unclaimed};
use crate::wait_queue::{Ticket, WaitQueue};
use slab::Slab;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::Location;
use std::task::{Context, Poll, Waker};

/// The capacity that the slots keep.
const SLOTS_KEPT: usize = 1024;

struct ChildSlot {
    /// The child's row in the task table.
    key: Key,
    /// `None` for the body of the group, whose future is stored elsewhere, and for a child whose future was dropped.
    child: Option<ErasedChild>,
    /// The place of a child that waits to start in `waiting`, later that of its end in `ended`.
    place: Option<Ticket>,
    /// The scopes to which the child's `Canceled` leaves are attributed.
    attributed: Attribution,
}

/// A child: its row, and its slot.
#[derive(Clone, Copy)]
struct ChildRef {
    key: Key,
    slot: u32,
}

/// Why polling of children stops for now.
pub(super) enum PollEnd<E> {
    /// No child is ready.
    Idle,
    /// The turn's poll budget is spent: the rest is for the next turn.
    Spent,
    /// All have ended, or scopes were canceled.
    Look,
    /// A child has ended.
    Ended(E),
}

/// A child that has ended, as the group sees it.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) is_body: bool,
    /// The scopes to which the child's `Canceled` leaves are attributed.
    pub(super) attributed: Attribution,
    pub(super) kind: EndKind,
}

#[derive(Debug)]
pub(super) enum EndKind {
    /// It is ready, or its handle or the hook has its panic.
    Ready,
    /// Canceled, and not waiting for anything that would come.
    Dropped,
    /// The group resumes the panic.
    Panicked(Box<dyn Any + Send>),
}

/// Polls the body of the group.
pub(super) type PollBody<'a> = &'a mut dyn FnMut(&mut Context<'_>) -> Poll<()>;

pub(super) struct ChildSet {
    pub(super) runtime_id: u64,
    /// The scope of the group.
    pub(super) scope: Key,
    /// The child set in the task table.
    pub(super) set: Key,
    /// The row of the body, until the body has ended.
    body: Cell<Option<Key>>,
    slots: RefCell<Slab<ChildSlot>>,
    /// The number of slots when some were freed after the last peak.
    tidied: Cell<usize>,
    /// The number of children that were started and have not ended, without the body.
    running: Cell<usize>,
    /// The maximum of `running`, except for children that their handles cancel.
    pub(super) limit: Cell<usize>,
    /// The children that wait to start, in order.
    waiting: RefCell<WaitQueue<Key>>,
    /// Children that have ended and whose handles have not taken the result, in order. `None` until `next_ended` is
    /// called.
    ended: RefCell<Option<WaitQueue<Key>>>,
    /// Whether no child starts from now on.
    pub(super) closed: Cell<bool>,
    /// Whether the children were notified that the group is canceled.
    pub(super) notified: Cell<bool>,
    /// Whether panics of children go to their handles.
    keeps_panics: bool,
    /// Whether the child that is being polled has failed; the group has yet to judge that.
    pub(super) failed: Cell<bool>,
    /// Whether a leaf was rejected in the group, because it was canceled.
    pub(super) rejected: Cell<bool>,
    /// Wakers of those waiting for a child to end.
    pub(super) watchers: RefCell<WaitQueue<Waker>>,
}

impl ChildSet {
    /// The set of a group with this scope. The body has a row, too, so that it is polled only when it is woken.
    pub(super) fn new(
        core: &Core,
        scope: Key,
        keeps_panics: bool,
        location: &'static Location<'static>,
    ) -> ChildSet {
        let children = ChildSet {
            runtime_id: core.runtime_id(),
            scope,
            set: core.tasks.borrow_mut().open_child_set(),
            body: Cell::new(None),
            slots: RefCell::default(),
            tidied: Cell::new(usize::MAX),
            running: Cell::new(0),
            limit: Cell::new(usize::MAX),
            waiting: RefCell::default(),
            ended: RefCell::new(None),
            closed: Cell::new(false),
            notified: Cell::new(false),
            keeps_panics,
            failed: Cell::new(false),
            rejected: Cell::new(false),
            watchers: RefCell::default(),
        };
        let origin = Origin {
            name: Some("the body of a group".into()),
            location,
        };
        let body = children.insert(core, None, origin, Claim::Dropped, false);
        children.body.set(Some(body));
        children
    }

    /// Whether the body and all children have ended.
    #[inline]
    pub(super) fn have_ended(&self) -> bool {
        self.body.get().is_none() && self.len() == 0
    }

    /// Returns the number of children that have not ended, without the body.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.running.get() + self.waiting.borrow().len()
    }

    pub(super) fn set_limit(&self, limit: usize) {
        self.limit.set(limit.max(1));
        if let Some(core) = runtime::reach(self.runtime_id) {
            self.start_waiting(&core);
        }
    }

    /// Adds a row and its slot.
    #[inline]
    fn insert(
        &self,
        core: &Core,
        child: Option<ErasedChild>,
        origin: Origin,
        claim: Claim,
        waits: bool,
    ) -> Key {
        let mut slots = self.slots.borrow_mut();
        let new = NewChild {
            // There are no more slots than rows.
            slot: slots.vacant_key() as u32,
            claim,
            waits,
            scope: self.scope,
        };
        let (key, foreign) = core.tasks.borrow_mut().insert_child(self.set, new, origin);
        slots.insert(ChildSlot {
            key,
            child,
            place: waits.then(|| self.waiting.borrow_mut().push(key)),
            attributed: Attribution::default(),
        });
        drop(slots);
        core.wake_foreign(foreign);
        key
    }

    /// Adds a child. If the group is closed, or its runtime gone, the future is dropped. This may be called from
    /// anywhere, even from a destructor.
    ///
    /// # Safety
    ///
    /// What the future borrows outlives the call of [`clear`](ChildSet::clear), or the group's future is forgotten
    /// (G4a).
    pub(super) unsafe fn spawn<'scope, F>(
        &'scope self,
        future: F,
        report: Option<FailureReport<F::Output>>,
        origin: Origin,
    ) -> ChildHandle<'scope, F::Output>
    where
        F: Future + 'scope,
    {
        let key = match runtime::reach(self.runtime_id) {
            Some(core) if !self.closed.get() => {
                let child = Box::new(ChildCell::new(future, report));
                // SAFETY: the slots are polled by the group's future, and emptied by `clear` before what the child
                // borrows is gone: the caller's promise.
                let child = unsafe { ErasedChild::new(child) };
                let waits = self.running.get() >= self.limit.get();
                self.running.set(self.running.get() + usize::from(!waits));
                Some(self.insert(&core, Some(child), origin, Claim::Handle, waits))
            }
            _ => {
                runtime::guard("a future that came too late", || drop(future));
                None
            }
        };
        // SAFETY: this is the output of the child with this key (G4b).
        unsafe { ChildHandle::new(self, key) }
    }

    /// Starts children that wait, as far as the limit allows.
    #[inline]
    fn start_waiting(&self, core: &Core) {
        if !self.waiting.borrow().is_empty() {
            self.start_some(core);
        }
    }

    fn start_some(&self, core: &Core) {
        while self.running.get() < self.limit.get() {
            let Some((_, key)) = self.waiting.borrow_mut().take_first() else {
                return;
            };
            self.start(core, key);
        }
    }

    /// Starts a child, if it waits.
    fn start(&self, core: &Core, key: Key) {
        let (slot, foreign) = core.tasks.borrow_mut().start_child(key);
        // A child that is being dropped has left the queue.
        if slot.is_some_and(|slot| self.stop_waiting(slot)) {
            self.running.set(self.running.get() + 1);
        }
        core.wake_foreign(foreign);
    }

    /// Removes a child from `waiting`. Returns whether it was there.
    fn stop_waiting(&self, slot: u32) -> bool {
        let place = self.with_slot(slot, |slot| slot.place.take());
        if let Some(place) = place {
            self.waiting.borrow_mut().remove(place);
        }
        place.is_some()
    }

    #[inline]
    fn with_slot<T>(&self, slot: u32, look: impl FnOnce(&mut ChildSlot) -> T) -> T {
        look(&mut self.slots.borrow_mut()[slot as usize])
    }

    /// Returns the body and the children, ended or not.
    fn children(&self) -> Vec<ChildRef> {
        let slots = self.slots.borrow();
        let children = slots.iter().map(|(at, slot)| ChildRef {
            key: slot.key,
            slot: at as u32,
        });
        children.collect()
    }

    /// Cancels a child through its handle. A child that waits starts at once, beyond the limit: its cancel must not have
    /// to wait for siblings that run on.
    pub(super) fn cancel(&self, core: &Core, key: Key) {
        let has_ended = core.tasks.borrow().is_finished(key);
        if !has_ended {
            core.cancel_child(key);
            self.start(core, key);
        }
    }

    /// Frees the memory that a peak of children has left: down to the last slot in use, each time that the number of
    /// children has halved, which on average costs a child nothing.
    pub(super) fn tidy(&self) {
        let mut slots = self.slots.borrow_mut();
        let room = slots.capacity();
        if room <= SLOTS_KEPT || slots.len() > room / 4 {
            self.tidied.set(usize::MAX);
        } else if slots.len() <= self.tidied.get() / 2 {
            self.tidied.set(slots.len());
            slots.shrink_to_fit();
        }
    }

    /// Notifies the children that the group's scope is canceled. Those that wait to start go on waiting: the limit holds
    /// to the end, and bounds what children hold at once until they meet their first wait.
    pub(super) fn notify_canceled(&self, core: &Core) {
        self.notified.set(true);
        for child in self.children() {
            core.notify_task(child.key);
        }
    }

    /// Polls woken children until one ends. If `first`, one child may be polled even if the turn's poll budget is
    /// spent.
    pub(super) fn next(&self, core: &Core, first: &mut bool, body: PollBody<'_>) -> PollEnd<Ended> {
        let mut saved = core.context.suspend();
        let mut polled = None;
        // One catch around all polls costs less than one around each.
        let stop = catch(|| self.poll_children(core, first, body, &mut polled, &mut saved));
        if core.context.attributed.get() {
            self.note_attributions(core, polled, &mut saved);
        }
        let leaf = core.resume(saved);
        let (child, kind) = match (stop, polled) {
            (Ok(PollEnd::Spent), _) => return PollEnd::Spent,
            (Ok(PollEnd::Look), _) => return PollEnd::Look,
            (Ok(PollEnd::Ended(kind)), Some(child)) => (child, kind),
            (Ok(_), _) => return PollEnd::Idle,
            (Err(payload), Some(child)) => (child, EndKind::Panicked(payload)),
            // The panic was not a child's.
            (Err(payload), None) => std::panic::resume_unwind(payload),
        };
        PollEnd::Ended(self.ended(core, child, kind, leaf, true))
    }

    /// `polled` is set to the child that is, or was, polled last.
    #[inline]
    fn poll_children(
        &self,
        core: &Core,
        first: &mut bool,
        body: PollBody<'_>,
        polled: &mut Option<ChildRef>,
        saved: &mut SavedContext,
    ) -> PollEnd<EndKind> {
        loop {
            if !*first && !core.may_poll() {
                return match core.tasks.borrow().has_ready_child(self.set) {
                    true => PollEnd::Spent,
                    false => PollEnd::Idle,
                };
            }
            let Some((ready, slot)) = core.tasks.borrow_mut().next_child(self.set) else {
                return PollEnd::Idle;
            };
            *first = false;
            core.turn.budget.count_poll();
            let rejections = core.rejections();
            let waker = core.enter_task(&ready, self.notified.get());
            let context = &mut Context::from_waker(&waker);
            let key = ready.key;
            *polled = Some(ChildRef { key, slot });
            let (child, was_attributed) = self.with_slot(slot, |slot| {
                let child = slot.child.as_ref().map(ErasedChild::alias);
                (child, slot.attributed.any())
            });
            let is_body = child.is_none();
            let now = match child {
                // SAFETY: the child is in its slot and has not ended. Only the child, and what it calls, runs during
                // this poll: a handle does not touch a child that has not ended, and everything else that does is the
                // poll or the drop of the group's future, which is being polled right now (G4).
                Some(child) => unsafe { child.poll(context) },
                None => body(context),
            };
            if now.is_ready() {
                let is_plain = !is_body && !self.failed.get() && !was_attributed;
                if !is_plain || core.context.attributed.get() || core.context.leaf.get().is_some() {
                    return PollEnd::Ended(EndKind::Ready);
                }
                // Nothing was canceled, failed or left pending: there is nothing for the group to judge.
                self.finish(core, ChildRef { key, slot }, End::Output(None), None, true);
                if self.have_ended() || core.context.has_changed(saved) {
                    return PollEnd::Look;
                }
                continue;
            }
            if core.is_canceled() && core.should_drop_canceled(key, rejections) {
                return PollEnd::Ended(EndKind::Dropped);
            }
            if core.context.attributed.get() {
                self.note_attributions(core, *polled, saved);
            }
            core.park_task(key, None);
            if core.context.has_changed(saved) && self.must_notify(core) {
                return PollEnd::Look;
            }
        }
    }

    /// Whether the group was canceled by a child or by the body, so that the others must be notified before they are
    /// polled (C2).
    #[cold]
    fn must_notify(&self, core: &Core) -> bool {
        !self.notified.get() && core.is_scope_canceled(self.scope)
    }

    /// Moves what was attributed during the poll of this child into its slot.
    #[cold]
    fn note_attributions(&self, core: &Core, polled: Option<ChildRef>, saved: &mut SavedContext) {
        let attributed = core.take_attributions(self.scope, polled.map(|child| child.key), saved);
        if let Some(child) = polled
            && let Some(slot) = self.slots.borrow_mut().get_mut(child.slot as usize)
            && slot.key == child.key
        {
            slot.attributed.add(attributed);
        }
    }

    /// Ends a child that was polled or is to be dropped. `leaf` is what it waited for last.
    fn ended(
        &self,
        core: &Core,
        child: ChildRef,
        kind: EndKind,
        leaf: Option<Leaf>,
        was_running: bool,
    ) -> Ended {
        self.failed.set(false);
        let is_body = self.body.get() == Some(child.key);
        let attributed = self.with_slot(child.slot, |slot| slot.attributed);
        let what = match kind {
            EndKind::Ready => None,
            EndKind::Dropped => Some("a child that was dropped"),
            _ => Some("a child that had panicked"),
        };
        if let Some(what) = what {
            let future = self.with_slot(child.slot, |slot| slot.child.take());
            self.guard(core, what, || drop(future));
        }
        let (end, kind) = match kind {
            EndKind::Ready => (End::Output(None), kind),
            EndKind::Panicked(payload) if self.keeps_panics && !is_body => {
                (End::Panicked(payload), EndKind::Ready)
            }
            kind => (End::Aborted, kind),
        };
        if is_body {
            self.body.set(None);
        }
        self.finish(core, child, end, leaf, was_running && !is_body);
        Ended {
            is_body,
            attributed,
            kind,
        }
    }

    /// Ends the row of a child. What has completed stays in its slot if a handle may take it.
    #[inline]
    fn finish(
        &self,
        core: &Core,
        child: ChildRef,
        end: End,
        leaf: Option<Leaf>,
        was_running: bool,
    ) {
        let finished = core.tasks.borrow_mut().finish(child.key, end);
        match finished.is_claimed {
            true => self.list_ended(child),
            false => {
                let unclaimed = core.tasks.borrow_mut().take_unclaimed(child.key);
                self.dispose(core, unclaimed);
            }
        }
        if let Some(leaf) = leaf {
            core.inherit(child.key, leaf, self.scope);
        }
        core.settle(finished);
        if !self.watchers.borrow().is_empty() {
            let mut watchers = self.watchers.borrow_mut().take_all();
            core.wake_all(&mut watchers);
        }
        if was_running {
            self.running.set(self.running.get() - 1);
            if !self.closed.get() {
                self.start_waiting(core);
            }
        }
    }

    #[inline]
    fn list_ended(&self, child: ChildRef) {
        if let Some(ended) = &mut *self.ended.borrow_mut() {
            let place = ended.push(child.key);
            self.with_slot(child.slot, |slot| slot.place = Some(place));
        }
    }

    /// Returns the first child to end of those that this has not returned yet and whose handles have not taken the
    /// result.
    pub(super) fn next_ended(&self) -> Option<Key> {
        let is_first = self.ended.borrow().is_none();
        if is_first {
            let core = runtime::reach(self.runtime_id)?;
            self.ended.replace(Some(WaitQueue::new()));
            for child in self.children() {
                if core.tasks.borrow().is_finished(child.key) {
                    self.list_ended(child);
                }
            }
        }
        let mut ended = self.ended.borrow_mut();
        let (_, key) = ended.as_mut()?.take_first()?;
        Some(key)
    }

    /// Frees the slot of a child whose row is gone.
    #[inline]
    fn free_slot(&self, at: u32) -> (Option<ErasedChild>, Attribution) {
        let slot = self.slots.borrow_mut().remove(at as usize);
        if let Some(place) = slot.place
            && let Some(ended) = &mut *self.ended.borrow_mut()
        {
            ended.remove(place);
        }
        (slot.child, slot.attributed)
    }

    /// Drops something of a child in the group's scope. What the kernel still has of it, a listener's accept for
    /// example, becomes an orphan of the group, which waits for it (G1).
    fn guard(&self, core: &Core, what: &'static str, drop: impl FnOnce()) {
        let before = core.enter_to_drop(self.scope);
        core.hook.guard(what, drop);
        core.leave(before);
    }

    /// Drops the result of a child that has ended and that nobody takes, and reports a failure or panic.
    fn dispose(&self, core: &Core, unclaimed: Option<Unclaimed>) {
        let Some(unclaimed) = unclaimed else {
            return;
        };
        let (child, attributed) = self.free_slot(unclaimed.slot);
        let Some(mut child) = child else {
            return core.dispose_of_end(Some(unclaimed));
        };
        let report = || child.get().report(attributed.any());
        let failure = core.hook.guard("a child's output", report);
        self.guard(core, "a child's output", || drop(child));
        if let Some(Some(message)) = failure {
            let child = unclaimed.origin.to_string();
            core.hook.report(&Fault::ChildFailed { child, message });
        }
    }

    /// Drops every child that has not ended. Returns true if the body is among them: the group then drops the body.
    pub(super) fn drop_children(&self, core: &Core) -> bool {
        let mut body = false;
        for child in self.children() {
            // The drop of one may take the result of another, but adds none: the set is closed.
            let leaf = match &*core.tasks.borrow() {
                tasks if tasks.is_finished(child.key) => continue,
                tasks => tasks.leaf(child.key),
            };
            let was_running = !self.stop_waiting(child.slot);
            let ended = self.ended(core, child, EndKind::Dropped, leaf, was_running);
            body |= ended.is_body;
        }
        body
    }

    /// Drops children, then outputs, until none is left, because the group is about to be gone (G4a).
    pub(super) fn clear(&self) {
        self.closed.set(true);
        let Some(core) = runtime::reach(self.runtime_id) else {
            // The runtime is gone, or belongs to the parent process: do not touch it. No child is added.
            for child in self.children() {
                let slot = self.slots.borrow_mut().try_remove(child.slot as usize);
                runtime::guard("a child that was dropped", || drop(slot));
            }
            return;
        };
        self.drop_children(&core);
        for child in self.children() {
            self.release(&core, child.key);
        }
        let waker = core.tasks.borrow_mut().close_child_set(self.set);
        runtime::drop_waker(waker);
        if self.rejected.get() && core.is_canceled_from_outside(self.scope) {
            // A loop that opens a group each time ends, too.
            core.count_rejection();
        }
        core.close_scope(self.scope);
    }

    /// Called when a child's handle is dropped. Drops the child's result, if it has ended.
    pub(super) fn release(&self, core: &Core, key: Key) {
        let (joiner, unclaimed) = core.tasks.borrow_mut().release(key, Claim::Dropped);
        self.dispose(core, unclaimed);
        runtime::drop_waker(joiner);
    }

    /// Takes the result of a child for its handle, once, if the child has ended. If there is no output, the error is the
    /// payload of the panic, or nothing if the child was dropped.
    ///
    /// # Safety
    ///
    /// `T` must be the output of the future that this child was spawned with (G4b).
    #[inline]
    pub(super) unsafe fn take<T>(
        &self,
        core: &Core,
        key: Key,
    ) -> Option<Result<T, Option<Box<dyn Any + Send>>>> {
        let taken = core.tasks.borrow_mut().take_end(key);
        let Some((end, slot)) = taken else {
            // Without a row, the group has taken it: it is about to be gone.
            let is_finished = core.tasks.borrow().is_finished(key);
            return is_finished.then_some(Err(None));
        };
        Some(match (end, self.free_slot(slot).0) {
            (End::Output(_), Some(mut child)) => {
                let mut output: Option<T> = None;
                let place: *mut Option<T> = &mut output;
                // SAFETY: `T` is the child's output, which the caller promises, so this is an option of that.
                unsafe { child.get().take_output(place.cast()) };
                output.ok_or(None)
            }
            (End::Panicked(payload), _) => Err(Some(payload)),
            _ => Err(None),
        })
    }
}
