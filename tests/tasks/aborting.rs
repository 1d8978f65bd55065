//! Handles that abort and cancel a task apart from its join handle.

use common::{Finally, Journal, OnDrop, Random, counted, everywhere};
use gimmal::cancel::shield;
use gimmal::task::{AbortHandle, JoinHandle};
use gimmal::{Canceled, Runtime, sleep, spawn, yield_now};
use std::cell::{Cell, RefCell};
use std::future::pending;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(3600);

/// Calls `f` on another thread, and waits until that has ended.
fn elsewhere(f: impl FnOnce() + Send) {
    thread::scope(|threads| threads.spawn(f).join().unwrap());
}

/// A task that sleeps, or waits for something of another crate, until it is dropped.
fn waits(foreign: bool, on_drop: OnDrop) -> JoinHandle<()> {
    spawn(async move {
        let _on_drop = on_drop;
        match foreign {
            true => pending().await,
            false => drop(sleep(LONG).await),
        }
    })
}

#[test]
fn a_task_is_aborted_from_any_thread() {
    everywhere(|builder| {
        builder.build().unwrap().block_on(async {
            for (foreign, from_here) in [(false, false), (false, true), (true, false), (true, true)]
            {
                let journal = Journal::default();
                let mut task = waits(foreign, journal.on_drop("dropped"));
                let handle = task.abort_handle();
                yield_now().await;
                assert!(!handle.is_finished());
                match from_here {
                    true => handle.abort(),
                    false => elsewhere(|| handle.abort()),
                }
                // The future is dropped in the task's own turn.
                assert_eq!(journal.take(), [""; 0]);
                assert!((&mut task).await.unwrap_err().is_aborted());
                assert_eq!(journal.take(), ["dropped"]);
                assert!(handle.is_finished() && task.is_finished());
                handle.abort();
            }
        });
    });
}

#[test]
fn a_task_is_canceled_from_any_thread_and_cleans_up() {
    everywhere(|builder| {
        builder.build().unwrap().block_on(async {
            for (started, from_here) in [(false, false), (false, true), (true, false), (true, true)]
            {
                let task = spawn(async {
                    let slept = sleep(LONG).await;
                    shield(yield_now()).await;
                    (slept, sleep(LONG).await)
                });
                let handle = task.abort_handle();
                if started {
                    yield_now().await;
                }
                match from_here {
                    true => handle.clone().cancel(),
                    false => elsewhere(|| handle.clone().cancel()),
                }
                assert_eq!(task.await.unwrap(), (Err(Canceled), Err(Canceled)));
                assert!(handle.is_finished());
            }
        });
    });
}

/// The thread of the runtime waits in the kernel meanwhile.
#[test]
fn a_runtime_that_sleeps_is_woken() {
    everywhere(|builder| {
        builder.build().unwrap().block_on(async {
            let task = spawn(sleep(LONG));
            let handle = task.abort_handle();
            let thread = thread::spawn(move || {
                thread::yield_now();
                handle.abort();
                while !handle.is_finished() {
                    thread::yield_now();
                }
            });
            assert!(task.await.unwrap_err().is_aborted());
            thread.join().unwrap();
        });
    });
}

#[test]
fn an_abort_overrules_a_cancel() {
    everywhere(|builder| {
        builder.build().unwrap().block_on(async {
            let task = spawn(sleep(LONG));
            let handle = task.abort_handle();
            handle.cancel();
            handle.abort();
            assert!(task.await.unwrap_err().is_aborted());
        });
    });
}

#[test]
fn a_task_that_has_ended_keeps_its_output() {
    everywhere(|builder| {
        let mut runtime = builder.build().unwrap();
        let late = runtime.block_on(async {
            let mut task = spawn(async { 5 });
            let before = task.abort_handle();
            while !task.is_finished() {
                yield_now().await;
            }
            let after = task.abort_handle();
            for handle in [&before, &after] {
                assert!(handle.is_finished());
                handle.abort();
                handle.cancel();
            }
            assert_eq!((&mut task).await.unwrap(), 5);
            assert!(task.abort_handle().is_finished());
            // The row is that of another task by now.
            let next = spawn(async { 6 });
            before.abort();
            after.abort();
            assert_eq!(next.await.unwrap(), 6);
            spawn(sleep(LONG)).abort_handle()
        });
        assert!(!late.is_finished());
        drop(runtime);
        assert!(late.is_finished(), "it was dropped with its runtime");
        late.abort();
        elsewhere(|| late.cancel());
    });
}

