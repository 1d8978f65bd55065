//! The credentials of a Unix socket's peer, by a plain system call.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Returns process, user and group of the process that created the other end, as of that time: `SO_PEERCRED`
/// (`unix(7)`).
pub(crate) fn peer_cred(socket: impl AsFd) -> io::Result<libc::ucred> {
    let mut cred = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the descriptor is open while it is borrowed, and both addresses are of locals of the size that is given.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut cred).cast(),
            &raw mut len,
        )
    };
    match result {
        0 => Ok(cred),
        _ => Err(io::Error::last_os_error()),
    }
}
