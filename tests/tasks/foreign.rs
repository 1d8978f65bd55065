//! Foreign wakers and combinators: FuturesUnordered, select, join_all, and a waker whose functions call back into the
//! runtime or panic (R1).

use crate::support::{Done, Faults, Journal, everywhere, foreign_waker, pipe, poll_with};
use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::{FutureExt, future, select};
use gimmal::fs::File;
use gimmal::{Handle, Runtime, sleep, spawn, task, yield_now};
use std::cell::{Cell, RefCell};
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(3600);
/// Long enough for a poll to come before the deadline, even on a shared machine.
const SURELY_PENDING: Duration = Duration::from_millis(100);

type Boxed<T> = Pin<Box<dyn Future<Output = T>>>;

#[test]
fn futures_unordered_over_sleeps_handles_operations_and_closures() {
    everywhere(|builder| {
        builder.build().unwrap().block_on(async {
            let mut all: FuturesUnordered<Boxed<u32>> = FuturesUnordered::new();
            for n in 0..100u32 {
                let wait = Duration::from_micros(u64::from(n) * 20);
                all.push(Box::pin(async move {
                    sleep(wait).await.unwrap();
                    n
                }));
                all.push(Box::pin(spawn(async move { n }).map(Result::unwrap)));
                all.push(Box::pin(async move {
                    gimmal::op::nop().await.unwrap();
                    n
                }));
                all.push(Box::pin(
                    task::spawn_blocking(move || n).map(Result::unwrap),
                ));
            }
            let mut sum = 0;
            let mut count = 0;
            while let Some(n) = all.next().await {
                sum += n;
                count += 1;
            }
            assert_eq!((count, sum), (400, 4 * 4950));
            let stats = Handle::current().stats();
            assert_eq!(
                (stats.timers, stats.operation_rows, stats.task_rows),
                (0, 0, 1)
            );
        });
    });
}

#[test]
fn join_all_over_sleeps_handles_and_operations() {
    everywhere(|builder| {
        builder.build().unwrap().block_on(async {
            let joined = future::join_all((0..200u32).map(|n| spawn(async move { n }))).await;
            let joined: Vec<u32> = joined.into_iter().map(Result::unwrap).collect();
            assert_eq!(joined, (0..200).collect::<Vec<_>>());
            let slept = future::join_all((0..200).map(|n| sleep(Duration::from_micros(n)))).await;
            assert!(slept.iter().all(Result::is_ok));
            let nops = future::join_all((0..200).map(|_| gimmal::op::nop())).await;
            assert!(nops.iter().all(Result::is_ok));
        });
    });
}

#[test]
fn select_drops_the_losers_and_leaves_nothing() {
    everywhere(|builder| {
        let (reader, _writer) = pipe();
        builder.build().unwrap().block_on(async {
            let file = File::from(reader);
            let mut handle = spawn(pending::<()>());
            for _ in 0..50 {
                select! {
                    _ = sleep(LONG).fuse() => unreachable!(),
                    _ = (&mut handle).fuse() => unreachable!(),
                    _ = file.read(Vec::with_capacity(4)).fuse() => unreachable!(),
                    done = gimmal::op::nop().fuse() => done.unwrap(),
                }
            }
            while Handle::current().stats().operation_rows > 0 {
                gimmal::op::nop().await.unwrap();
            }
            let stats = Handle::current().stats();
            assert_eq!((stats.timers, stats.orphans, stats.task_rows), (0, 0, 2));
            handle.abort();
        });
    });
}

