//! The end of `run`: the remaining tasks are canceled, may clean up, are awaited, and then dropped.

use common::{DropBomb, Faults, Finally, Journal, everywhere, pipe, poll_once};
use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::{FutureExt, future};
use gimmal::fs::File;
use gimmal::{Canceled, Handle, Runtime, sleep, spawn, task, yield_now};
use std::cell::{Cell, RefCell};
use std::future::pending;
use std::io;
use std::rc::Rc;
use std::sync::mpsc;
use std::task::Poll;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(3600);
/// Waited for in full only if the test fails.
const AMPLE: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(30);

/// Runs `main` to its end with the test's own grace period, and checks that everything ended within it.
fn run_to_its_end(builder: gimmal::runtime::Builder, main: impl AsyncFnOnce()) {
    let ended: io::Result<()> = builder.run(async {
        main().await;
        Ok(())
    });
    ended.unwrap();
}

#[test]
fn sleeps_joins_and_reads_end_canceled_and_tasks_clean_up() {
    everywhere(|builder| {
        let journal = Journal::default();
        let (reader, _writer) = pipe();
        run_to_its_end(builder.grace_period(AMPLE), async || {
            let note = journal.clone();
            drop(spawn(async move {
                assert_eq!(sleep(LONG).await, Err(Canceled));
                // Cleanup that awaits: leaves end at once, and `yield_now` works as usual.
                assert_eq!(sleep(LONG).await, Err(Canceled));
                yield_now().await;
                note.note("slept");
            }));
            let note = journal.clone();
            drop(spawn(async move {
                let mut other = spawn(async {
                    let _ = sleep(LONG).await;
                    for _ in 0..10 {
                        yield_now().await;
                    }
                });
                let error = (&mut other).await.unwrap_err();
                assert!(error.is_wait_canceled() && !error.is_aborted() && !error.is_panic());
                assert!(gimmal::is_canceled(&error));
                let error = io::Error::from(error);
                assert!(gimmal::is_canceled(&error));
                assert_ne!(error.kind(), io::ErrorKind::Interrupted);
                note.note("joined");
            }));
            let note = journal.clone();
            drop(spawn(async move {
                let file = reader;
                let mut buffer = b"before".to_vec();
                buffer.reserve_exact(100);
                let error = file.read(buffer).await.unwrap_err();
                assert!(gimmal::is_canceled(&error));
                let error = file.read(Vec::with_capacity(7)).await.unwrap_err();
                assert!(gimmal::is_canceled(&error));
                file.close().await.unwrap();
                note.note("read");
            }));
            yield_now().await;
            yield_now().await;
        });
        let mut notes = journal.take();
        notes.sort_unstable();
        assert_eq!(notes, ["joined", "read", "slept"]);
    });
}

#[test]
fn a_canceled_read_returns_its_buffer_unchanged() {
    everywhere(|builder| {
        let (reader, _writer) = pipe();
        let back = Rc::new(RefCell::new(None));
        run_to_its_end(builder.grace_period(AMPLE), async || {
            let back = back.clone();
            drop(spawn(async move {
                let file = reader;
                let mut buffer = Vec::with_capacity(64);
                buffer.extend_from_slice(b"before");
                let error = file.read(buffer).await.unwrap_err();
                assert!(gimmal::is_canceled(&error));
                back.replace(Some(error.into_buf()));
            }));
            yield_now().await;
        });
        assert_eq!(back.take().unwrap(), b"before");
    });
}

#[test]
fn a_task_that_was_not_polled_yet_starts_and_is_canceled() {
    everywhere(|builder| {
        let told = Rc::new(Cell::new(false));
        run_to_its_end(builder.grace_period(AMPLE), async || {
            let told = told.clone();
            drop(spawn(async move {
                told.set(sleep(LONG).await == Err(Canceled))
            }));
        });
        assert!(told.get());
    });
}

#[test]
fn a_task_spawned_by_cleanup_is_canceled_too() {
    everywhere(|builder| {
        let told = Rc::new(Cell::new(false));
        run_to_its_end(builder.grace_period(AMPLE), async || {
            let told = told.clone();
            drop(spawn(async move {
                let _ = sleep(LONG).await;
                drop(spawn(async move {
                    told.set(sleep(LONG).await == Err(Canceled))
                }));
            }));
        });
        assert!(told.get());
    });
}

