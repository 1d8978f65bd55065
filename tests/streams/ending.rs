//! The ends of a connection: by one side first, by both, or by a reset; and which calls report it.

use crate::{Ends, Socket, on_each, socketpair, streams, tcp, unix, write_plain};
use common::{
    block_on, child, is_child, next_turn, passes_in_child, poll_once, ran_in_own_process,
};
use gimmal::io::{AsyncWrite, BufWriter};
use gimmal::net::{TcpStream, UnixStream};
use std::io::ErrorKind;
use std::net::Shutdown;
use std::time::Duration;

on_each! {
    written_bytes_are_read_until_the_end: whole;
    each_direction_ends_separately: half_closed;
    an_exact_read_reports_its_progress: too_early;
    a_reset_names_the_peer_and_is_reported_once: reset;
    /// The kernel reports a reset once: a dropped receive passes it on to the next.
    a_reset_seen_by_a_dropped_receive_goes_to_the_next: reset_of_orphans;
    a_write_without_a_reader_is_an_error: no_reader;
    halves_end_their_direction: halves;
    a_shutdown_of_an_ended_stream_is_no_error_in_generic_code: shut_down_again;
}

async fn whole<S: Socket>(ends: Ends) {
    let (client, server) = streams::<S>(ends);
    client.write_all("hello, ").await.unwrap();
    let texts = (String::from("wor"), String::from("ld"));
    client.write_vectored(texts).await.unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let (n, text) = server.read_to_end(b"> ".to_vec()).await.unwrap();
    assert_eq!((n, &text[..]), (12, &b"> hello, world"[..]));
    for _ in 0..2 {
        assert_eq!(server.read(vec![0; 1]).await.unwrap(), (0, Vec::new()));
        assert_eq!(server.peek(vec![0; 1]).await.unwrap(), (0, Vec::new()));
        assert_eq!(server.read_vectored([vec![0; 1]]).await.unwrap().0, 0);
    }
    // The other direction is still open.
    server.write_all("bye").await.unwrap();
    assert_eq!(client.read_exact(vec![0; 8], 3).await.unwrap(), b"bye");
}

async fn half_closed<S: Socket>(ends: Ends) {
    let (left, right) = streams::<S>(ends);
    // A pending read sees the end.
    let mut reading = Box::pin(right.read(vec![0; 8]));
    assert!(poll_once(&mut reading).await.is_pending());
    next_turn().await;
    left.shutdown(Shutdown::Write).unwrap();
    assert_eq!(reading.await.unwrap().0, 0);
    let error = left.write("x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    assert_eq!(error.into_buf(), "x");
    // A stream whose own read side is shut down.
    let mut reading = Box::pin(left.read(vec![0; 8]));
    assert!(poll_once(&mut reading).await.is_pending());
    next_turn().await;
    left.shutdown(Shutdown::Read).unwrap();
    assert_eq!(reading.await.unwrap().0, 0);
}

async fn too_early<S: Socket>(ends: Ends) {
    let (left, right) = streams::<S>(ends);
    let error = right.read_exact(vec![0; 4], 5).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    left.write_all("xy").await.unwrap();
    drop(left);
    let error = right.read_exact(vec![0; 4], 3).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.transferred()),
        (ErrorKind::UnexpectedEof, 2)
    );
    let text = error.to_string();
    assert!(
        text.contains("ended 1 byte early (after 2 bytes)"),
        "{text}"
    );
    assert_eq!(error.into_buf(), b"xy");
}

/// Makes the peer of a stream reset the connection: for TCP by closing without lingering, for Unix by leaving bytes
/// unread.
fn reset_by(peer: impl Socket, ours: &impl Socket) {
    let socket = socket2::SockRef::from(&peer);
    if socket.local_addr().unwrap().is_unix() {
        write_plain(ours, b"unread");
    } else {
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }
    drop(peer.into_fd().unwrap());
}

