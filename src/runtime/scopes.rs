//! Scopes, and what is awaited in them: the tree of scopes put together with the tables that leaves are rows of.
//!
//! - **C1** Each poll of a task happens in a scope, the current one: the task's own, or one that its future has entered.
//! - **C2** Every leaf asks whether that is cancelled. One that would begin is refused; one that is pending is told.
//! - **C6** What waits for nothing that the runtime will complete, and is cancelled, waits for something foreign: it is
//!   dropped.
//! - **C7** Who answers for a leaf that ended `Canceled` is written down where it ended: see [`Core::charge_canceled`].
//! - **C12** A leaf belongs to the scope that is current at its latest poll.
//!
//! A task that never awaits two things at once, and opens no scope, has no row in the tree: it is its own scope, and its row
//! in the table of tasks holds its one leaf. So a task that only sleeps pays eight bytes for all of this.

use super::core::{Core, READY_LEAVES_PER_POLL, Refusal};
use super::current::{self, drop_waker};
use super::fault::Fault;
use crate::scope::{Canceled, Pulse, Rank, Told};
use crate::table::{Key, Kind, Leaf, Place};
use crate::tasks::{Name, copy_waker, waker};
use std::task::{Context, Poll, Waker};

/// In so many polls a future in a cancelled scope may begin to wait for something again before it is taken for a loop that
/// ignores every error, and is dropped (C2).
pub(crate) const REFUSALS_MAX: u32 = 64;

/// No scope, for a timer that is no leaf.
const NOWHERE: Place = Place::scope(Key::new(0, 0));

/// What a timer wakes.
#[derive(Debug)]
pub(crate) struct Sleeper {
    pub(super) waker: Waker,
    pub(super) place: Place,
}

impl Sleeper {
    /// A timer that wakes, and is not awaited itself.
    pub(super) fn alarm(waker: Waker) -> Sleeper {
        Sleeper {
            waker,
            place: NOWHERE,
        }
    }
}

/// A wait that has no other row.
#[derive(Debug)]
pub(super) struct Wait {
    pub(super) waker: Waker,
    place: Place,
}

/// What was current before a child or a scope was entered.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(crate) struct Before {
    running: Key,
    leaf: Option<Leaf>,
    at: Place,
    canceled: bool,
    changes: u64,
}

/// What concerns whoever polls a child, and not the child.
#[derive(Debug)]
#[must_use]
pub(crate) struct Aside {
    /// Ready leaves that it may still pass.
    allowance: u32,
    /// What was charged before.
    charges: Vec<Key>,
}

/// What a scope was, now that it is closed.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(crate) struct Left {
    /// A leaf that ended `Canceled` was charged to it.
    pub(crate) charged: bool,
}

impl Core {
    // What is current.

    /// A task, or a child, is about to be polled.
    #[inline]
    pub(super) fn stand(&self, key: Key, leaf: Option<Leaf>, canceled: bool, has_scope: bool) {
        self.running.set(key);
        self.leaf.set(leaf);
        self.at.set(Place::task(key));
        self.canceled.set(canceled);
        if has_scope {
            self.stand_in_scope(key);
        }
    }

    /// The task has a scope of its own.
    fn stand_in_scope(&self, task: Key) {
        let standing = self.tasks.borrow().standing(task);
        if let Some(standing) = standing {
            self.at.set(Place::scope(standing.scope));
            self.look_up();
        }
    }

    /// A task was polled, and none is now. What was charged meanwhile concerns nobody any more.
    #[inline]
    pub(super) fn stand_down(&self) {
        self.at.set(Place::scope(self.root));
        if self.charged.replace(false) {
            self.charges.borrow_mut().clear();
        }
    }

    /// The task, or child, that is being polled.
    #[inline]
    pub(super) fn name_of_running(&self) -> Name {
        Name::new(self.number, self.running.get())
    }

    fn before(&self) -> Before {
        Before {
            running: self.running.get(),
            leaf: self.leaf.get(),
            at: self.at.get(),
            canceled: self.canceled.get(),
            changes: self.changes.get(),
        }
    }

    /// A child is about to be polled. `None` if it has ended.
    /// A child is about to be polled. `None` if it has ended.
    pub(crate) fn enter_child(&self, key: Key) -> Option<Before> {
        let turn = self.tasks.borrow_mut().begin_child(key)?;
        let before = self.before();
        self.stand(key, turn.leaf, turn.canceled, turn.has_scope);
        Some(before)
    }

