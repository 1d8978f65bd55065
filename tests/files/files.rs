//! Files in practice: every way of opening, files that change while they are read, special files, and errors that name
//! the operation and the path.

use common::{
    Baseline, Random, Watched, directory, errno, is_full, make_fifo, next_turn, pipe,
    ran_in_own_process, rings,
};
use gimmal::buf::{BufError, BufResult, IoBuf, IoBufMut};
use gimmal::fs::{self, File, OpenOptions};
use gimmal::io::{AsyncRead, BufReader};
use gimmal::op::{Opcode, nop};
use gimmal::runtime::FeatureMask;
use gimmal::{Handle, Runtime, is_canceled, yield_now};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::pin::pin;
use std::rc::Rc;

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n % 249 + 1) as u8).collect()
}

/// The result of opening a file: an error kind, or the results of writing to it and reading from it.
type Opened = Result<(Result<usize, ErrorKind>, Result<Vec<u8>, ErrorKind>), ErrorKind>;

fn try_out(opened: io::Result<std::fs::File>) -> Opened {
    let mut file = opened.map_err(|error| error.kind())?;
    let written = file.write(b"xyz").map_err(|error| error.kind());
    let mut all = Vec::new();
    let read = file.read_to_end(&mut all);
    Ok((written, read.map(|_| all).map_err(|error| error.kind())))
}

#[test]
fn every_combination_of_open_options_behaves_as_in_std() {
    if ran_in_own_process() {
        return;
    }
    let dir = directory();
    let mut runtime = Runtime::new().unwrap();
    for flags in 0..64 {
        let [read, write, append, truncate, create, create_new] =
            std::array::from_fn(|bit| flags >> bit & 1 == 1);
        for there in [false, true] {
            let what = format!(
                "flags {flags:#08b}, {}",
                if there { "there" } else { "new" }
            );
            let paths = ["ours", "oracle"].map(|name| dir.path().join(format!("{name}-{flags}")));
            for path in &paths {
                let _ = std::fs::remove_file(path);
                if there {
                    std::fs::write(path, "before").unwrap();
                }
            }
            let mut ours = OpenOptions::new();
            ours.read(read).write(write).append(append);
            ours.truncate(truncate)
                .create(create)
                .create_new(create_new);
            ours.mode(0o640);
            let mut oracle = std::fs::OpenOptions::new();
            oracle.read(read).write(write).append(append);
            oracle
                .truncate(truncate)
                .create(create)
                .create_new(create_new);
            oracle.mode(0o640);
            let ours = runtime.block_on(async {
                let opened = ours.open(&paths[0]).await;
                if let Err(error) = &opened {
                    let name = paths[0].display().to_string();
                    assert!(error.to_string().contains(&name), "{what}: {error}");
                }
                opened.map(|file| file.into_std().unwrap())
            });
            let oracle = oracle.open(&paths[1]);
            assert_eq!(try_out(ours), try_out(oracle), "{what}");
            let after = paths.each_ref().map(|path| std::fs::read(path).ok());
            assert_eq!(after[0], after[1], "{what}");
            let modes = paths
                .each_ref()
                .map(|path| std::fs::metadata(path).map(|it| it.mode()).ok());
            assert_eq!(modes[0], modes[1], "{what}");
        }
    }
}

#[test]
fn custom_flags_are_added_without_their_access_mode() {
    if ran_in_own_process() {
        return;
    }
    let dir = directory();
    let path = dir.path().join("file");
    let link = dir.path().join("link");
    std::fs::write(&path, "text").unwrap();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let mut runtime = Runtime::new().unwrap();
    let flags = [
        libc::O_NOFOLLOW,
        libc::O_DIRECTORY,
        libc::O_NONBLOCK,
        libc::O_RDWR,
        libc::O_WRONLY,
        libc::O_EXCL,
        libc::O_SYNC,
        libc::O_PATH,
    ];
    for flags in flags {
        for path in [&path, &link, &dir.path().to_owned()] {
            let ours = runtime.block_on(async {
                let mut options = OpenOptions::new();
                let opened = options.read(true).custom_flags(flags).open(path).await;
                opened.map(|file| file.into_std().unwrap())
            });
            let mut options = std::fs::OpenOptions::new();
            let oracle = options.read(true).custom_flags(flags).open(path);
            assert_eq!(try_out(ours), try_out(oracle), "{flags:#o} {path:?}");
        }
    }
    runtime.block_on(async {
        let file = File::open(&path).await.unwrap();
        // SAFETY: no address is passed.
        let flags = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFD) };
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
    });
}

/// The sizes at which the behavior of a read changes.
fn sizes() -> Vec<usize> {
    let room = 16 << 10;
    let mut sizes = vec![0, 1, 31, 32, 33, 511, 4095, 4096, 4097];
    for about in [room, 2 * room, 4 << 20] {
        sizes.extend([about - 1, about, about + 1]);
    }
    sizes.push((9 << 20) + 12_345);
    sizes
}

