//! Sockets of Unix, between processes of one machine.

mod address;
mod listener;
mod stream;

pub use listener::{UnixIncoming, UnixListener};
pub use stream::{UCred, UnixStream};
