//! Socket options, compared with socket2's getters and setters.

use common::has_v6;
use gimmal::io::AsyncFd;
use gimmal::net::{
    TcpListener, TcpSocket, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream,
};
use socket2::SockRef;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

const LOCAL: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

/// Sets each option to each value, and compares the result with socket2's.
macro_rules! compare {
    ($socket:expr; $($get:ident $set:ident $oracle:ident: $($value:expr),+;)+) => {$(
        for value in [$($value),+] {
            $socket.$set(value)?;
            let expected = SockRef::from(&$socket).$oracle()?;
            assert_eq!($socket.$get()?, expected.try_into().unwrap(), stringify!($get));
            assert_eq!($socket.$get()?, value, stringify!($get));
        }
    )+};
}

/// The client's and the server's end of a connection.
async fn connection() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind(LOCAL).await?;
    let client = TcpStream::connect(listener.local_addr()?).await?;
    Ok((client, listener.accept().await?.0))
}

#[test]
fn each_option_matches_socket2() {
    gimmal::run(async {
        let socket = TcpSocket::new_v4()?;
        compare! { socket;
            reuseaddr set_reuseaddr reuse_address: true, false;
            reuseport set_reuseport reuse_port: true, false;
            nodelay set_nodelay tcp_nodelay: true, false;
            keepalive set_keepalive keepalive: true, false;
            ttl set_ttl ttl_v4: 1, 255, 64;
            tos set_tos tos_v4: 0xb8, 0;
            linger set_linger linger: Some(Duration::ZERO), Some(Duration::from_secs(7)), None;
        }
        for bytes in [20_000, 30_000] {
            socket.set_send_buffer_size(bytes)?;
            socket.set_recv_buffer_size(bytes + 1000)?;
            let (send, recv) = (bytes * 2, bytes * 2 + 2000);
            assert_eq!(
                (socket.send_buffer_size()?, socket.recv_buffer_size()?),
                (send, recv)
            );
            let found = SockRef::from(&socket);
            assert_eq!(found.send_buffer_size()?, send as usize);
            assert_eq!(found.recv_buffer_size()?, recv as usize);
        }
        // Values beyond the maximum set the maximum.
        socket.set_send_buffer_size(u32::MAX)?;
        let most = socket.send_buffer_size()?;
        socket.set_send_buffer_size(i32::MAX as u32)?;
        assert_eq!(socket.send_buffer_size()?, most);

        let (client, server) = connection().await?;
        compare! { client;
            nodelay set_nodelay tcp_nodelay: true, false;
            keepalive set_keepalive keepalive: true, false;
            quickack set_quickack tcp_quickack: false, true;
            ttl set_ttl ttl_v4: 1, 255, 64;
            tos set_tos tos_v4: 0xb8, 0;
            linger set_linger linger: Some(Duration::ZERO), Some(Duration::from_secs(7)), None;
        }
        server.set_zero_linger()?;
        assert_eq!(SockRef::from(&server).linger()?, Some(Duration::ZERO));

        let listener = TcpListener::bind(LOCAL).await?;
        compare! { listener;
            ttl set_ttl ttl_v4: 1, 255, 33;
            tos set_tos tos_v4: 0, 0xb8;
        }
        // Connections inherit the options of their listener.
        let client = TcpStream::connect(listener.local_addr()?).await?;
        let (server, _) = listener.accept().await?;
        assert_eq!((server.ttl()?, server.tos()?), (33, 0xb8));
        assert_eq!((client.ttl()?, client.tos()?), (64, 0));

        let socket = UdpSocket::bind(LOCAL).await?;
        compare! { socket;
            broadcast set_broadcast broadcast: true, false;
            ttl set_ttl ttl_v4: 1, 255, 64;
            // On a datagram socket, the program sets the ECN bits.
            tos set_tos tos_v4: 0xbb, 255, 0;
            multicast_loop_v4 set_multicast_loop_v4 multicast_loop_v4: false, true;
            multicast_ttl_v4 set_multicast_ttl_v4 multicast_ttl_v4: 0, 255, 1;
        }
        io::Result::Ok(())
    })
    .unwrap();
}

