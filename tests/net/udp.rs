//! UDP: each operation compared with std's socket, datagram metadata, and what happens to datagrams when a wait for
//! them ends early.

use common::{
    Baseline, MOMENTS, Random, Watched, dropped_everywhere, has_v6, next_turn, poll_and_drop,
    quick_or_full, ran_in_own_process, rings,
};
use futures_util::FutureExt;
use gimmal::buf::{IoBuf, IoBufMut};
use gimmal::cancel::Scope;
use gimmal::net::{SendMeta, UdpSocket};
use gimmal::{is_canceled, is_timeout, timeout};
use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::task::Poll;
use std::time::{Duration, SystemTime};

const LOCAL: &str = "127.0.0.1:0";

fn run<T>(future: impl Future<Output = io::Result<T>>) -> T {
    gimmal::run(future).unwrap()
}

fn std_socket() -> std::net::UdpSocket {
    std::net::UdpSocket::bind(LOCAL).unwrap()
}

/// Two sockets, connected to each other.
async fn pair() -> io::Result<(UdpSocket, UdpSocket)> {
    let (a, b) = (UdpSocket::bind(LOCAL).await?, UdpSocket::bind(LOCAL).await?);
    a.connect(b.local_addr()?).await?;
    b.connect(a.local_addr()?).await?;
    Ok((a, b))
}

/// A port that is closed, unless another process takes it.
fn closed_port() -> SocketAddr {
    std_socket().local_addr().unwrap()
}

#[test]
fn datagrams_are_exchanged_with_std() {
    run(async {
        let other = std_socket();
        let socket = UdpSocket::bind(LOCAL).await?;
        let (here, there) = (socket.local_addr()?, other.local_addr()?);
        for len in [0, 1, 2, 512, 1472, 9000, 65_507] {
            let bytes: Vec<u8> = (0..len).map(|at| (at / 251 + at) as u8).collect();
            other.send_to(&bytes, here)?;
            let ((n, from), buffer) = socket.recv_from(Vec::with_capacity(1 << 16)).await?;
            assert_eq!((n, from), (len, there));
            assert_eq!(buffer, bytes);

            let (n, back) = socket.send_to(buffer, there).await?;
            assert_eq!((n, &back), (len, &bytes));
            let mut buffer = vec![0; 1 << 16];
            let (n, from) = other.recv_from(&mut buffer)?;
            assert_eq!((&buffer[..n], from), (&bytes[..], here));
        }
        Ok(())
    });
}

#[test]
fn a_connected_socket_exchanges_datagrams_only_with_its_peer() {
    run(async {
        let (a, b) = pair().await?;
        assert_eq!(a.peer_addr()?, b.local_addr()?);
        std_socket().send_to(b"stranger", b.local_addr()?)?;
        let (n, sent) = a.send(String::from("friend")).await?;
        assert_eq!((n, &sent[..]), (6, "friend"));
        let (n, buffer) = b.recv(vec![0; 64]).await?;
        assert_eq!(&buffer[..n], b"friend");
        // Connected again, the socket has another peer.
        let c = UdpSocket::bind(LOCAL).await?;
        b.connect(c.local_addr()?).await?;
        a.send("late").await?;
        c.send_to("new", b.local_addr()?).await?;
        let ((n, from), buffer) = b.recv_from(vec![0; 64]).await?;
        assert_eq!((&buffer[..n], from), (&b"new"[..], c.local_addr()?));
        Ok(())
    });
}

#[test]
fn excess_bytes_are_truncated_and_reported() {
    run(async {
        let (a, b) = pair().await?;
        a.send("0123456789").await?;
        a.send("0123456789").await?;
        a.send("next").await?;
        let (meta, buffer) = b.recv_msg(Vec::with_capacity(4)).await?;
        assert_eq!((meta.len, meta.full_len), (4, 10));
        assert!(meta.is_truncated());
        assert_eq!(buffer, b"0123");
        let (n, buffer) = b.recv(Vec::with_capacity(5)).await?;
        assert_eq!((n, &buffer[..]), (5, &b"01234"[..]));
        let (meta, buffer) = b.recv_msg(vec![0; 4]).await?;
        assert_eq!((meta.len, meta.full_len, &buffer[..]), (4, 4, &b"next"[..]));
        assert!(!meta.is_truncated());
        // Into a slice of a buffer.
        a.send("part").await?;
        let (n, part) = b.recv(vec![7; 8].slice(2..5)).await?;
        assert_eq!(
            (n, part.into_inner()),
            (3, b"\x07\x07par\x07\x07\x07".to_vec())
        );
        Ok(())
    });
}

