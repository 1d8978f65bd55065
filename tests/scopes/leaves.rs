//! Leaves that change their scope: a leaf belongs to the scope of its latest poll, and one that outlives its scope
//! belongs to the enclosing one (C12).

use crate::{LONG, SHORT, pipe, settle, until};
use common::{block_on, next_turn, on_virtual_time, poll_once};
use futures_util::future::join;
use gimmal::cancel::{Cancelable, Canceled, Scope, cancelable, shield};
use gimmal::fs::File;
use gimmal::op::{Op, Read};
use gimmal::task::JoinHandle;
use gimmal::time::{Instant, Sleep, interval, timeout, timeout_any};
use gimmal::{Handle, is_canceled, sleep, spawn, yield_now};
use std::cell::RefCell;
use std::future::{Pending, pending, poll_fn};
use std::io::PipeWriter;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// A wait of each kind. It never succeeds, so if it is ready, it was canceled.
enum Waits {
    Sleep(Sleep),
    Read(
        Op<Read<Vec<u8>>>,
        #[expect(dead_code, reason = "kept open")] (File, PipeWriter),
    ),
    Join(JoinHandle<()>),
    Foreign(Pin<Box<Cancelable<Pending<()>>>>),
}

const KINDS: [&str; 4] = ["sleep", "read", "join", "foreign"];

impl Waits {
    fn new(kind: &str) -> Waits {
        match kind {
            "sleep" => Waits::Sleep(sleep(LONG)),
            "read" => {
                let (file, writer) = pipe();
                Waits::Read(file.read(vec![0; 8]), (file, writer))
            }
            "join" => Waits::Join(spawn(pending())),
            _ => Waits::Foreign(Box::pin(cancelable(pending()))),
        }
    }
}

impl Future for Waits {
    type Output = Canceled;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Canceled> {
        match &mut *self {
            Waits::Sleep(sleep) => Pin::new(sleep).poll(context).map(Result::unwrap_err),
            Waits::Read(read, _) => Pin::new(read).poll(context).map(|read| {
                assert!(is_canceled(&read.unwrap_err()));
                Canceled
            }),
            Waits::Join(join) => Pin::new(join).poll(context).map(|joined| {
                assert!(joined.unwrap_err().is_wait_canceled());
                Canceled
            }),
            Waits::Foreign(foreign) => foreign.as_mut().poll(context).map(Result::unwrap_err),
        }
    }
}

/// Waits for a shared leaf.
async fn wait_for(leaf: &RefCell<Waits>) -> Canceled {
    poll_fn(|context| Pin::new(&mut *leaf.borrow_mut()).poll(context)).await
}

async fn poll_shared(leaf: &RefCell<Waits>) -> Poll<Canceled> {
    poll_fn(|context| Poll::Ready(Pin::new(&mut *leaf.borrow_mut()).poll(context))).await
}

#[test]
fn a_leaf_belongs_to_the_scope_that_polled_it_last() {
    block_on(async {
        for kind in KINDS {
            let leaf = Rc::new(RefCell::new(Waits::new(kind)));
            let (first, second) = (Rc::new(Scope::new()), Rc::new(Scope::new()));
            let (theirs, their_first, their_second) = (leaf.clone(), first.clone(), second.clone());
            let task = spawn(async move {
                let one = their_first.run_any(async {
                    assert!(poll_shared(&theirs).await.is_pending());
                    sleep(LONG).await
                });
                let two = their_second.run_any(async {
                    yield_now().await;
                    wait_for(&theirs).await
                });
                join(one, two).await
            });
            settle().await;
            first.cancel();
            settle().await;
            assert!(!task.is_finished(), "{kind}: canceled by the wrong scope");
            second.cancel();
            let (one, two) = task.await.unwrap();
            assert_eq!((one, two), (Ok(Err(Canceled)), Ok(Canceled)), "{kind}");
            assert!(
                first.canceled_caught() && second.canceled_caught(),
                "{kind}"
            );
        }
    });
}

