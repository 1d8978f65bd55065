//! Reading and writing whatever can be read and written: the traits for it.
//!
//! Buffers go in by value and come back, as everywhere in this crate: see [`buf`](crate::buf).

mod pipe;
mod read;
mod write;

pub use pipe::{PipeReader, PipeWriter, mkfifo, pipe};
pub use read::AsyncRead;
pub use write::AsyncWrite;

pub(crate) use read::check_room;
pub(crate) use write::nothing_taken;
