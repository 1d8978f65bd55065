//! A socket that is dropped with operations in flight is closed by the time the drop returns: its address can be bound
//! again, and its peer sees the end of the stream.

use common::{Baseline, descriptors, is_child, next_turn, on_each_ring, ran_in_own_process, rings};
use futures_util::poll;
use gimmal::io::AsyncFd;
use gimmal::net::{
    self, TcpListener, TcpSocket, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream,
};
use gimmal::{Handle, Runtime, group, is_timeout, spawn, timeout};
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::SocketAddr as UnixAddr;
use std::time::Duration;

const SHORTLY: Duration = Duration::from_millis(1);
const ADDRESS: &str = "GIMMAL_TEST_ADDRESS";

fn abstract_name(name: &str) -> UnixAddr {
    let name = format!("gimmal-{}-{name}", std::process::id());
    UnixAddr::from_abstract_name(name).unwrap()
}

/// Checks that a nonblocking peer sees the end of the stream.
fn assert_end_of_stream(mut peer: impl io::Read, what: &str) {
    match peer.read(&mut [0; 64]) {
        Ok(0) => {}
        // If bytes were left unread, TCP resets the connection.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
        seen => panic!("{what}: {seen:?}"),
    }
}

/// Our stream, connected to a nonblocking one of std.
async fn tcp_pair() -> io::Result<(TcpStream, std::net::TcpStream)> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let peer = std::net::TcpStream::connect(listener.local_addr()?)?;
    peer.set_nonblocking(true)?;
    Ok((TcpStream::from_std(listener.accept()?.0), peer))
}

fn unix_pair() -> io::Result<(UnixStream, std::os::unix::net::UnixStream)> {
    let (ours, peer) = std::os::unix::net::UnixStream::pair()?;
    peer.set_nonblocking(true)?;
    Ok((UnixStream::from_std(ours), peer))
}

#[test]
fn a_listener_is_bound_again_right_after_its_drop() {
    if ran_in_own_process() {
        return;
    }
    on_each_ring(async || {
        for way in 0..5 {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let address = listener.local_addr()?;
            match way {
                0 => {
                    let waited = timeout(SHORTLY, listener.accept()).await;
                    assert!(is_timeout(&waited.unwrap_err()));
                }
                1 => {
                    let mut wait = Box::pin(listener.accept());
                    assert!(poll!(&mut wait).is_pending());
                    next_turn().await;
                    assert!(poll!(&mut wait).is_pending());
                }
                // Not even submitted to the kernel yet.
                2 => assert!(poll!(Box::pin(listener.accept())).is_pending()),
                3 => {
                    let mut incoming = listener.incoming();
                    let mut next = futures_util::StreamExt::next(&mut incoming);
                    assert!(poll!(&mut next).is_pending());
                    next_turn().await;
                }
                _ => {
                    let mut ahead = Box::pin(net::Listener::accept_ahead(&listener, 64));
                    assert!(poll!(&mut ahead).is_pending());
                    next_turn().await;
                }
            }
            drop(listener);
            // At this moment, not in a later turn.
            let again = std::net::TcpListener::bind(address);
            assert!(again.is_ok(), "way {way}: {again:?}");
        }
        let name = abstract_name("listener");
        for _ in 0..3 {
            let listener = UnixListener::bind_addr(&name)?;
            let waited = timeout(SHORTLY, listener.accept()).await;
            assert!(is_timeout(&waited.unwrap_err()));
            drop(listener);
        }
        Ok(())
    });
}

#[test]
fn datagram_sockets_are_bound_again_right_after_their_drop() {
    if ran_in_own_process() {
        return;
    }
    on_each_ring(async || {
        for way in 0..4 {
            let socket = UdpSocket::bind("127.0.0.1:0").await?;
            let address = socket.local_addr()?;
            match way {
                0 => {
                    let received = timeout(SHORTLY, socket.recv_from(vec![0; 16])).await;
                    assert!(is_timeout(&received.unwrap_err()));
                }
                1 => {
                    let mut receive = socket.recv_from(vec![0; 16]);
                    assert!(poll!(&mut receive).is_pending());
                    next_turn().await;
                    let mut peek = socket.peek_from(vec![0; 16]);
                    assert!(poll!(&mut peek).is_pending());
                    // The operations are dropped after the socket.
                    drop(socket);
                    assert!(
                        std::net::UdpSocket::bind(address).is_err(),
                        "still open for the operations"
                    );
                    drop(peek);
                    drop(receive);
                    std::net::UdpSocket::bind(address)?;
                    continue;
                }
                2 => {
                    let receive = socket.recv_from(vec![0; 16]).submit();
                    next_turn().await;
                    drop(receive);
                }
                _ => {
                    let receive = socket.recv_from(vec![0; 16]).submit();
                    drop(receive);
                }
            }
            drop(socket);
            let again = std::net::UdpSocket::bind(address);
            assert!(again.is_ok(), "way {way}: {again:?}");
        }
        let name = abstract_name("datagrams");
        for _ in 0..3 {
            let socket = std::os::unix::net::UnixDatagram::bind_addr(&name)?;
            let socket = UnixDatagram::from_std(socket);
            let receive = socket.recv(vec![0; 16]).submit();
            next_turn().await;
            drop(receive);
            drop(socket);
        }
        Ok(())
    });
}

