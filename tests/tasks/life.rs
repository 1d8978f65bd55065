//! The life of a task: spawned, polled, joined, detached, aborted.

use common::{Counted, Journal, counted, everywhere, poll_once};
use futures_util::FutureExt;
use gimmal::task::{self, JoinHandle};
use gimmal::{Handle, Runtime, spawn, yield_now};
use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// Counts polls and keeps the waker. Ready once it is opened.
struct Gate {
    open: Rc<Cell<bool>>,
    waker: Rc<RefCell<Option<Waker>>>,
}

impl Gate {
    fn new() -> Gate {
        Gate {
            open: Rc::default(),
            waker: Rc::default(),
        }
    }

    fn wait(&self) -> impl Future<Output = ()> + 'static {
        let (open, waker) = (self.open.clone(), self.waker.clone());
        poll_fn(move |context| {
            if open.get() {
                return Poll::Ready(());
            }
            waker.replace(Some(context.waker().clone()));
            Poll::Pending
        })
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn open(&self) {
        self.open.set(true);
        self.wake();
    }
}

fn message(payload: Box<dyn std::any::Any + Send>) -> String {
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => payload
            .downcast::<&str>()
            .map(|text| text.to_string())
            .unwrap(),
    }
}

#[test]
fn a_task_is_first_polled_in_a_later_turn_and_once() {
    everywhere(|builder| {
        let polls = Rc::new(Cell::new(0));
        builder.build().unwrap().block_on(async {
            let handle = spawn(counted(&polls, async { 7 }));
            assert_eq!(polls.get(), 0);
            assert!(!handle.is_finished());
            assert_eq!(handle.await.unwrap(), 7);
            assert_eq!(polls.get(), 1);
            assert_eq!(Handle::current().stats().task_rows, 1);
        });
    });
}

#[test]
fn a_join_before_the_end_waits_and_one_after_it_does_not() {
    everywhere(|builder| {
        builder.build().unwrap().block_on(async {
            let main_polls = Rc::new(Cell::new(0));
            let gate = Gate::new();
            let early = spawn(gate.wait());
            let joiner = spawn(counted(&main_polls, early));
            yield_now().await;
            yield_now().await;
            assert_eq!(main_polls.get(), 1);
            gate.open();
            joiner.await.unwrap().unwrap();
            assert_eq!(main_polls.get(), 2);

            let mut late = spawn(async { 3 });
            yield_now().await;
            assert!(late.is_finished());
            assert!(matches!(poll_once(&mut late).await, Poll::Ready(Ok(3))));
        });
    });
}

#[test]
fn a_detached_task_runs_on_and_its_output_is_dropped_once() {
    everywhere(|builder| {
        let journal = Journal::default();
        builder.build().unwrap().block_on(async {
            let output = journal.on_drop("output");
            let note = journal.clone();
            drop(spawn(async move {
                note.note("ran");
                output
            }));
            assert!(journal.take().is_empty());
            yield_now().await;
            assert_eq!(journal.take(), ["ran", "output"]);

            let output = journal.on_drop("output");
            let handle = spawn(async move { output });
            yield_now().await;
            assert!(handle.is_finished());
            assert!(journal.take().is_empty());
            drop(handle);
            assert_eq!(journal.take(), ["output"]);
            assert_eq!(Handle::current().stats().task_rows, 1);
        });
        assert!(journal.take().is_empty());
    });
}

#[test]
fn a_future_is_dropped_before_its_join_resolves() {
    everywhere(|builder| {
        let journal = Journal::default();
        builder.build().unwrap().block_on(async {
            let held = journal.on_drop("future");
            spawn(async move {
                let _held = held;
                yield_now().await;
            })
            .await
            .unwrap();
            journal.note("joined");
        });
        assert_eq!(journal.take(), ["future", "joined"]);
    });
}

fn check_abort(journal: &Journal) {
    assert_eq!(journal.take(), ["abort returned", "dropped", "joined"]);
}

