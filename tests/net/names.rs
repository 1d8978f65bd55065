//! Host names and their addresses.

use std::io;
use std::task::Poll;

#[test]
fn a_lookup_works_after_another_was_dropped() {
    gimmal::run(async {
        let mut lookup = Box::pin(gimmal::net::lookup_host("localhost:80"));
        std::future::poll_fn(|cx| Poll::Ready(lookup.as_mut().poll(cx).is_pending())).await;
        drop(lookup);
        let addrs = gimmal::net::lookup_host(("localhost", 80)).await?;
        assert!(!addrs.is_empty() && addrs.iter().all(|addr| addr.ip().is_loopback()));
        io::Result::Ok(())
    })
    .unwrap();
}

#[test]
fn the_error_of_a_failed_lookup_contains_the_name() {
    gimmal::run(async {
        let error = gimmal::net::lookup_host("nobody.invalid:80")
            .await
            .unwrap_err();
        assert!(error.to_string().contains("nobody.invalid"), "{error}");
        io::Result::Ok(())
    })
    .unwrap();
}

/// A link-local address may name its interface wherever an address is accepted.
#[test]
fn an_address_that_names_its_interface_needs_no_lookup() {
    use gimmal::net::{TcpListener, TcpStream, UdpSocket, lookup_host};
    use std::net::SocketAddr;

    gimmal::run(async {
        let addrs = lookup_host("[fe80::1%lo]:80").await?;
        // The loopback interface has index 1 in every network namespace.
        assert_eq!(addrs, ["[fe80::1%1]:80".parse::<SocketAddr>().unwrap()]);
        for text in ["[fe80::1%nobody0]:80", "[::1%nobody0]:80"] {
            for error in [
                TcpStream::connect(text).await.unwrap_err(),
                TcpListener::bind(text).await.unwrap_err(),
                UdpSocket::bind(text).await.unwrap_err(),
            ] {
                assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
                assert!(error.to_string().contains("\"nobody0\""), "{error}");
            }
        }
        let listener = match TcpListener::bind("[::1%lo]:0").await {
            Ok(listener) => listener,
            Err(error) => {
                common::skip!("no IPv6 on the loopback interface: {error}");
                return Ok(());
            }
        };
        let port = listener.local_addr()?.port();
        let client = TcpStream::connect(("::1%lo", port)).await?;
        client.write_all("x").await?;
        let (server, _) = listener.accept().await?;
        assert_eq!(server.read(vec![0; 1]).await?.1, b"x");
        io::Result::Ok(())
    })
    .unwrap();
}
