//! Unix datagram sockets: each operation compared with std's, full receivers, and what happens to datagrams when a wait
//! for them ends early.

use common::{
    Baseline, MOMENTS, Random, Watched, directory, dropped_everywhere, is_child, limit_descriptors,
    longest_path, next_turn, passes_in_child, poll_and_drop, quick_or_full, ran_in_own_process,
    rings,
};
use futures_util::FutureExt;
use gimmal::cancel::Scope;
use gimmal::net::UnixDatagram;
use gimmal::{is_canceled, is_timeout, timeout};
use std::fs::File;
use std::future::poll_fn;
use std::io::{self, Seek, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram as StdDatagram};
use std::task::Poll;
use std::time::Duration;

/// Datagrams that a sender can always queue at a receiver (`net.unix.max_dgram_qlen`, plus one).
const AHEAD: usize = 10;

fn run<T>(future: impl Future<Output = io::Result<T>>) -> T {
    gimmal::run(future).unwrap()
}

/// An abstract name that no other test uses.
fn name(of: &str) -> SocketAddr {
    let name = format!("gimmal-{}-{of}", std::process::id());
    SocketAddr::from_abstract_name(name).unwrap()
}

/// Sends until the receiver is full, and returns the number of datagrams.
async fn fill(mut send: impl AsyncFnMut(String) -> io::Result<usize>) -> usize {
    let mut sent = 0;
    while timeout(Duration::from_millis(20), send(sent.to_string()))
        .await
        .is_ok()
    {
        sent += 1;
    }
    sent
}

#[test]
fn datagrams_are_exchanged_with_std() {
    run(async {
        let directory = directory();
        let (here, there) = (
            directory.path().join("here"),
            directory.path().join("there"),
        );
        let socket = UnixDatagram::bind(&here)?;
        let other = StdDatagram::bind(&there)?;
        for len in [0, 1, 2, 512, 65_536] {
            let bytes: Vec<u8> = (0..len).map(|at| (at / 251 + at) as u8).collect();
            other.send_to(&bytes, &here)?;
            let ((n, from), buffer) = socket.recv_from(Vec::with_capacity(1 << 17)).await?;
            assert_eq!((n, from.as_pathname()), (len, Some(&*there)));
            assert_eq!(buffer, bytes);

            let (n, back) = socket.send_to(buffer, &there).await?;
            assert_eq!((n, &back), (len, &bytes));
            let mut buffer = vec![0; 1 << 17];
            let (n, from) = other.recv_from(&mut buffer)?;
            assert_eq!(
                (&buffer[..n], from.as_pathname()),
                (&bytes[..], Some(&*here))
            );
        }
        assert_eq!(socket.local_addr()?.as_pathname(), Some(&*here));
        Ok(())
    });
}

#[test]
fn addresses_are_abstract_names_or_unnamed() {
    run(async {
        let (here, there) = (name("here"), name("there"));
        let server = UnixDatagram::bind_addr(&here)?;
        assert_eq!(
            server.local_addr()?.as_abstract_name(),
            here.as_abstract_name()
        );
        let client = UnixDatagram::bind_addr(&there)?;
        client.connect_addr(&here)?;
        assert_eq!(
            client.peer_addr()?.as_abstract_name(),
            here.as_abstract_name()
        );
        client.send("question").await?;
        let ((n, from), buffer) = server.recv_from(vec![0; 64]).await?;
        assert_eq!(&buffer[..n], b"question");
        assert_eq!(from.as_abstract_name(), there.as_abstract_name());
        server.send_to_addr("answer", &from).await?;
        let (n, buffer) = client.recv(vec![0; 64]).await?;
        assert_eq!(&buffer[..n], b"answer");

        let nobody = UnixDatagram::unbound()?;
        assert!(nobody.local_addr()?.is_unnamed());
        nobody.send_to_addr("from nobody", &here).await?;
        let ((n, from), buffer) = server.recv_from(vec![0; 64]).await?;
        assert_eq!(&buffer[..n], b"from nobody");
        assert!(from.is_unnamed());
        // A name that is not valid UTF-8.
        let odd = [&std::process::id().to_ne_bytes()[..], b"gimmal\0\xff odd"].concat();
        let odd = SocketAddr::from_abstract_name(odd)?;
        let odd_one = UnixDatagram::bind_addr(&odd)?;
        nobody.send_to_addr("to odd", &odd).await?;
        assert_eq!(odd_one.recv(vec![0; 6]).await?, (6, b"to odd".to_vec()));
        Ok(())
    });
}

