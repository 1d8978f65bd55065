//! Reading lines: compared with std, beyond the length limit, and under cancels and drops. Writing through a buffer.

use common::{
    Baseline, MOMENTS, Random, directory, dropped_after, next_turn, quick_or_full,
    ran_in_own_process,
};
use futures_util::{Stream, StreamExt};
use gimmal::cancel::Scope;
use gimmal::fs::File;
use gimmal::io::{BufReader, BufWriter, LINE_MAX, pipe};
use gimmal::prelude::*;
use std::future::poll_fn;
use std::io::{self, BufRead, ErrorKind};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

/// Lines of all lengths, some of them empty, some ending in `\r\n`, and the last one without an end.
fn text(random: &mut Random, len: usize) -> String {
    let mut text = String::new();
    while text.len() < len {
        let line = ["x", "yz", "é", ""][random.below(4)].repeat(random.below(120));
        text.push_str(&line);
        text.push_str(["\n", "\r\n", "\n\n", "\r"][random.below(4)]);
    }
    text.push_str("no end");
    text
}

#[test]
fn lines_match_those_of_std() {
    if ran_in_own_process() {
        return;
    }
    let directory = directory();
    let path = directory.path().join("text");
    let mut random = Random::new();
    let long = text(&mut random, 300_000);
    gimmal::run(async {
        for text in ["", "\n", "a", "a\n", "a\r\n", "\r\n\r", "a\n\nb", &long] {
            std::fs::write(&path, text)?;
            let expected: Vec<String> = text.as_bytes().lines().collect::<Result<_, _>>()?;
            for capacity in [1, 2, 7, 4096, 1 << 20] {
                if capacity < 7 && text.len() > 1000 {
                    continue;
                }
                let file = File::open(&path).await?;
                let mut lines = BufReader::with_capacity(capacity, file).lines();
                let mut found = Vec::new();
                while let Some(line) = lines.next_line().await? {
                    found.push(line);
                }
                assert_eq!(found, expected, "{capacity}");
                assert!(lines.next_line().await?.is_none());

                let mut reader = BufReader::with_capacity(capacity, File::open(&path).await?);
                let mut whole = String::new();
                while reader.read_line(&mut whole).await? > 0 {}
                assert_eq!(whole, text);

                let mut reader = BufReader::with_capacity(capacity, File::open(&path).await?);
                let mut parts = Vec::new();
                let mut part = Vec::new();
                while reader.read_until(b'x', &mut part).await? > 0 {
                    parts.push(std::mem::take(&mut part));
                }
                let mut theirs = text.as_bytes();
                let mut expected = Vec::new();
                while theirs.read_until(b'x', &mut part)? > 0 {
                    expected.push(std::mem::take(&mut part));
                }
                assert!(parts == expected);
            }
        }
        io::Result::Ok(())
    })
    .unwrap();
}

#[test]
fn files_of_unknown_size_are_read_to_their_end() {
    if ran_in_own_process() {
        return;
    }
    gimmal::run(async {
        let mut lines = BufReader::new(File::open("/proc/filesystems").await?).lines();
        let mut found = Vec::new();
        while let Some(line) = lines.next_line().await? {
            found.push(line);
        }
        let expected = std::fs::read_to_string("/proc/filesystems")?;
        assert_eq!(found, expected.lines().collect::<Vec<_>>());
        io::Result::Ok(())
    })
    .unwrap();
}

