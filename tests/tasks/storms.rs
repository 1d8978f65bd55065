//! R1 in every position: destructors that spawn, drop handles, abort, start operations and sleep, wherever a user's
//! value is dropped.

use common::{Faults, everywhere, poll_with};
use gimmal::{Handle, sleep, spawn, task, yield_now};
use std::future::pending;
use std::panic::panic_any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Waker;
use std::time::Duration;

/// Does everything a task can do when it is dropped. The tasks that it spawns own smaller storms.
struct Storm {
    depth: u32,
    dropped: Arc<AtomicU32>,
}

impl Storm {
    fn new(dropped: &Arc<AtomicU32>) -> Storm {
        Storm {
            depth: 2,
            dropped: dropped.clone(),
        }
    }

    fn smaller(&self) -> Storm {
        Storm {
            depth: self.depth - 1,
            dropped: self.dropped.clone(),
        }
    }

    /// The number of storms that are dropped for one: itself, and four smaller ones, recursively.
    fn total(depth: u32) -> u32 {
        if depth == 0 {
            1
        } else {
            1 + 4 * Storm::total(depth - 1)
        }
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        if self.depth == 0 {
            return;
        }
        if Handle::try_current().is_none() {
            // On a pool thread, or outside `block_on`: the smaller ones are dropped here.
            drop((
                self.smaller(),
                self.smaller(),
                self.smaller(),
                self.smaller(),
            ));
            return;
        }
        let inner = self.smaller();
        drop(spawn(async move { inner }));
        let inner = self.smaller();
        let aborted = spawn(async move {
            let _inner = inner;
            pending::<()>().await;
        });
        aborted.abort();
        let mut nop = gimmal::op::nop();
        let _ = poll_with(Waker::noop(), &mut nop);
        drop(nop);
        drop(gimmal::op::nop().submit());
        let mut armed = sleep(Duration::from_secs(3600));
        let _ = poll_with(Waker::noop(), &mut armed);
        drop(armed);
        let inner = self.smaller();
        drop(task::spawn_blocking(move || inner));
        let inner = self.smaller();
        let withdrawn = task::spawn_blocking(move || drop(inner));
        withdrawn.abort();
        let _ = withdrawn.is_finished();
        let _ = (Handle::current().stats(), Handle::current().tasks());
    }
}

/// Puts storms into a runtime, and checks that all of them are dropped, before or by the shutdown.
fn run_storms(start: impl Fn(&Arc<AtomicU32>) -> u32) {
    everywhere(|builder| {
        for end_at_once in [false, true] {
            let dropped = Arc::new(AtomicU32::new(0));
            let faults = Faults::default();
            let mut runtime = faults.hear(builder.clone()).build().unwrap();
            let storms = runtime.block_on(async { start(&dropped) });
            let expected = storms * Storm::total(2);
            if !end_at_once {
                runtime.block_on(async {
                    while dropped.load(Ordering::Relaxed) < expected {
                        gimmal::op::nop().await.unwrap();
                        std::thread::yield_now();
                    }
                    while Handle::current().stats().operation_rows > 0 {
                        gimmal::op::nop().await.unwrap();
                    }
                    let stats = Handle::current().stats();
                    assert_eq!((stats.timers, stats.tasks, stats.task_rows), (0, 1, 1));
                });
            }
            drop(runtime);
            assert_eq!(dropped.load(Ordering::Relaxed), expected);
            let panics = faults.take();
            assert!(
                panics.iter().all(|fault| fault.contains("not a string")),
                "{panics:?}"
            );
        }
    });
}

#[test]
fn in_the_output_of_a_detached_task() {
    run_storms(|dropped| {
        let storm = Storm::new(dropped);
        drop(spawn(async move { storm }));
        1
    });
}

#[test]
fn in_a_future_that_completes() {
    run_storms(|dropped| {
        let storm = Storm::new(dropped);
        drop(spawn(async move {
            let _storm = storm;
            yield_now().await;
        }));
        1
    });
}

#[test]
fn in_an_aborted_future() {
    run_storms(|dropped| {
        let storm = Storm::new(dropped);
        let task = spawn(async move {
            let _storm = storm;
            pending::<()>().await;
        });
        task.abort();
        1
    });
}

#[test]
fn in_a_future_that_panics_and_in_its_payload() {
    run_storms(|dropped| {
        let (held, payload) = (Storm::new(dropped), Storm::new(dropped));
        drop(spawn(async move {
            let _held = held;
            panic_any(payload);
        }));
        2
    });
}

#[test]
fn in_closures_that_return_it_or_panic_with_it() {
    run_storms(|dropped| {
        let (output, held, payload) = (
            Storm::new(dropped),
            Storm::new(dropped),
            Storm::new(dropped),
        );
        drop(task::spawn_blocking(move || output));
        drop(task::spawn_blocking(move || drop(held)));
        drop(task::spawn_blocking(move || panic_any(payload)));
        3
    });
}

#[test]
fn in_withdrawn_closures() {
    run_storms(|dropped| {
        let storm = Storm::new(dropped);
        let (release, blocked) = std::sync::mpsc::channel::<()>();
        let closures: Vec<_> = (0..64).map(|_| task::spawn_blocking(|| ())).collect();
        drop(closures);
        let blocked = task::spawn_blocking(move || blocked.recv().is_err());
        let withdrawn = task::spawn_blocking(move || drop(storm));
        withdrawn.abort();
        drop((withdrawn, release, blocked));
        1
    });
}

#[test]
fn in_an_output_joined_by_another_task() {
    run_storms(|dropped| {
        let storm = Storm::new(dropped);
        let inner = spawn(async move { storm });
        drop(spawn(async move { inner.await.map(drop) }));
        1
    });
}

#[test]
fn in_handles_dropped_outside_the_runtime() {
    everywhere(|builder| {
        let dropped = Arc::new(AtomicU32::new(0));
        let mut runtime = builder.build().unwrap();
        let (output, future) = (Storm::new(&dropped), Storm::new(&dropped));
        let (ended, waiting) = runtime.block_on(async {
            let ended = spawn(async move { output });
            let waiting = spawn(async move {
                let _future = future;
                pending::<()>().await;
            });
            yield_now().await;
            (ended, waiting)
        });
        drop(ended);
        assert_eq!(dropped.load(Ordering::Relaxed), Storm::total(2));
        waiting.abort();
        drop(waiting);
        drop(runtime);
        assert_eq!(dropped.load(Ordering::Relaxed), 2 * Storm::total(2));
    });
}
