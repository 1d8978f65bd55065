//! The errors of building a runtime, how many runtimes there can be, and forked children.
//!
//! Tests that change the whole process (limits, users, forks) run in a child process: the test binary again, with a
//! single test and an environment variable.

use common::{descriptors, errno, everywhere, pipe, ran_in_own_process};
use gimmal::fs::File;
use gimmal::runtime::FeatureMask;
use gimmal::{Runtime, sleep, spawn, yield_now};
use std::cell::Cell;
use std::io;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

#[track_caller]
fn assert_error(error: &io::Error, errno_expected: i32, parts: &[&str]) {
    let text = error.to_string();
    assert_eq!(errno(error), Some(errno_expected), "{text}");
    assert_eq!(
        error.kind(),
        io::Error::from_raw_os_error(errno_expected).kind()
    );
    for part in parts {
        assert!(text.contains(part), "{text:?} does not contain {part:?}");
    }
}

fn set_limit(resource: libc::__rlimit_resource_t, value: u64) {
    set_limits(resource, value, value);
}

fn set_limits(resource: libc::__rlimit_resource_t, soft: u64, hard: u64) {
    let limit = libc::rlimit {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: the pointer is to a valid limit for the length of the call.
    assert_eq!(unsafe { libc::setrlimit(resource, &limit) }, 0);
}

/// Makes `io_uring_setup` fail with an errno on this thread from now on.
fn forbid_rings(errno: i32) {
    let statement = |code: u32, k: u32| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    };
    let mut program = [
        // The number of the system call is the first word of the filter's input.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        libc::sock_filter {
            jf: 1,
            ..statement(
                libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
                libc::SYS_io_uring_setup as u32,
            )
        },
        statement(
            libc::BPF_RET | libc::BPF_K,
            libc::SECCOMP_RET_ERRNO | errno as u32,
        ),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the first call passes no address; the second passes that of a program which outlives the call.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program),
            0
        );
    }
}

/// The error of building a runtime on a thread where the kernel returns this errno.
fn build_error(errno: i32) -> io::Error {
    thread::spawn(move || {
        forbid_rings(errno);
        let error = Runtime::new().map(drop).unwrap_err();
        let by_run: io::Result<()> = gimmal::run(async { unreachable!("without a ring") });
        assert_eq!(by_run.unwrap_err().to_string(), error.to_string());
        error
    })
    .join()
    .unwrap()
}

#[test]
fn rings_forbidden_by_seccomp_are_explained() {
    let error = build_error(libc::EPERM);
    let value = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    match value.trim() {
        "1" | "2" => assert_error(
            &error,
            libc::EPERM,
            &["kernel.io_uring_disabled", value.trim(), "sysctl"],
        ),
        _ => assert_error(
            &error,
            libc::EPERM,
            &["seccomp", "profile", "io_uring_setup"],
        ),
    }
}

#[test]
fn rings_missing_from_the_kernel_are_explained() {
    let error = build_error(libc::ENOSYS);
    assert_error(
        &error,
        libc::ENOSYS,
        &["not built into this kernel", "CONFIG_IO_URING", "5.15"],
    );
}

#[test]
fn a_system_without_descriptors_is_explained() {
    assert_error(
        &build_error(libc::ENFILE),
        libc::ENFILE,
        &["whole system", "fs.file-max"],
    );
}

#[test]
fn any_other_error_names_the_system_call() {
    assert_error(&build_error(libc::EBUSY), libc::EBUSY, &["io_uring_setup"]);
}

#[test]
fn a_ring_without_entries_is_rejected_with_the_sizes() {
    let error = Runtime::builder()
        .entries(0)
        .completion_entries(0)
        .build()
        .map(drop)
        .unwrap_err();
    assert_error(&error, libc::EINVAL, &["0 and 0 entries", "at least 1"]);
}

#[test]
fn a_ring_with_too_many_entries_gets_the_maximum() {
    let mut runtime = Runtime::builder()
        .entries(1 << 20)
        .completion_entries(1 << 20)
        .build()
        .unwrap();
    runtime.block_on(gimmal::op::nop()).unwrap();
}

