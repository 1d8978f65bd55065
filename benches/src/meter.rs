//! Measures time by three clocks, and bytes on the heap.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ops::Sub;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

/// The three clocks: at one moment, or how far they advanced during some work.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Wall-clock time.
    pub wall: Duration,
    /// CPU time of this thread.
    pub thread: Duration,
    /// CPU time of all threads of the process, including kernel workers.
    pub process: Duration,
}

impl Times {
    /// Reads the clocks.
    pub fn now() -> Times {
        Times {
            process: read(libc::CLOCK_PROCESS_CPUTIME_ID),
            thread: read(libc::CLOCK_THREAD_CPUTIME_ID),
            wall: read(libc::CLOCK_MONOTONIC),
        }
    }

    /// Measures some work.
    pub fn of(work: impl FnOnce()) -> Times {
        let before = Times::now();
        work();
        Times::now() - before
    }
}

impl Sub for Times {
    type Output = Times;

    fn sub(self, before: Times) -> Times {
        Times {
            wall: self.wall.saturating_sub(before.wall),
            thread: self.thread.saturating_sub(before.thread),
            process: self.process.saturating_sub(before.process),
        }
    }
}

/// Returns the wall-clock time.
pub fn wall(times: &Times) -> Duration {
    times.wall
}

/// Returns the CPU time of this thread.
pub fn thread(times: &Times) -> Duration {
    times.thread
}

/// Returns the CPU time of the process.
pub fn process(times: &Times) -> Duration {
    times.process
}

fn read(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is valid for writes during the call, and nothing keeps its address.
    let failed = unsafe { libc::clock_gettime(clock, &mut time) } != 0;
    assert!(
        !failed,
        "clock_gettime: {}",
        std::io::Error::last_os_error()
    );
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The system's allocator. Between [`start`](Counting::start) and [`stop`](Counting::stop) it counts the bytes that are
/// requested; otherwise it costs one load more.
#[derive(Debug)]
pub struct Counting;

static COUNTS: AtomicBool = AtomicBool::new(false);
static LIVE: AtomicI64 = AtomicI64::new(0);
static PEAK: AtomicI64 = AtomicI64::new(0);

impl Counting {
    /// Starts counting from zero.
    pub fn start() {
        LIVE.store(0, Ordering::Relaxed);
        PEAK.store(0, Ordering::Relaxed);
        COUNTS.store(true, Ordering::Relaxed);
    }

    /// Stops counting, and returns the peak of the bytes allocated since [`start`](Counting::start).
    pub fn stop() -> i64 {
        COUNTS.store(false, Ordering::Relaxed);
        PEAK.load(Ordering::Relaxed)
    }
}

#[inline]
fn count(bytes: i64) {
    if COUNTS.load(Ordering::Relaxed) {
        let live = LIVE.fetch_add(bytes, Ordering::Relaxed) + bytes;
        PEAK.fetch_max(live, Ordering::Relaxed);
    }
}

// SAFETY: every call is passed on unchanged to the system's allocator; counting only touches atomics.
unsafe impl GlobalAlloc for Counting {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller keeps the contract of `GlobalAlloc`, which is that of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: as in `alloc`.
        unsafe { System.dealloc(memory, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as i64 - layout.size() as i64);
        // SAFETY: as in `alloc`.
        unsafe { System.realloc(memory, layout, size) }
    }
}
