//! A Unix datagram socket.

use super::address::{from_kernel, of_path, to_kernel, unnamed};
use crate::buf::{BufError, IoBuf, IoBufMut};
use crate::net::datagrams::datagram_socket;
use crate::op::{
    Datagrams, FdOwner, FromMessage, Message, Op, RecvMessage, SendMessage, SendMessageFds,
    SharedFd, fd_type,
};
use crate::sys::with_context;
use socket2::SockRef;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;

/// A Unix datagram socket.
///
/// Its methods take `&self`, so one task can receive while others send. A socket belongs to its runtime's thread; to
/// move it to another thread, convert it with [`into_std`](UnixDatagram::into_std).
///
/// Unix sockets lose no datagrams, and deliver those of one sender in order: while the receiver's queue is full,
/// senders wait. A datagram is received into one buffer; bytes that do not fit are lost.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::net::UnixDatagram;
///
/// gimmal::run(async {
///     let (left, right) = UnixDatagram::pair()?;
///     left.send("hello").await?;
///     let (n, buffer) = right.recv(vec![0; 64]).await?;
///     assert_eq!(&buffer[..n], b"hello");
///     Ok(())
/// })
/// # }
/// ```
#[derive(Debug)]
pub struct UnixDatagram {
    socket: FdOwner<Rc<Datagrams>>,
}

