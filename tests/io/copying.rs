//! Copying between files, pipes, sockets and other readers and writers: every byte arrives, even if the copy is
//! canceled and continued.

use common::{
    Baseline, MOMENTS, Random, directory, dropped_after, dropped_everywhere, next_turn,
    ran_in_own_process, tcp_pair,
};
use gimmal::buf::{BufError, BufResult, IoBuf};
use gimmal::cancel::Scope;
use gimmal::fs::{File, OpenOptions};
use gimmal::io::{
    BufReader, BufWriter, CopyError, copy, copy_bidirectional, copy_with, pipe, sink,
};
use gimmal::net::TcpStream;
use gimmal::op::Opcode;
use gimmal::prelude::*;
use gimmal::runtime::FeatureMask;
use gimmal::{Handle, Runtime};
use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

const LEN: usize = 1_500_000;

fn content(len: usize) -> Vec<u8> {
    (0..len as u32 / 4).flat_map(u32::to_le_bytes).collect()
}

/// No turn ends by time, so both directions are polled in the turn in which they are ready.
fn in_whole_turns() -> gimmal::runtime::Builder {
    gimmal::Runtime::builder().budget(256, Duration::from_secs(3600))
}

async fn source(path: &Path) -> io::Result<File> {
    let content = content(LEN);
    gimmal::fs::write(path, content).await?;
    File::open(path).await
}

#[test]
fn files_pipes_and_sockets_are_copied_exactly() {
    if ran_in_own_process() {
        return;
    }
    let directory = directory();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    gimmal::run(async {
        let baseline = Baseline::take();
        {
            let mut file = source(&from).await?;
            let (mut client, mut server) = tcp_pair().await?;
            let (mut reader, mut writer) = pipe()?;
            let mut copy_of = File::create(&to).await?;
            // File → socket → pipe → file, all at once.
            let (first, second, third) = gimmal::join((
                async {
                    let copied = copy(&mut file, &mut client).await?;
                    client.shutdown(Shutdown::Write)?;
                    io::Result::Ok(copied)
                },
                async {
                    let copied = copy(&mut server, &mut writer).await?;
                    writer.close().await?;
                    io::Result::Ok(copied)
                },
                copy(&mut reader, &mut copy_of),
            ))
            .await;
            assert_eq!(
                (first?, second?, third?),
                (LEN as u64, LEN as u64, LEN as u64)
            );
            assert!(std::fs::read(&to)? == content(LEN));
            // The other direction of the socket is still open.
            copy(&mut "ok".as_bytes().to_vec().as_source(), &mut server).await?;
            assert_eq!(client.read_exact(vec![0; 2], 2).await?, b"ok");
            // File → file, from the cursor on.
            let mut file = File::open(&from).await?;
            file.read_exact(vec![0; 1000], 1000).await?;
            let mut copy_of = File::create(&to).await?;
            assert_eq!(copy(&mut file, &mut copy_of).await?, LEN as u64 - 1000);
            assert!(std::fs::read(&to)? == content(LEN)[1000..]);
            assert_eq!(copy(&mut file, &mut copy_of).await?, 0);
        }
        baseline.returns("copies").await;
        io::Result::Ok(())
    })
    .unwrap();
}

/// A custom reader, which cannot take bytes back.
struct Bytes(Vec<u8>);

trait AsSource {
    fn as_source(&self) -> Bytes;
}

impl AsSource for Vec<u8> {
    fn as_source(&self) -> Bytes {
        Bytes(self.clone())
    }
}

impl AsyncRead for Bytes {
    async fn read<B: gimmal::buf::IoBufMut>(&mut self, mut buf: B) -> BufResult<usize, B> {
        let n = self.0.len().min(buf.io_capacity());
        // SAFETY: `n` bytes fit, and the copy initializes them.
        unsafe {
            buf.io_mut_ptr()
                .copy_from_nonoverlapping(self.0.as_ptr(), n);
            buf.set_io_len(n);
        }
        self.0.drain(..n);
        Ok((n, buf))
    }
}

/// A writer that accepts a few bytes at a time, and fails after `after` bytes.
struct Fails {
    taken: Vec<u8>,
    after: usize,
}

