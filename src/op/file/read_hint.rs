//! Predicts from recent reads of a file whether the next one will find its bytes in memory.
//!
//! A cached read is cheapest as a direct call ([`Entry::try_direct`]) with `RWF_NOWAIT` (4.14): it returns the bytes
//! that are in memory, even if fewer than requested, and fails with EAGAIN if there are none. A failed try costs a
//! system call, so the next reads go to the ring, more of them after each failure in a row: a file that is not cached
//! is hardly ever tried.

use crate::op::{Entry, Opcode, SharedFd};
use crate::runtime::{self, Core};
use crate::sys::Descriptor;
use std::cell::Cell;

/// The size limit for a direct call: copying this many bytes takes some 10 µs.
const BYTES_MAX: usize = 64 << 10;

/// How many reads skip the direct call after one that would have blocked. Doubles after each failure, up to a limit.
const SKIPS_MIN: u16 = 16;
const SKIPS_MAX: u16 = 1024;

/// Whether the next read tries a direct call.
#[derive(Clone, Copy, Debug)]
enum NextRead {
    /// Not known yet: depends on how the file was opened.
    Unknown,
    /// Yes, because the last one succeeded.
    Try,
    /// Not before this many other reads.
    Skip(u16),
    Never,
}

/// What an open file remembers of its reads.
#[derive(Debug)]
pub(in crate::op) struct ReadHint {
    next: Cell<NextRead>,
    /// How many reads skip the direct call after the next one that would have blocked.
    skips: Cell<u16>,
}

impl ReadHint {
    pub(in crate::op) const fn new() -> ReadHint {
        ReadHint {
            next: Cell::new(NextRead::Unknown),
            skips: Cell::new(SKIPS_MIN),
        }
    }

    /// Records how the file was opened. With O_DIRECT, a direct call starts a disk read and waits for it (seen on
    /// 6.18).
    pub(super) fn opened(&self, flags: i32) {
        self.next.set(match flags & libc::O_DIRECT {
            0 => NextRead::Try,
            _ => NextRead::Never,
        });
    }

    /// Returns whether the next eligible read should try a direct call.
    fn should_try(&self, file: &Descriptor) -> bool {
        match self.next.get() {
            // The last one was served, or was not tried after all.
            NextRead::Try => self.skips.set(SKIPS_MIN),
            NextRead::Skip(0) => self.next.set(NextRead::Try),
            NextRead::Skip(reads) => {
                self.next.set(NextRead::Skip(reads - 1));
                return false;
            }
            NextRead::Unknown => {
                self.opened(file.flags());
                return matches!(self.next.get(), NextRead::Try);
            }
            NextRead::Never => return false,
        }
        true
    }

    /// Records that the direct call would have blocked.
    pub(super) fn would_wait(&self, is_never: bool) {
        let skips = self.skips.get();
        self.skips.set(SKIPS_MAX.min(skips * 2));
        self.next.set(match is_never {
            true => NextRead::Never,
            false => NextRead::Skip(skips),
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
            && self.read_hint().should_try(self.descriptor())
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

    /// Counts the skipped reads up to the next one that is tried.
    fn skips(hint: &ReadHint, file: &Descriptor) -> u16 {
        let skips = (0..u16::MAX).find(|_| hint.should_try(file));
        skips.expect("some read is tried")
    }

    #[test]
    fn the_longer_nothing_is_cached_the_fewer_reads_are_tried() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let file = Descriptor::from(OwnedFd::from(file));
        let hint = ReadHint::new();
        assert_eq!((skips(&hint, &file), skips(&hint, &file)), (0, 0));
        for expected in [16, 32, 64, 128, 256, 512, 1024, 1024] {
            hint.would_wait(false);
            assert_eq!(skips(&hint, &file), expected);
        }
        // That read was served.
        assert_eq!(skips(&hint, &file), 0);
        hint.would_wait(false);
        assert_eq!(skips(&hint, &file), SKIPS_MIN);
        hint.would_wait(true);
        assert!((0..u16::MAX).all(|_| !hint.should_try(&file)));
    }
}
