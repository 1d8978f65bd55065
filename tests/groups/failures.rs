//! G2: the first failure, the rest, secondary errors, and cancels from outside.

use crate::help::{LONG, SHORT, doze, failure, run, words};
use common::{Census, Journal, caught};
use gimmal::cancel::{Scope, shield};
use gimmal::{Canceled, group, sleep, yield_now};
use std::cell::Cell;
use std::future::pending;
use std::io;

#[test]
fn a_failure_cancels_the_rest_and_is_the_first() {
    run(async || {
        let woken = Cell::new(0);
        let error = group(async |g| {
            for _ in 0..3 {
                let woken = &woken;
                drop(g.spawn(async move {
                    let slept = sleep(LONG).await;
                    woken.set(woken.get() + 1);
                    slept?;
                    Ok::<_, io::Error>(())
                }));
            }
            let child = g.spawn(async { Err::<(), _>(failure("first")) });
            assert_eq!(child.await, Err(Canceled));
            assert!(g.is_canceled());
            sleep(LONG).await?;
            Ok(())
        })
        .await
        .unwrap_err();
        assert_eq!(woken.get(), 3);
        assert_eq!(error.first().unwrap().to_string(), "first");
        assert_eq!(error.canceled_errors().len(), 4);
        assert!(
            error
                .canceled_errors()
                .iter()
                .all(|error| gimmal::is_canceled(error))
        );
        assert!(error.rest().is_empty());
        assert!(!error.is_canceled() && error.output().is_none());
    });
}

#[test]
fn failures_that_are_no_secondary_errors_follow_in_order() {
    run(async || {
        let error = group(async |g| {
            // All are ready at once, so none of them is canceled at a leaf.
            for what in ["one", "two", "three"] {
                drop(g.spawn(async move { Err::<(), _>(failure(what)) }));
            }
            Ok(7)
        })
        .await
        .unwrap_err();
        assert_eq!(error.first().unwrap().to_string(), "one");
        assert_eq!(words(error.rest()), ["two", "three"]);
        assert!(error.canceled_errors().is_empty());
        assert_eq!(error.output(), Some(&7), "the body succeeded");
        assert_eq!(error.to_string(), "one (and 2 more failed: two; three)");
        let all: Vec<io::Error> = error.into_failures().collect();
        assert_eq!(words(&all), ["one", "two", "three"]);
    });
}

/// The most common body: it awaits its children with `?`.
#[test]
fn a_body_that_awaits_the_failed_child_adds_no_failure() {
    run(async || {
        let error = group(async |g| {
            let a = g.spawn(async { Err::<u8, _>(failure("first")) });
            let b = g.spawn(async {
                sleep(LONG).await?;
                Ok(1)
            });
            Ok(a.await? + b.await?)
        })
        .await
        .unwrap_err();
        assert_eq!(error.first().unwrap().to_string(), "first");
        assert!(error.rest().is_empty(), "{error:?}");
        assert_eq!(error.canceled_errors().len(), 2);
    });
}

/// The same for a sibling, and through a timeout.
#[test]
fn a_sibling_that_awaits_the_failed_child_adds_no_failure() {
    run(async || {
        let error = group(async |g| {
            let a = g.spawn(async {
                yield_now().await;
                Err::<(), _>(failure("first"))
            });
            drop(g.spawn(async {
                gimmal::time::timeout(LONG, a).await?;
                Ok::<_, io::Error>(())
            }));
            Ok(())
        })
        .await
        .unwrap_err();
        assert_eq!(error.first().unwrap().to_string(), "first");
        assert!(error.rest().is_empty(), "{error:?}");
        assert_eq!(error.canceled_errors().len(), 1);
    });
}

/// A child that is canceled alone and returns that cancellation fails nothing (G2).
#[test]
fn a_child_canceled_by_its_handle_fails_nothing() {
    run(async || {
        let value = group(async |g| {
            let sibling = g.spawn(async {
                doze(SHORT).await?;
                Ok(3)
            });
            let child = g.spawn(doze(LONG));
            // A child with a scope of its own, one that was never polled, and one that has ended.
            let inside = g.spawn(async {
                group(async |_| doze(LONG).await)
                    .await
                    .map_err(io::Error::from)
            });
            let late = g.spawn(doze(LONG));
            late.cancel();
            yield_now().await;
            child.cancel();
            inside.cancel();
            assert_eq!(child.await.unwrap_err(), Canceled);
            assert_eq!(inside.await.unwrap_err(), Canceled);
            assert_eq!(late.await.unwrap_err(), Canceled);
            assert!(!g.is_canceled());
            Ok::<_, io::Error>(sibling.await?)
        })
        .await;
        assert_eq!(value.unwrap(), 3);
    });
}

