//! Several futures in one task: join, try_join, race, select, wait and map.

use common::{
    Baseline, MOMENTS, Moment, Random, Watched, dropped_everywhere, next_turn, pipe,
    ran_in_own_process,
};
use gimmal::cancel::{Scope, shield};
use gimmal::fs::File;
use gimmal::group::{Select2, Select3, Select4, Select8};
use gimmal::prelude::*;
use gimmal::time::{timeout, timeout_any};
use gimmal::{
    BufError, Canceled, Handle, Runtime, join, join_all, map, race, select, sleep, spawn, try_join,
    try_join_all, wait, yield_now,
};
use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn, ready};
use std::io::{self, Write as _};
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(2);

/// Gives the task a row in the scope tree, which it keeps to its end.
async fn has_scope() {
    Scope::new().run_any(ready(())).await.unwrap();
}

/// Runs a test in a runtime, and checks that all counts return to the baseline.
fn run(test: impl AsyncFnOnce()) {
    if ran_in_own_process() {
        return;
    }
    let mut runtime = Runtime::builder().build().unwrap();
    runtime.block_on(async {
        has_scope().await;
        let baseline = Baseline::take();
        test().await;
        baseline.operations_return("the test").await;
    });
}

/// A foreign future that a test makes ready, and that counts its polls.
#[derive(Default)]
struct Gate {
    open: Cell<bool>,
    polls: Cell<usize>,
    waker: RefCell<Option<Waker>>,
}

impl Gate {
    fn new() -> Rc<Gate> {
        Rc::default()
    }

    fn open(&self) {
        self.open.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn poll(&self, context: &Context<'_>) -> Poll<()> {
        self.polls.set(self.polls.get() + 1);
        if self.open.get() {
            return Poll::Ready(());
        }
        *self.waker.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }
}

async fn pass<T>(gate: Rc<Gate>, value: T) -> T {
    poll_fn(|context| gate.poll(context)).await;
    value
}

/// Ready after its task has yielded this often.
async fn after<T>(yields: usize, value: T) -> T {
    for _ in 0..yields {
        yield_now().await;
    }
    value
}

async fn fails(yields: usize, what: &str) -> io::Result<u32> {
    after(yields, Err(io::Error::other(what.to_owned()))).await
}

async fn sleep_and_count(asked: &Cell<usize>) -> io::Result<u32> {
    let slept = sleep(LONG).await;
    asked.set(asked.get() + 1);
    slept?;
    Ok(0)
}

/// The message that the future panics with.
async fn panics<F: Future>(future: F) -> &'static str {
    use futures_util::FutureExt as _;
    let caught = AssertUnwindSafe(future).catch_unwind().await;
    caught.err().unwrap().downcast_ref::<&str>().unwrap()
}

async fn panicking<T>(yields: usize) -> T {
    after(yields, ()).await;
    panic!("on purpose")
}

// Compared with plain awaiting.

#[test]
fn join_returns_what_plain_awaiting_returns_in_every_order_of_completion() {
    run(async || {
        for a in 0..4 {
            for b in 0..4 {
                for c in 0..4 {
                    let plain = (
                        after(a, 1).await,
                        after(b, "two").await,
                        after(c, 3.0).await,
                    );
                    let joined = join((after(a, 1), after(b, "two"), after(c, 3.0))).await;
                    assert_eq!(joined, plain);
                    let listed = join_all([a, b, c].map(|n| after(n, n))).await;
                    assert_eq!(listed, [a, b, c]);
                    let tried = try_join((
                        after(a, Ok::<_, io::Error>(1)),
                        after(b, Ok("two")),
                        after(c, Ok(3.0)),
                    ));
                    assert_eq!(tried.await.unwrap(), plain);
                    let tried = try_join_all([a, b, c].map(|n| after(n, Ok::<_, io::Error>(n))));
                    assert_eq!(tried.await.unwrap(), [a, b, c]);
                    let raced = race((after(a, a), after(b, b), after(c, c))).await;
                    let least = a.min(b).min(c);
                    let first = [a, b, c].iter().position(|n| *n == least).unwrap();
                    assert_eq!(raced.first, first, "{a} {b} {c}");
                }
            }
        }
    });
}

#[test]
fn every_tuple_size_is_supported() {
    run(async || {
        assert_eq!(join((after(1, 1),)).await, (1,));
        assert_eq!(join((ready(1), ready(2))).await, (1, 2));
        let eight = join((
            ready(1),
            after(1, 2),
            ready(3),
            after(2, 4),
            ready(5),
            ready(6),
            ready(7),
            after(1, 8),
        ));
        assert_eq!(eight.await, (1, 2, 3, 4, 5, 6, 7, 8));
        let ok = |n| after(1, Ok::<_, Canceled>(n));
        assert_eq!(try_join((ok(1),)).await, Ok((1,)));
        let failed = try_join((after(1, Err::<u8, _>(2)),));
        assert_eq!(failed.await, Err(2));
        let eight = try_join((ok(1), ok(2), ok(3), ok(4), ok(5), ok(6), ok(7), ok(8)));
        assert_eq!(eight.await, Ok((1, 2, 3, 4, 5, 6, 7, 8)));
        let long = || sleep(LONG);
        let eight = race((
            long(),
            long(),
            long(),
            long(),
            long(),
            ready(6),
            long(),
            long(),
        ));
        let raced = eight.await;
        assert_eq!((raced.first, raced.outputs.5), (5, Some(6)));
        assert_eq!(raced.outputs.7, Some(Err(Canceled)));
        let raced = race([long(), sleep(Duration::ZERO), long()]).await;
        let canceled = Some(Err(Canceled));
        assert_eq!(raced.first, 1);
        assert_eq!(raced.outputs, [canceled, Some(Ok(())), canceled]);
    });
}

