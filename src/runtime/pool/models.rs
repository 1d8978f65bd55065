//! Models of closures in the pool, their handles, and the threads that run them. A handle that is not woken, and a thread
//! of the pool that does not end, wait for good, which the checker reports as a deadlock.

use super::blocking::{Job, JobHandle};
use super::*;
use crate::threading::{Event, check, event_waker};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

/// What became of the closures. No memory orderings depend on these counts.
#[derive(Clone, Default)]
struct Counts(std::sync::Arc<Counters>);

#[derive(Default)]
struct Counters {
    closures_run: AtomicUsize,
    closures_dropped: AtomicUsize,
    outputs_dropped: AtomicUsize,
    outputs_disposed: AtomicUsize,
    faults: AtomicUsize,
}

fn count(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// What a closure holds.
struct Held(Counts);

impl Drop for Held {
    fn drop(&mut self) {
        count(&self.0.0.closures_dropped);
    }
}

/// What a closure returns.
struct Value(Counts);

impl Drop for Value {
    fn drop(&mut self) {
        count(&self.0.0.outputs_dropped);
    }
}

impl Counts {
    fn hook(&self) -> Hook {
        let counts = self.clone();
        Hook::new(move |_| count(&counts.0.faults))
    }

    fn pool(&self, threads_max: usize) -> Pool {
        Pool::new(threads_max, "model", &self.hook(), None)
    }

    fn job(&self, is_abandonable: bool) -> Arc<Job> {
        let held = Held(self.clone());
        let closure = Box::new(move || {
            let counts = held.0.clone();
            count(&counts.0.closures_run);
            Box::new(Value(counts)) as Box<_>
        });
        let counts = self.clone();
        let dispose = Box::new(move |value| {
            count(&counts.0.outputs_disposed);
            drop(value);
        });
        Job::new(
            closure,
            is_abandonable.then_some(dispose as Box<_>),
            self.hook(),
        )
    }

    /// Closures that have run, if nothing of `closures` is left.
    fn runs(&self, closures: usize) -> usize {
        let of = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        let counters = &*self.0;
        assert_eq!(of(&counters.closures_dropped), closures);
        assert_eq!(of(&counters.outputs_dropped), of(&counters.closures_run));
        assert_eq!(of(&counters.faults), 0);
        of(&counters.closures_run)
    }

    fn disposed(&self) -> usize {
        self.0.outputs_disposed.load(Ordering::Relaxed)
    }
}

/// Awaits a closure. Returns whether it has run; otherwise it was withdrawn.
fn join(handle: &JobHandle) -> Result<(), JoinError> {
    let (woken, waker) = event_waker();
    loop {
        match handle.poll_job(false, waker.clone()) {
            Poll::Ready(outcome) => return outcome.map(drop),
            Poll::Pending => Event::wait(&woken),
        }
    }
}

/// C10: canceled work happens entirely or not at all.
#[test]
fn a_wait_is_canceled_while_a_thread_starts_the_closure() {
    check(4, || {
        let counts = Counts::default();
        let job = counts.job(false);
        let running = job.clone();
        let thread = thread::spawn(move || running.run());
        let handle = JobHandle::new(job, counts.pool(1));
        let outcome = match handle.poll_job(true, event_waker().1) {
            Poll::Ready(outcome) => outcome.map(drop),
            Poll::Pending => join(&handle),
        };
        thread.join().unwrap();
        drop(handle);
        match outcome {
            Ok(()) => assert_eq!(counts.runs(1), 1),
            Err(error) => {
                assert!(error.is_wait_canceled());
                assert_eq!(counts.runs(1), 0);
            }
        }
    });
}

/// C10: a late result is disposed of, once.
#[test]
fn a_wait_for_an_abandonable_closure_is_canceled_while_it_runs() {
    check(4, || {
        let counts = Counts::default();
        let job = counts.job(true);
        let running = job.clone();
        let thread = thread::spawn(move || running.run());
        let handle = JobHandle::new(job, counts.pool(1));
        let Poll::Ready(outcome) = handle.poll_job(true, event_waker().1) else {
            panic!("an abandonable closure is not waited for");
        };
        let is_taken = outcome.map(drop).is_ok();
        drop(handle);
        thread.join().unwrap();
        let runs = counts.runs(1);
        assert_eq!(counts.disposed() + usize::from(is_taken), runs);
    });
}

#[test]
fn a_handle_is_dropped_while_its_closure_runs() {
    check(4, || {
        let counts = Counts::default();
        let job = counts.job(true);
        let running = job.clone();
        let thread = thread::spawn(move || running.run());
        drop(JobHandle::new(job, counts.pool(1)));
        thread.join().unwrap();
        assert_eq!(counts.runs(1), 1);
        assert_eq!(counts.disposed(), 1);
    });
}

/// The handle is `Sync`: one thread aborts the closure, another awaits it, and changes its waker meanwhile.
#[test]
fn a_closure_is_aborted_while_it_starts_and_is_awaited() {
    check(3, || {
        let counts = Counts::default();
        let job = counts.job(false);
        let running = job.clone();
        let handle = Arc::new(JobHandle::new(job, counts.pool(1)));
        let aborting = handle.clone();
        let threads = [
            thread::spawn(move || running.run()),
            thread::spawn(move || aborting.abort()),
        ];
        let outcome = match handle.poll_job(false, event_waker().1) {
            Poll::Ready(outcome) => outcome.map(drop),
            Poll::Pending => join(&handle),
        };
        for thread in threads {
            thread.join().unwrap();
        }
        drop(handle);
        match outcome {
            Ok(()) => assert_eq!(counts.runs(1), 1),
            Err(error) => {
                assert!(error.is_aborted());
                assert_eq!(counts.runs(1), 0);
            }
        }
    });
}

/// The second closure comes while the thread that ran the first looks for another, or waits.
#[test]
fn a_closure_is_queued_while_the_thread_becomes_idle() {
    check(4, || {
        let counts = Counts::default();
        let pool = counts.pool(1);
        for _ in 0..2 {
            let job = counts.job(false);
            pool.start(job.clone());
            assert!(join(&JobHandle::new(job, pool.clone())).is_ok());
        }
        pool.close();
        assert_eq!(pool.wait(Duration::ZERO), 0);
        assert_eq!(counts.runs(2), 2);
    });
}

/// A shutdown withdraws what has not started, and waits for what has.
fn close_while_closures_start(threads_max: usize, closures: usize, preemptions_max: usize) {
    check(preemptions_max, move || {
        let counts = Counts::default();
        let pool = counts.pool(threads_max);
        for _ in 0..closures {
            let job = counts.job(false);
            pool.start(job.clone());
            drop(JobHandle::new(job, pool.clone()));
        }
        pool.close();
        assert_eq!(pool.wait(Duration::ZERO), 0);
        counts.runs(closures);
    });
}

#[test]
fn a_pool_of_one_thread_is_closed_while_it_starts_closures() {
    close_while_closures_start(1, 2, 4);
}

#[test]
fn a_pool_of_two_threads_is_closed_while_they_start_closures() {
    close_while_closures_start(2, 2, 2);
}