/// A wait with a foreign waker, and whether it ended as it should.
type Position = (&'static str, fn() -> Boxed<bool>);

/// Every leaf, pending and ready at once.
fn positions() -> Vec<Position> {
    vec![
        ("a pending join", || {
            Box::pin(
                spawn(async {
                    for _ in 0..3 {
                        yield_now().await;
                    }
                    5
                })
                .map(|joined| matches!(joined, Ok(5))),
            )
        }),
        ("a pending sleep", || {
            Box::pin(sleep(Duration::from_micros(200)).map(|slept| slept.is_ok()))
        }),
        ("a sleep that is over", || {
            let now = gimmal::time::Instant::now();
            Box::pin(gimmal::time::sleep_until(now).map(|slept| slept.is_ok()))
        }),
        ("an operation", || {
            Box::pin(gimmal::op::nop().map(|done| done.is_ok()))
        }),
        ("a submitted operation", || {
            Box::pin(gimmal::op::nop().submit().map(|done| done.is_ok()))
        }),
        ("a rejected operation", || {
            let lacking = gimmal::op::Op::new(Lacking);
            Box::pin(lacking.map(|refused| refused.is_err()))
        }),
        ("a closure", || {
            Box::pin(task::spawn_blocking(|| 6).map(|ran| matches!(ran, Ok(6))))
        }),
        ("a closure that panics", || {
            Box::pin(
                task::spawn_blocking(|| panic!("in the pool"))
                    .map(|ran: Result<(), _>| ran.is_err_and(|error| error.is_panic())),
            )
        }),
    ]
}

/// An opcode that no kernel has.
struct Lacking;

// SAFETY: the entry has neither an address nor a descriptor.
unsafe impl gimmal::op::Operation for Lacking {
    type Output = std::io::Result<()>;
    const NAME: &'static str = "lacking";

    fn entry(&mut self) -> gimmal::op::Entry {
        gimmal::op::Entry::new(gimmal::op::Opcode::new(254))
    }

    fn complete(self, completion: gimmal::op::Completion) -> Self::Output {
        completion.result().map(drop)
    }

    fn fail(self, error: std::io::Error) -> Self::Output {
        Err(error)
    }

    fn had_no_effect(&self, _: gimmal::op::Completion) -> bool {
        true
    }

    fn dispose(&mut self, _: gimmal::op::Completion) {}
}

/// Polls the future with this waker until it is ready.
async fn drive(waker: &std::task::Waker, mut future: Boxed<bool>) -> bool {
    loop {
        if let Poll::Ready(well) = poll_with(waker, &mut future) {
            return well;
        }
        yield_now().await;
        // Closures wake from pool threads, where the foreign waker does nothing, so always poll again.
        std::thread::yield_now();
    }
}

#[test]
fn a_foreign_waker_that_calls_back_finds_nothing_borrowed() {
    everywhere(|builder| {
        let calls = Rc::new(Cell::new(0));
        let faults = Faults::default();
        let nested = builder.clone();
        faults.hear(builder).build().unwrap().block_on(async {
            let inside = Rc::new(Cell::new(false));
            let counted = calls.clone();
            let spare = RefCell::new(Vec::new());
            let (waker, guard) = foreign_waker(move |_| {
                if Handle::try_current().is_none() || inside.replace(true) {
                    return;
                }
                counted.set(counted.get() + 1);
                // Everything that a task can do.
                let _ = Handle::current().stats();
                let _ = (Handle::current().tasks(), Handle::current().operations());
                drop(spawn(async {}));
                let kept = spawn(pending::<()>());
                kept.abort();
                spare.borrow_mut().push(kept);
                if spare.borrow().len() > 3 {
                    drop(spare.borrow_mut().remove(0));
                }
                drop(gimmal::op::nop().submit());
                let mut armed = sleep(LONG);
                assert!(poll_with(std::task::Waker::noop(), &mut armed).is_pending());
                drop(armed);
                drop(task::spawn_blocking(|| ()));
                // And runs another runtime, from beginning to end.
                if counted.get() % 8 == 1 {
                    let runtime = nested.clone().build().unwrap();
                    drop(runtime.spawn(pending::<()>()));
                    drop(runtime);
                }
                inside.set(false);
            });
            for (what, make) in positions() {
                assert!(drive(&waker, make()).await, "{what}");
                // Dropped while the foreign waker is registered.
                let mut future = make();
                let _ = poll_with(&waker, &mut future);
                drop(future);
                let mut future = make();
                if poll_with(&waker, &mut future).is_pending() {
                    let _ = poll_with(std::task::Waker::noop(), &mut future);
                }
                drop(future);
            }
            drop((waker, guard));
            while Handle::current().stats().operation_rows > 0 {
                gimmal::op::nop().await.unwrap();
            }
            assert_eq!(Handle::current().stats().timers, 0);
        });
        assert!(calls.get() > 30, "{} calls", calls.get());
        faults.take();
    });
}

#[test]
fn a_foreign_waker_that_panics_on_drop_does_no_harm() {
    everywhere(|builder| {
        let faults = Faults::default();
        let armed = Rc::new(Cell::new(true));
        faults.hear(builder).build().unwrap().block_on(async {
            let trigger = armed.clone();
            let (waker, guard) = foreign_waker(move |done| {
                if done == Done::Drop && trigger.get() && Handle::try_current().is_some() {
                    panic!("a foreign waker was dropped");
                }
            });
            for (what, make) in positions() {
                assert!(drive(&waker, make()).await, "{what}");
                let mut future = make();
                let _ = poll_with(&waker, &mut future);
                drop(future);
                let mut future = make();
                if poll_with(&waker, &mut future).is_pending() {
                    let _ = poll_with(std::task::Waker::noop(), &mut future);
                }
                drop(future);
            }
            armed.set(false);
            drop((waker, guard));
            while Handle::current().stats().operation_rows > 0 {
                gimmal::op::nop().await.unwrap();
            }
            let stats = Handle::current().stats();
            assert_eq!(stats.timers, 0);
        });
        let heard = faults.take();
        assert!(
            heard
                .iter()
                .any(|fault| fault.contains("a foreign waker was dropped")),
            "{heard:?}"
        );
    });
}

#[test]
fn a_foreign_waker_that_panics_on_clone_leaves_the_leaf_unchanged() {
    everywhere(|builder| {
        let armed = Rc::new(Cell::new(false));
        // A turn that is out of time makes the task yield, without keeping a waker.
        let builder = builder.budget(256, Duration::MAX);
        builder.build().unwrap().block_on(async {
            let trigger = armed.clone();
            let (waker, guard) = foreign_waker(move |done| {
                assert!(
                    done != Done::Clone || !trigger.get(),
                    "a foreign waker was cloned"
                );
            });
            for (what, make) in positions() {
                let mut future = make();
                for _ in 0..2 {
                    armed.set(true);
                    let polled = catch_unwind(AssertUnwindSafe(|| poll_with(&waker, &mut future)));
                    armed.set(false);
                    assert!(!matches!(polled, Ok(Poll::Pending)), "{what} kept no waker");
                    if polled.is_ok() {
                        break;
                    }
                }
                let mut future = make();
                armed.set(true);
                let first = catch_unwind(AssertUnwindSafe(|| poll_with(&waker, &mut future)));
                armed.set(false);
                if first.is_err() {
                    assert!(drive(&waker, future).await, "{what}");
                }
            }
            drop((waker, guard));
        });
    });
}

/// Checks the balance of clones and drops: no clone of the waker is kept.
#[test]
fn every_clone_of_a_foreign_waker_is_dropped() {
    everywhere(|builder| {
        let balance = Rc::new(Cell::new(1i64));
        let mut runtime = builder.build().unwrap();
        runtime.block_on(async {
            let counted = balance.clone();
            let (waker, guard) = foreign_waker(move |done| match done {
                Done::Clone => counted.set(counted.get() + 1),
                Done::Drop => counted.set(counted.get() - 1),
                Done::Wake => {}
            });
            // Except the closures: pool threads drop their wakers, and nothing is counted there.
            for (what, make) in positions().into_iter().take(6) {
                assert!(drive(&waker, make()).await, "{what}");
                let mut future = make();
                if poll_with(&waker, &mut future).is_pending() {
                    let _ = poll_with(&waker, &mut future);
                }
                drop(future);
                assert_eq!(balance.get(), 1, "{what}");
            }
            drop(waker);
            assert_eq!(balance.get(), 0);
            drop(guard);
        });
    });
}

/// A leaf that moves from a foreign executor's waker to the task's own wakes the last one.
#[test]
fn a_leaf_wakes_the_last_task_that_polled_it() {
    everywhere(|builder| {
        let journal = Journal::default();
        builder.build().unwrap().block_on(async {
            let note = journal.clone();
            let (waker, _guard) = foreign_waker(move |done| {
                if done == Done::Wake {
                    note.note("foreign wake");
                }
            });
            let mut slept = sleep(SURELY_PENDING);
            assert!(poll_with(&waker, &mut slept).is_pending());
            slept.await.unwrap();
            let mut nop = gimmal::op::nop();
            assert!(poll_with(&waker, &mut nop).is_pending());
            nop.await.unwrap();
            let mut joined = spawn(yield_now());
            assert!(poll_with(&waker, &mut joined).is_pending());
            joined.await.unwrap();
            assert!(journal.take().is_empty());
            let mut slept = sleep(SURELY_PENDING);
            assert!(poll_with(&waker, &mut slept).is_pending());
            sleep(SURELY_PENDING).await.unwrap();
            assert_eq!(journal.take(), ["foreign wake"]);
        });
    });
}

/// At the end of `run`, leaves are rejected; this also wakes the foreign waker.
#[test]
fn a_foreign_waker_may_call_back_while_its_leaf_is_rejected() {
    everywhere(|builder| {
        let nested = builder.clone();
        let reached = Rc::new(Cell::new(false));
        let flag = reached.clone();
        let ended: std::io::Result<()> = builder.run(async move {
            drop(spawn(async move {
                let _ = sleep(LONG).await;
                let inside = Cell::new(false);
                let (waker, guard) = foreign_waker(move |_| {
                    if !inside.replace(true) {
                        drop(spawn(async {}));
                        let runtime: Runtime = nested.clone().build().unwrap();
                        drop(runtime);
                        inside.set(false);
                    }
                });
                let mut leaves: Vec<Boxed<()>> = vec![
                    Box::pin(sleep(LONG).map(drop)),
                    Box::pin(gimmal::op::nop().map(drop)),
                    Box::pin(spawn(sleep(LONG)).map(drop)),
                    Box::pin(task::spawn_blocking(|| ()).map(drop)),
                ];
                for leaf in &mut leaves {
                    while poll_with(&waker, leaf).is_pending() {
                        std::thread::yield_now();
                    }
                }
                drop((leaves, waker, guard));
                flag.set(true);
            }));
            Ok(())
        });
        ended.unwrap();
        assert!(reached.get());
    });
}
