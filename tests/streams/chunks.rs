//! Receiving in chunks: no byte is lost, whatever is dropped, and every buffer returns to the pool.

use common::{Baseline, Random, bytes, next_turn, poll_once, quick_or_full, ran_in_own_process};
use futures_util::{FutureExt, StreamExt, select_biased};
use gimmal::buf::IoBuf;
use gimmal::cancel::Scope;
use gimmal::net::{Chunk, Chunks, TcpListener, TcpStream};
use gimmal::runtime::{Builder, FeatureMask};
use gimmal::{Handle, Runtime, is_canceled, is_timeout, yield_now};
use std::cell::Cell;
use std::io;
use std::os::fd::AsRawFd;
use std::task::Poll;
use std::time::Duration;

/// The length of the long streams.
/// Longer than any test waits.
const NEVER: Duration = Duration::from_secs(3600);
/// Taking this long is a failure.
const LONG: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_millis(2);

/// Two ends of a connection.
async fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let client = TcpStream::connect(listener.local_addr()?).await?;
    let (server, _) = listener.accept().await?;
    client.set_nodelay(true)?;
    Ok((client, server))
}

/// Runtimes with a few small buffers, with many buffers, and on kernels that have no provided buffers or cannot bound a
/// multishot receive.
fn runtimes() -> [(&'static str, Builder); 7] {
    let builder = Runtime::builder;
    [
        ("1 × 4096", builder().receive_buffers(1, 4096)),
        ("2 × 512", builder().receive_buffers(2, 512)),
        ("4 × 64", builder().receive_buffers(4, 64)),
        ("256 × 16384", builder()),
        ("256 × 512", builder().receive_buffers(256, 512)),
        (
            "6.1",
            builder()
                .mask(FeatureMask::linux_6_1())
                .entries(4)
                .completion_entries(8),
        ),
        ("5.15", builder().mask(FeatureMask::linux_5_15())),
    ]
}

fn buffers_out() -> usize {
    Handle::current().stats().receive_buffers_out
}

/// Skips a test that is about provided buffers where the kernel has no rings of them (before 5.19).
fn lacks_provided_buffers() -> bool {
    let lacks = gimmal::run(async {
        let (client, server) = pair().await?;
        client.write_all("x").await?;
        let _chunk = server.chunks().next().await?;
        io::Result::Ok(buffers_out() == 0)
    });
    let lacks = lacks.unwrap();
    if lacks {
        common::skip!("the kernel has no rings of provided buffers");
    }
    lacks
}

/// Starts the receive without waiting.
async fn begin(chunks: &mut Chunks<'_>) {
    let mut next = Box::pin(chunks.next());
    assert!(poll_once(&mut next).await.is_pending());
    drop(next);
    next_turn().await;
}

/// Reads `len` bytes, and checks that they are those from position `from` on.
async fn expect(server: &TcpStream, from: usize, len: usize) {
    let got = server.read_exact(vec![0; len], len).await.unwrap();
    assert!(got == bytes(from, len), "bytes {from} to {}", from + len);
}

/// Takes all buffers at once, to check that none was lost, then waits until all are returned.
async fn pool_is_full(count: usize, size: usize) {
    assert_eq!(buffers_out(), 0);
    let (client, server) = pair().await.unwrap();
    let all = (count + 1) * size;
    client.write_all(bytes(0, all)).await.unwrap();
    let mut chunks = server.chunks();
    let mut held = Vec::new();
    let mut at = 0;
    while at < all {
        let chunk = gimmal::timeout(LONG, chunks.next()).await.unwrap();
        held.push(expect_chunk(chunk, &mut at));
    }
    assert_eq!(buffers_out(), count, "exactly {count} buffers");
    drop(held);
    assert_eq!(buffers_out(), 0);
}

/// Checks that the next chunk holds the bytes from position `at` on.
#[track_caller]
fn expect_chunk(chunk: Option<Chunk>, at: &mut usize) -> Chunk {
    let chunk = chunk.unwrap();
    assert!(
        chunk[..] == bytes(*at, chunk.len()),
        "{} bytes from {at} differ",
        chunk.len()
    );
    *at += chunk.len();
    chunk
}

#[test]
fn chunks_arrive_in_order_until_the_end() {
    for (name, builder) in runtimes() {
        let ran: io::Result<()> = builder.run(async {
            let (client, server) = pair().await?;
            let write = async {
                client.write_all(bytes(0, 100_000)).await?;
                client.shutdown(std::net::Shutdown::Write)
            };
            let read = async {
                let mut chunks = server.chunks();
                let mut got = Vec::new();
                while let Some(chunk) = chunks.next().await? {
                    assert!(!chunk.is_empty());
                    got.extend_from_slice(&chunk);
                }
                // After the end, the stream stays at its end.
                assert!(chunks.next().await?.is_none());
                io::Result::Ok(got)
            };
            let (wrote, got) = gimmal::join((write, read)).await;
            wrote?;
            assert!(got? == bytes(0, 100_000), "{name}");
            assert_eq!(buffers_out(), 0);
            assert_eq!(server.read(vec![0; 1]).await?.0, 0);
            Ok(())
        });
        ran.unwrap();
    }
}

#[test]
fn chunks_implement_stream() {
    gimmal::run(async {
        let (client, server) = pair().await?;
        client.write_all("abc").await?;
        drop(client);
        let chunks: Vec<io::Result<Chunk>> = StreamExt::collect(server.chunks()).await;
        let bytes: Vec<u8> = chunks
            .into_iter()
            .flat_map(|c| c.unwrap().into_vec())
            .collect();
        assert_eq!(bytes, b"abc");
        io::Result::Ok(())
    })
    .unwrap();
}

/// Sends numbered bytes, and receives them in every possible way.
async fn numbered(name: &str) {
    let end = quick_or_full(150_000, 1_000_000);
    let mut random = Random::new();
    let mut readers = random.fork();
    let (client, server) = pair().await.unwrap();
    let write = async {
        let mut at = 0;
        while at < end {
            let len = (1 + random.below(3000)).min(end - at);
            client.write_all(bytes(at, len)).await.unwrap();
            at += len;
            for _ in 0..random.below(3) {
                yield_now().await;
            }
        }
        client.shutdown(std::net::Shutdown::Write).unwrap();
    };
    let read = async {
        let random = &mut readers;
        let mut at = 0;
        let check = |got: &[u8], at: &mut usize| {
            assert!(
                got == bytes(*at, got.len()),
                "{name}: {} bytes from {at} differ",
                got.len()
            );
            *at += got.len();
        };
        let mut held: Vec<Chunk> = Vec::new();
        while at < end {
            let mut chunks = server.chunks();
            for _ in 0..random.below(12) {
                let pause = Duration::from_micros(random.below(200) as u64);
                let next = match random.below(5) {
                    0 => match gimmal::timeout(pause, chunks.next()).await {
                        Ok(next) => next,
                        Err(error) => {
                            assert!(is_timeout(&error), "{error}");
                            continue;
                        }
                    },
                    1 => {
                        let scope = Scope::new();
                        let handle = scope.handle();
                        let cancel = async {
                            for _ in 0..random.below(3) {
                                next_turn().await;
                            }
                            handle.cancel();
                        };
                        let (next, ()) = gimmal::join((scope.run(chunks.next()), cancel)).await;
                        match next {
                            Ok(next) => next,
                            Err(error) => {
                                assert!(is_canceled(&error), "{error}");
                                continue;
                            }
                        }
                    }
                    2 => {
                        let mut next = Box::pin(chunks.next());
                        let mut polled = poll_once(&mut next).await;
                        if polled.is_pending() && random.below(2) == 0 {
                            next_turn().await;
                            polled = poll_once(&mut next).await;
                        }
                        match polled {
                            Poll::Ready(next) => next.unwrap(),
                            Poll::Pending => continue,
                        }
                    }
                    3 => select_biased! {
                        next = StreamExt::next(&mut chunks).fuse() => next.transpose().unwrap(),
                        () = Box::pin(yield_now()).fuse() => continue,
                    },
                    _ => chunks.next().await.unwrap(),
                };
                let Some(chunk) = next else { break };
                check(&chunk, &mut at);
                // Some chunks are kept, even when no buffer is left.
                if random.below(4) == 0 {
                    held.push(chunk);
                }
                if held.len() > 6 {
                    held.clear();
                }
            }
            held.clear();
            drop(chunks);
            match random.below(4) {
                0 => {
                    let (n, buf) = server.read(vec![0; 1 + random.below(500)]).await.unwrap();
                    check(&buf[..n], &mut at);
                }
                1 => {
                    let len = (1 + random.below(500)).min(end - at);
                    let got = server.read_exact(vec![0; len], len).await.unwrap();
                    check(&got, &mut at);
                }
                2 => {
                    let mut read = server.read(vec![0; 100]);
                    if let Poll::Ready(read) = poll_once(&mut read).await {
                        let (n, buf) = read.unwrap();
                        check(&buf[..n], &mut at);
                    }
                }
                _ => {}
            }
        }
        assert_eq!(at, end);
        assert!(server.chunks().next().await.unwrap().is_none());
    };
    gimmal::join((write, read)).await;
}

#[test]
fn numbered_bytes_survive_any_cancels_and_drops() {
    if ran_in_own_process() {
        return;
    }
    if lacks_provided_buffers() {
        return;
    }
    for (name, builder) in runtimes() {
        let ran: io::Result<()> = builder.run(async {
            let baseline = Baseline::take();
            numbered(name).await;
            baseline.operations_return(name).await;
            assert_eq!(buffers_out(), 0, "{name}");
            match name {
                "1 × 4096" => pool_is_full(1, 4096).await,
                "2 × 512" => pool_is_full(2, 512).await,
                "4 × 64" => pool_is_full(4, 64).await,
                _ => {}
            }
            Ok(())
        });
        ran.unwrap();
    }
}

#[test]
fn unclaimed_chunks_go_to_the_next_read_in_order() {
    for (name, builder) in runtimes() {
        let ran: io::Result<()> = builder.run(async {
            let (client, server) = pair().await?;
            let mut chunks = server.chunks();
            begin(&mut chunks).await;
            for part in 0..20 {
                client.write_all(bytes(part * 10, 10)).await?;
                next_turn().await;
            }
            drop(chunks);
            // These bytes arrive while the receive is an orphan.
            client.write_all(bytes(200, 100)).await?;
            let mut again = server.chunks();
            let first = again.next().await?.unwrap();
            assert_eq!(first[..], bytes(0, first.len()), "{name}");
            let at = first.len();
            drop((first, again));
            expect(&server, at, 300 - at).await;
            assert_eq!(buffers_out(), 0);
            Ok(())
        });
        ran.unwrap();
    }
}

/// A program that keeps chunks in a list.
#[test]
fn chunks_that_hold_every_buffer_delay_no_other_connection() {
    if lacks_provided_buffers() {
        return;
    }
    const CONNECTIONS: usize = 100;
    let builder = Runtime::builder().receive_buffers(4, 64);
    let ran: io::Result<()> = builder.run(async {
        let (client, server) = pair().await?;
        let mut greedy = server.chunks();
        let mut held = Vec::new();
        client.write_all(bytes(0, 100 * 64)).await?;
        let mut at = 0;
        while at < 100 * 64 {
            held.push(expect_chunk(greedy.next().await?, &mut at));
        }
        assert_eq!(buffers_out(), 4);
        let group = gimmal::group(async |g| {
            for _ in 0..CONNECTIONS {
                let _child = g.spawn(async {
                    let (client, server) = pair().await?;
                    client.write_all(bytes(0, 1000)).await?;
                    drop(client);
                    let mut chunks = server.chunks();
                    let mut at = 0;
                    while at < 1000 {
                        drop(expect_chunk(chunks.next().await?, &mut at));
                    }
                    assert!(chunks.next().await?.is_none());
                    io::Result::Ok(())
                });
            }
            io::Result::Ok(())
        });
        gimmal::timeout(LONG, group).await.unwrap();
        // The received bytes are unchanged, and the list still holds its four buffers.
        assert_eq!(buffers_out(), 4);
        let kept: Vec<u8> = held.iter().flat_map(|chunk| chunk.to_vec()).collect();
        assert!(kept == bytes(0, 100 * 64));
        drop((held, greedy));
        pool_is_full(4, 64).await;
        Ok(())
    });
    ran.unwrap();
}

/// Echoes in chunks, like the server in the README.
async fn echo(stream: &TcpStream) -> io::Result<()> {
    let mut chunks = stream.chunks();
    while let Some(chunk) = chunks.next().await? {
        stream.write_all(chunk).await?;
    }
    Ok(())
}

/// Such a peer fills every buffer on the way to the server and back. Then the server waits forever in a write, while
/// holding a chunk.
#[test]
fn a_peer_that_sends_and_never_reads_delays_no_other_connection() {
    for (name, builder) in runtimes() {
        let ran: io::Result<()> = builder.run(async {
            let (deaf, server) = pair().await?;
            let (client, other) = pair().await?;
            let served = gimmal::group(async |g| {
                let _deaf = g.spawn(async {
                    loop {
                        deaf.write_all(bytes(0, 10_000)).await?;
                    }
                    #[expect(unreachable_code, reason = "gives the output type of a child")]
                    io::Result::Ok(())
                });
                let _echo = g.spawn(echo(&server));
                until_stuck(&deaf, &server).await;
                let mut chunks = other.chunks();
                for round in 0..100 {
                    client.write_all(bytes(round, 1)).await?;
                    let chunk = gimmal::timeout(LONG, chunks.next()).await?.unwrap();
                    assert_eq!(chunk[..], bytes(round, 1), "{name}");
                }
                Err::<(), _>(io::Error::other("enough"))
            });
            assert!(
                served.await.unwrap_err().to_string().contains("enough"),
                "{name}"
            );
            assert_eq!(buffers_out(), 0, "{name}");
            Ok(())
        });
        ran.unwrap();
    }
}

/// Waits until nothing moves on a connection any longer. Returns the number of bytes in the kernel on the way from the
/// first end to the second.
async fn until_stuck(from: &TcpStream, to: &TcpStream) -> usize {
    let (mut before, mut same) = ([usize::MAX; 4], 0);
    while same < 100 {
        let on_the_way = [unsent(from), unread(to), unsent(to), unread(from)];
        same = if on_the_way == before { same + 1 } else { 0 };
        before = on_the_way;
        gimmal::sleep(Duration::from_micros(500)).await.unwrap();
    }
    before[0] + before[1]
}

/// At most 64 KiB are read ahead of a connection that the program does not read, whether the program has dropped its
/// wait, waits in a write, or does something else.
#[test]
fn at_most_64_kib_are_read_ahead_of_an_unread_connection() {
    const AHEAD_MAX: usize = 64 << 10;
    for asks_once in [false, true] {
        for (name, builder) in runtimes() {
            let ran: io::Result<()> = builder.run(async {
                let (client, server) = pair().await?;
                let mut chunks = server.chunks();
                let mut at = 0;
                begin(&mut chunks).await;
                let sent = Cell::new(0);
                gimmal::group(async |g| {
                    let writer = g.spawn(async {
                        while let Ok((n, _)) = client.write(bytes(sent.get(), 1000)).await {
                            sent.set(sent.get() + n);
                        }
                    });
                    if asks_once {
                        drop(expect_chunk(chunks.next().await?, &mut at));
                    }
                    let on_the_way = until_stuck(&client, &server).await;
                    // The bytes of a write in progress are not in the kernel yet.
                    let ahead = sent.get().saturating_sub(at + on_the_way);
                    assert!(ahead <= AHEAD_MAX, "{name}: {ahead} bytes are read ahead");
                    writer.cancel();
                    io::Result::Ok(())
                })
                .await
                .map_err(io::Error::from)?;
                client.shutdown(std::net::Shutdown::Write)?;
                while at < sent.get() {
                    drop(expect_chunk(chunks.next().await?, &mut at));
                }
                drop(chunks);
                assert_eq!(buffers_out(), 0);
                Ok(())
            });
            ran.unwrap();
        }
    }
}

/// Whether this process may open that many descriptors.
fn may_open(descriptors: usize) -> bool {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a valid limit.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
    }
    limit.rlim_cur >= descriptors as u64
}

