//! A closure that runs on the blocking pool, and its handle.
//!
//! A closure is Waiting → Running → Ended → Taken. While Waiting it can be withdrawn, which ends it with an error without
//! running it. Once Running it is waited for, unless it was declared abandonable (C10).

use super::Pool;
use crate::error::JoinError;
use crate::runtime::core::Core;
use crate::runtime::current::{self, drop_waker};
use crate::runtime::fault::{Hook, catch};
use crate::runtime::leaf::poll_coop_budget;
use crate::runtime::scopes::Waiting;
use crate::tasks::copy_waker;
use crate::threading::{Arc, AtomicBool, Mutex, lock};
use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::panic::Location;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker, ready};

/// The output of a closure, without its type: else a program would contain the code of jobs for each type of output.
pub(super) type Output = Box<dyn Any + Send>;
pub(super) type Closure = Box<dyn FnOnce() -> Output + Send>;
pub(super) type Disposal = Box<dyn FnOnce(Output) + Send>;
type JobResult = Result<Output, JoinError>;

enum JobStage {
    Waiting(Closure),
    Running,
    Ended(JobResult),
    Taken,
}

struct JobState {
    stage: JobStage,
    waker: Option<Waker>,
    dispose: Option<Disposal>,
    /// Whether nothing awaits the closure: the handle was dropped, or gave up on one that runs.
    detached: bool,
}

impl JobState {
    /// Takes the closure for the next stage, if no thread has started it.
    fn take_closure(&mut self, next: JobStage) -> Option<Closure> {
        match mem::replace(&mut self.stage, next) {
            JobStage::Waiting(closure) => Some(closure),
            other => {
                self.stage = other;
                None
            }
        }
    }
}

/// A closure in the pool.
pub(super) struct Job {
    state: Mutex<JobState>,
    /// Set once the closure has run, just before its waiter is woken.
    over: Arc<AtomicBool>,
    abandonable: bool,
    hook: Hook,
    location: &'static Location<'static>,
}

impl Job {
    /// Creates a job that waits. It is abandonable if there is something to dispose of its late result.
    #[track_caller]
    pub(super) fn new(closure: Closure, dispose: Option<Disposal>, hook: Hook) -> Arc<Job> {
        Arc::new(Job {
            abandonable: dispose.is_some(),
            state: Mutex::new(JobState {
                stage: JobStage::Waiting(closure),
                waker: None,
                dispose,
                detached: false,
            }),
            over: Arc::default(),
            hook,
            location: Location::caller(),
        })
    }

    /// Runs the closure, unless it was withdrawn.
    pub(super) fn run(&self) {
        let closure = lock(&self.state).take_closure(JobStage::Running);
        let Some(closure) = closure else {
            return;
        };
        let outcome = catch(closure).map_err(JoinError::panicked);
        let mut state = lock(&self.state);
        if state.detached {
            state.stage = JobStage::Taken;
            drop(state);
            self.nobody_waits(outcome);
            return;
        }
        state.stage = JobStage::Ended(outcome);
        self.over.store(true, Ordering::Release);
        let waker = state.waker.take();
        drop(state);
        self.wake(waker);
    }

    /// Withdraws the closure if no thread has started it: wakes its waiter, and drops the closure.
    pub(super) fn withdraw(&self, why: JoinError) {
        let mut state = lock(&self.state);
        let Some(closure) = state.take_closure(JobStage::Ended(Err(why))) else {
            return;
        };
        let waker = state.waker.take();
        drop(state);
        self.wake(waker);
        self.drop_closure(closure);
    }

    /// Whether a shutdown does not wait for it.
    pub(super) fn is_abandonable(&self) -> bool {
        self.abandonable
    }

    /// Whether nothing awaits it, and nothing waits for it.
    pub(super) fn is_abandoned(&self) -> bool {
        self.abandonable && lock(&self.state).detached
    }

    fn wake(&self, waker: Option<Waker>) {
        if let Some(waker) = waker {
            self.hook.guard("a waker", || waker.wake());
        }
    }

