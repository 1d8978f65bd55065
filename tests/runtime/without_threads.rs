//! When no thread can be created: file operations still work; operations that may wait for a peer fail at once, and the
//! error names the limits; normal operation resumes when threads are available again.
//!
//! Each test runs in a child process, as a user whose thread limit is reached (RLIMIT_NPROC, which does not apply to
//! root).

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

/// The maximum time of a child, in seconds. A child takes a second; it took a minute when the kernel was asked again
/// and again.
const SECONDS_MAX: u32 = 30;

/// Runs `body` in a child process, in a directory that any user may write to.
#[track_caller]
fn in_own_process(test: &str, body: impl FnOnce()) {
    if is_child() {
        // SAFETY: no address is passed. Without a handler, the signal ends the process.
        unsafe { libc::alarm(SECONDS_MAX) };
        return body();
    }
    let directory = directory();
    let anybody = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(directory.path(), anybody).unwrap();
    // The leak checker starts a process, which is impossible here.
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
    // SAFETY: the pointer is to a valid limit, which is only read during the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NPROC, &limit) }, 0);
}

/// Switches to a user without other processes. Returns false if that is impossible.
fn become_user() -> bool {
    // SAFETY: no address is passed.
    if unsafe { libc::geteuid() } != 0 {
        common::skip!("only root can switch to a user without other threads");
        return false;
    }
    let user = 1_000_000 + std::process::id();
    // SAFETY: no address is passed.
    if unsafe { libc::setuid(user) } != 0 {
        common::skip!("the container does not map this user");
        return false;
    }
    true
}

fn has_threads() -> bool {
    let thread = std::thread::Builder::new().spawn(|| ());
    thread.is_ok_and(|thread| thread.join().is_ok())
}

/// Makes the creation of threads impossible from now on. Returns false if the limits do not apply here.
fn without_threads() -> bool {
    if !become_user() {
        return false;
    }
    limit_threads(1);
    assert!(!has_threads());
    true
}

/// The faults reported to the hook.
#[derive(Clone, Default)]
struct Faults(Arc<Mutex<Vec<String>>>);

impl Faults {
    fn build(&self) -> Runtime {
        let faults = self.0.clone();
        let hook = move |fault: &Fault| faults.lock().unwrap().push(fault.to_string());
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
        assert!(text.contains(part), "{text:?} does not contain {part}");
    }
    assert_eq!(gimmal::errno(error), Some(libc::EAGAIN), "{text}");
    assert!(!gimmal::is_canceled(error) && !gimmal::is_timeout(error));
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n % 251) as u8).collect()
}

#[test]
fn files_work_without_threads() {
    in_own_process("files_work_without_threads", || {
        if !without_threads() {
            return;
        }
        let faults = Faults::default();
        let shm = format!("/dev/shm/gimmal-{}", std::process::id());
        faults.build().block_on(async {
            for path in ["file", &shm] {
                if let Err(error) = std::fs::write(path, "") {
                    common::skip!("{path}: {error}");
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
            // A directory is opened and synchronized.
            let here = File::open(".").await.unwrap();
            here.sync_all().await.unwrap();
            here.close().await.unwrap();
        });
        let faults = faults.take();
        assert_eq!(faults.len(), 1, "reported once: {faults:?}");
        assert!(faults[0].contains("RLIMIT_NPROC"), "{faults:?}");
    });
}

async fn whole_life_of_a_file(path: &str) -> io::Result<()> {
    let bytes = pattern(100_000);
    // Created, truncated, and created again.
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
    // SAFETY: no address is passed, and the mask is restored.
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
    // The cursor is behind the bytes that were written at it.
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
    // Errors are the same as with threads.
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

/// A request with any opcode and fields.
struct Request(
    Entry,
    #[expect(dead_code, reason = "keeps the memory alive")] Rc<dyn std::any::Any>,
);

// SAFETY: the memory that the entries below point to is held by the second field, or is static.
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

/// Of the opcodes that this crate does not wrap, those for files and paths work, and others fail.
#[test]
fn foreign_operations_work_if_they_are_for_files() {
    in_own_process("foreign_operations_work_if_they_are_for_files", || {
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
                Err(error) if error.kind() == ErrorKind::Unsupported => common::skip!("{error}"),
                result => assert_eq!(result.unwrap(), 0),
            };
            // FTRUNCATE, FALLOCATE
            let truncated = of(on_file(55).offset(4)).await;
            let length = if truncated.is_ok() { 4 } else { 10 };
            supported(truncated);
            assert_eq!(file.metadata().unwrap().len(), length);
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
            // SAFETY: `statx` consists of plain integers.
            let statx = unsafe { std::mem::zeroed::<libc::statx>() };
            let statx = Rc::new(UnsafeCell::new(statx));
            let size = libc::STATX_SIZE;
            let entry = here(21).addr(four.as_ptr()).len(size).addr2(statx.get());
            supported(Op::new(Request(entry, statx.clone())).await);
            // SAFETY: the request has completed, and nothing else accesses the memory.
            assert_eq!(unsafe { (*statx.get()).stx_size }, 5100);
            // A no-op forced into a worker is not a file operation.
            names_the_limits(&of(Entry::new(Opcode::NOP).in_worker()).await.unwrap_err());
        });
    });
}

