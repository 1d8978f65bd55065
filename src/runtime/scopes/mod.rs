//! Scopes and the leaves awaited in them: connects the scope tree with the tables that hold the leaves' rows.
//!
//! - **C1** Each poll of a task happens in the current scope: the task's own, or one that its future has entered.
//! - **C2** Every leaf checks whether the current scope is canceled. A new leaf is rejected; a pending one is notified.
//! - **C6** A canceled future that waits for nothing that the runtime will complete waits for something foreign: it is
//!   dropped.
//! - **C7** The scope responsible for a leaf that ended `Canceled` is recorded when the leaf ends: see
//!   [`Core::attribute_canceled`].
//! - **C12** A leaf belongs to the scope that is current at its latest poll.
//!
//! A task that never awaits two leaves at once, and opens no scope, has no row in the tree: it is its own scope, and its
//! row in the task table holds its one leaf. So a task that only sleeps pays 40 bytes for all of this.
//!
//! # Where a cancel is stored
//!
//! - In the row of the canceled scope (`cancel_called`), and in those of all scopes that it reaches (`canceled`, S1).
//! - A task or a child without a row in the tree is canceled if the scope that it belongs to is: the root, whose state
//!   [`Context::root_canceled`] repeats for the polls of tasks, or that of its group, which repeats it as what it has
//!   notified its children of. The task's own row adds only whether its handle has canceled it (`cancel_called`).
//! - [`Context::canceled`] caches whether what is being polled is canceled, because every leaf asks. It is set when a task
//!   or a scope is entered, looked up again after a change ([`Core::refresh`]), and after a poll inside it during which
//!   `Context::epoch` has changed.
//! - A user's `cancel::Scope` can be canceled before it has a row, and by other threads: it stores that request, and its
//!   state when it was left.

mod attribution;
mod context;
mod foreign_wait;
mod leaves;
mod rejections;
mod waiting;

pub(crate) use self::attribution::Attribution;
pub(in crate::runtime) use self::context::Context;
pub(crate) use self::context::{Before, SavedContext};
pub(in crate::runtime) use self::waiting::WaitRow;
pub(crate) use self::waiting::Waiting;

use super::core::Core;
use super::current::drop_waker;
use crate::scope::{CANCELED, CancelEffects, LeafStatus, Mirrored, NEVER, ScopeKind};
use crate::sys::Instant;
use crate::table::{Key, Leaf, LeafKind, Owner, OwnerKind};
use crate::tasks::copy_waker;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

/// The cell through which other threads read the outlook of a scope (S5).
pub(crate) type Mirror = Arc<AtomicU64>;

/// No scope: the owner of a timer or an operation that is not a leaf.
pub(in crate::runtime) const NO_OWNER: Owner = Owner::scope(Key::new(0, 0));

/// A timer's waker, and the owner of the timer as a leaf.
#[derive(Debug)]
pub(crate) struct Sleeper {
    pub(in crate::runtime) waker: Waker,
    pub(in crate::runtime) owner: Owner,
}

impl Core {
    pub(crate) fn open_scope(&self, kind: ScopeKind) -> Key {
        let parent = self.current_scope();
        self.scopes.borrow_mut().open(parent, kind)
    }

    /// Closes a scope: leaves that are still pending in it move to its parent (C12). Returns whether a leaf that ended
    /// `Canceled` was attributed to the scope.
    pub(crate) fn close_scope(&self, key: Key) -> bool {
        let closed = self.scopes.borrow_mut().close(key);
        for leaf in closed.leaves() {
            if self.status(leaf, Owner::scope(key)) != LeafStatus::Finished {
                self.move_leaf(leaf, closed.parent);
            }
        }
        if self.context.owner.get() == Owner::scope(key) {
            self.context.owner.set(Owner::scope(closed.parent));
        }
        drop_waker(closed.wake);
        if let Some(mut effects) = closed.outlived {
            self.notify(&mut effects);
            self.refresh();
        }
        closed.attributed
    }

