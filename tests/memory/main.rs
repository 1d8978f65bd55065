//! Peak load leaves little memory behind, and repeated peaks do not allocate the tables again.
//!
//! The allocator counts for the whole program, so the tests run one after another.

#![expect(clippy::unwrap_used, reason = "a test fails on an unexpected error")]

use gimmal::{Runtime, join_all, op, sleep, spawn, yield_now};
use std::alloc::{GlobalAlloc, Layout, System};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Only chunks of tables and the vectors of a large number of tasks are allocations of this size or more.
const LARGE: usize = 100 << 10;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static LARGE_MADE: AtomicUsize = AtomicUsize::new(0);
static ALONE: Mutex<()> = Mutex::new(());

struct Counting;

// SAFETY: the system allocator, plus two counters.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        LARGE_MADE.fetch_add(usize::from(layout.size() >= LARGE), Ordering::Relaxed);
        // SAFETY: the caller upholds the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller upholds the contract.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const CROWD: u64 = 50_000;

/// The memory that the tables may keep: one chunk of each.
const KEPT: usize = 2 << 20;

/// Runs a peak load in a runtime that keeps running, then sleeps until the memory is returned.
fn returns_memory(what: &str, peak: impl AsyncFn()) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let before = LIVE.load(Ordering::Relaxed);
        let left = || LIVE.load(Ordering::Relaxed).saturating_sub(before);
        for _ in 0..2 {
            peak().await;
            for _ in 0..10_000 {
                if left() <= KEPT {
                    break;
                }
                sleep(Duration::from_millis(1)).await.unwrap();
                yield_now().await;
            }
            assert!(left() <= KEPT, "{what}: {} bytes", left());
        }
    });
}

async fn all_of<F: Future<Output: 'static> + 'static>(future: impl Fn(u64) -> F) {
    let tasks: Vec<_> = (0..CROWD).map(|n| spawn(future(n))).collect();
    for task in tasks {
        let _output = task.await.unwrap();
    }
}

#[test]
fn memory_of_many_tasks_is_returned() {
    returns_memory("tasks", async || all_of(async |_| yield_now().await).await);
}

/// The sleepers end in another order than they started.
#[test]
fn memory_of_many_sleepers_is_returned() {
    let nap = async |n: u64| sleep(Duration::from_micros(n * 7919 % 50_000)).await;
    returns_memory("sleeps", async || all_of(nap).await);
}

#[test]
fn memory_of_many_operations_is_returned() {
    returns_memory("operations", async || {
        all_of(async |_| op::nop().await.unwrap()).await;
    });
}

#[test]
fn memory_of_many_scopes_is_returned() {
    returns_memory("scopes", async || {
        all_of(async |n| {
            let nap = sleep(Duration::from_micros(n % 1000));
            gimmal::timeout(Duration::from_secs(60), nap).await.unwrap();
        })
        .await;
    });
}

/// All leaves belong to one scope that stays open.
#[test]
fn memory_of_many_leaves_is_returned() {
    returns_memory("leaves", async || {
        let naps = (0..CROWD).map(|n| sleep(Duration::from_micros(n % 1000)));
        join_all(naps).await;
        // Finished leaves are removed as new ones are added.
        for _ in 0..CROWD {
            gimmal::join((yield_now(), async { op::nop().await.unwrap() })).await;
        }
    });
}

/// The group stays open, like that of a server.
#[test]
fn memory_of_many_children_is_returned_while_their_group_runs() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    Runtime::new().unwrap().block_on(async {
        gimmal::supervise(async |s| {
            let before = LIVE.load(Ordering::Relaxed);
            let left = || LIVE.load(Ordering::Relaxed).saturating_sub(before);
            for n in 0..CROWD {
                drop(s.spawn(async move {
                    let _slept = sleep(Duration::from_micros(n * 7919 % 50_000)).await;
                }));
            }
            while !s.is_empty() {
                sleep(Duration::from_millis(1)).await?;
            }
            for _ in 0..10_000 {
                if left() <= KEPT {
                    break;
                }
                yield_now().await;
            }
            assert!(left() <= KEPT, "{} bytes", left());
            Ok::<_, io::Error>(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn repeated_peaks_do_not_allocate_the_tables_again() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // The tables shrink every few turns according to their peaks. Without a time budget, each round takes the same
    // turns.
    let builder = Runtime::builder().budget(256, Duration::from_secs(3600));
    builder.build().unwrap().block_on(async {
        let mut made = Vec::new();
        for _ in 0..6 {
            let before = LARGE_MADE.load(Ordering::Relaxed);
            let nap = async |n: u64| sleep(Duration::from_micros(n * 7919 % 5000)).await;
            all_of(nap).await;
            sleep(Duration::from_millis(5)).await.unwrap();
            made.push(LARGE_MADE.load(Ordering::Relaxed) - before);
        }
        // The vector of handles, and the memory of the timer wheel and the queues.
        let chunks = CROWD as usize / 4096;
        assert!(made[0] > 2 * chunks, "{made:?}");
        assert!(made[3..].iter().all(|made| *made < chunks), "{made:?}");
    });
}