    /// Keeps apart, while a child is polled, what concerns whoever polls it.
    pub(crate) fn set_aside(&self) -> Aside {
        Aside {
            allowance: self.allowance.replace(READY_LEAVES_PER_POLL),
            charges: match self.charged.get() {
                true => self.charges.take(),
                false => Vec::new(),
            },
        }
    }

    pub(crate) fn put_back(&self, aside: Aside) {
        self.allowance.set(aside.allowance);
        for charged in aside.charges {
            self.note_charge(charged);
        }
    }

    /// A child was polled and has ended: what was current before is so again. Gives what it waited for.
    pub(crate) fn leave_ended(&self, before: Before) -> Option<Leaf> {
        let leaf = self.leaf.get();
        self.leave(before);
        leaf
    }

    /// A child was polled and is not ready: what was current before is so again.
    pub(crate) fn leave_pending(&self, child: Key, before: Before) {
        self.tasks.borrow_mut().park_child(child, self.leaf.get());
        self.leave(before);
    }

    /// A future that has a scope is about to be polled, which is woken by this. Says what was current before.
    pub(crate) fn enter_scope(&self, key: Key, waker: &Waker) -> Before {
        self.renew_scope(key, waker);
        let before = self.before();
        self.at.set(Place::scope(key));
        self.canceled.set(self.scopes.borrow().is_canceled(key));
        before
    }

    /// What was current before is so again.
    #[inline]
    pub(crate) fn leave(&self, before: Before) {
        if self.running.replace(before.running) != before.running {
            self.leaf.set(before.leaf);
        }
        self.at.set(before.at);
        self.canceled.set(before.canceled);
        if self.changes.get() != before.changes {
            self.look_up();
        }
    }

    /// What a task without a scope of its own waits for: the row of the one that is being polled does not know.
    #[inline]
    fn leaf_of(&self, task: Key) -> Option<Leaf> {
        if task == self.running.get() {
            self.leaf.get()
        } else {
            self.tasks.borrow().leaf(task)
        }
    }

    /// A leaf has ended. If it is that of the running task, the next need not ask what became of it.
    #[inline]
    pub(super) fn leaf_ended(&self, leaf: Leaf) {
        if self.leaf.get() == Some(leaf) {
            self.leaf.set(None);
        }
    }

    /// Scopes may be cancelled that were not, or the other way round.
    pub(super) fn refresh(&self) {
        self.changes.set(self.changes.get() + 1);
        self.look_up();
    }

    /// Whether the current scope is cancelled.
    fn look_up(&self) {
        let canceled = match self.at.get().find() {
            Ok(task) => {
                let standing = self.tasks.borrow().standing(task);
                standing.is_some_and(|standing| standing.canceled)
            }
            Err(scope) => self.scopes.borrow().is_canceled(scope),
        };
        self.canceled.set(canceled);
    }

    /// The scope of the tree that is current, for what is opened below it. A task gets its own for that.
    pub(crate) fn current_scope(&self) -> Key {
        match self.at.get().find() {
            Ok(task) => self.give_scope(task),
            Err(scope) => scope,
        }
    }

    /// A task gets a row in the tree.
    #[cold]
    fn give_scope(&self, task: Key) -> Key {
        let standing = self.tasks.borrow().standing(task);
        let Some(standing) = standing else {
            // It has ended while something of it was still at work.
            return self.root;
        };
        let mut told = Told::default();
        let key = {
            let mut scopes = self.scopes.borrow_mut();
            let key = scopes.open(standing.scope, Rank::Task);
            if standing.asked {
                scopes.cancel(key, None, &mut told);
            }
            scopes.wake_with(key, waker(Name::new(self.number, task)));
            key
        };
        let leaf = self.leaf_of(task);
        if task == self.running.get() {
            self.leaf.set(None);
        }
        let refusals = self.tasks.borrow_mut().give_scope(task, key);
        if let Some(leaf) = leaf {
            self.set_place(leaf, Place::scope(key));
            self.enlist(leaf, Place::scope(key));
        }
        self.scopes.borrow_mut().add_refusals(key, refusals);
        if self.at.get() == Place::task(task) {
            self.at.set(Place::scope(key));
            self.refresh();
        }
        key
    }

    // Scopes of the tree.

