//! Futures of scopes dropped at every poll: all counts return to the baseline.

use crate::{LONG, SHORT, pipe};
use common::{Baseline, Moment, block_on, dropped_after, dropped_everywhere, next_turn, poll_once};
use futures_util::future::join;
use gimmal::cancel::{Canceled, Scope, cancelable, checkpoint, shield};
use gimmal::fs;
use gimmal::prelude::*;
use gimmal::task::spawn_blocking;
use gimmal::time::{Instant, timeout};
use gimmal::{sleep, spawn, yield_now};
use std::io;

const MOMENTS: [Moment; 3] = [Moment::AtOnce, Moment::Turns(1), Moment::Turns(3)];

async fn everything() -> io::Result<()> {
    let scope = Scope::with_deadline(Instant::now() + LONG);
    scope
        .run(async {
            let text = fs::read_to_string("Cargo.toml").timeout(LONG).await?;
            assert!(!text.is_empty());
            let (file, _writer) = pipe();
            let mut read = file.read(vec![0; 16]).timeout(LONG);
            let _ = poll_once(&mut read).await;
            yield_now().await;
            let inner = Scope::new();
            let both = async {
                inner.cancel();
                let ended = join(sleep(LONG), file.read(vec![0; 4])).await;
                assert!(ended.0.is_err() && ended.1.is_err());
                shield(async {
                    sleep(SHORT / 20).await?;
                    gimmal::op::nop().await
                })
                .await
            };
            inner.run(both).await?;
            checkpoint().await?;
            cancelable(yield_now()).await?;
            timeout(LONG, spawn(async {})).await?;
            scope.cancel();
            assert!(sleep(LONG).await.is_err());
            drop(read);
            file.close().await.or(Ok(()))
        })
        .await
}

#[test]
fn a_future_with_every_kind_of_wait_leaves_nothing_behind() {
    if common::ran_in_own_process() {
        return;
    }
    block_on(async {
        let polls = dropped_everywhere("everything", &MOMENTS, everything).await;
        assert!(polls > 10, "{polls}");
        dropped_everywhere("everything, boxed", &[Moment::Woken], || {
            Box::pin(async {
                yield_now().await;
                shield(everything()).await
            })
        })
        .await;
    });
}

/// Endless waits in scopes of each kind, canceled after a number of polls or never, and dropped after a number of
/// polls.
#[test]
fn endless_waits_in_scopes_leave_nothing_behind() {
    if common::ran_in_own_process() {
        return;
    }
    block_on(async {
        let baseline = Baseline::take();
        for moment in MOMENTS {
            for polls in 0..6 {
                for cancel_at in 0..6 {
                    let (file, writer) = pipe();
                    let scope = Scope::new();
                    let cancels = async {
                        for _ in 0..cancel_at {
                            next_turn().await;
                        }
                        scope.cancel();
                        loop {
                            yield_now().await;
                        }
                    };
                    let parked = scope.run_any(timeout(LONG, async {
                        let _ = join(
                            shield(file.read(vec![0; 8]).timeout(LONG)),
                            join(file.read(vec![0; 8]), sleep(LONG)),
                        )
                        .await;
                        Ok::<_, Canceled>(())
                    }));
                    let both = join(parked, cancels);
                    let ended: Option<(_, ())> = dropped_after(both, polls, moment).await;
                    assert!(ended.is_none());
                    drop((file, writer));
                    let after = format!("{polls} polls, canceled at {cancel_at}, {moment:?}");
                    baseline.operations_return(&after).await;
                }
            }
        }
        baseline.returns("all").await;
    });
}

#[test]
fn scopes_that_are_never_polled_leave_nothing_behind() {
    if common::ran_in_own_process() {
        return;
    }
    block_on(async {
        let baseline = Baseline::take();
        let scope = Scope::with_deadline(Instant::now() + LONG);
        drop(scope.run(sleep(LONG)));
        drop(shield(sleep(LONG)));
        drop(timeout(LONG, sleep(LONG)));
        drop(cancelable(sleep(LONG)));
        drop(checkpoint());
        drop(scope);
        baseline.returns("scopes that were never polled").await;
    });
}

/// Futures of scopes that start in one task and continue in another one.
#[test]
fn a_scope_that_moves_between_tasks_is_canceled_where_it_is() {
    if common::ran_in_own_process() {
        return;
    }
    block_on(async {
        let baseline = Baseline::take();
        let (file, writer) = pipe();
        let mut parked = Box::pin(timeout(LONG, async move {
            let read = file.read(vec![5; 8]).await;
            read.map(drop).map_err(|error| (error.into_buf(), file))
        }));
        // First polled in a scope that is left, then in a task that is canceled.
        let scope = Scope::new();
        assert!(
            scope
                .run_any(poll_once(&mut parked))
                .await
                .unwrap()
                .is_pending()
        );
        scope.cancel();
        next_turn().await;
        assert!(poll_once(&mut parked).await.is_pending());
        let task = spawn(parked);
        next_turn().await;
        next_turn().await;
        assert!(!task.is_finished());
        task.cancel();
        let error = task.await.unwrap().unwrap_err();
        assert!(!error.is_elapsed());
        let (buf, file) = error.into_inner().unwrap();
        assert_eq!(buf, [5; 8]);
        drop((file, writer));
        baseline.returns("a moved scope").await;
    });
}

#[test]
fn a_pool_closure_in_a_dropped_scope_leaves_nothing_behind() {
    if common::ran_in_own_process() {
        return;
    }
    block_on(async {
        // Pool threads hold no descriptors, so only rows could be left behind.
        spawn_blocking(|| ()).await.unwrap();
        let baseline = Baseline::take();
        for polls in 0..3 {
            let scope = Scope::new();
            let future = scope.run_any(async { spawn_blocking(|| 5).await });
            drop(dropped_after(future, polls, Moment::AtOnce).await);
            baseline.operations_return("a closure").await;
        }
    });
}
