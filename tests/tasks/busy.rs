//! Computations that yield do not delay deadlines, timers or I/O. Tests count steps, not time: a step takes longer than
//! a tick of the coarse clock (at most 10 ms) and than any deadline here.

use common::everywhere;
use futures_util::stream::{FuturesUnordered, StreamExt};
use gimmal::cancel::checkpoint;
use gimmal::fs::File;
use gimmal::runtime::Builder;
use gimmal::time::{Instant, sleep_until, timeout};
use gimmal::{Canceled, join, join_all, race, sleep, spawn, yield_now};
use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

const STEP: Duration = Duration::from_millis(12);
const SOON: Duration = Duration::from_millis(5);
const LONG: Duration = Duration::from_secs(3600);
/// What is due is served in the turn after a step, and its waiter is polled after the next step. Without a check of the
/// clock, this would take 16 or 128 steps.
const STEPS_MAX: u32 = 6;

type Steps = Pin<Box<dyn Future<Output = u32>>>;
/// Yields. Returns false if canceled.
type Yields = fn() -> Pin<Box<dyn Future<Output = bool>>>;
/// Runs a computation in some context.
type Place = fn(Steps) -> Steps;

fn compute(time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {}
}

fn yields() -> Vec<(&'static str, Yields)> {
    vec![
        ("checkpoint", || {
            Box::pin(async { checkpoint().await.is_ok() })
        }),
        ("zero sleep", || {
            Box::pin(async { sleep(Duration::ZERO).await.is_ok() })
        }),
        ("yield_now", || {
            Box::pin(async {
                yield_now().await;
                true
            })
        }),
    ]
}

fn places() -> Vec<(&'static str, Place)> {
    vec![
        ("main", |steps| steps),
        ("task", |steps| {
            Box::pin(async move { spawn(steps).await.unwrap() })
        }),
        ("child", |steps| {
            Box::pin(async move {
                let grouped = gimmal::group(async |g| {
                    let child = g.spawn(async move { Ok::<_, Canceled>(steps.await) });
                    child.await
                });
                grouped.await.unwrap()
            })
        }),
        ("join", |steps| {
            Box::pin(async move { join((steps, yield_now())).await.0 })
        }),
        ("join_all", |steps| {
            Box::pin(async move { join_all(vec![steps, Box::pin(async { 0 })]).await[0] })
        }),
        ("race", |steps| {
            Box::pin(async move {
                let raced = race((steps, sleep(LONG))).await;
                raced.outputs.0.unwrap()
            })
        }),
        ("unordered", |steps| {
            Box::pin(async move {
                let mut all: FuturesUnordered<Steps> =
                    [steps, Box::pin(pending())].into_iter().collect();
                all.next().await.unwrap()
            })
        }),
    ]
}

/// Runs every computation in every context, on every kernel.
fn each(test: impl Fn(&str, Builder, Yields, Place)) {
    everywhere(|builder| {
        for (how, yields) in yields() {
            for (place, run) in places() {
                test(&format!("{how} in {place}"), builder.clone(), yields, run);
            }
        }
    });
}

#[test]
fn a_timeout_ends_a_computation_that_checks() {
    each(|name, builder, yields, place| {
        if name.starts_with("yield_now") {
            // `yield_now` does not report a cancel, so the loop would never end.
            return;
        }
        let steps = builder.build().unwrap().block_on(async {
            let steps = Box::pin(async move {
                let mut steps = 0;
                let computed = timeout(SOON, async {
                    loop {
                        compute(STEP);
                        steps += 1;
                        if !yields().await {
                            return Err::<(), _>(Canceled);
                        }
                    }
                });
                assert!(computed.await.unwrap_err().is_elapsed());
                steps
            });
            place(steps).await
        });
        assert!(steps <= STEPS_MAX, "{name}: {steps} steps");
    });
}

/// The other task runs first and arms its timer first.
#[test]
fn the_timer_of_another_task_fires_during_a_computation() {
    each(|name, builder, yields, place| {
        let steps = builder.build().unwrap().block_on(async {
            let over = Rc::new(Cell::new(false));
            let sets = over.clone();
            let other = spawn(async move {
                sleep(SOON).await.unwrap();
                sets.set(true);
            });
            yield_now().await;
            let steps = place(Box::pin(async move {
                let mut steps = 0;
                while !over.get() {
                    compute(STEP);
                    steps += 1;
                    assert!(yields().await);
                }
                steps
            }));
            let steps = steps.await;
            other.await.unwrap();
            steps
        });
        assert!(steps <= STEPS_MAX, "{name}: {steps} steps");
    });
}