/// A path of maximum length has no terminating nul byte. std rejects such a path, but peers may have one.
#[test]
fn a_datagram_from_the_longest_path_is_received() {
    run(async {
        let directory = directory();
        let server_path = directory.path().join("server");
        let server = UnixDatagram::bind(&server_path)?;
        let Some(address) = longest_path(directory.path()) else {
            common::skip!("the path of the target directory is too long");
            return Ok(());
        };
        let client = StdDatagram::unbound()?;
        socket2::SockRef::from(&client).bind(&address)?;
        client.send_to(b"long", &server_path)?;
        let ((n, _), buffer) = server.recv_from(vec![0; 8]).await?;
        assert_eq!(&buffer[..n], b"long");
        Ok(())
    });
}

#[test]
fn errors_contain_the_path() {
    run(async {
        let directory = directory();
        let path = directory.path().join("socket");
        let shown = path.display().to_string();
        let socket = UnixDatagram::unbound()?;
        let (error, buffer) = socket.send_to("x", &path).await.unwrap_err().into_parts();
        assert_eq!((error.kind(), buffer), (io::ErrorKind::NotFound, "x"));
        assert!(
            error
                .to_string()
                .starts_with(&format!("send 1 byte to {shown}: ")),
            "{error}"
        );
        let error = socket.connect(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains(&shown), "{error}");

        let _first = UnixDatagram::bind(&path)?;
        let error = UnixDatagram::bind(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&shown), "{error}");
        // The owner is gone, but the file still exists.
        drop(_first);
        let error = socket.send_to("x", &path).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(error.to_string().contains(&shown), "{error}");

        let long = directory.path().join("x".repeat(108));
        for error in [
            UnixDatagram::bind(&long).unwrap_err(),
            socket.connect(&long).unwrap_err(),
            socket.send_to("x", &long).await.unwrap_err().into_error(),
        ] {
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(
                error.to_string().contains(&long.display().to_string()),
                "{error}"
            );
        }
        let nobody = name("nobody");
        let error = socket.send_to_addr("x", &nobody).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(error.to_string().contains("@gimmal-"), "{error}");
        let error = socket.send("x").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotConnected);
        assert_eq!(error.into_buf(), "x");
        Ok(())
    });
}

#[test]
fn a_full_receiver_blocks_only_sends_to_itself() {
    run(async {
        let full = UnixDatagram::bind_addr(&name("full"))?;
        let free = UnixDatagram::bind_addr(&name("free"))?;
        let sender = UnixDatagram::unbound()?;
        let to = full.local_addr()?;
        let sent = fill(async |text| Ok(sender.send_to_addr(text, &to).await?.0)).await;
        assert!(sent >= AHEAD, "{sent}");
        // While one send waits for the full receiver, the other receiver still gets datagrams.
        let mut waits = Box::pin(sender.send_to_addr("at last", &to));
        assert!(
            poll_fn(|cx| Poll::Ready(waits.as_mut().poll(cx)))
                .await
                .is_pending()
        );
        for _ in 0..AHEAD {
            sender.send_to_addr("passes by", &name("free")).await?;
            assert_eq!(free.recv(vec![0; 16]).await?.0, 9);
        }
        // A canceled send has sent nothing, wherever it was in the kernel.
        let error = sender
            .send_to_addr("never", &to)
            .timeout(Duration::from_millis(5))
            .await;
        let error = error.unwrap_err();
        assert!(is_timeout(&error));
        assert_eq!(error.into_buf(), "never");
        for number in 0..sent {
            let (n, buffer) = full.recv(vec![0; 16]).await?;
            assert_eq!(buffer[..n], *number.to_string().as_bytes());
        }
        assert_eq!(waits.await?, (7, "at last"));
        let (n, buffer) = full.recv(vec![0; 16]).await?;
        assert_eq!(&buffer[..n], b"at last");
        let more = full
            .recv(vec![0; 16])
            .timeout(Duration::from_millis(5))
            .await;
        assert!(is_timeout(&more.unwrap_err()));
        Ok(())
    });
}

