//! Canceled means no effect: a million numbered bytes pass through pipes, with timeouts and cancels at random moments,
//! and none is lost or duplicated. Every returned buffer is refilled, and nothing writes to it later.
//!
//! Dropped waits are not tested here: a dropped read at the cursor may lose the bytes it has read, as documented.

use common::{Random, byte, bytes, next_turn, quick_or_full, ran_in_own_process};
use futures_util::stream::{FuturesUnordered, StreamExt};
use gimmal::buf::{BufError, BufResult};
use gimmal::cancel::Scope;
use gimmal::fs::File;
use gimmal::op::{Completion, Entry, Op, Opcode, Operation};
use gimmal::time::timeout;
use gimmal::{Handle, Runtime, is_canceled, is_timeout, race, sleep, spawn, yield_now};
use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

/// The length of each stream.
fn stream_len() -> usize {
    quick_or_full(150_000, 1_000_000)
}

/// The byte that fills a returned buffer.
const CANARY: u8 = 0xA5;
/// The number of buffers watched at a time.
const WATCHED_MAX: usize = 64;

fn pipe() -> (File, File) {
    let (reader, writer) = io::pipe().unwrap();
    (OwnedFd::from(reader).into(), OwnedFd::from(writer).into())
}

/// Buffers returned by canceled operations and refilled: any further use of one would be visible.
#[derive(Default)]
struct Canaries {
    kept: Vec<Vec<u8>>,
    seen: usize,
}

impl Canaries {
    fn keep(&mut self, mut buf: Vec<u8>) {
        buf.resize(buf.capacity(), 0);
        buf.fill(CANARY);
        self.kept.push(buf);
        self.seen += 1;
        if self.kept.len() > WATCHED_MAX {
            self.check();
            self.kept.drain(..WATCHED_MAX / 2);
        }
    }

    fn check(&self) {
        let untouched = |buf: &Vec<u8>| buf.iter().all(|byte| *byte == CANARY);
        assert!(self.kept.iter().all(untouched), "a buffer was written to");
    }
}

/// How the operations on one side of the pipe are canceled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Never,
    /// `timeout(d, operation)`.
    Timeout,
    /// `operation.timeout(d)`.
    Flat,
    /// A scope that another task cancels after a number of yields.
    Scope,
    /// `race((operation, …))` against a few turns or a sleep.
    Race,
    /// Any of these.
    Any,
}

/// Cancels the current scope at random moments.
struct Canceler {
    current: RefCell<Option<Rc<Scope>>>,
    ended: Cell<bool>,
}

impl Canceler {
    fn start(mut random: Random) -> Rc<Canceler> {
        let canceler = Rc::new(Canceler {
            current: RefCell::default(),
            ended: Cell::new(false),
        });
        let its = canceler.clone();
        drop(spawn(async move {
            while !its.ended.get() {
                for _ in 0..random.below(10) {
                    yield_now().await;
                }
                let scope = its.current.borrow_mut().take();
                if let Some(scope) = scope {
                    scope.cancel();
                }
                yield_now().await;
            }
        }));
        canceler
    }

    /// Runs an operation in a scope that is canceled at some time, or before the start.
    async fn run<O: Operation>(&self, op: Op<O>, early: bool) -> O::Output {
        let scope = Rc::new(Scope::new());
        if early {
            scope.cancel();
        }
        self.current.replace(Some(scope.clone()));
        let output = scope.run_any(op).await.unwrap();
        self.current.take();
        output
    }
}

/// A random duration, often zero, rarely long enough to wait for the other side.
fn random_timeout(random: &mut Random) -> Duration {
    match random.below(4) {
        0 => Duration::ZERO,
        1 => Duration::from_micros(random.below(20) as u64),
        2 => Duration::from_micros(random.below(100) as u64),
        _ => Duration::from_micros(random.below(400) as u64),
    }
}

/// Runs one operation, canceled or not. The buffer is always returned.
async fn cut<B: 'static, O>(
    op: Op<O>,
    how: Cut,
    canceler: &Canceler,
    random: &mut Random,
) -> BufResult<usize, B>
where
    O: Operation<Output = BufResult<usize, B>>,
{
    let how = match how {
        Cut::Any => [Cut::Never, Cut::Timeout, Cut::Flat, Cut::Scope, Cut::Race][random.below(5)],
        how => how,
    };
    // Submitted before it is awaited.
    let op = if random.one_in(4) { op.submit() } else { op };
    match how {
        Cut::Never | Cut::Any => op.await,
        Cut::Flat => {
            let ended = op.timeout(random_timeout(random)).await;
            if let Err(error) = &ended {
                assert!(is_timeout(error) && !is_canceled(error), "{error}");
            }
            ended
        }
        Cut::Timeout => {
            let ended = timeout(random_timeout(random), op).await;
            ended.map_err(|error| {
                assert!(error.is_elapsed());
                error.into_inner().unwrap()
            })
        }
        Cut::Scope => canceler.run(op, random.one_in(8)).await,
        Cut::Race => {
            let (turns, time) = (random.below(4), random_timeout(random));
            let other = async {
                for _ in 0..turns {
                    next_turn().await;
                }
                if turns == 0 {
                    let _cut_or_over = sleep(time).await;
                }
            };
            let (output, _) = race((op, other)).await.outputs;
            output.expect("a loser returns its output")
        }
    }
}

