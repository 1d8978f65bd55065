//! Every operation compared with std, and every operation and every function of `fs` dropped at every poll: lent memory
//! stays alive until the kernel is done with it, and descriptors, rows and buffers return to the baseline.

use common::{
    Baseline, CANARY, Faults, MOMENTS, Moment, Random, Watched, directory, dropped_after,
    dropped_everywhere, make_fifo, next_turn, pipe, poll_once, quick_or_full, ran_in_own_process,
    rings,
};
use gimmal::fs::{self, File, OpenOptions};
use gimmal::net::UnixStream;
use gimmal::op::{Completion, Entry, Op, Opcode, Operation, Recv, nop};
use gimmal::{Handle, Runtime, yield_now};
use std::cell::Cell;
use std::future::poll_fn;
use std::io::{self, PipeReader, PipeWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n % 191) as u8).collect()
}

/// A full pipe.
fn full_pipe() -> (PipeReader, File) {
    let (reader, writer) = io::pipe().unwrap();
    let file = File::from(OwnedFd::from(writer));
    let mut writer = file.try_clone().unwrap().into_std().unwrap();
    // SAFETY: no address is passed.
    let size = unsafe { libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(&writer), libc::F_GETPIPE_SZ) };
    writer.write_all(&vec![7; size as usize]).unwrap();
    (reader, file)
}

/// Two files with the same contents, one for the ring and one for std.
struct Pair {
    ours: File,
    oracle: std::fs::File,
}

impl Pair {
    async fn open(dir: &Path, append: bool, len: usize) -> Pair {
        let paths = ["ours", "oracle"].map(|name| dir.join(format!("{name}-{append}")));
        for path in &paths {
            std::fs::write(path, pattern(len)).unwrap();
        }
        let mut options = OpenOptions::new();
        options.read(true).write(!append).append(append);
        let ours = options.open(&paths[0]).await.unwrap();
        let mut options = std::fs::OpenOptions::new();
        options.read(true).write(!append).append(append);
        let oracle = options.open(&paths[1]).unwrap();
        Pair { ours, oracle }
    }