#[test]
fn a_line_over_the_limit_is_an_error_that_loses_nothing() {
    if ran_in_own_process() {
        return;
    }
    gimmal::run(async {
        for len in [10, 11, 12, 5000] {
            let (reader, writer) = pipe()?;
            writer.write_all("short\n").await?;
            writer.write_all("x".repeat(len)).await?;
            writer.write_all("\nnext\n").await?;
            drop(writer);
            let mut lines = BufReader::with_capacity(8, reader).line_max(10).lines();
            assert_eq!(lines.next_line().await?.as_deref(), Some("short"));
            if len > 10 {
                let error = lines.next_line().await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidData);
                assert!(error.to_string().contains("10 bytes"), "{error}");
                // It read no more than needed to detect the error.
                assert!((11..=20).contains(&lines.get_ref().buffer().len()));
                lines.get_mut().set_line_max(5000);
            }
            let line = lines.next_line().await?.unwrap();
            assert_eq!(line, "x".repeat(len));
            lines.get_mut().set_line_max(4);
            assert_eq!(lines.next_line().await?.as_deref(), Some("next"));
            assert!(lines.next_line().await?.is_none());
        }
        let mut endless = BufReader::new(File::open("/dev/zero").await?);
        let error = endless.read_line(&mut String::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert!(error.to_string().contains(&LINE_MAX.to_string()), "{error}");
        io::Result::Ok(())
    })
    .unwrap();
}

/// Bytes in lines of all lengths, some of which are not valid UTF-8.
fn mixed(random: &mut Random, len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < len {
        let part: &[u8] = [b"a", b"\xff", "é".as_bytes(), b"\xc3", b"\r"][random.below(5)];
        bytes.extend(part.repeat(random.below(6)));
        bytes.extend([&b"\n"[..], b"\r\n", b"", b"text\n"][random.below(4)]);
    }
    bytes
}

#[test]
fn after_an_invalid_line_comes_the_next_as_in_std() {
    if ran_in_own_process() {
        return;
    }
    let directory = directory();
    let path = directory.path().join("bytes");
    let mut random = Random::new();
    let inputs = [
        b"good\n\xff\nlast".to_vec(),
        b"\xff".to_vec(),
        b"\xff\n\xfe\n\n\xfd".to_vec(),
        mixed(&mut random, 5000),
    ];
    gimmal::run(async {
        for bytes in inputs {
            std::fs::write(&path, &bytes)?;
            let expected: Vec<_> = bytes.lines().map(Result::ok).collect();
            for capacity in [1, 3, 4096] {
                let file = File::open(&path).await?;
                let mut lines = BufReader::with_capacity(capacity, file).lines();
                let mut found = Vec::new();
                loop {
                    match lines.next_line().await {
                        Ok(None) => break,
                        Ok(Some(line)) => found.push(Some(line)),
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
                            found.push(None);
                        }
                    }
                    assert!(found.len() <= expected.len(), "an endless error");
                }
                assert_eq!(found, expected, "{capacity}");

                // The bytes of the valid text, and where an error occurred.
                let mut reader = BufReader::with_capacity(capacity, File::open(&path).await?);
                let (mut ours, mut theirs) = (String::new(), String::new());
                let mut of_std = &bytes[..];
                loop {
                    let read = reader.read_line(&mut ours).await.ok();
                    assert_eq!(read, of_std.read_line(&mut theirs).ok());
                    assert_eq!(ours, theirs);
                    if read == Some(0) {
                        break;
                    }
                }
            }
        }
        io::Result::Ok(())
    })
    .unwrap();
}