#[test]
fn many_sends_to_one_full_receiver_all_complete() {
    if common::ran_in_own_process() {
        return;
    }
    run(async {
        let baseline = Baseline::take();
        let receiver = UnixDatagram::bind_addr(&name("busy"))?;
        let to = &receiver.local_addr()?;
        let sender = UnixDatagram::unbound()?;
        let other = UnixDatagram::unbound()?;
        other.connect_addr(to)?;
        let sends = (0..100).map(|number: u32| {
            let bytes = number.to_le_bytes().to_vec();
            match number % 2 {
                0 => sender.send_to_addr(bytes, to),
                _ => other.send(bytes),
            }
        });
        let sending = gimmal::join_all(sends.collect::<Vec<_>>());
        let receiving = async {
            let mut numbers = Vec::new();
            while numbers.len() < 100 {
                let (n, bytes) = receiver.recv(vec![0; 4]).await?;
                assert_eq!(n, 4);
                numbers.push(u32::from_le_bytes(bytes.try_into().unwrap()));
            }
            io::Result::Ok(numbers)
        };
        let (sent, numbers) = gimmal::join((sending, receiving)).await;
        assert!(sent.into_iter().all(|sent| sent.unwrap().0 == 4));
        let mut numbers = numbers?;
        // Those to the connected peer are in order.
        let odd = numbers.iter().filter(|number| **number % 2 == 1);
        assert!(odd.is_sorted());
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..100));
        drop((receiver, sender, other));
        baseline.returns("a hundred waits").await;
        Ok(())
    });
}

#[test]
fn without_a_descriptor_to_wait_with_a_send_fails() {
    if !is_child() {
        if ran_in_own_process() {
            return;
        }
        passes_in_child("without_a_descriptor_to_wait_with_a_send_fails");
        return;
    }
    run(async {
        let receiver = UnixDatagram::bind_addr(&name("limited"))?;
        let to = receiver.local_addr()?;
        let sender = UnixDatagram::unbound()?;
        let sent = fill(async |text| Ok(sender.send_to_addr(text, &to).await?.0)).await;
        // Prevents the process from opening any descriptor for a while.
        let before = limit_descriptors(3);
        let more = sender.send_to_addr("more", &to);
        let error = more.timeout(Duration::from_secs(30)).await.unwrap_err();
        assert!(
            error.to_string().starts_with("wait for room at @gimmal-"),
            "{error}"
        );
        assert_eq!(error.into_buf(), "more");
        limit_descriptors(before);
        for number in 0..sent {
            let (n, buffer) = receiver.recv(vec![0; 16]).await?;
            assert_eq!(buffer[..n], *number.to_string().as_bytes());
        }
        assert_eq!(sender.send_to_addr("more", &to).await?.0, 4);
        Ok(())
    });
}

