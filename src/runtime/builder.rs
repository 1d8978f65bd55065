//! Builds a runtime and runs a future on it.

use super::core::Core;
use super::current::{self, Entered};
use super::fault::{Fault, Hook};
use super::handle::Handle;
use super::pool::THREADS_MAX;
use super::task::JoinHandle;
use super::turn::Scratch;
use crate::error::Canceled;
use crate::sys::{BufSizes, Caught, EventFd, FeatureMask, Ring, Sizes};
use crate::tasks::{Claim, Origin, RuntimeSlot};
use std::any::Any;
use std::io;
use std::panic::Location;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::task::{Context, Poll};
use std::time::Duration;

/// Entries of the submission queue: the most that one turn submits in one system call.
const ENTRIES: u32 = 256;
/// Entries of the completion queue. The kernel keeps completions that do not fit, at the cost of an allocation each.
const COMPLETION_ENTRIES: u32 = 4096;
/// Tasks polled in one turn.
const POLLS_PER_TURN: u32 = 256;
/// Time spent on polling in one turn.
const TIME_PER_TURN: Duration = Duration::from_millis(1);
/// How long tasks that are left at the end of `run` may take to clean up.
const GRACE: Duration = Duration::from_secs(5);
/// How long a shutdown waits for the kernel and for the pool.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// How long virtual time stands still, without any event, for something that waits for a peer.
const JUMP_THRESHOLD: Duration = Duration::from_millis(10);

/// Number and size of the provided buffers, which receives share that lend no buffer of their own. A buffer that is
/// never filled takes no memory, so large ones cost short messages nothing (64 B: 1.18 of a bare ring with 4 KiB as with
/// 16), and 16 KiB arrive in one completion instead of four: 4.2 µs instead of 5.4, both with 64 socket pairs. Bundles
/// of 4 KiB buffers took 4.1 µs in a bare ring, against 3.7 with single buffers of 16 KiB (measured on 6.18).
const RECEIVE_BUFFERS: (usize, usize) = (256, 16 << 10);

/// Makes Ctrl-C cancel the main future, until the returned guard is dropped.
type CatchInterrupts = fn(&Runtime) -> io::Result<Box<dyn Any>>;

/// Configures a runtime and builds it.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let mut runtime = gimmal::Runtime::builder().entries(64).completion_entries(256).build()?;
/// assert_eq!(runtime.block_on(async { "done" }), "done");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    pub(super) name: String,
    entries: u32,
    completion_entries: u32,
    pub(super) polls_per_turn: u32,
    pub(super) time_per_turn: Duration,
    pub(super) blocking_threads: usize,
    pub(super) grace: Duration,
    pub(super) shutdown: Duration,
    virtual_time: bool,
    pub(super) jump_threshold: Duration,
    receive_buffers: (usize, usize),
    /// Set by its address, so that only programs that ask for it contain the handling of signals.
    catch_interrupts: Option<CatchInterrupts>,
    mask: FeatureMask,
    pub(super) hook: Hook,
}

impl Builder {
    pub(super) fn new() -> Builder {
        Builder {
            name: "gimmal".to_owned(),
            entries: ENTRIES,
            completion_entries: COMPLETION_ENTRIES,
            polls_per_turn: POLLS_PER_TURN,
            time_per_turn: TIME_PER_TURN,
            blocking_threads: THREADS_MAX,
            grace: GRACE,
            shutdown: SHUTDOWN,
            virtual_time: false,
            jump_threshold: JUMP_THRESHOLD,
            receive_buffers: RECEIVE_BUFFERS,
            catch_interrupts: None,
            mask: FeatureMask::initial(),
            hook: Hook::default(),
        }
    }