    async fn step(&mut self, random: &mut Random) {
        let offset = random.below(9000);
        let at = offset as u64;
        let len = 1 + random.below(3000);
        let data: Vec<u8> = (0..len).map(|_| random.below(250) as u8).collect();
        let cut = random.below(len + 1);
        match random.below(14) {
            0 | 1 => {
                let at_cursor = random.one_in(2);
                let read = match at_cursor {
                    true => self.ours.read(data.clone()),
                    false => self.ours.read_at(data.clone(), at),
                };
                let (n, buf) = read.await.unwrap();
                let mut other = vec![0; buf.capacity()];
                let expected = match at_cursor {
                    true => self.oracle.read(&mut other),
                    false => self.oracle.read_at(&mut other, at),
                };
                assert_eq!(n, expected.unwrap());
                assert_eq!(buf, other[..n]);
            }
            2 | 3 => {
                let at_cursor = random.one_in(2);
                let write = match at_cursor {
                    true => self.ours.write(data.clone()),
                    false => self.ours.write_at(data.clone(), at),
                };
                let (n, buf) = write.await.unwrap();
                assert_eq!(buf, data);
                let expected = match at_cursor {
                    true => self.oracle.write(&data),
                    false => self.oracle.write_at(&data, at),
                };
                assert_eq!(n, expected.unwrap());
            }
            4 | 5 => {
                let bufs = (
                    Vec::with_capacity(cut),
                    data[cut..].to_vec().into_boxed_slice(),
                    bytes::BytesMut::with_capacity(16),
                );
                let sizes = [bufs.0.capacity(), bufs.1.len(), bufs.2.capacity()];
                let at_cursor = random.one_in(2);
                let read = match at_cursor {
                    true => self.ours.read_vectored(bufs),
                    false => self.ours.read_vectored_at(bufs, at),
                };
                let (n, (a, b, c)) = read.await.unwrap();
                let mut other = vec![0; sizes.iter().sum()];
                let expected = match at_cursor {
                    true => self.oracle.read(&mut other),
                    false => self.oracle.read_at(&mut other, at),
                };
                assert_eq!(n, expected.unwrap());
                let rest = n.saturating_sub(sizes[0]);
                let all = [&a[..], &b[..rest.min(b.len())], &c[..]].concat();
                assert_eq!(all, other[..n]);
                assert_eq!(
                    a.len(),
                    n.min(sizes[0]),
                    "the length is the number of bytes read"
                );
                assert_eq!(c.len(), n.saturating_sub(sizes[0] + sizes[1]));
            }
            6 | 7 => {
                let bufs = vec![data[..cut].to_vec(), data[cut..].to_vec(), vec![]];
                let at_cursor = random.one_in(2);
                let write = match at_cursor {
                    true => self.ours.write_vectored(bufs),
                    false => self.ours.write_vectored_at(bufs, at),
                };
                let (n, bufs) = write.await.unwrap();
                assert_eq!(bufs.concat(), data);
                let expected = match at_cursor {
                    true => self.oracle.write(&data),
                    false => self.oracle.write_at(&data, at),
                };
                assert_eq!(n, expected.unwrap());
            }
            8 => {
                let exact = match random.one_in(2) {
                    true => self.ours.read_exact_at(data.clone(), cut, at).await,
                    false => self.ours.read_exact_at(data.clone(), len, at).await,
                };
                let wanted = exact.as_ref().map_or(len, Vec::len);
                let mut other = vec![0; wanted];
                match exact {
                    Ok(buf) => {
                        self.oracle.read_exact_at(&mut other, at).unwrap();
                        assert_eq!(buf, other);
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
                        let there = self.oracle.read_at(&mut other, at).unwrap();
                        assert!(there < len, "there were enough bytes");
                        assert_eq!(error.transferred(), there);
                        let buf = error.into_buf();
                        assert_eq!(buf[..there], other[..there]);
                    }
                }
            }
            9 => {
                let data = self.ours.write_all_at(data, at).await.unwrap();
                self.oracle.write_all_at(&data, at).unwrap();
                let data = self.ours.write_all(data).await.unwrap();
                self.oracle.write_all(&data).unwrap();
            }
            10 => {
                let (n, all) = self.ours.read_to_end(data.clone()).await.unwrap();
                let mut other = data;
                assert_eq!(n, self.oracle.read_to_end(&mut other).unwrap());
                assert_eq!(all, other);
            }
            11 => {
                self.ours.sync_all().await.unwrap();
                self.ours.sync_data().await.unwrap();
            }
            12 => {
                let exact = self.ours.read_exact(data.clone(), cut).await;
                let mut other = vec![0; cut];
                match (exact, self.oracle.read_exact(&mut other)) {
                    (Ok(buf), Ok(())) => assert_eq!(buf, other),
                    (Err(ours), Err(theirs)) => assert_eq!(ours.kind(), theirs.kind()),
                    (ours, theirs) => panic!("{ours:?} differs from {theirs:?}"),
                }
            }
            _ => nop().await.unwrap(),
        }
        let mut shared = self.ours.try_clone().unwrap().into_std().unwrap();
        assert_eq!(
            shared.stream_position().unwrap(),
            self.oracle.stream_position().unwrap(),
            "the cursors are equal"
        );
        if random.one_in(4) {
            let place = SeekFrom::Start(random.below(9000) as u64);
            shared.seek(place).unwrap();
            self.oracle.seek(place).unwrap();
        }
        let length = self.oracle.metadata().unwrap().len();
        assert_eq!(shared.metadata().unwrap().len(), length);
        if length > 20_000 {
            shared.set_len(6000).unwrap();
            self.oracle.set_len(6000).unwrap();
        }
    }

    fn compare(mut self) {
        let mut ours = self.ours.into_std().unwrap();
        let mut all = [Vec::new(), Vec::new()];
        for (file, all) in [&mut ours, &mut self.oracle].into_iter().zip(&mut all) {
            file.rewind().unwrap();
            file.read_to_end(all).unwrap();
        }
        assert!(all[0] == all[1], "the files differ");
    }
}

