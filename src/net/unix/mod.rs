//! Unix sockets.

mod datagram;

pub use datagram::{UnixDatagram, UnixRecvMeta};
