//! Fixed bugs, each with the test that found it.

use gimmal::cancel::Scope;
use gimmal::op::{Completion, Entry, Op, Opcode, Operation, SharedFd};
use std::future::pending;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// The last task ended in the turn in which its wait was canceled. That turn then waited in the kernel although nothing
/// was left to happen, so `run` took the whole grace period of 5 s.
#[test]
fn the_end_of_run_does_not_wait_once_the_last_task_has_ended() -> io::Result<()> {
    let builder = || gimmal::Runtime::builder().grace_period(Duration::from_secs(3600));
    builder().run(async {
        drop(gimmal::spawn(gimmal::sleep(Duration::from_secs(60))));
        gimmal::yield_now().await;
        io::Result::Ok(())
    })?;
    builder().run(async {
        gimmal::spawn(pending::<()>()).abort();
        io::Result::Ok(())
    })
}

/// The two ends of a pipe, the read end as a file.
fn pipe() -> io::Result<(gimmal::fs::File, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    Ok((OwnedFd::from(reader).into(), writer.into()))
}

/// `close` waited for all holders of the file, and so waited forever for an operation that nobody awaited.
#[test]
fn closing_a_file_held_by_an_operation_that_is_not_awaited_fails() -> io::Result<()> {
    gimmal::run(async {
        let (idle, _writer) = pipe()?;
        let never_polled = idle.read(vec![0; 8]);
        let error = idle.close().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        drop(never_polled);

        let (started, _writer) = pipe()?;
        let not_awaited = started.read(vec![0; 8]).submit();
        let error = started.close().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        let error = not_awaited.await.unwrap_err();
        assert!(gimmal::is_canceled(&error), "the close cancels it: {error}");
        Ok(())
    })
}

/// The largest offset was mistaken for the file's cursor, and an offset beyond it wrapped around.
#[test]
fn an_offset_beyond_any_file_is_an_error() -> io::Result<()> {
    gimmal::run(async {
        let file = gimmal::fs::File::from_std(tempfile::tempfile()?);
        file.write_all("abc").await?;
        for offset in [u64::MAX, u64::MAX - 1, 1 << 63] {
            let error = file.write_at("XYZ", offset).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert_eq!(error.into_buf(), "XYZ");
            let error = file.write_all_at("XYZ", offset).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            let error = file.read_at(vec![7; 3], offset).await.unwrap_err();
            assert_eq!(error.into_buf(), [7; 3]);
        }
        let bytes = file.read_exact_at(vec![0; 8], 3, 0).await?;
        assert_eq!(bytes, b"abc");
        Ok(())
    })
}

/// A runtime that had leaked an operation kept its ring open.
#[test]
fn a_runtime_that_leaked_an_orphan_closes_its_ring() -> io::Result<()> {
    // Other tests open rings at the same time.
    if !common::is_child() {
        common::passes_in_child_that_leaks("a_runtime_that_leaked_an_orphan_closes_its_ring");
        return Ok(());
    }
    let rings = || {
        let fds = std::fs::read_dir("/proc/self/fd").unwrap();
        let names = fds.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
        names
            .filter(|name| name.ends_with("anon_inode:[io_uring]"))
            .count()
    };
    std::thread::spawn(move || {
        let before = rings();
        for _ in 0..5 {
            let (reader, _writer) = pipe().unwrap();
            let mut runtime = gimmal::Runtime::builder().on_fault(|_| {}).build().unwrap();
            runtime.block_on(async {
                drop(reader.read(vec![0; 8]).submit());
            });
            // A zero timeout: the only turn of the shutdown requests the cancel, and may not see the result.
            let _ = runtime.shutdown(Duration::ZERO);
        }
        assert_eq!(rings(), before);
    })
    .join()
    .unwrap();
    Ok(())
}

