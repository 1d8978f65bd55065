//! Pipes: compared with std, and under cancels, timeouts and drops. FIFOs, whose opens wait for each other.

use common::{
    Baseline, MOMENTS, Random, directory, dropped_after, dropped_everywhere, next_turn,
    ran_in_own_process, rings,
};
use gimmal::fs::OpenOptions;
use gimmal::io::{PipeReader, PipeWriter, mkfifo, pipe};
use gimmal::prelude::*;
use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

/// Larger than the capacity of a pipe.
const LARGE: usize = 300_000;

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 251 + at) as u8).collect()
}

#[test]
fn written_bytes_are_read_until_the_end() {
    if ran_in_own_process() {
        return;
    }
    for (name, builder) in rings() {
        let mut runtime = builder.build().unwrap();
        runtime.block_on(async {
            let baseline = Baseline::take();
            let (reader, writer) = pipe().unwrap();
            writer.write_all("hello, ").await.unwrap();
            let (n, _) = writer.write_vectored(("wor", "ld")).await.unwrap();
            assert_eq!(n, 5);
            let (n, (a, b)) = reader
                .read_vectored((vec![0; 5], vec![0; 64]))
                .await
                .unwrap();
            assert_eq!((n, &a[..], &b[..]), (12, &b"hello"[..], &b", world"[..]));
            let sent = content(LARGE);
            let (write, read) = gimmal::join((
                async {
                    writer.write_all(sent.clone()).await.unwrap();
                    writer.close().await
                },
                reader.read_to_end(b"> ".to_vec()),
            ))
            .await;
            write.unwrap();
            let (n, received) = read.unwrap();
            assert!(n == LARGE && received[..2] == *b"> " && received[2..] == sent);
            assert_eq!(reader.read(vec![0; 1]).await.unwrap().0, 0);
            reader.close().await.unwrap();
            baseline.returns(&name).await;
        });
    }
}

/// The other end is std's, on a thread. The sizes are those around the limits of a pipe.
#[test]
fn the_other_end_may_be_a_pipe_of_std() {
    if ran_in_own_process() {
        return;
    }
    for len in [0, 1, 4095, 4096, 4097, 65_535, 65_536, 65_537, LARGE] {
        let sent = content(len);
        let (mut theirs, ours) = io::pipe().unwrap();
        let expected = sent.clone();
        let thread = std::thread::spawn(move || {
            let mut received = Vec::new();
            theirs.read_to_end(&mut received).unwrap();
            assert!(received == expected, "{len}");
        });
        gimmal::run(async {
            let writer = PipeWriter::from_std(ours);
            writer.write_all(sent.clone()).await?;
            writer.close().await
        })
        .unwrap();
        thread.join().unwrap();

        let (ours, mut theirs) = io::pipe().unwrap();
        let expected = sent.clone();
        let thread = std::thread::spawn(move || theirs.write_all(&sent).unwrap());
        gimmal::run(async {
            let reader = PipeReader::from_std(ours);
            let half = reader.read_exact(Vec::with_capacity(len), len / 2).await?;
            let (_, all) = reader.read_to_end(half).await?;
            assert!(all == expected, "{len}");
            io::Result::Ok(())
        })
        .unwrap();
        thread.join().unwrap();
    }
}

#[test]
fn a_write_without_a_reader_fails_and_returns_the_buffer() {
    if ran_in_own_process() {
        return;
    }
    gimmal::run(async {
        let (reader, writer) = pipe()?;
        let sent = content(LARGE);
        let (write, read) = gimmal::join((writer.write_all(sent.clone()), async {
            let some = reader.read_exact(vec![0; 1000], 1000).await;
            drop(reader);
            some
        }))
        .await;
        assert_eq!(read?, sent[..1000]);
        let error = write.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        assert!((1000..LARGE).contains(&error.transferred()), "{error}");
        assert!(error.into_buf() == sent);
        let error = writer.write("x").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        io::Result::Ok(())
    })
    .unwrap();
}