/// From another thread, "finished" means that nothing of the task is left.
#[test]
fn a_task_is_finished_when_its_future_is_gone() {
    everywhere(|builder| {
        builder.build().unwrap().block_on(async {
            for (aborts, panics) in [(false, false), (true, false), (false, true)] {
                let handle = Rc::new(RefCell::new(None::<AbortHandle>));
                let seen = Rc::new(Cell::new(None));
                let (own, sees) = (handle.clone(), seen.clone());
                let guard = Finally(move || {
                    sees.set(own.borrow().as_ref().map(AbortHandle::is_finished));
                });
                let task = spawn(async move {
                    let _guard = guard;
                    yield_now().await;
                    yield_now().await;
                    assert!(!panics, "on purpose");
                });
                handle.replace(Some(task.abort_handle()));
                yield_now().await;
                if aborts {
                    task.abort();
                }
                assert_eq!(task.await.is_err(), aborts || panics);
                assert_eq!(seen.get(), Some(false));
                assert!(handle.take().unwrap().is_finished());
            }
        });
    });
}

/// However many handles a task has, it is wrapped once: its poll would overflow the stack otherwise.
#[test]
fn handles_of_one_task_share_what_they_ask() {
    const HANDLES: usize = 200_000;
    everywhere(|builder| {
        builder.build().unwrap().block_on(async {
            let polls = Rc::new(Cell::new(0));
            let task = spawn(counted(&polls, sleep(LONG)));
            let handles: Vec<AbortHandle> = (0..HANDLES).map(|_| task.abort_handle()).collect();
            yield_now().await;
            for handle in &handles {
                handle.cancel();
            }
            assert_eq!(task.await.unwrap(), Err(Canceled));
            assert!(handles.iter().all(AbortHandle::is_finished));
            // The first, one that is refused, and one after it.
            assert!(polls.get() <= 3, "{} polls", polls.get());
        });
    });
}

/// How a task ends itself by a handle that it makes while it runs.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Itself {
    Aborts,
    Cancels,
    Ends,
    /// Nothing: others may.
    IsAborted,
}

#[test]
fn a_task_makes_handles_of_itself() {
    everywhere(|builder| {
        builder.build().unwrap().block_on(async {
            for itself in [
                Itself::Aborts,
                Itself::Cancels,
                Itself::Ends,
                Itself::IsAborted,
            ] {
                let slot = Rc::new(RefCell::new(None::<JoinHandle<_>>));
                let kept = Rc::new(RefCell::new(Vec::new()));
                let (own, keeps) = (slot.clone(), kept.clone());
                slot.replace(Some(spawn(async move {
                    let handle = || own.borrow().as_ref().unwrap().abort_handle();
                    keeps.borrow_mut().extend([handle(), handle(), handle()]);
                    // Others as well, before it is wrapped.
                    let other = spawn(sleep(LONG));
                    other.abort_handle().abort();
                    match itself {
                        Itself::Aborts => handle().abort(),
                        Itself::Cancels => handle().cancel(),
                        Itself::Ends => return Ok(()),
                        Itself::IsAborted => {}
                    }
                    assert!(shield(other).await.unwrap_err().is_aborted());
                    keeps.borrow_mut().push(handle());
                    sleep(LONG).await
                })));
                while kept.borrow().is_empty() {
                    yield_now().await;
                }
                if itself == Itself::IsAborted {
                    yield_now().await;
                    kept.borrow()[0].abort();
                }
                while !kept.borrow()[0].is_finished() {
                    yield_now().await;
                }
                let ended = slot.take().unwrap().await;
                match itself {
                    Itself::Ends => assert_eq!(ended.unwrap(), Ok(())),
                    Itself::Cancels => assert_eq!(ended.unwrap(), Err(Canceled)),
                    _ => assert!(ended.unwrap_err().is_aborted()),
                }
                assert!(kept.borrow().iter().all(AbortHandle::is_finished));
            }
        });
    });
}

