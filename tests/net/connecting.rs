//! Connecting to one address, to several, to one that never answers; and connections whose wait ends early.

use common::{
    Baseline, Moment, Random, dropped_after, dropped_everywhere, has_v6, on_each_ring,
    quick_or_full,
};
use futures_util::FutureExt;
use gimmal::cancel::Scope;
use gimmal::net::{TcpListener, TcpSocket, TcpStream, ToAddrs};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

const LOCAL: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

/// An address that refuses connections while the socket is kept: the socket owns the port, but does not listen.
fn refusing() -> (OwnedFd, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: SocketAddr = LOCAL.into();
    socket.bind(&any.into()).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    (socket.into(), addr)
}

/// A loopback address that does not answer: the queue of its listener is full, so the kernel drops each SYN.
struct Hole {
    _listener: std::net::TcpListener,
    _queued: Vec<socket2::Socket>,
    addr: SocketAddr,
}

fn hole() -> Hole {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: SocketAddr = LOCAL.into();
    socket.bind(&any.into()).unwrap();
    socket.listen(0).unwrap();
    let addr = socket.local_addr().unwrap();
    let mut queued = Vec::new();
    loop {
        let client =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let connected = client.connect_timeout(&addr, Duration::from_millis(50));
        queued.push(client);
        if connected.is_err() {
            break;
        }
        assert!(queued.len() < 100, "the queue never fills up");
    }
    Hole {
        _listener: socket.into(),
        _queued: queued,
        addr: addr.as_socket().unwrap(),
    }
}

#[test]
fn a_refused_connection_names_the_address() {
    on_each_ring(async || {
        let (_kept, addr) = refusing();
        let error = TcpStream::connect(addr).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(
            error.to_string(),
            format!("connect to {addr}: Connection refused (os error 111)")
        );
        let error = TcpSocket::new_v4()?.connect(addr).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(error.to_string().contains(&addr.to_string()), "{error}");
        Ok(())
    });
}

