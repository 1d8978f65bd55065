//! The kernel's ring: the [`Port`] over io_uring.
//!
//! It owns the two queues and the ring's descriptor. One thread creates, uses and drops it: with `SINGLE_ISSUER` the
//! kernel refuses every other thread, and the registered descriptor belongs to this one.

mod registration;
mod setup;
mod sqe;
mod timeouts;

use super::feature_mask::{FEAT_CQE_SKIP, FeatureMask, SETUP_TASKRUN_FLAG};
use super::{Answer, Attempt, Cqe, EnterWait, Features, Full, Sizes, Supported};
use crate::sys::direct;
use crate::sys::os::coarse_ns;
use crate::sys::{Completion, Entry, Instant, Opcode, machine_now, with_context};
use io_uring::IoUring;
use io_uring::types::Timespec;
use registration::RingName;
use std::fmt;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::time::Duration;
use timeouts::{Alarms, FAR};

/// How long an otherwise idle runtime waits before it resubmits what the kernel had no memory for.
const RETRY_PAUSE: Duration = Duration::from_millis(1);

const ENTER_GETEVENTS: u32 = 1;
const ENTER_EXT_ARG: u32 = 1 << 3;
const ENTER_REGISTERED_RING: u32 = 1 << 4;
const TIMEOUT_ABS: u32 = 1;
/// The argument of a wait with a deadline: `struct io_uring_getevents_arg`.
#[repr(C)]
struct WaitArgument {
    sigmask: u64,
    sigmask_size: u32,
    min_wait_usec: u32,
    timespec: u64,
}

/// The kernel's ring.
pub(crate) struct KernelRing {
    ring: IoUring,
    name: RingName,
    setup_flags: u32,
    skips_completions: bool,
    attempts: bool,
    resizes: bool,
    supported: Supported,
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
            params.is_feature_skip_cqe_on_success() && mask.features & FEAT_CQE_SKIP == 0;
        let mut probe = io_uring::Probe::new();
        ring.submitter()
            .register_probe(&mut probe)
            .map_err(|error| {
                with_context(error, "asking the kernel which io_uring opcodes it has")
            })?;
        let has =
            |opcode: Opcode| probe.is_supported(opcode.number()) && !mask.opcodes.contains(opcode);
        let mut ring = KernelRing {
            name: RingName::Descriptor(ring.as_raw_fd()),
            ring,
            setup_flags,
            skips_completions,
            attempts: !mask.attempts,
            resizes: !mask.resizing,
            supported: Supported::new(has, features(has)),
            alarms: Alarms::new(has(Opcode::TIMEOUT)),
        };
        if !mask.registered_ring {
            ring.register();
        }
        Ok(ring)
    }

    /// Returns the completions in the order of the ring, without those of its own timeouts.
    #[inline]
    pub(super) fn completions(&mut self) -> impl Iterator<Item = Cqe> {
        let KernelRing { ring, alarms, .. } = self;
        ring.completion().filter_map(|cqe| {
            let user_data = cqe.user_data();
            if Alarms::is_alarm(user_data) {
                alarms.over(user_data, cqe.result());
                return None;
            }
            Some(Cqe {
                user_data,
                completion: Completion::new(cqe.result(), cqe.flags()),
            })
        })
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
}

/// The methods of the port.
impl KernelRing {
    #[inline]
    pub(super) fn push(
        &mut self,
        entry: &Entry,
        user_data: u64,
        answer: Answer,
    ) -> Result<(), Full> {
        let sqe = sqe::sqe(entry, user_data, answer, self.skips_completions);
        // SAFETY: the memory of the entry stays alive and in place until its last completion: the contract of
        // `Operation`, kept by the driver (O1, O2).
        unsafe { self.ring.submission().push(&sqe) }.map_err(|_| Full)
    }

    #[inline]
    pub(super) fn attempt(&mut self, entry: &Entry) -> Attempt {
        match self.attempts {
            true => direct::attempt(entry),
            false => Attempt::Unserved,
        }
    }

    pub(super) fn enter(&mut self, wait: EnterWait) -> io::Result<()> {
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
    pub(super) fn is_before(&self, moment: Instant) -> bool {
        self.alarms.covers(moment)
    }

    #[inline]
    pub(super) fn has_work(&mut self) -> bool {
        if !self.ring.completion().is_empty() {
            return true;
        }
        let submission = self.ring.submission();
        // Without the flag, the kernel runs its task work in any system call, and completions just appear.
        submission.cq_overflow()
            || (self.setup_flags & SETUP_TASKRUN_FLAG != 0 && submission.taskrun())
    }

    #[inline]
    pub(super) fn queued(&mut self) -> usize {
        self.ring.submission().len()
    }

    #[inline]
    pub(super) fn now(&self) -> Instant {
        machine_now()
    }

    #[inline]
    pub(super) fn coarse_now(&self) -> Instant {
        Instant::from_ns(coarse_ns())
    }

    #[inline]
    pub(super) fn wants_turn(&mut self) -> bool {
        self.has_work()
    }

    #[inline]
    pub(super) fn supported(&self) -> Supported {
        self.supported
    }

    pub(super) fn sizes(&self) -> Sizes {
        let params = self.ring.params();
        Sizes {
            submission: params.sq_entries(),
            completion: params.cq_entries(),
        }
    }
}

/// Returns the features of the kernel. The probe reports only opcodes: a kernel counts as one with a feature if it has an
/// opcode of the same version or, for the bound of a receive, of the version before. A kernel that has the opcode but
/// not that bound fails the first receive with one.
fn features(has: impl Fn(Opcode) -> bool) -> Features {
    let is_6_0 = has(Opcode::SEND_ZC);
    Features::default()
        .with(Features::MULTISHOT_ACCEPT, is_6_0)
        .with(Features::MULTISHOT_RECV, is_6_0)
        .with(Features::POLL_FIRST, is_6_0)
        .with(Features::ACCEPT_DONT_WAIT, has(Opcode::BIND))
        .with(Features::RECV_BOUND, has(Opcode::PIPE))
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

    const SIZES: Sizes = Sizes {
        submission: 8,
        completion: 16,
    };

    #[test]
    fn every_rung_of_the_ladder_completes_a_request() {
        for (mask, flags) in [
            (FeatureMask::none(), None),
            (FeatureMask::linux_6_1(), Some(0x3380)),
            (
                FeatureMask::linux_6_1()
                    .without_setup_flag(crate::sys::ring::feature_mask::SETUP_DEFER_TASKRUN),
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
            seen.extend(
                ring.completions()
                    .map(|cqe| (cqe.user_data, cqe.completion.raw())),
            );
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
        seen.extend(ring.completions().map(|cqe| cqe.user_data));
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