#[test]
fn sends_to_the_peer_stay_in_order_while_it_is_full() {
    run(async {
        let (left, right) = UnixDatagram::pair()?;
        let sent = fill(async |text| Ok(left.send(text).await?.0)).await;
        assert!(sent >= AHEAD, "{sent}");
        let sends: Vec<_> = (sent..sent + 100)
            .map(|number| left.send(number.to_string()).submit())
            .collect();
        let receiving = async {
            for number in 0..sent + 100 {
                let (n, buffer) = right.recv(vec![0; 16]).await?;
                assert_eq!(buffer[..n], *number.to_string().as_bytes());
            }
            io::Result::Ok(())
        };
        let (sent, received) = gimmal::join((gimmal::join_all(sends), receiving)).await;
        received?;
        assert!(sent.into_iter().all(|sent| sent.is_ok()));
        Ok(())
    });
}

#[test]
fn a_closed_peer_is_an_error_and_a_shutdown_is_an_end() {
    run(async {
        let (left, right) = UnixDatagram::pair()?;
        right.send("last words").await?;
        drop(right);
        assert_eq!(left.recv(vec![0; 16]).await?.0, 10);
        let error = left.send("anybody?").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(error.to_string().contains("without a name: "), "{error}");
        assert_eq!(error.into_buf(), "anybody?");

        // The peer connects to another socket: this is reported once, and kept if no receive gets it.
        let (left, right) = UnixDatagram::pair()?;
        let other = name("other");
        let _other = UnixDatagram::bind_addr(&other)?;
        left.send("unread").await?;
        let mut recv = Box::pin(left.recv(vec![0; 16]));
        assert!((&mut recv).now_or_never().is_none());
        next_turn().await;
        right.connect_addr(&other)?;
        next_turn().await;
        drop(recv);
        let error = left.recv(vec![0; 16]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);

        let (left, _right) = UnixDatagram::pair()?;
        let mut waits = Box::pin(left.recv(vec![7; 16]));
        assert!(
            poll_fn(|cx| Poll::Ready(waits.as_mut().poll(cx)))
                .await
                .is_pending()
        );
        next_turn().await;
        left.shutdown(Shutdown::Read)?;
        assert_eq!(waits.await?.0, 0);
        Ok(())
    });
}

#[test]
fn excess_bytes_are_truncated_even_in_kept_datagrams() {
    run(async {
        let (left, right) = UnixDatagram::pair()?;
        left.send("0123456789").await?;
        left.send("next").await?;
        assert_eq!(
            right.recv(Vec::with_capacity(4)).await?,
            (4, b"0123".to_vec())
        );
        assert_eq!(right.recv(vec![0; 4]).await?, (4, b"next".to_vec()));
        let mut recv = Box::pin(right.recv(vec![0; 16]));
        assert!((&mut recv).now_or_never().is_none());
        left.send("0123456789").await?;
        next_turn().await;
        drop(recv);
        assert_eq!(
            right.recv(Vec::with_capacity(4)).await?,
            (4, b"0123".to_vec())
        );
        Ok(())
    });
}

#[test]
fn sockets_convert_to_std_and_back() {
    run(async {
        let (left, right) = UnixDatagram::pair()?;
        // A nonblocking socket of std is awaited like any other.
        let left = left.into_std().unwrap();
        left.set_nonblocking(true)?;
        let left = UnixDatagram::from(OwnedFd::from(left));
        let (received, sent) = gimmal::join((left.recv(vec![0; 4]), right.send("back"))).await;
        assert_eq!((received?.1, sent?.0), (b"back".to_vec(), 4));
        // While an operation is in flight, the socket cannot be converted.
        let waits = left.recv(vec![0; 4]).submit();
        let error = left.into_std().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        drop(waits);
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
        let (left, right) = UnixDatagram::pair()?;
        let sent = fill(async |text| Ok(left.send(text).await?.0)).await;
        assert!(sent >= AHEAD);
        let (recv, send) = (left.recv(vec![7; 4]).submit(), left.send("more").submit());
        let (received, sent, closed) = gimmal::join((recv, send, left.close())).await;
        assert_eq!(received.unwrap_err().into_buf(), [7; 4]);
        assert_eq!(sent.unwrap_err().into_buf(), "more");
        closed?;
        drop(right);
        baseline.returns("a closed pair").await;
        Ok(())
    });
}

