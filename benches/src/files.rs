//! The files that the benches read: on the disk that holds the target directory, and in the page cache.

use crate::{Block, Sequence};
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use tempfile::TempDir;

/// The number of small files.
pub const SMALL: u64 = 2000;
/// The size of the cached file, in blocks: 4 MiB.
pub const BLOCKS: u64 = 1024;
/// The size of the file for direct reads, in blocks: 32 MiB.
pub const DIRECT_BLOCKS: u64 = 8192;

/// A directory with the files, which is removed when this is dropped.
#[derive(Debug)]
pub struct Files {
    /// The paths of files of 1 to 8 KiB. They are leaked, because tasks cannot borrow.
    pub small: &'static [PathBuf],
    /// The same paths as C strings.
    pub small_c: &'static [CString],
    /// The path of a file of [`BLOCKS`] in the page cache.
    pub cached: PathBuf,
    /// The path of a file of [`DIRECT_BLOCKS`], which is read with `O_DIRECT`.
    pub direct: PathBuf,
    _directory: TempDir,
}

impl Files {
    /// Creates the files beside the running program, so that they are on the disk that holds the target directory, and
    /// not on a tmpfs, whose reads go to a kernel worker.
    pub fn new() -> io::Result<Files> {
        let program = std::env::current_exe()?;
        let place = program.parent().ok_or(io::ErrorKind::NotFound)?;
        let directory = tempfile::Builder::new()
            .prefix("files-")
            .tempdir_in(place)?;
        let mut sequence = Sequence::new(0);
        let mut small = Vec::new();
        for n in 0..SMALL {
            let path = directory.path().join(format!("small-{n}"));
            let size = 1024 + sequence.below(7 * 1024 + 1) as usize;
            fs::write(&path, vec![n as u8; size])?;
            small.push(path);
        }
        let small_c = small
            .iter()
            .map(|path| CString::new(path.as_os_str().as_bytes()))
            .collect::<Result<Vec<_>, _>>()?;
        let cached = directory.path().join("cached");
        fs::write(&cached, vec![1; Block::SIZE * BLOCKS as usize])?;
        let direct = directory.path().join("direct");
        fs::write(&direct, vec![2; Block::SIZE * DIRECT_BLOCKS as usize])?;
        settle(&direct)?;
        Ok(Files {
            small: small.leak(),
            small_c: small_c.leak(),
            cached,
            direct,
            _directory: directory,
        })
    }
}

/// Writes all dirty pages to the disk, so that this does not happen during a measurement, and drops `direct` from the
/// page cache.
fn settle(direct: &PathBuf) -> io::Result<()> {
    let file = File::open(direct)?;
    // SAFETY: no address is passed, and the descriptor is open.
    if unsafe { libc::syncfs(file.as_raw_fd()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above.
    match unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) } {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}
