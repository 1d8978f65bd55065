//! Pool closures when their scope is canceled: withdrawn, awaited, or abandoned (C10).

use crate::{LONG, settle, until};
use gimmal::cancel::{Canceled, Scope};
use gimmal::task::{spawn_abandonable, spawn_blocking};
use gimmal::{Handle, Runtime, is_canceled, sleep, spawn};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};

fn run(main: impl Future<Output = ()>) {
    let _alone = crate::common::alone();
    let mut runtime = Runtime::builder().blocking_threads(1).build().unwrap();
    runtime.block_on(main);
}

/// A closure that reports its start, and ends when the sender is dropped.
fn held() -> (
    impl FnOnce() -> bool + Send + 'static,
    Receiver<()>,
    Sender<()>,
) {
    let (release, held) = mpsc::channel::<()>();
    let (begin, begun) = mpsc::channel();
    let closure = move || {
        begin.send(()).unwrap();
        held.recv().is_err()
    };
    (closure, begun, release)
}

#[test]
fn a_waiting_closure_is_withdrawn_and_never_runs() {
    run(async {
        let (closure, begun, release) = held();
        let busy = spawn_blocking(closure);
        begun.recv().unwrap();
        let ran = Arc::new(AtomicUsize::new(0));
        let scope = Rc::new(Scope::new());
        let (theirs, counter) = (scope.clone(), ran.clone());
        let task = spawn(async move {
            let waits = spawn_blocking(move || counter.fetch_add(1, Ordering::Relaxed));
            theirs.run_any(waits).await
        });
        settle().await;
        scope.cancel();
        let error = task.await.unwrap().unwrap().unwrap_err();
        assert!(error.is_wait_canceled() && is_canceled(&error) && !error.is_aborted());
        assert!(scope.canceled_caught());
        assert_eq!(Handle::current().stats().blocking_waiting, 0);
        // In a scope that is already canceled.
        let scope = Scope::new();
        scope.cancel();
        let counter = ran.clone();
        let rejected = scope
            .run_any(spawn_blocking(move || {
                counter.fetch_add(1, Ordering::Relaxed)
            }))
            .await;
        assert!(rejected.unwrap().unwrap_err().is_wait_canceled());
        drop(release);
        assert!(busy.await.unwrap());
        assert_eq!(ran.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn a_started_closure_is_awaited_and_returns_its_value() {
    run(async {
        for canceled_before in [false, true] {
            let (closure, begun, release) = held();
            let scope = Rc::new(Scope::new());
            if canceled_before {
                scope.cancel();
            }
            let theirs = scope.clone();
            let closure = spawn_blocking(closure);
            begun.recv().unwrap();
            let task = spawn(async move { theirs.run_any(closure).await });
            settle().await;
            scope.cancel();
            settle().await;
            assert!(!task.is_finished());
            drop(release);
            assert!(task.await.unwrap().unwrap().unwrap());
            assert!(!scope.canceled_caught(), "nothing was canceled");
        }
    });
}

#[test]
fn a_started_closure_is_awaited_by_a_canceled_task() {
    run(async {
        let (closure, begun, release) = held();
        let closure = spawn_blocking(closure);
        begun.recv().unwrap();
        let task = spawn(async move {
            let value = closure.await.unwrap();
            (value, sleep(LONG).await)
        });
        settle().await;
        task.cancel();
        settle().await;
        assert!(!task.is_finished());
        drop(release);
        assert_eq!(task.await.unwrap(), (true, Err(Canceled)));
    });
}

#[test]
fn an_abandonable_closure_is_abandoned_and_its_late_result_disposed_of() {
    run(async {
        for canceled_before in [false, true] {
            let (closure, begun, release) = held();
            let (late, disposed) = mpsc::channel();
            let scope = Rc::new(Scope::new());
            if canceled_before {
                scope.cancel();
            }
            let theirs = scope.clone();
            let closure = spawn_abandonable(closure, move |value| late.send(value).unwrap());
            begun.recv().unwrap();
            let task = spawn(async move { theirs.run_any(closure).await });
            settle().await;
            scope.cancel();
            let error = task.await.unwrap().unwrap().unwrap_err();
            assert!(error.is_wait_canceled());
            assert!(scope.canceled_caught());
            assert!(disposed.try_recv().is_err(), "the closure still runs");
            drop(release);
            assert!(disposed.recv().unwrap());
            let handle = Handle::current();
            until("the closure ends", || handle.stats().blocking_running == 0).await;
        }
    });
}

/// Whichever comes first, the thread or the cancel: a started closure is awaited, and one that has not started is
/// withdrawn.
#[test]
fn the_thread_and_the_cancel_may_coincide() {
    run(async {
        for round in 0..300 {
            let ran = Arc::new(AtomicUsize::new(0));
            let counter = ran.clone();
            let scope = Rc::new(Scope::new());
            let theirs = scope.clone();
            let task = spawn(async move {
                let waits = async {
                    let closure = spawn_blocking(move || counter.fetch_add(1, Ordering::SeqCst));
                    Ok::<_, Canceled>(closure.await)
                };
                theirs.run(waits).await
            });
            for _ in 0..round % 4 {
                gimmal::yield_now().await;
            }
            scope.cancel();
            match task.await.unwrap() {
                Ok(Ok(before)) => assert_eq!((before, ran.load(Ordering::SeqCst)), (0, 1)),
                Ok(Err(error)) => {
                    assert!(error.is_wait_canceled());
                    assert_eq!(ran.load(Ordering::SeqCst), 0);
                }
                Err(Canceled) => panic!("round {round}: the closure was not awaited"),
            }
        }
    });
}
