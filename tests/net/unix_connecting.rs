//! Listening, connecting, and the errors of both.

use common::{
    Baseline, MOMENTS, block_on, descriptors, directory, dropped_after, dropped_everywhere,
    longest_path, next_turn, poll_once,
};
use gimmal::net::{UCred, UnixListener, UnixStream};
use gimmal::{Handle, is_canceled, spawn};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

fn abstract_address(name: &str) -> SocketAddr {
    SocketAddr::from_abstract_name(format!("gimmal-{}-{name}", std::process::id())).unwrap()
}

/// A path of maximum length has no terminating nul byte. std rejects such a path, but peers may have one.
#[test]
fn a_connection_from_the_longest_path_is_accepted() {
    block_on(async {
        let directory = directory();
        let Some(address) = longest_path(directory.path()) else {
            common::skip!("the path of the target directory is too long");
            return;
        };
        let server = directory.path().join("server");
        let listener = UnixListener::bind(&server).unwrap();
        let client = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        client.bind(&address).unwrap();
        client.connect(&SockAddr::unix(&server).unwrap()).unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        assert!(peer.is_unnamed(), "{peer:?}");
        stream.write_all("hello").await.unwrap();
        drop(stream);
        let mut text = String::new();
        (&client).read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
    });
}

/// The other end is std's, at a path and at an abstract name.
#[test]
fn sockets_connect_to_and_from_std() {
    block_on(async {
        let directory = directory();
        let path = directory.path().join("socket");
        let of_path = SocketAddr::from_pathname(&path).unwrap();
        for address in [of_path, abstract_address("std")] {
            let listener = std::os::unix::net::UnixListener::bind_addr(&address).unwrap();
            let ours = UnixStream::connect_addr(&address).await.unwrap();
            let (mut theirs, _) = listener.accept().unwrap();
            assert_eq!(
                format!("{:?}", ours.peer_addr().unwrap()),
                format!("{address:?}")
            );
            assert!(ours.local_addr().unwrap().is_unnamed());
            theirs.write_all(b"to you").unwrap();
            assert_eq!(ours.read_exact(vec![0; 6], 6).await.unwrap(), b"to you");
            ours.write_all("to them").await.unwrap();
            drop(ours);
            let mut text = String::new();
            theirs.read_to_string(&mut text).unwrap();
            assert_eq!(text, "to them");
            drop(listener);
            let _ = std::fs::remove_file(&path);

            let listener = UnixListener::bind_addr(&address).unwrap();
            let bound = listener.local_addr().unwrap();
            assert_eq!(format!("{bound:?}"), format!("{address:?}"));
            let theirs = std::os::unix::net::UnixStream::connect_addr(&address).unwrap();
            let (ours, peer) = listener.accept().await.unwrap();
            assert!(peer.is_unnamed() && ours.peer_addr().unwrap().is_unnamed());
            drop(theirs);
            assert_eq!(ours.read(vec![0; 1]).await.unwrap().0, 0);
        }
        // A client that is bound to a name is reported with that name.
        let (here, there) = (abstract_address("here"), abstract_address("there"));
        let listener = UnixListener::bind_addr(&there).unwrap();
        let client = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
        let client = client.unwrap();
        let raw = |address: &SocketAddr| {
            let name = [b"\0", address.as_abstract_name().unwrap()].concat();
            socket2::SockAddr::unix(String::from_utf8(name).unwrap()).unwrap()
        };
        client.bind(&raw(&here)).unwrap();
        client.connect(&raw(&there)).unwrap();
        let (_server, peer) = listener.accept().await.unwrap();
        assert_eq!(peer.as_abstract_name(), here.as_abstract_name());
    });
}

/// As in std, the file stays, and must be removed before the path is bound again.
#[test]
fn the_file_of_a_bound_path_stays() {
    block_on(async {
        let directory = directory();
        let path = directory.path().join("socket");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let error = UnixListener::bind(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(
            error.to_string().contains(path.to_str().unwrap()),
            "{error}"
        );
        // Nobody listens at the path any longer.
        let error = UnixStream::connect(&path).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert!(
            error.to_string().contains(path.to_str().unwrap()),
            "{error}"
        );
        std::fs::remove_file(&path).unwrap();
        let listener = UnixListener::bind(&path).unwrap();
        UnixStream::connect(&path).await.unwrap();
        drop(listener);

        // An abstract name is free at once.
        let address = abstract_address("twice");
        let listener = UnixListener::bind_addr(&address).unwrap();
        let error = UnixListener::bind_addr(&address).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(error.to_string().contains("-twice"), "{error}");
        drop(listener);
        UnixListener::bind_addr(&address).unwrap();
    });
}

#[test]
fn errors_name_the_path_and_the_limit() {
    block_on(async {
        let directory = directory();
        let missing = directory.path().join("missing");
        let error = UnixStream::connect(&missing).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(
            error.to_string().contains(missing.to_str().unwrap()),
            "{error}"
        );

        let long = directory.path().join("x".repeat(108));
        for error in [
            UnixStream::connect(&long).await.unwrap_err(),
            UnixListener::bind(&long).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            let text = error.to_string();
            assert!(text.contains("xxx") && text.contains("108"), "{text}");
        }
        for bad in ["", "a\0b"] {
            let error = UnixStream::connect(bad).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
            let error = UnixListener::bind(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        }
        let nobody = SocketAddr::from_pathname("").unwrap();
        let error = UnixStream::connect_addr(&nobody).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");

        // A file that is not a socket.
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = UnixStream::connect(&file).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);

        // A directory without permission to enter it, except for root.
        let closed = directory.path().join("closed");
        std::fs::create_dir(&closed).unwrap();
        std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o000)).unwrap();
        match UnixListener::bind(closed.join("socket")) {
            Ok(_) => common::skip!("root may enter every directory"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}"),
        }

        // On a connection: errors contain the address of the side that has one.
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let client = UnixStream::connect(&path).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        server.shutdown(std::net::Shutdown::Read).unwrap();
        for (stream, words) in [(&client, "send to "), (&server, "send to a peer of ")] {
            let _ = server.shutdown(std::net::Shutdown::Both);
            let error = stream.write("x").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
            let expected = format!("{words}{}", path.display());
            assert!(error.to_string().contains(&expected), "{error}");
        }
        let (left, right) = UnixStream::pair().unwrap();
        drop(right);
        let error = left.write("x").await.unwrap_err();
        assert!(error.to_string().contains("without a name"), "{error}");
    });
}

