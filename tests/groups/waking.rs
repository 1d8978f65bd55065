//! G5: only woken children are polled, and other tasks get their turns.

use crate::help::{LONG, SHORT, run, run_in_real_time};
use common::{
    Done, counted, foreign_waker, next_turn, pipe, poll_once, poll_with, ran_in_own_process,
};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use gimmal::cancel::Scope;
use gimmal::group::Group;
use gimmal::time::timeout;
use gimmal::{Canceled, Handle, Runtime, group, sleep, spawn, yield_now};
use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

/// More polls than any fair runtime needs for these tests.
const POLLS_MAX: u32 = 20_000_000;

#[test]
fn of_a_hundred_thousand_children_only_the_woken_ones_are_polled() {
    const CHILDREN: usize = 100_000;
    run_in_real_time(async |_| {
        let polls = Rc::new(Cell::new(0));
        group(async |g| {
            let (sender, receiver) = async_channel::unbounded::<u8>();
            for _ in 0..CHILDREN - 1 {
                drop(g.spawn(counted(&polls, pending::<()>())));
            }
            let woken = Rc::new(Cell::new(0));
            let child = g.spawn(counted(&woken, async move {
                while receiver.recv().await.is_ok() {}
            }));
            while polls.get() < CHILDREN as u32 - 1 || woken.get() < 1 {
                yield_now().await;
            }
            assert_eq!((polls.get(), woken.get()), (CHILDREN as u32 - 1, 1));
            for n in 0..1000 {
                sender.send(1).await.unwrap();
                yield_now().await;
                assert_eq!(woken.get(), n + 2);
            }
            drop(sender);
            child.await?;
            assert_eq!(polls.get(), CHILDREN as u32 - 1);
            g.cancel();
            Ok::<_, io::Error>(())
        })
        .await
        .unwrap();
        // Canceled once, they are dropped.
        assert!(polls.get() < 2 * CHILDREN as u32);
    });
}

/// A flag set by a timer in another task.
fn set_after_some_turns() -> Rc<Cell<bool>> {
    let flag = Rc::new(Cell::new(false));
    let raised = flag.clone();
    drop(spawn(async move {
        for _ in 0..5 {
            next_turn().await;
            sleep(SHORT / 16).await.unwrap();
        }
        raised.set(true);
    }));
    flag
}

fn keep_going(flag: &Cell<bool>, polls: &Cell<u32>) -> bool {
    polls.set(polls.get() + 1);
    assert!(
        polls.get() < POLLS_MAX,
        "timers and other tasks are starved"
    );
    !flag.get()
}

#[test]
fn timers_fire_while_many_children_wake_themselves() {
    run_in_real_time(async |_| {
        let (flag, polls) = (set_after_some_turns(), Cell::new(0));
        group(async |g| {
            let (flag, polls) = (&flag, &polls);
            for _ in 0..50 {
                drop(g.spawn(async move {
                    while keep_going(flag, polls) {
                        yield_now().await;
                    }
                }));
            }
            Ok::<_, io::Error>(())
        })
        .await
        .unwrap();
    });
}

fn chain<'scope>(
    g: &'scope Group<'scope, '_, io::Error>,
    flag: &'scope Cell<bool>,
    polls: &'scope Cell<u32>,
) {
    if keep_going(flag, polls) {
        drop(g.spawn(async move { chain(g, flag, polls) }));
    }
}

