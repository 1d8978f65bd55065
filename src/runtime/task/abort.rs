//! The handle that aborts or cancels a task from anywhere.
//!
//! A task with such a handle is wrapped: an [`Abortable`] takes the place of its future in the task table, and carries
//! out requests when it is polled. So tasks without one pay nothing. The handle and the wrapper share an [`AbortState`]
//! in place of a key: the handle does not own the task's row, so a key of it would recur in time.

use crate::runtime::core::Core;
use crate::runtime::current;
use crate::table::Key;
use crate::tasks::Task;
use crate::threading::{Arc, AtomicU8, OnceLock};
use std::any::Any;
use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

/// A handle that aborts or cancels a task from any thread: see
/// [`JoinHandle::abort_handle`](crate::task::JoinHandle::abort_handle). It keeps nothing alive, and does nothing once
/// the task has ended.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let task = gimmal::spawn(gimmal::sleep(std::time::Duration::from_secs(3600)));
///     let handle = task.abort_handle();
///     std::thread::spawn(move || handle.cancel());
///     assert_eq!(task.await?, Err(gimmal::Canceled));
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone)]
pub struct AbortHandle(Arc<AbortState>);

/// The requests that the task has not seen yet, and whether it has ended.
struct AbortState {
    flags: AtomicU8,
    waker: Waker,
    /// The state of the task's wrapper, if it had one when a handle was made while it ran. It takes over the requests.
    target: OnceLock<Arc<AbortState>>,
}

const ABORT: u8 = 1;
const CANCEL: u8 = 2;
const FINISHED: u8 = 4;

impl AbortHandle {
    /// The handle of a task that has ended.
    pub(in crate::runtime) fn finished() -> AbortHandle {
        AbortHandle(AbortState::new(FINISHED, Waker::noop().clone()))
    }

    /// Aborts the task, as [`JoinHandle::abort`](crate::task::JoinHandle::abort) does.
    pub fn abort(&self) {
        self.0.request(ABORT);
    }

    /// Cancels the task, as [`JoinHandle::cancel`](crate::task::JoinHandle::cancel) does, when it is next polled. (The
    /// join handle cancels it at the call.)
    pub fn cancel(&self) {
        self.0.request(CANCEL);
    }

    /// Whether the task has ended, with or without an output.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.0.flags() & FINISHED != 0
    }
}

impl AbortState {
    fn new(flags: u8, waker: Waker) -> Arc<AbortState> {
        Arc::new(AbortState {
            flags: AtomicU8::new(flags),
            waker,
            target: OnceLock::new(),
        })
    }

    fn flags(&self) -> u8 {
        // In this order: the end of a state that passes on is not that of its task.
        let flags = self.flags.load(Ordering::Acquire);
        self.target.get().map_or(flags, |target| target.flags())
    }

    fn request(&self, flag: u8) {
        let before = self.flags.fetch_or(flag, Ordering::AcqRel);
        // Set before `forward` takes the flags, so either it takes this one, or the target is seen here.
        if let Some(target) = self.target.get() {
            target.request(flag);
        } else if before & (flag | FINISHED) == 0 {
            self.waker.wake_by_ref();
        }
    }

    /// Takes the requests that the task has not seen. Called when it is polled.
    #[inline]
    fn take(&self) -> u8 {
        match self.flags.load(Ordering::Acquire) {
            0 => 0,
            _ => self.flags.swap(0, Ordering::AcqRel),
        }
    }

    /// Passes on to another state of the same task what was, and what will be, requested here.
    fn forward(&self, target: &Arc<AbortState>) {
        if self.target.set(target.clone()).is_ok() {
            let requests = self.flags.swap(0, Ordering::AcqRel);
            target.flags.fetch_or(requests, Ordering::AcqRel);
        }
    }
}

impl fmt::Debug for AbortHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbortHandle")
            .field("is_finished", &self.is_finished())
            .finish()
    }
}

/// The task's side of the state. The task has ended when this is dropped.
pub(in crate::runtime) struct Ending(Arc<AbortState>);

impl Ending {
    fn set(&self) {
        self.0.flags.fetch_or(FINISHED, Ordering::AcqRel);
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.set();
    }
}

/// A task that has an [`AbortHandle`].
struct Abortable {
    // Dropped before `ending`, so that a task has ended only when its future is gone.
    task: Pin<Box<dyn Task>>,
    ending: Ending,
}

impl Task for Abortable {
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let requests = self.ending.0.take();
        if requests != 0 {
            let core = current::required();
            let key = core.context.running.get();
            if requests & ABORT != 0 {
                core.tasks.borrow_mut().abort(key);
                return Poll::Pending;
            }
            core.cancel_task(key);
        }
        let polled = self.task.as_mut().poll(context);
        if polled.is_ready() {
            self.ending.set();
        }
        polled
    }

    fn output(self: Pin<&mut Self>) -> &mut dyn Any {
        self.get_mut().task.as_mut().output()
    }

    fn wrapper(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

/// Returns the state of a task that is wrapped.
fn state_of(task: &Pin<Box<dyn Task>>) -> Option<&Arc<AbortState>> {
    let wrapper = task.wrapper()?.downcast_ref::<Abortable>()?;
    Some(&wrapper.ending.0)
}

impl Core {
    /// Returns a handle that aborts a task. All such handles of a task act on one state.
    pub(in crate::runtime) fn abort_handle(&self, key: Key) -> AbortHandle {
        let mut unwrapped = self.unwrapped.borrow_mut();
        if let Some((_, ending)) = unwrapped.iter().find(|(task, _)| *task == key) {
            return AbortHandle(ending.0.clone());
        }
        let mut tasks = self.tasks.borrow_mut();
        let Some(place) = tasks.future_mut(key) else {
            return AbortHandle::finished();
        };
        if let Some(state) = place.as_ref().and_then(state_of) {
            return AbortHandle(state.clone());
        }
        let waker = self.waker_for_others(self.waker_of(key));
        let state = AbortState::new(0, waker);
        let ending = Ending(state.clone());
        if let Some(task) = place.take() {
            *place = Some(Box::pin(Abortable { task, ending }));
        } else {
            // The task is running: it is wrapped after its poll.
            unwrapped.push((key, ending));
            drop((unwrapped, tasks));
            let wrap = async { current::required().wrap_rest() };
            drop(self.spawn(wrap, None, Location::caller()));
        }
        AbortHandle(state)
    }

    /// Wraps the tasks that were running when handles for them were made, unless they are wrapped, and has them look at
    /// requests made since.
    fn wrap_rest(&self) {
        let mut tasks = self.tasks.borrow_mut();
        for (key, ending) in self.unwrapped.take() {
            // Without a future, the task has ended.
            if let Some(place) = tasks.future_mut(key)
                && let Some(task) = place.take()
            {
                *place = Some(match state_of(&task) {
                    Some(state) => {
                        ending.0.forward(state);
                        task
                    }
                    None => Box::pin(Abortable { task, ending }),
                });
                let foreign = tasks.wake(self.wake_id(key));
                debug_assert!(foreign.is_none(), "only children are polled by others");
            }
        }
    }
}

#[cfg(all(test, gimmal_loom))]
#[path = "abort_models.rs"]
mod models;
