//! A lone read of a file is a direct call if the bytes are cached, and always returns what the ring would return.

use crate::direct_calls::{both, calls, most_in_a_turn};
use common::{Random, block_on, directory, next_turn, poll_once};
use gimmal::cancel::Scope;
use gimmal::fs::{self, File, OpenOptions};
use gimmal::runtime::FeatureMask;
use gimmal::{Runtime, is_canceled, is_timeout, join, race, sleep, spawn, yield_now};
use std::cell::Cell;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// The maximum length of a direct call.
const CALL_MAX: usize = 64 << 10;

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n / 251 + n % 251) as u8).collect()
}

/// A file of `len` bytes that was written back to disk, so that its pages can be dropped.
fn file_of(dir: &tempfile::TempDir, name: &str, len: usize) -> PathBuf {
    let path = dir.path().join(name);
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(&bytes(len)).unwrap();
    file.sync_all().unwrap();
    path
}

fn drop_from_memory(file: &std::fs::File) {
    // SAFETY: no address is passed.
    let error = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    assert_eq!(error, 0);
}

/// Whether a byte of a file whose pages were dropped can be read without waiting.
fn is_cached(file: &std::fs::File, offset: u64) -> bool {
    let mut byte = [0u8];
    let vector = libc::iovec {
        iov_base: byte.as_mut_ptr().cast(),
        iov_len: 1,
    };
    // SAFETY: one vector of one writable byte.
    let read = unsafe {
        libc::preadv2(
            file.as_raw_fd(),
            &vector,
            1,
            offset as i64,
            libc::RWF_NOWAIT,
        )
    };
    read == 1
}

#[test]
fn a_lone_cached_read_needs_no_enter() {
    const SIZE: usize = 256 << 10;
    let dir = directory();
    let path = file_of(&dir, "file", SIZE);
    let all = bytes(SIZE);
    both(async |attempts| {
        let file = File::open(&path).await.unwrap();
        let check = |made: u64, enters: u64| match attempts {
            // Some of them still go into the ring, and so do those that come after many direct calls.
            true => assert!(made > 200 && enters < 56, "{made} calls, {enters} enters"),
            false => assert!(made == 0 && enters >= 256, "{made} calls, {enters} enters"),
        };
        let ((), made, enters) = calls(async {
            for n in 0..256usize {
                let at = n * 997;
                let (read, buf) = file.read_at(vec![0; 512], at as u64).await.unwrap();
                assert!(read == 512 && buf == all[at..at + 512]);
            }
        })
        .await;
        check(made, enters);
        let ((), made, enters) = calls(async {
            for (n, part) in all.chunks(1024).enumerate() {
                let (read, buf) = file.read(Vec::with_capacity(1024)).await.unwrap();
                assert!(read == 1024 && buf == part, "part {n}");
            }
        })
        .await;
        check(made, enters);
        let cursor = |file: &File| {
            let file = file.try_clone().unwrap().into_std().unwrap();
            (&file).stream_position().unwrap()
        };
        assert_eq!(cursor(&file), SIZE as u64);
        let std = file.try_clone().unwrap().into_std().unwrap();
        (&std).seek(SeekFrom::Start(3)).unwrap();
        let ((), made, enters) = calls(async {
            for n in 0..128usize {
                let room = (vec![0; 10], Vec::with_capacity(20));
                let (read, (a, b)) = file.read_vectored_at(room, n as u64).await.unwrap();
                assert!(read == 30 && a == all[n..n + 10] && b == all[n + 10..n + 30]);
                let room = (vec![0; 1], Vec::with_capacity(2));
                let (read, (a, b)) = file.read_vectored(room).await.unwrap();
                let at = 3 + 3 * n;
                assert!(read == 3 && a == all[at..=at] && b == all[at + 1..at + 3]);
            }
        })
        .await;
        check(made, enters);
        assert_eq!(cursor(&file), 3 + 3 * 128);
    });
}

