//! Readers and writers over memory, and reader adapters: compared with std in every size, canceled and dropped.

use common::{MOMENTS, Random, directory, dropped_after, ran_in_own_process};
use gimmal::buf::{BufError, BufResult, IoBufMut};
use gimmal::cancel::Scope;
use gimmal::fs::File;
use gimmal::io::{self, BufReader, pipe};
use gimmal::net::UnixStream;
use gimmal::prelude::*;
use std::fmt::Debug;
use std::io::{Cursor, ErrorKind, Read, Write};
use std::time::Duration;

const TEXT: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";

fn run(test: impl AsyncFnOnce()) {
    if ran_in_own_process() {
        return;
    }
    gimmal::Runtime::new().unwrap().block_on(test());
}

/// Reads of all sizes match std's, and both return 0 at the end.
async fn reads_as_std<R: AsyncRead>(
    name: &str,
    mut ours: R,
    mut theirs: impl Read,
    max_len: usize,
) {
    let mut random = Random::new();
    for _ in 0..max_len {
        let room = 1 + random.below(9);
        let mut expected = vec![0; room];
        let n = theirs.read(&mut expected).unwrap();
        expected.truncate(n);
        // The content of the buffer before the read does not matter.
        let held = random.below(room + 1);
        let mut buf = vec![b'#'; held];
        buf.reserve_exact(room - held);
        assert_eq!(buf.capacity(), room);
        let (read, buf) = AsyncRead::read(&mut ours, buf).await.unwrap();
        assert_eq!((read, &buf), (n, &expected), "{name}, {room}");
    }
}

#[test]
fn memory_is_read_as_in_std() {
    run(async || {
        for len in [0, 1, 8, TEXT.len()] {
            let text = &TEXT[..len];
            reads_as_std("slice", text, text, 40).await;
            reads_as_std("mut slice", &mut &*text, text, 40).await;
            for position in [0, 1, len as u64, 1000, u64::MAX] {
                let at = |mut cursor: Cursor<Vec<u8>>| {
                    cursor.set_position(position);
                    cursor
                };
                let cursor = || at(Cursor::new(text.to_vec()));
                reads_as_std("cursor", cursor(), cursor(), 40).await;
            }
            for limit in [0, 1, 7, len as u64, 1000, u64::MAX] {
                let ours = AsyncRead::take(text, limit);
                reads_as_std("take", ours, Read::take(text, limit), 40).await;
                let ours = AsyncRead::take(io::repeat(7), limit);
                reads_as_std("repeat", ours, Read::take(io::repeat(7), limit), 40).await;
                let ours = AsyncRead::chain(text, Cursor::new(TEXT));
                let ours = AsyncRead::take(AsyncRead::chain(ours, io::empty()), limit);
                let theirs = Read::chain(text, Cursor::new(TEXT));
                reads_as_std("chain", ours, Read::take(theirs, limit), 80).await;
            }
        }
        reads_as_std("empty", io::empty(), io::empty(), 5).await;
        reads_as_std("endless", io::repeat(b'x'), io::repeat(b'x'), 5).await;
    });
}

#[test]
fn a_slice_and_a_cursor_move_as_in_std() {
    run(async || {
        let (mut ours, mut theirs) = (TEXT, TEXT);
        let (mut cursor, mut of_std) = (Cursor::new(TEXT), Cursor::new(TEXT));
        for len in [0, 1, 5, 10, 30, 1] {
            let mut expected = vec![0; len];
            let fits = Read::read_exact(&mut theirs, &mut expected).is_ok();
            let read = AsyncRead::read_exact(&mut ours, vec![0; len], len).await;
            assert_eq!(read.is_ok(), fits, "{len}");
            assert_eq!(ours, theirs);
            let read = read.or_else(|error| match error.kind() {
                ErrorKind::UnexpectedEof => Ok(error.into_buf()),
                _ => Err(error),
            });
            if fits {
                assert_eq!(read.unwrap(), expected);
            }
            assert_eq!(Read::read_exact(&mut of_std, &mut expected).is_ok(), fits);
            let read = AsyncRead::read_exact(&mut cursor, vec![0; len], len).await;
            assert_eq!(read.is_ok(), fits);
            assert_eq!(cursor.position(), of_std.position());
        }
    });
}