#[test]
fn peer_credentials_are_those_of_the_process_that_connected() {
    block_on(async {
        // SAFETY: these calls have no preconditions.
        let (uid, gid) = unsafe { (libc::getuid(), libc::getgid()) };
        let own = UCred {
            pid: Some(std::process::id() as i32),
            uid,
            gid,
        };
        let (left, right) = UnixStream::pair().unwrap();
        assert_eq!(
            (left.peer_cred().unwrap(), right.peer_cred().unwrap()),
            (own, own)
        );

        // A child process that connects has different credentials.
        let directory = directory();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let python =
            "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.recv(1)";
        let child = std::process::Command::new("python3")
            .args(["-c", python])
            .arg(&path)
            .spawn();
        let Ok(mut child) = child else {
            return common::skip!("no python3 to connect with");
        };
        let (server, _) = listener.accept().await.unwrap();
        let cred = server.peer_cred().unwrap();
        assert_eq!(
            cred,
            UCred {
                pid: Some(child.id() as i32),
                ..own
            }
        );
        drop(server);
        child.wait().unwrap();
    });
}

/// A connect to a listener with a full queue waits, and this wait can be canceled.
#[test]
fn connects_wait_for_a_full_queue() {
    if common::ran_in_own_process() {
        return;
    }
    block_on(async {
        let address = abstract_address("full");
        let listener = UnixListener::bind_addr(&address).unwrap();
        // SAFETY: the descriptor is open. A backlog of zero holds one connection.
        assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
        let first = UnixStream::connect_addr(&address).await.unwrap();
        let baseline = Baseline::take();
        for _ in 0..20 {
            let wait =
                gimmal::timeout(Duration::from_millis(1), UnixStream::connect_addr(&address));
            assert!(gimmal::is_timeout(&wait.await.unwrap_err()));
        }
        baseline.returns("canceled connects").await;
        let polls = dropped_everywhere("connect", &MOMENTS, || {
            gimmal::timeout(Duration::from_millis(1), UnixStream::connect_addr(&address))
        })
        .await;
        assert!(polls > 1);
        // None of the canceled connects is in the queue.
        let (second, served) = gimmal::join((UnixStream::connect_addr(&address), async {
            let (one, _) = listener.accept().await?;
            let (two, _) = listener.accept().await?;
            io::Result::Ok((one, two))
        }))
        .await;
        let (one, two) = served.unwrap();
        first.write_all("1").await.unwrap();
        second.unwrap().write_all("2").await.unwrap();
        assert_eq!(one.read_exact(vec![0], 1).await.unwrap(), b"1");
        assert_eq!(two.read_exact(vec![0], 1).await.unwrap(), b"2");
    });
}

/// With single or multishot accepts, each client is served once, however the waits end.
#[test]
fn dropped_waits_lose_no_connection() {
    if common::ran_in_own_process() {
        return;
    }
    block_on(async {
        let address = abstract_address("none-lost");
        let listener = UnixListener::bind_addr(&address).unwrap();
        let open = descriptors();
        for round in 0..300_u32 {
            let (accept, incoming) = (round % 2 == 0, round % 3 == 0);
            if accept {
                assert!(
                    poll_once(&mut std::pin::pin!(listener.accept()))
                        .await
                        .is_pending()
                );
            }
            if incoming {
                let mut all = listener.incoming();
                let mut next = std::pin::pin!(all.next());
                assert!(poll_once(&mut next).await.is_pending());
            }
            if round % 5 == 0 {
                next_turn().await;
            }
            let client = UnixStream::connect_addr(&address).await.unwrap();
            client
                .write_all(round.to_le_bytes().to_vec())
                .await
                .unwrap();
            let server = match round % 4 {
                0 => listener.incoming().next().await.unwrap(),
                _ => listener.accept().await.unwrap().0,
            };
            let number = server.read_exact(vec![0; 4], 4).await.unwrap();
            assert_eq!(number, round.to_le_bytes());
        }
        assert_eq!(descriptors(), open);
        // A wait in a canceled scope takes no connection, even if there is one.
        let scope = gimmal::cancel::Scope::new();
        let client = UnixStream::connect_addr(&address).await.unwrap();
        scope.cancel();
        let error = scope.run_any(listener.accept()).await.unwrap().unwrap_err();
        assert!(is_canceled(&error), "{error}");
        client.write_all("x").await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        assert_eq!(server.read_exact(vec![0], 1).await.unwrap(), b"x");
    });
}

