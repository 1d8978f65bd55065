//! Tells a process from the child that it forked, at the cost of one load.
//!
//! A child shares the queues of its parent's rings, so it must not touch them: the parent would submit what it pushed.
//! One page of the process is marked `MADV_WIPEONFORK` (4.14, `madvise(2)`): the child finds it zeroed.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Tells whether this is still the process that created the runtime.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ForkMark {
    page: &'static AtomicU32,
    born: u32,
}

impl ForkMark {
    /// Returns the mark of this process. The page is mapped once and stays.
    pub(crate) fn new() -> io::Result<ForkMark> {
        static PAGE: OnceLock<&'static AtomicU32> = OnceLock::new();
        /// Counts the processes in this line of descent: a child inherits the count, finds the page zeroed, and
        /// increments the count. So a runtime that it creates has another mark than the one that it inherited.
        static PROCESSES: AtomicU32 = AtomicU32::new(0);
        let page = match PAGE.get() {
            Some(page) => page,
            None => {
                let mapped = map_page()?;
                PAGE.get_or_init(|| mapped)
            }
        };
        if page.load(Ordering::Acquire) == 0 {
            let next = PROCESSES.fetch_add(1, Ordering::Relaxed) + 1;
            // Two threads may get here at once: the first one's mark counts.
            let _ = page.compare_exchange(0, next, Ordering::AcqRel, Ordering::Acquire);
        }
        let born = page.load(Ordering::Acquire);
        Ok(ForkMark { page, born })
    }

    /// Whether the process was forked after the mark was set.
    #[inline]
    pub(crate) fn is_forked(self) -> bool {
        self.page.load(Ordering::Relaxed) != self.born
    }
}

fn map_page() -> io::Result<&'static AtomicU32> {
    // SAFETY: sysconf reads a constant of the system.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
    // SAFETY: an anonymous mapping at an address of the kernel's choice touches no memory that exists.
    let page = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            size,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the range is the page that was just mapped; the advice changes only what a forked child sees there.
    if unsafe { libc::madvise(page, size, libc::MADV_WIPEONFORK) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the page is zeroed, aligned, mapped for reading and writing, and never unmapped; an AtomicU32 may be any
    // bits.
    Ok(unsafe { &*page.cast::<AtomicU32>() })
}
