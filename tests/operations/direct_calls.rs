//! Sends, receives and reads that enter the ring alone are served by direct calls, and nothing else changes: concurrent
//! ones still take one system call, those that would block wait in the ring, and nothing is lost.

use common::{Random, block_on, next_turn, poll_once, quick_or_full};
use futures_util::stream::{FuturesUnordered, StreamExt};
use gimmal::cancel::Scope;
use gimmal::net::{TcpStream, UdpSocket, UnixStream};
use gimmal::op::{Completion, Entry, Op, Opcode, Operation};
use gimmal::runtime::{FeatureMask, Stats};
use gimmal::{
    Handle, Runtime, group, is_canceled, join, join_all, race, sleep, spawn, try_join, yield_now,
};
use std::cell::Cell;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

fn stats() -> Stats {
    Handle::current().stats()
}

/// The output of a future, and the direct calls and enters that it made.
pub(crate) async fn calls<T>(what: impl Future<Output = T>) -> (T, u64, u64) {
    let before = stats();
    let done = what.await;
    let after = stats();
    let attempts = after.attempts - before.attempts;
    (done, attempts, after.enters - before.enters)
}

/// With direct calls, and with the ring alone.
pub(crate) fn both(test: impl AsyncFn(bool)) {
    for (mask, attempts) in [
        (FeatureMask::none(), true),
        (FeatureMask::linux_5_15(), true),
        (FeatureMask::none().without_attempts(), false),
    ] {
        let mut runtime = Runtime::builder().mask(mask).build().unwrap();
        runtime.block_on(test(attempts));
    }
}

/// Writes a message and reads it back, `times` times.
async fn talk(near: &UnixStream, far: &UnixStream, times: u64) {
    let (mut message, mut room) = (vec![7; 64], vec![0; 64]);
    for _ in 0..times {
        message = near.write_all(message).await.unwrap();
        let (n, back) = far.read(room).await.unwrap();
        assert_eq!((n, &back), (64, &message));
        room = back;
    }
}

/// A socket whose latest receives found data at once.
async fn prompt_pair() -> (UnixStream, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    // Sometimes the runtime measures whether a receive has to wait, and this thread may be delayed at that moment.
    loop {
        talk(&near, &far, 16).await;
        let (_, attempts, _) = calls(talk(&near, &far, 1)).await;
        if attempts != 1 {
            return (near, far);
        }
    }
}

#[test]
fn a_lone_operation_needs_no_enter() {
    both(async |attempts| {
        let (near, far) = UnixStream::pair().unwrap();
        let ((), tried, enters) = calls(talk(&near, &far, 1000)).await;
        if attempts {
            assert!(tried > 1000, "{tried} attempts");
            assert!(enters < 1000, "{enters} enters");
        } else {
            assert_eq!(tried, 0);
            assert!(enters >= 2000);
        }
    });
}

/// Concurrent operations of any form take one enter and no direct call.
#[test]
fn concurrent_operations_go_into_the_ring() {
    const MANY: u64 = 10;
    async fn check(how: &str, what: impl Future<Output = ()>) {
        // Nothing from before is left to reap.
        next_turn().await;
        let ((), attempts, enters) = calls(what).await;
        assert_eq!(attempts, 0, "{how}");
        // Some forms take another turn to start or to end.
        assert!(enters <= 3, "{how}: {enters} enters");
    }
    block_on(async {
        let pairs = (0..MANY).map(|_| UnixStream::pair().unwrap());
        let pairs: Rc<Vec<_>> = Rc::new(pairs.collect());
        let write = |n: u64| {
            let pairs = pairs.clone();
            async move {
                pairs[n as usize].0.write(vec![1; 64]).await?;
                io::Result::Ok(())
            }
        };
        check("tasks", async {
            let tasks: Vec<_> = (0..MANY).map(|n| spawn(write(n))).collect();
            for task in tasks {
                task.await.unwrap().unwrap();
            }
        })
        .await;
        check("a group", async {
            let grouped = group(async |g| {
                for n in 0..MANY {
                    drop(g.spawn(write(n)));
                }
                io::Result::Ok(())
            });
            grouped.await.unwrap();
        })
        .await;
        check("groups in a group", async {
            let grouped = group(async |g| {
                for n in 0..MANY {
                    drop(g.spawn(async move {
                        let inner = group(async |g| {
                            drop(g.spawn(write(n)));
                            io::Result::Ok(())
                        });
                        inner.await.map_err(io::Error::from)
                    }));
                }
                io::Result::Ok(())
            });
            grouped.await.unwrap();
        })
        .await;
        check("join_all", async {
            join_all((0..MANY).map(write)).await;
        })
        .await;
        check("join and try_join", async {
            let joined = join((write(0), write(1), write(2))).await;
            joined.0.unwrap();
            try_join((write(3), write(4))).await.unwrap();
        })
        .await;
        check("a race", async {
            race((write(0), write(1), write(2))).await;
        })
        .await;
        check("a future of another crate", async {
            let mut all: FuturesUnordered<_> = (0..MANY).map(write).collect();
            while all.next().await.is_some() {}
        })
        .await;
        check("submitted before they are awaited", async {
            let writes = pairs
                .iter()
                .map(|(near, _)| near.write(vec![1; 64]).submit());
            for write in writes.collect::<Vec<_>>() {
                write.await.unwrap();
            }
        })
        .await;
    });
}

