//! Sockets.

mod accepting;
mod bytes;
mod halves;
mod names;
mod tcp;
mod udp;
mod unix;

pub use halves::{EndOutput, OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};
pub use names::{Target, ToAddrs, lookup_host};
pub use tcp::{Incoming, TcpListener, TcpStream};
pub use udp::{RecvMeta, SendMeta, UdpSocket};
pub use unix::{UnixDatagram, UnixRecvMeta};