/// A file that contains a text.
fn file(text: &str) -> File {
    let mut file = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn text(fd: OwnedFd) -> String {
    let mut file = File::from(fd);
    file.rewind().unwrap();
    io::read_to_string(file).unwrap()
}

#[test]
fn descriptors_are_passed_with_a_datagram() {
    if common::ran_in_own_process() {
        return;
    }
    run(async {
        let baseline = Baseline::take();
        let (left, right) = UnixDatagram::pair()?;
        for count in [0, 1, 2, 3, 16, 253] {
            let files: Vec<File> = (0..count).map(|number| file(&number.to_string())).collect();
            let (n, (sent, files)) = left.send_with_fds("with", files).await?;
            assert_eq!((n, sent, files.len()), (4, "with", count));
            drop(files);
            let ((n, fds), buffer) = right.recv_with_fds(vec![0; 8], count).await?;
            assert_eq!((&buffer[..n], fds.len()), (&b"with"[..], count));
            for (number, fd) in fds.into_iter().enumerate() {
                let flags = flags_of(&fd);
                assert!(flags & libc::FD_CLOEXEC != 0);
                assert_eq!(text(fd), number.to_string());
            }
        }
        // Received with room for fewer, or by a plain receive: the descriptors are closed.
        left.send_with_fds("many", (0..40).map(|_| file("")).collect::<Vec<_>>())
            .await?;
        let error = right.recv_with_fds(vec![0; 8], 3).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.transferred()),
            (io::ErrorKind::InvalidData, 4)
        );
        assert!(error.to_string().contains("than the 3 that"), "{error}");
        assert_eq!(error.into_buf()[..4], *b"many");
        left.send_with_fds("some", vec![file(""), file("")]).await?;
        assert_eq!(right.recv(vec![0; 4]).await?, (4, b"some".to_vec()));
        // To an address, from an address, and truncated.
        let (here, there) = (name("fds-here"), name("fds-there"));
        let server = UnixDatagram::bind_addr(&here)?;
        let client = UnixDatagram::bind_addr(&there)?;
        client
            .send_to_addr_with_fds("with an address", vec![file("c")], &here)
            .await?;
        let (meta, buffer) = server.recv_msg(Vec::with_capacity(4), 1).await?;
        assert_eq!(
            (meta.len, meta.full_len, &buffer[..]),
            (4, 15, &b"with"[..])
        );
        assert!(meta.is_truncated());
        assert_eq!(meta.from.as_abstract_name(), there.as_abstract_name());
        let texts: Vec<String> = meta.fds.into_iter().map(text).collect();
        assert_eq!(texts, ["c"]);
        let error = client
            .send_to_addr_with_fds("x", vec![file("")], &name("nobody"))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        drop((server, client, error));
        // This datagram is not received.
        left.send_with_fds("lost", vec![file("")]).await?;
        let files: Vec<File> = (0..254).map(|_| file("")).collect();
        let error = left.send_with_fds("too many", files).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("254 descriptors"), "{error}");
        let (buffer, files) = error.into_buf();
        assert_eq!((buffer, files.len()), ("too many", 254));
        drop((left, right, files));
        baseline.returns("sent descriptors").await;
        Ok(())
    });
}

/// The flags of a descriptor.
fn flags_of(fd: &OwnedFd) -> i32 {
    // SAFETY: the descriptor is open, and no address is passed.
    unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFD) }
}