/// The name of the stream's peer in errors.
fn name_of_peer(stream: &impl Socket) -> String {
    let socket = socket2::SockRef::from(stream);
    let address = [socket.peer_addr().unwrap(), socket.local_addr().unwrap()];
    if let Some(ip) = address[0].as_socket() {
        return ip.to_string();
    }
    let path = address.iter().find_map(|address| address.as_pathname());
    path.map_or("a socket without a name".to_owned(), |path| {
        path.display().to_string()
    })
}

async fn reset<S: Socket>(ends: Ends) {
    for turn in [false, true] {
        let (mut ours, mut peer) = streams::<S>(ends);
        if turn {
            (ours, peer) = (peer, ours);
        }
        let name = name_of_peer(&ours);
        reset_by(peer, &ours);
        let error = ours.read(vec![5; 4]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert!(
            error.to_string().contains(&name),
            "{error} does not contain {name}"
        );
        assert_eq!(error.into_buf(), [5; 4]);
        assert_eq!(ours.read(vec![0; 4]).await.unwrap().0, 0);
        let error = ours.write("x").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        assert!(
            error.to_string().contains(&name),
            "{error} does not contain {name}"
        );
    }
    // Loops also get the error, with the bytes they have read.
    let (ours, peer) = streams::<S>(ends);
    peer.write_all("abc").await.unwrap();
    let mut reading = Box::pin(ours.read_exact(vec![0; 8], 8));
    assert!(poll_once(&mut reading).await.is_pending());
    next_turn().await;
    reset_by(peer, &ours);
    let error = reading.await.unwrap_err();
    let (done, kind) = (error.transferred(), error.kind());
    assert_eq!(
        (kind, done, &error.buf()[..]),
        (ErrorKind::ConnectionReset, 3, &b"abc"[..])
    );
}

async fn reset_of_orphans<S: Socket>(ends: Ends) {
    for (way, bytes) in (0..7).flat_map(|way| [(way, ""), (way, "abc")]) {
        let (ours, peer) = streams::<S>(ends);
        let baseline = gimmal::Handle::current().stats().operation_rows;
        match way {
            // Receives of each kind that are in flight when the reset arrives, dropped without another poll.
            0..=3 => {
                let mut read = Box::pin(ours.read(vec![0; 2]));
                let mut exact = Box::pin(ours.read_exact(vec![0; 8], 8));
                let mut peek = Box::pin(ours.peek(vec![0; 8]));
                let mut vectored = Box::pin(ours.read_vectored([vec![0; 2], vec![0; 9]]));
                let pending = match way {
                    0 => poll_once(&mut read).await.is_pending(),
                    1 => poll_once(&mut exact).await.is_pending(),
                    2 => poll_once(&mut peek).await.is_pending(),
                    _ => poll_once(&mut vectored).await.is_pending(),
                };
                assert!(pending);
                next_turn().await;
                peer.write_all(bytes).await.unwrap();
                reset_by(peer, &ours);
                if way % 2 == 0 {
                    next_turn().await;
                }
            }
            // Ready without an operation in flight, and dropped without another poll.
            _ => {
                let mut read = Box::pin(ours.read(vec![0; 2]));
                assert!(poll_once(&mut read).await.is_pending());
                next_turn().await;
                peer.write_all(bytes).await.unwrap();
                reset_by(peer, &ours);
                next_turn().await;
                drop(read);
                while gimmal::Handle::current().stats().operation_rows > baseline {
                    next_turn().await;
                }
                for _ in 0..3 {
                    match way {
                        4 => drop(ours.read(vec![0; 1]).submit()),
                        5 => drop(ours.peek(vec![0; 1]).submit()),
                        _ => drop(ours.read_vectored([vec![0; 1], vec![0; 1]]).submit()),
                    }
                }
            }
        }
        let mut got = Vec::new();
        let error = loop {
            match ours.read(vec![0; 2]).await {
                Ok((n, part)) => {
                    assert!(n > 0, "way {way}: it has ended without a reset");
                    got.extend(part);
                }
                Err(error) => break error,
            }
        };
        assert_eq!(
            error.kind(),
            ErrorKind::ConnectionReset,
            "way {way}: {error}"
        );
        assert_eq!(got, bytes.as_bytes(), "way {way}");
        assert_eq!(ours.read(vec![0; 2]).await.unwrap().0, 0);
    }
}

async fn no_reader<S: Socket>(ends: Ends) {
    let (left, right) = streams::<S>(ends);
    drop(right.into_fd().unwrap());
    // TCP learns of it by the response to the first write.
    let mut error = left.write_all(vec![1; 10]).await.map(drop).err();
    for _ in 0..3 {
        let next = left.write_all(vec![1; 10]).await.unwrap_err();
        error.get_or_insert(next);
    }
    let kind = error.unwrap().kind();
    assert!(
        matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset),
        "{kind}"
    );
    let error = left.write_vectored(["a", "b"]).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.into_buf()),
        (ErrorKind::BrokenPipe, ["a", "b"])
    );
}