/// Dropping a read after one poll must not lose what a direct call would have received, so a socket with few receives
/// makes no direct call.
#[test]
fn the_first_reads_of_a_socket_go_through_the_ring() {
    block_on(async {
        let (near, far) = UnixStream::pair().unwrap();
        let (a, b) = (
            UdpSocket::bind("127.0.0.1:0").await.unwrap(),
            UdpSocket::bind("127.0.0.1:0").await.unwrap(),
        );
        a.connect(b.local_addr().unwrap()).await.unwrap();
        for n in 0..10 {
            near.write_all(vec![n]).await.unwrap();
            let mut read = far.read(vec![0; 8]);
            assert!(poll_once(&mut read).await.is_pending());
            assert_eq!(read.await.unwrap().1, [n]);

            a.send(vec![n]).await.unwrap();
            let mut read = b.recv(vec![0; 8]);
            assert!(poll_once(&mut read).await.is_pending());
            assert_eq!(read.await.unwrap().1, [n]);
        }
    });
}

#[test]
fn operations_that_would_block_wait_in_the_ring() {
    block_on(async {
        let (near, far) = prompt_pair().await;
        // So far, data was always available at once.
        let mut read = far.read(vec![0; 8]);
        assert!(poll_once(&mut read).await.is_pending());
        next_turn().await;
        assert_eq!(stats().operations, 1);
        near.write_all(b"late").await.unwrap();
        assert_eq!(read.await.unwrap().1, b"late");

        // Nobody reads, so the socket fills up.
        let mut sent = 0;
        let mut write = loop {
            let mut write = near.write(vec![5; 10_000]);
            match poll_once(&mut write).await {
                Poll::Ready(written) => sent += written.unwrap().0,
                Poll::Pending => {
                    next_turn().await;
                    match poll_once(&mut write).await {
                        Poll::Ready(written) => sent += written.unwrap().0,
                        Poll::Pending => break write,
                    }
                }
            }
        };
        let mut received = 0;
        while received < sent {
            received += far.read(vec![0; 1 << 20]).await.unwrap().0;
        }
        loop {
            if let Poll::Ready(written) = poll_once(&mut write).await {
                sent += written.unwrap().0;
                break;
            }
            next_turn().await;
        }
        while received < sent {
            received += far.read(vec![0; 1 << 20]).await.unwrap().0;
        }
        assert_eq!(received, sent);
    });
}

#[test]
fn errors_match_those_of_the_ring() {
    let said = |mask: FeatureMask| {
        let mut runtime = Runtime::builder().mask(mask).build().unwrap();
        runtime.block_on(async {
            let mut said = Vec::new();
            let (near, far) = UnixStream::pair().unwrap();
            drop(far);
            next_turn().await;
            let (error, attempts, _) = calls(near.write(b"x")).await;
            let error = error.unwrap_err();
            said.push((error.kind(), error.to_string()));

            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let near = TcpStream::connect(listener.local_addr().unwrap())
                .await
                .unwrap();
            let (far, _) = listener.accept().unwrap();
            // Unread bytes make it reset the connection.
            near.write_all(b"unread").await.unwrap();
            drop(far);
            next_turn().await;
            let error = near.write(b"x").await.unwrap_err();
            assert_eq!(error.into_buf(), b"x");
            let error = near.write(b"x").await.unwrap_err();
            said.push((error.kind(), error.to_string()));
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let address = "127.0.0.1:9".parse::<std::net::SocketAddr>().unwrap();
            let error = socket.send_to(vec![0; 70_000], address).await.unwrap_err();
            said.push((error.kind(), error.to_string()));
            (said, attempts)
        })
    };
    let (by_call, attempts) = said(FeatureMask::none());
    let (by_ring, none) = said(FeatureMask::none().without_attempts());
    assert_eq!((attempts, none), (1, 0));
    assert_eq!(by_call[0].0, io::ErrorKind::BrokenPipe);
    let without_ports = |said: Vec<(io::ErrorKind, String)>| -> Vec<_> {
        let words = |text: String| {
            let digits = |word: &str| word.chars().filter(|c| !c.is_numeric()).collect::<String>();
            text.split(' ').map(digits).collect::<Vec<_>>()
        };
        said.into_iter()
            .map(|(kind, text)| (kind, words(text)))
            .collect()
    };
    assert_eq!(without_ports(by_call), without_ports(by_ring));
}

