//! Bugs that were there once, each shown by the test that found it.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets an error fails where it stands"
)]

mod common;

use gimmal::cancel::Scope;
use gimmal::op::{Completion, Entry, Op, Opcode, Operation, SharedFd};
use std::future::pending;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

/// The last task ended in the turn in which its wait was canceled; that turn went on to wait in the kernel for something
/// else to happen, and nothing was left that could: `run` took the whole grace period of 5 s.
#[test]
fn the_end_of_run_does_not_wait_once_the_last_task_has_ended() -> io::Result<()> {
    let start = Instant::now();
    gimmal::run(async {
        drop(gimmal::spawn(gimmal::sleep(Duration::from_secs(60))));
        gimmal::yield_now().await;
        io::Result::Ok(())
    })?;
    gimmal::run(async {
        gimmal::spawn(pending::<()>()).abort();
        io::Result::Ok(())
    })?;
    assert!(start.elapsed() < Duration::from_secs(4));
    Ok(())
}

/// The two ends of a pipe, the reading one as a file.
fn pipe() -> io::Result<(gimmal::fs::File, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    Ok((OwnedFd::from(reader).into(), writer.into()))
}

/// `close` waited for whoever held the file, and so for ever for an operation that nobody awaited.
#[test]
fn a_close_says_so_when_an_operation_that_is_not_awaited_holds_the_file() -> io::Result<()> {
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
        assert!(gimmal::is_canceled(&error), "it was asked to stop: {error}");
        Ok(())
    })
}

/// The largest offset was taken for the file's cursor, and one behind it wrapped.
#[test]
fn an_offset_that_no_file_has_is_an_error() -> io::Result<()> {
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

/// A runtime that had leaked an operation kept its ring, although nobody could ask for anything of it any more.
#[test]
fn a_runtime_that_leaked_an_orphan_gives_its_ring_back() -> io::Result<()> {
    // Other tests have rings of their own meanwhile.
    if !common::is_child() {
        common::passes_in_child_that_leaks("a_runtime_that_leaked_an_orphan_gives_its_ring_back");
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
            // No time at all: the one turn of the shutdown asks for the cancel, and may not see its answer.
            let _ = runtime.shutdown(Duration::ZERO);
        }
        assert_eq!(rings(), before);
    })
    .join()
    .unwrap();
    Ok(())
}

/// A disposal that panicked freed what the kernel still had.
#[test]
fn a_disposal_that_panics_frees_nothing_that_is_in_flight() -> io::Result<()> {
    use gimmal::op::{Completion, Entry, Op, Opcode, Operation};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A poll that completes again and again, on a descriptor that it owns.
    struct Watch {
        fd: OwnedFd,
        drops: Arc<AtomicU32>,
    }

    impl Drop for Watch {
        fn drop(&mut self) {
            self.drops.fetch_add(1, Ordering::Relaxed);
        }
    }

    // SAFETY: the entry lends no memory, and its descriptor is owned by the operation.
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
        // A pipe with room is ready at once: the first completion, with more to come, is taken by the future.
        let mut watch = Op::new(watch).submit();
        while gimmal::Handle::current().stats().enters < 2 {
            gimmal::sleep(Duration::from_millis(1)).await.unwrap();
        }
        let polled = std::future::poll_fn(|context| {
            std::task::Poll::Ready(Pin::new(&mut watch).poll(context).is_pending())
        });
        assert!(polled.await);
        drop(watch);
        assert_eq!(drops.load(Ordering::Relaxed), 0, "the kernel has it");
        assert_eq!(faults.load(Ordering::Relaxed), 1, "the hook heard of it");
    });
    runtime.shutdown(Duration::from_secs(5))?;
    assert_eq!(drops.load(Ordering::Relaxed), 1);
    Ok(())
}

