//! What the handle of a scope tells other threads: calls, deadlines, and the cancel of what is around the scope.

use crate::support::poll_once;
use crate::{LONG, Nothing, SHORT, compute_until, run, settle};
use gimmal::cancel::{Canceled, Scope, ScopeHandle, shield};
use gimmal::task::spawn_blocking;
use gimmal::time::{Instant, timeout, timeout_any, timeout_at};
use gimmal::{Handle, group, sleep, spawn};
use std::rc::Rc;

/// What another thread sees now, while this one waits for it and does nothing else.
fn seen_elsewhere(handle: &ScopeHandle) -> bool {
    let handle = handle.clone();
    let thread = std::thread::spawn(move || handle.is_canceled());
    thread.join().unwrap()
}

#[test]
fn a_deadline_is_seen_on_another_thread_while_this_one_is_busy() {
    run(async {
        // Before it is entered.
        let scope = Scope::new();
        let handle = scope.handle();
        scope.set_deadline(Some(Instant::now() + LONG));
        assert!(!seen_elsewhere(&handle));
        scope.set_deadline(Some(Instant::now()));
        assert!(seen_elsewhere(&handle));
        // While it runs, with a handle from before and one from within.
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
            assert!(handle.is_canceled(), "it stays so");
        }
        // What was left in time is never late.
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
fn deadlines_around_it_are_seen_but_not_those_outside_of_a_shield() {
    run(async {
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
            // A handle from within, and in a timeout that has more time.
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
        // The one around it is moved while the inner one runs.
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
fn a_cancel_around_it_reaches_the_handle_at_the_call() {
    run(async {
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
        // Without a shield, and from the top: the scope of a task, of a group, of a timeout.
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
        assert!(handle.is_canceled() && scope.is_canceled(), "it stays so");
    });
}

#[test]
fn a_scope_whose_future_moves_is_what_it_is_where_it_runs() {
    run(async {
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
fn a_closure_of_the_pool_learns_that_its_scope_is_canceled() {
    run(async {
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
            crate::until("so many run", is).await;
        };
        // By a deadline around it.
        let scope = Scope::new();
        let closure = counts(scope.handle());
        running(1).await;
        let waits = timeout_any(SHORT, scope.run_any(closure));
        let counted = waits.await.unwrap().unwrap();
        assert!(counted.is_ok(), "what has started is waited for");
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