#[test]
fn without_descriptors_every_error_names_the_limit() {
    if ran_in_own_process() {
        return;
    }
    set_limit(libc::RLIMIT_NOFILE, 64);
    let mut fill = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        fill.push(file);
    }
    let mut refused = 0;
    let mut runtime = loop {
        match Runtime::new() {
            Ok(runtime) => break runtime,
            Err(error) => {
                assert_error(
                    &error,
                    libc::EMFILE,
                    &["RLIMIT_NOFILE", "64 descriptors", "ulimit -n"],
                );
                refused += 1;
            }
        }
        drop(fill.pop().expect("no runtime despite free descriptors"));
    };
    // One for the ring, and one for the eventfd.
    assert_eq!(refused, 2);
    runtime.block_on(gimmal::op::nop()).unwrap();
}

/// Switches to a user without other processes, whose rings would count, and sets the limit of locked memory. Returns
/// false if that is impossible.
fn limit_locked_memory(limit: u64) -> bool {
    // SAFETY: no address is passed.
    if unsafe { libc::geteuid() } != 0 {
        common::skip!("only root can switch to a user without rings");
        return false;
    }
    let user = 1_000_000 + std::process::id();
    // SAFETY: no address is passed.
    if unsafe { libc::setuid(user) } != 0 {
        common::skip!("the container does not map this user");
        return false;
    }
    set_limits(libc::RLIMIT_MEMLOCK, 4096, 8 << 20);
    let any = <io_uring::IoUring>::builder().setup_cqsize(256).build(64);
    if any.is_ok() {
        common::skip!("this kernel does not count rings against RLIMIT_MEMLOCK");
        return false;
    }
    set_limits(libc::RLIMIT_MEMLOCK, limit, 8 << 20);
    true
}

#[test]
fn with_little_locked_memory_smaller_rings_are_tried_before_an_error() {
    if ran_in_own_process() {
        return;
    }
    if !limit_locked_memory(64 << 10) {
        return;
    }
    let mut runtimes = Vec::new();
    let error = loop {
        match Runtime::new() {
            Ok(runtime) => runtimes.push(runtime),
            Err(error) => break error,
        }
        assert!(runtimes.len() < 1000, "the limit is never reached");
    };
    let sizes = |runtime: &Runtime| {
        let stats = runtime.handle().stats();
        (stats.submission_entries, stats.completion_entries)
    };
    // 16 pages: rings of 128 and 2048 entries take 11, those of 32 and 512 take 4, and the last page is not enough
    // for any ring.
    let sizes: Vec<_> = runtimes.iter().map(sizes).collect();
    assert_eq!(sizes, [(128, 2048), (32, 512)]);
    assert_error(
        &error,
        libc::ENOMEM,
        &["RLIMIT_MEMLOCK", "65536 bytes", "256 and 4096", "ulimit -l"],
    );
    for runtime in &mut runtimes {
        runtime.block_on(async {
            let nops: Vec<_> = (0..300).map(|_| gimmal::op::nop().submit()).collect();
            for nop in nops {
                nop.await.unwrap();
            }
        });
    }
}

#[test]
fn five_hundred_consecutive_runs_fit_into_the_default_locked_memory() {
    if ran_in_own_process() {
        return;
    }
    if !limit_locked_memory(8 << 20) {
        return;
    }
    for mask in [
        FeatureMask::none(),
        FeatureMask::linux_6_1(),
        FeatureMask::linux_5_15(),
    ] {
        for n in 0..500 {
            let builder = Runtime::builder().mask(mask);
            let outcome: io::Result<()> = builder.run(async { Ok(()) });
            outcome.unwrap_or_else(|error| panic!("run {n}: {error}"));
        }
    }
}

#[test]
fn eight_threads_of_short_runs_fit_into_the_default_locked_memory() {
    if ran_in_own_process() {
        return;
    }
    if !limit_locked_memory(8 << 20) {
        return;
    }
    let run = |n: usize| {
        gimmal::run(async {
            let (reader, _writer) = pipe();
            // In flight when the runtime ends.
            drop(spawn(
                async move { reader.read(Vec::with_capacity(4)).await },
            ));
            yield_now().await;
            sleep(Duration::from_micros(n as u64)).await?;
            io::Result::Ok(())
        })
    };
    thread::scope(|threads| {
        for _ in 0..8 {
            threads.spawn(|| {
                for n in 0..100 {
                    run(n).unwrap_or_else(|error| panic!("run {n}: {error}"));
                }
            });
        }
    });
}

