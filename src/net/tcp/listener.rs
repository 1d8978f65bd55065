//! A listening TCP socket.

use super::TcpStream;
use crate::buf::BufError;
use crate::group::Report;
use crate::net::accepting::{AcceptMode, Accepting, NextAccepted};
use crate::net::listener::{BACKLOG, stream_listener};
use crate::net::names::{to_ip, try_each};
use crate::net::{Listener, Serve, ToAddrs, serve};
use crate::op::{Accepted, SharedFd, fd_type};
use crate::sys::with_context;
use futures_core::Stream;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::future::Pending;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A TCP socket that listens for connections.
///
/// A connection is taken from the kernel in the same poll that returns it, so a canceled or dropped wait loses none.
/// When the listener is dropped, its address can be bound again at once, and connections that were not accepted are
/// closed, unless the socket has other holders.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::net::{TcpListener, TcpStream};
///
/// gimmal::run(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let address = listener.local_addr()?;
///     let (client, accepted) = gimmal::join((TcpStream::connect(address), listener.accept())).await;
///     let (_server, peer) = accepted?;
///     assert_eq!(client?.local_addr()?, peer);
///     Ok(())
/// })
/// # }
/// ```
///
/// # Several threads
///
/// One socket may have several holders: threads that each have a clone of a std listener, and other processes. Each
/// connection goes to a holder that waits for one; a thread that is computing, or in which no task is accepting, takes
/// none. However, each connection wakes all waiting holders. Where connections arrive fast, give each thread its own
/// socket at the same address with `SO_REUSEPORT`: then the kernel distributes connections among the sockets, and wakes
/// one thread for each. A connection stays with its socket, even while that socket's thread is busy.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::net::{TcpListener, TcpSocket, TcpStream};
/// use std::net::SocketAddr;
///
/// fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
///     let socket = TcpSocket::new_v4()?;
///     socket.set_reuseport(true)?;
///     socket.bind(address)?;
///     socket.listen(1024)
/// }
///
/// let first = listen("127.0.0.1:0".parse().expect("an address"))?;
/// let address = first.local_addr()?;
/// let second = std::thread::spawn(move || {
///     gimmal::run(async {
///         let second = listen(address)?;
///         assert_eq!(second.local_addr()?, address);
///         // Serves here, as the first thread does.
///         std::io::Result::Ok(())
///     })
/// });
/// # second.join().expect("a thread")?;
/// # gimmal::run(async {
/// #     let (client, accepted) = gimmal::join((TcpStream::connect(address), first.accept())).await;
/// #     assert_eq!(client?.local_addr()?, accepted?.1);
/// #     std::io::Result::Ok(())
/// # })
/// # }
/// ```
#[derive(Debug)]
pub struct TcpListener {
    accepting: Accepting,
}

impl TcpListener {
    /// Listens on an address, or on the first address of a name that can be bound. Port 0 selects a free port, which
    /// [`local_addr`](TcpListener::local_addr) returns.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::TcpListener;
    /// use std::io::ErrorKind;
    ///
    /// gimmal::run(async {
    ///     let listener = TcpListener::bind(("localhost", 0)).await?;
    ///     let address = listener.local_addr()?;
    ///     assert!(address.ip().is_loopback() && address.port() != 0);
    ///
    ///     let error = TcpListener::bind(address).await.unwrap_err();
    ///     assert_eq!(error.kind(), ErrorKind::AddrInUse);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidInput` for text that is not an address; the errors of [`lookup_host`](crate::net::lookup_host), with the
    /// name; those of `bind(2)` and `listen(2)`, with the address: `AddrInUse`, `AddrNotAvailable` if it is not an
    /// address of this machine, `PermissionDenied` for ports below 1024, EMFILE and ENFILE if no descriptor is left.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: the only wait is for a name lookup.
    // Test: tests/listening.rs
    pub async fn bind(to: impl ToAddrs) -> io::Result<TcpListener> {
        try_each(to, TcpListener::listen_on).await
    }

    fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
        let listening = || {
            let domain = Domain::for_address(address);
            let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
            // As in std: a port with connections in TIME_WAIT can be bound again.
            socket.set_reuse_address(true)?;
            socket.bind(&address.into())?;
            socket.listen(BACKLOG)?;
            Ok(socket)
        };
        let socket =
            listening().map_err(|error| with_context(error, format!("listen on {address}")))?;
        Ok(TcpListener::new(socket.into()))
    }

    /// Wraps a listening socket.
    pub(super) fn new(fd: OwnedFd) -> TcpListener {
        let address = SockRef::from(&fd).local_addr().and_then(to_ip);
        let address = address.map_or_else(|_| "a socket".to_owned(), |address| address.to_string());
        TcpListener {
            accepting: Accepting::new(SharedFd::from(fd), address),
        }
    }

    /// Returns the address that the listener is bound to.
    ///
    /// # Errors
    ///
    /// If `getsockname(2)` fails, which is not expected on an open socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        to_ip(SockRef::from(self).local_addr()?)
    }
}

fn connection(accepted: Accepted) -> io::Result<(TcpStream, SocketAddr)> {
    let peer = match accepted.peer {
        Some(peer) => to_ip(peer)?,
        // A connection that has already ended has no peer address.
        None => SockRef::from(&accepted.fd)
            .peer_addr()
            .and_then(to_ip)
            .unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0))),
    };
    Ok((TcpStream::new(accepted.fd, Some(peer)), peer))
}

stream_listener! {
    TcpListener of TcpStream, Incoming, from std::net::TcpListener,
    /// Waits for the next connection, and returns it with the peer's address. If the connection has ended by then, the
    /// address may be `0.0.0.0:0`.
    accept,
    /// Wraps a listening TCP socket, such as one handed over by a service manager or sent by a peer.
    from
}
