//! The options of a UDP socket. Those that are not here are set through `socket2::SockRef::from(&socket)`.

use super::UdpSocket;
use super::meta::CONTROL_ROOM;
use crate::sys::{option, set_option};
use socket2::{Domain, SockRef};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;

impl UdpSocket {
    /// Whether it may send to the addresses of broadcasts: `SO_BROADCAST`.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn broadcast(&self) -> io::Result<bool> {
        SockRef::from(self).broadcast()
    }

    /// Sets whether it may send to the addresses of broadcasts: `SO_BROADCAST`.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn set_broadcast(&self, on: bool) -> io::Result<()> {
        SockRef::from(self).set_broadcast(on)
    }

    /// How many hops a datagram may take: `IP_TTL`, or `IPV6_UNICAST_HOPS`.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn ttl(&self) -> io::Result<u32> {
        match self.is_v6()? {
            true => SockRef::from(self).unicast_hops_v6(),
            false => SockRef::from(self).ttl_v4(),
        }
    }

    /// Sets how many hops a datagram may take: `IP_TTL`, and for a socket of IPv6 `IPV6_UNICAST_HOPS` also.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for zero and for more than 255.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        let socket = SockRef::from(self);
        socket.set_ttl_v4(ttl)?;
        match self.is_v6()? {
            true => socket.set_unicast_hops_v6(ttl),
            false => Ok(()),
        }
    }

    /// Whether datagrams to groups of IPv4 come back to this machine: `IP_MULTICAST_LOOP`.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn multicast_loop_v4(&self) -> io::Result<bool> {
        SockRef::from(self).multicast_loop_v4()
    }

    /// Sets whether datagrams to groups of IPv4 come back to this machine: `IP_MULTICAST_LOOP`.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn set_multicast_loop_v4(&self, on: bool) -> io::Result<()> {
        SockRef::from(self).set_multicast_loop_v4(on)
    }

    /// How many hops datagrams to groups of IPv4 may take: `IP_MULTICAST_TTL`.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn multicast_ttl_v4(&self) -> io::Result<u32> {
        SockRef::from(self).multicast_ttl_v4()
    }

    /// Sets how many hops datagrams to groups of IPv4 may take: `IP_MULTICAST_TTL`.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn set_multicast_ttl_v4(&self, ttl: u32) -> io::Result<()> {
        SockRef::from(self).set_multicast_ttl_v4(ttl)
    }

    /// Whether datagrams to groups of IPv6 come back to this machine: `IPV6_MULTICAST_LOOP`.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn multicast_loop_v6(&self) -> io::Result<bool> {
        SockRef::from(self).multicast_loop_v6()
    }

    /// Sets whether datagrams to groups of IPv6 come back to this machine: `IPV6_MULTICAST_LOOP`.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn set_multicast_loop_v6(&self, on: bool) -> io::Result<()> {
        SockRef::from(self).set_multicast_loop_v6(on)
    }

    /// How many hops datagrams to groups of IPv6 may take: `IPV6_MULTICAST_HOPS`.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn multicast_hops_v6(&self) -> io::Result<u32> {
        SockRef::from(self).multicast_hops_v6()
    }

    /// Sets how many hops datagrams to groups of IPv6 may take: `IPV6_MULTICAST_HOPS`.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn set_multicast_hops_v6(&self, hops: u32) -> io::Result<()> {
        SockRef::from(self).set_multicast_hops_v6(hops)
    }

    /// Receives what is sent to a group of IPv4, on the interface that has this address; on one that the kernel chooses, if it
    /// is unspecified. `IP_ADD_MEMBERSHIP`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for an address that is none of a group.
    pub fn join_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        let joined = SockRef::from(self).join_multicast_v4(group, interface);
        joined.map_err(|error| of_group(error, "join", group))
    }

    /// Receives it no longer: `IP_DROP_MEMBERSHIP`.
    ///
    /// # Errors
    ///
    /// `AddrNotAvailable` if the socket is not in this group.
    pub fn leave_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        let left = SockRef::from(self).leave_multicast_v4(group, interface);
        left.map_err(|error| of_group(error, "leave", group))
    }

    /// Receives what is sent to a group of IPv6, on the interface with this number; on one that the kernel chooses, if it is
    /// zero. `IPV6_ADD_MEMBERSHIP`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for an address that is none of a group.
    pub fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        let joined = SockRef::from(self).join_multicast_v6(group, interface);
        joined.map_err(|error| of_group(error, "join", group))
    }

    /// Receives it no longer: `IPV6_DROP_MEMBERSHIP`.
    ///
    /// # Errors
    ///
    /// `AddrNotAvailable` if the socket is not in this group.
    pub fn leave_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        let left = SockRef::from(self).leave_multicast_v6(group, interface);
        left.map_err(|error| of_group(error, "leave", group))
    }

    /// Sets whether [`recv_msg`](UdpSocket::recv_msg) says to which address a datagram was sent, and through which interface
    /// it came: `IP_PKTINFO`, or `IPV6_RECVPKTINFO`.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn set_recv_packet_info(&self, on: bool) -> io::Result<()> {
        match self.is_v6()? {
            true => self.ask(libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, on),
            false => self.ask(libc::IPPROTO_IP, libc::IP_PKTINFO, on),
        }
    }

    /// Sets whether [`recv_msg`](UdpSocket::recv_msg) says how many hops a datagram had left: `IP_RECVTTL`, and for a socket of
    /// IPv6 `IPV6_RECVHOPLIMIT` also.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn set_recv_ttl(&self, on: bool) -> io::Result<()> {
        self.ask(libc::IPPROTO_IP, libc::IP_RECVTTL, on)?;
        match self.is_v6()? {
            true => self.ask(libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT, on),
            false => Ok(()),
        }
    }

    /// Sets whether [`recv_msg`](UdpSocket::recv_msg) says which TOS or traffic class a datagram had, ECN included:
    /// `IP_RECVTOS`, and for a socket of IPv6 `IPV6_RECVTCLASS` also.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn set_recv_tos(&self, on: bool) -> io::Result<()> {
        self.ask(libc::IPPROTO_IP, libc::IP_RECVTOS, on)?;
        match self.is_v6()? {
            true => self.ask(libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, on),
            false => Ok(()),
        }
    }

    /// Sets whether [`recv_msg`](UdpSocket::recv_msg) says when the kernel received a datagram: `SO_TIMESTAMPNS`.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn set_recv_timestamp(&self, on: bool) -> io::Result<()> {
        self.ask(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, on)
    }

    /// Sets whether the kernel may put several datagrams of one sender into one buffer: `UDP_GRO` (5.0).
    ///
    /// They have the same length, but for the last, and lie one behind the other; [`recv_msg`](UdpSocket::recv_msg) says where
    /// each begins ([`segment_size`](super::RecvMeta::segment_size)). What comes together is 64 KiB at most, and a smaller
    /// buffer loses the rest. The other receives do not say it: whoever sets this uses `recv_msg`.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn set_gro(&self, on: bool) -> io::Result<()> {
        self.ask(libc::SOL_UDP, libc::UDP_GRO, on)
    }

    /// Sets an option that brings ancillary data. All receives have room for that from now on: one that is dropped keeps it.
    fn ask(&self, level: i32, name: i32, on: bool) -> io::Result<()> {
        self.socket.make_room_for_control(CONTROL_ROOM);
        set_option(self.as_fd(), level, name, i32::from(on))
    }

    fn is_v6(&self) -> io::Result<bool> {
        let domain = option(self.as_fd(), libc::SOL_SOCKET, libc::SO_DOMAIN)?;
        Ok(Domain::from(domain) == Domain::IPV6)
    }
}

fn of_group(error: io::Error, what: &str, group: &dyn std::fmt::Display) -> io::Error {
    crate::sys::with_context(error, format!("{what} the group {group}"))
}
