//! A UDP socket.

use super::meta::{CONTROL_ROOM, RecvMeta, SendMeta};
use crate::buf::{BufError, IoBuf, IoBufMut};
use crate::net::datagrams::datagram_socket;
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
    // Test: tests/udp.rs
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
    // Test: tests/udp.rs
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
    // Test: tests/udp.rs
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
    // Test: tests/udp.rs
    pub fn send_msg<B: IoBuf>(&self, buf: B, meta: &SendMeta) -> Op<SendMessage<B>> {
        let to = meta.address().map(SockAddr::from);
        match meta.control(|| self.peer_addr()) {
            Ok(control) => SendMessage::new(self.socket.clone(), buf, to.as_ref(), &control),
            Err(error) => SendMessage::rejected(self.socket.clone(), buf, error),
        }
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
    // Test: tests/udp.rs
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
    // Test: tests/udp.rs
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
    // Test: tests/udp.rs
    pub fn peek<B: IoBufMut>(&self, buf: B) -> Op<RecvMessage<B, usize>> {
        RecvMessage::peek(self.socket.clone(), buf)
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
}

impl fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ends = [self.local_addr(), self.peer_addr()];
        debug(f, "UdpSocket", self, ends)
    }
}

datagram_socket! {
    UdpSocket, std::net::UdpSocket,
    /// Wraps a UDP socket.
    from
}
