//! Time by three clocks, and bytes on the heap.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ops::Sub;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

/// What a piece of work took, or the clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// By the clock on the wall.
    pub wall: Duration,
    /// Of the processor, by this thread.
    pub thread: Duration,
    /// Of the processor, by all threads of the process, the kernel's workers among them.
    pub process: Duration,
}

impl Times {
    /// The clocks, now.
    pub fn now() -> Times {
        Times {
            process: read(libc::CLOCK_PROCESS_CPUTIME_ID),
            thread: read(libc::CLOCK_THREAD_CPUTIME_ID),
            wall: read(libc::CLOCK_MONOTONIC),
        }
    }

    /// What this work takes.
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

/// The clock on the wall.
pub fn wall(times: &Times) -> Duration {
    times.wall
}

/// The processor's time of this thread.
pub fn thread(times: &Times) -> Duration {
    times.thread
}

/// The processor's time of the process.
pub fn process(times: &Times) -> Duration {
    times.process
}

fn read(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is valid for writing for the length of the call, and nothing keeps its address.
    let failed = unsafe { libc::clock_gettime(clock, &mut time) } != 0;
    assert!(
        !failed,
        "clock_gettime: {}",
        std::io::Error::last_os_error()
    );
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The allocator of the system, which counts the bytes asked for while it is told to. Otherwise it costs one load.
#[derive(Debug)]
pub struct Counting;

static COUNTS: AtomicBool = AtomicBool::new(false);
static LIVE: AtomicI64 = AtomicI64::new(0);
static PEAK: AtomicI64 = AtomicI64::new(0);

impl Counting {
    /// Begins to count, from zero.
    pub fn start() {
        LIVE.store(0, Ordering::Relaxed);
        PEAK.store(0, Ordering::Relaxed);
        COUNTS.store(true, Ordering::Relaxed);
    }

    /// Ends counting, and gives the most bytes that there were at once since [`start`](Counting::start).
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

// SAFETY: every call goes to the allocator of the system as it came; counting touches atomics only.
unsafe impl GlobalAlloc for Counting {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
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
