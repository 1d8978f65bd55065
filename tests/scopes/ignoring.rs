//! Loops that ignore their cancellation still end after a bounded number of rejections; the hook names them, and other
//! tasks run meanwhile (C2).

use crate::common::alone;
use crate::support::Faults;
use crate::{LONG, pipe, run, settle};
use gimmal::cancel::{Canceled, Scope, cancelable, checkpoint, shield};
use gimmal::fs::File;
use gimmal::op::nop;
use gimmal::time::{Instant, interval_at, timeout};
use gimmal::{Runtime, sleep, spawn, task, yield_now};
use std::cell::Cell;
use std::future::pending;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

type Loop = Pin<Box<dyn Future<Output = Result<(), Canceled>>>>;

type Make = fn(Rc<Cell<usize>>) -> Loop;
/// Runs a loop in something that the scope or the task cancels.
type Context = fn(Loop, Rc<Scope>) -> Pin<Box<dyn Future<Output = ()>>>;

/// More rounds than any loop may run.
const ROUNDS_MAX: usize = 10_000;

/// Each kind of loop. A loop counts its rounds.
fn loops() -> Vec<(&'static str, Make)> {
    macro_rules! round {
        ($rounds:ident, $do:expr) => {
            Box::pin(async move {
                loop {
                    let rounds = $rounds.get() + 1;
                    $rounds.set(rounds);
                    assert!(rounds < ROUNDS_MAX, "the loop never ends");
                    let _ = $do.await;
                }
            })
        };
    }
    vec![
        ("sleep", |rounds| round!(rounds, sleep(LONG))),
        ("zero sleep", |rounds| round!(rounds, sleep(Duration::ZERO))),
        ("read", |rounds| {
            let (file, writer) = pipe();
            Box::pin(async move {
                let _writer = writer;
                round!(rounds, file.read(vec![0; 4])).await
            })
        }),
        ("read into an empty buffer", |rounds| {
            let (file, writer) = pipe();
            Box::pin(async move {
                let _writer = writer;
                round!(rounds, file.read(Vec::new())).await
            })
        }),
        ("read with a timeout", |rounds| {
            let (file, writer) = pipe();
            Box::pin(async move {
                let _writer = writer;
                round!(rounds, file.read(vec![0; 4]).timeout(LONG)).await
            })
        }),
        ("read with a zero timeout", |rounds| {
            let (file, writer) = pipe();
            Box::pin(async move {
                let _writer = writer;
                round!(rounds, file.read(vec![0; 4]).timeout(Duration::ZERO)).await
            })
        }),
        ("nop", |rounds| round!(rounds, nop())),
        ("open", |rounds| round!(rounds, File::open("Cargo.toml"))),
        ("join", |rounds| {
            let mut other = spawn(pending::<()>());
            round!(rounds, &mut other)
        }),
        ("checkpoint", |rounds| round!(rounds, checkpoint())),
        ("cancelable", |rounds| {
            round!(rounds, cancelable(pending::<()>()))
        }),
        ("timeout", |rounds| {
            round!(rounds, timeout(LONG, sleep(LONG)))
        }),
        ("timeout over", |rounds| {
            round!(rounds, timeout(Duration::ZERO, sleep(LONG)))
        }),
        ("timeout over foreign", |rounds| {
            round!(rounds, timeout(LONG, pending::<Result<(), Canceled>>()))
        }),
        ("scope", |rounds| {
            round!(rounds, async { Scope::new().run(sleep(LONG)).await })
        }),
        ("tick", |rounds| {
            let mut ticks = interval_at(Instant::now() + LONG, LONG);
            round!(rounds, ticks.tick())
        }),
        ("shield and sleep", |rounds| {
            round!(rounds, async {
                shield(nop()).await.unwrap();
                sleep(LONG).await
            })
        }),
        ("ready futures and sleep", |rounds| {
            round!(rounds, async {
                yield_now().await;
                sleep(LONG).await
            })
        }),
    ]
}

/// Runs each loop, canceled while it waits or before it starts, in the given context.
fn each_loop_ends(run_in: Context, in_task: bool) {
    let _alone = alone();
    let faults = Faults::default();
    let mut runtime: Runtime = faults.hear(Runtime::builder()).build().unwrap();
    for (name, make) in loops() {
        for canceled_before in [false, true] {
            // Loops that never wait cannot be canceled while they wait.
            if !canceled_before && (name == "nop" || name == "open") {
                continue;
            }
            runtime.block_on(async {
                let rounds = Rc::new(Cell::new(0));
                let scope = Rc::new(Scope::new());
                if canceled_before && !in_task {
                    scope.cancel();
                }
                let future = run_in(make(rounds.clone()), scope.clone());
                let looping = task::Builder::new().name(name).spawn(future);
                let beats = Rc::new(Cell::new(0));
                let counts = beats.clone();
                let neighbour = spawn(async move {
                    loop {
                        counts.set(counts.get() + 1);
                        yield_now().await;
                    }
                });
                if canceled_before && in_task {
                    looping.cancel();
                }
                if !canceled_before {
                    yield_now().await;
                    yield_now().await;
                    scope.cancel();
                    if in_task {
                        looping.cancel();
                    }
                }
                let start = Instant::now();
                while !looping.is_finished() {
                    let stuck = start.elapsed() > Duration::from_secs(5);
                    assert!(!stuck, "{name}: after {} rounds", rounds.get());
                    yield_now().await;
                }
                let ended = looping.await;
                assert_eq!(ended.is_err(), in_task, "{name}: {ended:?}");
                if let Err(error) = ended {
                    assert!(error.is_aborted(), "{name}: {error}");
                }
                assert!(rounds.get() < 1000, "{name}: {} rounds", rounds.get());
                beats.set(0);
                settle().await;
                assert!(beats.get() > 0);
                neighbour.abort();
            });
            let heard = faults.take();
            let named = heard.len() == 1 && heard[0].contains(name) && heard[0].contains("ignored");
            assert!(
                named,
                "{name}, canceled before: {canceled_before}: {heard:?}"
            );
        }
    }
}

