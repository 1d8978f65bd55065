//! Timers and I/O are served whatever is always ready. Bounds are in turns and polls, never in time.

use common::{counted, everywhere};
use gimmal::fs::File;
use gimmal::time::{Instant, sleep_until};
use gimmal::{Handle, sleep, spawn, task, yield_now};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// The number of ready leaves that a task passes in one poll: a constant of the runtime.
const LEAVES_PER_POLL: u32 = 128;
const NO_LIMIT: Duration = Duration::from_secs(3600);

#[test]
fn many_ready_tasks_do_not_delay_an_operation() {
    const STORM: u64 = 1000;
    const BUDGET: u32 = 100;
    everywhere(|builder| {
        let stop = Rc::new(Cell::new(false));
        builder
            .budget(BUDGET, NO_LIMIT)
            .build()
            .unwrap()
            .block_on(async {
                for _ in 0..STORM {
                    let stop = stop.clone();
                    drop(spawn(async move {
                        while !stop.get() {
                            yield_now().await;
                        }
                    }));
                }
                // One turn submits and reaps; then the ready queue is served once.
                let bound = STORM.div_ceil(u64::from(BUDGET)) + 3;
                for _ in 0..20 {
                    let before = Handle::current().stats().turns;
                    gimmal::op::nop().await.unwrap();
                    let turns = Handle::current().stats().turns - before;
                    assert!(
                        turns <= bound,
                        "{turns} turns for one no-op, {bound} allowed"
                    );
                }
                stop.set(true);
            });
    });
}

#[test]
fn many_ready_tasks_do_not_delay_a_timer() {
    const STORM: u64 = 1000;
    const BUDGET: u32 = 100;
    everywhere(|builder| {
        let stop = Rc::new(Cell::new(false));
        let due = Rc::new(Cell::new(None::<Instant>));
        let seen = Rc::new(Cell::new(None::<u64>));
        builder
            .budget(BUDGET, NO_LIMIT)
            .build()
            .unwrap()
            .block_on(async {
                for _ in 0..STORM {
                    let (stop, due, seen) = (stop.clone(), due.clone(), seen.clone());
                    drop(spawn(async move {
                        let handle = Handle::current();
                        while !stop.get() {
                            // The first task that sees that the deadline has passed records the turn.
                            if seen.get().is_none()
                                && due.get().is_some_and(|due| Instant::now() >= due)
                            {
                                seen.set(Some(handle.stats().turns));
                            }
                            yield_now().await;
                        }
                    }));
                }
                let bound = STORM.div_ceil(u64::from(BUDGET)) + 2;
                for _ in 0..10 {
                    let deadline = Instant::now() + Duration::from_millis(3);
                    seen.set(None);
                    due.set(Some(deadline));
                    sleep_until(deadline).await.unwrap();
                    let now = Handle::current().stats().turns;
                    let late = now - seen.get().unwrap_or(now);
                    assert!(late <= bound, "late by {late} turns, {bound} allowed");
                }
                stop.set(true);
            });
    });
}

#[test]
fn turns_without_time_end_up_polling_one_task_each() {
    everywhere(|builder| {
        let stop = Rc::new(Cell::new(false));
        let builder = builder.budget(u32::MAX, Duration::ZERO);
        builder.build().unwrap().block_on(async {
            for _ in 0..61 {
                let stop = stop.clone();
                drop(spawn(async move {
                    while !stop.get() {
                        yield_now().await;
                    }
                }));
            }
            // The first turn checks the clock after 15 and 31 polls, and finds that they took long.
            yield_now().await;
            let before = Handle::current().stats();
            for _ in 0..10 {
                yield_now().await;
            }
            let after = Handle::current().stats();
            assert_eq!(after.polls - before.polls, 620);
            assert_eq!(after.turns - before.turns, 620);
            stop.set(true);
        });
    });
}

/// Runs a loop over a leaf that is always ready beside a timer and an operation, and checks that both complete.
fn beside_a_timer<F: Future<Output = ()> + 'static>(
    builder: gimmal::runtime::Builder,
    always_ready: impl Fn(Rc<Cell<bool>>, Rc<Cell<u32>>) -> F,
) {
    let (stop, passed) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0)));
    let polls = Rc::new(Cell::new(0));
    builder.build().unwrap().block_on(async {
        let spinner = spawn(counted(&polls, always_ready(stop.clone(), passed.clone())));
        for _ in 0..3 {
            gimmal::op::nop().await.unwrap();
            sleep(Duration::from_micros(300)).await.unwrap();
        }
        stop.set(true);
        spinner.await.unwrap();
    });
    assert!(polls.get() > 1);
    let most = polls.get() * LEAVES_PER_POLL;
    assert!(
        passed.get() <= most,
        "{} leaves in {} polls",
        passed.get(),
        polls.get()
    );
}

