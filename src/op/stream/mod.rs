//! Operations on byte streams, such as a connected socket or a pipe: sending and receiving in order.
//!
//! The operations on one stream share what they must agree on: the order of operations, and received bytes that were
//! not yet returned (`shared.rs`).

mod chunk;
mod chunks;
mod fds;
mod recv;
mod recv_hint;
mod recv_multishot;
mod send;
mod shared;
mod splice;
mod with_permit;

pub use chunk::Chunk;
pub use chunks::Chunks;
pub use fds::{RecvFds, SendFds};
pub(crate) use recv::recv_exact;
pub use recv::{Recv, RecvVectored};
pub(super) use recv_hint::RecvHint;
#[cfg(test)]
pub(super) use recv_multishot::RecvMultishot;
pub(crate) use send::send_all;
pub use send::{Send, SendVectored, SendZeroCopy};
pub(crate) use shared::{Stream, StreamKind};
#[doc(hidden)]
pub use splice::Outlet;
pub(crate) use splice::Splice;