async fn halves<S: Socket>(ends: Ends) {
    // The macro defines `into_split` for each type; the halves are generic.
    let (left, right) = ends();
    let (left, right) = (S::of(left), S::of(right));
    left.write_all("x").await.unwrap();
    right.end_output().unwrap();
    assert_eq!(left.read(vec![0; 1]).await.unwrap().0, 0);
    assert_eq!(right.read(vec![0; 1]).await.unwrap().1, b"x");
}

/// The result of std's shutdown of a stream that ended in this way.
fn std_shutdown<S: Socket>(ends: Ends, end: fn(S, &S)) -> Option<ErrorKind> {
    let (ours, peer) = streams::<S>(ends);
    end(peer, &ours);
    // Shutdown works alike for both address families.
    let ours = std::net::TcpStream::from(ours.into_fd().unwrap());
    ours.shutdown(Shutdown::Write)
        .err()
        .map(|error| error.kind())
}

async fn shut_down_again<S: Socket>(ends: Ends) {
    let ways: [fn(S, &S); 3] = [
        |peer, ours| reset_by(peer, ours),
        |peer, ours| {
            // Both directions: TCP then forgets the connection.
            ours.shutdown(Shutdown::Write).unwrap();
            drop(peer.into_fd().unwrap());
        },
        |peer, ours| {
            peer.shutdown(Shutdown::Both).unwrap();
            ours.shutdown(Shutdown::Both).unwrap();
        },
    ];
    for (n, end) in ways.into_iter().enumerate() {
        let (mut ours, peer) = streams::<S>(ends);
        end(peer, &ours);
        let said = Socket::shutdown(&ours, Shutdown::Write).err();
        let said = said.map(|error| error.kind());
        assert_eq!(said, std_shutdown(ends, end), "way {n}: the same as in std");
        if socket2::SockRef::from(&ours)
            .local_addr()
            .unwrap()
            .is_ipv4()
        {
            assert_eq!(said, Some(ErrorKind::NotConnected), "way {n}");
        }
        for _ in 0..2 {
            AsyncWrite::shutdown(&mut ours).await.unwrap();
            AsyncWrite::shutdown(&mut &mut ours).await.unwrap();
            let mut buffered = BufWriter::new(&mut ours);
            AsyncWrite::shutdown(&mut buffered).await.unwrap();
        }
    }
}

#[test]
fn halves_can_be_shut_down_even_after_a_reset() {
    block_on(async {
        async fn twice(mut half: impl AsyncWrite) {
            half.shutdown().await.unwrap();
            half.shutdown().await.unwrap();
        }
        for ends in [tcp as Ends, unix, socketpair] {
            let (ours, peer) = streams::<UnixStream>(ends);
            reset_by(peer, &ours);
            twice(&ours).await;
            twice(ours.split().1).await;
            twice(ours.into_split().1).await;
        }
        let (ours, peer) = streams::<TcpStream>(tcp);
        reset_by(peer, &ours);
        twice(&ours).await;
        twice(ours.split().1).await;
        twice(ours.into_split().1).await;
        // Any other error is returned.
        let file = std::fs::File::open("Cargo.toml").unwrap();
        let mut no_socket = TcpStream::from(std::os::fd::OwnedFd::from(file));
        AsyncWrite::shutdown(&mut no_socket).await.unwrap_err();
    });
}

