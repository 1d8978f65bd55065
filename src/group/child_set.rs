//! The children of one group: their futures, later their outputs, in the group's own memory.
//!
//! Children may borrow what outlives the group, and the task table lives longer than that. So the table knows only
//! their wake IDs; the futures are here, and only polling and dropping the group's future touches them (G4).
//!
//! - **G4a** [`ChildSet::clear`] drops what the slots hold. The group's future calls it before it is gone, on every way
//!   out. If that future is forgotten instead, it is never polled again, and nothing here is touched again.
//! - **G4b** An output is taken as the type that the child was spawned with, by the handle that `spawn` made for it.
//! - **G4c** Nothing is dropped, and no future polled, while the slots are borrowed (R1).

use super::child_cell::{ChildCell, ErasedChild, FailureReport};
use crate::runtime::{self, Attribution, Core, QueueLeaf, SavedContext};
use crate::table::{Key, Leaf, Table};
use crate::tasks::{NewChild, Origin};
use crate::wait_queue::{Ticket, WaitQueue};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::panic::Location;
use std::task::{Context, Poll, Waker};

/// How many keys of ended children, beyond twice the number of slots, are kept before stale ones are removed.
const ENDED_SPARE: usize = 16;

/// The largest capacity that an empty list keeps.
const ENDED_KEPT: usize = 1024;

enum ChildState {
    /// The body of the group, whose future is stored elsewhere.
    Body,
    /// Being dropped.
    Out,
    /// Queued until the limit allows it to start.
    Waiting(ErasedChild),
    Running(ErasedChild),
    /// The future has completed, and its output is in its place.
    Output(ErasedChild),
    Panicked(Box<dyn Any + Send>),
    /// The future was dropped before it completed.
    Dropped,
}

impl ChildState {
    fn has_ended(&self) -> bool {
        matches!(
            self,
            ChildState::Output(_) | ChildState::Panicked(_) | ChildState::Dropped
        )
    }
}

struct ChildSlot {
    state: ChildState,
    /// The child's row in the task table.
    task: Key,
    /// The child's ticket in the queue, if the limit did not allow it to start when it was spawned.
    place: Option<Ticket>,
    /// Whether a handle exists.
    held: bool,
    /// The scopes to which the child's `Canceled` leaves are attributed.
    attributed: Attribution,
}

/// Why polling of children stops for now.
enum StopReason {
    /// No child is ready.
    Idle,
    /// The turn's poll budget is spent.
    Spent,
    /// As in [`NextChild`].
    Look,
    Ended(Key, EndKind),
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
    Ready,
    /// Canceled, and not waiting for anything that would come.
    Dropped,
    /// The group resumes the panic.
    Panicked(Box<dyn Any + Send>),
    /// The handle has the panic, or the hook if there is no handle.
    PanicKept,
}

/// The result of polling the children.
pub(super) enum NextChild {
    Ended(Ended),
    /// No child is ready to be polled.
    Idle,
    /// The turn's poll budget is spent: the rest is for the next turn.
    Spent,
    /// All have ended, or scopes were canceled.
    Look,
}

/// What a handle finds in its child's slot.
pub(super) enum ChildResult<T> {
    Output(T),
    Panicked(Box<dyn Any + Send>),
    Dropped,
}

/// A spawned child: the keys of its slot and its task row, and its output type (G4b). No keys if the group was closed.
pub(super) struct Spawned<O> {
    pub(super) keys: Option<(Key, Key)>,
    output: PhantomData<fn(O) -> O>,
}

impl<O> Spawned<O> {
    fn new(keys: Option<(Key, Key)>) -> Spawned<O> {
        Spawned {
            keys,
            output: PhantomData,
        }
    }
}

