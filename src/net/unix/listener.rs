//! A listening Unix socket.

use super::UnixStream;
use super::address::{from_kernel, of_path, to_kernel, unnamed};
use crate::buf::BufError;
use crate::group::Report;
use crate::net::accepting::{AcceptMode, Accepting, NextAccepted};
use crate::net::listener::{BACKLOG, stream_listener};
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

    /// Returns the address that the listener is bound to.
    ///
    /// # Errors
    ///
    /// If `getsockname(2)` fails, which is not expected on an open socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        from_kernel(&SockRef::from(self).local_addr()?)
    }
}

fn connection(accepted: Accepted) -> io::Result<(UnixStream, SocketAddr)> {
    let peer = match accepted.peer {
        Some(peer) => Ok(peer),
        None => SockRef::from(&accepted.fd).peer_addr(),
    };
    // A connection that has already ended has no peer address. Std rejects a path of 108 bytes without a terminating
    // zero.
    let peer = peer
        .and_then(|peer| from_kernel(&peer))
        .or_else(|_| unnamed())?;
    Ok((UnixStream::new(accepted.fd), peer))
}

stream_listener! {
    UnixListener of UnixStream, UnixIncoming, from std::os::unix::net::UnixListener,
    /// Waits for the next connection, and returns it with the peer's address, which most often is unnamed.
    accept,
    /// Wraps a listening Unix socket, such as one handed over by a service manager or sent by a peer.
    from
}
