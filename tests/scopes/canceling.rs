//! After a cancel, every wait in the scope ends until the scope is left (C2), except for shielded ones.

use crate::{LONG, Nothing, SHORT, pipe, settle, until};
use common::{block_on, next_turn, on_virtual_time, ran_in_own_process};
use futures_util::future::join;
use gimmal::cancel::{Canceled, Scope, cancelable, checkpoint, shield};
use gimmal::op::nop;
use gimmal::prelude::*;
use gimmal::task::spawn_blocking;
use gimmal::time::{interval, timeout};
use gimmal::{Handle, is_canceled, is_timeout, sleep, spawn, yield_now};
use std::cell::Cell;
use std::future::pending;
use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;

#[test]
fn every_wait_in_a_canceled_scope_is_rejected_every_time() {
    block_on(async {
        let (file, mut writer) = pipe();
        // Bytes are available at once.
        writer.write_all(b"here").unwrap();
        let other = spawn(pending::<()>());
        let mut other = other;
        let scope = Scope::new();
        let submitted = Handle::current().stats().submitted;
        let outcome: io::Result<()> = scope
            .run(async {
                scope.cancel();
                let mut ticks = interval(LONG);
                for _ in 0..3 {
                    assert_eq!(sleep(LONG).await, Err(Canceled));
                    assert_eq!(sleep(std::time::Duration::ZERO).await, Err(Canceled));
                    assert!(ticks.tick().await.is_err());
                    assert_eq!(checkpoint().await, Err(Canceled));
                    assert_eq!(cancelable(async { 1 }).await, Err(Canceled));
                    assert!(is_canceled(&nop().await.unwrap_err()));
                    let read = file.read(vec![7; 5]).await.unwrap_err();
                    assert!(is_canceled(read.error()));
                    assert_eq!(read.into_buf(), [7; 5]);
                    let write = file.write("abc").await.unwrap_err();
                    assert!(is_canceled(&write) && write.into_buf() == "abc");
                    let exact = file.read_exact(vec![7; 5], 3).await.unwrap_err();
                    assert_eq!((exact.transferred(), exact.into_buf()), (0, vec![7; 5]));
                    let all = file.write_all(b"abc".to_vec()).await.unwrap_err();
                    assert_eq!((all.transferred(), all.into_buf()), (0, b"abc".to_vec()));
                    let submitted = file.read(vec![1; 3]).submit().await.unwrap_err();
                    assert_eq!(submitted.into_buf(), [1; 3]);
                    assert!((&mut other).await.unwrap_err().is_wait_canceled());
                    let late = timeout(LONG, sleep(LONG)).await.unwrap_err();
                    assert!(!late.is_elapsed() && is_canceled(&late));
                    let opened = gimmal::fs::read("Cargo.toml").await.unwrap_err();
                    assert!(is_canceled(&opened));
                }
                Ok(())
            })
            .await;
        outcome.unwrap();
        assert!(scope.canceled_caught() && scope.is_canceled());
        assert_eq!(
            Handle::current().stats().submitted,
            submitted,
            "nothing was submitted"
        );
        // Outside the scope, everything still works.
        let (n, _) = file.read(vec![0; 8]).await.unwrap();
        assert_eq!(n, 4);
        assert!(!other.is_finished());
        assert_eq!(checkpoint().await, Ok(()));
    });
}

