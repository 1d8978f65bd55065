//! The children of one group: their futures, later their outputs, in the group's own memory.
//!
//! Children may borrow what outlives the group, and the table of tasks lives longer than that. So the table knows only their
//! names; the futures are here, and are touched by the poll and by the drop of the group's future, and by nothing else (G4).
//!
//! - **G4a** What a slot holds is dropped by [`ChildSet::clear`], which the group's future calls before it is gone, on every way
//!   out. If that future is forgotten instead, it is never polled again, and nothing here is touched again.
//! - **G4b** Whoever takes an output names the type that the child was spawned with: the handle that `spawn` made for it.
//! - **G4c** Nothing is dropped, and no future polled, while the slots are borrowed (R1).

use super::child_cell::{ChildCell, ErasedChild, Report};
use crate::runtime::{self, Attribution, Core, SavedContext};
use crate::table::{Key, Leaf, Table};
use crate::tasks::{NewChild, Origin, copy_waker};
use crate::wait_queue::{Ticket, WaitQueue};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::panic::Location;
use std::task::{Context, Poll, Waker};

/// So many names of ended children are kept beyond twice of what there is, before they are looked through.
const ENDED_SPARE: usize = 16;

/// The room of an empty list that is kept.
const ENDED_KEPT: usize = 1024;

enum State {
    /// The body of the group, whose future lies elsewhere.
    Body,
    /// Being dropped.
    Out,
    /// There is no room for it yet: it is in line.
    Waiting(ErasedChild),
    Running(ErasedChild),
    /// Its future has become its output.
    Output(ErasedChild),
    Panicked(Box<dyn Any + Send>),
    /// Its future was dropped before it was ready.
    Dropped,
}

impl State {
    fn has_ended(&self) -> bool {
        matches!(self, State::Output(_) | State::Panicked(_) | State::Dropped)
    }
}

struct Slot {
    state: State,
    /// Its row in the table of tasks.
    task: Key,
    /// Its place in line, if there was no room when it was spawned.
    place: Option<Ticket>,
    /// There is a handle.
    held: bool,
    /// Who answers for those of its leaves that ended `Canceled`.
    attributed: Attribution,
}

/// Why no child is polled for now.
enum Stop {
    /// None is ready.
    Idle,
    /// The turn has polled enough.
    Spent,
    /// As in [`Next`].
    Look,
    Ended(Key, How),
    /// This one was woken, and there is no room for it yet.
    Waiting(Key),
}

/// How a child ended, for the group.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) is_body: bool,
    /// Who answers for those of its leaves that ended `Canceled`.
    pub(super) attributed: Attribution,
    pub(super) how: How,
}

#[derive(Debug)]
pub(super) enum How {
    Ready,
    /// Canceled, and it waited for nothing that would come.
    Dropped,
    /// The panic is the group's.
    Panicked(Box<dyn Any + Send>),
    /// The handle has the panic, or the hook, if there was no handle.
    PanicKept,
}

/// What a look at the children brought.
pub(super) enum Next {
    Ended(Ended),
    /// None is ready to be polled.
    Idle,
    /// The turn has polled enough: the rest is for the next one.
    Spent,
    /// All have ended, or scopes were canceled.
    Look,
}

/// What a handle finds.
pub(super) enum Found<T> {
    Output(T),
    Panicked(Box<dyn Any + Send>),
    Dropped,
    Running,
}

/// A child that was spawned: its slot and its row, and as a type what it ends with (G4b). Not there if the group was closed.
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
    serial: u64,
    /// The scope of the group.
    scope: Key,
    /// Its row among the broods of the table of tasks.
    row: Key,
    slots: RefCell<Table<Slot>>,
    /// Children that have not ended, the body included.
    alive: Cell<usize>,
    /// Children that were started and have not ended, the body not counted.
    running: Cell<usize>,
    /// The most of those.
    limit: Cell<usize>,
    /// Children that wait until there is room, in order.
    waiting: RefCell<WaitQueue<Key>>,
    /// Children that have ended and whose handles have not looked, and some more. Not there until somebody asks.
    ended: RefCell<Option<VecDeque<Key>>>,
    closed: Cell<bool>,
    /// The children were told that the group is canceled.
    notified: Cell<bool>,
    /// Panics of children are for their handles.
    keeps_panics: bool,
    /// The child that is being polled has failed, which the group is to judge.
    failed: Cell<bool>,
    /// Something was refused in it, because it was canceled.
    refused: Cell<bool>,
    /// Who wants to know when a child ends.
    watchers: RefCell<WaitQueue<Waker>>,
}

