//! Reading into several buffers at once, and writing from several.

use super::offset::{AtCursor, Offset, mend_cursor};
use super::read_write::{BYTES_MAX, need_room};
use crate::buf::{BufError, BufResult, IoBufs, IoBufsMut};
use crate::op::operation::{debug_fields, operation};
use crate::op::stream::Direction;
use crate::op::{Completion, Entry, Op, Opcode, Operation, SharedFd};
use std::io;

/// The most buffers of one call, `IOV_MAX` (`readv(2)`): only the first ones are used, as in std. A call may do less
/// than requested anyway.
const BUFFERS_MAX: usize = 1024;

/// The array that tells the kernel where the buffers are: an allocation of its own (O2).
pub(in crate::op) struct Vectors {
    array: Box<[libc::iovec]>,
    /// The length of all buffers together.
    bytes: usize,
}

impl Vectors {
    /// Describes the capacity of several buffers, to be filled.
    pub(in crate::op) fn of_mut(bufs: &mut impl IoBufsMut) -> Vectors {
        let mut vectors = Vec::new();
        bufs.for_each_buf_mut(&mut |buf| {
            let (start, room) = (buf.io_mut_ptr(), buf.io_capacity());
            add(&mut vectors, start, room);
        });
        Vectors::new(vectors)
    }

    /// Describes the contents of several buffers, to be read.
    pub(in crate::op) fn of(bufs: &impl IoBufs) -> Vectors {
        let mut vectors = Vec::new();
        bufs.for_each_buf(&mut |buf| add(&mut vectors, buf.io_ptr().cast_mut(), buf.io_len()));
        Vectors::new(vectors)
    }

    fn new(vectors: Vec<libc::iovec>) -> Vectors {
        let lens = vectors.iter().map(|vector| vector.iov_len);
        Vectors {
            bytes: lens.fold(0, usize::saturating_add),
            array: vectors.into(),
        }
    }

    pub(in crate::op) fn as_slice(&self) -> &[libc::iovec] {
        &self.array
    }

    /// Rejects a read into buffers without room.
    pub(in crate::op) fn need_room(&self) -> io::Result<()> {
        need_room(self.bytes)
    }

    /// Returns how many bytes are requested from the kernel.
    pub(in crate::op) fn requested(&self) -> usize {
        self.bytes.min(BYTES_MAX)
    }

    pub(in crate::op) fn entry(&self, entry: Entry, offset: u64) -> Entry {
        entry
            .addr(self.array.as_ptr())
            .len(self.array.len() as u32)
            .offset(offset)
    }
}

fn add(vectors: &mut Vec<libc::iovec>, start: *mut u8, len: usize) {
    if vectors.len() < BUFFERS_MAX {
        vectors.push(libc::iovec {
            iov_base: start.cast(),
            iov_len: len,
        });
    }
}

/// The operation of [`File::read_vectored_at`](crate::fs::File::read_vectored_at) and
/// [`File::read_vectored`](crate::fs::File::read_vectored): `preadv(2)`, or `readv(2)` at the cursor.
pub struct ReadVectored<B: IoBufsMut> {
    fd: SharedFd,
    bufs: B,
    vectors: Vectors,
    offset: Offset,
}

impl<B: IoBufsMut> ReadVectored<B> {
    pub(crate) fn new(fd: SharedFd, mut bufs: B, offset: Offset) -> Op<ReadVectored<B>> {
        let vectors = Vectors::of_mut(&mut bufs);
        let check = offset.check().and_then(|()| vectors.need_room());
        let read = ReadVectored {
            fd,
            bufs,
            vectors,
            offset,
        };
        Op::checked(read, check)
    }
}

// SAFETY: `IoBufsMut` promises that the memory of each buffer stays in place and untouched while the operation owns
// them; the array of vectors is a boxed allocation of its own. The operation holds the descriptor (O5).
unsafe impl<B: IoBufsMut> Operation for ReadVectored<B> {
    operation!("readv" -> BufResult<usize, B>, lends bufs);
    const EINTR_HAD_NO_EFFECT: bool = true;

    fn entry(&mut self) -> Entry {
        let entry = self.fd.read_entry(Opcode::READV, self.vectors.bytes);
        self.vectors.entry(entry, self.offset.raw())
    }

    fn would_wait(&mut self, is_never: bool) {
        self.fd.read_hint().would_wait(is_never);
    }

    fn at_cursor(&self) -> Option<AtCursor<'_>> {
        self.offset
            .at_cursor(&self.fd, Direction::In, self.vectors.requested())
    }

    fn complete(mut self, completion: Completion) -> Self::Output {
        match completion.result() {
            Ok(n) => {
                // SAFETY: the kernel has filled the buffers in order, each to its capacity, with `n` bytes in all.
                unsafe { self.bufs.set_lens(n as usize) };
                Ok((n as usize, self.bufs))
            }
            Err(error) => Err(BufError::new(error, self.bufs)),
        }
    }

    fn dispose(&mut self, _: Completion) {}
}

/// The operation of [`File::write_vectored_at`](crate::fs::File::write_vectored_at) and
/// [`File::write_vectored`](crate::fs::File::write_vectored): `pwritev(2)`, or `writev(2)` at the cursor.
pub struct WriteVectored<B: IoBufs> {
    fd: SharedFd,
    bufs: B,
    vectors: Vectors,
    offset: Offset,
}

impl<B: IoBufs> WriteVectored<B> {
    pub(crate) fn new(fd: SharedFd, bufs: B, offset: Offset) -> Op<WriteVectored<B>> {
        let vectors = Vectors::of(&bufs);
        let check = offset.check();
        let write = WriteVectored {
            fd,
            bufs,
            vectors,
            offset,
        };
        Op::checked(write, check)
    }
}

// SAFETY: `IoBufs` promises that the memory of each buffer stays in place and unwritten while the operation owns them;
// the array of vectors is a boxed allocation of its own. The operation holds the descriptor (O5).
unsafe impl<B: IoBufs> Operation for WriteVectored<B> {
    operation!("writev" -> BufResult<usize, B>, lends bufs);
    const EINTR_HAD_NO_EFFECT: bool = true;

    fn entry(&mut self) -> Entry {
        let entry = self.fd.entry(Opcode::WRITEV);
        self.vectors.entry(entry, self.offset.raw())
    }

    fn at_cursor(&self) -> Option<AtCursor<'_>> {
        self.offset
            .at_cursor(&self.fd, Direction::Out, self.vectors.requested())
    }

    fn complete(self, completion: Completion) -> Self::Output {
        match completion.result() {
            Ok(n) => Ok((n as usize, self.bufs)),
            Err(error) => Err(BufError::new(error, self.bufs)),
        }
    }

    /// As for a write from one buffer.
    fn dispose(&mut self, completion: Completion) {
        mend_cursor(self, completion);
    }
}

debug_fields!([B: IoBufsMut] ReadVectored<B> { fd, offset });

debug_fields!([B: IoBufs] WriteVectored<B> { fd, offset });