#[test]
fn empty_lists_are_ready_at_once() {
    run(async || {
        assert!(
            join_all(Vec::<std::future::Ready<u8>>::new())
                .await
                .is_empty()
        );
        let none = try_join_all(Vec::<std::future::Ready<io::Result<u8>>>::new());
        assert!(none.await.unwrap().is_empty());
        let mut waiting = wait(Vec::<std::future::Ready<u8>>::new());
        assert!(waiting.is_empty());
        assert!(waiting.first().await.is_empty());
        assert!(waiting.all().await.is_empty());
        let mapped = map(Vec::<u8>::new(), 3, async |n| Ok::<_, io::Error>(n)).await;
        assert!(mapped.unwrap().is_empty());
    });
}

#[test]
#[should_panic(expected = "a race of no futures")]
fn an_empty_race_panics() {
    drop(race(Vec::<std::future::Ready<u8>>::new()));
}

#[test]
fn a_panic_propagates_to_the_awaiter_and_leaves_nothing_behind() {
    run(async || {
        for yields in 0..3 {
            assert_eq!(
                panics(join((sleep(LONG), panicking::<()>(yields)))).await,
                "on purpose"
            );
            let listed = [0, 1, 2].map(|n| async move {
                if n == 1 {
                    panicking::<()>(yields).await;
                }
                sleep(LONG).await
            });
            assert_eq!(panics(join_all(listed)).await, "on purpose");
            let tried = try_join((sleep(LONG), panicking::<Result<(), Canceled>>(yields)));
            assert_eq!(panics(tried).await, "on purpose");
            let raced = race((sleep(LONG), panicking::<()>(yields)));
            assert_eq!(panics(raced).await, "on purpose");
            let (mut long, mut bad) = (sleep(LONG), pin!(panicking::<()>(yields)));
            assert_eq!(panics(select((&mut long, &mut bad))).await, "on purpose");
            let items = [1, 2, 3];
            let mapped = map(&items, 2, async |n| {
                if *n == 2 {
                    panicking::<()>(yields).await;
                }
                sleep(LONG).await
            });
            assert_eq!(panics(mapped).await, "on purpose");
        }
    });
}

// Many.

#[test]
fn of_ten_thousand_futures_only_the_woken_ones_are_polled() {
    const MANY: usize = 10_000;
    run(async || {
        let gates: Vec<_> = (0..MANY).map(|_| Gate::new()).collect();
        let futures = gates
            .iter()
            .enumerate()
            .map(|(n, gate)| pass(gate.clone(), n));
        let joined = spawn(join_all(futures.collect::<Vec<_>>()));
        while gates.iter().any(|gate| gate.polls.get() == 0) {
            yield_now().await;
        }
        assert!(gates.iter().all(|gate| gate.polls.get() == 1));
        let rows = Handle::current().stats().task_rows;
        assert!(rows >= MANY);
        let mut order: Vec<usize> = (0..MANY).collect();
        let mut random = Random::new();
        for n in (1..MANY).rev() {
            order.swap(n, random.below(n + 1));
        }
        for (opened, n) in order.into_iter().enumerate() {
            gates[n].open();
            while gates[n].polls.get() == 1 {
                yield_now().await;
            }
            if opened % 1000 == 0 {
                let polls: usize = gates.iter().map(|gate| gate.polls.get()).sum();
                assert_eq!(polls, MANY + opened + 1);
                // The rows of finished futures are free.
                assert!(Handle::current().stats().task_rows <= rows - opened);
            }
        }
        assert!(gates.iter().all(|gate| gate.polls.get() == 2));
        assert_eq!(joined.await.unwrap(), (0..MANY).collect::<Vec<_>>());
    });
}

#[test]
fn many_ready_futures_share_turns_with_other_tasks() {
    if ran_in_own_process() {
        return;
    }
    let mut runtime = Runtime::builder().budget(64, LONG).build().unwrap();
    runtime.block_on(async {
        let turns = Rc::new(Cell::new(0));
        let counted = turns.clone();
        let other = spawn(async move {
            loop {
                counted.set(counted.get() + 1);
                let this = Handle::current().stats().turns;
                while Handle::current().stats().turns == this {
                    yield_now().await;
                }
            }
        });
        let sum: usize = join_all((0..10_000).map(ready)).await.iter().sum();
        assert_eq!(sum, 10_000 * 9_999 / 2);
        assert!(turns.get() > 10_000 / 64 - 2, "{}", turns.get());
        turns.set(0);
        // The same for a future that is awaited repeatedly and is ready each time.
        let mut waiting = wait((0..1000).map(ready));
        while !waiting.is_empty() {
            assert!(!waiting.first().await.is_empty());
        }
        assert!(turns.get() > 1000 / 64 - 2, "{}", turns.get());
        other.abort();
    });
    let mut runtime = Runtime::builder().budget(1, LONG).build().unwrap();
    runtime.block_on(async {
        assert_eq!(join_all((0..100).map(|n| after(n % 3, n))).await.len(), 100);
    });
}

#[test]
fn handles_of_many_tasks_are_joined() {
    run(async || {
        let tasks = (0..1000usize).map(|n| spawn(after(n % 7, n)));
        let sums = join_all(tasks).await;
        assert!(sums.into_iter().map(Result::unwrap).eq(0..1000));
        let sleeps = (0..1000).map(|n| sleep(Duration::from_micros(n * 7 % 1000)));
        assert!(
            join_all(sleeps)
                .await
                .into_iter()
                .all(|slept| slept.is_ok())
        );
    });
}

