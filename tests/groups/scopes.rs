//! Nested groups, timeouts and shields.

use crate::help::{LONG, SHORT, counts, doze, failure, run, run_in_real_time, run_with_faults};
use common::{Journal, Watched, pipe, ran_in_own_process};
use gimmal::cancel::{Scope, checkpoint, shield};
use gimmal::time::{Instant, timeout, timeout_any};
use gimmal::{Canceled, group, sleep, supervise, yield_now};
use std::cell::Cell;
use std::future::pending;
use std::io;

#[test]
fn a_timeout_around_a_group_cancels_it() {
    run(async || {
        let (reader, _writer) = pipe();
        let before = counts();
        let error = timeout(
            SHORT / 2,
            group(async |g| {
                drop(g.spawn(async {
                    reader.read(Watched::new(64, 1)).await?;
                    Ok(())
                }));
                drop(g.spawn(pending::<io::Result<()>>()));
                sleep(LONG).await?;
                Ok::<_, io::Error>(())
            }),
        )
        .await
        .unwrap_err();
        assert!(error.is_elapsed());
        let inner = error.into_inner().unwrap();
        assert!(inner.is_canceled());
        // The read and the sleep. The children that waited for others returned no error.
        assert_eq!(inner.canceled_errors().len(), 2);
        assert_eq!(counts(), before);
        // A group that fails by itself before the timeout.
        let error = timeout(
            LONG,
            group(async |g| {
                drop(g.spawn(doze(LONG)));
                Err::<(), _>(failure("by itself"))
            }),
        )
        .await
        .unwrap_err();
        assert!(!error.is_elapsed());
        assert_eq!(io::Error::from(error).to_string(), "by itself");
        // A group that is done.
        let value = timeout(LONG, group(async |_| Ok::<_, io::Error>(3))).await;
        assert_eq!(value.unwrap(), 3);
        assert_eq!(counts(), before);
    });
}

#[test]
fn timeouts_around_the_body_and_around_children() {
    run(async || {
        let before = counts();
        let value = group(async |g| {
            let children = [0, 1].map(|_| {
                g.spawn(async {
                    let error = timeout(SHORT / 2, doze(LONG)).await.unwrap_err();
                    Ok(error.is_elapsed())
                })
            });
            // A timeout in the body does not affect the children.
            let error = timeout(SHORT / 4, doze(LONG)).await.unwrap_err();
            assert!(error.is_elapsed() && !g.is_canceled());
            let mut all = true;
            for child in children {
                all &= child.await?;
            }
            Ok::<_, io::Error>(all)
        })
        .await;
        assert!(value.unwrap());
        assert_eq!(counts(), before);
    });
}

/// A child spawned inside a timeout of the body belongs to the group, not to the timeout.
#[test]
fn a_child_belongs_to_its_group_wherever_it_was_spawned() {
    run(async || {
        let journal = Journal::default();
        group(async |g| {
            let journal = &journal;
            let child = timeout(SHORT / 8, async {
                let child = g.spawn(async move {
                    sleep(SHORT).await?;
                    journal.note("child");
                    Ok::<_, io::Error>(())
                });
                let _ = sleep(LONG).await;
                Ok::<_, io::Error>(child)
            })
            .await?;
            journal.note("timeout");
            child.await?;
            // A child spawned inside a shield is not shielded either.
            let child = shield(async {
                g.spawn(async move {
                    assert_eq!(sleep(LONG).await, Err(Canceled));
                    journal.note("canceled");
                })
            })
            .await;
            yield_now().await;
            g.cancel();
            shield(child).await?;
            Ok::<_, io::Error>(())
        })
        .await
        .unwrap();
        assert_eq!(journal.take(), ["timeout", "child", "canceled"]);
    });
}

#[test]
fn a_shielded_group_is_not_reached() {
    run(async || {
        let scope = Scope::new();
        let value: Result<_, Canceled> = scope
            .run(async {
                scope.cancel();
                let value = shield(group(async |g| {
                    let child = g.spawn(async {
                        sleep(SHORT / 2).await?;
                        Ok::<_, io::Error>(4)
                    });
                    sleep(SHORT / 4).await?;
                    Ok(child.await?)
                }))
                .await;
                assert_eq!(sleep(LONG).await, Err(Canceled));
                Ok(value)
            })
            .await;
        assert_eq!(value.unwrap().unwrap(), 4);
        assert!(scope.canceled_caught());
    });
}