/// When a process ends, the kernel frees its ring asynchronously.
#[test]
fn a_restarted_service_can_use_the_locked_memory_of_its_predecessor() {
    if ran_in_own_process() {
        return;
    }
    if !limit_locked_memory(64 << 10) {
        return;
    }
    for kibibytes in [64, 96, 128, 256, 512] {
        set_limits(libc::RLIMIT_MEMLOCK, kibibytes << 10, 8 << 20);
        for start in 0..20 {
            let status = fork(|| {
                let mut runtime = match Runtime::new() {
                    Ok(runtime) => runtime,
                    Err(error) => {
                        eprintln!("start {start} under {kibibytes} KiB: {error}");
                        return 1;
                    }
                };
                runtime.block_on(async { gimmal::op::nop().await.unwrap() });
                // Like a service that is killed.
                std::mem::forget(runtime);
                0
            });
            assert_eq!(status, 0);
        }
    }
}

#[test]
fn the_sizes_of_the_queues_are_reported() {
    let sizes = |builder: gimmal::runtime::Builder| {
        let stats = builder.build().unwrap().handle().stats();
        (stats.submission_entries, stats.completion_entries)
    };
    // The kernel rounds up to powers of two.
    let builder = Runtime::builder().entries(5).completion_entries(9);
    assert_eq!(sizes(builder), (8, 16));
    let builder = Runtime::builder().entries(64).completion_entries(1);
    assert_eq!(sizes(builder), (64, 64));
    let builder = Runtime::builder().entries(1 << 20);
    assert_eq!(sizes(builder), (1 << 15, 1 << 16));
}

#[test]
fn a_thread_may_have_more_runtimes_than_registered_rings() {
    everywhere(|builder| {
        let mut runtimes: Vec<Runtime> = (0..40)
            .map(|_| builder.clone().entries(8).build().unwrap())
            .collect();
        for round in 0..3 {
            for (n, runtime) in runtimes.iter_mut().enumerate() {
                let sum = runtime.block_on(async {
                    gimmal::op::nop().await.unwrap();
                    sleep(Duration::from_micros(10)).await.unwrap();
                    spawn(async move { n + round }).await.unwrap()
                });
                assert_eq!(sum, n + round);
            }
        }
        // In an order that is neither that of creation nor its reverse.
        while !runtimes.is_empty() {
            let at = runtimes.len() / 2;
            drop(runtimes.swap_remove(at));
        }
    });
}

#[test]
fn two_hundred_consecutive_runtimes_leave_no_descriptor() {
    if ran_in_own_process() {
        return;
    }
    let work = |builder: gimmal::runtime::Builder| {
        let (reader, _writer) = pipe();
        let mut runtime = builder.entries(8).build().unwrap();
        runtime.block_on(async {
            drop(spawn(
                async move { reader.read(Vec::with_capacity(4)).await },
            ));
            yield_now().await;
            sleep(Duration::from_micros(10)).await.unwrap();
        });
    };
    // The first runtime opens the eventfd that all later ones reuse.
    work(Runtime::builder());
    let before = descriptors();
    for n in 0..200 {
        work(Runtime::builder().mask(if n % 2 == 0 {
            FeatureMask::none()
        } else {
            FeatureMask::linux_5_15()
        }));
        assert_eq!(descriptors(), before, "after {n} runtimes");
    }
    // Several at once need an eventfd each; these stay open and are reused.
    let several = |count: usize| {
        (0..count)
            .map(|_| Runtime::new().unwrap())
            .collect::<Vec<_>>()
    };
    drop(several(5));
    let after = descriptors();
    assert_eq!(after, before + 4);
    drop(several(5));
    assert_eq!(descriptors(), after);
    // A runtime that fails to build leaves nothing behind either.
    for _ in 0..20 {
        assert!(Runtime::builder().entries(0).build().is_err());
    }
    assert_eq!(descriptors(), after);
}