/// Sends four-byte numbers, and reads them in pieces that are timed out, canceled and dropped at random.
#[test]
fn no_byte_is_lost_or_read_twice_however_the_waits_end() {
    if ran_in_own_process() {
        return;
    }
    const NUMBERS: u32 = 300_000;
    gimmal::run(async {
        let mut random = Random::new();
        let (reader, writer) = pipe()?;
        let mut pieces = random.fork();
        let sender = gimmal::spawn(async move {
            let mut next = 0;
            while next < NUMBERS {
                let end = (next + 1 + pieces.below(3000) as u32).min(NUMBERS);
                let bytes: Vec<u8> = (next..end).flat_map(u32::to_le_bytes).collect();
                writer.write_all(bytes).await?;
                next = end;
                if pieces.one_in(4) {
                    next_turn().await;
                }
            }
            writer.close().await
        });
        let mut received = Vec::new();
        let (mut dropped, mut canceled) = (0, 0);
        loop {
            let len = 1 + random.below(6000);
            let buf = Vec::with_capacity(len);
            match random.below(6) {
                0 => {
                    let moment = MOMENTS[random.below(3)];
                    match dropped_after(reader.read(buf), 1, moment).await {
                        None => dropped += 1,
                        Some(read) => received.extend(read?.1),
                    }
                }
                1 => {
                    let moment = MOMENTS[random.below(3)];
                    let polls = 1 + random.below(4);
                    match dropped_after(reader.read_exact(buf, len), polls, moment).await {
                        None => dropped += 1,
                        Some(Ok(bytes)) => received.extend(bytes),
                        Some(Err(error)) => {
                            assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
                            let done = error.transferred();
                            received.extend(&error.into_buf()[..done]);
                        }
                    }
                }
                2 => {
                    // Half of the timeouts are zero: however fast the machine is, some reads are canceled.
                    let time = Duration::from_micros((random.below(2) * random.below(30)) as u64);
                    match reader.read_exact(buf, len).timeout(time).await {
                        Ok(bytes) => received.extend(bytes),
                        Err(error) => {
                            let error = error.into_inner().expect("no foreign future");
                            canceled += u32::from(gimmal::is_canceled(&error));
                            let done = error.transferred();
                            received.extend(&error.into_buf()[..done]);
                        }
                    }
                }
                3 => {
                    let bufs = (buf, Vec::with_capacity(1 + random.below(100)));
                    let moment = MOMENTS[random.below(3)];
                    match dropped_after(reader.read_vectored(bufs), 1, moment).await {
                        None => dropped += 1,
                        Some(read) => {
                            let (_, (a, b)) = read?;
                            received.extend(a);
                            received.extend(b);
                        }
                    }
                }
                4 => {
                    let time = Duration::from_micros(random.below(10) as u64);
                    match reader.read(buf).timeout(time).await {
                        Ok((_, bytes)) => received.extend(bytes),
                        Err(error) => assert!(gimmal::is_timeout(&error)),
                    }
                }
                _ => {
                    let (n, bytes) = reader.read(buf).await?;
                    received.extend(bytes);
                    if n == 0 {
                        break;
                    }
                }
            }
        }
        sender.await??;
        assert_eq!(received.len(), 4 * NUMBERS as usize);
        for (number, bytes) in (0_u32..).zip(received.chunks(4)) {
            assert_eq!(bytes, number.to_le_bytes());
        }
        assert!(
            dropped > 10 && canceled > 0,
            "{dropped} dropped, {canceled} canceled"
        );
        io::Result::Ok(())
    })
    .unwrap();
}

/// The error of a timed out write contains the number of bytes written, so the rest can follow.
#[test]
fn a_write_that_times_out_reports_its_progress() {
    if ran_in_own_process() {
        return;
    }
    gimmal::run(async {
        let (reader, writer) = pipe()?;
        let mut random = Random::new();
        let sent = content(1_000_000);
        let expected = sent.clone();
        let mut pieces = random.fork();
        let receiver = gimmal::spawn(async move {
            let mut received = Vec::new();
            loop {
                let piece = Vec::with_capacity(1 + pieces.below(20_000));
                let (n, piece) = reader.read(piece).await?;
                received.extend(piece);
                if n == 0 {
                    return io::Result::Ok(received);
                }
                gimmal::sleep(Duration::from_micros(pieces.below(20) as u64)).await?;
            }
        });
        let mut sent = sent;
        let mut timeouts = 0;
        while !sent.is_empty() {
            let time = Duration::from_micros(random.below(60) as u64);
            match writer.write_all(sent).timeout(time).await {
                Ok(_) => break,
                Err(error) => {
                    timeouts += 1;
                    let error = error.into_inner().expect("no foreign future");
                    let done = error.transferred();
                    sent = error.into_buf();
                    sent.drain(..done);
                }
            }
        }
        writer.close().await?;
        assert!(receiver.await?? == expected);
        assert!(timeouts > 0);
        io::Result::Ok(())
    })
    .unwrap();
}