#[test]
fn a_finished_result_is_returned_even_to_a_canceled_task() {
    everywhere(|builder| {
        let given = Rc::new(Cell::new(0));
        run_to_its_end(builder.grace_period(AMPLE), async || {
            let given = given.clone();
            let done = spawn(async { 5 });
            let nop = gimmal::op::nop().submit();
            gimmal::op::nop().await.unwrap();
            drop(spawn(async move {
                let _ = sleep(LONG).await;
                assert!(nop.await.is_ok());
                given.set(done.await.unwrap());
            }));
        });
        assert_eq!(given.get(), 5);
    });
}

#[test]
fn after_a_canceled_wait_the_handle_can_be_awaited_again() {
    everywhere(|builder| {
        let given = Rc::new(Cell::new(0));
        run_to_its_end(builder.grace_period(AMPLE), async || {
            let given = given.clone();
            drop(spawn(async move {
                let mut other = spawn(async {
                    let _ = sleep(LONG).await;
                    for _ in 0..20 {
                        yield_now().await;
                    }
                    8
                });
                let mut refused = 0;
                loop {
                    match (&mut other).await {
                        Ok(value) => break given.set(value),
                        Err(error) => assert!(error.is_wait_canceled()),
                    }
                    refused += 1;
                }
                assert!(refused > 0);
            }));
            yield_now().await;
        });
        assert_eq!(given.get(), 8);
    });
}

/// Leaves inside a foreign combinator are woken by their own wakers.
#[test]
fn leaves_inside_foreign_combinators_are_canceled() {
    everywhere(|builder| {
        let journal = Journal::default();
        let faults = Faults::default();
        let (reader, _writer) = pipe();
        run_to_its_end(faults.hear(builder.grace_period(AMPLE)), async || {
            let note = journal.clone();
            drop(spawn(async move {
                let mut sleeps: FuturesUnordered<_> = (0..3).map(|_| sleep(LONG)).collect();
                while let Some(ended) = sleeps.next().await {
                    assert_eq!(ended, Err(Canceled));
                }
                note.note("sleeps");
            }));
            let note = journal.clone();
            drop(spawn(async move {
                let file = reader;
                let reads: FuturesUnordered<_> =
                    (0..3).map(|_| file.read(Vec::with_capacity(4))).collect();
                let reads: Vec<_> = reads.collect().await;
                assert!(
                    reads
                        .iter()
                        .all(|read| gimmal::is_canceled(read.as_ref().unwrap_err()))
                );
                note.note("reads");
            }));
            let note = journal.clone();
            drop(spawn(async move {
                let stay = spawn(async {
                    while sleep(LONG).await.is_ok() {}
                    for _ in 0..10 {
                        yield_now().await;
                    }
                });
                let mut joins: FuturesUnordered<_> = [stay].into_iter().collect();
                assert!(joins.next().await.is_some());
                note.note("joins");
            }));
            let note = journal.clone();
            drop(spawn(async move {
                let all = future::join_all((0..50).map(|_| sleep(LONG))).await;
                assert!(all.iter().all(Result::is_err));
                note.note("join_all");
            }));
            let note = journal.clone();
            drop(spawn(async move {
                let (mut a, mut b) = (sleep(LONG).fuse(), Box::pin(yield_now().fuse()));
                let mut first = true;
                loop {
                    futures_util::select! {
                        ended = a => break assert_eq!(ended, Err(Canceled)),
                        () = b => assert!(std::mem::take(&mut first)),
                    }
                }
                note.note("select");
            }));
            for _ in 0..4 {
                yield_now().await;
            }
        });
        let mut notes = journal.take();
        notes.sort_unstable();
        assert_eq!(notes, ["join_all", "joins", "reads", "select", "sleeps"]);
        faults.expect(&[]);
    });
}

/// A closure that waits for a thread is withdrawn, wherever its handle is awaited.
#[test]
fn a_waiting_closure_inside_a_foreign_combinator_is_withdrawn() {
    everywhere(|builder| {
        let ended = Rc::new(Cell::new(false));
        let (release, blocked) = mpsc::channel::<()>();
        run_to_its_end(
            builder.grace_period(AMPLE).blocking_threads(1),
            async || {
                let busy = task::spawn_blocking(move || blocked.recv().is_err());
                drop(busy);
                let ended = ended.clone();
                drop(spawn(async move {
                    let mut waits: FuturesUnordered<_> =
                        [task::spawn_blocking(|| unreachable!("it was not started"))]
                            .into_iter()
                            .collect();
                    let error: task::JoinError = waits.next().await.unwrap().unwrap_err();
                    assert!(error.is_wait_canceled());
                    ended.set(true);
                    drop(release);
                }));
                yield_now().await;
            },
        );
        assert!(ended.get());
    });
}