#[test]
fn every_operation_behaves_as_in_std() {
    if ran_in_own_process() {
        return;
    }
    let mut random = Random::new();
    for (name, ring) in rings() {
        println!("ring: {name}");
        let dir = directory();
        let mut runtime = ring.build().unwrap();
        runtime.block_on(async {
            for append in [false, true] {
                let baseline = Baseline::take();
                let mut pair = Pair::open(dir.path(), append, random.below(8000)).await;
                for _ in 0..400 {
                    pair.step(&mut random).await;
                }
                pair.compare();
                baseline.returns("random steps").await;
            }
        });
    }
}

/// The moments for a future that is not woken by itself.
const PARKED: [Moment; 3] = [Moment::AtOnce, Moment::Turns(1), Moment::Turns(3)];

/// Drops an operation before its first poll, after `submit`, and at every poll.
async fn op_dropped_everywhere<O: Operation>(name: &str, parked: bool, make: impl Fn() -> Op<O>) {
    let moments: &[Moment] = if parked { &PARKED } else { &MOMENTS };
    let baseline = Baseline::take();
    drop(make());
    baseline.returns(&format!("{name}, never polled")).await;
    for turns in 0..4 {
        let op = make().submit();
        for _ in 0..turns {
            next_turn().await;
        }
        drop(op);
        let after = format!("{name}, submitted, dropped after {turns} turns");
        baseline.returns(&after).await;
    }
    if parked {
        for moment in moments {
            let output = dropped_after(make(), 1, *moment).await;
            assert!(output.is_none(), "{name} is pending");
            baseline.returns(&format!("{name}, {moment:?}")).await;
        }
        return;
    }
    dropped_everywhere(name, moments, &make).await;
    dropped_everywhere(&format!("{name}, submitted"), moments, || make().submit()).await;
}

#[test]
fn operations_dropped_at_every_poll_leave_nothing_behind() {
    if ran_in_own_process() {
        return;
    }
    for (name, ring) in rings() {
        println!("ring: {name}");
        let dir = directory();
        let path = dir.path().join("file");
        std::fs::write(&path, pattern(9000)).unwrap();
        let mut runtime = ring.build().unwrap();
        runtime.block_on(async {
            let mut options = OpenOptions::new();
            let file = options.read(true).write(true).open(&path).await.unwrap();
            let direct = options
                .custom_flags(libc::O_DIRECT)
                .open(&path)
                .await
                .unwrap();
            let small = || Watched::new(100, 1);
            op_dropped_everywhere("nop", false, nop).await;
            op_dropped_everywhere("read", false, || file.read(small())).await;
            op_dropped_everywhere("read_at", false, || file.read_at(small(), 50)).await;
            op_dropped_everywhere("direct", false, || {
                direct.read_at(Watched::new(4096, 512), 512)
            })
            .await;
            op_dropped_everywhere("readv", false, || {
                file.read_vectored((small(), small(), small()))
            })
            .await;
            op_dropped_everywhere("readv at", false, || {
                file.read_vectored_at(vec![small(), small()], 50)
            })
            .await;
            let full = || Watched::full(9, 5000, 1);
            op_dropped_everywhere("write_at", false, || file.write_at(full(), 100)).await;
            op_dropped_everywhere("write", false, || file.write(full())).await;
            op_dropped_everywhere("writev", false, || file.write_vectored([full(), full()])).await;
            op_dropped_everywhere("writev at", false, || {
                file.write_vectored_at((full(), full()), 3)
            })
            .await;
            op_dropped_everywhere("fsync", false, || file.sync_all()).await;
            op_dropped_everywhere("fdatasync", false, || file.sync_data()).await;
            // A read that the kernel rejects, and one that is not submitted.
            let unreadable = File::create(dir.path().join("other")).await.unwrap();
            op_dropped_everywhere("bad read", false, || unreadable.read(small())).await;
            op_dropped_everywhere("empty buffer", false, || file.read(Vec::new())).await;
            let (empty, writer) = pipe();
            op_dropped_everywhere("pending read", true, || empty.read(small())).await;
            op_dropped_everywhere("pending readv", true, || {
                empty.read_vectored([small(), small()])
            })
            .await;
            let (reader, stuffed) = full_pipe();
            op_dropped_everywhere("pending write", true, || stuffed.write(full())).await;
            drop((writer, reader));
        });
        let after = std::fs::read(&path).unwrap();
        assert!(
            !after.contains(&CANARY),
            "freed memory was written to the file"
        );
        Watched::check_and_forget(&name);
    }
}

