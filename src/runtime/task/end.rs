//! The ends of tasks.

use crate::runtime::core::{Core, Reporter};
use crate::runtime::fault::Fault;
use crate::table::Key;
use crate::tasks::{End, Finished, Origin, Task, Unclaimed};
use std::any::{Any, TypeId};
use std::pin::Pin;

impl Core {
    /// Ends a task whose future has completed or was dropped.
    #[inline(never)]
    pub(in crate::runtime) fn end_task(&self, key: Key, end: End) {
        let finished = self.tasks.borrow_mut().finish(key, end);
        let is_claimed = finished.is_claimed;
        self.settle(finished);
        if !is_claimed {
            let unclaimed = self.tasks.borrow_mut().take_unclaimed(key);
            self.dispose_of_end(unclaimed);
        }
    }

    /// Closes the scope of a finished task or child, and wakes its joiner.
    #[inline]
    pub(crate) fn settle(&self, finished: Finished) {
        if let Some(scope) = finished.scope {
            self.close_scope(scope);
        }
        self.wake_foreign(finished.joiner);
    }

    pub(crate) fn dispose_of_end(&self, unclaimed: Option<Unclaimed>) {
        let Some(unclaimed) = unclaimed else {
            return;
        };
        match unclaimed.end {
            End::Output(Some(task)) if unclaimed.is_reported => {
                self.report_failure(task, &unclaimed.origin);
            }
            End::Output(task) => {
                self.hook.guard("a task's output", || drop(task));
            }
            End::Panicked(payload) => self
                .hook
                .report_panic(unclaimed.origin.to_string(), payload),
            End::Aborted => {}
        }
    }

    /// Drops the output of a detached task, and reports its failure.
    #[cold]
    fn report_failure(&self, mut task: Pin<Box<dyn Task>>, origin: &Origin) {
        let output: &dyn Any = task.as_mut().output();
        let is_for_output = |reporter: &&(TypeId, Reporter)| reporter.0 == output.type_id();
        let reporter = self.reporters.borrow().iter().find(is_for_output).copied();
        let Some((_, reporter)) = reporter else {
            unreachable!("a task is detached with the reporter for its output")
        };
        let failure = self.hook.guard("a task's output", || reporter(output));
        self.hook.guard("a task's output", || drop(task));
        if let Some(Some(message)) = failure {
            let task = origin.to_string();
            self.hook.report(&Fault::TaskFailed { task, message });
        }
    }
}