/// Concurrent writes do not mix, although each one passes through the pipe in many pieces.
#[test]
fn whole_writes_to_a_pipe_are_contiguous() {
    const LEN: usize = 300_000;
    if ran_in_own_process() {
        return;
    }
    gimmal::run(async {
        let (reader, writer) = pipe()?;
        let writing = async {
            let (one, two) = (vec![1; LEN], vec![2; LEN]);
            let (one, two) = gimmal::join((writer.write_all(one), writer.write_all(two))).await;
            one?;
            two?;
            writer.close().await
        };
        let (written, read) = gimmal::join((writing, reader.read_to_end(Vec::new()))).await;
        written?;
        let (n, bytes) = read?;
        assert_eq!(n, 2 * LEN);
        assert_eq!(bytes.chunk_by(|a, b| a == b).count(), 2);
        io::Result::Ok(())
    })
    .unwrap();
}

#[test]
fn a_pipe_converts_to_std_when_no_operation_holds_it() {
    if ran_in_own_process() {
        return;
    }
    gimmal::run(async {
        let (reader, writer) = pipe()?;
        let none = dropped_after(reader.read(vec![0; 8]), 1, MOMENTS[0]).await;
        assert!(none.is_none());
        let error = reader.into_std().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceBusy);
        let reader = error.into_buf();
        writer.write_all("abcd").await?;
        assert_eq!(reader.read_exact(vec![0; 2], 2).await?, b"ab");
        let mut reader = reader.into_std().map_err(io::Error::from)?;
        let mut rest = [0; 2];
        reader.read_exact(&mut rest)?;
        assert_eq!(rest, *b"cd");
        let mut writer = writer.into_std().map_err(io::Error::from)?;
        writer.write_all(b"ef")?;
        reader.read_exact(&mut rest)?;
        assert_eq!(rest, *b"ef");
        io::Result::Ok(())
    })
    .unwrap();
}

