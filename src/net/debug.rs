//! The `Debug` output of sockets: as in std, the addresses of both ends.

use std::fmt::{self, Debug};
use std::io;
use std::os::fd::AsRawFd;

/// Writes the addresses, if there are any, and the descriptor.
pub(super) fn debug<A: Debug>(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    socket: &impl AsRawFd,
    ends: [io::Result<A>; 2],
) -> fmt::Result {
    let mut shown = f.debug_struct(name);
    for (end, address) in ["local", "peer"].into_iter().zip(ends) {
        if let Ok(address) = address {
            shown.field(end, &address);
        }
    }
    shown
        .field("fd", &socket.as_raw_fd())
        .finish_non_exhaustive()
}
