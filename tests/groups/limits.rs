//! Limits on concurrent children, waits for the next finished child, and cleanup timeouts.

use crate::help::{LONG, SHORT, failure, run};
use common::{Census, Finally, Journal, next_turn, poll_once};
use gimmal::cancel::{Scope, shield};
use gimmal::group::Child;
use gimmal::time::{Instant, timeout};
use gimmal::{Canceled, group, sleep, supervise, yield_now};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::pending;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

#[test]
fn the_limit_bounds_concurrent_children_which_start_in_order() {
    run(async || {
        for limit in [1, 2, 7] {
            let (running, most) = (Cell::new(0), Cell::new(0));
            let begun = RefCell::new(Vec::new());
            group(async |g| {
                g.set_limit(limit);
                for n in 0..50 {
                    let (running, most, begun) = (&running, &most, &begun);
                    drop(g.spawn(async move {
                        begun.borrow_mut().push(n);
                        running.set(running.get() + 1);
                        most.set(most.get().max(running.get()));
                        for _ in 0..n % 4 {
                            yield_now().await;
                        }
                        running.set(running.get() - 1);
                    }));
                }
                assert_eq!(g.len(), 50);
                Ok::<_, io::Error>(())
            })
            .await
            .unwrap();
            assert_eq!(most.get(), limit);
            assert_eq!(begun.into_inner(), (0..50).collect::<Vec<_>>());
        }
    });
}

