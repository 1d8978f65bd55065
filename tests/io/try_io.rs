//! Calls that never wait: against std's nonblocking streams and sockets, and beside operations that are in progress, wait
//! for their turn, or were dropped.

use common::{Random, directory, next_turn, ran_in_own_process, returning_to_baseline, rings};
use futures_util::FutureExt as _;
use gimmal::Handle;
use gimmal::cancel::Scope;
use gimmal::io::{PipeReader, PipeWriter, mkfifo, pipe};
use gimmal::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixStream};
use gimmal::prelude::*;
use std::fmt::Debug;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::pin::pin;

const LOCAL: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

#[track_caller]
fn would_block<T: Debug>(tried: io::Result<T>) {
    assert_eq!(tried.unwrap_err().kind(), ErrorKind::WouldBlock);
}

/// One end of a stream to read, as these tests use it.
trait Reads {
    fn try_read(&self, buf: &mut [u8]) -> io::Result<usize>;
    fn read(&self, buf: Vec<u8>) -> impl Future<Output = gimmal::buf::BufResult<usize, Vec<u8>>>;
    fn read_exact(
        &self,
        len: usize,
    ) -> impl Future<Output = Result<Vec<u8>, gimmal::BufError<Vec<u8>>>>;
    fn unread(&self, bytes: &[u8]);

    fn try_vec(&self, capacity: usize) -> io::Result<Vec<u8>> {
        let mut buf = vec![0; capacity];
        let n = self.try_read(&mut buf)?;
        buf.truncate(n);
        Ok(buf)
    }
}

/// One end of a stream to write.
trait Writes {
    fn try_write(&self, buf: &[u8]) -> io::Result<usize>;
    fn write_all(
        &self,
        buf: Vec<u8>,
    ) -> impl Future<Output = Result<Vec<u8>, gimmal::BufError<Vec<u8>>>>;
}

macro_rules! ends {
    (read: $($type:ty)+) => {$(
        impl Reads for $type {
            fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
                self.try_read(buf)
            }

            fn read(&self, buf: Vec<u8>) -> impl Future<Output = gimmal::buf::BufResult<usize, Vec<u8>>> {
                self.read(buf)
            }

            fn read_exact(&self, len: usize) -> impl Future<Output = Result<Vec<u8>, gimmal::BufError<Vec<u8>>>> {
                self.read_exact(Vec::with_capacity(len), len)
            }

            fn unread(&self, bytes: &[u8]) {
                assert!(AsyncRead::unread(&mut &*self, bytes));
            }
        }
    )+};
    (write: $($type:ty)+) => {$(
        impl Writes for $type {
            fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
                self.try_write(buf)
            }

            fn write_all(&self, buf: Vec<u8>) -> impl Future<Output = Result<Vec<u8>, gimmal::BufError<Vec<u8>>>> {
                self.write_all(buf)
            }
        }
    )+};
}

ends! { read: TcpStream UnixStream PipeReader }
ends! { write: TcpStream UnixStream PipeWriter }

async fn tcp() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind(LOCAL).await?;
    let client = TcpStream::connect(listener.local_addr()?).await?;
    client.set_nodelay(true)?;
    Ok((listener.accept().await?.0, client))
}

async fn fifo() -> io::Result<(PipeReader, PipeWriter)> {
    let directory = directory();
    let path = directory.path().join("fifo");
    mkfifo(&path, 0o600).await?;
    gimmal::try_join((PipeReader::open(&path), PipeWriter::open(&path))).await
}

/// Runs a test for each kind of stream: its end to read, and its end to write.
macro_rules! for_each_stream {
    ($test:path) => {{
        let (reader, writer) = tcp().await?;
        $test("TCP", reader, writer).await?;
        let (reader, writer) = UnixStream::pair()?;
        $test("Unix", reader, writer).await?;
        let (reader, writer) = pipe()?;
        $test("pipe", reader, writer).await?;
        let (reader, writer) = fifo().await?;
        $test("FIFO", reader, writer).await?;
    }};
}