/// A panicking disposal freed memory that was still lent to the kernel.
#[test]
fn a_panicking_disposal_frees_nothing_in_flight() -> io::Result<()> {
    use gimmal::op::{Completion, Entry, Op, Opcode, Operation};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A poll that completes repeatedly, on a descriptor that it owns.
    struct Watch {
        fd: OwnedFd,
        drops: Arc<AtomicU32>,
    }

    impl Drop for Watch {
        fn drop(&mut self) {
            self.drops.fetch_add(1, Ordering::Relaxed);
        }
    }

    // SAFETY: the entry lends no memory, and the operation owns its descriptor.
    unsafe impl Operation for Watch {
        type Output = ();
        const NAME: &'static str = "watch";

        fn entry(&mut self) -> Entry {
            const MULTISHOT: u32 = 1;
            let events = libc::POLLOUT as u32;
            let entry = Entry::new(Opcode::POLL_ADD).fd(self.fd.as_raw_fd());
            entry.len(MULTISHOT).op_flags(events)
        }

        fn complete(self, _: Completion) {}

        fn fail(self, _: io::Error) {}

        fn had_no_effect(&self, _: Completion) -> bool {
            false
        }

        fn dispose(&mut self, _: Completion) {
            panic!("a disposal");
        }
    }

    let faults = Arc::new(AtomicU32::new(0));
    let drops = Arc::new(AtomicU32::new(0));
    let counted = faults.clone();
    let mut runtime = gimmal::Runtime::builder()
        .on_fault(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
        })
        .build()?;
    let (_reader, writer) = io::pipe()?;
    runtime.block_on(async {
        let watch = Watch {
            fd: writer.into(),
            drops: drops.clone(),
        };
        // The pipe is writable, so the poll is ready at once: the future takes the first completion, and more follow.
        let mut watch = Op::new(watch).submit();
        while gimmal::Handle::current().stats().enters < 2 {
            gimmal::sleep(Duration::from_millis(1)).await.unwrap();
        }
        let polled = std::future::poll_fn(|context| {
            std::task::Poll::Ready(Pin::new(&mut watch).poll(context).is_pending())
        });
        assert!(polled.await);
        drop(watch);
        assert_eq!(drops.load(Ordering::Relaxed), 0, "still in flight");
        assert_eq!(faults.load(Ordering::Relaxed), 1, "the hook got one fault");
    });
    runtime.shutdown(Duration::from_secs(5))?;
    assert_eq!(drops.load(Ordering::Relaxed), 1);
    Ok(())
}

/// A failed group still reported a free slot, so a loop that starts a child for each free slot went on to start as many
/// as the limit allows.
#[test]
fn a_canceled_group_has_no_free_slot() {
    gimmal::run(async {
        let started = std::cell::Cell::new(0);
        let error = gimmal::group(async |g| {
            g.set_limit(10);
            drop(g.spawn(async { Err::<(), _>(io::Error::other("first")) }));
            gimmal::yield_now().await;
            assert!(g.is_canceled());
            while started.get() < 100 {
                g.wait_for_slot().await?;
                started.set(started.get() + 1);
                drop(g.spawn(async { gimmal::sleep(Duration::ZERO).await.map_err(Into::into) }));
            }
            Ok(())
        });
        assert_eq!(error.await.unwrap_err().to_string(), "first");
        assert_eq!(started.get(), 0);
        io::Result::Ok(())
    })
    .unwrap();
}

/// Canceling a scope from inside does not wake the tasks and groups that are being polled. One of them was a group that
/// had already polled its children: it did not poll them again, so sleeping children were never canceled.
#[test]
fn a_group_cancels_its_children_when_one_of_them_cancels_an_outer_scope() {
    use gimmal::cancel::{Scope, shield};
    gimmal::Runtime::builder()
        .virtual_time()
        .run(async {
            let scope = Scope::new();
            let start = gimmal::time::Instant::now();
            let ended = scope.run_any(gimmal::group(async |g| {
                let asleep = g.spawn(async { Ok(gimmal::sleep(Duration::from_secs(5)).await?) });
                // The sleeper has started by now, and the child that cancels is shielded.
                gimmal::yield_now().await;
                let scope = &scope;
                drop(g.spawn(shield(async move {
                    scope.cancel();
                    assert!(asleep.await.is_err());
                })));
                io::Result::Ok(())
            }));
            assert!(ended.await.unwrap().is_err());
            assert_eq!(start.elapsed(), Duration::ZERO);
            io::Result::Ok(())
        })
        .unwrap();
}