#[test]
fn the_error_of_an_invalid_address_contains_its_text() {
    on_each_ring(async || {
        for text in ["", "localhost", "127.0.0.1:99999", "::1:80"] {
            let error = TcpStream::connect(text).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
            let time = Duration::from_secs(5);
            let error = TcpStream::connect_timeout(text, time).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
        let error = TcpStream::connect(Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let error = TcpStream::connect("nobody.invalid:80").await.unwrap_err();
        assert!(error.to_string().contains("nobody.invalid"), "{error}");
        Ok(())
    });
}

#[test]
fn the_next_address_is_tried_when_the_first_refuses() {
    if common::ran_in_own_process() {
        return;
    }
    on_each_ring(async || {
        let (_kept, bad) = refusing();
        let listener = TcpListener::bind(LOCAL).await?;
        let good = listener.local_addr()?;
        let baseline = Baseline::take();
        for addrs in [
            vec![bad, good],
            vec![bad, bad, good, bad],
            vec![good, bad],
            // Unreachable at once: TCP cannot connect to a multicast address.
            vec!["224.0.0.1:9".parse().unwrap(), good],
            vec!["[::1]:1".parse().unwrap(), bad, good],
        ] {
            let client = TcpStream::connect(addrs).await?;
            assert_eq!(client.peer_addr()?, good);
            let (_server, peer) = listener.accept().await?;
            assert_eq!(peer, client.local_addr()?);
        }
        baseline.returns("connections").await;
        Ok(())
    });
}

#[test]
fn when_all_addresses_fail_the_error_names_each_with_its_reason() {
    if common::ran_in_own_process() {
        return;
    }
    on_each_ring(async || {
        let (_a, first) = refusing();
        let (_b, second) = refusing();
        let unreachable: SocketAddr = "224.0.0.1:9".parse().unwrap();
        let baseline = Baseline::take();
        let error = TcpStream::connect(vec![unreachable, first, second])
            .await
            .unwrap_err();
        // A refused connection is a better reason than an unreachable network.
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let source = error.get_ref().unwrap().source().unwrap();
        let source = source.downcast_ref::<io::Error>().unwrap();
        assert_eq!(source.raw_os_error(), Some(libc::ECONNREFUSED));
        let text = error.to_string();
        assert_eq!(
            text,
            format!(
                "connect to any of 3 addresses: {unreachable}: Network is unreachable (os error 101); \
                 {first}: Connection refused (os error 111); {second}: Connection refused (os error 111)"
            )
        );
        let error = TcpStream::connect(vec![unreachable, unreachable])
            .await
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NetworkUnreachable);
        baseline.returns("failed attempts").await;
        Ok(())
    });
}

#[test]
fn a_name_resolves_to_its_addresses() {
    on_each_ring(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        // In most hosts files, the IPv6 address comes first, and nobody listens there.
        let client = TcpStream::connect(("localhost", port)).await?;
        assert_eq!(client.peer_addr()?, listener.local_addr()?);
        drop((listener, client));
        let error = TcpStream::connect(("localhost", port)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let text = error.to_string();
        assert!(
            text.contains(&format!("127.0.0.1:{port}: Connection refused"))
                || text.contains(&format!("connect to 127.0.0.1:{port}: Connection refused")),
            "{text}"
        );
        Ok(())
    });
}

#[test]
fn an_address_that_does_not_answer_delays_the_next_only_briefly() {
    if common::ran_in_own_process() {
        return;
    }
    on_each_ring(async || {
        let hole = hole();
        let (_kept, bad) = refusing();
        let listener = TcpListener::bind(if has_v6() { "[::1]:0" } else { "127.0.0.1:0" }).await?;
        let good = listener.local_addr()?;
        let baseline = Baseline::take();
        for addrs in [vec![hole.addr, good], vec![hole.addr, hole.addr, bad, good]] {
            let client = TcpStream::connect(addrs).await?;
            assert_eq!(client.peer_addr()?, good);
            // The losing attempt is already gone when this returns.
            assert_eq!(gimmal::Handle::current().stats().operations, 0);
            drop(client);
            baseline.returns("connects with several addresses").await;
        }
        Ok(())
    });
}

#[test]
fn the_error_of_a_timed_out_connect_contains_the_address_and_the_time() {
    if common::ran_in_own_process() {
        return;
    }
    on_each_ring(async || {
        let hole = hole();
        let (_kept, bad) = refusing();
        let time = Duration::from_millis(30);
        let baseline = Baseline::take();
        let error = TcpStream::connect_timeout(hole.addr, time)
            .await
            .unwrap_err();
        assert!(gimmal::is_timeout(&error));
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let text = format!("connect to {} within 30ms: timed out", hole.addr);
        assert_eq!(error.to_string(), text);
        // The error contains the failures of other addresses. By then the refusal is known, unless the machine stalls.
        let error = TcpStream::connect_timeout(vec![bad, hole.addr], 10 * time)
            .await
            .unwrap_err();
        assert!(gimmal::is_timeout(&error));
        let text = error.to_string();
        assert!(
            text.contains(&format!("({bad}: Connection refused")),
            "{text}"
        );
        assert!(text.contains(&hole.addr.to_string()), "{text}");
        let error = TcpStream::connect_timeout(hole.addr, Duration::ZERO)
            .await
            .unwrap_err();
        assert!(gimmal::is_timeout(&error));
        baseline.returns("timed out connects").await;
        // A connect that fails by itself returns its own error.
        let error = TcpStream::connect_timeout(bad, Duration::from_secs(60))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let listener = TcpListener::bind(LOCAL).await?;
        TcpStream::connect_timeout(listener.local_addr()?, Duration::from_secs(60)).await?;
        Ok(())
    });
}

#[test]
fn a_canceled_connect_ends_at_once_and_leaves_nothing_behind() {
    if common::ran_in_own_process() {
        return;
    }
    on_each_ring(async || {
        let hole = hole();
        let listener = TcpListener::bind(LOCAL).await?;
        let good = listener.local_addr()?;
        let baseline = Baseline::take();
        for addrs in [
            vec![hole.addr],
            vec![hole.addr, hole.addr],
            vec![good, hole.addr],
        ] {
            let scope = Scope::new();
            scope.cancel();
            let connected = scope.run(TcpStream::connect(addrs)).await;
            assert!(gimmal::is_canceled(&connected.unwrap_err()));
            baseline.returns("a connect that never started").await;
        }
        for addrs in [vec![hole.addr], vec![hole.addr, hole.addr]] {
            let scope = Scope::new();
            let connecting = scope.run(TcpStream::connect(addrs));
            let cancel = async {
                common::next_turn().await;
                scope.cancel();
            };
            let (connected, ()) = gimmal::join((connecting, cancel)).await;
            assert!(gimmal::is_canceled(&connected.unwrap_err()));
            baseline.returns("a canceled connect").await;
        }
        Ok(())
    });
}

#[test]
fn a_connect_dropped_at_any_poll_leaves_nothing_behind() {
    if common::ran_in_own_process() {
        return;
    }
    on_each_ring(async || {
        let (_kept, bad) = refusing();
        let hole = hole();
        let listener = TcpSocket::new_v4()?;
        listener.bind(LOCAL.into())?;
        let listener = listener.listen(4096)?;
        let good = listener.local_addr()?;
        let all = [
            Moment::AtOnce,
            Moment::Turns(1),
            Moment::Turns(3),
            Moment::Woken,
        ];
        let polls = dropped_everywhere("connect", &all, || TcpStream::connect(good)).await;
        assert!(polls > 1);
        let one = || TcpStream::connect(vec![bad, good]);
        assert!(dropped_everywhere("connect to the second", &all, one).await > 1);
        let raced = || TcpStream::connect(vec![hole.addr, good]);
        assert!(dropped_everywhere("a race", &[Moment::AtOnce], raced).await > 2);
        let time = Duration::from_secs(60);
        let timed = || TcpStream::connect_timeout(good, time);
        dropped_everywhere("connect_timeout", &all, timed).await;
        let socket = || async { TcpSocket::new_v4()?.connect(good).await };
        dropped_everywhere("TcpSocket::connect", &all, socket).await;
        Ok(())
    });
}

/// Connecting sockets are dropped by a foreign `select`, canceled, and sometimes awaited, on six rings.
#[test]
fn random_connects_lose_no_descriptor() {
    if common::ran_in_own_process() {
        return;
    }
    let rounds: usize = quick_or_full(300, 100_000 / 6);
    on_each_ring(async || {
        let mut random = Random::new();
        let (_kept, bad) = refusing();
        // Used ports stay unavailable for a while, so the test uses several addresses.
        let mut listeners = Vec::new();
        for last in 1..=20 {
            let socket = TcpSocket::new_v4()?;
            socket.bind(([127, 0, 0, last], 0).into())?;
            listeners.push(socket.listen(4096)?);
        }
        let good: Vec<_> = listeners.iter().map(|l| l.local_addr().unwrap()).collect();
        let baseline = Baseline::take();
        let (mut connected, mut refused, mut gone) = (0, 0, 0);
        for round in 0..rounds {
            let good = good[round % good.len()];
            let addrs = match random.below(4) {
                0 => vec![bad, good],
                1 => vec![bad],
                _ => vec![good],
            };
            let connect = TcpStream::connect(addrs);
            let ended = match random.below(4) {
                0 => {
                    let polls = random.below(4);
                    dropped_after(connect, polls, Moment::AtOnce).await
                }
                1 => {
                    let turns = random.below(3);
                    let mut other = std::pin::pin!(
                        async {
                            for _ in 0..turns {
                                gimmal::yield_now().await;
                            }
                        }
                        .fuse()
                    );
                    let mut connect = std::pin::pin!(connect.fuse());
                    futures_util::select! {
                        ended = connect => Some(ended),
                        () = other => None,
                    }
                }
                2 => {
                    let scope = Scope::new();
                    let turns = random.below(4);
                    let cancel = async {
                        for _ in 0..turns {
                            gimmal::yield_now().await;
                        }
                        scope.cancel();
                    };
                    Some(gimmal::join((scope.run(connect), cancel)).await.0)
                }
                _ => Some(connect.await),
            };
            match ended {
                Some(Ok(stream)) => {
                    assert_eq!(stream.peer_addr()?, good);
                    connected += 1;
                }
                Some(Err(error)) if gimmal::is_canceled(&error) => gone += 1,
                Some(Err(error)) => {
                    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{error}");
                    refused += 1;
                }
                None => gone += 1,
            }
            // Connections that were established and dropped are in the listener's queue.
            if round % 1000 == 999 {
                for listener in &listeners {
                    while listener.accept().now_or_never().is_some() {}
                    common::next_turn().await;
                    while listener.accept().now_or_never().is_some() {}
                }
            }
        }
        println!("{connected} connected, {refused} refused, {gone} gone");
        assert!(connected > rounds / 10 && refused > rounds / 10 && gone > rounds / 10);
        drop(listeners);
        let left = gimmal::Handle::current();
        while left.stats().operations > 0 {
            gimmal::yield_now().await;
        }
        assert_eq!(common::descriptors() + good.len(), baseline.descriptors());
        Ok(())
    });
}

#[test]
fn options_are_set_before_a_socket_listens_or_connects() {
    on_each_ring(async || {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(true)?;
        socket.set_nodelay(true)?;
        socket.set_keepalive(true)?;
        socket.set_ttl(33)?;
        socket.set_send_buffer_size(50_000)?;
        socket.set_recv_buffer_size(60_000)?;
        assert!(socket.reuseaddr()? && socket.reuseport()?);
        assert!(socket.nodelay()? && socket.keepalive()?);
        assert_eq!(socket.ttl()?, 33);
        assert!(socket.send_buffer_size()? >= 50_000);
        assert!(socket.recv_buffer_size()? >= 60_000);
        socket.bind(LOCAL.into())?;
        let addr = socket.local_addr()?;
        let listener = socket.listen(16)?;
        assert_eq!(listener.local_addr()?, addr);

        // Two listeners on one port, both with SO_REUSEPORT.
        let second = TcpSocket::new_v4()?;
        second.set_reuseport(true)?;
        second.bind(addr)?;
        let second = second.listen(16)?;
        assert_eq!(second.local_addr()?, addr);
        drop(second);
        let third = TcpSocket::new_v4()?;
        let error = third.bind(addr).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&addr.to_string()), "{error}");

        // From an address that the client chooses.
        let client = TcpSocket::new_v4()?;
        client.bind(([127, 0, 0, 77], 0).into())?;
        let client = client.connect(addr).await?;
        let (_server, peer) = listener.accept().await?;
        assert_eq!(peer.ip().to_string(), "127.0.0.77");
        assert_eq!(client.local_addr()?, peer);

        // IPv6 only, or both IPv6 and IPv4.
        for only in [true, false].into_iter().filter(|_| has_v6()) {
            let socket = TcpSocket::new_v6()?;
            socket.set_only_v6(only)?;
            assert_eq!(socket.only_v6()?, only);
            socket.bind("[::]:0".parse().unwrap())?;
            let listener = socket.listen(16)?;
            let port = listener.local_addr()?.port();
            TcpStream::connect(("::1", port)).await?;
            let v4 = TcpStream::connect(("127.0.0.1", port)).await;
            assert_eq!(v4.is_err(), only);
        }
        let wrong = TcpSocket::new_v4()?
            .connect("[::1]:1".parse().unwrap())
            .await;
        let error = wrong.unwrap_err();
        assert!(error.to_string().contains("connect to [::1]:1"), "{error}");
        Ok(())
    });
}

