//! Descriptors passed with bytes: each arrives once or is closed, however the waits for it end.

use common::{
    Baseline, MOMENTS, Random, block_on, descriptors, dropped_everywhere, is_child, next_turn,
    passes_in_child, poll_once, ran_in_own_process,
};
use gimmal::net::UnixStream;
use gimmal::{is_canceled, is_timeout};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

/// A recognizable descriptor: the read end of a pipe that contains this byte.
fn marked(mark: u8) -> OwnedFd {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&[mark]).unwrap();
    reader.into()
}

fn mark(fd: OwnedFd) -> u8 {
    let mut byte = [0];
    std::fs::File::from(fd).read_exact(&mut byte).unwrap();
    byte[0]
}

fn marks(fds: Vec<OwnedFd>) -> Vec<u8> {
    fds.into_iter().map(mark).collect()
}

#[test]
fn descriptors_arrive_with_the_bytes_and_are_closed_by_exec() {
    if common::ran_in_own_process() {
        return;
    }
    block_on(async {
        let baseline = Baseline::take();
        let (left, right) = UnixStream::pair().unwrap();
        for count in [0, 1, 2, 3, 253] {
            let fds: Vec<OwnedFd> = (0..count).map(|n| marked(n as u8)).collect();
            let (n, (text, fds)) = left.send_with_fds("text", fds).await.unwrap();
            assert_eq!((n, text, fds.len()), (4, "text", count));
            // The descriptors stay open here.
            drop(fds);
            let ((n, fds), buf) = right.recv_with_fds(vec![0; 8], count).await.unwrap();
            assert_eq!((n, &buf[..], fds.len()), (4, &b"text"[..], count));
            for fd in &fds {
                // SAFETY: the call only queries the descriptor.
                let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFD) };
                assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
            }
            let expected: Vec<u8> = (0..count).map(|n| n as u8).collect();
            assert_eq!(marks(fds), expected);
        }
        // The end of the stream brings no descriptors.
        drop(left);
        let ((n, fds), _) = right.recv_with_fds(vec![0; 8], 4).await.unwrap();
        assert_eq!((n, fds.len()), (0, 0));
        drop(right);
        baseline.returns("passed descriptors").await;
    });
}

