//! A listening Unix socket.

use super::UnixStream;
use super::address::{from_kernel, of_path, to_kernel, unnamed};
use crate::buf::BufError;
use crate::group::Report;
use crate::net::accepting::{AcceptMode, Accepting, Arrivals};
use crate::net::{Listener, Serve, serve};
use crate::op::{Accepted, SharedFd, describe, fd_type};
use crate::sys::with_context;
use futures_core::Stream;
use socket2::{Domain, SockRef, Socket, Type};
use std::future::Pending;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The number of connections that the kernel queues until they are accepted, as in std.
const BACKLOG: i32 = 128;

/// A Unix socket that listens for connections, at a path or under an abstract name.
///
/// Binding creates the file at the path, which stays when the listener is dropped, as in std: remove it before binding
/// the path again. An abstract name disappears with its socket.
///
/// A connection is taken from the kernel in the same poll that returns it, so a canceled or dropped wait loses none,
/// and other holders of the socket get the connections that are not accepted here. When the listener is dropped, its
/// abstract name can be bound again at once, and connections that were not accepted are closed, unless the socket has
/// other holders.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::net::{UnixListener, UnixStream};
///
/// gimmal::run(async {
///     let directory = tempfile::tempdir()?;
///     let path = directory.path().join("socket");
///     let listener = UnixListener::bind(&path)?;
///     let (client, accepted) = gimmal::join((UnixStream::connect(&path), listener.accept())).await;
///     let (server, peer) = accepted?;
///     assert!(peer.is_unnamed());
///     client?.write_all("hello").await?;
///     assert_eq!(server.read_exact(vec![0; 5], 5).await?, b"hello");
///     Ok(())
/// })
/// # }
/// ```
#[derive(Debug)]
pub struct UnixListener {
    accepting: Accepting,
}

impl UnixListener {
    /// Listens at a path, which must not exist.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a path that is empty, contains a zero byte, or is longer than 107 bytes; those of `bind(2)`,
    /// with the path: `AddrInUse` if the path exists, `NotFound` if its directory does not, `PermissionDenied`,
    /// `ReadOnlyFilesystem`; EMFILE and ENFILE if no descriptor is left.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<UnixListener> {
        UnixListener::bind_addr(&of_path(path.as_ref())?)
    }

    /// Listens at an address: a path, or an abstract name
    /// ([`from_abstract_name`](std::os::linux::net::SocketAddrExt::from_abstract_name)).
    ///
    /// # Errors
    ///
    /// `InvalidInput` for an unnamed address; those of `bind(2)`, with the address, as for
    /// [`bind`](UnixListener::bind).
    pub fn bind_addr(address: &SocketAddr) -> io::Result<UnixListener> {
        let address = to_kernel(address)?;
        let explained =
            |error: io::Error| with_context(error, format!("listen on {}", describe(&address)));
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(explained)?;
        socket
            .bind(&address)
            .and_then(|()| socket.listen(BACKLOG))
            .map_err(explained)?;
        Ok(UnixListener::new(socket.into()))
    }

    fn new(fd: OwnedFd) -> UnixListener {
        let address = SockRef::from(&fd).local_addr();
        let address = address.map_or_else(|_| "a socket".to_owned(), |address| describe(&address));
        UnixListener {
            accepting: Accepting::new(SharedFd::from(fd), address),
        }
    }

    /// Waits for the next connection, and returns it with the peer's address, which most often is unnamed.
    ///
    /// If no descriptor is left for the connection (`EMFILE`, `ENFILE`), or no memory, this waits and tries again, and
    /// reports [`Fault::AcceptPaused`](crate::runtime::Fault::AcceptPaused) to the hook, once.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::{UnixListener, UnixStream};
    /// use std::time::Duration;
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("socket");
    /// gimmal::run(async {
    ///     let listener = UnixListener::bind(&path)?;
    ///     // Nobody connects.
    ///     let accepted = gimmal::timeout(Duration::from_millis(1), listener.accept()).await;
    ///     assert!(gimmal::is_timeout(&accepted.unwrap_err()));
    ///     // The listener has lost nothing.
    ///     let client = UnixStream::connect(&path).await?;
    ///     let (server, _peer) = listener.accept().await?;
    ///     client.write_all("hello").await?;
    ///     assert_eq!(server.read(vec![0; 64]).await?.1, b"hello");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a socket that does not listen: `accept(2)`, with the address. Shortages are retried (see
    /// above), and failures of the connection itself are skipped. [`Canceled`](crate::Canceled). The listener stays
    /// usable.
    ///
    /// # Cancel safety
    ///
    /// No connection is lost: one that arrives for a wait that was canceled or dropped goes to the next wait.
    // Test: tests/net/unix_connecting.rs
    pub async fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        connection(self.accepting.next(AcceptMode::OneByOne).await?)
    }

    /// Returns the connections as a stream. Each is accepted when the stream is polled for it, as by
    /// [`accept`](UnixListener::accept).
    #[must_use]
    pub fn incoming(&self) -> UnixIncoming<'_> {
        UnixIncoming(Arrivals::new(&self.accepting))
    }

    /// Accepts connections and runs a handler for each until it is stopped, then lets the open connections finish: see
    /// [`net::serve`](crate::net::serve()).
    ///
    /// ```no_run
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::UnixListener;
    ///
    /// gimmal::run(async {
    ///     let listener = UnixListener::bind("/run/hello")?;
    ///     let served = listener
    ///         .serve(async |stream, _peer| stream.write_all("hello\n").await)
    ///         .until(gimmal::signal::ctrl_c())
    ///         .await?;
    ///     println!("served {} connections", served.accepted);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn serve<H, R>(&self, handler: H) -> Serve<'_, UnixListener, H, Pending<()>>
    where
        H: AsyncFn(UnixStream, SocketAddr) -> R,
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
        from_kernel(&SockRef::from(self).local_addr()?)
    }

    /// Converts the listener into a std listener over the same socket, which can be passed to another thread or
    /// process.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::{UnixListener, UnixStream};
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("socket");
    /// gimmal::run(async {
    ///     let listener = UnixListener::bind(&path)?.into_std().await?;
    ///     let thread = std::thread::spawn(move || listener.accept());
    ///     let client = UnixStream::connect(&path).await?;
    ///     let accepted = gimmal::task::spawn_blocking(move || thread.join()).await?;
    ///     let (server, _peer) = accepted.expect("the thread does not panic")?;
    ///     drop(server);
    ///     assert_eq!(client.read(vec![0; 64]).await?.0, 0);
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
    // Test: tests/net/unix_connecting.rs
    pub async fn into_std(
        self,
    ) -> Result<std::os::unix::net::UnixListener, BufError<UnixListener>> {
        match self.accepting.into_descriptor().await {
            Ok(descriptor) => Ok(descriptor.into_owned().into()),
            Err((error, accepting)) => Err(BufError::new(error, UnixListener { accepting })),
        }
    }

    /// Stops listening, and waits until no operation of this listener is left in the kernel. Closes connections that
    /// were accepted ahead and not taken. Dropping a listener does the same, but does not report errors. The file at
    /// the path stays.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::{UnixListener, UnixStream};
    /// use std::io::ErrorKind;
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("socket");
    /// gimmal::run(async {
    ///     UnixListener::bind(&path)?.close().await?;
    ///     // The file is still there.
    ///     let error = UnixStream::connect(&path).await.unwrap_err();
    ///     assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    ///     std::fs::remove_file(&path)?;
    ///     UnixListener::bind(&path)?.close().await?;
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
    // Test: tests/net/unix_connecting.rs
    pub async fn close(self) -> io::Result<()> {
        self.accepting.close().await
    }

    /// Creates a listener from a std listener.
    #[must_use]
    pub fn from_std(listener: std::os::unix::net::UnixListener) -> UnixListener {
        UnixListener::new(listener.into())
    }
}

