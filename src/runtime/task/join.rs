//! The join handle of a task, and the error of a task that ends without an output.

use super::abort::AbortHandle;
use crate::error::{Canceled, JoinError};
use crate::runtime::core::{Core, Reporter};
use crate::runtime::current::{self, Local, Reached, drop_waker};
use crate::runtime::leaf::LeafState;
use crate::table::{Key, Leaf, LeafKind};
use crate::tasks::{Claim, End};
use std::any::TypeId;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// An owned permission to join a task: await it for the task's output. Dropping the handle detaches the task, which
/// keeps running; [`cancel_on_drop`](JoinHandle::cancel_on_drop) changes that.
///
/// If the handle is dropped, the output is dropped, too, even if it is an error; a panic goes to the hook
/// ([`Fault::Panicked`](crate::runtime::Fault)). [`detach`](JoinHandle::detach) reports errors as well.
///
/// Await the handle by value or by `&mut`; with `&mut`, dropping the wait leaves the task and the handle usable.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let mut task = gimmal::spawn(std::future::pending::<()>());
///     task.abort();
///     let error = (&mut task).await.unwrap_err();
///     assert!(error.is_aborted());
///     Ok(())
/// })
/// # }
/// ```
///
/// # Cancel safety
///
/// A wait that is dropped or canceled leaves the task and the handle as they were.
///
/// # Panics
///
/// If polled outside its runtime, or after it has returned the output.
// Test: tests/tasks/main.rs
#[must_use = "if the handle is dropped, the task's error is lost: await the handle, or call `detach`, which reports errors"]
pub struct JoinHandle<T> {
    runtime_id: u64,
    state: HandleState,
    leaf: LeafState,
    /// Invariant in `T`, because the output is read as exactly the type that the task was spawned with.
    _output: PhantomData<fn(T) -> T>,
    _local: Local,
}

#[derive(Clone, Copy, Debug)]
enum HandleState {
    Owned(Key),
    /// The runtime rejected the task before it started.
    Aborted,
    Taken,
}

impl<T> JoinHandle<T> {
    pub(in crate::runtime) fn new(runtime_id: u64, key: Key) -> JoinHandle<T> {
        JoinHandle::in_state(runtime_id, HandleState::Owned(key))
    }

    pub(in crate::runtime) fn aborted() -> JoinHandle<T> {
        JoinHandle::in_state(0, HandleState::Aborted)
    }

    fn in_state(runtime_id: u64, state: HandleState) -> JoinHandle<T> {
        JoinHandle {
            runtime_id,
            state,
            leaf: LeafState::New,
            _output: PhantomData,
            _local: PhantomData,
        }
    }

    /// Drops the task in place of its next poll. The handle then resolves to an error for which
    /// [`JoinError::is_aborted`] is true. A task that has ended by then keeps its output.
    ///
    /// The task gets no chance to clean up: its operations are abandoned, and the runtime cancels them and disposes of
    /// them. Prefer [`cancel`](JoinHandle::cancel).
    pub fn abort(&self) {
        if let Some((core, key)) = self.row() {
            core.tasks.borrow_mut().abort(key);
        }
    }

    /// Cancels the task alone: from now on its waits end with [`Canceled`](crate::Canceled). The task may still clean
    /// up, with awaits under a [`shield`](crate::cancel::shield), and return a value, which awaiting the handle returns.
    ///
    /// A task that waits only for a future of another crate, which the runtime cannot end, is dropped, as by
    /// [`abort`](JoinHandle::abort); so is a task that ignores 64 such errors.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use std::time::Duration;
    ///
    /// gimmal::run(async {
    ///     let task = gimmal::spawn(async {
    ///         let asleep = gimmal::sleep(Duration::from_secs(3600)).await;
    ///         if asleep.is_err() { "woken early" } else { "rested" }
    ///     });
    ///     gimmal::yield_now().await;
    ///     task.cancel();
    ///     assert_eq!(task.await?, "woken early");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn cancel(&self) {
        if let Some((core, key)) = self.row() {
            core.cancel_task(key);
        }
    }

    /// Returns a handle that aborts or cancels the task, and can be cloned and sent to other threads. The first one costs
    /// the task an allocation, and a check at each poll from then on.
    #[must_use]
    pub fn abort_handle(&self) -> AbortHandle {
        match self.row() {
            Some((core, key)) => core.abort_handle(key),
            None => AbortHandle::finished(),
        }
    }

    /// Converts this handle into one that cancels the task when dropped before the task has ended, as
    /// [`cancel`](JoinHandle::cancel) does.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::time::timeout_any;
    /// use std::time::Duration;
    ///
    /// gimmal::run(async {
    ///     let (sender, receiver) = std::sync::mpsc::channel();
    ///     let task = gimmal::spawn(async move {
    ///         let asleep = gimmal::sleep(Duration::from_secs(3600)).await;
    ///         sender.send(asleep).is_ok()
    ///     });
    ///     let in_time = timeout_any(Duration::from_millis(1), task.cancel_on_drop()).await;
    ///     assert!(in_time.is_err());
    ///     gimmal::sleep(Duration::from_millis(1)).await?;
    ///     assert_eq!(receiver.try_recv(), Ok(Err(gimmal::Canceled)));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn cancel_on_drop(self) -> CancelOnDrop<T> {
        CancelOnDrop { handle: self }
    }

    /// Whether the task has ended, with or without an output. An output that has not been taken stays with the handle.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.row()
            .is_none_or(|(core, key)| core.tasks.borrow().is_finished(key))
    }

    /// Returns the row of the task, until its output was taken, and its runtime, if that is still there.
    #[inline]
    fn row(&self) -> Option<(Reached, Key)> {
        match self.state {
            HandleState::Owned(key) => Some((current::reach(self.runtime_id)?, key)),
            HandleState::Aborted | HandleState::Taken => None,
        }
    }
}