#[test]
fn options_of_both_ip_versions_are_set_for_both() {
    if !has_v6() {
        return;
    }
    gimmal::run(async {
        let socket = TcpSocket::new_v6()?;
        compare! { socket;
            only_v6 set_only_v6 only_v6: true, false;
            ttl set_ttl unicast_hops_v6: 1, 255, 33;
            tos set_tos tclass_v6: 0, 0xb8;
        }
        let found = SockRef::from(&socket);
        assert_eq!((found.ttl_v4()?, found.tos_v4()?), (33, 0xb8));

        let socket = UdpSocket::bind("[::1]:0").await?;
        compare! { socket;
            ttl set_ttl unicast_hops_v6: 1, 255, 33;
            tos set_tos tclass_v6: 0, 0xb8;
            multicast_loop_v6 set_multicast_loop_v6 multicast_loop_v6: false, true;
            multicast_hops_v6 set_multicast_hops_v6 multicast_hops_v6: 0, 255, 1;
        }
        let found = SockRef::from(&socket);
        assert_eq!((found.ttl_v4()?, found.tos_v4()?), (33, 0xb8));
        io::Result::Ok(())
    })
    .unwrap();
}

/// The kernel treats -1 as its default, so an unchecked `u32::MAX` would set that.
#[test]
fn a_value_out_of_range_is_rejected_with_the_limit() {
    fn rejected(set: io::Result<()>, limit: &str) {
        let error = set.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains(limit), "{error}");
    }
    gimmal::run(async {
        let (client, _server) = connection().await?;
        let listener = TcpListener::bind(LOCAL).await?;
        let socket = TcpSocket::new_v4()?;
        let four = UdpSocket::bind(LOCAL).await?;
        let hops = "it must be from 1 to 255";
        for wrong in [0, 256, i32::MAX as u32, i32::MAX as u32 + 1, u32::MAX] {
            socket.set_ttl(9)?;
            client.set_ttl(9)?;
            listener.set_ttl(9)?;
            four.set_ttl(9)?;
            rejected(socket.set_ttl(wrong), hops);
            rejected(client.set_ttl(wrong), hops);
            rejected(listener.set_ttl(wrong), hops);
            rejected(
                four.set_ttl(wrong),
                &format!("set IP_TTL to {wrong}: {hops}"),
            );
            let now = [socket.ttl()?, client.ttl()?, listener.ttl()?, four.ttl()?];
            assert_eq!(now, [9; 4]);
        }
        let hops = "it must be from 0 to 255";
        four.set_multicast_ttl_v4(9)?;
        for wrong in [256, u32::MAX] {
            rejected(four.set_multicast_ttl_v4(wrong), hops);
        }
        assert_eq!(four.multicast_ttl_v4()?, 9);
        if has_v6() {
            let six = UdpSocket::bind("[::1]:0").await?;
            six.set_multicast_hops_v6(9)?;
            six.set_ttl(9)?;
            for wrong in [256, u32::MAX] {
                rejected(six.set_multicast_hops_v6(wrong), hops);
                rejected(six.set_ttl(wrong), "it must be from 1 to 255");
            }
            assert_eq!((six.multicast_hops_v6()?, six.ttl()?), (9, 9));
        }
        // Errors of the kernel name the option, too.
        let error = four.set_multicast_hops_v6(1).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("set IPV6_MULTICAST_HOPS to 1: "),
            "{error}"
        );
        assert_eq!(gimmal::errno(&error), Some(libc::ENOPROTOOPT));
        let error = four.multicast_hops_v6().unwrap_err();
        assert!(
            error.to_string().starts_with("get IPV6_MULTICAST_HOPS: "),
            "{error}"
        );
        assert_eq!(gimmal::errno(&error), Some(libc::EOPNOTSUPP));
        io::Result::Ok(())
    })
    .unwrap();
}

/// A fraction of a second must not become zero, which resets the connection.
#[test]
fn linger_is_rounded_up_to_seconds() {
    let socket = TcpSocket::new_v4().unwrap();
    for (asked, expected) in [
        (Duration::from_nanos(1), 1),
        (Duration::from_millis(1000), 1),
        (Duration::from_millis(1001), 2),
        (Duration::ZERO, 0),
    ] {
        socket.set_linger(Some(asked)).unwrap();
        let expected = Some(Duration::from_secs(expected));
        assert_eq!(socket.linger().unwrap(), expected, "{asked:?}");
        assert_eq!(SockRef::from(&socket).linger().unwrap(), expected);
    }
    // The kernel's maximum.
    socket.set_linger(Some(Duration::MAX)).unwrap();
    assert!(socket.linger().unwrap() > Some(Duration::from_secs(1 << 30)));
}