/// The server of the README keeps answering beside a thousand such peers.
#[test]
fn peers_that_never_read_do_not_block_a_server() {
    let peers = quick_or_full(100, 1_000);
    if !may_open(2 * peers + 200) {
        return common::skip!("RLIMIT_NOFILE is too low");
    }
    if ran_in_own_process() {
        return;
    }
    let builder = Runtime::builder().receive_buffers(16, 16 << 10);
    let ran: io::Result<()> = builder.run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let clients = async {
            let mut deaf = Vec::new();
            for _ in 0..peers {
                let peer = TcpStream::connect(address).await?.into_std()?;
                peer.set_nonblocking(true)?;
                deaf.push(peer);
            }
            let message = vec![7; 64 << 10];
            // Write until no peer accepts any more bytes, in several passes.
            let mut full = 0;
            while full < 3 * peers {
                for peer in &deaf {
                    match io::Write::write(&mut &*peer, &message) {
                        Ok(_) => full = 0,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => full += 1,
                        Err(error) => return Err(error),
                    }
                }
                gimmal::sleep(SOON).await?;
            }
            for _ in 0..10 {
                let client = TcpStream::connect(address).await?;
                let asked = async {
                    for at in 0..10 {
                        client.write_all(bytes(at, 100)).await?;
                        expect(&client, at, 100).await;
                    }
                    io::Result::Ok(())
                };
                gimmal::timeout(LONG, asked).await?;
            }
            io::Result::Ok(())
        };
        let served = listener
            .serve(async |stream: TcpStream, _| echo(&stream).await)
            .until(clients)
            .drain(Duration::ZERO)
            .await?;
        assert!(served.accepted >= peers as u64);
        assert_eq!(buffers_out(), 0);
        Ok(())
    });
    ran.unwrap();
}