#[test]
fn whole_files_of_every_size_are_read_and_written_as_in_std() {
    if ran_in_own_process() {
        return;
    }
    for (name, ring) in rings() {
        println!("ring: {name}");
        let dir = directory();
        let mut runtime = ring.build().unwrap();
        runtime.block_on(async {
            let baseline = Baseline::take();
            for size in sizes() {
                let path = dir.path().join(format!("{size}"));
                let contents = pattern(size);
                std::fs::write(&path, &contents).unwrap();
                let read = fs::read(&path).await.unwrap();
                assert!(read == contents, "read {size}");
                let copy = dir.path().join("copy");
                let back = fs::write(&copy, contents).await.unwrap();
                assert!(std::fs::read(&copy).unwrap() == back, "written {size}");
                // From the cursor, into buffers of several capacities.
                for room in [0, 1, 100, size, size + 1] {
                    let file = File::open(&path).await.unwrap();
                    let (n, all) = file.read_to_end(Vec::with_capacity(room)).await.unwrap();
                    assert_eq!(n, size);
                    assert!(all == back);
                    let (n, all) = file.read_to_end(all).await.unwrap();
                    assert_eq!((n, all.len()), (0, size), "the cursor is at the end");
                }
            }
            let text = dir.path().join("text");
            std::fs::write(&text, "grüße").unwrap();
            assert_eq!(fs::read_to_string(&text).await.unwrap(), "grüße");
            std::fs::write(&text, b"ok\xff").unwrap();
            let error = fs::read_to_string(&text).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData);
            assert!(
                error.to_string().contains(text.to_str().unwrap()),
                "{error}"
            );
            baseline.returns("whole files").await;
        });
    }
}

#[test]
fn files_in_proc_and_sys_are_read_completely() {
    if ran_in_own_process() {
        return;
    }
    let paths = [
        "/proc/version",
        "/proc/filesystems",
        "/proc/cmdline",
        "/proc/self/cmdline",
        "/proc/self/environ",
        "/proc/self/limits",
        "/proc/sys/kernel/hostname",
        "/proc/devices",
        "/proc/iomem",
        "/proc/kallsyms",
        "/proc/config.gz",
        "/sys/kernel/notes",
        "/sys/devices/system/cpu/online",
        "/dev/null",
        "/proc/self/mem",
        "/proc/self",
        "/proc/self/fd/99999",
        "/proc/1/root/nothing",
    ];
    for (name, ring) in rings() {
        println!("ring: {name}");
        let mut runtime = ring.build().unwrap();
        for path in paths {
            // Other processes may change some of these files, so read until std sees the same content before and after.
            let (ours, theirs) = loop {
                let before = std::fs::read(path).ok();
                let ours = runtime.block_on(fs::read(path));
                let theirs = std::fs::read(path);
                if before.as_ref() == theirs.as_ref().ok() {
                    break (ours, theirs);
                }
            };
            match (ours, theirs) {
                (Ok(ours), Ok(theirs)) => assert!(ours == theirs, "{path}"),
                (Err(ours), Err(theirs)) => {
                    assert_eq!(ours.kind(), theirs.kind(), "{path}");
                    assert_eq!(errno(&ours), theirs.raw_os_error(), "{path}");
                    assert!(ours.to_string().contains(path), "{ours}");
                }
                (ours, theirs) => {
                    panic!("{path}: {:?} differs from {:?}", ours.err(), theirs.err())
                }
            }
        }
    }
}

/// Runs a future, and calls `between` with the number of polls each time it is pending.
async fn with_changes<F: Future>(future: F, mut between: impl FnMut(usize)) -> F::Output {
    let mut future = pin!(future);
    let mut polls = 0;
    poll_fn(|context| {
        polls += 1;
        let polled = future.as_mut().poll(context);
        if polled.is_pending() {
            between(polls);
        }
        polled
    })
    .await
}

/// The file grows or shrinks between any two steps of a read. The result is a prefix of the file, at least as long as
/// the file was at all times, and at most as long as it ever was.
#[test]
fn files_that_grow_or_shrink_while_read_yield_a_prefix() {
    if ran_in_own_process() {
        return;
    }
    for (name, ring) in rings() {
        println!("ring: {name}");
        let dir = directory();
        let path = dir.path().join("file");
        let all = pattern(300_000);
        let mut runtime = ring.build().unwrap();
        let lengths = [0, 5, 16_383, 16_384, 16_385, 40_000, 299_999];
        runtime.block_on(async {
            for before in lengths {
                for after in lengths {
                    for at in 1.. {
                        std::fs::write(&path, &all[..before]).unwrap();
                        let mut changed = false;
                        let read = with_changes(fs::read(&path), |polls| {
                            if polls != at {
                                return;
                            }
                            changed = true;
                            let mut options = std::fs::OpenOptions::new();
                            let file = options.write(true).open(&path).unwrap();
                            match after.checked_sub(before) {
                                Some(_) => file.write_all_at(&all[before..after], before as u64),
                                None => file.set_len(after as u64),
                            }
                            .unwrap();
                        })
                        .await
                        .unwrap();
                        let (least, most) = (before.min(after), before.max(after));
                        let what = format!("{before} became {after} at poll {at}");
                        assert!(
                            (least..=most).contains(&read.len()),
                            "{what}: {}",
                            read.len()
                        );
                        assert!(read == all[..read.len()], "{what}");
                        if !changed {
                            assert_eq!(read.len(), before);
                            break;
                        }
                    }
                }
            }
        });
    }
}

