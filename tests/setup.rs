//! What a runtime says when it cannot be built, how many there can be, and what a forked child finds.
//!
//! What changes the whole process (limits, users, forks) is done in a process of its own: the test binary again, with
//! one test and a variable in its environment.

#![expect(
    clippy::unwrap_used,
    reason = "a test that meets an error fails where it stands"
)]
#![allow(
    clippy::async_yields_async,
    reason = "handles are taken out of block_on on purpose"
)]

#[macro_use]
mod common;
#[path = "tasks/support.rs"]
mod support;

use common::CHILD;
use gimmal::fs::File;
use gimmal::runtime::FeatureMask;
use gimmal::{Runtime, sleep, spawn, yield_now};
use std::cell::Cell;
use std::error::Error;
use std::io;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::rc::Rc;
use std::thread;
use std::time::Duration;
use support::{everywhere, pipe};

/// Runs `body` in a process of its own. `test` is the name of the calling test.
#[track_caller]
fn in_own_process(test: &str, body: impl FnOnce()) {
    if std::env::var(CHILD).as_deref() == Ok(test) {
        return body();
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, test)
        .output()
        .unwrap();
    let said = format!(
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{test} in its own process:\n{said}"
    );
    common::skip::relay(&said);
}

/// The errno that the kernel gave, at the end of the chain of sources.
fn errno(error: &io::Error) -> Option<i32> {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>()
            && let Some(errno) = error.raw_os_error()
        {
            return Some(errno);
        }
        next = error.source();
    }
    None
}

#[track_caller]
fn says(error: &io::Error, errno_expected: i32, parts: &[&str]) {
    let text = error.to_string();
    assert_eq!(errno(error), Some(errno_expected), "{text}");
    assert_eq!(
        error.kind(),
        io::Error::from_raw_os_error(errno_expected).kind()
    );
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
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
    // SAFETY: the address is that of a valid limit for the length of the call.
    assert_eq!(unsafe { libc::setrlimit(resource, &limit) }, 0);
}

/// Has the kernel answer `io_uring_setup` on this thread with an errno from now on.
fn forbid_rings(errno: i32) {
    let statement = |code: u32, k: u32| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    };
    let mut program = [
        // The number of the call is the first word of what a filter sees.
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
    // SAFETY: the first call has no address; the second has that of a program which outlives the call.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program),
            0
        );
    }
}

/// What building a runtime says on a thread where the kernel answers so.
fn told_under(errno: i32) -> io::Error {
    thread::spawn(move || {
        forbid_rings(errno);
        let error = Runtime::new().map(drop).unwrap_err();
        let by_run: io::Result<()> = gimmal::run(async { unreachable!("there is no ring") });
        assert_eq!(by_run.unwrap_err().to_string(), error.to_string());
        error
    })
    .join()
    .unwrap()
}

#[test]
fn forbidden_by_a_filter_of_system_calls() {
    let error = told_under(libc::EPERM);
    let value = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    match value.trim() {
        "1" | "2" => says(
            &error,
            libc::EPERM,
            &["kernel.io_uring_disabled", value.trim(), "sysctl"],
        ),
        _ => says(
            &error,
            libc::EPERM,
            &["seccomp", "profile", "io_uring_setup"],
        ),
    }
}

#[test]
fn not_built_into_the_kernel() {
    let error = told_under(libc::ENOSYS);
    says(
        &error,
        libc::ENOSYS,
        &["not built into this kernel", "CONFIG_IO_URING", "5.15"],
    );
}

#[test]
fn the_system_has_no_descriptor_left() {
    says(
        &told_under(libc::ENFILE),
        libc::ENFILE,
        &["whole system", "fs.file-max"],
    );
}

#[test]
fn whatever_else_is_in_the_way_names_the_call() {
    says(&told_under(libc::EBUSY), libc::EBUSY, &["io_uring_setup"]);
}

#[test]
fn a_ring_of_no_entries_is_refused_with_the_sizes() {
    let error = Runtime::builder()
        .entries(0)
        .completion_entries(0)
        .build()
        .map(drop)
        .unwrap_err();
    says(&error, libc::EINVAL, &["0 and 0 entries", "at least 1"]);
}