    pub(crate) fn open_scope(&self, rank: Rank) -> Key {
        let parent = self.current_scope();
        self.scopes.borrow_mut().open(parent, rank)
    }

    /// A scope is left: what is still pending in it belongs to its parent (C12).
    pub(crate) fn close_scope(&self, key: Key) -> Left {
        let mut told = Told::default();
        let closed = self.scopes.borrow_mut().close(key, &mut told);
        for leaf in closed.leaves() {
            if self.pulse(leaf, Place::scope(key)) != Pulse::Gone {
                self.move_leaf(leaf, closed.parent);
            }
        }
        if self.at.get() == Place::scope(key) {
            self.at.set(Place::scope(closed.parent));
        }
        let charged = closed.charged;
        drop_waker(closed.wake);
        if closed.had_children {
            self.tell(&mut told);
            self.refresh();
        }
        Left { charged }
    }

    /// The refusals of a scope count for the one around it, if that is cancelled, too: a loop that opens a scope each time is
    /// a loop. What was cut short where nothing around it was cancelled is no sign of one.
    pub(crate) fn pass_refusals_on(&self, key: Key) {
        let mut scopes = self.scopes.borrow_mut();
        let refusals = scopes.refusals(key);
        let parent = scopes.parent(key);
        if refusals == 0 || !scopes.is_canceled(parent) {
            return;
        }
        match refusals {
            REFUSALS_MAX.. => scopes.add_refusals(parent, refusals),
            _ => scopes.refuse(parent, self.polls_so_far()),
        };
    }

    /// The refusals of a scope that stays open, and of which the one around it judges, count there from now on.
    pub(crate) fn lift_refusals(&self, key: Key) {
        let mut scopes = self.scopes.borrow_mut();
        let refusals = scopes.refusals(key);
        if refusals > 0 {
            scopes.set_refusals(key, 0);
            let parent = scopes.parent(key);
            scopes.add_refusals(parent, refusals);
        }
    }

    pub(crate) fn refusals_in(&self, key: Key) -> u32 {
        self.scopes.borrow().refusals(key)
    }

    pub(crate) fn set_refusals_in(&self, key: Key, refusals: u32) {
        self.scopes.borrow_mut().set_refusals(key, refusals);
    }

    /// The future that has a scope is polled: where it is, and whom to wake when the scope is cancelled.
    pub(crate) fn renew_scope(&self, key: Key, waker: &Waker) {
        let parent = self.current_scope();
        let (moved, same) = self
            .scopes
            .borrow()
            .is_as_before(key, parent, |kept| kept.will_wake(waker));
        if moved {
            let mut told = Told::default();
            self.scopes.borrow_mut().move_below(key, parent, &mut told);
            self.tell(&mut told);
            self.refresh();
        }
        if !same {
            let waker = copy_waker(waker);
            let replaced = self.scopes.borrow_mut().wake_with(key, waker);
            drop_waker(replaced);
        }
    }

    pub(crate) fn is_scope_canceled(&self, key: Key) -> bool {
        self.scopes.borrow().is_canceled(key)
    }

    /// What wakes the future that has a scope. It is taken out to be copied: that may be a user's code (R1).
    pub(crate) fn waker_of_scope(&self, key: Key) -> Option<Waker> {
        let waker = self.scopes.borrow_mut().take_wake(key)?;
        let copy = copy_waker(&waker);
        let replaced = self.scopes.borrow_mut().wake_with(key, waker);
        drop_waker(replaced);
        Some(copy)
    }

    /// Has the future that has a scope polled.
    pub(crate) fn wake_scope(&self, key: Key) {
        if let Some(waker) = self.waker_of_scope(key) {
            self.wake_all(&mut vec![waker]);
        }
    }

    /// Cancels a scope and all below it.
    pub(crate) fn cancel_scope(&self, key: Key) {
        let mut told = self.told.take();
        let inside = self.at.get().find().err();
        self.scopes.borrow_mut().cancel(key, inside, &mut told);
        self.tell(&mut told);
        self.told.set(told);
        self.refresh();
    }