#[test]
fn operations_that_may_wait_for_a_peer_fail_with_the_limits() {
    in_own_process(
        "operations_that_may_wait_for_a_peer_fail_with_the_limits",
        || {
            if !without_threads() {
                return;
            }
            let path = c("fifo");
            // SAFETY: the path is nul-terminated.
            assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
            std::fs::write("large", pattern(1 << 20)).unwrap();
            Runtime::new().unwrap().block_on(async {
                // Twice: before and after the lack of threads is known.
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
                // The failed operations had no effect.
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
        },
    );
}

/// However a wait ends, an operation that reports a cancellation left the file unchanged.
#[test]
fn canceled_and_timed_out_operations_have_no_effect() {
    in_own_process("canceled_and_timed_out_operations_have_no_effect", || {
        if !without_threads() {
            return;
        }
        Runtime::new().unwrap().block_on(async {
            let mut timed_out = 0;
            for round in 0..40 {
                // Each round uses a new runtime, which does not know of the lack of threads yet, or this one, which
                // does.
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
            assert!(timed_out > 0, "some zero timeouts must expire");
            while Handle::current().stats().operations > 0 {
                yield_now().await;
            }
        });
        Watched::check_and_forget("writes without a thread");
    });
}

#[test]
fn other_tasks_run_while_one_task_writes_endlessly() {
    in_own_process("other_tasks_run_while_one_task_writes_endlessly", || {
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
                assert!(now > last, "the writer makes progress");
                assert!(now - last < 200, "{} writes without a pause", now - last);
                last = now;
            }
            writer.abort();
        });
    });
}

#[test]
fn normal_operation_resumes_when_threads_are_available() {
    in_own_process(
        "normal_operation_resumes_when_threads_are_available",
        || {
            if !without_threads() {
                return;
            }
            let path = c("fifo");
            // SAFETY: the path is nul-terminated.
            assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
            let faults = Faults::default();
            faults.build().block_on(async {
                fs::write("file", "1").await.unwrap();
                fs::write("file", "2").await.unwrap();
                assert_eq!(faults.take().len(), 1);
                limit_threads(4096);
                // At once, operations that may wait can wait again.
                assert_eq!(gimmal::task::spawn_blocking(|| 3).await.unwrap(), 3);
                let (reader, writer) =
                    gimmal::try_join((PipeReader::open("fifo"), PipeWriter::open("fifo")))
                        .await
                        .unwrap();
                drop((reader, writer));
                // A write that uses a worker again takes at least a turn.
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
                assert!(faults.take().is_empty());
            });
        },
    );
}

/// The only worker waits for a peer. The work queued behind it is withdrawn and served directly; the peer may still
/// come.
#[test]
fn work_behind_a_worker_that_waits_for_a_peer_is_served() {
    in_own_process(
        "work_behind_a_worker_that_waits_for_a_peer_is_served",
        || {
            if !become_user() {
                return;
            }
            for name in ["one", "two"] {
                let path = c(name);
                // SAFETY: the path is nul-terminated.
                assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
            }
            let faults = Faults::default();
            faults.build().block_on(async {
                // Starts the worker.
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
                assert_eq!(faults.take().len(), 1);
                // No worker is available to wait for a second peer.
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

/// Closing such a descriptor may have to flush it, which needs a worker.
#[test]
fn a_descriptor_that_flushes_on_close_is_closed() {
    in_own_process("a_descriptor_that_flushes_on_close_is_closed", || {
        let name = c(&format!("/gimmal-{}", std::process::id()));
        let open = || {
            let flags = libc::O_CREAT | libc::O_RDWR;
            // SAFETY: the name is nul-terminated, and no attributes are passed.
            let fd = unsafe { libc::mq_open(name.as_ptr(), flags, 0o600, std::ptr::null::<u8>()) };
            // SAFETY: the descriptor was just created, and nothing else owns it.
            (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
        };
        if !without_threads() {
            return;
        }
        if open().is_none() {
            return common::skip!("no message queues on this kernel");
        }
        Runtime::new().unwrap().block_on(async {
            fs::write("file", "").await.unwrap();
            let before = common::descriptors();
            for _ in 0..100 {
                File::from(open().unwrap()).close().await.unwrap();
                assert_eq!(common::descriptors(), before);
            }
        });
        // SAFETY: the name is nul-terminated.
        unsafe { libc::mq_unlink(name.as_ptr()) };
    });
}

/// The limit of a cgroup applies to root as well.
#[test]
fn the_error_names_the_limit_of_a_cgroup() {
    /// Removes the cgroups, however the child ends.
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
    in_own_process("the_error_names_the_limit_of_a_cgroup", || {
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
            return common::skip!("cannot create a cgroup with a task limit");
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

/// A file that is regular by its mode, but blocks when it is read.
#[test]
fn a_file_without_data_does_not_block_the_event_loop() {
    in_own_process("a_file_without_data_does_not_block_the_event_loop", || {
        let kmsg = std::fs::File::open("/proc/kmsg");
        if !without_threads() {
            return;
        }
        let Ok(kmsg) = kmsg else {
            return common::skip!("/proc/kmsg cannot be opened");
        };
        // Reads all messages, unless another process does.
        let is_empty = || {
            let mut poll = libc::pollfd {
                fd: kmsg.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: the pointer is to one pollfd, which is read and written during the call.
            unsafe { libc::poll(&mut poll, 1, 0) == 0 }
        };
        let mut all = vec![0; 1 << 20];
        while !is_empty() {
            let _ = (&kmsg).read(&mut all).unwrap();
        }
        Runtime::new().unwrap().block_on(async {
            // This makes the runtime notice that no threads are available.
            fs::write("file", "").await.unwrap();
            let kmsg = File::from_std(kmsg.try_clone().unwrap());
            // The kernel may just have logged another message.
            let read = kmsg.read(vec![0; 100]).timeout(Duration::from_millis(20));
            if let Err(error) = read.await {
                assert!(gimmal::is_timeout(&error), "{error}");
            }
        });
    });
}
