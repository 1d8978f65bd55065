//! What a runtime says about itself.

use super::core::Core;
use std::panic::Location;
use std::time::Duration;

/// What a runtime has at a moment, and how much it has done since it was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Tasks that have not ended; the future of `block_on` is one.
    pub tasks: usize,
    /// Rows of the table of tasks: those that ended and whose handle has not taken the output included.
    pub task_rows: usize,
    /// Tasks that are ready to be polled.
    pub ready_tasks: usize,
    /// Operations that the kernel has, orphans included.
    pub operations: usize,
    /// Operations that the kernel has and whose future is gone.
    pub orphans: usize,
    /// Rows of the table of operations: those whose result nobody has looked at yet included.
    pub operation_rows: usize,
    /// Rows of the table of timers: those that fired and whose future has not looked yet included.
    pub timers: usize,
    /// Open scopes: those of timeouts, groups, shields, and of [`Scope`](crate::cancel::Scope)s that are entered.
    pub scopes: usize,
    /// Waits for what is in none of the other tables: for a closure on the pool, for room in a group.
    pub waits: usize,
    /// Buffers of [`Builder::receive_buffers`](super::Builder::receive_buffers) that chunks hold.
    pub receive_buffers_out: usize,
    /// Entries of the submission queue that the kernel gave: fewer than [`Builder::entries`](super::Builder::entries), if
    /// locked memory was short.
    pub submission_entries: u32,
    /// Entries of the completion queue that the kernel gave.
    pub completion_entries: u32,
    /// Threads of the pool.
    pub blocking_threads: usize,
    /// Closures that run on the pool.
    pub blocking_running: usize,
    /// Closures that wait for a thread.
    pub blocking_waiting: usize,
    /// Turns of the event loop so far.
    pub turns: u64,
    /// Polls of tasks so far.
    pub polls: u64,
    /// System calls that entered the ring so far.
    pub enters: u64,
    /// Plain system calls so far by which an operation was tried before the ring was entered for it
    /// ([`Entry::try_first`](crate::op::Entry::try_first)).
    pub attempts: u64,
    /// Entries submitted so far, requests to cancel included.
    pub submitted: u64,
    /// Operations that completed so far.
    pub completed: u64,
    /// Requests to cancel so far, repeated ones included.
    pub cancels: u64,
}

/// A task that has not ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TaskInfo {
    /// The name that it was given.
    pub name: Option<String>,
    /// Where it was spawned.
    pub spawned_at: &'static Location<'static>,
    /// Whether it waits to be polled.
    pub is_ready: bool,
}

/// An operation that the kernel has.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OperationInfo {
    /// Its [`Operation::NAME`](crate::op::Operation::NAME).
    pub kind: &'static str,
    /// The task that polled it last: its name, or where it was spawned. `None` if that task has ended.
    pub task: Option<String>,
    /// Whether its future is gone.
    pub is_orphan: bool,
    /// How long the kernel has had it, to within a tick of the kernel (1 to 10 ms).
    pub age: Duration,
}

impl Core {
    pub(super) fn stats(&self) -> Stats {
        let tasks = self.tasks.borrow();
        let driver = self.driver.borrow();
        let counts = driver.counts();
        let sizes = driver.ring().sizes();
        let (blocking_threads, blocking_running, blocking_waiting) = self.pool.figures();
        Stats {
            tasks: tasks.alive(),
            task_rows: tasks.len(),
            ready_tasks: tasks.ready_len(),
            operations: driver.in_flight(),
            orphans: driver.orphans(),
            operation_rows: driver.len(),
            timers: self.timers.borrow().len(),
            scopes: self.scopes.borrow().len(),
            waits: self.waits.borrow().len() - self.inbox().waits(),
            receive_buffers_out: self.receive_buffers_out(),
            submission_entries: sizes.submission,
            completion_entries: sizes.completion,
            blocking_threads,
            blocking_running,
            blocking_waiting,
            turns: self.turns.get(),
            polls: self.polls_so_far(),
            enters: counts.enters,
            attempts: counts.attempts,
            submitted: counts.submitted,
            completed: counts.completed,
            cancels: counts.cancels_asked,
        }
    }
}