/// No child is polled twice, but they still keep the group busy.
#[test]
fn timers_fire_while_many_children_spawn_each_other() {
    run_in_real_time(async |_| {
        let (flag, polls) = (set_after_some_turns(), Cell::new(0));
        group(async |g| {
            chain(g, &flag, &polls);
            Ok::<_, io::Error>(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn timers_fire_while_children_are_endlessly_spawned_and_awaited() {
    run_in_real_time(async |_| {
        let (flag, polls) = (set_after_some_turns(), Cell::new(0));
        group(async |g| {
            while keep_going(&flag, &polls) {
                g.spawn(async {}).await?;
            }
            Ok::<_, io::Error>(())
        })
        .await
        .unwrap();
        for children in [1, 0] {
            let flag = set_after_some_turns();
            while keep_going(&flag, &polls) {
                group(async |g| {
                    for _ in 0..children {
                        drop(g.spawn(async {}));
                    }
                    Ok::<_, io::Error>(())
                })
                .await
                .unwrap();
            }
        }
    });
}

#[test]
fn a_busy_group_does_not_starve_another() {
    run(async || {
        let stop = Rc::new(Cell::new(false));
        let storm = |stop: Rc<Cell<bool>>, count: Rc<Cell<u32>>| async move {
            let (stop, count) = (&stop, &count);
            group(async |g| {
                for _ in 0..1000 {
                    drop(g.spawn(async move {
                        while !stop.get() {
                            count.set(count.get() + 1);
                            assert!(count.get() < POLLS_MAX);
                            yield_now().await;
                        }
                    }));
                }
                Ok::<_, io::Error>(())
            })
            .await
            .unwrap();
        };
        let counts = [Rc::new(Cell::new(0)), Rc::new(Cell::new(0))];
        let tasks = counts
            .clone()
            .map(|count| spawn(storm(stop.clone(), count)));
        for _ in 0..200 {
            next_turn().await;
        }
        stop.set(true);
        for task in tasks {
            task.await.unwrap();
        }
        let [a, b] = counts.map(|count| count.get());
        assert!(a > 0 && b > 0 && a < 4 * b && b < 4 * a, "{a} and {b}");
    });
}

/// One turn polls no more children than its budget allows.
#[test]
fn a_turn_has_a_budget_for_children() {
    if ran_in_own_process() {
        return;
    }
    let mut runtime = gimmal::Runtime::builder()
        .budget(10, std::time::Duration::from_secs(100))
        .build()
        .unwrap();
    runtime.block_on(async {
        let seen = Cell::new((0u64, 0u32));
        let most = Cell::new(0);
        group(async |g| {
            for n in 0..1000 {
                let (seen, most) = (&seen, &most);
                drop(g.spawn(async move {
                    for _ in 0..n % 3 {
                        let turn = Handle::current().stats().turns;
                        let (before, count) = seen.get();
                        let count = if before == turn { count + 1 } else { 1 };
                        seen.set((turn, count));
                        most.set(most.get().max(count));
                        yield_now().await;
                    }
                }));
            }
            Ok::<_, io::Error>(())
        })
        .await
        .unwrap();
        assert!(most.get() <= 11, "{}", most.get());
    });
    // A budget of one poll is enough to finish.
    let mut runtime = gimmal::Runtime::builder()
        .budget(1, std::time::Duration::ZERO)
        .build()
        .unwrap();
    runtime.block_on(async {
        group(async |g| {
            let a = g.spawn(async {
                yield_now().await;
                Ok::<_, io::Error>(1)
            });
            Ok(a.await?)
        })
        .await
        .unwrap();
    });
}

/// Groups in a foreign set, with foreign wakers.
#[test]
fn groups_run_in_a_foreign_set() {
    run(async || {
        let mut set = FuturesUnordered::new();
        for n in 0..20u32 {
            set.push(async move {
                group(async |g| {
                    let children = [0, 1, 2].map(|m| {
                        g.spawn(async move {
                            if m == 1 {
                                sleep(SHORT / 8 * (n % 4)).await?;
                            }
                            yield_now().await;
                            group(async |inner| {
                                let child = inner.spawn(async {
                                    sleep(SHORT / 16).await?;
                                    Ok(1)
                                });
                                Ok::<_, io::Error>(child.await?)
                            })
                            .await
                            .map_err(io::Error::from)
                        })
                    });
                    let mut sum = 0;
                    for child in children {
                        sum += child.await?;
                    }
                    Ok::<_, io::Error>(sum)
                })
                .await
            });
        }
        let mut sum = 0;
        while let Some(value) = set.next().await {
            sum += value.unwrap();
        }
        assert_eq!(sum, 60);
    });
}

#[test]
fn a_group_that_loses_a_foreign_select_is_dropped() {
    if common::ran_in_own_process() {
        return;
    }
    use futures_util::FutureExt;
    run(async || {
        let baseline = common::Baseline::take();
        for _ in 0..20 {
            let mut grouped = pin!(
                group(async |g| {
                    for _ in 0..5 {
                        drop(g.spawn(sleep(LONG)));
                    }
                    sleep(LONG).await
                })
                .fuse()
            );
            let mut short = pin!(sleep(SHORT / 16).fuse());
            futures_util::select! {
                _ = grouped => panic!("the group sleeps for an hour"),
                slept = short => slept.unwrap(),
            }
        }
        baseline.returns("selects").await;
    });
}

/// Children in a group whose future is polled with a different kind of waker each time.
#[test]
fn the_waker_may_change_with_every_poll() {
    // No turn ends by time before each child was polled.
    let builder = gimmal::Runtime::builder().budget(256, LONG);
    builder.build().unwrap().block_on(async {
        let wakes = Rc::new(Cell::new((0, 0)));
        let (sender, receiver) = async_channel::unbounded::<u8>();
        let got = Cell::new(0);
        let mut future = Box::pin(group(async |g| {
            let child = g.spawn(async {
                while receiver.recv().await.is_ok() {
                    got.set(got.get() + 1);
                }
                Ok::<_, io::Error>(())
            });
            Ok(child.await?)
        }));
        let seen = wakes.clone();
        let (foreign, guard) = foreign_waker(move |done| {
            let (clones, wakes) = seen.get();
            match done {
                Done::Clone => seen.set((clones + 1, wakes)),
                Done::Wake => seen.set((clones, wakes + 1)),
                Done::Drop => seen.set((clones - 1, wakes)),
            }
        });
        for n in 1..10 {
            assert!(poll_with(&foreign, &mut future).is_pending());
            let (_, before) = wakes.get();
            sender.try_send(1).unwrap();
            assert!(wakes.get().1 > before, "the last waker is woken");
            // And then with the task's own waker, in the next turn if this one is out of time.
            assert!(poll_once(&mut future).await.is_pending());
            while got.get() < n {
                yield_now().await;
                assert!(poll_once(&mut future).await.is_pending());
            }
            assert_eq!(wakes.get().0, 0, "no foreign waker is kept");
        }
        drop(sender);
        let before = wakes.get().1;
        poll_fn(|context| future.as_mut().poll(context))
            .await
            .unwrap();
        assert_eq!(wakes.get(), (0, before));
        drop(foreign);
        drop(guard);
    });
}

/// Foreign wakers whose clones and drops call the runtime: none of that happens while a table is borrowed.
#[test]
fn foreign_wakers_may_call_the_runtime() {
    run(async || {
        let handle = Handle::current();
        let (foreign, guard) = foreign_waker(move |_| {
            let _ = handle.stats();
            let _ = handle.tasks();
            drop(spawn(async {}));
        });
        let (sender, receiver) = async_channel::unbounded::<u8>();
        let mut future = Box::pin(group(async |g| {
            g.set_cleanup_timeout(SHORT);
            for _ in 0..3 {
                drop(g.spawn(async {
                    let _ = receiver.recv().await;
                    Ok::<_, Canceled>(())
                }));
            }
            let mut told = pin!(g.next_finished());
            poll_fn(|context| Poll::Ready(told.as_mut().poll(context).is_pending())).await;
            let mut room = pin!(g.wait_for_slot());
            poll_fn(|context| Poll::Ready(room.as_mut().poll(context).is_pending())).await;
            while !g.is_empty() {
                yield_now().await;
            }
            Ok(())
        }));
        for _ in 0..3 {
            assert!(poll_with(&foreign, &mut future).is_pending());
            sender.try_send(1).unwrap();
        }
        // Inside the group as well: a child that polls with its own waker.
        for _ in 0..10 {
            if poll_with(&foreign, &mut future).is_ready() {
                break;
            }
            next_turn().await;
        }
        drop(future);
        let mut future = Box::pin(group(async |g| {
            let waker = foreign.clone();
            let mut child = g.spawn(async {
                yield_now().await;
                Ok::<_, Canceled>(())
            });
            assert!(poll_with(&waker, &mut child).is_pending());
            let mut told = Box::pin(g.next_finished());
            assert!(poll_with(&waker, &mut told).is_pending());
            drop(g.spawn(async move {
                let mut sleeping = Box::pin(sleep(LONG));
                assert!(poll_with(&waker, &mut sleeping).is_pending());
                g.cancel();
                let _ = sleeping.await;
                Ok::<_, Canceled>(())
            }));
            let _ = child.await;
            Ok(())
        }));
        let _ = poll_fn(|context| future.as_mut().poll(context)).await;
        drop(future);
        next_turn().await;
        drop((foreign, guard));
    });
}

/// The waker of a leaf that moves to a scope of the child, because the child opens one right after it has canceled its
/// group.
#[test]
fn a_foreign_waker_may_run_a_runtime_while_a_child_gets_a_scope() {
    run(async || {
        let woken = Rc::new(Cell::new(0));
        let seen = woken.clone();
        let (foreign, guard) = foreign_waker(move |done| {
            if done == Done::Wake {
                seen.set(seen.get() + 1);
                drop(Runtime::new().unwrap());
            }
        });
        group(async |g| {
            let foreign = &foreign;
            drop(g.spawn(async move {
                let mut slept = sleep(LONG);
                assert!(poll_with(foreign, &mut slept).is_pending());
                g.cancel();
                let _ = timeout(LONG, sleep(LONG)).await;
                drop(slept);
            }));
            Ok::<_, Canceled>(())
        })
        .await
        .unwrap();
        next_turn().await;
        assert_eq!(woken.get(), 1);
        drop((foreign, guard));
    });
}

/// The same for a scope's waker, which is woken because an operation leaves the scope.
#[test]
fn a_foreign_waker_may_run_a_runtime_while_a_leaf_leaves_its_scope() {
    run(async || {
        let (reader, _writer) = pipe();
        let woken = Rc::new(Cell::new(0));
        let seen = woken.clone();
        let (foreign, guard) = foreign_waker(move |done| {
            seen.set(seen.get() + u32::from(done == Done::Wake));
            drop(Runtime::new().unwrap());
        });
        let read = RefCell::new(reader.read(vec![0; 1]));
        let poll_read = || {
            Box::pin(poll_fn(|context| {
                Pin::new(&mut *read.borrow_mut()).poll(context)
            }))
        };
        let scope = Scope::new();
        let mut inside = Box::pin(scope.run_any(poll_read()));
        assert!(poll_with(&foreign, &mut inside).is_pending());
        next_turn().await;
        scope.cancel();
        assert!(poll_with(&foreign, &mut inside).is_pending());
        let before = woken.get();
        assert!(poll_once(&mut poll_read()).await.is_pending());
        next_turn().await;
        assert!(woken.get() > before);
        assert!(gimmal::is_canceled(&poll_read().await.unwrap_err()));
        drop((inside, foreign, guard));
    });
}