#[test]
fn a_buffer_without_room_is_rejected_and_nothing_is_taken() {
    run(async {
        let (a, b) = pair().await?;
        a.send("here").await?;
        let error = b.recv(Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(b.recv(vec![0; 4]).await?, (4, b"here".to_vec()));
        Ok(())
    });
}

#[test]
fn a_peek_leaves_the_datagram_in_the_socket() {
    run(async {
        let (a, b) = pair().await?;
        a.send("look").await?;
        for _ in 0..3 {
            let ((n, from), buffer) = b.peek_from(vec![0; 2]).await?;
            assert_eq!((n, from, &buffer[..]), (2, a.local_addr()?, &b"lo"[..]));
        }
        // A dropped peek takes nothing either, whenever it is dropped.
        assert!(poll_and_drop(b.peek_from(vec![0; 2])).await.is_none());
        drop(b.peek_from(vec![0; 2]).submit());
        assert_eq!(b.recv(vec![0; 8]).await?.0, 4);
        // A kept datagram can be peeked at, too.
        assert!(poll_and_drop(b.recv(vec![0; 8])).await.is_none());
        a.send("kept").await?;
        let ((n, _), buffer) = b.peek_from(vec![0; 8]).await?;
        assert_eq!(&buffer[..n], b"kept");
        let shown = format!("{b:?}");
        let ends = format!("UdpSocket {{ local: {}, ", b.local_addr()?);
        assert!(shown.starts_with(&ends), "{shown}");
        assert_eq!(b.peek(vec![0; 2]).await?, (2, b"ke".to_vec()));
        drop(b.peek_from(vec![0; 8]).submit());
        let (n, buffer) = b.recv(vec![0; 8]).await?;
        assert_eq!(&buffer[..n], b"kept");
        Ok(())
    });
}

#[test]
fn the_error_of_a_refused_datagram_names_the_peer() {
    run(async {
        let socket = UdpSocket::bind(LOCAL).await?;
        let nobody = closed_port();
        socket.connect(nobody).await?;
        socket.send("anybody?").await?;
        let error = socket.recv(vec![7; 4]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("receive from {nobody}: ")),
            "{text}"
        );
        assert_eq!(error.into_buf(), [7; 4]);
        // A send also reports the refusal, once.
        socket.send("anybody?").await?;
        let error = socket.send("hello?").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("send 6 bytes to {nobody}: ")),
            "{text}"
        );
        assert_eq!(error.into_buf(), "hello?");
        Ok(())
    });
}

#[test]
fn a_refusal_seen_by_a_dropped_operation_is_reported_again() {
    run(async {
        let socket = UdpSocket::bind(LOCAL).await?;
        let nobody = closed_port();
        socket.connect(nobody).await?;
        for round in 0..20 {
            match round % 4 {
                // The receive is in flight when the refusal arrives.
                0 => {
                    let mut recv = Box::pin(socket.recv(vec![0; 4]));
                    assert!((&mut recv).now_or_never().is_none());
                    socket.send("anybody?").await?;
                    next_turn().await;
                    drop(recv);
                }
                // A receive or a send finds the refusal, and is dropped without another poll.
                1 => {
                    socket.send("anybody?").await?;
                    drop(socket.recv(vec![0; 4]).submit());
                }
                2 => {
                    socket.send("anybody?").await?;
                    drop(socket.send("hello?").submit());
                    next_turn().await;
                }
                // A kept refusal, taken by another operation that is dropped as well.
                _ => {
                    socket.send("anybody?").await?;
                    drop(socket.recv(vec![0; 4]).submit());
                    next_turn().await;
                    drop(socket.recv(vec![0; 4]).submit());
                }
            }
            let error = socket.recv(vec![0; 4]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{round}");
            let text = error.to_string();
            assert!(
                text.starts_with(&format!("receive from {nobody}: ")),
                "{text}"
            );
        }
        Ok(())
    });
}

#[test]
fn the_errors_of_bad_addresses_name_them() {
    run(async {
        for bad in ["", "127.0.0.1", "localhost", "127.0.0.1:65536", "::1:80"] {
            let error = UdpSocket::bind(bad).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{bad:?}");
            assert!(error.to_string().contains(&format!("{bad:?}")), "{error}");
        }
        let socket = UdpSocket::bind(LOCAL).await?;
        let here = socket.local_addr()?;
        let error = UdpSocket::bind(here).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(
            error.to_string().starts_with(&format!("bind to {here}: ")),
            "{error}"
        );
        let error = UdpSocket::bind("192.0.2.1:0").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
        assert!(error.to_string().contains("192.0.2.1:0"), "{error}");
        let error = socket.connect("nobody.invalid:1").await.unwrap_err();
        assert!(error.to_string().contains("nobody.invalid"), "{error}");
        // An address of another IP version than the socket's.
        let error = socket.connect("[::1]:80").await.unwrap_err();
        assert!(
            error.to_string().starts_with("connect to [::1]:80: "),
            "{error}"
        );
        let error = socket
            .send_to("x", (Ipv6Addr::LOCALHOST, 80))
            .await
            .unwrap_err();
        assert!(
            error.to_string().starts_with("send 1 byte to [::1]:80: "),
            "{error}"
        );
        // The first of several addresses that can be bound.
        let several = ["192.0.2.1:0", "127.0.0.1:0"].map(|text| text.parse().unwrap());
        let socket = UdpSocket::bind(&several[..]).await?;
        assert!(socket.local_addr()?.ip().is_loopback());
        let socket = UdpSocket::bind("localhost:0").await?;
        assert!(socket.local_addr()?.ip().is_loopback());
        Ok(())
    });
}

#[test]
fn too_long_or_undeliverable_datagrams_are_errors_with_the_buffer() {
    run(async {
        let socket = UdpSocket::bind(LOCAL).await?;
        let there = closed_port();
        let error = socket.send_to(vec![0; 65_508], there).await.unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with(&format!("send 65508 bytes to {there}: ")),
            "{error}"
        );
        assert_eq!(error.into_buf().len(), 65_508);
        let error = socket.send("nobody").await.unwrap_err();
        let here = socket.local_addr()?;
        assert!(
            error.to_string().contains(&format!("a peer of {here}: ")),
            "{error}"
        );
        assert_eq!(error.into_buf(), "nobody");
        assert_eq!(
            socket.peer_addr().unwrap_err().kind(),
            io::ErrorKind::NotConnected
        );
        // Sending to a broadcast address needs `SO_BROADCAST`.
        let all = SocketAddr::from(([127, 255, 255, 255], there.port()));
        let error = socket.send_to("all", all).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(error.to_string().contains(&all.to_string()), "{error}");
        socket.set_broadcast(true)?;
        assert!(socket.broadcast()?);
        socket.send_to("all", all).await?;
        Ok(())
    });
}