/// Until the next line is read, the buffer starts with the bytes of the bad line, and every other read returns them.
#[test]
fn the_bytes_of_a_bad_line_are_available_after_the_error() {
    async fn after_the_error(line_max: usize) -> io::Result<BufReader<gimmal::io::PipeReader>> {
        let (reader, writer) = pipe()?;
        writer.write_all(&b"good\nb\xffd\nlast"[..]).await?;
        drop(writer);
        let mut lines = BufReader::new(reader).lines();
        assert_eq!(lines.next_line().await?.as_deref(), Some("good"));
        lines.get_mut().set_line_max(line_max);
        let error = lines.next_line().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert_eq!(lines.get_ref().buffer(), b"b\xffd\nlast");
        Ok(lines.into_inner())
    }
    if ran_in_own_process() {
        return;
    }
    gimmal::run(async {
        let (no_text, too_long) = (100, 2);
        for line_max in [no_text, too_long] {
            let mut reader = after_the_error(line_max).await?;
            let mut into = String::from("before");
            if line_max == no_text {
                assert_eq!(reader.read_line(&mut into).await?, 4);
                assert_eq!(into, "beforelast");
            } else {
                // Each bad line causes its own error.
                assert!(reader.read_line(&mut into).await.is_err());
                assert_eq!((reader.read_line(&mut into).await?, &*into), (0, "before"));
            }

            let mut reader = after_the_error(line_max).await?;
            assert_eq!(reader.read(vec![0; 1]).await?.1, b"b");
            let mut rest = Vec::new();
            assert_eq!(reader.read_until(b'd', &mut rest).await?, 2);
            assert_eq!(rest, b"\xffd");

            let mut reader = after_the_error(line_max).await?;
            assert_eq!(reader.read_exact(vec![0; 4], 4).await?, b"b\xffd\n");
            assert_eq!(reader.fill_buf().await?, b"last");

            let mut reader = after_the_error(line_max).await?;
            assert_eq!(reader.fill_buf().await?, b"b\xffd\nlast");
            reader.consume(3);
            assert_eq!(reader.read_line(&mut String::new()).await?, 1);

            let mut reader = after_the_error(line_max).await?;
            assert!(reader.unread(b"a\n"));
            assert_eq!(reader.read_line(&mut into).await?, 2);
            assert!(reader.read_line(&mut into).await.is_err());

            let mut reader = after_the_error(line_max).await?;
            assert_eq!(reader.skip_until(b'\n').await?, 4);
            assert_eq!(reader.skip_until(b'\n').await?, 4);
            assert_eq!(reader.skip_until(b'\n').await?, 0);

            let reader = after_the_error(line_max).await?;
            assert_eq!(reader.into_inner().1, b"b\xffd\nlast");
        }
        let mut reader = after_the_error(no_text).await?;
        let mut bytes = Vec::new();
        assert_eq!(reader.read_until(b'\n', &mut bytes).await?, 4);
        assert_eq!(bytes, b"b\xffd\n");
        assert_eq!(reader.read_line(&mut String::new()).await?, 4);
        io::Result::Ok(())
    })
    .unwrap();
}

/// Every line beyond the reader's limit is one error, whichever call reads it.
#[test]
fn after_a_too_long_line_comes_the_next() {
    if ran_in_own_process() {
        return;
    }
    let directory = directory();
    let path = directory.path().join("text");
    let mut random = Random::new();
    let text = text(&mut random, 10_000);
    gimmal::run(async {
        std::fs::write(&path, &text)?;
        for line_max in [0, 1, 30, 100] {
            let fits = |line: &str| line.len() <= line_max;
            // The limit does not count the `\n`, but counts the `\r`.
            let expected: Vec<_> = text
                .split('\n')
                .map(|line| fits(line).then_some(line))
                .collect();
            for capacity in [1, 7, 4096] {
                let reader = async || {
                    let file = File::open(&path).await?;
                    io::Result::Ok(BufReader::with_capacity(capacity, file).line_max(line_max))
                };
                let mut lines = reader().await?.lines();
                let mut reads = reader().await?;
                let mut parts = reader().await?;
                for line in &expected {
                    let found = lines.next_line().await;
                    let (mut read, mut part) = (String::new(), Vec::new());
                    let len = reads.read_line(&mut read).await;
                    let same = parts.read_until(b'\n', &mut part).await;
                    let Some(line) = line else {
                        for error in [found.unwrap_err(), len.unwrap_err(), same.unwrap_err()] {
                            assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
                        }
                        assert!(read.is_empty() && part.is_empty());
                        continue;
                    };
                    let without_end = line.strip_suffix('\r').unwrap_or(line);
                    // The last line has no end, so its `\r` belongs to the text.
                    let expected = if len.as_ref().unwrap() == &line.len() {
                        line
                    } else {
                        without_end
                    };
                    assert_eq!(found?.as_deref(), Some(expected));
                    assert_eq!(read.strip_suffix('\n').unwrap_or(&read), *line);
                    assert_eq!(part, read.as_bytes());
                    assert_eq!((len?, same?), (read.len(), read.len()));
                }
                assert!(lines.next_line().await?.is_none());
                assert_eq!(reads.read_line(&mut String::new()).await?, 0);
                assert_eq!(parts.read_until(b'\n', &mut Vec::new()).await?, 0);
            }
        }
        io::Result::Ok(())
    })
    .unwrap();
}