#[test]
fn loops_in_a_canceled_scope_are_dropped() {
    each_loop_ends(
        |future, scope| {
            Box::pin(async move {
                assert_eq!(scope.run(future).await, Err(Canceled));
                assert!(scope.canceled_caught());
            })
        },
        false,
    );
}

#[test]
fn loops_in_a_canceled_task_are_dropped() {
    each_loop_ends(
        |future, _| {
            Box::pin(async move {
                let _ = future.await;
            })
        },
        true,
    );
}

#[test]
fn loops_in_a_timeout_are_dropped() {
    let _alone = alone();
    let faults = Faults::default();
    let mut runtime = faults.hear(Runtime::builder()).build().unwrap();
    for (name, make) in loops() {
        for limit in [Duration::ZERO, Duration::from_millis(1)] {
            // These loops never wait and are fast: their rounds before the timeout are unbounded.
            if !limit.is_zero()
                && [
                    "nop",
                    "open",
                    "zero sleep",
                    "read into an empty buffer",
                    "checkpoint",
                ]
                .iter()
                .chain(&[
                    "read with a zero timeout",
                    "timeout over",
                    "shield and sleep",
                ])
                .any(|fast| *fast == name)
            {
                continue;
            }
            runtime.block_on(async {
                let rounds = Rc::new(Cell::new(0));
                let future = make(rounds.clone());
                let looping = task::Builder::new()
                    .name(name)
                    .spawn(async move { timeout(limit, future).await });
                let start = Instant::now();
                while !looping.is_finished() {
                    let stuck = start.elapsed() > Duration::from_secs(5);
                    assert!(!stuck, "{name}: after {} rounds", rounds.get());
                    yield_now().await;
                }
                let error = looping.await.unwrap().unwrap_err();
                assert!(error.is_elapsed() && error.into_inner().is_none(), "{name}");
                assert!(rounds.get() < 1000, "{name}: {} rounds", rounds.get());
            });
            let heard = faults.take();
            let named = heard.len() == 1 && heard[0].contains(name);
            assert!(named, "{name} {limit:?}: {heard:?}");
        }
    }
}

/// A future that wakes itself forever without awaiting our leaves does not delay a cancel forever.
#[test]
fn a_loop_that_only_yields_ends_when_its_scope_is_canceled() {
    run(async {
        let scope = Rc::new(Scope::new());
        let theirs = scope.clone();
        let task = spawn(async move {
            let forever = async {
                while !theirs.canceled_caught() {
                    yield_now().await;
                }
            };
            theirs.run_any(forever).await
        });
        settle().await;
        scope.cancel();
        for _ in 0..100_000 {
            if task.is_finished() {
                break;
            }
            yield_now().await;
        }
        assert!(task.is_finished());
        assert_eq!(task.await.unwrap(), Err(Canceled));
        assert!(scope.canceled_caught());
    });
}

/// A future that yields for a while and then succeeds gets the time for it.
#[test]
fn a_future_that_yields_for_a_while_returns_its_output() {
    run(async {
        let scope = Scope::new();
        let outcome: Result<u8, Canceled> = scope
            .run(async {
                scope.cancel();
                for _ in 0..500 {
                    yield_now().await;
                }
                Ok(6)
            })
            .await;
        assert_eq!(outcome, Ok(6));
    });
}

/// Behind a shield, a canceled future may have as many waits rejected as it likes: by timeouts, for example.
#[test]
fn rejections_behind_a_shield_do_not_count() {
    let _alone = alone();
    let faults = Faults::default();
    let mut runtime = faults.hear(Runtime::builder()).build().unwrap();
    runtime.block_on(async {
        for in_scope in [false, true] {
            let cleaned = Rc::new(Cell::new(false));
            let theirs = cleaned.clone();
            let life = async move {
                let late = async {
                    for _ in 0..200 {
                        assert!(timeout(Duration::ZERO, sleep(LONG)).await.is_err());
                    }
                };
                shield(late).await;
                assert!(sleep(LONG).await.is_err());
                theirs.set(true);
            };
            let scope = Scope::new();
            scope.cancel();
            let task = spawn(async move {
                match in_scope {
                    true => scope.run_any(life).await,
                    false => {
                        life.await;
                        Ok(())
                    }
                }
            });
            if !in_scope {
                task.cancel();
            }
            task.await.unwrap().unwrap();
            assert!(cleaned.get());
        }
    });
    faults.expect(&[]);
}

/// Futures that are joined are rejected in many polls if a turn polls few, but each of them only once.
#[test]
fn many_joined_futures_rejected_once_do_not_count_as_a_loop() {
    let _alone = alone();
    let faults = Faults::default();
    let builder = faults.hear(Runtime::builder()).budget(1, Duration::MAX);
    builder.build().unwrap().block_on(async {
        let scope = Scope::new();
        scope.cancel();
        let joined = gimmal::join_all((0..200).map(|_| sleep(LONG)));
        let ended = async {
            let ended = joined.await;
            shield(sleep(Duration::ZERO)).await.unwrap();
            ended
        };
        let ended = scope.run_any(ended).await.unwrap();
        assert_eq!(ended, vec![Err(Canceled); 200]);
    });
    faults.expect(&[]);
}
