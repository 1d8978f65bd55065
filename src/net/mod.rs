//! Sockets: TCP, UDP and those of Unix; servers, and the names of hosts.
//!
//! | | |
//! |---|---|
//! | [`TcpStream`], [`UnixStream`] | a connection: reads, writes, [`chunks`](TcpStream::chunks), halves |
//! | [`TcpListener`], [`UnixListener`] | accept connections, one by one or as they come |
//! | [`serve()`] | accepts, runs a handler for each connection, and ends in order |
//! | [`UdpSocket`], [`UnixDatagram`] | datagrams |
//! | [`TcpSocket`] | a socket whose options are set before it connects or listens |
//! | [`lookup_host`], [`ToAddrs`] | names and addresses |
//!
//! # What a wait that goes leaves behind
//!
//! Nothing is lost when a wait is canceled, times out, or is dropped: a connection, bytes or a datagram that arrive for it are
//! for the next wait. How much a write has sent that was dropped is unknown; one that was canceled says so.
//!
//! Reads of one stream follow one another in the order in which they began, and so do writes. Whoever keeps a read that has
//! begun, and never polls it again, holds up those behind it: drop it instead, and its bytes are for the next.
//!
//! A socket is closed when its drop returns, also if operations were in flight on it whose futures were dropped before, or are
//! dropped after it: its address can be bound again, and its peer sees the end. Only what waits in a thread of the kernel, as a
//! copy by `splice(2)` does, holds it longer, and an operation that is still awaited.
//!
//! Sockets belong to the thread of their runtime. To hand one to another thread, go through std: `into_std` and `from_std`.

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
