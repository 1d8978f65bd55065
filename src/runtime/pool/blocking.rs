//! A closure that runs on the blocking pool, and its handle.
//!
//! A closure is Waiting → Running → Done → Taken. While Waiting it can be withdrawn, and then never runs. Once Running
//! it is waited for, unless it was declared abandonable (C10).

use super::{ErasedJob, Pool, Runnable, lock};
use crate::error::{JoinError, panic_message};
use crate::runtime::core::Core;
use crate::runtime::current::{self, drop_waker};
use crate::runtime::fault::{Fault, Hook, catch};
use crate::runtime::scopes::Waiting;
use crate::tasks::copy_waker;
use std::any::Any;
use std::fmt;
use std::io;
use std::panic::Location;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};

type Closure<T> = Box<dyn FnOnce() -> T + Send>;
type Disposal<T> = Box<dyn FnOnce(T) + Send>;
type Outcome<T> = Result<T, Box<dyn Any + Send>>;

enum JobState<T> {
    Waiting {
        closure: Closure<T>,
        waker: Option<Waker>,
        /// Whether the handle was dropped.
        detached: bool,
    },
    Running {
        waker: Option<Waker>,
    },
    /// Running, after the handle was dropped.
    Detached,
    Done(Outcome<T>),
    Withdrawn(Why),
    Taken,
}

/// Why a closure was not run.
enum Why {
    Aborted,
    /// The scope of the call was canceled.
    Refused,
    NoThread(io::Error),
}

struct Job<T> {
    state: Mutex<JobState<T>>,
    dispose: Mutex<Option<Disposal<T>>>,
    /// Set once the closure has run, just before its waiter is woken.
    over: Arc<AtomicBool>,
    abandonable: bool,
    hook: Hook,
    location: &'static Location<'static>,
}

impl<T: Send> ErasedJob for Job<T> {
    fn run(&self) {
        let closure = {
            let mut state = lock(&self.state);
            match std::mem::replace(&mut *state, JobState::Taken) {
                JobState::Waiting {
                    closure,
                    waker,
                    detached,
                } => {
                    *state = if detached {
                        JobState::Detached
                    } else {
                        JobState::Running { waker }
                    };
                    closure
                }
                other => {
                    *state = other;
                    return;
                }
            }
        };
        let outcome = catch(closure);
        let mut state = lock(&self.state);
        match std::mem::replace(&mut *state, JobState::Taken) {
            JobState::Running { waker } => {
                *state = JobState::Done(outcome);
                self.over.store(true, Ordering::Release);
                drop(state);
                if let Some(waker) = waker {
                    self.hook.guard("a waker", || waker.wake());
                }
            }
            _ => {
                drop(state);
                self.nobody_waits(outcome);
            }
        }
    }

    fn withdraw(&self, why: Option<io::Error>) {
        self.take_back(why.map_or(Why::Aborted, Why::NoThread));
    }

    fn is_abandonable(&self) -> bool {
        self.abandonable
    }
}

impl<T> Job<T> {
    /// Withdraws the closure if no thread has started it.
    fn take_back(&self, why: Why) {
        let mut state = lock(&self.state);
        match std::mem::replace(&mut *state, JobState::Withdrawn(why)) {
            JobState::Waiting { closure, waker, .. } => {
                drop(state);
                if let Some(waker) = waker {
                    self.hook.guard("a waker", || waker.wake());
                }
                self.hook
                    .guard("a closure that was not run", || drop(closure));
            }
            other => *state = other,
        }
    }

    fn was_refused(&self) -> bool {
        matches!(&*lock(&self.state), JobState::Withdrawn(Why::Refused))
    }

    /// Whether no thread has started the closure.
    fn is_waiting(&self) -> bool {
        matches!(&*lock(&self.state), JobState::Waiting { .. })
    }

    fn nobody_waits(&self, outcome: Outcome<T>) {
        match outcome {
            Ok(value) => {
                let dispose = lock(&self.dispose).take();
                self.hook.guard("a late result", || match dispose {
                    Some(dispose) => dispose(value),
                    None => drop(value),
                });
            }
            Err(payload) => {
                self.hook.report(&Fault::Panicked {
                    task: format!("started by spawn_blocking at {}", self.location),
                    message: panic_message(&*payload),
                });
                self.hook.drop_payload(payload);
            }
        }
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
// Test: tests/blocking.rs
#[must_use = "dropping the handle detaches the closure; call `drop` to do so on purpose"]
pub struct BlockingHandle<T> {
    job: Arc<Job<T>>,
    pool: Pool,
    waiting: Waiting,
}

impl<T: Send + 'static> BlockingHandle<T> {
    pub(in crate::runtime) fn new(
        closure: Closure<T>,
        dispose: Option<Disposal<T>>,
        pool: Pool,
        hook: Hook,
        location: &'static Location<'static>,
    ) -> BlockingHandle<T> {
        BlockingHandle {
            job: Arc::new(Job {
                abandonable: dispose.is_some(),
                state: Mutex::new(JobState::Waiting {
                    closure,
                    waker: None,
                    detached: false,
                }),
                dispose: Mutex::new(dispose),
                over: Arc::new(AtomicBool::new(false)),
                hook,
                location,
            }),
            pool,
            waiting: Waiting::default(),
        }
    }

    pub(in crate::runtime) fn runnable(&self) -> Runnable {
        Runnable(self.job.clone())
    }

    /// Drops the closure, so that awaiting the handle returns the error of a canceled scope.
    pub(in crate::runtime) fn refuse(&self) {
        self.job.take_back(Why::Refused);
    }
}

impl<T> BlockingHandle<T> {
    /// Removes the closure from the queue if no thread has started it: awaiting the handle then returns an error for
    /// which [`JoinError::is_aborted`] is true. A running closure cannot be stopped; awaiting the handle waits for it.
    pub fn abort(&self)
    where
        T: Send,
    {
        self.job.withdraw(None);
        self.pool.forget(&self.job);
    }