/// Skipping an endless line takes no memory, and the wait for its end can be canceled.
#[test]
fn an_endless_line_is_skipped_in_little_memory() {
    if ran_in_own_process() {
        return;
    }
    gimmal::run(async {
        let mut endless =
            BufReader::with_capacity(4096, File::open("/dev/zero").await?).line_max(9);
        let mut line = String::new();
        assert!(endless.read_line(&mut line).await.is_err());
        for _ in 0..3 {
            let time = Duration::from_millis(3);
            let error = endless
                .read_line(&mut line)
                .timeout(time)
                .await
                .unwrap_err();
            assert!(gimmal::is_timeout(&error), "{error}");
            assert!(endless.buffer().len() <= 4096);
        }
        io::Result::Ok(())
    })
    .unwrap();
}

/// A higher limit applies only to lines of which nothing was discarded.
#[test]
fn a_partly_skipped_line_is_skipped_to_its_end() {
    if ran_in_own_process() {
        return;
    }
    gimmal::run(async {
        for fill in [false, true] {
            let (reader, writer) = pipe()?;
            writer.write_all("x".repeat(100)).await?;
            let mut reader = BufReader::new(reader).line_max(10);
            let mut line = String::new();
            assert!(reader.read_line(&mut line).await.is_err());
            let cut = dropped_after(reader.read_line(&mut line), 1, MOMENTS[0]).await;
            assert!(cut.is_none() && reader.buffer().is_empty());
            writer.write_all("more\nnext\n").await?;
            if fill {
                assert_eq!(reader.fill_buf().await?, b"more\nnext\n");
            }
            reader.set_line_max(1000);
            assert_eq!((reader.read_line(&mut line).await?, &*line), (5, "next\n"));
        }
        io::Result::Ok(())
    })
    .unwrap();
}

/// Every third line is too long or invalid, and waits are dropped and timed out at random, even while skipping.
#[test]
fn skipping_resumes_after_a_wait_that_was_canceled() {
    let count = quick_or_full(600, 3_000);
    if ran_in_own_process() {
        return;
    }
    gimmal::run(async {
        let mut random = Random::new();
        let (reader, writer) = pipe()?;
        let mut pieces = random.fork();
        let sender = gimmal::spawn(async move {
            for n in 0..count {
                let line = match n % 6 {
                    2 => [b"x".repeat(100 + pieces.below(2000)), b"\n".to_vec()].concat(),
                    5 => b"no\xfftext\n".to_vec(),
                    _ => format!("{n}\n").into_bytes(),
                };
                let (start, end) = line.split_at(pieces.below(line.len()));
                writer.write_all(start.to_vec()).await?;
                if pieces.one_in(3) {
                    gimmal::sleep(Duration::from_micros(20)).await?;
                }
                writer.write_all(end.to_vec()).await?;
            }
            writer.close().await
        });
        let mut lines = BufReader::with_capacity(30, reader).line_max(50).lines();
        let (mut dropped, mut timeouts) = (0, 0);
        for n in 0..count {
            let line = loop {
                if random.one_in(2) {
                    let moment = MOMENTS[random.below(3)];
                    match dropped_after(lines.next_line(), 1 + random.below(3), moment).await {
                        None => dropped += 1,
                        Some(line) => break line,
                    }
                } else {
                    let time = Duration::from_micros(random.below(10) as u64);
                    match lines.next_line().timeout(time).await {
                        Err(error) if gimmal::is_timeout(&error) => timeouts += 1,
                        Err(error) => break Err(error.into()),
                        Ok(line) => break Ok(line),
                    }
                }
            };
            match (n % 3, line) {
                (2, Err(error)) => assert_eq!(error.kind(), ErrorKind::InvalidData, "{n}: {error}"),
                (_, line) => assert_eq!(line?, Some(n.to_string())),
            }
        }
        assert!(lines.next_line().await?.is_none());
        sender.await??;
        assert!(dropped > 10 && timeouts > 10, "{dropped}, {timeouts}");
        io::Result::Ok(())
    })
    .unwrap();
}