    /// Sets the name of the runtime, `gimmal` by default. The threads of its blocking pool are named after it, with
    /// `-blocking` appended; Linux shows the first 15 bytes.
    ///
    /// # Panics
    ///
    /// If the name contains a zero byte.
    #[track_caller]
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.name = name.into();
        assert!(
            !self.name.contains('\0'),
            "the name of a runtime must not contain a zero byte"
        );
        self
    }

    /// Sets the size of the submission queue, 256 entries by default: the most requests that one system call submits. The
    /// kernel rounds up to a power of two and accepts at most 32768.
    pub fn entries(mut self, entries: u32) -> Builder {
        self.entries = entries;
        self
    }

    /// Sets the size of the completion queue, 4096 entries by default and never fewer than [`entries`](Builder::entries).
    /// Completions that do not fit are not lost, but cost the kernel an allocation each.
    pub fn completion_entries(mut self, entries: u32) -> Builder {
        self.completion_entries = entries;
        self
    }

    /// Sets how many tasks the event loop polls, and for how long, before it checks timers and completions again: 256 and
    /// 1 ms by default. A timer fires late by at most this time plus that of 32 polls.
    ///
    /// When polls are long, the event loop reads the clock more often. A task that yields (by
    /// [`yield_now`](crate::yield_now), [`checkpoint`](crate::cancel::checkpoint), or a sleep of zero), or that awaits
    /// one ready future after another, ends the pass when the time is up, by a clock that is only as precise as the
    /// kernel's tick (1 to 10 ms).
    pub fn budget(mut self, polls: u32, time: Duration) -> Builder {
        self.polls_per_turn = polls.max(1);
        self.time_per_turn = time;
        self
    }

    /// Sets the maximum number of threads in the blocking pool, 64 by default and at least 1.
    pub fn blocking_threads(mut self, threads: usize) -> Builder {
        self.blocking_threads = threads.max(1);
        self
    }

    /// Sets how long tasks that are left at the end of [`Builder::run`] may take to clean up once they are canceled: 5 s
    /// by default. Tasks that have not ended by then are dropped.
    pub fn grace_period(mut self, time: Duration) -> Builder {
        self.grace = time;
        self
    }

    /// Sets how long dropping the runtime waits for operations in flight and for blocking closures: 5 s by default. The
    /// memory of operations that are still in flight after that is leaked, and reported as a [`Fault`], as are closures
    /// still running.
    pub fn shutdown_timeout(mut self, time: Duration) -> Builder {
        self.shutdown = time;
        self
    }

    /// Sets the buffers that the [`chunks`](crate::net::TcpStream::chunks) of all streams share: their number, a power
    /// of two up to 32768, and the size of each in bytes. Default 256 × 16 KiB; only pages that are written use memory.
    /// The buffers are created for the first chunk, and a received chunk holds one until it is dropped.
    ///
    /// A receive never waits for a buffer: while all are held, each receive allocates one of this size. So a number that
    /// is too small only costs an extra allocation and an extra request to the kernel; a few are enough if few
    /// connections are busy at once. A receive requests at most 64 KiB, so larger buffers are of no use.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let builder = gimmal::Runtime::builder().receive_buffers(64, 16 << 10);
    /// # builder.build()?;
    /// # let builder = gimmal::Runtime::builder();
    /// let error = builder.receive_buffers(100, 4096).build().unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    /// # Ok(())
    /// # }
    /// ```
    pub fn receive_buffers(mut self, count: usize, size: usize) -> Builder {
        self.receive_buffers = (count, size);
        self
    }

    /// Makes [`Builder::run`] cancel its main future on Ctrl-C (SIGINT), as `asyncio.run` does: the future's waits end
    /// with [`Canceled`](crate::Canceled), and `run` then ends as usual. A second Ctrl-C drops whatever is still
    /// running. The [module `signal`](crate::signal) describes what happens to other handlers, and to SIGINT after
    /// `run`.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use std::time::Duration;
    ///
    /// let outcome: std::io::Result<()> = gimmal::Runtime::builder().cancel_on_ctrl_c(true).run(async {
    ///     // As if somebody pressed Ctrl-C.
    ///     let own = std::process::id().to_string();
    ///     std::process::Command::new("kill").args(["-INT", &own]).status()?;
    ///     gimmal::sleep(Duration::from_secs(3600)).await?;
    ///     Ok(())
    /// });
    /// assert!(gimmal::is_canceled(&outcome.unwrap_err()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn cancel_on_ctrl_c(mut self, cancel: bool) -> Builder {
        self.catch_interrupts = if cancel {
            Some(Runtime::catch_interrupts)
        } else {
            None
        };
        self
    }

    /// Gives the runtime a virtual clock, for tests: a sleep of an hour ends at once, and so does a test that takes an hour
    /// of timeouts. The module [`testing`](crate::testing) describes how it moves.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use std::time::Duration;
    ///
    /// gimmal::Runtime::builder().virtual_time().run(async {
    ///     let start = gimmal::time::Instant::now();
    ///     gimmal::sleep(Duration::from_secs(3600)).await?;
    ///     assert_eq!(start.elapsed(), Duration::from_secs(3600));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn virtual_time(mut self) -> Builder {
        self.virtual_time = true;
        self
    }

    /// Sets how long virtual time stands still for something that may never happen: a real time without any event, 10 ms
    /// by default, after which the clock jumps although an operation waits for a peer. Without
    /// [`virtual_time`](Builder::virtual_time) it means nothing.
    ///
    /// A longer one gives peers on other threads and in other processes more time to answer, and makes each jump past a
    /// pending receive take that long. Zero is enough if both ends of each connection are in the runtime.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use std::io::Write;
    /// use std::os::fd::OwnedFd;
    /// use std::time::Duration;
    ///
    /// let builder = gimmal::Runtime::builder().virtual_time();
    /// builder.jump_threshold(Duration::from_secs(10)).run(async {
    ///     let (reader, mut writer) = std::io::pipe()?;
    ///     let reader = gimmal::fs::File::from(OwnedFd::from(reader));
    ///     let thread = std::thread::spawn(move || writer.write_all(b"here"));
    ///     // The thread has ten real seconds.
    ///     let (n, _) = reader.read(vec![0; 16]).timeout(Duration::from_millis(1)).await?;
    ///     assert_eq!(n, 4);
    /// #     thread.join().unwrap()?;
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn jump_threshold(mut self, time: Duration) -> Builder {
        self.jump_threshold = time;
        self
    }

    /// Returns the threshold, if time is virtual.
    pub(super) fn jumps_after(&self) -> Option<Duration> {
        self.virtual_time.then_some(self.jump_threshold)
    }

    /// Hides kernel features from the runtime, for tests.
    pub fn mask(mut self, mask: FeatureMask) -> Builder {
        self.mask = mask;
        self
    }

    /// Sets the callback for faults that no caller awaits: a panic of a task that is not joined, a panic in a destructor,
    /// memory that had to be leaked. By default each is logged through the `log` crate at level `error`. Threads of the
    /// blocking pool call the callback too.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let runtime = gimmal::Runtime::builder()
    ///     .on_fault(|fault| eprintln!("gimmal: {fault}"))
    ///     .build()?;
    /// # drop(runtime);
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_fault(mut self, hook: impl Fn(&Fault) + Send + Sync + 'static) -> Builder {
        self.hook = Hook::new(hook);
        self
    }

    /// Builds the runtime on this thread, the only one that can use it.
    ///
    /// # Errors
    ///
    /// If the kernel refuses to create a ring: io_uring is disabled or forbidden (`EPERM`), not built in (`ENOSYS`), or
    /// over a limit (`ENOMEM`, `EMFILE`). The error names the cause, the setting or limit with its value, and the
    /// remedy; its source is the kernel's error. `InvalidInput` for invalid sizes.
    ///
    /// If locked memory is short (RLIMIT_MEMLOCK), this waits up to a second for closed rings that the kernel has not
    /// freed yet, then tries smaller sizes. [`Stats`](super::Stats) reports the size of the ring.
    pub fn build(self) -> io::Result<Runtime> {
        let (count, size) = self.receive_buffers;
        let receive_buffers = BufSizes::new(count, size)?;
        let slot = RuntimeSlot::take(|| Ok(Box::new(EventFd::new()?)))?;
        let sizes = Sizes {
            submission: self.entries,
            completion: self.completion_entries.max(self.entries),
        };
        let ring = Ring::new(sizes, &self.mask)?;
        crate::buf::register_errors();
        let core = Core::new(self, receive_buffers, ring, slot)?;
        current::register(&core);
        Ok(Runtime { core })
    }

    /// Builds a runtime and runs `main` on it to completion, as [`run`] does.
    ///
    /// # Errors
    ///
    /// Those of [`build`](Builder::build), and the error that `main` returns. [`Canceled`](crate::Canceled), if Ctrl-C
    /// canceled `main` (see [`cancel_on_ctrl_c`](Builder::cancel_on_ctrl_c)) and it was dropped: because it waited only for
    /// a future of another crate, because it ignored the cancellation 64 times, or by a second Ctrl-C.
    ///
    /// # Panics
    ///
    /// As [`Runtime::block_on`].
    #[track_caller]
    pub fn run<T, E>(self, main: impl Future<Output = Result<T, E>>) -> Result<T, E>
    where
        E: From<io::Error>,
    {
        let catch_interrupts = self.catch_interrupts;
        let mut runtime = self.build()?;
        let caught = catch_interrupts.map(|catch| catch(&runtime)).transpose()?;
        runtime.core.lifecycle.may_drop_main.set(true);
        let outcome = runtime.block_until(main);
        runtime.cancel_what_is_left();
        drop(caught);
        match outcome {
            Some(outcome) => outcome,
            None => Err(io::Error::from(Canceled).into()),
        }
    }
}