#[test]
fn a_join_inside_joins_and_groups_is_woken() {
    run(async || {
        let inner = |n| join_all((0..n).map(|n| sleep(Duration::from_micros(n))));
        let outer = join_all((0..10).map(inner)).await;
        assert_eq!(
            outer
                .into_iter()
                .flatten()
                .filter(|slept| slept.is_ok())
                .count(),
            45
        );
        let total = gimmal::group(async |g| {
            let children =
                (0..10).map(|n| g.spawn(async move { Ok::<_, io::Error>(inner(n).await) }));
            let mut total = 0;
            for slept in try_join_all(children.collect::<Vec<_>>()).await? {
                total += slept.len();
            }
            Ok(total)
        });
        assert_eq!(total.await.unwrap(), 45);
        let groups = join_all((0..10).map(|n| {
            gimmal::group(async move |g| {
                let child = g.spawn(async move {
                    sleep(Duration::from_micros(n)).await?;
                    Ok::<_, io::Error>(n)
                });
                Ok(child.await?)
            })
        }));
        let sum: u64 = groups.await.into_iter().map(Result::unwrap).sum();
        assert_eq!(sum, 45);
        // Through the wakers of another crate.
        use futures_util::stream::{FuturesUnordered, StreamExt as _};
        let mut unordered: FuturesUnordered<_> = (1..10).map(inner).collect();
        let mut all = 0;
        while let Some(slept) = unordered.next().await {
            all += slept.len();
        }
        assert_eq!(all, 45);
    });
}

// Canceled.

#[test]
fn a_canceled_join_returns_the_outputs_of_its_futures() {
    run(async || {
        let error = timeout_any(SHORT, join((sleep(LONG), after(1, 7))))
            .await
            .unwrap_err();
        assert!(error.is_elapsed());
        assert_eq!(error.into_inner(), Some((Err(Canceled), 7)));
        for many in [1, 2, 63, 64, 65, 1000] {
            // Pending.
            let sleeps = join_all((0..many).map(|_| sleep(LONG)));
            let error = timeout_any(SHORT, sleeps).await.unwrap_err();
            assert_eq!(error.into_inner(), Some(vec![Err(Canceled); many]));
            // Not started: each read returns its buffer.
            let (reader, _writer) = pipe();
            let scope = Scope::new();
            scope.cancel();
            let reads = (0..many).map(|_| reader.read(Watched::new(8, 1)));
            let outputs = scope.run_any(join_all(reads)).await.unwrap();
            assert_eq!(outputs.len(), many);
            assert_eq!(Watched::alive(), many);
            for output in outputs {
                let error = output.unwrap_err();
                assert!(gimmal::is_canceled(&error));
                drop(error.into_buf());
            }
            assert!(scope.canceled_caught());
        }
        assert_eq!(Watched::alive(), 0);
    });
}

#[test]
fn a_future_that_ignores_every_error_is_dropped_with_the_join() {
    run(async || {
        let stubborn = async {
            loop {
                let _ = sleep(LONG).await;
            }
        };
        let both: [Pin<Box<dyn Future<Output = ()>>>; 2] =
            [Box::pin(stubborn), Box::pin(after(1, ()))];
        let error = timeout_any(SHORT, join_all(both)).await.unwrap_err();
        assert!(error.is_elapsed() && error.into_inner().is_none());
        let stubborn = async {
            loop {
                let _ = sleep(LONG).await;
            }
        };
        let raced = race((stubborn, sleep(LONG)));
        let raced: Result<_, _> = timeout_any(SHORT, raced).await;
        // The sleep returns `Canceled`, and so finishes first.
        let raced = raced.unwrap_err().into_inner().unwrap();
        assert_eq!(
            (raced.first, raced.outputs),
            (1, (None::<()>, Some(Err(Canceled))))
        );
        let stubborn = || async {
            loop {
                let _ = sleep(LONG).await;
            }
        };
        let all = timeout_any(SHORT, race((stubborn(), stubborn()))).await;
        let all: Result<gimmal::group::Raced<(Option<()>, Option<()>)>, _> = all;
        assert!(all.unwrap_err().into_inner().is_none());
    });
}

#[test]
fn futures_polled_in_another_scope_are_canceled_there() {
    run(async || {
        let mut joined = join_all([sleep(LONG), sleep(LONG)]);
        assert!(futures_util::poll!(&mut joined).is_pending());
        let error = timeout_any(SHORT, &mut joined).await.unwrap_err();
        assert_eq!(error.into_inner(), Some(vec![Err(Canceled); 2]));

        let mut waiting = wait([sleep(LONG), sleep(LONG)]);
        assert!(timeout_any(SHORT, pending::<()>()).await.is_err());
        assert!(futures_util::poll!(pin!(waiting.first())).is_pending());
        let error = timeout_any(SHORT, waiting.all()).await.unwrap_err();
        assert_eq!(error.into_inner().unwrap().len(), 2);
    });
}

#[test]
fn futures_polled_in_another_task_are_woken_there() {
    run(async || {
        let gates = [Gate::new(), Gate::new(), Gate::new()];
        let [first, second, third] = gates.clone();
        let mut joined = join_all([pass(first, 1), pass(second, 2)]);
        let mut raced = race(vec![pass(third, 3)]);
        assert!(futures_util::poll!(&mut joined).is_pending());
        assert!(futures_util::poll!(&mut raced).is_pending());
        gates[0].open();
        let tasks = (spawn(joined), spawn(raced));
        next_turn().await;
        next_turn().await;
        assert_eq!(gates[0].polls.get(), 2);
        gates[1].open();
        gates[2].open();
        assert_eq!(timeout(LONG, tasks.0).await.unwrap(), [1, 2]);
        assert_eq!(timeout(LONG, tasks.1).await.unwrap().outputs, [Some(3)]);
    });
}

#[test]
fn foreign_futures_under_a_timeout_are_left_unchanged() {
    run(async || {
        // Futures awaited by reference are left unchanged.
        let gate = Gate::new();
        let mut raced = Box::pin(race((pass(gate.clone(), 1), pending::<u8>())));
        assert!(
            timeout_any(SHORT, &mut raced)
                .await
                .unwrap_err()
                .is_elapsed()
        );
        let mut tried = Box::pin(try_join((
            pass(gate.clone(), io::Result::Ok(1)),
            after(1, Ok(2)),
        )));
        assert!(timeout(SHORT, &mut tried).await.unwrap_err().is_elapsed());
        let mut joined = join_all([pass(gate.clone(), 5), pass(gate.clone(), 6)]);
        assert!(
            timeout_any(SHORT, &mut joined)
                .await
                .unwrap_err()
                .is_elapsed()
        );
        gate.open();
        let raced = raced.await;
        assert_eq!((raced.first, raced.outputs), (0, (Some(1), None)));
        assert_eq!(tried.await.unwrap(), (1, 2));
        assert_eq!(joined.await, [5, 6]);
    });
}

