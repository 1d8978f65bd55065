//! Helpers shared by the tests: counts that must return to a baseline, buffers watched after they are freed, futures
//! dropped at a chosen poll, seeded random numbers, and child processes of the test program.

#![allow(
    dead_code,
    unused_macros,
    reason = "each test program uses only some of these helpers"
)]

#[macro_use]
pub(crate) mod skip;

use gimmal::buf::{IoBuf, IoBufMut};
use gimmal::runtime::{Builder, FeatureMask, Stats};
use gimmal::{Handle, Runtime, yield_now};
use socket2::{SockAddr, SockAddrStorage};
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::path::Path;
use std::process::{Command, Output};
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;

/// The maximum number of turns that a runtime may take to return to its baseline. Kernel workers need time, and a turn
/// that finds nothing to do takes only a microsecond.
const TURNS_MAX: usize = 10_000_000;

/// Serializes the tests that count the descriptors of the process.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A temporary directory on a real disk.
pub(crate) fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .expect("a directory under the target directory")
}

/// The address of a socket in the directory whose path has the maximum length, and so no terminating nul byte. `None` if
/// the directory's path leaves no room.
pub(crate) fn longest_path(directory: &Path) -> Option<SockAddr> {
    let mut path = format!("{}/", directory.display());
    let room = 108_usize.checked_sub(path.len());
    path.push_str(&"x".repeat(room.filter(|room| *room > 0)?));
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: the storage is large enough for any address, and a Unix socket address is written to it.
    let address: &mut libc::sockaddr_un = unsafe { storage.view_as() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    for (place, byte) in address.sun_path.iter_mut().zip(path.bytes()) {
        *place = byte as libc::c_char;
    }
    let len = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    // SAFETY: a family and a path of this length were written above.
    Some(unsafe { SockAddr::new(storage, len) })
}

/// The kernels that the tests of files emulate, each with rings of the default and of the smallest size.
pub(crate) fn rings() -> Vec<(String, Builder)> {
    let masks = [
        ("all", FeatureMask::none()),
        ("6.1", FeatureMask::linux_6_1()),
        ("5.15", FeatureMask::linux_5_15()),
    ];
    let by_ring = Runtime::builder().mask(FeatureMask::none().without_attempts());
    let mut rings = vec![("all, without direct calls".to_owned(), by_ring)];
    for (name, mask) in masks {
        let builder = || Runtime::builder().mask(mask);
        rings.push((format!("{name}, 256/4096"), builder()));
        rings.push((
            format!("{name}, 4/8"),
            builder().entries(4).completion_entries(8),
        ));
    }
    rings
}

/// The number of open descriptors of this process, including the one that counts them.
pub(crate) fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc").count()
}

/// What a runtime must have released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    tasks: usize,
    task_rows: usize,
    scopes: usize,
    waits: usize,
    operations: usize,
    orphans: usize,
    operation_rows: usize,
    timers: usize,
}

impl From<Stats> for Counts {
    fn from(stats: Stats) -> Counts {
        Counts {
            tasks: stats.tasks,
            task_rows: stats.task_rows,
            scopes: stats.scopes,
            waits: stats.waits,
            operations: stats.operations,
            orphans: stats.orphans,
            operation_rows: stats.operation_rows,
            timers: stats.timers,
        }
    }
}

/// The state of the runtime and the process before a test.
#[derive(Debug)]
pub(crate) struct Baseline {
    counts: Counts,
    descriptors: usize,
    buffers: usize,
}

impl Baseline {
    /// Records the state of the current runtime and of this process.
    pub(crate) fn take() -> Baseline {
        Baseline {
            counts: Handle::current().stats().into(),
            descriptors: descriptors(),
            buffers: Watched::alive(),
        }
    }

    /// The number of descriptors that were open.
    pub(crate) fn descriptors(&self) -> usize {
        self.descriptors
    }

    /// Lets the runtime turn until its tables are back at the baseline.
    pub(crate) async fn operations_return(&self, after: &str) {
        let handle = Handle::current();
        let mut turns = 0;
        loop {
            let counts = Counts::from(handle.stats());
            if counts == self.counts {
                return;
            }
            turns += 1;
            assert!(
                turns < TURNS_MAX,
                "after {after}: {counts:?} did not return to {:?}: {:?}",
                self.counts,
                handle.operations()
            );
            yield_now().await;
        }
    }

    /// Lets the runtime turn until it is back at the baseline, and checks descriptors and buffers.
    #[track_caller]
    pub(crate) fn returns(&self, after: &str) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            self.operations_return(after).await;
            // A name lookup that is no longer awaited may still hold a descriptor on its thread.
            for _ in 0..2000 {
                if descriptors() == self.descriptors {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            assert_eq!(
                descriptors(),
                self.descriptors,
                "{caller}: descriptors after {after}"
            );
            assert_eq!(
                Watched::alive(),
                self.buffers,
                "{caller}: buffers after {after}"
            );
            Watched::check(after);
        }
    }
}