#[test]
fn a_stream_gives_what_is_there_and_takes_what_it_has_room_for() {
    async fn test(name: &str, reader: impl Reads, writer: impl Writes) -> io::Result<()> {
        would_block(reader.try_vec(8));
        assert_eq!(
            reader.try_vec(0).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
        assert_eq!(writer.try_write(b"hello")?, 5, "{name}");
        assert_eq!(reader.try_vec(3)?, b"hel", "{name}");
        assert_eq!(reader.try_vec(64)?, b"lo", "{name}");
        would_block(reader.try_vec(8));
        // Until it is full. On TCP, a part of it may still be on its way when it is.
        let bytes: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        let (mut sent, mut received) = (0, Vec::new());
        while sent < bytes.len() {
            match writer.try_write(&bytes[sent..]) {
                Ok(n) => sent += n,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock, "{name}");
                    received.extend(reader.read(vec![0; 30_000]).await?.1);
                    while let Ok(more) = reader.try_vec(50_000) {
                        received.extend(more);
                    }
                }
            }
        }
        drop(writer);
        loop {
            match reader.try_vec(1 << 20) {
                Ok(more) if more.is_empty() => break,
                Ok(more) => received.extend(more),
                // The last bytes, or the end, are on their way.
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock, "{name}");
                    next_turn().await;
                }
            }
        }
        assert!(received == bytes, "{name}");
        assert_eq!(reader.try_vec(8)?, b"", "{name}");
        Ok(())
    }
    returning_to_baseline(async || {
        for_each_stream!(test);
        Ok(())
    });
}

/// The same calls on std's nonblocking streams: as many bytes, and the same errors.
#[test]
fn a_stream_does_what_std_does_without_blocking() {
    returning_to_baseline(async || {
        let (ours, peer) = UnixStream::pair()?;
        let (mut std, mut std_peer) = std::os::unix::net::UnixStream::pair()?;
        std.set_nonblocking(true)?;
        let mut buf = [0; 100];
        loop {
            let expected = std.write(&[7; 10_000]);
            let wrote = ours.try_write(&[7; 10_000]);
            assert_eq!(wrote.as_ref().ok(), expected.as_ref().ok());
            if expected.is_err() {
                would_block(wrote);
                break;
            }
        }
        std_peer.write_all(b"last")?;
        peer.write_all("last").await?;
        drop((peer, std_peer));
        for _ in 0..3 {
            let expected = std.read(&mut buf).map_err(|error| error.kind());
            assert_eq!(
                ours.try_read(&mut buf).map_err(|error| error.kind()),
                expected
            );
        }
        for _ in 0..2 {
            let expected = std.write(b"gone").map_err(|error| error.kind());
            assert_eq!(
                ours.try_write(b"gone").map_err(|error| error.kind()),
                expected
            );
        }

        // A reset, reported once, with the peer.
        let (ours, peer) = tcp().await?;
        let name = ours.peer_addr()?.to_string();
        peer.set_zero_linger()?;
        peer.close().await?;
        gimmal::io::AsyncFd::new(&ours)?.readable().await?;
        let error = ours.try_read(&mut buf).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert!(error.to_string().contains(&name), "{error}");
        assert_eq!(ours.try_read(&mut buf)?, 0);
        let error = ours.try_write(b"gone").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        assert!(error.to_string().contains(&name), "{error}");
        Ok(())
    });
}

#[test]
fn a_read_in_progress_comes_first() {
    async fn test(name: &str, reader: impl Reads, writer: impl Writes) -> io::Result<()> {
        let mut first = pin!(reader.read(vec![0; 2]));
        let mut second = pin!(reader.read_exact(3));
        assert!(first.as_mut().now_or_never().is_none());
        would_block(reader.try_vec(8));
        assert!(second.as_mut().now_or_never().is_none());
        writer.write_all(b"0123456789".to_vec()).await?;
        // The bytes are there, but belong to those that have waited for them.
        would_block(reader.try_vec(8));
        assert_eq!(first.await?.1, b"01", "{name}");
        would_block(reader.try_vec(8));
        assert_eq!(second.await?, b"234", "{name}");
        assert_eq!(reader.try_vec(8)?, b"56789", "{name}");
        would_block(reader.try_vec(8));
        Ok(())
    }
    returning_to_baseline(async || {
        for_each_stream!(test);
        Ok(())
    });
}

#[test]
fn what_was_put_back_or_belongs_to_chunks_comes_first() {
    async fn test(name: &str, reader: impl Reads, writer: impl Writes) -> io::Result<()> {
        writer.write_all(b"6".to_vec()).await?;
        reader.unread(b"45");
        assert_eq!(reader.try_vec(1)?, b"4", "{name}");
        assert_eq!(reader.try_vec(8)?, b"5", "{name}");
        assert_eq!(reader.try_vec(8)?, b"6", "{name}");
        would_block(reader.try_vec(8));
        Ok(())
    }
    returning_to_baseline(async || {
        for_each_stream!(test);

        let (reader, writer) = tcp().await?;
        writer.write_all("012345").await?;
        let mut chunks = reader.chunks();
        assert_eq!(&*chunks.next().await?.unwrap(), b"012345");
        writer.write_all("6789").await?;
        would_block(Reads::try_vec(&reader, 8));
        drop(chunks);
        operations_end().await;
        let mut rest = Vec::new();
        while rest.len() < 4 {
            rest.extend(Reads::try_vec(&reader, 3)?);
        }
        assert_eq!(rest, b"6789");
        Ok(())
    });
}

