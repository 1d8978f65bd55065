//! What other threads see through a scope's handle: cancels, deadlines, and cancels of outer scopes.

use crate::{LONG, Nothing, SHORT, compute_until, settle};
use common::{Done, block_on, foreign_waker, poll_once, poll_with};
use gimmal::cancel::{Canceled, Scope, ScopeHandle, shield};
use gimmal::task::spawn_blocking;
use gimmal::time::{Instant, timeout, timeout_any, timeout_at};
use gimmal::{Handle, group, sleep, spawn};
use std::rc::Rc;

/// Whether another thread sees the scope as canceled, while this thread only waits for it.
fn seen_elsewhere(handle: &ScopeHandle) -> bool {
    let handle = handle.clone();
    let thread = std::thread::spawn(move || handle.is_canceled());
    thread.join().unwrap()
}

#[test]
fn a_deadline_is_seen_by_another_thread_while_this_one_is_busy() {
    block_on(async {
        // Before the scope is entered.
        let scope = Scope::new();
        let handle = scope.handle();
        scope.set_deadline(Some(Instant::now() + LONG));
        assert!(!seen_elsewhere(&handle));
        scope.set_deadline(Some(Instant::now()));
        assert!(seen_elsewhere(&handle));
        // While the scope runs, with a handle from before and one from within.
        for from_within in [false, true] {
            let scope = Scope::new();
            let before = (!from_within).then(|| scope.handle());
            let busy = scope.run(async {
                let handle = before.unwrap_or_else(|| scope.handle());
                assert!(!seen_elsewhere(&handle));
                let at = Instant::now() + SHORT;
                scope.set_deadline(Some(at));
                compute_until(at);
                assert!(seen_elsewhere(&handle));
                Ok::<_, Canceled>(handle)
            });
            let handle = busy.await.unwrap();
            assert!(handle.is_canceled(), "it stays canceled");
        }
        // A scope that was left in time never becomes late.
        let scope = Scope::with_deadline(Instant::now() + LONG);
        let handle = scope.handle();
        let outcome: Nothing = scope.run(async { Ok(()) }).await;
        assert_eq!(outcome, Ok(()));
        scope.set_deadline(Some(Instant::now()));
        assert!(!handle.is_canceled() && !scope.is_canceled());
        assert!(!scope.handle().is_canceled());
    });
}

#[test]
fn outer_deadlines_are_seen_but_not_those_outside_a_shield() {
    block_on(async {
        let scope = Scope::new();
        let late = timeout(SHORT, async {
            let late = Instant::now() + SHORT;
            let hidden = Scope::new();
            let shielded = shield(hidden.run(async {
                compute_until(late);
                assert!(!seen_elsewhere(&hidden.handle()));
                Ok::<_, Canceled>(())
            }));
            shielded.await?;
            // A handle from within, under a timeout that has not expired.
            timeout_any(
                LONG,
                scope.run_any(async { assert!(seen_elsewhere(&scope.handle())) }),
            )
            .await
            .unwrap()
            .unwrap();
            Ok::<_, Canceled>(())
        });
        assert!(late.await.is_ok());
        assert!(scope.is_canceled() && scope.handle().is_canceled());
        // The outer deadline is moved while the inner scope runs.
        let (outer, inner) = (Scope::new(), Scope::new());
        let handle = inner.handle();
        let both = outer.run_any(inner.run_any(async {
            outer.set_deadline(Some(Instant::now() + LONG));
            assert!(!seen_elsewhere(&handle));
            let at = Instant::now() + SHORT;
            outer.set_deadline(Some(at));
            compute_until(at);
            assert!(seen_elsewhere(&handle));
        }));
        both.await.unwrap().unwrap();
    });
}

