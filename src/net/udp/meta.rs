//! The metadata of a UDP datagram: addresses, interface, hop limit, traffic class, timestamp, segment size.

use crate::op::{ControlMessages, FromMessage, Message, push_control};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, SystemTime};

/// Room for all the ancillary data of one datagram: two addresses, four numbers for each IP version, a timestamp and a
/// size take 224 bytes.
pub(super) const CONTROL_ROOM: usize = 256;

/// The metadata of a received datagram, returned by [`UdpSocket::recv_msg`](super::UdpSocket::recv_msg).
///
/// A field whose socket option is not set is `None`.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::net::UdpSocket;
///
/// gimmal::run(async {
///     let server = UdpSocket::bind("0.0.0.0:0").await?;
///     server.set_recv_packet_info(true)?;
///     let port = server.local_addr()?.port();
///     let client = UdpSocket::bind("127.0.0.1:0").await?;
///     client.send_to("hello", ([127, 0, 0, 5], port)).await?;
///     let (meta, buffer) = server.recv_msg(Vec::with_capacity(4)).await?;
///     assert_eq!(buffer, b"hell");
///     assert!(meta.is_truncated() && meta.full_len == 5);
///     assert_eq!(meta.from, client.local_addr()?);
///     assert_eq!(meta.to, Some([127, 0, 0, 5].into()));
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecvMeta {
    /// The number of bytes in the buffer.
    pub len: usize,
    /// The length of the datagram in bytes. Bytes beyond the buffer's capacity are lost.
    pub full_len: usize,
    /// The sender's address.
    pub from: SocketAddr,
    /// The destination address: see [`set_recv_packet_info`](super::UdpSocket::set_recv_packet_info).
    pub to: Option<IpAddr>,
    /// The index of the interface on which it arrived, enabled together with the destination address.
    pub interface: Option<u32>,
    /// The number of hops it had left (TTL or hop limit): see [`set_recv_ttl`](super::UdpSocket::set_recv_ttl).
    pub ttl: Option<u8>,
    /// The TOS or traffic class, whose lowest two bits are ECN: see [`set_recv_tos`](super::UdpSocket::set_recv_tos).
    pub tos: Option<u8>,
    /// When the kernel received it: see [`set_recv_timestamp`](super::UdpSocket::set_recv_timestamp).
    pub timestamp: Option<SystemTime>,
    /// The length of each datagram but the last, if the buffer contains several: see
    /// [`set_gro`](super::UdpSocket::set_gro).
    pub segment_size: Option<usize>,
}

impl RecvMeta {
    /// Whether the datagram did not fit into the buffer.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.full_len > self.len
    }
}

impl FromMessage for RecvMeta {
    fn from_message(message: Message<'_>) -> io::Result<RecvMeta> {
        let (full_len, control) = (message.full_len, message.control);
        let (len, from) = <(usize, SocketAddr)>::from_message(message)?;
        Ok(RecvMeta::new(len, full_len, from, control))
    }
}

impl RecvMeta {
    /// Takes what the ancillary data says.
    pub(in crate::net) fn new(
        len: usize,
        full_len: usize,
        from: SocketAddr,
        control: &[u8],
    ) -> RecvMeta {
        let mut meta = RecvMeta {
            len,
            full_len,
            from,
            to: None,
            interface: None,
            ttl: None,
            tos: None,
            timestamp: None,
            segment_size: None,
        };
        for (level, kind, data) in ControlMessages(control) {
            meta.take(level, kind, data);
        }
        meta
    }

    fn take(&mut self, level: i32, kind: i32, data: &[u8]) {
        let number = data.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes));
        let octet = number.and_then(|number| u8::try_from(number).ok());
        match (level, kind) {
            // `in_pktinfo`: the interface, the address that a reply would be sent from, and the one in the packet.
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                if let Some(bytes) = data.get(8..).and_then(<[u8]>::first_chunk::<4>) {
                    self.to = Some(Ipv4Addr::from(*bytes).into());
                    self.interface = number.map(|number| number as u32);
                }
            }
            // `in6_pktinfo`: the address in the packet, and the interface.
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                if let (Some(bytes), Some(interface)) = (data.first_chunk::<16>(), data.get(16..)) {
                    self.to = Some(Ipv6Addr::from(*bytes).into());
                    let interface = interface.first_chunk();
                    self.interface = interface.map(|bytes| u32::from_ne_bytes(*bytes));
                }
            }
            (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                self.ttl = octet;
            }
            // IPv4 sends one byte, IPv6 an `int`.
            (libc::IPPROTO_IP, libc::IP_TOS) => self.tos = data.first().copied(),
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => self.tos = octet,
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => self.timestamp = time(data),
            (libc::SOL_UDP, libc::UDP_GRO) => self.segment_size = number.map(|size| size as usize),
            _ => {}
        }
    }
}

/// Parses a `timespec`: seconds since 1970, and nanoseconds.
fn time(data: &[u8]) -> Option<SystemTime> {
    let (seconds, rest) = data.split_first_chunk()?;
    let seconds = u64::try_from(i64::from_ne_bytes(*seconds)).ok()?;
    let nanoseconds = u32::try_from(i64::from_ne_bytes(*rest.first_chunk()?)).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds))
}

