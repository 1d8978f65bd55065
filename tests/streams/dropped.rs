//! Dropped waits: the bytes they have taken go to the next read, in order (C8).

use crate::{
    Ends, Socket, assert_numbered, bytes, keep, on_each, socketpair, streams, write_plain,
};
use common::{MOMENTS, Random, block_on, caught, dropped_everywhere, next_turn, poll_once};
use gimmal::Handle;
use gimmal::buf::{IoBuf, IoBufMut};
use gimmal::cancel::Scope;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::time::Duration;

on_each! {
    a_dropped_read_leaves_its_bytes_to_the_next: reads;
    a_dropped_exact_read_returns_its_bytes: exact_reads;
    a_timed_out_read_takes_nothing: timed_out;
    /// Kept bytes are taken and left in every way.
    kept_bytes_are_read_in_order: kept;
    kept_bytes_precede_those_in_the_socket: kept_and_more;
    /// The receive waits for readiness first, and data arrives before it is submitted.
    a_drained_and_refilled_socket_is_read: drained;
    an_exact_read_in_a_canceled_scope_keeps_its_place: canceled_exact_read;
    operations_dropped_at_every_poll_leave_nothing_behind: everywhere;
    a_buffer_that_panics_releases_the_stream: panicking_buffers;
}

/// A buffer with a method that panics, or a destructor.
struct Bomb(Vec<u8>, Fuse);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fuse {
    Ptr,
    Filled,
    Drop,
}

// SAFETY: that of the vector; a panic returns nothing.
unsafe impl IoBuf for Bomb {
    fn io_ptr(&self) -> *const u8 {
        assert!(self.1 != Fuse::Ptr, "no address");
        self.0.io_ptr()
    }

    fn io_len(&self) -> usize {
        self.0.io_len()
    }
}

// SAFETY: as above.
unsafe impl IoBufMut for Bomb {
    fn io_mut_ptr(&mut self) -> *mut u8 {
        assert!(self.1 != Fuse::Ptr, "no address");
        self.0.io_mut_ptr()
    }

    fn io_capacity(&self) -> usize {
        self.0.io_capacity()
    }

    unsafe fn set_io_len(&mut self, n: usize) {
        assert!(self.1 != Fuse::Filled, "not filled");
        // SAFETY: the caller's promise.
        unsafe { self.0.set_io_len(n) };
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(
            self.1 != Fuse::Drop || std::thread::panicking(),
            "not dropped"
        );
    }
}

async fn panicking_buffers<S: Socket>(ends: Ends) {
    for fuse in [Fuse::Ptr, Fuse::Filled, Fuse::Drop] {
        let (left, right) = streams::<S>(ends);
        let bomb = || Bomb(vec![0; 4], fuse);
        // Behind another one, and with bytes that an abandoned read has left.
        let mut first = right.read(vec![0; 2]);
        assert!(poll_once(&mut first).await.is_pending());
        let second = caught(async { drop(right.read(bomb()).await) });
        let (second, ()) = gimmal::join((second, async {
            next_turn().await;
            write_plain(&left, b"abcd");
            assert_eq!(first.await.unwrap().1, b"ab");
        }))
        .await;
        assert!(second.is_err(), "{fuse:?}");
        // The panic of an abandoned one goes to the hook.
        let mut third = right.read(bomb());
        let polled = caught(async { poll_once(&mut third).await.is_pending() }).await;
        assert_eq!(polled.is_err(), fuse == Fuse::Ptr);
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(third)));
        assert!(dropped.is_ok(), "{fuse:?}");
        write_plain(&left, b"efgh");
        let mut fourth = vec![];
        while !fourth.ends_with(b"h") {
            fourth.extend(right.read(vec![0; 8]).await.unwrap().1);
        }
    }
}

/// Waits until the test's orphans are gone.
async fn no_orphans() {
    while Handle::current().stats().orphans > 0 {
        next_turn().await;
    }
}