/// Completes in a later turn: by then, what was ready has been polled, and what it queued has been submitted to the
/// kernel. (A task that yields may be polled again in the same turn, and a turn may run out of time before it has
/// polled the other tasks.)
pub(crate) async fn next_turn() {
    // A task that was already woken is polled before those that became ready later.
    yield_now().await;
    let handle = Handle::current();
    let later = handle.stats().turns + 2;
    while handle.stats().turns < later {
        yield_now().await;
    }
}

/// When to drop a future after its last poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Right after the poll.
    AtOnce,
    /// After this number of turns, whether or not it was woken.
    Turns(usize),
    /// After it was woken, without another poll. Only for futures that are sure to be woken.
    Woken,
}

pub(crate) const MOMENTS: [Moment; 4] = [
    Moment::AtOnce,
    Moment::Turns(1),
    Moment::Turns(3),
    Moment::Woken,
];

/// Polls a future up to `polls` times, each time after a wake, then drops it. Returns its output if it became ready.
pub(crate) async fn dropped_after<F: Future>(
    future: F,
    polls: usize,
    moment: Moment,
) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let mut polled = 0;
    let output = poll_fn(|context| {
        if polled == polls {
            return Poll::Ready(None);
        }
        polled += 1;
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if polled == polls && moment != Moment::Woken => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    if output.is_none()
        && let Moment::Turns(turns) = moment
    {
        for _ in 0..turns {
            next_turn().await;
        }
    }
    drop(future);
    output
}

/// Drops a future after 0 polls, 1 poll and so on until it completes, at each of these moments, and checks that all
/// counts return to the baseline each time. Returns the number of polls that the future needs.
pub(crate) async fn dropped_everywhere<F: Future>(
    name: &str,
    moments: &[Moment],
    mut make: impl FnMut() -> F,
) -> usize {
    let baseline = Baseline::take();
    let mut most = 0;
    for moment in moments {
        let mut polls = 0;
        loop {
            let output = dropped_after(make(), polls, *moment).await;
            let ended = output.is_some();
            drop(output);
            let after = format!("{name}, dropped after {polls} polls, {moment:?}");
            baseline.returns(&after).await;
            if ended {
                break;
            }
            polls += 1;
            assert!(polls < 100_000, "{name} never completes");
        }
        most = most.max(polls);
    }
    most
}

/// A buffer that fills its memory with a canary when it is dropped, and keeps the memory, so that later reads and
/// writes are detected.
#[derive(Debug)]
pub(crate) struct Watched {
    start: NonNull<u8>,
    layout: Layout,
    len: usize,
    /// The only byte that may have been written into the buffer.
    expected: Option<u8>,
}

/// A byte that no test writes.
pub(crate) const CANARY: u8 = 0xC5;
const FRESH: u8 = 0x11;
const PAGE: [u8; 4096] = [CANARY; 4096];

/// The memory of a dropped buffer, kept while it is watched.
struct Freed {
    start: NonNull<u8>,
    layout: Layout,
}

impl Freed {
    fn is_untouched(&self) -> bool {
        // SAFETY: the memory was initialized and is kept.
        let bytes = unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.layout.size()) };
        bytes
            .chunks(PAGE.len())
            .all(|part| part == &PAGE[..part.len()])
    }
}

impl Drop for Freed {
    fn drop(&mut self) {
        // SAFETY: the buffer allocated the memory with this layout and passed it to this value alone.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}

thread_local! {
    static ALIVE: Cell<usize> = const { Cell::new(0) };
    static FREED: RefCell<Vec<Freed>> = const { RefCell::new(Vec::new()) };
    static STRANGE: RefCell<Option<String>> = const { RefCell::new(None) };
}

impl Watched {
    /// An empty buffer.
    pub(crate) fn new(capacity: usize, alignment: usize) -> Watched {
        let layout = Layout::from_size_align(capacity, alignment).expect("a layout");
        assert!(capacity > 0);
        // SAFETY: the size is not zero.
        let start = unsafe { alloc(layout) };
        let Some(start) = NonNull::new(start) else {
            handle_alloc_error(layout)
        };
        // SAFETY: `capacity` bytes were just allocated.
        unsafe { start.write_bytes(FRESH, capacity) };
        ALIVE.with(|alive| alive.set(alive.get() + 1));
        Watched {
            start,
            layout,
            len: 0,
            expected: None,
        }
    }

    /// A buffer full of `byte`.
    pub(crate) fn full(byte: u8, capacity: usize, alignment: usize) -> Watched {
        assert_ne!(byte, CANARY);
        let mut buf = Watched::new(capacity, alignment);
        // SAFETY: `capacity` bytes are allocated.
        unsafe { buf.start.write_bytes(byte, capacity) };
        buf.len = capacity;
        buf
    }

    /// Declares the only byte that may be written into the buffer.
    pub(crate) fn expecting(mut self, byte: u8) -> Watched {
        self.expected = Some(byte);
        self
    }

    /// The number of buffers of this thread that have not been dropped.
    pub(crate) fn alive() -> usize {
        ALIVE.with(Cell::get)
    }

    /// Checks that freed memory is untouched, and that no dropped buffer held an unexpected byte.
    #[track_caller]
    pub(crate) fn check(after: &str) {
        FREED.with_borrow(|freed| {
            assert!(
                freed.iter().all(Freed::is_untouched),
                "freed memory was written to, found after {after}"
            );
        });
        if let Some(strange) = STRANGE.take() {
            panic!("{strange}, found after {after}");
        }
    }

    /// Checks, and frees the memory that was kept.
    #[track_caller]
    pub(crate) fn check_and_forget(after: &str) {
        Watched::check(after);
        drop(FREED.take());
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // SAFETY: `new` initialized all of the memory, which belongs to this value.
        let bytes =
            unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.layout.size()) };
        if let Some(expected) = self.expected
            && let Some(byte) = bytes.iter().find(|byte| ![FRESH, expected].contains(byte))
        {
            let what = format!("a buffer for {expected:#x} contains {byte:#x}");
            let _ = STRANGE.try_with(|strange| strange.replace(Some(what)));
        }
        bytes.fill(CANARY);
        let _ = ALIVE.try_with(|alive| alive.set(alive.get() - 1));
        let freed = Freed {
            start: self.start,
            layout: self.layout,
        };
        // While the thread exits, nothing can watch the memory any longer, so it is freed.
        let _ = FREED.try_with(|kept| kept.borrow_mut().push(freed));
    }
}