/// The side without cancels sometimes pauses, so that the other one has to wait.
async fn pause(how: Cut, random: &mut Random) {
    if matches!(how, Cut::Never | Cut::Any) && random.one_in(2) {
        for _ in 0..random.below(10) {
            next_turn().await;
        }
    }
}

fn assert_canceled<B>(error: &BufError<B>)
where
    BufError<B>: std::error::Error + 'static,
{
    assert!(is_canceled(error) || is_timeout(error), "{error}");
    assert_eq!(error.transferred(), 0);
}

async fn write_all(file: File, how: Cut, mut random: Random) -> usize {
    let canceler = Canceler::start(random.fork());
    let (mut at, mut cuts) = (0, 0);
    while at < stream_len() {
        // Sometimes more than fits into the pipe at once. If reads are to wait, the pipe has to run empty.
        let len = match random.below(100) {
            0 if how != Cut::Never => 1 + random.below(100_000),
            _ => 1 + random.below(900),
        };
        pause(how, &mut random).await;
        let buf = bytes(at, len.min(stream_len() - at));
        match cut(file.write(buf), how, &canceler, &mut random).await {
            Ok((n, _)) => at += n,
            Err(error) => {
                assert_canceled(&error);
                cuts += 1;
                let mut buf = error.into_buf();
                let same = buf.iter().enumerate().all(|(n, b)| *b == byte(at + n));
                assert!(same, "the buffer is returned unchanged");
                // If the kernel still read from the buffer, the reader would notice.
                buf.fill(!byte(at));
                drop(buf);
            }
        }
    }
    canceler.ended.set(true);
    file.close().await.unwrap();
    cuts
}

async fn read_all(file: File, how: Cut, mut random: Random) -> usize {
    let canceler = Canceler::start(random.fork());
    let mut canaries = Canaries::default();
    let mut at = 0;
    loop {
        let len = 1 + random.below(700);
        pause(how, &mut random).await;
        let filled = random.below(len + 1);
        let mut buf = Vec::with_capacity(len);
        buf.resize(filled, 0x77);
        match cut(file.read(buf), how, &canceler, &mut random).await {
            Ok((0, _)) => break,
            Ok((n, buf)) => {
                assert_eq!(n, buf.len());
                let wrong = buf.iter().enumerate().find(|(n, b)| **b != byte(at + n));
                assert!(
                    wrong.is_none(),
                    "lost or duplicated: at {at} of {}",
                    stream_len()
                );
                at += n;
            }
            Err(error) => {
                assert_canceled(&error);
                let buf = error.into_buf();
                assert_eq!(buf.len(), filled);
                assert!(
                    buf.iter().all(|byte| *byte == 0x77),
                    "the buffer is returned unchanged"
                );
                canaries.keep(buf);
            }
        }
    }
    canaries.check();
    canceler.ended.set(true);
    assert_eq!(at, stream_len(), "all bytes have arrived");
    canaries.seen
}

/// Runs one stream from end to end, and prints how often each side was canceled.
fn stream(writes: Cut, reads: Cut) {
    if ran_in_own_process() {
        return;
    }
    let mut random = Random::new();
    println!("{random:?}");
    let mut runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let (reader, writer) = pipe();
        let writing = spawn(write_all(writer, writes, random.fork()));
        let reading = spawn(read_all(reader, reads, random.fork()));
        let (wrote, read) = (writing.await.unwrap(), reading.await.unwrap());
        println!("canceled: {wrote} writes, {read} reads");
        assert_eq!(wrote > 0, writes != Cut::Never);
        assert_eq!(read > 0, reads != Cut::Never);
        let baseline = Handle::current();
        while baseline.stats().operation_rows > 0 {
            yield_now().await;
        }
    });
}

#[test]
fn reads_under_timeouts_lose_nothing() {
    stream(Cut::Never, Cut::Timeout);
}

#[test]
fn reads_with_flat_timeouts_lose_nothing() {
    stream(Cut::Never, Cut::Flat);
}

#[test]
fn reads_in_canceled_scopes_lose_nothing() {
    stream(Cut::Never, Cut::Scope);
}

#[test]
fn reads_in_races_lose_nothing() {
    stream(Cut::Never, Cut::Race);
}

#[test]
fn writes_in_races_lose_nothing() {
    stream(Cut::Race, Cut::Never);
}

#[test]
fn writes_under_timeouts_lose_nothing() {
    stream(Cut::Timeout, Cut::Never);
}

#[test]
fn writes_with_flat_timeouts_lose_nothing() {
    stream(Cut::Flat, Cut::Never);
}

#[test]
fn writes_in_canceled_scopes_lose_nothing() {
    stream(Cut::Scope, Cut::Never);
}

#[test]
fn canceling_both_sides_in_every_way_loses_nothing() {
    stream(Cut::Any, Cut::Any);
}