/// Waits until the kernel has nothing of this runtime any more.
async fn operations_end() {
    while Handle::current().stats().operations > 0 {
        next_turn().await;
    }
}

/// What a random test has met.
#[derive(Debug, Default)]
struct Seen {
    /// Bytes that were tried for and did not come from the kernel.
    kept: u32,
    /// Tries that had to let an operation go first.
    refused: u32,
}

/// How many bytes the kernel has for the reader.
fn queued(reader: &impl AsRawFd) -> i32 {
    let mut bytes = 0;
    // SAFETY: the call writes an int.
    let asked = unsafe { libc::ioctl(reader.as_raw_fd(), libc::FIONREAD, &raw mut bytes) };
    assert_eq!(asked, 0);
    bytes
}

/// Reads of all kinds, dropped, put back and tried, at random: each byte comes once, in order.
#[test]
fn no_byte_is_lost_or_overtaken() {
    async fn test(
        name: &str,
        random: &mut Random,
        seen: &mut Seen,
        (reader, writer): (impl Reads + AsRawFd, impl Writes),
    ) -> io::Result<()> {
        let byte = |n: usize| (n % 251) as u8;
        let (mut sent, mut received) = (0, Vec::new());
        for _ in 0..300 {
            let len = 1 + random.below(8);
            match random.below(7) {
                0 | 1 => {
                    let bytes: Vec<u8> = (sent..sent + len).map(byte).collect();
                    sent += writer.try_write(&bytes).unwrap_or(0);
                }
                2 => {
                    let mut read = pin!(reader.read_exact(len));
                    for _ in 0..random.below(4) {
                        if let Some(read) = read.as_mut().now_or_never() {
                            received.extend(read?);
                            break;
                        }
                        next_turn().await;
                        sent += writer.try_write(&[byte(sent)]).unwrap_or(0);
                    }
                }
                3 => {
                    let mut read = pin!(reader.read(vec![0; len]));
                    for _ in 0..random.below(3) {
                        if let Some(read) = read.as_mut().now_or_never() {
                            received.extend(read?.1);
                            break;
                        }
                        next_turn().await;
                    }
                }
                4 => next_turn().await,
                _ => {
                    let in_kernel = queued(&reader);
                    match reader.try_vec(len) {
                        Ok(more) => {
                            seen.kept += u32::from(in_kernel == 0);
                            received.extend(more);
                        }
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::WouldBlock, "{name}");
                            seen.refused += u32::from(in_kernel > 0);
                        }
                    }
                }
            }
            if random.one_in(16)
                && let Ok(mut more) = reader.try_vec(len)
            {
                let back = more.split_off(random.below(more.len()));
                reader.unread(&back);
                received.extend(more);
            }
        }
        while received.len() < sent {
            match reader.try_vec(64) {
                Ok(more) => received.extend(more),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock, "{name}");
                    next_turn().await;
                }
            }
        }
        let expected: Vec<u8> = (0..sent).map(byte).collect();
        assert_eq!(received, expected, "{name}");
        Ok(())
    }
    if ran_in_own_process() {
        return;
    }
    let mut random = Random::new();
    let mut seen = Seen::default();
    for (name, builder) in rings() {
        builder
            .run(async {
                test(&name, &mut random, &mut seen, tcp().await?).await?;
                test(&name, &mut random, &mut seen, UnixStream::pair()?).await?;
                test(&name, &mut random, &mut seen, pipe()?).await?;
                test(&name, &mut random, &mut seen, fifo().await?).await?;
                io::Result::Ok(())
            })
            .unwrap();
    }
    assert!(seen.kept > 10 && seen.refused > 10, "{seen:?}");
}

