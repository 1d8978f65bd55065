//! Each operation compared with the plain system call: the same calls on two connections, one of which never uses a
//! ring.

use crate::{Ends, Socket, on_each, streams, write_plain};
use common::errno;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};

fn number(error: &(dyn std::error::Error + 'static)) -> i32 {
    errno(error).unwrap_or_else(|| panic!("no errno in {error:?}"))
}

/// The result of a call: a count and bytes, or the errno.
type Answer = Result<(usize, Vec<Vec<u8>>), i32>;

fn count(answer: isize) -> Result<usize, i32> {
    let failed = || io::Error::last_os_error().raw_os_error().unwrap();
    usize::try_from(answer).map_err(|_| failed())
}

fn recv_plain(fd: &OwnedFd, capacity: usize, flags: i32) -> Answer {
    let mut buf = vec![0; capacity];
    // SAFETY: the descriptor is open, and the buffer has room for `capacity` bytes.
    let n = unsafe { libc::recv(fd.as_raw_fd(), buf.as_mut_ptr().cast(), capacity, flags) };
    count(n).map(|n| (n, vec![buf[..n].to_vec()]))
}

fn readv_plain(fd: &OwnedFd, capacities: &[usize]) -> Answer {
    let mut bufs: Vec<Vec<u8>> = capacities.iter().map(|len| vec![0; *len]).collect();
    let vectors = bufs.iter_mut().map(|buf| libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: buf.len(),
    });
    let vectors: Vec<libc::iovec> = vectors.collect();
    // SAFETY: the descriptor is open, and the vectors are those of the buffers.
    let n = unsafe { libc::readv(fd.as_raw_fd(), vectors.as_ptr(), vectors.len() as i32) };
    let n = count(n)?;
    let mut left = n;
    for buf in &mut bufs {
        buf.truncate(left);
        left -= buf.len();
    }
    Ok((n, bufs))
}

fn sendv_plain(fd: &OwnedFd, bufs: &[Vec<u8>]) -> Answer {
    let vectors = bufs.iter().map(|buf| libc::iovec {
        iov_base: buf.as_ptr().cast_mut().cast(),
        iov_len: buf.len(),
    });
    let mut vectors: Vec<libc::iovec> = vectors.collect();
    // SAFETY: a zeroed header is valid, with null pointers; the vectors are those of the buffers.
    let n = unsafe {
        let mut header: libc::msghdr = std::mem::zeroed();
        header.msg_iov = vectors.as_mut_ptr();
        header.msg_iovlen = vectors.len();
        libc::sendmsg(fd.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL)
    };
    count(n).map(|n| (n, Vec::new()))
}

on_each! {
    /// Empty writes complete at once, and the peer sees nothing.
    empty_writes_behave_as_the_plain_call: sends_nothing;
}

/// What happens to a connection: calls on it, and what its peer does.
#[derive(Clone, Debug)]
enum StreamEvent {
    Arrive(usize),
    Peek(usize),
    Read(usize),
    ReadVectored([usize; 3]),
    ReadExact(usize),
    Write(usize),
    WriteVectored([usize; 2]),
    End(StreamEnd),
}

#[derive(Clone, Copy, Debug)]
enum StreamEnd {
    /// The peer closes. If it leaves our bytes unread, the connection is reset.
    Close,
    Reset,
    PeerShutdown,
    OwnShutdown,
}

fn stream_event() -> impl Strategy<Value = StreamEvent> {
    let size = || 1..41_usize;
    let end = prop::sample::select(vec![
        StreamEnd::Close,
        StreamEnd::Reset,
        StreamEnd::PeerShutdown,
        StreamEnd::OwnShutdown,
    ]);
    prop_oneof![
        32 => size().prop_map(StreamEvent::Arrive),
        8 => size().prop_map(StreamEvent::Peek),
        16 => size().prop_map(StreamEvent::Read),
        8 => (0..5_usize, size(), 0..9_usize)
            .prop_map(|(first, second, third)| StreamEvent::ReadVectored([first, second, third])),
        8 => size().prop_map(StreamEvent::ReadExact),
        8 => (0..30_usize).prop_map(StreamEvent::Write),
        8 => [0..30_usize, 0..3_usize].prop_map(StreamEvent::WriteVectored),
        1 => end.prop_map(StreamEvent::End),
    ]
}

/// Up to 80 calls, until one side has ended in some way, and a few calls more.
#[test]
fn every_call_returns_what_the_plain_call_returns() {
    if common::ran_in_own_process() {
        return;
    }
    each_matches::<gimmal::net::TcpStream>(crate::tcp);
    each_matches::<gimmal::net::UnixStream>(crate::unix);
    each_matches::<gimmal::net::UnixStream>(crate::socketpair);
}