#[test]
fn options_have_the_values_that_were_set() {
    run(async {
        let four = UdpSocket::bind(LOCAL).await?;
        four.set_ttl(9)?;
        assert_eq!(four.ttl()?, 9);
        assert!(four.set_ttl(256).is_err());
        four.set_multicast_ttl_v4(3)?;
        four.set_multicast_loop_v4(false)?;
        assert_eq!(
            (four.multicast_ttl_v4()?, four.multicast_loop_v4()?),
            (3, false)
        );
        let four = four.into_std().unwrap();
        assert_eq!((four.ttl()?, four.multicast_ttl_v4()?), (9, 3));

        if !has_v6() {
            return Ok(());
        }
        let six = UdpSocket::bind("[::1]:0").await?;
        six.set_ttl(9)?;
        six.set_multicast_hops_v6(3)?;
        six.set_multicast_loop_v6(false)?;
        assert_eq!((six.ttl()?, six.multicast_hops_v6()?), (9, 3));
        assert!(!six.multicast_loop_v6()?);
        Ok(())
    });
}

#[test]
fn groups_are_joined_and_left() {
    run(async {
        let group = Ipv4Addr::new(239, 255, 77, 7);
        let member = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        let to = SocketAddr::from((group, member.local_addr()?.port()));
        member.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST)?;
        let sender = UdpSocket::bind(LOCAL).await?;
        sender.send_to("all of you", to).await?;
        let ((n, from), buffer) = member.recv_from(vec![0; 64]).await?;
        assert_eq!(
            (&buffer[..n], from),
            (&b"all of you"[..], sender.local_addr()?)
        );
        member.leave_multicast_v4(&group, &Ipv4Addr::LOCALHOST)?;
        let error = member
            .leave_multicast_v4(&group, &Ipv4Addr::LOCALHOST)
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
        assert!(
            error
                .to_string()
                .starts_with("leave the group 239.255.77.7: "),
            "{error}"
        );
        let error = member.join_multicast_v4(&Ipv4Addr::LOCALHOST, &Ipv4Addr::LOCALHOST);
        assert!(
            error
                .unwrap_err()
                .to_string()
                .starts_with("join the group 127.0.0.1: ")
        );

        if !has_v6() {
            return Ok(());
        }
        let group = Ipv6Addr::new(0xff01, 0, 0, 0, 0, 0, 0, 0x77);
        let member = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).await?;
        // 1 is the index of the loopback interface.
        member.join_multicast_v6(&group, 1)?;
        let to = std::net::SocketAddrV6::new(group, member.local_addr()?.port(), 0, 1);
        let sender = UdpSocket::bind("[::1]:0").await?;
        match sender.send_to("all of six", to).await {
            Ok(_) => {
                let ((n, from), buffer) = member.recv_from(vec![0; 64]).await?;
                assert_eq!(
                    (&buffer[..n], from),
                    (&b"all of six"[..], sender.local_addr()?)
                );
            }
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::NetworkUnreachable);
                common::skip!("this machine has no route to groups of IPv6: {error}");
            }
        }
        member.leave_multicast_v6(&group, 1)?;
        assert!(member.leave_multicast_v6(&group, 1).is_err());
        Ok(())
    });
}

/// Enables all metadata.
fn enable_all_metadata(socket: &UdpSocket) -> io::Result<()> {
    socket.set_recv_packet_info(true)?;
    socket.set_recv_ttl(true)?;
    socket.set_recv_tos(true)?;
    socket.set_recv_timestamp(true)
}