#[test]
fn descriptors_of_a_dropped_receive_are_kept_with_the_datagram() {
    if common::ran_in_own_process() {
        return;
    }
    run(async {
        let baseline = Baseline::take();
        let (left, right) = UnixDatagram::pair()?;
        for round in 0..30 {
            let dropped = match round % 3 {
                0 => poll_and_drop(right.recv_with_fds(vec![0; 8], 2))
                    .await
                    .is_none(),
                // Once a receive has asked for descriptors, one that asks for none keeps them as well.
                1 => poll_and_drop(right.recv(vec![0; 8])).await.is_none(),
                _ => {
                    let mut recv = Box::pin(right.recv_with_fds(vec![0; 8], 2));
                    assert!((&mut recv).now_or_never().is_none());
                    left.send_with_fds("kept", vec![file("a"), file("b")])
                        .await?;
                    next_turn().await;
                    drop(recv);
                    drop(right.recv_with_fds(vec![0; 8], 2).submit());
                    true
                }
            };
            assert!(dropped);
            if round % 3 != 2 {
                left.send_with_fds("kept", vec![file("a"), file("b")])
                    .await?;
            }
            let ((n, fds), buffer) = right.recv_with_fds(vec![0; 8], 2).await?;
            assert_eq!(&buffer[..n], b"kept");
            let texts: Vec<String> = fds.into_iter().map(text).collect();
            assert_eq!(texts, ["a", "b"]);
        }
        // Datagrams kept by a socket are closed with it.
        let mut recv = Box::pin(right.recv_with_fds(vec![0; 8], 2));
        assert!((&mut recv).now_or_never().is_none());
        left.send_with_fds("kept", vec![file("a")]).await?;
        next_turn().await;
        drop((recv, left, right));
        baseline.returns("dropped receives").await;
        Ok(())
    });
}

/// Sends that are in a kernel worker, or nearly there, and that are canceled at any moment: each has sent its datagram
/// or not.
#[test]
fn canceled_sends_to_a_full_receiver_have_sent_or_not() {
    const SENDS: u32 = 3000;
    let mut random = Random::new();
    run(async {
        let receiver = UnixDatagram::bind_addr(&name("receiver"))?;
        let sender = UnixDatagram::unbound()?;
        let to = receiver.local_addr()?;
        let (ended, is_over) = async_channel::bounded::<()>(1);
        let receiving = gimmal::spawn(async move {
            let mut numbers = Vec::new();
            loop {
                let recv = receiver.recv(vec![0; 4]).timeout(Duration::from_millis(5));
                match recv.await {
                    Ok((n, bytes)) => {
                        assert_eq!(n, 4);
                        let bytes = bytes.try_into().unwrap();
                        numbers.push(u32::from_le_bytes(bytes));
                    }
                    Err(error) if is_timeout(&error) && is_over.is_closed() => return Ok(numbers),
                    Err(error) if is_timeout(&error) => {}
                    Err(error) => return Err(error.into_error()),
                }
                for _ in 0..random.below(4) {
                    gimmal::yield_now().await;
                }
            }
        });
        let mut random = Random::new();
        let mut expected = Vec::new();
        for number in 0..SENDS {
            let moment = Duration::from_micros(random.below(40) as u64);
            let send = sender.send_to_addr(number.to_le_bytes().to_vec(), &to);
            match send.timeout(moment).await {
                Ok((4, _)) => expected.push(number),
                Ok((n, _)) => panic!("{n} bytes were sent"),
                Err(error) => {
                    assert!(is_timeout(&error), "{error}");
                    assert_eq!(error.into_buf(), number.to_le_bytes());
                }
            }
        }
        drop(ended);
        assert!(expected.len() > 10 && expected.len() < SENDS as usize);
        assert_eq!(receiving.await??, expected);
        Ok(())
    });
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
    let datagrams: u32 = quick_or_full(1_000, 5_000);
    let mut random = Random::new();
    let (left, right) = UnixDatagram::pair()?;
    let sending = gimmal::spawn({
        let mut random = random.fork();
        async move {
            for number in 0..datagrams {
                let mut bytes = number.to_le_bytes().to_vec();
                bytes.resize(4 + number as usize % 60, number as u8);
                left.send(bytes).await?;
                if random.one_in(8) {
                    for _ in 0..random.below(8) {
                        gimmal::yield_now().await;
                    }
                }
            }
            io::Result::Ok(left)
        }
    });
    let (mut next, mut cuts) = (0, [0; 4]);
    while next < datagrams {
        let recv = right.recv_from(Vec::with_capacity(64));
        let turns = random.below(4);
        let wait_some = async {
            for _ in 0..turns {
                gimmal::yield_now().await;
            }
        };
        let way = random.below(4);
        let ended = match way {
            0 => Some(recv.await),
            1 => {
                let moment = Duration::from_micros(random.below(30) as u64);
                Some(recv.timeout(moment).await)
            }
            2 => {
                let scope = Scope::new();
                let canceling = async {
                    wait_some.await;
                    scope.cancel();
                };
                let (ended, ()) = gimmal::join((scope.run_any(recv), canceling)).await;
                Some(ended.unwrap())
            }
            _ => {
                let (mut recv, wait_some) = (recv.fuse(), wait_some.fuse());
                let mut wait_some = std::pin::pin!(wait_some);
                futures_util::select_biased! {
                    received = recv => Some(received),
                    () = wait_some => None,
                }
            }
        };
        match ended {
            Some(Ok(((n, from), buffer))) => {
                assert_eq!(n, 4 + next as usize % 60);
                assert!(from.is_unnamed());
                assert_eq!(buffer[..4], next.to_le_bytes());
                assert!(buffer[4..].iter().all(|byte| *byte == next as u8));
                next += 1;
            }
            Some(Err(error)) => {
                assert!(is_canceled(&error) || is_timeout(&error), "{error}");
                assert!(error.into_buf().is_empty());
                cuts[way] += 1;
            }
            None => cuts[way] += 1,
        }
    }
    let _left = sending.await??;
    assert_eq!(cuts[0], 0);
    assert!(cuts[1..].iter().all(|cuts| *cuts > 20), "{ring}: {cuts:?}");
    let more = right.recv(vec![0; 1]).timeout(Duration::ZERO).await;
    assert!(is_timeout(&more.unwrap_err()));
    Ok(())
}

