//! Wakers can be used anywhere: on other threads, after their task ended, after their runtime ended.

use common::{Random, counted, everywhere};
use gimmal::{Handle, Runtime, sleep, spawn, yield_now};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

/// A flag that one thread sets and a task waits for.
#[derive(Default)]
struct Latch {
    open: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Latch {
    fn open(&self) {
        self.open.store(true, Ordering::SeqCst);
        let waker = self.waker.lock().unwrap().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    async fn wait(self: Arc<Latch>) {
        poll_fn(|context| {
            *self.waker.lock().unwrap() = Some(context.waker().clone());
            match self.open.load(Ordering::SeqCst) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }
}

/// Returns the current task's waker.
async fn own_waker() -> Waker {
    poll_fn(|context| Poll::Ready(context.waker().clone())).await
}

#[test]
fn a_waker_is_harmless_after_its_task_and_after_its_runtime() {
    everywhere(|builder| {
        let mut runtime = builder.clone().build().unwrap();
        let (waker, polls) = runtime.block_on(async {
            let waker = spawn(own_waker()).await.unwrap();
            // The old wake ID does not wake the task that reuses the row.
            let polls = Rc::new(Cell::new(0));
            drop(spawn(counted(&polls, std::future::pending::<()>())));
            yield_now().await;
            waker.wake_by_ref();
            let other = waker.clone();
            thread::spawn(move || {
                other.wake_by_ref();
                drop(other);
            })
            .join()
            .unwrap();
            gimmal::op::nop().await.unwrap();
            gimmal::op::nop().await.unwrap();
            (waker, polls)
        });
        assert_eq!(polls.get(), 1);
        drop(runtime);
        waker.wake_by_ref();
        let other = waker.clone();
        thread::spawn(move || other.wake()).join().unwrap();
        // The next runtime reuses the number. The old wake ID wakes none of its tasks, or only spuriously.
        let mut next = builder.build().unwrap();
        next.block_on(async {
            waker.wake_by_ref();
            drop(waker);
            spawn(yield_now()).await.unwrap();
        });
    });
}

#[test]
fn a_wake_from_outside_block_on_takes_effect() {
    everywhere(|builder| {
        let mut runtime = builder.build().unwrap();
        let (polls, kept) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(None)));
        let keep = kept.clone();
        let handle = runtime.spawn(counted(
            &polls,
            poll_fn(move |context| {
                let again = keep.borrow().is_some();
                keep.replace(Some(context.waker().clone()));
                if again {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            }),
        ));
        runtime.block_on(yield_now());
        assert_eq!(polls.get(), 1);
        let waker: Waker = kept.take().unwrap();
        kept.replace(Some(Waker::noop().clone()));
        waker.wake();
        runtime.block_on(handle).unwrap();
        assert_eq!(polls.get(), 2);
    });
}

/// Hangs if a single wake in all these rounds is missed.
#[test]
fn a_sleeping_runtime_is_woken_by_another_thread() {
    const ROUNDS: usize = 5_000;
    everywhere(|builder| {
        let (ask, asked) = mpsc::channel::<Arc<Latch>>();
        let opener = thread::spawn(move || {
            let mut opened = 0;
            for latch in asked {
                // Sometimes late, so that the runtime surely sleeps; mostly at once, while the runtime is about to
                // sleep.
                if opened % 64 == 0 {
                    thread::sleep(Duration::from_micros(200));
                }
                latch.open();
                opened += 1;
            }
            opened
        });
        builder.build().unwrap().block_on(async {
            for _ in 0..ROUNDS {
                let latch = Arc::new(Latch::default());
                ask.send(latch.clone()).unwrap();
                latch.wait().await;
            }
        });
        drop(ask);
        assert_eq!(opener.join().unwrap(), ROUNDS);
    });
}

/// 10⁵ joins of tasks that other threads release.
#[test]
fn a_hundred_thousand_joins_across_threads() {
    const TASKS: usize = 100_000;
    const THREADS: usize = 4;
    const BATCH: usize = 2_000;
    let senders: Vec<_> = (0..THREADS)
        .map(|_| {
            let (sender, latches) = mpsc::channel::<Arc<Latch>>();
            let opener = thread::spawn(move || {
                for latch in latches {
                    latch.open();
                }
            });
            (sender, opener)
        })
        .collect();
    Runtime::new().unwrap().block_on(async {
        let mut joined = 0;
        while joined < TASKS {
            let handles: Vec<_> = (0..BATCH)
                .map(|n| {
                    let sender = senders[n % THREADS].0.clone();
                    spawn(async move {
                        let latch = Arc::new(Latch::default());
                        sender.send(latch.clone()).unwrap();
                        latch.wait().await;
                        n
                    })
                })
                .collect();
            for (n, handle) in handles.into_iter().enumerate() {
                assert_eq!(handle.await.unwrap(), n);
                joined += 1;
            }
        }
        assert_eq!(Handle::current().stats().task_rows, 1);
    });
    for (sender, opener) in senders {
        drop(sender);
        opener.join().unwrap();
    }
}

#[test]
fn a_channel_of_another_crate_feeds_tasks_from_threads() {
    const EACH: u64 = 5_000;
    everywhere(|builder| {
        let (sender, receiver) = async_channel::bounded::<u64>(8);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let sender = sender.clone();
                thread::spawn(move || {
                    for n in 0..EACH {
                        sender.send_blocking(n).unwrap();
                    }
                })
            })
            .collect();
        drop(sender);
        let sum = builder.build().unwrap().block_on(async {
            let tasks: Vec<_> = (0..8)
                .map(|_| {
                    let receiver = receiver.clone();
                    spawn(async move {
                        let mut sum = 0;
                        while let Ok(n) = receiver.recv().await {
                            sum += n;
                        }
                        sum
                    })
                })
                .collect();
            let mut sum = 0;
            for task in tasks {
                sum += task.await.unwrap();
            }
            sum
        });
        assert_eq!(sum, 4 * EACH * (EACH - 1) / 2);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// Eight threads wake and drop wakers while tasks end and runtimes are dropped.
#[test]
fn eight_threads_wake_while_tasks_end_and_runtimes_are_dropped() {
    const ROUNDS: usize = 60;
    let shared: Arc<Mutex<Vec<Waker>>> = Arc::default();
    let (stop, wakes) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let mut random = Random::new();
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (shared, stop, wakes) = (shared.clone(), stop.clone(), wakes.clone());
            let mut pick = random.next() | 1;
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    pick = pick
                        .wrapping_mul(6364136223846793005)
                        .wrapping_add(1442695040888963407);
                    let waker = {
                        let mut shared = shared.lock().unwrap();
                        let len = shared.len();
                        match (len, pick % 5) {
                            (0, _) => None,
                            (_, 0) => Some(shared.swap_remove((pick >> 33) as usize % len)),
                            _ => Some(shared[(pick >> 33) as usize % len].clone()),
                        }
                    };
                    match waker {
                        None => thread::yield_now(),
                        Some(waker) if pick & 64 == 0 => waker.wake(),
                        Some(waker) => {
                            waker.wake_by_ref();
                            drop(waker);
                        }
                    }
                    wakes.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for round in 0..ROUNDS {
        let mut runtime = Runtime::builder().entries(16).build().unwrap();
        runtime.block_on(async {
            let tasks: Vec<_> = (0..50)
                .map(|_| {
                    let (shared, steps) = (shared.clone(), random.below(20));
                    spawn(async move {
                        for _ in 0..steps {
                            let waker = own_waker().await;
                            shared.lock().unwrap().push(waker);
                            yield_now().await;
                        }
                        // Ready at the second poll, whatever caused it.
                        let mut first = true;
                        poll_fn(|context| {
                            if std::mem::take(&mut first) {
                                shared.lock().unwrap().push(context.waker().clone());
                                return Poll::Pending;
                            }
                            Poll::Ready(())
                        })
                        .await;
                    })
                })
                .collect();
            // Half of the runtimes are dropped while their tasks wait; in the other half, the threads must wake all
            // tasks.
            if round % 2 == 0 {
                for task in tasks {
                    // A thread may have dropped the only waker of that task; an abort then wakes it.
                    let mut task = task;
                    let given_up =
                        futures_util::future::select(&mut task, sleep(Duration::from_millis(5)))
                            .await;
                    if let futures_util::future::Either::Right(_) = given_up {
                        task.abort();
                        let _ = task.await;
                    }
                }
            } else {
                yield_now().await;
            }
        });
        drop(runtime);
        let mut shared = shared.lock().unwrap();
        if shared.len() > 2_000 {
            shared.drain(..1_000);
        }
    }
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
    assert!(wakes.load(Ordering::Relaxed) > 0);
}

#[test]
fn an_overflowing_inbox_wakes_every_task_once() {
    const TASKS: usize = 100;
    /// More wake IDs than an inbox holds.
    const WAKES: usize = (1 << 14) + 10;
    everywhere(|builder| {
        let mut runtime = builder.build().unwrap();
        let polls: Vec<_> = (0..TASKS).map(|_| Rc::new(Cell::new(0))).collect();
        runtime.block_on(async {
            let first = Rc::new(RefCell::new(None));
            for polls in &polls {
                let first = first.clone();
                drop(spawn(counted(
                    polls,
                    poll_fn(move |context| -> Poll<()> {
                        first
                            .borrow_mut()
                            .get_or_insert_with(|| context.waker().clone());
                        Poll::Pending
                    }),
                )));
            }
            yield_now().await;
            assert!(polls.iter().all(|polls| polls.get() == 1));
            let waker = first.take().unwrap();
            first.replace(Some(Waker::noop().clone()));
            thread::spawn(move || {
                for _ in 0..WAKES {
                    waker.wake_by_ref();
                }
            })
            .join()
            .unwrap();
            // Wakes from other threads are taken after a turn has polled its tasks.
            gimmal::op::nop().await.unwrap();
            gimmal::op::nop().await.unwrap();
            let counts: Vec<u32> = polls.iter().map(|polls| polls.get()).collect();
            assert_eq!(counts, [2; TASKS]);
        });
    });
}

#[test]
fn an_inbox_that_overflows_while_the_runtime_sleeps_loses_no_wake() {
    everywhere(|builder| {
        let latches: Vec<Arc<Latch>> = (0..20_000).map(|_| Arc::default()).collect();
        let opener = {
            let latches = latches.clone();
            let (go, gone) = mpsc::channel::<()>();
            let thread = thread::spawn(move || {
                gone.recv().unwrap();
                for latch in latches {
                    latch.open();
                }
            });
            (go, thread)
        };
        builder.build().unwrap().block_on(async {
            let tasks: Vec<_> = latches
                .iter()
                .map(|latch| spawn(latch.clone().wait()))
                .collect();
            // Tasks that have not checked their latch yet will find it open; the rest are woken.
            for _ in 0..20 {
                yield_now().await;
            }
            opener.0.send(()).unwrap();
            for task in tasks {
                task.await.unwrap();
            }
        });
        opener.1.join().unwrap();
    });
}

/// Two runtimes on two threads, each of which wakes the other one's task.
#[test]
fn two_runtimes_wake_each_other() {
    const ROUNDS: u32 = 5_000;
    let (to_a, at_a) = async_channel::bounded::<u32>(1);
    let (to_b, at_b) = async_channel::bounded::<u32>(1);
    let other = thread::spawn(move || {
        Runtime::new().unwrap().block_on(async {
            while let Ok(n) = at_b.recv().await {
                if to_a.send(n + 1).await.is_err() {
                    break;
                }
            }
        });
    });
    let end = Runtime::new().unwrap().block_on(async {
        let mut n = 0;
        for _ in 0..ROUNDS {
            to_b.send(n).await.unwrap();
            n = at_a.recv().await.unwrap();
        }
        n
    });
    drop((to_b, at_a));
    other.join().unwrap();
    assert_eq!(end, ROUNDS);
}

/// The opposite of C14: aborts while other threads wake the same tasks.
#[test]
fn every_join_resolves_despite_concurrent_aborts_and_wakes() {
    everywhere(|builder| {
        let (send, wakers) = mpsc::channel::<Waker>();
        let waking = thread::spawn(move || {
            for waker in wakers {
                waker.wake_by_ref();
                waker.wake();
            }
        });
        builder.build().unwrap().block_on(async {
            for n in 0..3_000 {
                let send = send.clone();
                let task = spawn(async move {
                    let mut left = 3;
                    poll_fn(|context| {
                        send.send(context.waker().clone()).unwrap();
                        left -= 1;
                        if left == 0 {
                            Poll::Ready(())
                        } else {
                            Poll::Pending
                        }
                    })
                    .await;
                });
                for _ in 0..n % 4 {
                    yield_now().await;
                }
                if n % 3 == 0 {
                    task.abort();
                }
                match task.await {
                    Ok(()) => {}
                    Err(error) => assert!(n % 3 == 0 && error.is_aborted()),
                }
            }
            drop(send);
        });
        waking.join().unwrap();
    });
}