/// Runs a program: builds a runtime, runs `main` to completion, and shuts down cleanly.
///
/// When `main` is done, every task that is left is canceled: its waits end with [`Canceled`](crate::Canceled), and it
/// may clean up and end. Tasks that have not ended after a grace period (5 s) are dropped; then the runtime shuts down,
/// as when a [`Runtime`] is dropped.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let text = gimmal::fs::read_to_string("Cargo.toml").await?;
///     assert!(text.contains("[package]"));
///     Ok(())
/// })
/// # }
/// ```
///
/// # Errors
///
/// The error that `main` returns, or an [`io::Error`] that names the cause if the kernel refuses to create a ring (see
/// [`Builder::build`]).
///
/// # Panics
///
/// As [`Runtime::block_on`].
#[track_caller]
pub fn run<T, E>(main: impl Future<Output = Result<T, E>>) -> Result<T, E>
where
    E: From<io::Error>,
{
    Builder::new().run(main)
}

/// A runtime: one io_uring instance, and the tasks, operations and timers of one thread.
///
/// Dropping the runtime shuts it down: it drops its tasks, cancels its operations, and waits for them for at most the
/// [`shutdown_timeout`](Builder::shutdown_timeout).
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let mut runtime = gimmal::Runtime::new()?;
/// let sum = runtime.block_on(async { 1 + 2 });
/// assert_eq!(sum, 3);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Runtime {
    pub(super) core: Rc<Core>,
}

