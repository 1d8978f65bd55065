//! Spawns tasks, and closures on the blocking pool.

use super::join::JoinHandle;
use crate::runtime::core::{Core, Phase};
use crate::runtime::current;
use crate::runtime::pool::BlockingHandle;
use crate::tasks::{Claim, Origin, TaskCell};
use std::panic::Location;

impl Core {
    /// Spawns a task. A runtime that is shutting down accepts none: the future is dropped, and the join handle reports
    /// "aborted".
    #[inline]
    pub(in crate::runtime) fn spawn<F>(
        &self,
        future: F,
        name: Option<Box<str>>,
        location: &'static Location<'static>,
    ) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        if self.phase.get() != Phase::Open {
            self.hook
                .guard("a future that came too late", || drop(future));
            return JoinHandle::aborted();
        }
        self.start(future, name, location)
    }

    /// Spawns a task on a runtime that is open.
    #[inline]
    fn start<F>(
        &self,
        future: F,
        name: Option<Box<str>>,
        location: &'static Location<'static>,
    ) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let task = Box::pin(TaskCell::new(future));
        let origin = Origin { name, location };
        let canceled = self.root_canceled.get();
        let mut tasks = self.tasks.borrow_mut();
        let key = tasks.insert(Some(task), origin, Claim::Handle, self.root, canceled);
        JoinHandle::new(self.id, key)
    }
}

/// Spawns a task on the current runtime. The task runs whether or not its handle is awaited; dropping the handle
/// detaches it. For a task that nobody awaits, call [`detach`](JoinHandle::detach), which reports its failure.
///
/// The task never outlives the runtime: [`run`](crate::run) cancels the tasks that are left when its future is done. The
/// future is first polled in a later pass of the event loop, never inside this call.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let task = gimmal::spawn(async { 6 * 7 });
///     assert_eq!(task.await?, 42);
///     Ok(())
/// })
/// # }
/// ```
///
/// # Panics
///
/// If called outside a runtime.
#[track_caller]
#[inline]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    spawn_at(future, None, Location::caller())
}

#[track_caller]
#[inline]
fn spawn_at<F>(
    future: F,
    name: Option<Box<str>>,
    location: &'static Location<'static>,
) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let mut future = Some(future);
    let spawned = current::try_with(|core| {
        if core.phase.get() == Phase::Open {
            future
                .take()
                .map(|future| core.start(future, name, location))
        } else {
            None
        }
    });
    match (spawned, future) {
        (Some(Some(handle)), _) => handle,
        // Dropping the future runs user code, so it happens here, where nothing is borrowed.
        (Some(None), future) => {
            current::required()
                .hook
                .guard("a future that came too late", || drop(future));
            JoinHandle::aborted()
        }
        (None, future) => {
            drop(future);
            current::with(|_| unreachable!("a runtime became current by itself"))
        }
    }
}

/// Configures a task and spawns it.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let task = gimmal::task::Builder::new().name("adder").spawn(async { 1 + 1 });
///     assert_eq!(task.await?, 2);
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct TaskBuilder {
    name: Option<Box<str>>,
}

impl TaskBuilder {
    /// Returns a builder of a task without a name.
    pub fn new() -> TaskBuilder {
        TaskBuilder::default()
    }

    /// Names the task. [`Handle::tasks`](crate::runtime::Handle::tasks) and reports of [faults](crate::runtime::Fault)
    /// show the name.
    pub fn name(mut self, name: impl Into<String>) -> TaskBuilder {
        self.name = Some(name.into().into_boxed_str());
        self
    }

    /// Spawns the task, as [`spawn`] does.
    ///
    /// # Panics
    ///
    /// If called outside a runtime.
    #[track_caller]
    pub fn spawn<F>(self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        spawn_at(future, self.name, Location::caller())
    }
}

/// Runs a blocking closure on a thread of the runtime's pool, so that it does not block the event loop.
///
/// The pool has at most 64 threads by default (see [`Builder::blocking_threads`](crate::runtime::Builder::blocking_threads));
/// when all are busy, closures queue in order. The closure runs whether or not the handle is awaited; dropping the
/// handle detaches it.
///
/// In a canceled scope, this call drops the closure, and awaiting the handle returns an error for which
/// [`JoinError::is_wait_canceled`](crate::task::JoinError::is_wait_canceled) is true. A running closure can check whether its
/// scope is canceled through a [`ScopeHandle`](crate::cancel::ScopeHandle).
///
/// If the pool has no thread and cannot create one, the closure is dropped, and awaiting the handle returns an error
/// that converts to an [`io::Error`](std::io::Error) of kind `QuotaExceeded` and names the limits in the way
/// (RLIMIT_NPROC, `pids.max`).
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let names = gimmal::task::spawn_blocking(|| std::fs::read_dir(".").map(|entries| entries.count()));
///     assert!(names.await?? > 0);
///     Ok(())
/// })
/// # }
/// ```
///
/// # Cancel safety
///
/// Canceled work happens entirely or not at all: if the wait is canceled, a closure that has not started is removed
/// from the queue and never runs, and one that has started is waited for. After a drop of the wait, it runs.
///
/// # Panics
///
/// If called outside a runtime.
// Test: tests/blocking.rs
#[track_caller]
pub fn spawn_blocking<F, T>(run: F) -> BlockingHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    start_blocking(run, None)
}

/// Runs a closure as [`spawn_blocking`] does, but lets it be abandoned: a canceled wait ends at once, the thread keeps
/// running, and `dispose` receives the late result. The runtime's shutdown does not wait for the closure either.
///
/// The closure must own everything it touches, which the `'static` bound requires, and later code must not depend on its
/// effects.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let slow = gimmal::task::spawn_abandonable(|| vec![0u8; 16], |late| drop(late));
///     assert_eq!(slow.await?.len(), 16);
///     Ok(())
/// })
/// # }
/// ```
///
/// # Cancel safety
///
/// A cancel or a drop loses the result to the caller, and nothing else: `dispose` receives it.
///
/// # Panics
///
/// If called outside a runtime.
// Test: tests/blocking.rs
#[track_caller]
pub fn spawn_abandonable<F, T, D>(run: F, dispose: D) -> BlockingHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
    D: FnOnce(T) + Send + 'static,
{
    start_blocking(run, Some(Box::new(dispose)))
}

#[track_caller]
fn start_blocking<F, T>(run: F, dispose: Option<Box<dyn FnOnce(T) + Send>>) -> BlockingHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    // Starting may drop the closure, which runs user code: hold the runtime, but borrow nothing of it.
    let core = current::required();
    let job = BlockingHandle::new(
        Box::new(run),
        dispose,
        core.pool.clone(),
        core.hook.clone(),
        Location::caller(),
    );
    if core.is_canceled() {
        // The cancel cut this call short, whether or not the handle is awaited (C7).
        core.attribute_canceled();
        job.refuse();
    } else {
        core.pool.start(job.runnable(), &core.hook);
    }
    job
}
