//! Reading into several buffers at once, and writing from several.

use super::rw::{Place, no_room};
use super::{Completion, Entry, Op, Opcode, Operation, SharedFd};
use crate::buf::{BufError, BufResult, IoBufs, IoBufsMut};
use std::fmt;
use std::io;

/// The most buffers of one call: `IOV_MAX` (`readv(2)`).
const BUFFERS_MAX: usize = 1024;

/// The array that tells the kernel where the buffers are: an allocation of its own (O2).
pub(super) struct Vectors(Box<[libc::iovec]>);

impl Vectors {
    /// Where several buffers are, to be filled.
    pub(super) fn of_mut(bufs: &mut impl IoBufsMut) -> Vectors {
        let mut vectors = Vec::new();
        bufs.for_each_buf_mut(&mut |buf| {
            vectors.push(libc::iovec {
                iov_base: buf.io_mut_ptr().cast(),
                iov_len: buf.io_capacity(),
            });
        });
        Vectors(vectors.into())
    }

    /// Where several buffers are, to be read.
    pub(super) fn of(bufs: &impl IoBufs) -> Vectors {
        let mut vectors = Vec::new();
        bufs.for_each_buf(&mut |buf| {
            vectors.push(libc::iovec {
                iov_base: buf.io_ptr().cast_mut().cast(),
                iov_len: buf.io_len(),
            });
        });
        Vectors(vectors.into())
    }

    pub(super) fn as_slice(&self) -> &[libc::iovec] {
        &self.0
    }

    /// Whether there is room for a byte.
    pub(super) fn has_room(&self) -> bool {
        self.0.iter().any(|vector| vector.iov_len > 0)
    }

    /// Whether one call takes so many.
    pub(super) fn check(&self) -> io::Result<()> {
        let count = self.0.len();
        if count > BUFFERS_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{count} buffers in one call: the kernel takes {BUFFERS_MAX} at most"),
            ));
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        let lens = self.0.iter().map(|vector| vector.iov_len);
        lens.fold(0, usize::saturating_add)
    }

    fn entry(&self, entry: Entry, place: Place) -> Entry {
        entry
            .addr(self.0.as_ptr())
            .len(self.0.len() as u32)
            .offset(place.offset())
    }
}

/// Reads into several buffers, one after the other: `preadv(2)`, or `readv(2)` at the cursor.
pub struct ReadVectored<B: IoBufsMut> {
    fd: SharedFd,
    bufs: B,
    vectors: Vectors,
    place: Place,
}

impl<B: IoBufsMut> ReadVectored<B> {
    pub(crate) fn new(fd: SharedFd, mut bufs: B, place: Place) -> Op<ReadVectored<B>> {
        let vectors = Vectors::of_mut(&mut bufs);
        let check = place.check().and_then(|()| vectors.check());
        let has_room = vectors.has_room();
        let read = ReadVectored {
            fd,
            bufs,
            vectors,
            place,
        };
        match check {
            Err(error) => Op::rejected(read, error),
            Ok(()) if !has_room => Op::rejected(read, no_room()),
            Ok(()) => Op::new(read),
        }
    }
}

// SAFETY: `IoBufsMut` promises that the memory of each buffer stays in place and untouched while the operation owns them;
// the array of vectors is a boxed allocation of its own. The operation holds the descriptor (O5).
unsafe impl<B: IoBufsMut> Operation for ReadVectored<B> {
    type Output = BufResult<usize, B>;
    const NAME: &'static str = "readv";

    fn entry(&mut self) -> Entry {
        let entry = self.fd.read_entry(Opcode::READV, self.vectors.bytes());
        self.vectors.entry(entry, self.place)
    }

    fn would_wait(&mut self, is_never: bool) {
        self.fd.cached().would_wait(is_never);
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

    fn fail(self, error: io::Error) -> Self::Output {
        Err(BufError::new(error, self.bufs))
    }

    fn proves_nothing_happened(&self, completion: Completion) -> bool {
        completion.was_interrupted()
    }

    fn dispose(&mut self, _: Completion) {}
}

/// Writes from several buffers, one after the other: `pwritev(2)`, or `writev(2)` at the cursor.
pub struct WriteVectored<B: IoBufs> {
    fd: SharedFd,
    bufs: B,
    vectors: Vectors,
    place: Place,
}

impl<B: IoBufs> WriteVectored<B> {
    pub(crate) fn new(fd: SharedFd, bufs: B, place: Place) -> Op<WriteVectored<B>> {
        let vectors = Vectors::of(&bufs);
        let check = place.check().and_then(|()| vectors.check());
        let write = WriteVectored {
            fd,
            bufs,
            vectors,
            place,
        };
        match check {
            Err(error) => Op::rejected(write, error),
            Ok(()) => Op::new(write),
        }
    }
}

// SAFETY: `IoBufs` promises that the memory of each buffer stays in place and unwritten while the operation owns them; the
// array of vectors is a boxed allocation of its own. The operation holds the descriptor (O5).
unsafe impl<B: IoBufs> Operation for WriteVectored<B> {
    type Output = BufResult<usize, B>;
    const NAME: &'static str = "writev";

    fn entry(&mut self) -> Entry {
        let entry = self.fd.entry(Opcode::WRITEV);
        self.vectors.entry(entry, self.place)
    }

    fn complete(self, completion: Completion) -> Self::Output {
        match completion.result() {
            Ok(n) => Ok((n as usize, self.bufs)),
            Err(error) => Err(BufError::new(error, self.bufs)),
        }
    }

    fn fail(self, error: io::Error) -> Self::Output {
        Err(BufError::new(error, self.bufs))
    }

    fn proves_nothing_happened(&self, completion: Completion) -> bool {
        completion.was_interrupted()
    }

    fn dispose(&mut self, _: Completion) {}
}

impl<B: IoBufsMut> fmt::Debug for ReadVectored<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(f, "ReadVectored", &self.fd, &self.vectors)
    }
}

impl<B: IoBufs> fmt::Debug for WriteVectored<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(f, "WriteVectored", &self.fd, &self.vectors)
    }
}

fn debug(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    fd: &SharedFd,
    Vectors(vectors): &Vectors,
) -> fmt::Result {
    f.debug_struct(name)
        .field("fd", fd)
        .field("buffers", &vectors.len())
        .finish_non_exhaustive()
}
