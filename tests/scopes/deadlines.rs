//! Deadlines of scopes: past, moved earlier and later, and removed, by the scope's future and by another task.

use crate::{LONG, Nothing, SHORT, compute_until, settle};
use common::{block_on, on_virtual_time};
use gimmal::cancel::{self, Canceled, Scope, shield};
use gimmal::time::{Instant, sleep_until, timeout, timeout_any, timeout_at};
use gimmal::{Handle, group, sleep, spawn, yield_now};
use std::rc::Rc;
use std::time::Duration;

#[test]
fn a_scope_is_canceled_at_its_deadline() {
    on_virtual_time(async {
        let at = Instant::now() + SHORT;
        let scope = Scope::with_deadline(at);
        assert_eq!(scope.deadline(), Some(at));
        let outcome: Nothing = scope
            .run(async {
                assert!(!scope.is_canceled());
                assert_eq!(sleep(LONG).await, Err(Canceled));
                assert!(scope.is_canceled());
                sleep(LONG).await
            })
            .await;
        assert_eq!(outcome, Err(Canceled));
        assert!(scope.canceled_caught() && Instant::now() >= at);
        assert_eq!(scope.deadline(), None, "the deadline has passed");
        assert_eq!(scope.reason().as_deref(), Some("deadline"));
        assert_eq!(Handle::current().stats().timers, 0);
    });
}

#[test]
fn a_past_deadline_rejects_every_wait() {
    block_on(async {
        let scope = Scope::with_deadline(Instant::now());
        assert_eq!(scope.run(sleep(LONG)).await, Err(Canceled));
        assert!(scope.canceled_caught());
        let scope = Scope::new();
        scope.set_deadline(Some(Instant::now()));
        let outcome: Result<u8, Canceled> = scope.run(async { Ok(4) }).await;
        assert_eq!(outcome, Ok(4), "nothing was canceled");
        assert!(!scope.canceled_caught());
    });
}

#[test]
fn the_future_moves_its_deadline_earlier() {
    on_virtual_time(async {
        let scope = Scope::with_deadline(Instant::now() + LONG);
        let outcome: Nothing = scope
            .run(async {
                scope.set_deadline(Some(Instant::now() + SHORT));
                sleep(LONG).await
            })
            .await;
        assert_eq!(outcome, Err(Canceled));
        assert!(scope.canceled_caught());
        // Into the past, without a deadline before.
        let scope = Scope::new();
        let outcome: Nothing = scope
            .run(async {
                sleep(SHORT).await?;
                scope.set_deadline(Some(Instant::now()));
                sleep(LONG).await
            })
            .await;
        assert_eq!(outcome, Err(Canceled));
        assert_eq!(Handle::current().stats().timers, 0);
    });
}

#[test]
fn the_future_moves_its_deadline_later_and_removes_it() {
    on_virtual_time(async {
        for later in [Some(Instant::now() + LONG), None] {
            let first = Instant::now() + SHORT;
            let scope = Scope::with_deadline(first);
            let outcome: Nothing = scope
                .run(async {
                    // Armed before it is moved.
                    sleep(SHORT / 8).await?;
                    scope.set_deadline(later);
                    assert_eq!(scope.deadline(), later);
                    sleep_until(first + SHORT).await
                })
                .await;
            // If the machine stalled, it was too late to move the deadline.
            assert!(outcome.is_ok() || scope.canceled_caught());
            if outcome.is_ok() {
                assert!(!scope.is_canceled() && !scope.canceled_caught());
                assert_eq!(scope.deadline(), later);
            }
            assert_eq!(Handle::current().stats().timers, 0);
        }
        let first = Instant::now() + SHORT;
        let scope = Scope::with_deadline(first);
        let outcome: Nothing = scope
            .run(async {
                scope.set_deadline(None);
                sleep_until(first + SHORT).await
            })
            .await;
        assert_eq!(outcome, Ok(()), "removed in the first poll");
    });
}

#[test]
fn another_task_moves_the_deadline() {
    on_virtual_time(async {
        // Earlier, from a later deadline and from none.
        for before in [Some(Instant::now() + LONG), None] {
            let scope = Rc::new(Scope::new());
            scope.set_deadline(before);
            let other = scope.clone();
            let task = spawn(async move { other.run(sleep(LONG)).await });
            yield_now().await;
            scope.set_deadline(Some(Instant::now() + SHORT));
            assert_eq!(task.await.unwrap(), Err(Canceled));
            assert!(scope.canceled_caught());
        }
        // Later, and removed, before the first poll.
        for after in [Some(Instant::now() + LONG), None] {
            let first = Instant::now() + SHORT;
            let scope = Rc::new(Scope::with_deadline(first));
            let other = scope.clone();
            let task = spawn(async move { other.run(sleep_until(first + SHORT)).await });
            scope.set_deadline(after);
            // If the machine stalled, it was too late to move the deadline.
            let in_time = !scope.is_canceled();
            assert_eq!(task.await.unwrap().is_ok(), in_time);
            assert_eq!(
                (scope.canceled_caught(), scope.is_canceled()),
                (!in_time, !in_time)
            );
        }
        // After the first poll.
        let scope = Rc::new(Scope::with_deadline(Instant::now() + LONG));
        let other = scope.clone();
        let task = spawn(async move { other.run(sleep(SHORT)).await });
        yield_now().await;
        scope.set_deadline(None);
        assert_eq!(task.await.unwrap(), Ok(()));
        assert_eq!(Handle::current().stats().timers, 0);
    });
}

