//! A TCP socket that listens.

use super::TcpStream;
use crate::buf::BufError;
use crate::group::Report;
use crate::net::accepting::{Accepting, Arrivals, Way};
use crate::net::names::{resolve, to_ip};
use crate::net::{Serve, ToAddrs, serve};
use crate::op::{Accepted, SharedFd};
use crate::sys::with_context;
use futures_core::Stream;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::future::Pending;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Connections that the kernel keeps until they are accepted: what std asks for.
const BACKLOG: i32 = 128;

/// A TCP socket that listens for connections.
///
/// A connection is taken from the kernel by the poll that hands it out, so a wait that is canceled or dropped loses none. When
/// the listener is dropped its address can be bound again at once, and connections that nobody has accepted are closed, unless
/// the socket has other holders.
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
/// One socket may have several holders: threads that each have a clone of std's listener, other processes. Each connection
/// goes to a holder that waits for one; a thread that computes, or that nobody waits on, takes none. But all that wait are
/// woken for each connection. Where connections come fast, give each thread a socket of its own at the same address, with
/// `SO_REUSEPORT`: then the kernel deals connections out among the sockets, and wakes one thread for each. A connection stays with
/// its socket, also while the thread of that one has no time.
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
    /// Listens on an address, or on the first address of a name that can be had. Port 0 is one that is free, which
    /// [`local_addr`](TcpListener::local_addr) tells.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for text that is no address; what the resolver says, with the name; what the kernel says, with the
    /// address: `AddrInUse`, `AddrNotAvailable`, `PermissionDenied` and so on.
    ///
    /// # Cancel safety
    ///
    /// There is nothing to lose: only a name is waited for (`tests/listening.rs`).
    pub async fn bind(to: impl ToAddrs) -> io::Result<TcpListener> {
        let mut last = None;
        for address in resolve(to).await? {
            match TcpListener::listen_on(address) {
                Ok(listener) => return Ok(listener),
                Err(error) => last = Some(error),
            }
        }
        match last {
            Some(error) => Err(error),
            None => unreachable!("a target that was resolved has an address"),
        }
    }

    fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
        let listening = || {
            let domain = Domain::for_address(address);
            let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
            // As std: a port whose connections have only just ended can be bound again.
            socket.set_reuse_address(true)?;
            socket.bind(&address.into())?;
            socket.listen(BACKLOG)?;
            Ok(socket)
        };
        let socket =
            listening().map_err(|error| with_context(error, format!("listen on {address}")))?;
        Ok(TcpListener::new(socket.into()))
    }

    /// Over a socket that listens.
    pub(super) fn new(fd: OwnedFd) -> TcpListener {
        let address = SockRef::from(&fd).local_addr().and_then(to_ip);
        let address = address.map_or_else(|_| "a socket".to_owned(), |address| address.to_string());
        TcpListener {
            accepting: Accepting::new(SharedFd::from(fd), address),
        }
    }

    pub(in crate::net) fn accepting(&self) -> &Accepting {
        &self.accepting
    }

    /// Waits for the next connection, and says who it is. The address of one that is gone by then may be `0.0.0.0:0`.
    ///
    /// When there is no descriptor for it (`EMFILE`, `ENFILE`) or no memory, it waits and tries again; that is said to the
    /// hook, once ([`Fault::AcceptPaused`](crate::runtime::Fault::AcceptPaused)).
    ///
    /// # Errors
    ///
    /// What the kernel says, with the address; [`Canceled`](crate::Canceled). The listener lives on.
    ///
    /// # Cancel safety
    ///
    /// No connection is lost: one that arrives for a wait that was canceled or dropped is for the next (`tests/listening.rs`).
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        connection(self.accepting.next(Way::OneByOne).await?)
    }

    /// The connections, one after the other, each taken when it is asked for, as by [`accept`](TcpListener::accept).
    #[must_use]
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming(Arrivals::new(&self.accepting))
    }

    /// Accepts connections and runs a handler for each, until it is told to stop; then it lets them come to their end: see
    /// [`net::serve`](crate::net::serve()).
    ///
    /// ```no_run
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::TcpListener;
    ///
    /// gimmal::run(async {
    ///     let listener = TcpListener::bind("127.0.0.1:7777").await?;
    ///     let served = listener
    ///         .serve(async |stream, _peer| stream.write_all("hello\n").await)
    ///         .until(gimmal::signal::ctrl_c())
    ///         .await?;
    ///     println!("served {} connections", served.accepted);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn serve<H, R>(&self, handler: H) -> Serve<'_, TcpListener, H, Pending<()>>
    where
        H: AsyncFn(TcpStream, SocketAddr) -> R,
        R: Report,
    {
        serve(self, handler)
    }

    /// The address that it listens on.
    ///
    /// # Errors
    ///
    /// What `getsockname(2)` says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        to_ip(SockRef::from(self).local_addr()?)
    }

    /// A listener of std over the same socket, which another thread can have, or another process.
    ///
    /// # Errors
    ///
    /// `ResourceBusy` if a connection was accepted ahead ([`Serve::accept_ahead`]) that nobody has asked for: accept it, then
    /// ask again; [`Canceled`](crate::Canceled). The listener is in the error.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it drops the listener (`tests/listening.rs`).
    pub async fn into_std(self) -> Result<std::net::TcpListener, BufError<TcpListener>> {
        match self.accepting.into_descriptor().await {
            Ok(descriptor) => Ok(descriptor.into_owned().into()),
            Err((error, accepting)) => Err(BufError::new(error, TcpListener { accepting })),
        }
    }

    /// Stops listening, and waits until the kernel has nothing of this listener. Connections that were accepted and that
    /// nobody has asked for are closed. Dropping a listener does the same, but does not say whether it went well.
    ///
    /// # Errors
    ///
    /// What `close(2)` says; [`Canceled`](crate::Canceled), and then the listener closes without being waited for.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it leaves the listener closing (`tests/listening.rs`).
    pub async fn close(self) -> io::Result<()> {
        self.accepting.close().await
    }

    /// A listener over one of std.
    #[must_use]
    pub fn from_std(listener: std::net::TcpListener) -> TcpListener {
        TcpListener::new(listener.into())
    }
}

