//! A UDP socket.

use super::meta::{CONTROL_ROOM, RecvMeta, SendMeta};
use crate::buf::{BufError, IoBuf, IoBufMut};
use crate::net::debug::debug;
use crate::net::names::{to_ip, try_each};
use crate::net::{Host, ToAddrs};
use crate::op::{Datagrams, FdOwner, Op, RecvMessage, SendMessage, SharedFd, fd_type};
use crate::runtime::proceed;
use crate::sys::with_context;
use socket2::{SockAddr, SockRef};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// A UDP socket.
///
/// Its methods take `&self`, so one task can receive while others send. A socket belongs to its runtime's thread; to
/// move it to another thread, convert it with [`into_std`](UdpSocket::into_std).
///
/// A datagram is received into one buffer. Bytes that do not fit are lost; [`recv_msg`](UdpSocket::recv_msg) reports
/// the truncation.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::net::UdpSocket;
///
/// gimmal::run(async {
///     let server = UdpSocket::bind("127.0.0.1:0").await?;
///     let client = UdpSocket::bind("127.0.0.1:0").await?;
///     client.send_to("hello", server.local_addr()?).await?;
///     let ((n, from), buffer) = server.recv_from(vec![0; 64]).await?;
///     assert_eq!((&buffer[..n], from), (&b"hello"[..], client.local_addr()?));
///     Ok(())
/// })
/// # }
/// ```
pub struct UdpSocket {
    pub(super) socket: FdOwner<Rc<Datagrams>>,
}

impl UdpSocket {
    /// Creates a socket bound to an address, or to the first address of a name that can be bound. Port 0 selects a free
    /// port, which [`local_addr`](UdpSocket::local_addr) returns.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::UdpSocket;
    /// use std::io::ErrorKind;
    ///
    /// gimmal::run(async {
    ///     let socket = UdpSocket::bind("127.0.0.1:0").await?;
    ///     let address = socket.local_addr()?;
    ///     assert_ne!(address.port(), 0);
    ///
    ///     let error = UdpSocket::bind(address).await.unwrap_err();
    ///     assert_eq!(error.kind(), ErrorKind::AddrInUse);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidInput` for text that is not an address; the errors of [`lookup_host`](crate::net::lookup_host), with the
    /// name; those of `bind(2)`, with the address: `AddrInUse`, `AddrNotAvailable` if it is not an address of this
    /// machine, `PermissionDenied` for ports below 1024, EMFILE and ENFILE if no descriptor is left.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: the only wait is for a name lookup.
    // Test: tests/net/udp.rs
    pub async fn bind(to: impl ToAddrs) -> io::Result<UdpSocket> {
        try_each(to, |address| {
            let socket = std::net::UdpSocket::bind(address);
            let socket =
                socket.map_err(|error| with_context(error, format!("bind to {address}")))?;
            Ok(UdpSocket::from_std(socket))
        })
        .await
    }

    /// Sets the peer: from now on only its datagrams are received, and [`send`](UdpSocket::send) sends to it.
    /// Connecting again replaces the peer. No packet is sent, so success does not mean that the peer exists.
    ///
    /// Datagrams from other senders that arrived earlier are still received.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::UdpSocket;
    ///
    /// gimmal::run(async {
    ///     let server = UdpSocket::bind("127.0.0.1:0").await?;
    ///     let client = UdpSocket::bind("127.0.0.1:0").await?;
    ///     client.connect(server.local_addr()?).await?;
    ///     // A stranger's datagram is not received.
    ///     let stranger = UdpSocket::bind("127.0.0.1:0").await?;
    ///     stranger.send_to("spam", client.local_addr()?).await?;
    ///     server.send_to("hello", client.local_addr()?).await?;
    ///     assert_eq!(client.recv(vec![0; 64]).await?.1, b"hello");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidInput` for text that is not an address; the errors of [`lookup_host`](crate::net::lookup_host), with the
    /// name; those of `connect(2)`, with the address: `NetworkUnreachable` if there is no route to the peer,
    /// `PermissionDenied` for a broadcast address.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: the only wait is for a name lookup.
    // Test: tests/net/udp.rs
    pub async fn connect(&self, to: impl ToAddrs) -> io::Result<()> {
        try_each(to, |address| {
            // A direct call: connecting a UDP socket does not block.
            let connected = SockRef::from(self).connect(&address.into());
            connected.map_err(|error| with_context(error, format!("connect to {address}")))
        })
        .await
    }

