//! Canceled loops over several operations: the reported progress is exact.

use crate::{Ends, Socket, assert_numbered, bytes, on_each, socketpair, streams, tcp};
use bytes::Bytes;
use common::{MOMENTS, Random, Watched, block_on, dropped_everywhere, is_child, passes_in_child};
use gimmal::cancel::Scope;
use gimmal::net::{TcpStream, UnixStream};
use gimmal::{Runtime, is_canceled, spawn, yield_now};
use std::rc::Rc;
use std::time::Duration;

on_each! {
    /// Megabytes to a slow reader: it gets exactly as many bytes as the writer reports.
    a_canceled_whole_write_reports_its_exact_progress: writes;
    a_canceled_exact_read_reports_its_exact_progress: reads;
    a_canceled_read_to_the_end_has_all_received_bytes: to_the_end;
}

async fn writes<S: Socket>(ends: Ends) {
    const LEN: usize = 4 << 20;
    let mut random = Random::new();
    println!("{random:?}");
    let whole = Bytes::from(bytes(0, LEN));
    let mut cuts = 0;
    for round in 0..24 {
        let (left, right) = streams::<S>(ends);
        let (pauses, size) = (random.below(3), 1 + random.below(100_000));
        let expected = whole.clone();
        let reading = spawn(async move {
            let (mut at, mut buf) = (0, Vec::with_capacity(size));
            loop {
                let (n, back) = right.read(buf).await.unwrap();
                assert!(back == expected[at..at + n], "lost or duplicated: at {at}");
                at += n;
                buf = back;
                if n == 0 {
                    return at;
                }
                for _ in 0..pauses {
                    yield_now().await;
                }
            }
        });
        // Each write continues where the previous one reports that it stopped.
        let mut at = 0;
        while at < LEN {
            let time = Duration::from_micros(random.below(1500) as u64);
            let write = left.write_all(whole.slice(at..));
            let ended = match round % 2 {
                0 => gimmal::timeout(time, write)
                    .await
                    .map_err(|error| error.into_inner().unwrap()),
                _ => {
                    let scope = Rc::new(Scope::new());
                    let (its, yields) = (scope.clone(), random.below(40));
                    drop(spawn(async move {
                        for _ in 0..yields {
                            yield_now().await;
                        }
                        its.cancel();
                    }));
                    scope.run_any(write).await.unwrap()
                }
            };
            match ended {
                Ok(_) => at = LEN,
                Err(error) => {
                    assert!(is_canceled(error.error()), "{error}");
                    assert_eq!(error.buf().len(), LEN - at);
                    at += error.transferred();
                    cuts += 1;
                }
            }
            if random.one_in(4) {
                break;
            }
        }
        drop(left);
        assert_eq!(reading.await.unwrap(), at);
    }
    println!("{cuts} canceled");
    assert!(cuts > 0);
}

async fn reads<S: Socket>(ends: Ends) {
    const LEN: usize = 2 << 20;
    let mut random = Random::new();
    println!("{random:?}");
    let (left, right) = streams::<S>(ends);
    let mut dice = random.fork();
    let writing = spawn(async move {
        let mut at = 0;
        while at < LEN {
            let len = (1 + dice.below(60_000)).min(LEN - at);
            left.write_all(bytes(at, len)).await.unwrap();
            at += len;
            for _ in 0..dice.below(8) {
                yield_now().await;
            }
        }
    });
    let (mut at, mut cuts, mut parts) = (0, 0, 0);
    while at < LEN {
        let len = (1 + random.below(200_000)).min(LEN - at);
        let read = right.read_exact(vec![7; len], len);
        let time = Duration::from_micros(random.below(200) as u64);
        match gimmal::timeout(time, read).await {
            Ok(buf) => {
                assert_eq!(buf.len(), len);
                assert_numbered(&buf, at);
                at += len;
            }
            Err(error) => {
                let error = error.into_inner().unwrap();
                let done = error.transferred();
                assert_numbered(&error.buf()[..done], at);
                // If no byte was read, the buffer is unchanged; otherwise, its length is the number of bytes.
                let unchanged = done == 0 && error.buf().iter().all(|byte| *byte == 7);
                assert!(unchanged || error.buf().len() == done);
                at += done;
                cuts += 1;
                parts += usize::from(done > 0);
            }
        }
    }
    println!("{cuts} canceled, {parts} of them with some bytes");
    assert!(parts > 0);
    writing.await.unwrap();
    assert_eq!(right.read(vec![0; 1]).await.unwrap().0, 0);
}

async fn to_the_end<S: Socket>(ends: Ends) {
    let (left, right) = streams::<S>(ends);
    left.write_all(bytes(0, 5000)).await.unwrap();
    let read = right.read_to_end(b"before".to_vec());
    // Long enough for all bytes to have arrived.
    let error = gimmal::timeout(Duration::from_millis(100), read)
        .await
        .unwrap_err();
    let error = error.into_inner().unwrap();
    assert_eq!(
        (error.transferred(), &error.buf()[..6]),
        (5000, &b"before"[..])
    );
    assert_numbered(&error.buf()[6..], 0);
    left.write_all(bytes(5000, 100)).await.unwrap();
    drop(left);
    let (n, rest) = right.read_to_end(Vec::new()).await.unwrap();
    assert_eq!(n, 100);
    assert_numbered(&rest, 5000);
}

/// Skips a test of zero-copy sends where io_uring has none (before 6.0).
async fn lacks_zero_copy() -> bool {
    let (left, _right) = streams::<TcpStream>(tcp);
    let sent = left.write_zero_copy("text").await;
    if let Err(error) = &sent {
        assert_eq!(error.kind(), std::io::ErrorKind::Unsupported, "{error}");
        common::skip!("{error}");
    }
    sent.is_err()
}

