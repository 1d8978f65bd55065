//! The CPU time and the disk reads of this process, and the page cache: what std has no functions for.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::ops::Sub;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

/// The unit of `ru_inblock`.
const BLOCK: u64 = 512;

/// What this process has used, counting all of its threads: its own, those of the pool, and the kernel's workers for
/// its requests.
#[derive(Clone, Copy)]
pub(crate) struct Usage {
    /// User and system time.
    pub(crate) cpu: Duration,
    /// Bytes that came from the disk.
    pub(crate) disk: u64,
}

impl Usage {
    /// Returns the usage since the process was started.
    pub(crate) fn now() -> io::Result<Usage> {
        let mut usage = MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: `usage` has room for the struct that the call writes.
        let code = unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) };
        if code != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: all fields are integers, for which zeroes are valid.
        let usage = unsafe { usage.assume_init() };
        let duration = |time: libc::timeval| {
            Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
        };
        Ok(Usage {
            cpu: duration(usage.ru_utime) + duration(usage.ru_stime),
            disk: usage.ru_inblock as u64 * BLOCK,
        })
    }
}

impl Sub for Usage {
    type Output = Usage;

    fn sub(self, earlier: Usage) -> Usage {
        Usage {
            cpu: self.cpu - earlier.cpu,
            disk: self.disk - earlier.disk,
        }
    }
}

/// Drops a file from the page cache, except for pages that are mapped or not yet written to the disk. A file that
/// cannot be opened is not in it.
pub(crate) fn evict(path: &Path) -> io::Result<()> {
    let Ok(file) = File::open(path) else {
        return Ok(());
    };
    // SAFETY: the descriptor is open, and no memory is passed.
    match unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}