/// The wait of somebody who wants to know when a child ends.
pub(super) struct Watch<'a> {
    children: &'a ChildSet,
    ticket: Option<Ticket>,
}

impl Watch<'_> {
    /// Wakes this when a child ends, and no other.
    pub(super) fn renew(&mut self, waker: &Waker) {
        let watchers = &self.children.watchers;
        let Some(ticket) = self.ticket else {
            let waker = copy_waker(waker);
            self.ticket = Some(watchers.borrow_mut().push(waker));
            return;
        };
        let same = |kept: &Waker| kept.will_wake(waker);
        if !watchers.borrow().get(ticket).is_some_and(same) {
            let waker = copy_waker(waker);
            let replaced = watchers.borrow_mut().renew(ticket, waker);
            runtime::drop_waker(replaced);
        }
    }

    pub(super) fn end(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            let left = self.children.watchers.borrow_mut().remove(ticket);
            runtime::drop_waker(left);
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

impl ChildSet {
    pub(super) fn new(core: &Core, scope: Key, keeps_panics: bool) -> ChildSet {
        ChildSet {
            serial: core.serial(),
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
            refused: Cell::new(false),
            watchers: RefCell::default(),
        }
    }

    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

    pub(super) fn scope(&self) -> Key {
        self.scope
    }

    pub(super) fn alive(&self) -> usize {
        self.alive.get()
    }

    /// Children that have not ended, the body not counted.
    pub(super) fn len(&self) -> usize {
        self.running.get() + self.waiting.borrow().len()
    }

    pub(super) fn limit(&self) -> usize {
        self.limit.get()
    }

    pub(super) fn set_limit(&self, limit: usize) {
        self.limit.set(limit.max(1));
        if let Some(core) = runtime::reach(self.serial) {
            self.start_waiting(&core);
        }
    }

    /// A row for the body, so that it is polled only when it is woken.
    pub(super) fn add_body(&self, core: &Core, location: &'static Location<'static>) {
        let origin = Origin {
            name: Some("the body of a group".into()),
            location,
        };
        let _slot = self.insert(core, State::Body, origin, false);
    }

    /// A new slot, and a row for it, which is ready unless it has to wait for room.
    #[inline]
    fn insert(&self, core: &Core, state: State, origin: Origin, held: bool) -> (Key, Key) {
        let ready = !matches!(state, State::Waiting(_));
        let child = NewChild {
            slot: self.slots.borrow().next_index(),
            held,
            ready,
            scope: self.scope,
            canceled: self.notified.get(),
        };
        let (task, foreign) = core.insert_child(self.row, child, origin);
        let slot = self.slots.borrow_mut().insert(Slot {
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

    /// A new child. If the group is closed, or its runtime gone, the future is dropped. That may happen anywhere, for what
    /// spawns may be a destructor.
    ///
    /// # Safety
    ///
    /// Whatever the future borrows outlives the call of [`clear`](ChildSet::clear), or the group's future is forgotten (G4a).
    pub(super) unsafe fn spawn<'a, F>(
        &self,
        future: F,
        report: Option<Report<F::Output>>,
        origin: Origin,
    ) -> Spawned<F::Output>
    where
        F: Future + 'a,
        F::Output: 'a,
    {
        let core = match runtime::reach(self.serial) {
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
            let keys = self.insert(&core, State::Running(child), origin, true);
            return Spawned::new(Some(keys));
        }
        let keys = self.insert(&core, State::Waiting(child), origin, true);
        if let Some(slot) = self.slots.borrow_mut().get_mut(keys.0) {
            slot.place = Some(self.waiting.borrow_mut().push(keys.0));
        }
        Spawned::new(Some(keys))
    }

    /// Starts children that were waiting, as far as there is room.
    #[inline]
    fn start_waiting(&self, core: &Core) {
        if !self.waiting.borrow().is_empty() {
            self.start_some(core);
        }
    }

    fn start_some(&self, core: &Core) {
        while self.running.get() < self.limit.get() {
            let Some(slot) = self.take_waiting() else {
                return;
            };
            let task = match self.slots.borrow_mut().get_mut(slot) {
                Some(slot) => {
                    let state = std::mem::replace(&mut slot.state, State::Out);
                    slot.place = None;
                    slot.state = match state {
                        State::Waiting(child) => State::Running(child),
                        other => other,
                    };
                    slot.task
                }
                None => continue,
            };
            self.running.set(self.running.get() + 1);
            core.wake_child(task);
        }
    }

    /// The first child in line leaves it.
    fn take_waiting(&self) -> Option<Key> {
        let mut waiting = self.waiting.borrow_mut();
        let (ticket, slot) = waiting.take_first()?;
        waiting.remove(ticket);
        Some(slot)
    }

    /// The group's future is polled.
    pub(super) fn begin(&self, core: &Core, waker: &Waker) {
        core.renew_scope(self.scope, waker);
        core.begin_children(self.row, waker);
    }

    /// It has been.
    pub(super) fn end(&self, core: &Core, waker: &Waker) {
        self.slots.borrow_mut().tidy(core.period());
        if core.end_children(self.row) {
            waker.wake_by_ref();
        }
    }

    pub(super) fn is_notified(&self) -> bool {
        self.notified.get()
    }

    /// The scope of the group is canceled: its children are told, and those that did not begin are dropped. True if there
    /// are any of these.
    pub(super) fn notify_canceled(&self, core: &Core) -> bool {
        self.notified.set(true);
        let waiting = self.waiting.take().take_all();
        let any = !waiting.is_empty();
        for slot in waiting {
            let _ended = self.drop_child(core, slot);
        }
        let tasks: Vec<Key> = self
            .slots
            .borrow()
            .iter()
            .map(|(_, slot)| slot.task)
            .collect();
        for task in tasks {
            core.cancel_task(task, false);
        }
        any
    }

    /// The scope of the group has left the canceled one that it was in.
    pub(super) fn notify_free(&self, core: &Core) {
        self.notified.set(false);
        for (_, slot) in self.slots.borrow().iter() {
            core.free_child(slot.task);
        }
    }

    /// Polls children that were woken, until one ends. The `first` may be polled even if the turn has polled enough.
    pub(super) fn next(&self, core: &Core, first: &mut bool, body: PollBody<'_>) -> Next {
        loop {
            let mut saved = core.suspend();
            let mut polled = None;
            // One catch for all of them costs less than one for each.
            let stop =
                core.catch(|| self.poll_children(core, first, body, &mut polled, &mut saved));
            if core.was_attributed() {
                self.note_attributions(core, polled, &mut saved);
            }
            let leaf = core.resume(saved);
            let (slot, how) = match (stop, polled) {
                (Ok(Stop::Idle), _) => return Next::Idle,
                (Ok(Stop::Spent), _) => return Next::Spent,
                (Ok(Stop::Look), _) => return Next::Look,
                (Ok(Stop::Waiting(slot)), _) => match self.look_at_waiting(core, slot) {
                    Some(ended) => return Next::Ended(ended),
                    None => continue,
                },
                (Ok(Stop::Ended(slot, how)), _) => (slot, how),
                (Err(payload), Some(slot)) => (slot, How::Panicked(payload)),
                // It was no child's.
                (Err(payload), None) => std::panic::resume_unwind(payload),
            };
            return Next::Ended(self.ended(core, slot, how, leaf));
        }
    }

    /// `polled` says which one is, or was, polled last.
    #[inline]
    fn poll_children(
        &self,
        core: &Core,
        first: &mut bool,
        body: PollBody<'_>,
        polled: &mut Option<Key>,
        saved: &mut SavedContext,
    ) -> Stop {
        loop {
            if !*first && !core.may_poll() {
                return match core.has_ready_child(self.row) {
                    true => Stop::Spent,
                    false => Stop::Idle,
                };
            }
            let Some(turn) = core.next_child(self.row) else {
                return Stop::Idle;
            };
            *first = false;
            core.count_poll();
            let (slot, child) = match self.slots.borrow().at(turn.slot) {
                Some((key, slot)) => match &slot.state {
                    State::Running(child) => (key, Some(child.alias())),
                    State::Body => (key, None),
                    State::Waiting(_) => return Stop::Waiting(key),
                    _ => unreachable!("G4: the row of a child that has ended says so"),
                },
                None => unreachable!("G4: a slot is there until its child has ended"),
            };
            *polled = Some(slot);
            let waker = core.waker_of_child(turn.key);
            let context = &mut Context::from_waker(&waker);
            let now = match child {
                // SAFETY: it lies in its slot and has not ended. What runs meanwhile is the child, and whatever that calls:
                // a handle leaves a child alone that has not ended, and all else that touches one is the poll or the drop
                // of the group's future, which is being polled right now (G4).
                Some(child) => unsafe { child.poll(context) },
                None => body(context),
            };
            if now.is_ready() {
                if !self.end_well(core, slot) {
                    return Stop::Ended(slot, How::Ready);
                }
                if self.alive.get() == 0 || core.has_changed(saved) {
                    return Stop::Look;
                }
                continue;
            }
            if core.is_canceled() && core.should_drop_canceled(turn.key) {
                return Stop::Ended(slot, How::Dropped);
            }
            if core.was_attributed() {
                self.note_attributions(core, *polled, saved);
            }
            core.park_child(turn.key);
            if core.has_changed(saved) && self.must_notify(core) {
                return Stop::Look;
            }
        }
    }

    /// Whether the group was canceled by a child, or by its body, and the rest is to be told before it is polled (C2).
    #[cold]
    fn must_notify(&self, core: &Core) -> bool {
        !self.notified.get() && core.is_scope_canceled(self.scope)
    }

    /// A child that has not begun was woken: it may have been canceled.
    #[cold]
    fn look_at_waiting(&self, core: &Core, key: Key) -> Option<Ended> {
        let (task, place) = {
            let slots = self.slots.borrow();
            let slot = slots.get(key)?;
            (slot.task, slot.place?)
        };
        if core.unqueue_child(task) {
            self.waiting.borrow_mut().remove(place);
            return self.drop_child(core, key);
        }
        None
    }

    /// Something was attributed while this child was polled.
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

    /// A child has ended. Its output stays if a handle may take it. `leaf` is what it waited for last.
    #[inline]
    fn ended(&self, core: &Core, key: Key, how: How, leaf: Option<Leaf>) -> Ended {
        self.failed.set(false);
        let (task, attributed, state) = match self.slots.borrow_mut().get_mut(key) {
            Some(slot) => {
                let state = std::mem::replace(&mut slot.state, State::Out);
                (slot.task, slot.attributed, state)
            }
            None => unreachable!("G4: a slot is there until its child has ended"),
        };
        let is_body = matches!(state, State::Body);
        let was_running = !matches!(state, State::Body | State::Waiting(_));
        let (kept, how) = match (state, how) {
            (State::Running(child), How::Ready) => (State::Output(child), How::Ready),
            (state, How::Panicked(payload)) if self.keeps_panics && !is_body => {
                self.guard(core, "a child that had panicked", || drop(state));
                // Without a handle it goes to the hook, below.
                (State::Panicked(payload), How::PanicKept)
            }
            (state, how) => {
                self.guard(core, "a child that was dropped", || drop(state));
                (State::Dropped, how)
            }
        };
        if let Some(left) = self.keep(key, kept) {
            self.drop_end(core, task, attributed, left);
        }
        self.count_end(core, task, leaf, was_running);
        Ended {
            is_body,
            attributed,
            how,
        }
    }

    /// The future of a child is ready. True if that is all: nothing was canceled or failed, nothing is pending, and a handle
    /// may take the output, which stays where it is. Then the child has ended, and nobody else needs to know.
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
            match std::mem::replace(&mut slot.state, State::Out) {
                State::Running(child) => slot.state = State::Output(child),
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

    /// Keeps the end of a child if there is a handle for it, and else gives it back. The handle may have gone only just
    /// now: a child can own its own.
    fn keep(&self, key: Key, kept: State) -> Option<State> {
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

    /// A child has ended that has a handle. Those whose handles have looked are forgotten when there are many.
    fn keep_ended(&self, slots: &Table<Slot>, key: Key) {
        let mut ended = self.ended.borrow_mut();
        let Some(ended) = &mut *ended else {
            return;
        };
        if ended.len() > 2 * slots.len() + ENDED_SPARE {
            ended.retain(|key| slots.get(*key).is_some());
        }
        ended.push_back(key);
    }

    /// The child that ended first of those that have not been asked for here and whose handles have not looked.
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

    /// Whether a child has ended, in whichever way.
    pub(super) fn is_finished(&self, key: Key) -> bool {
        let slots = self.slots.borrow();
        slots.get(key).is_none_or(|slot| slot.state.has_ended())
    }

    /// The end of a child that nobody takes.
    fn drop_end(&self, core: &Core, task: Key, attributed: Attribution, state: State) {
        match state {
            State::Output(child) => self.discard(core, task, attributed, child),
            State::Panicked(payload) => core.report_panic(task, payload),
            _ => {}
        }
    }

    /// Drops something of a child where that belongs: what the kernel still has of it, a listener's accept for example, is an
    /// orphan of the group then, which waits for it (G1).
    fn guard(&self, core: &Core, what: &'static str, drop: impl FnOnce()) {
        let before = core.enter_to_drop(self.scope);
        core.guard(what, drop);
        core.leave(before);
    }

    /// An output that nobody takes.
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
        match self.slots.borrow().get(key)?.state {
            State::Waiting(_) | State::Running(_) | State::Body => {}
            _ => return None,
        }
        Some(self.ended(core, key, How::Dropped, None))
    }

    /// Drops every child that has not ended, the hard way. True if the body is among them: it is the group's to drop.
    pub(super) fn drop_children(&self, core: &Core) -> bool {
        let mut body = false;
        self.waiting.take();
        let keys: Vec<Key> = self.slots.borrow().iter().map(|(key, _)| key).collect();
        for key in keys {
            body |= self
                .drop_child(core, key)
                .is_some_and(|ended| ended.is_body);
        }
        body
    }

    /// The child that is being polled has failed.
    pub(super) fn note_failure(&self) {
        self.failed.set(true);
    }

    /// Something was refused in the group, because it was canceled.
    pub(super) fn note_refusal(&self) {
        self.refused.set(true);
    }

    /// No child begins any more.
    pub(super) fn close(&self) {
        self.closed.set(true);
    }

    /// The group is gone: drops children, then outputs, until none is left (G4a).
    pub(super) fn clear(&self) {
        self.close();
        let Some(core) = runtime::reach(self.serial) else {
            // The runtime is gone, or belongs to the parent of this process: nothing of it is touched.
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
        core.close_scope_of_group(self.scope, self.refused.get());
    }

    /// There is no runtime to speak of: the children are dropped, and no table is told.
    fn forget(&self) {
        let keys: Vec<Key> = self.slots.borrow().iter().map(|(key, _)| key).collect();
        // None comes after these: the group is closed.
        for key in keys {
            let slot = self.slots.borrow_mut().remove(key);
            runtime::guard("a child that was dropped", || drop(slot));
        }
    }

    /// The handle of a child lets go of it: what it left is dropped.
    pub(super) fn release(&self, core: &Core, key: Key) {
        let (task, attributed, state) = {
            let mut slots = self.slots.borrow_mut();
            let Some(slot) = slots.get_mut(key) else {
                return;
            };
            slot.held = false;
            let (task, attributed) = (slot.task, slot.attributed);
            let state = match slot.state {
                // It ends without a handle.
                State::Waiting(_) | State::Running(_) | State::Body | State::Out => None,
                _ => slots.remove(key).map(|slot| slot.state),
            };
            (task, attributed, state)
        };
        if let Some(state) = state {
            self.drop_end(core, task, attributed, state);
        }
        core.release_child(task);
    }

    /// What a handle takes: the end of its child, once.
    ///
    /// # Safety
    ///
    /// `T` is the output of the future that this child was spawned with (G4b).
    #[inline]
    pub(super) unsafe fn take<T>(&self, core: &Core, key: Key) -> Found<T> {
        let state = {
            let mut slots = self.slots.borrow_mut();
            let Some(slot) = slots.get(key) else {
                return Found::Dropped;
            };
            match slot.state {
                State::Waiting(_) | State::Running(_) | State::Body | State::Out => {
                    return Found::Running;
                }
                _ => slots.remove(key).map(|slot| (slot.state, slot.task)),
            }
        };
        let Some((state, task)) = state else {
            return Found::Dropped;
        };
        core.take_child(task);
        match state {
            State::Output(mut child) => {
                let mut output: Option<T> = None;
                let place: *mut Option<T> = &mut output;
                // SAFETY: `T` is the child's output, which the caller promises, so this is an option of that.
                unsafe { child.get().take_output(place.cast()) };
                output.map_or(Found::Dropped, Found::Output)
            }
            State::Panicked(payload) => Found::Panicked(payload),
            _ => Found::Dropped,
        }
    }

    /// For somebody who wants to know when a child ends.
    pub(super) fn watch(&self) -> Watch<'_> {
        Watch {
            children: self,
            ticket: None,
        }
    }
}
