//! TCP, UDP and Unix sockets, servers, and host name lookup.
//!
//! | | |
//! |---|---|
//! | [`TcpStream`], [`UnixStream`] | a connection: reads, writes, [`chunks`](TcpStream::chunks), halves |
//! | [`TcpListener`], [`UnixListener`] | accept connections, one by one or as a stream |
//! | [`serve()`] | accepts connections, runs a handler for each, and shuts down gracefully |
//! | [`UdpSocket`], [`UnixDatagram`] | datagrams |
//! | [`TcpSocket`] | a socket, for setting options before it connects or listens |
//! | [`lookup_host`], [`ToAddrs`] | names and addresses |
//!
//! # After a wait is canceled or dropped
//!
//! Nothing is lost when a wait is canceled, times out, or is dropped: a connection, bytes or a datagram that arrived
//! for it go to the next wait. A canceled write reports how much it sent; how much a dropped write sent is unknown.
//!
//! Reads of one stream run in the order in which they began, and so do writes. A read that has begun and is kept
//! without being polled again blocks the reads behind it: drop it instead, and its bytes go to the next read.
//!
//! A socket is closed when its drop returns, even if operations are in flight on it whose futures were dropped before
//! it or are dropped after it: its address can be bound again, and its peer sees the end. Only two things keep it open
//! longer: an operation that is still awaited, and one that blocks in a kernel thread, such as a copy by `splice(2)`.
//!
//! A socket belongs to its runtime's thread. To move one to another thread, convert it to the std type and back:
//! `into_std` and `from_std`.

mod accepting;
mod bytes;
mod datagrams;
mod debug;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod halves;
mod listener;
mod names;
mod serve;
mod tcp;
mod udp;
mod unix;

// Behind the types, so that the documentation of each begins with what creates one.
mod socket_option;

pub use crate::op::{Chunk, Chunks};
pub use halves::{EndOutput, OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};
pub use listener::Listener;
pub use names::{Host, ToAddrs, lookup_host};
pub use serve::{Serve, Served, serve};
pub use tcp::{Incoming, TcpListener, TcpSocket, TcpStream};
pub use udp::{RecvMeta, SendMeta, UdpSocket};
pub use unix::{UCred, UnixDatagram, UnixIncoming, UnixListener, UnixRecvMeta, UnixStream};