/// The handle holds only a key of the task table, not the output: nothing in it is pinned.
impl<T> Unpin for JoinHandle<T> {}

impl<T: 'static> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let key = match self.state {
            HandleState::Owned(key) => key,
            HandleState::Aborted => {
                self.state = HandleState::Taken;
                return Poll::Ready(Err(JoinError::aborted()));
            }
            HandleState::Taken => {
                panic!("a JoinHandle was polled after it had given the task's output")
            }
        };
        let look = |core: &Core| {
            let end = core.tasks.borrow_mut().take_end(key).map(|(end, _)| end);
            if end.is_some() {
                core.context.leaf_ended(Leaf::new(LeafKind::Join, key));
            }
            // A runtime that shuts down takes the results of its tasks itself.
            end.or_else(|| (!core.is_open()).then_some(End::Aborted))
        };
        let wait = |core: &Core, waker, goes_on| core.wait_for_end(key, waker, goes_on);
        let runtime_id = self.runtime_id;
        match ready!(self.leaf.poll(runtime_id, context, look, wait)) {
            Ok(end) => {
                self.state = HandleState::Taken;
                Poll::Ready(outcome(end))
            }
            Err(Canceled) => Poll::Ready(Err(JoinError::canceled())),
        }
    }
}

fn outcome<T: 'static>(end: End) -> Result<T, JoinError> {
    match end {
        End::Output(mut task) => {
            let output = task.as_mut().map(|task| task.as_mut().output());
            let output = output.and_then(|output| output.downcast_mut::<Option<T>>());
            match output.and_then(Option::take) {
                Some(output) => Ok(output),
                None => unreachable!("a task that ended has its output until its handle takes it"),
            }
        }
        End::Panicked(payload) => Err(JoinError::panicked(payload)),
        End::Aborted => Err(JoinError::aborted()),
    }
}

impl<T> JoinHandle<T> {
    /// Drops the handle. If the task ends with an output in which `reporter` sees a failure, that goes to the hook.
    pub(crate) fn detach_with(mut self, reporter: Reporter)
    where
        T: 'static,
    {
        if let Some(core) = current::reach(self.runtime_id) {
            let output = TypeId::of::<Option<T>>();
            let mut reporters = core.reporters.borrow_mut();
            if !reporters.iter().any(|(kept, _)| *kept == output) {
                reporters.push((output, reporter));
            }
        }
        self.release(Claim::Reported);
        self.state = HandleState::Taken;
    }

    #[inline]
    fn release(&mut self, claim: Claim) {
        if let Some((core, key)) = self.row()
            // A runtime that shuts down takes the results of its tasks itself.
            && core.is_open()
        {
            let (joiner, unclaimed) = core.tasks.borrow_mut().release(key, claim);
            // The task that awaited this handle has let go of it: there is no task to wake.
            drop_waker(joiner);
            core.dispose_of_end(unclaimed);
        }
    }
}

impl<T> Drop for JoinHandle<T> {
    #[inline]
    fn drop(&mut self) {
        self.release(Claim::Dropped);
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// A [`JoinHandle`] that cancels its task when it is dropped: see [`JoinHandle::cancel_on_drop`].
///
/// Await it by value or by `&mut`, as the handle; it dereferences to the handle, so it has the handle's methods.
///
/// ```
/// use gimmal::task::CancelOnDrop;
///
/// /// A cache that a task keeps fresh for as long as it exists.
/// struct Cache {
///     _refresh: CancelOnDrop<()>,
/// }
///
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let (canceled, was_canceled) = std::sync::mpsc::channel();
///     let refresh = gimmal::spawn(async move {
///         while gimmal::sleep(std::time::Duration::from_secs(60)).await.is_ok() {
///             // Refreshes it here.
///         }
///         let _ = canceled.send(());
///     });
///     let cache = Cache { _refresh: refresh.cancel_on_drop() };
///     gimmal::yield_now().await;
///     drop(cache);
///     gimmal::sleep(std::time::Duration::from_millis(1)).await?;
///     assert_eq!(was_canceled.try_recv(), Ok(()));
///     Ok(())
/// })
/// # }
/// ```
///
/// # Cancel safety
///
/// A wait by `&mut` that is dropped or canceled leaves the task as it was. A wait by value that is dropped cancels it.
// Test: tests/tasks/main.rs
#[must_use = "dropping it cancels the task"]
pub struct CancelOnDrop<T> {
    handle: JoinHandle<T>,
}

impl<T> CancelOnDrop<T> {
    /// Returns the plain handle, whose drop detaches the task.
    pub fn into_inner(mut self) -> JoinHandle<T> {
        std::mem::replace(&mut self.handle, JoinHandle::aborted())
    }
}

impl<T> Deref for CancelOnDrop<T> {
    type Target = JoinHandle<T>;

    fn deref(&self) -> &JoinHandle<T> {
        &self.handle
    }
}

impl<T: 'static> Future for CancelOnDrop<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.handle).poll(context)
    }
}

impl<T> Drop for CancelOnDrop<T> {
    fn drop(&mut self) {
        self.handle.cancel();
    }
}

impl<T> fmt::Debug for CancelOnDrop<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CancelOnDrop").field(&self.handle).finish()
    }
}