#[test]
fn a_canceled_scope_gets_no_new_deadline() {
    block_on(async {
        let scope = Scope::new();
        let outcome: Nothing = scope
            .run(async {
                scope.cancel();
                scope.set_deadline(Some(Instant::now() + LONG));
                assert_eq!(sleep(LONG).await, Err(Canceled));
                scope.set_deadline(None);
                sleep(LONG).await
            })
            .await;
        assert_eq!(outcome, Err(Canceled));
        assert_eq!(Handle::current().stats().timers, 0);
    });
}

#[test]
fn a_far_deadline_does_not_overflow() {
    on_virtual_time(async {
        let scope = Scope::with_deadline(Instant::now() + std::time::Duration::MAX);
        assert_eq!(scope.run(sleep(SHORT)).await, Ok(()));
        let slept = gimmal::time::timeout(std::time::Duration::MAX, sleep(SHORT)).await;
        assert!(slept.is_ok());
    });
}

#[test]
fn a_past_deadline_cancels_by_the_clock_before_its_timer_fires() {
    block_on(async {
        let scope = Scope::with_deadline(Instant::now());
        assert!(scope.is_canceled(), "before it is entered");
        assert_eq!(scope.reason().as_deref(), Some("deadline"));
        let scope = Scope::new();
        let outcome: Nothing = scope
            .run(async {
                let at = Instant::now() + SHORT;
                scope.set_deadline(Some(at));
                compute_until(at);
                assert!(scope.is_canceled(), "while the loop is busy");
                assert_eq!(scope.reason().as_deref(), Some("deadline"));
                // After `is_canceled` returned true, the next wait is canceled.
                sleep(Duration::ZERO).await
            })
            .await;
        assert_eq!(outcome, Err(Canceled));
        assert!(scope.canceled_caught() && scope.is_canceled());
    });
}

#[test]
fn a_scope_that_was_left_keeps_its_state() {
    block_on(async {
        // Nothing was canceled, and the scope was not asked while it ran.
        let at = Instant::now() + SHORT;
        let scope = Scope::with_deadline(at);
        let outcome: Nothing = scope
            .run(async {
                compute_until(at);
                Ok(())
            })
            .await;
        assert_eq!(outcome, Ok(()));
        assert!(scope.is_canceled() && !scope.canceled_caught());
        assert_eq!(scope.reason().as_deref(), Some("deadline"));
        // Left before its deadline.
        let at = Instant::now() + SHORT;
        let scope = Scope::with_deadline(at);
        let outcome: Nothing = scope.run(async { Ok(()) }).await;
        assert_eq!(outcome, Ok(()));
        let was_canceled = scope.is_canceled();
        assert!(!was_canceled || Instant::now() >= at);
        compute_until(at);
        assert_eq!(scope.is_canceled(), was_canceled);
        // The outer scope is canceled, before or after the inner one was left, by a call and by a deadline.
        let before = async |cancel: &dyn Fn(&Scope)| {
            let (outer, inner, later) = (Scope::new(), Scope::new(), Scope::new());
            let all = async {
                later.run(async { Ok::<_, Canceled>(()) }).await?;
                inner
                    .run(async {
                        cancel(&outer);
                        assert!(inner.is_canceled());
                        Ok::<_, Canceled>(())
                    })
                    .await
            };
            assert_eq!(outer.run(all).await, Ok(()));
            assert!(outer.is_canceled() && inner.is_canceled() && !later.is_canceled());
            assert_eq!(inner.reason(), None);
        };
        before(&Scope::cancel).await;
        before(&|outer| outer.set_deadline(Some(Instant::now()))).await;
        before(&|outer| {
            let at = Instant::now() + SHORT;
            outer.set_deadline(Some(at));
            compute_until(at);
        })
        .await;
    });
}