/// Polls the body of the group.
pub(super) type PollBody<'a> = &'a mut dyn FnMut(&mut Context<'_>) -> Poll<()>;

pub(super) struct ChildSet {
    runtime_id: u64,
    /// The scope of the group.
    scope: Key,
    /// The row of the group's ready queue in the task table.
    row: Key,
    slots: RefCell<Table<ChildSlot>>,
    /// The number of children that have not ended, including the body.
    alive: Cell<usize>,
    /// The number of children that were started and have not ended, without the body.
    running: Cell<usize>,
    /// The maximum of `running`, except for children that their handles cancel.
    limit: Cell<usize>,
    /// The children queued under the limit, in order.
    waiting: RefCell<WaitQueue<Key>>,
    /// Children that have ended and whose handles have not taken the result, and some stale keys. `None` until
    /// `next_ended` is called.
    ended: RefCell<Option<VecDeque<Key>>>,
    closed: Cell<bool>,
    /// Whether the children were notified that the group is canceled.
    notified: Cell<bool>,
    /// Whether panics of children go to their handles.
    keeps_panics: bool,
    /// Whether the child that is being polled has failed; the group has yet to judge that.
    failed: Cell<bool>,
    /// Whether a leaf was rejected in the group, because it was canceled.
    rejected: Cell<bool>,
    /// Wakers of those waiting for a child to end.
    watchers: RefCell<WaitQueue<Waker>>,
}

impl ChildSet {
    pub(super) fn new(core: &Core, scope: Key, keeps_panics: bool) -> ChildSet {
        ChildSet {
            runtime_id: core.runtime_id(),
            scope,
            row: core.open_ready_queue(),
            slots: RefCell::new(Table::new()),
            alive: Cell::new(0),
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
        }
    }

    pub(super) fn runtime_id(&self) -> u64 {
        self.runtime_id
    }

    pub(super) fn scope(&self) -> Key {
        self.scope
    }

    pub(super) fn alive(&self) -> usize {
        self.alive.get()
    }

    /// Returns the number of children that have not ended, without the body.
    pub(super) fn len(&self) -> usize {
        self.running.get() + self.waiting.borrow().len()
    }

    pub(super) fn limit(&self) -> usize {
        self.limit.get()
    }

    pub(super) fn set_limit(&self, limit: usize) {
        self.limit.set(limit.max(1));
        if let Some(core) = runtime::reach(self.runtime_id) {
            self.start_waiting(&core);
        }
    }

    /// Adds a row for the body, so that it is polled only when it is woken.
    pub(super) fn add_body(&self, core: &Core, location: &'static Location<'static>) {
        let origin = Origin {
            name: Some("the body of a group".into()),
            location,
        };
        let _slot = self.insert(core, ChildState::Body, origin, false);
    }

    /// Adds a slot and its task row, which is ready unless the child is queued.
    #[inline]
    fn insert(&self, core: &Core, state: ChildState, origin: Origin, held: bool) -> (Key, Key) {
        let ready = !matches!(state, ChildState::Waiting(_));
        let child = NewChild {
            slot: self.slots.borrow().next_index(),
            held,
            ready,
            scope: self.scope,
        };
        let (task, foreign) = core.insert_child(self.row, child, origin);
        let slot = self.slots.borrow_mut().insert(ChildSlot {
            state,
            task,
            place: None,
            held,
            attributed: Attribution::default(),
        });
        assert_eq!(slot.index(), child.slot, "T4: where the next row will be");
        self.alive.set(self.alive.get() + 1);
        core.wake_foreign(foreign);
        (slot, task)
    }

    /// Adds a child. If the group is closed, or its runtime gone, the future is dropped. This may be called from
    /// anywhere, even from a destructor.
    ///
    /// # Safety
    ///
    /// What the future borrows outlives the call of [`clear`](ChildSet::clear), or the group's future is forgotten
    /// (G4a).
    pub(super) unsafe fn spawn<'a, F>(
        &self,
        future: F,
        report: Option<FailureReport<F::Output>>,
        origin: Origin,
    ) -> Spawned<F::Output>
    where
        F: Future + 'a,
        F::Output: 'a,
    {
        let core = match runtime::reach(self.runtime_id) {
            Some(core) if !self.closed.get() => core,
            _ => {
                runtime::guard("a future that came too late", || drop(future));
                return Spawned::new(None);
            }
        };
        let child = Box::new(ChildCell::new(future, report));
        // SAFETY: the slots are polled by the group's future, and emptied by `clear` before what the child borrows is gone:
        // the caller's promise.
        let child = unsafe { ErasedChild::new(child) };
        if self.running.get() < self.limit.get() {
            self.running.set(self.running.get() + 1);
            let keys = self.insert(&core, ChildState::Running(child), origin, true);
            return Spawned::new(Some(keys));
        }
        let keys = self.insert(&core, ChildState::Waiting(child), origin, true);
        if let Some(slot) = self.slots.borrow_mut().get_mut(keys.0) {
            slot.place = Some(self.waiting.borrow_mut().push(keys.0));
        }
        Spawned::new(Some(keys))
    }

    /// Starts queued children, as far as the limit allows.
    #[inline]
    fn start_waiting(&self, core: &Core) {
        if !self.waiting.borrow().is_empty() {
            self.start_some(core);
        }
    }

    fn start_some(&self, core: &Core) {
        while self.running.get() < self.limit.get() {
            let Some((_, slot)) = self.waiting.borrow_mut().take_first() else {
                return;
            };
            self.start(core, slot);
        }
    }

    /// Starts a child, if it is queued.
    fn start(&self, core: &Core, key: Key) {
        let task = {
            let mut slots = self.slots.borrow_mut();
            let Some(slot) = slots.get_mut(key) else {
                return;
            };
            let Some(place) = slot.place.take() else {
                return;
            };
            self.waiting.borrow_mut().remove(place);
            slot.state = match std::mem::replace(&mut slot.state, ChildState::Out) {
                ChildState::Waiting(child) => ChildState::Running(child),
                other => other,
            };
            slot.task
        };
        self.running.set(self.running.get() + 1);
        core.wake_child(task);
    }

    /// Cancels a child through its handle. A queued child starts at once, beyond the limit: its cancel must not have to
    /// wait for siblings that run on.
    pub(super) fn cancel(&self, core: &Core, key: Key, task: Key) {
        core.cancel_child(task);
        self.start(core, key);
    }

    /// Called before the group's future polls its children.
    pub(super) fn begin(&self, core: &Core, waker: &Waker) {
        core.renew_scope(self.scope, waker);
        core.begin_children(self.row, waker);
    }

    /// Called after the group's future has polled its children.
    pub(super) fn end(&self, core: &Core, waker: &Waker) {
        self.slots.borrow_mut().tidy(core.period());
        if core.end_children(self.row) {
            waker.wake_by_ref();
        }
    }

    pub(super) fn is_notified(&self) -> bool {
        self.notified.get()
    }

    /// Notifies the children that the group's scope is canceled. Those that are queued stay so: the limit holds to the
    /// end, and bounds what children hold at once until they meet their first wait.
    pub(super) fn notify_canceled(&self, core: &Core) {
        self.notified.set(true);
        let tasks: Vec<Key> = self
            .slots
            .borrow()
            .iter()
            .map(|(_, slot)| slot.task)
            .collect();
        for task in tasks {
            core.notify_task(task);
        }
    }

    /// Clears the notification: the group's scope has left the canceled scope that it was in.
    pub(super) fn notify_free(&self) {
        self.notified.set(false);
    }

    /// Polls woken children until one ends. If `first`, one child may be polled even if the turn's poll budget is
    /// spent.
    pub(super) fn next(&self, core: &Core, first: &mut bool, body: PollBody<'_>) -> NextChild {
        let mut saved = core.suspend();
        let mut polled = None;
        // One catch around all polls costs less than one around each.
        let stop = core.catch(|| self.poll_children(core, first, body, &mut polled, &mut saved));
        if core.was_attributed() {
            self.note_attributions(core, polled, &mut saved);
        }
        let leaf = core.resume(saved);
        let (slot, kind) = match (stop, polled) {
            (Ok(StopReason::Idle), _) => return NextChild::Idle,
            (Ok(StopReason::Spent), _) => return NextChild::Spent,
            (Ok(StopReason::Look), _) => return NextChild::Look,
            (Ok(StopReason::Ended(slot, kind)), _) => (slot, kind),
            (Err(payload), Some(slot)) => (slot, EndKind::Panicked(payload)),
            // The panic was not a child's.
            (Err(payload), None) => std::panic::resume_unwind(payload),
        };
        NextChild::Ended(self.ended(core, slot, kind, leaf))
    }

    /// `polled` is set to the child that is, or was, polled last.
    #[inline]
    fn poll_children(
        &self,
        core: &Core,
        first: &mut bool,
        body: PollBody<'_>,
        polled: &mut Option<Key>,
        saved: &mut SavedContext,
    ) -> StopReason {
        loop {
            if !*first && !core.may_poll() {
                return match core.has_ready_child(self.row) {
                    true => StopReason::Spent,
                    false => StopReason::Idle,
                };
            }
            let Some(turn) = core.next_child(self.row, self.notified.get()) else {
                return StopReason::Idle;
            };
            *first = false;
            core.count_poll();
            let (slot, child) = match self.slots.borrow().at(turn.slot) {
                Some((key, slot)) => match &slot.state {
                    ChildState::Running(child) => (key, Some(child.alias())),
                    ChildState::Body => (key, None),
                    // A cancel has woken it. It is woken again when it starts.
                    ChildState::Waiting(_) => {
                        core.park_child(turn.key);
                        continue;
                    }
                    _ => unreachable!("G4: the row of a child that has ended says so"),
                },
                None => unreachable!("G4: a slot is there until its child has ended"),
            };
            *polled = Some(slot);
            let rejections = core.rejections();
            let waker = core.waker_of_child(turn.key);
            let context = &mut Context::from_waker(&waker);
            let now = match child {
                // SAFETY: the child is in its slot and has not ended. Only the child, and what it calls, runs during
                // this poll: a handle does not touch a child that has not ended, and everything else that does is the
                // poll or the drop of the group's future, which is being polled right now (G4).
                Some(child) => unsafe { child.poll(context) },
                None => body(context),
            };
            if now.is_ready() {
                if !self.end_well(core, slot) {
                    return StopReason::Ended(slot, EndKind::Ready);
                }
                if self.alive.get() == 0 || core.has_changed(saved) {
                    return StopReason::Look;
                }
                continue;
            }
            if core.is_canceled() && core.should_drop_canceled(turn.key, rejections) {
                return StopReason::Ended(slot, EndKind::Dropped);
            }
            if core.was_attributed() {
                self.note_attributions(core, *polled, saved);
            }
            core.park_child(turn.key);
            if core.has_changed(saved) && self.must_notify(core) {
                return StopReason::Look;
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
    fn note_attributions(&self, core: &Core, polled: Option<Key>, saved: &mut SavedContext) {
        let mut slots = self.slots.borrow_mut();
        let slot = polled.and_then(|key| slots.get_mut(key));
        let attributed =
            core.take_attributions(self.scope, slot.as_ref().map(|slot| slot.task), saved);
        if let Some(slot) = slot {
            slot.attributed.add(attributed);
        }
    }

    /// Ends a child. Its output stays if a handle may take it. `leaf` is what the child waited for last.
    #[inline]
    fn ended(&self, core: &Core, key: Key, kind: EndKind, leaf: Option<Leaf>) -> Ended {
        self.failed.set(false);
        let (task, attributed, state) = match self.slots.borrow_mut().get_mut(key) {
            Some(slot) => {
                let state = std::mem::replace(&mut slot.state, ChildState::Out);
                (slot.task, slot.attributed, state)
            }
            None => unreachable!("G4: a slot is there until its child has ended"),
        };
        let is_body = matches!(state, ChildState::Body);
        let was_running = !matches!(state, ChildState::Body | ChildState::Waiting(_));
        let (kept, kind) = match (state, kind) {
            (ChildState::Running(child), EndKind::Ready) => {
                (ChildState::Output(child), EndKind::Ready)
            }
            (state, EndKind::Panicked(payload)) if self.keeps_panics && !is_body => {
                self.guard(core, "a child that had panicked", || drop(state));
                // Without a handle, the panic goes to the hook, below.
                (ChildState::Panicked(payload), EndKind::PanicKept)
            }
            (state, kind) => {
                self.guard(core, "a child that was dropped", || drop(state));
                (ChildState::Dropped, kind)
            }
        };
        if let Some(left) = self.keep(key, kept) {
            self.drop_end(core, task, attributed, left);
        }
        self.count_end(core, task, leaf, was_running);
        Ended {
            is_body,
            attributed,
            kind,
        }
    }

    /// Called when a child's future is ready. Ends the child and returns true if nothing else is to be done: nothing
    /// was canceled or failed, nothing is pending, and a handle may take the output, which stays where it is.
    #[inline]
    fn end_well(&self, core: &Core, key: Key) -> bool {
        if self.failed.get() || core.was_attributed() || core.has_leaf() {
            return false;
        }
        let task = {
            let mut slots = self.slots.borrow_mut();
            let Some(slot) = slots.get_mut(key) else {
                return false;
            };
            if !slot.held || slot.attributed.any() {
                return false;
            }
            match std::mem::replace(&mut slot.state, ChildState::Out) {
                ChildState::Running(child) => slot.state = ChildState::Output(child),
                other => {
                    slot.state = other;
                    return false;
                }
            }
            let task = slot.task;
            self.keep_ended(&slots, key);
            task
        };
        self.count_end(core, task, None, true);
        true
    }

    #[inline]
    fn count_end(&self, core: &Core, task: Key, leaf: Option<Leaf>, was_running: bool) {
        self.alive.set(self.alive.get() - 1);
        core.end_child(task, leaf, self.scope);
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

    /// Keeps the result of a child if a handle exists, and returns it otherwise. The handle may have been dropped only
    /// just now, because a child can own its own handle.
    fn keep(&self, key: Key, kept: ChildState) -> Option<ChildState> {
        let mut slots = self.slots.borrow_mut();
        match slots.get_mut(key) {
            Some(slot) if slot.held => slot.state = kept,
            _ => {
                slots.remove(key);
                return Some(kept);
            }
        }
        self.keep_ended(&slots, key);
        None
    }

    /// Records that a child with a handle has ended. When the list is long, keys whose handles have taken the result
    /// are removed.
    fn keep_ended(&self, slots: &Table<ChildSlot>, key: Key) {
        let mut ended = self.ended.borrow_mut();
        let Some(ended) = &mut *ended else {
            return;
        };
        if ended.len() > 2 * slots.len() + ENDED_SPARE {
            ended.retain(|key| slots.get(*key).is_some());
        }
        ended.push_back(key);
    }

    /// Returns the first child to end of those that this has not returned yet and whose handles have not taken the
    /// result.
    pub(super) fn next_ended(&self) -> Option<Key> {
        let slots = self.slots.borrow();
        let mut ended = self.ended.borrow_mut();
        let ended = ended.get_or_insert_with(|| {
            let slots = slots.iter();
            let ended = slots.filter(|(_, slot)| slot.held && slot.state.has_ended());
            ended.map(|(key, _)| key).collect()
        });
        loop {
            let Some(key) = ended.pop_front() else {
                if ended.capacity() > ENDED_KEPT {
                    *ended = VecDeque::new();
                }
                return None;
            };
            if slots.get(key).is_some() {
                return Some(key);
            }
        }
    }

    /// Whether a child has ended, in any way.
    pub(super) fn is_finished(&self, key: Key) -> bool {
        let slots = self.slots.borrow();
        slots.get(key).is_none_or(|slot| slot.state.has_ended())
    }

    /// Drops the result of a child that nobody takes, and reports a failure or panic.
    fn drop_end(&self, core: &Core, task: Key, attributed: Attribution, state: ChildState) {
        match state {
            ChildState::Output(child) => self.discard(core, task, attributed, child),
            ChildState::Panicked(payload) => core.report_panic(task, payload),
            _ => {}
        }
    }

    /// Drops something of a child in the group's scope. What the kernel still has of it, a listener's accept for
    /// example, becomes an orphan of the group, which waits for it (G1).
    fn guard(&self, core: &Core, what: &'static str, drop: impl FnOnce()) {
        let before = core.enter_to_drop(self.scope);
        core.guard(what, drop);
        core.leave(before);
    }

    /// Drops an output that nobody takes, and reports its failure.
    fn discard(&self, core: &Core, task: Key, attributed: Attribution, mut child: ErasedChild) {
        let report = || child.get().report(attributed.any());
        let failure = core.guard("a child's output", report);
        self.guard(core, "a child's output", || drop(child));
        if let Some(Some(message)) = failure {
            core.report_child(task, message);
        }
    }

    /// Drops a child that has not ended.
    fn drop_child(&self, core: &Core, key: Key) -> Option<Ended> {
        {
            let mut slots = self.slots.borrow_mut();
            let slot = slots.get_mut(key)?;
            if slot.state.has_ended() || matches!(slot.state, ChildState::Out) {
                return None;
            }
            if let Some(place) = slot.place.take() {
                self.waiting.borrow_mut().remove(place);
            }
        }
        Some(self.ended(core, key, EndKind::Dropped, None))
    }

    /// Drops every child that has not ended. Returns true if the body is among them: the group then drops the body.
    pub(super) fn drop_children(&self, core: &Core) -> bool {
        let mut body = false;
        let keys: Vec<Key> = self.slots.borrow().iter().map(|(key, _)| key).collect();
        for key in keys {
            body |= self
                .drop_child(core, key)
                .is_some_and(|ended| ended.is_body);
        }
        body
    }

    /// Notes that the child that is being polled has failed.
    pub(super) fn note_failure(&self) {
        self.failed.set(true);
    }

    /// Notes that a leaf was rejected in the group, because it was canceled.
    pub(super) fn note_rejection(&self) {
        self.rejected.set(true);
    }

    /// Closes the set: no child starts from now on.
    pub(super) fn close(&self) {
        self.closed.set(true);
    }

    /// Drops children, then outputs, until none is left, because the group is about to be gone (G4a).
    pub(super) fn clear(&self) {
        self.close();
        let Some(core) = runtime::reach(self.runtime_id) else {
            // The runtime is gone, or belongs to the parent process: do not touch it.
            self.forget();
            return;
        };
        while self.alive.get() > 0 {
            self.drop_children(&core);
        }
        loop {
            let keys: Vec<Key> = self.slots.borrow().iter().map(|(key, _)| key).collect();
            if keys.is_empty() {
                break;
            }
            for key in keys {
                self.release(&core, key);
            }
        }
        core.close_ready_queue(self.row);
        if self.rejected.get() && core.is_canceled_from_outside(self.scope) {
            // A loop that opens a group each time ends, too.
            core.count_rejection();
        }
        core.close_scope(self.scope);
    }

    /// Drops the children without a runtime: no table is updated.
    fn forget(&self) {
        let keys: Vec<Key> = self.slots.borrow().iter().map(|(key, _)| key).collect();
        // No child is added after these: the group is closed.
        for key in keys {
            let slot = self.slots.borrow_mut().remove(key);
            runtime::guard("a child that was dropped", || drop(slot));
        }
    }

    /// Called when a child's handle is dropped. Drops the child's result, if it has ended.
    pub(super) fn release(&self, core: &Core, key: Key) {
        let (task, attributed, state) = {
            let mut slots = self.slots.borrow_mut();
            let Some(slot) = slots.get_mut(key) else {
                return;
            };
            slot.held = false;
            let (task, attributed) = (slot.task, slot.attributed);
            let state = match slot.state {
                // The child ends later, without a handle.
                ChildState::Waiting(_)
                | ChildState::Running(_)
                | ChildState::Body
                | ChildState::Out => None,
                _ => slots.remove(key).map(|slot| slot.state),
            };
            (task, attributed, state)
        };
        if let Some(state) = state {
            self.drop_end(core, task, attributed, state);
        }
        core.release_child(task);
    }

    /// Takes the result of a child for its handle, once.
    ///
    /// # Safety
    ///
    /// `T` must be the output of the future that this child was spawned with (G4b).
    #[inline]
    pub(super) unsafe fn take<T>(&self, core: &Core, key: Key) -> Option<ChildResult<T>> {
        let state = {
            let mut slots = self.slots.borrow_mut();
            let Some(slot) = slots.get(key) else {
                return Some(ChildResult::Dropped);
            };
            match slot.state {
                ChildState::Waiting(_)
                | ChildState::Running(_)
                | ChildState::Body
                | ChildState::Out => {
                    return None;
                }
                _ => slots.remove(key).map(|slot| (slot.state, slot.task)),
            }
        };
        let Some((state, task)) = state else {
            return Some(ChildResult::Dropped);
        };
        core.take_child(task);
        Some(match state {
            ChildState::Output(mut child) => {
                let mut output: Option<T> = None;
                let place: *mut Option<T> = &mut output;
                // SAFETY: `T` is the child's output, which the caller promises, so this is an option of that.
                unsafe { child.get().take_output(place.cast()) };
                output.map_or(ChildResult::Dropped, ChildResult::Output)
            }
            ChildState::Panicked(payload) => ChildResult::Panicked(payload),
            _ => ChildResult::Dropped,
        })
    }

    /// Returns a wait for the next child to end.
    pub(super) fn watch(&self) -> QueueLeaf<&RefCell<WaitQueue<Waker>>> {
        QueueLeaf::new(&self.watchers)
    }
}