#[test]
fn a_shield_in_a_child_delays_the_group_and_nothing_else() {
    run(async || {
        let journal = Journal::default();
        let told = Cell::new(false);
        let error = timeout(
            SHORT / 4,
            group(async |g| {
                let (journal, told) = (&journal, &told);
                drop(g.spawn(async move {
                    shield(async {
                        while !told.get() {
                            sleep(SHORT / 8).await?;
                        }
                        Ok::<_, Canceled>(())
                    })
                    .await?;
                    journal.note("shielded");
                    Ok::<_, Canceled>(())
                }));
                drop(g.spawn(async move {
                    let slept = sleep(LONG).await;
                    journal.note("not shielded");
                    told.set(true);
                    slept
                }));
                Ok(())
            }),
        )
        .await
        .unwrap_err();
        assert!(error.is_elapsed());
        assert_eq!(journal.take(), ["not shielded", "shielded"]);
    });
}

#[test]
fn a_deadline_ends_children_that_ignore_every_error() {
    run_in_real_time(async |faults| {
        let start = Instant::now();
        let others = Cell::new(0);
        let outcome = timeout_any(
            SHORT,
            group(async |g| {
                for n in 0..4 {
                    drop(g.spawn_named(format!("child {n}"), async move {
                        for _ in 0..1_000_000 {
                            match n {
                                0 => drop(sleep(LONG).await),
                                1 => drop(checkpoint().await),
                                2 => drop(timeout(LONG, sleep(LONG)).await),
                                _ => drop(
                                    supervise(async |s| {
                                        let _ = s.spawn(sleep(LONG)).await;
                                        Ok::<_, Canceled>(())
                                    })
                                    .await,
                                ),
                            }
                        }
                    }));
                }
                loop {
                    let _ = sleep(SHORT / 4).await;
                    others.set(others.get() + 1);
                    assert!(others.get() < 100_000);
                }
                #[expect(unreachable_code, reason = "gives the output type of the body")]
                Ok::<(), io::Error>(())
            }),
        )
        .await;
        let error = outcome.unwrap_err();
        assert!(error.is_elapsed());
        assert!(start.elapsed() < LONG / 1000);
        let mut said = faults.take();
        // Those of the supervisors: a wait for them was rejected.
        said.retain(|fault| !fault.contains("nobody joined it: canceled"));
        assert_eq!(said.len(), 5, "{said:?}");
        assert!(
            said.iter()
                .all(|fault| fault.contains("ignored it 64 times")),
            "{said:?}"
        );
        assert!(
            (0..4).all(|n| said
                .iter()
                .any(|fault| fault.contains(&format!("child {n}")))),
            "{said:?}"
        );
    });
}

/// A loop that opens a group in each round is still a loop.
#[test]
fn a_canceled_loop_over_groups_ends() {
    run_with_faults(async |faults| {
        let rounds = Cell::new(0);
        let error = timeout_any(SHORT / 4, async {
            loop {
                rounds.set(rounds.get() + 1);
                assert!(rounds.get() < 200_000, "the loop never ends");
                let _ = group(async |g| {
                    drop(g.spawn(sleep(SHORT)));
                    sleep(LONG).await
                })
                .await;
            }
        })
        .await
        .unwrap_err();
        assert!(error.is_elapsed());
        faults.expect(&["ignored it 64 times"]);
    });
}

/// But a hundred children that are rejected once each do not count as one loop.
#[test]
fn many_children_rejected_once_do_not_count_as_ignoring_a_cancel() {
    run(async || {
        let ended = Cell::new(0);
        let error = timeout(
            SHORT / 4,
            group(async |g| {
                let ended = &ended;
                for _ in 0..200 {
                    drop(g.spawn(async move {
                        let _ = sleep(LONG).await;
                        // Each child has a group of its own to clean up, and is rejected once more.
                        let inner = group(async |inner| {
                            drop(inner.spawn(sleep(LONG)));
                            sleep(LONG).await
                        });
                        let error = inner.await.unwrap_err();
                        ended.set(ended.get() + 1);
                        error.into_first().map_or(Err::<(), _>(Canceled), Err)
                    }));
                }
                shield(sleep(SHORT)).await?;
                Ok(())
            }),
        )
        .await
        .unwrap_err();
        assert!(error.is_elapsed());
        assert_eq!(ended.get(), 200);
    });
}

