//! What comes with a datagram, and what of that a receive is asked for.

use super::control::FDS_MAX;
use socket2::SockAddr;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// Bytes of ancillary data that so many descriptors take, with what else there may be: who sent them, and a descriptor of that
/// process.
pub(super) fn fds_room(fds: usize) -> usize {
    16 + 4 * fds.min(FDS_MAX).next_multiple_of(2) + 32 + 24
}

/// More descriptors came than were asked for. Those that came are closed.
#[cold]
pub(super) fn fds_cut(max: usize) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!(
            "more descriptors came than the {max} that were asked for, or than this process may have open: \
             all of them are closed"
        ),
    )
}

/// What came with a datagram.
#[derive(Debug)]
pub struct Message<'a> {
    /// Bytes in the buffer.
    pub(crate) len: usize,
    /// Bytes that were sent.
    pub(crate) full_len: usize,
    pub(crate) address: &'a SockAddr,
    pub(crate) control: &'a [u8],
    /// `MSG_CTRUNC` and so on.
    pub(super) flags: i32,
    pub(super) fds: Vec<OwnedFd>,
    /// As many as were asked for.
    pub(super) fds_max: usize,
}

impl Message<'_> {
    /// The descriptors that came with it.
    pub(crate) fn take_fds(&mut self) -> io::Result<Vec<OwnedFd>> {
        let fds = mem::take(&mut self.fds);
        if fds.len() > self.fds_max || self.flags & libc::MSG_CTRUNC != 0 {
            return Err(fds_cut(self.fds_max));
        }
        Ok(fds)
    }
}

/// What a receive gives beside the buffer: a length, a length and the sender, or all that is known. The types that the receives
/// of [`net`](crate::net) give implement it.
pub trait FromMessage: Sized + 'static {
    /// Takes it out of what came.
    ///
    /// # Errors
    ///
    /// If it is not in there.
    fn from_message(message: Message<'_>) -> io::Result<Self>;
}

/// The number of bytes.
impl FromMessage for usize {
    fn from_message(message: Message<'_>) -> io::Result<usize> {
        Ok(message.len)
    }
}

/// The number of bytes, and who sent them.
impl FromMessage for (usize, SocketAddr) {
    fn from_message(message: Message<'_>) -> io::Result<(usize, SocketAddr)> {
        let from = message.address.as_socket();
        let from = from.ok_or_else(|| io::Error::other("the sender's address is not one of IP"))?;
        Ok((message.len, from))
    }
}

/// The number of bytes, and the descriptors that came with them.
impl FromMessage for (usize, Vec<OwnedFd>) {
    fn from_message(mut message: Message<'_>) -> io::Result<(usize, Vec<OwnedFd>)> {
        Ok((message.len, message.take_fds()?))
    }
}