impl UnixDatagram {
    /// Creates a socket bound to a path, which must not exist. The file stays when the socket is closed: the program
    /// that binds the path must remove it.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a path that is empty, contains a zero byte, or is longer than 107 bytes; those of `bind(2)`,
    /// with the path: `AddrInUse` if the path exists, `NotFound` if its directory does not, `PermissionDenied`,
    /// `ReadOnlyFilesystem`; EMFILE and ENFILE if no descriptor is left.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<UnixDatagram> {
        UnixDatagram::bind_addr(&of_path(path.as_ref())?)
    }

    /// Creates a socket bound to an address: a path, or a name in the abstract namespace
    /// ([`from_abstract_name`](std::os::linux::net::SocketAddrExt::from_abstract_name)), which disappears with the
    /// socket.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::UnixDatagram;
    /// use std::os::linux::net::SocketAddrExt;
    /// use std::os::unix::net::SocketAddr;
    ///
    /// gimmal::run(async {
    ///     let name = SocketAddr::from_abstract_name(format!("gimmal-{}", std::process::id()))?;
    ///     let server = UnixDatagram::bind_addr(&name)?;
    ///     let client = UnixDatagram::unbound()?;
    ///     client.send_to_addr("hello", &name).await?;
    ///     let ((n, from), buffer) = server.recv_from(vec![0; 64]).await?;
    ///     assert_eq!(&buffer[..n], b"hello");
    ///     assert!(from.is_unnamed());
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`bind`](UnixDatagram::bind).
    pub fn bind_addr(address: &SocketAddr) -> io::Result<UnixDatagram> {
        let socket = std::os::unix::net::UnixDatagram::bind_addr(address);
        let socket = socket.map_err(|error| with_context(error, format!("bind to {address:?}")))?;
        Ok(UnixDatagram::from_std(socket))
    }

    /// Creates an unnamed socket: it can send, but receivers cannot reply.
    ///
    /// # Errors
    ///
    /// If no descriptor is left (`EMFILE`, `ENFILE`).
    pub fn unbound() -> io::Result<UnixDatagram> {
        let socket = std::os::unix::net::UnixDatagram::unbound();
        let socket = socket.map_err(|error| with_context(error, "make a socket for datagrams"))?;
        Ok(UnixDatagram::from_std(socket))
    }

    /// Creates two unnamed sockets that are connected to each other.
    ///
    /// # Errors
    ///
    /// If no descriptor is left (`EMFILE`, `ENFILE`).
    pub fn pair() -> io::Result<(UnixDatagram, UnixDatagram)> {
        let (left, right) = std::os::unix::net::UnixDatagram::pair()
            .map_err(|error| with_context(error, "make a pair of sockets"))?;
        Ok((UnixDatagram::from_std(left), UnixDatagram::from_std(right)))
    }

    /// Sets the peer: from now on [`send`](UnixDatagram::send) sends to it, and only its datagrams are received.
    /// Connecting again replaces the peer.
    ///
    /// # Errors
    ///
    /// Those of `connect(2)`, with the path: `NotFound` if it does not exist, `ConnectionRefused` if it is not a socket
    /// or no open socket is bound to it any more, `PermissionDenied`.
    pub fn connect(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.connect_addr(&of_path(path.as_ref())?)
    }

    /// Sets the peer by address, as [`connect`](UnixDatagram::connect) does by path.
    ///
    /// # Errors
    ///
    /// Those of [`connect`](UnixDatagram::connect).
    pub fn connect_addr(&self, address: &SocketAddr) -> io::Result<()> {
        let connected = SockRef::from(self).connect(&to_kernel(address)?);
        connected.map_err(|error| with_context(error, format!("connect to {address:?}")))
    }

    /// Sends a datagram to the socket bound to this path: `sendto(2)`. Returns its length and the buffer. Waits while
    /// the receiver's queue is full (`net.unix.max_dgram_qlen`), without delaying datagrams to other receivers.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::UnixDatagram;
    /// use std::io::ErrorKind;
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("socket");
    /// gimmal::run(async {
    ///     let server = UnixDatagram::bind(&path)?;
    ///     let client = UnixDatagram::unbound()?;
    ///     client.send_to("hello", &path).await?;
    ///     assert_eq!(server.recv(vec![0; 64]).await?.1, b"hello");
    ///
    ///     server.close().await?;
    ///     let error = client.send_to("hello?", &path).await.unwrap_err();
    ///     assert_eq!((error.kind(), error.into_buf()), (ErrorKind::ConnectionRefused, "hello?"));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `sendto(2)`, with the path and the length: those of [`connect`](UnixDatagram::connect), and `EMSGSIZE`
    /// if the datagram is too long for the send buffer (`SO_SNDBUF`); [`Canceled`](crate::Canceled). The error contains
    /// the buffer.
    ///
    /// # Cancel safety
    ///
    /// A canceled send has sent nothing. Whether a dropped send has sent the datagram is unknown.
    // Test: tests/unix_datagrams.rs
    pub fn send_to<B: IoBuf>(&self, buf: B, path: impl AsRef<Path>) -> Op<SendMessage<B>> {
        match of_path(path.as_ref()) {
            Ok(address) => self.send_to_addr(buf, &address),
            Err(error) => SendMessage::rejected(self.socket.clone(), buf, error),
        }
    }

    /// Sends a datagram to the socket bound to this address, as [`send_to`](UnixDatagram::send_to) does.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::UnixDatagram;
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("socket");
    /// gimmal::run(async {
    ///     let server = UnixDatagram::bind(&path)?;
    ///     let client = UnixDatagram::bind(path.with_extension("client"))?;
    ///     client.send_to("ping", &path).await?;
    ///     // The reply goes to the sender.
    ///     let ((_, from), buffer) = server.recv_from(vec![0; 64]).await?;
    ///     server.send_to_addr(buffer, &from).await?;
    ///     assert_eq!(client.recv(vec![0; 64]).await?.1, b"ping");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`send_to`](UnixDatagram::send_to).
    ///
    /// # Cancel safety
    ///
    /// A canceled send has sent nothing. Whether a dropped send has sent the datagram is unknown.
    // Test: tests/unix_datagrams.rs
    pub fn send_to_addr<B: IoBuf>(&self, buf: B, address: &SocketAddr) -> Op<SendMessage<B>> {
        let socket = self.socket.clone();
        match to_kernel(address) {
            Ok(to) => SendMessage::new(socket, buf, Some(&to), &[]),
            Err(error) => SendMessage::rejected(socket, buf, error),
        }
    }

    /// Sends a datagram to the socket bound to this path if its queue has room, without waiting: `sendto(2)` with
    /// `MSG_DONTWAIT`. Returns its length.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if the receiver's queue is full; those of [`send_to`](Self::send_to).
    pub fn try_send_to(&self, buf: &[u8], path: impl AsRef<Path>) -> io::Result<usize> {
        self.try_send_to_addr(buf, &of_path(path.as_ref())?)
    }

    /// Sends a datagram to the socket bound to this address, as [`try_send_to`](Self::try_send_to) does.
    ///
    /// # Errors
    ///
    /// Those of [`try_send_to`](Self::try_send_to).
    pub fn try_send_to_addr(&self, buf: &[u8], address: &SocketAddr) -> io::Result<usize> {
        self.socket.try_send(buf, Some(&to_kernel(address)?))
    }

    /// Sends a datagram with descriptors to the peer: `sendmsg(2)`, SCM_RIGHTS. Returns its length, the buffer, and the
    /// descriptors, which stay open in this process until they are dropped.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::UnixDatagram;
    /// use std::io::Read;
    ///
    /// gimmal::run(async {
    ///     let (left, right) = UnixDatagram::pair()?;
    ///     left.send_with_fds("here", vec![std::fs::File::open("Cargo.toml")?]).await?;
    ///     let ((n, fds), buf) = right.recv_with_fds(vec![0; 64], 1).await?;
    ///     assert_eq!(&buf[..n], b"here");
    ///     for fd in fds {
    ///         let mut text = String::new();
    ///         std::fs::File::from(fd).read_to_string(&mut text)?;
    ///         assert!(text.starts_with("[package]"));
    ///     }
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidInput` for more than 253 descriptors; those of [`send`](UnixDatagram::send). The error contains the
    /// buffer and the descriptors.
    ///
    /// # Cancel safety
    ///
    /// A canceled send has sent nothing. Whether a dropped send has sent the datagram is unknown.
    // Test: tests/unix_datagrams.rs
    pub fn send_with_fds<B, F>(&self, buf: B, fds: Vec<F>) -> Op<SendMessageFds<B, F>>
    where
        B: IoBuf,
        F: AsFd + 'static,
    {
        SendMessageFds::new(self.socket.clone(), buf, fds, Ok(None))
    }

    /// Sends a datagram with descriptors to the socket bound to this address, as
    /// [`send_with_fds`](UnixDatagram::send_with_fds) does.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::UnixDatagram;
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("socket");
    /// gimmal::run(async {
    ///     let server = UnixDatagram::bind(&path)?;
    ///     let client = UnixDatagram::unbound()?;
    ///     let file = std::fs::File::open("Cargo.toml")?;
    ///     let (n, (_, fds)) = client
    ///         .send_to_addr_with_fds("here", vec![file], &server.local_addr()?)
    ///         .await?;
    ///     assert_eq!((n, fds.len()), (4, 1));
    ///     let ((_, received), _) = server.recv_with_fds(vec![0; 64], 1).await?;
    ///     assert_eq!(received.len(), 1);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`send_with_fds`](UnixDatagram::send_with_fds).
    ///
    /// # Cancel safety
    ///
    /// A canceled send has sent nothing. Whether a dropped send has sent the datagram is unknown.
    // Test: tests/unix_datagrams.rs
    pub fn send_to_addr_with_fds<B, F>(
        &self,
        buf: B,
        fds: Vec<F>,
        address: &SocketAddr,
    ) -> Op<SendMessageFds<B, F>>
    where
        B: IoBuf,
        F: AsFd + 'static,
    {
        let to = to_kernel(address).map(Some);
        SendMessageFds::new(self.socket.clone(), buf, fds, to)
    }

    /// Receives a datagram and at most `max` descriptors sent with it: `recvmsg(2)`, SCM_RIGHTS. The descriptors are
    /// close-on-exec and belong to the caller. Receive methods that do not return descriptors close those of the
    /// datagram.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::UnixDatagram;
    /// use std::io::ErrorKind;
    ///
    /// gimmal::run(async {
    ///     let (left, right) = UnixDatagram::pair()?;
    ///     let (reader, writer) = std::io::pipe()?;
    ///     left.send_with_fds("two", vec![reader.into(), std::os::fd::OwnedFd::from(writer)]).await?;
    ///     // More than expected: they are closed.
    ///     let error = right.recv_with_fds(vec![0; 64], 1).await.unwrap_err();
    ///     assert_eq!((error.kind(), error.transferred()), (ErrorKind::InvalidData, 3));
    ///     assert_eq!(error.into_buf(), b"two");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`recv_from`](UnixDatagram::recv_from). `InvalidData` if more than `max` descriptors arrived, or more
    /// than this process may have open: then all of them are closed. The datagram is received nevertheless: the buffer
    /// in the error contains it, and [`transferred`](BufError::transferred) returns its number of bytes.
    ///
    /// # Cancel safety
    ///
    /// No datagram is lost, as with [`recv_from`](UnixDatagram::recv_from); the descriptors are kept with the datagram.
    // Test: tests/unix_datagrams.rs
    pub fn recv_with_fds<B: IoBufMut>(
        &self,
        buf: B,
        max: usize,
    ) -> Op<RecvMessage<B, (usize, Vec<OwnedFd>)>> {
        RecvMessage::with_fds(self.socket.clone(), buf, max)
    }

    /// Receives a datagram with its metadata: the sender's address, whether it was truncated, and at most `fds_max`
    /// descriptors sent with it.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::UnixDatagram;
    ///
    /// gimmal::run(async {
    ///     let (left, right) = UnixDatagram::pair()?;
    ///     left.send_with_fds("here", vec![std::fs::File::open("Cargo.toml")?]).await?;
    ///     let (meta, buffer) = right.recv_msg(vec![0; 64], 1).await?;
    ///     assert_eq!((&buffer[..meta.len], meta.fds.len()), (&b"here"[..], 1));
    ///     assert!(!meta.is_truncated() && meta.from.is_unnamed());
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`recv_with_fds`](UnixDatagram::recv_with_fds).
    ///
    /// # Cancel safety
    ///
    /// No datagram is lost, as with [`recv_from`](UnixDatagram::recv_from); the metadata is kept with the datagram.
    // Test: tests/unix_datagrams.rs
    pub fn recv_msg<B: IoBufMut>(
        &self,
        buf: B,
        fds_max: usize,
    ) -> Op<RecvMessage<B, UnixRecvMeta>> {
        RecvMessage::with_fds(self.socket.clone(), buf, fds_max)
    }

    /// Returns the socket's local address.
    ///
    /// # Errors
    ///
    /// If `getsockname(2)` fails, which is not expected on an open socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        from_kernel(&SockRef::from(self).local_addr()?)
    }

    /// Returns the address of the connected peer.
    ///
    /// # Errors
    ///
    /// `NotConnected` if the socket is not connected.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        from_kernel(&SockRef::from(self).peer_addr()?)
    }

    /// Shuts down one direction or both: `shutdown(2)`. A waiting receive then returns zero bytes, and so does every
    /// later one, once the datagrams that have arrived are received.
    ///
    /// # Errors
    ///
    /// `NotConnected` if the socket has no peer.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        SockRef::from(self).shutdown(how)
    }
}

/// The metadata of a received datagram, returned by [`UnixDatagram::recv_msg`].
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::net::UnixDatagram;
///
/// gimmal::run(async {
///     let (left, right) = UnixDatagram::pair()?;
///     left.send("hello").await?;
///     let (meta, buffer) = right.recv_msg(Vec::with_capacity(4), 0).await?;
///     assert_eq!(buffer, b"hell");
///     assert!(meta.is_truncated() && meta.full_len == 5);
///     assert!(meta.from.is_unnamed() && meta.fds.is_empty());
///     Ok(())
/// })
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct UnixRecvMeta {
    /// The number of bytes in the buffer.
    pub len: usize,
    /// The length of the datagram in bytes. Bytes beyond the buffer's capacity are lost.
    pub full_len: usize,
    /// The sender's address; unnamed if the sender is not bound.
    pub from: SocketAddr,
    /// The descriptors sent with the datagram.
    pub fds: Vec<OwnedFd>,
}

impl UnixRecvMeta {
    /// Whether the datagram did not fit into the buffer.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.full_len > self.len
    }
}

impl FromMessage for UnixRecvMeta {
    fn from_message(mut message: Message<'_>) -> io::Result<UnixRecvMeta> {
        let fds = message.take_fds()?;
        let full_len = message.full_len;
        let (len, from) = <(usize, SocketAddr)>::from_message(message)?;
        Ok(UnixRecvMeta {
            len,
            full_len,
            from,
            fds,
        })
    }
}

/// The number of bytes and the sender's address.
impl FromMessage for (usize, SocketAddr) {
    fn from_message(message: Message<'_>) -> io::Result<(usize, SocketAddr)> {
        // An unnamed sender has no address. Std rejects a path of 108 bytes without a terminating zero.
        let from = from_kernel(message.address).or_else(|_| unnamed())?;
        Ok((message.len, from))
    }
}

datagram_socket! {
    UnixDatagram, std::os::unix::net::UnixDatagram,
    /// Wraps a Unix datagram socket.
    from
}