#[test]
fn an_error_of_the_socket_is_taken_once() {
    fn taken(error: io::Result<Option<io::Error>>) -> Option<i32> {
        error.unwrap().and_then(|error| error.raw_os_error())
    }
    gimmal::run(async {
        let (client, server) = connection().await?;
        assert_eq!(taken(client.take_error()), None);
        server.set_zero_linger()?;
        server.close().await?;
        AsyncFd::new(&client)?.readable().await?;
        assert_eq!(taken(client.take_error()), Some(libc::ECONNRESET));
        assert_eq!(taken(client.take_error()), None);
        assert_eq!(taken(SockRef::from(&client).take_error()), None);

        let (left, right) = UnixStream::pair()?;
        left.write("not read").await?;
        drop(right);
        assert_eq!(taken(left.take_error()), Some(libc::ECONNRESET));
        assert_eq!(taken(left.take_error()), None);

        // The address refuses: its socket was closed.
        let socket = UdpSocket::bind(LOCAL).await?;
        let gone = UdpSocket::bind(LOCAL).await?.local_addr()?;
        socket.connect(gone).await?;
        socket.send("refused").await?;
        AsyncFd::new(&socket)?.readable().await?;
        assert_eq!(taken(socket.take_error()), Some(libc::ECONNREFUSED));
        assert_eq!(taken(socket.take_error()), None);

        let (left, right) = UnixDatagram::pair()?;
        let directory = common::directory();
        let elsewhere = directory.path().join("elsewhere");
        let _bound = UnixDatagram::bind(&elsewhere)?;
        left.send("not received").await?;
        right.connect(&elsewhere)?;
        assert_eq!(taken(left.take_error()), Some(libc::ECONNRESET));
        assert_eq!(taken(left.take_error()), None);

        // These have no error.
        assert_eq!(taken(TcpSocket::new_v4()?.take_error()), None);
        assert_eq!(taken(TcpListener::bind(LOCAL).await?.take_error()), None);
        let listener = UnixListener::bind(directory.path().join("listener"))?;
        assert_eq!(taken(listener.take_error()), None);
        io::Result::Ok(())
    })
    .unwrap();
}

#[test]
fn a_socket_bound_to_a_device_receives_what_arrives_there() {
    gimmal::run(async {
        let udp = UdpSocket::bind(LOCAL).await?;
        let tcp = TcpSocket::new_v4()?;
        assert_eq!((udp.device()?, tcp.device()?), (None, None));
        for bound in [udp.bind_device(Some(b"lo")), tcp.bind_device(Some(b"lo"))] {
            if bound
                .as_ref()
                .is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
            {
                common::skip!("binding to a device is not allowed here: {bound:?}");
                return Ok(());
            }
            bound?;
        }
        for found in [SockRef::from(&udp).device()?, SockRef::from(&tcp).device()?] {
            assert_eq!(found.as_deref(), Some(&b"lo"[..]));
        }
        assert_eq!(
            (udp.device()?, tcp.device()?),
            (Some(b"lo".into()), Some(b"lo".into()))
        );

        std::net::UdpSocket::bind(SocketAddr::from(LOCAL))?.send_to(b"here", udp.local_addr()?)?;
        assert_eq!(udp.recv(vec![0; 8]).await?.1, b"here");
        tcp.bind(LOCAL.into())?;
        let listener = tcp.listen(1)?;
        TcpStream::connect(listener.local_addr()?).await?;
        listener.accept().await?;

        let error = TcpSocket::new_v4()?
            .bind_device(Some(b"none such"))
            .unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("bind to the device \"none such\": "),
            "{error}"
        );
        assert_eq!(gimmal::errno(&error), Some(libc::ENODEV));
        // The kernel would truncate it to 15 bytes.
        let error = TcpSocket::new_v4()?
            .bind_device(Some(b"1234567890123456"))
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(
            error.to_string().ends_with("16 bytes, and the limit is 15"),
            "{error}"
        );
        // The kernel would bind to the device before the zero.
        let error = TcpSocket::new_v4()?
            .bind_device(Some(b"lo\0x"))
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);

        // Without CAP_NET_RAW, a bound socket stays bound.
        match udp.bind_device(None) {
            Ok(()) => assert_eq!(udp.device()?, None),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
                assert_eq!(udp.device()?, Some(b"lo".into()));
                common::skip!("a socket cannot be unbound from its device here: {error}");
            }
        }
        io::Result::Ok(())
    })
    .unwrap();
}