#[test]
fn metadata_of_a_send_arrives_with_the_datagram() {
    run(async {
        let [v4, v6]: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let other: IpAddr = Ipv4Addr::new(127, 1, 2, 3).into();
        let any_v4: IpAddr = Ipv4Addr::UNSPECIFIED.into();
        let any_v6: IpAddr = Ipv6Addr::UNSPECIFIED.into();
        let mapped: IpAddr = Ipv4Addr::LOCALHOST.to_ipv6_mapped().into();
        let other_mapped: IpAddr = Ipv4Addr::new(127, 1, 2, 3).to_ipv6_mapped().into();
        let v6_or_mapped = if has_v6() { v6 } else { mapped };
        // The addresses of receiver and sender, the destination, and the source address.
        for (receiver, sender, to, from) in [
            (any_v4, any_v4, v4, other),
            (any_v4, any_v4, other, v4),
            (any_v6, any_v6, v6_or_mapped, v6_or_mapped),
            // An IPv6 socket that sends to an IPv4 one, and the reverse.
            (any_v4, any_v6, other_mapped, mapped),
            (any_v6, any_v4, v4, other),
            (any_v6, any_v6, mapped, other_mapped),
        ] {
            let case = format!("{receiver} {sender} {to} {from}");
            let receiver = UdpSocket::bind((receiver, 0)).await?;
            enable_all_metadata(&receiver)?;
            let sender = UdpSocket::bind((sender, 0)).await?;
            let address = SocketAddr::from((to, receiver.local_addr()?.port()));
            // With the addresses as given and as the socket has them, connected and not.
            for connected in [false, true] {
                let mut meta = SendMeta::new().from(from).interface(1).ttl(17).tos(0x2a);
                match connected {
                    true => sender.connect(address).await?,
                    false => meta = meta.to(address),
                }
                let before = SystemTime::now();
                sender.send_msg("with more", &meta).await?;
                let (meta, buffer) = receiver.recv_msg(vec![0; 64]).await?;
                assert_eq!(&buffer[..meta.len], b"with more", "{case}");
                assert_eq!(meta.from.ip().to_canonical(), from.to_canonical(), "{case}");
                assert_eq!(meta.from.port(), sender.local_addr()?.port(), "{case}");
                let arrived = meta.to.map(|to| to.to_canonical());
                assert_eq!(arrived, Some(to.to_canonical()), "{case}");
                assert_eq!(meta.interface, Some(1), "{case}");
                assert_eq!((meta.ttl, meta.tos), (Some(17), Some(0x2a)), "{case}");
                // The kernel's packet timestamps may be a tick behind our clock.
                let tick = Duration::from_millis(20);
                let timestamp = meta.timestamp.unwrap();
                assert!(timestamp >= before - tick && timestamp <= SystemTime::now() + tick);
                assert_eq!((meta.segment_size, meta.is_truncated()), (None, false));
            }
        }
        Ok(())
    });
}

#[test]
fn metadata_is_absent_unless_enabled() {
    run(async {
        let (a, b) = pair().await?;
        a.send_msg("plain", &SendMeta::new().ttl(5)).await?;
        let (meta, _) = b.recv_msg(vec![0; 64]).await?;
        assert_eq!(
            (meta.to, meta.interface, meta.ttl, meta.tos),
            (None, None, None, None)
        );
        assert_eq!((meta.timestamp, meta.segment_size), (None, None));
        // Enabled, then disabled again.
        enable_all_metadata(&b)?;
        b.set_recv_ttl(false)?;
        a.send_msg("some", &SendMeta::new().ttl(5)).await?;
        let (meta, _) = b.recv_msg(vec![0; 64]).await?;
        assert_eq!(
            (meta.ttl, meta.tos, meta.interface),
            (None, Some(0), Some(1))
        );
        Ok(())
    });
}

#[test]
fn impossible_metadata_is_an_error_with_the_buffer() {
    run(async {
        let socket = UdpSocket::bind(LOCAL).await?;
        let to = closed_port();
        let meta = SendMeta::new().to(to).from(Ipv6Addr::LOCALHOST);
        let error = socket.send_msg("x", &meta).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(
            error.to_string().contains("send to 127.0.0.1 from ::1"),
            "{error}"
        );
        assert_eq!(error.into_buf(), "x");
        let error = socket
            .send_msg("x", &SendMeta::new().to(to).ttl(0))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains(&to.to_string()), "{error}");
        let error = socket
            .send_msg("x", &SendMeta::new().ttl(3))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotConnected);
        // An address that this machine does not have.
        let meta = SendMeta::new().to(to).from(Ipv4Addr::new(192, 0, 2, 1));
        assert!(socket.send_msg("x", &meta).await.is_err());
        Ok(())
    });
}

#[test]
fn segments_are_datagrams_and_may_be_coalesced() {
    run(async {
        for coalesced in [false, true] {
            let (a, b) = pair().await?;
            b.set_gro(coalesced)?;
            let bytes: Vec<u8> = (0..5500u32).map(|at| (at / 7) as u8).collect();
            let (n, bytes) = a
                .send_msg(bytes, &SendMeta::new().segment_size(1000))
                .await?;
            assert_eq!(n, 5500);
            let (mut received, mut datagrams) = (Vec::new(), 0);
            while received.len() < 5500 {
                let (meta, buffer) = b.recv_msg(Vec::with_capacity(1 << 16)).await?;
                let size = meta.segment_size.unwrap_or(buffer.len());
                assert!(!meta.is_truncated());
                for datagram in buffer.chunks(size) {
                    received.extend_from_slice(datagram);
                    datagrams += 1;
                    let expected = if received.len() < 5500 { 1000 } else { 500 };
                    assert_eq!(datagram.len(), expected);
                }
                if coalesced {
                    // On loopback, the segments are never split.
                    assert_eq!((meta.segment_size, buffer.len()), (Some(1000), 5500));
                } else {
                    assert_eq!(meta.segment_size, None);
                }
            }
            assert_eq!((received, datagrams), (bytes, 6));
        }
        Ok(())
    });
}