/// A group that had failed still said that there was room: a loop that starts a child whenever there is went on to start as
/// many as the limit allows.
#[test]
fn a_cancelled_group_has_no_room() {
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

/// Who cancels a scope from inside wakes nobody who is being polled; a group that was one of them had polled its children by
/// then, did not look again, and never told those that slept.
#[test]
fn a_group_tells_its_children_when_one_of_them_cancels_a_scope_around_it() {
    use gimmal::cancel::{Scope, shield};
    gimmal::run(async {
        let scope = Scope::new();
        let start = Instant::now();
        let ended = scope.run_any(gimmal::group(async |g| {
            let asleep = g.spawn(async { Ok(gimmal::sleep(Duration::from_secs(5)).await?) });
            // The sleeper has begun by now, and the one that cancels waits for nothing that is told.
            gimmal::yield_now().await;
            let scope = &scope;
            drop(g.spawn(shield(async move {
                scope.cancel();
                assert!(asleep.await.is_err());
            })));
            io::Result::Ok(())
        }));
        assert!(ended.await.unwrap().is_err());
        assert!(start.elapsed() < Duration::from_secs(4));
        io::Result::Ok(())
    })
    .unwrap();
}

/// Scopes from the one that is current up to the one that is canceled were marked as being polled. Those behind a shield
/// stayed marked, and when they were canceled later, on their own, nobody was woken.
#[test]
fn a_scope_behind_a_shield_is_woken_when_it_is_cancelled_after_one_around_it() {
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

/// A wait for a closure that runs counts as pending even in a canceled scope. It did so after the closure had returned, if
/// nobody looked at its handle any more: the timeout waited for ever for the future of another crate behind that.
#[test]
fn a_closure_that_has_returned_holds_up_no_timeout() {
    use std::sync::mpsc;
    let (end, ended) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let runs = std::thread::spawn(move || {
        gimmal::run(async {
            let mut closure = gimmal::task::spawn_blocking(move || {
                let _gone = may_go_on.recv();
            });
            // One that has not begun when the time is over is withdrawn.
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
        .expect("the timeout ends");
    runs.join().unwrap();
}

/// Operations that the kernel has, and those of them that nobody waits for.
fn in_the_kernel() -> (usize, usize) {
    let stats = gimmal::Handle::current().stats();
    (stats.operations, stats.orphans)
}

/// A listener whose accept is in the kernel, though nobody waits for it.
async fn accepting() -> io::Result<gimmal::net::TcpListener> {
    let listener = gimmal::net::TcpListener::bind("127.0.0.1:0").await?;
    let mut accept = Box::pin(listener.accept());
    let polled = std::future::poll_fn(|context| Poll::Ready(accept.as_mut().poll(context))).await;
    assert!(polled.is_pending());
    drop(accept);
    Ok(listener)
}

/// What a child or a body owned that the group dropped went where the group's own future stood: the accept of a listener was
/// an orphan outside of the group, which returned while the kernel still had it.
#[test]
fn a_group_waits_for_the_accept_of_a_listener_that_it_drops() -> io::Result<()> {
    gimmal::run(async {
        let stop = || io::Error::other("stop");
        // With the future of a child.
        let ended = gimmal::group(async |g| {
            drop(g.spawn(async {
                let _listener = accepting().await?;
                pending::<io::Result<()>>().await
            }));
            while in_the_kernel() == (0, 0) {
                gimmal::yield_now().await;
            }
            Err::<(), _>(stop())
        });
        assert!(ended.await.is_err());
        assert_eq!(in_the_kernel(), (0, 0));
        // With its output, of which there is no handle.
        let ended = gimmal::group(async |g| {
            drop(g.spawn(accepting()));
            Ok::<_, io::Error>(())
        });
        ended.await?;
        assert_eq!(in_the_kernel(), (0, 0));
        // With the future of the body.
        let ended = gimmal::group(async |g| {
            let _listener = accepting().await?;
            drop(g.spawn(async { Err::<(), _>(stop()) }));
            pending::<io::Result<()>>().await
        });
        assert!(ended.await.is_err());
        assert_eq!(in_the_kernel(), (0, 0));
        Ok(())
    })
}

/// Fails at once, and then reads from a pipe.
struct SecondTry {
    pipe: SharedFd,
    tries: u32,
    buffer: Box<[u8; 8]>,
}

// SAFETY: the buffer is a boxed allocation of its own, which nobody touches meanwhile; the operation holds the descriptor.
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

/// An operation whose completion asked for another try, and whose scope was canceled between the two, was started in the
/// canceled scope, and nobody asked the kernel to stop it.
#[test]
fn an_operation_does_not_try_again_in_a_scope_that_was_cancelled_meanwhile() -> io::Result<()> {
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
        // Its completion is there, and its task has not been polled.
        while completed() == before {
            gimmal::yield_now().await;
        }
        scope.cancel();
        let ended = gimmal::time::timeout(Duration::from_secs(5), &mut task).await;
        assert!(ended.is_ok(), "it goes on");
        Ok(())
    })
}

/// A splice works on two descriptors, and its row told of one: who closed the other did not wait for it.
#[test]
fn a_file_closes_although_a_copy_of_it_was_dropped() -> io::Result<()> {
    gimmal::run(async {
        let path = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR"))?;
        path.as_file().set_len(4 << 20)?;
        let mut file = gimmal::fs::File::open(path.path()).await?;
        let (_reader, mut writer) = gimmal::io::pipe()?;
        writer.set_capacity(1 << 20)?;
        // The pipe is full soon, and nobody reads from it.
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

/// A read that waits until those before it have ended began when the stream was closed and they were stopped: closing said
/// that something holds the descriptor, and that read waited for ever on a stream that was closed.
#[test]
fn a_stream_closes_although_several_reads_wait() -> io::Result<()> {
    gimmal::run(async {
        let (reader, _writer) = gimmal::io::pipe()?;
        let reads: Vec<_> = (0..3)
            .map(|_| gimmal::spawn(reader.read(vec![7; 8])))
            .collect();
        while in_the_kernel() == (0, 0) {
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

/// The same of a socket of datagrams.
#[test]
fn a_socket_of_datagrams_closes_although_several_receives_wait() -> io::Result<()> {
    gimmal::run(async {
        let (socket, _peer) = gimmal::net::UnixDatagram::pair()?;
        let receives: Vec<_> = (0..3)
            .map(|_| gimmal::spawn(socket.recv(vec![7; 8])))
            .collect();
        while in_the_kernel() == (0, 0) {
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

/// A send with an address stands in no line, and began although its socket was being closed.
#[test]
fn a_send_with_an_address_does_not_begin_on_a_socket_that_closes() -> io::Result<()> {
    gimmal::run(async {
        let receiver = std::net::UdpSocket::bind("127.0.0.1:0")?;
        receiver.set_nonblocking(true)?;
        let socket = gimmal::net::UdpSocket::bind("127.0.0.1:0").await?;
        let to = receiver.local_addr()?;
        let (send, waiting) = (
            socket.send_to("late", to),
            gimmal::spawn(socket.recv(vec![0; 8])),
        );
        while in_the_kernel() == (0, 0) {
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

/// A send that waited for room at a receiver that takes nothing was not told that its socket was being closed, and held it.
#[test]
fn a_socket_closes_although_a_send_waits_for_room_elsewhere() -> io::Result<()> {
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
        while in_the_kernel() != (3, 0) {
            gimmal::yield_now().await;
        }
        socket.close().await?;
        for send in sends {
            let error = send.await?.unwrap_err();
            assert!(gimmal::is_canceled(&error));
            assert_eq!(error.into_buf(), "more");
        }
        while in_the_kernel() != (0, 0) {
            gimmal::yield_now().await;
        }
        Ok(())
    })
}

/// A multishot receive on a Unix socket takes data and a hang-up for one event, gives the data, and waits for another one that
/// never comes (6.18): after reads that had to wait, chunks did not end.
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

/// What a BufReader gave back to its stream was overtaken by what a dropped read had still in the kernel.
#[test]
fn bytes_that_are_given_back_come_before_those_of_a_dropped_read() -> io::Result<()> {
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
            while in_the_kernel() == (0, 0) {
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

/// What was ready at once, and never let others go first, froze the thread in a loop that ignored what it said; in a canceled
/// scope, too.
#[test]
fn loops_over_what_is_ready_at_once_freeze_nothing() -> io::Result<()> {
    use gimmal::io::{AsyncRead, AsyncWrite, BufReader, BufWriter};
    use gimmal::net::{TcpListener, TcpStream, UdpSocket, UnixStream, lookup_host};

    /// A reader and writer of a user's own, which never waits.
    struct Always;

    impl AsyncRead for Always {
        async fn read<B: gimmal::buf::IoBufMut>(
            &mut self,
            mut buf: B,
        ) -> gimmal::buf::BufResult<usize, B> {
            let n = buf.io_len().max(1).min(buf.io_capacity());
            // SAFETY: so many bytes fit; those up to the length are initialised, and so is the first.
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

    async fn again_and_again<T>(what: Rc<impl AsyncFn() -> T>) {
        loop {
            drop(what().await);
        }
    }

    async fn check<T: 'static>(name: &str, what: impl AsyncFn() -> T + 'static) {
        println!("{name}");
        let what = Rc::new(what);
        let task = gimmal::spawn(again_and_again(what.clone()));
        for _ in 0..3 {
            gimmal::sleep(Duration::from_micros(100)).await.unwrap();
        }
        task.abort();
        let _aborted = task.await;
        // Refused, then dropped.
        let cut = gimmal::time::timeout_any(Duration::ZERO, again_and_again(what)).await;
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
        check("no room for an exact read", read).await;
        let stream = left.clone();
        let read = async move || stream.read_exact(Vec::new(), 0).await;
        check("an exact read of nothing", read).await;
        let stream = left.clone();
        check("a write of nothing", async move || {
            stream.write_all(Vec::new()).await
        })
        .await;
        let pipe = second.clone();
        check("a write of nothing into a pipe", async move || {
            pipe.write_all(Vec::new()).await
        })
        .await;
        check("a flush of nothing", async move || {
            BufWriter::new(&*second).flush().await
        })
        .await;
        let of = file.clone();
        let read = async move || of.read_exact_at(Vec::new(), 9, 0).await;
        check("no room for an exact read of a file", read).await;
        check("a write of nothing into a file", async move || {
            file.write_all_at(Vec::new(), 0).await
        })
        .await;
        check("a connect to nothing", async || {
            TcpStream::connect("nothing").await
        })
        .await;
        check("a lookup of nothing", async || lookup_host("nothing").await).await;
        check("a lookup of an address", async move || {
            lookup_host(address).await
        })
        .await;
        check("a listener", async move || TcpListener::bind(address).await).await;
        check("a socket", async move || UdpSocket::bind(address).await).await;
        check("a Unix socket that cannot be", async || {
            UnixStream::connect("x".repeat(200)).await
        })
        .await;
        check("a file that cannot be", async || {
            gimmal::fs::read("a\0b").await
        })
        .await;
        check("options that cannot be", async || {
            gimmal::fs::OpenOptions::new().open("x").await
        })
        .await;
        check("a FIFO that cannot be", async || {
            gimmal::io::mkfifo("a\0b", 0o600).await
        })
        .await;
        check("a copy that never waits", async || {
            gimmal::io::copy(&mut Always, &mut Always).await
        })
        .await;
        check("a line without an end that never waits", async || {
            let mut reader = BufReader::new(Always).line_max(0);
            let _too_long = reader.read_line(&mut String::new()).await;
            reader.read_line(&mut String::new()).await
        })
        .await;
        Ok(())
    })
}

/// A splice into what was made non-blocking does not wait for room, and `copy` failed with `WouldBlock` where it was full.
#[test]
fn a_large_file_is_copied_to_sockets_and_pipes_that_do_not_block() -> io::Result<()> {
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
            // It is full by then, most of the time.
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

/// Of bytes that a dropped read had left, and that were fewer than were asked for, a peek gave those alone, whatever came
/// behind them: who peeked until there were enough did so for ever.
#[test]
fn a_peek_sees_what_comes_behind_bytes_that_were_left() -> io::Result<()> {
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

/// The kernel has a pipe locked while it splices from it into a socket that is full, and who closes an end of that pipe waits
/// for the lock. A copy that was dropped closed one: the whole thread stood still until the peer read.
#[test]
fn a_large_copy_to_a_peer_that_does_not_read_can_be_dropped() -> io::Result<()> {
    let file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR"))?;
    std::fs::write(file.path(), vec![7; 16 << 20])?;
    let (socket, mut peer) = std::os::unix::net::UnixStream::pair()?;
    let (done, is_done) = std::sync::mpsc::channel();
    // So that the test ends in any case.
    let reader = std::thread::spawn(move || {
        let in_time = is_done.recv_timeout(Duration::from_secs(10)).is_ok();
        io::copy(&mut peer, &mut io::sink()).map(|_| in_time)
    });
    gimmal::run(async {
        let mut from = gimmal::fs::File::open(file.path()).await?;
        let mut socket = gimmal::net::UnixStream::from_std(socket);
        {
            let mut copy = std::pin::pin!(gimmal::io::copy(&mut from, &mut socket));
            // After that it is in its second half, and gets no further.
            for _ in 0..20 {
                let polled =
                    std::future::poll_fn(|context| Poll::Ready(copy.as_mut().poll(context)));
                assert!(polled.await.is_pending());
                gimmal::sleep(Duration::from_millis(2)).await?;
            }
        }
        // The thread is still there, and what was left behind ends.
        socket.close().await?;
        done.send(()).map_err(io::Error::other)?;
        io::Result::Ok(())
    })?;
    assert!(reader.join().unwrap()?, "the thread stood still");
    Ok(())
}