#[test]
fn a_read_of_another_task_completes_during_a_computation() {
    each(|name, builder, yields, place| {
        let steps = builder.build().unwrap().block_on(async {
            let (reader, mut writer) = std::io::pipe().unwrap();
            let over = Rc::new(Cell::new(false));
            let sets = over.clone();
            let other = spawn(async move {
                let file = File::from(OwnedFd::from(reader));
                let (n, _) = file.read(vec![0; 4]).await.unwrap();
                assert_eq!(n, 1);
                sets.set(true);
            });
            yield_now().await;
            let steps = place(Box::pin(async move {
                let mut steps = 0;
                while !over.get() {
                    if steps == 1 {
                        writer.write_all(b"1").unwrap();
                    }
                    compute(STEP);
                    steps += 1;
                    assert!(yields().await);
                }
                steps
            }));
            let steps = steps.await;
            other.await.unwrap();
            steps
        });
        assert!(steps <= STEPS_MAX + 1, "{name}: {steps} steps");
    });
}

/// Leaves that are ready at their first poll do not yield until the turn's time is spent.
#[test]
fn ready_leaves_with_work_between_them_delay_no_other_task() {
    const LEAVES: usize = 100;
    const LEAVES_MAX: u32 = 10;
    everywhere(|builder| {
        let runtime = &mut builder.build().unwrap();
        let handles = runtime.block_on(async {
            let handles: Vec<_> = (0..LEAVES).map(|_| spawn(async {})).collect();
            while handles.iter().any(|handle| !handle.is_finished()) {
                yield_now().await;
            }
            handles
        });
        let passed = runtime.block_on(async {
            let over = Rc::new(Cell::new(false));
            let sets = over.clone();
            drop(spawn(async move {
                sleep(SOON).await.unwrap();
                sets.set(true);
            }));
            yield_now().await;
            let mut passed = 0;
            for handle in handles {
                if over.get() {
                    break;
                }
                compute(STEP);
                handle.await.unwrap();
                passed += 1;
            }
            passed
        });
        assert!(passed <= LEAVES_MAX, "{passed} handles");
        let past = Instant::now();
        let mut passed = 0;
        let ended = runtime.block_on(timeout(SOON, async {
            for _ in 0..LEAVES {
                compute(STEP);
                sleep_until(past).await?;
                passed += 1;
            }
            Ok::<_, Canceled>(())
        }));
        assert!(ended.unwrap_err().is_elapsed());
        assert!(passed <= LEAVES_MAX, "{passed} sleeps");
        let mut passed = 0;
        let ended = runtime.block_on(async {
            let file = File::open("Cargo.toml").await?;
            let reads = timeout(SOON, async {
                let mut buf = vec![0; 64];
                for _ in 0..LEAVES {
                    compute(STEP);
                    buf = file.read_at(buf, 0).await?.1;
                    passed += 1;
                }
                Ok::<_, std::io::Error>(())
            });
            reads.await.map_err(std::io::Error::from)
        });
        assert!(gimmal::is_timeout(&ended.unwrap_err()));
        assert!(passed <= LEAVES_MAX, "{passed} reads");
    });
}

/// No task yields: each one computes for long and is woken by its predecessor. A late timer makes the runtime check the
/// clock more often.
#[test]
fn tasks_that_wake_each_other_after_long_polls_delay_only_the_first_timers() {
    const TASKS: usize = 10;
    const POLLS_MAX: u64 = 6;
    everywhere(|builder| {
        builder.build().unwrap().block_on(async {
            let wakers = Rc::new(RefCell::new(vec![None::<Waker>; TASKS]));
            let (stop, polls) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0u64)));
            let tasks: Vec<_> = (0..TASKS)
                .map(|n| {
                    let (wakers, stop, polls) = (wakers.clone(), stop.clone(), polls.clone());
                    spawn(poll_fn(move |context| {
                        polls.set(polls.get() + 1);
                        if stop.get() {
                            return Poll::Ready(());
                        }
                        compute(Duration::from_millis(2));
                        let mut wakers = wakers.borrow_mut();
                        wakers[n] = Some(context.waker().clone());
                        if let Some(next) = &wakers[(n + 1) % TASKS] {
                            next.wake_by_ref();
                        }
                        Poll::Pending
                    }))
                })
                .collect();
            for round in 0..10 {
                let before = polls.get();
                sleep(Duration::from_millis(1)).await.unwrap();
                let between = polls.get() - before;
                // The first few timers may be late.
                assert!(round < 3 || between <= POLLS_MAX, "{between} polls");
            }
            stop.set(true);
            for waker in wakers.take().into_iter().flatten() {
                waker.wake();
            }
            for task in tasks {
                task.await.unwrap();
            }
        });
    });
}
