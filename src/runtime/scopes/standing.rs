//! What is current: which task is polled, in which scope, and whether that is cancelled (C1).

use crate::runtime::core::Core;
use crate::runtime::turn::Allowance;
use crate::scope::{Rank, Told};
use crate::table::{Key, Leaf, Place};
use crate::tasks::{Name, waker};
use std::task::Waker;

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

/// What concerns whoever polls children, and not them.
#[derive(Debug)]
#[must_use]
pub(crate) struct Aside {
    before: Before,
    /// Ready leaves that it may still pass.
    allowance: Allowance,
    /// What was charged to it.
    charges: Vec<Key>,
}

impl Core {
    /// A task, or a child, is about to be polled.
    #[inline]
    pub(in crate::runtime) fn stand(
        &self,
        key: Key,
        leaf: Option<Leaf>,
        canceled: bool,
        has_scope: bool,
    ) {
        self.running.set(key);
        self.leaf.set(leaf);
        self.at.set(Place::task(key));
        self.canceled.set(canceled);
        if has_scope {
            self.stand_in_scope(key);
        }
    }

    /// The task has a scope of its own.
    pub(super) fn stand_in_scope(&self, task: Key) {
        let standing = self.tasks.borrow().standing(task);
        if let Some(standing) = standing {
            self.at.set(Place::scope(standing.scope));
            self.look_up();
        }
    }

    /// A task was polled, and none is now. What was charged meanwhile concerns nobody any more.
    #[inline]
    pub(in crate::runtime) fn stand_down(&self) {
        self.at.set(Place::scope(self.root));
        if self.charged.replace(false) {
            self.charges.borrow_mut().clear();
        }
    }

    /// The task, or child, that is being polled.
    #[inline]
    pub(in crate::runtime) fn name_of_running(&self) -> Name {
        Name::new(self.number, self.running.get())
    }

    #[inline]
    pub(super) fn before(&self) -> Before {
        Before {
            running: self.running.get(),
            leaf: self.leaf.get(),
            at: self.at.get(),
            canceled: self.canceled.get(),
            changes: self.changes.get(),
        }
    }

    /// Keeps apart, while children are polled, what concerns whoever polls them.
    #[inline]
    pub(crate) fn set_aside(&self) -> Aside {
        Aside {
            before: self.before(),
            allowance: self.allowance.get(),
            charges: match self.charged.replace(false) {
                true => self.charges.take(),
                false => Vec::new(),
            },
        }
    }

    /// Children were polled: what was current before is so again. Gives what the last one waits for, or waited for.
    #[inline]
    pub(crate) fn put_back(&self, aside: Aside) -> Option<Leaf> {
        let leaf = self.leaf.get();
        self.leave(aside.before);
        self.allowance.set(aside.allowance);
        for charged in aside.charges {
            self.note_charge(charged);
        }
        leaf
    }

    /// Whether scopes were cancelled since.
    #[inline]
    pub(crate) fn has_changed(&self, aside: &Aside) -> bool {
        self.changes.get() != aside.before.changes
    }

    /// Whether the task, or child, that is being polled, and has no scope of its own, has left something pending.
    #[inline]
    pub(crate) fn has_leaf(&self) -> bool {
        self.leaf.get().is_some()
    }

    /// Whether something was charged since.
    #[inline]
    pub(crate) fn was_charged(&self) -> bool {
        self.charged.get()
    }

    /// What was charged while a child was polled: whether it was to the scope of its group, and whether to one outside of
    /// that. Those outside are for whoever polls the group.
    #[cold]
    pub(crate) fn take_charges(&self, group: Key, aside: &mut Aside) -> (bool, bool) {
        self.charged.set(false);
        let mut charges = self.charges.take();
        let own = charges.contains(&group);
        let scopes = self.scopes.borrow();
        charges.retain(|charged| *charged != group && scopes.is_at_or_below(group, *charged));
        let outside = !charges.is_empty();
        aside.charges.append(&mut charges);
        (own, outside)
    }

    /// A future that has a scope is about to be polled, which is woken by this. Says what was current before.
    pub(crate) fn enter_scope(&self, key: Key, waker: &Waker) -> Before {
        let canceled = self.renew_scope(key, waker);
        let before = self.before();
        self.at.set(Place::scope(key));
        self.canceled.set(canceled);
        before
    }

    /// What belongs to a scope that is open is about to be dropped. Says what was current before.
    pub(crate) fn enter_to_drop(&self, scope: Key) -> Before {
        let before = self.before();
        self.at.set(Place::scope(scope));
        self.look_up();
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
    pub(super) fn leaf_of(&self, task: Key) -> Option<Leaf> {
        if task == self.running.get() {
            self.leaf.get()
        } else {
            self.tasks.borrow().leaf(task)
        }
    }

    /// A leaf has ended. If it is that of the running task, the next need not ask what became of it.
    #[inline]
    pub(in crate::runtime) fn leaf_ended(&self, leaf: Leaf) {
        if self.leaf.get() == Some(leaf) {
            self.leaf.set(None);
        }
    }

    /// Scopes may be cancelled that were not, or the other way round.
    pub(in crate::runtime) fn refresh(&self) {
        self.changes.set(self.changes.get() + 1);
        self.look_up();
    }

    /// Whether the current scope is cancelled.
    pub(super) fn look_up(&self) {
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
    #[inline]
    pub(crate) fn current_scope(&self) -> Key {
        match self.at.get().find() {
            Ok(task) => self.give_scope(task),
            Err(scope) => scope,
        }
    }

    /// A task gets a row in the tree.
    #[cold]
    pub(super) fn give_scope(&self, task: Key) -> Key {
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
}
