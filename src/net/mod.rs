//! Sockets.

mod accepting;
mod bytes;
mod debug;
mod halves;
mod listener;
mod names;
mod serve;
mod tcp;
mod udp;
mod unix;

pub use crate::op::{Chunk, Chunks};
pub use halves::{EndOutput, OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};
pub use listener::Listener;
pub use names::{Target, ToAddrs, lookup_host};
pub use serve::{Serve, Served, serve};
pub use tcp::{Incoming, TcpListener, TcpSocket, TcpStream};
pub use udp::{RecvMeta, SendMeta, UdpSocket};
pub use unix::{UCred, UnixDatagram, UnixIncoming, UnixListener, UnixRecvMeta, UnixStream};
