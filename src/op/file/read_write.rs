//! Reading into one buffer or several, and writing from them.

use super::offset::{AtCursor, Offset, mend_cursor};
use crate::buf::{BufResult, Lend, LendMut, Part, Vectored, need_room};
use crate::op::operation::{debug_fields, operation};
use crate::op::{Completion, Entry, Op, Opcode, Operation, SharedFd};

/// The operation of [`File::read_at`](crate::fs::File::read_at) and [`File::read`](crate::fs::File::read): `pread(2)`,
/// or `read(2)` at the cursor.
pub type Read<B> = FileRead<Part<B>>;

/// The operation of [`File::read_vectored_at`](crate::fs::File::read_vectored_at) and
/// [`File::read_vectored`](crate::fs::File::read_vectored): `preadv(2)`, or `readv(2)` at the cursor.
pub type ReadVectored<B> = FileRead<Vectored<B>>;

/// Reads into what it lends.
pub struct FileRead<L: LendMut> {
    fd: SharedFd,
    lent: L,
    offset: Offset,
}

impl<L: LendMut> FileRead<L> {
    /// Reads into the whole capacity.
    #[inline]
    pub(crate) fn new(fd: SharedFd, bufs: L::Bufs, offset: Offset) -> Op<FileRead<L>> {
        FileRead::lent(fd, L::room(bufs), offset)
    }

    #[inline]
    pub(crate) fn lent(fd: SharedFd, lent: L, offset: Offset) -> Op<FileRead<L>> {
        let check = offset.check().and_then(|()| need_room(lent.bytes()));
        Op::checked(FileRead { fd, lent, offset }, check)
    }
}

// SAFETY: the memory is lent by the contract of `LendMut`. The operation holds the descriptor (O5).
unsafe impl<L: LendMut> Operation for FileRead<L> {
    operation!(if L::IS_VECTORED { "readv" } else { "read" }, lends lent -> BufResult<usize, L::Bufs>);
    const EINTR_HAD_NO_EFFECT: bool = true;

    #[inline]
    fn entry(&mut self) -> Entry {
        let opcode = L::either(Opcode::READ, Opcode::READV);
        self.fd
            .read_entry(opcode, self.lent.bytes())
            .addr(self.lent.addr_mut())
            .len(self.lent.entry_len())
            .offset(self.offset.raw())
    }

    fn would_wait(&mut self, is_never: bool) {
        self.fd.read_hint().would_wait(is_never);
    }

    #[inline]
    fn at_cursor(&self) -> Option<AtCursor<'_>> {
        self.offset
            .at_cursor(&self.fd, false, self.lent.requested())
    }

    #[inline]
    fn complete(mut self, completion: Completion) -> Self::Output {
        let read = completion.result();
        if let Ok(n) = read {
            // SAFETY: the kernel has written that many bytes, in order.
            unsafe { self.lent.set_filled(n as usize) };
        }
        self.lent.give_back(read)
    }

    /// The bytes of a late read at an offset can be read again, and so can those of a read at the cursor that the ring
    /// did not move. Others are lost: see the `# Cancel safety` of `File::read`.
    fn dispose(&mut self, _: Completion) {}
}

debug_fields!([L: LendMut] FileRead<L> { fd, lent, offset });

/// The operation of [`File::write_at`](crate::fs::File::write_at) and [`File::write`](crate::fs::File::write):
/// `pwrite(2)`, or `write(2)` at the cursor.
pub type Write<B> = FileWrite<Part<B>>;

/// The operation of [`File::write_vectored_at`](crate::fs::File::write_vectored_at) and
/// [`File::write_vectored`](crate::fs::File::write_vectored): `pwritev(2)`, or `writev(2)` at the cursor.
pub type WriteVectored<B> = FileWrite<Vectored<B>>;

/// Writes what it lends, or as much of it as one call takes.
pub struct FileWrite<L: Lend> {
    fd: SharedFd,
    lent: L,
    offset: Offset,
}

impl<L: Lend> FileWrite<L> {
    /// Writes all the bytes that the buffers contain.
    #[inline]
    pub(crate) fn new(fd: SharedFd, bufs: L::Bufs, offset: Offset) -> Op<FileWrite<L>> {
        FileWrite::lent(fd, L::contents(bufs), offset)
    }

    #[inline]
    pub(crate) fn lent(fd: SharedFd, lent: L, offset: Offset) -> Op<FileWrite<L>> {
        let check = offset.check();
        Op::checked(FileWrite { fd, lent, offset }, check)
    }
}

// SAFETY: the memory is lent by the contract of `Lend`. The operation holds the descriptor (O5).
unsafe impl<L: Lend> Operation for FileWrite<L> {
    operation!(if L::IS_VECTORED { "writev" } else { "write" }, lends lent -> BufResult<usize, L::Bufs>);
    const EINTR_HAD_NO_EFFECT: bool = true;

    #[inline]
    fn entry(&mut self) -> Entry {
        let opcode = L::either(Opcode::WRITE, Opcode::WRITEV);
        self.fd
            .entry(opcode)
            .addr(self.lent.addr())
            .len(self.lent.entry_len())
            .offset(self.offset.raw())
    }

    #[inline]
    fn at_cursor(&self) -> Option<AtCursor<'_>> {
        self.offset.at_cursor(&self.fd, true, self.lent.requested())
    }

    #[inline]
    fn complete(self, completion: Completion) -> Self::Output {
        self.lent.give_back(completion.result())
    }

    /// What an abandoned write has written is unknown, but the next write goes after it.
    fn dispose(&mut self, completion: Completion) {
        mend_cursor(self, completion);
    }
}

debug_fields!([L: Lend] FileWrite<L> { fd, lent, offset });