/// A writer appends constantly while a reader reads: each result is a prefix of the written text.
#[test]
fn a_log_being_written_is_read_without_gaps() {
    if ran_in_own_process() {
        return;
    }
    let dir = directory();
    let path = dir.path().join("log");
    let all = pattern(400_000);
    std::fs::write(&path, "").unwrap();
    let mut runtime = Runtime::new().unwrap();
    let writer = {
        let (path, all) = (path.clone(), all.clone());
        std::thread::spawn(move || {
            let mut options = std::fs::OpenOptions::new();
            let mut file = options.append(true).open(path).unwrap();
            for part in all.chunks(777) {
                file.write_all(part).unwrap();
            }
        })
    };
    runtime.block_on(async {
        let mut last = 0;
        while last < all.len() {
            let read = fs::read(&path).await.unwrap();
            assert!(read.len() >= last);
            assert!(read == all[..read.len()]);
            last = read.len();
        }
    });
    writer.join().unwrap();
}

#[test]
fn fifos_and_pipes_are_read_to_their_last_byte() {
    if ran_in_own_process() {
        return;
    }
    let mut random = Random::new();
    for (name, ring) in rings() {
        println!("ring: {name}");
        let dir = directory();
        let path = dir.path().join("fifo");
        make_fifo(&path);
        let mut runtime = ring.build().unwrap();
        for size in [0, 1, 16_384, 70_000, 1 << 20] {
            let all = pattern(size);
            let mut parts = Vec::new();
            let mut rest = size;
            while rest > 0 {
                let part = rest.min(1 + random.below(30_000));
                parts.push(part);
                rest -= part;
            }
            let writer = {
                let (path, all) = (path.clone(), all.clone());
                std::thread::spawn(move || {
                    let mut fifo = std::fs::OpenOptions::new().write(true).open(path).unwrap();
                    let mut rest = &all[..];
                    for part in parts {
                        let (head, tail) = rest.split_at(part);
                        fifo.write_all(head).unwrap();
                        rest = tail;
                    }
                })
            };
            let read = runtime.block_on(fs::read(&path)).unwrap();
            writer.join().unwrap();
            assert!(read == all, "{size} bytes through a fifo");
        }
    }
}

fn available_bytes() -> u64 {
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap();
    let line = memory.lines().find(|line| line.starts_with("MemAvailable"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.unwrap().parse::<u64>().unwrap() << 10
}

#[test]
fn a_file_over_4_gib_is_read_at_every_offset() {
    if ran_in_own_process() {
        return;
    }
    let dir = directory();
    let path = dir.path().join("sparse");
    let size = (4u64 << 30) + 4097;
    let marks = [
        0,
        0x7fff_f000 - 1,
        0x7fff_f000,
        (4 << 30) - 1,
        4 << 30,
        size - 3,
    ];
    {
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(size).unwrap();
        for mark in marks {
            file.write_all_at(b"ab", mark).unwrap();
        }
    }
    let mut runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let file = File::open(&path).await.unwrap();
        for mark in marks {
            let buf = file.read_exact_at(vec![0; 2], 2, mark).await.unwrap();
            assert_eq!(buf[0], b'a', "at {mark}");
        }
        let (n, buf) = file.read_at(vec![0; 100], size - 3).await.unwrap();
        assert_eq!((n, &buf[..]), (3, &b"ab\0"[..]));
        assert_eq!(file.read_at(buf, size).await.unwrap().0, 0);
        assert_eq!(file.read_at(vec![0; 9], 1 << 62).await.unwrap().0, 0);
        // Writes work at such offsets, too.
        let mut options = OpenOptions::new();
        let writer = options.write(true).open(&path).await.unwrap();
        writer.write_all_at("cd", (4 << 30) + 10).await.unwrap();
        let buf = file
            .read_exact_at(vec![0; 2], 2, (4 << 30) + 10)
            .await
            .unwrap();
        assert_eq!(buf, b"cd");
        // So does the cursor.
        let mut same = file.try_clone().unwrap().into_std().unwrap();
        io::Seek::seek(&mut same, io::SeekFrom::Start(size - 5)).unwrap();
        let (n, rest) = file.read_to_end(Vec::new()).await.unwrap();
        assert_eq!((n, &rest[..]), (5, &b"\0\0ab\0"[..]));
    });
    if !is_full() || available_bytes() < 12 << 30 {
        return common::skip!(
            "not read as a whole: needs GIMMAL_TEST=full, and 12 GiB of free memory"
        );
    }
    let all = runtime.block_on(fs::read(&path)).unwrap();
    assert_eq!(all.len() as u64, size);
    for mark in marks {
        assert_eq!(all[mark as usize], b'a', "at {mark}");
    }
    let zeros = vec![0u8; 1 << 20];
    let other = all
        .chunks(1 << 20)
        .filter(|part| **part != zeros[..part.len()])
        .count();
    assert!(other <= marks.len() + 2, "{other} chunks are not empty");
}

