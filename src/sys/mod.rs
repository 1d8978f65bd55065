//! The kernel's side of the house: the ring behind its port, and the few plain system calls.
//!
//! Above this module nobody knows which ring is there. A ring supplies what [`Port`] lists:
//!
//! | method | what it owes |
//! |---|---|
//! | `push` | takes an entry into its queue, in order, or says that the queue is full |
//! | `attempt` | serves an entry by a plain system call, if there is one for it and it need not wait |
//! | `enter` | hands over what is queued and waits as told; never an error for what merely has to be tried again |
//! | `reap` | every completion that is there, once, in the order of the ring |
//! | `has_work` | whether `enter` would bring completions without waiting |
//! | `queued` | how many entries the kernel has not taken yet |
//! | `now` | the time that deadlines are measured by |
//! | `supports` | whether an opcode can be served at all |
//! | `add_workers` | more threads for requests that block, or fewer; none, where there are no such threads |
//! | `try_thread` | an error, if no thread can be made |
//! | `is_file` | whether a descriptor is that of a file or a directory |
//! | `serve` | serves an entry without the queue and without a thread, however long that takes, if it waits for nobody |
//!
//! All unsafe code that talks to the kernel by address is in this folder, in `buf`, or in an operation's own entry.

mod buf_ring;
mod calls;
mod clock;
mod entry;
mod error;
mod eventfd;
mod fd;
mod fork;
mod interface;
mod kernel;
mod mask;
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
pub(crate) use error::with_context;
pub(crate) use eventfd::EventFd;
pub(crate) use fd::Descriptor;
pub(crate) use fork::ForkMark;
pub(crate) use interface::interface_index;
pub(crate) use kernel::KernelRing;
pub use mask::Mask;
pub(crate) use path::{c_path, make_fifo, with_path};
pub(crate) use peer_cred::peer_cred;
pub(crate) use prefetch::prefetch;
pub(crate) use setup::{Sizes, limit, no_thread};
pub(crate) use signal::Caught;
pub(crate) use sockopt::{option, set_option};

use std::io;

/// A completion with the number of the submission that it answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cqe {
    pub(crate) user_data: u64,
    pub(crate) completion: Completion,
}

/// What the runtime alone may set on a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A completion comes in any case.
    Always,
    /// No completion comes for a success, where the ring can do that.
    OnFailure,
}

/// How long `enter` may wait for a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Not at all, and completions are not asked for: only to make room in the submission queue, or for what completes at once.
    Submit,
    /// Not at all, but the completions that are there are brought in.
    No,
    /// Until a completion arrives or this moment comes.
    Until(Instant),
    /// Until a completion arrives.
    Forever,
}

/// What a plain system call in the place of an entry has come to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attempt {
    Done(Completion),
    /// It would have to wait.
    WouldWait,
    /// What the entry works on has no such call, and never will.
    Never,
    /// None was made: there is none for this entry, or this is not the moment.
    Unserved,
}

/// The submission queue has no room.
#[derive(Debug)]
pub(crate) struct Full;

/// The one interface through which the driver meets a ring.
pub(crate) trait Port {
    fn push(&mut self, entry: &Entry, user_data: u64, answer: Answer) -> Result<(), Full>;

    /// Serves an entry at once, without the queue.
    fn attempt(&mut self, entry: &Entry) -> Attempt;

    /// Submits what is queued and waits. What the kernel did not take stays queued, in order. An error means that the
    /// ring is lost (`EBADR`, a ring descriptor that was closed): nothing that is in flight can be trusted to complete.
    fn enter(&mut self, wait: Wait) -> io::Result<()>;

    /// Copies every completion out. `each` must not reach the ring.
    fn reap(&mut self, each: impl FnMut(Cqe));

    /// Whether completions are there or the kernel holds work that it will turn into some at the next `enter`.
    fn has_work(&mut self) -> bool;

    /// Entries that the kernel has not taken yet.
    fn queued(&mut self) -> usize;

    /// Whether it is known, without looking at the clock, that this moment has not come.
    fn is_before(&self, moment: Instant) -> bool;

    fn now(&self) -> Instant;

    fn supports(&self, opcode: Opcode) -> bool;

    /// Adds this many threads for requests that block, or takes them away. False, if their number cannot be changed.
    fn add_workers(&self, by: i32) -> bool;

    /// Makes a thread that ends at once. The error is that of making it.
    fn try_thread(&self) -> io::Result<()>;

    /// Whether a descriptor is that of a file or a directory.
    fn is_file(&self, fd: i32) -> bool;

    /// Serves an entry on this thread. Unless the ring has `refused` it for want of a thread, what it can serve without one
    /// is left to it. `None`, if the entry is not served: it may have to wait for somebody, or there is no call for it.
    fn serve(&self, entry: &Entry, refused: bool) -> Option<Completion>;
}