/// The metadata of a datagram to send with [`UdpSocket::send_msg`](super::UdpSocket::send_msg).
///
/// Values that are not set are those of the socket.
///
/// ```
/// use gimmal::net::SendMeta;
///
/// let meta = SendMeta::new().to(([127, 0, 0, 1], 80)).ttl(1);
/// assert_ne!(meta, SendMeta::default());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SendMeta {
    to: Option<SocketAddr>,
    from: Option<IpAddr>,
    interface: Option<u32>,
    ttl: Option<u8>,
    tos: Option<u8>,
    segment_size: Option<u16>,
}

impl SendMeta {
    /// Creates metadata with nothing set, for a datagram to the connected peer.
    #[must_use]
    pub fn new() -> SendMeta {
        SendMeta::default()
    }

    /// Sets the destination address.
    #[must_use]
    pub fn to(mut self, to: impl Into<SocketAddr>) -> SendMeta {
        self.to = Some(to.into());
        self
    }

    /// Sets the source address, which must be one of this machine: for replies, the address that received the request
    /// ([`RecvMeta::to`]).
    #[must_use]
    pub fn from(mut self, from: impl Into<IpAddr>) -> SendMeta {
        self.from = Some(from.into());
        self
    }

    /// Sets the interface, by its index.
    #[must_use]
    pub fn interface(mut self, interface: u32) -> SendMeta {
        self.interface = Some(interface);
        self
    }

    /// Sets the TTL or hop limit.
    #[must_use]
    pub fn ttl(mut self, ttl: u8) -> SendMeta {
        self.ttl = Some(ttl);
        self
    }

    /// Sets the TOS or traffic class, whose lowest two bits are ECN.
    #[must_use]
    pub fn tos(mut self, tos: u8) -> SendMeta {
        self.tos = Some(tos);
        self
    }

    /// Splits the buffer into datagrams of this length, except that the last may be shorter: `UDP_SEGMENT` (Linux
    /// 4.18). One system call sends up to 64 of them (128 since 6.9), 64 KiB in total; a network card that supports it
    /// does the splitting.
    #[must_use]
    pub fn segment_size(mut self, segment_size: u16) -> SendMeta {
        self.segment_size = Some(segment_size);
        self
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.to
    }

    /// Encodes the metadata as ancillary data. `peer` returns the connected peer's address.
    pub(super) fn control(
        &self,
        peer: impl FnOnce() -> io::Result<SocketAddr>,
    ) -> io::Result<Vec<u8>> {
        let mut control = Vec::new();
        let of_packet = (self.from, self.interface, self.ttl, self.tos);
        if of_packet != (None, None, None, None) {
            // An IPv4-mapped address on an IPv6 socket takes IPv4's control messages.
            let to = self.to.map_or_else(peer, Ok)?.ip().to_canonical();
            self.push_packet(to, &mut control)?;
        }
        if let Some(size) = self.segment_size {
            push_control(
                &mut control,
                libc::SOL_UDP,
                libc::UDP_SEGMENT,
                &size.to_ne_bytes(),
            );
        }
        Ok(control)
    }

    fn push_packet(&self, to: IpAddr, control: &mut Vec<u8>) -> io::Result<()> {
        let (level, ttl, tos, nobody) = match to {
            IpAddr::V4(_) => (
                libc::IPPROTO_IP,
                libc::IP_TTL,
                libc::IP_TOS,
                Ipv4Addr::UNSPECIFIED.into(),
            ),
            IpAddr::V6(_) => (
                libc::IPPROTO_IPV6,
                libc::IPV6_HOPLIMIT,
                libc::IPV6_TCLASS,
                Ipv6Addr::UNSPECIFIED.into(),
            ),
        };
        if self.from.is_some() || self.interface.is_some() {
            let from = self.from.map_or(nobody, |from| from.to_canonical());
            let interface = self.interface.unwrap_or(0).to_ne_bytes();
            match (to, from) {
                (IpAddr::V4(_), IpAddr::V4(from)) => {
                    let info = [interface, from.octets(), [0; 4]].concat();
                    push_control(control, level, libc::IP_PKTINFO, &info);
                }
                (IpAddr::V6(_), IpAddr::V6(from)) => {
                    let info = [&from.octets()[..], &interface].concat();
                    push_control(control, level, libc::IPV6_PKTINFO, &info);
                }
                _ => {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidInput,
                        format!(
                            "send to {to} from {from}: one is an IPv4 address, the other an IPv6 address"
                        ),
                    ));
                }
            }
        }
        for (kind, value) in [(ttl, self.ttl), (tos, self.tos)] {
            if let Some(value) = value {
                push_control(control, level, kind, &i32::from(value).to_ne_bytes());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_that_no_clock_shows_is_none() {
        let data = |seconds: i64, nanoseconds: i64| {
            [seconds.to_ne_bytes(), nanoseconds.to_ne_bytes()].concat()
        };
        let second = SystemTime::UNIX_EPOCH + Duration::new(1, 5);
        assert_eq!(time(&data(1, 5)), Some(second));
        assert_eq!(time(&data(-1, 5)), None);
        assert_eq!(time(&data(1, -5)), None);
        assert_eq!(time(&data(i64::MAX, i64::from(u32::MAX))), None);
        assert_eq!(time(&data(1, 5)[..15]), None);
    }
}