/// Forks. The child runs `body` and exits with the returned code; the parent returns the child's status.
fn fork(body: impl FnOnce() -> i32) -> i32 {
    // SAFETY: only one thread of the process is active, and the child ends by _exit.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        let code = catch_unwind(AssertUnwindSafe(body)).unwrap_or(99);
        // SAFETY: ends the child without running any code of the parent.
        unsafe { libc::_exit(code) }
    }
    let mut status = 0;
    // SAFETY: the pointer is valid for the length of the call.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    assert!(libc::WIFEXITED(status), "the child was killed: {status:#x}");
    libc::WEXITSTATUS(status)
}

fn message(payload: Box<dyn std::any::Any + Send>) -> String {
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => payload
            .downcast_ref::<&str>()
            .map_or_else(String::new, |text| (*text).to_owned()),
    }
}

/// Uses a runtime created by the child.
fn use_runtime(builder: gimmal::runtime::Builder) {
    let mut own = builder.build().unwrap();
    own.block_on(async {
        gimmal::op::nop().await.unwrap();
        sleep(Duration::from_micros(100)).await.unwrap();
        assert_eq!(gimmal::task::spawn_blocking(|| 3).await.unwrap(), 3);
        let (send, receive) = async_channel::bounded(1);
        let waker = thread::spawn(move || send.send_blocking(7).unwrap());
        assert_eq!(receive.recv().await, Ok(7));
        waker.join().unwrap();
        assert!(gimmal::fs::read("/proc/self/stat").await.unwrap().len() > 10);
    });
}

#[test]
fn a_forked_child_gets_an_error_and_does_not_disturb_its_parent() {
    if ran_in_own_process() {
        return;
    }
    everywhere(|builder| {
        let (reader, writer) = pipe();
        let mut writer = std::fs::File::from(OwnedFd::from(writer));
        let mut runtime = builder.clone().build().unwrap();
        let file = reader;
        // In flight when the process forks.
        let mut read = None;
        runtime.block_on(async {
            read = Some(file.read(Vec::with_capacity(16)).submit());
            gimmal::op::nop().await.unwrap();
        });
        let read = read.take().unwrap();
        let waiting = runtime.spawn(sleep(Duration::from_millis(5)));
        let mut parents = Some((runtime, read));
        let status = fork(|| {
            let (mut runtime, read) = parents.take().unwrap();
            let Err(payload) =
                catch_unwind(AssertUnwindSafe(|| runtime.block_on(gimmal::op::nop())))
            else {
                return 1;
            };
            let text = message(payload);
            if !(text.contains("forked") && text.contains("new one in the child")) {
                eprintln!("told: {text}");
                return 2;
            }
            // Memory lent to the kernel by the parent's runtime is forgotten here; the parent's runtime is not
            // affected.
            drop(read);
            drop(runtime);
            use_runtime(builder.clone());
            use_runtime(builder.clone());
            0
        });
        assert_eq!(status, 0);
        let (mut runtime, read) = parents.take().unwrap();
        writer.write_all(b"to the parent").unwrap();
        let (n, buffer) = runtime.block_on(read).unwrap();
        assert_eq!(&buffer[..n], b"to the parent");
        runtime.block_on(waiting).unwrap().unwrap();
        runtime.block_on(async { gimmal::op::nop().await.unwrap() });
        assert_eq!(runtime.handle().stats().operations, 0);
    });
}

/// Forked in the middle of a poll, with an entry in the queue that was not submitted yet: only the parent must submit
/// it.
#[test]
fn a_child_forked_inside_block_on_is_rejected_and_submits_nothing() {
    if ran_in_own_process() {
        return;
    }
    everywhere(|builder| {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut runtime = builder.clone().build().unwrap();
        runtime.block_on(async {
            let file = File::from(OwnedFd::from(writer));
            let write = file.write(b"once".to_vec()).submit();
            // SAFETY: only one thread of the process is active, and the child ends by _exit.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                let code = child_inside(write).await;
                // SAFETY: runs no code of the parent.
                unsafe { libc::_exit(code) }
            }
            let mut status = 0;
            // SAFETY: the pointer is valid for the length of the call.
            assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
            assert_eq!(
                (libc::WIFEXITED(status), libc::WEXITSTATUS(status)),
                (true, 0)
            );
            assert_eq!(write.await.unwrap().0, 4);
            file.close().await.unwrap();
        });
        drop(runtime);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "once");
    });
}