#[test]
fn a_limit_can_be_changed_and_is_at_least_one() {
    run(async || {
        let running = Cell::new(0);
        group(async |g| {
            g.set_limit(0);
            for _ in 0..10 {
                drop(g.spawn(async {
                    running.set(running.get() + 1);
                    pending::<()>().await;
                }));
            }
            while running.get() < 1 {
                yield_now().await;
            }
            yield_now().await;
            assert_eq!(running.get(), 1);
            g.set_limit(4);
            yield_now().await;
            yield_now().await;
            assert_eq!(running.get(), 4);
            g.set_limit(1);
            g.set_limit(usize::MAX);
            yield_now().await;
            yield_now().await;
            assert_eq!(running.get(), 10);
            g.cancel();
            Ok::<_, io::Error>(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn queued_children_that_are_canceled_run_to_their_first_wait() {
    run(async || {
        let census = Census::default();
        let begun = RefCell::new(Vec::new());
        group(async |g| {
            g.set_limit(1);
            drop(g.spawn(async {
                let _ = sleep(LONG).await;
            }));
            let spawn = |n| {
                let (member, begun) = (census.member(), &begun);
                g.spawn(async move {
                    let _member = member;
                    begun.borrow_mut().push(n);
                    assert_eq!(sleep(LONG).await, Err(Canceled));
                    Ok(n)
                })
            };
            let mut waiting: Vec<_> = (0..5).map(spawn).collect();
            yield_now().await;
            assert_eq!((g.len(), begun.borrow().len()), (6, 0));
            // One alone does not wait for room.
            let one = waiting.remove(1);
            one.cancel();
            assert_eq!(one.await, Ok(1));
            assert_eq!((census.alive(), g.len()), (4, 5));
            assert!(!g.is_canceled());
            assert_eq!(begun.take(), [1]);
            // Then all, and one of them by its handle as well.
            g.cancel();
            waiting[2].cancel();
            let late = spawn(5);
            for (child, n) in waiting.into_iter().zip([0, 2, 3, 4]) {
                assert_eq!(shield(child).await, Ok(n));
            }
            assert_eq!(shield(late).await, Ok(5));
            assert_eq!(begun.take(), [3, 0, 2, 4, 5]);
            assert_eq!(census.alive(), 0);
            Ok::<_, io::Error>(())
        })
        .await
        .unwrap();
    });
}

/// Each child takes something, and gives it back in its cleanup: canceled children must not take more at once than the
/// limit allows.
#[test]
fn the_limit_holds_while_queued_children_are_canceled() {
    run(async || {
        for limit in [1, 3] {
            let (taken, most, ended) = (Cell::new(0), Cell::new(0), Cell::new(0));
            let child = async || {
                taken.set(taken.get() + 1);
                most.set(most.get().max(taken.get()));
                let rest = sleep(LONG).await;
                shield(yield_now()).await;
                taken.set(taken.get() - 1);
                ended.set(ended.get() + 1);
                rest
            };
            group(async |g| {
                g.set_limit(limit);
                for _ in 0..50 {
                    drop(g.spawn(child()));
                }
                yield_now().await;
                g.cancel();
                for _ in 0..50 {
                    drop(g.spawn(child()));
                }
                Ok(())
            })
            .await
            .unwrap();
            supervise(async |s| {
                s.set_limit(limit);
                for _ in 0..100 {
                    drop(s.spawn(child()));
                }
                s.cancel();
                Ok::<_, Canceled>(())
            })
            .await
            .unwrap();
            assert_eq!((most.get(), ended.get()), (limit, 200));
        }
    });
}

/// A queued child that a timeout cancels is cut short only if it waits.
#[test]
fn a_timeout_around_a_group_cuts_queued_children_short_at_their_first_wait() {
    run(async || {
        let begun = Cell::new(0);
        for waits in [false, true] {
            let child = || async {
                begun.set(begun.get() + 1);
                if waits {
                    sleep(LONG).await?;
                }
                Ok(())
            };
            let grouped = timeout(
                SHORT / 4,
                group(async |g| {
                    g.set_limit(1);
                    drop(g.spawn(async {
                        let _ = shield(sleep(SHORT)).await;
                    }));
                    drop(g.spawn(child()));
                    Ok::<_, Canceled>(3)
                }),
            );
            let supervised = timeout(
                SHORT / 4,
                supervise(async |s| {
                    s.set_limit(1);
                    drop(s.spawn(async {
                        let _ = shield(sleep(SHORT)).await;
                    }));
                    drop(s.spawn(child()));
                    Ok::<_, Canceled>(3)
                }),
            );
            for ended in [grouped.await, supervised.await] {
                if waits {
                    let error = ended.unwrap_err();
                    assert!(error.is_elapsed(), "{error:?}");
                    assert_eq!(error.into_inner().unwrap().into_output(), Some(3));
                } else {
                    assert_eq!(ended.unwrap(), 3);
                }
            }
        }
        assert_eq!(begun.get(), 4);
    });
}

/// The end of the cleanup time is the one thing that keeps a queued child from its start.
#[test]
fn queued_children_are_dropped_when_the_cleanup_time_is_over() {
    run(async || {
        for outer in [false, true] {
            let (census, begun) = (Census::default(), Cell::new(false));
            let scope = Scope::new();
            let ended = scope.run(group(async |g| {
                g.set_limit(1);
                g.set_cleanup_timeout(SHORT / 4);
                drop(g.spawn(async {
                    let _ = shield(sleep(LONG)).await;
                }));
                let (member, begun) = (census.member(), &begun);
                drop(g.spawn(async move {
                    let _member = member;
                    begun.set(true);
                }));
                yield_now().await;
                match outer {
                    true => scope.cancel(),
                    false => g.cancel(),
                }
                Ok::<_, Canceled>(4)
            }));
            match ended.await {
                Ok(value) => assert_eq!((value, outer), (4, false)),
                Err(error) => assert!(outer && error.is_canceled(), "{error:?}"),
            }
            assert_eq!((census.alive(), begun.get()), (0, false));
        }
    });
}

#[test]
fn a_body_that_waits_for_slots_never_exceeds_the_limit() {
    run(async || {
        let (running, most) = (Cell::new(0), Cell::new(0));
        group(async |g| {
            g.set_limit(5);
            for n in 0..100 {
                g.wait_for_slot().await?;
                assert!(g.len() < 5);
                let (running, most) = (&running, &most);
                drop(g.spawn(async move {
                    running.set(running.get() + 1);
                    most.set(most.get().max(running.get()));
                    for _ in 0..10 + n % 3 {
                        yield_now().await;
                    }
                    running.set(running.get() - 1);
                }));
            }
            Ok::<_, io::Error>(())
        })
        .await
        .unwrap();
        assert_eq!(most.get(), 5);
        // The wait can be canceled, and leaves nothing behind.
        supervise(async |s| {
            s.set_limit(1);
            drop(s.spawn(async {
                let _ = sleep(LONG).await;
            }));
            assert!(
                timeout(SHORT / 8, s.wait_for_slot())
                    .await
                    .unwrap_err()
                    .is_elapsed()
            );
            s.cancel();
            assert_eq!(s.wait_for_slot().await, Err(Canceled));
            Ok::<_, Canceled>(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn next_finished_returns_children_in_order_of_completion_and_loses_none() {
    run(async || {
        group(async |g| {
            let mut children = HashMap::new();
            for n in 0..20u32 {
                let child = g.spawn(async move {
                    // In reverse order.
                    for _ in 0..20 - n {
                        yield_now().await;
                    }
                    Ok::<_, io::Error>(n)
                });
                children.insert(child.id(), child);
            }
            // Children whose handles were dropped or awaited are not returned.
            drop(g.spawn(async {}));
            g.spawn(async {}).await?;
            let mut order = Vec::new();
            loop {
                // A dropped wait has consumed nothing.
                if !g.is_empty() && !children.values().any(Child::is_finished) {
                    let mut given_up = Box::pin(g.next_finished());
                    assert!(poll_once(&mut given_up).await.is_pending());
                    drop(given_up);
                    let scope = Scope::new();
                    scope.cancel();
                    if let Ok(finished) = scope.run(async { g.next_finished().await }).await {
                        // The wait was rejected after a yield, and then a child had finished.
                        order.push(children.remove(&finished.unwrap()).unwrap().await?);
                        continue;
                    }
                }
                let Some(id) = g.next_finished().await? else {
                    break;
                };
                let child = children.remove(&id).unwrap();
                assert!(child.is_finished());
                order.push(child.await?);
            }
            assert_eq!(order, (0..20).rev().collect::<Vec<_>>());
            assert_eq!(g.next_finished().await, Ok(None));
            // Works again with new children.
            let child = g.spawn(async { Ok(1) });
            assert_eq!(g.next_finished().await, Ok(Some(child.id())));
            assert_eq!(g.next_finished().await, Ok(None), "returned once");
            assert_eq!(child.await, Ok(1));
            Ok(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn next_finished_returns_failed_and_dropped_children_too() {
    run(async || {
        let error = group(async |g| {
            let dropped = g.spawn(pending::<()>());
            let failed = g.spawn(async {
                yield_now().await;
                yield_now().await;
                Err::<(), _>(failure("failed"))
            });
            yield_now().await;
            dropped.cancel();
            assert_eq!(g.next_finished().await, Ok(Some(dropped.id())));
            assert_eq!(g.next_finished().await, Ok(Some(failed.id())));
            assert_eq!(g.next_finished().await, Ok(None));
            Ok(())
        })
        .await
        .unwrap_err();
        assert_eq!(error.first().unwrap().to_string(), "failed");
    });
}

#[test]
fn a_canceled_wait_for_the_next_returns_canceled() {
    run(async || {
        let value = group(async |g| {
            let _child = g.spawn(async { Ok(sleep(LONG).await.is_err()) });
            drop(g.spawn(async { g.cancel() }));
            assert_eq!(g.next_finished().await, Err(Canceled));
            Ok::<_, io::Error>(4)
        })
        .await;
        assert_eq!(value.unwrap(), 4);
    });
}

/// Who sets the cleanup timeout, and when.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Before,
    WithTheCancel,
    ByAChildThatCleansUp,
}

#[test]
fn children_that_exceed_the_cleanup_timeout_are_dropped() {
    run(async || {
        for asked in [
            Asked::Before,
            Asked::WithTheCancel,
            Asked::ByAChildThatCleansUp,
        ] {
            let census = Census::default();
            let journal = Journal::default();
            let start = Instant::now();
            let value = group(async |g| {
                let (census, journal) = (&census, &journal);
                if matches!(asked, Asked::Before) {
                    g.set_cleanup_timeout(SHORT);
                }
                let kept = g.spawn(async move {
                    let _member = census.member();
                    let _ = shield(sleep(LONG)).await;
                    Ok(())
                });
                drop(g.spawn(async move {
                    let _member = census.member();
                    let _ = sleep(LONG).await;
                    shield(yield_now()).await;
                    if matches!(asked, Asked::ByAChildThatCleansUp) {
                        g.set_cleanup_timeout(SHORT);
                    }
                    journal.note("cleaned up");
                }));
                drop(g.spawn(async move {
                    // Started while the others are dropped.
                    let _late = common::Finally(move || {
                        drop(g.spawn(async move {
                            let _member = census.member();
                            let _ = shield(sleep(LONG)).await;
                        }));
                    });
                    let _ = shield(sleep(LONG)).await;
                }));
                yield_now().await;
                g.cancel();
                if matches!(asked, Asked::WithTheCancel) {
                    g.set_cleanup_timeout(SHORT);
                }
                drop(kept);
                Ok::<_, io::Error>(1)
            })
            .await;
            assert_eq!(value.unwrap(), 1, "{asked:?}");
            assert!(start.elapsed() >= SHORT && start.elapsed() < LONG / 100);
            assert_eq!(census.alive(), 0);
            assert_eq!(journal.take(), ["cleaned up"]);
        }
    });
}

#[test]
fn a_group_that_is_not_canceled_has_no_cleanup_timeout() {
    run(async || {
        let value = group(async |g| {
            g.set_cleanup_timeout(std::time::Duration::ZERO);
            let child = g.spawn(async {
                sleep(SHORT / 2).await?;
                Ok::<_, io::Error>(1)
            });
            Ok(child.await?)
        })
        .await;
        assert_eq!(value.unwrap(), 1);
        let value = group(async |g| {
            g.set_cleanup_timeout(std::time::Duration::MAX);
            drop(g.spawn(async {
                let _ = sleep(LONG).await;
            }));
            yield_now().await;
            g.cancel();
            Ok::<_, io::Error>(2)
        })
        .await;
        assert_eq!(value.unwrap(), 2);
    });
}

/// When an outer timeout drops the children, the group does not return `Ok`, and the timeout is responsible.
#[test]
fn children_dropped_by_an_outer_timeout_count_as_canceled() {
    run(async || {
        for of_the_body in [false, true] {
            let error = timeout(
                SHORT / 4,
                group(async |g| {
                    g.set_cleanup_timeout(SHORT / 4);
                    drop(g.spawn(shield(sleep(LONG))));
                    if of_the_body {
                        shield(sleep(LONG)).await?;
                    }
                    Ok::<_, Canceled>(7)
                }),
            )
            .await
            .unwrap_err();
            assert!(error.is_elapsed(), "{of_the_body}: {error:?}");
            let inner = error.into_inner().unwrap();
            assert!(inner.is_canceled());
            assert_eq!(inner.into_output(), (!of_the_body).then_some(7));
        }
    });
}

/// The time to clean up is over, and the destructor of a child that never started cancels that very child.
#[test]
fn a_queued_child_may_cancel_itself_while_it_is_dropped() {
    run(async || {
        let mut group = pin!(group(async |g| {
            g.set_limit(1);
            g.set_cleanup_timeout(Duration::ZERO);
            drop(g.spawn(async { shield(pending::<()>()).await }));
            let own: Rc<RefCell<Option<Child<'_, ()>>>> = Rc::default();
            let place = own.clone();
            let cancels = Finally(move || {
                if let Some(child) = &*place.borrow() {
                    child.cancel();
                }
            });
            let child = g.spawn(async move { drop(cancels) });
            *own.borrow_mut() = Some(child);
            g.cancel();
            Ok::<_, io::Error>(())
        }));
        for _ in 0..10_000 {
            if poll_once(&mut group).await.is_ready() {
                return;
            }
            next_turn().await;
        }
        panic!("the group waits for a child that is gone");
    });
}
