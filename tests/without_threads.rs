//! Where no thread can be made: files are served all the same, what may wait for somebody else fails at once with the limits
//! in the way, and it is over when there are threads again.
//!
//! Each test runs in a process of its own, as a user who has no thread left (RLIMIT_NPROC; it does not count for root).

#![expect(
    clippy::unwrap_used,
    reason = "a test that meets an error fails where it stands"
)]

#[macro_use]
mod common;

use common::{Watched, assert_passed, child, directory, is_child, without_leak_checker};
use gimmal::fs::{self, File, OpenOptions};
use gimmal::io::{PipeReader, PipeWriter};
use gimmal::op::{Completion, Entry, Op, Opcode, Operation};
use gimmal::runtime::Fault;
use gimmal::{Handle, Runtime, sleep, spawn, yield_now};
use std::cell::UnsafeCell;
use std::ffi::CString;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// So many seconds a child may take. What it does takes a second; a minute is what it took when the kernel was asked again
/// and again.
const SECONDS_MAX: u32 = 30;

/// Runs `body` in a process of its own, in a directory of its own that any user may write to.
#[track_caller]
fn in_own_process(test: &str, body: impl FnOnce()) {
    if is_child() {
        // SAFETY: no address is passed. Without a handler the signal ends the process.
        unsafe { libc::alarm(SECONDS_MAX) };
        return body();
    }
    let directory = directory();
    let anybody = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(directory.path(), anybody).unwrap();
    // The leak checker makes a process of its own, which cannot be had here.
    let output = without_leak_checker(&mut child(test, &[]))
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert_passed(test, &output);
}

fn limit_threads(soft: u64) {
    let limit = libc::rlimit {
        rlim_cur: soft,
        rlim_max: 4096,
    };
    // SAFETY: the limit is read during the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NPROC, &limit) }, 0);
}

/// Becomes a user of its own. False, if that cannot be.
fn become_user() -> bool {
    // SAFETY: no address is passed.
    if unsafe { libc::geteuid() } != 0 {
        skip!("only root can become another user, whose threads nobody else counts for");
        return false;
    }
    let user = 1_000_000 + std::process::id();
    // SAFETY: no address is passed.
    if unsafe { libc::setuid(user) } != 0 {
        skip!("root of a container has no such user");
        return false;
    }
    true
}

fn has_threads() -> bool {
    let thread = std::thread::Builder::new().spawn(|| ());
    thread.is_ok_and(|thread| thread.join().is_ok())
}

/// From now on no thread can be made. False, if it cannot come to that.
fn without_threads() -> bool {
    if !become_user() {
        return false;
    }
    limit_threads(1);
    assert!(!has_threads());
    true
}

/// What the hook was told.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn build(&self) -> Runtime {
        let told = self.0.clone();
        let hook = move |fault: &Fault| told.lock().unwrap().push(fault.to_string());
        Runtime::builder().on_fault(hook).build().unwrap()
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

#[track_caller]
fn names_the_limits(error: &io::Error) {
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded, "{error}");
    let text = error.to_string();
    for part in ["RLIMIT_NPROC", "pids.max"] {
        assert!(text.contains(part), "{part} is not in {text:?}");
    }
    assert_eq!(gimmal::errno(error), Some(libc::EAGAIN), "{text}");
    assert!(!gimmal::is_canceled(error) && !gimmal::is_timeout(error));
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n % 251) as u8).collect()
}

#[test]
fn files_are_served_all_the_same() {
    in_own_process("files_are_served_all_the_same", || {
        if !without_threads() {
            return;
        }
        let told = Told::default();
        let shm = format!("/dev/shm/gimmal-{}", std::process::id());
        told.build().block_on(async {
            for path in ["file", &shm] {
                if let Err(error) = std::fs::write(path, "") {
                    skip!("{path}: {error}");
                    continue;
                }
                whole_life_of_a_file(path).await.unwrap();
            }
            for path in [
                "/proc/self/limits",
                "/sys/kernel/mm/transparent_hugepage/enabled",
            ] {
                if let Ok(text) = std::fs::read(path) {
                    assert_eq!(fs::read(path).await.unwrap(), text);
                }
            }
            // A directory is opened, and synchronized.
            let here = File::open(".").await.unwrap();
            here.sync_all().await.unwrap();
            here.close().await.unwrap();
        });
        let told = told.take();
        assert_eq!(told.len(), 1, "it is told once: {told:?}");
        assert!(told[0].contains("RLIMIT_NPROC"), "{told:?}");
    });
}