/// A write that is in progress or was dropped is not overtaken.
#[test]
fn a_write_in_progress_comes_first() {
    /// More than the kernel buffers for any kind of stream.
    const LEN: usize = 32 << 20;

    async fn test(name: &str, reader: impl Reads, writer: impl Writes) -> io::Result<()> {
        let reading = async {
            next_turn().await;
            let mut received = 0;
            while received < LEN {
                if received < 1 << 20 {
                    would_block(writer.try_write(b"x"));
                }
                let (n, bytes) = reader.read(vec![0; 1 << 16]).await?;
                assert!(bytes.iter().all(|byte| *byte == 1), "{name}");
                received += n;
            }
            io::Result::Ok(())
        };
        let writing = async { Ok(writer.write_all(vec![1; LEN]).await?) };
        gimmal::try_join((writing, reading)).await?;
        assert_eq!(writer.try_write(&[2])?, 1, "{name}");
        assert_eq!(reader.read(vec![0; 8]).await?.1, [2], "{name}");

        // How far a dropped one came is unknown, but what follows comes behind it.
        assert!(
            pin!(writer.write_all(vec![1; LEN]))
                .now_or_never()
                .is_none(),
            "{name}"
        );
        would_block(writer.try_write(&[2]));
        operations_end().await;
        let mut received = Vec::new();
        while received.last() != Some(&2) {
            // If it is full, there is something to read, too.
            if let Err(error) = writer.try_write(&[2]) {
                assert_eq!(error.kind(), ErrorKind::WouldBlock, "{name}");
            }
            received.extend(reader.read(vec![0; 1 << 20]).await?.1);
        }
        assert!(received.is_sorted(), "{name}");
        Ok(())
    }
    returning_to_baseline(async || {
        for_each_stream!(test);
        Ok(())
    });
}

#[test]
fn a_canceled_scope_does_not_matter() {
    returning_to_baseline(async || {
        let (left, right) = UnixStream::pair()?;
        let (a, b) = UnixDatagram::pair()?;
        let scope = Scope::new();
        scope.cancel();
        let tried = scope.run_any(async {
            assert!(gimmal::is_canceled(&left.write("x").await.unwrap_err()));
            (left.try_write(b"hello"), a.try_send(b"hello"))
        });
        let (stream, datagram) = tried.await.unwrap();
        assert_eq!((stream?, datagram?), (5, 5));
        assert_eq!(
            (right.try_read(&mut [0; 8])?, b.try_recv(&mut [0; 8])?),
            (5, 5)
        );
        Ok(())
    });
}

async fn udp() -> io::Result<(UdpSocket, UdpSocket)> {
    let (a, b) = (UdpSocket::bind(LOCAL).await?, UdpSocket::bind(LOCAL).await?);
    a.connect(b.local_addr()?).await?;
    b.connect(a.local_addr()?).await?;
    Ok((a, b))
}

/// Runs the same statements with two UDP sockets, and with two Unix sockets, which are each other's peers.
macro_rules! for_each_socket {
    (|$name:ident, $left:ident, $right:ident| $test:block) => {{
        let ($name, ($left, $right)) = ("UDP", udp().await?);
        $test
        let ($name, ($left, $right)) = ("Unix", UnixDatagram::pair()?);
        $test
    }};
}

#[test]
fn a_socket_gives_a_datagram_that_is_there() {
    returning_to_baseline(async || {
        for_each_socket!(|name, left, right| {
            let mut buf = [0; 8];
            would_block(right.try_recv(&mut buf));
            would_block(right.try_recv_from(&mut buf));
            assert_eq!(
                right.try_recv(&mut []).unwrap_err().kind(),
                ErrorKind::InvalidInput
            );
            for text in ["one", "", "a longer one", "four"] {
                assert_eq!(left.try_send(text.as_bytes())?, text.len(), "{name}");
            }
            assert_eq!(
                (right.try_recv(&mut buf)?, &buf[..3]),
                (3, &b"one"[..]),
                "{name}"
            );
            assert_eq!(right.try_recv(&mut buf)?, 0, "{name}");
            assert_eq!(
                (right.try_recv(&mut buf)?, &buf),
                (8, b"a longer"),
                "{name}"
            );
            assert_eq!(
                (right.try_recv_from(&mut buf)?.0, &buf[..4]),
                (4, &b"four"[..]),
                "{name}"
            );
            would_block(right.try_recv(&mut buf));
        });
        Ok(())
    });
}