    /// Sends a datagram to an address: `sendto(2)`. Returns its length and the buffer.
    ///
    /// The datagram is sent once: of several addresses, such as those of a name, to the first of the socket's own IP
    /// version, or else to the first. A name is looked up for every datagram: to send many, call
    /// [`lookup_host`](crate::net::lookup_host) once.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::UdpSocket;
    ///
    /// gimmal::run(async {
    ///     let receiver = UdpSocket::bind("127.0.0.1:0").await?;
    ///     let to = receiver.local_addr()?;
    ///     let sender = UdpSocket::bind("127.0.0.1:0").await?;
    ///     let (n, _) = sender.send_to("hello", to).await?;
    ///     assert_eq!(n, 5);
    ///
    ///     let error = sender.send_to(vec![0; 70_000], to).await.unwrap_err();
    ///     assert_eq!(gimmal::errno(&error), Some(libc::EMSGSIZE));
    ///     assert_eq!(error.into_buf().len(), 70_000);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `sendto(2)`, with the address and the length: EMSGSIZE for a datagram of more than 65 507 bytes (IPv4),
    /// `PermissionDenied` for a broadcast address without [`set_broadcast`](UdpSocket::set_broadcast),
    /// `NetworkUnreachable` and `HostUnreachable`. `InvalidInput` for text that is not an address; the errors of
    /// [`lookup_host`](crate::net::lookup_host), with the name; [`Canceled`](crate::Canceled). The error contains the
    /// buffer.
    ///
    /// # Cancel safety
    ///
    /// A canceled send has sent nothing. Whether a dropped send has sent the datagram is unknown.
    // Test: tests/net/udp.rs
    #[inline]
    pub fn send_to<B: IoBuf>(&self, buf: B, to: impl ToAddrs) -> Op<SendMessage<B>> {
        match to.address() {
            Some(to) => SendMessage::new(self.socket.clone(), buf, Some(&to.into()), &[]),
            None => self.send_to_target(buf, to.target()),
        }
    }

    fn send_to_target<B: IoBuf>(&self, buf: B, to: io::Result<Host>) -> Op<SendMessage<B>> {
        let is_v4 = self.local_addr().is_ok_and(|address| address.is_ipv4());
        let address = async move {
            proceed().await?;
            let addrs = to?.resolve().await?;
            let own = addrs.iter().find(|address| address.is_ipv4() == is_v4);
            Ok(SockAddr::from(*own.unwrap_or(&addrs[0])))
        };
        SendMessage::after_lookup(self.socket.clone(), buf, address)
    }

    /// Sends a datagram to the connected peer: `send(2)`. Returns its length and the buffer.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::UdpSocket;
    ///
    /// gimmal::run(async {
    ///     let server = UdpSocket::bind("127.0.0.1:0").await?;
    ///     let client = UdpSocket::bind("127.0.0.1:0").await?;
    ///     client.connect(server.local_addr()?).await?;
    ///     client.send("hello").await?;
    ///     assert_eq!(server.recv(vec![0; 64]).await?.1, b"hello");
    ///
    ///     let error = server.send("to whom?").await.unwrap_err();
    ///     assert_eq!(gimmal::errno(&error), Some(libc::EDESTADDRREQ));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`send_to`](UdpSocket::send_to); `ConnectionRefused` if the peer has refused an **earlier** datagram;
    /// EDESTADDRREQ if the socket is not connected.
    ///
    /// # Cancel safety
    ///
    /// A canceled send has sent nothing. Whether a dropped send has sent the datagram is unknown.
    // Test: tests/net/udp.rs
    pub fn send<B: IoBuf>(&self, buf: B) -> Op<SendMessage<B>> {
        SendMessage::new(self.socket.clone(), buf, None, &[])
    }