    fn drop_closure(&self, closure: Closure) {
        self.hook
            .guard("a closure that was not run", || drop(closure));
    }

    /// Whether the closure has ended or was withdrawn.
    fn is_finished(&self) -> bool {
        matches!(
            lock(&self.state).stage,
            JobStage::Ended(_) | JobStage::Taken
        )
    }

    fn was_rejected(&self) -> bool {
        matches!(&lock(&self.state).stage, JobStage::Ended(Err(error)) if error.is_wait_canceled())
    }

    /// Whether no thread has started the closure.
    fn is_waiting(&self) -> bool {
        matches!(lock(&self.state).stage, JobStage::Waiting(_))
    }

    fn nobody_waits(&self, outcome: JobResult) {
        match outcome.map_err(JoinError::try_into_panic) {
            Ok(value) => {
                let dispose = lock(&self.state).dispose.take();
                self.hook.guard("a late result", || match dispose {
                    Some(dispose) => dispose(value),
                    None => drop(value),
                });
            }
            Err(Ok(payload)) => {
                let task = format!("started by spawn_blocking at {}", self.location);
                self.hook.report_panic(task, payload);
            }
            // It has not run.
            Err(Err(_)) => {}
        }
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
// Test: tests/tasks/blocking.rs
#[track_caller]
pub fn spawn_blocking<F, T>(run: F) -> BlockingHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    start(Box::new(|| Box::new(run())), None)
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
// Test: tests/tasks/blocking.rs
#[track_caller]
pub fn spawn_abandonable<F, T, D>(run: F, dispose: D) -> BlockingHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
    D: FnOnce(T) + Send + 'static,
{
    let dispose = |output| dispose(typed(output));
    start(Box::new(|| Box::new(run())), Some(Box::new(dispose)))
}

/// Returns an output with the type that its closure returned.
fn typed<T: 'static>(output: Output) -> T {
    match output.downcast() {
        Ok(output) => *output,
        Err(_) => unreachable!("a job and its handle are made for one type"),
    }
}

#[track_caller]
fn start<T>(closure: Closure, dispose: Option<Disposal>) -> BlockingHandle<T> {
    // Starting may drop the closure, which runs user code: hold the runtime, but borrow nothing of it.
    let core = current::required();
    let job = Job::new(closure, dispose, core.hook.clone());
    if core.is_canceled() {
        // The cancel cut this call short, whether or not the handle is awaited (C7).
        core.attribute_canceled();
        job.withdraw(JoinError::canceled());
    } else {
        core.pool.start(job.clone());
    }
    BlockingHandle {
        handle: JobHandle::new(job, core.pool.clone()),
        output: PhantomData,
    }
}

/// The join handle of a closure that runs on the blocking pool: await it for the closure's result. Dropping the handle
/// detaches the closure, which keeps running.
///
/// The handle is `Send` if the result is. Once polled, it must be polled on the same runtime, but can be dropped on any
/// thread.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::task::spawn_blocking;
///
/// gimmal::run(async {
///     // On up to four threads at once.
///     let sums: Vec<_> = (1..=4u64).map(|n| spawn_blocking(move || (1..=n).sum::<u64>())).collect();
///     let mut total = 0;
///     for sum in sums {
///         total += sum.await?;
///     }
///     assert_eq!(total, 20);
///
///     let error = spawn_blocking(|| panic!("out of cheese")).await.unwrap_err();
///     assert!(error.is_panic());
///     Ok(())
/// })
/// # }
/// ```
///
/// # Cancel safety
///
/// A wait that is dropped leaves the closure and the handle as they were. What a canceled wait does is documented by
/// the function that returned the handle.
// Test: tests/tasks/blocking.rs
#[must_use = "dropping the handle detaches the closure; call `drop` to do so on purpose"]
pub struct BlockingHandle<T> {
    handle: JobHandle,
    /// Invariant in `T`, which is the type of the output.
    output: PhantomData<Mutex<T>>,
}

/// A handle without the type of the output.
pub(super) struct JobHandle {
    job: Arc<Job>,
    pool: Pool,
    waiting: Waiting,
}

impl<T> BlockingHandle<T> {
    /// Removes the closure from the queue if no thread has started it: awaiting the handle then returns an error for
    /// which [`JoinError::is_aborted`] is true. A running closure cannot be stopped; awaiting the handle waits for it.
    pub fn abort(&self) {
        self.handle.abort();
    }

