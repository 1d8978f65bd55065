//! What a peak leaves behind: nothing much, and peaks that repeat allocate their tables no more.
//!
//! The allocator of this file counts, so its tests run one after the other.

#![expect(
    clippy::unwrap_used,
    reason = "a test that meets an error fails where it stands"
)]

use gimmal::{Runtime, join_all, op, sleep, spawn, yield_now};
use std::alloc::{GlobalAlloc, Layout, System};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// From here on an allocation is a chunk of a table, or a vector of a crowd.
const LARGE: usize = 100 << 10;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static LARGE_MADE: AtomicUsize = AtomicUsize::new(0);
static ALONE: Mutex<()> = Mutex::new(());

struct Counting;

// SAFETY: it is the system's allocator, with two counters beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        LARGE_MADE.fetch_add(usize::from(layout.size() >= LARGE), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const CROWD: u64 = 50_000;

/// What the tables may keep: a chunk of each.
const KEPT: usize = 2 << 20;

/// Runs a peak in a runtime that goes on, and waits for the memory while it sleeps.
fn gives_back(what: &str, peak: impl AsyncFn()) {
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
fn a_crowd_of_tasks_leaves_its_memory() {
    gives_back("tasks", async || all_of(async |_| yield_now().await).await);
}

/// They end in another order than that in which they began.
#[test]
fn a_crowd_of_sleepers_leaves_its_memory() {
    let nap = async |n: u64| sleep(Duration::from_micros(n * 7919 % 50_000)).await;
    gives_back("sleeps", async || all_of(nap).await);
}

#[test]
fn a_crowd_of_operations_leaves_its_memory() {
    gives_back("operations", async || {
        all_of(async |_| op::nop().await.unwrap()).await;
    });
}

#[test]
fn a_crowd_in_scopes_leaves_its_memory() {
    gives_back("scopes", async || {
        all_of(async |n| {
            let nap = sleep(Duration::from_micros(n % 1000));
            gimmal::timeout(Duration::from_secs(60), nap).await.unwrap();
        })
        .await;
    });
}

/// All of them are leaves of one scope, which goes on.
#[test]
fn a_crowd_of_leaves_leaves_its_memory() {
    gives_back("leaves", async || {
        let naps = (0..CROWD).map(|n| sleep(Duration::from_micros(n % 1000)));
        join_all(naps).await;
        // What is gone goes with what comes.
        for _ in 0..CROWD {
            gimmal::join((yield_now(), async { op::nop().await.unwrap() })).await;
        }
    });
}

/// The group goes on, as that of a server does.
#[test]
fn a_crowd_of_children_leaves_its_memory_to_a_group_that_goes_on() {
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
fn peaks_that_repeat_allocate_their_tables_no_more() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // The tables look at their peaks every few turns, which are the same in each round if the clock ends none.
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
        // The vector of handles, and what the wheel and the queues have for a crowd.
        let chunks = CROWD as usize / 4096;
        assert!(made[0] > 2 * chunks, "{made:?}");
        assert!(made[3..].iter().all(|made| *made < chunks), "{made:?}");
    });
}
