//! A Unix stream socket.

use super::address::{from_kernel, of_path, to_kernel};
use crate::buf::{BufError, BufResult, IoBuf, IoBufMut, IoBufs, IoBufsMut};
use crate::io::{AsyncRead, stream_reader, stream_writer};
use crate::net::bytes::byte_stream;
use crate::net::debug::debug;
use crate::net::halves::{
    EndOutput, OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf, end_if_connected, halves,
    owned_halves,
};
use crate::op::{
    Chunks, Connect, FdOwner, Op, Recv, RecvFds, RecvVectored, Send, SendFds, SendVectored,
    SendZeroCopy, SharedFd, Stream, StreamKind, describe, fd_type, recv_exact, send_all,
};
use crate::runtime::{proceed, ready_err};
use crate::sys::{peer_cred, with_context};
use socket2::{Domain, SockRef, Socket, Type};
use std::fmt;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;

/// A connection between Unix sockets, which carries bytes and descriptors between processes of one machine.
///
/// Its methods take `&self`, so one task can read while another writes. A stream belongs to its runtime's thread; to
/// move it to another thread, convert it with [`into_std`](UnixStream::into_std).
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::net::UnixStream;
///
/// gimmal::run(async {
///     let (left, right) = UnixStream::pair()?;
///     left.write_all("hello").await?;
///     assert_eq!(right.read_exact(vec![0; 5], 5).await?, b"hello");
///     assert_eq!(right.peer_cred()?.pid, Some(std::process::id() as i32));
///     Ok(())
/// })
/// # }
/// ```
pub struct UnixStream {
    stream: FdOwner<Rc<Stream>>,
}

byte_stream! { UnixStream, std::os::unix::net::UnixStream }

/// The credentials of the process that created the other end of a connection, returned by [`UnixStream::peer_cred`].
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::net::UnixStream;
/// use std::os::unix::fs::MetadataExt;
///
/// gimmal::run(async {
///     let (left, _right) = UnixStream::pair()?;
///     let peer = left.peer_cred()?;
///     // Only the owner of this process may give orders.
///     let owner = std::fs::metadata("/proc/self")?.uid();
///     assert_eq!(peer.uid, owner);
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UCred {
    /// The process ID. `None` if the process is not visible from this PID namespace.
    pub pid: Option<i32>,
    /// The effective user ID.
    pub uid: u32,
    /// The effective group ID.
    pub gid: u32,
}

impl UnixStream {
    /// Wraps a connected socket.
    pub(super) fn new(fd: SharedFd) -> UnixStream {
        UnixStream {
            stream: FdOwner::new(Stream::new(fd, StreamKind::Unix)),
        }
    }

    /// Connects to a socket that listens at a path. While the listener's queue is full, waits until connections are
    /// accepted.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::{UnixListener, UnixStream};
    /// use std::io::ErrorKind;
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("socket");
    /// gimmal::run(async {
    ///     let error = UnixStream::connect(&path).await.unwrap_err();
    ///     assert_eq!(error.kind(), ErrorKind::NotFound);
    ///
    ///     let listener = UnixListener::bind(&path)?;
    ///     let client = UnixStream::connect(&path).await?;
    ///     client.write_all("hello").await?;
    ///     let (server, _peer) = listener.accept().await?;
    ///     assert_eq!(server.read(vec![0; 64]).await?.1, b"hello");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a path that is empty, contains a zero byte, or is longer than 107 bytes; those of
    /// `connect(2)`, with the path: `NotFound`, `ConnectionRefused` if no socket listens there, `PermissionDenied`;
    /// [`Canceled`](crate::Canceled).
    ///
    /// # Cancel safety
    ///
    /// No connection leaks: one that the kernel still makes after the wait was dropped or canceled is closed.
    // Test: tests/net/unix_connecting.rs
    pub async fn connect(path: impl AsRef<Path>) -> io::Result<UnixStream> {
        match of_path(path.as_ref()) {
            Ok(address) => UnixStream::connect_addr(&address).await,
            Err(error) => ready_err(error).await,
        }
    }