impl AsyncWrite for Fails {
    async fn write<B: IoBuf>(&mut self, buf: B) -> BufResult<usize, B> {
        if self.taken.len() >= self.after {
            return Err(BufError::new(ErrorKind::StorageFull.into(), buf));
        }
        let n = buf.io_len().min(777).min(self.after - self.taken.len());
        self.taken.extend(&buf.io_bytes()[..n]);
        Ok((n, buf))
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn unwritten_bytes_are_returned_or_in_the_error() {
    if ran_in_own_process() {
        return;
    }
    let directory = directory();
    let from = directory.path().join("from");
    gimmal::run(async {
        let all = content(LEN);
        let mut random = Random::new();
        for _ in 0..20 {
            let after = random.below(LEN);
            let fails = || Fails {
                taken: Vec::new(),
                after,
            };
            // A reader that cannot take bytes back.
            let (mut reader, mut writer) = (all.as_source(), fails());
            let error = copy(&mut reader, &mut writer).await.unwrap_err();
            assert_eq!(
                (error.kind(), error.copied()),
                (ErrorKind::StorageFull, after as u64)
            );
            assert!(error.to_string().contains(&format!("after {after} bytes")));
            let (_, unwritten) = error.into_parts();
            assert!([writer.taken, unwritten, reader.0].concat() == all);

            // A file, whose cursor moves back.
            let (mut reader, mut writer) = (source(&from).await?, fails());
            let error = copy(&mut reader, &mut writer).await.unwrap_err();
            assert!(error.unwritten().is_empty());
            let (_, rest) = reader.read_to_end(Vec::new()).await?;
            assert!([writer.taken, rest].concat() == all);

            // A pipe, and a reader with a buffer.
            let (mut reader, writer) = pipe()?;
            let text = all[..50_000].to_vec();
            writer.write_all(text.clone()).await?;
            drop(writer);
            // The writer fails twice, the second time before everything is written.
            let more = 10;
            let mut writer = Fails {
                taken: Vec::new(),
                after: after % (text.len() - more),
            };
            let error = copy(&mut &reader, &mut writer).await.unwrap_err();
            assert!(error.unwritten().is_empty());
            writer.after += more;
            let mut reader = BufReader::with_capacity(100, &mut reader);
            let error = copy(&mut reader, &mut writer).await.unwrap_err();
            assert!(error.unwritten().is_empty());
            let (_, rest) = reader.read_to_end(Vec::new()).await?;
            assert!([writer.taken, rest].concat() == text);
        }
        io::Result::Ok(())
    })
    .unwrap();
}

/// A copy that is timed out repeatedly at random moments, and continued each time.
async fn copy_with_interruptions(
    random: &mut Random,
    reader: &mut impl AsyncRead,
    writer: &mut impl AsyncWrite,
) -> io::Result<(u64, u32)> {
    let (mut copied, mut timeouts) = (0, 0);
    loop {
        let time = Duration::from_micros(random.below(300) as u64);
        match copy(reader, writer).timeout(time).await {
            Ok(n) => return Ok((copied + n, timeouts)),
            Err(error) => {
                assert!(gimmal::is_timeout(&error), "{error}");
                let error: CopyError = error.into_inner().expect("no foreign future");
                assert!(error.unwritten().is_empty());
                copied += error.copied();
                timeouts += 1;
            }
        }
    }
}

#[test]
fn a_copy_that_is_canceled_and_continued_loses_nothing() {
    if ran_in_own_process() {
        return;
    }
    let directory = directory();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    gimmal::run(async {
        let mut random = Random::new();
        let mut timeouts = 0;
        for _ in 0..4 {
            let mut file = source(&from).await?;
            let (mut client, mut server) = tcp_pair().await?;
            let (mut reader, mut writer) = pipe()?;
            let mut copy_of = File::create(&to).await?;
            let (mut a, mut b, mut c) = (random.fork(), random.fork(), random.fork());
            let (first, second, third) = gimmal::join((
                async {
                    let copied = copy_with_interruptions(&mut a, &mut file, &mut client).await?;
                    client.shutdown(Shutdown::Write)?;
                    io::Result::Ok(copied)
                },
                async {
                    let copied = copy_with_interruptions(&mut b, &mut server, &mut writer).await?;
                    writer.close().await?;
                    io::Result::Ok(copied)
                },
                copy_with_interruptions(&mut c, &mut reader, &mut copy_of),
            ))
            .await;
            for (copied, times) in [first?, second?, third?] {
                assert_eq!(copied, LEN as u64);
                timeouts += times;
            }
            assert!(std::fs::read(&to)? == content(LEN));
        }
        assert!(timeouts > 20, "only {timeouts}");
        io::Result::Ok(())
    })
    .unwrap();
}

#[test]
fn a_closed_peer_ends_a_copy_with_an_error_that_names_it() {
    if ran_in_own_process() {
        return;
    }
    let directory = directory();
    let from = directory.path().join("from");
    gimmal::run(async {
        let mut file = source(&from).await?;
        let (mut client, server) = tcp_pair().await?;
        let peer = client.peer_addr()?;
        drop(server);
        let error = copy(&mut file, &mut client).await.unwrap_err();
        assert!(
            [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset].contains(&error.kind()),
            "{error}"
        );
        assert!(error.to_string().contains(&peer.to_string()), "{error}");
        // A directory cannot be read.
        let mut from = File::open(directory.path()).await?;
        let error = copy(&mut from, &mut client).await.unwrap_err();
        assert_eq!((error.kind(), error.copied()), (ErrorKind::IsADirectory, 0));
        io::Result::Ok(())
    })
    .unwrap();
}

/// Each piece is reported once it has arrived, through buffers and by splices, and the callback may use the runtime.
#[test]
fn progress_is_reported_piece_by_piece() {
    if ran_in_own_process() {
        return;
    }
    let directory = directory();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    let runtime = Runtime::builder().mask(FeatureMask::none()).build();
    runtime.unwrap().block_on(async {
        source(&from).await.unwrap();
        async fn check<W: AsyncWrite>(mut reader: impl AsyncRead, writer: &mut W, piece: u64) {
            let mut reported = vec![0];
            let mut tasks = Vec::new();
            let report = |copied| {
                reported.push(copied);
                tasks.push(gimmal::spawn(async { Handle::current().stats().turns }));
            };
            let copied = copy_with(&mut reader, writer, report).await.unwrap();
            assert_eq!(copied, LEN as u64);
            assert_eq!(reported.last(), Some(&copied));
            let in_pieces = |two: &[u64]| two[0] < two[1] && two[1] - two[0] <= piece;
            assert!(reported.windows(2).all(in_pieces), "{reported:?}");
            assert!(reported.len() > 4, "{reported:?}");
            let beyond_a_buffer = |two: &[u64]| two[1] - two[0] > 64 << 10;
            let was_spliced = reported.windows(2).any(beyond_a_buffer);
            assert_eq!(was_spliced, piece > 64 << 10, "{reported:?}");
            for task in tasks {
                assert!(task.await.unwrap() > 0);
            }
        }
        let file = || File::open(&from);
        check(file().await.unwrap(), &mut sink(), 64 << 10).await;
        let mut held = Vec::new();
        check(&content(LEN)[..], &mut BufWriter::new(&mut held), 64 << 10).await;
        assert!(held == content(LEN));
        // By splices: through a pipe into a file, and into a pipe.
        let mut copy_of = File::create(&to).await.unwrap();
        check(file().await.unwrap(), &mut copy_of, 256 << 10).await;
        assert!(std::fs::read(&to).unwrap() == content(LEN));
        let (reader, mut writer) = pipe().unwrap();
        writer.set_capacity(256 << 10).unwrap();
        let reading = gimmal::spawn(async move { reader.read_to_end(Vec::new()).await });
        check(file().await.unwrap(), &mut writer, 256 << 10).await;
        drop(writer);
        assert!(reading.await.unwrap().unwrap().1 == content(LEN));

        let nothing = |_| unreachable!("nothing was copied");
        let copied = copy_with(&mut &b""[..], &mut sink(), nothing)
            .await
            .unwrap();
        assert_eq!(copied, 0);
    });
}

/// A copy stopped by `progress` has copied what it reported, and continues from there.
#[test]
fn a_copy_stopped_by_its_progress_can_be_continued() {
    if ran_in_own_process() {
        return;
    }
    let directory = directory();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    gimmal::run(async {
        source(&from).await?;
        for spliced in [true, false] {
            let mut file = File::open(&from).await?;
            let mut buffered = BufReader::with_capacity(3000, File::open(&from).await?);
            let mut copy_of = File::create(&to).await?;
            let (mut last, mut stops) = (0, 0);
            loop {
                let scope = Scope::new();
                let start = last;
                let stop = |copied| {
                    last = start + copied;
                    scope.cancel();
                };
                let copied = match spliced {
                    true => {
                        scope
                            .run_any(copy_with(&mut file, &mut copy_of, stop))
                            .await
                    }
                    false => {
                        scope
                            .run_any(copy_with(&mut buffered, &mut copy_of, stop))
                            .await
                    }
                };
                match copied.unwrap() {
                    Ok(copied) => break assert_eq!(copied, 0),
                    Err(error) => {
                        assert!(gimmal::is_canceled(&error), "{error}");
                        assert_eq!(start + error.copied(), last);
                        assert!(error.unwritten().is_empty());
                        stops += 1;
                    }
                }
            }
            assert_eq!(last, LEN as u64);
            assert!(stops > 4, "{stops}");
            assert!(std::fs::read(&to)? == content(LEN));
        }
        io::Result::Ok(())
    })
    .unwrap();
}

/// A large file is spliced. If the copy is canceled while the pipe is full, the file can be read on from there.
#[test]
fn a_large_file_does_not_pass_through_user_memory() {
    if ran_in_own_process() {
        return;
    }
    let directory = directory();
    let from = directory.path().join("from");
    gimmal::run(async {
        let file = Rc::new(source(&from).await?);
        let (reader, writer) = pipe()?;
        writer.set_capacity(256 << 10)?;
        let baseline = Baseline::take();
        let scope = Rc::new(Scope::new());
        let copying = gimmal::spawn({
            let (file, scope) = (file.clone(), scope.clone());
            async move {
                let copy = async { io::Result::Ok(copy(&mut &*file, &mut &writer).await) };
                let stopped = scope.run(copy).await.unwrap().unwrap_err();
                (stopped, writer)
            }
        });
        // Waits until the pipe has been full for a while: the splice then waits in the kernel.
        let mut waiting = 0;
        while waiting < 50 {
            next_turn().await;
            let operations = Handle::current().operations();
            let kinds: Vec<_> = operations.iter().map(|operation| operation.kind).collect();
            match kinds[..] {
                ["splice"] => waiting += 1,
                [] => waiting = 0,
                _ => panic!("{kinds:?}"),
            }
        }
        scope.cancel();
        let (error, writer) = copying.await?;
        assert!(gimmal::is_canceled(&error), "{error}");
        assert!(error.copied() > 0 && error.copied() < LEN as u64, "{error}");
        assert!(error.unwritten().is_empty());
        let copied = error.copied() as usize;
        let arrived = reader.read_exact(vec![0; copied], copied).await?;
        let (_, rest) = file.read_to_end(Vec::new()).await?;
        assert!([arrived, rest].concat() == content(LEN));
        baseline.returns("a splice").await;
        drop(writer);
        io::Result::Ok(())
    })
    .unwrap();
}

/// A dropped splice has taken nothing from the file.
#[test]
fn a_dropped_splice_restores_the_cursor() {
    if ran_in_own_process() {
        return;
    }
    let directory = directory();
    let from = directory.path().join("from");
    gimmal::run(async {
        let file = source(&from).await?;
        let (client, _server) = tcp_pair().await?;
        let baseline = Baseline::take();
        for moment in &MOMENTS {
            let dropped = dropped_after(copy(&mut &file, &mut &client), 1, *moment).await;
            assert!(dropped.is_none());
            baseline.returns("a dropped splice").await;
        }
        let (_, all) = file.read_to_end(Vec::new()).await?;
        assert!(all == content(LEN));
        io::Result::Ok(())
    })
    .unwrap();
}

/// Without splices, the copy uses buffers: to a file opened for appending, and if the opcode is missing.
#[test]
fn without_splices_a_copy_uses_buffers() {
    if ran_in_own_process() {
        return;
    }
    let directory = directory();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    for (name, mask) in [
        ("all", FeatureMask::none()),
        (
            "no splice",
            FeatureMask::none().without_opcode(Opcode::SPLICE),
        ),
    ] {
        std::fs::write(&to, "before").unwrap();
        let mut runtime = Runtime::builder().mask(mask).build().unwrap();
        runtime.block_on(async {
            let mut file = source(&from).await.unwrap();
            let appended = OpenOptions::new().append(true).open(&to).await.unwrap();
            let copied = copy(&mut file, &mut &appended).await.unwrap();
            assert_eq!(copied, LEN as u64, "{name}");
        });
        let text = std::fs::read(&to).unwrap();
        assert!(
            text[..6] == *b"before" && text[6..] == content(LEN),
            "{name}"
        );
    }
}

/// A copy dropped after any number of polls leaves nothing behind in the runtime.
#[test]
fn a_copy_can_be_dropped_after_any_poll() {
    if ran_in_own_process() {
        return;
    }
    let directory = directory();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    gimmal::run(async {
        let small = content(200_000);
        gimmal::fs::write(&to, small).await?;
        for path in [&from, &to] {
            source(&from).await?;
            dropped_everywhere("copy to a socket", &MOMENTS, || async {
                let mut file = File::open(path).await.unwrap();
                let (mut client, mut server) = tcp_pair().await.unwrap();
                let writer = OpenOptions::new().write(true).open("/dev/null").await;
                let sent = async {
                    let copied = copy(&mut file, &mut client).await.unwrap();
                    client.shutdown(Shutdown::Write).unwrap();
                    copied
                };
                let mut nowhere = writer.unwrap();
                let (sent, received) = gimmal::join((sent, copy(&mut server, &mut nowhere))).await;
                assert_eq!(sent, received.unwrap());
            })
            .await;
        }
        io::Result::Ok(())
    })
    .unwrap();
}

/// The number of kernel worker threads of this thread.
fn workers() -> usize {
    // SAFETY: no address is passed.
    let ours = format!("iou-wrk-{}", unsafe { libc::gettid() });
    let tasks = std::fs::read_dir("/proc/self/task").expect("proc");
    let names = tasks.map(|task| std::fs::read_to_string(task?.path().join("comm")));
    names
        .filter(|name| name.as_ref().is_ok_and(|name| name.trim_end() == ours))
        .count()
}

/// The number of splices in flight.
fn splices() -> usize {
    let operations = gimmal::Handle::current().operations();
    let splices = operations.iter().filter(|one| one.kind == "splice");
    splices.count()
}

/// More copies wait for their readers than the kernel has bounded workers or allows extra workers. Writes to files,
/// which need a worker, continue.
#[test]
fn waiting_copies_delay_no_other_operation_and_use_few_threads() {
    const COPIES: usize = 40;
    if ran_in_own_process() {
        return;
    }
    let directory = directory();
    let from = directory.path().join("from");
    gimmal::run(async {
        let baseline = Baseline::take();
        drop(source(&from).await?);
        // The first copies are dropped, and release their workers for the second ones.
        for is_last in [false, true] {
            let mut copies = Vec::new();
            for n in 0..COPIES {
                let (reader, mut writer) = pipe()?;
                writer.set_capacity(256 << 10)?;
                let mut file = File::open(&from).await?;
                let copying = gimmal::spawn(async move {
                    let copied = copy(&mut file, &mut writer).await;
                    writer.close().await?;
                    io::Result::Ok(copied?)
                });
                copies.push((reader, copying));
                let path = directory.path().join(format!("file{n}"));
                gimmal::fs::write(&path, content(5000)).await?;
                assert!(gimmal::fs::read(&path).await? == content(5000));
            }
            assert!(!copies.iter().any(|(_, copying)| copying.is_finished()));
            for _ in 0..1000 {
                if splices() == 16 {
                    break;
                }
                gimmal::sleep(Duration::from_millis(1)).await?;
            }
            assert_eq!(splices(), 16);
            let workers = workers();
            assert!(0 < workers && workers < COPIES, "{workers} workers");
            for (reader, copying) in copies {
                if !is_last {
                    copying.abort();
                    continue;
                }
                let (_, all) = reader.read_to_end(Vec::new()).await?;
                assert!(all == content(LEN));
                assert_eq!(copying.await??, LEN as u64);
            }
            baseline.returns("waiting copies").await;
        }
        io::Result::Ok(())
    })
    .unwrap();
}

#[test]
fn a_copy_into_a_buffered_writer_leaves_nothing_in_the_buffer() {
    if ran_in_own_process() {
        return;
    }
    let directory = directory();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    gimmal::run(async {
        for len in [0, 12, 16 << 10, 600_001, LEN] {
            let content = vec![7; len];
            std::fs::write(&from, &content)?;
            for capacity in [1, 100, 16 << 10, 1 << 20] {
                let file = File::create(&to).await?;
                // A buffer behind a buffer is flushed, too.
                let mut writer = BufWriter::new(BufWriter::with_capacity(capacity, file));
                writer.write_all("before").await?;
                let mut reader = File::open(&from).await?;
                assert_eq!(copy(&mut reader, &mut &mut writer).await?, len as u64);
                let expected = [b"before", &content[..]].concat();
                assert!(std::fs::read(&to)? == expected, "{len} by {capacity}");
            }
        }
        io::Result::Ok(())
    })
    .unwrap();
}

/// Counts its calls, and buffers bytes until they are flushed.
#[derive(Default)]
struct Counts {
    held: Vec<u8>,
    taken: Vec<u8>,
    flushes: usize,
    /// The number of the flush that fails, counted from one.
    fails_at: usize,
    /// How often a flush is polled before it completes.
    polls: usize,
}

impl AsyncWrite for Counts {
    async fn write<B: IoBuf>(&mut self, buf: B) -> BufResult<usize, B> {
        self.held.extend(buf.io_bytes());
        Ok((buf.io_len(), buf))
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.flushes += 1;
        for _ in 0..self.polls {
            next_turn().await;
        }
        if self.flushes == self.fails_at {
            return Err(ErrorKind::StorageFull.into());
        }
        self.taken.append(&mut self.held);
        Ok(())
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        self.flush().await
    }
}

/// The writer is flushed once when the reader has nothing ready, and not before.
#[test]
fn a_writer_is_flushed_when_the_reader_has_nothing_ready() {
    if ran_in_own_process() {
        return;
    }
    gimmal::run(async {
        // A copy that never waits flushes at the end.
        let mut writer = Counts::default();
        let mut reader = content(LEN).as_source();
        copy(&mut reader, &mut writer).await?;
        assert_eq!((writer.flushes, writer.taken.len()), (1, LEN));

        // So does a copy of nothing, for the bytes buffered before.
        let mut writer = Counts::default();
        writer.write_all("before").await?;
        copy(&mut Vec::new().as_source(), &mut writer).await?;
        assert_eq!((writer.flushes, &*writer.taken), (1, &b"before"[..]));

        // Here, each piece is sent after the previous one has arrived.
        let (reader, sender) = pipe()?;
        let (arrived, writer) = pipe()?;
        let copying = gimmal::spawn(async move {
            let mut writer = BufWriter::new(writer);
            writer.write_all("0").await?;
            let copied = copy(&mut &reader, &mut writer).await?;
            assert!(writer.buffer().is_empty());
            io::Result::Ok(copied)
        });
        for n in 0..100u8 {
            let piece = arrived.read_exact(vec![0; 1], 1);
            assert_eq!(piece.timeout(Duration::from_secs(5)).await?, [b'0' + n]);
            sender.write_all(vec![b'0' + n + 1]).await?;
        }
        sender.close().await?;
        assert_eq!(copying.await??, 100);
        io::Result::Ok(())
    })
    .unwrap();
}

/// The flush fails while a read is in flight. The read is canceled without losing bytes, and the copy can be continued.
#[test]
fn a_failing_flush_takes_nothing_from_the_reader() {
    if ran_in_own_process() {
        return;
    }
    let directory = directory();
    let from = directory.path().join("from");
    in_whole_turns()
        .run(async {
            let all = content(LEN);
            let baseline = Baseline::take();
            for (fails_at, polls) in [(1, 0), (2, 0), (5, 0), (1, 1), (3, 1), (1, 50), (3, 50)] {
                let (mut file, mut writer) = (source(&from).await?, Counts::default());
                (writer.fails_at, writer.polls) = (fails_at, polls);
                let mut copied = 0;
                let mut failures = 0;
                loop {
                    match copy(&mut file, &mut writer).await {
                        Ok(n) => break copied += n,
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::StorageFull);
                            assert!(error.unwritten().is_empty());
                            copied += error.copied();
                            failures += 1;
                            // The count includes the writer's buffer, and the reader continues from there.
                            assert_eq!(writer.taken.len() + writer.held.len(), copied as usize);
                        }
                    }
                }
                assert_eq!((copied, failures), (LEN as u64, 1));
                assert!(
                    writer.held.is_empty() && writer.taken == all,
                    "{fails_at}, {polls}"
                );
                drop(file);

                // A reader that cannot take bytes back, and one that has no bytes for now.
                let mut reader = all.as_source();
                let (mut writer, mut after) = (Counts::default(), Counts::default());
                writer.fails_at = 1;
                let error = copy(&mut reader, &mut writer).await.unwrap_err();
                assert_eq!((error.copied(), error.unwritten().len()), (LEN as u64, 0));
                let (reader, sender) = pipe()?;
                sender.write_all("first").await?;
                writer = Counts::default();
                (writer.fails_at, writer.polls) = (fails_at.min(2), polls);
                // The first flush comes before any read.
                let copied = [0, 5][fails_at.min(2) - 1];
                (writer.fails_at, writer.polls) = (fails_at.min(2), polls);
                let mut reader = &reader;
                let copying = copy(&mut reader, &mut writer).timeout(Duration::from_secs(5));
                let error = copying.await.unwrap_err().into_inner();
                let error = error.expect("no foreign future");
                assert_eq!(
                    (error.kind(), error.copied()),
                    (ErrorKind::StorageFull, copied)
                );
                assert_eq!(writer.held, b"first"[..copied as usize]);
                sender.write_all("second").await?;
                sender.close().await?;
                copy(&mut reader, &mut after).await?;
                assert_eq!(after.taken, b"firstsecond"[copied as usize..]);
            }
            baseline.returns("failed copies").await;
            io::Result::Ok(())
        })
        .unwrap();
}