/// Aborts the task, and records the order of what follows.
async fn abort_and_join(journal: &Journal, handle: JoinHandle<()>) {
    handle.abort();
    journal.note("abort returned");
    assert!(!handle.is_finished(), "C14: an abort is only a mark");
    let error = handle.await.unwrap_err();
    journal.note("joined");
    assert!(error.is_aborted() && !error.is_panic() && !error.is_wait_canceled());
}

#[test]
fn a_task_aborted_before_its_first_poll_is_never_polled() {
    everywhere(|builder| {
        let (journal, polls) = (Journal::default(), Rc::new(Cell::new(0)));
        builder.build().unwrap().block_on(async {
            let held = journal.on_drop("dropped");
            let handle = spawn(counted(&polls, async move {
                let _held = held;
            }));
            abort_and_join(&journal, handle).await;
        });
        check_abort(&journal);
        assert_eq!(polls.get(), 0);
    });
}

#[test]
fn a_task_aborted_while_it_waits_is_dropped_in_its_own_turn() {
    everywhere(|builder| {
        let (journal, polls) = (Journal::default(), Rc::new(Cell::new(0)));
        builder.build().unwrap().block_on(async {
            let held = journal.on_drop("dropped");
            let handle = spawn(counted(&polls, async move {
                let _held = held;
                pending::<()>().await;
            }));
            yield_now().await;
            assert_eq!(polls.get(), 1);
            abort_and_join(&journal, handle).await;
        });
        check_abort(&journal);
        assert_eq!(polls.get(), 1);
    });
}

#[test]
fn a_task_aborted_while_queued_is_not_polled_again() {
    everywhere(|builder| {
        let (journal, polls, gate) = (Journal::default(), Rc::new(Cell::new(0)), Gate::new());
        builder.build().unwrap().block_on(async {
            let held = journal.on_drop("dropped");
            let wait = gate.wait();
            let handle = spawn(counted(&polls, async move {
                let _held = held;
                wait.await;
            }));
            yield_now().await;
            gate.open();
            assert_eq!(Handle::current().stats().ready_tasks, 1);
            abort_and_join(&journal, handle).await;
        });
        check_abort(&journal);
        assert_eq!(polls.get(), 1);
    });
}

/// Spawns a task that holds its own handle.
fn spawn_with_own_handle<T: 'static, F: Future<Output = T> + 'static>(
    polls: &Rc<Cell<u32>>,
    body: impl FnOnce(Rc<RefCell<Option<JoinHandle<T>>>>) -> F,
) -> Rc<RefCell<Option<JoinHandle<T>>>> {
    let own = Rc::new(RefCell::new(None));
    let handle = spawn(counted(polls, body(own.clone())));
    own.replace(Some(handle));
    own
}

#[test]
fn a_task_that_aborts_itself_runs_to_its_next_await_and_no_further() {
    everywhere(|builder| {
        let (journal, polls) = (Journal::default(), Rc::new(Cell::new(0)));
        builder.build().unwrap().block_on(async {
            let (held, note) = (journal.on_drop("dropped"), journal.clone());
            let own = spawn_with_own_handle(&polls, |own| async move {
                let _held = held;
                own.borrow().as_ref().unwrap().abort();
                note.note("after abort");
                yield_now().await;
                note.note("never");
            });
            yield_now().await;
            yield_now().await;
            let handle = own.take().unwrap();
            assert!(handle.await.unwrap_err().is_aborted());
        });
        assert_eq!(journal.take(), ["after abort", "dropped"]);
        assert_eq!(polls.get(), 1);
    });
}

#[test]
fn a_task_that_aborts_itself_and_ends_in_the_same_poll_keeps_its_output() {
    everywhere(|builder| {
        let polls = Rc::new(Cell::new(0));
        builder.build().unwrap().block_on(async {
            let own = spawn_with_own_handle(&polls, |own| async move {
                own.borrow().as_ref().unwrap().abort();
                5
            });
            yield_now().await;
            let handle = own.take().unwrap();
            assert_eq!(handle.await.unwrap(), 5);
            assert_eq!(polls.get(), 1);
        });
    });
}