fn each_matches<S: Socket>(ends: Ends) {
    let config = ProptestConfig {
        cases: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let events = proptest::collection::vec(stream_event(), 0..80);
    let run = TestRunner::new(config).run(&events, |events| {
        common::block_on(answers::<S>(ends, &events));
        Ok(())
    });
    run.unwrap_or_else(|error| panic!("{error}"));
}

async fn answers<S: Socket>(ends: Ends, events: &[StreamEvent]) {
    // Our stream and the plain one. The peers of both never use a ring.
    let (left, ours) = ends();
    let (plain_left, plain) = ends();
    let ours = S::of(ours);
    let mut lefts = Some((left, plain_left));
    // The number of available bytes, and whether the stream has ended.
    let (mut there, mut ended, mut next) = (0, false, 0_u8);
    for event in events {
        let (expected, got): (Answer, Answer) = match *event {
            StreamEvent::Arrive(size) => {
                if let Some((left, plain_left)) = &lefts
                    && !ended
                {
                    let text: Vec<u8> = (0..size).map(|n| next.wrapping_add(n as u8)).collect();
                    next = next.wrapping_add(size as u8);
                    write_plain(left, &text);
                    write_plain(plain_left, &text);
                    there += size;
                }
                continue;
            }
            StreamEvent::Peek(size) if there > 0 || ended => {
                let buf = ours.peek(vec![0; size]).await;
                let expected = recv_plain(&plain, size, libc::MSG_PEEK);
                (expected, one(buf))
            }
            StreamEvent::Read(size) if there > 0 || ended => {
                let buf = ours.read(Vec::with_capacity(size)).await;
                // The capacity of a vector may exceed the requested one.
                let expected = recv_plain(&plain, size, 0);
                (expected, one(buf))
            }
            StreamEvent::ReadVectored(sizes) if there > 0 || ended => {
                let bufs = sizes.map(|len| vec![0; len]);
                let got = ours.read_vectored(bufs).await;
                let got = got.map(|(n, bufs)| (n, Vec::from(bufs)));
                let got = got.map_err(|error| number(error.error()));
                (readv_plain(&plain, &sizes), got)
            }
            StreamEvent::ReadExact(size) if there >= size => {
                let got = ours.read_exact(vec![0; size], size).await;
                let got = got.map(|buf| (buf.len(), vec![buf]));
                let got = got.map_err(|error| number(error.error()));
                (recv_plain(&plain, size, libc::MSG_WAITALL), got)
            }
            StreamEvent::Write(size) => {
                let text = vec![1; size];
                let expected = sendv_plain(&plain, std::slice::from_ref(&text));
                let got = ours.write(text).await;
                let got = got.map(|(n, _)| (n, Vec::new()));
                (expected, got.map_err(|error| number(error.error())))
            }
            StreamEvent::WriteVectored([first, second]) => {
                let texts = vec![vec![1; first], vec![2; second]];
                let expected = sendv_plain(&plain, &texts);
                let got = ours.write_vectored(texts).await;
                let got = got.map(|(n, _)| (n, Vec::new()));
                (expected, got.map_err(|error| number(error.error())))
            }
            StreamEvent::End(end) => {
                ended = true;
                match end {
                    StreamEnd::Close => drop(lefts.take()),
                    StreamEnd::Reset => {
                        if let Some((left, plain_left)) = lefts.take() {
                            for fd in [left, plain_left] {
                                let socket = socket2::SockRef::from(&fd);
                                let _ = socket.set_linger(Some(std::time::Duration::ZERO));
                            }
                        }
                    }
                    StreamEnd::PeerShutdown => {
                        if let Some((left, plain_left)) = &lefts {
                            for fd in [left, plain_left] {
                                let _ = socket2::SockRef::from(fd).shutdown(Shutdown::Write);
                            }
                        }
                    }
                    StreamEnd::OwnShutdown => {
                        let expected = socket2::SockRef::from(&plain).shutdown(Shutdown::Read);
                        let got = ours.shutdown(Shutdown::Read);
                        let errno = |error: io::Error| error.raw_os_error();
                        assert_eq!(got.map_err(errno), expected.map_err(errno));
                    }
                }
                there = bytes_there(&plain);
                continue;
            }
            _ => continue,
        };
        assert_eq!(got, expected, "{there} bytes available; ended: {ended}");
        there = bytes_there(&plain);
    }
}

/// The number of unread bytes.
fn bytes_there(fd: &OwnedFd) -> usize {
    let mut there: libc::c_int = 0;
    // SAFETY: the descriptor is open, and the kernel writes one int.
    let asked = unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONREAD, &raw mut there) };
    assert_eq!(asked, 0);
    there as usize
}

fn one(got: gimmal::buf::BufResult<usize, Vec<u8>>) -> Answer {
    got.map(|(n, buf)| {
        assert_eq!(n, buf.len());
        (n, vec![buf])
    })
    .map_err(|error| number(error.error()))
}

async fn sends_nothing<S: Socket>(ends: Ends) {
    let (left, right) = streams::<S>(ends);
    assert_eq!(left.write("").await.unwrap().0, 0);
    assert_eq!(
        left.write_vectored(Vec::<Vec<u8>>::new()).await.unwrap().0,
        0
    );
    assert_eq!(left.write_vectored(["", ""]).await.unwrap().0, 0);
    assert_eq!(left.write_all("").await.unwrap(), "");
    assert_eq!(right.read_exact(vec![1; 3], 0).await.unwrap(), b"");
    // The reader has seen none of these writes.
    left.write_all("x").await.unwrap();
    assert_eq!(right.read(vec![0; 8]).await.unwrap().1, b"x");
    // Nor do they wait for room.
    let fd = left.as_raw_fd();
    let page = [7_u8; 4096];
    // SAFETY: the descriptor is open, and the slice is valid.
    while unsafe { libc::send(fd, page.as_ptr().cast(), 4096, libc::MSG_DONTWAIT) } > 0 {}
    assert_eq!(left.write_all("").await.unwrap(), "");
    let error = right.read(Vec::new()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    let error = right
        .read_vectored([Vec::new(), Vec::new()])
        .await
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}
