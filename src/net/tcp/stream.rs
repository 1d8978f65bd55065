//! A TCP connection.

use crate::buf::{BufError, BufResult, IoBuf, IoBufMut, IoBufs, IoBufsMut};
use crate::io::{AsyncRead, AsyncWrite, check_room};
use crate::net::bytes::byte_stream;
use crate::net::debug::debug;
use crate::net::halves::{
    EndOutput, OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf, end_if_connected, halves,
    owned_halves,
};
use crate::net::names::to_ip;
use crate::op::{
    Chunks, Op, Owned, Recv, RecvExact, RecvVectored, Send, SendVectored, SendZeroCopy, SharedFd,
    Stream, StreamKind, busy, send_all,
};
use socket2::SockRef;
use std::fmt;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

/// A TCP connection.
///
/// Its methods take `&self`, so one task can read while another writes. It belongs to the thread of its runtime; to hand it
/// to another, go through [`into_std`](TcpStream::into_std).
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
    stream: Owned<Rc<Stream>>,
}

byte_stream! { TcpStream }

impl TcpStream {
    /// Over a socket that is connected.
    pub(super) fn new(fd: SharedFd, peer: Option<SocketAddr>) -> TcpStream {
        let stream = Stream::new(fd, StreamKind::Tcp);
        if let Some(peer) = peer {
            stream.set_peer(peer);
        }
        TcpStream {
            stream: Owned::new(stream),
        }
    }

    /// The address of the peer.
    ///
    /// # Errors
    ///
    /// What `getpeername(2)` says: `NotConnected` if the peer is gone and nothing is known of it.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match self.stream.peer() {
            Some(peer) => Ok(peer),
            None => to_ip(SockRef::from(self).peer_addr()?),
        }
    }

    /// The address of this end.
    ///
    /// # Errors
    ///
    /// What `getsockname(2)` says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        to_ip(SockRef::from(self).local_addr()?)
    }

    /// Whether small writes are sent at once instead of being gathered: `TCP_NODELAY`.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn nodelay(&self) -> io::Result<bool> {
        SockRef::from(self).tcp_nodelay()
    }

    /// Sets whether small writes are sent at once: `TCP_NODELAY`. Options that have no method here are set through
    /// `socket2::SockRef::from(&stream)`.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        SockRef::from(self).set_tcp_nodelay(nodelay)
    }

    /// Whether the kernel asks now and then if a silent peer is still there: `SO_KEEPALIVE`.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn keepalive(&self) -> io::Result<bool> {
        SockRef::from(self).keepalive()
    }

    /// Sets whether the kernel asks now and then if a silent peer is still there: `SO_KEEPALIVE`. When it begins with that
    /// and how often it asks is set by `socket2::SockRef::set_tcp_keepalive`.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn set_keepalive(&self, keepalive: bool) -> io::Result<()> {
        SockRef::from(self).set_keepalive(keepalive)
    }

    /// How many routers what it sends may pass, for IPv4: `IP_TTL`.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn ttl(&self) -> io::Result<u32> {
        SockRef::from(self).ttl_v4()
    }

    /// Sets how many routers what it sends may pass, for IPv4: `IP_TTL`.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        SockRef::from(self).set_ttl_v4(ttl)
    }

    /// Has the connection end by a reset when it is closed, instead of in order: what was sent and has not arrived is thrown
    /// away, and the peer's next read fails with `ConnectionReset`. It is `SO_LINGER` with a time of zero; with any other
    /// time closing would hold up the whole thread.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn set_zero_linger(&self) -> io::Result<()> {
        SockRef::from(self).set_linger(Some(Duration::ZERO))
    }

    /// A stream of std over the same descriptor, which another thread can have. It blocks, unless it was made of
    /// one that does not.
    ///
    /// # Errors
    ///
    /// `ResourceBusy` while an operation works on it, also one whose future was dropped, or while bytes that such a one
    /// has brought are still to be read. The stream is in the error.
    pub fn into_std(self) -> Result<std::net::TcpStream, BufError<TcpStream>> {
        let descriptor = match self.stream.give_up().try_into_descriptor() {
            Ok(descriptor) => descriptor,
            Err(stream) => {
                let error = busy("an operation is still at work on the stream, or has left bytes");
                let stream = Owned::new(stream);
                return Err(BufError::new(error, TcpStream { stream }));
            }
        };
        Ok(descriptor.into_owned().into())
    }

    /// A stream over one of std.
    #[must_use]
    pub fn from_std(stream: std::net::TcpStream) -> TcpStream {
        let peer = stream.peer_addr().ok();
        TcpStream::new(SharedFd::from(OwnedFd::from(stream)), peer)
    }
}

impl EndOutput for TcpStream {
    fn end_output(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl From<std::net::TcpStream> for TcpStream {
    fn from(stream: std::net::TcpStream) -> TcpStream {
        TcpStream::from_std(stream)
    }
}

/// Of a TCP socket that is connected.
impl From<OwnedFd> for TcpStream {
    fn from(fd: OwnedFd) -> TcpStream {
        TcpStream::from_std(fd.into())
    }
}

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ends = [self.local_addr(), self.peer_addr()];
        debug(f, "TcpStream", self, ends)
    }
}

impl AsRawFd for TcpStream {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.fd().as_raw_fd()
    }
}

impl AsFd for TcpStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.fd().as_fd()
    }
}