/// The kernel reports a reset once, so the error of a flush must not hide it.
#[test]
fn an_error_of_the_reader_survives_that_of_a_flush() {
    /// Returns a few bytes, then an error that is not ready at once.
    struct Resets(bool);

    impl AsyncRead for Resets {
        async fn read<B: gimmal::buf::IoBufMut>(&mut self, buf: B) -> BufResult<usize, B> {
            if !std::mem::replace(&mut self.0, true) {
                return Bytes(b"data".to_vec()).read(buf).await;
            }
            next_turn().await;
            Err(BufError::new(ErrorKind::ConnectionReset.into(), buf))
        }
    }

    if ran_in_own_process() {
        return;
    }
    gimmal::run(async {
        for fails_at in [0, 1] {
            let mut writer = Counts {
                fails_at,
                polls: 5,
                ..Counts::default()
            };
            let error = copy(&mut Resets(false), &mut writer).await.unwrap_err();
            assert_eq!(
                (error.kind(), error.copied()),
                (ErrorKind::ConnectionReset, 4)
            );
            assert_eq!(writer.flushes, 1);
        }
        io::Result::Ok(())
    })
    .unwrap();
}

/// Like [`a_copy_that_is_canceled_and_continued_loses_nothing`], through buffers.
#[test]
fn a_canceled_copy_through_a_buffer_loses_nothing() {
    if ran_in_own_process() {
        return;
    }
    let directory = directory();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    gimmal::run(async {
        let mut random = Random::new();
        let mut timeouts = 0;
        for capacity in [10, 1000, 100_000, 1 << 20] {
            let mut file = source(&from).await?;
            let (client, mut server) = tcp_pair().await?;
            let (mut reader, writer) = pipe()?;
            let mut client = BufWriter::with_capacity(capacity, client);
            let mut writer = BufWriter::with_capacity(capacity, writer);
            let mut copy_of = BufWriter::with_capacity(capacity, File::create(&to).await?);
            let (mut a, mut b, mut c) = (random.fork(), random.fork(), random.fork());
            let (first, second, third) = gimmal::join((
                async {
                    let copied = copy_with_interruptions(&mut a, &mut file, &mut client).await?;
                    client.get_ref().shutdown(Shutdown::Write)?;
                    io::Result::Ok(copied)
                },
                async {
                    let copied = copy_with_interruptions(&mut b, &mut server, &mut writer).await?;
                    writer.into_inner().0.close().await?;
                    io::Result::Ok(copied)
                },
                copy_with_interruptions(&mut c, &mut reader, &mut copy_of),
            ))
            .await;
            for (copied, times) in [first?, second?, third?] {
                assert_eq!(copied, LEN as u64);
                timeouts += times;
            }
            assert!(std::fs::read(&to)? == content(LEN), "{capacity}");
        }
        assert!(timeouts > 20, "only {timeouts}");
        io::Result::Ok(())
    })
    .unwrap();
}