#[test]
fn errors_name_the_path_keep_their_kind_and_lead_to_the_errno() {
    if ran_in_own_process() {
        return;
    }
    let dir = directory();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("file"), "text").unwrap();
    std::os::unix::fs::symlink(path("loop"), path("loop")).unwrap();
    let long = path(&"n".repeat(300));
    let cases = [
        (path("missing"), libc::ENOENT),
        (path("file").join("below"), libc::ENOTDIR),
        (path("loop"), libc::ELOOP),
        (long, libc::ENAMETOOLONG),
        (dir.path().to_owned(), libc::EISDIR),
    ];
    let mut runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        for (path, expected) in cases {
            let name = path.display().to_string();
            let kind = io::Error::from_raw_os_error(expected).kind();
            let check = |error: &io::Error| {
                assert_eq!(error.kind(), kind, "{error}");
                assert_eq!(errno(error), Some(expected), "{error}");
                assert!(error.to_string().contains(&name), "{error}");
            };
            check(&fs::read(&path).await.unwrap_err());
            check(&fs::read_to_string(&path).await.unwrap_err());
            if expected != libc::EISDIR {
                check(&File::open(&path).await.unwrap_err());
            }
            if expected != libc::ENOENT {
                check(&File::create(&path).await.unwrap_err());
                let error = fs::write(&path, vec![1, 2, 3]).await.unwrap_err();
                assert_eq!(errno(&error), Some(expected), "{error}");
                assert_eq!(error.buf(), &[1, 2, 3]);
                check(&error.into());
            }
        }
        let error = fs::write("/dev/full", vec![7; 10]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert!(error.to_string().contains("/dev/full"), "{error}");
        assert_eq!(errno(&error), Some(libc::ENOSPC));
        assert_eq!(error.into_buf(), [7; 10]);
        for path in ["with\0zero", "\0"] {
            let error = File::open(path).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            let error = fs::write(path, "x").await.unwrap_err();
            assert_eq!(
                (error.kind(), error.into_buf()),
                (ErrorKind::InvalidInput, "x")
            );
        }
        let error = File::open("").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    });
}

/// A buffer with known content.
fn known_buf() -> Vec<u8> {
    let mut buf = Vec::with_capacity(64);
    buf.extend_from_slice(b"unchanged");
    buf
}

#[track_caller]
fn assert_unchanged<B: IoBuf>(error: BufError<B>, kind: ErrorKind) {
    assert_eq!(error.kind(), kind, "{error}");
    assert_eq!(error.transferred(), 0);
    assert_eq!(error.into_buf().io_bytes(), b"unchanged");
}

#[test]
fn every_error_returns_the_buffer_unchanged() {
    if ran_in_own_process() {
        return;
    }
    for (name, ring) in rings() {
        println!("ring: {name}");
        let dir = directory();
        let path = dir.path().join("file");
        let mut runtime = ring.build().unwrap();
        runtime.block_on(async {
            let baseline = Baseline::take();
            let write_only = File::create(&path).await.unwrap();
            write_only.write_all_at("0123456789", 0).await.unwrap();
            let read_only = File::open(&path).await.unwrap();
            let folder = File::open(dir.path()).await.unwrap();
            let bad = io::Error::from_raw_os_error(libc::EBADF).kind();
            let is_folder = ErrorKind::IsADirectory;
            for at in [0, 100, i64::MAX as u64] {
                assert_unchanged(write_only.read_at(known_buf(), at).await.unwrap_err(), bad);
                assert_unchanged(read_only.write_at(known_buf(), at).await.unwrap_err(), bad);
            }
            assert_unchanged(write_only.read(known_buf()).await.unwrap_err(), bad);
            assert_unchanged(folder.read(known_buf()).await.unwrap_err(), is_folder);
            assert_unchanged(read_only.write(known_buf()).await.unwrap_err(), bad);
            assert_unchanged(
                write_only.read_exact(known_buf(), 3).await.unwrap_err(),
                bad,
            );
            assert_unchanged(read_only.write_all(known_buf()).await.unwrap_err(), bad);
            assert_unchanged(write_only.read_to_end(known_buf()).await.unwrap_err(), bad);
            assert_unchanged(
                folder.read_to_end(known_buf()).await.unwrap_err(),
                is_folder,
            );
            let invalid = ErrorKind::InvalidInput;
            let room = known_buf().capacity() + 1;
            assert_unchanged(
                read_only
                    .read_exact_at(known_buf(), room, 0)
                    .await
                    .unwrap_err(),
                invalid,
            );

            let error = write_only
                .read_vectored((known_buf(), known_buf()))
                .await
                .unwrap_err();
            assert_eq!(error.into_buf(), (known_buf(), known_buf()));
            let error = read_only
                .write_vectored_at([known_buf(), known_buf()], 3)
                .await
                .unwrap_err();
            assert_eq!(error.into_buf(), [known_buf(), known_buf()]);
            // A read into an empty buffer is not the end of the file.
            let error = read_only.read(Vec::new()).await.unwrap_err();
            assert_eq!(error.kind(), invalid);
            let error = read_only.read_vectored((vec![], vec![])).await.unwrap_err();
            assert_eq!(error.kind(), invalid);
            assert_eq!(read_only.read_exact(Vec::new(), 0).await.unwrap(), b"");

            // The file ends early: the bytes read are at the start of the buffer.
            let error = read_only
                .read_exact_at(known_buf(), 30, 4)
                .await
                .unwrap_err();
            assert_eq!(
                (error.kind(), error.transferred()),
                (ErrorKind::UnexpectedEof, 6)
            );
            assert_eq!(&error.into_buf()[..6], b"456789");

            // A pipe whose reader is closed during a long write.
            let (mut reader, writer) = io::pipe().unwrap();
            let writer = File::from(OwnedFd::from(writer));
            let taker = std::thread::spawn(move || {
                let mut some = vec![0; 150_000];
                reader.read_exact(&mut some).unwrap();
                some
            });
            let contents = pattern(1 << 20);
            let error = writer.write_all(contents.clone()).await.unwrap_err();
            let taken = taker.join().unwrap();
            assert!(taken == contents[..150_000]);
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
            assert!(
                error.transferred() == 0 || error.transferred() >= 150_000,
                "{error}"
            );
            assert!(*error.buf() == contents);
            drop((write_only, read_only, folder, writer));
            baseline.returns("errors").await;
        });
    }
}

