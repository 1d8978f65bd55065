//! Operations at the limits: overflowing completion queues, futures that are never polled, few descriptors, descriptor
//! numbers that are reused at once, signals, and the number of system calls.

use common::{
    Baseline, CANARY, Moment, Random, Watched, assert_passed, child, directory, dropped_after,
    is_child, next_turn, passes_in_child, quick_or_full, ran_in_own_process, rings,
    without_leak_checker,
};
use gimmal::fs::{self, File, OpenOptions};
use gimmal::op::nop;
use gimmal::runtime::FeatureMask;
use gimmal::{Handle, Runtime, yield_now};
use std::cell::RefCell;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

#[test]
fn a_completion_queue_of_eight_loses_nothing_and_keeps_the_order_of_each_task() {
    if ran_in_own_process() {
        return;
    }
    for (name, mask) in [
        ("all", FeatureMask::none()),
        ("6.1", FeatureMask::linux_6_1()),
        ("5.15", FeatureMask::linux_5_15()),
    ] {
        println!("kernel: {name}");
        let dir = directory();
        let path = dir.path().join("numbers");
        let numbers: Vec<u8> = (0..4096u32).flat_map(u32::to_le_bytes).collect();
        std::fs::write(&path, numbers).unwrap();
        let builder = Runtime::builder().entries(4).completion_entries(8);
        let mut runtime = builder.mask(mask).build().unwrap();
        runtime.block_on(async {
            let baseline = Baseline::take();
            let file = Rc::new(File::open(&path).await.unwrap());
            const TASKS: usize = 500;
            let rounds: usize = quick_or_full(20, 200);
            let before = Handle::current().stats();
            let tasks: Vec<_> = (0..TASKS)
                .map(|_| {
                    let file = file.clone();
                    gimmal::spawn(async move {
                        let mut buf = Vec::with_capacity(4);
                        for n in 0..rounds {
                            // Several at once from one task.
                            let started: Vec<_> = (0..3).map(|_| nop().submit()).collect();
                            let (len, back) = file.read_at(buf, 4 * n as u64).await.unwrap();
                            assert_eq!(len, 4);
                            assert_eq!(back, (n as u32).to_le_bytes());
                            buf = back;
                            for nop in started {
                                nop.await.unwrap();
                            }
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            let after = Handle::current().stats();
            let done = (after.completed - before.completed) as usize;
            assert_eq!(done, rounds * TASKS * 4);
            drop(file);
            baseline.returns("an overflowing queue").await;
        });
    }
}

#[test]
fn unread_completions_do_not_stop_new_operations() {
    if ran_in_own_process() {
        return;
    }
    for (name, ring) in rings() {
        println!("ring: {name}");
        let mut runtime = ring.build().unwrap();
        runtime.block_on(async {
            let baseline = Baseline::take();
            let file = File::open("/proc/self/exe").await.unwrap();
            let nops: Vec<_> = (0..10_000).map(|_| nop().submit()).collect();
            let reads: Vec<_> = (0..1000)
                .map(|n| file.read_at(Watched::new(16, 1), n).submit())
                .collect();
            // They complete, and so do operations that start later.
            while Handle::current().stats().operations > 0 {
                yield_now().await;
            }
            for _ in 0..100 {
                nop().await.unwrap();
                file.read_at(vec![0; 64], 0).await.unwrap();
            }
            assert_eq!(
                fs::read("/proc/version").await.unwrap(),
                std::fs::read("/proc/version").unwrap()
            );
            assert_eq!(Handle::current().stats().operation_rows, 11_000);
            for nop in nops {
                nop.await.unwrap();
            }
            let all = std::fs::read("/proc/self/exe").unwrap();
            for (n, read) in reads.into_iter().enumerate().take(500) {
                let (len, buf) = read.await.unwrap();
                assert_eq!(gimmal::buf::IoBuf::io_bytes(&buf), &all[n..n + len]);
            }
            drop(file);
            baseline.returns("unread completions").await;
        });
    }
}

/// The number of a descriptor that was just closed is reused by the next open. Each file contains only its own byte.
#[test]
fn reusing_one_descriptor_number_touches_no_wrong_file() {
    if ran_in_own_process() {
        return;
    }
    let mut random = Random::new();
    const FILES: usize = 7;
    let rounds: usize = quick_or_full(5_000, 50_000);
    for (name, ring) in rings() {
        println!("ring: {name}");
        let dir = directory();
        let path = |n: usize| dir.path().join(format!("{n}"));
        for n in 0..FILES {
            std::fs::write(path(n), vec![0x40 + n as u8; 8192]).unwrap();
        }
        let mut runtime = ring.build().unwrap();
        runtime.block_on(async {
            let baseline = Baseline::take();
            // Pending reads of pipes, kept over several turns while the numbers are reused.
            let mut parked = Vec::new();
            let mut numbers_used_again = 0;
            let mut last_number = -1;
            for round in 0..rounds / 6 {
                let n = random.below(FILES);
                let byte = 0x40 + n as u8;
                let file = match random.below(4) {
                    0 => {
                        let mut options = OpenOptions::new();
                        let options = options.read(true).write(true);
                        options.open(path(n)).await.unwrap()
                    }
                    _ => {
                        let mut options = std::fs::OpenOptions::new();
                        let options = options.read(true).write(true);
                        File::from_std(options.open(path(n)).unwrap())
                    }
                };
                numbers_used_again += usize::from(file.as_raw_fd() == last_number);
                last_number = file.as_raw_fd();
                let buf = || Watched::new(256, 1).expecting(byte);
                let mut kept = Vec::new();
                for _ in 0..random.below(4) {
                    let offset = random.below(32) as u64 * 256;
                    let read = file.read_at(buf(), offset);
                    match random.below(4) {
                        0 => kept.push(read.submit()),
                        1 => drop(read.submit()),
                        2 => drop(dropped_after(read, 1, Moment::AtOnce).await),
                        _ => drop(dropped_after(read, 1, Moment::Turns(1)).await),
                    }
                }
                if random.one_in(3) {
                    let data = Watched::full(byte, 300, 1);
                    let write = file.write_at(data, random.below(7000) as u64);
                    drop(dropped_after(write, 1, Moment::AtOnce).await);
                }
                match random.below(4) {
                    0 => drop(dropped_after(file.close(), random.below(2), Moment::AtOnce).await),
                    // A close would wait forever for a read whose future is kept.
                    1 if kept.is_empty() => file.close().await.unwrap(),
                    _ => drop(file),
                }
                if random.one_in(8) {
                    let (reader, writer) = io::pipe().unwrap();
                    let reader = File::from(OwnedFd::from(reader));
                    let read = reader.read(Watched::new(64, 1).expecting(0x70));
                    parked.push((read.submit(), writer));
                }
                if parked.len() > 5 {
                    let (read, mut writer) = parked.swap_remove(random.below(5));
                    writer.write_all(&[0x70; 64]).unwrap();
                    let (len, buf) = read.await.unwrap();
                    assert_eq!(len, 64);
                    drop(buf);
                }
                for read in kept {
                    match read.await {
                        Ok((len, buf)) => drop(assert_len(len, 256, buf)),
                        // The close has canceled it.
                        Err(error) => assert!(gimmal::is_canceled(&error), "{error}"),
                    }
                }
                if round % 256 == 0 {
                    Watched::check_and_forget("part of the random closes");
                }
            }
            assert!(
                numbers_used_again > rounds / 6 / 10,
                "{numbers_used_again} times"
            );
            drop(parked);
            baseline.returns("random closes and opens").await;
        });
        drop(runtime);
        for n in 0..FILES {
            let after = std::fs::read(path(n)).unwrap();
            let byte = 0x40 + n as u8;
            assert_eq!(after.len(), 8192);
            assert!(after.iter().all(|found| *found == byte), "file {n}");
        }
        Watched::check_and_forget(&name);
    }
}

fn assert_len<B>(len: usize, expected: usize, buf: B) -> B {
    assert_eq!(len, expected);
    buf
}

fn limit_descriptors(to: u64) {
    let limit = libc::rlimit {
        rlim_cur: to,
        rlim_max: to,
    };
    // SAFETY: the pointer is to a valid limit, which is only read during the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
}

#[test]
fn under_a_limit_of_64_descriptors_opens_and_drops_never_run_out() {
    if !is_child() {
        if ran_in_own_process() {
            return;
        }
        passes_in_child("under_a_limit_of_64_descriptors_opens_and_drops_never_run_out");
        return;
    }
    limit_descriptors(64);
    let mut random = Random::new();
    let rings = rings();
    let share = quick_or_full(7_000, 100_000) / rings.len();
    for (name, ring) in rings {
        println!("ring: {name}");
        let dir = directory();
        let mut runtime = ring.build().unwrap();
        runtime.block_on(async {
            let baseline = Baseline::take();
            let tasks: Vec<_> = (0..8)
                .map(|n| {
                    let (mut random, path) = (random.fork(), dir.path().join(format!("{n}")));
                    std::fs::write(&path, "x").unwrap();
                    gimmal::spawn(async move {
                        for _ in 0..share / 16 {
                            let moment =
                                [Moment::AtOnce, Moment::Turns(1), Moment::Woken][random.below(3)];
                            let polls = random.below(3);
                            let opened = dropped_after(File::open(&path), polls, moment).await;
                            drop(opened.transpose().unwrap());
                            let file = File::open(&path).await.unwrap();
                            match random.below(5) {
                                0 => file.close().await.unwrap(),
                                1 => drop(dropped_after(file.close(), 1, moment).await),
                                2 => drop(file.read_at(Watched::new(10, 1), 0).submit()),
                                3 => assert_eq!(fs::read(&path).await.unwrap(), b"x"),
                                _ => drop(file),
                            }
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            baseline.returns("opens under a limit").await;
        });
    }
}

/// Operations queued in one turn are submitted in one system call.
#[test]
fn operations_of_one_turn_take_one_enter() {
    if ran_in_own_process() {
        return;
    }
    // On a busy machine, a turn may otherwise end before all tasks have been polled.
    let mut runtime = Runtime::builder()
        .budget(1000, std::time::Duration::from_secs(100))
        .build()
        .unwrap();
    let enters = |runtime: &mut Runtime, count: usize| {
        runtime.block_on(async {
            // A file that can be read at once, whatever the file system.
            let file = Rc::new(File::open("/dev/zero").await.unwrap());
            nop().await.unwrap();
            let before = Handle::current().stats();
            let tasks: Vec<_> = (0..count)
                .map(|n| {
                    let file = file.clone();
                    gimmal::spawn(async move {
                        match n % 2 {
                            0 => nop().await.unwrap(),
                            _ => drop(file.read_at(vec![0; 64], 0).await.unwrap()),
                        }
                    })
                })
                .collect();
            next_turn().await;
            // The tasks have run, and the turn that ended has submitted their operations.
            let during = Handle::current().stats();
            for task in tasks {
                task.await.unwrap();
            }
            let after = Handle::current().stats();
            assert_eq!(after.completed - before.completed, count as u64);
            assert_eq!(during.submitted - before.submitted, count as u64);
            assert_eq!(during.enters - before.enters, 1, "{count} operations");
            after.enters - before.enters
        })
    };
    for count in [1, 2, 100, 200] {
        let enters = enters(&mut runtime, count);
        assert!(enters <= 2, "{count} operations took {enters} system calls");
    }
}

#[test]
fn a_full_queue_costs_one_more_enter_each_time() {
    if ran_in_own_process() {
        return;
    }
    let mut runtime = Runtime::builder().entries(8).build().unwrap();
    runtime.block_on(async {
        nop().await.unwrap();
        let before = Handle::current().stats();
        let started: Vec<_> = (0..80).map(|_| nop().submit()).collect();
        // The queue was full nine times. The last eight entries are submitted by the turn.
        assert_eq!(Handle::current().stats().enters - before.enters, 9);
        next_turn().await;
        let during = Handle::current().stats();
        assert_eq!(during.submitted - before.submitted, 80);
        assert_eq!(during.enters - before.enters, 10);
        for nop in started {
            nop.await.unwrap();
        }
    });
}

const OPERATIONS: &str = "GIMMAL_TEST_OPERATIONS";

/// The same, as counted by the kernel.
#[test]
fn strace_counts_as_many_enters_for_one_operation_as_for_two_hundred() {
    const NAME: &str = "strace_counts_as_many_enters_for_one_operation_as_for_two_hundred";
    if let Ok(count) = std::env::var(OPERATIONS) {
        let count: usize = count.parse().unwrap();
        Runtime::new().unwrap().block_on(async {
            let started: Vec<_> = (0..count).map(|_| nop().submit()).collect();
            for nop in started {
                nop.await.unwrap();
            }
        });
        return;
    }
    if ran_in_own_process() {
        return;
    }
    let strace = [
        "strace",
        "-f",
        "-qq",
        "-e",
        "signal=none",
        "-e",
        "trace=io_uring_enter",
    ];
    let works = std::process::Command::new("strace")
        .args(["-qq", "true"])
        .output();
    if !works.is_ok_and(|output| output.status.success()) {
        return common::skip!("strace is missing or not permitted");
    }
    let enters = |count: usize| {
        let mut command = child(NAME, &strace);
        let command = without_leak_checker(&mut command);
        let output = command.env(OPERATIONS, count.to_string()).output().unwrap();
        assert_passed(NAME, &output);
        let trace = String::from_utf8_lossy(&output.stderr);
        trace
            .lines()
            .filter(|line| line.contains("io_uring_enter("))
            .count()
    };
    let (one, many) = (enters(1), enters(200));
    println!("{one} and {many} system calls");
    assert!(one > 0);
    assert_eq!(one, many);
}

static SIGNALS: AtomicU64 = AtomicU64::new(0);

extern "C" fn on_signal(_: libc::c_int) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

/// Sends this thread a signal at intervals, without SA_RESTART, until it is dropped.
struct Signals(libc::timer_t);

impl Signals {
    fn start(every_ns: i64) -> Signals {
        // SAFETY: these are plain structures of integers and addresses, for which zero is valid; the handler only
        // touches an atomic; the timer sends its signal to the calling thread.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as *const () as usize;
            assert_eq!(
                libc::sigaction(libc::SIGALRM, &action, std::ptr::null_mut()),
                0
            );
            let mut event: libc::sigevent = std::mem::zeroed();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = libc::SIGALRM;
            event.sigev_notify_thread_id = libc::gettid();
            let mut timer: libc::timer_t = std::ptr::null_mut();
            let made = libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer);
            assert_eq!(made, 0);
            let every = libc::timespec {
                tv_sec: 0,
                tv_nsec: every_ns,
            };
            let spec = libc::itimerspec {
                it_interval: every,
                it_value: every,
            };
            assert_eq!(
                libc::timer_settime(timer, 0, &spec, std::ptr::null_mut()),
                0
            );
            Signals(timer)
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // SAFETY: `start` created the timer, which is deleted once.
        unsafe { libc::timer_delete(self.0) };
    }
}

/// Every enter of this thread may end with EINTR, before or after it has submitted.
#[test]
fn frequent_signals_lose_no_operation_and_free_nothing_too_early() {
    if ran_in_own_process() {
        return;
    }
    let mut random = Random::new();
    for (name, ring) in rings() {
        println!("ring: {name}");
        let dir = directory();
        let path = dir.path().join("file");
        let contents: Vec<u8> = (0..50_000).map(|n| (n % 193) as u8).collect();
        std::fs::write(&path, &contents).unwrap();
        let mut runtime = ring.build().unwrap();
        SIGNALS.store(0, Ordering::Relaxed);
        let signals = Signals::start(60_000);
        runtime.block_on(async {
            let baseline = Baseline::take();
            // If a signal is pending each time that the kernel tries to start its first worker, it gives up after a few
            // attempts, and completes the operations for that worker with ECANCELED (rarely seen on 6.18; in every run
            // on overlayfs, where reads need a worker, too). Such operations are retried.
            let mut rounds = 0;
            while SIGNALS.load(Ordering::Relaxed) < quick_or_full(500, 2000)
                || rounds < quick_or_full(50, 200)
            {
                rounds += 1;
                assert_eq!(fs::read(&path).await.unwrap(), contents);
                let copy = dir.path().join("copy");
                fs::write(&copy, contents.clone()).await.unwrap();
                // A pending read makes this thread wait, so that signals interrupt the wait.
                let (reader, mut writer) = io::pipe().unwrap();
                let reader = File::from(OwnedFd::from(reader));
                let parked = reader.read(Watched::new(16, 1)).submit();
                gimmal::sleep(std::time::Duration::from_micros(100))
                    .await
                    .unwrap();
                if random.one_in(2) {
                    writer.write_all(b"late").unwrap();
                    assert_eq!(parked.await.unwrap().0, 4);
                } else {
                    drop(parked);
                    writer.write_all(b"late").unwrap();
                }
                drop((reader, writer));
                let moment = [Moment::AtOnce, Moment::Turns(2), Moment::Woken][random.below(3)];
                let polls = random.below(4);
                drop(dropped_after(fs::read(&path), polls, moment).await);
                let contents = Watched::full(5, 10_000, 1);
                drop(dropped_after(fs::write(&copy, contents), polls, moment).await);
                baseline.returns("a round of signals").await;
                Watched::check_and_forget("a round of signals");
            }
        });
        drop(signals);
        let copy = std::fs::read(dir.path().join("copy")).unwrap();
        assert!(!copy.contains(&CANARY));
    }
}

/// On kernels that stop a batch at a rejected entry, the entries behind it are submitted nonetheless.
#[test]
fn a_rejected_entry_does_not_delay_those_behind_it() {
    use gimmal::op::{Completion, Entry, Op, Opcode, Operation};

    /// A no-op with invalid flags.
    struct Refused(Rc<RefCell<Vec<i32>>>);

    // SAFETY: the entry has no address and no descriptor.
    unsafe impl Operation for Refused {
        type Output = i32;
        const NAME: &'static str = "refused";

        fn entry(&mut self) -> Entry {
            Entry::new(Opcode::FSYNC).fd(0).op_flags(0xffff).len(77)
        }

        fn complete(self, completion: Completion) -> i32 {
            self.0.borrow_mut().push(completion.raw());
            completion.raw()
        }

        fn fail(self, _: io::Error) -> i32 {
            0
        }

        fn had_no_effect(&self, _: Completion) -> bool {
            false
        }

        fn dispose(&mut self, completion: Completion) {
            self.0.borrow_mut().push(completion.raw());
        }
    }

    if ran_in_own_process() {
        return;
    }
    for (name, ring) in rings() {
        println!("ring: {name}");
        let mut runtime = ring.build().unwrap();
        runtime.block_on(async {
            let seen = Rc::new(RefCell::new(Vec::new()));
            for awaited in [true, false] {
                seen.borrow_mut().clear();
                let mut refused = Vec::new();
                let mut nops = Vec::new();
                for _ in 0..50 {
                    refused.push(Op::new(Refused(seen.clone())).submit());
                    nops.push(nop().submit());
                }
                if awaited {
                    for op in refused.drain(..) {
                        assert_eq!(op.await, -libc::EINVAL);
                    }
                }
                drop(refused);
                for nop in nops {
                    nop.await.unwrap();
                }
                while Handle::current().stats().operation_rows > 0 {
                    yield_now().await;
                }
                assert_eq!(*seen.borrow(), [-libc::EINVAL; 50]);
            }
        });
    }
}

/// Reads a pipe byte by byte while other tasks drop their reads: the bytes are in order, and the missing ones went to
/// dropped reads.
#[test]
fn bytes_of_a_pipe_stay_in_order_despite_dropped_reads() {
    if ran_in_own_process() {
        return;
    }
    let mut random = Random::new();
    for (name, ring) in rings() {
        println!("ring: {name}");
        let mut runtime = ring.build().unwrap();
        runtime.block_on(async {
            let (reader, mut writer) = io::pipe().unwrap();
            let reader = File::from(OwnedFd::from(reader));
            let mut last = 0;
            for n in 1..=250u8 {
                if random.one_in(3) {
                    let read = reader.read(Watched::new(1, 1));
                    drop(dropped_after(read, 1, Moment::Turns(random.below(2))).await);
                }
                writer.write_all(&[n]).unwrap();
                if random.one_in(2) {
                    writer.write_all(&[n]).unwrap();
                    let (_, buf) = reader.read(vec![0; 1]).await.unwrap();
                    assert!(buf[0] >= last, "{} after {last}", buf[0]);
                    last = buf[0];
                }
            }
            drop(writer);
            while Handle::current().stats().operations > 0 {
                yield_now().await;
            }
            let mut rest = Vec::new();
            reader.into_std().unwrap().read_to_end(&mut rest).unwrap();
            assert!(rest.is_sorted() && rest.iter().all(|n| *n >= last));
        });
        Watched::check_and_forget(&name);
    }
}
