//! The offset at which an operation reads or writes: given, or the file's cursor, which the ring may fail to move.

use crate::op::{Completion, Operation, SharedFd};
use crate::sys::Descriptor;
use std::cell::Cell;
use std::io;

/// An offset in a file.
#[derive(Debug)]
pub(crate) enum Offset {
    /// This many bytes from the start.
    At(u64),
    /// At the cursor, which moves.
    Cursor(Cursor),
}

/// The cursor's position when the ring got the operation, if the ring may fail to move it. (An [`Offset`] takes two
/// words: an `Option` would add a third to every operation at a given offset as well.)
#[derive(Debug)]
pub(crate) struct Cursor(Cell<u64>);

/// A position that no file has.
const UNWATCHED: u64 = u64::MAX;

impl Offset {
    pub(crate) const fn cursor() -> Offset {
        Offset::Cursor(Cursor::new())
    }

    /// Returns the kernel's form: `u64::MAX`, which is -1, for the cursor.
    #[inline]
    pub(super) fn raw(&self) -> u64 {
        match self {
            Offset::At(offset) => *offset,
            Offset::Cursor(_) => u64::MAX,
        }
    }

    /// Rejects an offset that the kernel would read as negative: it must not be mistaken for the cursor.
    #[inline]
    pub(super) fn check(&self) -> io::Result<()> {
        match self {
            Offset::At(offset) if i64::try_from(*offset).is_err() => Err(too_far(*offset)),
            _ => Ok(()),
        }
    }

    /// Describes an operation at this offset, if it is at the cursor.
    #[inline]
    pub(super) fn at_cursor<'a>(
        &'a self,
        fd: &'a SharedFd,
        writes: bool,
        requested: usize,
    ) -> Option<AtCursor<'a>> {
        match self {
            Offset::At(_) => None,
            Offset::Cursor(cursor) => Some(AtCursor {
                cursor,
                fd,
                writes,
                requested,
            }),
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

impl Cursor {
    pub(in crate::op) const fn new() -> Cursor {
        Cursor(Cell::new(UNWATCHED))
    }

    #[cold]
    fn begin(&self, fd: &Descriptor) {
        self.0.set(fd.watch_cursor().unwrap_or(UNWATCHED));
    }
}

/// An operation at a file's cursor, as [`Operation::at_cursor`] describes it.
#[derive(Debug)]
pub struct AtCursor<'a> {
    pub(in crate::op) cursor: &'a Cursor,
    pub(in crate::op) fd: &'a SharedFd,
    pub(in crate::op) writes: bool,
    /// How many bytes are requested.
    pub(in crate::op) requested: usize,
}

/// Notes where the cursor is. Called when the ring gets the operation.
#[inline]
pub(in crate::op) fn watch_cursor(operation: &impl Operation) {
    if let Some(AtCursor { cursor, fd, .. }) = operation.at_cursor()
        && !fd.descriptor().is_cursor_sure()
    {
        cursor.begin(fd.descriptor());
    }
}

/// Moves the cursor past the bytes moved, if the ring did not. Called when the ring has completed the operation; after
/// a direct call, which always moves the cursor, it does nothing.
#[inline]
pub(in crate::op) fn mend_cursor(operation: &impl Operation, completion: Completion) {
    if let Some(at_cursor) = operation.at_cursor()
        && at_cursor.cursor.0.get() != UNWATCHED
    {
        at_cursor.mend(completion);
    }
}

impl AtCursor<'_> {
    #[cold]
    fn mend(self, completion: Completion) {
        let fd = self.fd.descriptor();
        if let Ok(moved @ 1..) = usize::try_from(completion.raw())
            && !completion.came_at_once()
            && (moved < self.requested || fd.is_direct())
        {
            fd.mend_cursor(self.cursor.0.get(), moved, self.writes);
        }
    }
}
