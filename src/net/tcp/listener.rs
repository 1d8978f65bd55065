//! A listening TCP socket.

use super::TcpStream;
use crate::buf::BufError;
use crate::group::Report;
use crate::net::accepting::{AcceptMode, Accepting, Arrivals};
use crate::net::names::{to_ip, try_each};
use crate::net::{Serve, ToAddrs, serve};
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

/// The number of connections that the kernel queues until they are accepted, as in std.
const BACKLOG: i32 = 128;

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
    // Test: tests/net/listening.rs
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

    pub(in crate::net) fn accepting(&self) -> &Accepting {
        &self.accepting
    }

    /// Waits for the next connection, and returns it with the peer's address. If the connection has ended by then, the
    /// address may be `0.0.0.0:0`.
    ///
    /// If no descriptor is left for the connection (`EMFILE`, `ENFILE`), or no memory, this waits and tries again, and
    /// reports [`Fault::AcceptPaused`](crate::runtime::Fault::AcceptPaused) to the hook, once.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::{TcpListener, TcpStream};
    /// use std::time::Duration;
    ///
    /// gimmal::run(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     // Nobody connects.
    ///     let accepted = gimmal::timeout(Duration::from_millis(1), listener.accept()).await;
    ///     assert!(gimmal::is_timeout(&accepted.unwrap_err()));
    ///     // The listener has lost nothing.
    ///     let client = TcpStream::connect(listener.local_addr()?).await?;
    ///     let (_server, peer) = listener.accept().await?;
    ///     assert_eq!(peer, client.local_addr()?);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a socket that does not listen, `PermissionDenied` if a firewall forbids it: `accept(2)`, with
    /// the address. Shortages are retried (see above), and failures of the connection itself are skipped.
    /// [`Canceled`](crate::Canceled). The listener stays usable.
    ///
    /// # Cancel safety
    ///
    /// No connection is lost: one that arrives for a wait that was canceled or dropped goes to the next wait.
    // Test: tests/net/listening.rs
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        connection(self.accepting.next(AcceptMode::OneByOne).await?)
    }

    /// Returns the connections as a stream. Each is accepted when the stream is polled for it, as by
    /// [`accept`](TcpListener::accept).
    #[must_use]
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming(Arrivals::new(&self.accepting))
    }

    /// Accepts connections and runs a handler for each until it is stopped, then lets the open connections finish: see
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

    /// Returns the address that the listener is bound to.
    ///
    /// # Errors
    ///
    /// If `getsockname(2)` fails, which is not expected on an open socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        to_ip(SockRef::from(self).local_addr()?)
    }

    /// Converts the listener into a std listener over the same socket, which can be passed to another thread or
    /// process.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::{TcpListener, TcpStream};
    ///
    /// gimmal::run(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let address = listener.local_addr()?;
    ///     let listener = listener.into_std().await?;
    ///     let thread = std::thread::spawn(move || listener.accept());
    ///     let client = TcpStream::connect(address).await?;
    ///     let accepted = gimmal::task::spawn_blocking(move || thread.join()).await?;
    ///     let (_server, peer) = accepted.expect("the thread does not panic")?;
    ///     assert_eq!(peer, client.local_addr()?);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `ResourceBusy` if a connection that was accepted ahead ([`Serve::accept_ahead`]) has not been taken: accept it,
    /// then try again; [`Canceled`](crate::Canceled). The error contains the listener.
    ///
    /// # Cancel safety
    ///
    /// Dropping the wait drops the listener, with the connections in its queue. After a cancel, the error contains it.
    // Test: tests/net/listening.rs
    pub async fn into_std(self) -> Result<std::net::TcpListener, BufError<TcpListener>> {
        match self.accepting.into_descriptor().await {
            Ok(descriptor) => Ok(descriptor.into_owned().into()),
            Err((error, accepting)) => Err(BufError::new(error, TcpListener { accepting })),
        }
    }

    /// Stops listening, and waits until no operation of this listener is left in the kernel. Closes connections that
    /// were accepted ahead and not taken. Dropping a listener does the same, but does not report errors.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::TcpListener;
    ///
    /// gimmal::run(async {
    ///     let listener = TcpListener::bind("127.0.0.3:0").await?;
    ///     let address = listener.local_addr()?;
    ///     listener.close().await?;
    ///     // The address is free.
    ///     assert_eq!(TcpListener::bind(address).await?.local_addr()?, address);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Canceled`](crate::Canceled), after which the listener closes in the background.
    ///
    /// # Cancel safety
    ///
    /// The listener closes even after a cancel or a drop, in the background.
    // Test: tests/net/listening.rs
    pub async fn close(self) -> io::Result<()> {
        self.accepting.close().await
    }

    /// Creates a listener from a std listener.
    #[must_use]
    pub fn from_std(listener: std::net::TcpListener) -> TcpListener {
        TcpListener::new(listener.into())
    }
}

pub(in crate::net) fn connection(accepted: Accepted) -> io::Result<(TcpStream, SocketAddr)> {
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

/// The connections of a listener, returned by [`TcpListener::incoming`]. It also implements
/// [`Stream`](futures_core::Stream), for other crates' combinators; the stream never ends.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use futures_util::TryStreamExt;
/// use gimmal::net::{TcpListener, TcpStream};
///
/// gimmal::run(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let address = listener.local_addr()?;
///     let clients = [TcpStream::connect(address).await?, TcpStream::connect(address).await?];
///     let mut incoming = listener.incoming();
///     for client in clients {
///         let Some(server) = incoming.try_next().await? else {
///             unreachable!("the stream never ends");
///         };
///         assert_eq!(server.peer_addr()?, client.local_addr()?);
///     }
///     Ok(())
/// })
/// # }
/// ```
///
/// # Cancel safety
///
/// No connection is lost when a wait or this value is dropped: connections stay with the listener.
// Test: tests/net/listening.rs
#[derive(Debug)]
pub struct Incoming<'a>(Arrivals<'a>);

impl Incoming<'_> {
    /// Waits for the next connection.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::{TcpListener, TcpStream};
    ///
    /// gimmal::run(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let address = listener.local_addr()?;
    ///     let _client = gimmal::spawn(async move {
    ///         let client = TcpStream::connect(address).await?;
    ///         client.write_all("hello").await?;
    ///         std::io::Result::Ok(())
    ///     });
    ///     let mut incoming = listener.incoming();
    ///     let server = incoming.next().await?;
    ///     assert_eq!(server.read_exact(vec![0; 5], 5).await?, b"hello");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`TcpListener::accept`].
    ///
    /// # Cancel safety
    ///
    /// No connection is lost: one that arrives for a wait that was canceled or dropped goes to the next wait.
    // Test: tests/net/listening.rs
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

fd_type! {
    TcpListener, self => self.accepting.fd(),
    from std::net::TcpListener,
    /// Wraps a listening TCP socket, such as one handed over by a service manager or sent by a peer.
    fd => TcpListener::new(fd)
}