#[test]
fn operations_dropped_at_any_poll_leave_nothing_behind() {
    if ran_in_own_process() {
        return;
    }
    for (ring, builder) in rings() {
        let mut runtime = builder.build().unwrap();
        let ended: io::Result<()> = runtime.block_on(async {
            let (left, right) = UnixDatagram::pair()?;
            let receiver = UnixDatagram::bind_addr(&name("full"))?;
            let to = receiver.local_addr()?;
            let connected = UnixDatagram::unbound()?;
            connected.connect_addr(&to)?;
            let free = UnixDatagram::unbound()?;
            let (left, right, to) = (&left, &right, &to);
            let full = || Watched::full(7, 512, 1);
            let empty = || Watched::new(256, 1).expecting(7);
            let name = |what: &str| format!("{what}, {ring}");
            dropped_everywhere(&name("send and recv"), &MOMENTS, || async move {
                left.send(full()).await.unwrap();
                right.recv(empty()).await.unwrap();
                right.recv_from(empty()).timeout(Duration::ZERO).await
            })
            .await;
            // The receiver is full, and the wait for room is dropped.
            let baseline = Baseline::take();
            fill(async |text| Ok(connected.send(text).await?.0)).await;
            baseline.returns("a full receiver").await;
            let brief = Duration::from_micros(200);
            dropped_everywhere(&name("send"), &MOMENTS, || {
                connected.send(full()).timeout(brief)
            })
            .await;
            dropped_everywhere(&name("send_to"), &MOMENTS, || {
                free.send_to_addr(full(), to).timeout(brief)
            })
            .await;
            // Nothing was sent by the dropped operations.
            while let Ok((n, _)) = receiver.recv(vec![0; 600]).timeout(brief).await {
                assert!(n < 512, "{ring}");
            }
            Watched::check_and_forget(&name("all"));
            Ok(())
        });
        ended.unwrap_or_else(|error| panic!("{ring}: {error}"));
        assert_eq!(Watched::alive(), 0, "{ring}");
    }
}