#[test]
fn a_canceled_task_that_waits_for_foreign_futures_is_dropped() {
    run(async || {
        let foreign = || pending::<Result<(), Canceled>>();
        let tasks = [
            spawn(async move {
                let _ = join((foreign(), foreign())).await;
            }),
            spawn(async move { drop(join_all([foreign(), foreign()]).await) }),
            spawn(async move {
                let _ = try_join((foreign(), foreign())).await;
            }),
            spawn(async move { drop(try_join_all([foreign(), foreign()]).await) }),
            spawn(async move {
                let _ = race((foreign(), foreign())).await;
            }),
            spawn(async move {
                let _ = race([foreign(), foreign()]).await;
            }),
            spawn(async move { drop(wait([foreign(), foreign()].map(Box::pin)).all().await) }),
            spawn(async move { drop(map(0.., 3, async |_| foreign().await).await) }),
        ];
        next_turn().await;
        for task in tasks {
            task.cancel();
            let joined = timeout(LONG, task).await;
            if let Err(error) = joined {
                assert!(error.into_inner().unwrap().is_aborted());
            }
        }
    });
}

#[test]
fn joined_futures_can_be_woken_from_other_threads() {
    run(async || {
        let blocking = (0..20).map(|n| gimmal::task::spawn_blocking(move || n));
        let outputs = join_all(blocking.collect::<Vec<_>>()).await;
        assert!(outputs.into_iter().map(Result::unwrap).eq(0..20));
        let channels = (0..20).map(|n| {
            let (sender, receiver) = async_channel::bounded(1);
            std::thread::spawn(move || sender.send_blocking(n).unwrap());
            async move { receiver.recv().await }
        });
        let outputs = try_join_all(channels.collect::<Vec<_>>()).await;
        assert!(outputs.unwrap().into_iter().eq(0..20));
    });
}

// try_join.

#[test]
fn the_first_error_cancels_the_rest_and_awaits_them() {
    run(async || {
        let asked = Cell::new(0);
        let tried = try_join((
            sleep_and_count(&asked),
            fails(2, "first"),
            sleep_and_count(&asked),
        ));
        assert_eq!(tried.await.unwrap_err().to_string(), "first");
        assert_eq!(asked.get(), 2);
        // At once: the others are canceled before they start.
        let tried = try_join((
            fails(0, "first"),
            sleep_and_count(&asked),
            fails(0, "second"),
        ));
        assert_eq!(tried.await.unwrap_err().to_string(), "first");
        assert_eq!(asked.get(), 3);
        let many = (0..1000usize).map(|n| {
            let asked = &asked;
            async move {
                match n {
                    500 => fails(2, "of many").await,
                    _ => sleep_and_count(asked).await,
                }
            }
        });
        asked.set(0);
        let error = try_join_all(many).await.unwrap_err();
        assert_eq!(error.to_string(), "of many");
        assert_eq!(asked.get(), 999);
        // A foreign future is dropped.
        let tried = try_join((pending::<io::Result<()>>(), fails(1, "first")));
        assert_eq!(tried.await.unwrap_err().to_string(), "first");
        let foreign = (0..3usize).map(|n| async move {
            match n {
                1 => fails(1, "first").await,
                _ => pending().await,
            }
        });
        assert_eq!(
            try_join_all(foreign).await.unwrap_err().to_string(),
            "first"
        );
    });
}

#[test]
fn a_shielded_future_is_awaited_after_a_failure() {
    run(async || {
        let done = Cell::new(0);
        let shielded = || async {
            shield(async {
                sleep(SHORT).await.unwrap();
                done.set(done.get() + 1);
            })
            .await;
            Ok(0)
        };
        assert!(try_join((shielded(), fails(1, "first"))).await.is_err());
        assert_eq!(done.get(), 1);
        let raced = race((shielded(), after(1, ()))).await;
        let outputs: (Option<io::Result<u32>>, _) = raced.outputs;
        assert_eq!(
            (raced.first, outputs.0.unwrap().unwrap(), outputs.1),
            (1, 0, Some(()))
        );
        assert_eq!(done.get(), 2);
    });
}

#[test]
fn try_join_in_a_canceled_scope_returns_the_errors_of_its_futures() {
    run(async || {
        let asked = Cell::new(0);
        let error = timeout(
            SHORT,
            try_join((sleep_and_count(&asked), sleep_and_count(&asked))),
        )
        .await
        .unwrap_err();
        assert!(error.is_elapsed());
        assert!(gimmal::is_canceled(error.inner().unwrap()));
        assert_eq!(asked.get(), 2);
        let scope = Scope::new();
        scope.cancel();
        let error = scope
            .run(try_join((sleep_and_count(&asked), sleep_and_count(&asked))))
            .await
            .unwrap_err();
        assert!(gimmal::is_canceled(&error) && scope.canceled_caught());
        let scope = Scope::new();
        scope.cancel();
        let all = try_join_all((0..100).map(|_| sleep_and_count(&asked)));
        assert!(gimmal::is_canceled(&scope.run(all).await.unwrap_err()));
        // If all succeed late, the result is a success.
        let late = || async {
            let _ = sleep(LONG).await;
            io::Result::Ok(7)
        };
        assert_eq!(
            timeout(SHORT, try_join((late(), late()))).await.unwrap(),
            (7, 7)
        );
        // An inner timeout reports itself.
        let error = try_join((sleep(LONG).timeout(SHORT), sleep(LONG).timeout(LONG))).await;
        assert!(error.unwrap_err().is_elapsed());
        // The error type need not convert from `Canceled`.
        let (reader, _writer) = pipe();
        let read = || reader.read(Watched::new(8, 1));
        let error: BufError<_> = timeout(SHORT, try_join((read(), read())))
            .await
            .unwrap_err()
            .into_inner()
            .unwrap();
        assert_eq!(error.into_buf().io_len(), 0);
        assert_eq!(Watched::alive(), 0);
    });
}