#[test]
fn unclaimed_chunks_delay_no_other_connection() {
    if lacks_provided_buffers() {
        return;
    }
    let builder = Runtime::builder().receive_buffers(4, 16);
    let ran: io::Result<()> = builder.run(async {
        let (idle_client, idle) = pair().await?;
        let mut collected = idle.chunks();
        begin(&mut collected).await;
        idle_client.write_all(bytes(0, 64)).await?;
        for _ in 0..3 {
            next_turn().await;
        }
        let (client, server) = pair().await?;
        client.write_all(bytes(0, 1000)).await?;
        let mut chunks = server.chunks();
        let mut at = 0;
        while at < 1000 {
            let chunk = gimmal::timeout(Duration::from_secs(5), chunks.next())
                .await
                .unwrap();
            let chunk = chunk.unwrap();
            assert_eq!(chunk[..], bytes(at, chunk.len()));
            at += chunk.len();
        }
        // No byte of the unread connections is lost.
        let mut at = 0;
        while at < 64 {
            let chunk = collected.next().await?.unwrap();
            assert_eq!(chunk[..], bytes(at, chunk.len()));
            at += chunk.len();
        }
        drop((chunks, collected));
        pool_is_full(4, 16).await;
        Ok(())
    });
    ran.unwrap();
}

