//! `errno` finds the error number in errors that add context, and agrees with std.

use common::{directory, is_child, limit_descriptors, passes_in_child};
use gimmal::fs::File;
use gimmal::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram};
use gimmal::{errno, group, timeout};
use std::error::Error;
use std::io;
use std::net::UdpSocket as StdUdp;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram as StdUnix;
use std::time::Duration;

/// Checks that `errno` of our error is the error number of std's.
#[track_caller]
fn agrees(ours: &(dyn Error + 'static), std: io::Error) {
    let expected = std.raw_os_error().unwrap();
    assert_eq!(errno(ours), Some(expected), "{ours}, and std: {std}");
}

#[test]
fn errors_without_an_error_kind_have_an_errno() {
    let directory = directory();
    let [here, there] = ["here", "there"].map(|name| directory.path().join(name));
    symlink(&here, &there).unwrap();
    symlink(&there, &here).unwrap();
    let ran: io::Result<()> = gimmal::run(async {
        let error = File::open(&here).await.unwrap_err();
        agrees(&error, std::fs::File::open(&here).unwrap_err());
        assert_eq!(errno(&error), Some(libc::ELOOP));

        let (socket, std) = (
            UdpSocket::bind("127.0.0.1:0").await?,
            StdUdp::bind("127.0.0.1:0")?,
        );
        let to = std.local_addr()?;
        let error = socket.send_to(vec![0; 70_000], to).await.unwrap_err();
        agrees(&error, std.send_to(&[0; 70_000], to).unwrap_err());
        assert_eq!(errno(&error), Some(libc::EMSGSIZE));
        // The socket has no peer.
        let error = socket.send("x").await.unwrap_err();
        agrees(&error, std.send(b"x").unwrap_err());
        assert_eq!(errno(&error), Some(libc::EDESTADDRREQ));

        let (socket, std) = (UnixDatagram::unbound()?, StdUnix::unbound()?);
        let error = socket.send("x").await.unwrap_err();
        agrees(&error, std.send(b"x").unwrap_err());

        // A port that was just released.
        let refused = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
        let error = TcpStream::connect(refused).await.unwrap_err();
        agrees(&error, std::net::TcpStream::connect(refused).unwrap_err());
        Ok(())
    });
    ran.unwrap();
}

#[test]
fn every_failed_open_reports_that_descriptors_ran_out() {
    if !is_child() {
        return passes_in_child("every_failed_open_reports_that_descriptors_ran_out");
    }
    let ran: io::Result<()> = gimmal::run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let before = limit_descriptors(0);
        let errors = [
            File::open("Cargo.toml").await.unwrap_err(),
            TcpStream::connect(address).await.unwrap_err(),
            UdpSocket::bind("127.0.0.1:0").await.unwrap_err(),
            UnixDatagram::pair().unwrap_err(),
            gimmal::io::pipe().unwrap_err(),
        ];
        for error in errors {
            assert_eq!(errno(&error), Some(libc::EMFILE), "{error}");
        }
        // The leak checker needs descriptors when the process exits.
        limit_descriptors(before);
        Ok(())
    });
    ran.unwrap();
}

#[test]
fn errno_looks_inside_wrapping_errors() {
    const LONG: Duration = Duration::from_secs(3600);
    let ran: io::Result<()> = gimmal::run(async {
        let open = || File::open("no/such/file");
        let expected = Some(libc::ENOENT);
        assert_eq!(errno(&timeout(LONG, open()).await.unwrap_err()), expected);
        let error = group(async |g| {
            drop(g.spawn(open()));
            Ok::<_, io::Error>(())
        });
        assert_eq!(errno(&error.await.unwrap_err()), expected);
        // An error that holds a buffer, and its conversions by `?`.
        let (_reader, writer) = io::pipe()?;
        let unreadable = File::from(std::os::fd::OwnedFd::from(writer));
        let error = unreadable.read(vec![0; 4]).await.unwrap_err();
        assert_eq!(errno(&error), Some(libc::EBADF));
        let error: Box<dyn Error + Send + Sync> = error.into();
        assert_eq!(errno(&*error), Some(libc::EBADF));
        let error = anyhow::Error::from(open().await.unwrap_err()).context("settings");
        assert_eq!(errno(error.as_ref()), expected);
        // An error that does not come from the kernel has no error number.
        let error = gimmal::io::pipe()?
            .0
            .read(vec![0; 4])
            .timeout(Duration::ZERO)
            .await;
        assert_eq!(errno(&error.unwrap_err()), None);
        assert_eq!(errno(&io::Error::from(io::ErrorKind::TimedOut)), None);
        Ok(())
    });
    ran.unwrap();
}