#[test]
fn the_other_end_may_be_a_child_process() {
    if ran_in_own_process() {
        return;
    }
    gimmal::run(async {
        let mut child = Command::new("sh")
            .args(["-c", "cat; echo done >&2"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let input = PipeWriter::from(child.stdin.take().unwrap());
        let output = PipeReader::from(child.stdout.take().unwrap());
        let errors = PipeReader::from(child.stderr.take().unwrap());
        let text = vec![7; 300_000];
        let write = async {
            let text = input.write_all(text).await?;
            input.close().await?;
            io::Result::Ok(text)
        };
        let read = async { Ok(output.read_to_end(Vec::new()).await?.1) };
        let (written, read) = gimmal::try_join((write, read)).await?;
        assert!(written == read);
        assert_eq!(errors.read_to_end(Vec::new()).await?.1, b"done\n");
        assert!(child.wait()?.success());
        io::Result::Ok(())
    })
    .unwrap();
}

#[test]
fn closing_stops_a_read_in_flight() {
    if ran_in_own_process() {
        return;
    }
    gimmal::run(async {
        let (reader, _writer) = pipe()?;
        let read = reader.read(vec![7; 8]).submit();
        let (read, closed) = gimmal::join((read, reader.close())).await;
        let error = read.unwrap_err();
        assert!(gimmal::is_canceled(&error));
        assert_eq!(error.into_buf(), [7; 8]);
        closed
    })
    .unwrap();
}

#[test]
fn the_capacity_is_the_one_the_kernel_chose() {
    if ran_in_own_process() {
        return;
    }
    gimmal::run(async {
        let (reader, writer) = pipe()?;
        assert_eq!(reader.capacity()?, writer.capacity()?);
        assert_eq!(writer.set_capacity(5000)?, 8192);
        assert_eq!(reader.capacity()?, 8192);
        // No more than there is room for: Linux 6.1 waits for a reader if it is more.
        let (n, _) = writer.write(content(8192)).await?;
        assert_eq!(n, 8192);
        let error = reader.set_capacity(4096).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceBusy);
        assert!(error.to_string().contains("4096"), "{error}");
        let (server, _client) = std::os::unix::net::UnixStream::pair()?;
        let error = PipeReader::from(std::os::fd::OwnedFd::from(server)).capacity();
        assert!(error.is_err());
        io::Result::Ok(())
    })
    .unwrap();
}

#[test]
fn two_ends_of_a_fifo_wait_for_each_other() {
    if ran_in_own_process() {
        return;
    }
    let directory = directory();
    let path = directory.path().join("fifo");
    for (name, builder) in rings() {
        let mut runtime = builder.build().unwrap();
        runtime.block_on(async {
            let baseline = Baseline::take();
            mkfifo(&path, 0o600).await.unwrap();
            let metadata = std::fs::metadata(&path).unwrap();
            assert!(metadata.file_type().is_fifo());
            let (reader, writer) =
                gimmal::try_join((PipeReader::open(&path), PipeWriter::open(&path)))
                    .await
                    .unwrap();
            let sent = content(LARGE);
            let (_, read) = gimmal::join((
                async {
                    writer.write_all(sent.clone()).await.unwrap();
                    drop(writer);
                },
                reader.read_to_end(Vec::new()),
            ))
            .await;
            assert!(read.unwrap().1 == sent);
            drop(reader);
            std::fs::remove_file(&path).unwrap();
            baseline.returns(&name).await;
        });
    }
}

/// A write to a full FIFO, and a read from an empty one, do not block the thread.
#[test]
fn a_full_or_empty_fifo_delays_no_other_task() {
    if ran_in_own_process() {
        return;
    }
    let directory = directory();
    let path = directory.path().join("fifo");
    gimmal::run(async {
        mkfifo(&path, 0o600).await?;
        let (reader, writer) =
            gimmal::try_join((PipeReader::open(&path), PipeWriter::open(&path))).await?;
        let sent = content(LARGE);
        let write = gimmal::spawn({
            let sent = sent.clone();
            async move {
                let done = writer.write_all(sent).await;
                done.map(|_| writer)
            }
        });
        for _ in 0..50 {
            next_turn().await;
        }
        assert!(!write.is_finished());
        let received = reader.read_exact(Vec::with_capacity(LARGE), LARGE).await?;
        assert!(received == sent);
        let _writer = write.await??;
        let error = reader.read(vec![0; 8]).timeout(Duration::from_millis(2));
        assert!(gimmal::is_timeout(&error.await.unwrap_err()));
        io::Result::Ok(())
    })
    .unwrap();
}

/// More opens wait than the kernel has workers. Writes to files, which need a worker, continue, and so do the opens.
#[test]
fn waiting_opens_delay_no_other_operation() {
    const FIFOS: usize = 24;
    if ran_in_own_process() {
        return;
    }
    let directory = directory();
    let paths: Vec<PathBuf> = (0..FIFOS)
        .map(|n| directory.path().join(format!("fifo{n}")))
        .collect();
    gimmal::run(async {
        let baseline = Baseline::take();
        let opened = Rc::new(Cell::new(0));
        let mut waiting = Vec::new();
        for path in &paths {
            mkfifo(path, 0o600).await?;
            let (path, opened) = (path.clone(), opened.clone());
            waiting.push(gimmal::spawn(async move {
                let reader = PipeReader::open(path).await;
                opened.set(opened.get() + 1);
                reader
            }));
        }
        for n in 0..20 {
            let path = directory.path().join(format!("file{n}"));
            gimmal::fs::write(&path, content(5000)).await?;
            assert!(gimmal::fs::read(&path).await? == content(5000));
        }
        assert_eq!(opened.get(), 0);
        for (path, waiting) in paths.iter().zip(waiting) {
            let writer = PipeWriter::open(path).await?;
            let reader = waiting.await??;
            writer.write_all("x").await?;
            assert_eq!(reader.read(vec![0; 8]).await?.1, b"x");
        }
        baseline.returns("waiting opens").await;
        io::Result::Ok(())
    })
    .unwrap();
}

#[test]
fn a_waiting_open_can_be_canceled_and_dropped() {
    if ran_in_own_process() {
        return;
    }
    let directory = directory();
    let path = directory.path().join("fifo");
    gimmal::run(async {
        mkfifo(&path, 0o600).await?;
        let baseline = Baseline::take();
        for round in 0..40 {
            let time = Duration::from_micros(100 * round);
            let error = PipeReader::open(&path).timeout(time).await.unwrap_err();
            assert!(gimmal::is_timeout(&error));
            let error = PipeWriter::open(&path).timeout(time).await.unwrap_err();
            assert!(gimmal::is_timeout(&error));
            // If the kernel had kept the canceled open, this one would succeed.
            let none = dropped_after(PipeWriter::open(&path), 2, MOMENTS[round as usize % 3]).await;
            assert!(none.is_none());
            baseline.returns("a stopped open").await;
        }
        let (reader, writer) =
            gimmal::try_join((PipeReader::open(&path), PipeWriter::open(&path))).await?;
        writer.write_all("x").await?;
        assert_eq!(reader.read(vec![0; 8]).await?.1, b"x");
        io::Result::Ok(())
    })
    .unwrap();
}

#[test]
fn opening_something_other_than_a_fifo_fails_with_its_path() {
    if ran_in_own_process() {
        return;
    }
    let directory = directory();
    let file = directory.path().join("file");
    std::fs::write(&file, "kept").unwrap();
    gimmal::run(async {
        for path in [file.as_path(), directory.path(), "/dev/null".as_ref()] {
            let error = PipeReader::open(path).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
            assert!(error.to_string().contains(path.to_str().unwrap()));
            assert!(error.to_string().contains("not a FIFO"), "{error}");
            assert!(PipeWriter::open(path).await.is_err());
        }
        assert_eq!(std::fs::read(&file)?, b"kept");
        let missing = directory.path().join("missing");
        let error = PipeWriter::open(&missing).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("missing"), "{error}");
        let error = mkfifo(&file, 0o600).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert!(error.to_string().contains("file"), "{error}");
        let error = mkfifo("a\0b", 0o600).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        io::Result::Ok(())
    })
    .unwrap();
}

