//! A Unix datagram socket.

use super::address::{from_kernel, of_path, to_kernel, unnamed};
use crate::buf::{BufError, IoBuf, IoBufMut};
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

    /// Sends a datagram to the connected peer: `send(2)`. Returns its length and the buffer. Waits while the peer's
    /// queue is full. Sends to the peer run in order.
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
    ///     client.connect(&path)?;
    ///     for part in ["one", "two"] {
    ///         client.send(part).await?;
    ///     }
    ///     assert_eq!(server.recv(vec![0; 64]).await?.1, b"one");
    ///     assert_eq!(server.recv(vec![0; 64]).await?.1, b"two");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`send_to`](UnixDatagram::send_to); `NotConnected` if the socket has no peer; `ConnectionRefused` or
    /// `ConnectionReset` if the peer is gone.
    ///
    /// # Cancel safety
    ///
    /// A canceled send has sent nothing. Whether a dropped send has sent the datagram is unknown.
    // Test: tests/unix_datagrams.rs
    pub fn send<B: IoBuf>(&self, buf: B) -> Op<SendMessage<B>> {
        SendMessage::new(self.socket.clone(), buf, None, &[])
    }

    /// Receives a datagram into at most the buffer's whole capacity, and sets the buffer's length to what was received.
    /// Returns the number of bytes, the sender's address (unnamed if the sender is not bound), and the buffer:
    /// `recvfrom(2)`.
    ///
    /// Receives on one socket run one at a time, in order: a second one waits until the first has ended.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::UnixDatagram;
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("socket");
    /// gimmal::run(async {
    ///     let (left, right) = UnixDatagram::pair()?;
    ///     left.send("hello").await?;
    ///     let ((n, from), buffer) = right.recv_from(vec![0; 64]).await?;
    ///     assert_eq!((&buffer[..n], from.is_unnamed()), (&b"hello"[..], true));
    ///
    ///     let bound = UnixDatagram::bind(&path)?;
    ///     bound.connect_addr(&bound.local_addr()?)?;
    ///     bound.send("to itself").await?;
    ///     let ((_, from), _) = bound.recv_from(buffer).await?;
    ///     assert_eq!(from.as_pathname(), Some(&*path));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a buffer of capacity zero; those of `recvfrom(2)`: `ConnectionReset` if the peer has
    /// connected to another socket; [`Canceled`](crate::Canceled). The error contains the buffer. If the peer is gone,
    /// that is not an error: the receive waits.
    ///
    /// # Cancel safety
    ///
    /// No datagram is lost. A canceled receive has taken none; a dropped receive leaves its datagram to the next
    /// receive, which gets as much of it as fit into the first buffer.
    // Test: tests/unix_datagrams.rs
    pub fn recv_from<B: IoBufMut>(&self, buf: B) -> Op<RecvMessage<B, (usize, SocketAddr)>> {
        RecvMessage::new(self.socket.clone(), buf)
    }

    /// Receives a datagram, and returns the number of bytes and the buffer: `recv(2)`.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::UnixDatagram;
    /// use std::time::Duration;
    ///
    /// gimmal::run(async {
    ///     let (left, right) = UnixDatagram::pair()?;
    ///     let received = right.recv(vec![0; 64]).timeout(Duration::from_millis(1)).await;
    ///     let error = received.unwrap_err();
    ///     assert!(gimmal::is_timeout(&error));
    ///     // It took nothing, and returned the buffer.
    ///     left.send("late").await?;
    ///     assert_eq!(right.recv(error.into_buf()).await?.1, b"late");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`recv_from`](UnixDatagram::recv_from).
    ///
    /// # Cancel safety
    ///
    /// No datagram is lost, as with [`recv_from`](UnixDatagram::recv_from).
    // Test: tests/unix_datagrams.rs
    pub fn recv<B: IoBufMut>(&self, buf: B) -> Op<RecvMessage<B, usize>> {
        RecvMessage::new(self.socket.clone(), buf)
    }

    /// Receives a datagram if there is one, without waiting: `recv(2)` with `MSG_DONTWAIT`. Returns the number of
    /// bytes; bytes that do not fit into the buffer are lost. Otherwise as [`try_recv_from`](Self::try_recv_from).
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::UnixDatagram;
    /// use std::io::ErrorKind;
    ///
    /// gimmal::run(async {
    ///     let (left, right) = UnixDatagram::pair()?;
    ///     let mut buffer = [0; 64];
    ///     assert_eq!(right.try_recv(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
    ///     left.send("hello").await?;
    ///     assert_eq!(right.try_recv(&mut buffer)?, 5);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`try_recv_from`](Self::try_recv_from).
    pub fn try_recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.try_recv(buf)
    }

    /// Receives a datagram if there is one, without waiting, and returns the number of bytes and the sender's address
    /// (unnamed if the sender is not bound): `recvfrom(2)` with `MSG_DONTWAIT`. Bytes that do not fit into the buffer
    /// are lost; descriptors that come with the datagram are closed.
    ///
    /// A datagram that a dropped receive has taken comes first. A call that does not wait is not canceled either: it
    /// also works in a canceled scope.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::UnixDatagram;
    ///
    /// gimmal::run(async {
    ///     let directory = tempfile::tempdir()?;
    ///     let (server, client) = (directory.path().join("server"), directory.path().join("client"));
    ///     let receiver = UnixDatagram::bind(&server)?;
    ///     let sender = UnixDatagram::bind(&client)?;
    ///     sender.try_send_to(b"hello", &server)?;
    ///     let mut buffer = [0; 64];
    ///     let (n, from) = receiver.try_recv_from(&mut buffer)?;
    ///     assert_eq!((&buffer[..n], from.as_pathname()), (&b"hello"[..], Some(&*client)));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `WouldBlock` if no datagram is available. Also while another receive is in progress or waits for its turn, so
    /// that datagrams stay in order. A dropped receive is in progress until the kernel has stopped it: await something,
    /// then try again.
    ///
    /// `InvalidInput` for an empty buffer; otherwise those of [`recv_from`](Self::recv_from).
    pub fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.try_recv(buf)
    }

    /// Sends a datagram to the connected peer if its queue has room, without waiting: `send(2)` with `MSG_DONTWAIT`.
    /// Returns its length.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::UnixDatagram;
    /// use std::io::ErrorKind;
    ///
    /// gimmal::run(async {
    ///     let (left, right) = UnixDatagram::pair()?;
    ///     let mut sent = 0;
    ///     let error = loop {
    ///         match left.try_send(b"hello") {
    ///             Ok(_) => sent += 1,
    ///             Err(error) => break error,
    ///         }
    ///     };
    ///     assert_eq!(error.kind(), ErrorKind::WouldBlock);
    ///     for _ in 0..sent {
    ///         assert_eq!(right.recv(vec![0; 64]).await?.0, 5);
    ///     }
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `WouldBlock` if the peer's queue is full. Also while another [`send`](Self::send) is in progress or waits for
    /// its turn, so that datagrams to the peer stay in order. A dropped one is in progress until the kernel has stopped
    /// it: await something, then try again.
    ///
    /// Otherwise those of [`send`](Self::send).
    pub fn try_send(&self, buf: &[u8]) -> io::Result<usize> {
        self.socket.try_send(buf, None)
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

    /// Returns the descriptor, to be held by custom operations.
    #[must_use]
    pub fn shared_fd(&self) -> SharedFd {
        self.socket.fd().clone()
    }

    /// Closes the socket, and returns any error of closing it. Cancels operations that are still in progress on it, and
    /// waits for them.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::UnixDatagram;
    /// use std::io::ErrorKind;
    ///
    /// gimmal::run(async {
    ///     let (left, right) = UnixDatagram::pair()?;
    ///     left.send("last").await?;
    ///     left.close().await?;
    ///     assert_eq!(right.recv(vec![0; 64]).await?.1, b"last");
    ///     let error = right.send("are you there?").await.unwrap_err();
    ///     assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `ResourceBusy` if something else holds the descriptor: an operation that was started and not awaited, or a
    /// [`SharedFd`]; the descriptor closes when its last holder is dropped. [`Canceled`](crate::Canceled) while waiting
    /// for operations.
    ///
    /// # Cancel safety
    ///
    /// The socket closes even after a cancel or a drop: if the wait is dropped, the last operation in progress on it
    /// closes it.
    // Test: tests/unix_datagrams.rs
    pub async fn close(self) -> io::Result<()> {
        self.socket.release().close().await
    }

    /// Converts the socket into a std socket over the same descriptor, which can be sent to another thread.
    ///
    /// # Errors
    ///
    /// `ResourceBusy` while an operation is in progress on the socket, even one whose future was dropped, or while a
    /// datagram that such an operation received has not been taken. The error contains the socket.
    pub fn into_std(self) -> Result<std::os::unix::net::UnixDatagram, BufError<UnixDatagram>> {
        let what = "an operation is still in progress on the socket, or has left a datagram";
        self.socket.into_std(what, |socket| UnixDatagram { socket })
    }

    /// Creates a socket from a std socket.
    #[must_use]
    pub fn from_std(socket: std::os::unix::net::UnixDatagram) -> UnixDatagram {
        UnixDatagram {
            socket: FdOwner::new(Datagrams::new(SharedFd::from(OwnedFd::from(socket)))),
        }
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

fd_type! {
    UnixDatagram, self => self.socket.fd(),
    from std::os::unix::net::UnixDatagram,
    /// Wraps a Unix datagram socket.
    fd => UnixDatagram::from_std(fd.into())
}
