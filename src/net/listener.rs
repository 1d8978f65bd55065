//! The trait of listeners of every kind.

use super::TcpListener;
use super::accepting::AcceptMode;
use super::tcp::{TcpStream, connection};
use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;

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
    /// Those of the type, for sockets those of [`TcpListener::accept`]; [`Canceled`](crate::Canceled).
    ///
    /// # Cancel safety
    ///
    /// No connection is lost: one that arrives for a wait that was canceled or dropped goes to the next wait.
    // Test: tests/net/listening.rs
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
    // Test: tests/net/listening.rs
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
    // Test: tests/net/listening.rs
    fn pause(&self) -> impl Future<Output = io::Result<()>> {
        std::future::ready(Ok(()))
    }
}

impl Listener for TcpListener {
    type Stream = TcpStream;
    type Addr = SocketAddr;

    fn accept(&self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> {
        self.accept()
    }

    async fn accept_ahead(&self, ahead: u32) -> io::Result<(TcpStream, SocketAddr)> {
        connection(self.accepting().next(AcceptMode::Ahead(ahead)).await?)
    }

    fn pause(&self) -> impl Future<Output = io::Result<()>> {
        self.accepting().stop()
    }
}