#[test]
fn pipe_futures_can_be_dropped_after_any_poll() {
    if ran_in_own_process() {
        return;
    }
    let directory = directory();
    let path = directory.path().join("fifo");
    gimmal::run(async {
        let moments = &MOMENTS[..3];
        let (reader, writer) = pipe()?;
        let (reader, writer) = (Rc::new(reader), Rc::new(writer));
        dropped_everywhere("read", moments, || async {
            writer.write_all("abc").await.unwrap();
            reader.read(vec![0; 64]).await.unwrap();
        })
        .await;
        // Bytes left by dropped reads would count as kept bytes, so they are read here.
        writer.write_all("end").await?;
        let mut left = Vec::new();
        while !left.ends_with(b"end") {
            left.extend(reader.read(vec![0; 64]).await?.1);
        }
        dropped_everywhere("mkfifo", moments, || {
            let _ = std::fs::remove_file(&path);
            mkfifo(&path, 0o600)
        })
        .await;
        dropped_everywhere("open", moments, || {
            gimmal::try_join((PipeReader::open(&path), PipeWriter::open(&path)))
        })
        .await;
        io::Result::Ok(())
    })
    .unwrap();
}

/// `fs` also opens FIFOs, and waits for the other end as `open(2)` does, except with `O_NONBLOCK`.
#[test]
fn a_fifo_opened_as_a_file_for_writing_waits_for_a_reader() {
    if ran_in_own_process() {
        return;
    }
    let directory = directory();
    let path = directory.path().join("fifo");
    gimmal::run(async {
        mkfifo(&path, 0o600).await?;
        let mut options = OpenOptions::new();
        let opened = options.write(true).open(&path);
        let error = opened.timeout(Duration::from_millis(2)).await.unwrap_err();
        assert!(gimmal::is_timeout(&error), "{error}");
        let (file, reader) =
            gimmal::try_join((options.write(true).open(&path), PipeReader::open(&path))).await?;
        file.write_all("x").await?;
        assert_eq!(reader.read(vec![0; 8]).await?.1, b"x");
        drop((file, reader));
        let at_once = options.custom_flags(libc::O_NONBLOCK).open(&path).await;
        let error = at_once.unwrap_err();
        assert!(error.to_string().contains("fifo"), "{error}");
        assert!(!gimmal::is_canceled(&error));
        io::Result::Ok(())
    })
    .unwrap();
}