async fn reads<S: Socket>(ends: Ends) {
    let (client, server) = streams::<S>(ends);
    for round in 0..400_u32 {
        let bytes = round.to_le_bytes();
        let mut read = Box::pin(server.read(vec![0; 4]));
        assert!(poll_once(&mut read).await.is_pending());
        // In flight or still queued when its bytes arrive, or complete; in each case it is dropped without another
        // poll.
        if round % 2 == 0 {
            next_turn().await;
        }
        if round % 3 == 0 {
            drop(read);
            client.write_all(bytes.to_vec()).await.unwrap();
        } else {
            write_plain(&client, &bytes);
            if round % 5 == 0 {
                next_turn().await;
            }
            drop(read);
        }
        if round % 7 == 0 {
            no_orphans().await;
        }
        let four = match round % 4 {
            0 => server.read_exact(vec![0; 4], 4).await.unwrap(),
            1 => server.peek(vec![0; 9]).await.unwrap().1,
            2 => server
                .read_vectored([vec![0; 1], vec![0; 8]])
                .await
                .unwrap()
                .1
                .concat(),
            _ => server.read(vec![0; 9]).await.unwrap().1,
        };
        assert_eq!(four, bytes);
        if round % 4 == 1 {
            assert_eq!(server.read(vec![0; 9]).await.unwrap().1, bytes);
        }
    }
}

async fn exact_reads<S: Socket>(ends: Ends) {
    let (client, server) = streams::<S>(ends);
    for times in 1..8 {
        client.write_all("abc").await.unwrap();
        let mut read = Box::pin(server.read_exact(vec![0; 6], 6));
        for _ in 0..times {
            assert!(poll_once(&mut read).await.is_pending());
            next_turn().await;
        }
        drop(read);
        client.write_all("def").await.unwrap();
        assert_eq!(server.read_exact(vec![0; 6], 6).await.unwrap(), b"abcdef");
    }
}

async fn timed_out<S: Socket>(ends: Ends) {
    let (client, server) = streams::<S>(ends);
    let time = Duration::from_millis(2);
    let error = server.read(vec![7; 4]).timeout(time).await.unwrap_err();
    assert!(gimmal::is_timeout(&error));
    assert_eq!(error.into_buf(), [7; 4]);
    let bufs = [vec![7; 4], vec![8; 2]];
    let error = server.read_vectored(bufs).timeout(time).await.unwrap_err();
    assert_eq!(error.into_buf(), [vec![7; 4], vec![8; 2]]);
    let error = server.peek(vec![7; 4]).timeout(time).await.unwrap_err();
    assert_eq!(error.into_buf(), [7; 4]);
    client.write_all("data").await.unwrap();
    assert_eq!(server.read_exact(vec![0; 4], 4).await.unwrap(), b"data");
}

async fn kept<S: Socket>(ends: Ends) {
    let mut random = Random::new();
    println!("{random:?}");
    let (left, right) = streams::<S>(ends);
    let (mut sent, mut read, mut kept) = (0, 0, 0);
    for _ in 0..300 {
        let len = 1 + random.below(40);
        keep(&left, &right, &bytes(sent, len)).await;
        sent += len;
        while read < sent {
            let left = sent - read;
            let submitted = Handle::current().stats().submitted;
            match random.below(10) {
                // Taken and dropped without a poll: the bytes return to their place.
                0 => drop(right.read(vec![0; 1 + random.below(50)]).submit()),
                1 => drop(right.peek(vec![0; 1 + random.below(50)]).submit()),
                2 => {
                    let sizes = [random.below(4), 1 + random.below(4), random.below(30)];
                    drop(right.read_vectored(sizes.map(|len| vec![0; len])).submit());
                }
                3 => drop(Box::pin(right.read_exact(vec![0; 9], 9))),
                4 => {
                    let len = left + 1 + random.below(4);
                    let mut exact = Box::pin(right.read_exact(vec![0; len], len));
                    assert!(poll_once(&mut exact).await.is_pending());
                    drop(exact);
                    no_orphans().await;
                }
                5 => {
                    let (n, buf) = right.peek(vec![0; 1 + random.below(20)]).await.unwrap();
                    assert!(n > 0);
                    assert_numbered(&buf, read);
                }
                6 => {
                    let sizes = [random.below(4), 1 + random.below(4), random.below(4)];
                    let room: usize = sizes.iter().sum();
                    let bufs = sizes.map(|len| vec![0; len]);
                    let (n, bufs) = right.read_vectored(bufs).await.unwrap();
                    assert_eq!(n, room.min(left));
                    assert_numbered(&bufs.concat(), read);
                    read += n;
                }
                7 => {
                    let len = 1 + random.below(left);
                    let buf = right.read_exact(vec![0; 50], len).await.unwrap();
                    assert_eq!(buf.len(), len);
                    assert_numbered(&buf, read);
                    read += len;
                }
                _ => {
                    let len = 1 + random.below(12);
                    let (n, buf) = right.read(vec![0; len]).await.unwrap();
                    assert_eq!(n, len.min(left));
                    assert_numbered(&buf, read);
                    read += n;
                }
            }
            kept += usize::from(Handle::current().stats().submitted == submitted);
        }
    }
    println!("{kept} reads took kept bytes");
    assert!(kept > 300);
}

