//! Operations that the kernel interrupts without a cancel request are restarted, invisibly to the caller.

use common::{Baseline, child, directory, is_child, ran_in_own_process};
use gimmal::cancel::Scope;
use gimmal::fs::File;
use gimmal::io::PipeReader;
use gimmal::net::{UnixListener, UnixStream};
use gimmal::op::{Completion, Entry, Op, Opcode, Operation};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

/// A no-op that completes with these results in turn, by `IORING_NOP_INJECT_RESULT` (6.10).
struct Injected {
    results: Vec<i32>,
    entries: usize,
}

/// The result, and how often the operation was started.
type Ended = (io::Result<u32>, usize);

const INJECT_RESULT: u32 = 1;

// SAFETY: the entry has no address and no descriptor.
unsafe impl Operation for Injected {
    type Output = Ended;
    const NAME: &'static str = "injected";

    fn entry(&mut self) -> Entry {
        let last = self.results.len() - 1;
        let result = self.results[self.entries.min(last)];
        self.entries += 1;
        Entry::new(Opcode::NOP)
            .len(result as u32)
            .op_flags(INJECT_RESULT)
    }

    fn complete(self, completion: Completion) -> Ended {
        (completion.result(), self.entries)
    }

    fn fail(self, error: io::Error) -> Ended {
        (Err(error), self.entries)
    }

    fn had_no_effect(&self, completion: Completion) -> bool {
        completion.raw() < 0 && completion.raw() != -libc::EIO
    }

    fn dispose(&mut self, _: Completion) {}
}

fn injected(results: &[i32]) -> Op<Injected> {
    Op::new(Injected {
        results: results.to_vec(),
        entries: 0,
    })
}

/// Whether this kernel supports no-ops with an injected result.
async fn can_inject() -> bool {
    let can = matches!(injected(&[7]).await, (Ok(7), 1));
    if !can {
        common::skip!("this kernel cannot inject results");
    }
    can
}

#[test]
fn interrupted_operations_are_restarted() -> io::Result<()> {
    const RESTART: i32 = 512;
    if ran_in_own_process() {
        return Ok(());
    }
    gimmal::run(async {
        if !can_inject().await {
            return Ok(());
        }
        let baseline = Baseline::take();
        let interruptions = [-libc::EINTR, -libc::ECANCELED, -RESTART, -RESTART - 4];
        for first in interruptions {
            for second in interruptions {
                let (result, entries) = injected(&[first, second, 7]).await;
                assert_eq!((result?, entries), (7, 3), "{first}, {second}");
                // An operation that is submitted before it is awaited.
                let (result, entries) = injected(&[first, second, 7]).submit().await;
                assert_eq!((result?, entries), (7, 3), "{first}, {second}");
            }
        }
        // Any other error is returned, even after a restart.
        let (result, entries) = injected(&[-libc::EINTR, -libc::EAGAIN]).await;
        assert_eq!(result.unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(entries, 2);
        // If its scope is canceled by then, the operation is not restarted.
        let op = injected(&[-libc::EINTR, 7]).submit();
        gimmal::op::nop().await?;
        let scope = Scope::new();
        scope.cancel();
        let (result, entries) = scope.run_any(op).await?;
        assert!(gimmal::is_canceled(&result.unwrap_err()));
        assert_eq!(entries, 1);
        baseline.returns("interrupted operations").await;
        Ok(())
    })
}

#[test]
fn an_operation_that_is_interrupted_forever_returns_the_error() -> io::Result<()> {
    if ran_in_own_process() {
        return Ok(());
    }
    gimmal::run(async {
        if !can_inject().await {
            return Ok(());
        }
        for errno in [libc::EINTR, libc::ECANCELED, 512] {
            let (result, entries) = injected(&[-errno]).await;
            let error = result.unwrap_err();
            let expected = if errno == 512 { libc::EINTR } else { errno };
            assert_eq!(error.raw_os_error(), Some(expected));
            assert!(!gimmal::is_canceled(&error), "no cancel was requested");
            assert_eq!(entries, 1001);
        }
        Ok(())
    })
}

/// Operations that wait in kernel workers keep waiting when their process is stopped and continued.
#[test]
fn a_process_that_is_stopped_and_continued_sees_no_error() {
    const TEST: &str = "a_process_that_is_stopped_and_continued_sees_no_error";
    if is_child() {
        return wait_in_workers().unwrap();
    }
    let mut child = child(TEST, &[])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id() as i32;
    let signal = |signal| {
        // SAFETY: no address is passed. The child has not been waited for, so the process ID is still its own.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
        thread::sleep(Duration::from_millis(5));
    };
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("waiting") {
        line.clear();
        assert!(
            out.read_line(&mut line).unwrap() > 0,
            "the child has exited"
        );
    }
    for _ in 0..20 {
        signal(libc::SIGSTOP);
        signal(libc::SIGCONT);
    }
    child.stdin.take().unwrap().write_all(b"x").unwrap();
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success(), "{rest}");
    assert!(rest.contains("1 passed"), "{rest}");
}

fn wait_in_workers() -> io::Result<()> {
    const LEN: usize = 2 << 20;
    let directory = directory();
    let path = |name: &str| directory.path().join(name);
    let content: Vec<u8> = (0..LEN).map(|n| (n % 251) as u8).collect();
    std::fs::write(path("file"), &content)?;
    gimmal::run(async {
        for name in ["to_read", "to_make"] {
            gimmal::io::mkfifo(path(name), 0o600).await?;
        }
        // A splice into a full pipe.
        let mut file = File::open(path("file")).await?;
        let (reader, mut writer) = gimmal::io::pipe()?;
        writer.set_capacity(512 << 10)?;
        let copy = async {
            let copied = gimmal::io::copy(&mut file, &mut writer).await?;
            writer.close().await?;
            io::Result::Ok(copied)
        };
        // A connect to a listener whose queue is full.
        let listener = UnixListener::bind(path("listener"))?;
        // SAFETY: the descriptor is open. A backlog of zero holds one connection.
        assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
        let _first = UnixStream::connect(path("listener")).await?;
        let second = UnixStream::connect(path("listener"));
        // Two FIFOs with nobody at the other end, one of them opened by `File::create`.
        let to_read = PipeReader::open(path("to_read"));
        let to_make = File::create(path("to_make"));
        let rest = async {
            let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
            println!("waiting");
            let (n, _) = input.read(vec![0; 1]).await?;
            assert_eq!(n, 1);
            let (_one, _) = listener.accept().await?;
            let (_two, _) = listener.accept().await?;
            let both = |name| {
                let mut options = std::fs::OpenOptions::new();
                options.read(true).write(true).open(path(name))
            };
            let _others = (both("to_make")?, both("to_read")?);
            let (_, all) = reader.read_to_end(Vec::new()).await?;
            io::Result::Ok(all)
        };
        let (copied, second, to_read, to_make, all) =
            gimmal::try_join((copy, second, to_read, to_make, rest)).await?;
        drop((second, to_read, to_make));
        assert_eq!(copied, LEN as u64);
        assert!(all == content);
        Ok(())
    })
}
