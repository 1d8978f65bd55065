//! UDP sockets.

mod meta;
mod socket;

// Behind the socket, so that its documentation begins with what creates one.
mod options;

pub use meta::{RecvMeta, SendMeta};
pub use socket::UdpSocket;
