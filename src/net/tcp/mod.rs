//! TCP sockets.

mod connect;
mod happy_eyeballs;
mod listener;
mod socket;
mod stream;

pub use listener::{Incoming, TcpListener};
pub use socket::TcpSocket;
pub use stream::TcpStream;
