//! UDP sockets.

mod meta;
mod options;
mod socket;

pub use meta::{RecvMeta, SendMeta};
pub use socket::UdpSocket;
