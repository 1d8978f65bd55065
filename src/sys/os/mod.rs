//! Plain system calls that are no requests of an operation: the clock, eventfds, descriptors, limits, paths, signals.

mod clock;
mod eventfd;
mod fd;
mod fork;
mod interface;
mod limits;
mod path;
mod peer_cred;
mod prefetch;
mod signal;
mod sockopt;

pub use clock::Instant;
pub(crate) use clock::{VirtualClock, coarse_ns, machine_now};
pub(crate) use eventfd::EventFd;
pub(crate) use fd::Descriptor;
pub(super) use fd::poll_now;
pub(crate) use fork::ForkMark;
pub(crate) use interface::interface_index;
pub(crate) use limits::{limit, no_thread};
pub(super) use limits::{no_descriptor, soft_limit};
pub(crate) use path::{c_path, make_fifo, with_path};
pub(crate) use peer_cred::peer_cred;
pub(crate) use prefetch::prefetch;
pub(crate) use signal::Caught;
pub(crate) use sockopt::{option, set_option};
