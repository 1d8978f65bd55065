//! The trait of listeners of every kind, and what listening sockets have in common.

use std::fmt::Debug;
use std::io;

/// The number of connections that the kernel queues until they are accepted, as in std.
pub(super) const BACKLOG: i32 = 128;

/// A source of connections, as [`serve`](super::serve()) takes it.
///
/// ```
/// use gimmal::net::{self, Listener, TcpListener, TcpStream};
/// use std::io;
/// use std::net::SocketAddr;
///
/// /// Sends small writes at once.
/// struct NoDelay(TcpListener);
///
/// impl Listener for NoDelay {
///     type Stream = TcpStream;
///     type Addr = SocketAddr;
///
///     async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
///         let (stream, peer) = self.0.accept().await?;
///         stream.set_nodelay(true)?;
///         Ok((stream, peer))
///     }
/// }
///
/// # fn main() -> io::Result<()> {
/// gimmal::run(async {
///     let listener = NoDelay(TcpListener::bind("127.0.0.1:0").await?);
///     let address = listener.0.local_addr()?;
///     let client = async {
///         let client = TcpStream::connect(address).await?;
///         assert_eq!(client.read_to_end(Vec::new()).await?.1, b"true");
///         io::Result::Ok(())
///     };
///     let handler = async |stream: TcpStream, _peer| {
///         let is_set = stream.nodelay()?.to_string();
///         stream.write_all(is_set).await?;
///         io::Result::Ok(())
///     };
///     let served = net::serve(&listener, handler).until(client).await?;
///     assert_eq!((served.accepted, served.failed), (1, 0));
///     Ok(())
/// })
/// # }
/// ```
pub trait Listener {
    /// The type of a connection.
    type Stream;

    /// The type of a peer's address. Reported failures of a connection print it with `Debug`.
    type Addr: Debug;

    /// Waits for the next connection.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::{Listener, TcpListener, TcpStream};
    ///
    /// gimmal::run(async {
    ///     async fn peer_of_first<L: Listener>(listener: &L) -> std::io::Result<String> {
    ///         let (_stream, peer) = listener.accept().await?;
    ///         Ok(format!("{peer:?}"))
    ///     }
    ///
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let client = TcpStream::connect(listener.local_addr()?).await?;
    ///     assert_eq!(peer_of_first(&listener).await?, client.local_addr()?.to_string());
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the type, for sockets those of [`TcpListener::accept`](super::TcpListener::accept);
    /// [`Canceled`](crate::Canceled).
    ///
    /// # Cancel safety
    ///
    /// No connection is lost: one that arrives for a wait that was canceled or dropped goes to the next wait.
    // Test: tests/listening.rs
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Self::Addr)>>;

    /// Waits for the next connection, and may also accept up to `ahead` more, which are kept for later waits.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::{Listener, TcpListener, TcpStream};
    ///
    /// gimmal::run(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let address = listener.local_addr()?;
    ///     let clients = [TcpStream::connect(address).await?, TcpStream::connect(address).await?];
    ///     // The second one may be here already.
    ///     for client in clients {
    ///         let (_stream, peer) = listener.accept_ahead(1).await?;
    ///         assert_eq!(peer, client.local_addr()?);
    ///     }
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`accept`](Listener::accept).
    ///
    /// # Cancel safety
    ///
    /// No connection is lost: one that arrives for a wait that was canceled or dropped goes to the next wait.
    // Test: tests/listening.rs
    fn accept_ahead(
        &self,
        ahead: u32,
    ) -> impl Future<Output = io::Result<(Self::Stream, Self::Addr)>> {
        let _ = ahead;
        self.accept()
    }

    /// Stops accepting until the next `accept`, and waits for the kernel to confirm.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::{Listener, TcpListener, TcpStream};
    ///
    /// gimmal::run(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let address = listener.local_addr()?;
    ///     let first = TcpStream::connect(address).await?;
    ///     assert_eq!(listener.accept_ahead(8).await?.1, first.local_addr()?);
    ///     listener.pause().await?;
    ///     // From now on, connections wait in the kernel, where another holder of the socket can accept them.
    ///     let second = TcpStream::connect(address).await?;
    ///     let other = std::net::TcpListener::from(std::os::fd::AsFd::as_fd(&listener).try_clone_to_owned()?);
    ///     assert_eq!(other.accept()?.1, second.local_addr()?);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Canceled`](crate::Canceled).
    ///
    /// # Cancel safety
    ///
    /// No connection is lost: what was accepted ahead is kept for the next `accept`.
    // Test: tests/listening.rs
    fn pause(&self) -> impl Future<Output = io::Result<()>> {
        std::future::ready(Ok(()))
    }
}