async fn whole_life_of_a_file(path: &str) -> io::Result<()> {
    let bytes = pattern(100_000);
    // It is truncated, created, and created anew.
    fs::write(path, bytes.clone()).await?;
    assert_eq!(std::fs::read(path)?, bytes);
    assert_eq!(fs::read(path).await?, bytes);
    std::fs::remove_file(path)?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o640);
    let file = options.open(path).await?;
    let there = options.open(path).await.unwrap_err();
    assert_eq!(there.kind(), ErrorKind::AlreadyExists);
    let gone = File::open(format!("{path}-gone")).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    // SAFETY: no address is passed; the mask is set back.
    let mask = unsafe { libc::umask(0) };
    // SAFETY: as above.
    unsafe { libc::umask(mask) };
    assert_eq!(std::fs::metadata(path)?.mode() & 0o777, 0o640 & !mask);
    // SAFETY: the descriptor is open.
    let flags = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) };
    assert_eq!(flags & libc::O_NONBLOCK, 0);
    // SAFETY: as above.
    let flags = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFD) };
    assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);

    // At offsets and at the cursor.
    let (n, buf) = file.write_at(bytes.clone(), 1000).await?;
    assert_eq!((n, buf.len()), (bytes.len(), bytes.len()));
    let (n, _) = file.write("at the cursor").await?;
    assert_eq!(n, 13);
    let (n, _) = file.write_vectored(("one", "and", "two")).await?;
    assert_eq!(n, 9);
    let (n, _) = file.write_vectored_at(("xx", "yy"), 500).await?;
    assert_eq!(n, 4);
    file.sync_data().await?;
    file.sync_all().await?;
    let (n, buf) = file.read_at(vec![0; 200_000], 1000).await?;
    assert_eq!((n, &buf[..n]), (bytes.len(), &bytes[..]));
    let (n, buf) = file.read_at(Vec::with_capacity(10), 1 << 40).await?;
    assert_eq!((n, buf.len()), (0, 0));
    let (n, (a, b)) = file.read_vectored_at((vec![0; 2], vec![0; 2]), 500).await?;
    assert_eq!((n, &a[..], &b[..]), (4, &b"xx"[..], &b"yy"[..]));
    // The cursor is where it belongs, behind what was written at it.
    let mut std = std::fs::File::from(file.as_fd().try_clone_to_owned()?);
    assert_eq!(std.stream_position()?, 22);
    std.seek(SeekFrom::Start(3))?;
    let (n, buf) = file.read(vec![0; 10]).await?;
    assert_eq!((n, &buf[..]), (10, &b"the cursor"[..]));
    let (_, (a, b)) = file.read_vectored((vec![0; 3], vec![0; 6])).await?;
    assert_eq!((&a[..], &b[..]), (&b"one"[..], &b"andtwo"[..]));
    assert_eq!(std.stream_position()?, 22);
    drop(std);
    file.close().await?;

    let file = OpenOptions::new().append(true).open(path).await?;
    file.write_all("the end").await?;
    drop(file);
    assert!(std::fs::read(path)?.ends_with(b"the end"));
    // What the kernel says of an error is what it says elsewhere.
    let error = File::open(path).await?.write("no").await.unwrap_err();
    assert_eq!(error.into_error().raw_os_error(), Some(libc::EBADF));
    let many: Vec<_> = (0..100)
        .map(|n| {
            let path = format!("{path}-{n}");
            spawn(async move {
                fs::write(&path, pattern(n)).await?;
                let read = fs::read(&path).await?;
                std::fs::remove_file(&path)?;
                io::Result::Ok((n, read))
            })
        })
        .collect();
    for task in many {
        let (n, read) = task.await.unwrap()?;
        assert_eq!(read, pattern(n));
    }
    std::fs::remove_file(path)
}

