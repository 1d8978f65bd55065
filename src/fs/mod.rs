//! Files, read and written by the ring.
//!
//! Buffers go in by value and come back, with an error too (see [`BufError`]). Reading fills a buffer's
//! whole capacity from its start and sets its length to what was read.
//!
//! On ext4 opening, reading and closing run in the kernel without a worker thread; writing through the page cache and
//! `fsync` are given to one (measured on 6.18). Dropping a file is a plain `close(2)`, as in std: on file systems whose close
//! may block (NFS, FUSE) use [`File::close`].
//!
//! Worker threads may not see a new root, working directory or mount of their thread:
//! [privileges, roots and namespaces](crate#privileges-roots-and-namespaces) are to be changed before it has a runtime.
//!
//! Threads of the kernel do much of this: most opens, all writes. Where it can make none (RLIMIT_NPROC, the `pids.max` of a
//! cgroup), the thread of the runtime does it, and is held up by it; [`Fault::NoThreads`](crate::runtime::Fault::NoThreads)
//! reports it.

mod file;
mod generic;
mod open_options;
mod whole;

pub use file::File;
pub use open_options::OpenOptions;
pub use whole::{read, read_to_string, write};

use crate::buf::BufError;
use crate::sys::with_path;
use std::path::Path;

/// The error of something that was done with this path, with the buffer in it.
#[cold]
fn buf_at_path<B>(error: BufError<B>, what: &str, path: &Path) -> BufError<B> {
    let done = error.done();
    let (error, buf) = error.into_parts();
    BufError::new(with_path(error, what, path), buf).with_done(done)
}