/// A custom reader: yields the given bytes, a few at a time, then ends or fails.
struct Own {
    left: Vec<u8>,
    fails: bool,
}

impl AsyncRead for Own {
    async fn read<B: IoBufMut>(&mut self, mut buf: B) -> BufResult<usize, B> {
        if self.left.is_empty() && self.fails {
            return Err(BufError::new(ErrorKind::BrokenPipe.into(), buf));
        }
        let n = self.left.len().min(buf.io_capacity()).min(3);
        // SAFETY: `n` bytes fit, and the copy initializes them.
        unsafe {
            buf.io_mut_ptr()
                .copy_from_nonoverlapping(self.left.as_ptr(), n);
            buf.set_io_len(n);
        }
        self.left.drain(..n);
        Ok((n, buf))
    }
}

/// The result of an exact read of `len` bytes into a buffer that holds nine bytes: the buffer, the number of bytes
/// read, and the error kind.
async fn exact(mut reader: impl AsyncRead, len: usize) -> (Vec<u8>, usize, Option<ErrorKind>) {
    match reader.read_exact(vec![7; 9], len).await {
        Ok(buf) => (buf, len, None),
        Err(error) => {
            let (done, kind) = (error.transferred(), error.kind());
            (error.into_buf(), done, Some(kind))
        }
    }
}

#[test]
fn an_exact_read_sets_the_length_to_the_bytes_read_for_every_reader() {
    if ran_in_own_process() {
        return;
    }
    let dir = directory();
    let path = dir.path().join("file");
    let mut runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        for there in 0..9 {
            let text = &b"abcdefghi"[..there];
            std::fs::write(&path, text).unwrap();
            for len in [0, 1, 3, 4, 5, 8, 9, 10] {
                let what = format!("{len} of {there}");
                let expected = match len {
                    10 => (vec![7; 9], 0, Some(ErrorKind::InvalidInput)),
                    _ if len <= there => (text[..len].to_vec(), len, None),
                    _ => (text.to_vec(), there, Some(ErrorKind::UnexpectedEof)),
                };
                let open = || File::open(&path);
                let inherent = open().await.unwrap().read_exact(vec![7; 9], len).await;
                let lens = inherent.map_or_else(|error| error.buf().len(), |buf| buf.len());
                assert_eq!(lens, expected.0.len(), "{what}, by the inherent method");
                assert_eq!(exact(open().await.unwrap(), len).await, expected, "{what}");
                assert_eq!(exact(&open().await.unwrap(), len).await, expected, "{what}");
                assert_eq!(
                    exact(&mut open().await.unwrap(), len).await,
                    expected,
                    "{what}"
                );
                // The available bytes stay in the reader's buffer.
                let mut buffered = expected.clone();
                if buffered.2 == Some(ErrorKind::UnexpectedEof) {
                    (buffered.0, buffered.1) = (Vec::new(), 0);
                }
                let reader = BufReader::new(open().await.unwrap());
                assert_eq!(
                    exact(reader, len).await,
                    buffered,
                    "{what}, through a buffer"
                );
                let (reader, writer) = gimmal::io::pipe().unwrap();
                writer.write_all(text.to_vec()).await.unwrap();
                drop(writer);
                assert_eq!(exact(reader, len).await, expected, "{what}, from a pipe");
                let (near, far) = gimmal::net::UnixStream::pair().unwrap();
                near.write_all(text.to_vec()).await.unwrap();
                drop(near);
                assert_eq!(exact(far, len).await, expected, "{what}, from a socket");
                let mut own = Own {
                    left: text.to_vec(),
                    fails: false,
                };
                assert_eq!(
                    exact(&mut own, len).await,
                    expected,
                    "{what}, from a custom reader"
                );
                // A read that got no bytes leaves the buffer unchanged.
                own.left = text.to_vec();
                own.fails = true;
                let (buf, done, kind) = exact(&mut own, len).await;
                match expected.2 {
                    Some(ErrorKind::UnexpectedEof) => {
                        let as_it_was = if done == 0 { vec![7; 9] } else { text.to_vec() };
                        let failed = Some(ErrorKind::BrokenPipe);
                        assert_eq!((buf, done, kind), (as_it_was, there, failed), "{what}");
                    }
                    _ => assert_eq!((buf, done, kind), expected, "{what}"),
                }
            }
        }
    });
}

