//! What accompanies a datagram, and which of it a receive returns.

use super::control::FDS_MAX;
use socket2::SockAddr;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// Returns how many bytes of ancillary data this many descriptors take, plus the other messages that may come: the
/// sender's credentials, and a pidfd of the sender.
pub(in crate::op) fn fds_room(fds: usize) -> usize {
    16 + 4 * fds.min(FDS_MAX).next_multiple_of(2) + 32 + 24
}

/// The error for more descriptors than requested. Those that arrived are closed.
#[cold]
pub(in crate::op) fn fds_cut(max: usize) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!(
            "more descriptors came than the {max} that were asked for, or than this process may have open: \
             all of them are closed"
        ),
    )
}

/// What accompanies a datagram.
#[derive(Debug)]
pub struct Message<'a> {
    /// The number of bytes in the buffer.
    pub(crate) len: usize,
    /// The number of bytes that were sent.
    pub(crate) full_len: usize,
    pub(crate) address: &'a SockAddr,
    pub(crate) control: &'a [u8],
    /// `MSG_CTRUNC` and so on.
    pub(super) flags: i32,
    pub(super) fds: Vec<OwnedFd>,
    /// The number of descriptors requested.
    pub(super) fds_max: usize,
}

impl Message<'_> {
    /// Takes the descriptors of the datagram.
    pub(crate) fn take_fds(&mut self) -> io::Result<Vec<OwnedFd>> {
        let fds = mem::take(&mut self.fds);
        if fds.len() > self.fds_max || self.flags & libc::MSG_CTRUNC != 0 {
            return Err(fds_cut(self.fds_max));
        }
        Ok(fds)
    }
}

/// The value that a receive returns beside the buffer: a length, a length and the sender, or everything known.
/// Implemented by the types that the receives of [`net`](crate::net) return.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::net::UdpSocket;
/// use gimmal::op::{FromMessage, Op, RecvMessage};
///
/// gimmal::run(async {
///     /// Awaits a receive of any kind, and returns its buffer.
///     async fn datagram<T: FromMessage>(
///         receive: Op<RecvMessage<Vec<u8>, T>>,
///     ) -> std::io::Result<Vec<u8>> {
///         let (_, buffer) = receive.await?;
///         Ok(buffer)
///     }
///
///     let server = UdpSocket::bind("127.0.0.1:0").await?;
///     let client = UdpSocket::bind("127.0.0.1:0").await?;
///     client.send_to("hello", server.local_addr()?).await?;
///     assert_eq!(datagram(server.peek_from(vec![0; 64])).await?, b"hello");
///     assert_eq!(datagram(server.recv(vec![0; 64])).await?, b"hello");
///     Ok(())
/// })
/// # }
/// ```
pub trait FromMessage: Sized + 'static {
    /// Takes the value out of the received message.
    ///
    /// # Errors
    ///
    /// If the message does not contain it.
    fn from_message(message: Message<'_>) -> io::Result<Self>;
}

/// The number of bytes.
impl FromMessage for usize {
    fn from_message(message: Message<'_>) -> io::Result<usize> {
        Ok(message.len)
    }
}

/// The number of bytes, and the sender.
impl FromMessage for (usize, SocketAddr) {
    fn from_message(message: Message<'_>) -> io::Result<(usize, SocketAddr)> {
        let from = message.address.as_socket();
        let from =
            from.ok_or_else(|| io::Error::other("the sender's address is not an IP address"))?;
        Ok((message.len, from))
    }
}

/// The number of bytes, and the descriptors received with them.
impl FromMessage for (usize, Vec<OwnedFd>) {
    fn from_message(mut message: Message<'_>) -> io::Result<(usize, Vec<OwnedFd>)> {
        Ok((message.len, message.take_fds()?))
    }
}