#[test]
fn a_receive_in_progress_or_dropped_comes_first() {
    returning_to_baseline(async || {
        for_each_socket!(|name, left, right| {
            let mut buf = [0; 64];
            let mut first = pin!(right.recv(vec![0; 8]));
            let mut second = pin!(right.recv_from(vec![0; 8]));
            assert!(first.as_mut().now_or_never().is_none());
            would_block(right.try_recv(&mut buf));
            assert!(second.as_mut().now_or_never().is_none());
            for text in ["first", "second", "third"] {
                left.send(text).await?;
            }
            would_block(right.try_recv(&mut buf));
            assert_eq!(first.await?.1, b"first", "{name}");
            would_block(right.try_recv_from(&mut buf));
            assert_eq!(second.await?.1, b"second", "{name}");
            assert_eq!(
                (right.try_recv_from(&mut buf)?.0, &buf[..5]),
                (5, &b"third"[..]),
                "{name}"
            );

            // Dropped once it has received: the socket keeps the datagram, as much of it as fitted.
            let mut read = Box::pin(right.recv(vec![0; 4]));
            assert!(read.as_mut().now_or_never().is_none());
            left.send("cut off").await?;
            next_turn().await;
            drop(read);
            left.send("whole").await?;
            operations_end().await;
            assert_eq!(queued(&right), 5, "{name}");
            let (n, from) = right.try_recv_from(&mut buf)?;
            assert_eq!(&buf[..n], b"cut ", "{name}");
            assert_eq!(
                format!("{from:?}"),
                format!("{:?}", left.local_addr()?),
                "{name}"
            );
            let n = right.try_recv(&mut buf)?;
            assert_eq!(&buf[..n], b"whole", "{name}");
            would_block(right.try_recv(&mut buf));
        });
        Ok(())
    });
}

/// An error is reported once, with the peer: also one that a dropped receive has met.
#[test]
fn an_error_of_a_socket_is_reported_once() {
    returning_to_baseline(async || {
        let socket = UdpSocket::bind(LOCAL).await?;
        let gone = UdpSocket::bind(LOCAL).await?.local_addr()?;
        socket.connect(gone).await?;
        for is_dropped in [false, true] {
            let mut read = Box::pin(socket.recv(vec![0; 8]));
            if is_dropped {
                assert!(read.as_mut().now_or_never().is_none());
            }
            socket.try_send(b"refused")?;
            if !is_dropped {
                gimmal::io::AsyncFd::new(&socket)?.readable().await?;
            }
            next_turn().await;
            drop(read);
            operations_end().await;
            let error = socket.try_recv(&mut [0; 8]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            assert!(
                error.to_string().contains(&format!("receive from {gone}")),
                "{error}"
            );
            would_block(socket.try_recv(&mut [0; 8]));
        }
        let error = socket.try_send(&[0; 70_000]).unwrap_err();
        assert!(
            error
                .to_string()
                .contains(&format!("send 70000 bytes to {gone}")),
            "{error}"
        );
        assert_eq!(gimmal::errno(&error), Some(libc::EMSGSIZE));
        let other = UdpSocket::bind(LOCAL).await?;
        let error = other.try_send_to(&[0; 70_000], gone).unwrap_err();
        assert!(
            error
                .to_string()
                .contains(&format!("send 70000 bytes to {gone}")),
            "{error}"
        );
        let error = other.try_send(b"to nobody").unwrap_err();
        assert_eq!(gimmal::errno(&error), Some(libc::EDESTADDRREQ));
        Ok(())
    });
}

/// While a send waits for room, later ones to the same peer do not go before it; those to others do.
#[test]
fn a_send_in_progress_comes_first() {
    returning_to_baseline(async || {
        let directory = directory();
        let at = |name: &str| directory.path().join(name);
        let sender = UnixDatagram::unbound()?;
        let (full, other) = (
            UnixDatagram::bind(at("full"))?,
            UnixDatagram::bind(at("other"))?,
        );
        sender.connect(at("full"))?;
        let mut sent = 0;
        while sender.try_send(b"fills").is_ok() {
            sent += 1;
        }
        assert!(sent > 0);
        would_block(sender.try_send(b"x"));
        would_block(sender.try_send_to(b"x", at("full")));
        let mut waits = pin!(sender.send("waits"));
        assert!(waits.as_mut().now_or_never().is_none());
        assert_eq!(sender.try_send_to(b"to another", at("other"))?, 10);
        assert_eq!(other.try_recv(&mut [0; 64])?, 10);
        full.recv(vec![0; 8]).await?;
        would_block(sender.try_send(b"x"));
        waits.await?;
        would_block(sender.try_send(b"x"));
        full.recv(vec![0; 8]).await?;
        assert_eq!(sender.try_send(b"last")?, 4);
        let mut texts = Vec::new();
        let mut buf = [0; 8];
        while let Ok(n) = full.try_recv(&mut buf) {
            texts.push(buf[..n].to_vec());
        }
        assert_eq!(texts.len(), sent);
        assert_eq!(texts[sent - 2..], [&b"waits"[..], b"last"]);

        let error = sender.try_send_to(b"x", at("none")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("none"), "{error}");
        let error = sender.try_send_to(b"x", "").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        Ok(())
    });
}