    /// Whether the closure has ended or was removed from the queue, so that awaiting the handle does not wait.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.handle.job.is_finished()
    }
}

impl<T> Unpin for BlockingHandle<T> {}

impl<T: Send + 'static> Future for BlockingHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.handle.poll(context).map_ok(typed)
    }
}

impl JobHandle {
    pub(super) fn new(job: Arc<Job>, pool: Pool) -> JobHandle {
        JobHandle {
            job,
            pool,
            waiting: Waiting::default(),
        }
    }

    pub(super) fn abort(&self) {
        self.job.withdraw(JoinError::aborted());
        self.pool.forget(&self.job);
    }

    fn poll(&mut self, context: &Context<'_>) -> Poll<JobResult> {
        // A ready result uses up coop budget, as every ready leaf does.
        if self.job.is_finished() {
            ready!(poll_coop_budget(context.waker()));
            if self.job.was_rejected() && current::try_with(Core::is_canceled) == Some(true) {
                // Counts the rejection, so that a loop that swallows the error ends (C2).
                ready!(self.waiting.poll(context));
            }
            current::try_with(Core::spend_coop_budget);
            self.waiting.end();
            return self.poll_job(false, copy_waker(context.waker()));
        }
        // A running closure is waited for even if its scope is canceled, unless it is abandonable (C10).
        let give_up = if self.job.abandonable || self.job.is_waiting() {
            self.waiting.poll(context).is_ready()
        } else {
            self.waiting.hold(context, &self.job.over);
            false
        };
        let outcome = self.poll_job(give_up, copy_waker(context.waker()));
        if outcome.is_ready() {
            // It may have ended in between.
            self.waiting.end();
        } else if give_up {
            // A thread has started it in between.
            self.waiting.hold(context, &self.job.over);
        }
        outcome
    }

    /// Takes the result, or stores the waker and waits on. If `give_up`, ends the wait unless the closure has to be waited
    /// for (C10).
    pub(super) fn poll_job(&self, give_up: bool, new: Waker) -> Poll<JobResult> {
        let mut unstarted = None;
        let mut state = lock(&self.job.state);
        assert!(
            !state.detached && !matches!(state.stage, JobStage::Taken),
            "a BlockingHandle was polled after it had given its result"
        );
        let outcome = match mem::replace(&mut state.stage, JobStage::Taken) {
            JobStage::Ended(outcome) => Poll::Ready(outcome),
            JobStage::Waiting(closure) if give_up => {
                unstarted = Some(closure);
                Poll::Ready(Err(JoinError::canceled()))
            }
            JobStage::Running if give_up && self.job.abandonable => {
                state.stage = JobStage::Running;
                state.detached = true;
                Poll::Ready(Err(JoinError::canceled()))
            }
            pending => {
                state.stage = pending;
                Poll::Pending
            }
        };
        let mut waker = Some(new);
        if outcome.is_pending() {
            mem::swap(&mut state.waker, &mut waker);
        }
        drop(state);
        drop_waker(waker);
        if let Some(closure) = unstarted {
            self.pool.forget(&self.job);
            self.job.drop_closure(closure);
        }
        outcome
    }
}

impl Drop for JobHandle {
    fn drop(&mut self) {
        let mut state = lock(&self.job.state);
        let waker = state.waker.take();
        state.detached = true;
        let outcome = match mem::replace(&mut state.stage, JobStage::Taken) {
            JobStage::Ended(outcome) => Some(outcome),
            other => {
                state.stage = other;
                None
            }
        };
        drop(state);
        drop_waker(waker);
        if let Some(outcome) = outcome {
            self.job.nobody_waits(outcome);
        }
    }
}

impl<T> fmt::Debug for BlockingHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingHandle")
            .field("started_at", &self.handle.job.location)
            .finish_non_exhaustive()
    }
}