/// A cancel marked the scopes from the current one up to the canceled one as being polled. Scopes behind a shield
/// stayed marked, so a later cancel of such a scope woke nobody.
#[test]
fn a_scope_behind_a_shield_is_woken_when_canceled_after_an_outer_one() {
    use gimmal::cancel::{Scope, shield};
    gimmal::run(async {
        let (outer, inner) = (Scope::new(), std::rc::Rc::new(Scope::new()));
        let theirs = inner.clone();
        let task = gimmal::spawn(async move {
            let waits = inner.run_any(async {
                outer.cancel();
                pending::<()>().await;
            });
            outer.run_any(shield(waits)).await
        });
        gimmal::yield_now().await;
        theirs.cancel();
        let limit = gimmal::time::timeout(Duration::from_secs(5), task);
        assert_eq!(limit.await.unwrap(), Ok(Err(gimmal::Canceled)));
        io::Result::Ok(())
    })
    .unwrap();
}

/// A wait for a running closure counts as pending even in a canceled scope. It still counted after the closure had
/// returned if its handle was not polled again, so the timeout waited forever for the foreign future behind it.
#[test]
fn a_closure_that_has_returned_delays_no_timeout() {
    use std::sync::mpsc;
    let (end, ended) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let runs = std::thread::spawn(move || {
        gimmal::run(async {
            let mut closure = gimmal::task::spawn_blocking(move || {
                let _gone = may_go_on.recv();
            });
            // A closure that has not started when the timeout expires would be withdrawn.
            while gimmal::Handle::current().stats().blocking_running == 0 {
                gimmal::yield_now().await;
            }
            let future = async move {
                let mut asleep = gimmal::sleep(Duration::from_secs(60));
                std::future::poll_fn(|context| {
                    assert!(Pin::new(&mut closure).poll(context).is_pending());
                    Pin::new(&mut asleep).poll(context).map(|_| ())
                })
                .await;
                drop(go_on);
                pending::<()>().await;
            };
            let limit = gimmal::time::timeout_any(Duration::from_millis(20), future);
            assert!(limit.await.unwrap_err().is_elapsed());
            io::Result::Ok(())
        })
        .unwrap();
        end.send(()).unwrap();
    });
    ended
        .recv_timeout(Duration::from_secs(10))
        .expect("the timeout returns");
    runs.join().unwrap();
}

/// The operations in flight, and how many of them are orphans.
fn in_flight() -> (usize, usize) {
    let stats = gimmal::Handle::current().stats();
    (stats.operations, stats.orphans)
}

/// A listener whose accept is still in flight, although nobody awaits it.
async fn accepting() -> io::Result<gimmal::net::TcpListener> {
    let listener = gimmal::net::TcpListener::bind("127.0.0.1:0").await?;
    let mut accept = Box::pin(listener.accept());
    let polled = std::future::poll_fn(|context| Poll::Ready(accept.as_mut().poll(context))).await;
    assert!(polled.is_pending());
    drop(accept);
    Ok(listener)
}

/// When a group dropped a value owned by a child or by the body, such as a listener with an accept in flight, the
/// orphan was counted for the scope around the group. So the group returned while the accept was still in the kernel.
#[test]
fn a_group_waits_for_the_accept_of_a_listener_that_it_drops() -> io::Result<()> {
    gimmal::run(async {
        let stop = || io::Error::other("stop");
        // Owned by the future of a child.
        let ended = gimmal::group(async |g| {
            drop(g.spawn(async {
                let _listener = accepting().await?;
                pending::<io::Result<()>>().await
            }));
            while in_flight() == (0, 0) {
                gimmal::yield_now().await;
            }
            Err::<(), _>(stop())
        });
        assert!(ended.await.is_err());
        assert_eq!(in_flight(), (0, 0));
        // Owned by the output of a child without a handle.
        let ended = gimmal::group(async |g| {
            drop(g.spawn(accepting()));
            Ok::<_, io::Error>(())
        });
        ended.await?;
        assert_eq!(in_flight(), (0, 0));
        // Owned by the future of the body.
        let ended = gimmal::group(async |g| {
            let _listener = accepting().await?;
            drop(g.spawn(async { Err::<(), _>(stop()) }));
            pending::<io::Result<()>>().await
        });
        assert!(ended.await.is_err());
        assert_eq!(in_flight(), (0, 0));
        Ok(())
    })
}