/// `sleep(ZERO)` is how loops yield; in a canceled scope, it returns `Canceled` (C2).
#[test]
fn a_loop_over_zero_sleeps_that_heeds_errors_ends_by_itself() {
    everywhere(|builder| {
        let ended = Rc::new(Cell::new(false));
        run_to_its_end(builder.grace_period(AMPLE), async || {
            let ended = ended.clone();
            drop(spawn(async move {
                while sleep(Duration::ZERO).await.is_ok() {}
                ended.set(true);
            }));
            yield_now().await;
        });
        assert!(ended.get());
    });
}

#[test]
fn a_loop_over_overdue_ticks_ends_by_itself() {
    everywhere(|builder| {
        let ended = Rc::new(Cell::new(false));
        run_to_its_end(builder.grace_period(AMPLE), async || {
            let ended = ended.clone();
            drop(spawn(async move {
                let mut ticks = gimmal::time::interval(Duration::from_nanos(1));
                while ticks.tick().await.is_ok() {}
                ended.set(true);
            }));
            yield_now().await;
        });
        assert!(ended.get());
    });
}

/// A task that ignores its errors is dropped after the grace period, and other tasks run meanwhile.
#[test]
fn loops_that_ignore_errors_neither_block_the_end_nor_starve_others() {
    everywhere(|builder| {
        let journal = Journal::default();
        let (reader, _writer) = pipe();
        run_to_its_end(
            builder.grace_period(Duration::from_millis(500)),
            async || {
                let held = journal.on_drop("sleeps");
                drop(spawn(async move {
                    let _held = held;
                    loop {
                        let _ = sleep(LONG).await;
                    }
                }));
                let held = journal.on_drop("zero sleeps");
                drop(spawn(async move {
                    let _held = held;
                    loop {
                        let _ = sleep(Duration::ZERO).await;
                    }
                }));
                let held = journal.on_drop("reads");
                drop(spawn(async move {
                    let _held = held;
                    let file = reader;
                    let mut buffer = Vec::with_capacity(8);
                    loop {
                        buffer = match file.read(buffer).await {
                            Ok((_, buffer)) => buffer,
                            Err(error) => error.into_buf(),
                        };
                    }
                }));
                let held = journal.on_drop("opens");
                drop(spawn(async move {
                    let _held = held;
                    loop {
                        let _ = File::open("Cargo.toml").await;
                    }
                }));
                let held = journal.on_drop("joins");
                drop(spawn(async move {
                    let _held = held;
                    let mut other = spawn(async {
                        let _ = sleep(LONG).await;
                        for _ in 0..1000 {
                            yield_now().await;
                        }
                    });
                    loop {
                        match (&mut other).await {
                            Err(error) if error.is_wait_canceled() => {}
                            _ => pending().await,
                        }
                    }
                }));
                let held = journal.on_drop("closures");
                drop(spawn(async move {
                    let _held = held;
                    loop {
                        let _ = task::spawn_blocking(|| ()).await;
                    }
                }));
                let held = journal.on_drop("ticks");
                drop(spawn(async move {
                    let _held = held;
                    let mut ticks = gimmal::time::interval(LONG);
                    loop {
                        let _ = ticks.tick().await;
                    }
                }));
                let note = journal.clone();
                drop(spawn(async move {
                    let _ = sleep(LONG).await;
                    for _ in 0..20 {
                        yield_now().await;
                    }
                    note.note("neighbor ended");
                }));
                yield_now().await;
            },
        );
        let mut notes = journal.take();
        assert_eq!(notes.remove(0), "neighbor ended");
        notes.sort_unstable();
        let swallowers = [
            "closures",
            "joins",
            "opens",
            "reads",
            "sleeps",
            "ticks",
            "zero sleeps",
        ];
        assert_eq!(notes, swallowers);
    });
}