#[test]
fn a_group_in_a_canceled_scope_is_canceled_at_once() {
    run(async || {
        let scope = Scope::new();
        scope.cancel();
        let outcome: Result<_, Canceled> = scope
            .run(async {
                Ok(group(async |g| {
                    assert!(g.is_canceled());
                    let child = g.spawn(async { Ok(sleep(LONG).await) });
                    let child = shield(child).await?;
                    Ok::<_, Canceled>(child)
                })
                .await)
            })
            .await;
        let error = outcome.unwrap().unwrap_err();
        assert_eq!(error.output(), Some(&Err(Canceled)));
        assert!(scope.canceled_caught());
    });
}

/// Nested groups: each learns the reason, and only the group whose child failed has the failure.
#[test]
fn an_inner_failure_cancels_outward_one_group_at_a_time() {
    run(async || {
        let journal = Journal::default();
        let error = group(async |outer| {
            let journal = &journal;
            drop(outer.spawn(async move {
                let slept = sleep(LONG).await;
                journal.note("outer sibling");
                slept.map_err(io::Error::from)
            }));
            drop(outer.spawn(async move {
                let inner = group(async |inner| {
                    drop(inner.spawn(async move {
                        let slept = sleep(LONG).await;
                        journal.note("inner sibling");
                        slept.map_err(io::Error::from)
                    }));
                    yield_now().await;
                    drop(inner.spawn(async { Err::<(), _>(failure("inside")) }));
                    Ok::<_, io::Error>(())
                })
                .await;
                journal.note("inner group");
                inner.map_err(io::Error::from)
            }));
            Ok(())
        })
        .await
        .unwrap_err();
        assert_eq!(error.first().unwrap().to_string(), "inside");
        assert_eq!(error.canceled_errors().len(), 1);
        assert_eq!(
            journal.take(),
            ["inner sibling", "inner group", "outer sibling"]
        );
    });
}

/// The end of `run` cancels tasks that have groups, and these clean up within the grace period.
#[test]
fn the_end_of_run_lets_groups_clean_up() {
    if ran_in_own_process() {
        return;
    }
    let journal = Journal::default();
    let noted = journal.clone();
    gimmal::run(async move {
        drop(gimmal::spawn(async move {
            let journal = &noted;
            let _ = group(async |g| {
                drop(g.spawn(async move {
                    let _ = sleep(LONG).await;
                    shield(sleep(SHORT)).await.unwrap();
                    journal.note("child");
                }));
                sleep(LONG).await
            })
            .await;
            journal.note("group");
        }));
        yield_now().await;
        Ok::<_, io::Error>(())
    })
    .unwrap();
    assert_eq!(journal.take(), ["child", "group"]);
}

/// A group whose future is polled in one scope, then in another that is canceled.
#[test]
fn a_group_that_moves_into_a_canceled_scope_is_canceled() {
    run(async || {
        let mut future = Box::pin(group(async |g| {
            drop(g.spawn(doze(LONG)));
            sleep(LONG).await?;
            Ok::<_, io::Error>(())
        }));
        assert!(common::poll_once(&mut future).await.is_pending());
        let scope = Scope::new();
        scope.cancel();
        let outcome: Result<_, Canceled> = scope.run(async { Ok(future.as_mut().await) }).await;
        let error = outcome.unwrap().unwrap_err();
        assert!(error.is_canceled());
        assert_eq!(error.canceled_errors().len(), 2);
    });
}

/// A child that wakes itself forever, as foreign futures may, delays neither its group nor an outer timeout forever.
#[test]
fn a_child_that_only_yields_ends_when_its_group_is_canceled() {
    run_in_real_time(async |faults| {
        let forever = || async {
            loop {
                yield_now().await;
            }
        };
        let ended: Result<(), _> = timeout(
            SHORT,
            group(async |g| {
                drop(g.spawn_named("spins", forever()));
                pending::<io::Result<()>>().await
            }),
        )
        .await;
        assert!(ended.unwrap_err().is_elapsed());
        faults.expect(&["spins"]);
        let task = gimmal::spawn(forever());
        yield_now().await;
        task.cancel();
        assert!(task.await.unwrap_err().is_aborted());
        faults.expect(&["ignored it"]);
    });
}