    /// Whether the closure has ended or was removed from the queue, so that awaiting the handle does not wait.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        matches!(
            &*lock(&self.job.state),
            JobState::Done(_) | JobState::Withdrawn(_) | JobState::Taken
        )
    }
}

impl<T> Unpin for BlockingHandle<T> {}

impl<T: Send + 'static> Future for BlockingHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // A ready result uses up coop budget, as every ready leaf does.
        if self.is_finished() {
            if !current::try_with(Core::has_coop_budget).unwrap_or(true) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            if self.job.was_refused() && current::try_with(Core::is_canceled) == Some(true) {
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
            let over = self.job.over.clone();
            self.waiting.hold(context, &over);
            false
        };
        let outcome = self.poll_job(give_up, copy_waker(context.waker()));
        if give_up && outcome.is_pending() {
            // A thread has started it in between.
            let over = self.job.over.clone();
            self.waiting.hold(context, &over);
        }
        outcome
    }
}

impl<T: Send + 'static> BlockingHandle<T> {
    fn poll_job(&self, give_up: bool, new: Waker) -> Poll<Result<T, JoinError>> {
        let mut withdrawn = None;
        let (outcome, replaced) = {
            let mut state = lock(&self.job.state);
            match std::mem::replace(&mut *state, JobState::Taken) {
                JobState::Waiting { closure, waker, .. } if give_up => {
                    withdrawn = Some((closure, waker));
                    (Poll::Ready(Err(JoinError::canceled())), Some(new))
                }
                JobState::Waiting {
                    closure,
                    waker,
                    detached,
                } => {
                    *state = JobState::Waiting {
                        closure,
                        waker: Some(new),
                        detached,
                    };
                    (Poll::Pending, waker)
                }
                JobState::Running { waker } if give_up && self.job.abandonable => {
                    *state = JobState::Detached;
                    (Poll::Ready(Err(JoinError::canceled())), waker)
                }
                JobState::Running { waker } => {
                    *state = JobState::Running { waker: Some(new) };
                    (Poll::Pending, waker)
                }
                JobState::Done(Ok(value)) => (Poll::Ready(Ok(value)), Some(new)),
                JobState::Done(Err(payload)) => {
                    (Poll::Ready(Err(JoinError::panicked(payload))), Some(new))
                }
                JobState::Withdrawn(Why::Aborted) => {
                    (Poll::Ready(Err(JoinError::aborted())), Some(new))
                }
                JobState::Withdrawn(Why::Refused) => {
                    (Poll::Ready(Err(JoinError::canceled())), Some(new))
                }
                JobState::Withdrawn(Why::NoThread(error)) => {
                    (Poll::Ready(Err(JoinError::no_thread(error))), Some(new))
                }
                JobState::Taken | JobState::Detached => {
                    panic!("a BlockingHandle was polled after it had given its result")
                }
            }
        };
        drop_waker(replaced);
        if let Some((closure, waker)) = withdrawn {
            self.pool.forget(&self.job);
            drop_waker(waker);
            self.job
                .hook
                .guard("a closure that was not run", || drop(closure));
        }
        outcome
    }
}

impl<T> Drop for BlockingHandle<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.job.state);
        match std::mem::replace(&mut *state, JobState::Taken) {
            JobState::Running { waker } => {
                *state = JobState::Detached;
                drop(state);
                drop_waker(waker);
            }
            JobState::Waiting { closure, waker, .. } => {
                *state = JobState::Waiting {
                    closure,
                    waker: None,
                    detached: true,
                };
                drop(state);
                drop_waker(waker);
            }
            JobState::Detached => *state = JobState::Detached,
            JobState::Done(outcome) => {
                drop(state);
                self.job.nobody_waits(outcome);
            }
            JobState::Withdrawn(_) | JobState::Taken => {}
        }
    }
}

impl<T> fmt::Debug for BlockingHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingHandle")
            .field("started_at", &self.job.location)
            .finish_non_exhaustive()
    }
}
