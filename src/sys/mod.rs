//! The kernel's side: rings behind their port, direct calls, and a few plain system calls.
//!
//! | part | owns |
//! |---|---|
//! | `entry` | our description of a request, and of its completion |
//! | `ring` | the port, and the rings behind it |
//! | `direct` | entries served by plain system calls |
//! | `provided` | buffers that the kernel picks from for receives |
//! | `os` | the clock, eventfds, descriptors, paths, signals, and what else is no request |
//!
//! All unsafe code that passes addresses to the kernel is in this folder, in `buf`, or in an operation's own entry.

mod direct;
mod entry;
mod error;
mod os;
mod provided;
mod ring;

pub use entry::{Completion, Entry, Fd, Opcode};
pub(crate) use error::{counted, with_context};
pub use os::Instant;
pub(crate) use os::{
    Caught, Descriptor, EventFd, ForkMark, VirtualClock, c_path, interface_index, limit,
    machine_now, make_fifo, no_thread, option, peer_cred, prefetch, set_option, with_path,
};
pub(crate) use provided::{BufRing, BufSizes, ProvidedBuf};
pub use ring::FeatureMask;
#[cfg(test)]
pub(crate) use ring::Full;
pub(crate) use ring::{Answer, Attempt, Cqe, EnterWait, Features, Port, Ring, Sizes, Supported};
