//! Spawns tasks.

use super::join::JoinHandle;
use crate::runtime::core::Core;
use crate::runtime::current;
use crate::table::Key;
use crate::tasks::{Claim, Origin, Task, TaskCell};
use std::panic::Location;
use std::pin::Pin;

impl Core {
    /// Spawns a task. A runtime that is shutting down accepts none: the future is dropped, and the join handle reports
    /// "aborted".
    pub(in crate::runtime) fn spawn<F: Future<Output: 'static> + 'static>(
        &self,
        future: F,
        name: Option<Box<str>>,
        location: &'static Location<'static>,
    ) -> JoinHandle<F::Output> {
        match self.start(Box::pin(TaskCell::new(future)), name, location) {
            Ok(key) => JoinHandle::new(self.id, key),
            Err(task) => too_late(task),
        }
    }

    /// Starts a task, or returns it if the runtime is shutting down.
    #[inline]
    fn start(
        &self,
        task: Pin<Box<dyn Task>>,
        name: Option<Box<str>>,
        location: &'static Location<'static>,
    ) -> Result<Key, Pin<Box<dyn Task>>> {
        if !self.is_open() {
            return Err(task);
        }
        let origin = Origin { name, location };
        let mut tasks = self.tasks.borrow_mut();
        Ok(tasks.insert(Some(task), origin, Claim::Handle, self.context.root))
    }
}

/// Drops a future that no runtime has taken, which runs user code: the caller borrows nothing.
#[cold]
fn too_late<T>(task: Pin<Box<dyn Task>>) -> JoinHandle<T> {
    current::guard("a future that came too late", || drop(task));
    JoinHandle::aborted()
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
pub fn spawn<F: Future<Output: 'static> + 'static>(future: F) -> JoinHandle<F::Output> {
    spawn_at(future, None, Location::caller())
}

#[track_caller]
#[inline]
fn spawn_at<F: Future<Output: 'static> + 'static>(
    future: F,
    name: Option<Box<str>>,
    location: &'static Location<'static>,
) -> JoinHandle<F::Output> {
    let task = Box::pin(TaskCell::new(future));
    let started = current::with(|core| {
        let key = core.start(task, name, location)?;
        Ok(JoinHandle::new(core.id, key))
    });
    started.unwrap_or_else(too_late)
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
        F: Future<Output: 'static> + 'static,
    {
        spawn_at(future, self.name, Location::caller())
    }
}