#[test]
fn every_wait_pending_at_the_cancel_ends_canceled() {
    block_on(async {
        let (file, _writer) = pipe();
        let scope = Rc::new(Scope::new());
        let cleaned = Rc::new(Cell::new(false));
        let task = {
            let (scope, cleaned) = (scope.clone(), cleaned.clone());
            spawn(async move {
                scope
                    .run::<_, (), Canceled>(async {
                        let mut other = spawn(pending::<()>());
                        let mut ticks = interval(LONG);
                        ticks.tick().await.unwrap();
                        let waits = join(
                            join(sleep(LONG), file.read(vec![7; 16])),
                            join(join(&mut other, ticks.tick()), cancelable(pending::<()>())),
                        );
                        let ((slept, read), ((joined, tick), foreign)) = waits.await;
                        assert_eq!(slept, Err(Canceled));
                        let read = read.unwrap_err();
                        assert!(is_canceled(&read));
                        assert_eq!(read.into_buf(), [7; 16]);
                        assert!(joined.unwrap_err().is_wait_canceled());
                        assert!(!other.is_finished());
                        assert!(tick.is_err());
                        assert_eq!(foreign, Err(Canceled));
                        cleaned.set(true);
                        sleep(LONG).await
                    })
                    .await
            })
        };
        settle().await;
        assert!(!task.is_finished());
        scope.cancel();
        assert_eq!(task.await.unwrap(), Err(Canceled));
        assert!(cleaned.get() && scope.canceled_caught());
        until("no operation is left", || {
            Handle::current().stats().operations == 0
        })
        .await;
    });
}

#[test]
fn a_completed_operation_returns_its_result_even_in_a_canceled_scope() {
    block_on(async {
        let (file, mut writer) = pipe();
        let scope = Scope::new();
        let outcome: io::Result<()> = scope
            .run(async {
                let read = file.read(vec![0; 8]).submit();
                let done = nop().submit();
                writer.write_all(b"bytes").unwrap();
                let before = Handle::current().stats().completed;
                until("both complete", || {
                    Handle::current().stats().completed >= before + 2
                })
                .await;
                scope.cancel();
                let (n, buf) = read.await.unwrap();
                assert_eq!((n, &buf[..]), (5, &b"bytes"[..]));
                done.await.unwrap();
                let ended = spawn(async { 5 });
                while !ended.is_finished() {
                    yield_now().await;
                }
                assert_eq!(ended.await.unwrap(), 5);
                Ok(())
            })
            .await;
        outcome.unwrap();
        assert!(!scope.canceled_caught(), "nothing was canceled");
    });
}

#[test]
fn a_shield_runs_to_its_end_and_the_next_wait_is_canceled() {
    on_virtual_time(async {
        let scope = Scope::new();
        let outcome: Nothing = scope
            .run(async {
                scope.cancel();
                for _ in 0..3 {
                    assert_eq!(sleep(LONG).await, Err(Canceled));
                    assert_eq!(shield(sleep(SHORT)).await, Ok(()));
                    shield(async {
                        nop().await.unwrap();
                        assert_eq!(spawn(async { 3 }).await.unwrap(), 3);
                        checkpoint().await.unwrap();
                        let inner = Scope::new();
                        assert_eq!(inner.run(sleep(SHORT)).await, Ok(()));
                        assert!(!inner.is_canceled());
                    })
                    .await;
                    sleep(SHORT).shield().await.unwrap();
                }
                sleep(LONG).await
            })
            .await;
        assert_eq!(outcome, Err(Canceled));
    });
}

#[test]
fn a_shield_open_at_the_cancel_is_not_reached() {
    block_on(async {
        let (file, mut writer) = pipe();
        let scope = Rc::new(Scope::new());
        let shielded = scope.clone();
        let task = spawn(async move {
            let wait = async {
                let read = shield(file.read(vec![0; 4])).await.unwrap();
                assert_eq!(sleep(LONG).await, Err(Canceled));
                Ok::<_, Canceled>(read)
            };
            shielded.run(wait).await
        });
        settle().await;
        scope.cancel();
        settle().await;
        assert!(!task.is_finished());
        writer.write_all(b"late").unwrap();
        assert_eq!(task.await.unwrap().unwrap(), (4, b"late".to_vec()));
        assert!(scope.canceled_caught());
    });
}