#[test]
fn concurrent_reads_go_into_the_ring() {
    let dir = directory();
    let path = file_of(&dir, "file", 4096);
    block_on(async {
        let file = Rc::new(File::open(&path).await.unwrap());
        next_turn().await;
        let read = |at| file.read_at(vec![0; 8], at);
        let ((), made, enters) = calls(async {
            let (a, b, c) = join((read(0), read(8), read(16))).await;
            assert_eq!([a, b, c].map(|read| read.unwrap().0), [8; 3]);
        })
        .await;
        assert_eq!((made, enters), (0, 1));
        let ((), made, _) = calls(async {
            let tasks: Vec<_> = (0..8)
                .map(|n| {
                    let file = file.clone();
                    spawn(async move { file.read_at(vec![0; 8], n).await.unwrap() })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
        })
        .await;
        assert_eq!(made, 0);
    });
}

/// A large read takes as long through the ring, and ends the turn.
#[test]
fn a_large_read_goes_into_the_ring() {
    let dir = directory();
    let path = file_of(&dir, "file", 4 * CALL_MAX);
    let all = bytes(4 * CALL_MAX);
    block_on(async {
        let file = File::open(&path).await.unwrap();
        for _ in 0..40 {
            let (read, made, _) = calls(file.read_at(vec![0; CALL_MAX + 1], 1)).await;
            assert_eq!((read.unwrap().1, made), (all[1..CALL_MAX + 2].to_vec(), 0));
            let room = (vec![0; CALL_MAX], vec![0; 1]);
            let (read, made, _) = calls(file.read_vectored_at(room, 0)).await;
            assert_eq!((read.unwrap().0, made), (CALL_MAX + 1, 0));
        }
        let ((), made, _) = calls(async {
            for _ in 0..40 {
                next_turn().await;
                let read = file.read_at(vec![0; CALL_MAX], 0).await.unwrap();
                assert_eq!(read.0, CALL_MAX);
            }
        })
        .await;
        assert!(made > 30, "{made} calls");
    });
}

/// The results of reads of one kind of file, in order: the bytes, or an error.
type Results = Vec<Result<Vec<u8>, (io::ErrorKind, String)>>;

async fn results_of(made: impl Future<Output = gimmal::buf::BufResult<usize, Vec<u8>>>) -> Results {
    let read = made.await.map(|(n, buf)| {
        assert_eq!(n, buf.len());
        buf
    });
    let error = |error: gimmal::buf::BufError<Vec<u8>>| (error.kind(), error.to_string());
    vec![read.map_err(error)]
}

/// Prepares a file for each read.
type Fill = Box<dyn FnMut()>;

/// Each kind of file.
fn kinds(dir: &Path) -> Vec<(&'static str, OwnedFd, Fill)> {
    let open = |path: &Path| OwnedFd::from(std::fs::File::open(path).unwrap());
    let nothing = || Box::new(|| ()) as Fill;
    let hole = dir.join("hole");
    std::fs::File::create(&hole)
        .unwrap()
        .set_len(10_000)
        .unwrap();
    let written = dir.join("written");
    std::fs::write(&written, bytes(5000)).unwrap();
    let write_only = OwnedFd::from(std::fs::File::create(dir.join("empty")).unwrap());
    let mut kinds = vec![
        ("a file", open(&written), nothing()),
        ("a hole", open(&hole), nothing()),
        ("an empty file", open(&dir.join("empty")), nothing()),
        ("a write-only file", write_only, nothing()),
        ("a directory", open(dir), nothing()),
    ];
    for path in [
        "/proc/version",
        "/proc/self/comm",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "/dev/zero",
        "/dev/null",
        "/dev/full",
    ] {
        match std::fs::File::open(path) {
            Ok(file) => kinds.push((path, file.into(), nothing())),
            Err(error) => common::skip!("{path}: {error}"),
        }
    }
    let in_memory = Path::new("/dev/shm").join(format!("gimmal-{}", std::process::id()));
    match std::fs::write(&in_memory, bytes(300)) {
        Ok(()) => kinds.push(("a file on tmpfs", open(&in_memory), nothing())),
        Err(error) => common::skip!("{}: {error}", in_memory.display()),
    }
    let _gone = std::fs::remove_file(in_memory);

    let (reader, mut writer) = io::pipe().unwrap();
    let fill = move || writer.write_all(b"piped").unwrap();
    kinds.push(("a pipe", reader.into(), Box::new(fill)));
    let (reader, _) = io::pipe().unwrap();
    kinds.push(("a closed pipe", reader.into(), nothing()));
    let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
    let fill = move || far.write_all(b"sent").unwrap();
    kinds.push(("a socket", near.into(), Box::new(fill)));
    let (mut master, mut slave) = (0, 0);
    let null = std::ptr::null_mut();
    // SAFETY: two integers are written; the terminal gets no settings.
    let opened = unsafe { libc::openpty(&mut master, &mut slave, null, null.cast(), null.cast()) };
    assert_eq!(opened, 0);
    // SAFETY: `openpty` has just opened both descriptors.
    let [mut master, slave] = [master, slave].map(|fd| unsafe {
        use std::os::fd::FromRawFd as _;
        std::fs::File::from_raw_fd(fd)
    });
    let fill = move || master.write_all(b"typed\n").unwrap();
    kinds.push(("a terminal", slave.into(), Box::new(fill)));
    kinds
}

#[test]
fn every_kind_of_file_yields_what_it_yields_through_the_ring() {
    let read_all = |mask: FeatureMask| {
        let dir = directory();
        let mut runtime = Runtime::builder().mask(mask).build().unwrap();
        runtime.block_on(async {
            let mut read = Vec::new();
            for (kind, fd, mut fill) in kinds(dir.path()) {
                let std = std::fs::File::from(fd);
                let file = File::from_std(std.try_clone().unwrap());
                let mut results = Results::new();
                for round in 0..40 {
                    // A lone read in its turn is tried directly.
                    next_turn().await;
                    fill();
                    results.extend(results_of(file.read(vec![1; 64])).await);
                    for offset in [0, 299, 4990, 5000, 1 << 40] {
                        next_turn().await;
                        fill();
                        let at = results_of(file.read_at(vec![1; 64], offset)).await;
                        if let (Ok(bytes), Ok(n)) = (&at[0], std.read_at(&mut [0; 64], offset)) {
                            assert_eq!(bytes.len(), n, "{kind} at {offset}, round {round}");
                        }
                        results.extend(at);
                    }
                    if round == 20 {
                        // The cursor, if there is one, has reached the end.
                        let _sought = (&std).seek(SeekFrom::Start(7));
                    }
                }
                read.push((kind, results));
            }
            read
        })
    };
    let by_ring = read_all(FeatureMask::none().without_attempts());
    for mask in [FeatureMask::none(), FeatureMask::linux_5_15()] {
        for (by_call, by_ring) in read_all(mask).into_iter().zip(&by_ring) {
            assert_eq!(&by_call, by_ring);
        }
    }
    let of = |kind: &str| {
        let (_, results) = by_ring.iter().find(|(name, _)| *name == kind).unwrap();
        results[0].clone()
    };
    assert_eq!(of("a hole"), Ok(vec![0; 64]));
    assert_eq!(of("a pipe"), Ok(b"piped".to_vec()));
    assert_eq!(of("a terminal"), Ok(b"typed\n".to_vec()));
    let error = of("a directory").unwrap_err();
    assert_eq!(error.0, io::ErrorKind::IsADirectory);
}

/// A kind of file without nonblocking reads is tried once.
#[test]
fn files_without_nonblocking_reads_are_not_tried_again() {
    block_on(async {
        let file = File::open("/proc/version").await.unwrap();
        let ((), made, _) = calls(async {
            for _ in 0..2000 {
                next_turn().await;
                file.read_at(vec![0; 16], 0).await.unwrap();
            }
        })
        .await;
        assert!(made <= 1, "{made} calls");
    });
}

/// With O_DIRECT, a direct call would wait for the disk.
#[test]
fn a_direct_file_is_never_tried() {
    let dir = directory();
    let path = file_of(&dir, "file", 8192);
    block_on(async {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_DIRECT);
        let opened = match options.open(&path).await {
            Ok(file) => file,
            Err(error) => return common::skip!("O_DIRECT: {error}"),
        };
        let adopted = File::from_std(opened.try_clone().unwrap().into_std().unwrap());
        for file in [opened, adopted] {
            let ((), made, _) = calls(async {
                for _ in 0..50 {
                    next_turn().await;
                    let room = gimmal::buf::AlignedBuf::new(4096, 4096).unwrap();
                    assert_eq!(file.read_at(room, 4096).await.unwrap().0, 4096);
                }
            })
            .await;
            assert_eq!(made, 0);
        }
    });
}

/// After each direct call that would have blocked, more and more reads skip it; a successful one ends that. Only the
/// end of the file returns no bytes.
#[test]
fn an_uncached_file_is_rarely_tried() {
    const SIZE: usize = 1 << 20;
    let dir = directory();
    let path = file_of(&dir, "file", SIZE);
    let all = bytes(SIZE);
    let mut random = Random::new();
    block_on(async move {
        let file = File::open(&path).await.unwrap();
        let std = std::fs::File::open(&path).unwrap();
        let mut at = || random.below(SIZE - 512) as u64;
        drop_from_memory(&std);
        if is_cached(&std, SIZE as u64 / 2) {
            return common::skip!("dropped pages stay in memory");
        }
        let ((), made, _) = calls(async {
            for _ in 0..300 {
                next_turn().await;
                let at = at();
                drop_from_memory(&std);
                let (n, buf) = file.read_at(vec![0; 512], at).await.unwrap();
                assert!(
                    n > 0 && buf == all[at as usize..at as usize + n],
                    "{n} at {at}"
                );
            }
        })
        .await;
        // 0, 17, 50, 115, 244. Some pages may have stayed in memory.
        assert!((1..=12).contains(&made), "{made} calls");
        let mut whole = Vec::new();
        (&std).read_to_end(&mut whole).unwrap();
        let ((), made, _) = calls(async {
            for _ in 0..2000 {
                next_turn().await;
                let at = at();
                let (n, buf) = file.read_at(vec![0; 512], at).await.unwrap();
                // Short where a page has been reclaimed meanwhile.
                assert!(n > 0 && buf == all[at as usize..at as usize + n]);
            }
        })
        .await;
        assert!(made > 500, "{made} calls");
    });
}

/// Half of the requested bytes are cached: the caller gets those, or all. Loops continue from there.
#[test]
fn a_partly_cached_read_loses_nothing() {
    const SIZE: usize = 1 << 20;
    let dir = directory();
    let path = file_of(&dir, "file", SIZE);
    let all = bytes(SIZE);
    let mut random = Random::new();
    let mut at = move || random.below(SIZE - CALL_MAX);
    block_on(async {
        let std = std::fs::File::open(&path).unwrap();
        for _ in 0..100 {
            // A file without any history of direct calls.
            let file = File::open(&path).await.unwrap();
            let at = at();
            drop_from_memory(&std);
            std.read_at(&mut [0; 1], at as u64).unwrap();
            let read = file.read_at(vec![0; CALL_MAX], at as u64);
            let (n, buf) = read.await.unwrap();
            assert!(n > 0 && buf == all[at..at + n], "{n} at {at}");
            drop_from_memory(&std);
            std.read_at(&mut [0; 1], at as u64).unwrap();
            let read = file.read_exact_at(vec![0; CALL_MAX], 50_000, at as u64);
            assert!(read.await.unwrap() == all[at..at + 50_000]);
            (&std).seek(SeekFrom::Start(at as u64)).unwrap();
            drop_from_memory(&std);
            std.read_at(&mut [0; 1], at as u64).unwrap();
            let cursor = File::from_std(std.try_clone().unwrap());
            let (n, buf) = cursor.read_to_end(Vec::new()).await.unwrap();
            assert!(n == SIZE - at && buf == all[at..]);
        }
        drop_from_memory(&std);
        std.read_at(&mut [0; 1], 0).unwrap();
        assert!(fs::read(&path).await.unwrap() == all);
        drop_from_memory(&std);
        std.read_at(&mut [0; 1], 0).unwrap();
        let copy = dir.path().join("copy");
        let (mut from, mut to) = (
            File::open(&path).await.unwrap(),
            File::create(&copy).await.unwrap(),
        );
        let copied = gimmal::io::copy(&mut from, &mut to).await.unwrap();
        assert!(copied == SIZE as u64 && std::fs::read(&copy).unwrap() == all);
    });
}

/// A whole file takes two reads, the second of which finds the end; neither is repeated through the ring.
#[test]
fn loops_make_no_additional_call() {
    let dir = directory();
    let path = file_of(&dir, "file", 3000);
    block_on(async {
        let ((), made, enters) = calls(async {
            for _ in 0..100 {
                assert_eq!(fs::read(&path).await.unwrap(), bytes(3000));
            }
        })
        .await;
        // Opens and closes, and some of the reads.
        assert!((150..=200).contains(&made), "{made} calls");
        assert!(enters <= 200 + (200 - made), "{enters} enters");
        let file = File::open(&path).await.unwrap();
        let ((), made, enters) = calls(async {
            for _ in 0..100 {
                let read = file.read_exact_at(vec![0; 3000], 3000, 0).await;
                assert_eq!(read.unwrap(), bytes(3000));
            }
        })
        .await;
        assert!(made + enters <= 101 && made > 70, "{made} and {enters}");
    });
}

#[test]
fn a_file_that_shrinks_or_grows_yields_its_bytes() {
    let dir = directory();
    let path = file_of(&dir, "file", 0);
    let mut options = std::fs::OpenOptions::new();
    let writer = options.write(true).open(&path).unwrap();
    block_on(async {
        let file = File::open(&path).await.unwrap();
        for len in [0, 1, 4095, 4096, 4097, 100, 0, 60_000, 3, 20_000] {
            writer.set_len(0).unwrap();
            writer.write_all_at(&bytes(len), 0).unwrap();
            for at in [0, len.saturating_sub(10), len, len + 10] {
                for _ in 0..3 {
                    let (n, buf) = file.read_at(vec![9; 64], at as u64).await.unwrap();
                    let there = bytes(len);
                    let there = there.get(at..).unwrap_or(&[]);
                    assert_eq!(buf, there[..there.len().min(64)], "{n} of {len} at {at}");
                }
            }
        }
    });
}

#[test]
fn a_cached_read_can_be_canceled_rejected_and_timed_out() {
    let dir = directory();
    let path = file_of(&dir, "file", 4096);
    block_on(async {
        let file = File::open(&path).await.unwrap();
        let scope = Scope::new();
        let ((), made, _) = calls(async {
            let run = scope.run_any(async {
                scope.cancel();
                let error = file.read(vec![9; 8]).await.unwrap_err();
                assert!(is_canceled(&error));
                assert_eq!(error.into_buf(), [9; 8]);
            });
            run.await.unwrap();
        })
        .await;
        assert_eq!(made, 0);
        // The cursor has not moved.
        let error = file.read(vec![9; 8]).timeout(Duration::ZERO).await;
        assert!(is_timeout(&error.unwrap_err()));
        let hour = Duration::from_secs(3600);
        let (_, buf) = file.read(vec![0; 8]).timeout(hour).await.unwrap();
        assert_eq!(buf, bytes(8));
        // A read in a race is not alone, so it makes no direct call.
        let outputs = race((file.read(vec![0; 8]), yield_now())).await.outputs;
        assert!(outputs.1.is_some());
    });
}

/// A file whose bytes come from another process waits in the ring.
#[test]
fn an_empty_pipe_waits_in_the_ring() {
    block_on(async {
        let (reader, mut writer) = io::pipe().unwrap();
        let file = File::from(OwnedFd::from(reader));
        for n in 0..50 {
            let mut read = file.read(vec![0; 8]);
            assert!(poll_once(&mut read).await.is_pending());
            next_turn().await;
            assert!(poll_once(&mut read).await.is_pending());
            writer.write_all(&[n]).unwrap();
            assert_eq!(read.await.unwrap().1, [n]);
        }
    });
}

/// A task that reads endlessly makes only a limited number of direct calls per turn, and fewer of large size: timers
/// and other tasks run.
#[test]
fn a_loop_of_cached_reads_lets_other_tasks_run() {
    let dir = directory();
    let path = file_of(&dir, "file", 2 * CALL_MAX);
    for (size, most) in [(64, 32), (4096, 32), (30_000, 9), (CALL_MAX, 4)] {
        let highest = most_in_a_turn(async |goes_on| {
            let file = File::open(&path).await.unwrap();
            let other = Rc::new(Cell::new(0));
            let counted = other.clone();
            let beside = spawn(async move {
                loop {
                    sleep(Duration::from_micros(100)).await.unwrap();
                    counted.set(counted.get() + 1);
                }
            });
            let mut room = vec![0; size];
            while goes_on() {
                room = file.read_at(room, 5).await.unwrap().1;
            }
            assert!(other.get() > 0);
            beside.abort();
        });
        assert!((1..=most).contains(&highest), "{highest} of {size} bytes");
    }
}
