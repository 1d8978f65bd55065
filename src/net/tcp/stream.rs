//! A TCP connection.

use crate::buf::{BufError, BufResult, IoBuf, IoBufMut, IoBufs, IoBufsMut};
use crate::io::{AsyncRead, stream_reader, stream_writer};
use crate::net::bytes::byte_stream;
use crate::net::debug::debug;
use crate::net::halves::{
    EndOutput, OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf, end_if_connected, halves,
    owned_halves,
};
use crate::net::names::to_ip;
use crate::net::socket_option::socket_option;
use crate::op::{
    Chunks, FdOwner, Op, Recv, RecvVectored, Send, SendVectored, SendZeroCopy, SharedFd, Stream,
    StreamKind, fd_type, recv_exact, send_all,
};
use socket2::SockRef;
use std::fmt;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// A TCP connection.
///
/// Its methods take `&self`, so one task can read while another writes. A stream belongs to its runtime's thread; to
/// move it to another thread, convert it with [`into_std`](TcpStream::into_std).
///
/// Set options that have no method here through `socket2::SockRef::from(&stream)`.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::net::{TcpListener, TcpStream};
///
/// gimmal::run(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let client = TcpStream::connect(listener.local_addr()?).await?;
///     let (server, _peer) = listener.accept().await?;
///     client.write_all("hello").await?;
///     let (n, buffer) = server.read(vec![0; 64]).await?;
///     assert_eq!(&buffer[..n], b"hello");
///     Ok(())
/// })
/// # }
/// ```
pub struct TcpStream {
    stream: FdOwner<Rc<Stream>>,
}

byte_stream! { TcpStream, std::net::TcpStream }

impl TcpStream {
    /// Wraps a connected socket.
    pub(super) fn new(fd: SharedFd, peer: Option<SocketAddr>) -> TcpStream {
        let stream = Stream::new(fd, StreamKind::Tcp);
        if let Some(peer) = peer {
            stream.set_peer(peer);
        }
        TcpStream {
            stream: FdOwner::new(stream),
        }
    }

    /// Returns the peer's address.
    ///
    /// # Errors
    ///
    /// Those of `getpeername(2)`: `NotConnected` if the peer is gone and its address was not recorded.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match self.stream.peer() {
            Some(peer) => Ok(peer),
            None => to_ip(SockRef::from(self).peer_addr()?),
        }
    }

    /// Returns the local address.
    ///
    /// # Errors
    ///
    /// If `getsockname(2)` fails, which is not expected on an open socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        to_ip(SockRef::from(self).local_addr()?)
    }

    socket_option! {
        bool quickack, set_quickack: IPPROTO_TCP TCP_QUICKACK;
        "the kernel acknowledges received data at once instead of with the next data that is sent"
        note "The kernel changes this by itself later, so set it before each wait that needs it."
    }

    /// Creates a stream from a std stream.
    #[must_use]
    pub fn from_std(stream: std::net::TcpStream) -> TcpStream {
        let peer = stream.peer_addr().ok();
        TcpStream::new(SharedFd::from(OwnedFd::from(stream)), peer)
    }
}

fd_type! {
    TcpStream, self => self.stream.fd(),
    from std::net::TcpStream,
    /// Wraps a connected TCP socket.
    fd => TcpStream::from_std(fd.into())
}
