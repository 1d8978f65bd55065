//! Starting tasks, and closures on the pool of threads.

use super::blocking::BlockingHandle;
use super::core::{Core, Phase};
use super::current;
use super::join::JoinHandle;
use crate::tasks::{Origin, TaskCell};
use std::panic::Location;

impl Core {
    /// A new task. While the runtime ends nothing new is taken: the future is dropped, and the handle says "aborted".
    #[inline]
    pub(super) fn spawn<F>(
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

    /// A new task, of a runtime that takes some.
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
        let key = tasks.insert(Some(task), origin, true, self.root, canceled);
        JoinHandle::new(self.serial, key)
    }
}

/// Starts a task on the current runtime. It runs whether or not its handle is awaited; dropping the handle detaches it.
///
/// The task lives as long as the runtime at most: [`run`](crate::run) cancels what is left when its future is done. The
/// future is polled for the first time in a later turn, never inside this call.
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
/// Outside of a runtime.
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
        // Dropping the future is a user's code, so it is done here, where nothing is borrowed.
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

/// Settings of a task before it is spawned.
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
    /// A task without a name.
    pub fn new() -> TaskBuilder {
        TaskBuilder::default()
    }

    /// The name that lists of what is running, and reports of faults, call it by.
    pub fn name(mut self, name: impl Into<String>) -> TaskBuilder {
        self.name = Some(name.into().into_boxed_str());
        self
    }

    /// Starts it, as [`spawn`] does.
    ///
    /// # Panics
    ///
    /// Outside of a runtime.
    #[track_caller]
    pub fn spawn<F>(self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        spawn_at(future, self.name, Location::caller())
    }
}

/// Runs a closure that blocks on a thread of the runtime's pool, so that it does not block the loop.
///
/// The pool has 64 threads at most (see [`Builder::blocking_threads`](super::Builder::blocking_threads)); when all are
/// busy, closures wait in order. The closure starts whether or not the handle is awaited. Dropping the handle detaches it.
///
/// In a canceled scope it is refused at the call: the closure is dropped, and awaiting gives an error of which
/// [`JoinError::is_canceled`](super::join::JoinError::is_canceled) is true. A closure that runs can learn that its scope is
/// canceled from a [`ScopeHandle`](crate::cancel::ScopeHandle).
///
/// If the pool has no thread and none can be made, the closure is dropped, and awaiting gives an error that becomes an
/// [`io::Error`](std::io::Error) of kind `QuotaExceeded`, with the limits in the way (RLIMIT_NPROC, `pids.max`).
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
/// A closure that has not started is taken out of the queue, and did not happen. One that has started is waited for
/// (`tests/blocking.rs`).
///
/// # Panics
///
/// Outside of a runtime.
#[track_caller]
pub fn spawn_blocking<F, T>(run: F) -> BlockingHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    start_blocking(run, None)
}

/// Runs a closure as [`spawn_blocking`] does, but nobody has to wait for it: when the wait is canceled it ends at once,
/// the thread goes on, and the late result goes to `dispose`. The end of the runtime does not wait for it either.
///
/// The closure must own all that it touches, which `'static` says, and must not matter to what comes after.
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
/// Nothing is lost but the result, which `dispose` gets (`tests/blocking.rs`).
///
/// # Panics
///
/// Outside of a runtime.
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
    // Starting may drop the closure, which is a user's code: the runtime is held, not borrowed.
    let core = current::required();
    let job = BlockingHandle::new(
        Box::new(run),
        dispose,
        core.pool.clone(),
        core.hook.clone(),
        Location::caller(),
    );
    if core.is_canceled() {
        // Something was cut short, whether anybody awaits the handle or not (C7).
        core.attribute_canceled();
        job.refuse();
    } else {
        core.pool.start(job.runnable(), &core.hook);
    }
    job
}