#[test]
fn a_loop_over_zero_sleeps_lets_other_tasks_run() {
    everywhere(|builder| {
        beside_a_timer(builder, |stop, passed| async move {
            while !stop.get() {
                sleep(Duration::ZERO).await.unwrap();
                passed.set(passed.get() + 1);
            }
        });
    });
}

#[test]
fn a_loop_over_overdue_ticks_lets_other_tasks_run() {
    everywhere(|builder| {
        beside_a_timer(builder, |stop, passed| async move {
            let mut ticks = gimmal::time::interval(Duration::from_nanos(1));
            while !stop.get() {
                ticks.tick().await.unwrap();
                passed.set(passed.get() + 1);
            }
        });
    });
}

/// A read into an empty buffer is rejected without the kernel, so it is ready at its first poll.
#[test]
fn a_loop_over_rejected_operations_lets_other_tasks_run() {
    everywhere(|builder| {
        beside_a_timer(builder, |stop, passed| async move {
            let file = File::open("/dev/null").await.unwrap();
            while !stop.get() {
                let refused = file.read_at(Vec::new(), 0).await;
                assert!(refused.is_err());
                passed.set(passed.get() + 1);
            }
        });
    });
}

/// So is an operation with an opcode that the kernel lacks.
#[test]
fn a_loop_over_unsupported_operations_lets_other_tasks_run() {
    everywhere(|builder| {
        let lacking =
            gimmal::runtime::FeatureMask::linux_5_15().without_opcode(gimmal::op::Opcode::FSYNC);
        beside_a_timer(builder.mask(lacking), |stop, passed| async move {
            let file = File::open("/dev/null").await.unwrap();
            while !stop.get() {
                let error = file.sync_all().await.unwrap_err();
                assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
                passed.set(passed.get() + 1);
            }
        });
    });
}

#[test]
fn ten_thousand_finished_handles_take_one_poll_per_budget() {
    const HANDLES: u32 = 10_000;
    everywhere(|builder| {
        let polls = Rc::new(Cell::new(0));
        let builder = builder.budget(256, NO_LIMIT);
        builder.build().unwrap().block_on(async {
            let handles: Vec<_> = (0..HANDLES).map(|n| spawn(async move { n })).collect();
            while Handle::current().stats().tasks > 1 {
                yield_now().await;
            }
            let joiner = spawn(counted(&polls, async move {
                let mut sum = 0u64;
                for handle in handles {
                    sum += u64::from(handle.await.unwrap());
                }
                sum
            }));
            assert_eq!(
                joiner.await.unwrap(),
                u64::from(HANDLES) * u64::from(HANDLES - 1) / 2
            );
        });
        assert_eq!(polls.get(), HANDLES.div_ceil(LEAVES_PER_POLL));
    });
}

#[test]
fn a_thousand_finished_closures_take_one_poll_per_budget() {
    const CLOSURES: u32 = 1000;
    everywhere(|builder| {
        let polls = Rc::new(Cell::new(0));
        builder
            .blocking_threads(2)
            .budget(256, NO_LIMIT)
            .build()
            .unwrap()
            .block_on(async {
                let handles: Vec<_> = (0..CLOSURES)
                    .map(|n| task::spawn_blocking(move || n))
                    .collect();
                while !handles.iter().all(|handle| handle.is_finished()) {
                    yield_now().await;
                }
                let joiner = spawn(counted(&polls, async move {
                    for (n, handle) in (0..).zip(handles) {
                        assert_eq!(handle.await.unwrap(), n);
                    }
                }));
                joiner.await.unwrap();
            });
        assert_eq!(polls.get(), CLOSURES.div_ceil(LEAVES_PER_POLL));
    });
}

/// Tasks that wake each other in a circle never leave the ready queue empty.
#[test]
fn tasks_that_spawn_their_successors_do_not_delay_an_operation() {
    fn next(stop: Rc<Cell<bool>>) -> std::pin::Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async move {
            if !stop.get() {
                drop(spawn(next(stop.clone())));
                drop(spawn(async {}));
            }
        })
    }
    everywhere(|builder| {
        let stop = Rc::new(Cell::new(false));
        builder
            .budget(64, NO_LIMIT)
            .build()
            .unwrap()
            .block_on(async {
                drop(spawn(next(stop.clone())));
                for _ in 0..10 {
                    let before = Handle::current().stats().turns;
                    gimmal::op::nop().await.unwrap();
                    assert!(Handle::current().stats().turns - before <= 3);
                }
                stop.set(true);
            });
    });
}