#[test]
fn in_a_canceled_scope_no_direct_call_is_made() {
    block_on(async {
        let (near, far) = prompt_pair().await;
        near.write_all(b"there").await.unwrap();
        let scope = Scope::new();
        let ((), attempts, _) = calls(async {
            let run = scope.run_any(async {
                scope.cancel();
                assert!(is_canceled(&near.write(b"not sent").await.unwrap_err()));
                let error = far.read(vec![9; 8]).await.unwrap_err();
                assert!(is_canceled(&error));
                assert_eq!(error.into_buf(), [9; 8]);
            });
            run.await.unwrap();
        })
        .await;
        assert_eq!(attempts, 0);
        assert_eq!(far.read(vec![0; 64]).await.unwrap().1, b"there");
    });
}

/// Runs an endless future beside a sleeper, and returns the highest number of direct calls per turn.
pub(crate) fn most_in_a_turn(endless: impl AsyncFn(Rc<dyn Fn() -> bool>)) -> u64 {
    block_on(async {
        let ended = Rc::new(Cell::new(false));
        let ends = ended.clone();
        let sleeper = spawn(async move {
            for _ in 0..5 {
                sleep(Duration::from_millis(1)).await.unwrap();
            }
            ends.set(true);
        });
        let most = Rc::new(Cell::new(0));
        let (highest, turn) = (most.clone(), Cell::new((0, 0)));
        let goes_on = move || {
            let now = stats();
            let (turns, attempts) = turn.get();
            if now.turns != turns {
                turn.set((now.turns, now.attempts));
            } else {
                highest.set((now.attempts - attempts).max(highest.get()));
            }
            !ended.get()
        };
        endless(Rc::new(goes_on)).await;
        sleeper.await.unwrap();
        most.get()
    })
}

async fn talk_forever(goes_on: Rc<dyn Fn() -> bool>, size: usize, yields_after: usize) {
    let (near, far) = UnixStream::pair().unwrap();
    let (mut message, mut room) = (vec![7; size], vec![0; size]);
    let mut talked = 0;
    while goes_on() {
        message = near.write_all(message).await.unwrap();
        room = far.read_exact(room, size).await.unwrap();
        talked += 1;
        if talked % yields_after == 0 {
            yield_now().await;
        }
    }
}

/// A task that talks to itself makes only a limited number of direct calls per turn, and fewer of large size; also if
/// it yields, which alone does not end the turn, and if several tasks alternate.
#[test]
fn a_turn_ends_after_some_direct_calls() {
    const MANY: usize = usize::MAX;
    for (size, yields_after, most) in [
        (64, MANY, 32),
        (64, 3, 32),
        (30_000, MANY, 9),
        (30_000, 1, 9),
    ] {
        let highest =
            most_in_a_turn(async |goes_on| talk_forever(goes_on, size, yields_after).await);
        assert!((1..=most).contains(&highest), "{highest} of {size} bytes");
    }
    let highest = most_in_a_turn(async |goes_on| {
        let tasks = [2, 3].map(|n| spawn(talk_forever(goes_on.clone(), 64, n)));
        for task in tasks {
            task.await.unwrap();
        }
    });
    assert!(highest <= 32, "{highest} of two tasks");
    let highest = most_in_a_turn(async |goes_on| {
        let grouped = group(async |g| {
            for n in [2, 3] {
                drop(g.spawn(talk_forever(goes_on.clone(), 64, n)));
            }
            io::Result::Ok(())
        });
        grouped.await.unwrap();
    });
    assert!(highest <= 32, "{highest} of two children");
}

