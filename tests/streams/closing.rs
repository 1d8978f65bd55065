//! Closing, conversion to std, and reused descriptor numbers: no operation touches a foreign socket (O5, C13).

use crate::{Ends, Socket, keep, on_each, socketpair, streams, tcp, write_plain};
use common::{Baseline, Random, block_on, next_turn, poll_once, quick_or_full};
use gimmal::cancel::Scope;
use gimmal::net::{TcpStream, UnixStream};
use gimmal::{is_canceled, spawn};
use std::io::ErrorKind;
use std::os::fd::AsRawFd;

on_each! {
    /// Reads of other tasks end `Canceled` and return their buffers.
    closing_stops_operations_in_flight: stops;
    a_stream_closes_even_in_a_canceled_scope: in_a_canceled_scope;
    a_stream_does_not_convert_to_std_with_operations_in_flight_or_kept_bytes: not_converted;
}

async fn stops<S: Socket>(ends: Ends) {
    let baseline = Baseline::take();
    let (left, right) = streams::<S>(ends);
    let reading = {
        let read = right.read(vec![3; 8]);
        spawn(read)
    };
    next_turn().await;
    right.close().await.unwrap();
    let error = reading.await.unwrap().unwrap_err();
    assert!(is_canceled(&error), "{error}");
    assert_eq!(error.into_buf(), [3; 8]);
    assert_eq!(left.read(vec![0; 1]).await.unwrap().0, 0);

    // An operation that is in flight but not awaited holds the stream.
    let (third, fourth) = streams::<S>(ends);
    let held = third.read(vec![0; 8]).submit();
    next_turn().await;
    let error = third.close().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceBusy);
    drop(held);
    assert_eq!(fourth.read(vec![0; 1]).await.unwrap().0, 0);
    drop((left, fourth));
    baseline.returns("closed streams").await;
}

async fn in_a_canceled_scope<S: Socket>(ends: Ends) {
    for orphan in [false, true] {
        let baseline = Baseline::take();
        let (left, right) = streams::<S>(ends);
        if orphan {
            assert!(
                poll_once(&mut Box::pin(right.read(vec![0; 8])))
                    .await
                    .is_pending()
            );
        }
        let scope = Scope::new();
        scope.cancel();
        match scope.run_any(right.close()).await.unwrap() {
            Ok(()) => assert!(!orphan),
            Err(error) => assert!(orphan && is_canceled(&error), "{error}"),
        }
        assert_eq!(left.read(vec![0; 1]).await.unwrap().0, 0);
        drop(left);
        baseline.returns("a close in a canceled scope").await;
    }
}

async fn not_converted<S: Socket>(ends: Ends) {
    let (left, mut right) = streams::<S>(ends);
    let mut read = Box::pin(right.read(vec![0; 4]));
    assert!(poll_once(&mut read).await.is_pending());
    next_turn().await;
    drop(read);
    // An orphan holds the stream.
    let error = right.into_fd().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceBusy);
    right = error.into_buf();
    // The orphan brings bytes.
    keep(&left, &right, b"kept").await;
    let error = right.into_fd().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceBusy);
    right = error.into_buf();
    assert_eq!(right.read(vec![0; 2]).await.unwrap().1, b"ke");
    right = right.into_fd().unwrap_err().into_buf();
    assert_eq!(right.read(vec![0; 8]).await.unwrap().1, b"pt");
    // Now nothing else holds the stream.
    let fd = right.into_fd().unwrap();
    write_plain(&left, b"plain");
    let mut buf = [0; 8];
    // SAFETY: the descriptor is open, and the buffer has room for eight bytes.
    let n = unsafe { libc::recv(fd.as_raw_fd(), buf.as_mut_ptr().cast(), 8, 0) };
    assert_eq!((n, &buf[..5]), (5, &b"plain"[..]));
}

/// Streams are closed while receives on them are dropped, and new streams reuse their descriptor numbers at once. Bytes
/// written to an old stream are never read from a new one, and bytes written to a new stream are never taken by an old
/// receive.
fn storm<S: Socket>(ends: Ends) {
    let rounds: usize = quick_or_full(1_000, 6_000);
    block_on(async {
        let mut random = Random::new();
        println!("{random:?}");
        let baseline = Baseline::take();
        let (mut reused, mut number) = (0, -1);
        let mut old_peers = Vec::new();
        for round in 0..rounds {
            let (peer, stream) = streams::<S>(ends);
            reused += usize::from(stream.as_raw_fd() == number);
            number = stream.as_raw_fd();
            let new = [round as u8, (round >> 8) as u8, 1];
            // The peers of old streams write bytes that must never be read.
            for old in &old_peers {
                let old: &S = old;
                let text = [0xFF_u8; 3];
                // SAFETY: the descriptor is open, and the slice is valid. The socket may no longer have a reader.
                unsafe { libc::send(old.as_raw_fd(), text.as_ptr().cast(), 3, libc::MSG_NOSIGNAL) };
            }
            if random.one_in(2) {
                next_turn().await;
            }
            write_plain(&peer, &new);
            assert_eq!(stream.read_exact(vec![0; 3], 3).await.unwrap(), new);
            // A dropped receive: never polled, queued, in flight, or complete but not polled again.
            let mut read = Box::pin(stream.read(vec![0; 3]));
            let polls = random.below(4);
            if polls > 0 {
                assert!(poll_once(&mut read).await.is_pending());
            }
            if polls > 1 {
                next_turn().await;
            }
            if polls > 2 {
                write_plain(&peer, &[0xFE; 3]);
            }
            match random.below(4) {
                0 => {
                    drop(read);
                    drop(stream);
                }
                1 => {
                    drop(stream);
                    drop(read);
                }
                2 => {
                    drop(read);
                    stream.close().await.unwrap();
                }
                _ => {
                    drop(read);
                    let mut close = Box::pin(stream.close());
                    let _ = poll_once(&mut close).await;
                }
            }
            old_peers.push(peer);
            if old_peers.len() > 3 {
                old_peers.remove(0);
            }
        }
        println!("the number was reused {reused} times");
        assert!(reused > rounds / 20, "{reused}");
        drop(old_peers);
        baseline.returns("reused numbers").await;
    });
}

#[test]
fn reused_numbers_over_unix() {
    if common::ran_in_own_process() {
        return;
    }
    storm::<UnixStream>(socketpair);
}

#[test]
fn reused_numbers_over_tcp() {
    if common::ran_in_own_process() {
        return;
    }
    storm::<TcpStream>(tcp);
}

/// One number, reused repeatedly.
#[test]
fn a_receive_dropped_with_its_stream_touches_no_other_stream_of_that_number() {
    block_on(async {
        let mut reused = 0;
        for _ in 0..quick_or_full(500, 2_000) {
            let (peer, stream) = streams::<UnixStream>(socketpair);
            let number = stream.as_raw_fd();
            let mut read = Box::pin(stream.read(vec![0; 3]));
            assert!(poll_once(&mut read).await.is_pending());
            next_turn().await;
            drop((read, stream));
            // The stream is closed, and its number is free unless another thread took it first.
            let (other, next) = streams::<UnixStream>(socketpair);
            reused += usize::from([other.as_raw_fd(), next.as_raw_fd()].contains(&number));
            write_plain(&other, b"new");
            assert_eq!(next.read_exact(vec![0; 3], 3).await.unwrap(), b"new");
            drop(peer);
        }
        assert!(reused > 0);
    });
}