/// The child's side: checks that operations are rejected, then returns 0 if the runtime panics with a clear message as
/// soon as the child awaits.
async fn child_inside<T>(write: T) -> i32 {
    let Err(refused) = gimmal::op::nop().await else {
        return 1;
    };
    if !refused.to_string().contains("forked this one") {
        return 2;
    }
    drop(write);
    // The expected panic ends the child at once, and the exit code tells whether the message is right.
    std::panic::set_hook(Box::new(|info| {
        let told = info.to_string();
        let code = if told.contains("forked this one") {
            0
        } else {
            eprintln!("told: {told}");
            3
        };
        // SAFETY: runs no code of the parent.
        unsafe { libc::_exit(code) }
    }));
    yield_now().await;
    // Only an await that ends the turn reaches the ring.
    std::future::pending::<()>().await;
    4
}

#[test]
fn a_child_that_returns_from_run_ends_quietly() {
    if ran_in_own_process() {
        return;
    }
    everywhere(|builder| {
        let child = Rc::new(Cell::new(false));
        let seen = child.clone();
        let (reader, writer) = pipe();
        let main = async move {
            drop(spawn(async move {
                let _ = sleep(Duration::from_secs(3600)).await;
                drop(writer);
            }));
            gimmal::op::nop().await?;
            // SAFETY: only one thread of the process is active, and the child ends by _exit.
            let pid = unsafe { libc::fork() };
            seen.set(pid == 0);
            if pid > 0 {
                let mut status = 0;
                // SAFETY: the pointer is valid for the length of the call.
                assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
                assert_eq!(
                    (libc::WIFEXITED(status), libc::WEXITSTATUS(status)),
                    (true, 0)
                );
            }
            Ok(())
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| -> io::Result<()> { builder.run(main) }));
        if child.get() {
            let code = if matches!(outcome, Ok(Ok(()))) { 0 } else { 1 };
            // SAFETY: runs no code of the parent.
            unsafe { libc::_exit(code) }
        }
        outcome.unwrap().unwrap();
        drop(reader);
    });
}

/// A child of a child, each with its own runtime.
#[test]
fn every_generation_has_its_own_runtime() {
    if ran_in_own_process() {
        return;
    }
    let mut runtime = Runtime::new().unwrap();
    runtime.block_on(gimmal::op::nop()).unwrap();
    let status = fork(|| {
        let mut own = Runtime::new().unwrap();
        own.block_on(gimmal::op::nop()).unwrap();
        let status = fork(|| {
            use_runtime(Runtime::builder());
            let told = catch_unwind(AssertUnwindSafe(|| own.block_on(gimmal::op::nop())));
            i32::from(!message(told.map(drop).unwrap_err()).contains("forked"))
        });
        own.block_on(gimmal::op::nop()).unwrap();
        status
    });
    assert_eq!(status, 0);
    runtime.block_on(gimmal::op::nop()).unwrap();
}

/// Code that closes foreign descriptors closes the ring: this ends the runtime with a report.
#[test]
fn a_ring_closed_by_other_code_is_reported() {
    if ran_in_own_process() {
        return;
    }
    let faults = common::Faults::default();
    let mut runtime = faults
        .hear(Runtime::builder().mask(FeatureMask::linux_5_15()))
        .build()
        .unwrap();
    runtime.block_on(gimmal::op::nop()).unwrap();
    let ring = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(Result::ok)
        .find(|entry| {
            std::fs::read_link(entry.path()).is_ok_and(|to| to.ends_with("anon_inode:[io_uring]"))
        })
        .and_then(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .unwrap();
    let other = std::fs::File::open("/dev/null").unwrap();
    // SAFETY: the descriptor number is replaced by another file, which the runtime owns and closes from now on.
    assert_eq!(unsafe { libc::dup2(other.as_raw_fd(), ring) }, ring);
    let caught = catch_unwind(AssertUnwindSafe(|| runtime.block_on(gimmal::op::nop())));
    assert!(message(caught.map(drop).unwrap_err()).contains("the ring is lost"));
    faults.expect(&["closed by other code"]);
    drop(runtime);
    let _ = faults.take();
    // Other runtimes are not affected.
    use_runtime(Runtime::builder());
    // SAFETY: a new descriptor that nothing else owns.
    drop(unsafe { OwnedFd::from_raw_fd(libc::dup(other.as_raw_fd())) });
}