#[test]
fn a_dropped_receive_keeps_its_datagram_with_all_metadata() {
    run(async {
        let receiver = UdpSocket::bind(LOCAL).await?;
        enable_all_metadata(&receiver)?;
        let sender = UdpSocket::bind(LOCAL).await?;
        let meta = SendMeta::new().to(receiver.local_addr()?).ttl(17).tos(0x2a);
        for round in 0..6 {
            // None of these receives asks for metadata, but each keeps it.
            let dropped = match round % 3 {
                0 => poll_and_drop(receiver.recv(vec![0; 16])).await.is_none(),
                1 => poll_and_drop(receiver.recv_from(vec![0; 16]))
                    .await
                    .is_none(),
                _ => poll_and_drop(receiver.recv_msg(vec![0; 16]))
                    .await
                    .is_none(),
            };
            assert!(dropped);
            sender.send_msg("0123456789", &meta).await?;
            if round >= 3 {
                next_turn().await;
                // Taken and dropped again.
                drop(receiver.recv_from(vec![0; 16]).submit());
            }
            let (meta, buffer) = receiver.recv_msg(vec![0; 64]).await?;
            assert_eq!(
                (&buffer[..meta.len], meta.full_len),
                (&b"0123456789"[..], 10)
            );
            assert_eq!(meta.from, sender.local_addr()?);
            assert_eq!(
                (meta.ttl, meta.tos, meta.interface),
                (Some(17), Some(0x2a), Some(1))
            );
            assert!(meta.timestamp.is_some());
        }
        Ok(())
    });
}

#[test]
fn a_kept_datagram_is_truncated_as_by_the_kernel() {
    run(async {
        let (a, b) = pair().await?;
        assert!(poll_and_drop(b.recv(vec![0; 6])).await.is_none());
        a.send("0123456789").await?;
        // The cancel is already on its way, and so is the datagram: either may come first.
        let (meta, buffer) = b.recv_msg(vec![0; 4]).await?;
        assert_eq!((&buffer[..meta.len], meta.full_len), (&b"0123"[..], 10));
        // In flight when the datagram arrives: the buffer of the dropped receive is the limit.
        let mut recv = Box::pin(b.recv(vec![0; 6]));
        assert!((&mut recv).now_or_never().is_none());
        a.send("0123456789").await?;
        next_turn().await;
        drop(recv);
        let (meta, buffer) = b.recv_msg(vec![0; 16]).await?;
        assert_eq!((&buffer[..meta.len], meta.full_len), (&b"012345"[..], 10));
        assert!(meta.is_truncated());
        // A socket with a kept datagram cannot be converted.
        let mut recv = Box::pin(b.recv(vec![0; 6]));
        assert!((&mut recv).now_or_never().is_none());
        a.send("more").await?;
        next_turn().await;
        drop(recv);
        let error = b.into_std().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        let b = error.into_buf();
        assert_eq!(b.recv(vec![0; 4]).await?, (4, b"more".to_vec()));
        let b = b.into_std().unwrap();
        a.send("std").await?;
        assert_eq!(b.recv(&mut [0; 8])?, 3);
        let b = UdpSocket::from(OwnedFd::from(b));
        a.send("back").await?;
        assert_eq!(b.recv(vec![0; 8]).await?, (4, b"back".to_vec()));
        Ok(())
    });
}

#[test]
fn a_timed_out_or_canceled_receive_takes_nothing() {
    run(async {
        let (a, b) = pair().await?;
        let error = b
            .recv(vec![7; 4])
            .timeout(Duration::from_millis(2))
            .await
            .unwrap_err();
        assert!(is_timeout(&error));
        assert_eq!(error.into_buf(), [7; 4]);
        let scope = Scope::new();
        scope.cancel();
        let error = scope
            .run_any(b.recv(vec![7; 4]))
            .await
            .unwrap()
            .unwrap_err();
        assert!(is_canceled(&error));
        assert_eq!(error.into_buf(), [7; 4]);
        a.send("data").await?;
        assert_eq!(b.recv(vec![0; 4]).await?, (4, b"data".to_vec()));
        Ok(())
    });
}

#[test]
fn a_canceled_group_returns_the_buffer_of_a_pending_receive() {
    if common::ran_in_own_process() {
        return;
    }
    run(async {
        let socket = UdpSocket::bind(LOCAL).await?;
        let baseline = Baseline::take();
        let back = Cell::new(None);
        gimmal::group(async |group| {
            drop(group.spawn(async {
                let error = socket.recv_from(vec![7; 512]).await.unwrap_err();
                assert!(is_canceled(&error));
                back.set(Some(error.into_buf()));
            }));
            next_turn().await;
            group.cancel();
            io::Result::Ok(())
        })
        .await?;
        assert_eq!(back.take().unwrap(), [7; 512]);
        baseline.returns("a canceled group").await;
        Ok(())
    });
}

#[test]
fn concurrent_receives_follow_one_another() {
    run(async {
        let (a, b) = pair().await?;
        let receives: Vec<_> = (0..50).map(|_| b.recv(vec![0; 4])).collect();
        let sends = async {
            for number in 0..50_u32 {
                a.send(number.to_le_bytes().to_vec()).await?;
            }
            io::Result::Ok(())
        };
        let (received, sent) = gimmal::join((gimmal::join_all(receives), sends)).await;
        sent?;
        for (number, received) in received.into_iter().enumerate() {
            assert_eq!(received?.1, (number as u32).to_le_bytes());
        }
        Ok(())
    });
}

#[test]
fn a_close_stops_operations_in_flight() {
    if common::ran_in_own_process() {
        return;
    }
    run(async {
        let baseline = Baseline::take();
        let socket = UdpSocket::bind(LOCAL).await?;
        let shared = socket.shared_fd();
        let waits = gimmal::spawn({
            let socket = UdpSocket::from_std(std_socket());
            async move {
                let recv = socket.recv(vec![7; 4]).submit();
                let closed = socket.close();
                let (received, closed) = gimmal::join((recv, closed)).await;
                assert_eq!(received.unwrap_err().into_buf(), [7; 4]);
                closed
            }
        });
        waits.await??;
        let error = socket.close().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        drop(shared);
        baseline.returns("two closed sockets").await;
        Ok(())
    });
}