impl Listener for UnixListener {
    type Stream = UnixStream;
    type Addr = SocketAddr;

    fn accept(&self) -> impl Future<Output = io::Result<(UnixStream, SocketAddr)>> {
        self.accept()
    }

    async fn accept_ahead(&self, ahead: u32) -> io::Result<(UnixStream, SocketAddr)> {
        connection(self.accepting.next(AcceptMode::Ahead(ahead)).await?)
    }

    fn pause(&self) -> impl Future<Output = io::Result<()>> {
        self.accepting.stop()
    }
}

fn connection(accepted: Accepted) -> io::Result<(UnixStream, SocketAddr)> {
    let peer = match accepted.peer {
        Some(peer) => from_kernel(&peer)?,
        // A connection that has already ended has no peer address.
        None => match SockRef::from(&accepted.fd).peer_addr() {
            Ok(peer) => from_kernel(&peer)?,
            Err(_) => unnamed()?,
        },
    };
    Ok((UnixStream::new(accepted.fd), peer))
}

/// The connections of a listener, returned by [`UnixListener::incoming`]. It also implements
/// [`Stream`](futures_core::Stream), for other crates' combinators; the stream never ends.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use futures_util::TryStreamExt;
/// use gimmal::net::{UnixListener, UnixStream};
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("socket");
/// gimmal::run(async {
///     let listener = UnixListener::bind(&path)?;
///     let clients = [UnixStream::connect(&path).await?, UnixStream::connect(&path).await?];
///     let mut incoming = listener.incoming();
///     for client in clients {
///         let Some(server) = incoming.try_next().await? else {
///             unreachable!("the stream never ends");
///         };
///         client.write_all("hello").await?;
///         assert_eq!(server.read(vec![0; 64]).await?.1, b"hello");
///     }
///     Ok(())
/// })
/// # }
/// ```
///
/// # Cancel safety
///
/// No connection is lost when a wait or this value is dropped: connections stay with the listener.
// Test: tests/net/unix_connecting.rs
#[derive(Debug)]
pub struct UnixIncoming<'a>(Arrivals<'a>);

impl UnixIncoming<'_> {
    /// Waits for the next connection.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::{UnixListener, UnixStream};
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("socket");
    /// gimmal::run(async {
    ///     let listener = UnixListener::bind(&path)?;
    ///     let to = path.clone();
    ///     let _client = gimmal::spawn(async move {
    ///         let client = UnixStream::connect(to).await?;
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
    /// Those of [`UnixListener::accept`].
    ///
    /// # Cancel safety
    ///
    /// No connection is lost: one that arrives for a wait that was canceled or dropped goes to the next wait.
    // Test: tests/net/unix_connecting.rs
    pub async fn next(&mut self) -> io::Result<UnixStream> {
        Ok(UnixStream::new(self.0.next().await?.fd))
    }
}

impl Stream for UnixIncoming<'_> {
    type Item = io::Result<UnixStream>;

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<UnixStream>>> {
        let accepted = ready!(self.get_mut().0.poll_next(context));
        Poll::Ready(Some(accepted.map(|accepted| UnixStream::new(accepted.fd))))
    }
}

fd_type! {
    UnixListener, self => self.accepting.fd(),
    from std::os::unix::net::UnixListener,
    /// Wraps a listening Unix socket, such as one handed over by a service manager or sent by a peer.
    fd => UnixListener::new(fd)
}