#[test]
fn a_ring_of_too_many_entries_gets_what_the_kernel_has() {
    let mut runtime = Runtime::builder()
        .entries(1 << 20)
        .completion_entries(1 << 20)
        .build()
        .unwrap();
    runtime.block_on(gimmal::op::nop()).unwrap();
}

#[test]
fn without_descriptors_the_limit_is_named_at_every_step() {
    in_own_process(
        "without_descriptors_the_limit_is_named_at_every_step",
        || {
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
                        says(
                            &error,
                            libc::EMFILE,
                            &["RLIMIT_NOFILE", "64 descriptors", "ulimit -n"],
                        );
                        refused += 1;
                    }
                }
                drop(
                    fill.pop()
                        .expect("descriptors are free, and still there is no runtime"),
                );
            };
            // One for the ring, and one by which it is woken.
            assert_eq!(refused, 2);
            runtime.block_on(gimmal::op::nop()).unwrap();
        },
    );
}

/// Becomes a user of its own, so that no other process's rings count, with this limit of locked memory. False, if it
/// cannot be.
fn lock_at_most(limit: u64) -> bool {
    // SAFETY: no address is passed.
    if unsafe { libc::geteuid() } != 0 {
        skip!("only root can become a user without rings");
        return false;
    }
    let user = 1_000_000 + std::process::id();
    // SAFETY: no address is passed.
    if unsafe { libc::setuid(user) } != 0 {
        skip!("root of a container has no such user");
        return false;
    }
    set_limits(libc::RLIMIT_MEMLOCK, 4096, 8 << 20);
    let any = <io_uring::IoUring>::builder().setup_cqsize(256).build(64);
    if any.is_ok() {
        skip!("this kernel does not count rings against RLIMIT_MEMLOCK");
        return false;
    }
    set_limits(libc::RLIMIT_MEMLOCK, limit, 8 << 20);
    true
}