/// A descriptor is closed when the last operation on it has ended. Its number is reused by then, but not before.
#[test]
fn sockets_dropped_with_receives_in_flight_close() {
    if common::ran_in_own_process() {
        return;
    }
    run(async {
        let baseline = Baseline::take();
        let other = std_socket();
        for round in 0..2000 {
            let socket = UdpSocket::bind(LOCAL).await?;
            let recv = socket
                .recv(Watched::new(64, 1).expecting(round as u8))
                .submit();
            let here = socket.local_addr()?;
            if round % 2 == 0 {
                drop(socket);
                drop(recv);
            } else {
                next_turn().await;
                other.send_to(&[round as u8; 16], here)?;
                drop((recv, socket));
            }
            // The socket that reuses the number receives only its own datagrams.
            let next = UdpSocket::bind(LOCAL).await?;
            other.send_to(&[round as u8; 8], next.local_addr()?)?;
            let (n, buffer) = next
                .recv(Watched::new(64, 1).expecting(round as u8))
                .await?;
            assert_eq!((n, buffer.io_bytes()), (8, &[round as u8; 8][..]));
        }
        drop(other);
        baseline.returns("dropped sockets").await;
        Watched::check_and_forget("dropped sockets");
        assert_eq!(Watched::alive(), 0);
        Ok(())
    });
}

/// How a wait for a datagram ends early.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Never,
    Timeout,
    Flat,
    Scope,
    Select,
    Submit,
}

/// Numbered datagrams: a receive that ends early in any way neither loses nor duplicates a datagram.
#[test]
fn numbered_datagrams_arrive_once_and_in_order_however_the_waits_end() {
    if ran_in_own_process() {
        return;
    }
    for (ring, builder) in rings() {
        let mut runtime = builder.build().unwrap();
        let ended = runtime.block_on(numbered_datagrams(&ring));
        ended.unwrap_or_else(|error| panic!("{ring}: {error}"));
    }
}

async fn numbered_datagrams(ring: &str) -> io::Result<()> {
    let datagrams: u32 = quick_or_full(2_000, 10_000);
    /// Fewer than the receive buffer holds, so that the kernel drops none.
    const AHEAD: u32 = 64;
    let mut random = Random::new();
    let receiver = UdpSocket::bind(LOCAL).await?;
    let sender = UdpSocket::bind(LOCAL).await?;
    let (here, from) = (receiver.local_addr()?, sender.local_addr()?);
    let (credits, granted) = async_channel::bounded(AHEAD as usize);
    for _ in 0..AHEAD {
        credits.try_send(()).unwrap();
    }
    let sending = gimmal::spawn({
        let mut random = random.fork();
        async move {
            for number in 0..datagrams {
                granted.recv().await.unwrap();
                // Of different lengths, none of which is that of the number.
                let mut bytes = number.to_le_bytes().to_vec();
                bytes.resize(4 + number as usize % 60, number as u8);
                sender.send_to(bytes, here).await?;
                if random.one_in(8) {
                    for _ in 0..random.below(8) {
                        gimmal::yield_now().await;
                    }
                }
            }
            io::Result::Ok(())
        }
    });
    let (mut next, mut cuts) = (0, [0; 6]);
    while next < datagrams {
        let recv = receiver.recv_from(Vec::with_capacity(64));
        let how = [
            Cut::Never,
            Cut::Timeout,
            Cut::Flat,
            Cut::Scope,
            Cut::Select,
            Cut::Submit,
        ][random.below(6)];
        // Half of the timeouts are zero: however fast the machine is, enough receives are canceled.
        let moment = Duration::from_micros((random.below(2) * random.below(30)) as u64);
        let turns = random.below(4);
        let wait_some = async {
            for _ in 0..turns {
                gimmal::yield_now().await;
            }
        };
        let ended = match how {
            // Longer than anything here takes, so that a lost datagram does not block the test forever.
            Cut::Never => Some(recv.timeout(Duration::from_secs(30)).await),
            Cut::Flat => Some(recv.timeout(moment).await),
            Cut::Timeout => match timeout(moment, recv).await {
                Ok(received) => Some(Ok(received)),
                Err(error) => error.into_inner().map(Err),
            },
            Cut::Scope => {
                let scope = Scope::new();
                let canceling = async {
                    wait_some.await;
                    scope.cancel();
                };
                let (ended, ()) = gimmal::join((scope.run_any(recv), canceling)).await;
                Some(ended.unwrap())
            }
            Cut::Select => {
                let (mut recv, wait_some) = (recv.fuse(), wait_some.fuse());
                let mut wait_some = std::pin::pin!(wait_some);
                futures_util::select_biased! {
                    received = recv => Some(received),
                    () = wait_some => None,
                }
            }
            Cut::Submit => {
                let recv = recv.submit();
                wait_some.await;
                drop(recv);
                None
            }
        };
        match ended {
            Some(Ok(((n, sender), buffer))) => {
                assert_eq!((n, sender), (4 + next as usize % 60, from));
                assert_eq!(buffer[..4], next.to_le_bytes());
                assert!(buffer[4..].iter().all(|byte| *byte == next as u8));
                next += 1;
                // The last credits are not taken.
                let _taken = credits.try_send(());
            }
            Some(Err(error)) => {
                assert!(is_canceled(&error) || is_timeout(&error), "{error}");
                assert!(error.into_buf().is_empty());
                cuts[how as usize] += 1;
            }
            None => cuts[how as usize] += 1,
        }
    }
    sending.await??;
    // Each way has ended some receives early, and there are no more datagrams.
    assert_eq!(cuts[0], 0);
    assert!(cuts[1..].iter().all(|cuts| *cuts > 100), "{ring}: {cuts:?}");
    let more = receiver.recv(vec![0; 1]).timeout(Duration::ZERO).await;
    assert!(is_timeout(&more.unwrap_err()));
    Ok(())
}

