//! The kernel's ring: the [`Port`] over io_uring.
//!
//! It owns the two queues and the ring's descriptor. One thread creates, uses and drops it: with `SINGLE_ISSUER` the
//! kernel refuses every other thread, and the registered descriptor belongs to this one.

use super::buf_ring::BufRing;
use super::calls;
use super::clock::{Instant, machine_now};
use super::entry::{Completion, Entry, Fd, Opcode};
use super::error::with_context;
use super::feature_mask::{FEAT_CQE_SKIP, FeatureMask, SETUP_TASKRUN_FLAG};
use super::ring_timeout::{Alarms, FAR};
use super::setup::{self, Sizes};
use super::{Answer, Attempt, Cqe, EnterWait, Full, Port};
use io_uring::types::Timespec;
use io_uring::{IoUring, squeue};
use libc::{MSG_DONTWAIT, MSG_NOSIGNAL};
use std::fmt;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

/// How long an otherwise idle runtime waits before it resubmits what the kernel had no memory for.
const RETRY_PAUSE: Duration = Duration::from_millis(1);

const ENTER_GETEVENTS: u32 = 1;
const ENTER_EXT_ARG: u32 = 1 << 3;
const ENTER_REGISTERED_RING: u32 = 1 << 4;
const REGISTER_RING_FDS: libc::c_long = 20;
const UNREGISTER_RING_FDS: libc::c_long = 21;
const RESIZE_RINGS: libc::c_long = 33;
const SETUP_CQSIZE: u32 = 1 << 3;
const TIMEOUT_ABS: u32 = 1;
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

/// The argument of a wait with a deadline: `struct io_uring_getevents_arg`.
#[repr(C)]
struct WaitArgument {
    sigmask: u64,
    sigmask_size: u32,
    min_wait_usec: u32,
    timespec: u64,
}

/// The argument of registering a ring's descriptor: `struct io_uring_rsrc_update`.
#[repr(C)]
struct RingUpdate {
    offset: u32,
    reserved: u32,
    data: u64,
}

/// How `enter` names the ring's descriptor.
#[derive(Clone, Copy, Debug)]
enum RingName {
    Descriptor(RawFd),
    /// An index into the kernel's table of this thread: saves 22 of 109 ns an enter (measured on 6.18).
    Registered(u32),
}

/// The kernel's ring.
pub(crate) struct KernelRing {
    ring: IoUring,
    name: RingName,
    setup_flags: u32,
    skips_completions: bool,
    attempts: bool,
    resizes: bool,
    opcodes: [u128; 2],
    alarms: Alarms,
}