/// Reads to the end in generic code.
async fn all_of(mut reader: impl AsyncRead, buf: Vec<u8>) -> Vec<u8> {
    reader.read_to_end(buf).await.unwrap().1
}

#[test]
fn a_buffer_with_enough_room_does_not_grow() {
    if ran_in_own_process() {
        return;
    }
    let dir = directory();
    let path = dir.path().join("file");
    let mut runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        for size in [0, 1, 31, 32, 33, 100, 16 << 10, 10 << 20] {
            let contents = pattern(size);
            std::fs::write(&path, &contents).unwrap();
            // The number of bytes in the buffer before the read, and by how many bytes the rest of the file exceeds the
            // room.
            for (before, more) in [(0, 0), (5, 0), (0, 1), (0, 32), (5, 100)] {
                let room = (before + size).saturating_sub(more).max(before);
                let given = || {
                    let mut buf = Vec::with_capacity(room);
                    buf.resize(before, b'.');
                    (buf.capacity(), buf)
                };
                let file = || File::open(&path);
                let (capacity, buf) = given();
                let all = [
                    file().await.unwrap().read_to_end(buf).await.unwrap().1,
                    all_of(file().await.unwrap(), given().1).await,
                ];
                for all in all {
                    assert!(all[..before].iter().all(|byte| *byte == b'.'));
                    assert!(all[before..] == contents, "{size}, {before}, {more}");
                    if before + size <= capacity {
                        assert_eq!(all.capacity(), capacity, "{size}, {before}, {more}");
                    }
                }
            }
            let own = Own {
                left: pattern(size.min(1000)),
                fails: false,
            };
            let all = all_of(own, Vec::with_capacity(size.min(1000))).await;
            assert_eq!(
                (all.len(), all.capacity()),
                (size.min(1000), size.min(1000))
            );
            let (near, far) = gimmal::net::UnixStream::pair().unwrap();
            let send = async {
                near.write_all(contents.clone()).await.unwrap();
                drop(near);
            };
            let (all, ()) = gimmal::join((far.read_to_end(Vec::with_capacity(size)), send)).await;
            let all = all.unwrap().1;
            assert!(all == contents);
            assert_eq!(all.capacity(), size, "from a socket");
        }
    });
}

/// More buffers than one call accepts (`IOV_MAX` is 1024), including an empty one.
fn many() -> Vec<Vec<u8>> {
    let buf = |n| match n {
        7 => Vec::new(),
        _ => vec![n as u8; 3],
    };
    (0..1500).map(buf).collect()
}