#[test]
fn functions_of_fs_dropped_at_every_poll_leave_nothing_behind() {
    if ran_in_own_process() {
        return;
    }
    for (name, ring) in rings() {
        println!("ring: {name}");
        let dir = directory();
        let path = dir.path().join("file");
        let long = pattern(100_000);
        std::fs::write(&path, &long).unwrap();
        let new = dir.path().join("new");
        let missing = dir.path().join("missing").join("file");
        let mut runtime = ring.build().unwrap();
        runtime.block_on(async {
            let all = &MOMENTS;
            dropped_everywhere("open", all, || File::open(&path)).await;
            dropped_everywhere("open a missing file", all, || File::open(&missing)).await;
            dropped_everywhere("create", all, || File::create(&new)).await;
            let polls = dropped_everywhere("read", all, || fs::read(&path)).await;
            assert!(polls >= 4, "opened, and read to the end: {polls} polls");
            dropped_everywhere("read a missing file", all, || fs::read(&missing)).await;
            dropped_everywhere("read a directory", all, || fs::read(dir.path())).await;
            dropped_everywhere("read /proc", all, || fs::read("/proc/self/status")).await;
            dropped_everywhere("read_to_string", all, || fs::read_to_string(&path)).await;
            let contents = || Watched::full(9, 40_000, 1);
            let polls = dropped_everywhere("write", all, || fs::write(&new, contents())).await;
            assert!(polls >= 3, "created, written and closed: {polls} polls");
            dropped_everywhere("write to a missing directory", all, || {
                fs::write(&missing, contents())
            })
            .await;
            let mut options = OpenOptions::new();
            let file = options.read(true).write(true).open(&path).await.unwrap();
            let room = || Watched::new(3000, 1);
            dropped_everywhere("read_exact_at", all, || {
                file.read_exact_at(room(), 2999, 70_000)
            })
            .await;
            dropped_everywhere("read_exact_at the end", all, || {
                file.read_exact_at(room(), 2999, 99_000)
            })
            .await;
            dropped_everywhere("read_exact", all, || file.read_exact(room(), 1)).await;
            dropped_everywhere("write_all_at", all, || file.write_all_at(contents(), 7)).await;
            dropped_everywhere("write_all", all, || file.write_all(contents())).await;
            dropped_everywhere("read_to_end", all, || file.read_to_end(Vec::new())).await;
            drop(file);
            // Opened each time; closed by whatever is left of it.
            dropped_everywhere("close", all, || {
                let file = File::from(std::fs::File::open(&path).unwrap());
                file.close()
            })
            .await;
            dropped_everywhere("open, read, close", all, async || {
                let file = File::open(&path).await?;
                let (_, buf) = file.read_at(room(), 1).await?;
                let (_, _) = file.read_at(buf, 2).await?;
                file.close().await
            })
            .await;
        });
        let after = std::fs::read(&new).unwrap();
        assert!(after.iter().all(|byte| *byte == 9), "unexpected content");
        Watched::check_and_forget(&name);
    }
}

