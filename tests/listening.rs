//! Listeners: connections are accepted, and none is lost.

#![expect(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect fails there"
)]

mod baseline;

use baseline::next_turn;
use gimmal::net::{TcpListener, TcpStream};
use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

#[test]
fn a_wait_that_is_dropped_or_timed_out_loses_no_connection() {
    gimmal::run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        for round in 0..50 {
            if round % 2 == 0 {
                let mut accept = Box::pin(listener.accept());
                std::future::poll_fn(|cx| Poll::Ready(accept.as_mut().poll(cx).is_pending())).await;
                drop(accept);
            } else {
                let accept = gimmal::timeout(Duration::from_millis(1), listener.accept());
                assert!(gimmal::is_timeout(&accept.await.unwrap_err()));
            }
            let client = TcpStream::connect(address).await?;
            let (_server, peer) = listener.accept().await?;
            assert_eq!(peer, client.local_addr()?);
        }
        io::Result::Ok(())
    })
    .unwrap();
}

#[test]
fn incoming_gives_them_one_after_the_other() {
    gimmal::run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let mut incoming = listener.incoming();
        let mut clients = Vec::new();
        for _ in 0..100 {
            clients.push(TcpStream::connect(address).await?);
        }
        for client in &clients {
            let server = incoming.next().await?;
            assert_eq!(server.peer_addr()?, client.local_addr()?);
        }
        io::Result::Ok(())
    })
    .unwrap();
}

#[test]
fn a_port_in_use_is_an_error_with_the_address() {
    gimmal::run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let error = TcpListener::bind(address).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&address.to_string()), "{error}");
        drop(listener);
        let error = TcpStream::connect(address).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(error.to_string().contains(&address.to_string()), "{error}");
        io::Result::Ok(())
    })
    .unwrap();
}

/// The accept wakes somebody who waits; if that one goes instead of looking, the connection is for the others.
#[test]
fn those_that_wait_at_one_listener_do_not_depend_on_one_another() {
    gimmal::run(async {
        let listener = Rc::new(TcpListener::bind("127.0.0.1:0").await?);
        let address = listener.local_addr()?;
        for way in 0..3 {
            let waits: Vec<_> = (0..4)
                .map(|_| {
                    let listener = listener.clone();
                    gimmal::spawn(async move { listener.accept().await.map(drop) })
                })
                .collect();
            next_turn().await;
            let mut left = 4;
            let mut clients = Vec::new();
            while left > 0 {
                clients.push(TcpStream::connect(address).await?);
                left -= 1;
                while waits.iter().filter(|wait| !wait.is_finished()).count() > left {
                    gimmal::yield_now().await;
                }
                let mut waiting = waits.iter().filter(|wait| !wait.is_finished());
                let gone = match way {
                    0 => None,
                    1 => waiting.next_back(),
                    _ => waiting.next(),
                };
                if let Some(gone) = gone {
                    gone.abort();
                    left -= 1;
                    while waits.iter().filter(|wait| !wait.is_finished()).count() > left {
                        gimmal::yield_now().await;
                    }
                }
            }
        }
        io::Result::Ok(())
    })
    .unwrap();
}