/// A canceled send has sent nothing, even if the socket's buffer delayed it.
#[test]
fn dropped_sends_leave_nothing_behind() {
    if common::ran_in_own_process() {
        return;
    }
    run(async {
        let socket = UdpSocket::bind(LOCAL).await?;
        let there = closed_port();
        let baseline = Baseline::take();
        for _ in 0..100 {
            drop(socket.send_to(vec![0; 512], there));
            drop(socket.send_to(vec![0; 512], there).submit());
            assert!(
                poll_and_drop(socket.send_to(vec![0; 512], there))
                    .await
                    .is_none()
            );
        }
        baseline.returns("three hundred dropped sends").await;
        Ok(())
    });
}

#[test]
fn operations_dropped_at_any_poll_leave_nothing_behind() {
    if ran_in_own_process() {
        return;
    }
    for (ring, builder) in rings() {
        let mut runtime = builder.build().unwrap();
        let ended: io::Result<()> = runtime.block_on(async {
            let (a, b) = pair().await?;
            enable_all_metadata(&b)?;
            let (a, b) = (&a, &b);
            let there = b.local_addr()?;
            let meta = &SendMeta::new().ttl(7);
            let full = || Watched::full(7, 512, 1);
            let empty = || Watched::new(256, 1).expecting(7);
            let name = |what: &str| format!("{what}, {ring}");
            dropped_everywhere(&name("send"), &MOMENTS, || a.send(full())).await;
            dropped_everywhere(&name("send_to"), &MOMENTS, || a.send_to(full(), there)).await;
            dropped_everywhere(&name("send_msg"), &MOMENTS, || a.send_msg(full(), meta)).await;
            // There is a datagram to receive, and sometimes it is kept.
            dropped_everywhere(&name("recv"), &MOMENTS, || async move {
                a.send(full()).await.unwrap();
                b.recv(empty()).await.unwrap()
            })
            .await;
            dropped_everywhere(&name("recv_msg"), &MOMENTS, || async move {
                a.send(full()).await.unwrap();
                b.peek_from(empty()).await.unwrap();
                b.recv_msg(empty()).await.unwrap()
            })
            .await;
            // A receive queued behind another one.
            dropped_everywhere(&name("two"), &MOMENTS, || async move {
                let receives = gimmal::join((b.recv_from(empty()), b.recv_from(empty())));
                let sends = gimmal::join((a.send(full()), a.send(full())));
                gimmal::join((receives, sends)).await
            })
            .await;
            Watched::check_and_forget(&name("all"));
            Ok(())
        });
        ended.unwrap_or_else(|error| panic!("{ring}: {error}"));
        assert_eq!(Watched::alive(), 0, "{ring}");
    }
}

/// A bind or connect that waits for a name lookup can be dropped.
#[test]
fn a_dropped_bind_or_connect_leaves_nothing_behind() {
    if common::ran_in_own_process() {
        return;
    }
    run(async {
        let socket = UdpSocket::bind("localhost:0").await?;
        let baseline = Baseline::take();
        // The lookup may complete before the first poll.
        poll_and_drop(UdpSocket::bind("localhost:0")).await;
        poll_and_drop(socket.connect("localhost:9")).await;
        baseline.returns("a dropped bind and connect").await;
        // A timeout ends an endless wait.
        let never = timeout(Duration::from_millis(1), async {
            socket.recv(vec![0; 1]).await?;
            pending::<io::Result<()>>().await
        });
        assert!(never.await.unwrap_err().is_elapsed());
        Ok(())
    });
}