    /// Connects to an address: a path, or an abstract name
    /// ([`from_abstract_name`](std::os::linux::net::SocketAddrExt::from_abstract_name)).
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::{UnixListener, UnixStream};
    /// use std::os::linux::net::SocketAddrExt;
    /// use std::os::unix::net::SocketAddr;
    ///
    /// gimmal::run(async {
    ///     let name = format!("gimmal-example-{}", std::process::id());
    ///     let address = SocketAddr::from_abstract_name(name)?;
    ///     let _listener = UnixListener::bind_addr(&address)?;
    ///     let client = UnixStream::connect_addr(&address).await?;
    ///     assert!(client.peer_addr()?.as_abstract_name().is_some());
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidInput` for an unnamed address; those of [`connect`](UnixStream::connect).
    ///
    /// # Cancel safety
    ///
    /// No connection leaks: one that the kernel still makes after the wait was dropped or canceled is closed.
    // Test: tests/net/unix_connecting.rs
    pub async fn connect_addr(address: &SocketAddr) -> io::Result<UnixStream> {
        proceed().await?;
        let address = to_kernel(address)?;
        let name = describe(&address);
        let explained = |error: io::Error| with_context(error, format!("connect to {name}"));
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(explained)?;
        let fd = SharedFd::from(OwnedFd::from(socket));
        match Connect::new(fd, address).await {
            Ok(fd) => Ok(UnixStream::new(fd)),
            Err(error) if error.raw_os_error().is_some() => Err(explained(error)),
            Err(error) => Err(error),
        }
    }

    /// Creates two streams that are connected to each other: `socketpair(2)`.
    ///
    /// # Errors
    ///
    /// If no descriptor is left (`EMFILE`, `ENFILE`).
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        let (left, right) = std::os::unix::net::UnixStream::pair()
            .map_err(|error| with_context(error, "make a pair of sockets"))?;
        Ok((UnixStream::from_std(left), UnixStream::from_std(right)))
    }

    /// Sends as much of the buffer as one system call takes, and the descriptors with the first byte: `sendmsg(2)`,
    /// SCM_RIGHTS. Returns the number of bytes, the buffer, and the descriptors, which stay open in this process until
    /// they are dropped.
    ///
    /// If at least one byte was sent, so were all descriptors; send the remaining bytes with
    /// [`write_all`](UnixStream::write_all).
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::UnixStream;
    /// use std::io::Read;
    ///
    /// gimmal::run(async {
    ///     let (left, right) = UnixStream::pair()?;
    ///     left.send_with_fds("here", vec![std::fs::File::open("Cargo.toml")?]).await?;
    ///     let ((n, fds), buf) = right.recv_with_fds(vec![0; 64], 1).await?;
    ///     assert_eq!(&buf[..n], b"here");
    ///     for fd in fds {
    ///         let mut text = String::new();
    ///         std::fs::File::from(fd).read_to_string(&mut text)?;
    ///         assert!(text.starts_with("[package]"));
    ///     }
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidInput` for more than 253 descriptors, and for descriptors with an empty buffer; those of
    /// [`write`](UnixStream::write). The error contains the buffer and the descriptors.
    ///
    /// # Cancel safety
    ///
    /// A canceled send has sent nothing. Whether a dropped send has sent anything is unknown.
    // Test: tests/net/unix_connecting.rs
    pub fn send_with_fds<B, F>(&self, buf: B, fds: Vec<F>) -> Op<SendFds<B, F>>
    where
        B: IoBuf,
        F: AsFd + 'static,
    {
        SendFds::new(self.stream.clone(), buf, fds)
    }

    /// Receives available bytes, as [`read`](UnixStream::read) does, and at most `max` descriptors sent with them:
    /// `recvmsg(2)`, SCM_RIGHTS. The descriptors are close-on-exec and belong to the caller.
    ///
    /// A receive ends after bytes that were sent with descriptors, so two messages with descriptors are never merged.
    /// Receive methods that do not return descriptors close them.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::UnixStream;
    ///
    /// gimmal::run(async {
    ///     let (left, right) = UnixStream::pair()?;
    ///     let file = std::fs::File::open("Cargo.toml")?;
    ///     left.send_with_fds("first", vec![file]).await?;
    ///     left.write_all("second").await?;
    ///     // A receive ends where descriptors do.
    ///     let ((n, fds), buffer) = right.recv_with_fds(vec![0; 64], 1).await?;
    ///     assert_eq!((&buffer[..n], fds.len()), (&b"first"[..], 1));
    ///     let ((n, fds), buffer) = right.recv_with_fds(buffer, 1).await?;
    ///     assert_eq!((&buffer[..n], fds.len()), (&b"second"[..], 0));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`read`](UnixStream::read). `InvalidData` if more than `max` descriptors arrived, or more than this
    /// process may have open: then all of them are closed. The bytes are received nevertheless: the buffer in the error
    /// contains them, and [`transferred`](BufError::transferred) returns their number.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost. A canceled receive has taken nothing; the bytes and descriptors of a dropped receive go to the
    /// next one. If that one takes no descriptors, they are closed when it takes the last of the bytes.
    // Test: tests/net/unix_connecting.rs
    pub fn recv_with_fds<B: IoBufMut>(&self, buf: B, max: usize) -> Op<RecvFds<B>> {
        RecvFds::new(self.stream.clone(), buf, max)
    }

    /// Returns the credentials of the process that created the other end, as of when it called `connect(2)`,
    /// `listen(2)` or `socketpair(2)`: `SO_PEERCRED`.
    ///
    /// # Errors
    ///
    /// If `getsockopt(2)` fails, which is not expected on an open socket.
    pub fn peer_cred(&self) -> io::Result<UCred> {
        let cred = peer_cred(self)?;
        Ok(UCred {
            pid: (cred.pid != 0).then_some(cred.pid),
            uid: cred.uid,
            gid: cred.gid,
        })
    }

    /// Returns the peer's address.
    ///
    /// # Errors
    ///
    /// `NotConnected` if the socket has no peer.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        from_kernel(&SockRef::from(self).peer_addr()?)
    }

    /// Returns the local address.
    ///
    /// # Errors
    ///
    /// If `getsockname(2)` fails, which is not expected on an open socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        from_kernel(&SockRef::from(self).local_addr()?)
    }

    /// Creates a stream from a std stream.
    #[must_use]
    pub fn from_std(stream: std::os::unix::net::UnixStream) -> UnixStream {
        UnixStream::new(SharedFd::from(OwnedFd::from(stream)))
    }
}

fd_type! {
    UnixStream, self => self.stream.fd(),
    from std::os::unix::net::UnixStream,
    /// Wraps a connected Unix stream socket.
    fd => UnixStream::from_std(fd.into())
}
