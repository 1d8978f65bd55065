//! Waits for a child or for a slot: what they leave behind when they are dropped, and how many there may be.

use crate::help::{LONG, run};
use common::poll_once;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use gimmal::{Canceled, group, sleep, supervise, yield_now};
use std::cell::Cell;
use std::future::pending;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};

/// The wakers of one test: how many exist, and how often one was woken.
#[derive(Default)]
struct Wakers {
    woken: AtomicUsize,
}

struct Counted(Arc<Wakers>);

impl Wake for Counted {
    fn wake(self: Arc<Self>) {
        self.0.woken.fetch_add(1, Ordering::Relaxed);
    }
}

impl Wakers {
    /// Creates a waker that differs from all others.
    fn another(self: &Arc<Wakers>) -> Waker {
        Arc::new(Counted(self.clone())).into()
    }

    fn alive(self: &Arc<Wakers>) -> usize {
        Arc::strong_count(self) - 1
    }

    fn woken(&self) -> usize {
        self.woken.swap(0, Ordering::Relaxed)
    }
}

/// Polls a pending wait with its own waker.
fn poll_pending<F: Future>(wakers: &Arc<Wakers>, future: Pin<&mut F>) {
    let waker = wakers.another();
    assert!(future.poll(&mut Context::from_waker(&waker)).is_pending());
}

#[test]
fn a_dropped_wait_drops_its_waker() {
    run(async || {
        let wakers = Arc::new(Wakers::default());
        group(async |g| {
            g.set_limit(1);
            let child = g.spawn(async { sleep(LONG).await.or(Ok::<_, Canceled>(())) });
            for _ in 0..1000 {
                poll_pending(&wakers, pin!(g.next_finished()));
                poll_pending(&wakers, pin!(g.wait_for_slot()));
                assert_eq!(wakers.alive(), 0);
            }
            child.cancel();
            child.await
        })
        .await
        .unwrap();
        supervise(async |s| {
            s.set_limit(1);
            let child = s.spawn(async {
                sleep(LONG).await.unwrap_err();
            });
            for _ in 0..1000 {
                poll_pending(&wakers, pin!(s.wait_for_slot()));
                assert_eq!(wakers.alive(), 0);
            }
            child.cancel();
            Ok::<_, io::Error>(())
        })
        .await
        .unwrap();
        assert_eq!(wakers.woken(), 0);
    });
}

#[test]
fn a_wait_wakes_only_its_latest_waker_and_those_of_other_waits() {
    run(async || {
        let wakers = Arc::new(Wakers::default());
        let (sender, receiver) = async_channel::bounded::<()>(2);
        group(async |g| {
            let turns = || async {
                for _ in 0..3 {
                    yield_now().await;
                }
            };
            for _ in 0..2 {
                drop(g.spawn(async {
                    let _ = receiver.recv().await;
                }));
            }
            let waits = || Box::pin(g.next_finished());
            let (mut first, mut second, mut third) = (waits(), waits(), waits());
            for _ in 0..2 {
                for wait in [&mut first, &mut second, &mut third] {
                    poll_pending(&wakers, wait.as_mut());
                }
            }
            assert_eq!(wakers.alive(), 3);
            drop(first);
            assert_eq!(wakers.alive(), 2);
            sender.send(()).await.unwrap();
            turns().await;
            assert_eq!(wakers.woken(), 2);
            // A woken wait is polled again, and woken again.
            poll_pending(&wakers, third.as_mut());
            assert_eq!(wakers.alive(), 2);
            sender.send(()).await.unwrap();
            turns().await;
            assert_eq!(wakers.woken(), 1);
            assert!(poll_once(&mut second).await.is_ready(), "no child is left");
            assert!(poll_once(&mut third).await.is_ready());
            assert_eq!(wakers.alive(), 0);
            Ok::<_, io::Error>(())
        })
        .await
        .unwrap();
    });
}

/// Each wait has its own waker. Searching for it among the others when it starts would take minutes.
#[test]
fn many_waits_for_one_child_are_fast() {
    const WAITS: usize = 50_000;
    run(async || {
        group(async |g| {
            let (sender, receiver) = async_channel::bounded::<()>(1);
            drop(g.spawn(async move {
                let _ = receiver.recv().await;
            }));
            let mut waits: FuturesUnordered<_> = (0..WAITS).map(|_| g.next_finished()).collect();
            assert!(poll_once(&mut waits.next()).await.is_pending());
            drop(sender);
            let mut ended = 0;
            while let Some(told) = waits.next().await {
                told?;
                ended += 1;
            }
            assert_eq!(ended, WAITS);
            Ok::<_, Canceled>(())
        })
        .await
        .unwrap();
    });
}

/// Waits for a slot are queued, and each leaves the queue from its own position.
#[test]
fn many_waiting_children_are_canceled_one_by_one() {
    const CHILDREN: usize = 50_000;
    run(async || {
        let began = Cell::new(0);
        group(async |g| {
            g.set_limit(1);
            let busy = g.spawn(pending::<()>());
            let child = async || {
                began.set(began.get() + 1);
                sleep(LONG).await
            };
            let waiting: Vec<_> = (0..CHILDREN).map(|_| g.spawn(child())).collect();
            assert_eq!(g.len(), CHILDREN + 1);
            for child in waiting.iter().rev() {
                child.cancel();
            }
            for child in waiting {
                child.await.unwrap_err();
            }
            assert_eq!((g.len(), began.get()), (1, CHILDREN));
            let last = g.spawn(async { Ok(5) });
            busy.cancel();
            busy.await.unwrap_err();
            assert_eq!(last.await, Ok(5));
            Ok::<_, Canceled>(())
        })
        .await
        .unwrap();
    });
}