#[test]
fn a_leaf_polled_in_a_canceled_scope_ends_there_wherever_it_started() {
    block_on(async {
        for kind in KINDS {
            let mut leaf = Waits::new(kind);
            assert!(poll_once(&mut leaf).await.is_pending());
            let scope = Scope::new();
            scope.cancel();
            let ended = scope.run_any(&mut leaf).await;
            assert_eq!(ended, Ok(Canceled), "{kind}");
            assert!(scope.canceled_caught());
        }
    });
}

/// The scope is left first. Then the enclosing scope is canceled, and cancels the leaf before its next poll.
#[test]
fn a_leaf_that_outlives_its_scope_moves_to_the_enclosing_one() {
    block_on(async {
        for kind in KINDS {
            let (outer, inner) = (Scope::new(), Scope::new());
            let ended = outer.run_any(async {
                let mut leaf = Waits::new(kind);
                let polled = inner.run_any(poll_once(&mut leaf)).await;
                assert!(polled.unwrap().is_pending());
                inner.cancel();
                shield(settle()).await;
                assert!(poll_once(&mut leaf).await.is_pending(), "{kind}");
                leaf.await
            });
            let outside = async {
                settle().await;
                outer.cancel();
            };
            assert_eq!(join(ended, outside).await.0, Ok(Canceled), "{kind}");
            assert!(outer.canceled_caught() && !inner.canceled_caught());
        }
    });
}

#[test]
fn an_operation_that_outlives_its_scope_is_canceled_without_another_poll() {
    block_on(async {
        let (file, _writer) = pipe();
        let (outer, inner) = (Scope::new(), Scope::new());
        let ended = outer
            .run_any(async {
                let mut read = file.read(vec![3; 8]);
                assert!(
                    inner
                        .run_any(poll_once(&mut read))
                        .await
                        .unwrap()
                        .is_pending()
                );
                let handle = Handle::current();
                assert_eq!(handle.stats().operations, 1);
                outer.cancel();
                shield(until("it stops", || handle.stats().operations == 0)).await;
                read.await.unwrap_err().into_buf()
            })
            .await;
        assert_eq!(ended, Ok(vec![3; 8]));
    });
}

/// The enclosing scope was canceled meanwhile.
#[test]
fn a_leaf_that_outlives_a_shield_moves_to_a_canceled_scope() {
    block_on(async {
        for kind in KINDS {
            let scope = Scope::new();
            let ended = scope
                .run_any(async {
                    let mut leaf = Waits::new(kind);
                    scope.cancel();
                    assert!(shield(poll_once(&mut leaf)).await.is_pending());
                    leaf.await
                })
                .await;
            assert_eq!(ended, Ok(Canceled), "{kind}");
        }
    });
}

/// A canceled wait leaves a sleep unchanged: it is never early.
#[test]
fn a_canceled_sleep_continues_when_awaited_again() {
    on_virtual_time(async {
        let deadline = Instant::now() + 8 * SHORT;
        let mut asleep = gimmal::time::sleep_until(deadline);
        let error = timeout(SHORT, &mut asleep).await;
        if let Err(error) = error {
            assert!(error.is_elapsed());
            assert_eq!((&mut asleep).await, Ok(()));
        }
        assert!(Instant::now() >= deadline);
        let mut asleep = sleep(LONG);
        assert!(timeout(SHORT, &mut asleep).await.is_err());
        assert!(
            timeout(SHORT, &mut asleep).await.is_err(),
            "an hour has passed"
        );
        drop(asleep);
        assert_eq!(Handle::current().stats().timers, 0);
    });
}

/// "The tick is not consumed."
#[test]
fn a_canceled_tick_comes_when_it_is_due() {
    on_virtual_time(async {
        let mut ticks = interval(LONG);
        ticks.tick().await.unwrap();
        assert!(timeout(SHORT, ticks.tick()).await.is_err());
        assert!(timeout(SHORT, ticks.tick()).await.is_err());
    });
}

#[test]
fn a_canceled_join_can_be_awaited_again() {
    on_virtual_time(async {
        let (sender, receiver) = async_channel::bounded::<u8>(1);
        let mut task = spawn(async move { receiver.recv().await.unwrap() });
        for _ in 0..3 {
            let late = timeout(SHORT, &mut task).await.unwrap_err();
            assert!(late.is_elapsed());
            assert!(late.into_inner().unwrap().is_wait_canceled());
        }
        sender.send(4).await.unwrap();
        assert_eq!(task.await.unwrap(), 4);
    });
}

