//! Reading by lines: against std, over the limit, and under cancels and drops; and writing through a buffer.

mod baseline;

use baseline::{Baseline, MOMENTS, Random, alone, directory, dropped_after};
use gimmal::fs::File;
use gimmal::io::{BufReader, BufWriter, LINE_MAX, pipe};
use gimmal::prelude::*;
use std::io::{self, BufRead, ErrorKind};
use std::time::Duration;

/// Text with lines of all lengths, some of them empty, some that end with `\r\n`, the last without an end.
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
fn lines_are_those_of_std() {
    let _alone = alone();
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
fn files_whose_size_nobody_knows_are_read_to_their_end() {
    let _alone = alone();
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
    let _alone = alone();
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
                for _ in 0..2 {
                    let error = lines.next_line().await.unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::InvalidData);
                    assert!(error.to_string().contains("10 bytes"), "{error}");
                }
                // No more than was needed to see that was read.
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

#[test]
fn a_line_that_is_no_text_stays_in_the_buffer() {
    let _alone = alone();
    gimmal::run(async {
        let (reader, writer) = pipe()?;
        writer.write_all(&b"good\nb\xffd\nlast"[..]).await?;
        drop(writer);
        let mut lines = BufReader::new(reader).lines();
        assert_eq!(lines.next_line().await?.as_deref(), Some("good"));
        let error = lines.next_line().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        let mut reader = lines.into_inner();
        let mut into = String::from("before");
        assert!(reader.read_line(&mut into).await.is_err());
        assert_eq!(into, "before");
        let mut bytes = Vec::new();
        assert_eq!(reader.read_until(b'\n', &mut bytes).await?, 4);
        assert_eq!(bytes, b"b\xffd\n");
        assert_eq!(reader.fill_buf().await?, b"last");
        reader.consume(1);
        let (_, rest) = reader.into_inner();
        assert_eq!(rest, b"ast");
        io::Result::Ok(())
    })
    .unwrap();
}

/// Lines of numbers through a pipe, with waits that are dropped, timed out and cancelled at random, mixed with other reads.
#[test]
fn no_line_is_lost_whatever_becomes_of_the_waits() {
    const LINES: usize = 200_000;
    let _alone = alone();
    gimmal::run(async {
        let mut random = Random::new();
        let (reader, writer) = pipe()?;
        let mut pieces = random.fork();
        let sender = gimmal::spawn(async move {
            let mut next = 0;
            while next < LINES {
                let end = (next + 1 + pieces.below(500)).min(LINES);
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
                        // What there is stays there.
                        Some(Err(error)) => {
                            assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
                            assert_eq!(error.done(), 0);
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
        for n in 0..LINES {
            assert_eq!(lines.next(), Some(&*n.to_string()));
        }
        assert!(lines.next().is_none());
        assert!(dropped > 10 && timeouts > 10, "{dropped}, {timeouts}");
        io::Result::Ok(())
    })
    .unwrap();
}

/// Lines that are in the buffer already let other tasks go on, and are refused in a cancelled scope.
#[test]
fn what_is_in_the_buffer_is_a_leaf_too() {
    let _alone = alone();
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
        assert!(read < 9000, "{read} lines before anybody else had a turn");
        let error = lines.next_line().timeout(Duration::ZERO).await.unwrap_err();
        assert!(gimmal::is_timeout(&error));
        assert_eq!(lines.get_ref().buffer().len(), 9999 - read);
        io::Result::Ok(())
    })
    .unwrap();
}

/// Dropped after any number of polls, a read of a line or of so many bytes leaves what it had: nothing is missing after it.
#[test]
fn a_read_that_is_dropped_at_any_poll_leaves_what_it_had() {
    let _alone = alone();
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

/// Pieces of all sizes, written through a buffer and flushed at random, with timeouts after which the rest is in the buffer.
#[test]
fn what_is_written_through_a_buffer_arrives_in_order() {
    let _alone = alone();
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
                let error = error.into_inner().expect("nothing of it is foreign");
                let done = error.done();
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
fn what_a_flush_could_not_write_stays_in_the_buffer() {
    let _alone = alone();
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
        assert_eq!((error.kind(), error.done()), (ErrorKind::BrokenPipe, 0));
        assert_eq!(writer.into_inner().1, b"kept");
        io::Result::Ok(())
    })
    .unwrap();
}