/// Numbered lines through a pipe, with waits that are dropped, timed out and canceled at random, mixed with other
/// reads.
#[test]
fn no_line_is_lost_however_the_waits_end() {
    let count = quick_or_full(40_000, 200_000);
    if ran_in_own_process() {
        return;
    }
    gimmal::run(async {
        let mut random = Random::new();
        let (reader, writer) = pipe()?;
        let mut pieces = random.fork();
        let sender = gimmal::spawn(async move {
            let mut next = 0;
            while next < count {
                let end = (next + 1 + pieces.below(500)).min(count);
                let text: String = (next..end).map(|n| format!("{n}\n")).collect();
                writer.write_all(text).await?;
                next = end;
                if pieces.one_in(3) {
                    gimmal::sleep(Duration::from_micros(20)).await?;
                }
            }
            writer.close().await
        });
        let mut reader = BufReader::with_capacity(300, reader);
        let mut text = String::new();
        let (mut dropped, mut timeouts) = (0, 0);
        loop {
            match random.below(4) {
                0 => {
                    let moment = MOMENTS[random.below(3)];
                    match dropped_after(reader.read_line(&mut text), 1, moment).await {
                        None => dropped += 1,
                        Some(read) => _ = read?,
                    }
                }
                1 => {
                    let time = Duration::from_micros(random.below(10) as u64);
                    match reader.read_line(&mut text).timeout(time).await {
                        Ok(_) => {}
                        Err(error) => {
                            assert!(gimmal::is_timeout(&error), "{error}");
                            timeouts += 1;
                        }
                    }
                }
                2 => {
                    let len = 1 + random.below(40);
                    let moment = MOMENTS[random.below(3)];
                    match dropped_after(reader.read_exact(vec![0; len], len), 1, moment).await {
                        None => dropped += 1,
                        Some(Ok(bytes)) => text.push_str(str::from_utf8(&bytes).unwrap()),
                        // The available bytes stay in the buffer.
                        Some(Err(error)) => {
                            assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
                            assert_eq!(error.transferred(), 0);
                        }
                    }
                }
                _ => {
                    let (n, bytes) = reader
                        .read(Vec::with_capacity(1 + random.below(400)))
                        .await?;
                    text.push_str(str::from_utf8(&bytes).unwrap());
                    if n == 0 {
                        break;
                    }
                }
            }
        }
        sender.await??;
        let mut lines = text.lines();
        for n in 0..count {
            assert_eq!(lines.next(), Some(&*n.to_string()));
        }
        assert!(lines.next().is_none());
        assert!(dropped > 10 && timeouts > 10, "{dropped}, {timeouts}");
        io::Result::Ok(())
    })
    .unwrap();
}

/// Reading lines that are already buffered yields to other tasks, and is rejected in a canceled scope.
#[test]
fn reading_from_the_buffer_is_a_leaf_too() {
    if ran_in_own_process() {
        return;
    }
    gimmal::run(async {
        let (reader, writer) = pipe()?;
        writer.write_all("\n".repeat(10_000)).await?;
        let mut lines = BufReader::with_capacity(10_000, reader).lines();
        assert!(lines.next_line().await?.is_some());
        let other = gimmal::spawn(async {});
        let mut read = 0;
        while !other.is_finished() {
            assert!(lines.next_line().await?.is_some());
            read += 1;
        }
        assert!(read < 9000, "{read} lines before another task was polled");
        let error = lines.next_line().timeout(Duration::ZERO).await.unwrap_err();
        assert!(gimmal::is_timeout(&error));
        assert_eq!(lines.get_ref().buffer().len(), 9999 - read);
        io::Result::Ok(())
    })
    .unwrap();
}