/// A biased select polls its second future only if the first one is not ready at once.
#[test]
fn no_pattern_of_direct_calls_starves_the_second_of_two() {
    block_on(async {
        let (near, far) = prompt_pair().await;
        let other = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let to = other.local_addr().unwrap();
        // 34 and 35 calls are in step with the golden-section sequence.
        for sends in [0, 6, 7, 8, 15, 16, 32, 33] {
            let second = Rc::new(Cell::new(0));
            for _ in 0..400 {
                near.write_all(b"x").await.unwrap();
                let polled = second.clone();
                let mut beside = std::future::poll_fn(move |_| {
                    polled.set(polled.get() + 1);
                    Poll::<()>::Pending
                });
                let mut read = far.read(vec![0; 1]);
                futures_util::future::select(&mut read, &mut beside).await;
                for _ in 0..sends {
                    other.send_to(b"y", to).await.unwrap();
                }
            }
            assert!(second.get() > 0, "with {sends} sends in between");
        }
    });
}

/// A user-defined operation behaves as in the ring, whatever its entry is.
#[test]
fn other_entries_go_into_the_ring() {
    struct Raw(Entry, Box<[u8; 16]>);

    // SAFETY: the memory that the entries point to is leaked, or is the box; the descriptors stay open until the
    // operations are awaited.
    unsafe impl Operation for Raw {
        type Output = io::Result<u32>;
        const NAME: &'static str = "raw";

        fn entry(&mut self) -> Entry {
            self.0.addr(self.1.as_ptr()).len(5).try_direct()
        }

        fn complete(self, completion: Completion) -> io::Result<u32> {
            completion.result()
        }

        fn fail(self, error: io::Error) -> io::Result<u32> {
            Err(error)
        }

        fn had_no_effect(&self, _: Completion) -> bool {
            false
        }

        fn dispose(&mut self, _: Completion) {}
    }

    block_on(async {
        let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        let send = || Entry::new(Opcode::SEND).fd(near.as_raw_fd());
        let raw = |entry: Entry| Op::new(Raw(entry, Box::new([1; 16])));
        for (entry, tried) in [
            (send(), 1),
            (send().in_worker(), 0),
            (send().ioprio(1), 0),
            (Entry::new(Opcode::NOP), 0),
        ] {
            loop {
                next_turn().await;
                let (done, attempts, _) = calls(raw(entry)).await;
                assert!(done.unwrap() <= 5);
                // Some of these still go into the ring.
                if attempts == tried {
                    break;
                }
                assert!(tried == 1 && attempts == 0, "{entry:?}");
            }
        }
        // The address of a datagram.
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let receiver = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = socket2::SockAddr::from(receiver.local_addr().unwrap());
        let entry = Entry::new(Opcode::SEND).fd(sender.as_raw_fd());
        let entry = entry.addr2(to.as_ptr()).splice_from(to.len() as i32);
        let (sent, attempts, _) = calls(raw(entry)).await;
        assert_eq!((sent.unwrap(), attempts), (5, 0));
        // No signal ends the process when the peer is closed.
        drop(far);
        // SAFETY: sets the default action of a signal; a test that raised it would be killed.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        for _ in 0..40 {
            let error = raw(send()).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        }
        // SAFETY: restores std's setting.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    });
}

/// An operation whose completion had no effect is restarted, whether the ring or a direct call served it.
#[test]
fn an_operation_that_had_no_effect_is_restarted() {
    struct Twice(Box<[u8; 1]>, i32, Rc<Cell<u32>>);

    // SAFETY: the entry points to the box; the descriptor stays open until the operation is awaited.
    unsafe impl Operation for Twice {
        type Output = io::Result<u32>;
        const NAME: &'static str = "twice";

        fn entry(&mut self) -> Entry {
            let fd = if self.2.get() == 0 { -1 } else { self.1 };
            let entry = Entry::new(Opcode::SEND).fd(fd);
            entry.addr(self.0.as_ptr()).len(1).try_direct()
        }

        fn should_retry(&mut self, completion: Completion) -> bool {
            assert_eq!(completion.raw(), -libc::EBADF);
            self.2.set(self.2.get() + 1);
            true
        }

        fn complete(self, completion: Completion) -> io::Result<u32> {
            completion.result()
        }

        fn fail(self, error: io::Error) -> io::Result<u32> {
            Err(error)
        }

        fn had_no_effect(&self, _: Completion) -> bool {
            false
        }

        fn dispose(&mut self, _: Completion) {}
    }

    both(async |_| {
        let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
        for n in 0..100 {
            let asked = Rc::new(Cell::new(0));
            let twice = Op::new(Twice(Box::new([n]), near.as_raw_fd(), asked.clone()));
            assert_eq!(twice.await.unwrap(), 1);
            assert_eq!(asked.get(), 1);
            let mut sent = [0; 1];
            far.read_exact(&mut sent).unwrap();
            assert_eq!(sent, [n]);
        }
    });
}

/// In one task, so that operations are often alone: reads that are awaited, timed out, raced and dropped.
#[test]
fn numbered_bytes_are_neither_lost_nor_duplicated() {
    let mut random = Random::new();
    block_on(async move {
        let (near, far) = UnixStream::pair().unwrap();
        let (mut written, mut expected) = (0u64, 0u64);
        let (mut dropped, mut cut) = (0, 0);
        let before = stats().attempts;
        while expected < quick_or_full(10_000, 40_000) {
            if written == expected || written - expected < 100 && random.below(2) == 0 {
                let numbers =
                    (0..1 + random.below(4) as u64).flat_map(|n| (written + n).to_le_bytes());
                let message: Vec<u8> = numbers.collect();
                written += message.len() as u64 / 8;
                near.write_all(message).await.unwrap();
            }
            let room = vec![0; 8 * (1 + random.below(8))];
            let read = far.read_exact(room, 8);
            let read = match random.below(6) {
                0 => {
                    let time = Duration::from_micros(random.below(20) as u64);
                    match gimmal::timeout(time, read).await {
                        Ok(bytes) => bytes,
                        Err(_) => {
                            cut += 1;
                            continue;
                        }
                    }
                }
                1 => {
                    let mut read = Box::pin(read);
                    match poll_once(&mut read).await {
                        Poll::Ready(read) => read.unwrap(),
                        Poll::Pending => {
                            if random.below(2) == 0 {
                                next_turn().await;
                            }
                            dropped += 1;
                            continue;
                        }
                    }
                }
                2 => match race((read, yield_now())).await.outputs.0 {
                    Some(Ok(bytes)) => bytes,
                    _ => {
                        cut += 1;
                        continue;
                    }
                },
                _ => read.await.unwrap(),
            };
            let number: [u8; 8] = read[..8].try_into().unwrap();
            assert_eq!(u64::from_le_bytes(number), expected);
            expected += 1;
        }
        let attempts = stats().attempts - before;
        assert!(
            attempts > 300 && dropped > 30 && cut > 30,
            "{attempts} {dropped} {cut}"
        );
    });
}

/// Vectors, datagrams and descriptors.
#[test]
fn messages_match_those_of_the_ring() {
    both(async |attempts| {
        let before = stats().attempts;
        let (near, far) = prompt_pair().await;
        let bufs = (b"one ".to_vec(), b"two".to_vec());
        assert_eq!(near.write_vectored(bufs).await.unwrap().0, 7);
        assert_eq!(far.read(vec![0; 64]).await.unwrap().1, b"one two");

        // Receives into several buffers are tried as often as others are: these sends and most of the receives.
        let vectored = async {
            for _ in 0..100 {
                near.write_all("onetwo").await.unwrap();
                let room = (vec![0; 3], vec![0; 8]);
                let (n, (one, two)) = far.read_vectored(room).await.unwrap();
                assert_eq!((n, &one[..], &two[..]), (6, &b"one"[..], &b"two"[..]));
            }
        };
        let ((), tried, _) = calls(vectored).await;
        assert_eq!(tried > 130, attempts, "{tried} attempts");

        for _ in 0..4 {
            let (reader, mut writer) = io::pipe().unwrap();
            let fds = vec![OwnedFd::from(reader)];
            let sent = near.send_with_fds(b"fd", fds).await.unwrap();
            assert_eq!(sent.0, 2);
            let ((n, mut fds), _) = far.recv_with_fds(vec![0; 8], 1).await.unwrap();
            assert_eq!((n, fds.len()), (2, 1));
            writer.write_all(b"through").unwrap();
            drop(writer);
            let mut passed = String::new();
            std::fs::File::from(fds.remove(0))
                .read_to_string(&mut passed)
                .unwrap();
            assert_eq!(passed, "through");
        }

        let (a, b) = (
            UdpSocket::bind("127.0.0.1:0").await.unwrap(),
            UdpSocket::bind("127.0.0.1:0").await.unwrap(),
        );
        let to = b.local_addr().unwrap();
        for n in 0..20u8 {
            assert_eq!(a.send_to(vec![n; 9], to).await.unwrap().0, 9);
            let ((length, from), bytes) = b.recv_from(vec![0; 64]).await.unwrap();
            assert_eq!((length, from), (9, a.local_addr().unwrap()));
            assert_eq!(bytes, [n; 9]);
        }
        assert_eq!(stats().attempts > before + 20, attempts);
    });
}
