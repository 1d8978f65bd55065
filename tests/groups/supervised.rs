//! G3: supervisors, whose failures are isolated.

use crate::help::{LONG, SHORT, explode, failure, leaks_on_purpose, run, run_with_faults, said};
use common::{Baseline, Census, DropBomb, Journal, caught, next_turn};
use gimmal::cancel::Scope;
use gimmal::{Canceled, sleep, supervise, yield_now};
use std::cell::Cell;
use std::fmt;
use std::future::pending;
use std::io;

#[test]
fn failures_are_isolated_and_go_to_the_joiner() {
    run(async || {
        let sum = supervise(async |s| {
            let children = [1, 2, 3].map(|n| {
                s.spawn(async move {
                    yield_now().await;
                    if n == 2 { Err(failure("two")) } else { Ok(n) }
                })
            });
            let mut sum = 0;
            for child in children {
                match child.await.unwrap() {
                    Ok(n) => sum += n,
                    Err(error) => assert_eq!(error.to_string(), "two"),
                }
            }
            assert!(!s.is_canceled() && s.is_empty());
            Ok::<_, io::Error>(sum)
        })
        .await;
        assert_eq!(sum.unwrap(), 4);
    });
}

#[test]
fn unclaimed_failures_go_to_the_hook_with_the_name_of_the_child() {
    if leaks_on_purpose("supervised::unclaimed_failures_go_to_the_hook_with_the_name_of_the_child")
    {
        return;
    }
    run_with_faults(async |faults| {
        supervise(async |s| {
            drop(s.spawn_named("early", async { Err::<(), _>(failure("one")) }));
            let late = s.spawn_named("late", async { Err::<(), _>(failure("two")) });
            drop(s.spawn(async { Ok::<_, io::Error>(()) }));
            drop(s.spawn(async {}));
            let unnamed = s.spawn(async { Err::<(), _>(failure("three")) });
            yield_now().await;
            yield_now().await;
            faults.expect(&["child \"early\" failed, and nobody joined it: one"]);
            assert!(late.is_finished());
            drop(late);
            faults.expect(&["child \"late\" failed, and nobody joined it: two"]);
            // Never awaited, and dropped with the group.
            std::mem::forget(unnamed);
            Ok::<_, io::Error>(())
        })
        .await
        .unwrap();
        faults.expect(&["supervised.rs"]);
    });
}

#[test]
fn a_panic_goes_to_the_handle() {
    run_with_faults(async |faults| {
        supervise(async |s| {
            let journal = Journal::default();
            let neighbour = s.spawn(async {
                sleep(SHORT / 2).await?;
                Ok::<_, Canceled>(1)
            });
            let child = s.spawn(async {
                yield_now().await;
                explode("kept");
            });
            let error = child.await.err().unwrap();
            let payload = error.try_into_panic().unwrap();
            assert_eq!(said::<()>(Err(payload)), "kept");
            journal.note("on");
            assert_eq!(neighbour.await.unwrap(), Ok(1));
            Ok::<_, io::Error>(())
        })
        .await
        .unwrap();
        faults.expect(&[]);
    });
}

/// A server drops its handles: a panicking connection must not end the others.
#[test]
fn an_unclaimed_panic_goes_to_the_hook_and_is_isolated() {
    if leaks_on_purpose("supervised::an_unclaimed_panic_goes_to_the_hook_and_is_isolated") {
        return;
    }
    run_with_faults(async |faults| {
        let done = Cell::new(0);
        let outcome = caught(supervise(async |s| {
            drop(s.spawn_named("dropped before", async { explode("one") }));
            let after = s.spawn_named("dropped after", async { explode("two") });
            for _ in 0..3 {
                drop(s.spawn(async {
                    sleep(SHORT / 2).await?;
                    done.set(done.get() + 1);
                    Ok::<_, Canceled>(())
                }));
            }
            std::mem::forget(s.spawn_named("never", async { explode("three") }));
            yield_now().await;
            yield_now().await;
            drop(after);
            Ok::<_, io::Error>(())
        }))
        .await;
        outcome.unwrap().unwrap();
        assert_eq!(done.get(), 3);
        faults.expect(&[
            "\"dropped before\" panicked",
            "\"dropped after\" panicked",
            "\"never\" panicked",
        ]);
    });
}

#[test]
fn a_failure_or_a_panic_of_the_body_cancels_the_children() {
    run(async || {
        let census = Census::default();
        for panics in [false, true] {
            let outcome = caught(supervise(async |s| {
                for _ in 0..3 {
                    drop(s.spawn(async {
                        let _member = census.member();
                        let _ = sleep(LONG).await;
                    }));
                }
                yield_now().await;
                assert!(!panics, "the body");
                Err::<(), _>(failure("the body"))
            }))
            .await;
            assert_eq!(census.alive(), 0);
            match outcome {
                Ok(outcome) => assert_eq!(
                    outcome.unwrap_err().first().unwrap().to_string(),
                    "the body"
                ),
                outcome => assert_eq!(said(outcome), "the body"),
            }
        }
    });
}

#[test]
fn children_of_a_canceled_supervisor_end_and_keep_their_errors() {
    run_with_faults(async |faults| {
        let value = supervise(async |s| {
            let held = s.spawn(sleep(LONG));
            drop(s.spawn_named("left alone", sleep(LONG)));
            drop(s.spawn(pending::<()>()));
            let foreign = s.spawn(pending::<()>());
            yield_now().await;
            s.cancel();
            // The body's scope is that of the group, so its wait is canceled.
            let mut held = held;
            let error = (&mut held).await.unwrap_err();
            assert!(error.is_wait_canceled() && !error.is_aborted());
            gimmal::cancel::shield(async {
                assert_eq!(held.await.unwrap(), Err(Canceled));
                assert!(foreign.await.unwrap_err().is_aborted());
            })
            .await;
            Ok::<_, io::Error>(2)
        })
        .await;
        assert_eq!(value.unwrap(), 2);
        // The cancellation of a child is no failure.
        faults.expect(&[]);
    });
}

#[test]
fn a_supervisor_canceled_from_outside_is_never_ok() {
    run(async || {
        let scope = Scope::new();
        let outcome: Result<_, Canceled> = scope
            .run(async {
                Ok(supervise(async |s| {
                    drop(s.spawn(async {
                        let _ = sleep(LONG).await;
                    }));
                    yield_now().await;
                    scope.cancel();
                    Ok::<_, io::Error>(6)
                })
                .await)
            })
            .await;
        let error = outcome.unwrap().unwrap_err();
        assert!(error.is_canceled());
        assert_eq!(error.into_output(), Some(6));
    });
}

/// An error that panics when it is displayed, and when it is dropped.
struct Panicking;

impl fmt::Display for Panicking {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("no words")
    }
}

#[test]
fn errors_may_panic_when_displayed_or_dropped() {
    if common::ran_in_own_process() {
        return;
    }
    run_with_faults(async |faults| {
        let baseline = Baseline::take();
        supervise(async |s| {
            drop(s.spawn(async { Err::<(), _>(Panicking) }));
            drop(s.spawn(async { Ok::<_, io::Error>(DropBomb("a value")) }));
            next_turn().await;
            Ok::<_, io::Error>(())
        })
        .await
        .unwrap();
        faults.expect(&["no words", "a value"]);
        baseline.returns("rude errors").await;
    });
}
