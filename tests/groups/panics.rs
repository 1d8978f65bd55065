//! G2: panics of children, of the body, and of the destructors of their values.

use crate::help::{
    LONG, SHORT, explode, failure, leaks_on_purpose, may_abort, run, run_with_faults, said,
};
use common::{
    Baseline, Census, Done, DropBomb, Finally, Journal, caught, foreign_waker, next_turn,
    panic_message, poll_once, poll_with,
};
use gimmal::cancel::shield;
use gimmal::{Canceled, group, sleep, yield_now};
use std::cell::Cell;
use std::future::pending;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

#[test]
fn a_panic_propagates_when_all_children_have_ended() {
    run(async || {
        for of_the_body in [false, true] {
            let journal = Journal::default();
            let outcome = caught(group(async |g| {
                let journal = &journal;
                drop(g.spawn(async move {
                    assert_eq!(sleep(LONG).await, Err(Canceled));
                    shield(sleep(SHORT / 2)).await.unwrap();
                    journal.note("child");
                }));
                if of_the_body {
                    yield_now().await;
                    panic!("of the body");
                }
                let child = g.spawn(async { explode("of a child") });
                let joined: Result<(), Canceled> = child.await;
                assert_eq!(joined, Err(Canceled));
                assert_eq!(sleep(LONG).await, Err(Canceled));
                journal.note("body");
                Ok::<_, io::Error>(())
            }))
            .await;
            if of_the_body {
                assert_eq!(said(outcome), "of the body");
                assert_eq!(journal.take(), ["child"]);
            } else {
                assert_eq!(said(outcome), "of a child");
                assert_eq!(journal.take(), ["body", "child"]);
            }
        }
    });
}

#[test]
fn the_second_panic_goes_to_the_hook() {
    run_with_faults(async |faults| {
        let outcome = caught(group(async |g| {
            for what in ["first", "second"] {
                drop(g.spawn(async move { explode(what) }));
            }
            let child: gimmal::group::Child<'_, ()> = g.spawn(async { Err(failure("a failure")) });
            let _ = child.await;
            explode("third");
            Ok::<_, io::Error>(())
        }))
        .await;
        assert_eq!(said(outcome), "first");
        faults.expect(&["second", "third"]);
    });
}

/// The body is dropped after the cleanup timeout, or because it waits for a foreign future. Its destructors are user
/// code.
#[test]
fn a_panic_in_a_destructor_of_the_body_is_one_of_the_body() {
    run(async || {
        for drains in [false, true] {
            let journal = Journal::default();
            let outcome = caught(group(async |g| {
                let journal = &journal;
                drop(g.spawn(async move {
                    let _ended = journal.on_drop("child");
                    let _ = sleep(LONG).await;
                    if !drains {
                        shield(sleep(SHORT / 2)).await.unwrap();
                        journal.note("cleaned up");
                    }
                }));
                yield_now().await;
                g.cancel();
                let _bomb = DropBomb("at the end of the body");
                if drains {
                    g.set_cleanup_timeout(SHORT / 4);
                    shield(sleep(LONG)).await.unwrap();
                }
                pending::<io::Result<()>>().await
            }))
            .await;
            assert_eq!(said(outcome), "at the end of the body");
            let noted = journal.take();
            assert_eq!(noted.last(), Some(&"child"));
            assert_eq!(noted.contains(&"cleaned up"), !drains, "{noted:?}");
        }
    });
}

#[test]
fn panics_in_destructors_of_dropped_children_are_isolated() {
    if common::ran_in_own_process() {
        return;
    }
    run_with_faults(async |faults| {
        let baseline = Baseline::take();
        let census = Census::default();
        let mut future = Box::pin(group(async |g| {
            for what in ["one", "two", "three"] {
                let census = &census;
                drop(g.spawn(async move {
                    let _member = census.member();
                    let _bomb = DropBomb(what);
                    sleep(LONG).await
                }));
            }
            let _kept = g.spawn(async { Ok(DropBomb("an output")) });
            sleep(LONG).await
        }));
        assert!(poll_once(&mut future).await.is_pending());
        drop(future);
        // The body is dropped first, and with it the handle.
        faults.expect(&["an output", "one", "two", "three"]);
        assert_eq!(census.alive(), 0);
        baseline.returns("bombs").await;
    });
}

/// Ready, and then one of its variables panics.
#[test]
fn a_destructor_that_panics_at_the_end_of_a_child_is_its_panic() {
    run(async || {
        let outcome = caught(group(async |g| {
            drop(g.spawn(async {
                let _bomb = DropBomb("a variable");
                // The error is lost, so it owns nothing.
                Err::<(), _>(io::Error::from(io::ErrorKind::Other))
            }));
            sleep(LONG).await?;
            Ok::<_, io::Error>(())
        }))
        .await;
        assert_eq!(said(outcome), "a variable");
    });
}