#[test]
fn another_process_can_bind_the_address() {
    const NAME: &str = "another_process_can_bind_the_address";
    if is_child() {
        let address: SocketAddr = std::env::var(ADDRESS).unwrap().parse().unwrap();
        std::net::TcpListener::bind(address).unwrap();
        std::net::UdpSocket::bind(address).unwrap();
        return;
    }
    if ran_in_own_process() {
        return;
    }
    on_each_ring(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let socket = UdpSocket::bind(address).await?;
        let _waited = timeout(SHORTLY, listener.accept()).await;
        let _waited = timeout(SHORTLY, socket.recv_from(vec![0; 16])).await;
        drop((listener, socket));
        let mut child = common::child(NAME, &[]);
        let output = child.env(ADDRESS, address.to_string()).output()?;
        common::assert_passed(NAME, &output);
        Ok(())
    });
}

/// In which order a stream and its operations are dropped.
#[derive(Clone, Copy, Debug)]
enum Order {
    OperationsFirst,
    StreamFirst,
}

macro_rules! streams_end {
    ($pair:expr) => {
        for order in [Order::OperationsFirst, Order::StreamFirst] {
            for way in 0..6 {
                let what = format!("{}, {order:?}, way {way}", stringify!($pair));
                let (stream, peer) = $pair?;
                let filled = || async {
                    // Until the peer's buffers are full.
                    while stream
                        .write(vec![7; 1 << 16])
                        .timeout(SHORTLY)
                        .await
                        .is_ok()
                    {}
                };
                let mut peer_reads_first = false;
                match way {
                    0 => {
                        let read = stream.read(vec![0; 16]).submit();
                        next_turn().await;
                        ends!(order, stream, read);
                    }
                    1 => {
                        let read = stream.read(vec![0; 16]).submit();
                        ends!(order, stream, read);
                    }
                    2 => {
                        let read = stream.peek(vec![0; 16]).submit();
                        next_turn().await;
                        ends!(order, stream, read);
                    }
                    3 => {
                        filled().await;
                        let write = stream.write(vec![7; 1 << 16]).submit();
                        let read = stream.read(vec![7; 16]).submit();
                        next_turn().await;
                        peer_reads_first = true;
                        ends!(order, stream, (write, read));
                    }
                    4 => {
                        let read = stream.read_vectored(vec![vec![0; 4], vec![0; 4]]).submit();
                        next_turn().await;
                        ends!(order, stream, read);
                    }
                    _ => {
                        let mut chunks = stream.chunks();
                        assert!(poll!(Box::pin(chunks.next())).is_pending());
                        next_turn().await;
                        drop(chunks);
                        drop(stream);
                    }
                }
                if peer_reads_first {
                    let mut peer = &peer;
                    let mut buffer = vec![0; 1 << 20];
                    loop {
                        match peer.read(&mut buffer) {
                            Ok(0) => break,
                            Ok(_) => {}
                            Err(error) => panic!("{what}: {error}"),
                        }
                    }
                } else {
                    assert_end_of_stream(&peer, &what);
                }
            }
        }
    };
}

macro_rules! ends {
    ($order:expr, $stream:expr, $operations:expr) => {
        match $order {
            Order::OperationsFirst => {
                drop($operations);
                drop($stream);
            }
            Order::StreamFirst => {
                drop($stream);
                drop($operations);
            }
        }
    };
}
#[test]
fn the_peer_of_a_dropped_stream_sees_its_end_at_once() {
    if ran_in_own_process() {
        return;
    }
    on_each_ring(async || {
        let baseline = Baseline::take();
        streams_end!(unix_pair());
        streams_end!(tcp_pair().await);
        baseline.returns("dropped streams").await;
        Ok(())
    });
}

