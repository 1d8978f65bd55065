//! An entry in the layout of the kernel: `struct io_uring_sqe`.

use super::super::Answer;
use crate::sys::{Entry, Fd};
use io_uring::squeue;
use std::mem;

const SQE_ASYNC: u8 = 1 << 4;
const SQE_BUFFER_SELECT: u8 = 1 << 5;
const SQE_CQE_SKIP_SUCCESS: u8 = 1 << 6;

/// A submission as the kernel reads it: `struct io_uring_sqe` in its 64-byte form (`linux/io_uring.h`).
#[repr(C)]
struct Sqe {
    opcode: u8,
    flags: u8,
    ioprio: u16,
    fd: i32,
    offset: u64,
    addr: u64,
    len: u32,
    op_flags: u32,
    user_data: u64,
    buf_index: u16,
    personality: u16,
    /// The index of a direct descriptor, or the descriptor that a splice reads from.
    second: u32,
    addr3: u64,
    pad: u64,
}

/// Returns the entry as the kernel reads it. Without `skips`, an answer always comes.
#[inline]
pub(super) fn sqe(entry: &Entry, user_data: u64, answer: Answer, skips: bool) -> squeue::Entry {
    let mut flags = 0;
    if entry.in_worker {
        flags |= SQE_ASYNC;
    }
    if answer == Answer::OnFailure && skips {
        flags |= SQE_CQE_SKIP_SUCCESS;
    }
    if entry.buf_group.is_some() {
        flags |= SQE_BUFFER_SELECT;
    }
    let Fd::Plain(fd) = entry.fd;
    let sqe = Sqe {
        opcode: entry.opcode.number(),
        flags,
        ioprio: entry.ioprio,
        fd,
        offset: entry.offset,
        addr: entry.addr,
        len: entry.len,
        op_flags: entry.op_flags,
        user_data,
        buf_index: entry.buf_group.unwrap_or(0),
        personality: 0,
        second: entry.second,
        addr3: 0,
        pad: 0,
    };
    const {
        assert!(mem::size_of::<Sqe>() == mem::size_of::<squeue::Entry>());
        assert!(mem::align_of::<Sqe>() >= mem::align_of::<squeue::Entry>());
    }
    // SAFETY: `squeue::Entry` is a `repr(C)` wrapper of the kernel's `struct io_uring_sqe`, 64 bytes of integers of
    // which every bit pattern is valid; `Sqe` has its size, its layout (see the test) and no padding.
    unsafe { mem::transmute::<Sqe, squeue::Entry>(sqe) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Opcode;
    use io_uring::{opcode, types};
    use std::ptr;

    fn bytes(sqe: squeue::Entry) -> [u8; 64] {
        // SAFETY: both types are 64 bytes of integers.
        unsafe { mem::transmute(sqe) }
    }

    /// Compares the layout of `Sqe` with entries that the io-uring crate fills in field by field.
    #[test]
    fn entries_are_laid_out_as_the_kernel_reads_them() {
        let mut buffer = [0u8; 8];
        let fd = types::Fd(3);
        let theirs = opcode::Read::new(fd, buffer.as_mut_ptr(), 8)
            .offset(77)
            .rw_flags(5)
            .build()
            .user_data(99)
            .flags(squeue::Flags::ASYNC | squeue::Flags::SKIP_SUCCESS);
        let ours = Entry::new(Opcode::READ)
            .fd(3)
            .addr(buffer.as_ptr())
            .len(8)
            .offset(77)
            .op_flags(5)
            .in_worker();
        let ours = sqe(&ours, 99, Answer::OnFailure, true);
        assert_eq!(bytes(ours), bytes(theirs));

        let theirs = opcode::OpenAt::new(fd, c"x".as_ptr())
            .flags(libc::O_CREAT)
            .mode(0o600)
            .build();
        let ours = Entry::new(Opcode::OPENAT)
            .fd(3)
            .addr(c"x".as_ptr())
            .len(0o600)
            .op_flags(libc::O_CREAT as u32);
        assert_eq!(bytes(sqe(&ours, 0, Answer::Always, true)), bytes(theirs));

        let theirs = opcode::Recv::new(fd, ptr::null_mut(), 9)
            .buf_group(7)
            .flags(libc::MSG_PEEK)
            .build();
        let ours = Entry::new(Opcode::RECV)
            .fd(3)
            .len(9)
            .op_flags(libc::MSG_PEEK as u32)
            .buffer_of(7);
        let select = 1 << 5;
        let mut expected = bytes(theirs);
        expected[1] |= select;
        assert_eq!(bytes(sqe(&ours, 0, Answer::Always, true)), expected);

        let theirs = opcode::RecvMulti::new(fd, 7).build();
        let ours = Entry::new(Opcode::RECV).fd(3).ioprio(2).buffer_of(7);
        assert_eq!(bytes(sqe(&ours, 0, Answer::Always, true)), bytes(theirs));

        let theirs = opcode::Splice::new(types::Fd(4), 5, fd, -1, 77)
            .flags(1)
            .build();
        let ours = Entry::new(Opcode::SPLICE)
            .fd(3)
            .splice_from(4)
            .addr(ptr::without_provenance::<u8>(5))
            .offset(u64::MAX)
            .len(77)
            .op_flags(1);
        assert_eq!(bytes(sqe(&ours, 0, Answer::Always, true)), bytes(theirs));

        let theirs = opcode::AsyncCancel::new(0x1234_5678_9abc).build();
        let ours =
            Entry::new(Opcode::ASYNC_CANCEL).addr(ptr::without_provenance::<u8>(0x1234_5678_9abc));
        assert_eq!(bytes(sqe(&ours, 0, Answer::Always, true)), bytes(theirs));
    }
}