#[test]
fn the_number_of_unclaimed_chunks_is_bounded() {
    if lacks_provided_buffers() {
        return;
    }
    let builder = Runtime::builder().receive_buffers(1024, 16);
    let ran: io::Result<()> = builder.run(async {
        let (client, server) = pair().await?;
        let mut chunks = server.chunks();
        begin(&mut chunks).await;
        let mut sent = 0;
        for _ in 0..500 {
            client.write_all(bytes(sent, 16)).await?;
            sent += 16;
            next_turn().await;
        }
        // At most 16, plus what the kernel delivers in the turn of the cancel request. Sent bytes may still be on their
        // way.
        let mut turns = 0;
        while unread(&server) < sent - 16 * 48 {
            turns += 1;
            assert!(
                turns < 1_000_000,
                "{} of {sent} bytes are in the kernel",
                unread(&server)
            );
            next_turn().await;
        }
        let mut at = 0;
        while at < sent {
            let chunk = chunks.next().await?.unwrap();
            assert_eq!(chunk[..], bytes(at, chunk.len()));
            at += chunk.len();
        }
        drop(chunks);
        pool_is_full(1024, 16).await;
        Ok(())
    });
    ran.unwrap();
}

/// The number of bytes that were written to this socket and have not reached the peer.
fn unsent(stream: &TcpStream) -> usize {
    let mut unsent: i32 = 0;
    // SAFETY: TIOCOUTQ writes one int.
    let asked = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut unsent) };
    assert_eq!(asked, 0);
    unsent as usize
}

