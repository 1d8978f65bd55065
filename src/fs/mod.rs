//! Files, read and written through the ring.
//!
//! Buffers are passed by value and returned, also on error (see [`BufError`]). Reading fills up to a buffer's whole
//! capacity from its start, and sets its length to what was read.
//!
//! On ext4, opening, reading and closing run in the kernel without a worker thread; writing through the page cache and
//! `fsync` go to one (measured on 6.18). Dropping a file is a direct `close(2)`, as in std: on file systems whose close
//! may block (NFS, FUSE), use [`File::close`].
//!
//! Worker threads may not see a new root, working directory or mount of their thread: change [privileges, roots and
//! namespaces](crate#privileges-roots-and-namespaces) before the thread has a runtime.
//!
//! Kernel worker threads do much of this work: most opens, all writes. If the kernel cannot create any (RLIMIT_NPROC,
//! the `pids.max` of a cgroup), the runtime's thread does the work and blocks while it does;
//! [`Fault::NoThreads`](crate::runtime::Fault::NoThreads) reports this.

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

/// Adds the path to an error, which keeps its buffer.
#[cold]
fn buf_at_path<B>(error: BufError<B>, what: &str, path: &Path) -> BufError<B> {
    let done = error.transferred();
    let (error, buf) = error.into_parts();
    BufError::new(with_path(error, what, path), buf).with_transferred(done)
}