async fn kept_and_more<S: Socket>(ends: Ends) {
    let (left, right) = streams::<S>(ends);
    // An exact read takes the kept bytes first, and the rest from the socket.
    keep(&left, &right, b"abc").await;
    left.write_all("defg").await.unwrap();
    assert_eq!(right.read_exact(vec![0; 6], 6).await.unwrap(), b"abcdef");
    assert_eq!(right.read(vec![0; 6]).await.unwrap().1, b"g");
    // When canceled, it reports the number of bytes.
    keep(&left, &right, b"abc").await;
    let read = right.read_exact(vec![0; 6], 6);
    let error = gimmal::timeout(Duration::from_millis(100), read)
        .await
        .unwrap_err();
    let error = error.into_inner().unwrap();
    assert_eq!(
        (error.transferred(), error.into_buf()),
        (3, b"abc".to_vec())
    );
    // To the end: the kept bytes come first.
    keep(&left, &right, b"abc").await;
    left.write_all("def").await.unwrap();
    drop(left);
    assert_eq!(right.read_to_end(Vec::new()).await.unwrap().1, b"abcdef");
}

async fn drained<S: Socket>(ends: Ends) {
    let (left, right) = streams::<S>(ends);
    let mut room = vec![0; 8];
    for round in 0..3000_u32 {
        let text = round.to_le_bytes();
        // The previous read drained the socket. The data arrives before the read is created, before it is submitted,
        // while it is queued, or while it is in flight.
        if round % 4 == 0 {
            write_plain(&left, &text);
        }
        let mut read = right.read(room);
        if round % 4 == 1 {
            write_plain(&left, &text);
        }
        if round % 4 == 2 {
            read = read.submit();
            write_plain(&left, &text);
        }
        if round % 4 == 3 {
            assert!(poll_once(&mut read).await.is_pending());
            next_turn().await;
            write_plain(&left, &text);
        }
        let (n, buf) = read.await.unwrap();
        assert_eq!((n, &buf[..]), (4, &text[..]));
        room = buf;
    }
    // Each read leaves the rest for the next one.
    write_plain(&left, b"abcd");
    for letter in b"abcd" {
        assert_eq!(right.read(vec![0; 1]).await.unwrap().1, [*letter]);
    }
    let error = right
        .read(vec![0; 1])
        .timeout(Duration::ZERO)
        .await
        .unwrap_err();
    assert!(gimmal::is_timeout(&error));
}

/// A canceled exact read that has read some bytes must report them. Until it ends, no other read gets the bytes that
/// follow.
async fn canceled_exact_read<S: Socket>(ends: Ends) {
    let (left, right) = streams::<S>(ends);
    for waits in [false, true] {
        write_plain(&left, b"abc");
        let scope = Scope::new();
        let mut exact = Box::pin(scope.run_any(right.read_exact(vec![0; 6], 6)));
        assert!(poll_once(&mut exact).await.is_pending());
        next_turn().await;
        let mut second = Box::pin(right.read(vec![0; 6]));
        assert!(poll_once(&mut second).await.is_pending());
        scope.cancel();
        if waits {
            let error = exact.await.unwrap().unwrap_err();
            assert_eq!(
                (error.transferred(), error.into_buf()),
                (3, b"abc".to_vec())
            );
            write_plain(&left, b"def");
            assert_eq!(second.await.unwrap().1, b"def");
        } else {
            // Dropped while it reports them: the next read gets the first bytes first.
            let _ = poll_once(&mut exact).await;
            drop(exact);
            write_plain(&left, b"def");
            let (n, mut text) = second.await.unwrap();
            text.extend(right.read_exact(vec![0; 6], 6 - n).await.unwrap());
            assert_eq!(text, b"abcdef");
        }
    }
}