/// A leaf that is no longer awaited delays nothing: after the cancel, the future waits only for a foreign future (C6).
#[test]
fn a_leaf_abandoned_for_a_foreign_future_does_not_delay_a_timeout() {
    on_virtual_time(async {
        for kind in KINDS {
            let mut leaf = Waits::new(kind);
            let ended = timeout_any(SHORT, async {
                assert!(poll_once(&mut leaf).await.is_pending());
                pending::<()>().await
            })
            .await;
            let error = ended.unwrap_err();
            assert!(error.is_elapsed() && error.inner().is_none(), "{kind}");
        }
    });
}

/// The same for a task, which has no scope of its own until it awaits a second leaf.
#[test]
fn a_leaf_abandoned_for_a_foreign_future_does_not_delay_a_canceled_task() {
    block_on(async {
        for kind in KINDS {
            for more in [false, true] {
                let task = spawn(async move {
                    let mut leaf = Waits::new(kind);
                    let mut other = sleep(LONG);
                    assert!(poll_once(&mut leaf).await.is_pending());
                    if more {
                        assert!(poll_once(&mut other).await.is_pending());
                    }
                    pending::<()>().await;
                });
                settle().await;
                task.cancel();
                let handle = Handle::current();
                // The leaf that stays is an hour long.
                for _ in 0..1000 {
                    next_turn().await;
                    if task.is_finished() {
                        break;
                    }
                }
                assert!(task.is_finished(), "{kind} {more}: {:?}", handle.stats());
                assert!(task.await.unwrap_err().is_aborted());
            }
        }
    });
}

/// A canceled scope waits for an operation, until another task takes the operation over: then the scope waits for
/// nothing of ours.
#[test]
fn a_leaf_taken_over_by_another_task_does_not_delay_a_canceled_scope() {
    block_on(async {
        let (file, _writer) = pipe();
        let (sender, receiver) = async_channel::bounded(1);
        let scope = Rc::new(Scope::new());
        let theirs = scope.clone();
        let reads = file.read(vec![1; 8]);
        let giver = spawn(async move {
            let waits = async {
                let mut read = reads;
                assert!(poll_once(&mut read).await.is_pending());
                sender.try_send(read).unwrap();
                pending::<()>().await
            };
            theirs.run_any(waits).await
        });
        settle().await;
        // In one turn: the scope cancels the read and its future is polled, then this task polls the read.
        scope.cancel();
        yield_now().await;
        let mut read = receiver.try_recv().unwrap();
        let taken = poll_once(&mut read).await;
        until("the scope ends", || giver.is_finished()).await;
        assert_eq!(giver.await.unwrap(), Err(Canceled));
        let buf = match taken {
            Poll::Ready(read) => read.unwrap_err().into_buf(),
            Poll::Pending => read.await.unwrap_err().into_buf(),
        };
        assert_eq!(buf, [1; 8]);
    });
}

/// A scope polled inside a canceled one is canceled there, and no longer canceled when it is polled elsewhere.
#[test]
fn a_scope_that_leaves_a_canceled_one_is_no_longer_canceled() {
    on_virtual_time(async {
        let (outer, inner) = (Scope::new(), Scope::new());
        outer.cancel();
        let mut wait = Box::pin(inner.run(sleep(SHORT)));
        // Rejected, after a yield.
        let polled = outer.run_any(poll_once(&mut wait)).await;
        assert!(polled.unwrap().is_pending());
        assert!(!inner.is_canceled());
        assert_eq!(wait.await, Ok(()));
        assert!(!inner.canceled_caught() && !outer.canceled_caught());
        // The other direction works as well, during a wait.
        let (outer, inner) = (Scope::new(), Scope::new());
        outer.cancel();
        let mut wait = Box::pin(inner.run(sleep(LONG)));
        assert!(poll_once(&mut wait).await.is_pending());
        let ended = outer.run_any(wait).await;
        assert_eq!(ended, Ok(Err(Canceled)));
        assert!(outer.canceled_caught() && !inner.canceled_caught());
    });
}