/// The number of unread bytes in the receive queue of this socket.
fn unread(stream: &TcpStream) -> usize {
    let mut unread: i32 = 0;
    // SAFETY: FIONREAD writes one int.
    let asked = unsafe { libc::ioctl(stream.as_raw_fd(), libc::FIONREAD, &raw mut unread) };
    assert_eq!(asked, 0);
    unread as usize
}

#[test]
fn a_chunk_outlives_its_stream_its_group_and_its_runtime() {
    if lacks_provided_buffers() {
        return;
    }
    for (name, builder) in runtimes() {
        let mut runtime = builder.build().unwrap();
        let handle = runtime.handle();
        let chunk = runtime.block_on(async {
            let group = gimmal::group(async |g| {
                let child = g.spawn(async {
                    let (client, server) = pair().await?;
                    client.write_all("kept").await?;
                    let chunk = server.chunks().next().await?;
                    io::Result::Ok(chunk.unwrap())
                });
                Ok::<_, io::Error>(child.await.unwrap())
            });
            group.await.unwrap()
        });
        assert_eq!(chunk[..], *b"kept", "{name}");
        // On a kernel that has provided buffers, one is in use.
        let buffers_out = handle.stats().receive_buffers_out;
        assert_eq!(buffers_out, usize::from(name != "5.15"), "{name}");
        drop(runtime);
        assert_eq!(chunk[..], *b"kept", "{name}");
        std::thread::spawn(move || assert_eq!(chunk.into_vec(), b"kept"))
            .join()
            .unwrap();
    }
}

/// A receive uses memory of its own only while no buffer is available.
#[test]
fn a_stream_uses_returned_buffers_again() {
    if lacks_provided_buffers() {
        return;
    }
    for (name, builder) in runtimes() {
        if name == "5.15" {
            continue;
        }
        let ran: io::Result<()> = builder.run(async {
            let (client, server) = pair().await?;
            let mut chunks = server.chunks();
            let mut held = Vec::new();
            let (mut at, mut sent) = (0, 0);
            // More chunks than there are buffers.
            while held.len() < 600 {
                client.write_all(bytes(sent, 1)).await?;
                sent += 1;
                held.push(expect_chunk(chunks.next().await?, &mut at));
            }
            assert!(buffers_out() > 0, "{name}");
            let elsewhere = std::thread::spawn(move || drop(held));
            elsewhere.join().unwrap();
            assert_eq!(buffers_out(), 0, "{name}");
            let mut rounds = 0;
            loop {
                client.write_all(bytes(sent, 1)).await?;
                sent += 1;
                let _chunk = expect_chunk(chunks.next().await?, &mut at);
                if buffers_out() == 1 {
                    break;
                }
                rounds += 1;
                assert!(rounds < 100, "{name}: it does not use the buffers again");
            }
            Ok(())
        });
        ran.unwrap();
    }
}

#[test]
fn chunks_dropped_outside_or_after_their_runtime_lose_no_buffer() {
    for (name, builder) in runtimes() {
        let mut runtime = builder.build().unwrap();
        let (client, server) = runtime.block_on(pair()).unwrap();
        let mut chunks = server.chunks();
        runtime.block_on(async {
            begin(&mut chunks).await;
            client.write_all(bytes(0, 100)).await.unwrap();
            next_turn().await;
        });
        drop(chunks);
        let mut chunks = server.chunks();
        let mut at = 0;
        runtime.block_on(async {
            while at < 100 {
                let chunk = chunks.next().await.unwrap().unwrap();
                assert_eq!(chunk[..], bytes(at, chunk.len()), "{name}");
                at += chunk.len();
            }
            begin(&mut chunks).await;
            assert_eq!(buffers_out(), 0);
        });
        runtime.shutdown(NEVER).unwrap();
        drop(chunks);
        drop((client, server));
    }
}