#[test]
fn owned_halves_end_their_direction_and_can_be_reunited() {
    block_on(async {
        use gimmal::io::AsyncRead;
        let (left, right) = streams::<UnixStream>(socketpair);
        let (mut reader, mut writer) = left.into_split();
        writer.write_all("to the right").await.unwrap();
        assert_eq!(
            right.read_exact(vec![0; 12], 12).await.unwrap(),
            b"to the right"
        );
        let writing = gimmal::spawn(async move {
            writer.write_all("end").await.unwrap();
        });
        writing.await.unwrap();
        // The write half was dropped, so the stream has ended.
        assert_eq!(right.read_to_end(Vec::new()).await.unwrap().1, b"end");
        right.write_all("to the left").await.unwrap();
        assert_eq!(
            reader.read_exact(vec![0; 11], 11).await.unwrap(),
            b"to the left"
        );

        let (left, right) = streams::<TcpStream>(tcp);
        let (other, _) = streams::<TcpStream>(tcp);
        let (reader, writer) = left.into_split();
        let (other_reader, other_writer) = other.into_split();
        let (reader, _) = reader.reunite(other_writer).unwrap_err();
        let left = reader.reunite(writer).unwrap();
        drop(other_reader);
        left.write_all("whole").await.unwrap();
        let (mut reader, mut writer) = right.split();
        assert_eq!(reader.read_exact(vec![0; 5], 5).await.unwrap(), b"whole");
        writer.write_all("halves").await.unwrap();
        assert_eq!(left.read_exact(vec![0; 6], 6).await.unwrap(), b"halves");
        // Dropping borrowed halves ends nothing.
        left.write_all("more").await.unwrap();
        assert_eq!(right.read(vec![0; 8]).await.unwrap().1, b"more");
        AsyncWrite::shutdown(&mut &right).await.unwrap();
        assert_eq!(left.read(vec![0; 8]).await.unwrap().0, 0);
        drop(unix());
    });
}

/// In a process where SIGPIPE is not ignored, a write without a reader would end the process.
#[test]
fn writes_raise_no_sigpipe() {
    if !is_child() {
        if ran_in_own_process() {
            return;
        }
        passes_in_child("ending::writes_raise_no_sigpipe");
        // And the signal is deadly there: a direct write in such a child process ends it.
        let output = child("ending::writes_raise_no_sigpipe", &[])
            .env("GIMMAL_PLAIN", "1")
            .output();
        assert!(!output.unwrap().status.success());
        return;
    }
    // SAFETY: nothing else in this process depends on the signal.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    block_on(async {
        for ends in [tcp as Ends, unix, socketpair] {
            let (left, right) = streams::<UnixStream>(ends);
            right.close().await.unwrap();
            let _ = left.write_all("x").await;
            for _ in 0..3 {
                let _ = left.write("x").await;
                let _ = left.write_all("x").await;
                let _ = left.write_vectored(["x", "y"]).await;
                let _ = left.write_zero_copy("x").await;
                let _ = left.send_with_fds("x", vec![std::io::stdin()]).await;
            }
            assert_eq!(
                left.write("x").await.unwrap_err().kind(),
                ErrorKind::BrokenPipe
            );
            if std::env::var_os("GIMMAL_PLAIN").is_some() {
                use std::os::fd::AsRawFd;
                // SAFETY: the descriptor is open, and the byte is valid.
                unsafe { libc::send(left.as_raw_fd(), b"x".as_ptr().cast(), 1, 0) };
            }
        }
    });
}
