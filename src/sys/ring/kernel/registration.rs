//! What is registered with a ring: its own descriptor, groups of buffers, the number of its workers, its sizes.

use super::KernelRing;
use crate::sys::BufRing;
use crate::sys::os::soft_limit;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::sync::Arc;

const REGISTER_RING_FDS: libc::c_long = 20;
const UNREGISTER_RING_FDS: libc::c_long = 21;
const RESIZE_RINGS: libc::c_long = 33;
const SETUP_CQSIZE: u32 = 1 << 3;

/// The argument of registering a ring's descriptor: `struct io_uring_rsrc_update`.
#[repr(C)]
struct RingUpdate {
    offset: u32,
    reserved: u32,
    data: u64,
}

/// How `enter` names the ring's descriptor.
#[derive(Clone, Copy, Debug)]
pub(super) enum RingName {
    Descriptor(RawFd),
    /// An index into the kernel's table of this thread: saves 22 of 109 ns an enter (measured on 6.18).
    Registered(u32),
}

impl KernelRing {
    /// Registers the ring's descriptor in the kernel's table of this thread. Kernels before 5.18 have none, and the
    /// table has 16 entries: without one, the plain descriptor is used.
    pub(super) fn register(&mut self) {
        let mut update = RingUpdate {
            offset: u32::MAX,
            reserved: 0,
            data: self.ring.as_raw_fd() as u64,
        };
        if self.update_registration(REGISTER_RING_FDS, &mut update) {
            self.name = RingName::Registered(update.offset);
        }
    }

    /// A ring that stays registered lives until its thread ends (measured on 6.18), with everything in flight.
    pub(super) fn unregister(&mut self) {
        if let RingName::Registered(offset) = self.name {
            let mut update = RingUpdate {
                offset,
                reserved: 0,
                data: 0,
            };
            self.update_registration(UNREGISTER_RING_FDS, &mut update);
            self.name = RingName::Descriptor(self.ring.as_raw_fd());
        }
    }

    fn update_registration(&self, opcode: libc::c_long, update: &mut RingUpdate) -> bool {
        // SAFETY: `update` is one valid io_uring_rsrc_update, as the last argument says, for the length of the call.
        let done = unsafe {
            libc::syscall(
                libc::SYS_io_uring_register,
                self.ring.as_raw_fd(),
                opcode,
                ptr::from_mut(update),
                1,
            )
        };
        done == 1
    }

    /// Releases the memory of the queues, which are no longer used. The kernel frees a ring some time after it is
    /// closed, and until then counts it against the locked memory of its user: this leaves 2 of the 21 pages of a ring
    /// of 256 and 4096 entries. Not possible on kernels before 6.13, nor for rings without deferred task work; and a
    /// ring with unread completions keeps its queues.
    pub(super) fn shrink(&mut self) {
        /// `struct io_uring_params`, which begins with the entries of both queues, and the flags.
        type Params = [u32; 30];
        const ENTRIES_MIN: u32 = 2;
        let mut params: Params = [0; 30];
        (params[0], params[1], params[2]) = (ENTRIES_MIN, ENTRIES_MIN, SETUP_CQSIZE);
        if !self.resizes {
            return;
        }
        // SAFETY: the parameters are 120 bytes that the kernel reads and writes during the call. It switches to other
        // memory for the queues, while the old memory stays mapped here until it is unmapped: reads and writes of it
        // would no longer reach the kernel, and the ring is about to be dropped.
        unsafe {
            libc::syscall(
                libc::SYS_io_uring_register,
                self.ring.as_raw_fd(),
                RESIZE_RINGS,
                params.as_mut_ptr(),
                1,
            )
        };
    }

    pub(in crate::sys::ring) fn provide(
        &self,
        group: u16,
        buffers: &Arc<BufRing>,
    ) -> io::Result<()> {
        let submitter = self.ring.submitter();
        // SAFETY: the queue is at a page boundary, in memory that is mapped for as long as `buffers` has a holder:
        // every request that may take a buffer holds it, and nothing else makes the kernel access it.
        unsafe {
            submitter.register_buf_ring_with_flags(buffers.address(), buffers.count(), group, 0)
        }
    }

    pub(in crate::sys::ring) fn withdraw(&self, group: u16) {
        // It fails only if there is no such group, and then there is nothing to withdraw.
        let _gone = self.ring.submitter().unregister_buf_ring(group);
    }

    /// Changes the limit on workers for bounded work, of which there are four for each processor (measured on 6.18:
    /// eight blocked opens of a FIFO stop every write to a file). The limit belongs to the thread, so it is changed by
    /// a difference. The kernel never sets more than RLIMIT_NPROC, which would take away workers instead. Kernels
    /// before 5.15 do not have this call.
    pub(in crate::sys::ring) fn add_workers(&self, by: i32) -> bool {
        let mut limits = [0; 2];
        let submitter = self.ring.submitter();
        if submitter.register_iowq_max_workers(&mut limits).is_err() {
            return false;
        }
        let bounded = limits[0].saturating_add_signed(by);
        if soft_limit(libc::RLIMIT_NPROC).is_some_and(|limit| limit < u64::from(bounded)) {
            return false;
        }
        submitter
            .register_iowq_max_workers(&mut [bounded, 0])
            .is_ok()
    }
}
