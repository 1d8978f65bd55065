//! The blocking pool: threads for work that io_uring has no opcode for.
//!
//! It owns the queue of closures and the threads that run them. Closures and their handles are in `blocking.rs`.

mod blocking;
mod thread_shortage;
mod worker;

pub use self::blocking::{BlockingHandle, spawn_abandonable, spawn_blocking};

pub(super) use self::thread_shortage::ThreadShortage;
pub(crate) use self::thread_shortage::no_thread_for;
pub(crate) use self::worker::Worker;

use self::blocking::Job;
use super::fault::Hook;
use crate::error::JoinError;
use crate::sys::no_thread;
use crate::tasks::Inbox;
use crate::threading::{Arc, Condvar, Mutex, lock, thread};
use std::collections::VecDeque;
use std::fmt;
use std::sync::PoisonError;
use std::time::Duration;

/// The default maximum of threads in a pool.
pub(super) const THREADS_MAX: usize = 64;

/// How long a thread stays idle before it exits.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// The threads of one runtime.
#[derive(Clone)]
pub(super) struct Pool(Arc<PoolShared>);

struct PoolShared {
    queue: Mutex<JobQueue>,
    work: Condvar,
    quiet: Condvar,
    threads_max: usize,
    thread_name: String,
    hook: Hook,
    /// The inbox of a runtime whose time stands still while closures run.
    inbox: Option<&'static Inbox>,
}

#[derive(Default)]
struct JobQueue {
    jobs: VecDeque<Arc<Job>>,
    running: Vec<Arc<Job>>,
    /// Closures that have run and are being dropped, which may panic and call the hook.
    leaving: usize,
    threads: usize,
    idle: usize,
    closed: bool,
}

impl JobQueue {
    /// Returns the number of running closures that a shutdown waits for (C10).
    fn awaited(&self) -> usize {
        let awaited = self.running.iter().filter(|job| !job.is_abandonable());
        awaited.count() + self.leaving
    }

    /// Whether virtual time stands still: some closure has not ended, and was not abandoned.
    fn holds_time(&self) -> bool {
        let mut running = self.running.iter();
        !self.jobs.is_empty() || self.leaving > 0 || running.any(|job| !job.is_abandoned())
    }
}

impl Pool {
    pub(super) fn new(
        threads_max: usize,
        runtime: &str,
        hook: &Hook,
        inbox: Option<&'static Inbox>,
    ) -> Pool {
        Pool(Arc::new(PoolShared {
            queue: Mutex::default(),
            work: Condvar::new(),
            quiet: Condvar::new(),
            threads_max,
            thread_name: format!("{runtime}-blocking"),
            hook: hook.clone(),
            inbox,
        }))
    }

    /// Queues a closure, and wakes or starts a thread for it.
    fn start(&self, job: Arc<Job>) {
        let mut queue = lock(&self.0.queue);
        if queue.closed {
            drop(queue);
            job.withdraw(JoinError::aborted());
            return;
        }
        queue.jobs.push_back(job);
        if queue.idle >= queue.jobs.len() || queue.threads == self.0.threads_max {
            drop(queue);
            self.0.work.notify_one();
            return;
        }
        queue.threads += 1;
        drop(queue);
        let shared = self.0.clone();
        let thread = thread::Builder::new().name(shared.thread_name.clone());
        let serve: Box<dyn FnOnce() + Send> = Box::new(move || shared.serve());
        let started = thread.spawn(serve);
        if let Err(error) = started {
            let mut queue = lock(&self.0.queue);
            queue.threads -= 1;
            // If there are other threads, one of them will run it.
            if queue.threads == 0
                && let Some(job) = queue.jobs.pop_back()
            {
                drop(queue);
                job.withdraw(JoinError::no_thread(no_thread(
                    error,
                    "a closure that blocks",
                )));
            }
        }
    }

    /// Closes the queue, and withdraws closures that have not started.
    pub(super) fn close(&self) {
        let waiting = {
            let mut queue = lock(&self.0.queue);
            queue.closed = true;
            std::mem::take(&mut queue.jobs)
        };
        self.0.work.notify_all();
        for job in waiting {
            // The last holder of a job drops its contents, which runs user code.
            self.0.hook.guard("a closure that was not run", move || {
                job.withdraw(JoinError::aborted());
                drop(job);
            });
        }
    }

    /// Waits for running closures that are not abandonable. Returns how many of those are still running.
    pub(super) fn wait(&self, timeout: Duration) -> usize {
        let queue = lock(&self.0.queue);
        let (queue, _) = self
            .0
            .quiet
            .wait_timeout_while(queue, timeout, |queue| queue.awaited() > 0)
            .unwrap_or_else(PoisonError::into_inner);
        queue.awaited()
    }

    /// Removes a withdrawn job from the queue.
    fn forget(&self, job: &Arc<Job>) {
        let mut queue = lock(&self.0.queue);
        // The handle still holds the job, so nothing is dropped here.
        queue.jobs.retain(|other| !Arc::ptr_eq(other, job));
        self.0.release_time(&queue);
    }

    /// Whether virtual time stands still for the pool. If so, the runtime is interrupted when that ends.
    pub(super) fn holds_time(&self) -> bool {
        lock(&self.0.queue).holds_time()
    }

    /// Returns the numbers of threads, of running closures, and of waiting closures.
    pub(super) fn figures(&self) -> (usize, usize, usize) {
        let queue = lock(&self.0.queue);
        (queue.threads, queue.running.len(), queue.jobs.len())
    }
}

impl PoolShared {
    /// Interrupts the runtime if its time stood still for the pool and no longer does.
    fn release_time(&self, queue: &JobQueue) {
        if let Some(inbox) = self.inbox
            && !queue.holds_time()
        {
            inbox.nudge();
        }
    }

    fn serve(&self) {
        let mut queue = lock(&self.queue);
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                queue.running.push(job.clone());
                drop(queue);
                job.run();
                queue = lock(&self.queue);
                queue.running.retain(|other| !Arc::ptr_eq(other, &job));
                let leaves = usize::from(!job.is_abandonable());
                queue.leaving += leaves;
                drop(queue);
                self.hook.guard("a closure's remains", || drop(job));
                queue = lock(&self.queue);
                queue.leaving -= leaves;
                self.release_time(&queue);
                if queue.awaited() == 0 {
                    self.quiet.notify_all();
                }
                continue;
            }
            if queue.closed {
                break;
            }
            queue.idle += 1;
            let (woken, wait) = self
                .work
                .wait_timeout(queue, IDLE_MAX)
                .unwrap_or_else(PoisonError::into_inner);
            queue = woken;
            queue.idle -= 1;
            if queue.jobs.is_empty() && wait.timed_out() {
                break;
            }
        }
        queue.threads -= 1;
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (threads, running, waiting) = self.figures();
        f.debug_struct("Pool")
            .field("threads", &threads)
            .field("running", &running)
            .field("waiting", &waiting)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, gimmal_loom))]
mod models;
