//! Predicts from recent reads of a file whether the next one will find its bytes in memory.
//!
//! A cached read is cheapest as a direct call ([`Entry::try_direct`](crate::op::Entry::try_direct)) with `RWF_NOWAIT` (4.14):
//! it returns the bytes that are in memory, even if fewer than requested, and fails with EAGAIN if there are none. A
//! failed try costs a system call, so the next reads go to the ring, more of them after each failure in a row: a file
//! that is not cached is hardly ever tried.

use crate::op::{Entry, Opcode, SharedFd};
use crate::runtime::{self, Core};
use crate::sys::Descriptor;
use std::cell::Cell;

/// The size limit for a direct call: copying this many bytes takes some 10 µs.
const BYTES_MAX: usize = 64 << 10;

/// How many reads skip the direct call after one that would have blocked. Doubles after each failure, up to a limit.
const UNTRIED: u16 = 16;
const UNTRIED_MAX: u16 = 1024;

/// Whether the next read tries a direct call.
#[derive(Clone, Copy, Debug)]
enum NextRead {
    /// Not known yet: depends on how the file was opened.
    Unknown,
    /// Yes, because the last one succeeded.
    Tried,
    /// Not before this many other reads.
    Untried(u16),
    Never,
}

/// What an open file remembers of its reads.
#[derive(Debug)]
pub(in crate::op) struct Cached {
    next: Cell<NextRead>,
    /// How many reads skip the direct call after the next one that would have blocked.
    untried: Cell<u16>,
}

impl Cached {
    pub(in crate::op) const fn new() -> Cached {
        Cached {
            next: Cell::new(NextRead::Unknown),
            untried: Cell::new(UNTRIED),
        }
    }

    /// Records how the file was opened. With O_DIRECT, a direct call starts a disk read and waits for it (seen on
    /// 6.18).
    pub(super) fn opened(&self, flags: i32) {
        self.next.set(match flags & libc::O_DIRECT {
            0 => NextRead::Tried,
            _ => NextRead::Never,
        });
    }

    /// Returns whether the next eligible read should try a direct call.
    fn expects(&self, file: &Descriptor) -> bool {
        match self.next.get() {
            // The last one was served, or was not tried after all.
            NextRead::Tried => self.untried.set(UNTRIED),
            NextRead::Untried(0) => self.next.set(NextRead::Tried),
            NextRead::Untried(reads) => {
                self.next.set(NextRead::Untried(reads - 1));
                return false;
            }
            NextRead::Unknown => {
                self.opened(file.flags());
                return matches!(self.next.get(), NextRead::Tried);
            }
            NextRead::Never => return false,
        }
        true
    }

    /// Records that the direct call would have blocked.
    pub(super) fn would_wait(&self, is_never: bool) {
        let untried = self.untried.get();
        self.untried.set(UNTRIED_MAX.min(untried * 2));
        self.next.set(match is_never {
            true => NextRead::Never,
            false => NextRead::Untried(untried),
        });
    }
}

impl SharedFd {
    /// Returns the entry for a read of this many bytes from this descriptor.
    #[inline]
    pub(super) fn read_entry(&self, opcode: Opcode, bytes: usize) -> Entry {
        let entry = self.entry(opcode);
        if bytes <= BYTES_MAX
            && runtime::with(Core::may_attempt)
            && self.cached().expects(self.descriptor())
        {
            return entry.try_direct();
        }
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;

    /// Counts the untried reads up to the next one that is tried.
    fn untried(cached: &Cached, file: &Descriptor) -> u16 {
        let untried = (0..u16::MAX).find(|_| cached.expects(file));
        untried.expect("some read is tried")
    }

    #[test]
    fn the_longer_nothing_is_cached_the_fewer_reads_are_tried() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let file = Descriptor::from(OwnedFd::from(file));
        let cached = Cached::new();
        assert_eq!((untried(&cached, &file), untried(&cached, &file)), (0, 0));
        for expected in [16, 32, 64, 128, 256, 512, 1024, 1024] {
            cached.would_wait(false);
            assert_eq!(untried(&cached, &file), expected);
        }
        // That read was served.
        assert_eq!(untried(&cached, &file), 0);
        cached.would_wait(false);
        assert_eq!(untried(&cached, &file), UNTRIED);
        cached.would_wait(true);
        assert!((0..u16::MAX).all(|_| !cached.expects(&file)));
    }
}
