//! A TCP socket before it listens or is connected, for setting options.

use super::connect::{connect_socket, explain_one};
use super::{TcpListener, TcpStream};
use crate::net::names::to_ip;
use crate::net::socket_option::socket_option;
use crate::op::fd_type;
use crate::sys::with_context;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;

/// A TCP socket that does not listen yet and is not connected yet, so that its options can be set.
///
/// Set options that have no method here through `socket2::SockRef::from(&socket)`.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::net::TcpSocket;
///
/// gimmal::run(async {
///     let socket = TcpSocket::new_v4()?;
///     socket.set_reuseport(true)?;
///     socket.bind(([127, 0, 0, 1], 0).into())?;
///     let listener = socket.listen(1024)?;
///
///     let socket = TcpSocket::new_v4()?;
///     socket.set_nodelay(true)?;
///     // Expedited forwarding: for few packets that must not wait.
///     socket.set_tos(46 << 2)?;
///     let client = socket.connect(listener.local_addr()?).await?;
///     assert!(client.nodelay()?);
///     Ok(())
/// })
/// # }
/// ```
#[derive(Debug)]
pub struct TcpSocket {
    socket: Socket,
}

impl TcpSocket {
    /// Creates an IPv4 socket.
    ///
    /// # Errors
    ///
    /// If no descriptor is left (`EMFILE`, `ENFILE`), or the kernel does not support IPv4.
    pub fn new_v4() -> io::Result<TcpSocket> {
        TcpSocket::new(Domain::IPV4)
    }

    /// Creates an IPv6 socket.
    ///
    /// # Errors
    ///
    /// If no descriptor is left (`EMFILE`, `ENFILE`), or the kernel does not support IPv6.
    pub fn new_v6() -> io::Result<TcpSocket> {
        TcpSocket::new(Domain::IPV6)
    }

    fn new(domain: Domain) -> io::Result<TcpSocket> {
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP));
        let socket = socket.map_err(|error| with_context(error, "make a socket of TCP"))?;
        Ok(TcpSocket { socket })
    }

    socket_option! {
        bool reuseaddr, set_reuseaddr: SOL_SOCKET SO_REUSEADDR;
        "an address can be bound even though connections of an earlier listener on it are in `TIME_WAIT`"
    }
    socket_option! {
        bool reuseport, set_reuseport: SOL_SOCKET SO_REUSEPORT;
        "several sockets can listen on one address, among which the kernel distributes connections"
        note "This is how threads share a load: see [`TcpListener`]."
    }
    socket_option! {
        bool only_v6, set_only_v6: IPPROTO_IPV6 IPV6_V6ONLY;
        "an IPv6 socket is restricted to IPv6"
        note "Otherwise one that listens on `[::]` accepts IPv4 connections, too."
        fails "`EOPNOTSUPP` on an IPv4 socket."
            "`InvalidInput` once the socket is bound; `ENOPROTOOPT` on an IPv4 socket."
    }
    socket_option! {
        u32 send_buffer_size, set_send_buffer_size: SOL_SOCKET SO_SNDBUF;
        "the size of the kernel's send buffer in bytes"
        note "The kernel doubles the value, to leave room for its own bookkeeping, up to twice `net.core.wmem_max`."
    }
    socket_option! {
        u32 recv_buffer_size, set_recv_buffer_size: SOL_SOCKET SO_RCVBUF;
        "the size of the kernel's receive buffer in bytes"
        note "The kernel doubles the value, to leave room for its own bookkeeping, up to twice `net.core.rmem_max`."
    }

    /// Binds the socket to a local address. Port 0 selects a free port, which [`local_addr`](TcpSocket::local_addr)
    /// returns.
    ///
    /// # Errors
    ///
    /// Those of `bind(2)`, with the address: `AddrInUse`, `AddrNotAvailable` if it is not an address of this machine,
    /// `PermissionDenied` for ports below 1024, `InvalidInput` if the socket is already bound.
    pub fn bind(&self, addr: SocketAddr) -> io::Result<()> {
        let bound = self.socket.bind(&addr.into());
        bound.map_err(|error| with_context(error, format!("bind to {addr}")))
    }

    /// Returns the address that the socket is bound to.
    ///
    /// # Errors
    ///
    /// If `getsockname(2)` fails, which is not expected on an open socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        to_ip(self.socket.local_addr()?)
    }

    /// Starts listening for connections. The kernel queues up to `backlog` of them until they are accepted, but no more
    /// than its own limit (`net.core.somaxconn`).
    ///
    /// # Errors
    ///
    /// Those of `listen(2)`, with the address: `AddrInUse` if another socket listens there.
    pub fn listen(self, backlog: u32) -> io::Result<TcpListener> {
        let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
        self.socket.listen(backlog).map_err(|error| {
            let addr = self.local_addr().map(|addr| addr.to_string());
            with_context(error, format!("listen on {}", addr.unwrap_or_default()))
        })?;
        Ok(TcpListener::new(self.socket.into()))
    }

    /// Connects to an address, from the local address if the socket is bound to one.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::{TcpListener, TcpSocket};
    ///
    /// gimmal::run(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     // From another address of this machine.
    ///     let socket = TcpSocket::new_v4()?;
    ///     socket.bind(([127, 0, 0, 2], 0).into())?;
    ///     let client = socket.connect(listener.local_addr()?).await?;
    ///     let (_server, peer) = listener.accept().await?;
    ///     assert_eq!(peer, client.local_addr()?);
    ///     assert_eq!(peer.ip().to_string(), "127.0.0.2");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `connect(2)`, with the address: `ConnectionRefused`, `TimedOut`, `HostUnreachable`,
    /// `NetworkUnreachable`, `AddrInUse` if the socket is bound and its connection to this address exists;
    /// [`Canceled`](crate::Canceled).
    ///
    /// # Cancel safety
    ///
    /// No connection leaks: one that the kernel still makes after the wait was dropped or canceled is closed.
    // Test: tests/net/connecting.rs
    pub async fn connect(self, addr: SocketAddr) -> io::Result<TcpStream> {
        let connected = connect_socket(self.socket, addr).await;
        connected.map_err(|error| explain_one(error, addr))
    }
}

fd_type! { TcpSocket, self => &self.socket }
