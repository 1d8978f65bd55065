//! A weak, cloneable handle to a runtime.

mod stats;

pub use self::stats::{OperationInfo, Stats, TaskInfo};

use super::core::Core;
use super::current;
use super::task::JoinHandle;
use crate::sys::{Instant, Port};
use crate::tasks::WakeId;
use std::panic::Location;
use std::rc::{Rc, Weak};
use std::time::Duration;

/// A weak handle to a runtime, which spawns tasks on it and inspects it. The handle keeps nothing alive.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let handle = gimmal::Handle::current();
///     let task = handle.spawn(async { 5 });
///     assert_eq!(task.await?, 5);
///     assert_eq!(handle.stats().operations, 0);
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Handle {
    core: Weak<Core>,
}

impl Handle {
    pub(super) fn of(core: &Rc<Core>) -> Handle {
        Handle {
            core: Rc::downgrade(core),
        }
    }

    /// Returns a handle to the runtime that is running on this thread.
    ///
    /// # Panics
    ///
    /// If called outside a runtime.
    #[must_use]
    #[track_caller]
    pub fn current() -> Handle {
        Handle::of(&current::required())
    }

    /// Returns a handle to the runtime that is running on this thread, if there is one.
    #[must_use]
    pub fn try_current() -> Option<Handle> {
        current::current().map(|core| Handle::of(&core))
    }

    #[track_caller]
    fn core(&self) -> Rc<Core> {
        match self.core.upgrade() {
            Some(core) if !core.has_ended() => core,
            _ => panic!("the gimmal runtime of this handle has ended"),
        }
    }

    /// Spawns a task on this runtime, as [`spawn`](crate::spawn) does on the current one.
    ///
    /// # Panics
    ///
    /// If the runtime has ended.
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: 'static> + 'static,
    {
        self.core().spawn(future, None, Location::caller())
    }

    /// Returns the current time of the runtime's clock.
    ///
    /// # Panics
    ///
    /// If the runtime has ended.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.core().now()
    }

    /// Returns the runtime's current figures, and its totals since it was built.
    ///
    /// # Panics
    ///
    /// If the runtime has ended.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let core = self.core();
        let tasks = core.tasks.borrow();
        let driver = core.driver.borrow();
        let counts = driver.counts();
        let sizes = driver.ring.sizes();
        let (blocking_threads, blocking_running, blocking_waiting) = core.pool.figures();
        Stats {
            tasks: tasks.alive(),
            task_rows: tasks.len(),
            ready_tasks: tasks.ready_len(),
            operations: driver.in_flight(),
            orphans: driver.orphans(),
            operation_rows: driver.len(),
            timers: core.timers.borrow().len(),
            scopes: core.scopes.borrow().len(),
            waits: core.waits.borrow().len() - core.slot.inbox().waits(),
            receive_buffers_out: core.provided.out(),
            submission_entries: sizes.submission,
            completion_entries: sizes.completion,
            blocking_threads,
            blocking_running,
            blocking_waiting,
            turns: core.turn.number.get(),
            polls: core.turn.budget.polls_so_far(),
            enters: counts.enters,
            attempts: counts.attempts,
            submitted: counts.submitted,
            completed: counts.completed,
            cancels: counts.cancels_asked,
        }
    }

    /// Returns every task that has not ended, in the order of the task table.
    ///
    /// # Panics
    ///
    /// If the runtime has ended.
    #[must_use]
    pub fn tasks(&self) -> Vec<TaskInfo> {
        let core = self.core();
        let tasks = core.tasks.borrow();
        tasks
            .origins()
            .map(|(_, origin, ready)| TaskInfo {
                name: origin.name.as_deref().map(str::to_owned),
                spawned_at: origin.location,
                is_ready: ready,
            })
            .collect()
    }

    /// Returns every operation that is in the kernel, in the order of the operation table.
    ///
    /// # Panics
    ///
    /// If the runtime has ended.
    #[must_use]
    pub fn operations(&self) -> Vec<OperationInfo> {
        let core = self.core();
        let now = core.coarse_ns();
        let (driver, tasks) = (core.driver.borrow(), core.tasks.borrow());
        driver
            .rows()
            .filter(|row| row.in_flight)
            .map(|row| {
                let name = WakeId::from_bits(row.task);
                let task = tasks.origin_of(name).map(|origin| match &origin.name {
                    Some(name) => name.to_string(),
                    None => origin.to_string(),
                });
                OperationInfo {
                    kind: row.kind,
                    task,
                    is_orphan: row.orphan,
                    age: Duration::from_nanos(now.saturating_sub(row.since_ns)),
                }
            })
            .collect()
    }
}
