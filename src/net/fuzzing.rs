//! What the fuzz targets reach of this crate's inside. It exists only with `--cfg fuzzing`, which cargo-fuzz sets.

use super::{RecvMeta, names, unix};
use crate::op::{ControlMessages, push_control};
use socket2::SockAddr;
use std::io;
use std::net;
use std::os::unix::net::SocketAddr;
use std::path::Path;

/// The received messages, as level, type and data.
pub fn control_messages(control: &[u8]) -> impl Iterator<Item = (i32, i32, &[u8])> {
    ControlMessages(control)
}

/// Appends a message to the ancillary data of a send.
pub fn push_control_message(control: &mut Vec<u8>, level: i32, kind: i32, data: &[u8]) {
    push_control(control, level, kind, data);
}

/// The metadata of a datagram with this ancillary data.
pub fn udp_meta(from: net::SocketAddr, control: &[u8]) -> RecvMeta {
    RecvMeta::new(0, 0, from, control)
}

/// The address of an IP socket from the kernel's type.
pub fn ip_from_kernel(address: SockAddr) -> io::Result<net::SocketAddr> {
    names::to_ip(address)
}

/// The address of a Unix socket from the kernel's type.
pub fn unix_from_kernel(address: &SockAddr) -> io::Result<SocketAddr> {
    unix::address::from_kernel(address)
}

/// The address of a Unix socket as the kernel's type.
pub fn unix_to_kernel(address: &SocketAddr) -> io::Result<SockAddr> {
    unix::address::to_kernel(address)
}

/// The address of a path, or the reason why it is not valid.
pub fn unix_of_path(path: &Path) -> io::Result<SocketAddr> {
    unix::address::of_path(path)
}