// SAFETY: L1, L2: nothing frees the allocation while the value exists or is forgotten. L3: all of it is initialized.
unsafe impl IoBuf for Watched {
    fn io_ptr(&self) -> *const u8 {
        self.start.as_ptr()
    }

    fn io_len(&self) -> usize {
        self.len
    }
}

// SAFETY: L4, L5: the allocation belongs to this value alone. L6: only a number is stored.
unsafe impl IoBufMut for Watched {
    fn io_mut_ptr(&mut self) -> *mut u8 {
        self.start.as_ptr()
    }

    fn io_capacity(&self) -> usize {
        self.layout.size()
    }

    unsafe fn set_io_len(&mut self, n: usize) {
        self.len = n;
    }
}

/// A reproducible source of random numbers: set `GIMMAL_SEED` to the seed that a failure printed.
#[derive(Debug)]
pub(crate) struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    pub(crate) fn new() -> Random {
        let seed = match std::env::var("GIMMAL_SEED") {
            Ok(seed) => seed.parse().expect("GIMMAL_SEED is a number"),
            Err(_) => {
                let now = std::time::SystemTime::UNIX_EPOCH
                    .elapsed()
                    .expect("a clock");
                now.as_nanos() as u64
            }
        };
        Random { seed, state: seed }
    }

    /// A separate source for a task, derived from this one.
    pub(crate) fn fork(&mut self) -> Random {
        Random {
            seed: self.seed,
            state: self.next(),
        }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

impl Drop for Random {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("run again with GIMMAL_SEED={}", self.seed);
        }
    }
}

/// Sets the soft limit of descriptors, and returns the previous limit.
pub(crate) fn limit_descriptors(soft: u64) -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a valid `rlimit`, which is only written during the call.
    let got = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    let before = std::mem::replace(&mut limit.rlim_cur, soft);
    // SAFETY: the pointer is to a valid `rlimit`, which is only read during the call.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!((got, set), (0, 0));
    before
}

pub(crate) const CHILD: &str = "GIMMAL_TEST_CHILD";

/// Whether this process was started by [`child`].
pub(crate) fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// A command that runs this one test again in a child process, under `wrapper` unless that is empty.
pub(crate) fn child(test: &str, wrapper: &[&str]) -> Command {
    let program = std::env::current_exe().expect("the test's own program");
    let mut command = match wrapper {
        [] => Command::new(&program),
        [wrapper, arguments @ ..] => {
            let mut command = Command::new(wrapper);
            command.args(arguments).arg(&program);
            command
        }
    };
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]);
    command.env(CHILD, "1");
    command
}

/// Like [`passes_in_child`], but for a test that leaks on purpose, with leak checking off.
#[track_caller]
pub(crate) fn passes_in_child_that_leaks(test: &str) {
    let output = without_leak_checker(&mut child(test, &[]))
        .output()
        .expect("a child");
    assert_passed(test, &output);
}

/// Turns leak checking off. Needed also for a traced process, since the leak checker does not work under a tracer.
pub(crate) fn without_leak_checker(command: &mut Command) -> &mut Command {
    command.env("ASAN_OPTIONS", "detect_leaks=0")
}

/// Runs this one test again in a child process, and checks that it passes.
#[track_caller]
pub(crate) fn passes_in_child(test: &str) {
    let output = child(test, &[]).output().expect("a child");
    assert_passed(test, &output);
}

#[track_caller]
pub(crate) fn assert_passed(test: &str, output: &Output) {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success() && out.contains("1 passed"),
        "{test} in a child: {}\n{out}\n{err}",
        output.status
    );
    skip::relay(&err);
}