/// The outer scope's future is dropped, and the inner one's continues.
#[test]
fn a_scope_that_outlives_its_parent_moves_to_the_next() {
    block_on(async {
        let scopes = [0, 1, 2].map(|_| Scope::new());
        let [far, near, inner] = &scopes;
        let ended = far
            .run_any(async {
                let mut wait = Box::pin(inner.run(sleep(LONG)));
                let polled = near.run_any(poll_once(&mut wait)).await;
                assert!(polled.unwrap().is_pending());
                near.cancel();
                shield(settle()).await;
                assert!(!inner.is_canceled());
                far.cancel();
                assert!(inner.is_canceled());
                wait.await
            })
            .await;
        assert_eq!(ended, Ok(Err(Canceled)));
        assert!(far.canceled_caught() && !near.canceled_caught() && !inner.canceled_caught());
    });
}

/// However a scope's future ends, the enclosing scope is current afterward.
#[test]
fn a_panic_in_a_scope_leaves_it() {
    on_virtual_time(async {
        let handle = Handle::current();
        let (outer, inner) = (Scope::new(), Scope::new());
        let ended = outer
            .run_any(async {
                let panics = inner.run_any(async {
                    let mut asleep = sleep(LONG);
                    assert!(poll_once(&mut asleep).await.is_pending());
                    yield_now().await;
                    inner.cancel();
                    panic!("on purpose");
                });
                let panics =
                    futures_util::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(panics));
                let payload: Result<Result<(), Canceled>, _> = panics.await;
                assert!(payload.is_err());
                assert_eq!(handle.stats().timers, 0);
                sleep(SHORT).await
            })
            .await;
        assert_eq!(ended, Ok(Ok(())));
        assert!(!outer.canceled_caught() && !inner.canceled_caught());
    });
}

/// Many scopes that start and end out of order, canceled at random: each wait is canceled by the right scope.
#[test]
fn leaves_and_scopes_that_move_at_random_are_canceled_where_they_are() {
    block_on(async {
        let mut random = common::Random::new();
        for _ in 0..300 {
            let outer: Vec<Rc<Scope>> = (0..3).map(|_| Rc::default()).collect();
            let inner = Rc::new(Scope::new());
            let kind = KINDS[random.below(4)];
            let leaf = Waits::new(kind);
            let mut wait = Box::pin(inner.run_any(leaf));
            let mut last = 0;
            // Polled a few times in scopes that are left at once.
            for _ in 0..random.below(3) {
                let passing = Scope::new();
                let polled = passing.run_any(poll_once(&mut wait)).await;
                assert!(polled.unwrap().is_pending());
                passing.cancel();
                last += 1;
            }
            let depth = random.below(3);
            type Nested = Pin<Box<dyn Future<Output = Result<Canceled, Canceled>>>>;
            let mut nested: Nested = Box::pin(wait_to_the_end(wait));
            for scope in outer.clone().into_iter().take(depth + 1) {
                nested = Box::pin(async move { scope.run(nested).await });
            }
            let task = spawn(nested);
            for _ in 0..random.below(3) {
                yield_now().await;
            }
            // The last one is the outermost. Canceling a scope that nothing runs in has no effect.
            let canceled = random.below(4);
            match outer.get(canceled) {
                Some(scope) => scope.cancel(),
                None => inner.cancel(),
            }
            let expected = match canceled {
                3 => None,
                at if at <= depth => Some(at),
                _ => {
                    settle().await;
                    assert!(!task.is_finished(), "{kind}: {last}");
                    outer[0].cancel();
                    Some(0)
                }
            };
            assert_eq!(task.await.unwrap(), Ok(Canceled), "{kind}");
            for (at, scope) in outer.iter().enumerate() {
                assert_eq!(scope.canceled_caught(), expected == Some(at), "{kind} {at}");
            }
            assert_eq!(inner.canceled_caught(), expected.is_none(), "{kind}");
        }
    });
}

async fn wait_to_the_end<F>(wait: F) -> Result<Canceled, Canceled>
where
    F: Future<Output = Result<Canceled, Canceled>>,
{
    wait.await
}