    /// Updates the parent and the waker of a scope when its future is polled. Returns whether the scope is canceled.
    #[inline]
    pub(crate) fn renew_scope(&self, key: Key, waker: &Waker) -> bool {
        let parent = self.current_scope();
        let (stays, same, canceled) = self
            .scopes
            .borrow()
            .is_as_before(key, parent, |kept| kept.will_wake(waker));
        if stays && same {
            return canceled;
        }
        if !stays {
            self.move_scope(key, parent);
        }
        if !same {
            let waker = copy_waker(waker);
            let replaced = self.scopes.borrow_mut().wake_with(key, waker);
            drop_waker(replaced);
        }
        self.is_scope_canceled(key)
    }

    #[cold]
    fn move_scope(&self, key: Key, parent: Key) {
        let mut effects = CancelEffects::default();
        self.scopes
            .borrow_mut()
            .move_below(key, parent, &mut effects);
        self.notify(&mut effects);
        self.refresh();
    }

    pub(crate) fn is_scope_canceled(&self, key: Key) -> bool {
        self.scopes.borrow().is_canceled(key)
    }

    /// Returns a copy of the waker of a scope's future. The waker is taken out to be copied: cloning may run user code
    /// (R1).
    pub(crate) fn waker_of_scope(&self, key: Key) -> Option<Waker> {
        let waker = self.scopes.borrow_mut().take_wake(key)?;
        let copy = copy_waker(&waker);
        let replaced = self.scopes.borrow_mut().wake_with(key, waker);
        drop_waker(replaced);
        Some(copy)
    }

    /// Wakes the future that has a scope.
    pub(crate) fn wake_scope(&self, key: Key) {
        if let Some(waker) = self.waker_of_scope(key) {
            self.wake_all(&mut vec![waker]);
        }
    }

    /// Cancels a scope and all scopes below it.
    pub(crate) fn cancel_scope(&self, key: Key) {
        let mut effects = self.cancel_scratch.take().unwrap_or_default();
        let inside = match self.context.owner.get().kind() {
            OwnerKind::Task(_) => None,
            OwnerKind::Scope(scope) => Some(scope),
        };
        self.scopes.borrow_mut().cancel(key, inside, &mut effects);
        self.notify(&mut effects);
        self.cancel_scratch.set(Some(effects));
        self.refresh();
    }

    /// Cancels a task through its handle.
    pub(crate) fn cancel_task(&self, key: Key) {
        let task_scope = self.tasks.borrow().task_scope(key);
        match task_scope {
            Some(task_scope) if task_scope.state.has_scope() => self.cancel_scope(task_scope.scope),
            Some(_) if self.tasks.borrow_mut().cancel(key) => {
                self.notify_task(key);
                self.refresh();
            }
            _ => {}
        }
    }

    /// Notifies a task or child that it is canceled, unless it has a scope of its own: the tree notifies that.
    pub(crate) fn notify_task(&self, key: Key) {
        let task_scope = self.tasks.borrow().task_scope(key);
        if task_scope.is_none_or(|task_scope| task_scope.state.has_scope()) {
            return;
        }
        let mut woken = vec![self.waker_of(key)];
        if let Some(leaf) = self.leaf_of(key) {
            self.notify_leaf(leaf, Owner::task(key), &mut woken);
        }
        self.wake_all(&mut woken);
    }

    /// Cancels a child through its handle. The child gets a scope of its own, to which the cancel is attributed.
    pub(crate) fn cancel_child(&self, child: Key) {
        let Some(task_scope) = self.tasks.borrow().task_scope(child) else {
            return;
        };
        let scope = match task_scope.state.has_scope() {
            true => task_scope.scope,
            false => self.give_scope(child),
        };
        self.cancel_scope(scope);
    }

    /// Cancels the root: every scope and every task that is not shielded.
    pub(in crate::runtime) fn cancel_root(&self) {
        self.context.root_canceled.set(true);
        self.cancel_scope(self.context.root);
        let tasks = self.tasks.borrow().without_scope();
        for task in tasks {
            self.notify_task(task);
        }
    }