    /// Cancels a task or a child: itself if `asked`, else because what it belongs to is cancelled.
    pub(crate) fn cancel_task(&self, key: Key, asked: bool) {
        let Some(standing) = self.tasks.borrow().standing(key) else {
            return;
        };
        if standing.has_scope {
            if asked {
                self.cancel_scope(standing.scope);
            }
            return;
        }
        if !self.tasks.borrow_mut().cancel(key, asked) {
            return;
        }
        let leaf = self.leaf_of(key);
        let mut woken = Vec::new();
        if let Some(leaf) = leaf {
            self.tell_leaf(leaf, Place::task(key), &mut woken);
        }
        woken.push(waker(Name::new(self.number, key)));
        self.wake_all(&mut woken);
        self.refresh();
    }

    /// Cancels the root: every scope and every task but what is shielded.
    pub(super) fn cancel_root(&self) {
        self.root_canceled.set(true);
        self.cancel_scope(self.root);
        let tasks = self.tasks.borrow().without_scope();
        for task in tasks {
            self.cancel_task(task, false);
        }
    }

    fn tell(&self, told: &mut Told<Waker>) {
        let Told { leaves, woken } = told;
        for (leaf, scope) in leaves.drain(..) {
            self.tell_leaf(leaf, Place::scope(scope), woken);
        }
        self.wake_all(woken);
    }

    /// What is pending is told that its scope is cancelled: the kernel is asked to stop an operation, which ends by its own
    /// completion (C3); anything else is looked at again, and belongs nowhere until it is: if nobody polls it any more, then
    /// nobody waits for it (C6).
    fn tell_leaf(&self, leaf: Leaf, place: Place, woken: &mut Vec<Waker>) {
        if self.pulse(leaf, place) != Pulse::Awaited {
            return;
        }
        let key = leaf.key();
        match leaf.kind() {
            Kind::Operation => self.ask_cancel(key),
            Kind::Timer => {
                let mut timers = self.timers.borrow_mut();
                if let Some(sleeper) = timers.peek_mut(key) {
                    woken.push(std::mem::replace(&mut sleeper.waker, Waker::noop().clone()));
                    sleeper.place = NOWHERE;
                }
            }
            Kind::Join => woken.extend(self.tasks.borrow_mut().take_joiner(key)),
            Kind::Wait => {
                if let Some(wait) = self.waits.borrow_mut().get_mut(key) {
                    woken.push(std::mem::replace(&mut wait.waker, Waker::noop().clone()));
                    wait.place = NOWHERE;
                }
            }
        }
    }

    // Leaves.

    /// What is known of a leaf that was enlisted in this place.
    pub(super) fn pulse(&self, leaf: Leaf, place: Place) -> Pulse {
        let key = leaf.key();
        let awaited = match leaf.kind() {
            Kind::Operation => match self.driver.borrow().is_orphan_in(key, place) {
                Some(true) => return Pulse::Orphan,
                pending => pending.is_some(),
            },
            Kind::Timer => {
                let timers = self.timers.borrow();
                timers.peek(key).is_some_and(|kept| kept.place == place)
            }
            Kind::Join => self.tasks.borrow().is_joined(key, place),
            Kind::Wait => {
                let waits = self.waits.borrow();
                waits.get(key).is_some_and(|kept| kept.place == place)
            }
        };
        if awaited { Pulse::Awaited } else { Pulse::Gone }
    }

    /// Where the next leaf of the current scope belongs. A task that awaits a second thing gets a scope of its own.
    #[inline]
    pub(super) fn place_of_leaf(&self) -> Place {
        let at = self.at.get();
        let Ok(task) = at.find() else {
            return at;
        };
        match self.leaf_of(task) {
            None => at,
            Some(leaf) if self.pulse(leaf, at) != Pulse::Gone => {
                Place::scope(self.give_scope(task))
            }
            _ => at,
        }
    }

    /// A leaf is pending in this place (S2).
    #[inline]
    pub(super) fn enlist(&self, leaf: Leaf, place: Place) {
        match place.find() {
            // It is the task that is being polled: nothing else awaits anything.
            Ok(_) => self.leaf.set(Some(leaf)),
            Err(scope) => {
                let mut scopes = self.scopes.borrow_mut();
                scopes.enlist(scope, leaf, |leaf| self.pulse(leaf, place));
            }
        }
    }

    /// A leaf was polled, and belonged to `before` until now (C12).
    #[inline]
    pub(super) fn keep_here(&self, leaf: Leaf, before: Place) {
        if before != self.at.get() {
            self.move_here(leaf, before);
        }
    }

