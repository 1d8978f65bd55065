//! G3: handles of children, and what happens to values.

use crate::help::{LONG, SHORT, counts, failure, leaks_on_purpose, run};
use common::{Baseline, Census, counted, next_turn, poll_once, quick_or_full};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use gimmal::cancel::shield;
use gimmal::time::timeout;
use gimmal::{Canceled, Handle, group, sleep, yield_now};
use std::cell::Cell;
use std::future::pending;
use std::io;
use std::rc::Rc;

#[test]
fn a_handle_returns_the_value_once() {
    run(async || {
        group(async |g| {
            let before = Handle::current().stats().task_rows;
            let nothing = g.spawn(async {});
            let value = g.spawn(async { Ok(String::from("value")) });
            assert_ne!(nothing.id(), value.id());
            assert_eq!(g.len(), 2);
            assert!(!value.is_finished());
            assert_eq!(value.await, Ok("value".to_owned()));
            assert!(nothing.is_finished());
            assert_eq!(nothing.await, Ok(()));
            assert!(g.is_empty());
            assert_eq!(Handle::current().stats().task_rows, before);
            Ok::<_, io::Error>(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn a_dropped_wait_leaves_child_and_handle_unchanged() {
    run(async || {
        let census = Census::default();
        let (sender, receiver) = async_channel::bounded::<u8>(1);
        group(async |g| {
            let mut child = g.spawn(async {
                let number = receiver.recv().await.map_err(io::Error::other)?;
                Ok((number, census.member()))
            });
            for _ in 0..3 {
                // Timed out, dropped, and canceled before the start.
                let error = timeout(SHORT / 8, &mut child).await.err().unwrap();
                assert!(error.is_elapsed());
                assert!(poll_once(&mut child).await.is_pending());
                let scope = gimmal::cancel::Scope::new();
                scope.cancel();
                let waited = scope.run(async { (&mut child).await.map(drop) }).await;
                assert_eq!(waited, Err(Canceled));
            }
            sender.send(9).await.unwrap();
            let (number, member) = child.await?;
            assert_eq!((number, census.alive()), (9, 1));
            drop(member);
            Ok::<_, io::Error>(())
        })
        .await
        .unwrap();
        assert_eq!(census.alive(), 0);
    });
}

/// What happens to the handle of a child that returns a value.
#[derive(Clone, Copy, Debug)]
enum Handled {
    DroppedBefore,
    DroppedMeanwhile,
    DroppedAfter,
    AwaitedBefore,
    AwaitedAfter,
    AwaitedBySibling,
    OwnedByItsChild,
    OwnedBySibling,
    InTheValueOfASibling,
    Forgotten,
    Canceled,
}

#[test]
fn a_value_is_dropped_exactly_once() {
    if leaks_on_purpose("handles::a_value_is_dropped_exactly_once") {
        return;
    }
    run(async || {
        let census = Census::default();
        for handled in [
            Handled::DroppedBefore,
            Handled::DroppedMeanwhile,
            Handled::DroppedAfter,
            Handled::AwaitedBefore,
            Handled::AwaitedAfter,
            Handled::AwaitedBySibling,
            Handled::OwnedByItsChild,
            Handled::OwnedBySibling,
            Handled::InTheValueOfASibling,
            Handled::Forgotten,
            Handled::Canceled,
        ] {
            let before = counts();
            group(async |g| {
                let place = Rc::new(Cell::new(None));
                let own = place.clone();
                let child = g.spawn(async {
                    let _own = own;
                    yield_now().await;
                    yield_now().await;
                    Ok(census.member())
                });
                match handled {
                    Handled::DroppedBefore => drop(child),
                    Handled::DroppedMeanwhile => {
                        yield_now().await;
                        drop(child);
                    }
                    Handled::DroppedAfter => {
                        while !child.is_finished() {
                            yield_now().await;
                        }
                        assert_eq!(census.alive(), 1);
                        drop(child);
                        assert_eq!(census.alive(), 0, "at once");
                    }
                    Handled::AwaitedBefore => {
                        let member = child.await?;
                        assert_eq!(census.alive(), 1);
                        drop(member);
                    }
                    Handled::AwaitedAfter => {
                        while !child.is_finished() {
                            yield_now().await;
                        }
                        drop(child.await?);
                    }
                    Handled::AwaitedBySibling => {
                        drop(g.spawn(async { child.await.map(drop).map_err(Into::into) }))
                    }
                    Handled::OwnedByItsChild => place.set(Some(child)),
                    Handled::OwnedBySibling => drop(g.spawn(async {
                        let _child = child;
                        sleep(SHORT / 4).await.map_err(Into::into)
                    })),
                    Handled::InTheValueOfASibling => {
                        let _held = g.spawn(async { Ok((child, census.member())) });
                        sleep(SHORT / 4).await?;
                    }
                    Handled::Forgotten => std::mem::forget(child),
                    Handled::Canceled => {
                        child.cancel();
                        yield_now().await;
                        child.cancel();
                        drop(child.await?);
                    }
                }
                Ok::<_, io::Error>(())
            })
            .await
            .unwrap();
            assert_eq!(census.alive(), 0, "{handled:?}");
            assert_eq!(counts(), before, "{handled:?}");
        }
    });
}

#[test]
fn the_handle_of_a_child_without_a_value_returns_canceled() {
    run(async || {
        let go = Cell::new(false);
        let error = group(async |g| {
            let foreign = g.spawn(pending::<()>());
            let go = &go;
            let failed = g.spawn(async move {
                while !go.get() {
                    yield_now().await;
                }
                Err::<u8, _>(failure("it failed"))
            });
            yield_now().await;
            foreign.cancel();
            assert_eq!(foreign.await, Err(Canceled), "dropped");
            assert!(!g.is_canceled(), "only this child was canceled");
            go.set(true);
            assert_eq!(
                failed.await,
                Err(Canceled),
                "the failure is in the group's error"
            );
            Ok(())
        })
        .await
        .unwrap_err();
        assert_eq!(error.first().unwrap().to_string(), "it failed");
    });
}

#[test]
fn canceling_a_child_affects_no_other() {
    run(async || {
        group(async |g| {
            let polls = Rc::new(Cell::new(0));
            let early = g.spawn(counted(
                &polls,
                async { sleep(LONG).await == Err(Canceled) }.into_result(),
            ));
            early.cancel();
            assert_eq!(early.await, Ok(true), "polled in a canceled scope");
            let mut others = Vec::new();
            for _ in 0..4 {
                others.push(g.spawn(async {
                    let slept = timeout(LONG, sleep(LONG)).await;
                    // Level-triggered: the next wait is canceled too, but not a shielded one.
                    let again = sleep(LONG).await;
                    let shielded = shield(sleep(SHORT / 8)).await;
                    Ok((slept.is_err(), again.is_err(), shielded.is_ok()))
                }));
            }
            yield_now().await;
            others[2].cancel();
            others[2].cancel();
            let third = others.remove(2).await?;
            assert_eq!(third, (true, true, true));
            for _ in 0..3 {
                next_turn().await;
            }
            assert!(others.iter().all(|child| !child.is_finished()));
            for child in others {
                child.cancel();
                child.await?;
            }
            Ok::<_, io::Error>(())
        })
        .await
        .unwrap();
    });
}

trait IntoResult: Future + Sized {
    /// Converts to a future of a `Result`.
    fn into_result(self) -> impl Future<Output = io::Result<Self::Output>> {
        async { Ok(self.await) }
    }
}

impl<F: Future> IntoResult for F {}

/// Handles in a foreign combinator, whose waits have foreign wakers.
#[test]
fn handles_wait_in_a_foreign_set() {
    run(async || {
        let (sender, receiver) = async_channel::unbounded::<u32>();
        let order = group(async |g| {
            let mut set: FuturesUnordered<_> = (0..20)
                .map(|_| g.spawn(async { receiver.recv().await.map_err(io::Error::other) }))
                .collect();
            let mut order = Vec::new();
            let feed = async {
                for n in 0..20 {
                    yield_now().await;
                    sender.send(n).await.unwrap();
                }
            };
            let drain = async {
                while let Some(n) = set.next().await {
                    order.push(n.unwrap());
                }
            };
            futures_util::join!(feed, drain);
            Ok::<_, io::Error>(order)
        })
        .await
        .unwrap();
        assert_eq!(order.len(), 20);
    });
}

/// The memory that the allocator may keep.
const SPARE_KIB: usize = 8 << 10;

/// A sanitizer delays the reuse of freed memory.
fn spare_kib() -> usize {
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    if flags.contains("sanitizer") {
        usize::MAX / 2
    } else {
        SPARE_KIB
    }
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn endless_short_children_take_constant_memory() {
    if common::ran_in_own_process() {
        return;
    }
    let many = quick_or_full(300_000, 10_000_000);
    run(async || {
        let baseline = Baseline::take();
        let ended = Cell::new(0);
        group(async |g| {
            let mut before = 0;
            g.set_limit(100);
            for n in 0..many {
                let ended = &ended;
                let child = g.spawn(async move { ended.set(ended.get() + 1) });
                match n % 3 {
                    0 => child.await?,
                    _ => drop(child),
                }
                if n % 64 == 0 {
                    g.wait_for_slot().await?;
                }
                if n == many / 10 {
                    before = resident_kib();
                }
            }
            let stats = Handle::current().stats();
            assert!(stats.task_rows < 200, "{stats:?}");
            let after = resident_kib();
            assert!(
                after < before + spare_kib(),
                "{before} KiB, then {after} KiB"
            );
            Ok::<_, io::Error>(())
        })
        .await
        .unwrap();
        assert_eq!(ended.get(), many);
        baseline.returns("many children").await;
    });
}

/// Handles that are kept and awaited, so that the list of finished children stays short, too.
#[test]
fn awaited_handles_leave_nothing_behind() {
    let many = quick_or_full(100_000, 1_000_000);
    run(async || {
        group(async |g| {
            let _long = g.spawn(sleep(LONG));
            let mut before = 0;
            for n in 0..many {
                let child = g.spawn(async { Ok([0u8; 32]) });
                child.await?;
                if n == many / 10 {
                    before = resident_kib();
                }
            }
            let after = resident_kib();
            assert!(
                after < before + spare_kib(),
                "{before} KiB, then {after} KiB"
            );
            g.cancel();
            Ok::<_, Canceled>(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn many_children_all_run() {
    run(async || {
        let sum = Cell::new(0u64);
        group(async |g| {
            for n in 0..10_000u64 {
                let sum = &sum;
                drop(g.spawn(async move {
                    yield_now().await;
                    sum.set(sum.get() + n);
                }));
            }
            Ok::<_, io::Error>(())
        })
        .await
        .unwrap();
        assert_eq!(sum.get(), 10_000 * 9_999 / 2);
    });
}