// race.

#[test]
fn a_race_returns_the_outputs_of_the_losers() {
    run(async || {
        let (reader, _writer) = pipe();
        let read = || reader.read(Watched::new(8, 1));
        let raced = race((read(), after(3, 7), read(), pending::<u8>())).await;
        assert_eq!(raced.first, 1);
        let (first, second, third, foreign) = raced.outputs;
        assert_eq!((second, foreign), (Some(7), None));
        for read in [first, third] {
            let error = read.unwrap().unwrap_err();
            assert!(gimmal::is_canceled(&error));
            drop(error.into_buf());
        }
        // A loser that had not started also returns its buffer.
        let raced = race((ready(1), read())).await;
        let error = raced.outputs.1.unwrap().unwrap_err();
        assert!(gimmal::is_canceled(&error));
        drop(error);
        assert_eq!(Watched::alive(), 0);
    });
}

#[test]
fn a_loser_that_finishes_anyway_is_returned() {
    run(async || {
        let (reader, mut writer) = pipe();
        // The byte arrives before the race ends: whether it is read or not, it is not lost.
        let mut random = Random::new();
        let (mut sent, mut received) = (0u32, Vec::new());
        for _ in 0..500 {
            let writes = random.below(4);
            let other = async {
                after(writes, ()).await;
                writer.write_all(&[sent as u8]).unwrap();
                sent += 1;
                after(random.below(3), ()).await;
            };
            let raced = race((reader.read(Vec::with_capacity(64)), other)).await;
            if let (Some(Ok((_, bytes))), _) = raced.outputs {
                received.extend(bytes);
            }
        }
        drop(writer);
        loop {
            let (n, bytes) = reader.read(Vec::with_capacity(4096)).await.unwrap();
            if n == 0 {
                break;
            }
            received.extend(bytes);
        }
        assert!(received.into_iter().eq((0..sent).map(|n| n as u8)));
        // Two that become ready in the same poll.
        let gate = Gate::new();
        let raced = race((pass(gate.clone(), 1), pass(gate.clone(), 2), async {
            gate.open();
            pending::<()>().await
        }));
        let raced = raced.await;
        assert_eq!((raced.first, raced.outputs), (0, (Some(1), Some(2), None)));
        let task = spawn(ready(9));
        yield_now().await;
        let raced = race((ready(1), task)).await;
        assert_eq!(raced.outputs.1.unwrap().unwrap(), 9);
    });
}

#[test]
fn races_of_many() {
    run(async || {
        for many in [1, 2, 100, 1000] {
            let (reader, _writer) = pipe();
            let racers = (0..many).map(|n| {
                let reader = &reader;
                async move {
                    if n == many / 2 {
                        after(2, ()).await;
                        return None;
                    }
                    Some(reader.read(Watched::new(8, 1)).await.unwrap_err())
                }
            });
            let raced = race(racers.collect::<Vec<_>>()).await;
            assert_eq!(raced.first, many / 2);
            assert_eq!(raced.outputs.len(), many);
            for (n, output) in raced.outputs.into_iter().enumerate() {
                match output.unwrap() {
                    None => assert_eq!(n, many / 2),
                    Some(error) => assert!(gimmal::is_canceled(&error)),
                }
            }
        }
        // Foreign futures are dropped individually.
        let racers = (0..100usize).map(|n| async move {
            match n % 3 {
                0 => pending().await,
                1 => sleep(LONG).await.is_ok(),
                _ => {
                    after(n, ()).await;
                    true
                }
            }
        });
        let raced = race(racers.collect::<Vec<_>>()).await;
        assert_eq!(raced.first, 2);
        for (n, output) in raced.outputs.into_iter().enumerate() {
            match n % 3 {
                0 => assert_eq!(output, None),
                1 => assert_eq!(output, Some(false)),
                // A future that only yields is never canceled.
                _ => assert_eq!(output, Some(true)),
            }
        }
        assert_eq!(Watched::alive(), 0);
    });
}

#[test]
fn races_in_canceled_scopes_and_timeouts() {
    run(async || {
        let error = timeout_any(SHORT, race((sleep(LONG), sleep(LONG))))
            .await
            .unwrap_err();
        assert!(error.is_elapsed());
        let raced = error.into_inner().unwrap();
        assert_eq!(raced.outputs, (Some(Err(Canceled)), Some(Err(Canceled))));
        for polls in 0..2 {
            let scope = Scope::new();
            scope.cancel();
            let raced = scope.run_any(async {
                after(polls, ()).await;
                race(vec![sleep(LONG), sleep(LONG), sleep(LONG)]).await
            });
            let raced = raced.await.unwrap();
            assert_eq!(
                (raced.first, raced.outputs),
                (0, vec![Some(Err(Canceled)); 3])
            );
        }
        // Many reads that had not started return their buffers.
        let (reader, _writer) = pipe();
        let scope = Scope::new();
        scope.cancel();
        let reads: Vec<_> = (0..1000).map(|_| reader.read(Watched::new(8, 1))).collect();
        let raced = scope.run_any(race(reads)).await.unwrap();
        assert!(
            raced
                .outputs
                .iter()
                .all(|read| matches!(read, Some(Err(_))))
        );
        assert_eq!(Watched::alive(), 1000);
        drop(raced);
        // All foreign: the outer timeout drops them.
        let error = timeout_any(SHORT, race((pending::<()>(), pending::<()>()))).await;
        assert!(error.unwrap_err().into_inner().is_none());
        let error = timeout_any(SHORT, race(vec![pending::<()>(), pending::<()>()])).await;
        assert!(error.unwrap_err().into_inner().is_none());
        // The race is not responsible for a loser's own timeout.
        let raced = race((sleep(LONG).timeout(LONG), after(2, ()))).await;
        let error = raced.outputs.0.unwrap().unwrap_err();
        assert!(!error.is_elapsed());
        // In a group: the group is not responsible for the cancellation of a loser.
        let value = gimmal::group(async |g| {
            let child = g.spawn(async {
                let raced = race((sleep(LONG), after(2, 5))).await;
                raced.outputs.1.ok_or(io::Error::from(Canceled))
            });
            Ok(child.await?)
        });
        assert_eq!(value.await.unwrap(), 5);
    });
}

