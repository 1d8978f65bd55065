//! Time: never early, in order, and nothing missed; with all features of this kernel and with those of 6.1 and 5.15.
//!
//! Lateness is measured and printed but not asserted, since the machines that run the tests are shared.

use common::{Random, counted, everywhere, poll_once, poll_with};
use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::{FutureExt, future, select};
use gimmal::cancel::Scope;
use gimmal::fs::File;
use gimmal::runtime::FeatureMask;
use gimmal::time::{Instant, MissedTicks, interval, interval_at, sleep_until};
use gimmal::{Canceled, Handle, Runtime, sleep, spawn, yield_now};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::mpsc;
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(3600);
/// Long enough for a poll to come before the deadline, even on a shared machine.
const PENDING: Duration = Duration::from_millis(50);

fn micros(n: u64) -> Duration {
    Duration::from_micros(n)
}

/// The clock of the machine, to compare with the runtime's.
fn monotonic() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is valid for writes for the length of the call.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    assert_eq!(failed, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[test]
fn a_sleep_is_never_early() {
    everywhere(|builder| {
        let mut random = Random::new();
        builder.build().unwrap().block_on(async {
            let tasks: Vec<_> = (0..2_000)
                .map(|_| {
                    // From zero to 50 ms, short ones more often.
                    let bits = random.below(26);
                    let wait = Duration::from_nanos(random.next() & ((1 << bits) - 1));
                    spawn(async move {
                        let (start, machine) = (Instant::now(), monotonic());
                        sleep(wait).await.unwrap();
                        assert!(start.elapsed() >= wait);
                        assert!(monotonic() - machine >= wait);
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            assert_eq!(Handle::current().stats().timers, 0);
        });
    });
}

#[test]
fn timers_armed_in_one_turn_fire_by_nanosecond_and_then_in_order_of_arming() {
    everywhere(|builder| {
        let mut random = Random::new();
        let order = Rc::new(RefCell::new(Vec::new()));
        let builder = builder.virtual_time().budget(10_000, LONG);
        builder.build().unwrap().block_on(async {
            // Far enough away that all timers are armed by then.
            let base = Instant::now() + Duration::from_millis(300);
            let tasks: Vec<_> = (0..2_000u32)
                .map(|n| {
                    let deadline = base + Duration::from_nanos(random.below(500) as u64);
                    let order = order.clone();
                    spawn(async move {
                        let mut slept = sleep_until(deadline);
                        assert!(poll_once(&mut slept).await.is_pending());
                        slept.await.unwrap();
                        order.borrow_mut().push((deadline, n));
                    })
                })
                .collect();
            future::join_all(tasks).await;
        });
        let order = order.take();
        assert!(order.is_sorted(), "by deadline, then in order of arming");
    });
}

#[test]
fn an_earlier_timer_set_later_is_not_missed() {
    everywhere(|builder| {
        builder.virtual_time().build().unwrap().block_on(async {
            let far = spawn(sleep(LONG));
            yield_now().await;
            for _ in 0..20 {
                let start = Instant::now();
                let near = spawn(async { sleep(micros(300)).await });
                near.await.unwrap().unwrap();
                assert!(start.elapsed() < LONG);
            }
            let mut waits: Vec<_> = (1..=8).rev().map(|n| sleep(PENDING * n)).collect();
            for wait in &mut waits {
                assert!(poll_once(wait).await.is_pending());
            }
            // The timer armed last fires first.
            waits.pop().unwrap().await.unwrap();
            future::join_all(waits).await;
            far.abort();
        });
    });
}

/// The runtime waits in the kernel for a far deadline when another thread makes a task set a near one.
#[test]
fn an_earlier_timer_set_while_the_runtime_waits_is_not_missed() {
    everywhere(|builder| {
        let (send, receive) = async_channel::bounded::<u64>(1);
        let (tell, told) = mpsc::channel();
        let asker = thread::spawn(move || {
            for n in 0..50 {
                // Usually long enough for the runtime to sleep again. The test passes in either case.
                thread::sleep(micros(300));
                send.send_blocking(n).unwrap();
                assert_eq!(told.recv(), Ok(n));
            }
        });
        builder.build().unwrap().block_on(async {
            let far = spawn(sleep(LONG));
            while let Ok(n) = receive.recv().await {
                sleep(micros(200)).await.unwrap();
                tell.send(n).unwrap();
            }
            assert!(!far.is_finished());
            drop(far);
            asker.join().unwrap();
        });
    });
}

#[test]
fn a_timer_set_by_one_task_while_all_others_sleep() {
    everywhere(|builder| {
        builder.virtual_time().build().unwrap().block_on(async {
            let sleepers: Vec<_> = (0..100).map(|_| spawn(sleep(LONG))).collect();
            let chain = spawn(async {
                for n in (0..30u64).rev() {
                    sleep(micros(n * 20)).await.unwrap();
                }
            });
            chain.await.unwrap();
            assert_eq!(Handle::current().stats().timers, 100);
            for sleeper in &sleepers {
                sleeper.abort();
            }
            future::join_all(sleepers).await;
            assert_eq!(Handle::current().stats().timers, 0);
        });
    });
}

#[test]
fn a_hundred_thousand_sleeps_at_once() {
    const SLEEPS: u64 = 100_000;
    let mut random = Random::new();
    let ended = Rc::new(Cell::new(0));
    Runtime::new().unwrap().block_on(async {
        for _ in 0..SLEEPS {
            let (wait, ended) = (micros(random.below(500_000) as u64), ended.clone());
            drop(spawn(async move {
                let start = Instant::now();
                sleep(wait).await.unwrap();
                assert!(start.elapsed() >= wait);
                ended.set(ended.get() + 1);
            }));
        }
        while Handle::current().stats().tasks > 1 {
            sleep(Duration::from_millis(5)).await.unwrap();
        }
        assert_eq!(Handle::current().stats().timers, 0);
    });
    assert_eq!(ended.get(), SLEEPS);
}

#[test]
fn a_sleep_is_polled_at_its_start_and_at_its_end() {
    everywhere(|builder| {
        let polls = Rc::new(Cell::new(0));
        builder.virtual_time().build().unwrap().block_on(async {
            spawn(counted(&polls, sleep(PENDING)))
                .await
                .unwrap()
                .unwrap();
        });
        assert_eq!(polls.get(), 2);
    });
}

#[test]
fn a_past_deadline_is_ready_at_once_and_arms_no_timer() {
    everywhere(|builder| {
        builder.budget(256, LONG).build().unwrap().block_on(async {
            let now = Instant::now();
            for past in [now, now - Duration::from_secs(1), now - Duration::MAX] {
                let mut slept = sleep_until(past);
                assert!(slept.is_elapsed());
                assert_eq!(poll_once(&mut slept).await, Poll::Ready(Ok(())));
                assert_eq!(Handle::current().stats().timers, 0);
                // A completed sleep stays ready.
                assert_eq!(poll_once(&mut slept).await, Poll::Ready(Ok(())));
            }
        });
    });
}

#[test]
fn a_zero_sleep_yields_once_and_arms_no_timer() {
    everywhere(|builder| {
        builder.build().unwrap().block_on(async {
            let order = Rc::new(RefCell::new(Vec::new()));
            for n in 1..=2 {
                let order = order.clone();
                drop(spawn(async move { order.borrow_mut().push(n) }));
            }
            let polls = Rc::new(Cell::new(0));
            let mut slept = counted(&polls, sleep(Duration::ZERO));
            (&mut slept).await.unwrap();
            assert_eq!(Handle::current().stats().timers, 0);
            order.borrow_mut().push(3);
            assert_eq!(*order.borrow(), [1, 2, 3]);
            assert_eq!(polls.get(), 2);
            // A completed sleep stays ready.
            assert_eq!(poll_once(&mut slept).await, Poll::Ready(Ok(())));
            let mut moved = sleep(Duration::ZERO);
            moved.reset(Instant::now() + LONG);
            yield_now().await;
            assert!(poll_once(&mut moved).await.is_pending());
            assert_eq!(Handle::current().stats().timers, 1);
        });
    });
}

/// Before it has yielded once, and after.
#[test]
fn a_zero_sleep_in_a_canceled_scope_is_canceled() {
    everywhere(|builder| {
        builder.build().unwrap().block_on(async {
            for begins_before in [true, false] {
                let scope = Scope::new();
                let mut slept = sleep(Duration::ZERO);
                let ended = scope.run_any(async {
                    if begins_before {
                        assert!(poll_once(&mut slept).await.is_pending());
                    }
                    scope.cancel();
                    (&mut slept).await
                });
                assert_eq!(ended.await.unwrap(), Err(Canceled));
                // Outside the scope, it can be used again.
                slept.await.unwrap();
            }
            assert_eq!(Handle::current().stats().timers, 0);
        });
    });
}

#[test]
fn an_unrepresentable_deadline_never_passes() {
    everywhere(|builder| {
        builder.virtual_time().build().unwrap().block_on(async {
            let mut never = sleep(Duration::MAX);
            assert!(poll_once(&mut never).await.is_pending());
            sleep(micros(500)).await.unwrap();
            assert!(poll_once(&mut never).await.is_pending());
            assert!(!never.is_elapsed());
            drop(never);
            assert_eq!(Handle::current().stats().timers, 0);
        });
    });
}

#[test]
fn a_sleep_can_be_moved_earlier_and_later() {
    everywhere(|builder| {
        builder.virtual_time().build().unwrap().block_on(async {
            let mut slept = sleep(LONG);
            assert!(poll_once(&mut slept).await.is_pending());
            let near = Instant::now() + micros(300);
            slept.reset(near);
            assert_eq!(slept.deadline(), near);
            assert_eq!(Handle::current().stats().timers, 0);
            (&mut slept).await.unwrap();
            assert!(Instant::now() >= near);
            // A completed sleep can be used again.
            let again = Instant::now() + micros(300);
            slept.reset(again);
            (&mut slept).await.unwrap();
            assert!(Instant::now() >= again);
            let mut slept = sleep(PENDING);
            assert!(poll_once(&mut slept).await.is_pending());
            let far = Instant::now() + LONG;
            slept.reset(far);
            sleep(PENDING).await.unwrap();
            assert!(poll_once(&mut slept).await.is_pending());
        });
    });
}

#[test]
fn a_sleep_dropped_at_every_poll_leaves_no_timer() {
    everywhere(|builder| {
        builder.virtual_time().build().unwrap().block_on(async {
            let timers = || Handle::current().stats().timers;
            drop(sleep(LONG));
            let mut slept = sleep(LONG);
            for _ in 0..3 {
                assert!(poll_once(&mut slept).await.is_pending());
                assert_eq!(timers(), 1);
            }
            drop(slept);
            assert_eq!(timers(), 0);
            // Fired, but not polled.
            let mut slept = sleep(PENDING);
            assert!(poll_once(&mut slept).await.is_pending());
            sleep(PENDING).await.unwrap();
            assert_eq!(timers(), 1);
            drop(slept);
            assert_eq!(timers(), 0);
            // Completed.
            let mut slept = sleep(micros(100));
            (&mut slept).await.unwrap();
            assert_eq!(timers(), 0);
            drop(slept);
            // In a task that is aborted at each of its polls.
            for polls in 0..4 {
                let task = spawn(async {
                    sleep(micros(50)).await.unwrap();
                    sleep(LONG).await.unwrap();
                });
                for _ in 0..polls {
                    sleep(micros(60)).await.unwrap();
                }
                task.abort();
                assert!(task.await.unwrap_err().is_aborted());
                assert_eq!(timers(), 0);
            }
        });
    });
}

#[test]
fn timers_are_set_moved_and_dropped_at_random() {
    everywhere(|builder| {
        let mut random = Random::new();
        builder.build().unwrap().block_on(async {
            let mut sleeps = Vec::new();
            for _ in 0..20_000 {
                match random.below(6) {
                    0 | 1 => sleeps.push(sleep(micros(random.below(3_000) as u64))),
                    2 if !sleeps.is_empty() => {
                        let at = random.below(sleeps.len());
                        drop(sleeps.swap_remove(at));
                    }
                    3 if !sleeps.is_empty() => {
                        let at = random.below(sleeps.len());
                        sleeps[at].reset(Instant::now() + micros(random.below(3_000) as u64));
                    }
                    4 if !sleeps.is_empty() => {
                        let at = random.below(sleeps.len());
                        let deadline = sleeps[at].deadline();
                        if poll_once(&mut sleeps[at]).await.is_ready() {
                            assert!(Instant::now() >= deadline);
                            drop(sleeps.swap_remove(at));
                        }
                    }
                    _ => yield_now().await,
                }
                assert!(Handle::current().stats().timers <= sleeps.len());
            }
            for slept in sleeps {
                let deadline = slept.deadline();
                slept.await.unwrap();
                assert!(Instant::now() >= deadline);
            }
            assert_eq!(Handle::current().stats().timers, 0);
        });
    });
}

#[test]
fn sleeps_work_in_foreign_combinators() {
    everywhere(|builder| {
        builder
            .virtual_time()
            .jump_threshold(Duration::ZERO)
            .build()
            .unwrap()
            .block_on(async {
                // `FuturesUnordered` yields them in order of completion.
                let start = Instant::now();
                let mut all: FuturesUnordered<_> = [5u32, 1, 4, 2, 3]
                    .into_iter()
                    .map(|n| sleep_until(start + PENDING * n).map(move |slept| (n, slept)))
                    .collect();
                let mut order = Vec::new();
                while let Some((n, slept)) = all.next().await {
                    slept.unwrap();
                    assert!(start.elapsed() >= PENDING * n);
                    order.push(n);
                }
                assert_eq!(order, [1, 2, 3, 4, 5]);
                let first = select! {
                    _ = sleep(LONG).fuse() => "far",
                    near = sleep(micros(200)).fuse() => { near.unwrap(); "near" }
                };
                assert_eq!(first, "near");
                let all = future::join_all((0..500).map(|n| sleep(micros(n * 3)))).await;
                assert!(all.iter().all(|slept| *slept == Ok(())));
                assert_eq!(Handle::current().stats().timers, 0);
            });
    });
}

#[test]
fn a_sleep_that_moves_between_tasks_wakes_its_last_poller() {
    everywhere(|builder| {
        let (first, second) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        builder.virtual_time().build().unwrap().block_on(async {
            let (send, receive) = async_channel::bounded(1);
            let giver = spawn(counted(&first, async move {
                let mut slept = sleep(PENDING);
                assert!(poll_once(&mut slept).await.is_pending());
                send.send(slept).await.unwrap();
                std::future::pending::<()>().await;
            }));
            let taker = spawn(counted(&second, async move {
                receive.recv().await.unwrap().await.unwrap();
            }));
            taker.await.unwrap();
            assert_eq!(first.get(), 1);
            assert!(second.get() >= 2);
            giver.abort();
        });
    });
}

#[test]
fn a_sleep_may_outlive_its_runtime_but_not_be_polled_in_another() {
    everywhere(|builder| {
        let mut one = builder.clone().build().unwrap();
        let mut two = builder.build().unwrap();
        let (mut kept, dropped) = one.block_on(async {
            let (mut kept, mut dropped) = (sleep(LONG), sleep(LONG));
            assert!(poll_once(&mut kept).await.is_pending());
            assert!(poll_once(&mut dropped).await.is_pending());
            (kept, dropped)
        });
        // Dropped while its runtime exists but does not run, and another one runs.
        two.block_on(async { drop(dropped) });
        assert_eq!(one.handle().stats().timers, 1);
        let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            two.block_on(async { poll_once(&mut kept).await.is_pending() })
        }));
        let payload = polled.unwrap_err();
        assert!(
            payload
                .downcast_ref::<String>()
                .unwrap()
                .contains("another gimmal runtime")
        );
        drop(one);
        assert!(!kept.is_elapsed());
        kept.reset(Instant::now());
        // After a reset, the sleep is not armed, and any runtime may poll it.
        two.block_on(kept).unwrap();
    });
}

#[test]
fn an_interval_ticks_at_once_and_then_once_a_period() {
    everywhere(|builder| {
        builder.build().unwrap().block_on(async {
            let period = micros(700);
            let start = Instant::now();
            let mut ticks = interval(period);
            assert_eq!(ticks.period(), period);
            let first = ticks.tick().await.unwrap();
            assert!(first >= start);
            for n in 1..=10 {
                let due = ticks.tick().await.unwrap();
                assert_eq!(due, first + period * n);
                assert!(Instant::now() >= due);
            }
            let later = Instant::now() + Duration::from_millis(2);
            let mut ticks = interval_at(later, period);
            assert_eq!(ticks.tick().await.unwrap(), later);
            assert!(Instant::now() >= later);
        });
    });
}

#[test]
fn missed_ticks_burst_or_are_delayed_or_skipped() {
    everywhere(|builder| {
        builder.build().unwrap().block_on(async {
            let period = Duration::from_millis(1);
            // The start is three and a half periods in the past.
            let start = || Instant::now() - period * 7 / 2;
            let first = start();
            let mut burst = interval_at(first, period);
            for n in 0..8 {
                assert_eq!(burst.tick().await.unwrap(), first + period * n);
            }
            let first = start();
            let mut skip = interval_at(first, period).missed_ticks(MissedTicks::Skip);
            let before = Instant::now();
            assert_eq!(skip.tick().await.unwrap(), first);
            let mut last = skip.tick().await.unwrap();
            assert!(last > before, "one tick, not all the missed ones");
            for _ in 0..3 {
                let due = skip.tick().await.unwrap();
                assert!(due > last);
                // A multiple of the period from the start, however late it is.
                assert_eq!((due - first).as_nanos() % period.as_nanos(), 0);
                last = due;
            }
            let first = start();
            let mut delay = interval_at(first, period).missed_ticks(MissedTicks::Delay);
            assert_eq!(delay.tick().await.unwrap(), first);
            let now = Instant::now();
            let second = delay.tick().await.unwrap();
            assert!(second <= now + period && second > first + period * 4);
        });
    });
}

#[test]
fn a_dropped_tick_is_not_consumed() {
    everywhere(|builder| {
        builder.virtual_time().build().unwrap().block_on(async {
            let first = Instant::now() + PENDING;
            let mut ticks = interval_at(first, LONG);
            for _ in 0..5 {
                let mut tick = Box::pin(ticks.tick());
                assert!(poll_once(&mut tick).await.is_pending());
            }
            assert_eq!(Handle::current().stats().timers, 1);
            assert_eq!(ticks.tick().await.unwrap(), first);
            drop(ticks);
            assert_eq!(Handle::current().stats().timers, 0);
        });
    });
}

#[test]
fn a_canceled_tick_is_not_consumed() {
    everywhere(|builder| {
        let ended: std::io::Result<()> = builder.grace_period(Duration::from_secs(20)).run(async {
            drop(spawn(async {
                let mut ticks = interval_at(Instant::now() + LONG, LONG);
                let due = {
                    let error = ticks.tick().await;
                    assert_eq!(error, Err(Canceled));
                    assert_eq!(ticks.tick().await, Err(Canceled));
                    ticks.period()
                };
                assert_eq!(due, LONG);
                assert_eq!(Handle::current().stats().timers, 0);
            }));
            yield_now().await;
            Ok(())
        });
        ended.unwrap();
    });
}

#[test]
fn a_zero_interval_is_rejected() {
    let refused = std::panic::catch_unwind(|| interval(Duration::ZERO));
    let payload = refused.map(drop).unwrap_err();
    assert!(
        payload
            .downcast_ref::<&str>()
            .unwrap()
            .contains("must not be zero")
    );
}

#[test]
fn time_advances_outside_a_runtime() {
    let before = Instant::now();
    let mut slept = sleep(LONG);
    assert!(slept.deadline() > before);
    assert!(!slept.is_elapsed());
    slept.reset(before);
    assert!(slept.is_elapsed());
    assert!(before.elapsed() < LONG);
    Runtime::new().unwrap().block_on(slept).unwrap();
}

/// Deadlines pass while the runtime does not run; the next `block_on` fires them.
#[test]
fn deadlines_that_pass_between_two_runs_are_not_missed() {
    everywhere(|builder| {
        let mut runtime = builder.build().unwrap();
        let task = runtime.spawn(sleep(PENDING));
        runtime.block_on(yield_now());
        thread::sleep(PENDING);
        assert!(!task.is_finished());
        runtime.block_on(task).unwrap().unwrap();
    });
}

/// A timer polled with a waker that does nothing still fires, and its row stays until the sleep is dropped.
#[test]
fn a_timer_without_an_effective_waker_fires() {
    everywhere(|builder| {
        builder.virtual_time().build().unwrap().block_on(async {
            let mut slept = sleep(PENDING);
            assert!(poll_with(Waker::noop(), &mut slept).is_pending());
            sleep(PENDING).await.unwrap();
            assert_eq!(poll_with(Waker::noop(), &mut slept), Poll::Ready(Ok(())));
            assert_eq!(Handle::current().stats().timers, 0);
        });
    });
}

fn percentile(sorted: &[Duration], part: usize) -> Duration {
    sorted[(sorted.len() * part / 100).min(sorted.len() - 1)]
}

/// The lateness of sleeps of 10 ms, some of them concurrent.
async fn lateness(sleeps: usize) -> Vec<Duration> {
    let late = Rc::new(RefCell::new(Vec::new()));
    let tasks: Vec<_> = (0..4)
        .map(|n| {
            let late = late.clone();
            spawn(async move {
                sleep(micros(n * 2_500)).await.unwrap();
                for _ in 0..sleeps {
                    let wait = Duration::from_millis(10);
                    let start = Instant::now();
                    sleep(wait).await.unwrap();
                    let took = start.elapsed();
                    assert!(took >= wait, "a sleep of 10 ms took {took:?}");
                    late.borrow_mut().push(took - wait);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let mut late = late.take();
    late.sort_unstable();
    late
}

/// Prints the figures, and only asserts that no sleep is early.
#[test]
fn lateness_of_sleeps_of_ten_milliseconds() {
    for (name, mask) in [
        ("this kernel", FeatureMask::none()),
        ("6.1", FeatureMask::linux_6_1()),
        ("5.15", FeatureMask::linux_5_15()),
    ] {
        let mut runtime = Runtime::builder().mask(mask).build().unwrap();
        for under_io in [false, true] {
            let late = runtime.block_on(async {
                let stop = Rc::new(Cell::new(false));
                let readers: Vec<_> = (0..if under_io { 8 } else { 0 })
                    .map(|_| {
                        let stop = stop.clone();
                        spawn(async move {
                            let file = File::open("Cargo.lock").await.unwrap();
                            let mut buffer = Vec::with_capacity(4096);
                            while !stop.get() {
                                buffer = file.read_at(buffer, 0).await.unwrap().1;
                            }
                        })
                    })
                    .collect();
                let late = lateness(50).await;
                stop.set(true);
                future::join_all(readers).await;
                late
            });
            println!(
                "{name}, {}: p50 {:?}, p99 {:?}, most {:?} late",
                if under_io { "under I/O" } else { "idle" },
                percentile(&late, 50),
                percentile(&late, 99),
                late[late.len() - 1],
            );
        }
    }
}

#[test]
fn a_reset_interval_ticks_a_period_later() {
    everywhere(|builder| {
        builder.build().unwrap().block_on(async {
            let period = micros(700);
            // Overdue, far away, and armed.
            for start in [Instant::now() - period * 5, Instant::now() + LONG] {
                for armed in [false, true] {
                    let mut ticks = interval_at(start, period);
                    if armed && start > Instant::now() {
                        assert!(poll_once(&mut Box::pin(ticks.tick())).await.is_pending());
                        assert_eq!(Handle::current().stats().timers, 1);
                    }
                    let before = Instant::now();
                    ticks.reset();
                    let after = Instant::now();
                    assert_eq!(Handle::current().stats().timers, 0);
                    let due = ticks.tick().await.unwrap();
                    assert!(before + period <= due && due <= after + period);
                    assert!(Instant::now() >= due);
                    assert_eq!(ticks.tick().await.unwrap(), due + period);
                }
            }
        });
    });
}

#[test]
fn an_interval_is_a_stream_of_its_ticks() {
    everywhere(|builder| {
        builder.virtual_time().build().unwrap().block_on(async {
            let period = micros(700);
            let first = Instant::now() + Duration::from_millis(2);
            let mut ticks = interval_at(first, period);
            // A dropped wait consumes no tick, and both kinds of waits alternate.
            assert!(poll_once(&mut Box::pin(ticks.next())).await.is_pending());
            for n in 0..6 {
                let due = match n % 2 {
                    0 => ticks.next().await.unwrap(),
                    _ => ticks.tick().await,
                };
                assert_eq!(due, Ok(first + period * n));
            }
            drop(ticks);
            assert_eq!(Handle::current().stats().timers, 0);

            // A canceled wait returns an error, and the stream has not ended.
            let first = Instant::now() + PENDING;
            let mut ticks = interval_at(first, LONG);
            let scope = gimmal::cancel::Scope::new();
            scope.cancel();
            let rejected = scope.run_any(ticks.next()).await;
            assert!(matches!(rejected, Ok(Some(Err(Canceled)))), "{rejected:?}");
            assert_eq!(ticks.next().await, Some(Ok(first)));
        });
    });
}