/// A stream that buffers writes until they are flushed. Both directions can be used at once.
struct Buffering {
    stream: TcpStream,
    held: RefCell<Vec<u8>>,
}

impl Buffering {
    fn new(stream: TcpStream) -> Buffering {
        let held = RefCell::default();
        Buffering { stream, held }
    }
}

impl AsyncRead for &Buffering {
    async fn read<B: gimmal::buf::IoBufMut>(&mut self, buf: B) -> BufResult<usize, B> {
        self.stream.read(buf).await
    }
}

impl AsyncWrite for &Buffering {
    async fn write<B: IoBuf>(&mut self, buf: B) -> BufResult<usize, B> {
        self.held.borrow_mut().extend(buf.io_bytes());
        Ok((buf.io_len(), buf))
    }

    async fn flush(&mut self) -> io::Result<()> {
        let held = self.held.take();
        self.stream.write_all(held).await?;
        Ok(())
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        self.flush().await?;
        AsyncWrite::shutdown(&mut &self.stream).await
    }
}

/// Requests and responses pass through a proxy whose sides buffer unflushed bytes.
#[test]
fn a_proxy_with_buffers_delivers_each_request_and_response() {
    if ran_in_own_process() {
        return;
    }
    gimmal::run(async {
        let baseline = Baseline::take();
        let (client, near) = tcp_pair().await?;
        let (far, server) = tcp_pair().await?;
        let proxy = gimmal::spawn(async move {
            let (near, far) = (Buffering::new(near), Buffering::new(far));
            io::Result::Ok(copy_bidirectional(&near, &far).await?)
        });
        let mut asked = 0;
        for len in [1, 10, 1000, 16 << 10, 100_000] {
            let talk = gimmal::try_join((
                async {
                    client.write_all(content(len)).await?;
                    let answer = client.read_exact(vec![0; len], content(len).len()).await?;
                    assert!(answer == content(len));
                    io::Result::Ok(())
                },
                async {
                    let len = content(len).len();
                    let question = server.read_exact(vec![0; len.max(1)], len).await?;
                    server.write_all(question).await?;
                    io::Result::Ok(())
                },
            ));
            talk.timeout(Duration::from_secs(10)).await?;
            asked += content(len).len() as u64;
        }
        client.shutdown(Shutdown::Write)?;
        assert_eq!(server.read(vec![0; 1]).await?.0, 0);
        drop(server);
        assert_eq!(proxy.await??, (asked, asked));
        drop(client);
        baseline.returns("a proxy").await;
        io::Result::Ok(())
    })
    .unwrap();
}

/// Dropped after any number of polls, even while it flushes to a peer that does not read.
#[test]
fn a_copy_through_a_buffer_can_be_dropped_after_any_poll() {
    if ran_in_own_process() {
        return;
    }
    gimmal::run(async {
        dropped_everywhere("copy through a buffer", &MOMENTS, || async {
            let (mut reader, sender) = pipe().unwrap();
            let (arrived, writer) = pipe().unwrap();
            let mut writer = BufWriter::with_capacity(200_000, writer);
            let text = content(100_000);
            let (sent, copied, received) = gimmal::join((
                async {
                    sender.write_all(text.clone()).await.unwrap();
                    sender.close().await.unwrap();
                },
                async {
                    let copied = copy(&mut reader, &mut writer).await.unwrap();
                    writer.into_inner().0.close().await.unwrap();
                    copied
                },
                async {
                    gimmal::sleep(Duration::from_micros(100)).await.unwrap();
                    arrived.read_to_end(Vec::new()).await.unwrap().1
                },
            ))
            .await;
            let () = sent;
            assert_eq!(copied, text.len() as u64);
            assert!(received == text);
        })
        .await;
        io::Result::Ok(())
    })
    .unwrap();
}