/// A close waits until a pending read has stopped, and keeps only the waker of its latest poll.
#[test]
fn a_close_keeps_one_waker_however_often_polled_and_none_when_dropped() {
    struct Counted(#[expect(dead_code, reason = "only its reference count is used")] Arc<()>);
    impl std::task::Wake for Counted {
        fn wake(self: Arc<Self>) {}
    }
    if ran_in_own_process() {
        return;
    }
    let mut runtime = gimmal::Runtime::new().unwrap();
    runtime.block_on(async {
        let baseline = Baseline::take();
        let (reader, writer) = pipe();
        let read = reader.read(vec![0; 64]);
        let reading = gimmal::spawn(async move { read.await.map(drop) });
        next_turn().await;
        let alive = Arc::new(());
        {
            let mut close = std::pin::pin!(reader.close());
            for _ in 0..1000 {
                let waker = Arc::new(Counted(alive.clone())).into();
                let polled = close
                    .as_mut()
                    .poll(&mut std::task::Context::from_waker(&waker));
                assert!(polled.is_pending());
                drop(waker);
                assert_eq!(Arc::strong_count(&alive), 2);
            }
        }
        assert_eq!(Arc::strong_count(&alive), 1);
        assert!(gimmal::is_canceled(&reading.await.unwrap().unwrap_err()));
        drop(writer);
        baseline.returns("close").await;
    });
}

/// A close is dropped while it waits until a pending read has stopped.
#[test]
fn a_close_dropped_while_it_waits_for_a_pending_read_still_closes() {
    if ran_in_own_process() {
        return;
    }
    for (name, ring) in rings() {
        println!("ring: {name}");
        let mut runtime = ring.build().unwrap();
        runtime.block_on(async {
            for moment in MOMENTS {
                for polls in 0..6 {
                    let baseline = Baseline::take();
                    let (reader, writer) = pipe();
                    let read = reader.read(Watched::new(64, 1));
                    let reading = gimmal::spawn(async move { read.await.unwrap_err().into_buf() });
                    next_turn().await;
                    drop(dropped_after(reader.close(), polls, moment).await);
                    if polls == 0 {
                        // The read is not canceled; its writer ends it.
                        drop(writer);
                        reading.abort();
                        let _ = reading.await;
                    } else {
                        let _ = reading.await;
                        drop(writer);
                    }
                    baseline
                        .returns(&format!("{polls} polls, {moment:?}"))
                        .await;
                }
            }
        });
        Watched::check_and_forget(&name);
    }
}

/// Opening a FIFO waits in a kernel worker for the other end, which is never opened.
#[test]
fn an_open_of_a_fifo_dropped_while_it_waits_ends() {
    if ran_in_own_process() {
        return;
    }
    for (name, ring) in rings() {
        println!("ring: {name}");
        let dir = directory();
        let path = dir.path().join("fifo");
        make_fifo(&path);
        let mut runtime = ring.build().unwrap();
        runtime.block_on(async {
            let baseline = Baseline::take();
            for round in 0..60 {
                let moment = PARKED[round % PARKED.len()];
                match round % 2 {
                    0 => drop(dropped_after(File::open(&path), 1, moment).await),
                    _ => drop(dropped_after(fs::write(&path, "x"), 1, moment).await),
                }
                baseline.returns("opening a fifo").await;
            }
        });
    }
}

/// The files and pipes that random operations use. The pipes never fill and are never closed.
struct Files {
    cached: File,
    direct: File,
    written: File,
    pipes: Vec<(File, PipeWriter)>,
}

/// Awaits an operation, or drops it at a random moment.
async fn run_or_drop<O: Operation>(
    op: Op<O>,
    random: &mut Random,
    wakes: bool,
) -> Option<O::Output> {
    let op = match random.one_in(3) {
        true => op.submit(),
        false => op,
    };
    let moment = match random.below(if wakes { 6 } else { 4 }) {
        0 => {
            return dropped_after(op, 0, Moment::Turns(random.below(3))).await;
        }
        1 => Moment::AtOnce,
        2 => Moment::Turns(1),
        3 => Moment::Turns(1 + random.below(4)),
        4 => Moment::Woken,
        _ => return dropped_after(op, 1000, Moment::AtOnce).await,
    };
    dropped_after(op, 1, moment).await
}

async fn random_operation(files: &Files, random: &mut Random) {
    let offset = random.below(60) as u64 * 512;
    match random.below(12) {
        0 | 1 => drop(
            run_or_drop(
                files.cached.read_at(Watched::new(700, 1), offset),
                random,
                true,
            )
            .await,
        ),
        2 => drop(run_or_drop(files.cached.read(Watched::new(64, 1)), random, true).await),
        3 | 4 => {
            let buf = Watched::new(1024, 512);
            drop(run_or_drop(files.direct.read_at(buf, offset), random, true).await);
        }
        5 => {
            let bufs = (Watched::new(100, 1), Watched::new(100, 1));
            drop(run_or_drop(files.cached.read_vectored_at(bufs, offset), random, true).await);
        }
        6 => {
            let buf = Watched::full(9, 64, 1);
            drop(run_or_drop(files.written.write_at(buf, offset), random, true).await);
        }
        7 => drop(run_or_drop(nop(), random, true).await),
        _ => {
            // A pending read: the bytes arrive before, while or after it is dropped.
            let (reader, writer) = &files.pipes[random.below(files.pipes.len())];
            let mut writer = writer;
            let early = random.one_in(4);
            if early {
                writer.write_all(&[3; 16]).unwrap();
            }
            let read = reader.read(Watched::new(128, 1));
            drop(run_or_drop(read, random, false).await);
            if !early && random.one_in(2) {
                writer.write_all(&[3; 16]).unwrap();
            }
        }
    }
}

/// Empties the pipes, so that no writer blocks. No orphan may remain that would take some of the bytes.
async fn drain(files: &Files, baseline: &Baseline) {
    baseline.operations_return("a batch of the storm").await;
    for (reader, writer) in &files.pipes {
        let mut writer = writer;
        writer.write_all(&[4]).unwrap();
        let mut last = 0;
        while last != 4 {
            let (_, buf) = reader.read(vec![0; 4096]).await.unwrap();
            last = *buf.last().unwrap();
        }
    }
}

/// Random operations on a ring: at the end, all counts return to the baseline, and no freed memory was accessed.
async fn storm(dir: &Path, operations: usize, random: &mut Random) {
    let path = dir.join("files");
    std::fs::write(&path, pattern(40_000)).unwrap();
    let baseline = Baseline::take();
    let written = dir.join("written");
    std::fs::write(&written, vec![8; 32_000]).unwrap();
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    let files = Rc::new(Files {
        cached: File::open(&path).await.unwrap(),
        written: options.open(&written).await.unwrap(),
        direct: options
            .custom_flags(libc::O_DIRECT)
            .open(&path)
            .await
            .unwrap(),
        pipes: (0..8).map(|_| pipe()).collect(),
    });
    const TASKS: usize = 20;
    const BATCH: usize = 50;
    let mut left = operations;
    while left > 0 {
        let inner = Rc::new(Cell::new(0));
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| {
                let (files, mut random, inner) = (files.clone(), random.fork(), inner.clone());
                gimmal::spawn(async move {
                    for _ in 0..BATCH {
                        random_operation(&files, &mut random).await;
                        inner.set(inner.get() + 1);
                    }
                })
            })
            .collect();
        for task in tasks {
            // Some tasks are aborted in the middle of it.
            match random.one_in(15) {
                true => task.abort(),
                false => task.await.unwrap(),
            }
        }
        left = left.saturating_sub(inner.get().max(1));
        drain(&files, &baseline).await;
        Watched::check_and_forget("a batch of the storm");
    }
    drop(files);
    baseline.returns("a storm").await;
    let after = std::fs::read(&written).unwrap();
    assert!(
        after.iter().all(|byte| [8, 9].contains(byte)),
        "freed memory was written to the file"
    );
}