impl Runtime {
    /// Builds a runtime with the default settings.
    ///
    /// # Errors
    ///
    /// Those of [`Builder::build`].
    pub fn new() -> io::Result<Runtime> {
        Builder::new().build()
    }

    /// Returns a builder with the default settings.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Returns a handle to the runtime, for use inside and outside of it.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::of(&self.core)
    }

    /// Spawns a task, which runs while [`block_on`](Runtime::block_on) does.
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: 'static> + 'static,
    {
        self.core.spawn(future, None, Location::caller())
    }

    /// Runs a future to completion, and all tasks beside it, and returns its output. Tasks that are left continue in the
    /// next call.
    ///
    /// # Panics
    ///
    /// If called inside another `block_on`; in a process that was forked after the runtime was built; if the ring is
    /// lost (see [`Fault::RingLost`]); and if the future panics, with its panic.
    #[track_caller]
    pub fn block_on<F: Future>(&mut self, future: F) -> F::Output {
        match self.block_until(future) {
            Some(output) => output,
            None => unreachable!("only `run` lets the main future be dropped"),
        }
    }

    /// Makes Ctrl-C cancel the main future from now on.
    fn catch_interrupts(&self) -> io::Result<Box<dyn Any>> {
        let count = Arc::new(AtomicU32::new(0));
        let wake = self.core.slot.inbox().descriptor();
        let caught = Caught::counted(libc::SIGINT, count.clone(), wake)?;
        let set = self.core.lifecycle.interrupts.set(count);
        assert!(set.is_ok(), "`run` catches interrupts once");
        Ok(Box::new(caught))
    }

    /// Runs a future until it is ready, and returns its output; `None` if it was canceled and dropped.
    #[track_caller]
    fn block_until<F: Future>(&mut self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut output = None;
        self.turn_until(&mut |context| match future.as_mut().poll(context) {
            Poll::Ready(value) => {
                output = Some(value);
                true
            }
            Poll::Pending => false,
        });
        output
    }

    /// Runs the event loop until `poll_main` returns true.
    #[track_caller]
    fn turn_until(&self, poll_main: &mut dyn FnMut(&mut Context<'_>) -> bool) {
        assert!(
            current::current().is_none(),
            "block_on was called inside of a gimmal runtime: await the future instead"
        );
        let _entered = Entered::new(&self.core);
        let _row = MainRow::insert(&self.core, Location::caller());
        let mut scratch = Scratch::default();
        while !self.core.first_half(poll_main) {
            self.core.second_half(None, &mut scratch);
        }
    }
}

/// Guard that holds the task-table row of the future of `block_on`.
struct MainRow<'a>(&'a Core);

impl<'a> MainRow<'a> {
    fn insert(core: &'a Core, location: &'static Location<'static>) -> MainRow<'a> {
        let origin = Origin {
            name: Some("main".into()),
            location,
        };
        let mut tasks = core.tasks.borrow_mut();
        let key = tasks.insert(None, origin, Claim::Dropped, core.context.root);
        core.lifecycle.main.set(Some(key));
        MainRow(core)
    }
}

impl Drop for MainRow<'_> {
    fn drop(&mut self) {
        let MainRow(core) = self;
        let main = core.lifecycle.main.take();
        let scope = main.and_then(|main| core.tasks.borrow_mut().remove_main(main));
        if let Some(scope) = scope {
            core.close_scope(scope);
        }
    }
}