#[test]
fn a_failure_of_the_body_cancels_the_children() {
    run(async || {
        let journal = Journal::default();
        let error = group(async |g| {
            let journal = &journal;
            drop(g.spawn(async move {
                let slept = sleep(LONG).await;
                shield(sleep(SHORT / 4)).await.unwrap();
                journal.note("cleaned up");
                slept
            }));
            yield_now().await;
            Err::<(), _>(Canceled)
        })
        .await
        .unwrap_err();
        // The body returned `Canceled` itself, without having been canceled.
        assert_eq!(error.first(), Some(&Canceled));
        assert_eq!(error.canceled_errors(), [Canceled]);
        assert_eq!(journal.take(), ["cleaned up"]);
    });
}

#[test]
fn a_canceled_group_with_only_secondary_errors_is_ok() {
    run(async || {
        for from_child in [false, true] {
            let value = group(async |g| {
                for _ in 0..3 {
                    drop(g.spawn(doze(LONG)));
                }
                drop(g.spawn(pending::<io::Result<()>>()));
                yield_now().await;
                if from_child {
                    drop(g.spawn(async {
                        g.cancel();
                        g.cancel();
                    }));
                } else {
                    g.cancel();
                }
                Ok(5)
            })
            .await;
            assert_eq!(value.unwrap(), 5);
        }
        // If the body is canceled, there is no value.
        let error = group(async |g| {
            g.cancel();
            sleep(LONG).await?;
            Ok::<_, io::Error>(())
        })
        .await
        .unwrap_err();
        assert!(error.is_canceled() && error.first().is_none());
        assert_eq!(error.canceled_errors().len(), 1);
        assert!(gimmal::is_canceled(&io::Error::from(error)));
        // And a body that waits for a foreign future.
        let error = group(async |g| {
            g.cancel();
            pending::<io::Result<()>>().await
        })
        .await
        .unwrap_err();
        assert!(error.is_canceled() && error.canceled_errors().is_empty());
    });
}

#[test]
fn a_real_failure_after_the_cancel_of_the_group_is_a_failure() {
    run(async || {
        let error = group(async |g| {
            drop(g.spawn(async {
                yield_now().await;
                Err::<(), _>(failure("own failure"))
            }));
            g.cancel();
            Ok(1)
        })
        .await
        .unwrap_err();
        assert_eq!(error.first().unwrap().to_string(), "own failure");
        assert_eq!(error.into_output(), Some(1));
    });
}

/// What a child does when it is canceled from outside.
#[derive(Clone, Copy, Debug)]
enum OnCancel {
    Fails,
    Swallows,
    IsDropped,
    HasNotBegun,
    InAScopeOfItsOwn,
    InAGroupOfItsOwn,
}

#[test]
fn a_group_with_a_child_canceled_from_outside_is_never_ok() {
    run(async || {
        for on_cancel in [
            OnCancel::Fails,
            OnCancel::Swallows,
            OnCancel::IsDropped,
            OnCancel::HasNotBegun,
            OnCancel::InAScopeOfItsOwn,
            OnCancel::InAGroupOfItsOwn,
        ] {
            let scope = Scope::new();
            let outcome = scope
                .run(async {
                    let grouped = group(async |g| {
                        drop(g.spawn(async move {
                            match on_cancel {
                                OnCancel::Fails => sleep(LONG).await?,
                                OnCancel::Swallows => drop(sleep(LONG).await),
                                OnCancel::IsDropped => pending::<()>().await,
                                OnCancel::HasNotBegun => drop(shield(sleep(SHORT / 2)).await),
                                OnCancel::InAScopeOfItsOwn => {
                                    let _ = gimmal::time::timeout(LONG, sleep(LONG)).await;
                                }
                                OnCancel::InAGroupOfItsOwn => {
                                    let inner = group(async |inner| {
                                        drop(inner.spawn(doze(LONG)));
                                        Ok::<_, io::Error>(())
                                    });
                                    assert!(inner.await.unwrap_err().is_canceled());
                                }
                            }
                            Ok::<_, io::Error>(())
                        }));
                        if matches!(on_cancel, OnCancel::HasNotBegun) {
                            g.set_limit(1);
                            drop(g.spawn(doze(LONG)));
                        }
                        yield_now().await;
                        yield_now().await;
                        scope.cancel();
                        Ok("output of the body")
                    })
                    .await;
                    Ok::<_, Canceled>(grouped)
                })
                .await
                .unwrap();
            let error = outcome.unwrap_err();
            assert!(error.is_canceled(), "{on_cancel:?}: {error:?}");
            assert_eq!(error.output(), Some(&"output of the body"), "{on_cancel:?}");
            assert!(scope.canceled_caught(), "{on_cancel:?}");
        }
    });
}