/// Any request by its opcode and fields.
struct Request(
    Entry,
    #[expect(dead_code, reason = "it is only held")] Rc<dyn std::any::Any>,
);

// SAFETY: what the entries below point at is held by the second field, or lives as long as the program.
unsafe impl Operation for Request {
    type Output = io::Result<u32>;
    const NAME: &'static str = "request";

    fn entry(&mut self) -> Entry {
        self.0
    }

    fn complete(self, completion: Completion) -> io::Result<u32> {
        completion.result()
    }

    fn fail(self, error: io::Error) -> io::Result<u32> {
        Err(error)
    }

    fn dispose(&mut self, _: Completion) {}
}

fn c(text: &str) -> CString {
    CString::new(text).unwrap()
}

/// Of the opcodes that this crate has no function for, those of files and paths are served, and others fail.
#[test]
fn operations_of_others_are_served_if_they_are_of_files() {
    in_own_process(
        "operations_of_others_are_served_if_they_are_of_files",
        || {
            if !without_threads() {
                return;
            }
            Runtime::new().unwrap().block_on(async {
                let (one, two, three, four) = (c("one"), c("two"), c("three"), c("four"));
                let here = |opcode| Entry::new(Opcode::new(opcode)).fd(libc::AT_FDCWD);
                let of = |entry: Entry| Op::new(Request(entry, Rc::new(())));
                std::fs::write("one", "0123456789").unwrap();
                let file = std::fs::File::options().write(true).open("one").unwrap();
                let on_file = |opcode| Entry::new(Opcode::new(opcode)).fd(file.as_raw_fd());
                let supported = |result: io::Result<u32>| match result {
                    Err(error) if error.kind() == ErrorKind::Unsupported => skip!("{error}"),
                    result => assert_eq!(result.unwrap(), 0),
                };
                // FTRUNCATE, FALLOCATE
                supported(of(on_file(55).offset(4)).await);
                assert!(file.metadata().unwrap().len() == 4 || !has_ftruncate());
                let length = std::ptr::without_provenance::<u8>(5000);
                supported(of(on_file(17).offset(100).addr(length)).await);
                assert_eq!(file.metadata().unwrap().len(), 5100);
                // RENAMEAT, LINKAT, SYMLINKAT, MKDIRAT, UNLINKAT
                let at = libc::AT_FDCWD as u32;
                supported(of(here(35).addr(one.as_ptr()).len(at).addr2(two.as_ptr())).await);
                assert!(!std::fs::exists("one").unwrap() && std::fs::exists("two").unwrap());
                supported(of(here(39).addr(two.as_ptr()).len(at).addr2(three.as_ptr())).await);
                assert_eq!(std::fs::metadata("three").unwrap().nlink(), 2);
                supported(of(here(38).addr(three.as_ptr()).addr2(four.as_ptr())).await);
                assert_eq!(std::fs::read_link("four").unwrap().to_str(), Some("three"));
                supported(of(here(37).addr(one.as_ptr()).len(0o700)).await);
                assert!(std::fs::metadata("one").unwrap().is_dir());
                supported(of(here(36).addr(two.as_ptr())).await);
                assert!(!std::fs::exists("two").unwrap());
                let flags = libc::AT_REMOVEDIR as u32;
                supported(of(here(36).addr(one.as_ptr()).op_flags(flags)).await);
                assert!(!std::fs::exists("one").unwrap());
                // STATX
                // SAFETY: a statx is plain integers.
                let statx = unsafe { std::mem::zeroed::<libc::statx>() };
                let statx = Rc::new(UnsafeCell::new(statx));
                let size = libc::STATX_SIZE;
                let entry = here(21).addr(four.as_ptr()).len(size).addr2(statx.get());
                supported(Op::new(Request(entry, statx.clone())).await);
                // SAFETY: the request is over, and nobody else looks.
                assert_eq!(unsafe { (*statx.get()).stx_size }, 5100);
                // A no-op that insists on a worker is none of them.
                names_the_limits(&of(Entry::new(Opcode::NOP).in_worker()).await.unwrap_err());
            });
        },
    );
}

fn has_ftruncate() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release
        .split('.')
        .map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(9))
}