/// Generates what listening sockets have in common, for a type with a field `accepting: Accepting` and a function
/// `new(OwnedFd)`. The module has a function `connection(Accepted) -> io::Result<($stream, SocketAddr)>`.
macro_rules! stream_listener {
    (
        $type:ident of $stream:ident, $incoming:ident, from $std:ty,
        $(#[$accept:meta])* accept, $(#[$from:meta])* from
    ) => {
        impl $type {
            $(#[$accept])*
            ///
            /// If no descriptor is left for the connection (`EMFILE`, `ENFILE`), or no memory, this waits and tries
            /// again, and reports [`Fault::AcceptPaused`](crate::runtime::Fault::AcceptPaused) to the hook, once.
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
            /// `InvalidInput` for a socket that does not listen, `PermissionDenied` if a firewall forbids it:
            /// `accept(2)`, with the address. Shortages are retried (see above), and failures of the connection itself
            /// are skipped. [`Canceled`](crate::Canceled). The listener stays usable.
            ///
            /// # Cancel safety
            ///
            /// No connection is lost: one that arrives for a wait that was canceled or dropped goes to the next wait.
            // Test: tests/listening.rs
            pub async fn accept(&self) -> io::Result<($stream, SocketAddr)> {
                connection(self.accepting.next(AcceptMode::OneByOne).await?)
            }

            /// Returns the connections as a stream. Each is accepted when the stream is polled for it, as by
            /// [`accept`](Self::accept).
            #[must_use]
            pub fn incoming(&self) -> $incoming<'_> {
                $incoming {
                    listener: self,
                    next: None,
                }
            }

            /// Accepts connections and runs a handler for each until it is stopped, then lets the open connections
            /// finish: see [`net::serve`](crate::net::serve()).
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
            pub fn serve<H, R>(&self, handler: H) -> Serve<'_, Self, H, Pending<()>>
            where
                H: AsyncFn($stream, SocketAddr) -> R,
                R: Report,
            {
                serve(self, handler)
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
            /// `ResourceBusy` if a connection that was accepted ahead ([`Serve::accept_ahead`]) has not been taken:
            /// accept it, then try again; [`Canceled`](crate::Canceled). The error contains the listener.
            ///
            /// # Cancel safety
            ///
            /// Dropping the wait drops the listener, with the connections in its queue. After a cancel, the error
            /// contains it.
            // Test: tests/listening.rs
            pub async fn into_std(self) -> Result<$std, BufError<$type>> {
                match self.accepting.into_descriptor().await {
                    Ok(descriptor) => Ok(descriptor.into_owned().into()),
                    Err((error, accepting)) => Err(BufError::new(error, $type { accepting })),
                }
            }

            /// Stops listening, and waits until no operation of this listener is left in the kernel. Closes connections
            /// that were accepted ahead and not taken. Dropping a listener does the same, but does not report errors.
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
            // Test: tests/listening.rs
            pub async fn close(self) -> io::Result<()> {
                self.accepting.close().await
            }

            /// Creates a listener from a std listener.
            #[must_use]
            pub fn from_std(listener: $std) -> $type {
                $type::new(listener.into())
            }
        }

        impl Listener for $type {
            type Stream = $stream;
            type Addr = SocketAddr;

            fn accept(&self) -> impl Future<Output = io::Result<($stream, SocketAddr)>> {
                self.accept()
            }

            async fn accept_ahead(&self, ahead: u32) -> io::Result<($stream, SocketAddr)> {
                connection(self.accepting.next(AcceptMode::Ahead(ahead)).await?)
            }

            fn pause(&self) -> impl Future<Output = io::Result<()>> {
                self.accepting.stop()
            }
        }

        /// The connections of a listener, returned by its `incoming`. It also implements
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
        // Test: tests/listening.rs
        #[derive(Debug)]
        pub struct $incoming<'a> {
            listener: &'a $type,
            /// The wait of a poll, which continues with the next poll.
            next: Option<NextAccepted<'a>>,
        }

        impl $incoming<'_> {
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
            /// Those of the listener's `accept`.
            ///
            /// # Cancel safety
            ///
            /// No connection is lost: one that arrives for a wait that was canceled or dropped goes to the next wait.
            // Test: tests/listening.rs
            pub async fn next(&mut self) -> io::Result<$stream> {
                self.next = None;
                self.listener.accept().await.map(|(stream, _)| stream)
            }
        }

        impl Stream for $incoming<'_> {
            type Item = io::Result<$stream>;

            fn poll_next(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
            ) -> Poll<Option<io::Result<$stream>>> {
                let Self { listener, next } = self.get_mut();
                let begin = || listener.accepting.next(AcceptMode::OneByOne);
                let accepted = ready!(Pin::new(next.get_or_insert_with(begin)).poll(context));
                *next = None;
                let connected = accepted.and_then(connection);
                Poll::Ready(Some(connected.map(|(stream, _)| stream)))
            }
        }

        fd_type! {
            $type, self => self.accepting.fd(),
            from $std,
            $(#[$from])*
            fd => $type::new(fd)
        }
    };
}

pub(super) use stream_listener;