#[test]
fn a_shield_ends_at_its_own_deadline() {
    on_virtual_time(async {
        let scope = Scope::new();
        let (file, _writer) = pipe();
        let outcome: io::Result<()> = scope
            .run(async {
                scope.cancel();
                let slept = shield(sleep(LONG).timeout(SHORT)).await.unwrap_err();
                assert!(slept.is_elapsed() && is_timeout(&slept));
                let read = shield(file.read(vec![5; 5]).timeout(SHORT)).await;
                let read = read.unwrap_err();
                assert!(is_timeout(&read) && !is_canceled(&read));
                assert_eq!(read.into_buf(), [5; 5]);
                // The other way round: the shield holds although the timeout expires.
                let late = timeout(SHORT, shield(sleep(2 * SHORT))).await;
                late.unwrap();
                let own = Scope::with_deadline(gimmal::time::Instant::now() + SHORT);
                let slept = shield(own.run(sleep(LONG))).await;
                assert_eq!(slept, Err(Canceled));
                assert!(own.canceled_caught());
                Ok(())
            })
            .await;
        outcome.unwrap();
    });
}

#[test]
fn a_scope_is_canceled_by_another_task() {
    block_on(async {
        let scope = Rc::new(Scope::new());
        let other = scope.clone();
        let task = spawn(async move { other.cancel_with("a neighbor's request") });
        assert_eq!(scope.run(sleep(LONG)).await, Err(Canceled));
        task.await.unwrap();
        assert_eq!(scope.reason().as_deref(), Some("a neighbor's request"));
    });
}

#[test]
fn a_scope_is_canceled_by_another_thread() {
    block_on(async {
        for _ in 0..50 {
            let scope = Scope::new();
            let handle = scope.handle();
            let (told, tell) = mpsc::channel();
            let thread = thread::spawn(move || {
                tell.recv().unwrap();
                handle.clone().cancel_with("from another thread");
                assert!(handle.is_canceled());
            });
            let outcome: Nothing = scope
                .run(async {
                    told.send(()).unwrap();
                    sleep(LONG).await
                })
                .await;
            assert_eq!(outcome, Err(Canceled));
            thread.join().unwrap();
            assert!(scope.canceled_caught() && scope.is_canceled());
            assert_eq!(scope.reason().as_deref(), Some("from another thread"));
        }
    });
}

#[test]
fn a_scope_is_canceled_from_inside_by_its_own_handle() {
    block_on(async {
        let scope = Scope::new();
        let handle = scope.handle();
        let outcome: Nothing = scope
            .run(async {
                handle.cancel();
                assert!(scope.is_canceled() && handle.is_canceled());
                let first = sleep(LONG).await;
                assert_eq!(sleep(LONG).await, Err(Canceled));
                first
            })
            .await;
        assert_eq!(outcome, Err(Canceled));
        assert!(scope.canceled_caught());
    });
}

#[test]
fn a_scope_canceled_before_it_is_entered_rejects_every_wait() {
    block_on(async {
        for by_handle in [false, true] {
            let scope = Scope::new();
            match by_handle {
                true => scope.handle().cancel_with("early"),
                false => scope.cancel_with("early"),
            }
            assert!(scope.is_canceled() && !scope.canceled_caught());
            let reached = Cell::new(false);
            let submitted = Handle::current().stats().submitted;
            let outcome: Nothing = scope
                .run(async {
                    reached.set(true);
                    assert!(nop().await.is_err());
                    sleep(LONG).await
                })
                .await;
            assert_eq!(outcome, Err(Canceled));
            assert!(reached.get() && scope.canceled_caught());
            assert_eq!(Handle::current().stats().submitted, submitted);
            assert_eq!(scope.reason().as_deref(), Some("early"));
        }
    });
}

#[test]
fn a_handle_that_outlives_its_scope_does_nothing() {
    on_virtual_time(async {
        let scope = Scope::new();
        let handle = scope.handle();
        assert_eq!(scope.run(sleep(SHORT)).await, Ok(()));
        handle.cancel();
        scope.cancel();
        assert!(!scope.canceled_caught());
        assert_eq!(sleep(SHORT).await, Ok(()));
        drop(scope);
        handle.cancel();
    });
}