// select.

#[test]
fn select_leaves_the_other_futures_unchanged() {
    run(async || {
        let mut task = spawn(async {
            sleep(SHORT).await.unwrap();
            5
        });
        let mut long = sleep(LONG);
        let mut now = sleep(Duration::from_micros(1));
        match select((&mut task, &mut long, &mut now)).await {
            Select3::Third(slept) => assert_eq!(slept, Ok(())),
            other => panic!("{other:?}"),
        }
        match select((&mut task, &mut long)).await {
            Select2::First(output) => assert_eq!(output.unwrap(), 5),
            other => panic!("{other:?}"),
        }
        long.reset(gimmal::time::Instant::now());
        assert_eq!(long.await, Ok(()));
        // A pending read is awaited later, and has lost nothing.
        let (reader, mut writer) = pipe();
        let mut read = reader.read(vec![0; 8]);
        for _ in 0..3 {
            let mut tick = sleep(Duration::from_micros(10));
            assert!(matches!(
                select((&mut read, &mut tick)).await,
                Select2::Second(Ok(()))
            ));
        }
        writer.write_all(b"abc").unwrap();
        let (n, buf) = read.await.unwrap();
        assert_eq!((n, &buf[..]), (3, &b"abc"[..]));
    });
}

#[test]
fn select_is_fair_to_ready_futures() {
    run(async || {
        let mut counts = [0; 4];
        let mut others = [0; 2];
        for _ in 0..1000 {
            let (mut a, mut b, mut c, mut d) = (ready(0), ready(1), ready(2), ready(3));
            let chosen = match select((&mut a, &mut b, &mut c, &mut d)).await {
                Select4::First(n) | Select4::Second(n) | Select4::Third(n) | Select4::Fourth(n) => {
                    n
                }
            };
            counts[chosen] += 1;
            // Another loop that alternates with this one.
            let (mut a, mut b) = (ready(0), ready(1));
            let chosen = match select((&mut a, &mut b)).await {
                Select2::First(n) | Select2::Second(n) => n,
            };
            others[chosen] += 1;
        }
        assert!(
            counts.iter().all(|count| (200..300).contains(count)),
            "{counts:?}"
        );
        assert!(
            others.iter().all(|count| (450..550).contains(count)),
            "{others:?}"
        );
    });
}

#[test]
fn select_finds_each_of_eight() {
    run(async || {
        for chosen in 0..8 {
            let mut futures: [_; 8] = std::array::from_fn(|n| {
                poll_fn(move |_| match n == chosen {
                    true => Poll::Ready(n),
                    false => Poll::Pending,
                })
            });
            let [a, b, c, d, e, f, g, h] = &mut futures;
            let found = match select((a, b, c, d, e, f, g, h)).await {
                Select8::First(n) => (0, n),
                Select8::Second(n) => (1, n),
                Select8::Third(n) => (2, n),
                Select8::Fourth(n) => (3, n),
                Select8::Fifth(n) => (4, n),
                Select8::Sixth(n) => (5, n),
                Select8::Seventh(n) => (6, n),
                Select8::Eighth(n) => (7, n),
            };
            assert_eq!(found, (chosen, chosen));
        }
    });
}

#[test]
fn select_in_a_canceled_scope() {
    run(async || {
        let (mut long, mut foreign) = (sleep(LONG), pending::<()>());
        let error = timeout_any(SHORT, select((&mut long, &mut foreign)))
            .await
            .unwrap_err();
        assert_eq!(error.into_inner(), Some(Select2::First(Err(Canceled))));
        let (mut a, mut b) = (pending::<()>(), pending::<()>());
        let error = timeout_any(SHORT, select((&mut a, &mut b)))
            .await
            .unwrap_err();
        assert!(error.into_inner().is_none());
    });
}

// wait.

#[test]
fn wait_for_the_first_the_first_error_and_all() {
    run(async || {
        let gates: Vec<_> = (0..5).map(|_| Gate::new()).collect();
        let futures = || {
            let numbered = gates.iter().enumerate();
            numbered.map(|(n, gate)| {
                let output = if n == 3 { Err(n) } else { Ok(n) };
                Box::pin(pass(gate.clone(), output))
            })
        };
        let mut waiting = wait(futures());
        assert!(futures_util::poll!(pin!(waiting.first())).is_pending());
        gates[2].open();
        assert_eq!(waiting.first().await, [(2, Ok(2))]);
        gates[4].open();
        gates[0].open();
        // In order of completion.
        assert_eq!(waiting.first().await, [(4, Ok(4)), (0, Ok(0))]);
        assert_eq!(waiting.pending(), 2);
        let mut error = Box::pin(waiting.first_error());
        assert!(futures_util::poll!(&mut error).is_pending());
        gates[1].open();
        assert!(futures_util::poll!(&mut error).is_pending());
        // Dropping a wait does not lose outputs that are ready.
        drop(error);
        assert_eq!(waiting.pending(), 1);
        gates[3].open();
        assert_eq!(waiting.first_error().await, [(1, Ok(1)), (3, Err(3))]);
        assert!(waiting.is_empty());
        assert!(waiting.first().await.is_empty());

        let mut waiting = wait(futures());
        assert_eq!(waiting.all().await.len(), 5);
        // Without an error: all.
        let mut waiting = wait([ready(Ok::<_, ()>(1)), ready(Ok(2))]);
        assert_eq!(waiting.first_error().await, [(0, Ok(1)), (1, Ok(2))]);
    });
}

