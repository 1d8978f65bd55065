//! Drops a canceled future that waits for nothing that the runtime will complete (C6).

use super::rejections::REJECTIONS_MAX;
use super::waiting::WaitRow;
use crate::runtime::core::Core;
use crate::runtime::fault::Fault;
use crate::scope::LeafStatus;
use crate::table::{Key, Leaf, LeafKind, Owner, OwnerKind};
use crate::tasks::{WakeId, waker};
use std::cell::Cell;

/// The number of self-wakes that count as one rejection, so that a canceled task that only wakes itself is dropped after
/// 64 times 64 polls.
const SELF_WAKES_PER_REJECTION: u64 = 64;

impl Core {
    /// Decides whether to drop a task or child in a canceled scope that was polled and is pending. Returns true if
    /// nothing that the runtime knows of will ever wake it, or if it ignores the cancel. `before` is the count of
    /// rejections before the poll.
    #[cold]
    pub(crate) fn should_drop_canceled(&self, key: Key, before: u64) -> bool {
        let at = self.context.owner.get();
        let was_rejected = self.rejections() != before;
        let rejections = self.tasks.borrow_mut().count_rejections(key, was_rejected);
        if !self.is_spent(rejections) {
            if self.is_busy(at) {
                return false;
            }
            let mut tasks = self.tasks.borrow_mut();
            if tasks.is_woken(key) {
                // It was woken in its own poll, and waits for no leaf of the runtime. It may have work left to do, but if
                // it goes on without end it ignores the cancel.
                let self_wakes = self.context.self_wakes.get() + 1;
                self.context.self_wakes.set(self_wakes);
                if self_wakes.is_multiple_of(SELF_WAKES_PER_REJECTION) {
                    tasks.count_rejections(key, true);
                }
                return false;
            }
        }
        // Its own result is lost, so the cancel is attributed here.
        self.attribute_canceled();
        true
    }

    /// Whether the future of the current scope has swallowed too many errors. If so, reports that.
    pub(crate) fn is_spent(&self, rejections: u32) -> bool {
        if rejections < REJECTIONS_MAX {
            return false;
        }
        if let OwnerKind::Scope(scope) = self.context.owner.get().kind()
            && self.scopes.borrow().has_shield(scope)
        {
            return false;
        }
        self.hook.report(&Fault::CancelIgnored {
            task: self.running_task(),
        });
        true
    }

    /// Describes the task that is being polled, for a report.
    pub(crate) fn running_task(&self) -> String {
        self.describe_task(self.id_of_running())
    }

    /// Describes a task or child, for a report.
    pub(in crate::runtime) fn describe_task(&self, name: WakeId) -> String {
        let tasks = self.tasks.borrow();
        let origin = tasks.origin_of(name);
        origin.map_or_else(|| "(unknown)".to_owned(), ToString::to_string)
    }

    /// Returns whether the runtime will still complete a leaf of this owner. If that leaf is an orphan, the future that
    /// runs here is woken when the orphan ends.
    pub(crate) fn is_busy(&self, at: Owner) -> bool {
        // The first pending leaf ends the search, so there is one at most.
        let overdue = Cell::new(None);
        let status = |leaf: Leaf, owner| {
            let found = self.status(leaf, owner);
            if found == LeafStatus::Pending && leaf.kind() == LeafKind::Wait {
                let waits = self.waits.borrow();
                if waits.get(leaf.key()).is_some_and(WaitRow::is_overdue) {
                    overdue.set(Some(leaf.key()));
                }
            }
            found
        };
        let found = match at.kind() {
            OwnerKind::Task(task) => match self.leaf_of(task).map(|leaf| status(leaf, at)) {
                Some(LeafStatus::Orphaned) => {
                    let scope = self.give_scope(task);
                    return self.is_busy(Owner::scope(scope));
                }
                found => found.unwrap_or(LeafStatus::Finished),
            },
            OwnerKind::Scope(scope) => {
                let status = |leaf, scope| status(leaf, Owner::scope(scope));
                let found = self.scopes.borrow_mut().pending(scope, status);
                if found == LeafStatus::Orphaned {
                    self.waits_for_orphans(scope);
                }
                found
            }
        };
        if let Some(key) = overdue.get() {
            self.notify_overdue(key);
        }
        found != LeafStatus::Finished
    }

    /// Returns whether this scope has an orphan. If so, the scope's future is woken when the next orphan ends.
    pub(crate) fn waits_for_orphans(&self, scope: Key) -> bool {
        let status = |leaf, scope| self.status(leaf, Owner::scope(scope));
        let has_orphan = self.scopes.borrow().has_orphan(scope, status);
        if has_orphan {
            let mut scopes = self.scopes.borrow_mut();
            // The cancel used up the waker when it woke the running task.
            if scopes.wake_of(scope).is_none() {
                scopes.wake_with(scope, waker(self.id_of_running()));
            }
            scopes.watch(scope);
        }
        has_orphan
    }

    /// Handles the last completion of an orphan: wakes the futures that wait for it.
    pub(in crate::runtime) fn orphan_ended(&self, owner: Owner) {
        if let OwnerKind::Scope(scope) = owner.kind() {
            let mut woken = Vec::new();
            self.scopes.borrow_mut().orphan_ended(scope, &mut woken);
            self.wake_all(&mut woken);
        }
    }
}
