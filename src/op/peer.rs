//! Who is at the other end of a socket, in words: for the text of errors.

use socket2::{SockAddr, SockRef};
use std::os::fd::AsFd;

/// An address as errors name it.
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

/// The peer of a connected socket. One of Unix has a name on one side only, most of the time: then that is it.
pub(super) fn describe_peer(socket: &impl AsFd) -> Option<String> {
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
