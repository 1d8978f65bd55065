//! The ends of tasks.

use crate::runtime::core::{Core, Reporter};
use crate::runtime::fault::Fault;
use crate::tasks::{End, Finished, Origin, Task, Unclaimed, wake_id_of};
use std::any::{Any, TypeId};
use std::pin::Pin;

impl Core {
    /// Closes the scope of a finished task, wakes its joiner, and disposes of a result that has no joiner.
    pub(in crate::runtime) fn settle(&self, finished: Finished) {
        if let Some(scope) = finished.scope {
            self.close_scope(scope);
        }
        if let Some(joiner) = finished.joiner {
            // A waker of ours runs no user code, and is woken by its wake ID.
            let foreign = match wake_id_of(&joiner) {
                Some(name) if name.runtime() == self.slot.number() => {
                    self.tasks.borrow_mut().wake(name)
                }
                _ => Some(joiner),
            };
            self.wake_foreign(foreign);
        }
        if let Some(unclaimed) = finished.unclaimed {
            self.dispose_of_end(unclaimed);
        }
    }

    pub(in crate::runtime) fn dispose_of_end(&self, unclaimed: Unclaimed) {
        match unclaimed.end {
            End::Output(task) if unclaimed.is_reported => {
                self.report_failure(task, &unclaimed.origin);
            }
            End::Output(task) => {
                self.hook.guard("a task's output", || drop(task));
            }
            End::Panicked(payload) => {
                self.hook.report_panic(describe(&unclaimed.origin), payload);
            }
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
            let task = describe(origin);
            self.hook.report(&Fault::TaskFailed { task, message });
        }
    }
}

/// Returns the task's name, or the location that spawned it.
pub(in crate::runtime) fn describe(origin: &Origin) -> String {
    match &origin.name {
        Some(name) => format!("{name:?}"),
        None => format!("spawned at {}", origin.location),
    }
}