#[test]
fn an_outer_cancel_reaches_the_handle_at_once() {
    block_on(async {
        let (outer, inner, hidden) = (Scope::new(), Scope::new(), Scope::new());
        let (seen, unseen) = (inner.handle(), hidden.handle());
        let all = outer.run_any(async {
            let hides = shield(hidden.run_any(async {
                inner
                    .run_any(async {
                        assert!(!seen.is_canceled());
                        hidden.set_deadline(Some(Instant::now() + LONG));
                        outer.cancel();
                        assert!(!seen_elsewhere(&seen) && !seen_elsewhere(&unseen));
                        hidden.cancel();
                        assert!(seen_elsewhere(&seen) && seen_elsewhere(&unseen));
                    })
                    .await
            }));
            hides.await.unwrap().unwrap();
        });
        all.await.unwrap();
        // Without a shield, from each kind of outer scope: that of a task, of a group, of a timeout.
        let scope = Rc::new(Scope::new());
        let (theirs, handle) = (scope.clone(), scope.handle());
        let task = spawn(async move {
            let waits = group(async |g| {
                drop(g.spawn(timeout(LONG, theirs.run(sleep(LONG)))));
                Ok::<_, gimmal::time::TimeoutError<Canceled>>(())
            });
            waits.await.is_err()
        });
        settle().await;
        assert!(!handle.is_canceled());
        task.cancel();
        assert!(handle.is_canceled() && scope.is_canceled());
        assert!(task.await.unwrap());
        assert!(
            handle.is_canceled() && scope.is_canceled(),
            "it stays canceled"
        );
    });
}

#[test]
fn a_scope_whose_future_moves_follows_the_scope_around_it() {
    block_on(async {
        let (first, second, scope) = (Scope::new(), Scope::new(), Scope::new());
        let handle = scope.handle();
        let mut moves = Box::pin(scope.run(async {
            let _ = sleep(LONG).await;
            sleep(LONG).await
        }));
        first
            .run_any(async {
                assert!(poll_once(&mut moves).await.is_pending());
                first.cancel();
                assert!(handle.is_canceled());
            })
            .await
            .unwrap();
        let at = Instant::now() + LONG;
        let moved = timeout_at(at, async {
            assert!(poll_once(&mut moves).await.is_pending());
            assert!(!handle.is_canceled() && !scope.is_canceled());
            Ok::<_, Canceled>(())
        });
        assert!(moved.await.is_ok());
        second
            .run_any(async {
                assert!(poll_once(&mut moves).await.is_pending());
                second.cancel();
                assert!(handle.is_canceled());
            })
            .await
            .unwrap();
    });
}

#[test]
fn a_pool_closure_sees_that_its_scope_is_canceled() {
    block_on(async {
        let counts = |handle: ScopeHandle| {
            spawn_blocking(move || {
                let mut count = 0u64;
                while !handle.is_canceled() {
                    count += 1;
                    std::thread::yield_now();
                }
                count
            })
        };
        let pool = Handle::current();
        let running = async |count| {
            let is = || pool.stats().blocking_running == count;
            crate::until("the closures run", is).await;
        };
        // By an outer deadline.
        let scope = Scope::new();
        let closure = counts(scope.handle());
        running(1).await;
        let waits = timeout_any(SHORT, scope.run_any(closure));
        let counted = waits.await.unwrap().unwrap();
        assert!(counted.is_ok(), "a started closure is awaited");
        running(0).await;
        // By a call.
        let scope = Rc::new(Scope::new());
        let theirs = scope.clone();
        let task = spawn(async move { theirs.run_any(counts(theirs.handle())).await });
        running(1).await;
        scope.cancel();
        assert!(task.await.unwrap().unwrap().is_ok());
    });
}

/// Cloning and dropping a foreign waker runs user code, which finds no lock taken (R1).
#[test]
fn a_foreign_waker_may_cancel_the_scope_that_keeps_it() {
    block_on(async {
        for when in [Done::Clone, Done::Drop] {
            let scope = Scope::new();
            let handle = scope.handle();
            let mut run = scope.run(sleep(LONG));
            let (waker, guard) = foreign_waker(move |done| {
                if done == when {
                    handle.cancel();
                }
            });
            assert!(poll_with(&waker, &mut run).is_pending());
            // The next waker replaces the foreign one.
            assert!(matches!(run.await, Err(Canceled)));
            drop(guard);
        }
    });
}

/// A cancel by a handle takes effect at the next poll of the scope's future; one by the scope, in this poll.
#[test]
fn a_scope_that_a_handle_has_canceled_can_be_canceled_at_once() {
    block_on(async {
        let scope = Scope::new();
        let handle = scope.handle();
        let run = scope.run_any(async {
            handle.cancel_with("by the handle");
            scope.cancel_with("by the scope");
            let rejected = gimmal::op::nop().submit();
            assert_eq!(Handle::current().stats().operations, 0);
            assert!(gimmal::is_canceled(&rejected.await.unwrap_err()));
        });
        run.await.unwrap();
        assert_eq!(scope.reason().as_deref(), Some("by the handle"));
    });
}
