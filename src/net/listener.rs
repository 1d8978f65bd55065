//! What connections can be accepted from, whatever kind they are.

use super::TcpListener;
use super::accepting::Way;
use super::tcp::{TcpStream, connection};
use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;

/// Listens for connections: what [`serve`](super::serve()) takes.
pub trait Listener {
    /// A connection.
    type Stream;

    /// Who is at the other end. Faults of a connection name it by its `Debug`.
    type Addr: Debug;

    /// Waits for the next connection.
    ///
    /// # Errors
    ///
    /// What the kernel says; [`Canceled`](crate::Canceled).
    ///
    /// # Cancel safety
    ///
    /// No connection is lost: one that arrives for a wait that was canceled or dropped is for the next (`tests/listening.rs`).
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Self::Addr)>>;

    /// Waits for the next connection, and may have others accepted meanwhile, which are for the next waits, until `ahead` of
    /// them are there.
    ///
    /// # Errors
    ///
    /// Those of [`accept`](Listener::accept).
    ///
    /// # Cancel safety
    ///
    /// That of [`accept`](Listener::accept) (`tests/listening.rs`).
    fn accept_ahead(
        &self,
        ahead: u32,
    ) -> impl Future<Output = io::Result<(Self::Stream, Self::Addr)>> {
        let _ = ahead;
        self.accept()
    }

    /// Has nothing more accepted until the next wait, and waits until that is so.
    ///
    /// # Errors
    ///
    /// [`Canceled`](crate::Canceled).
    ///
    /// # Cancel safety
    ///
    /// There is nothing to lose (`tests/listening.rs`).
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
        connection(self.accepting().next(Way::Ahead(ahead)).await?)
    }

    fn pause(&self) -> impl Future<Output = io::Result<()>> {
        self.accepting().stop()
    }
}
