//! Reading and writing whatever can be read and written: the traits for it, pipes, copying, lines, and waiting for any
//! descriptor.
//!
//! Buffers go in by value and come back, as everywhere in this crate: see [`buf`](crate::buf).
//!
//! Memory is read from and written to as in std: `&[u8]` and [`Cursor`](std::io::Cursor), `Vec<u8>` and cursors of vectors
//! and slices; and so are [`empty`], [`sink`] and [`repeat`], which are std's own. All these are ready at once, let others go
//! first when it is their turn, and end with [`Canceled`](crate::Canceled) in a canceled scope, as everything does. Where std's
//! traits are in scope as well, name the one that is meant: `AsyncRead::read(&mut bytes, buf)`.
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
//! Errors name the path or the address that they are about. [`gimmal::errno`](crate::errno()) finds the errno of one, and
//! [`is_timeout`](crate::is_timeout) and [`is_canceled`](crate::is_canceled) tell what the runtime ended from what failed.

mod async_fd;
mod buf_reader;
mod buf_writer;
mod chain;
mod copy;
mod lines;
mod memory;
mod pipe;
mod read;
mod splice;
mod take;
mod write;

pub use async_fd::AsyncFd;
pub use buf_reader::{BufReader, LINE_MAX};
pub use buf_writer::BufWriter;
pub use chain::Chain;
pub use copy::{CopyError, copy, copy_bidirectional, copy_with};
pub use lines::Lines;
pub use pipe::{PipeReader, PipeWriter, mkfifo, pipe};
pub use read::AsyncRead;
#[doc(no_inline)]
pub use std::io::{Empty, Repeat, Sink, empty, repeat, sink};
pub use take::Take;
pub use write::AsyncWrite;

pub(crate) use read::check_room;

use read::ended_early;