#[test]
fn short_of_locked_memory_smaller_rings_are_tried_before_the_limit_is_named() {
    const TEST: &str = "short_of_locked_memory_smaller_rings_are_tried_before_the_limit_is_named";
    in_own_process(TEST, || {
        if !lock_at_most(64 << 10) {
            return;
        }
        let mut runtimes = Vec::new();
        let error = loop {
            match Runtime::new() {
                Ok(runtime) => runtimes.push(runtime),
                Err(error) => break error,
            }
            assert!(runtimes.len() < 1000, "the limit is not reached");
        };
        let sizes = |runtime: &Runtime| {
            let stats = runtime.handle().stats();
            (stats.submission_entries, stats.completion_entries)
        };
        // 16 pages: 128 and 2048 entries take 11 of them, 32 and 512 take 4, and the last is not enough for any ring.
        let sizes: Vec<_> = runtimes.iter().map(sizes).collect();
        assert_eq!(sizes, [(128, 2048), (32, 512)]);
        says(
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
    });
}

#[test]
fn five_hundred_runs_in_turn_fit_into_the_usual_limit_of_locked_memory() {
    const TEST: &str = "five_hundred_runs_in_turn_fit_into_the_usual_limit_of_locked_memory";
    in_own_process(TEST, || {
        if !lock_at_most(8 << 20) {
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
    });
}

#[test]
fn eight_threads_of_short_runs_fit_into_the_usual_limit_of_locked_memory() {
    const TEST: &str = "eight_threads_of_short_runs_fit_into_the_usual_limit_of_locked_memory";
    in_own_process(TEST, || {
        if !lock_at_most(8 << 20) {
            return;
        }
        let run = |n: usize| {
            gimmal::run(async {
                let (reader, _writer) = pipe();
                // In the kernel when the runtime ends.
                drop(spawn(async move {
                    File::from(reader).read(Vec::with_capacity(4)).await
                }));
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
    });
}

/// A process that ends leaves its ring to the kernel, which frees it in its own time.
#[test]
fn a_service_that_is_restarted_finds_the_locked_memory_of_its_predecessor() {
    const TEST: &str = "a_service_that_is_restarted_finds_the_locked_memory_of_its_predecessor";
    in_own_process(TEST, || {
        if !lock_at_most(64 << 10) {
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
                    // As a service ends that is killed.
                    std::mem::forget(runtime);
                    0
                });
                assert_eq!(status, 0);
            }
        }
    });
}

#[test]
fn the_sizes_of_the_queues_are_told() {
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
fn more_runtimes_on_one_thread_than_it_can_register_rings() {
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
        // In an order that is neither that of their making nor its reverse.
        while !runtimes.is_empty() {
            let at = runtimes.len() / 2;
            drop(runtimes.swap_remove(at));
        }
    });
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn two_hundred_runtimes_one_after_another_leave_no_descriptor() {
    in_own_process(
        "two_hundred_runtimes_one_after_another_leave_no_descriptor",
        || {
            let work = |builder: gimmal::runtime::Builder| {
                let (reader, _writer) = pipe();
                let mut runtime = builder.entries(8).build().unwrap();
                runtime.block_on(async {
                    drop(spawn(async move {
                        File::from(reader).read(Vec::with_capacity(4)).await
                    }));
                    yield_now().await;
                    sleep(Duration::from_micros(10)).await.unwrap();
                });
            };
            // The first makes the eventfd that all later ones use again.
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
            // Several at once need an eventfd each, which stay, and are used again.
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
            // A runtime that could not be built leaves nothing either.
            for _ in 0..20 {
                assert!(Runtime::builder().entries(0).build().is_err());
            }
            assert_eq!(descriptors(), after);
        },
    );
}

/// Forks. The child does `body` and ends with the code that it gives; the parent gets the child's status.
fn fork(body: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the process has one thread that does anything; the child ends by _exit.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        let code = catch_unwind(AssertUnwindSafe(body)).unwrap_or(99);
        // SAFETY: it ends the child without anything that belongs to the parent being run.
        unsafe { libc::_exit(code) }
    }
    let mut status = 0;
    // SAFETY: the address is valid for the length of the call.
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

/// All that a runtime of the child's own does.
fn works(builder: gimmal::runtime::Builder) {
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
fn a_forked_child_is_told_and_does_not_disturb_its_parent() {
    in_own_process(
        "a_forked_child_is_told_and_does_not_disturb_its_parent",
        || {
            everywhere(|builder| {
                let (reader, writer) = pipe();
                let mut writer = std::fs::File::from(writer);
                let mut runtime = builder.clone().build().unwrap();
                let file = File::from(reader);
                // In the kernel when the process forks.
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
                    // What the parent's runtime lent to the kernel is forgotten here; the runtime is left alone.
                    drop(read);
                    drop(runtime);
                    works(builder.clone());
                    works(builder.clone());
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
        },
    );
}

/// Forked in the middle of a poll, with an entry in the queue that the kernel has not seen: it is the parent's to submit,
/// once.
#[test]
fn a_child_forked_inside_of_block_on_is_refused_and_submits_nothing() {
    in_own_process(
        "a_child_forked_inside_of_block_on_is_refused_and_submits_nothing",
        || {
            everywhere(|builder| {
                let (reader, writer) = pipe();
                let mut runtime = builder.clone().build().unwrap();
                runtime.block_on(async {
                    let file = File::from(writer);
                    let write = file.write(b"once".to_vec()).submit();
                    // SAFETY: the process has one thread that does anything; the child ends by _exit.
                    let pid = unsafe { libc::fork() };
                    if pid == 0 {
                        let code = child_inside(write).await;
                        // SAFETY: nothing of the parent is run.
                        unsafe { libc::_exit(code) }
                    }
                    let mut status = 0;
                    // SAFETY: the address is valid for the length of the call.
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
                std::fs::File::from(reader)
                    .read_to_string(&mut text)
                    .unwrap();
                assert_eq!(text, "once");
            });
        },
    );
}

/// The child's side: it sees that operations are refused, then ends with 0 if the runtime panics clearly as soon as the
/// child awaits.
async fn child_inside<T>(write: T) -> i32 {
    let Err(refused) = gimmal::op::nop().await else {
        return 1;
    };
    if !refused.to_string().contains("forked this one") {
        return 2;
    }
    drop(write);
    // The panic that is to come ends the child where it is, and says whether it is the right one.
    std::panic::set_hook(Box::new(|info| {
        let told = info.to_string();
        let code = if told.contains("forked this one") {
            0
        } else {
            eprintln!("told: {told}");
            3
        };
        // SAFETY: nothing of the parent is run.
        unsafe { libc::_exit(code) }
    }));
    yield_now().await;
    // Only what takes a turn of the loop reaches the ring.
    std::future::pending::<()>().await;
    4
}

#[test]
fn a_child_that_returns_from_run_ends_quietly() {
    in_own_process("a_child_that_returns_from_run_ends_quietly", || {
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
                // SAFETY: the process has one thread that does anything; the child ends by _exit.
                let pid = unsafe { libc::fork() };
                seen.set(pid == 0);
                if pid > 0 {
                    let mut status = 0;
                    // SAFETY: the address is valid for the length of the call.
                    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
                    assert_eq!(
                        (libc::WIFEXITED(status), libc::WEXITSTATUS(status)),
                        (true, 0)
                    );
                }
                Ok(())
            };
            let outcome =
                catch_unwind(AssertUnwindSafe(|| -> io::Result<()> { builder.run(main) }));
            if child.get() {
                let code = if matches!(outcome, Ok(Ok(()))) { 0 } else { 1 };
                // SAFETY: nothing of the parent is run.
                unsafe { libc::_exit(code) }
            }
            outcome.unwrap().unwrap();
            drop(reader);
        });
    });
}

/// A child of a child, each with a runtime of its own.
#[test]
fn every_generation_has_its_own_runtime() {
    in_own_process("every_generation_has_its_own_runtime", || {
        let mut runtime = Runtime::new().unwrap();
        runtime.block_on(gimmal::op::nop()).unwrap();
        let status = fork(|| {
            let mut own = Runtime::new().unwrap();
            own.block_on(gimmal::op::nop()).unwrap();
            let status = fork(|| {
                works(Runtime::builder());
                let told = catch_unwind(AssertUnwindSafe(|| own.block_on(gimmal::op::nop())));
                i32::from(!message(told.map(drop).unwrap_err()).contains("forked"))
            });
            own.block_on(gimmal::op::nop()).unwrap();
            status
        });
        assert_eq!(status, 0);
        runtime.block_on(gimmal::op::nop()).unwrap();
    });
}

/// Code that closes descriptors that are not its own takes the ring away: that ends the runtime, and says so.
#[test]
fn a_ring_that_was_closed_by_others_is_reported() {
    in_own_process("a_ring_that_was_closed_by_others_is_reported", || {
        let faults = support::Faults::default();
        let mut runtime = faults
            .hear(Runtime::builder().mask(FeatureMask::linux_5_15()))
            .build()
            .unwrap();
        runtime.block_on(gimmal::op::nop()).unwrap();
        let ring = std::fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(Result::ok)
            .find(|entry| {
                std::fs::read_link(entry.path())
                    .is_ok_and(|to| to.ends_with("anon_inode:[io_uring]"))
            })
            .and_then(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
            .unwrap();
        let other = std::fs::File::open("/dev/null").unwrap();
        // SAFETY: the number is put over with another file, which the runtime owns from now on, and closes.
        assert_eq!(unsafe { libc::dup2(other.as_raw_fd(), ring) }, ring);
        let caught = catch_unwind(AssertUnwindSafe(|| runtime.block_on(gimmal::op::nop())));
        assert!(message(caught.map(drop).unwrap_err()).contains("the ring is lost"));
        faults.expect(&["closed by other code"]);
        drop(runtime);
        let _ = faults.take();
        // Nobody else is harmed.
        works(Runtime::builder());
        // SAFETY: a descriptor of our own, made for the purpose of being owned.
        drop(unsafe { OwnedFd::from_raw_fd(libc::dup(other.as_raw_fd())) });
    });
}