/// Dropped after any number of polls, a read of a line or of an exact number of bytes keeps what it has read: nothing
/// is missing afterward.
#[test]
fn a_read_dropped_at_any_poll_keeps_its_bytes() {
    if ran_in_own_process() {
        return;
    }
    gimmal::run(async {
        let (reader, writer) = pipe()?;
        let mut reader = BufReader::with_capacity(3, reader);
        let baseline = Baseline::take();
        for moment in &MOMENTS[..3] {
            for polls in 0..12 {
                writer.write_all("a line\nseven b").await?;
                let mut line = String::new();
                let read = dropped_after(reader.read_line(&mut line), polls, *moment).await;
                if let Some(read) = read {
                    assert_eq!((read?, &*line), (7, "a line\n"));
                } else {
                    assert_eq!(line, "");
                    baseline.returns("a line").await;
                    reader.read_line(&mut line).await?;
                    assert_eq!(line, "a line\n");
                }
                let read = reader.read_exact(vec![0; 7], 7);
                if let Some(read) = dropped_after(read, polls, *moment).await {
                    assert_eq!(read?, b"seven b");
                } else {
                    baseline.returns("seven bytes").await;
                    assert_eq!(reader.read_exact(vec![0; 7], 7).await?, b"seven b");
                }
                assert!(reader.buffer().is_empty());
            }
        }
        io::Result::Ok(())
    })
    .unwrap();
}

/// Pieces of all sizes, written through a buffer and flushed at random, with timeouts that leave the rest in the
/// buffer.
#[test]
fn bytes_written_through_a_buffer_arrive_in_order() {
    if ran_in_own_process() {
        return;
    }
    gimmal::run(async {
        let mut random = Random::new();
        let (reader, writer) = pipe()?;
        let receiver = gimmal::spawn(async move { reader.read_to_end(Vec::new()).await });
        let mut writer = BufWriter::with_capacity(1000, writer);
        let mut expected = Vec::new();
        let mut timeouts = 0;
        while expected.len() < 1_000_000 {
            let most = [20, 2500][random.below(2)];
            let start = expected.len();
            let piece: Vec<u8> = (0..random.below(most)).map(|n| (start + n) as u8).collect();
            expected.extend(&piece);
            let time = Duration::from_micros(random.below(20) as u64);
            if random.one_in(2) {
                writer.write_all(piece).await?;
            } else if let Err(error) = writer.write_all(piece).timeout(time).await {
                let error = error.into_inner().expect("no foreign future");
                let done = error.transferred();
                timeouts += 1;
                writer.write_all(error.into_buf().split_off(done)).await?;
            }
            assert!(writer.buffer().len() <= 1000);
            if random.one_in(8) && writer.flush().timeout(time).await.is_ok() {
                assert!(writer.buffer().is_empty());
            }
        }
        writer.shutdown().await?;
        let (writer, rest) = writer.into_inner();
        assert!(rest.is_empty());
        writer.close().await?;
        assert!(receiver.await??.1 == expected);
        assert!(timeouts > 0);
        io::Result::Ok(())
    })
    .unwrap();
}

#[test]
fn bytes_that_a_flush_could_not_write_stay_in_the_buffer() {
    if ran_in_own_process() {
        return;
    }
    gimmal::run(async {
        let (reader, writer) = pipe()?;
        let mut writer = BufWriter::new(writer);
        writer.write_all("kept").await?;
        drop(reader);
        assert_eq!(
            writer.flush().await.unwrap_err().kind(),
            ErrorKind::BrokenPipe
        );
        assert_eq!(writer.buffer(), b"kept");
        let large = vec![7; 1 << 20];
        let error = writer.write_all(large).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.transferred()),
            (ErrorKind::BrokenPipe, 0)
        );
        assert_eq!(writer.into_inner().1, b"kept");
        io::Result::Ok(())
    })
    .unwrap();
}