#[test]
fn only_the_first_reason_is_kept() {
    block_on(async {
        let scope = Scope::new();
        assert_eq!(scope.reason(), None);
        scope.cancel_with("first");
        scope.cancel_with("second");
        scope.handle().cancel_with("third");
        scope.cancel();
        assert_eq!(scope.reason().as_deref(), Some("first"));
        assert_eq!(scope.run(sleep(LONG)).await, Err(Canceled));
        assert_eq!(scope.reason().as_deref(), Some("first"));
    });
}

#[test]
fn a_scope_entered_twice_panics() {
    on_virtual_time(async {
        let scope = Scope::new();
        let panics = |what: &str| {
            let entered = catch_unwind(AssertUnwindSafe(|| drop(scope.run(sleep(SHORT)))));
            let payload = entered.unwrap_err();
            let text = payload
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned());
            let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
            assert!(text.unwrap().contains("entered once"), "{what}");
        };
        let outcome: Nothing = scope
            .run(async {
                panics("while it runs");
                sleep(SHORT).await
            })
            .await;
        assert_eq!(outcome, Ok(()));
        panics("after it has ended");
        let dropped = Scope::new();
        drop(dropped.run(sleep(SHORT)));
        let again = catch_unwind(AssertUnwindSafe(|| drop(dropped.run(sleep(SHORT)))));
        assert!(again.is_err());
    });
}

#[test]
fn a_scope_inside_a_canceled_one_is_canceled_until_it_is_left() {
    block_on(async {
        let (outer, inner) = (Scope::new(), Scope::new());
        let outcome: Nothing = outer
            .run(async {
                let ended: Nothing = inner
                    .run(async {
                        assert!(!inner.is_canceled());
                        outer.cancel();
                        assert!(inner.is_canceled() && outer.is_canceled());
                        sleep(LONG).await
                    })
                    .await;
                assert_eq!(ended, Err(Canceled));
                assert!(!inner.canceled_caught(), "the outer scope is responsible");
                ended
            })
            .await;
        assert_eq!(outcome, Err(Canceled));
        assert!(outer.canceled_caught());
    });
}

#[test]
fn canceling_an_inner_scope_does_not_affect_the_outer_one() {
    on_virtual_time(async {
        let (outer, inner) = (Scope::new(), Scope::new());
        let outcome: Nothing = outer
            .run(async {
                inner.cancel();
                assert_eq!(inner.run(sleep(LONG)).await, Err(Canceled));
                assert!(inner.canceled_caught());
                sleep(SHORT).await
            })
            .await;
        assert_eq!(outcome, Ok(()));
        assert!(!outer.canceled_caught() && !outer.is_canceled());
    });
}

#[test]
fn a_scope_returns_the_output_of_its_future_canceled_or_not() {
    block_on(async {
        let scope = Scope::new();
        let outcome: Result<u8, Canceled> = scope
            .run(async {
                scope.cancel();
                Ok(7)
            })
            .await;
        assert_eq!(outcome, Ok(7));
        assert!(!scope.canceled_caught());
        let scope = Scope::new();
        scope.cancel();
        assert_eq!(scope.run_any(async { 8 }).await, Ok(8));
        assert!(!scope.canceled_caught());
    });
}

#[test]
fn a_canceled_scope_drops_a_foreign_future() {
    block_on(async {
        let scope = Rc::new(Scope::new());
        let other = scope.clone();
        drop(spawn(async move { other.cancel() }));
        let outcome: Nothing = scope.run(pending()).await;
        assert_eq!(outcome, Err(Canceled));
        assert!(scope.canceled_caught());
        let scope = Scope::new();
        scope.cancel();
        assert_eq!(scope.run_any(pending::<u8>()).await, Err(Canceled));
        assert!(scope.canceled_caught());
    });
}

