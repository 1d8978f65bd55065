//! The current context: the task that is being polled, its scope, and whether that is canceled (C1).

use crate::runtime::core::Core;
use crate::runtime::leaf::CoopBudget;
use crate::scope::{CancelEffects, ScopeKind};
use crate::table::{Key, Leaf, Owner, OwnerKind};
use crate::tasks::{ReadyTask, Task, WakeId};
use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::task::Waker;

/// The task or child that is being polled, or was polled last, and the scope that it polls in.
#[derive(Debug, Default)]
pub(crate) struct Context {
    pub(in crate::runtime) running: Cell<Key>,
    /// The leaf that the running task waits for, while it is being polled and has no scope of its own.
    pub(crate) leaf: Cell<Option<Leaf>>,
    /// The current scope.
    pub(in crate::runtime) owner: Cell<Owner>,
    /// Whether the current scope is canceled.
    pub(in crate::runtime) canceled: Cell<bool>,
    /// Counts the events that may have changed whether a scope is canceled.
    epoch: Cell<u64>,
    /// The running task's coop budget: ready leaves that it may still pass in this poll.
    pub(in crate::runtime) coop_budget: Cell<CoopBudget>,
    /// Whether a combinator is polling several futures in this poll.
    pub(in crate::runtime) in_joint_poll: Cell<bool>,
    /// Whether `attributions` holds any.
    pub(crate) attributed: Cell<bool>,
    /// Scopes whose cancel ended a leaf with `Canceled`, until the future that polls in them has looked.
    pub(super) attributions: RefCell<Vec<Key>>,
    /// Leaves that were rejected with `Canceled` so far, except for those that were taken out of the count.
    pub(in crate::runtime) rejections: Cell<u64>,
    /// The number of times that canceled tasks have woken themselves.
    pub(super) self_wakes: Cell<u64>,
    /// The scope between two polls, and of new tasks.
    pub(in crate::runtime) root: Key,
    pub(in crate::runtime) root_canceled: Cell<bool>,
}

impl Context {
    pub(in crate::runtime) fn new(root: Key) -> Context {
        Context {
            owner: Cell::new(Owner::scope(root)),
            root,
            ..Context::default()
        }
    }

    #[inline]
    fn before(&self) -> Before {
        Before {
            running: self.running.get(),
            leaf: self.leaf.get(),
            at: self.owner.get(),
            canceled: self.canceled.get(),
            epoch: self.epoch.get(),
        }
    }

    /// Saves the context of the parent before it polls children.
    #[inline]
    pub(crate) fn suspend(&self) -> SavedContext {
        SavedContext {
            before: self.before(),
            coop_budget: self.coop_budget.get(),
            attributions: self.take_attributions(),
        }
    }

    /// Whether scopes may have been canceled since the context was saved.
    #[inline]
    pub(crate) fn has_changed(&self, saved: &SavedContext) -> bool {
        self.epoch.get() != saved.before.epoch
    }

    /// Forgets a leaf that has ended if it is that of the running task, so that the next leaf need not check its status.
    #[inline]
    pub(in crate::runtime) fn leaf_ended(&self, leaf: Leaf) {
        if self.leaf.get() == Some(leaf) {
            self.leaf.set(None);
        }
    }
}

/// The context that was current before a child or a scope was entered.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(crate) struct Before {
    running: Key,
    leaf: Option<Leaf>,
    at: Owner,
    canceled: bool,
    epoch: u64,
}

/// The parent's context, saved while its children are polled.
#[derive(Debug)]
#[must_use]
pub(crate) struct SavedContext {
    before: Before,
    /// Ready leaves that the parent may still pass.
    coop_budget: CoopBudget,
    /// Scopes that cancels were attributed to in the parent's poll.
    pub(super) attributions: Vec<Key>,
}

impl Core {
    /// Makes a task or child, which is about to be polled, current, with a full coop budget. Returns its waker, which has
    /// nothing to drop.
    #[inline]
    pub(crate) fn enter_task(&self, ready: &ReadyTask, canceled: bool) -> ManuallyDrop<Waker> {
        let context = &self.context;
        context.running.set(ready.key);
        context.leaf.set(ready.leaf);
        context.owner.set(Owner::task(ready.key));
        context.canceled.set(canceled);
        context.fill_coop_budget();
        if ready.state.has_scope() {
            self.look_again();
        }
        ManuallyDrop::new(self.polling_waker_of(ready.key))
    }

    /// Parks the task or child that was polled and is pending.
    #[inline]
    pub(crate) fn park_task(&self, key: Key, task: Option<Pin<Box<dyn Task>>>) {
        let leaf = self.context.leaf.get();
        if self.tasks.borrow_mut().park(key, task, leaf) {
            self.count_yield();
        }
    }

    /// Leaves the task after its poll. Attributions that are left have no poller to look at them, and are cleared.
    #[inline]
    pub(in crate::runtime) fn leave_task(&self) {
        self.context.owner.set(Owner::scope(self.context.root));
        self.context.clear_attributions();
    }

    /// Returns the wake ID of the task or child that is being polled.
    #[inline]
    pub(in crate::runtime) fn id_of_running(&self) -> WakeId {
        self.wake_id(self.context.running.get())
    }