#[test]
fn a_cancel_before_the_deadline_sets_the_reason() {
    block_on(async {
        let at = Instant::now() + LONG;
        for reason in [Some("enough"), None] {
            let scope = Scope::with_deadline(at);
            match reason {
                Some(reason) => scope.cancel_with(reason),
                None => scope.cancel(),
            }
            scope.set_deadline(Some(Instant::now()));
            assert_eq!(scope.run(sleep(LONG)).await, Err(Canceled));
            assert_eq!(scope.reason().as_deref(), reason);
        }
        let scope = Scope::with_deadline(Instant::now());
        let handle = scope.handle();
        assert_eq!(scope.run(sleep(LONG)).await, Err(Canceled));
        handle.cancel_with("too late");
        assert_eq!(scope.reason().as_deref(), Some("deadline"));
    });
}

#[test]
fn a_deadline_that_the_future_moves_into_the_past_cancels_at_the_call() {
    block_on(async {
        let scope = Scope::new();
        let outcome: Nothing = scope
            .run(async {
                sleep(Duration::ZERO).await?;
                scope.set_deadline(Some(Instant::now()));
                // Ready at once unless canceled.
                assert_eq!(sleep(Duration::ZERO).await, Err(Canceled));
                Ok(())
            })
            .await;
        assert_eq!(outcome, Ok(()));
        assert!(scope.canceled_caught());
    });
}

#[test]
fn a_past_deadline_cannot_be_moved() {
    block_on(async {
        let scope = Scope::with_deadline(Instant::now());
        scope.set_deadline(Some(Instant::now() + LONG));
        assert!(scope.is_canceled());
        assert_eq!(scope.run(sleep(LONG)).await, Err(Canceled));
    });
}

#[test]
fn the_current_deadline_is_the_earliest_up_to_the_next_shield() {
    block_on(async {
        assert_eq!(cancel::deadline(), None);
        let hour = Instant::now() + LONG;
        let (later, latest) = (hour + LONG, hour + LONG * 2);
        let asked = async || cancel::deadline();
        let seen = timeout_any(LONG, async {
            let from = cancel::deadline().unwrap();
            assert!(from >= hour, "counted from the first poll");
            // A later inner deadline makes no difference; an earlier one does, and so does that of the future itself.
            let inner = Scope::with_deadline(latest + LONG);
            assert_eq!(inner.run_any(asked()).await, Ok(Some(from)));
            inner.set_deadline(Some(hour));
            let inner = Scope::with_deadline(hour);
            inner
                .run_any(async {
                    assert_eq!(cancel::deadline(), Some(hour));
                    assert_eq!(
                        gimmal::join((asked(), asked())).await,
                        (Some(hour), Some(hour))
                    );
                    inner.set_deadline(None);
                    assert_eq!(cancel::deadline(), Some(from));
                })
                .await
                .unwrap();
            // Not visible through a shield or in a detached task, but in a child.
            assert_eq!(shield(asked()).await, None);
            let behind = shield(timeout_at(latest, async {
                Ok::<_, Canceled>(cancel::deadline())
            }));
            assert_eq!(behind.await.unwrap(), Some(latest));
            assert_eq!(spawn(asked()).await.unwrap(), None);
            let child = group(async |g| {
                let child = g.spawn(async { Ok::<_, Canceled>(cancel::deadline()) });
                child.await
            });
            assert_eq!(child.await.unwrap(), Some(from));
        });
        seen.await.unwrap();
        // The outer scope moves its deadline meanwhile.
        let outer = Scope::with_deadline(latest);
        let moved = outer.run_any(async {
            timeout_at(latest + LONG, async {
                assert_eq!(cancel::deadline(), Some(latest));
                outer.set_deadline(Some(later));
                assert_eq!(cancel::deadline(), Some(later));
                Ok::<_, Canceled>(())
            })
            .await
        });
        assert!(moved.await.unwrap().is_ok());
        assert_eq!(cancel::deadline(), None, "all scopes were left");
    });
    assert_eq!(cancel::deadline(), None, "outside a runtime");
}

#[test]
fn the_deadline_of_a_canceled_scope_is_not_in_the_future() {
    block_on(async {
        let scope = Scope::new();
        let ask = async || {
            let deadline = cancel::deadline();
            assert!(deadline.is_some_and(|deadline| deadline <= Instant::now()));
            assert_eq!(shield(async { cancel::deadline() }).await, None);
        };
        scope
            .run_any(async {
                scope.cancel();
                ask().await;
                timeout_any(LONG, ask()).await.unwrap();
            })
            .await
            .unwrap();
        // A task without a scope of its own.
        let task = spawn(async {
            let asleep = sleep(LONG).await;
            assert_eq!(asleep, Err(Canceled));
            cancel::deadline().is_some_and(|deadline| deadline <= Instant::now())
        });
        settle().await;
        task.cancel();
        assert!(task.await.unwrap());
        // Not canceled yet, but late.
        let at = Instant::now() + SHORT;
        let late = timeout(SHORT, async {
            compute_until(at + SHORT);
            Ok::<_, Canceled>(cancel::deadline())
        });
        assert!(
            late.await
                .is_ok_and(|deadline| deadline.unwrap() <= Instant::now())
        );
    });
}