    /// Sets the deadline of a scope, for readers of its outlook. The timer that enforces it belongs to the future that
    /// polls in the scope.
    #[inline]
    pub(crate) fn limit_scope(&self, key: Key, deadline: Option<Instant>) {
        let mut mirrored = Mirrored::new();
        let deadline = deadline.map_or(NEVER, Instant::as_ns);
        let mut scopes = self.scopes.borrow_mut();
        scopes.limit(key, deadline, &mut mirrored);
        drop(scopes);
        show(&mut mirrored);
    }

    /// Mirrors the outlook of a scope into a cell until the scope is closed.
    pub(crate) fn mirror_scope(&self, key: Key, mirror: Mirror) {
        let mut mirrored = Mirrored::new();
        let mut scopes = self.scopes.borrow_mut();
        scopes.mirror(key, mirror, &mut mirrored);
        drop(scopes);
        show(&mut mirrored);
    }

    /// Returns whether a scope is canceled by now. If its own deadline or one around it has passed unnoticed, cancels
    /// the scope that the deadline belongs to.
    pub(crate) fn is_scope_over(&self, key: Key) -> bool {
        let outlook = self.scopes.borrow().outlook(key);
        if matches!(outlook, CANCELED | NEVER) {
            return outlook == CANCELED;
        }
        let now = self.now().as_ns();
        let due = self.scopes.borrow().outermost_due(key, now);
        if let Some(due) = due {
            self.cancel_scope(due);
        }
        due.is_some()
    }

    /// Returns when leaves of the current scope are canceled: at the earliest deadline around it, or now.
    pub(crate) fn deadline_here(&self) -> Option<Instant> {
        if self.is_canceled() {
            return Some(self.now());
        }
        match self.scopes.borrow().outlook(self.scope_around()?) {
            NEVER => None,
            outlook => Some(Instant::from_ns(outlook)),
        }
    }

    pub(super) fn notify(&self, effects: &mut CancelEffects<Waker, Mirror>) {
        let CancelEffects {
            leaves,
            woken,
            mirrored,
        } = effects;
        show(mirrored);
        for (leaf, scope) in leaves.drain(..) {
            self.notify_leaf(leaf, Owner::scope(scope), woken);
        }
        self.wake_all(woken);
    }

    /// Notifies a pending leaf that its scope is canceled. An operation is canceled in the kernel, and ends by its own
    /// completion (C3). Any other leaf is woken, and belongs to no scope until it is polled: a leaf that is no longer
    /// polled is not waited for (C6).
    pub(super) fn notify_leaf(&self, leaf: Leaf, owner: Owner, woken: &mut Vec<Waker>) {
        if self.status(leaf, owner) != LeafStatus::Pending {
            return;
        }
        let key = leaf.key();
        match leaf.kind() {
            LeafKind::Operation => self.ask_cancel(key),
            LeafKind::Timer => {
                let mut timers = self.timers.borrow_mut();
                if let Some(sleeper) = timers.peek_mut(key) {
                    woken.push(take_waker(&mut sleeper.waker));
                    sleeper.owner = NO_OWNER;
                }
            }
            LeafKind::Join => woken.extend(self.tasks.borrow_mut().take_joiner(key)),
            LeafKind::Wait => {
                if let Some(wait) = self.waits.borrow_mut().get_mut(key) {
                    woken.push(take_waker(&mut wait.waker));
                    wait.owner = NO_OWNER;
                }
            }
        }
    }
}

/// Takes the waker of a leaf that needs none until it is polled again.
pub(in crate::runtime) fn take_waker(waker: &mut Waker) -> Waker {
    std::mem::replace(waker, Waker::noop().clone())
}

#[inline]
fn show(mirrored: &mut Mirrored<Mirror>) {
    if !mirrored.is_empty() {
        show_all(mirrored);
    }
}

#[cold]
fn show_all(mirrored: &mut Mirrored<Mirror>) {
    for (mirror, outlook) in mirrored.drain(..) {
        mirror.store(outlook, Ordering::Release);
    }
}