pub(in crate::net) fn connection(accepted: Accepted) -> io::Result<(TcpStream, SocketAddr)> {
    let peer = match accepted.peer {
        Some(peer) => to_ip(peer)?,
        // One that is gone already has none.
        None => SockRef::from(&accepted.fd)
            .peer_addr()
            .and_then(to_ip)
            .unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0))),
    };
    Ok((TcpStream::new(accepted.fd, Some(peer)), peer))
}

/// The connections of a listener, one after the other: of [`TcpListener::incoming`]. It is a [`Stream`](futures_core::Stream) of
/// other crates' combinators, too, which never ends.
///
/// # Cancel safety
///
/// No connection is lost when a wait, or this, is dropped: the listener has them (`tests/listening.rs`).
#[derive(Debug)]
pub struct Incoming<'a>(Arrivals<'a>);

impl Incoming<'_> {
    /// Waits for the next connection.
    ///
    /// # Errors
    ///
    /// Those of [`TcpListener::accept`].
    ///
    /// # Cancel safety
    ///
    /// No connection is lost (`tests/listening.rs`).
    pub async fn next(&mut self) -> io::Result<TcpStream> {
        connection(self.0.next().await?).map(|(stream, _)| stream)
    }
}

impl Stream for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<TcpStream>>> {
        let accepted = ready!(self.get_mut().0.poll_next(context));
        Poll::Ready(Some(accepted.and_then(|accepted| {
            connection(accepted).map(|(stream, _)| stream)
        })))
    }
}

impl From<std::net::TcpListener> for TcpListener {
    fn from(listener: std::net::TcpListener) -> TcpListener {
        TcpListener::from_std(listener)
    }
}

/// Of a TCP socket that listens: what a service manager has handed over, or a peer has sent.
impl From<OwnedFd> for TcpListener {
    fn from(fd: OwnedFd) -> TcpListener {
        TcpListener::new(fd)
    }
}

impl AsRawFd for TcpListener {
    fn as_raw_fd(&self) -> RawFd {
        self.accepting.fd().as_raw_fd()
    }
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.accepting.fd().as_fd()
    }
}
