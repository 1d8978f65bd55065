//! Whether the next read of a file finds its bytes in memory, as far as the last ones tell.
//!
//! A read of what is cached is cheapest as a plain call ([`Entry::try_first`](super::Entry::try_first)), with `RWF_NOWAIT`
//! (4.14): it returns what is in memory, even if that is less than was asked for, and fails with EAGAIN if nothing is. That has
//! cost a call, so the next reads go into the ring, more of them each time in a row: a file that is not cached is hardly ever
//! tried.

use super::{Entry, Opcode, SharedFd};
use crate::runtime::{self, Core};
use crate::sys::Descriptor;
use std::cell::Cell;

/// The most bytes that such a call is tried for: to copy these takes some 10 µs.
const BYTES_MAX: usize = 64 << 10;

/// How many reads are not tried after one that would have waited; twice as many after the next, and so on, up to a limit.
const UNTRIED: u16 = 16;
const UNTRIED_MAX: u16 = 1024;

/// Whether the next read is tried.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// It depends on how the file is opened.
    Unknown,
    /// It is, as the last one was.
    Tried,
    /// Not before this many others.
    Untried(u16),
    Never,
}

/// What an open file remembers of its reads.
#[derive(Debug)]
pub(super) struct Cached {
    next: Cell<Next>,
    /// How many are not tried after the next one that would have waited.
    untried: Cell<u16>,
}

impl Cached {
    pub(super) const fn new() -> Cached {
        Cached {
            next: Cell::new(Next::Unknown),
            untried: Cell::new(UNTRIED),
        }
    }

    /// How the file was opened. With O_DIRECT a call starts a read of the disk, and waits for it (seen on 6.18).
    pub(super) fn opened(&self, flags: i32) {
        self.next.set(match flags & libc::O_DIRECT {
            0 => Next::Tried,
            _ => Next::Never,
        });
    }

    /// Whether a read that may be tried by a plain call is to be.
    fn expects(&self, file: &Descriptor) -> bool {
        match self.next.get() {
            // The last one was served, or was not tried after all.
            Next::Tried => self.untried.set(UNTRIED),
            Next::Untried(0) => self.next.set(Next::Tried),
            Next::Untried(reads) => {
                self.next.set(Next::Untried(reads - 1));
                return false;
            }
            Next::Unknown => {
                self.opened(file.flags());
                return matches!(self.next.get(), Next::Tried);
            }
            Next::Never => return false,
        }
        true
    }

    /// The call would have waited.
    pub(super) fn would_wait(&self, is_never: bool) {
        let untried = self.untried.get();
        self.untried.set(UNTRIED_MAX.min(untried * 2));
        self.next.set(match is_never {
            true => Next::Never,
            false => Next::Untried(untried),
        });
    }
}

impl SharedFd {
    /// The entry for a read of this many bytes from this descriptor.
    #[inline]
    pub(super) fn read_entry(&self, opcode: Opcode, bytes: usize) -> Entry {
        let entry = self.entry(opcode);
        if bytes <= BYTES_MAX
            && runtime::with(Core::may_attempt)
            && self.cached().expects(self.descriptor())
        {
            return entry.try_first();
        }
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;

    /// How many reads go by until one is tried.
    fn untried(cached: &Cached, file: &Descriptor) -> u16 {
        let untried = (0..u16::MAX).find(|_| cached.expects(file));
        untried.expect("one is tried")
    }

    #[test]
    fn the_longer_nothing_is_cached_the_less_is_tried() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let file = Descriptor::from(OwnedFd::from(file));
        let cached = Cached::new();
        assert_eq!((untried(&cached, &file), untried(&cached, &file)), (0, 0));
        for expected in [16, 32, 64, 128, 256, 512, 1024, 1024] {
            cached.would_wait(false);
            assert_eq!(untried(&cached, &file), expected);
        }
        // That one was served.
        assert_eq!(untried(&cached, &file), 0);
        cached.would_wait(false);
        assert_eq!(untried(&cached, &file), UNTRIED);
        cached.would_wait(true);
        assert!((0..u16::MAX).all(|_| !cached.expects(&file)));
    }
}