#[test]
fn options_are_set_on_a_connection_and_a_reset_ends_it() {
    on_each_ring(async || {
        let listener = std::net::TcpListener::bind(SocketAddr::from(LOCAL))?;
        let listener = TcpListener::from(OwnedFd::from(listener));
        let client = std::net::TcpStream::connect(listener.local_addr()?)?;
        let client = TcpStream::from(OwnedFd::from(client));
        let (server, peer) = listener.accept().await?;
        assert_eq!(client.peer_addr()?, listener.local_addr()?);
        assert_eq!(client.local_addr()?, peer);
        for on in [true, false] {
            client.set_nodelay(on)?;
            client.set_keepalive(on)?;
            assert_eq!((client.nodelay()?, client.keepalive()?), (on, on));
        }
        client.set_ttl(33)?;
        assert_eq!(client.ttl()?, 33);
        assert!(client.set_ttl(0).is_err());

        let shown = format!("{client:?}");
        let ends = format!(
            "TcpStream {{ local: {peer}, peer: {}, ",
            listener.local_addr()?
        );
        assert!(shown.starts_with(&ends), "{shown}");

        client.set_zero_linger()?;
        client.close().await?;
        let error = server.read(vec![0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(error.to_string().contains(&peer.to_string()), "{error}");
        Ok(())
    });
}

#[test]
fn every_form_of_address_can_be_connected_to() {
    async fn reaches(listener: &TcpListener, to: impl ToAddrs) {
        let client = TcpStream::connect(to).await.unwrap();
        assert_eq!(client.peer_addr().unwrap(), listener.local_addr().unwrap());
    }
    on_each_ring(async || {
        let listener = TcpListener::bind(LOCAL).await?;
        let addr = listener.local_addr()?;
        reaches(&listener, addr).await;
        reaches(&listener, &addr).await;
        reaches(&listener, addr.to_string()).await;
        reaches(&listener, addr.to_string().as_str()).await;
        reaches(&listener, (addr.ip(), addr.port())).await;
        reaches(&listener, ([127, 0, 0, 1], addr.port())).await;
        reaches(&listener, ("127.0.0.1", addr.port())).await;
        reaches(&listener, &[addr, addr][..]).await;
        reaches(&listener, [addr, addr]).await;
        reaches(&listener, &vec![addr]).await;
        reaches(&listener, &("127.0.0.1", addr.port())).await;
        Ok(())
    });
}
