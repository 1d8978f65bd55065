//! What is awaited: where it belongs, and whether it is still pending (C12).

use crate::runtime::core::Core;
use crate::scope::Pulse;
use crate::table::{Key, Kind, Leaf, Place};
use crate::tasks::{Name, waker};
use std::task::Waker;

impl Core {
    /// What is known of a leaf that was enlisted in this place.
    pub(in crate::runtime) fn pulse(&self, leaf: Leaf, place: Place) -> Pulse {
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
                let wait = waits.get(key);
                wait.is_some_and(|kept| kept.place == place && kept.is_pending())
            }
        };
        if awaited { Pulse::Awaited } else { Pulse::Gone }
    }

    /// Where the next leaf of the current scope belongs. A task that awaits a second thing gets a scope of its own.
    #[inline]
    pub(in crate::runtime) fn place_of_leaf(&self) -> Place {
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
    pub(in crate::runtime) fn enlist(&self, leaf: Leaf, place: Place) {
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
    pub(in crate::runtime) fn keep_here(&self, leaf: Leaf, before: Place) {
        if before != self.at.get() {
            self.move_here(leaf, before);
        }
    }

    #[cold]
    pub(super) fn move_here(&self, leaf: Leaf, before: Place) {
        let place = self.place_of_leaf();
        self.set_place(leaf, place);
        self.enlist(leaf, place);
        self.ask_again(before);
    }

    /// A leaf has left this place. If that is cancelled, whoever runs there may wait for nothing of ours any more, and is
    /// polled to find out (C6).
    pub(super) fn ask_again(&self, place: Place) {
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
    pub(super) fn move_leaf(&self, leaf: Leaf, scope: Key) {
        let place = Place::scope(scope);
        self.set_place(leaf, place);
        self.enlist(leaf, place);
        if self.is_scope_canceled(scope) {
            let mut woken = Vec::new();
            self.tell_leaf(leaf, place, &mut woken);
            self.wake_all(&mut woken);
        }
    }

    pub(super) fn set_place(&self, leaf: Leaf, place: Place) {
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
    pub(in crate::runtime) fn inherit(&self, child: Key, leaf: Leaf, scope: Key) {
        if self.pulse(leaf, Place::task(child)) != Pulse::Gone {
            self.move_leaf(leaf, scope);
        }
    }
    /// A handle waits for the end of its task, or child; `waits` says whether it did before. The waker that this replaces is
    /// to be dropped.
    #[inline]
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
}