/// Polls the stream once, before the next line has arrived.
async fn begin(mut stream: Pin<&mut impl Stream<Item = io::Result<String>>>) {
    poll_fn(|context| match stream.as_mut().poll_next(context) {
        Poll::Pending => Poll::Ready(()),
        Poll::Ready(line) => panic!("{line:?}"),
    })
    .await;
    next_turn().await;
}

#[test]
fn a_stream_of_lines_matches_next_line() {
    if ran_in_own_process() {
        return;
    }
    gimmal::run(async {
        for bytes in [&b""[..], b"\n", b"a\r\nb", b"a\n\xff\nlong line\n\xfe"] {
            let reader = || BufReader::with_capacity(3, bytes).line_max(5).lines();
            let mut one_by_one = reader();
            let mut expected = Vec::new();
            while let Some(line) = one_by_one.next_line().await.transpose() {
                expected.push(line.map_err(|error| error.kind()));
            }
            let mut lines = reader();
            let stream = lines
                .stream()
                .map(|line| line.map_err(|error| error.kind()));
            let mut stream = pin!(stream);
            assert_eq!(stream.as_mut().collect::<Vec<_>>().await, expected);
            assert!(stream.next().await.is_none(), "the stream stays at its end");
        }
        io::Result::Ok(())
    })
    .unwrap();
}

/// However a wait or the stream ends, `Lines` keeps the bytes that were read.
#[test]
fn a_dropped_stream_of_lines_loses_no_line() {
    if ran_in_own_process() {
        return;
    }
    gimmal::run(async {
        let (reader, writer) = pipe()?;
        let baseline = Baseline::take();
        let mut lines = BufReader::new(reader).lines();
        writer.write_all("one\nt").await?;
        {
            let mut stream = pin!(lines.stream());
            assert_eq!(stream.next().await.unwrap()?, "one");
            begin(stream.as_mut()).await;
        }
        baseline.returns("a dropped stream").await;
        writer.write_all("wo\nth").await?;
        assert_eq!(lines.next_line().await?.unwrap(), "two");
        {
            let mut stream = pin!(lines.stream());
            // The wait is dropped, but the stream is not.
            begin(stream.as_mut()).await;
            let next = async { stream.next().await.unwrap() };
            let cut = next.timeout(Duration::from_millis(1)).await;
            assert!(gimmal::is_timeout(&cut.unwrap_err()));
            writer.write_all("ree\nfo").await?;
            assert_eq!(stream.next().await.unwrap()?, "three");

            // In a canceled scope the wait is rejected, and a cancel of a scope that was left does not affect the next
            // wait.
            let scope = Scope::new();
            let left = async {
                begin(stream.as_mut()).await;
                scope.cancel();
                poll_fn(|context| {
                    let polled = stream.as_mut().poll_next(context);
                    assert!(polled.is_pending(), "in flight");
                    Poll::Ready(())
                })
                .await;
            };
            scope.run_any(left).await.ok();
            writer.write_all("ur\nfive\n").await?;
            assert_eq!(stream.next().await.unwrap()?, "four");
            let scope = Scope::new();
            scope.cancel();
            let rejected = scope.run_any(stream.next()).await.ok().flatten();
            assert!(gimmal::is_canceled(&rejected.unwrap().unwrap_err()));
            assert_eq!(stream.next().await.unwrap()?, "five");
            begin(stream.as_mut()).await;
        }
        writer.write_all("end").await?;
        drop(writer);
        assert_eq!(lines.next_line().await?.unwrap(), "end");
        assert!(pin!(lines.stream()).next().await.is_none());
        io::Result::Ok(())
    })
    .unwrap();
}