    /// Restores the context of the parent after its children were polled. Returns the latest leaf of the last child.
    #[inline]
    pub(crate) fn resume(&self, saved: SavedContext) -> Option<Leaf> {
        let leaf = self.context.leaf.get();
        self.leave(saved.before);
        self.context.coop_budget.set(saved.coop_budget);
        for attributed in saved.attributions {
            self.context.note_attribution(attributed);
        }
        leaf
    }

    /// Enters the scope of a future that is about to be polled with this waker. Returns the previous context.
    pub(crate) fn enter_scope(&self, key: Key, waker: &Waker) -> Before {
        let canceled = self.renew_scope(key, waker);
        let before = self.context.before();
        self.context.owner.set(Owner::scope(key));
        self.context.canceled.set(canceled);
        before
    }

    /// Enters an open scope to drop what belongs to it. Returns the previous context.
    pub(crate) fn enter_to_drop(&self, scope: Key) -> Before {
        let before = self.context.before();
        self.context.owner.set(Owner::scope(scope));
        self.look_up();
        before
    }

    /// Restores the previous context.
    #[inline]
    pub(crate) fn leave(&self, before: Before) {
        if self.context.running.replace(before.running) != before.running {
            self.context.leaf.set(before.leaf);
        }
        self.context.owner.set(before.at);
        self.context.canceled.set(before.canceled);
        if self.context.epoch.get() != before.epoch {
            self.look_again();
        }
    }

    /// Updates the context: the current scope may be canceled, and the task may have a scope of its own, even since it was
    /// entered, if a destructor canceled it through its handle.
    #[inline(never)]
    fn look_again(&self) {
        if let OwnerKind::Task(task) = self.context.owner.get().kind()
            && let Some(task_scope) = self.tasks.borrow().task_scope(task)
            && task_scope.state.has_scope()
        {
            self.context.owner.set(Owner::scope(task_scope.scope));
        }
        self.look_up();
    }

    /// Returns the leaf of a task without a scope of its own. While a task is being polled, its row does not hold the
    /// leaf.
    #[inline]
    pub(super) fn leaf_of(&self, task: Key) -> Option<Leaf> {
        if task == self.context.running.get() {
            self.context.leaf.get()
        } else {
            self.tasks.borrow().leaf(task)
        }
    }

    /// Records that scopes may have been canceled or freed, and updates the current state.
    pub(in crate::runtime) fn refresh(&self) {
        self.context.epoch.set(self.context.epoch.get() + 1);
        self.look_up();
    }

    /// Looks up whether the current scope is canceled.
    pub(super) fn look_up(&self) {
        let canceled = match self.context.owner.get().kind() {
            OwnerKind::Task(task) => self.is_task_canceled(task),
            OwnerKind::Scope(scope) => self.scopes.borrow().is_canceled(scope),
        };
        self.context.canceled.set(canceled);
    }

    /// Returns the current scope of the tree; that around the task, if it has none of its own. `None` if the task has
    /// ended, but one of its destructors is still running.
    pub(super) fn scope_around(&self) -> Option<Key> {
        match self.context.owner.get().kind() {
            OwnerKind::Task(task) => Some(self.tasks.borrow().task_scope(task)?.scope),
            OwnerKind::Scope(scope) => Some(scope),
        }
    }

    /// Whether a task or child is canceled, itself or from above.
    pub(super) fn is_task_canceled(&self, task: Key) -> bool {
        let task_scope = self.tasks.borrow().task_scope(task);
        task_scope.is_some_and(|task_scope| {
            task_scope.state.is_cancel_called()
                || self.scopes.borrow().is_open_and_canceled(task_scope.scope)
        })
    }

    /// Returns the current scope of the tree, as the parent of a new scope. A task without a scope gets its own for
    /// that.
    #[inline]
    pub(crate) fn current_scope(&self) -> Key {
        match self.context.owner.get().kind() {
            OwnerKind::Task(task) => self.give_scope(task),
            OwnerKind::Scope(scope) => scope,
        }
    }

    /// Gives a task a scope of its own in the tree.
    #[cold]
    pub(super) fn give_scope(&self, task: Key) -> Key {
        let task_scope = self.tasks.borrow().task_scope(task);
        let Some(task_scope) = task_scope else {
            // The task has ended, but one of its destructors is still running.
            return self.context.root;
        };
        let mut effects = CancelEffects::default();
        let key = {
            let mut scopes = self.scopes.borrow_mut();
            let key = scopes.open(task_scope.scope, ScopeKind::Task);
            if task_scope.state.is_cancel_called() {
                scopes.cancel(key, None, &mut effects);
            }
            scopes.wake_with(key, self.waker_of(task));
            key
        };
        let leaf = self.leaf_of(task);
        if task == self.context.running.get() {
            self.context.leaf.set(None);
        }
        self.tasks.borrow_mut().give_scope(task, key);
        // If this is a child of a canceled group, that may yet have to notify its children, and skips those with a scope.
        if let Some(leaf) = leaf {
            self.move_leaf(leaf, key);
        }
        if task != self.context.running.get() && self.is_scope_canceled(key) {
            self.wake_task(task);
        }
        if self.context.owner.get() == Owner::task(task) {
            self.context.owner.set(Owner::scope(key));
            self.refresh();
        }
        key
    }
}