/// The receive had ended in the first runtime, so the next one was started in the second runtime. The kernel filled a
/// buffer of the second runtime, but the bytes were read from the first runtime's buffer with the same number.
#[test]
fn chunks_do_not_continue_in_another_runtime() {
    if lacks_provided_buffers() {
        return;
    }
    let runtime = || Runtime::builder().receive_buffers(1, 16).build().unwrap();
    let (mut first, mut second) = (runtime(), runtime());
    let (client, server) = first.block_on(pair()).unwrap();
    for holds in [true, false] {
        let mut chunks = server.chunks();
        let mut at = 0;
        let held = first.block_on(async {
            client.write_all(bytes(0, 64)).await.unwrap();
            let held = expect_chunk(chunks.next().await.unwrap(), &mut at);
            let held = holds.then_some(held);
            drop(expect_chunk(chunks.next().await.unwrap(), &mut at));
            held
        });
        drop(held);
        // The second runtime has its own buffers.
        second.block_on(pool_is_full(1, 16));
        let next = || second.block_on(chunks.next());
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(next)).unwrap_err();
        let said = panic.downcast_ref::<String>().unwrap();
        assert!(said.contains("another gimmal runtime"), "{said}");
        first.block_on(async {
            while at < 64 {
                drop(expect_chunk(chunks.next().await.unwrap(), &mut at));
            }
        });
    }
}

#[test]
fn threads_that_drop_chunks_lose_no_buffer() {
    if lacks_provided_buffers() {
        return;
    }
    const TURNS: usize = 20_000;
    let builder = Runtime::builder().receive_buffers(8, 64);
    let ran: io::Result<()> = builder.run(async {
        let (client, server) = pair().await?;
        let (to_others, theirs) = std::sync::mpsc::channel::<Chunk>();
        let theirs = std::sync::Arc::new(std::sync::Mutex::new(theirs));
        let others: Vec<_> = (0..3)
            .map(|_| {
                let theirs = theirs.clone();
                std::thread::spawn(move || {
                    let receive = || theirs.lock().unwrap().recv();
                    let mut sum = 0;
                    while let Ok(chunk) = receive() {
                        sum += chunk.iter().map(|byte| u64::from(*byte)).sum::<u64>();
                    }
                    sum
                })
            })
            .collect();
        let total = TURNS * 64;
        let write = client.write_all(bytes(0, total));
        let read = async {
            let mut chunks = server.chunks();
            let mut at = 0;
            while at < total {
                let chunk = chunks.next().await?.unwrap();
                at += chunk.len();
                to_others.send(chunk).unwrap();
            }
            drop(to_others);
            io::Result::Ok(())
        };
        let (wrote, read) = gimmal::join((write, read)).await;
        let sent: u64 = wrote?.iter().map(|byte| u64::from(*byte)).sum();
        read?;
        let got: u64 = others
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum();
        assert_eq!(got, sent);
        pool_is_full(8, 64).await;
        Ok(())
    });
    ran.unwrap();
}

#[test]
fn failures_panics_cancels_and_drops_return_every_buffer() {
    if ran_in_own_process() {
        return;
    }
    if lacks_provided_buffers() {
        return;
    }
    let builder = Runtime::builder().receive_buffers(8, 32).on_fault(|_| {});
    let ran: io::Result<()> = builder.run(async {
        pool_is_full(8, 32).await;
        let baseline = Baseline::take();
        let mut random = Random::new();
        for round in 0..200 {
            let group = gimmal::group(async |g| {
                for _ in 0..6 {
                    let way = random.below(4);
                    let polls = random.below(4);
                    let _child = g.spawn(async move {
                        let (client, server) = pair().await?;
                        client.write_all(bytes(0, 100)).await?;
                        let mut chunks = server.chunks();
                        let chunk = chunks.next().await?;
                        for _ in 0..polls {
                            yield_now().await;
                        }
                        match way {
                            0 => return Err(io::Error::other("on purpose")),
                            1 => std::panic::panic_any("on purpose"),
                            2 => drop((chunk, chunks)),
                            _ => while chunks.next().await?.is_some() {},
                        }
                        Ok(())
                    });
                }
                for _ in 0..random.below(6) {
                    next_turn().await;
                }
                Err::<(), _>(io::Error::other("on purpose"))
            });
            let ended = std::panic::AssertUnwindSafe(group).catch_unwind().await;
            assert!(!matches!(ended, Ok(Ok(()))));
            let stats = Handle::current().stats();
            assert_eq!(
                (stats.orphans, stats.receive_buffers_out),
                (0, 0),
                "round {round}"
            );
        }
        baseline.operations_return("the groups").await;
        pool_is_full(8, 32).await;
        Ok(())
    });
    ran.unwrap();
}