#[test]
fn futures_pending_after_a_wait_are_unchanged() {
    run(async || {
        let pipes: Vec<_> = (0..4).map(|_| pipe()).collect();
        let read = |n: usize| pipes[n].0.read(Vec::with_capacity(8));
        let write = |n: usize| (&pipes[n].1).write_all(&[n as u8]).unwrap();
        let mut reads: Vec<_> = (0..4).map(read).collect();
        // With references, dropping the set drops no future.
        let mut waiting = wait(reads.iter_mut());
        assert!(futures_util::poll!(pin!(waiting.all())).is_pending());
        write(1);
        let done = waiting.first().await;
        assert_eq!(done.len(), 1);
        assert_eq!(
            (done[0].0, &done[0].1.as_ref().unwrap().1[..]),
            (1, &[1][..])
        );
        drop(waiting);
        drop(reads.remove(1));
        let mut waiting = wait(reads);
        assert!(timeout_any(SHORT, pending::<()>()).await.is_err());
        assert!(futures_util::poll!(pin!(waiting.first())).is_pending());
        write(3);
        let done = waiting.first().await;
        assert_eq!((done.len(), done[0].0), (1, 2));
        write(0);
        write(2);
        for ((place, read), n) in waiting.into_pending().into_iter().zip([0, 2]) {
            assert_eq!(place, n / 2);
            assert_eq!(read.await.unwrap().1, [n as u8]);
        }
    });
}

#[test]
fn ten_thousand_outputs_are_returned_in_order_of_completion() {
    run(async || {
        let sleeps = (0..10_000u64).map(|n| sleep(Duration::from_micros(n * 7919 % 10_000)));
        let mut waiting = wait(sleeps);
        let mut seen = vec![false; 10_000];
        while !waiting.is_empty() {
            for (place, slept) in waiting.first().await {
                assert_eq!(slept, Ok(()));
                assert!(!std::mem::replace(&mut seen[place], true));
            }
        }
        assert!(seen.into_iter().all(|seen| seen));
    });
}

// map.

#[test]
fn map_is_bounded_and_in_order() {
    run(async || {
        for limit in [0, 1, 2, 7, 100, usize::MAX] {
            let (running, most, taken) = (Cell::new(0usize), Cell::new(0usize), Cell::new(0usize));
            let ended = Cell::new(0usize);
            let items: Vec<String> = (0..50).map(|n: u32| n.to_string()).collect();
            let counted = items.iter().inspect(|_| {
                taken.set(taken.get() + 1);
                // Items are taken only when there is room for them.
                assert!(taken.get() - ended.get() <= limit.max(1));
            });
            let lengths = map(counted, limit, async |item: &String| {
                running.set(running.get() + 1);
                most.set(most.get().max(running.get()));
                let n: usize = item.parse().unwrap();
                after(1 + (n * 7) % 5, ()).await;
                running.set(running.get() - 1);
                ended.set(ended.get() + 1);
                Ok::<_, io::Error>((n, item.as_str()))
            });
            let expected: Vec<_> = items
                .iter()
                .enumerate()
                .map(|(n, item)| (n, item.as_str()))
                .collect();
            assert_eq!(lengths.await.unwrap(), expected);
            assert_eq!(running.get(), 0);
            // On a slow machine, the first of fifty calls has ended before the last begins.
            let bound = limit.clamp(1, 50);
            assert!(most.get() <= bound && (most.get() == bound || bound == 50));
        }
    });
}

#[test]
fn a_failing_item_cancels_the_rest() {
    run(async || {
        let asked = Cell::new(0);
        let error = map(0.., 5, async |n: usize| match n {
            3 => fails(2, "three").await,
            _ => sleep_and_count(&asked).await,
        });
        let error = error.await.unwrap_err();
        assert_eq!(error.first().unwrap().to_string(), "three");
        assert_eq!(error.canceled_errors().len(), asked.get());
        assert_eq!(asked.get(), 4);
        // The error type need not convert from `Canceled`.
        let error = map(
            [1, 2, 3],
            1,
            async |n| if n == 2 { Err("two") } else { Ok(n) },
        )
        .await;
        assert_eq!(error.unwrap_err().into_first(), Some("two"));
    });
}

#[test]
fn a_canceled_map_never_returns_ok() {
    run(async || {
        let asked = Cell::new(0);
        for limit in [1, 3, 100] {
            let mapped = map(0..10, limit, async |_| sleep_and_count(&asked).await);
            let error = timeout(SHORT, mapped).await.unwrap_err();
            assert!(error.is_elapsed());
            assert!(error.into_inner().unwrap().is_canceled());
            // Calls that succeed, and not enough time for the rest.
            let mapped = map(0..10, limit, async |_| {
                let _ = sleep(LONG).await;
                io::Result::Ok(1)
            });
            let mapped = timeout(SHORT, mapped).await;
            assert!(mapped.unwrap_err().is_elapsed());
        }
    });
}

// Dropped.

