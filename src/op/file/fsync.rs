//! Flushing written data to the disk.

use crate::op::operation::operation;
use crate::op::{Entry, Op, Opcode, Operation, SharedFd};

/// Skips metadata that is not needed to read the data back (`IORING_FSYNC_DATASYNC`).
const DATA_ONLY: u32 = 1;

/// The operation of [`File::sync_all`](crate::fs::File::sync_all) and [`File::sync_data`](crate::fs::File::sync_data):
/// `fsync(2)`, `fdatasync(2)`.
#[derive(Debug)]
pub struct Fsync {
    fd: SharedFd,
    data_only: bool,
}

impl Fsync {
    pub(crate) fn new(fd: SharedFd, data_only: bool) -> Op<Fsync> {
        Op::new(Fsync { fd, data_only })
    }
}

// SAFETY: the entry has no address. The operation holds the descriptor (O5).
unsafe impl Operation for Fsync {
    operation!(simple "fsync");

    /// An interrupted sync guarantees nothing, which here is what having no effect means.
    const EINTR_HAD_NO_EFFECT: bool = true;

    fn entry(&mut self) -> Entry {
        let flags = if self.data_only { DATA_ONLY } else { 0 };
        self.fd.entry(Opcode::FSYNC).op_flags(flags)
    }
}