#[test]
fn a_finished_task_keeps_its_output_despite_an_abort() {
    everywhere(|builder| {
        builder.build().unwrap().block_on(async {
            let handle = spawn(async { String::from("kept") });
            yield_now().await;
            handle.abort();
            handle.abort();
            yield_now().await;
            assert_eq!(handle.await.unwrap(), "kept");
        });
    });
}

#[test]
fn an_abort_from_outside_block_on_takes_effect() {
    everywhere(|builder| {
        let mut runtime = builder.build().unwrap();
        let handle = runtime.spawn(pending::<()>());
        runtime.block_on(yield_now());
        handle.abort();
        assert!(!handle.is_finished());
        assert!(runtime.block_on(handle).unwrap_err().is_aborted());
        assert_eq!(runtime.handle().stats().task_rows, 0);
    });
}

#[test]
fn a_dropped_join_leaves_task_and_handle_unchanged() {
    everywhere(|builder| {
        builder.build().unwrap().block_on(async {
            let gate = Gate::new();
            let mut handle = spawn({
                let wait = gate.wait();
                async move {
                    wait.await;
                    9
                }
            });
            for _ in 0..5 {
                let given_up = poll_once(&mut &mut handle).await;
                assert!(given_up.is_pending());
                let by_select = futures_util::select! {
                    _ = (&mut handle).fuse() => true,
                    _ = yield_now().fuse() => false,
                };
                assert!(!by_select);
            }
            gate.open();
            assert_eq!((&mut handle).await.unwrap(), 9);
            assert!(handle.is_finished());
            handle.abort();
        });
    });
}

#[test]
fn a_handle_dropped_while_awaited_wakes_nothing() {
    everywhere(|builder| {
        let polls = Rc::new(Cell::new(0));
        builder.build().unwrap().block_on(async {
            let task = spawn(counted(&polls, async {
                let mut inner = spawn(pending::<()>());
                assert!(poll_once(&mut inner).await.is_pending());
                drop(inner);
                pending::<()>().await;
            }));
            for _ in 0..4 {
                yield_now().await;
            }
            assert_eq!(polls.get(), 1);
            drop(task);
        });
    });
}

#[test]
fn the_waker_of_the_latest_join_is_woken() {
    everywhere(|builder| {
        let (first, second) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        builder.build().unwrap().block_on(async {
            let gate = Gate::new();
            let shared = Rc::new(RefCell::new(spawn(gate.wait())));
            let join = |polls: &Rc<Cell<u32>>| {
                let shared = shared.clone();
                Counted {
                    inner: Box::pin(poll_fn(move |context| {
                        shared.borrow_mut().poll_unpin(context)
                    })),
                    polls: polls.clone(),
                }
            };
            let loser = spawn(join(&first));
            yield_now().await;
            let winner = spawn(join(&second));
            yield_now().await;
            gate.open();
            winner.await.unwrap().unwrap();
            assert_eq!((first.get(), second.get()), (1, 2));
            loser.abort();
            assert!(loser.await.unwrap_err().is_aborted());
        });
    });
}

#[test]
fn a_handle_reports_whether_its_task_has_finished() {
    everywhere(|builder| {
        builder.build().unwrap().block_on(async {
            let done = spawn(async {});
            let panicked = spawn(async { panic!("on purpose") });
            let mut aborted = spawn(pending::<()>());
            let waiting = spawn(pending::<()>());
            assert!(!done.is_finished() && !panicked.is_finished() && !aborted.is_finished());
            aborted.abort();
            yield_now().await;
            assert!(done.is_finished() && panicked.is_finished() && aborted.is_finished());
            assert!(!waiting.is_finished());
            assert!((&mut aborted).await.unwrap_err().is_aborted());
            assert!(aborted.is_finished());
            drop((done, waiting));
            assert!(panicked.await.unwrap_err().is_panic());
        });
    });
}