#[test]
fn what_may_wait_for_somebody_else_names_the_limits() {
    in_own_process("what_may_wait_for_somebody_else_names_the_limits", || {
        if !without_threads() {
            return;
        }
        let path = c("fifo");
        // SAFETY: the path is a string that ends with a zero byte.
        assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
        std::fs::write("large", pattern(1 << 20)).unwrap();
        Runtime::new().unwrap().block_on(async {
            // Twice: before and after it is known.
            for _ in 0..2 {
                names_the_limits(&PipeReader::open("fifo").await.unwrap_err());
                names_the_limits(&PipeWriter::open("fifo").await.unwrap_err());
                names_the_limits(&File::create("fifo").await.unwrap_err());
                let made = gimmal::io::mkfifo("another", 0o600).await;
                names_the_limits(&made.unwrap_err());
                let closure = gimmal::task::spawn_blocking(|| 1).await.unwrap_err();
                assert!(
                    !closure.is_wait_canceled() && !closure.is_aborted() && !closure.is_panic()
                );
                names_the_limits(&closure.into());
                let found = gimmal::net::lookup_host("localhost:80").await;
                names_the_limits(&found.unwrap_err());
                let mut file = File::open("large").await.unwrap();
                let (reader, mut writer) = gimmal::io::pipe().unwrap();
                writer.set_capacity(1 << 20).unwrap();
                let error = gimmal::io::copy(&mut file, &mut writer).await.unwrap_err();
                assert_eq!(error.copied(), 0);
                names_the_limits(error.error());
                drop(reader);
            }
            // Nothing of it has happened.
            assert!(!std::fs::exists("another").unwrap());
            // Pipes and sockets need no thread.
            let (reader, writer) = gimmal::io::pipe().unwrap();
            let (read, written) =
                gimmal::join((reader.read(vec![0; 8]), writer.write("pipe"))).await;
            assert_eq!((read.unwrap().0, written.unwrap().0), (4, 4));
            let (a, b) = gimmal::net::UnixStream::pair().unwrap();
            let (read, written) = gimmal::join((a.read(vec![0; 8]), b.write("socket"))).await;
            assert_eq!((read.unwrap().0, written.unwrap().0), (6, 6));
        });
    });
}

/// Whatever becomes of an operation, the file is as it was if it is told to have been canceled.
#[test]
fn what_is_canceled_or_timed_out_has_not_happened() {
    in_own_process("what_is_canceled_or_timed_out_has_not_happened", || {
        if !without_threads() {
            return;
        }
        Runtime::new().unwrap().block_on(async {
            let mut timed_out = 0;
            for round in 0..40 {
                // Each round is in a runtime that does not know as yet, or in this one, which does.
                let path = format!("{round}");
                std::fs::write(&path, "old").unwrap();
                let file = std::fs::File::options().write(true).open(&path).unwrap();
                let file = File::from_std(file);
                let time = Duration::from_millis(round % 8 * 10);
                let write = file
                    .write_at(Watched::full(b'n', 3, 1), 0)
                    .timeout(time)
                    .await;
                let expected = match write {
                    Ok((n, _)) => {
                        assert_eq!(n, 3);
                        "nnn"
                    }
                    Err(error) => {
                        assert!(gimmal::is_timeout(&error), "{error}");
                        timed_out += 1;
                        assert_eq!(gimmal::buf::IoBuf::io_bytes(&error.into_buf()), b"nnn");
                        "old"
                    }
                };
                assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
                let dropped = file.write_at(Watched::full(b'd', 3, 1), 0);
                drop(gimmal::time::timeout_any(Duration::ZERO, dropped).await);
                file.close().await.unwrap();
            }
            assert!(timed_out > 0, "a timeout of nothing has passed");
            while Handle::current().stats().operations > 0 {
                yield_now().await;
            }
        });
        Watched::check_and_forget("writes without a thread");
    });
}

