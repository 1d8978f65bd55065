//! The other end of a socket, described for error messages.

use crate::sys::with_context;
use socket2::{SockAddr, SockRef};
use std::io;
use std::os::fd::AsFd;

/// Formats an address for error messages.
pub(crate) fn describe(address: &SockAddr) -> String {
    if let Some(ip) = address.as_socket() {
        return ip.to_string();
    }
    if let Some(path) = address.as_pathname() {
        return path.display().to_string();
    }
    match address.as_abstract_namespace() {
        Some(name) => format!("@{}", name.escape_ascii()),
        None => "a socket without a name".to_owned(),
    }
}

/// Adds what was tried, and the receiver or the peer, to an error of the system. Of two connected Unix sockets, usually
/// only one has a name, so the local name is the fallback. `WouldBlock` stays as it is: loops compare it.
#[cold]
pub(in crate::op) fn with_peer(
    error: io::Error,
    what: &str,
    socket: &impl AsFd,
    to: Option<&SockAddr>,
) -> io::Error {
    let socket = SockRef::from(socket);
    let named = |address: &SockAddr| address.len() > 0 && !address.is_unnamed();
    let peer = to.cloned().or_else(|| socket.peer_addr().ok());
    let peer = match (peer.filter(named), socket.local_addr()) {
        _ if error.raw_os_error().is_none() || error.kind() == io::ErrorKind::WouldBlock => {
            return error;
        }
        (Some(peer), _) => describe(&peer),
        (None, Ok(own)) if named(&own) => format!("a peer of {}", describe(&own)),
        (None, Ok(_)) => "a socket without a name".to_owned(),
        // A pipe.
        (None, Err(_)) => return error,
    };
    with_context(error, format!("{what} {peer}"))
}
