//! Which scope is responsible for a leaf that ended `Canceled` (C7), and the count of rejected leaves (C2).

use crate::runtime::core::Core;
use crate::table::{Key, OwnerKind};

impl Core {
    /// Attributes a leaf that ends `Canceled` to the outermost canceled scope that it sees, and records the scope for
    /// the poller of the task or child (C7).
    pub(crate) fn attribute_canceled(&self) {
        let scope = match self.current_owner.get().kind() {
            OwnerKind::Task(task) => self
                .tasks
                .borrow()
                .task_scope(task)
                .map(|found| found.scope),
            OwnerKind::Scope(scope) => Some(scope),
        };
        if let Some(scope) = scope {
            self.attribute_outermost(scope);
        }
    }

    /// Attributes a cancel below this scope to the outermost canceled scope that it sees.
    #[inline]
    pub(crate) fn attribute_outermost(&self, scope: Key) {
        let attributed = self.scopes.borrow_mut().attribute_outermost(scope);
        if let Some(scope) = attributed {
            self.note_attribution(scope);
        }
    }

    pub(super) fn note_attribution(&self, scope: Key) {
        self.attributed.set(true);
        let mut attributions = self.attributions.borrow_mut();
        if !attributions.contains(&scope) {
            attributions.push(scope);
        }
    }

    /// Whether a scope outside this one canceled it.
    pub(crate) fn is_canceled_from_outside(&self, scope: Key) -> bool {
        let outermost = self.scopes.borrow().outermost(scope);
        outermost.is_some_and(|outermost| outermost != scope)
    }

    /// Counts a new leaf that is rejected because its scope is canceled.
    pub(crate) fn count_refusal(&self) {
        self.refusals.set(self.refusals.get() + 1);
        let poll = self.polls_so_far();
        match self.current_owner.get().kind() {
            OwnerKind::Task(task) => {
                if self.refused_in.replace(poll) != poll {
                    self.tasks.borrow_mut().refuse(task);
                }
            }
            OwnerKind::Scope(scope) => {
                self.scopes.borrow_mut().refuse(scope, poll);
            }
        }
    }

    /// Closes the scope of a group that is gone with its children. If the group was canceled from outside and a leaf in
    /// it was rejected (`refused`), that counts once for the scope around it, so that a loop that opens a group each
    /// time ends (C2).
    pub(crate) fn close_scope_of_group(&self, scope: Key, refused: bool) {
        if refused && self.is_canceled_from_outside(scope) {
            self.count_refusal_above(scope);
        }
        self.close_scope(scope);
    }

    /// Counts the rejections in this scope once for its parent.
    pub(in crate::runtime) fn count_refusal_above(&self, scope: Key) {
        let mut scopes = self.scopes.borrow_mut();
        let parent = scopes.parent(scope);
        scopes.add_refusals(parent, 1);
    }

    /// Returns how many leaves were rejected so far, in all scopes.
    pub(crate) fn refusals(&self) -> u64 {
        self.refusals.get()
    }
}
