//! Who answers for a leaf that ended `Canceled` (C7), and how many were refused (C2).

use crate::runtime::core::Core;
use crate::table::Key;

impl Core {
    /// A leaf ends `Canceled`: the outermost canceled scope that it sees answers for it, and whoever polls the task, or the
    /// child, is told which one that is (C7).
    pub(crate) fn attribute_canceled(&self) {
        let scope = match self.at.get().find() {
            Ok(task) => self
                .tasks
                .borrow()
                .task_scope(task)
                .map(|found| found.scope),
            Err(scope) => Some(scope),
        };
        if let Some(scope) = scope {
            self.attribute_outermost(scope);
        }
    }

    /// What was cut short below this scope is attributed to the outermost canceled one that it sees.
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

    /// Whether it is a scope outside of this one that canceled it.
    pub(crate) fn is_canceled_from_outside(&self, scope: Key) -> bool {
        let outermost = self.scopes.borrow().outermost(scope);
        outermost.is_some_and(|outermost| outermost != scope)
    }

    /// A leaf would begin, and its scope is canceled.
    pub(crate) fn count_refusal(&self) {
        self.refusals.set(self.refusals.get() + 1);
        let poll = self.polls_so_far();
        match self.at.get().find() {
            Ok(task) => {
                if self.refused_in.replace(poll) != poll {
                    self.tasks.borrow_mut().refuse(task);
                }
            }
            Err(scope) => {
                self.scopes.borrow_mut().refuse(scope, poll);
            }
        }
    }

    /// What was refused in this scope counts once in the one around it.
    pub(in crate::runtime) fn count_refusal_above(&self, scope: Key) {
        let mut scopes = self.scopes.borrow_mut();
        let parent = scopes.parent(scope);
        scopes.add_refusals(parent, 1);
    }

    /// How many leaves were refused so far, in whichever scope.
    pub(crate) fn refusals(&self) -> u64 {
        self.refusals.get()
    }
}