#[test]
fn combinators_dropped_at_every_poll_leave_nothing_behind() {
    if ran_in_own_process() {
        return;
    }
    let mut runtime = Runtime::builder().build().unwrap();
    runtime.block_on(async {
        has_scope().await;
        let moments = [Moment::AtOnce, Moment::Turns(1), Moment::Turns(3)];
        let (reader, _writer) = pipe();
        let parked = || reader.read(Watched::new(8, 1)).timeout(SHORT);
        let short = |n| sleep(Duration::from_micros(n));
        let file = File::open("Cargo.toml").await.unwrap();
        let read = || file.read_at(Watched::new(64, 1), 0);
        dropped_everywhere("join", &MOMENTS, || {
            join((read(), short(20), after(4, ()), parked()))
        })
        .await;
        let all = || join_all((0..5).map(|n| async move { after(n, short(50).await).await }));
        dropped_everywhere("join_all", &MOMENTS, all).await;
        let reads = || join_all((0..100).map(|_| read()));
        dropped_everywhere("join_all of reads", &moments, reads).await;
        let failing = || async {
            short(20).await?;
            Err::<(), _>(io::Error::other("on purpose"))
        };
        let long = || async {
            let _ = reader.read(Watched::new(8, 1)).await?;
            Ok(())
        };
        dropped_everywhere("try_join", &MOMENTS, || {
            try_join((long(), failing(), long()))
        })
        .await;
        type Boxed<'a> = Pin<Box<dyn Future<Output = io::Result<()>> + 'a>>;
        let boxed = || -> Vec<Boxed<'_>> {
            vec![
                Box::pin(long()),
                Box::pin(failing()),
                Box::pin(pending()),
                Box::pin(async { shield(short(30)).await.map_err(Into::into) }),
            ]
        };
        dropped_everywhere("try_join_all", &moments, || try_join_all(boxed())).await;
        let raced = || {
            race((
                long(),
                short(20),
                parked(),
                pending::<()>(),
                shield(short(40)),
            ))
        };
        dropped_everywhere("race", &moments, raced).await;
        dropped_everywhere("a race of many", &moments, || race(boxed())).await;
        let selected = || async {
            let (mut a, mut b) = (reader.read(Watched::new(8, 1)), short(20));
            matches!(select((&mut a, &mut b)).await, Select2::Second(_))
        };
        dropped_everywhere("select", &MOMENTS, selected).await;
        let waited = || async {
            let mut waiting = wait(boxed());
            while waiting.pending() > 2 {
                drop(waiting.first().await);
            }
        };
        dropped_everywhere("wait", &moments, waited).await;
        let mapped = || {
            map(0..4, 2, async |n| {
                let _ = read().await;
                short(n).await
            })
        };
        dropped_everywhere("map", &moments, mapped).await;
    });
}

#[test]
fn combinators_dropped_after_their_runtime_and_polled_in_another() {
    if ran_in_own_process() {
        return;
    }
    let mut first = Runtime::builder().build().unwrap();
    let mut joined = join_all([sleep(LONG), sleep(LONG)]);
    let mut raced = Box::pin(race((sleep(LONG), sleep(LONG))));
    first.block_on(async {
        assert!(futures_util::poll!(&mut joined).is_pending());
        assert!(futures_util::poll!(&mut raced).is_pending());
    });
    let mut second = Runtime::builder().build().unwrap();
    second.block_on(async {
        assert!(
            std::panic::catch_unwind(AssertUnwindSafe(|| {
                let mut context = Context::from_waker(Waker::noop());
                let _ = Pin::new(&mut joined).poll(&mut context);
            }))
            .is_err()
        );
    });
    drop(first);
    drop(joined);
    drop(raced);
    second.block_on(yield_now());
}

#[test]
fn a_timed_wait_returns_what_is_ready_and_leaves_the_rest() {
    run(async || {
        let (file, mut writer) = pipe();
        let mut waiting = wait([file.read(vec![0; 8]), file.read(vec![0; 8])]);
        assert!(waiting.within(SHORT).first().await.is_empty());
        assert!(waiting.within(Duration::ZERO).all().await.is_empty());
        assert_eq!(waiting.pending(), 2);
        let stats = Handle::current().stats();
        assert_eq!((stats.timers, stats.scopes), (0, 0), "the timer is removed");
        assert_eq!(stats.operations, 2, "nothing was canceled");
        writer.write_all(b"abc").unwrap();
        let some = waiting.within(LONG).first().await;
        assert_eq!(some.len(), 1);
        assert_eq!(some[0].1.as_ref().unwrap().1, b"abc");
        assert!(waiting.within(SHORT).all().await.is_empty());
        writer.write_all(b"def").unwrap();
        assert_eq!(waiting.within(LONG).all().await.len(), 1);
        assert!(waiting.is_empty());
        assert!(waiting.within(LONG).all().await.is_empty(), "none is left");
    });
    run(async || {
        // At the deadline, the ready outputs are returned, even if others are pending.
        let mut waiting = wait([
            Box::pin(async { Ok(1) }) as Pin<Box<dyn Future<Output = _>>>,
            Box::pin(pending()),
        ]);
        assert_eq!(waiting.within(SHORT).all().await, [(0, Ok::<_, u8>(1))]);
        assert!(waiting.within(SHORT).first_error().await.is_empty());
        let mut waiting = wait([ready(Ok(1)), ready(Err(2)), ready(Ok(3))]);
        let all = waiting.within(LONG).first_error().await;
        assert!(all.contains(&(1, Err(2))));
    });
}

#[test]
fn the_time_of_a_wait_counts_from_its_first_poll_and_opens_no_scope() {
    run(async || {
        let mut waiting = wait([sleep(LONG)]);
        let mut first = pin!(waiting.within(SHORT).first());
        let moment = gimmal::time::Instant::now() + SHORT;
        while gimmal::time::Instant::now() < moment {}
        let mut polls = 0;
        let started = gimmal::time::Instant::now();
        let ended = poll_fn(|context| {
            polls += 1;
            first.as_mut().poll(context)
        });
        assert!(ended.await.is_empty());
        assert!(polls >= 2 && started.elapsed() >= SHORT);
        // A scope around the wait cancels the futures.
        let scope = Scope::new();
        scope.cancel();
        let mut waiting = wait([sleep(LONG)]);
        let outputs = scope.run_any(waiting.within(LONG).all()).await;
        assert_eq!(outputs, Ok(vec![(0, Err(Canceled))]));
    });
}