#[test]
fn of_more_than_iov_max_buffers_the_first_are_used_as_in_std() {
    if ran_in_own_process() {
        return;
    }
    let dir = directory();
    for (name, ring) in rings() {
        println!("ring: {name}");
        let mut runtime = ring.build().unwrap();
        runtime.block_on(async {
            let baseline = Baseline::take();
            let slices = many();
            let slices: Vec<_> = slices.iter().map(|buf| io::IoSlice::new(buf)).collect();
            let path = dir.path().join("file");
            let mut oracle = std::fs::File::create(&path).unwrap();
            let all = oracle.write_vectored(&slices).unwrap();
            let expected = std::fs::read(&path).unwrap();
            assert_eq!((all, expected.len()), (1023 * 3, 1023 * 3));

            let written = |n, bufs: Vec<Vec<u8>>| assert_eq!((n, bufs), (all, many()));
            // Each buffer had room for three bytes. Those beyond the limit of one call stay empty.
            let filled = |n, bufs: Vec<Vec<u8>>| {
                assert_eq!((n, bufs.len()), (all, 1500));
                assert!(bufs.concat() == expected);
                assert!(bufs[1024..].iter().all(Vec::is_empty));
            };
            let room = || {
                many()
                    .into_iter()
                    .map(|buf| Vec::with_capacity(buf.len()))
                    .collect::<Vec<Vec<u8>>>()
            };

            let mut options = OpenOptions::new();
            let file = options.read(true).write(true).open(&path).await.unwrap();
            let (n, bufs) = file.read_vectored(room()).await.unwrap();
            filled(n, bufs);
            let (n, bufs) = file.read_vectored_at(room(), 0).await.unwrap();
            filled(n, bufs);
            let (n, bufs) = file.write_vectored(many()).await.unwrap();
            written(n, bufs);
            let (n, bufs) = file.write_vectored_at(many(), 0).await.unwrap();
            written(n, bufs);
            assert!(std::fs::read(&path).unwrap() == expected.repeat(2));

            let (reader, writer) = gimmal::io::pipe().unwrap();
            let (n, bufs) = writer.write_vectored(many()).await.unwrap();
            written(n, bufs);
            let (n, bufs) = reader.read_vectored(room()).await.unwrap();
            filled(n, bufs);

            let (near, far) = gimmal::net::UnixStream::pair().unwrap();
            let (n, bufs) = near.write_vectored(many()).await.unwrap();
            written(n, bufs);
            let (n, bufs) = far.read_vectored(room()).await.unwrap();
            filled(n, bufs);

            drop((reader, writer, near, far, oracle));

            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let near = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let far = listener.accept().unwrap().0;
            let (near, far) = (
                gimmal::net::TcpStream::from_std(near),
                gimmal::net::TcpStream::from_std(far),
            );
            let (n, bufs) = near.write_vectored(many()).await.unwrap();
            written(n, bufs);
            let (n, bufs) = far.read_vectored(room()).await.unwrap();
            filled(n, bufs);
            drop((file, near, far, listener));
            baseline.returns("many buffers").await;
        });
    }
}

#[test]
fn a_missing_opcode_is_an_error_that_returns_the_buffer() {
    if ran_in_own_process() {
        return;
    }
    let hidden = [Opcode::READ, Opcode::WRITE, Opcode::FSYNC, Opcode::CLOSE];
    let mask = hidden
        .into_iter()
        .fold(FeatureMask::none(), FeatureMask::without_opcode);
    let mut runtime = Runtime::builder().mask(mask).build().unwrap();
    runtime.block_on(async {
        let baseline = Baseline::take();
        let file = File::open("Cargo.toml").await.unwrap();
        assert_unchanged(
            file.read(known_buf()).await.unwrap_err(),
            ErrorKind::Unsupported,
        );
        assert_unchanged(
            file.read(known_buf()).submit().await.unwrap_err(),
            ErrorKind::Unsupported,
        );
        assert_unchanged(
            file.write(known_buf()).await.unwrap_err(),
            ErrorKind::Unsupported,
        );
        let error = file.sync_all().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("FSYNC"), "{error}");
        file.close().await.unwrap();
        baseline.returns("missing operations").await;
    });
}

/// A read that is canceled when the program ends has no effect, and its buffer is unchanged.
#[test]
fn a_pending_read_that_is_canceled_returns_the_buffer_unchanged() {
    if ran_in_own_process() {
        return;
    }
    for (name, ring) in rings() {
        println!("ring: {name}");
        let found = Rc::new(RefCell::new(Vec::new()));
        let (reader, mut writer) = pipe();
        let reader = Rc::new(reader);
        let ended: io::Result<()> = ring.run(async {
            for n in 0..5 {
                let (reader, found) = (reader.clone(), found.clone());
                drop(gimmal::spawn(async move {
                    let error = match n {
                        0 => reader.read(known_buf()).await.unwrap_err(),
                        1 => reader.read_exact(known_buf(), 5).await.unwrap_err(),
                        2 => reader.read_to_end(known_buf()).await.unwrap_err(),
                        3 => {
                            let read = reader.read_vectored([known_buf()]);
                            read.await.unwrap_err().map_buf(|[buf]| buf)
                        }
                        _ => {
                            let (exact, at) = (known_buf(), 0);
                            reader.read_exact_at(exact, 5, at).await.unwrap_err()
                        }
                    };
                    found.borrow_mut().push(error);
                    // From now on, every await fails with a cancellation.
                    let late = reader.read(known_buf()).await.unwrap_err();
                    assert_eq!(late.buf(), b"unchanged");
                    assert!(is_canceled(&late));
                    assert!(is_canceled(&nop().await.unwrap_err()));
                    let opened = fs::read("Cargo.toml").await.unwrap_err();
                    assert!(is_canceled(&opened), "{opened}");
                    assert_ne!(opened.kind(), ErrorKind::Interrupted);
                    found.borrow_mut().push(late);
                }));
            }
            next_turn().await;
            next_turn().await;
            Ok(())
        });
        ended.unwrap();
        let found = found.take();
        assert_eq!(found.len(), 10);
        for error in found {
            assert!(is_canceled(&error), "{error}");
            assert_eq!(error.transferred(), 0);
            let buf = error.into_buf();
            assert_eq!(
                (&buf[..], buf.capacity()),
                (&b"unchanged"[..], known_buf().capacity())
            );
        }
        // No bytes were taken from the pipe.
        writer.write_all(b"all of it").unwrap();
        drop(writer);
        let reader = Rc::into_inner(reader).unwrap();
        let mut rest = Vec::new();
        reader.into_std().unwrap().read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"all of it");
    }
}

