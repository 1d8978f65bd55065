//! Byte streams: reads, writes, and what happens to bytes when a wait for them ends early.
//!
//! Each test runs over TCP, over a Unix connection and over a socket pair.

#![expect(clippy::unwrap_used, reason = "a test fails on an unexpected error")]

mod chunks;
mod closing;
mod closing_at_once;
mod dropped;
mod ending;
mod numbered;
mod oracle;
mod order;
mod sharing;
mod whole;

use common::{byte, bytes};
use gimmal::Handle;
use gimmal::buf::{BufError, BufResult, IoBuf, IoBufMut, IoBufs, IoBufsMut};
use gimmal::io::{AsyncRead, AsyncWrite};
use gimmal::net::{EndOutput, TcpStream, UnixStream};
use gimmal::op::{Op, Recv, RecvVectored, Send, SendVectored};
use std::fmt::Debug;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// The operations that every kind of stream has.
trait Socket: AsyncRead + AsyncWrite + EndOutput + AsFd + AsRawFd + Debug + Sized + 'static {
    fn of(fd: OwnedFd) -> Self;
    fn into_fd(self) -> Result<OwnedFd, BufError<Self>>;
    fn read<B: IoBufMut>(&self, buf: B) -> Op<Recv<B>>;
    fn peek<B: IoBufMut>(&self, buf: B) -> Op<Recv<B>>;
    fn read_vectored<B: IoBufsMut>(&self, bufs: B) -> Op<RecvVectored<B>>;
    fn write<B: IoBuf>(&self, buf: B) -> Op<Send<B>>;
    fn write_vectored<B: IoBufs>(&self, bufs: B) -> Op<SendVectored<B>>;
    fn shutdown(&self, how: Shutdown) -> io::Result<()>;
    fn close(self) -> impl Future<Output = io::Result<()>>;
    fn read_to_end(&self, buf: Vec<u8>) -> impl Future<Output = BufResult<usize, Vec<u8>>>;
    fn read_exact<B: IoBufMut>(
        &self,
        buf: B,
        len: usize,
    ) -> impl Future<Output = Result<B, BufError<B>>>;
    fn write_all<B: IoBuf>(&self, buf: B) -> impl Future<Output = Result<B, BufError<B>>>;
}

macro_rules! socket {
    ($type:ty) => {
        impl Socket for $type {
            fn of(fd: OwnedFd) -> Self {
                <$type>::from_std(fd.into())
            }

            fn into_fd(self) -> Result<OwnedFd, BufError<Self>> {
                self.into_std().map(OwnedFd::from)
            }

            fn read<B: IoBufMut>(&self, buf: B) -> Op<Recv<B>> {
                <$type>::read(self, buf)
            }

            fn peek<B: IoBufMut>(&self, buf: B) -> Op<Recv<B>> {
                <$type>::peek(self, buf)
            }

            fn read_vectored<B: IoBufsMut>(&self, bufs: B) -> Op<RecvVectored<B>> {
                <$type>::read_vectored(self, bufs)
            }

            fn write<B: IoBuf>(&self, buf: B) -> Op<Send<B>> {
                <$type>::write(self, buf)
            }

            fn write_vectored<B: IoBufs>(&self, bufs: B) -> Op<SendVectored<B>> {
                <$type>::write_vectored(self, bufs)
            }

            fn shutdown(&self, how: Shutdown) -> io::Result<()> {
                <$type>::shutdown(self, how)
            }

            fn close(self) -> impl Future<Output = io::Result<()>> {
                <$type>::close(self)
            }

            fn read_to_end(&self, buf: Vec<u8>) -> impl Future<Output = BufResult<usize, Vec<u8>>> {
                <$type>::read_to_end(self, buf)
            }

            fn read_exact<B: IoBufMut>(
                &self,
                buf: B,
                len: usize,
            ) -> impl Future<Output = Result<B, BufError<B>>> {
                <$type>::read_exact(self, buf, len)
            }

            fn write_all<B: IoBuf>(&self, buf: B) -> impl Future<Output = Result<B, BufError<B>>> {
                <$type>::write_all(self, buf)
            }
        }
    };
}

socket!(TcpStream);
socket!(UnixStream);

/// Creates the two ends of a connection of some kind.
type Ends = fn() -> (OwnedFd, OwnedFd);

fn tcp() -> (OwnedFd, OwnedFd) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    // Bytes arrive at once: the tests compare them with what a direct call finds.
    client.set_nodelay(true).unwrap();
    let (server, _) = listener.accept().unwrap();
    server.set_nodelay(true).unwrap();
    (client.into(), server.into())
}

fn unix() -> (OwnedFd, OwnedFd) {
    let directory = common::directory();
    let path = directory.path().join("s");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let client = std::os::unix::net::UnixStream::connect(&path).unwrap();
    (client.into(), listener.accept().unwrap().0.into())
}

fn socketpair() -> (OwnedFd, OwnedFd) {
    let (left, right) = std::os::unix::net::UnixStream::pair().unwrap();
    (left.into(), right.into())
}

/// Both ends as streams.
fn streams<S: Socket>(ends: Ends) -> (S, S) {
    let (left, right) = ends();
    (S::of(left), S::of(right))
}

/// Defines a test from a function `async fn name<S: Socket>(ends: Ends)` for each kind of stream.
macro_rules! on_each {
    ($($(#[$doc:meta])* $test:ident: $body:ident;)+) => {$(
        $(#[$doc])*
        #[test]
        fn $test() {
            if common::ran_in_own_process() {
                return;
            }
            common::block_on(async {
                $body::<gimmal::net::TcpStream>(crate::tcp).await;
                $body::<gimmal::net::UnixStream>(crate::unix).await;
                $body::<gimmal::net::UnixStream>(crate::socketpair).await;
            });
        }
    )+};
}
use on_each;

/// Checks that these are the bytes from position `from` on.
#[track_caller]
fn assert_numbered(found: &[u8], from: usize) {
    let wrong = found
        .iter()
        .enumerate()
        .find(|(n, b)| **b != byte(from + n));
    assert!(
        wrong.is_none(),
        "lost or duplicated: at {from}, {wrong:?} of {}",
        found.len()
    );
}

/// A direct write, for which the socket has room.
fn write_plain(fd: &impl AsRawFd, bytes: &[u8]) {
    // SAFETY: the descriptor is open, and the slice is valid.
    let sent = unsafe {
        libc::send(
            fd.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_NOSIGNAL,
        )
    };
    assert_eq!(sent, bytes.len() as isize, "{}", io::Error::last_os_error());
}

/// Makes the stream keep these bytes: a receive that was dropped has brought them.
async fn keep<S: Socket>(from: &S, to: &S, text: &[u8]) {
    let handle = Handle::current();
    while handle.stats().orphans > 0 {
        common::next_turn().await;
    }
    let before = handle.stats().operations;
    let mut read = to.read(vec![0; text.len()]);
    assert!(common::poll_once(&mut read).await.is_pending());
    common::next_turn().await;
    assert_eq!(handle.stats().operations, before + 1);
    write_plain(from, text);
    while handle.stats().operations > before {
        common::next_turn().await;
    }
    // The receive has the bytes, but was not polled again.
    drop(read);
}