#[test]
fn a_cancelable_future_is_dropped_alone() {
    block_on(async {
        let (_sender, receiver) = async_channel::bounded::<u8>(1);
        let scope = Rc::new(Scope::new());
        let other = scope.clone();
        drop(spawn(async move { other.cancel() }));
        let journal = common::Journal::default();
        let held = journal.on_drop("dropped");
        let outcome: Result<u8, Canceled> = scope
            .run(async {
                let waits = async {
                    let _held = held;
                    receiver.recv().await
                };
                let mut waits = Box::pin(cancelable(waits));
                assert!(waits.as_mut().await.is_err());
                // The inner future is dropped when it is canceled, not with its box.
                assert_eq!(journal.take(), ["dropped"]);
                Ok(5)
            })
            .await;
        assert_eq!(outcome, Ok(5));
        assert!(scope.canceled_caught());
    });
}

#[test]
fn a_completed_cancelable_future_returns_its_output() {
    block_on(async {
        let (sender, receiver) = async_channel::bounded::<u8>(1);
        let scope = Rc::new(Scope::new());
        let other = scope.clone();
        drop(spawn(async move {
            sender.try_send(9).unwrap();
            other.cancel();
        }));
        let outcome: Result<u8, Canceled> = scope
            .run(async { Ok(cancelable(receiver.recv()).await?.unwrap()) })
            .await;
        assert_eq!(outcome, Ok(9));
        assert!(!scope.canceled_caught());
        assert_eq!(cancelable(async { 1 }).await, Ok(1));
    });
}

#[test]
fn a_checkpoint_yields_and_ends_when_canceled() {
    block_on(async {
        let steps = Rc::new(Cell::new(0));
        let scope = Rc::new(Scope::new());
        let (theirs, other) = (steps.clone(), scope.clone());
        drop(spawn(async move {
            for _ in 0..10 {
                theirs.set(theirs.get() + 1);
                yield_now().await;
            }
            other.cancel();
        }));
        let mut passed = 0;
        let outcome: Nothing = scope
            .run(async {
                loop {
                    checkpoint().await?;
                    passed += 1;
                }
            })
            .await;
        assert_eq!(outcome, Err(Canceled));
        assert_eq!(steps.get(), 10);
        assert!(passed >= 8, "{passed}");
    });
}

/// Many leaves that start at once are not a loop that ignores errors.
#[test]
fn a_hundred_reads_started_at_once_in_a_canceled_scope_return_their_buffers() {
    if ran_in_own_process() {
        return;
    }
    let faults = common::Faults::default();
    let mut runtime = faults.hear(gimmal::Runtime::builder()).build().unwrap();
    runtime.block_on(async {
        let (file, _writer) = pipe();
        let scope = Scope::new();
        scope.cancel();
        let back = scope
            .run_any(async {
                let reads = (0..100).map(|n| file.read(vec![n; 3]));
                let ended = futures_util::future::join_all(reads).await;
                for (n, read) in ended.into_iter().enumerate() {
                    assert_eq!(read.unwrap_err().into_buf(), [n as u8; 3]);
                }
                shield(sleep(SHORT)).await.unwrap();
            })
            .await;
        assert_eq!(back, Ok(()));
    });
    faults.expect(&[]);
}

#[test]
fn a_cancel_wakes_a_task_that_waits_behind_a_pool_closure_when_that_ends() {
    block_on(async {
        let scope = Rc::new(Scope::new());
        let other = scope.clone();
        let (go, gone) = mpsc::channel::<()>();
        let (begin, begun) = mpsc::channel();
        let task = spawn(async move {
            let waits = async {
                let closure = spawn_blocking(move || {
                    begin.send(()).unwrap();
                    gone.recv().is_ok()
                });
                let value = closure.await.unwrap();
                Ok::<_, Canceled>((value, sleep(LONG).await))
            };
            other.run(waits).await
        });
        next_turn().await;
        begun.recv().unwrap();
        scope.cancel();
        settle().await;
        assert!(!task.is_finished(), "a running closure is awaited");
        go.send(()).unwrap();
        assert_eq!(task.await.unwrap(), Ok((true, Err(Canceled))));
    });
}