#[test]
fn descriptors_that_cannot_be_sent_are_returned_with_the_error() {
    block_on(async {
        let (left, right) = UnixStream::pair().unwrap();
        let many: Vec<_> = (0..254).map(|_| std::io::stdin()).collect();
        let error = left.send_with_fds("x", many).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("253"), "{error}");
        assert_eq!(error.into_buf().1.len(), 254);
        let error = left.send_with_fds("", vec![marked(1)]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(marks(error.into_buf().1), [1]);
        let error = right.recv_with_fds(Vec::new(), 1).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        drop(right);
        let error = left.send_with_fds("x", vec![marked(2)]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        assert_eq!(marks(error.into_buf().1), [2]);
    });
}

#[test]
fn excess_descriptors_are_closed_and_the_bytes_arrive() {
    if common::ran_in_own_process() {
        return;
    }
    block_on(async {
        let (left, right) = UnixStream::pair().unwrap();
        for (count, max) in [(2, 1), (4, 3), (1, 0), (253, 252), (20, 5)] {
            let open = descriptors();
            let fds: Vec<OwnedFd> = (0..count).map(|n| marked(n as u8)).collect();
            left.send_with_fds("text", fds).await.unwrap();
            let error = right.recv_with_fds(vec![0; 8], max).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
            assert!(error.to_string().contains(&max.to_string()), "{error}");
            assert_eq!((error.transferred(), &error.buf()[..]), (4, &b"text"[..]));
            assert_eq!(descriptors(), open, "{count} arrived for {max}");
        }
        // A plain or vectored read also closes them.
        for vectored in [false, true] {
            let open = descriptors();
            left.send_with_fds("text", vec![marked(1)]).await.unwrap();
            let n = match vectored {
                true => {
                    right
                        .read_vectored([vec![0; 2], vec![0; 6]])
                        .await
                        .unwrap()
                        .0
                }
                false => right.read(vec![0; 8]).await.unwrap().0,
            };
            assert_eq!((n, descriptors()), (4, open));
        }
    });
}

/// If requested, the sender's credentials precede the descriptors.
#[test]
fn credentials_take_no_room_for_descriptors() {
    if common::ran_in_own_process() {
        return;
    }
    block_on(async {
        let (left, right) = UnixStream::pair().unwrap();
        socket2::SockRef::from(&right).set_passcred(true).unwrap();
        left.send_with_fds("x", vec![marked(7)]).await.unwrap();
        let ((_, fds), _) = right.recv_with_fds(vec![0; 8], 1).await.unwrap();
        assert_eq!(marks(fds), [7]);
        // The pidfd of the sender, which the receive did not ask for, is closed.
        const SO_PASSPIDFD: i32 = 76;
        let on: libc::c_int = 1;
        // SAFETY: the descriptor is open, and the option value is a valid integer.
        let set = unsafe {
            let on: *const libc::c_int = &raw const on;
            libc::setsockopt(
                right.as_raw_fd(),
                libc::SOL_SOCKET,
                SO_PASSPIDFD,
                on.cast(),
                4,
            )
        };
        if set != 0 {
            return common::skip!("SO_PASSPIDFD needs Linux 6.5");
        }
        socket2::SockRef::from(&right).set_passcred(false).unwrap();
        let open = descriptors();
        left.send_with_fds("x", vec![marked(8)]).await.unwrap();
        let ((_, fds), _) = right.recv_with_fds(vec![0; 8], 1).await.unwrap();
        assert_eq!(marks(fds), [8]);
        assert_eq!(descriptors(), open);
    });
}

/// A dropped receive passes bytes and descriptors on to the next one.
#[test]
fn descriptors_of_a_dropped_receive_go_to_the_next() {
    if common::ran_in_own_process() {
        return;
    }
    block_on(async {
        let baseline = Baseline::take();
        let (left, right) = UnixStream::pair().unwrap();
        let mut by_orphan = 0;
        for round in 0..200_u8 {
            let mut dropped = Box::pin(right.recv_with_fds(vec![0; 8], 2));
            assert!(poll_once(&mut dropped).await.is_pending());
            next_turn().await;
            // The receive is in flight; it is dropped after it has received the bytes, without another poll.
            left.send_with_fds(vec![round; 4], vec![marked(round)])
                .await
                .unwrap();
            next_turn().await;
            drop(dropped);
            match round % 5 {
                // A small receive gets all descriptors with the first bytes, as from the kernel.
                0 => {
                    let ((n, fds), buf) = right.recv_with_fds(vec![0; 1], 1).await.unwrap();
                    assert_eq!((n, &buf[..], marks(fds)), (1, &[round][..], vec![round]));
                    let ((n, fds), buf) = right.recv_with_fds(vec![0; 8], 1).await.unwrap();
                    assert_eq!((n, &buf[..n], fds.len()), (3, &[round; 3][..], 0));
                }
                // A plain read leaves the descriptors until it takes the last byte.
                1 => {
                    assert_eq!(right.read(vec![0; 2]).await.unwrap().0, 2);
                    let ((n, fds), _) = right.recv_with_fds(vec![0; 8], 1).await.unwrap();
                    assert_eq!((n, marks(fds)), (2, vec![round]));
                }
                2 => {
                    let open = descriptors();
                    assert_eq!(right.read_exact(vec![0; 4], 4).await.unwrap(), [round; 4]);
                    by_orphan += usize::from(descriptors() < open);
                }
                3 => {
                    // A result that was ready at once is returned to the stream if the future is dropped.
                    drop(right.recv_with_fds(vec![0; 3], 1).submit());
                    drop(right.recv_with_fds(vec![0; 8], 1).submit());
                    let ((n, fds), buf) = right.recv_with_fds(vec![0; 8], 1).await.unwrap();
                    assert_eq!(
                        (n, &buf[..n], marks(fds)),
                        (4, &[round; 4][..], vec![round])
                    );
                }
                _ => {
                    let error = right.recv_with_fds(vec![0; 8], 0).await.unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::InvalidData);
                    assert_eq!(error.into_buf(), [round; 4]);
                }
            }
        }
        assert!(by_orphan > 0, "some descriptors came by an orphan");
        // Unclaimed descriptors are closed with the stream.
        let mut dropped = Box::pin(right.recv_with_fds(vec![0; 8], 2));
        assert!(poll_once(&mut dropped).await.is_pending());
        next_turn().await;
        left.send_with_fds("x", vec![marked(1), marked(2)])
            .await
            .unwrap();
        next_turn().await;
        drop((dropped, left, right));
        baseline.returns("unclaimed descriptors").await;
    });
}

/// There is room for more descriptors than requested, because of other control messages. A dropped receive counts as
/// having requested none: the next receive was blamed for the excess, and all were lost.
#[test]
fn a_dropped_receive_for_few_descriptors_keeps_all_that_arrived() {
    if common::ran_in_own_process() {
        return;
    }
    block_on(async {
        let baseline = Baseline::take();
        let (left, right) = UnixStream::pair().unwrap();
        let mut dropped = Box::pin(right.recv_with_fds(vec![0; 8], 1));
        assert!(poll_once(&mut dropped).await.is_pending());
        let fds = (1..=3).map(marked).collect();
        let (_, (_, fds)) = left.send_with_fds("text", fds).await.unwrap();
        drop(fds);
        next_turn().await;
        drop(dropped);
        let ((n, fds), buf) = right.recv_with_fds(vec![0; 8], 3).await.unwrap();
        assert_eq!((&buf[..n], marks(fds)), (&b"text"[..], vec![1, 2, 3]));
        drop((left, right));
        baseline.returns("passed descriptors").await;
    });
}