/// A group whose future is polled in a canceled scope, then in one that is not canceled: its children are no longer
/// canceled.
#[test]
fn a_group_that_moves_out_of_a_canceled_scope_is_no_longer_canceled() {
    run(async || {
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let mut future = Box::pin(group(async |g| {
            let child = g.spawn(async {
                // The closure has started, so it is awaited even in a canceled scope.
                let (begin, begun) = std::sync::mpsc::channel();
                let start = async || {
                    gimmal::task::spawn_blocking(move || {
                        begin.send(()).unwrap();
                        gone.recv().is_err()
                    })
                };
                let closure = shield(start()).await;
                begun.recv().unwrap();
                let _ = closure.await;
                sleep(SHORT).await
            });
            shield(sleep(SHORT)).await?;
            child.await?;
            sleep(SHORT).await?;
            Ok::<_, Canceled>(4)
        }));
        let scope = Scope::new();
        scope.cancel();
        let polled = scope.run_any(common::poll_once(&mut future)).await;
        assert!(polled.unwrap().is_pending());
        drop(go);
        assert_eq!(future.await.unwrap(), 4);
    });
}

#[test]
fn a_cancel_by_a_child_that_succeeds_applies_to_the_next_child() {
    run(async || {
        let seen = Cell::new(None);
        let before = counts();
        let all = group(async |g| {
            let one = g.spawn(async {
                g.cancel();
                Ok::<_, io::Error>(1)
            });
            // It is ready as well, and polled right after the child that cancels.
            let next = g.spawn(async {
                seen.set(Some(checkpoint().await.is_err()));
                Ok(2)
            });
            let never = g.spawn(async {
                sleep(LONG).await?;
                Ok(3)
            });
            let ends = (one.await, next.await, never.await);
            assert!(ends.2.is_err());
            Ok(())
        });
        let ended = all.await;
        assert!(ended.is_ok() || ended.is_err_and(|error| error.is_canceled()));
        assert_eq!(seen.get(), Some(true));
        assert_eq!(counts(), before);
    });
}

/// Where the cancel of a group comes from.
#[derive(Clone, Copy, Debug)]
enum From {
    Body,
    Child,
    /// A child cancels the scope around the group.
    ChildOfAnOuterScope,
    Grandchild,
}

/// After a call of `cancel`, every leaf in the scope is rejected: in the same poll, and in that of a sibling polled
/// right after it (C2).
#[test]
fn a_cancel_inside_a_groups_poll_takes_effect_at_once() {
    for from in [
        From::Body,
        From::Child,
        From::ChildOfAnOuterScope,
        From::Grandchild,
    ] {
        run(async || {
            let file = gimmal::fs::File::from(tempfile::tempfile().unwrap());
            let rejected = Cell::new(0);
            let outer = Scope::new();
            let count = |is_rejected: bool| rejected.set(rejected.get() + usize::from(is_rejected));
            let try_all = async || {
                for _ in 0..3 {
                    count(checkpoint().await.is_err());
                }
                count(gimmal::op::nop().await.is_err());
                count(file.write_at(b"late".to_vec(), 0).await.is_err());
            };
            let (cancel, try_all) = (&outer, &try_all);
            let ended = outer.run_any(group(async move |g| {
                if !matches!(from, From::Body) {
                    drop(g.spawn(async move {
                        match from {
                            From::Child => g.cancel(),
                            From::ChildOfAnOuterScope => cancel.cancel(),
                            From::Body | From::Grandchild => {
                                let inner = group(async |inner| {
                                    drop(inner.spawn(async {
                                        g.cancel();
                                        try_all().await;
                                    }));
                                    Ok::<_, io::Error>(())
                                });
                                let _ = inner.await;
                                return;
                            }
                        }
                        try_all().await;
                    }));
                }
                // It is ready when the other one cancels, and polled after it.
                drop(g.spawn(async move { try_all().await }));
                if matches!(from, From::Body) {
                    g.cancel();
                    try_all().await;
                }
                Ok::<_, io::Error>(())
            }));
            let _ = ended.await;
            assert_eq!(rejected.get(), 10, "{from:?}");
            let (written, _) = file.read_at(vec![0; 8], 0).await.unwrap();
            assert_eq!(written, 0, "{from:?}");
        });
    }
}
