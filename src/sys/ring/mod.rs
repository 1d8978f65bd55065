//! The ring behind its port: the one thing through which the driver reaches the kernel.
//!
//! Nothing above this module knows which ring it uses. A ring provides the methods of [`Port`]:
//!
//! | method | duty |
//! |---|---|
//! | `supported` | the opcodes and features that it has, which never change |
//! | `push` | takes an entry into its queue, in order, or reports that the queue is full |
//! | `attempt` | serves an entry by a direct call, if there is one for it and it would not block |
//! | `enter` | submits the queue and waits as told; never fails for what merely has to be retried |
//! | `reap` | passes on every completion that is there, once, in the order of the ring |
//! | `has_work` | whether `enter` would deliver completions without waiting |
//! | `wants_turn` | whether it learns of completions only by being entered |
//! | `queued` | how many entries have not been submitted yet |
//! | `now`, `coarse_now` | the time by which waits are measured, and the time of the last tick |
//! | `is_before` | whether a time is known not to have come, without reading a clock |
//! | `provide`, `withdraw` | gives a group of buffers to receives, and takes it back |
//! | `add_workers` | adds or removes threads for blocking requests, if the ring has such threads |
//! | `try_thread` | fails if no thread can be created |
//! | `is_file` | whether a descriptor is that of a file or a directory |
//! | `serve` | serves an entry without queue or thread, however long it takes, if it waits for no other party |
//! | `sizes` | the number of entries of its queues |

mod feature_mask;
mod kernel;

pub use feature_mask::FeatureMask;

use super::direct;
use super::entry::{Completion, Entry, Opcode};
use super::os::Instant;
use super::provided::BufRing;
use kernel::KernelRing;
use std::io;
use std::sync::Arc;

/// The number of entries in each queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) submission: u32,
    pub(crate) completion: u32,
}

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
    /// Returns the opcodes and features that the ring has. They never change.
    fn supported(&self) -> Supported;

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

    /// Returns the time by which `enter` waits.
    fn now(&self) -> Instant;

    /// Returns the time of the last tick of the clock behind `now`: some milliseconds behind it, and cheap.
    fn coarse_now(&self) -> Instant;

    /// Whether `enter` is to be called although nothing is queued and no completion is known to be there.
    fn wants_turn(&mut self) -> bool;

    /// Makes requests take buffers of this group from `buffers`, until it is withdrawn or the ring is dropped.
    fn provide(&mut self, group: u16, buffers: &Arc<BufRing>) -> io::Result<()>;

    /// Stops requests from taking buffers of this group.
    fn withdraw(&mut self, group: u16);

    /// Returns the sizes of the queues, which may be smaller than requested.
    fn sizes(&self) -> Sizes;

    /// Adds threads for blocking requests, or removes them. Returns false if their number cannot be changed.
    fn add_workers(&self, by: i32) -> bool;

    /// Creates a thread that ends at once. Returns the error if it cannot be created.
    fn try_thread(&self) -> io::Result<()> {
        direct::try_thread()
    }

    /// Whether a descriptor is that of a file or a directory.
    fn is_file(&self, fd: i32) -> bool {
        direct::is_file(fd)
    }

    /// Serves an entry on this thread. Unless the ring has `refused` it for want of a thread, an entry that the ring
    /// can serve without one is left to the ring. Returns `None` if the entry is not served: it may wait for another
    /// party, or there is no call for it.
    fn serve(&self, entry: &Entry, refused: bool) -> Option<Completion> {
        direct::serve(entry, refused)
    }
}

/// What a ring can do beyond single opcodes. The number is the first kernel that has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Features(u32);

impl Features {
    /// One accept that completes for each connection (5.19).
    pub(crate) const MULTISHOT_ACCEPT: Features = Features(1);
    /// An accept can fail with EAGAIN in place of waiting (6.10).
    pub(crate) const ACCEPT_DONT_WAIT: Features = Features(1 << 1);
    /// One receive that completes for each piece, in provided buffers (6.0).
    pub(crate) const MULTISHOT_RECV: Features = Features(1 << 2);
    /// A bound for the bytes of a multishot receive (6.17).
    pub(crate) const RECV_BOUND: Features = Features(1 << 3);
    /// A receive can wait for data before its first attempt (5.19).
    pub(crate) const POLL_FIRST: Features = Features(1 << 4);