#[test]
fn streams_convert_from_and_to_std() {
    if common::ran_in_own_process() {
        return;
    }
    block_on(async {
        let baseline = Baseline::take();
        let (left, right) = std::os::unix::net::UnixStream::pair().unwrap();
        // A nonblocking socket is awaited like any other.
        left.set_nonblocking(true).unwrap();
        let left = Rc::new(UnixStream::from(left));
        let its = left.clone();
        let reading = spawn(async move { its.read_exact(vec![0; 4], 4).await });
        next_turn().await;
        let right = UnixStream::from(OwnedFd::from(right));
        right.write_all("abcd").await.unwrap();
        assert_eq!(reading.await.unwrap().unwrap(), b"abcd");

        // Neither an orphan nor the byte that it brings allows a conversion to std.
        let mut left = Rc::into_inner(left).unwrap();
        assert!(
            poll_once(&mut std::pin::pin!(left.read(vec![0; 1])))
                .await
                .is_pending()
        );
        let error = left.into_std().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceBusy);
        left = error.into_buf();
        let fd = left.as_raw_fd();
        for _ in 0..100 {
            next_turn().await;
        }
        let std = left.into_std().unwrap();
        assert_eq!(std.as_raw_fd(), fd);
        drop((std, right));
        baseline.returns("streams of std").await;
    });
}

/// Accepts connections ahead while `then` is awaited without any other wait. Returns whether this kernel can accept ahead.
async fn accepting_ahead(listener: &UnixListener, then: impl Future) -> bool {
    let mut next = Box::pin(gimmal::net::Listener::accept_ahead(listener, 64));
    assert!(poll_once(&mut next).await.is_pending());
    next_turn().await;
    then.await;
    drop(next);
    // A poll operation is canceled at once, but an accept operation is kept until it has stopped.
    let stats = Handle::current().stats();
    stats.operations > stats.orphans
}

/// As for TCP (`tests/net/listening.rs`), since the accept is the same.
#[test]
fn a_listener_converts_to_std_and_back_and_closes() {
    if common::ran_in_own_process() {
        return;
    }
    block_on(async {
        let directory = directory();
        let path = directory.path().join("socket");
        let baseline = Baseline::take();
        let listener = UnixListener::bind(&path).unwrap();
        let mut first = None;
        let is_ahead = accepting_ahead(&listener, async {
            first = Some(UnixStream::connect(&path).await.unwrap());
            for _ in 0..3 {
                next_turn().await;
            }
        })
        .await;
        let listener = match listener.into_std().await {
            Ok(listener) => UnixListener::from(OwnedFd::from(listener)),
            Err(error) => {
                assert!(is_ahead);
                assert_eq!(error.kind(), ErrorKind::ResourceBusy);
                error.into_buf()
            }
        };
        drop((listener.accept().await.unwrap(), first));

        let listener = listener.into_std().await.unwrap();
        let client = UnixStream::connect(&path).await.unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all("x").await.unwrap();
        server.read_exact(&mut [0]).unwrap();
        drop((client, server));
        let listener = UnixListener::from(OwnedFd::from(listener));
        let (client, accepted) =
            gimmal::join((UnixStream::connect(&path), listener.accept())).await;
        drop((client.unwrap(), accepted.unwrap()));

        accepting_ahead(&listener, async {}).await;
        listener.close().await.unwrap();
        let error = UnixStream::connect(&path).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        baseline.returns("a closed listener").await;
    });
}

#[test]
fn into_std_and_close_of_a_listener_can_be_dropped_at_any_poll() {
    if common::ran_in_own_process() {
        return;
    }
    block_on(async {
        for moment in MOMENTS {
            for closes in [false, true] {
                let name = if closes { "closed" } else { "handed-out" };
                for polls in 0.. {
                    let baseline = Baseline::take();
                    let listener = UnixListener::bind_addr(&abstract_address(name)).unwrap();
                    let is_ahead = accepting_ahead(&listener, async {}).await;
                    let ended = match closes {
                        true => dropped_after(listener.close(), polls, moment)
                            .await
                            .is_some(),
                        false => dropped_after(listener.into_std(), polls, moment)
                            .await
                            .is_some(),
                    };
                    baseline.returns("a closing listener").await;
                    if ended {
                        assert!(polls > 1 || !is_ahead);
                        break;
                    }
                }
            }
        }
    });
}