/// A zero-copy write completes only when the kernel no longer uses the buffer.
#[test]
fn a_zero_copy_write_arrives_and_returns_the_buffer() {
    if common::ran_in_own_process() {
        return;
    }
    block_on(async {
        const LEN: usize = 1 << 20;
        if lacks_zero_copy().await {
            return;
        }
        let (left, right) = streams::<TcpStream>(tcp);
        let text = bytes(0, LEN);
        let writing = spawn(async move {
            let (mut at, mut cuts) = (0, 0);
            while at < LEN {
                let time = Duration::from_micros(50 + at as u64 % 400);
                let part = text[at..].to_vec();
                match left.write_zero_copy(part).timeout(time).await {
                    Ok((n, back)) => {
                        assert!(back == text[at..]);
                        at += n;
                    }
                    // No byte was sent.
                    Err(error) => {
                        assert!(gimmal::is_timeout(&error), "{error}");
                        assert!(error.into_buf() == text[at..]);
                        cuts += 1;
                    }
                }
            }
            cuts
        });
        let mut at = 0;
        while at < LEN {
            let (n, buf) = right.read(vec![0; 30_000]).await.unwrap();
            assert!(n > 0, "the writer has failed");
            assert_numbered(&buf, at);
            at += n;
            yield_now().await;
        }
        println!("{} canceled", writing.await.unwrap());

        let all = &MOMENTS;
        let polls = dropped_everywhere("write_zero_copy", all, || async {
            let (left, right) = streams::<TcpStream>(tcp);
            let buf = Watched::full(1, 200_000, 1);
            let both = gimmal::join((left.write_zero_copy(buf), async {
                let (n, _) = right.read(vec![0; 4096]).await.unwrap();
                assert!(n > 0);
                drop(right);
            }));
            let _ = both.await;
        })
        .await;
        assert!(polls > 1);

        // Unix sockets do not support zero-copy sends.
        let (left, _right) = streams::<UnixStream>(socketpair);
        let error = left.write_zero_copy("text").await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::Unsupported, "{error}");
        assert_eq!(error.into_buf(), "text");
    });
}

/// With little lockable memory, a write sends as much as the limit allows; with none, the error names the limit.
#[test]
fn a_zero_copy_write_stays_within_the_limit_of_locked_memory() {
    const TEST: &str = "whole::a_zero_copy_write_stays_within_the_limit_of_locked_memory";
    const LEN: usize = 4 << 20;
    if !is_child() {
        return passes_in_child(TEST);
    }
    // SAFETY: no address is passed.
    if unsafe { libc::geteuid() } != 0 {
        return common::skip!("only root can switch to a user without locked memory");
    }
    // SAFETY: no address is passed.
    if unsafe { libc::setuid(1_000_000 + std::process::id()) } != 0 {
        return common::skip!("the container does not map this user");
    }
    let limit_locked = |bytes: usize| {
        let limit = libc::rlimit {
            rlim_cur: bytes as u64,
            rlim_max: 1 << 20,
        };
        // SAFETY: the limit is valid, and only read.
        let limited = unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) };
        assert_eq!(limited, 0);
    };
    limit_locked(1 << 20);
    let builder = Runtime::builder().entries(8).completion_entries(16);
    builder.build().unwrap().block_on(async {
        if lacks_zero_copy().await {
            return;
        }
        let (left, right) = streams::<TcpStream>(tcp);
        let all = bytes(0, LEN);
        let reading = spawn(async move {
            let all = right.read_exact(vec![0; LEN], LEN).await.unwrap();
            assert_numbered(&all, 0);
            right
        });
        let (mut at, mut writes, mut tries) = (0, 0, 0);
        while at < LEN {
            // Even if its timeout expires while it retries with fewer bytes.
            let write = left.write_zero_copy(all[at..].to_vec());
            let write = match tries % 2 {
                0 => write.await,
                _ => write.timeout(Duration::from_micros(tries)).await,
            };
            tries += 1;
            match write {
                Ok((n, rest)) => {
                    assert!(n < 1 << 20, "{n} bytes were locked");
                    assert!(rest == all[at..]);
                    at += n;
                    writes += 1;
                }
                Err(error) => {
                    assert!(gimmal::is_timeout(&error), "{error}");
                    assert!(error.into_buf() == all[at..]);
                }
            }
        }
        assert!(writes < 100, "{writes} writes");
        let _right = reading.await.unwrap();
        dropped_everywhere("a write that retries", &MOMENTS, || async {
            let (left, right) = streams::<TcpStream>(tcp);
            let buf = Watched::full(1, LEN, 1);
            let both = gimmal::join((left.write_zero_copy(buf), async {
                let _ = right.read(vec![0; 4096]).await.unwrap();
                drop(right);
            }));
            let _ = both.await;
        })
        .await;

        // Writes that exceed the limit altogether.
        for limit in [4096, 0] {
            limit_locked(limit);
            for len in [1, 5000, LEN] {
                let sent = left.write_zero_copy(all[..len].to_vec()).await;
                let Err(error) = sent else {
                    return common::skip!(
                        "this kernel does not count sends against RLIMIT_MEMLOCK"
                    );
                };
                assert_eq!(gimmal::errno(&error), Some(libc::ENOMEM));
                let text = error.to_string();
                let here = format!("here {limit} bytes");
                for word in [
                    "RLIMIT_MEMLOCK",
                    &here,
                    &format!("send {len} byte{}", if len == 1 { " " } else { "s " }),
                    "127.0.0.1",
                ] {
                    assert!(text.contains(word), "{text}");
                }
                assert_eq!(error.into_buf(), all[..len]);
            }
        }
        left.write_all("copied").await.unwrap();
    });
}