#[test]
fn outputs_that_panic_on_drop_are_reported_and_the_group_continues() {
    if leaks_on_purpose("panics::outputs_that_panic_on_drop_are_reported_and_the_group_continues") {
        return;
    }
    run_with_faults(async |faults| {
        let value = group(async |g| {
            // Dropped at its end, with its handle, and with the group.
            drop(g.spawn(async { Ok(DropBomb("at its end")) }));
            let held = g.spawn(async { Ok(DropBomb("with its handle")) });
            std::mem::forget(g.spawn(async { Ok(DropBomb("with the group")) }));
            yield_now().await;
            yield_now().await;
            assert!(held.is_finished());
            drop(held);
            Ok::<_, io::Error>(1)
        })
        .await;
        assert_eq!(value.unwrap(), 1);
        faults.expect(&["at its end", "with its handle", "with the group"]);
    });
}

/// No panic disappears.
#[test]
fn a_panic_of_a_group_dropped_before_it_propagates_goes_to_the_hook() {
    run_with_faults(async |faults| {
        let mut future = Box::pin(group(async |g| {
            drop(g.spawn(shield(sleep(LONG))));
            drop(g.spawn(async { explode("nobody awaits it") }));
            Ok::<_, Canceled>(())
        }));
        assert!(poll_once(&mut future).await.is_pending());
        next_turn().await;
        assert!(poll_once(&mut future).await.is_pending());
        drop(future);
        faults.expect(&["nobody awaits it"]);
    });
}

/// While a panic propagates, the body's output is dropped: a second panic there must not abort the process.
#[test]
fn the_body_output_may_panic_on_drop_while_a_panic_propagates() {
    if may_abort("panics::the_body_output_may_panic_on_drop_while_a_panic_propagates") {
        return;
    }
    run_with_faults(async |faults| {
        let outcome = caught(group(async |g| {
            drop(g.spawn(async {
                yield_now().await;
                explode("of a child");
            }));
            Ok::<_, io::Error>(DropBomb("the output"))
        }))
        .await;
        assert_eq!(said(outcome), "of a child");
        faults.expect(&["the output"]);
        struct Explodes;
        impl Drop for Explodes {
            fn drop(&mut self) {
                panic!("an error");
            }
        }
        let outcome = caught(group(async |g| {
            drop(g.spawn(async { Err::<(), _>(Explodes) }));
            drop(g.spawn(async { explode("of a child") }));
            Ok(())
        }))
        .await;
        assert_eq!(said(outcome), "of a child");
        faults.expect(&["an error"]);
    });
}

/// Without a runtime, the only hook is the log. Each panic is caught nonetheless.
#[test]
fn children_that_panic_on_drop_after_the_end_of_their_runtime() {
    if may_abort("panics::children_that_panic_on_drop_after_the_end_of_their_runtime") {
        return;
    }
    let dropped = Cell::new(0);
    let mut runtime = gimmal::Runtime::new().unwrap();
    let mut future = Box::pin(group(async |g| {
        for _ in 0..3 {
            drop(g.spawn(async {
                let _count = Finally(|| dropped.set(dropped.get() + 1));
                let _bomb = DropBomb("late");
                sleep(LONG).await
            }));
        }
        sleep(LONG).await
    }));
    runtime.block_on(async { assert!(poll_once(&mut future).await.is_pending()) });
    drop(runtime);
    drop(future);
    assert_eq!(dropped.get(), 3);
}

#[test]
fn a_panic_in_one_group_does_not_affect_another() {
    run(async || {
        let value = group(async |outer| {
            let good = outer.spawn(async {
                group(async |g| {
                    let child = g.spawn(async {
                        for _ in 0..5 {
                            yield_now().await;
                        }
                        Ok::<_, io::Error>(3)
                    });
                    Ok(child.await?)
                })
                .await
                .map_err(io::Error::from)
            });
            let bad = outer.spawn(async {
                let outcome = caught(group(async |g| {
                    drop(g.spawn(async { explode("here") }));
                    Ok::<_, io::Error>(())
                }));
                assert_eq!(said(outcome.await), "here");
                Ok::<_, io::Error>(4)
            });
            Ok::<_, io::Error>(good.await? + bad.await?)
        })
        .await;
        assert_eq!(value.unwrap(), 7);
    });
}

/// The list wakes its task for the futures that are left, while the panic of one unwinds.
#[test]
fn a_foreign_waker_may_panic_while_another_panic_unwinds() {
    if may_abort("panics::a_foreign_waker_may_panic_while_another_panic_unwinds") {
        return;
    }
    run_with_faults(async |faults| {
        let (foreign, _guard) = foreign_waker(|done| {
            if done == Done::Wake {
                panic!("of a waker");
            }
        });
        let futures = ["first", "second"].map(|what| async move { explode(what) });
        let mut joined = gimmal::join_all(futures);
        let mut poll = || drop(poll_with(&foreign, &mut joined));
        let payload = catch_unwind(AssertUnwindSafe(&mut poll)).unwrap_err();
        assert_eq!(panic_message(payload), "first");
        faults.expect(&["a waker panicked: of a waker"]);
    });
}