/// Sends and receives under timeouts, in canceled scopes, and dropped: each descriptor arrives, in order.
#[test]
fn no_descriptor_is_lost_or_duplicated() {
    if common::ran_in_own_process() {
        return;
    }
    block_on(async {
        const COUNT: usize = 3_000;
        let baseline = Baseline::take();
        let mut random = Random::new();
        println!("{random:?}");
        let (left, right) = UnixStream::pair().unwrap();
        let mut dice = random.fork();
        let sending = gimmal::spawn(async move {
            let mut cuts = 0;
            for at in 0..COUNT {
                let (mut buf, mut fds) = (vec![at as u8], vec![marked(at as u8)]);
                loop {
                    let time = Duration::from_micros(dice.below(60) as u64);
                    match left.send_with_fds(buf, fds).timeout(time).await {
                        Ok((n, _)) => {
                            assert_eq!(n, 1);
                            break;
                        }
                        Err(error) => {
                            assert!(is_timeout(&error), "{error}");
                            cuts += 1;
                            (buf, fds) = error.into_buf();
                            assert_eq!((buf.len(), fds.len()), (1, 1));
                        }
                    }
                }
            }
            cuts
        });
        let (mut at, mut cuts) = (0, 0);
        while at < COUNT {
            let receive = right.recv_with_fds(vec![0; 1 + random.below(3)], 1);
            let time = Duration::from_micros(random.below(60) as u64);
            let received = match random.below(4) {
                0 => Some(receive.await),
                1 => Some(receive.timeout(time).await),
                2 => {
                    let scope = gimmal::cancel::Scope::new();
                    let both = gimmal::join((scope.run_any(receive), async {
                        next_turn().await;
                        scope.cancel();
                    }));
                    Some(both.await.0.unwrap())
                }
                _ => {
                    let mut receive = Box::pin(receive);
                    let mut output = None;
                    for _ in 0..random.below(3) {
                        if let std::task::Poll::Ready(ready) = poll_once(&mut receive).await {
                            output = Some(ready);
                            break;
                        }
                        next_turn().await;
                    }
                    cuts += usize::from(output.is_none());
                    output
                }
            };
            match received {
                None => {}
                Some(Ok(((n, fds), buf))) => {
                    assert_eq!((n, fds.len()), (1, 1));
                    assert_eq!((buf[0], marks(fds)), (at as u8, vec![at as u8]));
                    at += 1;
                }
                Some(Err(error)) => {
                    assert!(is_timeout(&error) || is_canceled(&error), "{error}");
                    cuts += 1;
                }
            }
        }
        let sends = sending.await.unwrap();
        println!("canceled: {cuts} receives, {sends} sends");
        assert!(cuts > 0);
        let ((n, fds), _) = right.recv_with_fds(vec![0; 1], 1).await.unwrap();
        assert_eq!((n, fds.len()), (0, 0));
        drop(right);
        baseline.returns("descriptors under timeouts").await;
    });
}

#[test]
fn sends_and_receives_dropped_at_every_poll_leave_nothing_behind() {
    if common::ran_in_own_process() {
        return;
    }
    block_on(async {
        let polls = dropped_everywhere("descriptors sent and received", &MOMENTS, || async {
            let (left, right) = UnixStream::pair().unwrap();
            let receive = async {
                let (received, buf) = right.recv_with_fds(vec![0; 8], 2).await.unwrap();
                assert_eq!((received.0, received.1.len(), buf.len()), (1, 2, 1));
            };
            let fds = vec![marked(1), marked(2)];
            let ((), sent) = gimmal::join((receive, left.send_with_fds("x", fds))).await;
            sent.unwrap();
        })
        .await;
        assert!(polls > 1);
    });
}

/// A process without free descriptor numbers closes the descriptors that arrive, and still gets the bytes.
#[test]
fn descriptors_without_a_free_number_are_closed() {
    if !is_child() {
        if ran_in_own_process() {
            return;
        }
        passes_in_child("passing::descriptors_without_a_free_number_are_closed");
        return;
    }
    block_on(async {
        let (left, right) = UnixStream::pair().unwrap();
        for dropped in [false, true] {
            let open = descriptors();
            let fds = (0..3).map(marked).collect();
            left.send_with_fds("text", fds).await.unwrap();
            // The lowest free number, plus a few.
            let free = std::io::stdin()
                .as_fd()
                .try_clone_to_owned()
                .unwrap()
                .as_raw_fd() as u64;
            let mut limit = libc::rlimit {
                rlim_cur: 0,
                rlim_max: 0,
            };
            // SAFETY: the kernel reads and writes a local variable; nothing else in this process opens descriptors
            // meanwhile.
            unsafe {
                assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
                let less = libc::rlimit {
                    rlim_cur: free + 1,
                    ..limit
                };
                assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const less), 0);
            }
            if dropped {
                // The next receive returns the error.
                drop(right.recv_with_fds(vec![0; 8], 3).submit());
            }
            let error = right.recv_with_fds(vec![0; 8], 3).await.unwrap_err();
            // SAFETY: as above.
            unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
            assert_eq!((error.transferred(), &error.buf()[..]), (4, &b"text"[..]));
            drop(error);
            assert_eq!(descriptors(), open);
        }
    });
}