#[test]
fn the_error_of_a_reset_connection_contains_the_peer() {
    for (name, builder) in runtimes() {
        let ran: io::Result<()> = builder.run(async {
            for dropped in [false, true] {
                let (client, server) = pair().await?;
                let peer = client.local_addr()?;
                let mut chunks = server.chunks();
                begin(&mut chunks).await;
                socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO))?;
                drop(client);
                for _ in 0..3 {
                    next_turn().await;
                }
                // The first caller gets the error.
                let error = match dropped {
                    false => chunks.next().await.unwrap_err(),
                    true => {
                        drop(chunks);
                        server.read(vec![0; 8]).await.unwrap_err().into_error()
                    }
                };
                assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{name}");
                assert!(error.to_string().contains(&peer.to_string()), "{error}");
            }
            Ok(())
        });
        ran.unwrap();
    }
}

#[test]
fn a_receive_in_a_canceled_scope_leaves_the_chunk() {
    gimmal::run(async {
        let (client, server) = pair().await?;
        client.write_all("stays").await?;
        let mut chunks = server.chunks();
        begin(&mut chunks).await;
        let scope = Scope::new();
        scope.cancel();
        let rejected = scope.run(chunks.next()).await;
        assert!(is_canceled(&rejected.unwrap_err()));
        assert_eq!(chunks.next().await?.unwrap()[..], *b"stays");
        io::Result::Ok(())
    })
    .unwrap();
}

#[test]
fn reads_wait_until_chunks_are_dropped_and_chunks_wait_for_reads() {
    gimmal::run(async {
        let (client, server) = pair().await?;
        let mut chunks = server.chunks();
        begin(&mut chunks).await;
        let mut read = server.read(vec![0; 8]);
        assert!(poll_once(&mut read).await.is_pending());
        let mut second = server.chunks();
        let mut third = Box::pin(second.next());
        assert!(poll_once(&mut third).await.is_pending());
        client.write_all("ab").await?;
        assert_eq!(chunks.next().await?.unwrap()[..], *b"ab");
        drop(chunks);
        client.write_all("cd").await?;
        let (n, buf) = read.await?;
        assert_eq!(buf[..n], *b"cd");
        client.write_all("ef").await?;
        assert_eq!(third.await?.unwrap()[..], *b"ef");
        io::Result::Ok(())
    })
    .unwrap();
}

/// A receive that had ended released the stream before the next one started: a waiting read got bytes in between.
#[test]
fn no_read_comes_between_two_receives_of_chunks() {
    const LEN: usize = 4000;
    let ran: io::Result<()> = Runtime::builder().receive_buffers(32, 16).run(async {
        let (client, server) = pair().await?;
        let mut chunks = server.chunks();
        begin(&mut chunks).await;
        let mut read = server.read(vec![0; LEN]);
        assert!(poll_once(&mut read).await.is_pending());
        client.write_all(bytes(0, LEN)).await?;
        let mut got = Vec::new();
        while got.len() < LEN {
            let chunk = gimmal::timeout(Duration::from_secs(5), chunks.next()).await?;
            got.extend_from_slice(&chunk.unwrap());
            assert!(poll_once(&mut read).await.is_pending());
        }
        assert_eq!(got, bytes(0, LEN));
        // At the end of the stream, nothing is left to take.
        drop(client);
        assert!(chunks.next().await?.is_none());
        assert_eq!(read.await?.0, 0);
        Ok(())
    });
    ran.unwrap();
}

/// A receive that had ended for lack of buffers released the stream: a waiting read got the bytes that followed, and
/// the received bytes were delivered later.
#[test]
fn bytes_read_ahead_precede_those_of_a_waiting_read() {
    let ran: io::Result<()> = Runtime::builder().receive_buffers(2, 16).run(async {
        let (client, server) = pair().await?;
        let (other_client, other_server) = pair().await?;
        let mut chunks = server.chunks();
        begin(&mut chunks).await;
        client.write_all(bytes(0, 64)).await?;
        for _ in 0..1000 {
            if taken_from_the_kernel(&server) >= 32 {
                break;
            }
            next_turn().await;
        }
        if taken_from_the_kernel(&server) < 32 {
            common::skip!("nothing is read ahead before Linux 6.17");
            return Ok(());
        }
        next_turn().await;
        let mut read = server.read(vec![0; 64]);
        assert!(poll_once(&mut read).await.is_pending());
        other_client.write_all("short").await?;
        let mut others = other_server.chunks();
        assert_eq!(others.next().await?.unwrap()[..], *b"short");
        next_turn().await;
        assert!(poll_once(&mut read).await.is_pending());
        drop(chunks);
        let (n, got) = read.await?;
        assert_eq!(got, bytes(0, n));
        expect(&server, n, 64 - n).await;
        Ok(())
    });
    ran.unwrap();
}

