//! Operations on files: opening, reading and writing at an offset or at the cursor, flushing, closing.

mod fsync;
mod offset;
mod open;
mod read_hint;
mod read_write;

pub use fsync::Fsync;
pub(crate) use offset::Offset;
pub(super) use offset::{AtCursor, Cursor, mend_cursor, watch_cursor};
pub(crate) use open::busy;
pub use open::{Close, OpenAt};
pub(super) use read_hint::ReadHint;
pub use read_write::{Read, ReadVectored, Write, WriteVectored};