#[test]
fn a_handle_polled_again_after_its_output_panics() {
    everywhere(|builder| {
        builder.build().unwrap().block_on(async {
            let mut handle = spawn(async {});
            (&mut handle).await.unwrap();
            let again = AssertUnwindSafe(&mut handle).catch_unwind().await;
            assert!(message(again.unwrap_err()).contains("after it had given"));
        });
    });
}

#[test]
fn the_three_kinds_of_join_errors_are_distinguished() {
    everywhere(|builder| {
        let mut runtime = builder.build().unwrap();
        runtime.block_on(async {
            let panicked = spawn(async { panic!("some reason") });
            let panicked: gimmal::task::JoinError = Box::pin(panicked).await.unwrap_err();
            assert!(panicked.is_panic() && !panicked.is_aborted() && !panicked.is_wait_canceled());
            assert!(panicked.to_string().contains("some reason"));
            assert!(!gimmal::is_canceled(&panicked));
            let aborted = spawn(pending::<()>());
            aborted.abort();
            let aborted = aborted.await.unwrap_err();
            assert!(aborted.try_into_panic().unwrap_err().is_aborted());

            let error = io::Error::from(panicked);
            assert_ne!(error.kind(), io::ErrorKind::Interrupted);
            assert!(!gimmal::is_canceled(&error));
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
            assert!(inner.is_some_and(gimmal::task::JoinError::is_panic));
        });
    });
}

#[test]
fn join_errors_are_send_and_sync() {
    fn anywhere<T: Send + Sync + std::error::Error + 'static>() {}
    anywhere::<gimmal::task::JoinError>();
    anywhere::<gimmal::Canceled>();
}

