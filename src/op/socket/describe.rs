//! The other end of a socket, described for error messages.

use socket2::{SockAddr, SockRef};
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

/// Describes the peer of a connected socket. Of two connected Unix sockets, usually only one has a name, so the local
/// name is the fallback.
pub(in crate::op) fn describe_peer(socket: &impl AsFd) -> Option<String> {
    let socket = SockRef::from(socket);
    let peer = socket.peer_addr().ok()?;
    if !peer.is_unnamed() {
        return Some(describe(&peer));
    }
    let own = socket.local_addr().ok()?;
    Some(match own.is_unnamed() {
        true => describe(&peer),
        false => format!("a peer at {}", describe(&own)),
    })
}
