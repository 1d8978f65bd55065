//! The file position at which an operation reads or writes.

use crate::op::stream::Direction;
use crate::op::{Completion, SharedFd};
use crate::sys::Descriptor;
use std::io;

/// A file position.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Offset {
    /// This many bytes from the start.
    At(u64),
    /// At the cursor, which moves.
    Cursor(CursorBefore),
}

/// The cursor's position when the ring got the operation, if the ring may fail to move it. (The place takes two words:
/// an `Option` would add a third to every operation at an offset as well.)
#[derive(Clone, Copy, Debug)]
pub(crate) struct CursorBefore(u64);

/// A position that no file has.
const UNWATCHED: u64 = u64::MAX;

impl Offset {
    pub(crate) const CURSOR: Offset = Offset::Cursor(CursorBefore(UNWATCHED));

    /// Returns the kernel's form: `u64::MAX`, which is -1, for the cursor.
    #[inline]
    pub(super) fn offset(self) -> u64 {
        match self {
            Offset::At(offset) => offset,
            Offset::Cursor(_) => u64::MAX,
        }
    }

    /// Rejects an offset that the kernel would read as negative: it must not be mistaken for the cursor.
    #[inline]
    pub(super) fn check(self) -> io::Result<()> {
        match self {
            Offset::At(offset) if i64::try_from(offset).is_err() => Err(too_far(offset)),
            _ => Ok(()),
        }
    }

    /// Called when the ring gets the operation.
    #[inline]
    pub(in crate::op) fn enter_ring(&mut self, fd: &SharedFd) {
        if let Offset::Cursor(watch) = self
            && !fd.descriptor().is_cursor_sure()
        {
            watch.begin(fd.descriptor());
        }
    }

    /// Called when the ring has completed the operation, whose length was `asked`: moves the cursor past the bytes
    /// moved, if the ring did not. A direct call always moves it.
    #[inline]
    pub(in crate::op) fn leave_ring(
        self,
        fd: &SharedFd,
        completion: Completion,
        asked: impl FnOnce() -> usize,
        direction: Direction,
    ) {
        if let Offset::Cursor(watch) = self
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

impl CursorBefore {
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