#[test]
fn yielding_tasks_take_turns_in_order() {
    everywhere(|builder| {
        let order = Rc::new(RefCell::new(Vec::new()));
        builder.build().unwrap().block_on(async {
            let tasks: Vec<_> = (0..5)
                .map(|n| {
                    let order = order.clone();
                    spawn(async move {
                        for round in 0..4 {
                            order.borrow_mut().push((round, n));
                            yield_now().await;
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
        let expected: Vec<_> = (0..4)
            .flat_map(|round| (0..5).map(move |n| (round, n)))
            .collect();
        assert_eq!(*order.borrow(), expected);
    });
}

#[test]
fn many_wakes_before_a_poll_are_one_poll() {
    everywhere(|builder| {
        let (polls, gate) = (Rc::new(Cell::new(0)), Gate::new());
        builder.build().unwrap().block_on(async {
            let handle = spawn(counted(&polls, gate.wait()));
            yield_now().await;
            let waker = gate.waker.borrow().clone().unwrap();
            for _ in 0..100 {
                waker.wake_by_ref();
            }
            yield_now().await;
            yield_now().await;
            assert_eq!(polls.get(), 2);
            gate.open();
            handle.await.unwrap();
            assert_eq!(polls.get(), 3);
        });
    });
}

#[test]
fn the_list_of_tasks_has_their_names_and_spawn_locations() {
    everywhere(|builder| {
        builder.build().unwrap().block_on(async {
            let named = task::Builder::new().name("a name").spawn(pending::<()>());
            let line = line!() + 1;
            let unnamed = spawn(pending::<()>());
            yield_now().await;
            let tasks = Handle::current().tasks();
            assert_eq!(tasks.len(), 3);
            assert_eq!(tasks[0].name.as_deref(), Some("main"));
            assert_eq!(tasks[1].name.as_deref(), Some("a name"));
            assert!(tasks[2].name.is_none() && !tasks[2].is_ready);
            assert_eq!(tasks[2].spawned_at.line(), line);
            assert!(tasks[2].spawned_at.file().ends_with("life.rs"));
            drop((named, unnamed));
        });
    });
}

#[test]
fn the_list_of_operations_has_the_names_of_tasks() {
    everywhere(|builder| {
        builder.build().unwrap().block_on(async {
            let (reader, _writer) = gimmal::io::pipe().unwrap();
            let reader = Rc::new(reader);
            let read = |reader: Rc<gimmal::io::PipeReader>| async move {
                reader.read(vec![0; 4]).await.map(drop)
            };
            let named = task::Builder::new()
                .name("a name")
                .spawn(read(reader.clone()));
            while Handle::current().operations().is_empty() {
                yield_now().await;
            }
            let operations = Handle::current().operations();
            assert_eq!(operations[0].task.as_deref(), Some("a name"));
            named.abort();
            named.await.unwrap_err();
            let unnamed = spawn(read(reader));
            let by_location = || {
                let operations = Handle::current().operations();
                let mut tasks = operations.iter().filter_map(|it| it.task.clone());
                tasks.next_back().filter(|task| task.contains("life.rs"))
            };
            while by_location().is_none() {
                yield_now().await;
            }
            assert!(by_location().unwrap().starts_with("spawned at "));
            drop(unnamed);
        });
    });
}

#[test]
fn remaining_tasks_continue_in_the_next_block_on() {
    everywhere(|builder| {
        let mut runtime = builder.build().unwrap();
        let gate = Gate::new();
        let handle = runtime.block_on(async { spawn(gate.wait()) });
        runtime.block_on(yield_now());
        assert!(!handle.is_finished());
        gate.open();
        runtime.block_on(handle).unwrap();
    });
}

#[test]
fn polls_and_turns_are_counted_exactly() {
    everywhere(|builder| {
        let mut runtime = builder.build().unwrap();
        let handle = runtime.handle();
        runtime.block_on(async {});
        assert_eq!(handle.stats().polls, 1);
        runtime.block_on(async {
            let before = Handle::current().stats().polls;
            spawn(async {}).await.unwrap();
            assert_eq!(Handle::current().stats().polls - before, 2);
        });
        assert_eq!(handle.stats().polls, 1 + 3);
    });
}

#[test]
fn a_hundred_thousand_tasks_leave_nothing_behind() {
    everywhere(|builder| {
        builder.build().unwrap().block_on(async {
            let sum = Rc::new(Cell::new(0u64));
            for batch in 0..100 {
                let handles: Vec<_> = (0..1000)
                    .map(|n| {
                        let sum = sum.clone();
                        spawn(async move { sum.set(sum.get() + batch * 1000 + n) })
                    })
                    .collect();
                for handle in handles {
                    handle.await.unwrap();
                }
            }
            assert_eq!(sum.get(), (0..100_000).sum());
            let stats = Handle::current().stats();
            assert_eq!((stats.tasks, stats.task_rows, stats.ready_tasks), (1, 1, 0));
        });
    });
}

#[test]
fn block_on_inside_block_on_panics_with_advice() {
    everywhere(|builder| {
        let mut outer = builder.clone().build().unwrap();
        let mut inner = builder.build().unwrap();
        outer.block_on(async {
            let caught = catch_unwind(AssertUnwindSafe(|| inner.block_on(async {})));
            assert!(message(caught.unwrap_err()).contains("await the future instead"));
            yield_now().await;
        });
        inner.block_on(yield_now());
        outer.block_on(yield_now());
    });
}

#[test]
fn every_use_outside_a_runtime_panics_with_advice() {
    fn assert_advice<T>(what: &str, call: impl FnOnce() -> T) {
        let Err(payload) = catch_unwind(AssertUnwindSafe(call)) else {
            panic!("{what} did not panic")
        };
        let text = message(payload);
        assert!(
            text.contains("gimmal::run") && text.contains("block_on"),
            "{what}: {text}"
        );
    }
    assert_advice("spawn", || drop(spawn(async {})));
    assert_advice("a named task", || {
        drop(task::Builder::new().name("x").spawn(async {}))
    });
    assert_advice("sleep", || {
        gimmal::sleep(Duration::from_secs(1)).now_or_never()
    });
    assert_advice("an operation", || gimmal::op::nop().now_or_never());
    assert_advice("submit", || drop(gimmal::op::nop().submit()));
    assert_advice("a file", || gimmal::fs::read("Cargo.toml").now_or_never());
    assert_advice("spawn_blocking", || drop(task::spawn_blocking(|| ())));
    assert_advice("spawn_abandonable", || {
        drop(task::spawn_abandonable(|| (), drop))
    });
    assert_advice("Handle::current", Handle::current);
    let mut runtime = Runtime::new().unwrap();
    let handle = runtime.block_on(async { spawn(pending::<()>()) });
    assert_advice("a join", || handle.now_or_never());
    assert!(Handle::try_current().is_none());
}

#[test]
fn a_handle_polled_inside_another_runtime_panics() {
    everywhere(|builder| {
        let mut one = builder.clone().build().unwrap();
        let mut two = builder.build().unwrap();
        let handle = one.block_on(async { spawn(async { 5 }) });
        let polled = two.block_on(AssertUnwindSafe(handle).catch_unwind());
        assert!(message(polled.unwrap_err()).contains("another gimmal runtime"));
        one.block_on(yield_now());
        assert_eq!(one.handle().stats().task_rows, 0);
    });
}

#[test]
fn a_handle_may_outlive_its_runtime() {
    everywhere(|builder| {
        let journal = Journal::default();
        let mut runtime = builder.build().unwrap();
        let (ended, waiting) = runtime.block_on(async {
            let output = journal.on_drop("output");
            let ended = spawn(async move { output });
            let held = journal.on_drop("future");
            let waiting = spawn(async move {
                let _held = held;
                pending::<()>().await;
            });
            yield_now().await;
            (ended, waiting)
        });
        let handle = runtime.handle();
        drop(runtime);
        let mut dropped = journal.take();
        dropped.sort_unstable();
        assert_eq!(dropped, ["future", "output"]);
        waiting.abort();
        assert!(waiting.is_finished() && ended.is_finished());
        drop((ended, waiting));
        let late = catch_unwind(AssertUnwindSafe(|| drop(handle.spawn(async {}))));
        assert!(message(late.unwrap_err()).contains("has ended"));
    });
}

#[test]
fn a_handle_that_cancels_on_drop_cancels_an_unfinished_task() {
    everywhere(|builder| {
        let mut runtime = builder.build().unwrap();
        let left = runtime.block_on(async {
            let journal = Journal::default();
            let start = |name| {
                let note = journal.clone();
                spawn(async move {
                    if gimmal::sleep(Duration::from_secs(3600)).await.is_err() {
                        gimmal::cancel::shield(yield_now()).await;
                        note.note(name);
                    }
                    name
                })
            };
            // Not by a dropped wait for `&mut`, nor after `into_inner`.
            let mut kept = start("kept").cancel_on_drop();
            assert!(poll_once(&mut kept).await.is_pending());
            let plain = start("plain").cancel_on_drop().into_inner();
            drop(start("dropped").cancel_on_drop());
            let ended = spawn(async { 7 }).cancel_on_drop();
            for _ in 0..8 {
                yield_now().await;
            }
            assert_eq!(journal.take(), ["dropped"]);
            assert!(!kept.is_finished() && !plain.is_finished());
            assert!(ended.is_finished());
            drop(ended);
            // It has the methods of the handle.
            kept.cancel();
            assert_eq!((&mut kept).await.unwrap(), "kept");
            drop(kept);
            drop(plain);
            yield_now().await;
            assert_eq!(journal.take(), ["kept"]);
            // One is dropped while the runtime ends, and one afterward.
            let held = start("held").cancel_on_drop();
            drop(spawn(async move {
                let _held = held;
                pending::<()>().await;
            }));
            let left = start("left").cancel_on_drop();
            yield_now().await;
            left
        });
        drop(runtime);
        assert!(left.is_finished());
    });
}
