//! Reads and writes at the cursor of a file that end partway, or that take the disk a long time: their counts, the
//! content of the file and the cursors agree, and match the same calls in std.

use common::{
    Baseline, assert_passed, child, directory, is_child, next_turn, ran_in_own_process, rings,
};
use gimmal::buf::AlignedBuf;
use gimmal::fs::{File, OpenOptions};
use gimmal::io::{AsyncWrite, BufWriter, PipeReader, PipeWriter, copy};
use gimmal::{Runtime, errno, join};
use std::ffi::{CStr, CString};
use std::io::{self, ErrorKind, IoSlice, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// All pages differ.
fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|n| (n % 251) as u8 ^ (n >> 12) as u8)
        .collect()
}

fn position(file: &impl AsFd) -> u64 {
    let same = file.as_fd().try_clone_to_owned().unwrap();
    std::fs::File::from(same).stream_position().unwrap()
}

/// How a file is opened, how long it is, and where its cursor is.
#[derive(Clone, Copy, Debug)]
struct Start {
    append: bool,
    len: usize,
    cursor: u64,
}

const STARTS: [Start; 5] = [
    Start {
        append: false,
        len: 0,
        cursor: 0,
    },
    Start {
        append: false,
        len: 10_000,
        cursor: 7000,
    },
    // The write starts beyond the end.
    Start {
        append: false,
        len: 5000,
        cursor: 9001,
    },
    Start {
        append: true,
        len: 0,
        cursor: 0,
    },
    Start {
        append: true,
        len: 10_000,
        cursor: 3,
    },
];

impl Start {
    fn open(self, path: &Path) -> std::fs::File {
        // A dropped write may hold space on a full disk until the kernel is done with it.
        for _ in 0..2000 {
            match std::fs::write(path, vec![b'.'; self.len]) {
                Err(error) if error.kind() == ErrorKind::StorageFull => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                written => {
                    written.unwrap();
                    break;
                }
            }
        }
        let mut options = std::fs::OpenOptions::new();
        let options = options.read(true).write(true).append(self.append);
        let mut file = options.open(path).unwrap();
        file.seek(SeekFrom::Start(self.cursor)).unwrap();
        file
    }
}

/// The calls that write the bytes.
#[derive(Clone, Copy, Debug)]
enum By {
    Write,
    Vectored,
    All,
    PipeWrite,
    PipeVectored,
    PipeAll,
}

const WAYS: [By; 6] = [
    By::Write,
    By::Vectored,
    By::All,
    By::PipeWrite,
    By::PipeVectored,
    By::PipeAll,
];

/// The results of the calls up to the first error: the number of bytes, or the errno. For `write_all`, the bytes before
/// the error count as one call.
type Calls = Vec<Result<usize, Option<i32>>>;

/// Three buffers; the second one is empty.
fn thirds(data: &[u8]) -> Vec<Vec<u8>> {
    let (a, b) = data.split_at(data.len() / 3);
    vec![a.to_vec(), Vec::new(), b.to_vec()]
}

/// One call, as a number of bytes.
async fn call(file: &File, pipe: &PipeWriter, by: By, rest: &[u8]) -> Result<usize, Option<i32>> {
    let written = match by {
        By::Write => file
            .write(rest.to_vec())
            .await
            .map(|(n, _)| n)
            .map_err(Into::into),
        By::Vectored => file
            .write_vectored(thirds(rest))
            .await
            .map(|(n, _)| n)
            .map_err(Into::into),
        By::PipeWrite => pipe
            .write(rest.to_vec())
            .await
            .map(|(n, _)| n)
            .map_err(Into::into),
        By::PipeVectored => pipe
            .write_vectored(thirds(rest))
            .await
            .map(|(n, _)| n)
            .map_err(Into::into),
        By::All | By::PipeAll => unreachable!("not a single call"),
    };
    written.map_err(|error: io::Error| errno(&error))
}

