//! The work, done by a bare loop over the io-uring crate: the cost of the kernel without a runtime.
//!
//! It keeps a number of slots busy, each with one request in flight: it submits everything queued in one enter, waits
//! for at least one completion, and queues the next request of every slot whose request completed. The ring has the
//! flags, the sizes and the registered descriptor that gimmal's ring has on a recent kernel. There are no tasks, wakers
//! or cancels.

use crate::{Block, Sequence};
use io_uring::squeue::{Entry, Flags};
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{CompletionQueue, IoUring, SubmissionQueue, Submitter, opcode};
use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process;

/// The size of the buffer for one small file: the initial size of `gimmal::fs::read`.
const BUFFER: usize = 16 << 10;

/// A ring, split into its parts.
pub struct Ring {
    submitter: Submitter<'static>,
    submission: SubmissionQueue<'static>,
    completion: CompletionQueue<'static>,
}

impl Ring {
    /// Creates a ring for this thread. It is leaked.
    pub fn new() -> io::Result<Ring> {
        let ring = IoUring::builder()
            .setup_clamp()
            .setup_cqsize(4096)
            .setup_submit_all()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_no_sqarray()
            .build(256)?;
        // The crate keeps the registered descriptor in the submitter, which borrows the ring.
        let ring = Box::leak(Box::new(ring));
        let (mut submitter, submission, completion) = ring.split();
        submitter.register_ring_fd()?;
        Ok(Ring {
            submitter,
            submission,
            completion,
        })
    }

    /// Registers descriptors, so that requests can name them by their index.
    pub fn register_files(&self, fds: &[RawFd]) -> io::Result<()> {
        self.submitter.register_files(fds)
    }

    /// No-ops, `depth` at once.
    pub fn nop(&mut self, depth: u64, ops: u64) {
        let mut left = ops;
        let mut next = || {
            left = left.checked_sub(1)?;
            Some(opcode::Nop::new().build())
        };
        // SAFETY: a no-op has no address.
        unsafe {
            self.drive(depth, &mut 0, |_, result| {
                expect(result, "nop");
                next()
            });
        }
    }

    /// Reads of a block at random offsets into a file of `blocks`, `depth` at once.
    pub fn read_4k(&mut self, fd: RawFd, blocks: u64, depth: u64, ops: u64) {
        let mut left = ops;
        let mut slots: Vec<(Box<Block>, Sequence)> = (0..depth)
            .map(|slot| (Box::default(), Sequence::new(slot)))
            .collect();
        // SAFETY: each slot has its own block, which nothing else accesses, and which is dropped after `drive` returns.
        unsafe {
            self.drive(depth, &mut 0, |slot, result| {
                if result != Some(Block::SIZE as i32) {
                    expect(result.filter(|n| *n < 0), "a short read");
                }
                left = left.checked_sub(1)?;
                let (block, sequence) = &mut slots[slot];
                let read = opcode::Read::new(Fd(fd), block.0.as_mut_ptr(), Block::SIZE as u32);
                Some(read.offset(sequence.offset(blocks)).build())
            });
        }
    }

    /// A message of 64 bytes over a socket pair, written and then read, each in an enter that waits for it; the read's
    /// enter has a timeout.
    pub fn talk(&mut self, ops: u64) {
        let (near, far) = UnixStream::pair().unwrap_or_else(|error| fail("a socket pair", &error));
        let hour = Timespec::new().sec(3600);
        let (message, mut buf) = (vec![7u8; 64], vec![0u8; 64]);
        let Ring {
            submitter,
            submission,
            completion,
        } = self;
        for _ in 0..ops {
            let (near, far) = (Fd(near.as_raw_fd()), Fd(far.as_raw_fd()));
            let send = opcode::Send::new(near, message.as_ptr(), 64).build();
            let receive = opcode::Recv::new(far, buf.as_mut_ptr(), 64).build();
            for (entry, timed) in [(send, false), (receive, true)] {
                // SAFETY: both buffers stay in place and are not accessed until the completion is reaped, below; a
                // failure ends the process.
                unsafe { push(submission, entry) };
                submission.sync();
                let arguments = SubmitArgs::new().timespec(&hour);
                let entered = match timed {
                    true => submitter.submit_with_args(1, &arguments),
                    false => submitter.submit_and_wait(1),
                };
                if let Err(error) = entered {
                    fail("io_uring_enter", &error);
                }
                submission.sync();
                completion.sync();
                for cqe in &mut *completion {
                    if cqe.result() != 64 {
                        fail("a message", &io::Error::other("it was cut short"));
                    }
                }
                completion.sync();
            }
        }
    }

    /// Reads of an empty pipe, one after another, each submitted together with its cancel request.
    pub fn cancel_waiting_read(&mut self, fd: RawFd, ops: u64) {
        const READ: u64 = 1;
        let Ring {
            submitter,
            submission,
            completion,
        } = self;
        let mut buf = vec![0u8; 64];
        for _ in 0..ops {
            let read = opcode::Read::new(Fd(fd), buf.as_mut_ptr(), 64).build();
            let cancel = opcode::AsyncCancel::new(READ).build();
            // SAFETY: the buffer stays in place and is not accessed until the completion of the read is reaped, below;
            // a failure ends the process. The cancel request has no address.
            unsafe {
                push(submission, read.user_data(READ));
                push(submission, cancel.flags(Flags::SKIP_SUCCESS));
            }
            submission.sync();
            if let Err(error) = submitter.submit_and_wait(1) {
                fail("io_uring_enter", &error);
            }
            submission.sync();
            completion.sync();
            for cqe in &mut *completion {
                if cqe.result() != -libc::ECANCELED {
                    fail("a canceled read", &io::Error::other("it was not canceled"));
                }
            }
            completion.sync();
        }
    }