#[test]
fn a_close_stops_pending_operations_and_then_closes_the_file() {
    if ran_in_own_process() {
        return;
    }
    for (name, ring) in rings() {
        println!("ring: {name}");
        let dir = directory();
        let fifo = dir.path().join("fifo");
        make_fifo(&fifo);
        let mut runtime = ring.build().unwrap();
        runtime.block_on(async {
            let baseline = Baseline::take();
            for round in 0..50 {
                let (file, writer) = match round % 2 {
                    0 => {
                        let (file, writer) = pipe();
                        (file, OwnedFd::from(writer))
                    }
                    _ => {
                        let mut options = OpenOptions::new();
                        options.read(true).write(true);
                        let file = options.open(&fifo).await.unwrap();
                        let same = file.try_clone().unwrap().into_std().unwrap();
                        (file, OwnedFd::from(same))
                    }
                };
                let number = file.as_raw_fd();
                let file = Rc::new(file);
                let reads: Vec<_> = (0..3)
                    .map(|_| {
                        // The descriptor is held by the future itself, not by the file.
                        let read = file.read(Watched::new(64, 1));
                        gimmal::spawn(read)
                    })
                    .collect();
                // An orphan as well.
                drop(file.read(Watched::new(64, 1)).submit());
                if round % 3 > 0 {
                    next_turn().await;
                    next_turn().await;
                }
                let file = Rc::into_inner(file).unwrap();
                file.close().await.unwrap();
                // SAFETY: no address is passed.
                let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
                assert_eq!(flags, -1, "the descriptor is closed");
                for read in reads {
                    let error = read.await.unwrap().unwrap_err();
                    assert!(is_canceled(&error), "{error}");
                    drop(error);
                }
                drop(writer);
                baseline.returns("a close").await;
            }
            assert_eq!(Handle::current().stats().orphans, 0);
        });
        Watched::check_and_forget(&name);
    }
}

#[test]
fn a_file_does_not_convert_to_std_while_an_operation_or_orphan_holds_it() {
    if ran_in_own_process() {
        return;
    }
    for (name, ring) in rings() {
        println!("ring: {name}");
        let mut runtime = ring.build().unwrap();
        runtime.block_on(async {
            let (file, mut writer) = pipe();
            let read = file.read(Watched::new(64, 1)).submit();
            let error = file.into_std().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ResourceBusy);
            let file = error.into_buf();
            drop(read);
            // Now an orphan that has not been submitted to the kernel yet.
            let error = file.into_std().unwrap_err();
            let mut file = error.into_buf();
            let file = loop {
                match file.into_std() {
                    Ok(file) => break file,
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::ResourceBusy);
                        assert!(Handle::current().stats().orphans > 0);
                        file = error.into_buf();
                        yield_now().await;
                    }
                }
            };
            writer.write_all(b"it is ours").unwrap();
            let mut buf = [0; 64];
            assert_eq!((&file).read(&mut buf).unwrap(), 10);
            // And back again.
            let file = File::from_std(file);
            writer.write_all(b"again").unwrap();
            assert_eq!(file.read(vec![0; 9]).await.unwrap().1, b"again");
        });
        Watched::check_and_forget(&name);
    }
}

/// Two tasks that each wait for the other one's operation on a file.
#[test]
fn two_closes_at_once_do_not_wait_for_each_other() {
    if ran_in_own_process() {
        return;
    }
    let mut runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let baseline = Baseline::take();
        for _ in 0..100 {
            let (a, a_writer) = pipe();
            let (b, b_writer) = pipe();
            let reads = [a.read(vec![0; 8]), b.read(vec![0; 8])].map(gimmal::spawn);
            let closes = [a, b].map(|file| gimmal::spawn(file.close()));
            for close in closes {
                close.await.unwrap().unwrap();
            }
            for read in reads {
                read.await.unwrap().unwrap_err();
            }
            drop((a_writer, b_writer));
        }
        baseline.returns("two closes").await;
    });
}

/// The remaining tasks are canceled and end at once, long before the grace period passes.
#[test]
fn a_program_whose_tasks_end_when_canceled_does_not_use_the_grace_period() {
    if ran_in_own_process() {
        return;
    }
    const GRACE: std::time::Duration = std::time::Duration::from_secs(60 * 60);
    for (name, ring) in rings() {
        println!("ring: {name}");
        let ended: io::Result<()> = ring.grace_period(GRACE).run(async {
            let (reader, writer) = pipe();
            drop(gimmal::spawn(async move {
                let _ = reader.read(vec![0; 8]).await;
                drop(writer);
            }));
            drop(gimmal::spawn(gimmal::sleep(2 * GRACE)));
            next_turn().await;
            Ok(())
        });
        ended.unwrap();
    }
}