/// Its first attempt fails at once, and the second one reads from a pipe.
struct SecondTry {
    pipe: SharedFd,
    tries: u32,
    buffer: Box<[u8; 8]>,
}

// SAFETY: the buffer is a separate boxed allocation that nothing else accesses; the operation holds the descriptor.
unsafe impl Operation for SecondTry {
    type Output = io::Result<()>;
    const NAME: &'static str = "second try";

    fn entry(&mut self) -> Entry {
        self.tries += 1;
        match self.tries {
            1 => Entry::new(Opcode::FSYNC).fd(-1),
            _ => Entry::new(Opcode::READ)
                .fd(self.pipe.as_raw_fd())
                .addr(self.buffer.as_mut_ptr())
                .len(8)
                .offset(u64::MAX),
        }
    }

    fn should_retry(&mut self, _: Completion) -> bool {
        self.tries == 1
    }

    fn complete(self, completion: Completion) -> io::Result<()> {
        completion.result().map(drop)
    }

    fn fail(self, error: io::Error) -> io::Result<()> {
        Err(error)
    }

    fn dispose(&mut self, _: Completion) {}
}

/// If the scope of an operation was canceled between a completion and the retry that it asked for, the retry was
/// submitted in the canceled scope, and the kernel was never asked to stop it.
#[test]
fn an_operation_is_not_retried_in_a_scope_canceled_meanwhile() -> io::Result<()> {
    gimmal::run(async {
        let (reader, _writer) = io::pipe()?;
        let again = Op::new(SecondTry {
            pipe: OwnedFd::from(reader).into(),
            tries: 0,
            buffer: Box::default(),
        });
        let scope = Rc::new(Scope::new());
        let inside = scope.clone();
        let completed = || gimmal::Handle::current().stats().completed;
        let before = completed();
        let mut task = gimmal::spawn(async move { inside.run(again).await });
        // The completion has been reaped, but the task has not been polled yet.
        while completed() == before {
            gimmal::yield_now().await;
        }
        scope.cancel();
        let ended = gimmal::time::timeout(Duration::from_secs(5), &mut task).await;
        assert!(ended.is_ok(), "the retry was never canceled");
        Ok(())
    })
}

/// A splice uses two descriptors, but its slot recorded only one of them: closing the other one did not wait for the
/// splice.
#[test]
fn a_file_closes_after_a_copy_from_it_was_dropped() -> io::Result<()> {
    gimmal::run(async {
        let path = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR"))?;
        path.as_file().set_len(4 << 20)?;
        let mut file = gimmal::fs::File::open(path.path()).await?;
        let (_reader, mut writer) = gimmal::io::pipe()?;
        writer.set_capacity(1 << 20)?;
        // The pipe soon fills up, and nobody reads from it.
        let mut copy = Box::pin(gimmal::io::copy(&mut file, &mut writer));
        let mut enough = Box::pin(gimmal::sleep(Duration::from_millis(50)));
        std::future::poll_fn(|context| {
            assert!(copy.as_mut().poll(context).is_pending());
            enough.as_mut().poll(context)
        })
        .await?;
        drop(copy);
        file.close().await
    })
}

/// A read queued behind other reads started when a close canceled those: the close failed because an operation held the
/// descriptor, and the read waited forever on a closed stream.
#[test]
fn a_stream_closes_while_several_reads_wait() -> io::Result<()> {
    gimmal::run(async {
        let (reader, _writer) = gimmal::io::pipe()?;
        let reads: Vec<_> = (0..3)
            .map(|_| gimmal::spawn(reader.read(vec![7; 8])))
            .collect();
        while in_flight() == (0, 0) {
            gimmal::yield_now().await;
        }
        reader.close().await?;
        for read in reads {
            let read = gimmal::time::timeout_any(Duration::from_secs(5), read).await;
            let error = read.unwrap().unwrap().unwrap_err();
            assert!(gimmal::is_canceled(&error));
            assert_eq!(error.into_buf(), [7; 8]);
        }
        Ok(())
    })
}