/// Writes of all sizes match std's.
async fn writes_as_std<W>(name: &str, mut ours: W, mut theirs: W)
where
    W: AsyncWrite + Write + Debug + PartialEq,
{
    let mut random = Random::new();
    for _ in 0..20 {
        let bytes = TEXT[..random.below(9)].to_vec();
        let expected = Write::write(&mut theirs, &bytes).ok();
        let written = AsyncWrite::write(&mut ours, bytes.clone()).await;
        let written = written.map(|(n, buf)| {
            assert_eq!(buf, bytes);
            n
        });
        assert_eq!(written.ok(), expected, "{name}");
        assert_eq!(ours, theirs, "{name}");
    }
    AsyncWrite::flush(&mut ours).await.unwrap();
    AsyncWrite::shutdown(&mut ours).await.unwrap();
    assert_eq!(ours, theirs, "{name}");
}

#[test]
fn memory_is_written_as_in_std() {
    run(async || {
        writes_as_std("vector", b"head".to_vec(), b"head".to_vec()).await;
        for position in [0, 3, 20] {
            let mut cursor = Cursor::new(b"0123456789".to_vec());
            cursor.set_position(position);
            writes_as_std("cursor", cursor.clone(), cursor).await;
            let mut cursor = Cursor::new([b'.'; 50]);
            cursor.set_position(position);
            writes_as_std("array", cursor.clone(), cursor).await;
            let (mut ours, mut theirs) = ([0; 30], [0; 30]);
            writes_as_std(
                "slice",
                Cursor::new(&mut ours[..]),
                Cursor::new(&mut theirs),
            )
            .await;
        }
        let (n, buf) = AsyncWrite::write(&mut io::sink(), "abc").await.unwrap();
        assert_eq!((n, buf), (3, "abc"));
        let (n, buf) = AsyncWrite::write(&mut io::empty(), "abc").await.unwrap();
        assert_eq!((n, buf), (3, "abc"));
    });
}

#[test]
fn a_read_without_room_is_an_error_and_not_the_end() {
    async fn fails_with_no_room(name: &str, mut reader: impl AsyncRead) {
        let error = reader.read(Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}");
    }
    run(async || {
        fails_with_no_room("slice", TEXT).await;
        fails_with_no_room("an empty slice", &b""[..]).await;
        fails_with_no_room("cursor", Cursor::new("a")).await;
        fails_with_no_room("empty", io::empty()).await;
        fails_with_no_room("repeat", io::repeat(1)).await;
        fails_with_no_room("take", AsyncRead::take(TEXT, 3)).await;
        fails_with_no_room("take of zero bytes", AsyncRead::take(TEXT, 0)).await;
        fails_with_no_room("chain", AsyncRead::chain(TEXT, TEXT)).await;
        fails_with_no_room("the second", AsyncRead::chain(io::empty(), TEXT)).await;
    });
}

/// In a canceled scope, or dropped before its first poll, an operation that is always ready has no effect, like any
/// other.
#[test]
fn operations_that_are_ready_at_once_are_rejected_in_a_canceled_scope() {
    async fn is_rejected<T: Debug, B: Debug + 'static>(
        name: &str,
        result: impl Future<Output = BufResult<T, B>>,
    ) -> B {
        let scope = Scope::new();
        scope.cancel();
        let error = scope.run_any(result).await.unwrap().unwrap_err();
        assert!(gimmal::is_canceled(&error), "{name}: {error}");
        error.into_buf()
    }
    run(async || {
        let held = || b"held".to_vec();
        let (mut slice, mut cursor) = (TEXT, Cursor::new(TEXT));
        let (mut vector, mut place) = (Vec::new(), Cursor::new(Vec::new()));
        assert_eq!(
            is_rejected("slice", AsyncRead::read(&mut slice, held())).await,
            b"held"
        );
        assert_eq!(
            is_rejected("cursor", AsyncRead::read(&mut cursor, held())).await,
            b"held"
        );
        assert_eq!((slice, cursor.position()), (TEXT, 0));
        is_rejected("vector", AsyncWrite::write(&mut vector, "x")).await;
        is_rejected("cursor", AsyncWrite::write(&mut place, "x")).await;
        assert!(vector.is_empty() && place.get_ref().is_empty());
        is_rejected("sink", AsyncWrite::write(&mut io::sink(), "x")).await;
        for end in [true, false] {
            let mut take = AsyncRead::take(TEXT, if end { 0 } else { 9 });
            assert_eq!(is_rejected("take", take.read(held())).await, b"held");
            assert_eq!(take.get_ref(), &TEXT);
        }
        assert_eq!(
            is_rejected("repeat", AsyncRead::read(&mut io::repeat(1), held())).await,
            b"held"
        );
        assert_eq!(
            is_rejected("empty", AsyncRead::read(&mut io::empty(), held())).await,
            b"held"
        );

        // When the wait for the second reader is canceled, the end of the first one has not changed the buffer.
        let (reader, writer) = pipe().unwrap();
        let mut chain = Ready(0).chain(reader);
        let read = chain.read(held()).timeout(Duration::from_millis(1));
        let error = read.await.unwrap_err();
        assert!(gimmal::is_timeout(&error), "{error}");
        assert_eq!(error.into_inner().unwrap().into_buf(), b"held");
        writer.write_all("more").await.unwrap();
        assert_eq!(chain.read(held()).await.unwrap(), (4, b"more".to_vec()));
    });
}

