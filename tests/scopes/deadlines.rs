//! Deadlines of scopes: past, moved earlier and later, and taken away, by the future itself and by another task.

use crate::{LONG, Nothing, SHORT, run};
use gimmal::cancel::{Canceled, Scope};
use gimmal::time::{Instant, sleep_until};
use gimmal::{Handle, sleep, spawn, yield_now};
use std::rc::Rc;

#[test]
fn a_scope_is_cancelled_at_its_deadline() {
    run(async {
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
        assert!(scope.was_caught() && Instant::now() >= at);
        assert_eq!(scope.deadline(), None, "it is past");
        assert_eq!(scope.reason(), None);
        assert_eq!(Handle::current().stats().timers, 0);
    });
}

#[test]
fn a_deadline_that_is_past_refuses_from_the_start() {
    run(async {
        let scope = Scope::with_deadline(Instant::now());
        assert_eq!(scope.run(sleep(LONG)).await, Err(Canceled));
        assert!(scope.was_caught());
        let scope = Scope::new();
        scope.set_deadline(Some(Instant::now()));
        let outcome: Result<u8, Canceled> = scope.run(async { Ok(4) }).await;
        assert_eq!(outcome, Ok(4), "nothing was cut short");
        assert!(!scope.was_caught());
    });
}

#[test]
fn the_future_moves_its_deadline_earlier() {
    run(async {
        let scope = Scope::with_deadline(Instant::now() + LONG);
        let outcome: Nothing = scope
            .run(async {
                scope.set_deadline(Some(Instant::now() + SHORT));
                sleep(LONG).await
            })
            .await;
        assert_eq!(outcome, Err(Canceled));
        assert!(scope.was_caught());
        // Into the past, where it had none before.
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
fn the_future_moves_its_deadline_later_and_takes_it_away() {
    run(async {
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
            // On a machine that was away for so long it was too late to move it.
            assert!(outcome.is_ok() || scope.was_caught());
            if outcome.is_ok() {
                assert!(!scope.is_canceled() && !scope.was_caught());
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
        assert_eq!(outcome, Ok(()), "it was taken away in its first poll");
    });
}

#[test]
fn another_task_moves_the_deadline() {
    run(async {
        // Earlier, from a later one and from none.
        for before in [Some(Instant::now() + LONG), None] {
            let scope = Rc::new(Scope::new());
            scope.set_deadline(before);
            let other = scope.clone();
            let task = spawn(async move { other.run(sleep(LONG)).await });
            yield_now().await;
            scope.set_deadline(Some(Instant::now() + SHORT));
            assert_eq!(task.await.unwrap(), Err(Canceled));
            assert!(scope.was_caught());
        }
        // Later, and away: before its first poll, so that no clock is raced.
        for after in [Some(Instant::now() + LONG), None] {
            let first = Instant::now() + SHORT;
            let scope = Rc::new(Scope::with_deadline(first));
            let other = scope.clone();
            let task = spawn(async move { other.run(sleep_until(first + SHORT)).await });
            scope.set_deadline(after);
            assert_eq!(task.await.unwrap(), Ok(()));
            assert!(!scope.was_caught() && !scope.is_canceled());
        }
        // After its first poll.
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
fn a_deadline_does_not_come_back_for_what_is_cancelled() {
    run(async {
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
    run(async {
        let scope = Scope::with_deadline(Instant::now() + std::time::Duration::MAX);
        assert_eq!(scope.run(sleep(SHORT)).await, Ok(()));
        let slept = gimmal::time::timeout(std::time::Duration::MAX, sleep(SHORT)).await;
        assert!(slept.is_ok());
    });
}