impl KernelRing {
    /// Creates a ring of this thread with the features that the kernel has and the mask allows.
    pub(crate) fn new(sizes: Sizes, mask: &FeatureMask) -> io::Result<KernelRing> {
        let (ring, setup_flags) = setup::build(sizes, mask)?;
        let params = ring.params();
        let needed = [
            (params.is_feature_nodrop(), "NODROP (5.5)"),
            (params.is_feature_submit_stable(), "SUBMIT_STABLE (5.5)"),
            (params.is_feature_rw_cur_pos(), "RW_CUR_POS (5.6)"),
            (params.is_feature_ext_arg(), "EXT_ARG (5.11)"),
        ];
        if let Some((_, lacking)) = needed.iter().find(|(has, _)| !has) {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!(
                    "the kernel's io_uring lacks the feature {lacking}: Linux 5.15 has all that is needed"
                ),
            ));
        }
        let skips_completions =
            params.is_feature_skip_cqe_on_success() && !mask.hides_feature(FEAT_CQE_SKIP);
        let mut probe = io_uring::Probe::new();
        ring.submitter()
            .register_probe(&mut probe)
            .map_err(|error| {
                with_context(error, "asking the kernel which io_uring opcodes it has")
            })?;
        let mut opcodes = [0; 2];
        for number in 0..=u8::MAX {
            let opcode = Opcode::new(number);
            if probe.is_supported(number) && !mask.hides_opcode(opcode) {
                opcodes[usize::from(number >> 7)] |= 1 << (number & 127);
            }
        }
        let mut ring = KernelRing {
            name: RingName::Descriptor(ring.as_raw_fd()),
            ring,
            setup_flags,
            skips_completions,
            attempts: !mask.hides_attempts(),
            resizes: !mask.hides_resizing(),
            opcodes,
            alarms: Alarms::new(false),
        };
        ring.alarms = Alarms::new(ring.supports(Opcode::TIMEOUT));
        if !mask.hides_registered_ring() {
            ring.register();
        }
        Ok(ring)
    }

    /// Returns the sizes of its queues, which may be smaller than requested.
    pub(crate) fn sizes(&self) -> Sizes {
        let params = self.ring.params();
        Sizes {
            submission: params.sq_entries(),
            completion: params.cq_entries(),
        }
    }

    /// Registers the ring's descriptor in the kernel's table of this thread. Kernels before 5.18 have none, and the
    /// table has 16 entries: without one, the plain descriptor is used.
    fn register(&mut self) {
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
    fn unregister(&mut self) {
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
    fn shrink(&mut self) {
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

    /// Makes requests take buffers of this group from `buffers`, until it is withdrawn or the ring is dropped.
    pub(crate) fn provide(&self, group: u16, buffers: &Arc<BufRing>) -> io::Result<()> {
        let submitter = self.ring.submitter();
        // SAFETY: the queue is at a page boundary, in memory that is mapped for as long as `buffers` has a holder:
        // every request that may take a buffer holds it, and nothing else makes the kernel access it.
        unsafe {
            submitter.register_buf_ring_with_flags(buffers.address(), buffers.count(), group, 0)
        }
    }

    /// Stops requests from taking buffers of this group.
    pub(crate) fn withdraw(&self, group: u16) {
        // It fails only if there is no such group, and then there is nothing to withdraw.
        let _gone = self.ring.submitter().unregister_buf_ring(group);
    }

    /// Leaves a timeout in the ring. Returns false if there is no room for it.
    fn arm_alarm(&mut self, deadline: Instant) -> bool {
        let Some((user_data, time)) = self.alarms.arm(deadline) else {
            return false;
        };
        let entry = Entry::new(Opcode::TIMEOUT)
            .addr(ptr::from_ref(time))
            .len(1)
            .op_flags(TIMEOUT_ABS);
        if self.push(&entry, user_data, Answer::Always).is_ok() {
            return true;
        }
        self.alarms.over(user_data, -libc::ECANCELED);
        false
    }

    /// Removes the timeouts from the ring; with them, the kernel would free it late.
    fn disarm_alarms(&mut self) {
        let armed: Vec<u64> = self.alarms.armed().collect();
        for user_data in &armed {
            let target = ptr::without_provenance::<u8>(*user_data as usize);
            let cancel = Entry::new(Opcode::ASYNC_CANCEL).addr(target);
            // There is room: everything queued has been submitted.
            let _pushed = self.push(&cancel, 0, Answer::OnFailure);
        }
        if !armed.is_empty() {
            let _left = self.enter(EnterWait::No);
        }
    }

    /// Calls `io_uring_enter` once. The argument, if there is one, contains the timeout.
    fn enter_once(
        &self,
        submit: u32,
        complete: u32,
        mut flags: u32,
        timeout: Option<Duration>,
    ) -> Result<u32, i32> {
        let fd = match self.name {
            RingName::Descriptor(fd) => fd,
            RingName::Registered(index) => {
                flags |= ENTER_REGISTERED_RING;
                index as RawFd
            }
        };
        let timespec: Timespec;
        let argument: WaitArgument;
        let (address, size) = match timeout {
            None => (ptr::null(), 0),
            Some(timeout) => {
                timespec = timeout.into();
                argument = WaitArgument {
                    sigmask: 0,
                    sigmask_size: 0,
                    min_wait_usec: 0,
                    timespec: ptr::from_ref(&timespec).expose_provenance() as u64,
                };
                flags |= ENTER_EXT_ARG;
                (ptr::from_ref(&argument), mem::size_of::<WaitArgument>())
            }
        };
        // SAFETY: with EXT_ARG, the address is that of a valid argument of this size, whose timespec outlives the call;
        // without, both are zero. The memory of the submitted entries stays in place by O1.
        let entered = unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                fd,
                submit,
                complete,
                flags,
                address,
                size,
            )
        };
        if entered >= 0 {
            return Ok(entered as u32);
        }
        Err(io::Error::last_os_error().raw_os_error().unwrap_or(0))
    }

    fn sqe(&self, entry: &Entry, user_data: u64, answer: Answer) -> squeue::Entry {
        let mut flags = 0;
        if entry.in_worker {
            flags |= SQE_ASYNC;
        }
        if answer == Answer::OnFailure && self.skips_completions {
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
}

impl Port for KernelRing {
    #[inline]
    fn push(&mut self, entry: &Entry, user_data: u64, answer: Answer) -> Result<(), Full> {
        let sqe = self.sqe(entry, user_data, answer);
        // SAFETY: the memory of the entry stays alive and in place until its last completion: the contract of
        // `Operation`, kept by the driver (O1, O2).
        unsafe { self.ring.submission().push(&sqe) }.map_err(|_| Full)
    }

    #[inline]
    fn attempt(&mut self, entry: &Entry) -> Attempt {
        let is_read = matches!(entry.opcode, Opcode::READ | Opcode::READV);
        // The calls cannot express these fields.
        let is_plain = entry.ioprio == 0
            && (is_read || entry.offset == 0)
            && entry.second == 0
            && !entry.in_worker
            && entry.buf_group.is_none();
        if !self.attempts || !is_plain {
            return Attempt::Unserved;
        }
        let Fd::Plain(fd) = entry.fd;
        let (len, flags) = (entry.len as usize, entry.op_flags as i32 | MSG_DONTWAIT);
        // As in the ring: no signal if the peer is gone.
        let send_flags = flags | MSG_NOSIGNAL;
        let address = ptr::with_exposed_provenance_mut::<libc::c_void>(entry.addr as usize);
        // An offset of -1 means the cursor for this call, too; it then waits for other threads that read or write at
        // that cursor. Kernels 5.9 and 5.10 returned 0 if nothing was cached; since then, 0 is the end of the file
        // (tried on 6.18, also with holes).
        let read = |vectors: *const libc::iovec, count: usize| {
            let (offset, flags) = (entry.offset as libc::off_t, entry.op_flags as i32);
            // SAFETY: there are `count` vectors, of writable memory: that of the entry, as below.
            unsafe { libc::preadv2(fd, vectors, count as i32, offset, flags | libc::RWF_NOWAIT) }
        };
        let whole = libc::iovec {
            iov_base: address,
            iov_len: len,
        };
        // SAFETY: the memory of the entry is valid for the accesses of its opcode (as for `push`), which are those of
        // the call of the same name; the call keeps no reference to it.
        let done = unsafe {
            match entry.opcode {
                Opcode::SEND => libc::send(fd, address, len, send_flags),
                Opcode::RECV => libc::recv(fd, address, len, flags),
                Opcode::SENDMSG => libc::sendmsg(fd, address.cast(), send_flags),
                Opcode::RECVMSG => libc::recvmsg(fd, address.cast(), flags),
                Opcode::READ => read(&whole, 1),
                Opcode::READV => read(address.cast(), len),
                _ => return Attempt::Unserved,
            }
        };
        if let Ok(done) = i32::try_from(done)
            && done >= 0
        {
            return Attempt::Done(Completion::at_once(done));
        }
        match io::Error::last_os_error().raw_os_error() {
            Some(libc::EAGAIN | libc::EINTR) | None => Attempt::WouldWait,
            // A file system that cannot tell, or a directory; a pipe, whose offset the ring ignores; a sandbox that
            // allows the ring but not this call.
            Some(libc::EOPNOTSUPP | libc::ESPIPE | libc::ENOSYS | libc::EPERM) if is_read => {
                Attempt::Never
            }
            Some(errno) => Attempt::Done(Completion::at_once(-errno)),
        }
    }

    fn enter(&mut self, wait: EnterWait) -> io::Result<()> {
        let (complete, flags, timeout) = match wait {
            EnterWait::Submit => (0, 0, None),
            EnterWait::No => (0, ENTER_GETEVENTS, None),
            EnterWait::Forever => (1, ENTER_GETEVENTS, None),
            EnterWait::Until(deadline) if self.alarms.covers(deadline) => {
                (1, ENTER_GETEVENTS, None)
            }
            EnterWait::Until(deadline) => {
                match deadline.checked_duration_since(machine_now()) {
                    // A timeout of zero would still arm a timer in the kernel.
                    None | Some(Duration::ZERO) => (0, ENTER_GETEVENTS, None),
                    Some(left) if left >= FAR && self.arm_alarm(deadline) => {
                        (1, ENTER_GETEVENTS, None)
                    }
                    left => (1, ENTER_GETEVENTS, left),
                }
            }
        };
        let queued = self.ring.submission().len() as u32;
        match self.enter_once(queued, complete, flags, timeout) {
            Ok(_) => Ok(()),
            // Interrupted by a signal, or timed out: the caller checks its own clock and queue.
            Err(libc::EINTR | libc::ETIME) => Ok(()),
            // No memory for a request, or too many unread completions. Whatever was not taken is still queued. If there
            // is nothing else to do, wait a moment for completions, or for memory, before the next try.
            Err(libc::EAGAIN | libc::EBUSY | libc::ENOMEM) => {
                if complete == 0 && wait == EnterWait::Submit {
                    return Ok(());
                }
                let pause = match complete {
                    0 => None,
                    _ => Some(timeout.map_or(RETRY_PAUSE, |left| left.min(RETRY_PAUSE))),
                };
                match self.enter_once(0, complete, ENTER_GETEVENTS, pause) {
                    Ok(_)
                    | Err(libc::EINTR | libc::ETIME | libc::EAGAIN | libc::EBUSY | libc::ENOMEM) => {
                        Ok(())
                    }
                    Err(errno) => Err(lost(errno)),
                }
            }
            Err(errno) => Err(lost(errno)),
        }
    }

    #[inline]
    fn reap(&mut self, mut each: impl FnMut(Cqe)) {
        let KernelRing { ring, alarms, .. } = self;
        for cqe in ring.completion() {
            let user_data = cqe.user_data();
            if Alarms::is_alarm(user_data) {
                alarms.over(user_data, cqe.result());
                continue;
            }
            each(Cqe {
                user_data,
                completion: Completion::new(cqe.result(), cqe.flags()),
            });
        }
    }

    #[inline]
    fn is_before(&self, moment: Instant) -> bool {
        self.alarms.covers(moment)
    }

    #[inline]
    fn has_work(&mut self) -> bool {
        if !self.ring.completion().is_empty() {
            return true;
        }
        let submission = self.ring.submission();
        // Without the flag, the kernel runs its task work in any system call, and completions just appear.
        submission.cq_overflow()
            || (self.setup_flags & SETUP_TASKRUN_FLAG != 0 && submission.taskrun())
    }

    #[inline]
    fn queued(&mut self) -> usize {
        self.ring.submission().len()
    }

    #[inline]
    fn now(&self) -> Instant {
        machine_now()
    }

    #[inline]
    fn supports(&self, opcode: Opcode) -> bool {
        let number = opcode.number();
        self.opcodes[usize::from(number >> 7)] & (1 << (number & 127)) != 0
    }

    /// Changes the limit on workers for bounded work, of which there are four for each processor (measured on 6.18:
    /// eight blocked opens of a FIFO stop every write to a file). The limit belongs to the thread, so it is changed by
    /// a difference. The kernel never sets more than RLIMIT_NPROC, which would take away workers instead. Kernels
    /// before 5.15 do not have this call.
    fn add_workers(&self, by: i32) -> bool {
        let mut limits = [0; 2];
        let submitter = self.ring.submitter();
        if submitter.register_iowq_max_workers(&mut limits).is_err() {
            return false;
        }
        let bounded = limits[0].saturating_add_signed(by);
        if setup::soft_limit(libc::RLIMIT_NPROC).is_some_and(|limit| limit < u64::from(bounded)) {
            return false;
        }
        submitter
            .register_iowq_max_workers(&mut [bounded, 0])
            .is_ok()
    }

    fn try_thread(&self) -> io::Result<()> {
        calls::try_thread()
    }

    fn is_file(&self, fd: i32) -> bool {
        calls::is_file(fd)
    }

    fn serve(&self, entry: &Entry, refused: bool) -> Option<Completion> {
        calls::serve(entry, refused)
    }
}

#[cold]
fn lost(errno: i32) -> io::Error {
    let what = match errno {
        libc::EBADR => "the kernel had no memory to keep a completion and dropped it",
        libc::EBADF | libc::EBADFD | libc::EOPNOTSUPP => {
            "the descriptor of the ring was closed by other code of the process"
        }
        _ => "the kernel refuses to serve the ring",
    };
    with_context(io::Error::from_raw_os_error(errno), what)
}

impl Drop for KernelRing {
    fn drop(&mut self) {
        self.disarm_alarms();
        self.unregister();
        self.shrink();
    }
}

impl fmt::Debug for KernelRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelRing")
            .field("name", &self.name)
            .field("setup_flags", &self.setup_flags)
            .field("skips_completions", &self.skips_completions)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use io_uring::{opcode, types};

    const SIZES: Sizes = Sizes {
        submission: 8,
        completion: 16,
    };

    fn bytes(sqe: squeue::Entry) -> [u8; 64] {
        // SAFETY: both types are 64 bytes of integers.
        unsafe { mem::transmute(sqe) }
    }

    /// Compares the layout of `Sqe` with entries that the io-uring crate fills in field by field.
    #[test]
    fn entries_are_laid_out_as_the_kernel_reads_them() {
        let ring = KernelRing::new(SIZES, &FeatureMask::none()).unwrap();
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
        let ours = ring.sqe(&ours, 99, Answer::OnFailure);
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
        assert_eq!(bytes(ring.sqe(&ours, 0, Answer::Always)), bytes(theirs));

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
        assert_eq!(bytes(ring.sqe(&ours, 0, Answer::Always)), expected);

        let theirs = opcode::RecvMulti::new(fd, 7).build();
        let ours = Entry::new(Opcode::RECV).fd(3).ioprio(2).buffer_of(7);
        assert_eq!(bytes(ring.sqe(&ours, 0, Answer::Always)), bytes(theirs));

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
        assert_eq!(bytes(ring.sqe(&ours, 0, Answer::Always)), bytes(theirs));

        let theirs = opcode::AsyncCancel::new(0x1234_5678_9abc).build();
        let ours =
            Entry::new(Opcode::ASYNC_CANCEL).addr(ptr::without_provenance::<u8>(0x1234_5678_9abc));
        assert_eq!(bytes(ring.sqe(&ours, 0, Answer::Always)), bytes(theirs));
    }

    #[test]
    fn every_rung_of_the_ladder_completes_a_request() {
        for (mask, flags) in [
            (FeatureMask::none(), None),
            (FeatureMask::linux_6_1(), Some(0x3380)),
            (
                FeatureMask::linux_6_1()
                    .without_setup_flag(super::super::feature_mask::SETUP_DEFER_TASKRUN),
                Some(0x380),
            ),
            (FeatureMask::linux_5_15(), Some(0)),
        ] {
            let mut ring = KernelRing::new(SIZES, &mask).unwrap();
            if let Some(flags) = flags {
                assert_eq!(ring.setup_flags, flags);
            }
            ring.push(&Entry::new(Opcode::NOP), 7, Answer::Always)
                .unwrap();
            assert_eq!(ring.queued(), 1);
            ring.enter(EnterWait::Forever).unwrap();
            let mut seen = Vec::new();
            ring.reap(|cqe| seen.push((cqe.user_data, cqe.completion.raw())));
            assert_eq!(seen, [(7, 0)]);
            assert_eq!(ring.queued(), 0);
            assert!(!ring.has_work());
        }
    }

    #[test]
    fn a_full_queue_returns_full_and_keeps_its_order() {
        let mut ring = KernelRing::new(SIZES, &FeatureMask::none()).unwrap();
        for n in 0..8 {
            ring.push(&Entry::new(Opcode::NOP), n, Answer::Always)
                .unwrap();
        }
        assert!(
            ring.push(&Entry::new(Opcode::NOP), 8, Answer::Always)
                .is_err()
        );
        ring.enter(EnterWait::Submit).unwrap();
        ring.push(&Entry::new(Opcode::NOP), 8, Answer::Always)
            .unwrap();
        ring.enter(EnterWait::No).unwrap();
        let mut seen = Vec::new();
        ring.reap(|cqe| seen.push(cqe.user_data));
        assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn a_wait_ends_at_its_deadline_and_not_before() {
        let mut ring = KernelRing::new(SIZES, &FeatureMask::none()).unwrap();
        let deadline = ring.now() + Duration::from_millis(2);
        while ring.now() < deadline {
            ring.enter(EnterWait::Until(deadline)).unwrap();
        }
        ring.enter(EnterWait::Until(deadline)).unwrap();
    }

    #[test]
    fn added_workers_can_be_removed() {
        let sizes = Sizes {
            submission: 4,
            completion: 8,
        };
        let ring = KernelRing::new(sizes, &FeatureMask::none()).unwrap();
        let limit = || {
            let mut limits = [0; 2];
            let submitter = ring.ring.submitter();
            submitter.register_iowq_max_workers(&mut limits).unwrap();
            limits
        };
        let before = limit();
        assert!(ring.add_workers(3));
        assert_eq!(limit(), [before[0] + 3, before[1]]);
        assert!(ring.add_workers(1));
        assert!(ring.add_workers(-4));
        assert_eq!(limit(), before);
    }

    #[test]
    fn more_rings_than_a_thread_can_register_still_work() {
        let mut rings: Vec<KernelRing> = (0..20)
            .map(|_| KernelRing::new(SIZES, &FeatureMask::none()).unwrap())
            .collect();
        for ring in &mut rings {
            ring.push(&Entry::new(Opcode::NOP), 1, Answer::Always)
                .unwrap();
            ring.enter(EnterWait::Forever).unwrap();
            assert!(ring.has_work());
        }
    }
}
