//! Reading into one buffer, and writing from one.

use super::offset::{AtCursor, Offset, mend_cursor};
use crate::buf::{BufError, BufResult, IoBuf, IoBufMut};
use crate::op::operation::{debug_fields, operation};
use crate::op::stream::Direction;
use crate::op::{Completion, Entry, Op, Opcode, Operation, SharedFd};
use std::io;
use std::ops::Range;

/// The most bytes that the kernel moves in one call (`read(2)`, NOTES).
pub(in crate::op) const BYTES_MAX: usize = 0x7fff_f000;

/// The operation of [`File::read_at`](crate::fs::File::read_at) and [`File::read`](crate::fs::File::read): `pread(2)`,
/// or `read(2)` at the cursor.
pub struct Read<B: IoBufMut> {
    fd: SharedFd,
    buf: B,
    part: Range<usize>,
    offset: Offset,
}

impl<B: IoBufMut> Read<B> {
    /// Reads into the whole capacity.
    #[inline]
    pub(crate) fn new(fd: SharedFd, buf: B, offset: Offset) -> Op<Read<B>> {
        let capacity = buf.io_capacity();
        Read::part(fd, buf, 0..capacity, offset)
    }

    /// Reads into that part of the capacity. The bytes before it are initialized, and count towards the length
    /// afterwards.
    #[inline]
    pub(crate) fn part(fd: SharedFd, buf: B, part: Range<usize>, offset: Offset) -> Op<Read<B>> {
        assert!(part.end <= buf.io_capacity() && part.start <= buf.io_len());
        let check = offset.check().and_then(|()| need_room(part.len()));
        let read = Read {
            fd,
            buf,
            part,
            offset,
        };
        Op::checked(read, check)
    }

    /// Returns how many bytes are requested from the kernel.
    #[inline]
    fn requested(&self) -> usize {
        self.part.len().min(BYTES_MAX)
    }
}

/// Rejects a read without room.
#[inline]
pub(in crate::op) fn need_room(bytes: usize) -> io::Result<()> {
    match bytes {
        0 => Err(no_room()),
        _ => Ok(()),
    }
}

/// The error for a read without room, which would look like the end of the file (B2).
#[cold]
pub(crate) fn no_room() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "read into a buffer of capacity 0: give it a capacity, for example with Vec::with_capacity",
    )
}

// SAFETY: `IoBufMut` promises that its memory stays in place and untouched while the buffer is owned by the operation;
// the part is within its capacity. The operation holds the descriptor (O5).
unsafe impl<B: IoBufMut> Operation for Read<B> {
    operation!("read" -> BufResult<usize, B>, lends buf);
    const EINTR_HAD_NO_EFFECT: bool = true;

    #[inline]
    fn entry(&mut self) -> Entry {
        let start = self.buf.io_mut_ptr().wrapping_add(self.part.start);
        self.fd
            .read_entry(Opcode::READ, self.part.len())
            .addr(start)
            .len(self.requested() as u32)
            .offset(self.offset.raw())
    }

    fn would_wait(&mut self, is_never: bool) {
        self.fd.read_hint().would_wait(is_never);
    }

    #[inline]
    fn at_cursor(&self) -> Option<AtCursor<'_>> {
        self.offset
            .at_cursor(&self.fd, Direction::In, self.requested())
    }

    #[inline]
    fn complete(mut self, completion: Completion) -> Self::Output {
        match completion.result() {
            Ok(n) => {
                let n = n as usize;
                assert!(n <= self.part.len(), "the kernel read more than was lent");
                // SAFETY: what is before the part was initialised, and the kernel has written `n` bytes from its start.
                unsafe { self.buf.set_io_len(self.part.start + n) };
                Ok((n, self.buf))
            }
            Err(error) => Err(BufError::new(error, self.buf)),
        }
    }

    /// The bytes of a late read at an offset can be read again, and so can those of a read at the cursor that the ring
    /// did not move. Others are lost: see the `# Cancel safety` of `File::read`.
    fn dispose(&mut self, _: Completion) {}
}

debug_fields!([B: IoBufMut] Read<B> { fd, part, offset });

/// The operation of [`File::write_at`](crate::fs::File::write_at) and [`File::write`](crate::fs::File::write):
/// `pwrite(2)`, or `write(2)` at the cursor.
pub struct Write<B: IoBuf> {
    fd: SharedFd,
    buf: B,
    part: Range<usize>,
    offset: Offset,
}

impl<B: IoBuf> Write<B> {
    /// Writes all the bytes that the buffer holds, or as many as one call takes.
    #[inline]
    pub(crate) fn new(fd: SharedFd, buf: B, offset: Offset) -> Op<Write<B>> {
        let len = buf.io_len();
        Write::part(fd, buf, 0..len, offset)
    }

    /// Writes that part of the bytes that the buffer holds.
    #[inline]
    pub(crate) fn part(fd: SharedFd, buf: B, part: Range<usize>, offset: Offset) -> Op<Write<B>> {
        assert!(part.end <= buf.io_len() && part.start <= part.end);
        let check = offset.check();
        let write = Write {
            fd,
            buf,
            part,
            offset,
        };
        Op::checked(write, check)
    }

    /// Returns how many bytes are offered to the kernel.
    #[inline]
    fn requested(&self) -> usize {
        self.part.len().min(BYTES_MAX)
    }
}

// SAFETY: `IoBuf` promises that its memory stays in place and unwritten while the buffer is owned by the operation; the
// part is within its length. The operation holds the descriptor (O5).
unsafe impl<B: IoBuf> Operation for Write<B> {
    operation!("write" -> BufResult<usize, B>, lends buf);
    const EINTR_HAD_NO_EFFECT: bool = true;

    #[inline]
    fn entry(&mut self) -> Entry {
        let start = self.buf.io_ptr().wrapping_add(self.part.start);
        self.fd
            .entry(Opcode::WRITE)
            .addr(start)
            .len(self.requested() as u32)
            .offset(self.offset.raw())
    }

    #[inline]
    fn at_cursor(&self) -> Option<AtCursor<'_>> {
        self.offset
            .at_cursor(&self.fd, Direction::Out, self.requested())
    }

    #[inline]
    fn complete(self, completion: Completion) -> Self::Output {
        match completion.result() {
            Ok(n) => Ok((n as usize, self.buf)),
            Err(error) => Err(BufError::new(error, self.buf)),
        }
    }

    /// What an abandoned write has written is unknown, but the next write goes after it.
    fn dispose(&mut self, completion: Completion) {
        mend_cursor(self, completion);
    }
}

debug_fields!([B: IoBuf] Write<B> { fd, part, offset });