/// How many of 64 sent bytes have left the kernel's queue.
fn taken_from_the_kernel(stream: &TcpStream) -> usize {
    64 - unread(stream)
}

#[test]
fn a_stream_closes_while_its_receive_is_an_orphan() {
    for (name, builder) in runtimes() {
        let ran: io::Result<()> = builder.run(async {
            let (client, server) = pair().await?;
            begin(&mut server.chunks()).await;
            server.close().await?;
            assert_eq!(client.read(vec![0; 1]).await?.0, 0, "{name}");
            assert_eq!(Handle::current().stats().operations, 0, "{name}");
            // Bytes received by an orphan must not be dropped silently.
            let (client, server) = pair().await?;
            let mut chunks = server.chunks();
            begin(&mut chunks).await;
            client.write_all("kept").await?;
            next_turn().await;
            drop(chunks);
            let error = server.into_std().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ResourceBusy, "{name}");
            expect_text(&error.into_buf(), b"kept").await;
            Ok(())
        });
        ran.unwrap();
    }
}

async fn expect_text(stream: &TcpStream, text: &[u8]) {
    let len = text.len();
    assert_eq!(stream.read_exact(vec![0; len], len).await.unwrap(), text);
}

#[test]
fn a_chunk_can_be_sent_directly_or_copied() {
    if lacks_provided_buffers() {
        return;
    }
    gimmal::run(async {
        let (client, server) = pair().await?;
        client.write_all("there and back").await?;
        let chunk = server.chunks().next().await?.unwrap();
        assert_eq!((chunk.io_len(), buffers_out()), (14, 1));
        assert_eq!(format!("{chunk:?}"), "Chunk { len: 14, .. }");
        let chunk = server.write_all(chunk).await?;
        let back = client.chunks().next().await?.unwrap();
        assert_eq!((back.as_ref(), buffers_out()), (&chunk[..], 2));
        let vec = chunk.into_vec();
        let bytes = bytes::Bytes::from(back);
        assert_eq!((&vec[..], buffers_out()), (&bytes[..], 0));
        io::Result::Ok(())
    })
    .unwrap();
}

#[test]
fn invalid_sizes_are_rejected_with_the_number() {
    for (count, size, word) in [
        (0, 4096, "is 0"),
        (100, 4096, "is 100"),
        (1 << 16, 4096, "65536"),
        (256, 0, "0 bytes"),
        (256, 1 << 31, "2147483648"),
    ] {
        let error = Runtime::builder().receive_buffers(count, size).build();
        let error = error.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn without_locked_memory_chunks_use_their_own_memory() {
    const TEST: &str = "without_locked_memory_chunks_use_their_own_memory";
    if !common::is_child() {
        return common::passes_in_child(TEST);
    }
    // SAFETY: no address is passed.
    if unsafe { libc::geteuid() } != 0 {
        return common::skip!("only root can switch to a user without locked memory");
    }
    // SAFETY: no address is passed.
    if unsafe { libc::setuid(1_000_000 + std::process::id()) } != 0 {
        return common::skip!("the container does not map this user");
    }
    let limit = libc::rlimit {
        rlim_cur: 64 << 10,
        rlim_max: 64 << 10,
    };
    // SAFETY: the limit is valid, and only read.
    let limited = unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) };
    assert_eq!(limited, 0);
    let builder = Runtime::builder().entries(8).completion_entries(16);
    // Their ring alone takes half a megabyte.
    let ran: io::Result<()> = builder.receive_buffers(1 << 15, 16).run(async {
        let (client, server) = pair().await?;
        client.write_all(bytes(0, 1000)).await?;
        let mut chunks = server.chunks();
        let first = chunks.next().await?.unwrap();
        if buffers_out() > 0 {
            common::skip!("this kernel does not count buffers against RLIMIT_MEMLOCK");
            return Ok(());
        }
        assert_eq!(first[..], bytes(0, first.len()));
        drop(chunks);
        expect(&server, first.len(), 1000 - first.len()).await;
        Ok(())
    });
    ran.unwrap();
}

#[test]
fn a_runtime_that_ends_leaves_nothing_behind() {
    for (name, builder) in runtimes() {
        let mut runtime = builder.build().unwrap();
        let handle = runtime.handle();
        // When the runtime ends, the receive is in flight and chunks have been collected.
        let task = runtime.spawn(async {
            let (client, server) = pair().await.unwrap();
            client.write_all(bytes(0, 100)).await.unwrap();
            let mut chunks = server.chunks();
            begin(&mut chunks).await;
            gimmal::sleep(NEVER).await.unwrap();
        });
        runtime.block_on(async {
            for _ in 0..20 {
                next_turn().await;
            }
            assert_eq!(handle.stats().operation_rows, 1, "{name}");
        });
        runtime.shutdown(NEVER).unwrap();
        drop(task);
    }
}