async fn ours(file: std::fs::File, by: By, data: &[u8]) -> Calls {
    let pipe = PipeWriter::from(OwnedFd::from(file.try_clone().unwrap()));
    let file = File::from(file);
    let mut calls = Calls::new();
    if let By::All | By::PipeAll = by {
        let written = match by {
            By::All => file.write_all(data.to_vec()).await,
            _ => pipe.write_all(data.to_vec()).await,
        };
        match written {
            Ok(_) => calls.push(Ok(data.len())),
            Err(error) => {
                assert_eq!(error.buf(), data);
                calls.extend([Ok(error.transferred()), Err(errno(&error))]);
            }
        }
        return calls;
    }
    let mut done = 0;
    while done < data.len() {
        let one = call(&file, &pipe, by, &data[done..]).await;
        calls.push(one);
        let Ok(n) = one else { break };
        done += n;
    }
    calls
}

fn oracle(mut file: std::fs::File, by: By, data: &[u8]) -> Calls {
    let mut calls = Calls::new();
    let mut done = 0;
    while done < data.len() {
        let rest = thirds(&data[done..]);
        let slices: Vec<_> = rest.iter().map(|part| IoSlice::new(part)).collect();
        let one = match by {
            By::Vectored | By::PipeVectored => file.write_vectored(&slices),
            _ => file.write(&data[done..]),
        };
        let one = one.map_err(|error| error.raw_os_error());
        calls.push(one);
        let Ok(n) = one else { break };
        done += n;
    }
    match by {
        By::All | By::PipeAll => {
            let error = calls.last().copied().filter(Result::is_err);
            [Ok(done)].into_iter().chain(error).collect()
        }
        _ => calls,
    }
}

/// Writes until no more is accepted, in each way and from each start, and compares with std.
async fn compare_writes(dir: &Path, len: usize, mut reset: impl FnMut()) {
    let data = pattern(len);
    for start in STARTS {
        for by in WAYS {
            let what = format!("{start:?}, {by:?}");
            let path = dir.join("file");
            let mut both = Vec::new();
            // An empty tmpfs with a size limit sometimes rejects a write as if it were full, both for std and for the
            // ring (seen on 6.18). The write is then retried.
            for _ in 0..100 {
                both.clear();
                for is_ours in [false, true] {
                    reset();
                    let file = start.open(&path);
                    let same = file.try_clone().unwrap();
                    let calls = match is_ours {
                        true => ours(file, by, &data).await,
                        false => oracle(file, by, &data),
                    };
                    both.push((calls, position(&same), std::fs::read(&path).unwrap()));
                    drop(same);
                    std::fs::remove_file(&path).unwrap();
                }
                let has_written = |(calls, ..): &(Calls, _, _)| calls[0].is_ok_and(|n| n > 0);
                if both.iter().all(has_written) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            let (expected, got) = (&both[0], &both[1]);
            assert!(
                expected.0.last().unwrap().is_err(),
                "{what}: {:?}",
                expected.0
            );
            assert!(
                expected.0[0].is_ok_and(|n| n > 0),
                "{what}: {:?}",
                expected.0
            );
            assert_eq!(got.0, expected.0, "{what}");
            assert_eq!(got.1, expected.1, "{what}: cursor");
            assert!(
                got.2 == expected.2,
                "{what}: {} bytes of {}",
                got.2.len(),
                expected.2.len()
            );
        }
    }
}

/// Through a `BufWriter`: the bytes it accepted are in the file, or still in its buffer.
async fn buffered(path: &Path, len: usize) {
    let data = pattern(len);
    for piece in [100, 3000, 30_000] {
        let file = File::create(path).await.unwrap();
        let same = file.try_clone().unwrap();
        let mut writer = BufWriter::with_capacity(20_000, file);
        let mut taken = 0;
        let error = loop {
            let next = data[taken..]
                .chunks(piece)
                .next()
                .unwrap_or_default()
                .to_vec();
            match writer.write_all(next).await {
                Ok(back) => taken += back.len(),
                Err(error) => {
                    taken += error.transferred();
                    break error.into_error();
                }
            }
        };
        let full = errno(&error);
        assert!(
            [Some(libc::EFBIG), Some(libc::ENOSPC)].contains(&full),
            "{error}"
        );
        // Again: nothing is written twice, and nothing is missing.
        if !writer.buffer().is_empty() {
            let error = writer.flush().await.unwrap_err();
            assert_eq!(errno(&error), full);
        }
        let there = std::fs::read(path).unwrap();
        assert!(there == data[..there.len()], "{piece}");
        assert_eq!(position(&same), there.len() as u64, "{piece}");
        assert_eq!(there.len() + writer.buffer().len(), taken, "{piece}");
        assert!(writer.buffer() == &data[there.len()..taken], "{piece}");
        drop((writer, same));
        std::fs::remove_file(path).unwrap();
    }
}

/// A copy that stops and continues once there is room: by splices and through buffers.
async fn copied(source: &Path, path: &Path, len: usize, more: impl Fn(), less: impl Fn()) {
    let data = pattern(len);
    for (spliced, append) in [(false, false), (false, true), (true, false)] {
        more();
        std::fs::write(source, &data).unwrap();
        std::fs::write(path, "").unwrap();
        less();
        let what = format!("spliced: {spliced}, append: {append}");
        let mut reader = File::open(source).await.unwrap();
        let mut options = OpenOptions::new();
        options.write(!append).append(append);
        let writer = options.open(path).await.unwrap();
        let error = match spliced {
            true => copy(&mut reader, &mut &writer).await.unwrap_err(),
            // Hides that the writer supports splices.
            false => copy(&mut reader, &mut Plain(&writer)).await.unwrap_err(),
        };
        let there = std::fs::read(path).unwrap();
        assert!(!there.is_empty(), "{what}");
        assert!(there == data[..there.len()], "{what}");
        assert_eq!(error.copied(), there.len() as u64, "{what}");
        assert_eq!(position(&writer), there.len() as u64, "{what}");
        assert_eq!(position(&reader), there.len() as u64, "{what}");
        assert!(error.unwritten().is_empty(), "{what}");
        more();
        let rest = copy(&mut reader, &mut Plain(&writer)).await.unwrap();
        assert_eq!(rest, (data.len() - there.len()) as u64, "{what}");
        assert!(std::fs::read(path).unwrap() == data, "{what}");
    }
}

struct Plain<'a>(&'a File);