#[test]
fn a_split_stream_ends_with_its_last_half() {
    if ran_in_own_process() {
        return;
    }
    on_each_ring(async || {
        let (stream, peer) = tcp_pair().await?;
        let read = stream.read(vec![0; 16]).submit();
        next_turn().await;
        let (reader, writer) = stream.into_split();
        drop(read);
        drop(writer);
        assert_end_of_stream(&peer, "the write half");
        // The other direction stays open until the other half is dropped.
        let mut peer = &peer;
        peer.write_all(b"x")?;
        assert_eq!(reader.stream().read(vec![0; 4]).await?.1, b"x");
        let read = reader.stream().read(vec![0; 16]).submit();
        next_turn().await;
        drop(read);
        drop(reader);
        let written = (0..2).try_for_each(|_| peer.write_all(b"x"));
        assert!(written.is_err());
        Ok(())
    });
}

#[test]
fn the_other_end_of_a_dropped_pipe_sees_its_end_at_once() {
    if ran_in_own_process() {
        return;
    }
    on_each_ring(async || {
        let (reader, mut writer) = io::pipe()?;
        let reader = gimmal::io::PipeReader::from(reader);
        let read = reader.read(vec![0; 4]).submit();
        next_turn().await;
        drop((read, reader));
        let error = writer.write(b"x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);

        let (mut reader, writer) = io::pipe()?;
        let writer = gimmal::io::PipeWriter::from(writer);
        while writer
            .write(vec![1; 1 << 16])
            .timeout(SHORTLY)
            .await
            .is_ok()
        {}
        let write = writer.write(vec![1; 1 << 16]).submit();
        next_turn().await;
        drop((write, writer));
        // Would wait forever if the pipe were not closed.
        reader.read_to_end(&mut Vec::new())?;

        // A pipe with a path, opened at both ends.
        let directory = common::directory();
        let path = directory.path().join("fifo");
        gimmal::io::mkfifo(&path, 0o600).await?;
        let ends = (
            gimmal::io::PipeReader::open(&path),
            gimmal::io::PipeWriter::open(&path),
        );
        let (reader, writer) = gimmal::try_join(ends).await?;
        let writer = writer.into_std()?;
        let read = reader.read(vec![0; 4]).submit();
        next_turn().await;
        drop((read, reader));
        let error = (&writer).write(b"x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        Ok(())
    });
}

#[test]
fn the_peer_of_a_dropped_async_fd_sees_its_end_at_once() {
    if ran_in_own_process() {
        return;
    }
    on_each_ring(async || {
        for order in [Order::OperationsFirst, Order::StreamFirst] {
            let (ours, peer) = std::os::unix::net::UnixStream::pair()?;
            peer.set_nonblocking(true)?;
            let ours = AsyncFd::new(ours)?;
            let readable = ours.readable().submit();
            next_turn().await;
            ends!(order, ours, readable);
            assert_end_of_stream(&peer, "a descriptor");
        }
        Ok(())
    });
}

/// A connect that is abandoned releases its address.
#[test]
fn an_abandoned_connect_releases_its_address() {
    if ran_in_own_process() {
        return;
    }
    on_each_ring(async || {
        // The queue of this listener is full, so later connects get no answer.
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        listener.listen(0)?;
        let to = listener.local_addr()?.as_socket().unwrap();
        let _queued = std::net::TcpStream::connect(to)?;
        for timed_out in [false, true] {
            let socket = TcpSocket::new_v4()?;
            socket.bind(([127, 0, 0, 1], 0).into())?;
            let own = socket.local_addr()?;
            let mut connecting = Box::pin(socket.connect(to));
            match timed_out {
                true => {
                    let connected = timeout(SHORTLY, connecting).await;
                    assert!(is_timeout(&connected.unwrap_err()));
                }
                false => {
                    assert!(poll!(&mut connecting).is_pending());
                    next_turn().await;
                    drop(connecting);
                }
            }
            std::net::TcpListener::bind(own)?;
        }
        Ok(())
    });
}

/// Wherever it is dropped: outside the runtime, in another one, in an aborted task, in a group.
#[test]
fn a_socket_closes_wherever_it_is_dropped() {
    if ran_in_own_process() {
        return;
    }
    for (name, ring) in rings() {
        println!("ring: {name}");
        let mut runtime = ring.clone().build().unwrap();
        let mut other = ring.build().unwrap();
        let receiving = async || {
            let socket = UdpSocket::bind("127.0.0.1:0").await?;
            let address = socket.local_addr()?;
            let receive = socket.recv_from(vec![0; 16]).submit();
            next_turn().await;
            io::Result::Ok((address, socket, receive))
        };
        let bound = |address: SocketAddr, what: &str| {
            let again = std::net::UdpSocket::bind(address);
            assert!(again.is_ok(), "{what}: {again:?}");
        };

        let (address, socket, receive) = runtime.block_on(receiving()).unwrap();
        drop((receive, socket));
        bound(address, "outside the runtime");

        let (address, socket, receive) = runtime.block_on(receiving()).unwrap();
        drop((socket, receive));
        bound(address, "outside the runtime, the socket first");

        let (address, socket, receive) = runtime.block_on(receiving()).unwrap();
        other.block_on(async {
            drop((receive, socket));
            bound(address, "in another runtime");
        });

        runtime
            .block_on(async {
                let (address, socket, receive) = receiving().await?;
                let task = spawn(async move {
                    let _socket = (receive, socket);
                    std::future::pending::<()>().await;
                });
                next_turn().await;
                task.abort();
                let _aborted = task.await;
                bound(address, "in an aborted task");

                // A value whose destructor binds the address.
                struct Binds(SocketAddr);
                impl Drop for Binds {
                    fn drop(&mut self) {
                        std::net::UdpSocket::bind(self.0).unwrap();
                    }
                }
                let (address, socket, receive) = receiving().await?;
                let grouped = Box::pin(group(async |g| {
                    drop(g.spawn(async move {
                        // The group drops these in reverse order.
                        let _last = Binds(address);
                        let _socket = socket;
                        let _receive = receive;
                        std::future::pending::<io::Result<()>>().await
                    }));
                    std::future::pending::<io::Result<()>>().await
                }));
                assert!(
                    common::dropped_after(grouped, 1, common::Moment::Turns(1))
                        .await
                        .is_none()
                );
                bound(address, "in a group");
                io::Result::Ok(())
            })
            .unwrap();

        // At the end of a runtime.
        let (address, socket, receive) = runtime.block_on(receiving()).unwrap();
        runtime.block_on(async {
            drop(spawn(async move {
                let _socket = (receive, socket);
                std::future::pending::<()>().await;
            }));
            next_turn().await;
        });
        drop(runtime);
        bound(address, "at the end of the runtime");

        // After the end of a runtime.
        let mut runtime = other;
        let (address, socket, receive) = runtime.block_on(receiving()).unwrap();
        drop(runtime);
        drop((receive, socket));
        bound(address, "after the runtime");
    }
}

/// Even if its last completion comes after many others, or in the middle of a thousand drops.
#[test]
fn a_socket_closes_among_many_others() {
    if ran_in_own_process() {
        return;
    }
    const MANY: usize = 500;
    on_each_ring(async || {
        let baseline = Baseline::take();
        for order in 0..3 {
            let mut pairs = Vec::new();
            let mut reads = Vec::new();
            for _ in 0..MANY {
                let (ours, peer) = unix_pair()?;
                reads.push(ours.read(vec![0; 1]).submit());
                pairs.push((ours, peer));
            }
            next_turn().await;
            match order {
                // The completions of all other operations wait to be reaped.
                0 => {
                    let (ours, peer) = pairs.pop().unwrap();
                    let read = reads.pop().unwrap();
                    for (_, peer) in &pairs {
                        let mut peer = peer;
                        peer.write_all(b"x")?;
                    }
                    drop((read, ours));
                    assert_end_of_stream(&peer, "behind many");
                    for read in reads {
                        assert_eq!(read.await?.1, b"x");
                    }
                }
                // All operations are dropped, then the streams, from the last to the first.
                1 => {
                    drop(reads);
                    while let Some((ours, peer)) = pairs.pop() {
                        drop(ours);
                        assert_end_of_stream(&peer, "among many");
                    }
                }
                _ => {
                    for (read, (ours, peer)) in reads.into_iter().zip(pairs) {
                        drop(ours);
                        drop(read);
                        assert_end_of_stream(&peer, "one by one");
                    }
                }
            }
        }
        baseline.returns("many drops").await;
        Ok(())
    });
}

/// Bytes that arrive for a dropped read belong to the stream while the stream exists: only dropping the stream ends the
/// read at once.
#[test]
fn operations_that_are_not_dropped_continue() {
    if ran_in_own_process() {
        return;
    }
    on_each_ring(async || {
        let (stream, mut peer) = unix_pair()?;
        let read = stream.read(vec![0; 4]).submit();
        drop(stream);
        next_turn().await;
        peer.write_all(b"abcd")?;
        assert_eq!(read.await?.1, b"abcd");
        assert_end_of_stream(&peer, "after the read");

        // One operation is dropped; the other one continues and holds the stream.
        let (stream, mut peer) = unix_pair()?;
        let first = stream.read(vec![0; 4]).submit();
        let mut second = stream.read(vec![0; 4]);
        assert!(poll!(&mut second).is_pending());
        drop(stream);
        drop(first);
        peer.write_all(b"abcd")?;
        assert_eq!(second.await?.1, b"abcd");
        assert_end_of_stream(&peer, "after the second read");
        Ok(())
    });
}

/// Dropping a socket without operations in flight costs no system call, and one with several costs a single call.
#[test]
fn the_kernel_is_entered_only_for_operations_in_flight() {
    if ran_in_own_process() {
        return;
    }
    gimmal::run(async {
        let handle = Handle::current();
        let streams: Vec<_> = (0..10).map(|_| unix_pair().unwrap()).collect();
        for (stream, peer) in &streams {
            let mut peer = peer;
            peer.write_all(b"x")?;
            assert_eq!(stream.read(vec![0; 4]).await?.1, b"x");
        }
        let before = handle.stats().enters;
        for (stream, peer) in streams {
            drop(stream);
            assert_end_of_stream(&peer, "one without operations");
        }
        assert_eq!(handle.stats().enters, before);

        let (stream, peer) = unix_pair()?;
        while stream
            .write(vec![7; 1 << 16])
            .timeout(SHORTLY)
            .await
            .is_ok()
        {}
        let operations = (
            stream.read(vec![0; 4]).submit(),
            stream.write(vec![7; 1 << 16]).submit(),
        );
        next_turn().await;
        let before = handle.stats().enters;
        drop(operations);
        assert_eq!(handle.stats().enters, before);
        drop(stream);
        assert_eq!(handle.stats().enters, before + 1);
        drop(peer);
        io::Result::Ok(())
    })
    .unwrap();
}

/// A buffer whose destructor drops another socket, and so on.
struct Chain {
    bytes: Vec<u8>,
    next: Option<Box<(gimmal::op::Op<gimmal::op::Recv<Chain>>, UnixStream)>>,
}

impl Drop for Chain {
    fn drop(&mut self) {
        drop(self.next.take());
    }
}

// SAFETY: delegates to the vector, which nothing accesses while it is lent.
unsafe impl gimmal::buf::IoBuf for Chain {
    fn io_ptr(&self) -> *const u8 {
        self.bytes.io_ptr()
    }

    fn io_len(&self) -> usize {
        self.bytes.io_len()
    }
}

// SAFETY: as above.
unsafe impl gimmal::buf::IoBufMut for Chain {
    fn io_mut_ptr(&mut self) -> *mut u8 {
        self.bytes.io_mut_ptr()
    }

    fn io_capacity(&self) -> usize {
        self.bytes.io_capacity()
    }

    unsafe fn set_io_len(&mut self, len: usize) {
        // SAFETY: the caller upholds the contract for this buffer.
        unsafe { self.bytes.set_io_len(len) };
    }
}

#[test]
fn a_drop_may_drop_another_socket() {
    if ran_in_own_process() {
        return;
    }
    on_each_ring(async || {
        let baseline = Baseline::take();
        let mut peers = Vec::new();
        let mut next = None;
        for _ in 0..20 {
            let (stream, peer) = unix_pair()?;
            let bytes = vec![0; 4];
            let read = stream.read(Chain { bytes, next }).submit();
            next = Some(Box::new((read, stream)));
            peers.push(peer);
        }
        next_turn().await;
        drop(next);
        for peer in peers {
            assert_end_of_stream(&peer, "a chain");
        }
        baseline.returns("a chain of drops").await;
        Ok(())
    });
}

#[test]
fn a_forked_child_closes_nothing() {
    if ran_in_own_process() {
        return;
    }
    let before = descriptors();
    let mut runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let (stream, peer) = unix_pair().unwrap();
        let read = stream.read(vec![0; 4]).submit();
        next_turn().await;
        // SAFETY: the child drops its values and exits.
        let child = unsafe { libc::fork() };
        if child == 0 {
            drop((read, stream));
            // SAFETY: no code of this process may run in the child any longer.
            unsafe { libc::_exit(0) };
        }
        let mut status = 0;
        // SAFETY: the pointer to the status is valid for the call.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0);
        let mut peer = &peer;
        peer.write_all(b"abcd").unwrap();
        assert_eq!(read.await.unwrap().1, b"abcd");
    });
    drop(runtime);
    assert!(descriptors() <= before + 2);
}
