//! Reading and writing whatever can be read and written: the traits for it, pipes, copying, lines, and waiting for any
//! descriptor.
//!
//! Buffers go in by value and come back, as everywhere in this crate: see [`buf`](crate::buf).
//!
//! Errors name the path or the address that they are about. [`gimmal::errno`](crate::errno()) finds the errno of one, and
//! [`is_timeout`](crate::is_timeout) and [`is_canceled`](crate::is_canceled) tell what the runtime ended from what failed.

mod async_fd;
mod buf_reader;
mod buf_writer;
mod copy;
mod lines;
mod pipe;
mod read;
mod splice;
mod write;

pub use async_fd::AsyncFd;
pub use buf_reader::{BufReader, LINE_MAX};
pub use buf_writer::BufWriter;
pub use copy::{CopyError, copy, copy_bidirectional};
pub use lines::Lines;
pub use pipe::{PipeReader, PipeWriter, mkfifo, pipe};
pub use read::AsyncRead;
pub use write::AsyncWrite;

pub(crate) use read::check_room;

use read::ended_early;