    /// Adds the feature if the ring has it.
    #[must_use]
    const fn with(self, feature: Features, has: bool) -> Features {
        Features(self.0 | if has { feature.0 } else { 0 })
    }

    /// Whether all of these features are there.
    #[inline]
    pub(crate) const fn has(self, features: Features) -> bool {
        self.0 & features.0 == features.0
    }
}

/// A set of opcodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OpcodeSet([u128; 2]);

impl OpcodeSet {
    const EMPTY: OpcodeSet = OpcodeSet([0; 2]);

    const fn insert(&mut self, opcode: Opcode) {
        let number = opcode.number();
        self.0[(number >> 7) as usize] |= 1 << (number & 127);
    }

    #[inline]
    pub(crate) const fn contains(self, opcode: Opcode) -> bool {
        let number = opcode.number();
        self.0[(number >> 7) as usize] & (1 << (number & 127)) != 0
    }
}

/// The opcodes and features of a ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Supported {
    pub(crate) opcodes: OpcodeSet,
    pub(crate) features: Features,
}

impl Supported {
    /// The opcodes for which `has` returns true, and the features.
    pub(crate) fn new(has: impl Fn(Opcode) -> bool, features: Features) -> Supported {
        let mut opcodes = OpcodeSet::EMPTY;
        for opcode in (0..=u8::MAX).map(Opcode::new).filter(|opcode| has(*opcode)) {
            opcodes.insert(opcode);
        }
        Supported { opcodes, features }
    }
}

/// The ring of a runtime, chosen when the runtime is built.
#[derive(Debug)]
pub(crate) enum Ring {
    Kernel(KernelRing),
}

impl Ring {
    /// Creates the best ring that the machine has and the mask allows.
    pub(crate) fn new(sizes: Sizes, mask: &FeatureMask) -> io::Result<Ring> {
        KernelRing::new(sizes, mask).map(Ring::Kernel)
    }
}

/// Forwards methods of the port to the ring that was chosen.
macro_rules! forward {
    ($(fn $name:ident(&self $(, $arg:ident: $kind:ty)*) $(-> $output:ty)?;)*
     mut: $(fn $mut_name:ident(&mut self $(, $mut_arg:ident: $mut_kind:ty)*) $(-> $mut_output:ty)?;)*) => {
        $(
            #[inline]
            fn $name(&self $(, $arg: $kind)*) $(-> $output)? {
                match self {
                    Ring::Kernel(ring) => ring.$name($($arg),*),
                }
            }
        )*
        $(
            #[inline]
            fn $mut_name(&mut self $(, $mut_arg: $mut_kind)*) $(-> $mut_output)? {
                match self {
                    Ring::Kernel(ring) => ring.$mut_name($($mut_arg),*),
                }
            }
        )*
    };
}

impl Port for Ring {
    forward! {
        fn supported(&self) -> Supported;
        fn is_before(&self, moment: Instant) -> bool;
        fn now(&self) -> Instant;
        fn coarse_now(&self) -> Instant;
        fn sizes(&self) -> Sizes;
        fn add_workers(&self, by: i32) -> bool;
        mut:
        fn push(&mut self, entry: &Entry, user_data: u64, answer: Answer) -> Result<(), Full>;
        fn attempt(&mut self, entry: &Entry) -> Attempt;
        fn enter(&mut self, wait: EnterWait) -> io::Result<()>;
        fn has_work(&mut self) -> bool;
        fn wants_turn(&mut self) -> bool;
        fn queued(&mut self) -> usize;
        fn provide(&mut self, group: u16, buffers: &Arc<BufRing>) -> io::Result<()>;
        fn withdraw(&mut self, group: u16);
    }

    /// The completions of every ring go through one loop: with a loop for each ring, `each` would have several callers,
    /// and would no longer be inlined.
    #[inline]
    fn reap(&mut self, mut each: impl FnMut(Cqe)) {
        let completions = match self {
            Ring::Kernel(ring) => ring.completions(),
        };
        for cqe in completions {
            each(cqe);
        }
    }
}
