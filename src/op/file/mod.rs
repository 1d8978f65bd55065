//! Operations on files: opening, reading and writing at an offset or at the cursor, flushing, closing.

mod fsync;
mod offset;
mod open;
mod read_hint;
mod read_write;
mod vectored;

pub use fsync::Fsync;
pub(crate) use offset::Offset;
pub(super) use offset::{AtCursor, Cursor, mend_cursor, watch_cursor};
pub(crate) use open::busy;
pub use open::{Close, OpenAt};
pub(super) use read_hint::ReadHint;
pub(crate) use read_write::no_room;
pub(super) use read_write::{BYTES_MAX, need_room};
pub use read_write::{Read, Write};
pub(super) use vectored::Vectors;
pub use vectored::{ReadVectored, WriteVectored};
