//! Figures and listings that a runtime reports about itself.

use std::panic::Location;
use std::time::Duration;

/// A snapshot of a runtime's current figures and of its totals since it was built.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use std::time::Duration;
///
/// gimmal::run(async {
///     let task = gimmal::spawn(gimmal::sleep(Duration::from_secs(3600)));
///     gimmal::yield_now().await;
///     let stats = gimmal::Handle::current().stats();
///     assert_eq!((stats.tasks, stats.timers), (2, 1));
///     task.abort();
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Tasks that have not ended; the future of `block_on` is one.
    pub tasks: usize,
    /// Entries in the task table, including tasks that have ended but whose handle has not taken the output.
    pub task_rows: usize,
    /// Tasks that are ready to be polled.
    pub ready_tasks: usize,
    /// Operations in the kernel, including [`orphans`](Stats::orphans).
    pub operations: usize,
    /// Abandoned operations: still in the kernel, although their future was dropped.
    pub orphans: usize,
    /// Entries in the operation table, including operations whose result their future has not taken yet.
    pub operation_rows: usize,
    /// Entries in the timer table, including timers that have fired but whose future has not been polled since.
    pub timers: usize,
    /// Open scopes: those of timeouts, groups and shields, and every [`Scope`](crate::cancel::Scope) that is entered.
    pub scopes: usize,
    /// Waits that none of the other figures count, such as for a closure on the pool or for room in a group.
    pub waits: usize,
    /// Buffers of [`Builder::receive_buffers`](crate::runtime::Builder::receive_buffers) that chunks hold.
    pub receive_buffers_out: usize,
    /// Entries of the submission queue that the kernel granted: fewer than [`Builder::entries`](crate::runtime::Builder::entries)
    /// if locked memory was short.
    pub submission_entries: u32,
    /// Entries of the completion queue that the kernel granted.
    pub completion_entries: u32,
    /// Threads of the pool.
    pub blocking_threads: usize,
    /// Closures that are running on the pool.
    pub blocking_running: usize,
    /// Closures that are waiting for a thread.
    pub blocking_waiting: usize,
    /// Passes of the event loop so far.
    pub turns: u64,
    /// Polls of tasks so far.
    pub polls: u64,
    /// System calls that entered the ring so far.
    pub enters: u64,
    /// Direct system calls so far that tried an operation before submitting it to the ring
    /// ([`Entry::try_direct`](crate::op::Entry::try_direct)).
    pub attempts: u64,
    /// Entries submitted so far, including cancel requests.
    pub submitted: u64,
    /// Operations that completed so far.
    pub completed: u64,
    /// Cancel requests so far, including repeated ones.
    pub cancels: u64,
}

/// A task that has not ended.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use std::time::Duration;
///
/// gimmal::run(async {
///     let hour = Duration::from_secs(3600);
///     let task = gimmal::task::Builder::new().name("sleeper").spawn(gimmal::sleep(hour));
///     gimmal::yield_now().await;
///     let tasks = gimmal::Handle::current().tasks();
///     let sleeper = tasks.iter().find(|task| task.name.as_deref() == Some("sleeper"));
///     assert!(sleeper.is_some_and(|task| !task.is_ready && task.spawned_at.line() > 0));
///     task.abort();
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TaskInfo {
    /// The task's name, if it was given one.
    pub name: Option<String>,
    /// The location that spawned it.
    pub spawned_at: &'static Location<'static>,
    /// Whether it is ready to be polled.
    pub is_ready: bool,
}

/// An operation in the kernel.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let (reader, _writer) = gimmal::io::pipe()?;
///     let task = gimmal::task::Builder::new().name("reader").spawn(async move {
///         // Nobody writes.
///         reader.read(vec![0; 16]).await.is_ok()
///     });
///     gimmal::yield_now().await;
///     for operation in gimmal::Handle::current().operations() {
///         let task = operation.task.unwrap_or_default();
///         println!("{} of task {task} for {:?}", operation.kind, operation.age);
///         assert!(task.contains("reader"));
///     }
///     task.cancel();
///     assert!(!task.await?);
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OperationInfo {
    /// Its [`Operation::NAME`](crate::op::Operation::NAME).
    pub kind: &'static str,
    /// The task that last polled it: its name, or the location that spawned it. `None` if that task has ended.
    pub task: Option<String>,
    /// Whether it is abandoned: its future was dropped.
    pub is_orphan: bool,
    /// How long the kernel has had it, to within a tick of the kernel (1 to 10 ms).
    pub age: Duration,
}