#[test]
fn tasks_that_wait_for_foreign_futures_are_dropped_at_once() {
    everywhere(|builder| {
        let journal = Journal::default();
        run_to_its_end(builder.grace_period(AMPLE), async || {
            let held = journal.on_drop("foreign");
            drop(spawn(async move {
                let _held = held;
                pending::<()>().await;
            }));
            let (sender, receiver) = async_channel::bounded::<()>(1);
            let held = journal.on_drop("channel");
            drop(spawn(async move {
                let _held = (held, sender);
                let _ = receiver.recv().await;
            }));
        });
        assert_eq!(journal.take(), ["foreign", "channel"]);
    });
}

#[test]
fn run_returns_the_outcome_of_main() {
    everywhere(|builder| {
        let ok: Result<u8, io::Error> = builder.clone().run(async { Ok(3) });
        assert_eq!(ok.unwrap(), 3);
        #[derive(Debug)]
        enum Mine {
            Io,
            Other(u8),
        }
        impl From<io::Error> for Mine {
            fn from(_: io::Error) -> Mine {
                Mine::Io
            }
        }
        let journal = Journal::default();
        let error: Result<(), Mine> = builder.clone().grace_period(AMPLE).run(async {
            let held = journal.on_drop("task");
            drop(spawn(async move {
                let _held = held;
                let _ = sleep(LONG).await;
            }));
            Err(Mine::Other(4))
        });
        assert!(matches!(error, Err(Mine::Other(4))));
        assert_eq!(journal.take(), ["task"]);
        let none: Result<(), Mine> = builder.entries(0).run(async { Ok(()) });
        assert!(matches!(none, Err(Mine::Io)));
    });
}

#[test]
fn when_main_panics_the_tasks_are_dropped_and_the_panic_continues() {
    everywhere(|builder| {
        let journal = Journal::default();
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _: io::Result<()> = builder.run(async {
                let held = journal.on_drop("task");
                drop(spawn(async move {
                    let _held = held;
                    let _ = sleep(LONG).await;
                }));
                yield_now().await;
                panic!("main")
            });
        }));
        assert!(caught.is_err());
        assert_eq!(journal.take(), ["task"]);
        assert!(Handle::try_current().is_none());
    });
}

#[test]
fn a_panic_in_cleanup_reaches_the_hook() {
    everywhere(|builder| {
        let faults = Faults::default();
        run_to_its_end(faults.hear(builder.grace_period(AMPLE)), async || {
            drop(spawn(async {
                let _ = sleep(LONG).await;
                panic!("in cleanup");
            }));
            drop(spawn(async {
                let _bomb = DropBomb("in a destructor");
                let _ = sleep(LONG).await;
            }));
            yield_now().await;
        });
        let mut faults = faults.take();
        faults.sort();
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults.iter().any(|fault| fault.contains("in cleanup")));
        assert!(faults.iter().any(|fault| fault.contains("in a destructor")));
    });
}

/// With a pipe without data, a timer, and a closure that does not return in time.
#[test]
fn a_runtime_dropped_with_everything_pending_ends_and_reports_what_it_left() {
    everywhere(|builder| {
        let faults = Faults::default();
        let (release, blocked) = mpsc::channel::<()>();
        let (begun, has_begun) = mpsc::channel();
        let (reader, _writer) = pipe();
        let builder = builder.shutdown_timeout(Duration::from_millis(300));
        let mut runtime = faults.hear(builder).build().unwrap();
        let journal = Journal::default();
        runtime.block_on(async {
            let held = journal.on_drop("reader");
            drop(spawn(async move {
                let _held = held;
                let _ = reader.read(Vec::with_capacity(16)).await;
            }));
            let held = journal.on_drop("sleeper");
            drop(spawn(async move {
                let _held = held;
                let _ = sleep(LONG).await;
            }));
            drop(task::spawn_blocking(move || {
                begun.send(()).unwrap();
                let _ = blocked.recv();
            }));
            yield_now().await;
            assert_eq!(Handle::current().stats().operations, 1);
            assert_eq!(Handle::current().stats().timers, 1);
        });
        has_begun.recv().unwrap();
        drop(runtime);
        assert_eq!(journal.take(), ["reader", "sleeper"]);
        // The kernel canceled the read at once, so only the closure is left.
        faults.expect(&["1 closure of spawn_blocking was still running"]);
        drop(release);
    });
}