impl AsyncWrite for Plain<'_> {
    fn write<B: gimmal::buf::IoBuf>(
        &mut self,
        buf: B,
    ) -> impl Future<Output = gimmal::buf::BufResult<usize, B>> {
        self.0.write(buf)
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A dropped write leaves the cursor at the end of the bytes it wrote.
async fn dropped(path: &Path, len: usize) {
    for start in STARTS {
        let file = start.open(path);
        let same = file.try_clone().unwrap();
        let file = File::from(file);
        let baseline = Baseline::take();
        let write = file.write(pattern(len)).submit();
        next_turn().await;
        drop(write);
        baseline.operations_return("a dropped write").await;
        let end = std::fs::metadata(path).unwrap().len();
        // A write canceled before it started has moved nothing.
        let ends = [end, start.cursor];
        assert!(
            ends.contains(&position(&same)),
            "{start:?}: {} of {end}",
            position(&same)
        );
        if end > start.len as u64 {
            assert_eq!(position(&same), end, "{start:?}");
        }
        drop((file, same));
        std::fs::remove_file(path).unwrap();
    }
}

fn limit_file_size(bytes: u64) {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid rlimit.
    let got = unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) };
    assert_eq!(got, 0);
    limit.rlim_cur = bytes.min(limit.rlim_max);
    // SAFETY: `limit` is a valid rlimit.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) };
    assert_eq!(set, 0);
}

#[track_caller]
fn passes_in_own_child(test: &str) {
    let output = child(test, &[]).output().unwrap();
    assert_passed(test, &output);
    common::relay_skips(&String::from_utf8_lossy(&output.stderr));
}

