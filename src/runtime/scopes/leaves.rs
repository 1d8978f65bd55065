//! Leaves: their owner, and whether they are still pending (C12).

use crate::runtime::core::Core;
use crate::scope::LeafStatus;
use crate::table::{Key, Leaf, LeafKind, Owner, OwnerKind};
use crate::tasks::{wake_id_of, waker};
use std::task::Waker;

impl Core {
    /// Returns the status of a leaf that was enlisted for this owner.
    pub(in crate::runtime) fn status(&self, leaf: Leaf, owner: Owner) -> LeafStatus {
        let key = leaf.key();
        let awaited = match leaf.kind() {
            LeafKind::Operation => match self.driver.borrow().is_orphan_in(key, owner) {
                Some(true) => return LeafStatus::Orphaned,
                pending => pending.is_some(),
            },
            LeafKind::Timer => {
                let timers = self.timers.borrow();
                timers.peek(key).is_some_and(|kept| kept.owner == owner)
            }
            LeafKind::Join => self.tasks.borrow().is_joined(key, owner),
            LeafKind::Wait => {
                let waits = self.waits.borrow();
                let wait = waits.get(key);
                wait.is_some_and(|kept| kept.owner == owner && kept.is_pending())
            }
        };
        if awaited {
            LeafStatus::Pending
        } else {
            LeafStatus::Finished
        }
    }

    /// Returns the owner of the next leaf of the current scope. A task that awaits a second leaf gets a scope of its
    /// own.
    #[inline]
    pub(in crate::runtime) fn owner_of_next_leaf(&self) -> Owner {
        let at = self.context.owner.get();
        let OwnerKind::Task(task) = at.kind() else {
            return at;
        };
        match self.leaf_of(task) {
            None => at,
            Some(leaf) if self.status(leaf, at) != LeafStatus::Finished => {
                Owner::scope(self.give_scope(task))
            }
            _ => at,
        }
    }

    /// Records that a leaf of this owner is pending (S2).
    #[inline]
    pub(in crate::runtime) fn enlist(&self, leaf: Leaf, owner: Owner) {
        match owner.kind() {
            // The owner is the task that is being polled: no other task starts a wait now.
            OwnerKind::Task(_) => self.context.leaf.set(Some(leaf)),
            OwnerKind::Scope(scope) => {
                let mut scopes = self.scopes.borrow_mut();
                scopes.enlist(scope, leaf, |leaf| self.status(leaf, owner));
            }
        }
    }

    /// Moves a leaf that was polled from its owner `before` to the current one (C12).
    #[inline]
    pub(in crate::runtime) fn keep_here(&self, leaf: Leaf, before: Owner) {
        if before != self.context.owner.get() {
            self.move_here(leaf, before);
        }
    }

    #[cold]
    pub(super) fn move_here(&self, leaf: Leaf, before: Owner) {
        let owner = self.owner_of_next_leaf();
        self.set_owner(leaf, owner);
        self.enlist(leaf, owner);
        self.ask_again(before);
    }

    /// Wakes the future of a canceled owner that a leaf has left: it may no longer wait for anything of ours, and is
    /// polled to find out (C6).
    pub(super) fn ask_again(&self, owner: Owner) {
        let waker = match owner.kind() {
            OwnerKind::Task(task) => {
                let canceled = self.is_task_canceled(task);
                canceled.then(|| self.waker_of(task))
            }
            OwnerKind::Scope(scope) => {
                let mut scopes = self.scopes.borrow_mut();
                let canceled = scopes.is_open_and_canceled(scope);
                let taken = canceled.then(|| scopes.take_wake(scope)).flatten();
                if let Some(taken) = &taken {
                    // A foreign one cannot be copied here, which may run user code (R1): the next poll sets it again.
                    let running = || self.id_of_running();
                    let kept = waker(wake_id_of(taken).unwrap_or_else(running));
                    let before = scopes.wake_with(scope, kept);
                    debug_assert!(before.is_none(), "it was taken above");
                }
                taken
            }
        };
        if let Some(waker) = waker {
            self.wake_all(&mut vec![waker]);
        }
    }

    /// Moves a leaf to this scope, and notifies it if the scope is canceled.
    pub(super) fn move_leaf(&self, leaf: Leaf, scope: Key) {
        let owner = Owner::scope(scope);
        self.set_owner(leaf, owner);
        self.enlist(leaf, owner);
        if self.is_scope_canceled(scope) {
            let mut woken = Vec::new();
            self.notify_leaf(leaf, owner, &mut woken);
            self.wake_all(&mut woken);
        }
    }

    pub(super) fn set_owner(&self, leaf: Leaf, owner: Owner) {
        let key = leaf.key();
        match leaf.kind() {
            LeafKind::Operation => self.driver.borrow_mut().set_owner(key, owner),
            LeafKind::Timer => {
                if let Some(sleeper) = self.timers.borrow_mut().peek_mut(key) {
                    sleeper.owner = owner;
                }
            }
            LeafKind::Join => self.tasks.borrow_mut().move_join(key, owner),
            LeafKind::Wait => {
                if let Some(wait) = self.waits.borrow_mut().get_mut(key) {
                    wait.owner = owner;
                }
            }
        }
    }

    /// Moves a leaf that a child left pending when it ended to the scope of its child set.
    pub(crate) fn inherit(&self, child: Key, leaf: Leaf, scope: Key) {
        if self.status(leaf, Owner::task(child)) != LeafStatus::Finished {
            self.move_leaf(leaf, scope);
        }
    }
    /// Registers a handle's wait for the end of its task or child; `waits` tells whether it is already registered.
    /// Returns the replaced waker, for the caller to drop.
    #[inline]
    pub(crate) fn wait_for_end(&self, task: Key, waker: Waker, waits: bool) -> Option<Waker> {
        let leaf = Leaf::new(LeafKind::Join, task);
        if waits {
            let mut tasks = self.tasks.borrow_mut();
            let owner = tasks.join_owner(task);
            let replaced = tasks.wait_for_end(task, waker, owner);
            drop(tasks);
            self.keep_here(leaf, owner);
            return replaced;
        }
        let owner = self.owner_of_next_leaf();
        let replaced = self.tasks.borrow_mut().wait_for_end(task, waker, owner);
        self.enlist(leaf, owner);
        replaced
    }
}