    #[cold]
    fn move_here(&self, leaf: Leaf, before: Place) {
        let place = self.place_of_leaf();
        self.set_place(leaf, place);
        self.enlist(leaf, place);
        self.ask_again(before);
    }

    /// A leaf has left this place. If that is cancelled, whoever runs there may wait for nothing of ours any more, and is
    /// polled to find out (C6).
    fn ask_again(&self, place: Place) {
        let waker = match place.find() {
            Ok(task) => {
                let standing = self.tasks.borrow().standing(task);
                let canceled = standing.is_some_and(|standing| standing.canceled);
                canceled.then(|| waker(Name::new(self.number, task)))
            }
            Err(scope) => {
                let canceled = self.scopes.borrow().is_open_and_canceled(scope);
                canceled.then(|| self.waker_of_scope(scope)).flatten()
            }
        };
        if let Some(waker) = waker {
            self.wake_all(&mut vec![waker]);
        }
    }

    /// A leaf belongs to this scope from now on, and is told if that is cancelled.
    fn move_leaf(&self, leaf: Leaf, scope: Key) {
        let place = Place::scope(scope);
        self.set_place(leaf, place);
        self.enlist(leaf, place);
        if self.is_scope_canceled(scope) {
            let mut woken = Vec::new();
            self.tell_leaf(leaf, place, &mut woken);
            self.wake_all(&mut woken);
        }
    }

    fn set_place(&self, leaf: Leaf, place: Place) {
        let key = leaf.key();
        match leaf.kind() {
            Kind::Operation => self.driver.borrow_mut().set_place(key, place),
            Kind::Timer => {
                if let Some(sleeper) = self.timers.borrow_mut().peek_mut(key) {
                    sleeper.place = place;
                }
            }
            Kind::Join => self.tasks.borrow_mut().move_join(key, place),
            Kind::Wait => {
                if let Some(wait) = self.waits.borrow_mut().get_mut(key) {
                    wait.place = place;
                }
            }
        }
    }

    /// A child has ended: what it left pending belongs to the scope of its brood.
    pub(super) fn inherit(&self, child: Key, leaf: Leaf, scope: Key) {
        if self.pulse(leaf, Place::task(child)) != Pulse::Gone {
            self.move_leaf(leaf, scope);
        }
    }

    /// A leaf ends `Canceled`: the outermost cancelled scope that it sees answers for it, and whoever polls the task, or the
    /// child, is told which one that is (C7).
    pub(crate) fn charge_canceled(&self) {
        let found = match self.at.get().find() {
            Ok(task) => {
                let standing = self.tasks.borrow().standing(task);
                standing.and_then(|standing| self.scopes.borrow().outermost(standing.scope))
            }
            Err(scope) => self.scopes.borrow().outermost(scope),
        };
        if let Some(scope) = found {
            self.charge_scope(scope);
        }
    }

    /// What was cut short below this scope is charged to the outermost cancelled one that it sees.
    pub(super) fn charge_outermost(&self, scope: Key) {
        let found = self.scopes.borrow().outermost(scope);
        if let Some(scope) = found {
            self.charge_scope(scope);
        }
    }

    fn charge_scope(&self, scope: Key) {
        self.scopes.borrow_mut().charge(scope);
        self.note_charge(scope);
    }

    fn note_charge(&self, scope: Key) {
        self.charged.set(true);
        let mut charges = self.charges.borrow_mut();
        if !charges.contains(&scope) {
            charges.push(scope);
        }
    }

    /// Whether it is a scope outside of this one that cancelled it.
    pub(crate) fn is_canceled_from_outside(&self, scope: Key) -> bool {
        let outermost = self.scopes.borrow().outermost(scope);
        outermost.is_some_and(|outermost| outermost != scope)
    }

    /// What was charged while something was polled inside of a scope: whether it was to that scope, and whether to one
    /// outside of it. Those outside stay for whoever polls that.
    pub(crate) fn take_charges(&self, scope: Key) -> (bool, bool) {
        if !self.charged.get() {
            return (false, false);
        }
        let mut charges = self.charges.borrow_mut();
        let scopes = self.scopes.borrow();
        let own = charges.contains(&scope);
        charges.retain(|charged| *charged != scope && scopes.is_at_or_below(scope, *charged));
        (own, !charges.is_empty())
    }