async fn everywhere<S: Socket>(ends: Ends) {
    // Each with a peer that completes the wait, and with an idle one.
    let all = &MOMENTS;
    let make = || streams::<S>(ends);
    let ended = |polls| assert!(polls > 0);
    ended(
        dropped_everywhere("read", all, || async move {
            let (left, right) = make();
            let both = gimmal::join((right.read(vec![0; 8]), left.write_all("abc"))).await;
            assert_eq!(both.0.unwrap().1, b"abc");
        })
        .await,
    );
    ended(
        dropped_everywhere("peek", all, || async move {
            let (left, right) = make();
            let both = gimmal::join((right.peek(vec![0; 8]), left.write("abc"))).await;
            assert_eq!(both.0.unwrap().1, b"abc");
        })
        .await,
    );
    ended(
        dropped_everywhere("read_exact", all, || async move {
            let (left, right) = make();
            let both = gimmal::join((right.read_exact(vec![0; 8], 6), async {
                left.write_all("abc").await.unwrap();
                next_turn().await;
                left.write_all("def").await.unwrap();
            }));
            assert_eq!(both.await.0.unwrap(), b"abcdef");
        })
        .await,
    );
    ended(
        dropped_everywhere("read_vectored", all, || async move {
            let (left, right) = make();
            let bufs = [vec![0; 2], vec![0; 9]];
            let texts = ["ab", "c"];
            let both = gimmal::join((right.read_vectored(bufs), left.write_vectored(texts))).await;
            assert_eq!(both.0.unwrap().0, 3);
        })
        .await,
    );
    ended(
        dropped_everywhere("read_to_end", all, || async move {
            let (left, right) = make();
            let both = gimmal::join((right.read_to_end(Vec::new()), async move {
                left.write_all("abc").await.unwrap();
                next_turn().await;
                left.write_all("def").await.unwrap();
                left.close().await.unwrap();
            }));
            assert_eq!(both.await.0.unwrap().1, b"abcdef");
        })
        .await,
    );
    ended(
        dropped_everywhere("write_all", all, || async move {
            let (left, right) = make();
            const LEN: usize = 3 << 20;
            let both = gimmal::join((left.write_all(vec![1; LEN]), async {
                right.read_exact(vec![0; LEN], LEN).await.unwrap();
            }));
            assert_eq!(both.await.0.unwrap().len(), LEN);
        })
        .await,
    );
    ended(
        dropped_everywhere("close", all, || async move {
            let (left, right) = make();
            let mut read = pin!(right.read(vec![0; 8]));
            let _ = poll_once(&mut read).await;
            left.close().await.unwrap();
            assert_eq!(read.await.unwrap().0, 0);
            right.close().await.unwrap();
        })
        .await,
    );
}

/// Operations on the halves of a stream are those of the stream, and lose nothing either.
#[test]
fn halves_and_connects_dropped_at_every_poll_leave_nothing_behind() {
    if common::ran_in_own_process() {
        return;
    }
    use gimmal::io::{AsyncRead, AsyncWrite};
    use gimmal::net::{TcpListener, TcpStream, UnixStream};
    block_on(async {
        let all = &MOMENTS;
        let polls = dropped_everywhere("halves", all, || async {
            let (left, right) = streams::<UnixStream>(socketpair);
            let (mut reader, mut writer) = left.into_split();
            let (mut its_reader, mut its_writer) = right.split();
            let ask = async {
                writer.write_all("question").await.unwrap();
                writer.write("?").await.unwrap();
                writer.shutdown().await.unwrap();
                let answer = reader.read_exact(vec![0; 6], 6).await.unwrap();
                assert_eq!(answer, b"answer");
                assert_eq!(reader.read(vec![0; 6]).await.unwrap().1, b"!");
            };
            let answer = async {
                let question = its_reader.read_to_end(Vec::new()).await.unwrap();
                assert_eq!(question.1, b"question?");
                its_writer.write_all("answer").await.unwrap();
                next_turn().await;
                its_writer.write("!").await.unwrap();
                its_writer.shutdown().await.unwrap();
            };
            gimmal::join((ask, answer)).await;
        })
        .await;
        assert!(polls > 3, "{polls}");
        let polls = dropped_everywhere("connect", all, || async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (client, server) =
                gimmal::join((TcpStream::connect(address), listener.accept())).await;
            let (client, (server, peer)) = (client.unwrap(), server.unwrap());
            assert_eq!(client.local_addr().unwrap(), peer);
            client.write_all("x").await.unwrap();
            assert_eq!(server.read(vec![0; 4]).await.unwrap().1, b"x");
        })
        .await;
        assert!(polls > 1, "{polls}");
    });
}
