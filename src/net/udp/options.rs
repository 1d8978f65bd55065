//! The options that only UDP sockets have. Set those that have no method through `socket2::SockRef::from(&socket)`.

use super::UdpSocket;
use super::meta::CONTROL_ROOM;
use crate::net::socket_option::{SocketOption, is_v6, socket_option};
use socket2::SockRef;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;

impl UdpSocket {
    socket_option! {
        bool broadcast, set_broadcast: SOL_SOCKET SO_BROADCAST;
        "the socket may send to broadcast addresses"
    }
    socket_option! {
        bool multicast_loop_v4, set_multicast_loop_v4: IPPROTO_IP IP_MULTICAST_LOOP;
        "IPv4 multicast datagrams are looped back to this machine"
    }
    socket_option! {
        u32 multicast_ttl_v4, set_multicast_ttl_v4: IPPROTO_IP IP_MULTICAST_TTL in 0..=255;
        "the hop limit of outgoing IPv4 multicast datagrams"
        fails "If `getsockopt(2)` fails, which is not expected on an open UDP socket."
            "`InvalidInput` for more than 255."
    }
    socket_option! {
        bool multicast_loop_v6, set_multicast_loop_v6: IPPROTO_IPV6 IPV6_MULTICAST_LOOP;
        "IPv6 multicast datagrams are looped back to this machine"
        fails "`EOPNOTSUPP` on an IPv4 socket." "`ENOPROTOOPT` on an IPv4 socket."
    }
    socket_option! {
        u32 multicast_hops_v6, set_multicast_hops_v6: IPPROTO_IPV6 IPV6_MULTICAST_HOPS in 0..=255;
        "the hop limit of outgoing IPv6 multicast datagrams"
        fails "`EOPNOTSUPP` on an IPv4 socket."
            "`InvalidInput` for more than 255; `ENOPROTOOPT` on an IPv4 socket."
    }

    /// Joins an IPv4 multicast group on the interface that has this address, or, if the address is unspecified, on one
    /// that the kernel chooses: `IP_ADD_MEMBERSHIP`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the address is not a multicast address.
    pub fn join_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        let joined = SockRef::from(self).join_multicast_v4(group, interface);
        joined.map_err(|error| of_group(error, "join", group))
    }

    /// Leaves an IPv4 multicast group: `IP_DROP_MEMBERSHIP`.
    ///
    /// # Errors
    ///
    /// `AddrNotAvailable` if the socket is not in this group.
    pub fn leave_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        let left = SockRef::from(self).leave_multicast_v4(group, interface);
        left.map_err(|error| of_group(error, "leave", group))
    }

    /// Joins an IPv6 multicast group on the interface with this index, or, if the index is zero, on one that the kernel
    /// chooses: `IPV6_ADD_MEMBERSHIP`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the address is not a multicast address.
    pub fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        let joined = SockRef::from(self).join_multicast_v6(group, interface);
        joined.map_err(|error| of_group(error, "join", group))
    }

    /// Leaves an IPv6 multicast group: `IPV6_DROP_MEMBERSHIP`.
    ///
    /// # Errors
    ///
    /// `AddrNotAvailable` if the socket is not in this group.
    pub fn leave_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        let left = SockRef::from(self).leave_multicast_v6(group, interface);
        left.map_err(|error| of_group(error, "leave", group))
    }

    /// Sets whether [`recv_msg`](UdpSocket::recv_msg) reports the address to which a datagram was sent and the
    /// interface on which it arrived: `IP_PKTINFO`, or `IPV6_RECVPKTINFO` on an IPv6 socket.
    ///
    /// # Errors
    ///
    /// If `setsockopt(2)` fails, which is not expected on an open UDP socket.
    pub fn set_recv_packet_info(&self, on: bool) -> io::Result<()> {
        let option = match is_v6(self.as_fd())? {
            true => socket_option!(@option IPPROTO_IPV6 IPV6_RECVPKTINFO),
            false => socket_option!(@option IPPROTO_IP IP_PKTINFO),
        };
        self.ask(option, on)
    }

    /// Sets whether [`recv_msg`](UdpSocket::recv_msg) reports how many hops a datagram had left: `IP_RECVTTL`, and on
    /// an IPv6 socket also `IPV6_RECVHOPLIMIT`.
    ///
    /// # Errors
    ///
    /// If `setsockopt(2)` fails, which is not expected on an open UDP socket.
    pub fn set_recv_ttl(&self, on: bool) -> io::Result<()> {
        let option = socket_option!(@option IPPROTO_IP IP_RECVTTL IPV6_RECVHOPLIMIT);
        self.ask(option, on)
    }

    /// Sets whether [`recv_msg`](UdpSocket::recv_msg) reports the TOS or traffic class of a datagram, including ECN:
    /// `IP_RECVTOS`, and on an IPv6 socket also `IPV6_RECVTCLASS`.
    ///
    /// # Errors
    ///
    /// If `setsockopt(2)` fails, which is not expected on an open UDP socket.
    pub fn set_recv_tos(&self, on: bool) -> io::Result<()> {
        let option = socket_option!(@option IPPROTO_IP IP_RECVTOS IPV6_RECVTCLASS);
        self.ask(option, on)
    }

    /// Sets whether [`recv_msg`](UdpSocket::recv_msg) reports when the kernel received a datagram: `SO_TIMESTAMPNS`.
    ///
    /// # Errors
    ///
    /// If `setsockopt(2)` fails, which is not expected on an open UDP socket.
    pub fn set_recv_timestamp(&self, on: bool) -> io::Result<()> {
        self.ask(socket_option!(@option SOL_SOCKET SO_TIMESTAMPNS), on)
    }

    /// Sets whether the kernel may put several datagrams from one sender into one buffer: `UDP_GRO` (Linux 5.0).
    ///
    /// The datagrams are adjacent in the buffer, and all but the last have the same length, which
    /// [`recv_msg`](UdpSocket::recv_msg) reports as [`segment_size`](super::RecvMeta::segment_size). Together they have
    /// at most 64 KiB; a smaller buffer loses the rest. The other receive methods do not report the segment size, so
    /// use `recv_msg` on a socket with this option.
    ///
    /// # Errors
    ///
    /// `ENOPROTOOPT` before Linux 5.0.
    pub fn set_gro(&self, on: bool) -> io::Result<()> {
        self.ask(socket_option!(@option SOL_UDP UDP_GRO), on)
    }

    /// Sets an option that makes the kernel send ancillary data. From now on every receive has room for that data, so
    /// that an abandoned receive keeps it, too.
    fn ask(&self, option: SocketOption, on: bool) -> io::Result<()> {
        self.socket.make_room_for_control(CONTROL_ROOM);
        option.set(self.as_fd(), on, (0, 1))
    }
}

fn of_group(error: io::Error, what: &str, group: &dyn std::fmt::Display) -> io::Error {
    crate::sys::with_context(error, format!("{what} the group {group}"))
}
