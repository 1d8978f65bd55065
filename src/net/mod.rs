//! Sockets.

mod accepting;
mod bytes;
mod halves;
mod names;
mod tcp;

pub use crate::op::{Chunk, Chunks};
pub use halves::{EndOutput, OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};
pub use names::{Target, ToAddrs, lookup_host};
pub use tcp::{Incoming, TcpListener, TcpStream};
