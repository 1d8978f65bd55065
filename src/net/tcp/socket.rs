//! A TCP socket before it listens or is connected: for its options.

use super::connect::{connect_socket, explain_one};
use super::{TcpListener, TcpStream};
use crate::net::names::to_ip;
use crate::sys::with_context;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

/// A TCP socket that neither listens nor is connected as yet, so that its options can be set.
///
/// Options that have no method here are set through `socket2::SockRef::from(&socket)`.
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
    /// A socket of IPv4.
    ///
    /// # Errors
    ///
    /// If there is no descriptor left (`EMFILE`, `ENFILE`), or the kernel has no IPv4.
    pub fn new_v4() -> io::Result<TcpSocket> {
        TcpSocket::new(Domain::IPV4)
    }

    /// A socket of IPv6.
    ///
    /// # Errors
    ///
    /// If there is no descriptor left (`EMFILE`, `ENFILE`), or the kernel has no IPv6.
    pub fn new_v6() -> io::Result<TcpSocket> {
        TcpSocket::new(Domain::IPV6)
    }

    fn new(domain: Domain) -> io::Result<TcpSocket> {
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP));
        let socket = socket.map_err(|error| with_context(error, "make a socket of TCP"))?;
        Ok(TcpSocket { socket })
    }

    /// Sets whether an address can be bound though connections of an earlier listener on it have only just ended: `SO_REUSEADDR`.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn set_reuseaddr(&self, reuseaddr: bool) -> io::Result<()> {
        self.socket.set_reuse_address(reuseaddr)
    }

    /// Whether it can be bound though connections have only just ended: `SO_REUSEADDR`.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn reuseaddr(&self) -> io::Result<bool> {
        self.socket.reuse_address()
    }

    /// Sets whether several sockets can listen on one address, among which the kernel deals out connections: `SO_REUSEPORT`. So
    /// threads share a load: see [`TcpListener`].
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn set_reuseport(&self, reuseport: bool) -> io::Result<()> {
        self.socket.set_reuse_port(reuseport)
    }

    /// Whether several sockets can listen on its address: `SO_REUSEPORT`.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn reuseport(&self) -> io::Result<bool> {
        self.socket.reuse_port()
    }

    /// Sets whether a socket of IPv6 is for IPv6 alone. Else one that listens on `[::]` gets those of IPv4, too: `IPV6_V6ONLY`.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn set_only_v6(&self, only_v6: bool) -> io::Result<()> {
        self.socket.set_only_v6(only_v6)
    }

    /// Whether it is for IPv6 alone: `IPV6_V6ONLY`.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn only_v6(&self) -> io::Result<bool> {
        self.socket.only_v6()
    }

    /// Sets whether small writes are sent at once instead of being gathered: `TCP_NODELAY`.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.socket.set_tcp_nodelay(nodelay)
    }

    /// Whether small writes are sent at once: `TCP_NODELAY`.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.socket.tcp_nodelay()
    }

    /// Sets whether the kernel asks now and then if a silent peer is still there: `SO_KEEPALIVE`.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn set_keepalive(&self, keepalive: bool) -> io::Result<()> {
        self.socket.set_keepalive(keepalive)
    }

    /// Whether the kernel asks if a silent peer is still there: `SO_KEEPALIVE`.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn keepalive(&self) -> io::Result<bool> {
        self.socket.keepalive()
    }

    /// Sets how many routers what it sends may pass, for IPv4: `IP_TTL`.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.socket.set_ttl_v4(ttl)
    }

    /// How many routers what it sends may pass, for IPv4: `IP_TTL`.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn ttl(&self) -> io::Result<u32> {
        self.socket.ttl_v4()
    }

    /// Sets the size of the kernel's buffer for what is sent, in bytes: `SO_SNDBUF`. The kernel doubles it, for its own bookkeeping.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn set_send_buffer_size(&self, bytes: u32) -> io::Result<()> {
        self.socket.set_send_buffer_size(bytes as usize)
    }

    /// The size of the kernel's buffer for what is sent, in bytes: `SO_SNDBUF`.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn send_buffer_size(&self) -> io::Result<u32> {
        self.socket.send_buffer_size().map(|bytes| bytes as u32)
    }

    /// Sets the size of the kernel's buffer for what is received, in bytes: `SO_RCVBUF`. The kernel doubles it, for its own bookkeeping.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn set_recv_buffer_size(&self, bytes: u32) -> io::Result<()> {
        self.socket.set_recv_buffer_size(bytes as usize)
    }

    /// The size of the kernel's buffer for what is received, in bytes: `SO_RCVBUF`.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn recv_buffer_size(&self) -> io::Result<u32> {
        self.socket.recv_buffer_size().map(|bytes| bytes as u32)
    }

    /// Gives it an address of this machine. Port 0 is one that is free, which [`local_addr`](TcpSocket::local_addr) tells.
    ///
    /// # Errors
    ///
    /// What the kernel says, with the address: `AddrInUse`, `AddrNotAvailable`, `PermissionDenied`, `InvalidInput` for a
    /// socket that has one, and so on.
    pub fn bind(&self, addr: SocketAddr) -> io::Result<()> {
        let bound = self.socket.bind(&addr.into());
        bound.map_err(|error| with_context(error, format!("bind to {addr}")))
    }

    /// The address that it is bound to.
    ///
    /// # Errors
    ///
    /// What `getsockname(2)` says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        to_ip(self.socket.local_addr()?)
    }

    /// Listens for connections, of which the kernel keeps up to `backlog` until they are accepted; it has a limit of its own
    /// (`net.core.somaxconn`).
    ///
    /// # Errors
    ///
    /// What the kernel says, with the address: `AddrInUse` if another socket listens there.
    pub fn listen(self, backlog: u32) -> io::Result<TcpListener> {
        let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
        self.socket.listen(backlog).map_err(|error| {
            let addr = self.local_addr().map(|addr| addr.to_string());
            with_context(error, format!("listen on {}", addr.unwrap_or_default()))
        })?;
        Ok(TcpListener::new(self.socket.into()))
    }

    /// Connects to an address, from the one that it is bound to, if it is.
    ///
    /// # Errors
    ///
    /// What the kernel says, with the address; [`Canceled`](crate::Canceled).
    ///
    /// # Cancel safety
    ///
    /// A connection that the kernel still makes after the wait was dropped or canceled is closed (`tests/connecting.rs`).
    pub async fn connect(self, addr: SocketAddr) -> io::Result<TcpStream> {
        let connected = connect_socket(self.socket, addr).await;
        connected.map_err(|error| explain_one(error, addr))
    }
}

impl AsRawFd for TcpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsFd for TcpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