#[test]
fn others_are_served_while_one_task_writes_without_end() {
    in_own_process(
        "others_are_served_while_one_task_writes_without_end",
        || {
            if !without_threads() {
                return;
            }
            Runtime::new().unwrap().block_on(async {
                let file = Rc::new(File::create("file").await.unwrap());
                let writes = Rc::new(std::cell::Cell::new(0_u64));
                let writer = {
                    let (file, writes) = (file.clone(), writes.clone());
                    spawn(async move {
                        loop {
                            file.write_at(vec![7; 16], 0).await.unwrap();
                            writes.set(writes.get() + 1);
                        }
                    })
                };
                while writes.get() == 0 {
                    yield_now().await;
                }
                let mut last = writes.get();
                for _ in 0..100 {
                    sleep(Duration::from_micros(10)).await.unwrap();
                    yield_now().await;
                    let now = writes.get();
                    assert!(now > last, "it goes on");
                    assert!(now - last < 200, "{} writes without a pause", now - last);
                    last = now;
                }
                writer.abort();
            });
        },
    );
}

#[test]
fn it_ends_when_there_are_threads_again() {
    in_own_process("it_ends_when_there_are_threads_again", || {
        if !without_threads() {
            return;
        }
        let path = c("fifo");
        // SAFETY: the path is a string that ends with a zero byte.
        assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
        let told = Told::default();
        told.build().block_on(async {
            fs::write("file", "1").await.unwrap();
            fs::write("file", "2").await.unwrap();
            assert_eq!(told.take().len(), 1);
            limit_threads(4096);
            // At once, what can be waited for is waited for.
            assert_eq!(gimmal::task::spawn_blocking(|| 3).await.unwrap(), 3);
            let (reader, writer) =
                gimmal::try_join((PipeReader::open("fifo"), PipeWriter::open("fifo")))
                    .await
                    .unwrap();
            drop((reader, writer));
            // A write that goes to a worker again takes no less than a turn.
            loop {
                let file = File::create("file").await.unwrap();
                let mut write = std::pin::pin!(file.write("3"));
                let at_once = std::future::poll_fn(|context| {
                    std::task::Poll::Ready(write.as_mut().poll(context).is_ready())
                })
                .await;
                if !at_once {
                    write.await.unwrap();
                    break;
                }
                sleep(Duration::from_millis(50)).await.unwrap();
            }
            assert!(told.take().is_empty());
        });
    });
}

/// One worker is there, and waits for a peer. What is behind it is withdrawn, and served; the peer may come.
#[test]
fn what_is_behind_a_worker_that_waits_for_a_peer_is_served() {
    in_own_process(
        "what_is_behind_a_worker_that_waits_for_a_peer_is_served",
        || {
            if !become_user() {
                return;
            }
            for name in ["one", "two"] {
                let path = c(name);
                // SAFETY: the path is a string that ends with a zero byte.
                assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
            }
            let told = Told::default();
            told.build().block_on(async {
                // The worker is made by this.
                fs::write("file", "first").await.unwrap();
                limit_threads(1);
                let opened = spawn(PipeReader::open("one"));
                while Handle::current().stats().operations == 0 {
                    yield_now().await;
                }
                sleep(Duration::from_millis(10)).await.unwrap();
                let file = File::open("file").await.unwrap();
                fs::write("file", "second").await.unwrap();
                assert_eq!(fs::read("file").await.unwrap(), b"second");
                file.sync_all().await.unwrap();
                assert_eq!(told.take().len(), 1);
                // There is no worker that would wait for a second one.
                names_the_limits(&PipeReader::open("two").await.unwrap_err());
                assert!(!opened.is_finished());
                let options = std::fs::File::options().write(true).open("one");
                options.unwrap().write_all(b"x").unwrap();
                let reader = opened.await.unwrap().unwrap();
                assert_eq!(reader.read(vec![0; 4]).await.unwrap().0, 1);
            });
        },
    );
}