/// A socket can send to every kind of address it can be bound to, as in std: addresses, lists, text, and names.
#[test]
#[expect(
    clippy::needless_borrows_for_generic_args,
    reason = "borrowed addresses are tested, too"
)]
fn a_datagram_can_be_sent_to_every_form_of_address() {
    run(async {
        async fn arrives(
            sent: impl Future<Output = gimmal::buf::BufResult<usize, &'static str>>,
            receiver: &UdpSocket,
        ) {
            assert_eq!(sent.await.unwrap(), (4, "text"));
            let received = receiver.recv(vec![0; 9]).timeout(Duration::from_secs(5));
            assert_eq!(received.await.unwrap(), (4, b"text".to_vec()));
        }

        let socket = UdpSocket::bind(LOCAL).await?;
        let receiver = UdpSocket::bind(LOCAL).await?;
        let addr = receiver.local_addr()?;
        let (SocketAddr::V4(v4), port) = (addr, addr.port()) else {
            unreachable!("bound to an IPv4 address")
        };
        let text = addr.to_string();
        let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        // Of several addresses, the first one of the socket's IP version is used, and no other.
        let several = [v6, addr, closed_port()];
        for sent in [
            socket.send_to("text", addr),
            socket.send_to("text", &addr),
            socket.send_to("text", v4),
            socket.send_to("text", ([127, 0, 0, 1], port)),
            socket.send_to("text", &(Ipv4Addr::LOCALHOST, port)),
            socket.send_to("text", &*text),
            socket.send_to("text", &text),
            socket.send_to("text", text.clone()),
            socket.send_to("text", ("127.0.0.1", port)),
            socket.send_to("text", &several[..]),
            socket.send_to("text", several),
            socket.send_to("text", several.to_vec()),
            socket.send_to("text", format!("localhost:{port}")),
            socket.send_to("text", ("localhost", port)),
            socket.send_to("text", ("localhost", port)).submit(),
        ] {
            arrives(sent, &receiver).await;
        }
        let sent = socket.send_to("text", ("localhost", port));
        arrives(sent.timeout(Duration::from_secs(5)), &receiver).await;
        if has_v6() {
            let socket = UdpSocket::bind("[::1]:0").await?;
            let receiver = UdpSocket::bind(("::1", 0)).await?;
            let port = receiver.local_addr()?.port();
            let six = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
            arrives(socket.send_to("text", [addr, six]), &receiver).await;
            arrives(
                socket.send_to("text", format!("[::1%lo]:{port}")),
                &receiver,
            )
            .await;
        }

        for (bad, word) in [
            ("nothing", "\"nothing\""),
            ("[::1%nobody0]:1", "\"nobody0\""),
            ("nobody.invalid:1", "nobody.invalid"),
        ] {
            let error = socket.send_to("text", bad).await.unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
            assert_eq!(error.into_buf(), "text");
        }
        let error = socket.send_to("text", Vec::new()).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.into_buf()),
            (io::ErrorKind::InvalidInput, "text")
        );
        let error = socket.send_to("text", v6).await.unwrap_err();
        assert!(error.to_string().contains(&v6.to_string()), "{error}");
        Ok(())
    });
}

/// A send that waits for a name lookup can be canceled, timed out and dropped like one that waits for room, and has
/// then sent nothing.
#[test]
fn a_send_that_waits_for_a_lookup_can_end_early() {
    if ran_in_own_process() {
        return;
    }
    let mut runtime = gimmal::Runtime::builder()
        .blocking_threads(1)
        .build()
        .unwrap();
    let ended: io::Result<()> = runtime.block_on(async {
        let receiver = std_socket();
        receiver.set_nonblocking(true)?;
        let port = receiver.local_addr()?.port();
        let full = || Watched::full(7, 64, 1);
        // While the only pool thread is busy, no lookup runs.
        let (free, busy) = std::sync::mpsc::channel::<()>();
        let blocker = gimmal::task::spawn_blocking(move || busy.recv());
        let socket = UdpSocket::bind(LOCAL).await?;
        let baseline = Baseline::take();
        // An abandoned lookup may have a descriptor open, so descriptors are not counted.
        let returns = async |after: &str| {
            baseline.operations_return(after).await;
            assert_eq!(Watched::alive(), 0, "{after}");
        };

        let send = socket.send_to(full(), ("localhost", port));
        let error = send.timeout(Duration::from_millis(1)).await.unwrap_err();
        assert!(is_timeout(&error), "{error}");
        drop(error);
        returns("a timed out send").await;

        let scope = Scope::new();
        let send = scope.run_any(socket.send_to(full(), ("localhost", port)).submit());
        let stop = async {
            next_turn().await;
            scope.cancel();
        };
        let (sent, ()) = gimmal::join((send, stop)).await;
        let error = sent.unwrap().unwrap_err();
        assert!(is_canceled(&error) && !is_timeout(&error), "{error}");
        drop(error);
        returns("a canceled send").await;

        for moment in &MOMENTS[..3] {
            drop(socket.send_to(full(), ("localhost", port)));
            drop(socket.send_to(full(), ("localhost", port)).submit());
            let send = socket.send_to(full(), ("localhost", port));
            assert!(common::dropped_after(send, 1, *moment).await.is_none());
            returns("dropped sends").await;
        }

        // Closing the socket stops the send, too, and does not wait for it.
        let other = UdpSocket::bind(LOCAL).await?;
        let mut send = other.send_to(full(), ("localhost", port));
        assert!(
            poll_fn(|cx| Poll::Ready(std::pin::Pin::new(&mut send).poll(cx)))
                .await
                .is_pending()
        );
        other.send_to("first", (Ipv4Addr::LOCALHOST, port)).await?;
        let mut buffer = [0; 64];
        assert_eq!(receiver.recv(&mut buffer)?, 5);
        let (sent, closed) = gimmal::join((send, other.close())).await;
        assert!(is_canceled(&sent.unwrap_err()));
        closed?;

        // None of these datagrams is ever sent, not even later.
        free.send(()).unwrap();
        blocker.await?.unwrap();
        for moment in &MOMENTS {
            for polls in 0..4 {
                let send = socket.send_to(full(), ("localhost", closed_port().port()));
                drop(common::dropped_after(send, polls, *moment).await);
                returns("a send to a name").await;
            }
        }
        // When the only thread runs this, it has finished the lookups; other tests count descriptors.
        gimmal::task::spawn_blocking(|| ()).await?;
        let error = receiver.recv(&mut buffer).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        Ok(())
    });
    ended.unwrap();
    Watched::check_and_forget("sends to names");
}