    /// Sends a datagram with the given metadata: source address, interface, hop limit, traffic class, segment size.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::{SendMeta, UdpSocket};
    ///
    /// gimmal::run(async {
    ///     let server = UdpSocket::bind("127.0.0.1:0").await?;
    ///     server.set_recv_ttl(true)?;
    ///     let client = UdpSocket::bind("127.0.0.1:0").await?;
    ///     let meta = SendMeta::new().to(server.local_addr()?).ttl(7).segment_size(2);
    ///     client.send_msg("abcde", &meta).await?;
    ///     for part in ["ab", "cd", "e"] {
    ///         let (meta, buffer) = server.recv_msg(vec![0; 64]).await?;
    ///         assert_eq!((&buffer[..meta.len], meta.ttl), (part.as_bytes(), Some(7)));
    ///     }
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`send_to`](UdpSocket::send_to); `InvalidInput` for addresses of different IP versions, and for values
    /// that the kernel rejects.
    ///
    /// # Cancel safety
    ///
    /// A canceled send has sent nothing. Whether a dropped send has sent the datagram is unknown.
    // Test: tests/net/udp.rs
    pub fn send_msg<B: IoBuf>(&self, buf: B, meta: &SendMeta) -> Op<SendMessage<B>> {
        let to = meta.address().map(SockAddr::from);
        match meta.control(|| self.peer_addr()) {
            Ok(control) => SendMessage::new(self.socket.clone(), buf, to.as_ref(), &control),
            Err(error) => SendMessage::rejected(self.socket.clone(), buf, error),
        }
    }

    /// Receives a datagram into at most the buffer's whole capacity, and sets the buffer's length to what was received.
    /// Returns the number of bytes, the sender's address, and the buffer: `recvfrom(2)`.
    ///
    /// Receives on one socket run one at a time, in order: a second one waits until the first has ended.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::UdpSocket;
    /// use std::time::Duration;
    ///
    /// gimmal::run(async {
    ///     let server = UdpSocket::bind("127.0.0.1:0").await?;
    ///     let received = server.recv_from(vec![0; 64]).timeout(Duration::from_millis(1)).await;
    ///     let error = received.unwrap_err();
    ///     assert!(gimmal::is_timeout(&error));
    ///     // It took nothing, and returned the buffer.
    ///     let client = UdpSocket::bind("127.0.0.1:0").await?;
    ///     client.send_to("late", server.local_addr()?).await?;
    ///     let ((n, from), buffer) = server.recv_from(error.into_buf()).await?;
    ///     assert_eq!((&buffer[..n], from), (&b"late"[..], client.local_addr()?));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a buffer of capacity zero; those of `recvfrom(2)`, with the peer's address:
    /// `ConnectionRefused` if the socket is connected and the peer has refused an earlier datagram;
    /// [`Canceled`](crate::Canceled). The error contains the buffer.
    ///
    /// # Cancel safety
    ///
    /// No datagram is lost. A canceled receive has taken none; a dropped receive leaves its datagram to the next
    /// receive, which gets as much of it as fit into the first buffer.
    // Test: tests/net/udp.rs
    pub fn recv_from<B: IoBufMut>(&self, buf: B) -> Op<RecvMessage<B, (usize, SocketAddr)>> {
        RecvMessage::new(self.socket.clone(), buf)
    }

    /// Receives a datagram, and returns the number of bytes and the buffer: `recv(2)`.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::UdpSocket;
    ///
    /// gimmal::run(async {
    ///     let left = UdpSocket::bind("127.0.0.1:0").await?;
    ///     let right = UdpSocket::bind("127.0.0.1:0").await?;
    ///     left.connect(right.local_addr()?).await?;
    ///     right.connect(left.local_addr()?).await?;
    ///     left.send("ping").await?;
    ///     let (n, buffer) = right.recv(vec![0; 64]).await?;
    ///     assert_eq!(&buffer[..n], b"ping");
    ///     right.send(buffer).await?;
    ///     assert_eq!(left.recv(vec![0; 64]).await?.1, b"ping");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`recv_from`](UdpSocket::recv_from).
    ///
    /// # Cancel safety
    ///
    /// No datagram is lost, as with [`recv_from`](UdpSocket::recv_from).
    // Test: tests/net/udp.rs
    pub fn recv<B: IoBufMut>(&self, buf: B) -> Op<RecvMessage<B, usize>> {
        RecvMessage::new(self.socket.clone(), buf)
    }

    /// Receives a datagram with its metadata: whether it was truncated, and what the socket's options enable, which are
    /// [`set_gro`](UdpSocket::set_gro) and those that begin with `set_recv_`.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::UdpSocket;
    ///
    /// gimmal::run(async {
    ///     let server = UdpSocket::bind("127.0.0.1:0").await?;
    ///     server.set_recv_ttl(true)?;
    ///     let client = UdpSocket::bind("127.0.0.1:0").await?;
    ///     client.send_to("hello", server.local_addr()?).await?;
    ///     let (meta, buffer) = server.recv_msg(Vec::with_capacity(4)).await?;
    ///     assert_eq!((meta.len, &buffer[..]), (4, &b"hell"[..]));
    ///     assert!(meta.is_truncated() && meta.ttl.is_some());
    ///     assert_eq!(meta.from, client.local_addr()?);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`recv_from`](UdpSocket::recv_from).
    ///
    /// # Cancel safety
    ///
    /// No datagram is lost, as with [`recv_from`](UdpSocket::recv_from); the metadata is kept with the datagram.
    // Test: tests/net/udp.rs
    pub fn recv_msg<B: IoBufMut>(&self, buf: B) -> Op<RecvMessage<B, RecvMeta>> {
        // Code outside of this type may have set the options.
        self.socket.make_room_for_control(CONTROL_ROOM);
        RecvMessage::new(self.socket.clone(), buf)
    }

    /// Receives the next datagram without removing it, so the next receive returns it again: `recvfrom(2)` with
    /// `MSG_PEEK`.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::UdpSocket;
    ///
    /// gimmal::run(async {
    ///     let server = UdpSocket::bind("127.0.0.1:0").await?;
    ///     let client = UdpSocket::bind("127.0.0.1:0").await?;
    ///     client.send_to("hello", server.local_addr()?).await?;
    ///     // Who is it?
    ///     let ((_, from), _) = server.peek_from(vec![0; 1]).await?;
    ///     assert_eq!(from, client.local_addr()?);
    ///     assert_eq!(server.recv(vec![0; 64]).await?.1, b"hello");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`recv_from`](UdpSocket::recv_from).
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: a peek takes nothing.
    // Test: tests/net/udp.rs
    pub fn peek_from<B: IoBufMut>(&self, buf: B) -> Op<RecvMessage<B, (usize, SocketAddr)>> {
        RecvMessage::peek(self.socket.clone(), buf)
    }

    /// Receives the next datagram without removing it, and returns the number of bytes and the buffer: `recv(2)` with
    /// `MSG_PEEK`.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::UdpSocket;
    ///
    /// gimmal::run(async {
    ///     let server = UdpSocket::bind("127.0.0.1:0").await?;
    ///     let client = UdpSocket::bind("127.0.0.1:0").await?;
    ///     client.send_to("hello", server.local_addr()?).await?;
    ///     for _ in 0..2 {
    ///         assert_eq!(server.peek(vec![0; 64]).await?.1, b"hello");
    ///     }
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`recv_from`](UdpSocket::recv_from).
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: a peek takes nothing.
    // Test: tests/net/udp.rs
    pub fn peek<B: IoBufMut>(&self, buf: B) -> Op<RecvMessage<B, usize>> {
        RecvMessage::peek(self.socket.clone(), buf)
    }

    /// Receives a datagram if there is one, without waiting: `recv(2)` with `MSG_DONTWAIT`. Returns the number of
    /// bytes; bytes that do not fit into the buffer are lost. Otherwise as [`try_recv_from`](Self::try_recv_from).
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::UdpSocket;
    /// use std::io::ErrorKind;
    ///
    /// gimmal::run(async {
    ///     let (left, right) = (UdpSocket::bind("127.0.0.1:0").await?, UdpSocket::bind("127.0.0.1:0").await?);
    ///     left.connect(right.local_addr()?).await?;
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

    /// Receives a datagram if there is one, without waiting, and returns the number of bytes and the sender's address:
    /// `recvfrom(2)` with `MSG_DONTWAIT`. Bytes that do not fit into the buffer are lost.
    ///
    /// A datagram that a dropped receive has taken comes first. A call that does not wait is not canceled either: it
    /// also works in a canceled scope.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::UdpSocket;
    ///
    /// gimmal::run(async {
    ///     let server = UdpSocket::bind("127.0.0.1:0").await?;
    ///     let client = UdpSocket::bind("127.0.0.1:0").await?;
    ///     let mut buffer = [0; 64];
    ///     for text in ["one", "two"] {
    ///         client.try_send_to(text.as_bytes(), server.local_addr()?)?;
    ///     }
    ///     // Everything that has arrived.
    ///     let mut received = Vec::new();
    ///     while let Ok((n, from)) = server.try_recv_from(&mut buffer) {
    ///         assert_eq!(from, client.local_addr()?);
    ///         received.push(buffer[..n].to_vec());
    ///     }
    ///     assert_eq!(received, [b"one", b"two"]);
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

    /// Sends a datagram to the connected peer if there is room, without waiting: `send(2)` with `MSG_DONTWAIT`. Returns
    /// its length.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::UdpSocket;
    ///
    /// gimmal::run(async {
    ///     let (left, right) = (UdpSocket::bind("127.0.0.1:0").await?, UdpSocket::bind("127.0.0.1:0").await?);
    ///     left.connect(right.local_addr()?).await?;
    ///     assert_eq!(left.try_send(b"hello")?, 5);
    ///     assert_eq!(right.recv(vec![0; 64]).await?.1, b"hello");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is no room. Also while another [`send`](Self::send) is in progress or waits for its turn,
    /// so that datagrams to the peer stay in order. A dropped one is in progress until the kernel has stopped it: await
    /// something, then try again.
    ///
    /// Otherwise those of [`send`](Self::send).
    pub fn try_send(&self, buf: &[u8]) -> io::Result<usize> {
        self.socket.try_send(buf, None)
    }

    /// Sends a datagram to an address if there is room, without waiting: `sendto(2)` with `MSG_DONTWAIT`. Returns its
    /// length.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is no room; those of [`send_to`](Self::send_to).
    pub fn try_send_to(&self, buf: &[u8], to: impl Into<SocketAddr>) -> io::Result<usize> {
        self.socket.try_send(buf, Some(&to.into().into()))
    }

    /// Returns the socket's local address.
    ///
    /// # Errors
    ///
    /// If `getsockname(2)` fails, which is not expected on an open socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        to_ip(SockRef::from(self).local_addr()?)
    }

    /// Returns the address of the connected peer.
    ///
    /// # Errors
    ///
    /// `NotConnected` if the socket is not connected.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        to_ip(SockRef::from(self).peer_addr()?)
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
    /// use gimmal::net::UdpSocket;
    ///
    /// gimmal::run(async {
    ///     let socket = UdpSocket::bind("127.0.0.3:0").await?;
    ///     let address = socket.local_addr()?;
    ///     socket.close().await?;
    ///     // The address is free.
    ///     assert_eq!(UdpSocket::bind(address).await?.local_addr()?, address);
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
    // Test: tests/net/udp.rs
    pub async fn close(self) -> io::Result<()> {
        self.socket.release().close().await
    }

    /// Converts the socket into a std socket over the same descriptor, which can be sent to another thread.
    ///
    /// # Errors
    ///
    /// `ResourceBusy` while an operation is in progress on the socket, even one whose future was dropped, or while a
    /// datagram that such an operation received has not been taken. The error contains the socket.
    pub fn into_std(self) -> Result<std::net::UdpSocket, BufError<UdpSocket>> {
        let what = "an operation is still in progress on the socket, or has left a datagram";
        self.socket.into_std(what, |socket| UdpSocket { socket })
    }

    /// Creates a socket from a std socket.
    #[must_use]
    pub fn from_std(socket: std::net::UdpSocket) -> UdpSocket {
        UdpSocket {
            socket: FdOwner::new(Datagrams::new(SharedFd::from(OwnedFd::from(socket)))),
        }
    }
}

impl fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ends = [self.local_addr(), self.peer_addr()];
        debug(f, "UdpSocket", self, ends)
    }
}

fd_type! {
    UdpSocket, self => self.socket.fd(),
    from std::net::UdpSocket,
    /// Wraps a UDP socket.
    fd => UdpSocket::from_std(fd.into())
}