/// A custom reader that is ready at once in every scope, for a number of reads.
struct Ready(usize);

impl AsyncRead for Ready {
    async fn read<B: IoBufMut>(&mut self, buf: B) -> BufResult<usize, B> {
        if self.0 == 0 {
            return Ok((0, buf));
        }
        self.0 -= 1;
        AsyncRead::read(&mut io::repeat(b'r'), buf).await
    }
}

/// Loops over memory yield to the other tasks of the thread.
#[test]
fn loops_over_memory_let_other_tasks_run() {
    async fn turns_pass<T>(name: &str, mut step: impl AsyncFnMut() -> T) {
        let others = std::rc::Rc::new(std::cell::Cell::new(0));
        let count = others.clone();
        let other = gimmal::spawn(async move {
            loop {
                count.set(count.get() + 1);
                gimmal::yield_now().await;
            }
        });
        for _ in 0..20_000 {
            drop(step().await);
        }
        other.abort();
        assert!(
            others.get() > 3,
            "{name}: the other task was polled {} times",
            others.get()
        );
    }
    run(async || {
        let read = async || AsyncRead::read(&mut { TEXT }, vec![0; 4]).await;
        turns_pass("slice", read).await;
        let read = async || AsyncRead::read(&mut io::empty(), vec![0; 4]).await;
        turns_pass("empty", read).await;
        let read = async || AsyncRead::read(&mut io::repeat(0), vec![0; 4]).await;
        turns_pass("repeat", read).await;
        let read = async || AsyncRead::take(TEXT, 0).read(vec![0; 4]).await;
        turns_pass("take", read).await;
        let write = async || AsyncWrite::write(&mut Vec::new(), "x").await;
        turns_pass("vector", write).await;
        let write = async || AsyncWrite::write(&mut io::sink(), "").await;
        turns_pass("sink", write).await;
    });
}

/// A dropped wait takes no bytes and does not reduce the limit, whether or not it has started.
#[test]
fn unread_bytes_stay_in_the_inner_reader() {
    run(async || {
        for moment in MOMENTS {
            for polls in 0..2 {
                let (reader, writer) = pipe().unwrap();
                let mut take = AsyncRead::take(&reader, 6);
                if polls > 0 && moment == common::Moment::Woken {
                    continue;
                }
                assert!(
                    dropped_after(take.read(vec![0; 9]), polls, moment)
                        .await
                        .is_none()
                );
                writer.write_all("abc").await.unwrap();
                // An exact read has read three bytes of four, and returns them.
                let cut = dropped_after(take.read_exact(vec![0; 4], 4), polls, moment).await;
                assert!(cut.is_none());
                assert_eq!(take.limit(), 6);
                writer.write_all("defgh").await.unwrap();
                assert_eq!(take.read_exact(vec![0; 4], 4).await.unwrap(), b"abcd");
                assert_eq!(take.limit(), 2);
                let error = take.read_exact(vec![0; 4], 4).await.unwrap_err();
                assert_eq!(
                    (error.kind(), error.transferred()),
                    (ErrorKind::UnexpectedEof, 2)
                );
                assert_eq!(error.into_buf(), b"ef");
                take.set_limit(1);
                assert_eq!(take.read(vec![0; 9]).await.unwrap().1, b"g");
                assert_eq!(reader.read(vec![0; 9]).await.unwrap().1, b"h");
            }
        }
    });
}

