//! The trait of listeners of every kind.

use super::TcpListener;
use super::accepting::AcceptMode;
use super::tcp::{TcpStream, connection};
use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;

/// A source of connections, as [`serve`](super::serve()) takes it.
pub trait Listener {
    /// The type of a connection.
    type Stream;

    /// The type of a peer's address. Reported failures of a connection print it with `Debug`.
    type Addr: Debug;

    /// Waits for the next connection.
    ///
    /// # Errors
    ///
    /// Those of the listener, for sockets those of `accept(2)`; [`Canceled`](crate::Canceled).
    ///
    /// # Cancel safety
    ///
    /// No connection is lost: one that arrives for a wait that was canceled or dropped goes to the next wait.
    // Test: tests/listening.rs
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Self::Addr)>>;

    /// Waits for the next connection, and may also accept up to `ahead` more, which are kept for later waits.
    ///
    /// # Errors
    ///
    /// Those of [`accept`](Listener::accept).
    ///
    /// # Cancel safety
    ///
    /// As [`accept`](Listener::accept).
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
    /// # Errors
    ///
    /// [`Canceled`](crate::Canceled).
    ///
    /// # Cancel safety
    ///
    /// There is nothing to lose.
    // Test: tests/listening.rs
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
