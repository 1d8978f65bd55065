//! Streams of bytes: reads, writes, and what becomes of bytes when a wait for them goes.

#![expect(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect fails there"
)]

use gimmal::net::{TcpListener, TcpStream};
use std::io;
use std::task::Poll;
use std::time::Duration;

/// Two ends of one connection.
async fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let client = TcpStream::connect(listener.local_addr()?).await?;
    let (server, peer) = listener.accept().await?;
    assert_eq!(client.local_addr()?, peer);
    Ok((client, server))
}

/// Polls it so many times, then drops it.
async fn poll_and_drop<F: Future>(future: F, times: usize) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    for _ in 0..times {
        let polled = std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
        if let Poll::Ready(output) = polled {
            return Some(output);
        }
        gimmal::yield_now().await;
    }
    None
}

#[test]
fn what_is_written_is_read_and_then_the_end() {
    gimmal::run(async {
        let (client, server) = pair().await?;
        client.write_all("hello, ").await?;
        client
            .write_vectored((String::from("wor"), String::from("ld")))
            .await?;
        client.shutdown(std::net::Shutdown::Write)?;
        let (n, text) = server.read_to_end(Vec::new()).await?;
        assert_eq!((n, &text[..]), (12, &b"hello, world"[..]));
        let (n, _) = server.read(vec![0; 1]).await?;
        assert_eq!(n, 0);
        // The other direction is open.
        server.write_all("bye").await?;
        assert_eq!(client.read_exact(vec![0; 8], 3).await?, b"bye");
        io::Result::Ok(())
    })
    .unwrap();
}

#[test]
fn a_dropped_read_gives_its_bytes_to_the_next() {
    gimmal::run(async {
        let (client, server) = pair().await?;
        for round in 0..200_u32 {
            // The read is in the kernel when its bytes arrive, or not: either way it is dropped before it looks.
            let dropped = poll_and_drop(server.read(vec![0; 4]), 1).await;
            assert!(dropped.is_none());
            client.write_all(round.to_le_bytes().to_vec()).await?;
            let four = server.read_exact(vec![0; 4], 4).await?;
            assert_eq!(four, round.to_le_bytes());
        }
        io::Result::Ok(())
    })
    .unwrap();
}

#[test]
fn a_dropped_exact_read_gives_back_what_it_had() {
    gimmal::run(async {
        let (client, server) = pair().await?;
        for times in 1..6 {
            client.write_all("abc").await?;
            let dropped = poll_and_drop(server.read_exact(vec![0; 6], 6), times).await;
            assert!(dropped.is_none());
            client.write_all("def").await?;
            assert_eq!(server.read_exact(vec![0; 6], 6).await?, b"abcdef");
        }
        let error = server.read_exact(vec![0; 4], 5).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        client.write_all("xy").await?;
        drop(client);
        let error = server.read_exact(vec![0; 4], 3).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.done()),
            (io::ErrorKind::UnexpectedEof, 2)
        );
        assert_eq!(error.into_buf(), b"xy");
        io::Result::Ok(())
    })
    .unwrap();
}

#[test]
fn a_timed_out_read_has_taken_nothing() {
    gimmal::run(async {
        let (client, server) = pair().await?;
        let error = server
            .read(vec![7; 4])
            .timeout(Duration::from_millis(2))
            .await
            .unwrap_err();
        assert!(gimmal::is_timeout(&error));
        assert_eq!(error.into_buf(), [7; 4]);
        client.write_all("data").await?;
        assert_eq!(server.read_exact(vec![0; 4], 4).await?, b"data");
        io::Result::Ok(())
    })
    .unwrap();
}

#[test]
fn reads_of_two_tasks_follow_one_another() {
    gimmal::run(async {
        let (client, server) = pair().await?;
        let both = gimmal::join((server.read(vec![0; 2]), server.read(vec![0; 2])));
        let (write, (first, second)) = gimmal::join((client.write_all("abcd"), both)).await;
        write?;
        assert_eq!((first?.1, second?.1), (b"ab".to_vec(), b"cd".to_vec()));
        io::Result::Ok(())
    })
    .unwrap();
}

#[test]
fn a_read_that_waits_for_another_has_its_own_deadline_and_scope() {
    gimmal::run(async {
        let (client, server) = pair().await?;
        let mut first = std::pin::pin!(server.read(vec![0; 4]));
        let pending = std::future::poll_fn(|cx| Poll::Ready(first.as_mut().poll(cx).is_pending()));
        assert!(pending.await);
        let second = server.read(vec![7; 4]).timeout(Duration::from_millis(2));
        let error = second.await.unwrap_err();
        assert!(gimmal::is_timeout(&error));
        assert_eq!(error.into_buf(), [7; 4]);
        let third = gimmal::timeout(Duration::from_millis(2), server.read(vec![8; 4]));
        assert!(gimmal::is_timeout(&third.await.unwrap_err()));
        client.write_all("data").await?;
        assert_eq!(first.await?.1, b"data");
        io::Result::Ok(())
    })
    .unwrap();
}