/// Loops over several operations report their progress.
#[test]
fn exact_reads_and_whole_writes_report_their_progress() {
    if ran_in_own_process() {
        return;
    }
    let mut random = Random::new();
    println!("{random:?}");
    let mut runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let (reader, writer) = pipe();
        let mut dice = random.fork();
        let writing = spawn(async move {
            let mut at = 0;
            while at < stream_len() {
                let buf = bytes(at, (1 + dice.below(150_000)).min(stream_len() - at));
                let len = buf.len();
                match timeout(random_timeout(&mut dice), writer.write_all(buf)).await {
                    Ok(_) => at += len,
                    Err(error) => {
                        assert!(error.is_elapsed());
                        at += error.into_inner().unwrap().transferred();
                    }
                }
            }
        });
        let mut at = 0;
        let mut cuts = 0;
        while at < stream_len() {
            let len = (1 + random.below(100_000)).min(stream_len() - at);
            let read = reader.read_exact(Vec::with_capacity(len), len);
            // The first is cut for certain.
            let time = match cuts {
                0 => Duration::ZERO,
                _ => random_timeout(&mut random),
            };
            let (buf, n) = match timeout(time, read).await {
                Ok(buf) => (buf, len),
                Err(error) => {
                    assert!(error.is_elapsed());
                    cuts += 1;
                    let error = error.into_inner().unwrap();
                    let done = error.transferred();
                    (error.into_buf(), done)
                }
            };
            assert!(buf.len() >= n);
            let mut numbered = buf[..n].iter().enumerate();
            assert!(numbered.all(|(n, b)| *b == byte(at + n)), "at {at}");
            at += n;
        }
        writing.await.unwrap();
        assert!(cuts > 0);
        assert_eq!(reader.read(vec![0; 8]).await.unwrap().0, 0);
    });
}

/// A read that is forced into a kernel worker.
struct InWorker {
    file: Rc<OwnedFd>,
    buf: Vec<u8>,
}

// SAFETY: the entry lends the capacity of a vector, whose memory stays in place when the operation moves, and which
// nothing else accesses; the descriptor is held. There is one completion.
unsafe impl Operation for InWorker {
    type Output = BufResult<usize, Vec<u8>>;
    const NAME: &'static str = "read in a worker";
    const EINTR_HAD_NO_EFFECT: bool = true;

    fn entry(&mut self) -> Entry {
        Entry::new(Opcode::READ)
            .fd(self.file.as_raw_fd())
            .addr(self.buf.as_mut_ptr())
            .len(self.buf.capacity() as u32)
            .offset(u64::MAX)
            .in_worker()
    }

    fn complete(mut self, completion: Completion) -> Self::Output {
        match completion.result() {
            Ok(n) => {
                // SAFETY: the kernel has written `n` bytes from the start.
                unsafe { self.buf.set_len(n as usize) };
                Ok((n as usize, self.buf))
            }
            Err(error) => Err(BufError::new(error, self.buf)),
        }
    }

    fn fail(self, error: io::Error) -> Self::Output {
        Err(BufError::new(error, self.buf))
    }

    fn dispose(&mut self, _: Completion) {}
}

/// About one in a thousand such reads ignores the first cancel request, so the cancel is repeated.
#[test]
fn canceled_reads_in_a_worker_all_end() {
    let reads = quick_or_full(20_000, 100_000);
    const AT_ONCE: [usize; 4] = [1, 20, 100, 500];
    if ran_in_own_process() {
        return;
    }
    let mut random = Random::new();
    println!("{random:?}");
    let mut runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let (reader, _writer) = io::pipe().unwrap();
        let file = Rc::new(OwnedFd::from(reader));
        let mut canaries = Canaries::default();
        let mut ended = 0;
        while ended < reads {
            let scope = Rc::new(Scope::new());
            let its = scope.clone();
            let (dice, at_once) = (random.below(4), AT_ONCE[random.below(4)]);
            drop(spawn(async move {
                for _ in 0..dice {
                    next_turn().await;
                }
                its.cancel();
            }));
            let reads = || InWorker {
                file: file.clone(),
                buf: vec![9; 24],
            };
            let back = scope
                .run_any(async {
                    let mut all: FuturesUnordered<_> =
                        (0..at_once).map(|_| Op::new(reads()).submit()).collect();
                    let mut back = Vec::new();
                    while let Some(read) = all.next().await {
                        let error = read.unwrap_err();
                        assert!(is_canceled(&error), "{error}");
                        back.push(error.into_buf());
                    }
                    back
                })
                .await
                .unwrap();
            assert_eq!(back.len(), at_once);
            for buf in back {
                assert_eq!(buf, [9; 24]);
                canaries.keep(buf);
            }
            ended += at_once;
            canaries.check();
        }
        let stats = Handle::current().stats();
        println!("{} cancel requests for {ended} reads", stats.cancels);
        assert_eq!((stats.operations, stats.operation_rows), (0, 0));
        sleep(Duration::from_millis(1)).await.unwrap();
        canaries.check();
    });
}