/// The same for a datagram socket.
#[test]
fn a_datagram_socket_closes_while_several_receives_wait() -> io::Result<()> {
    gimmal::run(async {
        let (socket, _peer) = gimmal::net::UnixDatagram::pair()?;
        let receives: Vec<_> = (0..3)
            .map(|_| gimmal::spawn(socket.recv(vec![7; 8])))
            .collect();
        while in_flight() == (0, 0) {
            gimmal::yield_now().await;
        }
        socket.close().await?;
        for receive in receives {
            let received = gimmal::time::timeout_any(Duration::from_secs(5), receive).await;
            let error = received.unwrap().unwrap().unwrap_err();
            assert!(gimmal::is_canceled(&error));
            assert_eq!(error.into_buf(), [7; 8]);
        }
        Ok(())
    })
}

/// A send with an address does not queue, and started although its socket was being closed.
#[test]
fn a_send_with_an_address_does_not_start_on_a_closing_socket() -> io::Result<()> {
    gimmal::run(async {
        let receiver = std::net::UdpSocket::bind("127.0.0.1:0")?;
        receiver.set_nonblocking(true)?;
        let socket = gimmal::net::UdpSocket::bind("127.0.0.1:0").await?;
        let to = receiver.local_addr()?;
        let (send, waiting) = (
            socket.send_to("late", to),
            gimmal::spawn(socket.recv(vec![0; 8])),
        );
        while in_flight() == (0, 0) {
            gimmal::yield_now().await;
        }
        let mut close = Box::pin(socket.close());
        std::future::poll_fn(|context| {
            assert!(close.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
        assert!(gimmal::is_canceled(&send.await.unwrap_err()));
        close.await?;
        assert!(gimmal::is_canceled(&waiting.await?.unwrap_err()));
        let nothing = receiver.recv(&mut [0; 8]).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        Ok(())
    })
}

/// A send that waited for room at a full receiver was not canceled when its socket was closed, and kept the socket
/// open.
#[test]
fn a_socket_closes_while_a_send_waits_for_room_at_a_receiver() -> io::Result<()> {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let path = directory.path().join("receiver");
    let _receiver = std::os::unix::net::UnixDatagram::bind(&path)?;
    gimmal::run(async {
        let socket = gimmal::net::UnixDatagram::unbound()?;
        loop {
            let sent = socket.send_to("", &path);
            match gimmal::time::timeout_any(Duration::from_millis(50), sent).await {
                Ok(sent) => _ = sent?,
                Err(_) => break,
            }
        }
        let sends: Vec<_> = (0..3)
            .map(|_| gimmal::spawn(socket.send_to("more", &path)))
            .collect();
        while in_flight() != (3, 0) {
            gimmal::yield_now().await;
        }
        socket.close().await?;
        for send in sends {
            let error = send.await?.unwrap_err();
            assert!(gimmal::is_canceled(&error));
            assert_eq!(error.into_buf(), "more");
        }
        while in_flight() != (0, 0) {
            gimmal::yield_now().await;
        }
        Ok(())
    })
}

/// A multishot receive on a Unix socket treats data and a hang-up as one event: it returns the data, then waits for
/// another event, which never comes (6.18). So after reads that had to wait, chunks never ended.
#[test]
fn chunks_of_a_unix_stream_end() -> io::Result<()> {
    gimmal::run(async {
        for _ in 0..20 {
            let (left, right) = gimmal::net::UnixStream::pair()?;
            for _ in 0..4 {
                let late = async {
                    gimmal::sleep(Duration::from_millis(1)).await?;
                    left.write_all("x").await?;
                    io::Result::Ok(())
                };
                let (read, late) = gimmal::join((right.read(vec![0; 10]), late)).await;
                late?;
                assert_eq!(read?.0, 1);
            }
            left.write_all("last").await?;
            left.close().await?;
            let mut chunks = right.chunks();
            assert_eq!(&*chunks.next().await?.unwrap(), b"last");
            let end = gimmal::timeout(Duration::from_secs(5), chunks.next()).await?;
            assert!(end.is_none());
        }
        Ok(())
    })
}

/// Bytes that a `BufReader` returned to its stream were overtaken by those of a dropped read still in flight.
#[test]
fn returned_bytes_precede_those_of_a_dropped_read() -> io::Result<()> {
    use gimmal::io::{AsyncRead, BufReader};
    use std::io::Write;
    gimmal::run(async {
        for _ in 0..100 {
            let (left, right) = gimmal::net::UnixStream::pair()?;
            let left = left.into_std()?;
            (&left).write_all(b"first")?;
            let mut reader = BufReader::new(&right);
            reader.fill_buf().await?;
            reader.consume(1);
            let mut line = Vec::new();
            let mut cut = Box::pin(reader.read_until(b'!', &mut line));
            std::future::poll_fn(|context| Poll::Ready(cut.as_mut().poll(context).is_pending()))
                .await;
            while in_flight() == (0, 0) {
                gimmal::yield_now().await;
            }
            (&left).write_all(b"second")?;
            drop(cut);
            let (mut stream, rest) = reader.into_inner();
            assert!(stream.unread(&rest));
            let all = right.read_exact(vec![0; 10], 10).await?;
            assert_eq!(all, b"irstsecond");
        }
        Ok(())
    })
}

/// Futures that are always ready at once never yielded, so a loop that ignored their results froze the thread, even in
/// a canceled scope.
#[test]
fn loops_over_futures_that_are_ready_at_once_do_not_freeze_the_thread() -> io::Result<()> {
    use gimmal::io::{AsyncRead, AsyncWrite, BufReader, BufWriter};
    use gimmal::net::{TcpListener, TcpStream, UdpSocket, UnixStream, lookup_host};

    /// A custom reader and writer that never waits.
    struct Always;

    impl AsyncRead for Always {
        async fn read<B: gimmal::buf::IoBufMut>(
            &mut self,
            mut buf: B,
        ) -> gimmal::buf::BufResult<usize, B> {
            let n = buf.io_len().max(1).min(buf.io_capacity());
            // SAFETY: `n` bytes fit. The bytes up to the old length are initialized, and so is the first one.
            unsafe {
                if buf.io_len() < n {
                    buf.io_mut_ptr().write(b'x');
                }
                buf.set_io_len(n);
            }
            Ok((n, buf))
        }
    }

    impl AsyncWrite for Always {
        async fn write<B: gimmal::buf::IoBuf>(
            &mut self,
            buf: B,
        ) -> gimmal::buf::BufResult<usize, B> {
            Ok((buf.io_len(), buf))
        }

        async fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }

        async fn shutdown(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    async fn repeat<T>(what: Rc<impl AsyncFn() -> T>) {
        loop {
            drop(what().await);
        }
    }

    async fn check<T: 'static>(name: &str, what: impl AsyncFn() -> T + 'static) {
        println!("{name}");
        let what = Rc::new(what);
        let task = gimmal::spawn(repeat(what.clone()));
        for _ in 0..3 {
            gimmal::sleep(Duration::from_micros(100)).await.unwrap();
        }
        task.abort();
        let _aborted = task.await;
        // Canceled before each call, then dropped.
        let cut = gimmal::time::timeout_any(Duration::ZERO, repeat(what)).await;
        assert!(cut.is_err());
    }

    let runtime = gimmal::Runtime::builder().on_fault(|_| {}).build();
    runtime?.block_on(async {
        let (left, _right) = UnixStream::pair()?;
        let (left, second) = (Rc::new(left), Rc::new(gimmal::io::pipe()?.1));
        let path = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR"))?;
        let file = gimmal::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(path.path())
            .await?;
        let file = Rc::new(file);
        let address = "127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap();

        let stream = left.clone();
        let read = async move || stream.read_exact(Vec::new(), 9).await;
        check("an exact read without room", read).await;
        let stream = left.clone();
        let read = async move || stream.read_exact(Vec::new(), 0).await;
        check("an exact read of zero bytes", read).await;
        let stream = left.clone();
        check("an empty write", async move || {
            stream.write_all(Vec::new()).await
        })
        .await;
        let pipe = second.clone();
        check("an empty write to a pipe", async move || {
            pipe.write_all(Vec::new()).await
        })
        .await;
        check("an empty flush", async move || {
            BufWriter::new(&*second).flush().await
        })
        .await;
        let of = file.clone();
        let read = async move || of.read_exact_at(Vec::new(), 9, 0).await;
        check("an exact read of a file without room", read).await;
        check("an empty write to a file", async move || {
            file.write_all_at(Vec::new(), 0).await
        })
        .await;
        check("a connect without an address", async || {
            TcpStream::connect("nothing").await
        })
        .await;
        check("a lookup without a port", async || {
            lookup_host("nothing").await
        })
        .await;
        check("a lookup of an address", async move || {
            lookup_host(address).await
        })
        .await;
        check("a listener", async move || TcpListener::bind(address).await).await;
        check("a socket", async move || UdpSocket::bind(address).await).await;
        check("an invalid Unix socket", async || {
            UnixStream::connect("x".repeat(200)).await
        })
        .await;
        check("an invalid file", async || gimmal::fs::read("a\0b").await).await;
        check("invalid options", async || {
            gimmal::fs::OpenOptions::new().open("x").await
        })
        .await;
        check("an invalid FIFO", async || {
            gimmal::io::mkfifo("a\0b", 0o600).await
        })
        .await;
        check("a slot in a group without a limit", async || {
            let waits = gimmal::group(async |group| {
                repeat(Rc::new(async || group.wait_for_slot().await)).await;
                Ok::<_, gimmal::Canceled>(())
            });
            waits.await
        })
        .await;
        check("a copy that never waits", async || {
            gimmal::io::copy(&mut Always, &mut Always).await
        })
        .await;
        check("an endless line that never waits", async || {
            let mut reader = BufReader::new(Always).line_max(0);
            let _too_long = reader.read_line(&mut String::new()).await;
            reader.read_line(&mut String::new()).await
        })
        .await;
        Ok(())
    })
}

/// A splice into a non-blocking socket or pipe does not wait for room, so `copy` failed with `WouldBlock` when it was
/// full.
#[test]
fn a_large_file_is_copied_to_nonblocking_sockets_and_pipes() -> io::Result<()> {
    let content: Vec<u8> = (0..4_000_000u32).map(|n| (n % 251) as u8).collect();
    let file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR"))?;
    std::fs::write(file.path(), &content)?;
    let (socket, peer) = std::os::unix::net::UnixStream::pair()?;
    socket.set_nonblocking(true)?;
    let (reader, pipe) = io::pipe()?;
    socket2::SockRef::from(&pipe).set_nonblocking(true)?;
    let read = |mut from: std::fs::File| {
        std::thread::spawn(move || {
            let mut got = Vec::new();
            // By now the destination is usually full.
            std::thread::sleep(Duration::from_millis(50));
            io::Read::read_to_end(&mut from, &mut got).map(|_| got)
        })
    };
    let readers = [OwnedFd::from(peer), reader.into()].map(|fd| read(fd.into()));
    gimmal::run(async {
        let mut from = gimmal::fs::File::open(file.path()).await?;
        let mut socket = gimmal::net::UnixStream::from_std(socket);
        let copied = gimmal::io::copy(&mut from, &mut socket).await?;
        assert_eq!(copied, content.len() as u64);
        let mut from = gimmal::fs::File::open(file.path()).await?;
        let mut pipe = gimmal::io::PipeWriter::from_std(pipe);
        pipe.set_capacity(1 << 20)?;
        let copied = gimmal::io::copy(&mut from, &mut pipe).await?;
        assert_eq!(copied, content.len() as u64);
        io::Result::Ok(())
    })?;
    for reader in readers {
        assert!(reader.join().unwrap()? == content);
    }
    Ok(())
}

/// If a dropped read had left fewer bytes than a peek asked for, the peek returned only those, whatever had arrived
/// after them: a caller that peeked until enough bytes were there looped forever.
#[test]
fn a_peek_sees_bytes_that_follow_those_of_a_dropped_read() -> io::Result<()> {
    gimmal::run(async {
        let (left, right) = gimmal::net::UnixStream::pair()?;
        let read = right.read(vec![0; 8]).submit();
        left.write_all("abc").await?;
        gimmal::op::nop().await?;
        drop(read);
        let (_, seen) = right.peek(Vec::with_capacity(8)).await?;
        assert_eq!(seen, b"abc");
        left.write_all("defghijk").await?;
        let (_, seen) = right.peek(Vec::with_capacity(2)).await?;
        assert_eq!(seen, b"ab");
        let (_, seen) = right.peek(Vec::with_capacity(8)).await?;
        assert_eq!(seen, b"abcdefgh");
        drop(left);
        let (_, seen) = right.peek(Vec::with_capacity(64)).await?;
        assert_eq!(seen, b"abcdefghijk");
        let (_, all) = right.read_to_end(Vec::new()).await?;
        assert_eq!(all, b"abcdefghijk");
        Ok(())
    })
}

/// While the kernel splices from a pipe into a full socket, it holds the pipe's lock, and closing an end of the pipe
/// waits for that lock. Dropping a copy closed one, so the whole thread blocked until the peer read.
#[test]
fn a_large_copy_to_a_peer_that_does_not_read_can_be_dropped() -> io::Result<()> {
    let file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR"))?;
    std::fs::write(file.path(), vec![7; 16 << 20])?;
    let (socket, mut peer) = std::os::unix::net::UnixStream::pair()?;
    let (done, is_done) = std::sync::mpsc::channel();
    // Makes the test end in any case.
    let reader = std::thread::spawn(move || {
        let in_time = is_done.recv_timeout(Duration::from_secs(10)).is_ok();
        io::copy(&mut peer, &mut io::sink()).map(|_| in_time)
    });
    gimmal::run(async {
        let mut from = gimmal::fs::File::open(file.path()).await?;
        let mut socket = gimmal::net::UnixStream::from_std(socket);
        {
            let mut copy = std::pin::pin!(gimmal::io::copy(&mut from, &mut socket));
            // After this, the copy is blocked in its second half.
            for _ in 0..20 {
                let polled =
                    std::future::poll_fn(|context| Poll::Ready(copy.as_mut().poll(context)));
                assert!(polled.await.is_pending());
                gimmal::sleep(Duration::from_millis(2)).await?;
            }
        }
        // The thread is not blocked, and the orphaned operations end.
        socket.close().await?;
        done.send(()).map_err(io::Error::other)?;
        io::Result::Ok(())
    })?;
    assert!(reader.join().unwrap()?, "the thread was blocked");
    Ok(())
}

/// A closure on the pool ended while its handle was polled, between two looks at it. The handle took the result, but
/// still counted as waiting: in a canceled scope, a future of another crate was not dropped as long as the handle lived.
#[test]
fn a_handle_whose_closure_ends_while_it_is_polled_waits_for_nothing() -> io::Result<()> {
    let builder = gimmal::Runtime::builder().blocking_threads(1);
    builder.run(async {
        let handle = gimmal::Handle::current();
        let (release, released) = std::sync::mpsc::channel::<()>();
        // The only thread is busy, so the closure has not started when its handle is first looked at.
        let first = gimmal::task::spawn_blocking(move || released.recv());
        let mut second = gimmal::task::spawn_blocking(|| 2);
        let stats = handle.clone();
        let (waker, _guard) = common::foreign_waker(move |done| {
            // The handle clones the waker after that look, and before it takes the result.
            if done == common::Done::Clone {
                let _ = release.send(());
                while stats.stats().blocking_running + stats.stats().blocking_waiting > 0 {
                    std::thread::yield_now();
                }
            }
        });
        let polled = common::poll_with(&waker, &mut second);
        assert!(matches!(polled, Poll::Ready(Ok(2))));
        assert_eq!(handle.stats().waits, 0);
        drop((first, second));
        Ok(())
    })
}