#[test]
fn operations_dropped_at_random_never_touch_freed_memory() {
    if ran_in_own_process() {
        return;
    }
    let mut random = Random::new();
    let rings = rings();
    let share = quick_or_full(35_000, 1_000_000) / rings.len();
    for (name, ring) in rings {
        println!("ring: {name}");
        let dir = directory();
        let mut runtime = ring.build().unwrap();
        runtime.block_on(storm(dir.path(), share, &mut random));
        drop(runtime);
        Watched::check_and_forget(&name);
    }
}

/// Descriptors that arrive late are closed: nobody awaits them any longer.
#[test]
fn opens_raced_by_drops_leave_no_descriptor() {
    if ran_in_own_process() {
        return;
    }
    let mut random = Random::new();
    let rings = rings();
    let share = quick_or_full(10_000, 100_000) / rings.len();
    for (name, ring) in rings {
        println!("ring: {name}");
        let dir = directory();
        let mut runtime = ring.build().unwrap();
        runtime.block_on(async {
            let baseline = Baseline::take();
            let tasks: Vec<_> = (0..16)
                .map(|n| {
                    let (mut random, path) = (random.fork(), dir.path().join(format!("{n}")));
                    std::fs::write(&path, "x").unwrap();
                    gimmal::spawn(async move {
                        for _ in 0..share / 16 {
                            let moment = [
                                Moment::AtOnce,
                                Moment::Turns(random.below(3)),
                                Moment::Woken,
                            ][random.below(3)];
                            let polls = random.below(3);
                            match random.below(4) {
                                0 => drop(dropped_after(File::create(&path), polls, moment).await),
                                1 => drop(dropped_after(fs::read(&path), polls, moment).await),
                                _ => drop(dropped_after(File::open(&path), polls, moment).await),
                            }
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            baseline.returns("opens dropped at random").await;
        });
    }
}

/// The completion was reaped, and the future is dropped without another poll.
#[test]
fn unread_results_are_disposed_of() {
    if ran_in_own_process() {
        return;
    }
    let mut runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let baseline = Baseline::take();
        let handle = Handle::current();
        let mut opens: Vec<_> = (0..100)
            .map(|_| Box::pin(File::open("Cargo.toml")))
            .collect();
        poll_fn(|context| {
            for open in &mut opens {
                assert!(open.as_mut().poll(context).is_pending());
            }
            Poll::Ready(())
        })
        .await;
        while handle.stats().operations > 0 {
            yield_now().await;
        }
        assert_eq!(handle.stats().operation_rows, 100);
        assert_eq!(common::descriptors(), baseline.descriptors() + 100);
        drop(opens);
        baseline.returns("unread opens").await;
    });
}

/// The runtime ends while operations are in flight.
#[test]
fn a_runtime_dropped_during_a_storm_frees_nothing_too_early() {
    if ran_in_own_process() {
        return;
    }
    let mut random = Random::new();
    // The descriptor that other threads use to wake a runtime is kept for the next one.
    drop(Runtime::new().unwrap());
    let before = (common::descriptors(), Watched::alive());
    for (name, _) in rings() {
        for _ in 0..10 {
            let (_, ring) = rings().into_iter().find(|ring| ring.0 == name).unwrap();
            let dir = directory();
            let path = dir.path().join("file");
            std::fs::write(&path, pattern(40_000)).unwrap();
            let mut runtime = ring.build().unwrap();
            let turns = random.below(4);
            let outside = runtime.block_on(async {
                let mut options = OpenOptions::new();
                let direct = options
                    .read(true)
                    .custom_flags(libc::O_DIRECT)
                    .open(&path)
                    .await
                    .unwrap();
                let (empty, writer) = pipe();
                let parked = empty.read(Watched::new(100, 1)).submit();
                for n in 0..40 {
                    let read = direct.read_at(Watched::new(1024, 512), n * 512).submit();
                    drop(gimmal::spawn(async move { read.await.map(drop) }));
                    let path = path.clone();
                    drop(gimmal::spawn(async move { fs::read(path).await.map(drop) }));
                }
                for _ in 0..turns {
                    next_turn().await;
                }
                (parked, writer)
            });
            drop(runtime);
            Watched::check(&name);
            drop(outside);
            Watched::check_and_forget(&name);
            assert_eq!((common::descriptors(), Watched::alive()), before, "{name}");
        }
    }
}

/// An operation that counts how often its entry is requested.
struct EntryCounter(Rc<Cell<usize>>);

// SAFETY: the entry has no address and no descriptor.
unsafe impl Operation for EntryCounter {
    type Output = io::Result<()>;
    const NAME: &'static str = "asked";

    fn entry(&mut self) -> Entry {
        self.0.set(self.0.get() + 1);
        Entry::new(Opcode::NOP)
    }

    fn complete(self, completion: Completion) -> io::Result<()> {
        completion.result().map(drop)
    }

    fn fail(self, error: io::Error) -> io::Result<()> {
        Err(error)
    }

    fn had_no_effect(&self, _: Completion) -> bool {
        false
    }

    fn dispose(&mut self, _: Completion) {}
}

#[test]
fn the_entry_is_requested_once_if_an_operation_starts_and_never_otherwise() {
    if ran_in_own_process() {
        return;
    }
    let (started, rejected) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let ended: io::Result<()> = gimmal::run(async {
        Op::new(EntryCounter(started.clone())).await?;
        Op::new(EntryCounter(started.clone())).submit().await?;
        let rejected = rejected.clone();
        drop(gimmal::spawn(async move {
            // Canceled, because the program ends.
            assert!(gimmal::sleep(Duration::MAX).await.is_err());
            for op in [
                Op::new(EntryCounter(rejected.clone())),
                Op::new(EntryCounter(rejected.clone())).submit(),
            ] {
                assert!(gimmal::is_canceled(&op.await.unwrap_err()));
            }
        }));
        next_turn().await;
        Ok(())
    });
    ended.unwrap();
    assert_eq!((started.get(), rejected.get()), (2, 0));
    assert_eq!(Rc::strong_count(&rejected), 1, "the task has ended");
}

/// An operation with many completions. Disposing of one drops a socket with a read in flight, for which the kernel is
/// entered at once.
struct Ticks {
    ticker: OwnedFd,
    socket: Option<(UnixStream, Op<Recv<Vec<u8>>>)>,
    disposed: Rc<Cell<u32>>,
}

// SAFETY: the entry has no address. The operation holds the descriptor. Each completion of a multishot poll but the last
// has MORE.
unsafe impl Operation for Ticks {
    type Output = ();
    const NAME: &'static str = "ticks";

    fn entry(&mut self) -> Entry {
        const MULTISHOT: u32 = 1;
        Entry::new(Opcode::POLL_ADD)
            .fd(self.ticker.as_raw_fd())
            .len(MULTISHOT)
            .op_flags(libc::POLLIN as u32)
    }

    fn complete(self, _: Completion) {}

    fn fail(self, _: io::Error) {}

    fn dispose(&mut self, _: Completion) {
        self.disposed.set(self.disposed.get() + 1);
        if let Some((stream, read)) = self.socket.take() {
            // The read is dropped after the owner of its descriptor.
            drop(stream);
            drop(read);
        }
    }
}

#[test]
fn a_disposal_may_end_operations_at_once() {
    let faults = Faults::default();
    let mut runtime = faults.hear(Runtime::builder()).build().unwrap();
    runtime.block_on(async {
        let (stream, peer) = UnixStream::pair().unwrap();
        let read = stream.read(vec![0; 1]).submit();
        // SAFETY: the call has no pointers, and the descriptor it returns is new.
        let ticker = unsafe { OwnedFd::from_raw_fd(libc::eventfd(0, libc::EFD_CLOEXEC)) };
        let mut tick = std::fs::File::from(ticker.try_clone().unwrap());
        let disposed = Rc::new(Cell::new(0));
        let mut ticks = Op::new(Ticks {
            ticker,
            socket: Some((stream, read)),
            disposed: disposed.clone(),
        });
        assert!(poll_once(&mut ticks).await.is_pending());
        next_turn().await;
        tick.write_all(&1u64.to_ne_bytes()).unwrap();
        for _ in 0..10 {
            next_turn().await;
        }
        // One completion is collected, and the last one comes while that is disposed of.
        drop(ticks);
        while Handle::current().stats().operation_rows > 0 {
            next_turn().await;
        }
        assert_eq!(disposed.get(), 2);
        assert_eq!(peer.read(vec![0; 1]).await.unwrap().0, 0);
    });
    drop(runtime);
    faults.expect(&[]);
}