/// Each handle that a task made of itself in another poll wrapped it once more, until its polls overflowed the stack.
#[test]
fn a_task_may_make_handles_of_itself_in_any_number_of_polls() {
    everywhere(|builder| {
        builder.build().unwrap().block_on(async {
            for aborts in [true, false] {
                let slot = Rc::new(RefCell::new(None::<JoinHandle<_>>));
                let kept = Rc::new(RefCell::new(Vec::new()));
                let (own, keeps) = (slot.clone(), kept.clone());
                slot.replace(Some(spawn(async move {
                    for _ in 0..20_000 {
                        let handle = own.borrow().as_ref().unwrap().abort_handle();
                        keeps.borrow_mut().push(handle);
                        yield_now().await;
                    }
                    sleep(LONG).await
                })));
                while kept.borrow().len() < 20_000 {
                    yield_now().await;
                }
                assert!(!kept.borrow().iter().any(AbortHandle::is_finished));
                // A handle that was made while the task was wrapped acts on the task as the others do.
                let handle = kept.borrow()[10_000].clone();
                elsewhere(move || {
                    if aborts {
                        handle.abort()
                    } else {
                        handle.cancel()
                    }
                });
                match slot.take().unwrap().await {
                    Ok(ended) => assert_eq!((ended, aborts), (Err(Canceled), false)),
                    Err(error) => assert!(error.is_aborted() && aborts),
                }
                assert!(kept.borrow().iter().all(AbortHandle::is_finished));
            }
        });
    });
}

/// Other threads ask at any moment, tasks end at any moment: each ends once, and its handle knows.
#[test]
fn a_storm_of_requests_from_other_threads() {
    const TASKS: usize = 300;
    let mut random = Random::new();
    let seeds = [(); 3].map(|()| random.next());
    everywhere(|builder| {
        let mut runtime = builder.build().unwrap();
        for seed in seeds {
            runtime.block_on(async {
                let journal = Journal::default();
                let tasks: Vec<_> = (0..TASKS)
                    .map(|n| {
                        let on_drop = journal.on_drop("dropped");
                        let naps = (seed >> (n % 60)) % 5;
                        spawn(async move {
                            let _on_drop = on_drop;
                            for _ in 0..naps {
                                yield_now().await;
                                if sleep(Duration::from_micros(50)).await.is_err() {
                                    return false;
                                }
                            }
                            n % 3 > 0 || sleep(LONG).await.is_ok()
                        })
                    })
                    .collect();
                let handles: Vec<_> = tasks.iter().map(JoinHandle::abort_handle).collect();
                let asking = [false, true].map(|aborts| {
                    let handles = handles.clone();
                    thread::spawn(move || {
                        for handle in handles {
                            match aborts {
                                true => handle.abort(),
                                false => handle.cancel(),
                            }
                        }
                    })
                });
                for task in tasks {
                    if let Err(error) = task.await {
                        assert!(error.is_aborted(), "{error}");
                    }
                }
                assert!(handles.iter().all(AbortHandle::is_finished));
                assert_eq!(journal.take().len(), TASKS);
                for thread in asking {
                    thread.join().unwrap();
                }
            });
        }
    });
}

/// A detached task is reported, wrapped or not.
#[test]
fn a_detached_task_has_a_handle() {
    let faults = common::Faults::default();
    let mut runtime = faults.hear(Runtime::builder()).build().unwrap();
    runtime.block_on(async {
        let task = spawn(async {
            let _ = sleep(LONG).await;
            Err::<(), _>("canceled by its handle")
        });
        let handle = task.abort_handle();
        task.detach();
        handle.cancel();
        while !handle.is_finished() {
            yield_now().await;
        }
        yield_now().await;
    });
    faults.expect(&["canceled by its handle"]);
}