#[test]
fn exact_reads_end_at_the_limit_as_in_std() {
    run(async || {
        for limit in 0..9 {
            for len in 0..9 {
                for there in [3, 8] {
                    let mut theirs = Read::take(&TEXT[..there], limit);
                    let fits = Read::read_exact(&mut theirs, &mut vec![0; len]).is_ok();
                    let mut ours = AsyncRead::take(&TEXT[..there], limit);
                    let what = format!("{len} of {limit} of {there}");
                    match ours.read_exact(vec![7; 9], len).await {
                        Ok(read) => assert_eq!(read, &TEXT[..len], "{what}"),
                        Err(error) => {
                            let all = there.min(limit as usize);
                            assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{what}");
                            assert_eq!(error.transferred(), all, "{what}");
                            assert!(!fits, "{what}");
                            if all > 0 {
                                assert_eq!(*error.buf(), &TEXT[..all], "{what}");
                            }
                        }
                    }
                    assert_eq!(ours.limit(), theirs.limit(), "{what}");
                    assert_eq!(ours.into_inner(), theirs.into_inner(), "{what}");
                }
            }
        }
    });
}

/// Returned bytes go back to the reader they came from, and do not count toward the limit.
#[test]
fn returned_bytes_are_read_again() {
    run(async || {
        let cursor = || Cursor::new(TEXT);
        let mut take = AsyncRead::take(cursor(), 5);
        assert_eq!(take.read(vec![0; 4]).await.unwrap().1, b"0123");
        assert!(take.unread(b"23"));
        assert_eq!((take.limit(), take.get_ref().position()), (3, 2));
        assert_eq!(take.read(vec![0; 9]).await.unwrap().1, b"234");
        assert!(!AsyncRead::take(TEXT, 5).unread(b"no"));

        let mut second = cursor();
        second.set_position(20);
        let mut chain = AsyncRead::chain(Cursor::new(b"ab"), second);
        assert_eq!(chain.read(vec![0; 2]).await.unwrap().1, b"ab");
        assert!(chain.unread(b"b"));
        assert_eq!(chain.read(vec![0; 2]).await.unwrap().1, b"b");
        assert_eq!(chain.read(vec![0; 3]).await.unwrap().1, &TEXT[20..23]);
        assert!(!chain.unread(b"bklm"), "not to both readers");
        assert!(chain.unread(&TEXT[21..23]));
        assert_eq!(chain.read(vec![0; 3]).await.unwrap().1, &TEXT[21..24]);
        let (first, second) = chain.get_mut();
        assert_eq!((first.position(), second.position()), (2, 24));

        // A failed copy leaves the remaining bytes in the reader.
        let mut chain = AsyncRead::chain(cursor(), io::empty());
        let error = io::copy(&mut chain, &mut Cursor::new([0; 9]))
            .await
            .unwrap_err();
        assert_eq!((error.copied(), error.kind()), (9, ErrorKind::WriteZero));
        let (_, rest) = chain.read_to_end(Vec::new()).await.unwrap();
        assert_eq!(rest, &TEXT[9..]);
    });
}

/// Reads everything as text, appended to the string as in std. An error loses nothing.
async fn text_as_std(name: &str, mut reader: impl AsyncRead, bytes: &[u8]) {
    let mut expected = "é ".to_owned();
    let theirs = Read::read_to_string(&mut &*bytes, &mut expected);
    match reader.read_to_string("é ".to_owned()).await {
        Ok((n, text)) => assert_eq!((n, text), (theirs.unwrap(), expected), "{name}"),
        Err(error) => {
            assert_eq!(error.kind(), theirs.unwrap_err().kind(), "{name}");
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{name}");
            assert_eq!(error.transferred(), bytes.len(), "{name}");
            assert_eq!(
                error.into_buf(),
                ["é ".as_bytes(), bytes].concat(),
                "{name}"
            );
        }
    }
    // The reader is at its end.
    assert_eq!(reader.read_to_string(String::new()).await.unwrap().0, 0);
}