    /// A leaf would begin, and its scope is cancelled.
    pub(crate) fn count_refusal(&self) {
        self.refusals.set(self.refusals.get() + 1);
        let poll = self.polls_so_far();
        match self.at.get().find() {
            Ok(task) => {
                if self.refused_in.replace(poll) != poll {
                    self.tasks.borrow_mut().refuse(task, 1);
                }
            }
            Err(scope) => {
                self.scopes.borrow_mut().refuse(scope, poll);
            }
        }
    }

    /// What was refused in this scope counts once in the one around it.
    pub(super) fn count_refusal_above(&self, scope: Key) {
        let mut scopes = self.scopes.borrow_mut();
        let parent = scopes.parent(scope);
        scopes.add_refusals(parent, 1);
    }

    /// How many leaves were refused so far, in whichever scope.
    pub(crate) fn refusals(&self) -> u64 {
        self.refusals.get()
    }

    // What a cancelled future waits for (C6).

    /// A task, or a child, whose scope is cancelled was polled and is pending. True if nothing will ever wake it that the
    /// runtime knows of, or if it ignores that it is cancelled: then it is to be dropped.
    #[cold]
    pub(crate) fn must_end(&self, key: Key) -> bool {
        let at = self.at.get();
        let refusals = match at.find() {
            Ok(task) => self.tasks.borrow().refusals(task),
            Err(scope) => self.scopes.borrow().refusals(scope),
        };
        if self.is_spent(at, refusals) {
            return true;
        }
        if self.tasks.borrow().is_queued(key) || self.is_busy(at) {
            return false;
        }
        // Nobody can answer for what it would have said.
        self.charge_canceled();
        true
    }

    /// The same for a future that has a scope inside of a task. Whether it was woken is not known here.
    pub(crate) fn is_scope_spent(&self, key: Key) -> bool {
        let refusals = self.scopes.borrow().refusals(key);
        self.is_spent(Place::scope(key), refusals)
    }

    pub(crate) fn is_scope_busy(&self, key: Key) -> bool {
        self.is_busy(Place::scope(key))
    }

    /// It swallowed every error.
    fn is_spent(&self, at: Place, refusals: u32) -> bool {
        if refusals < REFUSALS_MAX {
            return false;
        }
        if let Err(scope) = at.find()
            && self.scopes.borrow().has_shield(scope)
        {
            return false;
        }
        self.hook.report(&Fault::CancelIgnored {
            task: self.running_task(),
        });
        true
    }

    /// The task that is being polled, for a report.
    pub(crate) fn running_task(&self) -> String {
        self.describe_task(self.name_of_running())
    }

    /// A task, or a child, for a report.
    pub(super) fn describe_task(&self, name: Name) -> String {
        let tasks = self.tasks.borrow();
        let origin = tasks.origin_of(name);
        origin.map_or_else(|| "(unknown)".to_owned(), super::core::describe)
    }

    /// Whether the runtime will still complete something in this place. If that is an operation whose future is gone,
    /// whoever runs here is woken when it ends.
    fn is_busy(&self, at: Place) -> bool {
        match at.find() {
            Ok(task) => match self.leaf_of(task).map(|leaf| self.pulse(leaf, at)) {
                None | Some(Pulse::Gone) => false,
                Some(Pulse::Awaited) => true,
                Some(Pulse::Orphan) => {
                    let scope = self.give_scope(task);
                    self.is_busy(Place::scope(scope))
                }
            },
            Err(scope) => {
                let pulse = |leaf, scope| self.pulse(leaf, Place::scope(scope));
                let found = self.scopes.borrow_mut().pending(scope, pulse);
                if found == Pulse::Orphan {
                    self.waits_for_orphans(scope);
                }
                found != Pulse::Gone
            }
        }
    }

    /// Whether the kernel has an operation of this scope whose future is gone. If so, the future that has the scope is woken
    /// when the next of them ends.
    pub(crate) fn waits_for_orphans(&self, scope: Key) -> bool {
        let pulse = |leaf, scope| self.pulse(leaf, Place::scope(scope));
        let has_orphan = self.scopes.borrow().has_orphan(scope, pulse);
        if has_orphan {
            self.keep_wakeable(scope);
            self.scopes.borrow_mut().watch(scope);
        }
        has_orphan
    }