    /// Opens, reads and closes whole files, `depth` at once, cycling through the list. If `to_the_end` is set, a second
    /// read finds the end of each, which a runtime needs because it does not know the size.
    pub fn small_files(&mut self, paths: &[CString], to_the_end: bool, depth: u64, ops: u64) {
        let mut names = paths.iter().cycle().take(ops as usize);
        let mut slots: Vec<Reading> = (0..depth).map(|_| Reading::new()).collect();
        // SAFETY: this frame borrows the paths and owns the buffers, one per slot; they stay in place, are not accessed
        // by anything else, and outlive `drive`.
        unsafe {
            self.drive(depth, &mut 0, |slot, result| {
                slots[slot].step(result, to_the_end, &mut names)
            });
        }
    }

    /// Runs one request after another in every slot, and counts how often the kernel is entered. `next` receives the
    /// slot and the result of its last request (`None` at the start), and returns its next request, or `None` if the
    /// slot is done.
    ///
    /// # Safety
    ///
    /// The memory that an entry points to must stay valid and not be accessed until `next` is called with its result.
    /// This does not unwind while a request is in flight: a failure ends the process.
    pub(crate) unsafe fn drive(
        &mut self,
        depth: u64,
        enters: &mut u64,
        mut next: impl FnMut(usize, Option<i32>) -> Option<Entry>,
    ) {
        let Ring {
            submitter,
            submission,
            completion,
        } = self;
        let mut in_flight = 0;
        for slot in 0..depth {
            if let Some(entry) = next(slot as usize, None) {
                make_room(submitter, submission, enters);
                // SAFETY: guaranteed by the caller.
                unsafe { push(submission, entry.user_data(slot)) };
                in_flight += 1;
            }
        }
        while in_flight > 0 {
            submission.sync();
            *enters += 1;
            if let Err(error) = submitter.submit_and_wait(1)
                && error.kind() != io::ErrorKind::Interrupted
            {
                fail("io_uring_enter", &error);
            }
            submission.sync();
            completion.sync();
            for cqe in &mut *completion {
                let slot = cqe.user_data();
                match next(slot as usize, Some(cqe.result())) {
                    Some(entry) => {
                        make_room(submitter, submission, enters);
                        // SAFETY: guaranteed by the caller.
                        unsafe { push(submission, entry.user_data(slot)) };
                    }
                    None => in_flight -= 1,
                }
            }
            // Publish the head: otherwise the next wait would return at once.
            completion.sync();
        }
        submission.sync();
        completion.sync();
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").finish_non_exhaustive()
    }
}

/// The last request of a slot.
#[derive(Clone, Copy)]
enum Step {
    Open,
    Read,
    End,
    Close,
}

/// A slot that reads whole files.
struct Reading {
    step: Step,
    fd: RawFd,
    buf: Vec<u8>,
}

impl Reading {
    fn new() -> Reading {
        Reading {
            step: Step::Close,
            fd: -1,
            buf: vec![0; BUFFER],
        }
    }

    fn step<'a>(
        &mut self,
        result: Option<i32>,
        to_the_end: bool,
        names: &mut impl Iterator<Item = &'a CString>,
    ) -> Option<Entry> {
        let n = expect(result, "open, read or close");
        match self.step {
            Step::Open => {
                self.fd = n;
                self.step = Step::Read;
                Some(self.read(0))
            }
            Step::Read if to_the_end => {
                self.step = Step::End;
                Some(self.read(n as usize))
            }
            Step::Read | Step::End => {
                self.step = Step::Close;
                Some(opcode::Close::new(Fd(self.fd)).build())
            }
            Step::Close => {
                self.step = Step::Open;
                let open = opcode::OpenAt::new(Fd(libc::AT_FDCWD), names.next()?.as_ptr());
                Some(open.flags(libc::O_RDONLY | libc::O_CLOEXEC).build())
            }
        }
    }

    fn read(&mut self, at: usize) -> Entry {
        let buf = &mut self.buf[at..];
        opcode::Read::new(Fd(self.fd), buf.as_mut_ptr(), buf.len() as u32)
            .offset(at as u64)
            .build()
    }
}

/// Submits the queue if it is full.
#[inline]
fn make_room(submitter: &Submitter<'_>, submission: &mut SubmissionQueue<'_>, enters: &mut u64) {
    if submission.is_full() {
        submission.sync();
        *enters += 1;
        if let Err(error) = submitter.submit() {
            fail("io_uring_enter", &error);
        }
        submission.sync();
    }
}

/// # Safety
///
/// As for [`Ring::drive`].
#[inline]
unsafe fn push(submission: &mut SubmissionQueue<'_>, entry: Entry) {
    // SAFETY: guaranteed by the caller.
    if unsafe { submission.push(&entry) }.is_err() {
        fail(
            "more slots than the submission queue has entries",
            &io::ErrorKind::QuotaExceeded.into(),
        );
    }
}

/// Returns the result of a request, or zero if there is none yet. A failure ends the process.
#[inline]
fn expect(result: Option<i32>, what: &str) -> i32 {
    match result {
        Some(errno) if errno < 0 => fail(what, &io::Error::from_raw_os_error(-errno)),
        Some(n) => n,
        None => 0,
    }
}

/// Ends the process. Unwinding would free memory that the kernel may still write to.
#[cold]
fn fail(what: &str, error: &io::Error) -> ! {
    eprintln!("the bare ring: {what}: {error}");
    process::exit(1)
}