#[test]
fn text_from_every_reader_matches_std() {
    run(async || {
        let directory = directory();
        let path = directory.path().join("text");
        let long = "héllo, wörld\n".repeat(5000).into_bytes();
        let cut = &long[..long.len() - 10_000 + 2];
        let inputs = [b"", &long[..], cut, b"caf\xe9", b"\xff", b"a\xc3"];
        for bytes in inputs {
            std::fs::write(&path, bytes).unwrap();
            let open = || File::open(&path);
            text_as_std("file", open().await.unwrap(), bytes).await;
            text_as_std("file", &open().await.unwrap(), bytes).await;
            text_as_std("slice", bytes, bytes).await;
            text_as_std("cursor", Cursor::new(bytes), bytes).await;
            for capacity in [1, 5, 1 << 20] {
                if bytes.len() > 100 && capacity < 5 {
                    continue;
                }
                let mut reader = BufReader::with_capacity(capacity, open().await.unwrap());
                reader.fill_buf().await.unwrap();
                text_as_std("buffered", reader, bytes).await;
            }
            let limited = AsyncRead::take(open().await.unwrap(), bytes.len() as u64);
            text_as_std("take", limited, bytes).await;
            let (start, end) = bytes.split_at(bytes.len() / 2);
            text_as_std("chain", AsyncRead::chain(start, end), bytes).await;

            let (reader, writer) = pipe().unwrap();
            let (near, far) = UnixStream::pair().unwrap();
            let (near_end, far_end) = UnixStream::pair().unwrap();
            let writes = async {
                writer.write_all(bytes.to_vec()).await.unwrap();
                drop(writer);
                near.write_all(bytes.to_vec()).await.unwrap();
                drop(near);
                near_end.write_all(bytes.to_vec()).await.unwrap();
                drop(near_end);
            };
            let reads = async {
                text_as_std("pipe", reader, bytes).await;
                text_as_std("stream", far, bytes).await;
                text_as_std("half", far_end.into_split().0, bytes).await;
            };
            gimmal::join((writes, reads)).await;
        }
        // Without the trait: the inherent methods.
        std::fs::write(&path, "é").unwrap();
        let file = File::open(&path).await.unwrap();
        let read = file.read_to_string(String::new()).await.unwrap();
        assert_eq!(read, (2, "é".to_owned()));
        let file = File::open(&path).await.unwrap();
        let read = file.read_append(b"a".to_vec()).await.unwrap();
        assert_eq!(read, (2, "aé".into()));
    });
}

/// Canceled in the middle of a character, too.
#[test]
fn a_canceled_read_of_text_can_be_continued() {
    run(async || {
        let all = "é ü ö".as_bytes();
        let mut cut = 0;
        for at in 0..all.len() {
            let (start, end) = all.split_at(at);
            let (reader, writer) = pipe().unwrap();
            writer.write_all(start.to_vec()).await.unwrap();
            let read = reader.read_to_string("ä".to_owned());
            let error = read.timeout(Duration::from_millis(1)).await.unwrap_err();
            assert!(gimmal::is_timeout(&error), "{error}");
            let error = error.into_inner().unwrap();
            let done = error.transferred();
            cut += usize::from(0 < done && done == at);
            let bytes = error.into_buf();
            assert_eq!(bytes, ["ä".as_bytes(), &start[..done]].concat());
            writer.write_all(end.to_vec()).await.unwrap();
            drop(writer);
            let (n, bytes) = reader.read_to_end(bytes).await.unwrap();
            assert_eq!((n, &*bytes), (all.len() - done, "äé ü ö".as_bytes()));

            let error = AsyncRead::chain(start, Fails)
                .read_to_string("ä".to_owned())
                .await;
            let error = error.unwrap_err();
            assert_eq!(
                (error.kind(), error.transferred()),
                (ErrorKind::BrokenPipe, at)
            );
            assert_eq!(error.into_buf(), ["ä".as_bytes(), start].concat());
        }
        assert!(cut > 0, "every read was canceled before any byte was read");
    });
}

/// A custom reader that fails.
struct Fails;

impl AsyncRead for Fails {
    async fn read<B: IoBufMut>(&mut self, buf: B) -> BufResult<usize, B> {
        Err(BufError::new(ErrorKind::BrokenPipe.into(), buf))
    }
}