    /// The scope of a task has nobody to wake any more once it was cancelled, for that woke the task.
    fn keep_wakeable(&self, scope: Key) {
        let mut scopes = self.scopes.borrow_mut();
        if scopes.wake_of(scope).is_none() {
            scopes.wake_with(scope, waker(self.name_of_running()));
        }
    }

    /// The last completion of an operation whose future is gone has come.
    pub(super) fn orphan_ended(&self, place: Place) {
        if let Err(scope) = place.find() {
            let mut woken = Vec::new();
            self.scopes.borrow_mut().orphan_ended(scope, &mut woken);
            self.wake_all(&mut woken);
        }
    }

    /// A handle waits for the end of its task, or child; `waits` says whether it did before. The waker that this replaces is
    /// to be dropped.
    pub(crate) fn wait_for_end(&self, task: Key, waker: Waker, waits: bool) -> Option<Waker> {
        let leaf = Leaf::new(Kind::Join, task);
        if waits {
            let mut tasks = self.tasks.borrow_mut();
            let place = tasks.join_place(task);
            let replaced = tasks.wait_for_end(task, waker, place);
            drop(tasks);
            self.keep_here(leaf, place);
            return replaced;
        }
        let place = self.place_of_leaf();
        let replaced = self.tasks.borrow_mut().wait_for_end(task, waker, place);
        self.enlist(leaf, place);
        replaced
    }

    // Waits that have no other row.

    fn begin_wait(&self, waker: Waker) -> Key {
        let place = self.place_of_leaf();
        let key = self.waits.borrow_mut().insert(Wait { waker, place });
        self.enlist(Leaf::new(Kind::Wait, key), place);
        key
    }

    fn renew_wait(&self, key: Key, waker: Waker) -> Option<Waker> {
        let (replaced, before) = {
            let mut waits = self.waits.borrow_mut();
            let Some(wait) = waits.get_mut(key) else {
                return Some(waker);
            };
            (std::mem::replace(&mut wait.waker, waker), wait.place)
        };
        self.keep_here(Leaf::new(Kind::Wait, key), before);
        Some(replaced)
    }

    fn end_wait(&self, key: Key) -> Option<Waker> {
        let wait = self.waits.borrow_mut().remove(key);
        wait.map(|wait| wait.waker)
    }
}

/// The wait for something that is no row of any table, as a leaf: it is told when its scope is cancelled.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    row: Option<(u64, Key)>,
    refusal: Refusal,
}

impl Waiting {
    /// What is waited for is not there: waits on, or ends with [`Canceled`].
    pub(crate) fn poll(&mut self, context: &Context<'_>) -> Poll<Canceled> {
        let canceled = current::with(Core::is_canceled);
        match self.row {
            Some((serial, _)) if canceled => {
                self.end();
                Poll::Ready(current::with_own(serial, canceled_here))
            }
            None if canceled => refuse(&mut self.refusal, context),
            _ => {
                self.hold(context);
                Poll::Pending
            }
        }
    }

    /// What is waited for is not there, and will be waited for whatever happens.
    pub(crate) fn hold(&mut self, context: &Context<'_>) {
        let waker = copy_waker(context.waker());
        if let Some((serial, key)) = self.row {
            let replaced = current::with_own(serial, |core| core.renew_wait(key, waker));
            drop_waker(replaced);
        } else {
            self.row = Some(current::with(|core| {
                (core.serial(), core.begin_wait(waker))
            }));
        }
    }

    /// It is over.
    pub(crate) fn end(&mut self) {
        if let Some((serial, key)) = self.row.take()
            && let Some(core) = current::reach(serial)
        {
            drop_waker(core.end_wait(key));
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.end();
    }
}

/// A leaf that was pending ends, because its scope was cancelled.
pub(crate) fn canceled_here(core: &Core) -> Canceled {
    core.charge_canceled();
    Canceled
}

/// A leaf that would begin in a cancelled scope ends with [`Canceled`], but lets the others go first, once: so a loop that
/// swallows the error cannot freeze the thread (C2).
pub(crate) fn refuse(refusal: &mut Refusal, context: &Context<'_>) -> Poll<Canceled> {
    match refusal {
        Refusal::None => {
            *refusal = Refusal::Yielded;
            current::with(Core::count_refusal);
            context.waker().wake_by_ref();
            Poll::Pending
        }
        Refusal::Yielded => {
            *refusal = Refusal::None;
            Poll::Ready(current::with(canceled_here))
        }
    }
}
