//! Unix sockets, between processes of one machine.

pub(super) mod address;
mod datagram;
mod listener;
mod stream;

pub use datagram::{UnixDatagram, UnixRecvMeta};
pub use listener::{UnixIncoming, UnixListener};
pub use stream::{UCred, UnixStream};
