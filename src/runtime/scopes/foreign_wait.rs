//! What a canceled future waits for: if it is nothing of ours, the future is dropped (C6).

use super::waiting::WaitRow;
use crate::runtime::core::{Core, describe};
use crate::runtime::fault::Fault;
use crate::scope::LeafStatus;
use crate::table::{Key, Kind, Leaf, Owner};
use crate::tasks::{WakeId, waker};
use std::cell::RefCell;

/// In so many polls a future in a canceled scope may begin to wait for something again before it is taken for a loop that
/// ignores every error, and is dropped (C2).
pub(super) const REFUSALS_MAX: u32 = 64;

/// So many of its own wakes count like one refusal: 64 times as many, without anything of the runtime in between, and a
/// canceled task is taken for one that never ends.
const SELF_WAKES_PER_REFUSAL: u64 = 64;

impl Core {
    /// A task, or a child, whose scope is canceled was polled and is pending. True if nothing will ever wake it that the
    /// runtime knows of, or if it ignores that it is canceled: then it is to be dropped.
    #[cold]
    pub(crate) fn should_drop_canceled(&self, key: Key) -> bool {
        let at = self.at.get();
        let refusals = match at.find() {
            Ok(task) => self.tasks.borrow().refusals(task),
            Err(scope) => self.scopes.borrow().refusals(scope),
        };
        if !self.is_spent(at, refusals) {
            if self.is_busy(at) {
                return false;
            }
            if self.tasks.borrow().is_queued(key) {
                self.count_self_wake();
                return false;
            }
        }
        // Nobody can answer for what it would have said.
        self.attribute_canceled();
        true
    }

    /// A canceled task, or child, was woken in its own poll and waits for nothing of the runtime. It may have something left
    /// to do; if it does so for ever, it ignores that it is canceled.
    fn count_self_wake(&self) {
        let self_wakes = self.self_wakes.get() + 1;
        self.self_wakes.set(self_wakes);
        if self_wakes.is_multiple_of(SELF_WAKES_PER_REFUSAL) {
            self.count_refusal();
        }
    }

    /// Whether a future that has a scope inside of a task waits for an operation there, and is not spent: by far the most that
    /// are canceled do, and nothing else is to be asked of them.
    pub(crate) fn is_scope_parked(&self, key: Key) -> bool {
        let (refusals, leaf) = {
            let scopes = self.scopes.borrow();
            (scopes.refusals(key), scopes.any_leaf(key))
        };
        refusals < REFUSALS_MAX
            && leaf.is_some_and(|leaf| {
                leaf.kind() == Kind::Operation
                    && self.status(leaf, Owner::scope(key)) == LeafStatus::Pending
            })
    }

    /// As [`should_drop_canceled`](Core::should_drop_canceled), for a future that has a scope inside of a task. Whether it was woken is not known here.
    pub(crate) fn is_scope_spent(&self, key: Key) -> bool {
        let refusals = self.scopes.borrow().refusals(key);
        self.is_spent(Owner::scope(key), refusals)
    }

    pub(crate) fn is_scope_busy(&self, key: Key) -> bool {
        self.is_busy(Owner::scope(key))
    }

    /// It swallowed every error.
    pub(super) fn is_spent(&self, at: Owner, refusals: u32) -> bool {
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
        self.describe_task(self.id_of_running())
    }

    /// A task, or a child, for a report.
    pub(in crate::runtime) fn describe_task(&self, name: WakeId) -> String {
        let tasks = self.tasks.borrow();
        let origin = tasks.origin_of(name);
        origin.map_or_else(|| "(unknown)".to_owned(), describe)
    }

    /// Whether the runtime will still complete something in this place. If that is an operation whose future is gone,
    /// whoever runs here is woken when it ends.
    fn is_busy(&self, at: Owner) -> bool {
        let overdue = RefCell::new(Vec::new());
        let status = |leaf: Leaf, owner| {
            let found = self.status(leaf, owner);
            if found == LeafStatus::Pending && leaf.kind() == Kind::Wait {
                let waits = self.waits.borrow();
                if waits.get(leaf.key()).is_some_and(WaitRow::is_overdue) {
                    overdue.borrow_mut().push(leaf.key());
                }
            }
            found
        };
        let found = match at.find() {
            Ok(task) => match self.leaf_of(task).map(|leaf| status(leaf, at)) {
                Some(LeafStatus::Orphaned) => {
                    let scope = self.give_scope(task);
                    return self.is_busy(Owner::scope(scope));
                }
                found => found.unwrap_or(LeafStatus::Finished),
            },
            Err(scope) => {
                let status = |leaf, scope| status(leaf, Owner::scope(scope));
                let found = self.scopes.borrow_mut().pending(scope, status);
                if found == LeafStatus::Orphaned {
                    self.waits_for_orphans(scope);
                }
                found
            }
        };
        for key in overdue.into_inner() {
            self.notify_overdue(key);
        }
        found != LeafStatus::Finished
    }

    /// Whether the kernel has an operation of this scope whose future is gone. If so, the future that has the scope is woken
    /// when the next of them ends.
    pub(crate) fn waits_for_orphans(&self, scope: Key) -> bool {
        let status = |leaf, scope| self.status(leaf, Owner::scope(scope));
        let has_orphan = self.scopes.borrow().has_orphan(scope, status);
        if has_orphan {
            self.keep_wakeable(scope);
            self.scopes.borrow_mut().watch(scope);
        }
        has_orphan
    }

    /// The scope of a task has nobody to wake any more once it was canceled, for that woke the task.
    pub(super) fn keep_wakeable(&self, scope: Key) {
        let mut scopes = self.scopes.borrow_mut();
        if scopes.wake_of(scope).is_none() {
            scopes.wake_with(scope, waker(self.id_of_running()));
        }
    }

    /// The last completion of an operation whose future is gone has come.
    pub(in crate::runtime) fn orphan_ended(&self, owner: Owner) {
        if let Err(scope) = owner.find() {
            let mut woken = Vec::new();
            self.scopes.borrow_mut().orphan_ended(scope, &mut woken);
            self.wake_all(&mut woken);
        }
    }
}
