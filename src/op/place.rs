//! Where in a file an operation reads or writes.

use super::stream::Direction;
use super::{Completion, SharedFd};
use crate::sys::Descriptor;
use std::io;

/// Where in a file.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// This many bytes from its start.
    At(u64),
    /// At its cursor, which moves on.
    Cursor(Watch),
}

/// Where the cursor was when the ring got the operation, if the ring may leave it behind. (Two words with the place: `Option` would
/// be a third, which every operation at an offset carries, too.)
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watch(u64);

/// No file has a byte there.
const UNWATCHED: u64 = u64::MAX;

impl Place {
    pub(crate) const CURSOR: Place = Place::Cursor(Watch(UNWATCHED));

    /// As the kernel takes it: `u64::MAX`, which is -1, for the cursor.
    #[inline]
    pub(super) fn offset(self) -> u64 {
        match self {
            Place::At(offset) => offset,
            Place::Cursor(_) => u64::MAX,
        }
    }

    /// An offset that is negative to the kernel must not be taken for the cursor, or for anything else.
    #[inline]
    pub(super) fn check(self) -> io::Result<()> {
        match self {
            Place::At(offset) if i64::try_from(offset).is_err() => Err(too_far(offset)),
            _ => Ok(()),
        }
    }

    /// The ring gets the operation.
    #[inline]
    pub(super) fn enter_ring(&mut self, fd: &SharedFd) {
        if let Place::Cursor(watch) = self
            && !fd.descriptor().is_cursor_sure()
        {
            watch.begin(fd.descriptor());
        }
    }

    /// The ring has done with the operation, which asked for `asked` bytes: moves the cursor behind those that were moved, if
    /// the ring has not. A plain system call in its place always does.
    #[inline]
    pub(super) fn leave_ring(
        self,
        fd: &SharedFd,
        completion: Completion,
        asked: impl FnOnce() -> usize,
        direction: Direction,
    ) {
        if let Place::Cursor(watch) = self
            && watch.0 != UNWATCHED
        {
            watch.end(fd.descriptor(), completion, asked(), direction);
        }
    }
}

#[cold]
fn too_far(offset: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("offset {offset}: a file ends before 2^63 bytes"),
    )
}

impl Watch {
    #[cold]
    fn begin(&mut self, fd: &Descriptor) {
        self.0 = fd.watch_cursor().unwrap_or(UNWATCHED);
    }

    #[cold]
    fn end(self, fd: &Descriptor, completion: Completion, asked: usize, direction: Direction) {
        if let Ok(moved @ 1..) = usize::try_from(completion.raw())
            && !completion.came_at_once()
            && (moved < asked || fd.is_direct())
        {
            fd.mend_cursor(self.0, moved, direction == Direction::Out);
        }
    }
}