#[test]
fn an_appending_read_keeps_the_existing_bytes() {
    run(async || {
        // Into the spare capacity.
        let mut buf = Vec::with_capacity(10);
        buf.extend_from_slice(b"head");
        let capacity = buf.capacity();
        let mut text = TEXT;
        let (n, mut buf) = text.read_append(buf).await.unwrap();
        assert_eq!(
            (n, buf.len(), buf.capacity()),
            (capacity - 4, capacity, capacity)
        );
        // Without spare capacity, the buffer grows.
        for (len, left) in [(text.len(), 0), (0, 0)] {
            buf.shrink_to_fit();
            let (n, more) = text.read_append(buf).await.unwrap();
            assert_eq!((n, text.len()), (len, left));
            assert_eq!(more, [b"head", TEXT].concat());
            assert!(more.capacity() >= more.len() + (16 << 10) - len);
            buf = more;
        }
        for held in [Vec::new(), b"held".to_vec()] {
            let error = Fails.read_append(held.clone()).await.unwrap_err();
            assert_eq!(
                (error.kind(), error.transferred()),
                (ErrorKind::BrokenPipe, 0)
            );
            assert_eq!(*error.buf(), held);

            let (reader, writer) = pipe().unwrap();
            let read = reader.read_append(held.clone());
            let error = read.timeout(Duration::from_millis(1)).await.unwrap_err();
            let buf = error.into_inner().unwrap().into_buf();
            assert_eq!(buf, held);
            let canceled = Scope::new();
            canceled.cancel();
            let read = canceled.run_any(reader.read_append(buf)).await.unwrap();
            let buf = read.unwrap_err().into_buf();
            assert_eq!(buf, held);
            for moment in MOMENTS.into_iter().take(3) {
                let read = reader.read_append(b"lost with the wait".to_vec());
                assert!(dropped_after(read, 1, moment).await.is_none());
            }
            writer.write_all("more").await.unwrap();
            let (n, buf) = reader.read_append(buf).await.unwrap();
            assert_eq!((n, buf), (4, [&held[..], b"more"].concat()));
        }
    });
}

#[test]
fn fill_more_appends_to_the_buffer() {
    run(async || {
        for capacity in [1, 3, 4096] {
            let mut reader = BufReader::with_capacity(capacity, TEXT);
            let mut expected = 0;
            loop {
                let n = reader.fill_more().await.unwrap();
                assert_eq!(n, capacity.min(TEXT.len() - expected));
                expected += n;
                assert_eq!(reader.buffer(), &TEXT[..expected]);
                if n == 0 {
                    break;
                }
            }
            reader.consume(30);
            assert_eq!(reader.fill_more().await.unwrap(), 0);
            assert_eq!(reader.buffer(), &TEXT[30..]);
        }

        // Canceling or dropping loses nothing and moves nothing.
        for moment in MOMENTS.into_iter().take(3) {
            let (inner, writer) = pipe().unwrap();
            let mut reader = BufReader::new(inner);
            writer.write_all("abc").await.unwrap();
            assert_eq!(reader.fill_more().await.unwrap(), 3);
            reader.consume(1);
            let cut = reader.fill_more().timeout(Duration::from_millis(1)).await;
            assert!(gimmal::is_timeout(&cut.unwrap_err()));
            assert!(dropped_after(reader.fill_more(), 1, moment).await.is_none());
            assert_eq!(reader.buffer(), b"bc");
            writer.write_all("def").await.unwrap();
            assert_eq!(reader.fill_more().await.unwrap(), 3);
            assert_eq!(reader.buffer(), b"bcdef");
        }

        // An invalid line is skipped nonetheless.
        let mut reader = BufReader::with_capacity(4, &b"a\xff\nb\ncd\n"[..]);
        let mut line = String::new();
        assert!(reader.read_line(&mut line).await.is_err());
        while reader.fill_more().await.unwrap() > 0 {}
        assert_eq!(reader.buffer(), b"a\xff\nb\ncd\n");
        assert_eq!(reader.read_line(&mut line).await.unwrap(), 2);
        assert_eq!(line, "b\n");

        let mut reader = BufReader::new(AsyncRead::chain(TEXT, Fails));
        reader.fill_more().await.unwrap();
        let error = reader.fill_more().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        assert_eq!(reader.buffer(), TEXT);
    });
}
