//! The kernel's side: the ring behind its port, and a few plain system calls.
//!
//! Nothing above this module knows which ring it uses. A ring provides the methods of [`Port`]:
//!
//! | method | duty |
//! |---|---|
//! | `push` | takes an entry into its queue, in order, or reports that the queue is full |
//! | `attempt` | serves an entry by a plain system call, if there is one for it and it would not block |
//! | `enter` | submits the queue and waits as told; never fails for what merely has to be retried |
//! | `reap` | passes on every completion that is there, once, in the order of the ring |
//! | `has_work` | whether `enter` would deliver completions without waiting |
//! | `queued` | how many entries the kernel has not taken yet |
//! | `now` | the time by which deadlines are measured |
//! | `supports` | whether an opcode can be served at all |
//! | `add_workers` | adds or removes threads for blocking requests, if the ring has such threads |
//! | `try_thread` | fails if no thread can be created |
//! | `is_file` | whether a descriptor is that of a file or a directory |
//! | `serve` | serves an entry without queue or thread, however long it takes, if it waits for no other party |
//!
//! All unsafe code that passes addresses to the kernel is in this folder, in `buf`, or in an operation's own entry.

mod buf_ring;
mod calls;
mod clock;
mod entry;
mod error;
mod eventfd;
mod fd;
mod feature_mask;
mod fork;
mod interface;
mod kernel;
mod path;
mod peer_cred;
mod prefetch;
mod ring_timeout;
mod setup;
mod signal;
mod sockopt;

pub(crate) use buf_ring::{BufRing, BufSizes, ProvidedBuf};
pub use clock::Instant;
pub(crate) use clock::{coarse_ns, machine_now};
pub use entry::{Completion, Entry, Fd, Opcode};
pub(crate) use error::{counted, with_context};
pub(crate) use eventfd::EventFd;
pub(crate) use fd::Descriptor;
pub use feature_mask::FeatureMask;
pub(crate) use fork::ForkMark;
pub(crate) use interface::interface_index;
pub(crate) use kernel::KernelRing;
pub(crate) use path::{c_path, make_fifo, with_path};
pub(crate) use peer_cred::peer_cred;
pub(crate) use prefetch::prefetch;
pub(crate) use setup::{Sizes, limit, no_thread};
pub(crate) use signal::Caught;
pub(crate) use sockopt::{option, set_option};

use std::io;

/// A completion and the `user_data` of its submission.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cqe {
    pub(crate) user_data: u64,
    pub(crate) completion: Completion,
}

/// Whether a submission is to be answered; set by the runtime only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A completion always comes.
    Always,
    /// No completion comes for a success, if the ring supports that.
    OnFailure,
}

/// How long `enter` may wait for a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EnterWait {
    /// Not at all, and without reaping: only to make room in the submission queue, or for requests that complete at
    /// once.
    Submit,
    /// Not at all, but available completions are reaped.
    No,
    /// Until a completion arrives or this time comes.
    Until(Instant),
    /// Until a completion arrives.
    Forever,
}

/// The outcome of a direct call in place of an entry.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attempt {
    Done(Completion),
    /// It would block.
    WouldWait,
    /// The entry's descriptor does not support such calls, and never will.
    Never,
    /// No call was made: there is none for this entry, or not now.
    Unserved,
}

/// The submission queue has no room.
#[derive(Debug)]
pub(crate) struct Full;

/// The interface through which the driver uses a ring.
pub(crate) trait Port {
    fn push(&mut self, entry: &Entry, user_data: u64, answer: Answer) -> Result<(), Full>;

    /// Serves an entry at once, without the queue.
    fn attempt(&mut self, entry: &Entry) -> Attempt;

    /// Submits the queue and waits. Entries that the kernel did not take stay queued, in order. An error means that the
    /// ring is lost (`EBADR`, a closed ring descriptor): nothing in flight can be trusted to complete.
    fn enter(&mut self, wait: EnterWait) -> io::Result<()>;

    /// Passes on a copy of every completion. `each` must not access the ring.
    fn reap(&mut self, each: impl FnMut(Cqe));

    /// Whether there are completions, or the kernel holds work that becomes completions at the next `enter`.
    fn has_work(&mut self) -> bool;

    /// Returns how many entries the kernel has not taken yet.
    fn queued(&mut self) -> usize;

    /// Whether it is known, without reading the clock, that this time has not come.
    fn is_before(&self, moment: Instant) -> bool;

    fn now(&self) -> Instant;

    fn supports(&self, opcode: Opcode) -> bool;

    /// Adds threads for blocking requests, or removes them. Returns false if their number cannot be changed.
    fn add_workers(&self, by: i32) -> bool;

    /// Creates a thread that ends at once. Returns the error if it cannot be created.
    fn try_thread(&self) -> io::Result<()>;

    /// Whether a descriptor is that of a file or a directory.
    fn is_file(&self, fd: i32) -> bool;

    /// Serves an entry on this thread. Unless the ring has `refused` it for want of a thread, an entry that the ring
    /// can serve without one is left to the ring. Returns `None` if the entry is not served: it may wait for another
    /// party, or there is no call for it.
    fn serve(&self, entry: &Entry, refused: bool) -> Option<Completion>;
}