#[test]
fn writes_at_the_cursor_up_to_a_size_limit_behave_as_in_std() {
    if !is_child() {
        return passes_in_own_child("writes_at_the_cursor_up_to_a_size_limit_behave_as_in_std");
    }
    // SAFETY: no handler is set.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let dir = directory();
    let (file, source) = (dir.path().join("file"), dir.path().join("source"));
    for (name, ring) in rings() {
        println!("ring: {name}");
        let mut runtime = ring.build().unwrap();
        runtime.block_on(async {
            for limit in [40_960, 40_000] {
                let (less, more) = (|| limit_file_size(limit), || limit_file_size(u64::MAX));
                less();
                compare_writes(dir.path(), 200_000, || {}).await;
                buffered(&file, 200_000).await;
                dropped(&file, 200_000).await;
                copied(&source, &file, 600_000, more, less).await;
                more();
            }
        });
    }
}

/// Mounts a tmpfs in a mount namespace of its own.
fn mount_tmpfs(at: &Path, options: &str) -> io::Result<()> {
    let at = CString::new(at.as_os_str().as_bytes()).unwrap();
    let options = CString::new(options).unwrap();
    let mount = |from: &CString, flags, data: *const libc::c_char| {
        let none = c"none".as_ptr();
        // SAFETY: the strings are nul-terminated and outlive the call; `data` is a string or null.
        match unsafe { libc::mount(none, from.as_ptr(), c"tmpfs".as_ptr(), flags, data.cast()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: no address is passed.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let root = c"/".to_owned();
    mount(&root, libc::MS_REC | libc::MS_PRIVATE, std::ptr::null())?;
    mount(&at, 0, options.as_ptr())
}

/// Waits until a file system without files is empty: the kernel releases the last file after the last request on it,
/// which may be after the completion.
fn wait_for_room(at: &CStr) {
    for _ in 0..2000 {
        // SAFETY: `statvfs` consists of plain integers.
        let mut room = unsafe { std::mem::zeroed::<libc::statvfs>() };
        // SAFETY: the path is nul-terminated, and `room` is written during the call.
        assert_eq!(unsafe { libc::statvfs(at.as_ptr(), &raw mut room) }, 0);
        if room.f_bfree == room.f_blocks {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn writes_at_the_cursor_on_a_full_disk_behave_as_in_std() {
    if !is_child() {
        return passes_in_own_child("writes_at_the_cursor_on_a_full_disk_behave_as_in_std");
    }
    let dir = directory();
    let at = CString::new(dir.path().as_os_str().as_bytes()).unwrap();
    if let Err(error) = mount_tmpfs(dir.path(), "size=100k") {
        return common::skip!("cannot mount a tmpfs: {error}");
    }
    let disk = directory();
    let (file, source) = (dir.path().join("file"), disk.path().join("source"));
    // Takes space until there has to be room.
    let filler = dir.path().join("filler");
    for (name, ring) in rings() {
        println!("ring: {name}");
        let mut runtime = ring.build().unwrap();
        runtime.block_on(async {
            compare_writes(dir.path(), 200_000, || wait_for_room(&at)).await;
            buffered(&file, 200_000).await;
            dropped(&file, 200_000).await;
            for filled in [50_000, 10_000] {
                let less = || std::fs::write(&filler, vec![0; filled]).unwrap();
                let more = || _ = std::fs::remove_file(&filler);
                copied(&source, &file, 98_000, more, less).await;
                std::fs::remove_file(&file).unwrap();
            }
        });
    }
}

/// Opens a file with O_DIRECT, or returns `None` if the file system has none.
fn direct(path: &Path) -> Option<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_DIRECT);
    options.open(path).ok()
}

const BLOCK: usize = 4096;

fn block(byte: u8, blocks: usize) -> AlignedBuf {
    let mut buf = AlignedBuf::new(blocks * BLOCK, BLOCK).unwrap();
    buf.resize(blocks * BLOCK, byte);
    buf
}

#[test]
fn direct_reads_and_writes_move_the_cursor() {
    if ran_in_own_process() {
        return;
    }
    let dir = directory();
    let path = dir.path().join("file");
    let data = pattern(10 * BLOCK + 100);
    std::fs::write(&path, &data).unwrap();
    let Some(file) = direct(&path) else {
        return common::skip!("this file system does not support O_DIRECT");
    };
    for (name, ring) in rings() {
        println!("ring: {name}");
        let mut runtime = ring.build().unwrap();
        runtime.block_on(async {
            std::fs::write(&path, &data).unwrap();
            (&file).rewind().unwrap();
            let ours = File::from(file.try_clone().unwrap());
            let mut all = Vec::new();
            loop {
                let at_once = all.len() / BLOCK % 3 + 1;
                let (n, buf) = match at_once {
                    2 => {
                        let bufs = [block(0, 1), block(0, 1)];
                        let (n, [a, b]) = ours.read_vectored(bufs).await.unwrap();
                        (n, [&a[..], &b].concat())
                    }
                    _ => {
                        let (n, buf) = ours.read(block(0, at_once)).await.unwrap();
                        (n, buf.to_vec())
                    }
                };
                all.extend_from_slice(&buf[..n]);
                assert_eq!(position(&file), all.len() as u64);
                if n == 0 {
                    break;
                }
            }
            assert!(all == data, "{} bytes", all.len());
            // As the end of a pipe, and to the end in a loop.
            (&file).rewind().unwrap();
            let pipe = PipeReader::from(OwnedFd::from(file.try_clone().unwrap()));
            let (n, buf) = pipe.read(block(0, 2)).await.unwrap();
            assert_eq!((n, position(&file)), (2 * BLOCK, 2 * BLOCK as u64));
            assert!(buf[..] == data[..2 * BLOCK]);
            let buf = ours.read_exact(block(0, 3), 3 * BLOCK).await.unwrap();
            assert!(buf[..] == data[2 * BLOCK..5 * BLOCK]);
            assert_eq!(position(&file), 5 * BLOCK as u64);
            // Overwrites the file, then extends it.
            (&file).rewind().unwrap();
            let to = PipeWriter::from(OwnedFd::from(file.try_clone().unwrap()));
            for turn in 0..3 {
                let first = turn * 4 + 1;
                ours.write(block(first, 1)).await.unwrap();
                ours.write_all(block(first + 1, 1)).await.unwrap();
                to.write_all(block(first + 2, 1)).await.unwrap();
                let bufs = [block(first + 3, 1), block(first + 3, 1)];
                ours.write_vectored(bufs).await.unwrap();
                assert_eq!(
                    position(&file),
                    (usize::from(turn) + 1) as u64 * 5 * BLOCK as u64
                );
            }
            let expected: Vec<u8> = (0..3u8)
                .flat_map(|turn| [1, 2, 3, 4, 4].map(|byte| turn * 4 + byte))
                .flat_map(|byte| [byte; BLOCK])
                .collect();
            assert!(std::fs::read(&path).unwrap() == expected);
            // A dropped write has moved the cursor by what it wrote, or not at all.
            let baseline = Baseline::take();
            let write = ours.write(block(99, 1)).submit();
            next_turn().await;
            drop(write);
            baseline.operations_return("a dropped write").await;
            let end = std::fs::metadata(&path).unwrap().len();
            assert_eq!(position(&file), end);
        });
    }
}

/// A block device whose reads fail beyond the end of its backing file.
struct Loop {
    device: PathBuf,
    backing: std::fs::File,
}

impl Loop {
    fn new(dir: &Path, contents: &[u8]) -> Option<Loop> {
        let path = dir.join("backing");
        std::fs::write(&path, contents).unwrap();
        let made = Command::new("losetup")
            .args(["--find", "--show"])
            .arg(&path)
            .output()
            .ok()?;
        let device = String::from_utf8(made.stdout).unwrap();
        let backing = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        made.status.success().then(|| Loop {
            device: PathBuf::from(device.trim_end()),
            backing,
        })
    }

    /// Without read-ahead.
    fn open(&self) -> std::fs::File {
        let file = std::fs::File::open(&self.device).unwrap();
        let (fd, advice) = (file.as_raw_fd(), libc::POSIX_FADV_RANDOM);
        // SAFETY: no address is passed.
        let advised = unsafe { libc::posix_fadvise(fd, 0, 0, advice) };
        assert_eq!(advised, 0);
        file
    }

    /// Drops the cache, then reads the first `len` bytes into it.
    fn cache(&self, len: usize) {
        let file = self.open();
        // SAFETY: no address is passed.
        let flushed = unsafe { libc::ioctl(file.as_raw_fd(), BLKFLSBUF, 0) };
        assert_eq!(flushed, 0);
        let mut cached = vec![0; len];
        file.read_exact_at(&mut cached, 0).unwrap();
    }
}

const BLKFLSBUF: libc::Ioctl = 0x1261;

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup")
            .arg("--detach")
            .arg(&self.device)
            .status();
    }
}

/// The results of reads of `len` bytes each, up to the first error.
fn reads_with_std(mut file: &std::fs::File, len: usize) -> Calls {
    let mut calls = Calls::new();
    loop {
        let one = file
            .read(&mut vec![0; len])
            .map_err(|error| error.raw_os_error());
        calls.push(one);
        if !one.is_ok_and(|n| n > 0) {
            return calls;
        }
    }
}

#[test]
fn reads_at_the_cursor_up_to_a_bad_block_behave_as_in_std() {
    if ran_in_own_process() {
        return;
    }
    const GOOD: usize = 16 * BLOCK;
    let dir = directory();
    let data = pattern(2 * GOOD);
    let Some(device) = Loop::new(dir.path(), &data) else {
        return common::skip!("no loop device available");
    };
    device.backing.set_len(GOOD as u64).unwrap();
    for (name, ring) in rings() {
        println!("ring: {name}");
        let mut runtime = ring.build().unwrap();
        for len in [3 * BLOCK, 5 * BLOCK, GOOD + BLOCK, 1000] {
            for pipe in [false, true] {
                let open = || {
                    device.cache(GOOD);
                    device.open()
                };
                let oracle = open();
                let expected = reads_with_std(&oracle, len);
                let end = position(&oracle);
                drop(oracle);
                let same = open();
                runtime.block_on(async {
                    let fd = OwnedFd::from(same.try_clone().unwrap());
                    let (file, reader) = match pipe {
                        true => (None, Some(PipeReader::from(fd))),
                        false => (Some(File::from(fd)), None),
                    };
                    let mut calls = Calls::new();
                    let mut all = Vec::new();
                    loop {
                        let buf = Vec::with_capacity(len);
                        let read = match (&file, &reader) {
                            (Some(file), _) => file.read(buf).await,
                            (_, Some(reader)) => reader.read(buf).await,
                            _ => unreachable!("one of them exists"),
                        };
                        match read {
                            Ok((n, buf)) => {
                                all.extend_from_slice(&buf);
                                calls.push(Ok(n));
                                assert!(
                                    n > 0 && all.len() <= GOOD,
                                    "{calls:?} differs from {expected:?}"
                                );
                            }
                            Err(error) => {
                                calls.push(Err(errno(&error)));
                                break;
                            }
                        }
                    }
                    // A nonblocking direct call may return fewer bytes at once than one that waits.
                    let sum = |calls: &Calls| calls.iter().flatten().sum::<usize>();
                    assert_eq!(sum(&calls), sum(&expected), "{len}");
                    assert_eq!(calls.last(), expected.last(), "{len}");
                    assert!(all == data[..all.len()], "{len}");
                    assert_eq!(position(&same), end, "{len}");
                });
            }
        }
        // A copy ends there, and leaves the reader there.
        runtime.block_on(async {
            device.cache(GOOD);
            let mut reader = File::open(&device.device).await.unwrap();
            let mut writer = File::create(dir.path().join("copy")).await.unwrap();
            let error = copy(&mut reader, &mut writer).await.unwrap_err();
            assert_eq!(errno(&error), Some(libc::EIO));
            let there = std::fs::read(dir.path().join("copy")).unwrap();
            assert_eq!(error.copied(), there.len() as u64);
            assert_eq!(position(&reader), there.len() as u64);
            assert!(there == data[..there.len()]);
        });
    }
}

/// io_uring treats `/proc/self/mem` as a regular file, which can be read as far as memory is mapped.
#[test]
fn reads_and_writes_across_the_end_of_mapped_memory_behave_as_in_std() {
    // The memory behind the mapping must not change meanwhile, as it could with the threads of other tests.
    if !is_child() {
        return passes_in_own_child(
            "reads_and_writes_across_the_end_of_mapped_memory_behave_as_in_std",
        );
    }
    // SAFETY: a new mapping at any address.
    let map = unsafe {
        let (kind, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        let map = libc::mmap(std::ptr::null_mut(), 2 * BLOCK, kind, flags, -1, 0);
        assert_ne!(map, libc::MAP_FAILED);
        // The second half becomes inaccessible, but stays reserved.
        assert_eq!(
            libc::mprotect(map.byte_add(BLOCK), BLOCK, libc::PROT_NONE),
            0
        );
        map
    };
    let end = map.addr() + BLOCK;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.read(true).open("/proc/self/mem").unwrap();
    for (name, ring) in rings() {
        println!("ring: {name}");
        ring.build().unwrap().block_on(async {
            for before in [1, 100, BLOCK] {
                let start = SeekFrom::Start((end - before) as u64);
                file.seek(start).unwrap();
                let first = file.read(&mut vec![0; 2 * BLOCK]).unwrap();
                let after = position(&file);
                file.seek(start).unwrap();
                let ours = File::from(file.try_clone().unwrap());
                let (n, _) = ours.read(Vec::with_capacity(2 * BLOCK)).await.unwrap();
                assert_eq!((n, position(&file)), (first, after), "{before}");
                let next = ours.read_vectored([vec![0; BLOCK], vec![0; BLOCK]]).await;
                let next = next.map(|(n, _)| n).map_err(|error| errno(&error));
                file.seek(SeekFrom::Start(after)).unwrap();
                let expected = file.read(&mut vec![0; 2 * BLOCK]);
                let expected = expected.map_err(|error| error.raw_os_error());
                assert_eq!(next, expected, "{before}");
            }
        });
    }
    // SAFETY: the mapping was created above, and nothing refers to it.
    assert_eq!(unsafe { libc::munmap(map, 2 * BLOCK) }, 0);
}

/// Other users of a shared cursor see it move, and so does this file for their moves.
#[test]
fn a_shared_cursor_is_followed() {
    if ran_in_own_process() {
        return;
    }
    let dir = directory();
    let path = dir.path().join("file");
    for (name, ring) in rings() {
        println!("ring: {name}");
        for append in [false, true] {
            let mut options = std::fs::OpenOptions::new();
            let _ = std::fs::remove_file(&path);
            let mut file = options
                .write(!append)
                .append(append)
                .create(true)
                .open(&path)
                .unwrap();
            ring.clone().build().unwrap().block_on(async {
                let ours = File::from(file.try_clone().unwrap());
                let mut expected = Vec::new();
                for turn in 0..20u8 {
                    let piece = vec![turn; 1000 + usize::from(turn)];
                    expected.extend_from_slice(&piece);
                    match turn % 3 {
                        0 => _ = ours.write_all(piece).await.unwrap(),
                        1 => file.write_all(&piece).unwrap(),
                        _ => {
                            let text = String::from_utf8(piece).unwrap();
                            let mut echo = Command::new("printf");
                            echo.args(["%s", &text.replace('\0', "")])
                                .stdout(file.try_clone().unwrap());
                            assert!(echo.status().unwrap().success());
                        }
                    }
                    assert_eq!(position(&file), expected.len() as u64);
                }
                assert!(std::fs::read(&path).unwrap() == expected);
            });
        }
    }
}

/// Concurrent writes at the cursor are written one after another.
#[test]
fn concurrent_writes_at_the_cursor_do_not_overwrite_each_other() {
    if ran_in_own_process() {
        return;
    }
    let dir = directory();
    let mut runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let file = File::create(dir.path().join("file")).await.unwrap();
        let (a, b, c) = join((
            file.write_all(vec![1; 5000]),
            file.write_all(vec![2; 6000]),
            file.write_vectored([vec![3; 100], vec![3; 200]]),
        ))
        .await;
        assert!(a.is_ok() && b.is_ok());
        assert_eq!(c.unwrap().0, 300);
        assert_eq!(position(&file), 11_300);
        let all = std::fs::read(dir.path().join("file")).unwrap();
        let count = |byte| all.iter().filter(|it| **it == byte).count();
        assert_eq!([1, 2, 3].map(count), [5000, 6000, 300]);
    });
}