#[test]
fn shutdown_reports_what_did_not_end() {
    everywhere(|builder| {
        let (release, blocked) = mpsc::channel::<()>();
        let (begun, has_begun) = mpsc::channel();
        let faults = Faults::default();
        let mut runtime = faults.hear(builder.clone()).build().unwrap();
        runtime.block_on(async {
            drop(task::spawn_blocking(move || {
                begun.send(()).unwrap();
                let _ = blocked.recv();
            }));
        });
        has_begun.recv().unwrap();
        let error = runtime.shutdown(SHORT).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(error.to_string().contains("1 closure of"));
        assert_eq!(faults.take().len(), 1);
        drop(release);
        let mut runtime = builder.build().unwrap();
        runtime.block_on(yield_now());
        runtime.shutdown(Duration::ZERO).unwrap();
    });
}

/// Destructors that run during the shutdown find the runtime, but can start nothing.
#[test]
fn while_a_runtime_ends_nothing_new_is_started() {
    everywhere(|builder| {
        let journal = Journal::default();
        let mut runtime = builder.build().unwrap();
        let note = journal.clone();
        drop(runtime.spawn(async move {
            let held = note.clone();
            let _last = Finally(move || {
                let late = held.on_drop("late future");
                let mut handle = spawn(async move {
                    let _late = late;
                });
                assert!(handle.is_finished());
                handle.abort();
                let joined = poll_once(&mut handle).now_or_never().unwrap();
                assert!(matches!(joined, Poll::Ready(Err(error)) if error.is_aborted()));
                let mut nop = gimmal::op::nop();
                let refused = poll_once(&mut nop).now_or_never().unwrap();
                assert!(matches!(refused, Poll::Ready(Err(_))));
                let blocking = task::spawn_blocking(|| unreachable!("not while the runtime ends"));
                assert!(blocking.is_finished());
                drop::<task::BlockingHandle<()>>(blocking);
                held.note("destructor");
            });
            pending::<()>().await;
        }));
        runtime.block_on(yield_now());
        drop(runtime);
        assert_eq!(journal.take(), ["late future", "destructor"]);
    });
}

#[test]
fn a_runtime_dropped_inside_a_task_of_another_ends_there() {
    everywhere(|builder| {
        let journal = Journal::default();
        let faults = Faults::default();
        let mut outer = faults.hear(builder.clone()).build().unwrap();
        let mut inner = faults.hear(builder).build().unwrap();
        let (reader, _writer) = pipe();
        let held = journal.on_drop("inner task");
        drop(inner.spawn(async move {
            let _held = held;
            let _ = reader.read(Vec::with_capacity(4)).await;
        }));
        inner.block_on(yield_now());
        outer.block_on(async {
            let before = Handle::current().stats().turns;
            let note = journal.clone();
            spawn(async move {
                drop(inner);
                note.note("dropped");
                assert!(Handle::try_current().is_some());
                gimmal::op::nop().await.unwrap();
                sleep(Duration::from_millis(1)).await.unwrap();
            })
            .await
            .unwrap();
            assert!(Handle::current().stats().turns > before);
        });
        assert_eq!(journal.take(), ["inner task", "dropped"]);
        faults.expect(&[]);
    });
}

#[test]
fn a_runtime_that_never_ran_drops_its_tasks() {
    everywhere(|builder| {
        let journal = Journal::default();
        let runtime: Runtime = builder.build().unwrap();
        let held = journal.on_drop("future");
        drop(runtime.spawn(async move {
            let _held = held;
        }));
        drop(runtime);
        assert_eq!(journal.take(), ["future"]);
    });
}

/// The first turn arms the wake poll, and the shutdown must not be that turn.
#[test]
fn a_runtime_dropped_before_its_first_turn_with_an_operation_in_flight_ends() {
    everywhere(|builder| {
        let mut runtime = builder.shutdown_timeout(AMPLE).build().unwrap();
        let nop = runtime.block_on(async { gimmal::op::nop().submit() });
        drop(runtime);
        drop(nop);
    });
}

/// The turn in which the last task ends must not wait.
#[test]
fn run_returns_when_the_last_task_ends_and_not_after_the_grace_period() {
    everywhere(|builder| {
        // A reused inbox may still be interrupted by its earlier users, so other runtimes take the used ones.
        let others: Vec<_> = (0..8).map(|_| builder.clone().build().unwrap()).collect();
        for _ in 0..3 {
            run_to_its_end(builder.clone().grace_period(AMPLE), async || {
                drop(spawn(async {
                    let _ = sleep(LONG).await;
                }));
            });
        }
        drop(others);
    });
}