#[test]
fn a_failure_before_an_outer_cancel_stays_the_first() {
    run(async || {
        let scope = Scope::new();
        let outcome: Result<_, Canceled> = scope
            .run(async {
                Ok(group(async |g| {
                    drop(g.spawn(doze(LONG)));
                    drop(g.spawn(async {
                        yield_now().await;
                        Err::<(), _>(failure("before"))
                    }));
                    drop(g.spawn(async {
                        let _ = sleep(LONG).await;
                        scope.cancel();
                        Ok(())
                    }));
                    Ok(())
                })
                .await)
            })
            .await;
        let error = outcome.unwrap().unwrap_err();
        assert_eq!(error.first().unwrap().to_string(), "before");
    });
}

/// It was polled right after a sibling that was canceled, and was not canceled itself.
#[test]
fn a_failure_beside_a_sibling_canceled_from_outside_is_a_failure() {
    run(async || {
        for body_fails in [false, true] {
            let (scope, cut) = (Scope::new(), Cell::new(false));
            let after_that = async || {
                while !cut.get() {
                    yield_now().await;
                }
                Err::<(), _>(failure("real"))
            };
            let outcome: Result<_, Canceled> = scope
                .run(async {
                    Ok(group(async |g| {
                        drop(g.spawn(async {
                            let slept = doze(LONG).await;
                            cut.set(true);
                            slept
                        }));
                        if !body_fails {
                            drop(g.spawn(after_that()));
                        }
                        yield_now().await;
                        scope.cancel();
                        if body_fails {
                            return after_that().await;
                        }
                        Ok(())
                    })
                    .await)
                })
                .await;
            let error = outcome.unwrap().unwrap_err();
            let first = error.first().map(ToString::to_string);
            assert_eq!(first.as_deref(), Some("real"), "{body_fails}: {error:?}");
            assert_eq!(error.canceled_errors().len(), 1);
        }
    });
}

/// The cancel reached no child, and the body succeeded: nothing was canceled.
#[test]
fn a_group_already_done_at_an_outer_cancel_is_ok() {
    run(async || {
        let scope = Scope::new();
        let outcome: Result<_, Canceled> = scope
            .run(async {
                Ok(group(async |g| {
                    let child = g.spawn(async { Ok::<_, io::Error>(3) });
                    let value = child.await?;
                    drop(g.spawn(async {
                        let _ = shield(sleep(SHORT / 2)).await;
                    }));
                    yield_now().await;
                    scope.cancel();
                    Ok(value)
                })
                .await)
            })
            .await;
        assert_eq!(outcome.unwrap().unwrap(), 3);
        assert!(!scope.canceled_caught());
    });
}

#[test]
fn an_inner_timeout_of_a_child_does_not_affect_the_group() {
    run(async || {
        let value = group(async |g| {
            let child = g.spawn(async {
                let error = gimmal::time::timeout(SHORT / 4, sleep(LONG))
                    .await
                    .unwrap_err();
                assert!(error.is_elapsed());
                Ok(1)
            });
            Ok::<_, io::Error>(child.await?)
        })
        .await;
        assert_eq!(value.unwrap(), 1);
        // If the timeout is what the child fails with, it is a failure like others.
        let error = group(async |g| {
            drop(g.spawn(async {
                gimmal::time::timeout(SHORT / 4, sleep(LONG)).await?;
                Ok(())
            }));
            sleep(LONG).await?;
            Ok::<_, io::Error>(())
        })
        .await
        .unwrap_err();
        assert!(gimmal::is_timeout(error.first().unwrap()));
        assert_eq!(error.canceled_errors().len(), 1);
    });
}

#[test]
fn errors_with_destructors_and_borrows_are_dropped_once() {
    struct DropError<'a>(
        &'a Cell<u32>,
        #[allow(dead_code, reason = "only counts its drops")] common::Member,
    );
    impl Drop for DropError<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    run(async || {
        let census = Census::default();
        let dropped = Cell::new(0);
        let error = caught(group(async |g| {
            for _ in 0..5 {
                drop(g.spawn(async { Err::<(), _>(DropError(&dropped, census.member())) }));
            }
            Err::<(), _>(DropError(&dropped, census.member()))
        }))
        .await
        .unwrap()
        .unwrap_err();
        assert_eq!((dropped.get(), census.alive()), (0, 6));
        assert_eq!(error.rest().len(), 5);
        drop(error.into_first());
        assert_eq!((dropped.get(), census.alive()), (6, 0));
    });
}

/// The text of a thousand refused connects stays short.
#[test]
fn a_group_shows_a_few_of_many_failures() {
    run(async || {
        let error = group(async |g| {
            for n in 0..1000 {
                drop(g.spawn(async move { Err::<(), _>(failure(&format!("number {n}"))) }));
            }
            Ok(())
        });
        let error = error.await.unwrap_err();
        assert_eq!(error.rest().len(), 999);
        for text in [format!("{error:?}"), error.to_string()] {
            assert!(
                text.contains("number 8") && !text.contains("number 9"),
                "{text}"
            );
            assert!(text.len() < 1000, "{text}");
        }
        assert!(format!("{error:?}").contains("and 991 more"));
        assert!(error.to_string().contains("999 more failed"));
    });
}