/// The kernel may have to flush when a descriptor of this kind is closed, which takes a worker.
#[test]
fn a_descriptor_that_is_flushed_when_it_is_closed_is_closed() {
    in_own_process(
        "a_descriptor_that_is_flushed_when_it_is_closed_is_closed",
        || {
            let name = c(&format!("/gimmal-{}", std::process::id()));
            let open = || {
                let flags = libc::O_CREAT | libc::O_RDWR;
                // SAFETY: the name is a string that ends with a zero byte; no attributes are given.
                let fd =
                    unsafe { libc::mq_open(name.as_ptr(), flags, 0o600, std::ptr::null::<u8>()) };
                // SAFETY: the descriptor is new, and nobody else's.
                (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
            };
            if !without_threads() {
                return;
            }
            if open().is_none() {
                return skip!("there are no message queues");
            }
            Runtime::new().unwrap().block_on(async {
                fs::write("file", "").await.unwrap();
                let before = common::descriptors();
                for _ in 0..100 {
                    File::from(open().unwrap()).close().await.unwrap();
                    assert_eq!(common::descriptors(), before);
                }
            });
            // SAFETY: the name is a string that ends with a zero byte.
            unsafe { libc::mq_unlink(name.as_ptr()) };
        },
    );
}

/// The limit of a cgroup is root's, too.
#[test]
fn the_limit_of_a_cgroup_is_one_as_well() {
    /// However the child ends, the groups that it has made are removed.
    struct Groups(u32);

    impl Groups {
        fn paths(&self) -> impl Iterator<Item = (&'static str, PathBuf)> {
            let name = format!("gimmal-test-{}", self.0);
            let roots = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"];
            roots
                .into_iter()
                .map(move |root| (root, Path::new(root).join(&name)))
        }
    }

    impl Drop for Groups {
        fn drop(&mut self) {
            if !is_child() {
                self.paths()
                    .for_each(|(_, group)| drop(std::fs::remove_dir(group)));
            }
        }
    }

    let groups = Groups(if is_child() {
        std::os::unix::process::parent_id()
    } else {
        std::process::id()
    });
    in_own_process("the_limit_of_a_cgroup_is_one_as_well", || {
        let made = groups.paths().find_map(|(root, group)| {
            std::fs::create_dir(&group).ok()?;
            let limited = std::fs::write(group.join("pids.max"), "1")
                .and_then(|()| std::fs::write(group.join("cgroup.procs"), "0"));
            if limited.is_err() {
                let _ = std::fs::remove_dir(&group);
            }
            limited.ok().map(|()| root)
        });
        let Some(root) = made else {
            return skip!("no cgroup with a limit of tasks can be made here");
        };
        let limited = !has_threads();
        if limited {
            Runtime::new().unwrap().block_on(async {
                fs::write("file", pattern(10_000)).await.unwrap();
                assert_eq!(fs::read("file").await.unwrap(), pattern(10_000));
                assert!(fs::read("/proc/self/stat").await.unwrap().len() > 10);
                let found = gimmal::net::lookup_host("localhost:80").await;
                names_the_limits(&found.unwrap_err());
            });
        }
        std::fs::write(Path::new(root).join("cgroup.procs"), "0").unwrap();
        assert!(limited, "the limit of the cgroup does not hold");
    });
}

/// A file in a table that is regular by its mode, and waits all the same.
#[test]
fn a_file_that_has_nothing_as_yet_is_not_waited_for_on_the_loop() {
    in_own_process(
        "a_file_that_has_nothing_as_yet_is_not_waited_for_on_the_loop",
        || {
            let kmsg = std::fs::File::open("/proc/kmsg");
            if !without_threads() {
                return;
            }
            let Ok(kmsg) = kmsg else {
                return skip!("/proc/kmsg cannot be opened");
            };
            // Whatever is there is read by others, or here.
            let is_empty = || {
                let mut poll = libc::pollfd {
                    fd: kmsg.as_raw_fd(),
                    events: libc::POLLIN,
                    revents: 0,
                };
                // SAFETY: one pollfd is read and written during the call.
                unsafe { libc::poll(&mut poll, 1, 0) == 0 }
            };
            let mut all = vec![0; 1 << 20];
            while !is_empty() {
                let _ = (&kmsg).read(&mut all).unwrap();
            }
            Runtime::new().unwrap().block_on(async {
                // It is known by this that there are no threads.
                fs::write("file", "").await.unwrap();
                let kmsg = File::from_std(kmsg.try_clone().unwrap());
                // Perhaps the kernel has just written something.
                let read = kmsg.read(vec![0; 100]).timeout(Duration::from_millis(20));
                if let Err(error) = read.await {
                    assert!(gimmal::is_timeout(&error), "{error}");
                }
            });
        },
    );
}
