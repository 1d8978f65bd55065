//! Reading and writing: traits, buffered readers and writers, pipes, copying, and waiting for any descriptor.
//!
//! Buffers are passed by value and returned, as everywhere in this crate: see [`buf`](crate::buf).
//!
//! As in std, `&[u8]` and [`Cursor`](std::io::Cursor) are readers, `Vec<u8>` and cursors of vectors and slices are
//! writers, and [`empty`], [`sink`] and [`repeat`] are std's own. All these are ready at once; like all operations,
//! they regularly yield to other tasks, and end with [`Canceled`](crate::Canceled) in a canceled scope. If std's traits
//! are also in scope, name the trait: `AsyncRead::read(&mut bytes, buf)`.
//!
//! ```
//! # fn main() -> std::io::Result<()> {
//! use gimmal::io::{self, AsyncRead};
//!
//! gimmal::run(async {
//!     let mut reader = (&b"head "[..]).chain(io::repeat(b'x')).take(8);
//!     let mut written = Vec::new();
//!     assert_eq!(io::copy(&mut reader, &mut written).await?, 8);
//!     assert_eq!(written, b"head xxx");
//!     assert_eq!(io::copy(&mut io::empty(), &mut io::sink()).await?, 0);
//!     Ok(())
//! })
//! # }
//! ```
//!
//! Errors name the path or address they concern. [`gimmal::errno`](crate::errno()) returns the errno of an error, and
//! [`is_timeout`](crate::is_timeout) and [`is_canceled`](crate::is_canceled) distinguish operations that the runtime
//! ended from those that failed.

mod async_fd;
mod buf_reader;
mod buf_writer;
mod chain;
mod copy;
mod copy_bidirectional;
mod dyn_io;
mod lines;
mod memory;
mod pipe;
mod read;
mod splice;
mod split;
mod stream;
mod take;
mod write;

pub use crate::error::{CopyBidirectionalError, CopyDirection};
pub use async_fd::AsyncFd;
pub use buf_reader::{BufReader, LINE_MAX};
pub use buf_writer::BufWriter;
pub use chain::Chain;
pub use copy::{CopyError, copy, copy_with};
pub use copy_bidirectional::copy_bidirectional;
pub use dyn_io::{DynAsyncRead, DynAsyncWrite};
pub use lines::Lines;
pub use pipe::{PipeReader, PipeWriter, mkfifo, pipe};
pub use read::AsyncRead;
pub use split::Split;
#[doc(no_inline)]
pub use std::io::{Empty, Repeat, Sink, empty, repeat, sink};
pub use take::Take;
pub use write::AsyncWrite;

pub(crate) use read::{GROWTH_MIN, grow};
pub(crate) use stream::{stream_reader, stream_writer};
