//! Boxed readers and writers behave like the ones inside the box, with any buffer, even if a read is canceled or
//! dropped.

use bytes::BytesMut;
use common::{MOMENTS, directory, dropped_everywhere, returning_to_baseline};
use futures_util::FutureExt as _;
use gimmal::buf::{AlignedBuf, BufError, IoBufMut};
use gimmal::cancel::Scope;
use gimmal::fs::File;
use gimmal::io::{
    BufReader, BufWriter, DynAsyncRead, DynAsyncWrite, copy_bidirectional, empty, pipe,
};
use gimmal::net::UnixStream;
use gimmal::prelude::*;
use std::fmt::Debug;
use std::io::{self, Cursor, ErrorKind};
use std::net::Shutdown;
use std::path::Path;
use std::rc::Rc;

const TEXT: &[u8] = b"0123456789";

/// All kinds of readers of `TEXT`.
async fn readers(directory: &Path) -> io::Result<Vec<Box<dyn DynAsyncRead>>> {
    let path = directory.join("text");
    std::fs::write(&path, TEXT)?;
    let (stream, peer) = UnixStream::pair()?;
    peer.write_all(TEXT).await?;
    peer.shutdown(Shutdown::Write)?;
    let (from, to) = pipe()?;
    to.write_all(TEXT).await?;
    Ok(vec![
        Box::new(File::open(&path).await?),
        Box::new(stream),
        Box::new(from),
        Box::new(TEXT),
        Box::new(Cursor::new(TEXT.to_vec())),
        Box::new(BufReader::with_capacity(3, File::open(&path).await?)),
        Box::new(TEXT.take(4).chain(&TEXT[4..])),
        // A box in a box.
        Box::new(Box::new(TEXT) as Box<dyn DynAsyncRead>),
    ])
}

/// Reads into this buffer, whose memory stays in place.
async fn fills<B: IoBufMut + Debug>(reader: &mut dyn DynAsyncRead, buf: B) {
    let place = buf.io_ptr();
    let buf = reader.read_exact(buf, 2).await.unwrap();
    assert_eq!((buf.io_ptr(), &buf.io_bytes()[..2]), (place, &b"01"[..]));
    let (n, buf) = reader.read(buf.slice(2..4)).await.unwrap();
    let buf = match n {
        2 => buf.into_inner(),
        // The buffer of a `BufReader`, or the limit of a `take`.
        _ => reader
            .read_exact(buf.into_inner().slice(3..4), 1)
            .await
            .unwrap()
            .into_inner(),
    };
    assert_eq!((buf.io_ptr(), &buf.io_bytes()[..4]), (place, &b"0123"[..]));
    let (n, rest) = reader.read_to_end(b"rest: ".to_vec()).await.unwrap();
    assert_eq!((n, &*rest), (6, &b"rest: 456789"[..]));
    // At the end, the error holds the buffer.
    let error = reader.read_exact(buf, 1).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.transferred()),
        (ErrorKind::UnexpectedEof, 0)
    );
    assert_eq!(error.into_buf().io_ptr(), place);
}

#[test]
fn a_boxed_reader_fills_buffers_of_any_type() {
    returning_to_baseline(async || {
        let directory = directory();
        for at in 0..readers(directory.path()).await?.len() {
            let reader = async || readers(directory.path()).await.unwrap().swap_remove(at);
            fills(&mut *reader().await, Vec::with_capacity(8)).await;
            fills(&mut *reader().await, vec![0; 8].into_boxed_slice()).await;
            fills(&mut *reader().await, BytesMut::with_capacity(8)).await;
            fills(&mut *reader().await, AlignedBuf::new(8, 64)?).await;
            fills(&mut *reader().await, Vec::with_capacity(10).slice(..8)).await;
        }
        Ok(())
    });
}

#[test]
fn a_boxed_reader_takes_back_bytes_if_the_one_inside_does() {
    returning_to_baseline(async || {
        let directory = directory();
        let path = directory.path().join("large");
        std::fs::write(&path, vec![7; 1 << 20])?;
        let mut cursor: Box<dyn DynAsyncRead> = Box::new(Cursor::new("abcd"));
        assert_eq!(cursor.read(vec![0; 3]).await?.1, b"abc");
        assert!(cursor.unread(b"bc"));
        assert_eq!(cursor.read(vec![0; 8]).await?.1, b"bcd");
        let mut memory: Box<dyn DynAsyncRead> = Box::new(TEXT);
        assert!(!memory.unread(b"x"));
        // A large file is spliced, boxed or not.
        let file = File::open(&path).await?;
        assert!(file.inlet().is_some());
        let mut file: Box<dyn DynAsyncRead> = Box::new(file);
        assert!(file.inlet().is_some());
        let (mut stream, peer) = UnixStream::pair()?;
        assert!(stream.outlet().is_some());
        let mut stream_box: Box<dyn DynAsyncWrite> = Box::new(&mut stream);
        assert!(stream_box.outlet().is_some());
        let (copied, read) = gimmal::join((
            async {
                let copied = gimmal::io::copy(&mut file, &mut stream_box).await;
                stream_box.shutdown().await.unwrap();
                copied
            },
            peer.read_to_end(Vec::new()),
        ))
        .await;
        assert_eq!((copied?, read?.1), (1 << 20, vec![7; 1 << 20]));
        Ok(())
    });
}

#[test]
fn a_canceled_boxed_read_or_one_without_room_returns_the_buffer() {
    fn same(error: BufError<Vec<u8>>, kind: ErrorKind) {
        assert_eq!(
            (error.kind(), error.into_buf()),
            (kind, b"unchanged".to_vec())
        );
    }
    returning_to_baseline(async || {
        let (stream, _peer) = UnixStream::pair()?;
        let mut stream: Box<dyn DynAsyncRead> = Box::new(stream);
        let error = stream.read(Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        same(
            stream
                .read_exact(b"unchanged".to_vec(), 100)
                .await
                .unwrap_err(),
            ErrorKind::InvalidInput,
        );

        let scope = Scope::new();
        let (read, ()) = gimmal::join((scope.run_any(stream.read(b"unchanged".to_vec())), async {
            common::next_turn().await;
            scope.cancel();
        }))
        .await;
        let error = read.unwrap().unwrap_err();
        assert!(gimmal::is_canceled(&error));
        same(error, io::Error::from(gimmal::Canceled).kind());
        Ok(())
    });
}

/// Bytes received by a dropped read, or by a part of an exact read, go to the next read, even through the box.
#[test]
fn a_boxed_read_can_be_dropped_after_any_poll_and_loses_nothing() {
    returning_to_baseline(async || {
        let read = async |exact: bool| {
            let (stream, peer) = UnixStream::pair().unwrap();
            let mut stream: Box<dyn DynAsyncRead> = Box::new(stream);
            let mut read = Vec::new();
            for part in ["012", "3456", "789"] {
                peer.write_all(part).await.unwrap();
                // Dropped in its first poll, or ready.
                let polls = 1 + read.len() % 2;
                let moment = common::Moment::AtOnce;
                let more = match exact {
                    true => {
                        let read = stream.read_exact(Vec::with_capacity(8), 8);
                        common::dropped_after(read, polls, moment)
                            .await
                            .map(|read| read.unwrap())
                    }
                    false => {
                        let read = stream.read(Vec::with_capacity(8));
                        common::dropped_after(read, polls, moment)
                            .await
                            .map(|read| read.unwrap().1)
                    }
                };
                read.extend(more.unwrap_or_default());
            }
            peer.shutdown(Shutdown::Write).unwrap();
            read.extend(stream.read_to_end(Vec::new()).await.unwrap().1);
            assert_eq!(read, TEXT);
        };
        read(true).await;
        read(false).await;
        dropped_everywhere("boxed reads", &MOMENTS, || read(true)).await;
        Ok(())
    });
}

#[test]
fn a_boxed_writer_writes_flushes_and_shuts_down_like_the_one_inside() {
    returning_to_baseline(async || {
        let (stream, peer) = UnixStream::pair()?;
        let mut writer: Box<dyn DynAsyncWrite> = Box::new(BufWriter::new(stream));
        assert_eq!(writer.write("one ").await?, (4, "one "));
        let shared: Rc<[u8]> = Rc::from(&b"two"[..]);
        let place = shared.as_ptr();
        assert_eq!(writer.write_all(shared).await?.as_ptr(), place);
        assert!(peer.read(vec![0; 8]).now_or_never().is_none());
        writer.flush().await?;
        assert_eq!(peer.read(vec![0; 64]).await?.1, b"one two");
        writer.write_all(String::from(" three")).await?;
        writer.shutdown().await?;
        assert_eq!(peer.read_to_end(Vec::new()).await?.1, b" three");

        let mut full: Box<dyn DynAsyncWrite> = Box::new(Cursor::new([0; 4]));
        let error = full.write_all(TEXT).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.transferred()),
            (ErrorKind::WriteZero, 4)
        );
        assert_eq!(error.into_buf(), TEXT);
        Ok(())
    });
}

#[test]
fn boxes_are_a_side_of_a_copy_in_both_directions() {
    returning_to_baseline(async || {
        let (near, peer) = UnixStream::pair()?;
        peer.write_all(TEXT).await?;
        peer.shutdown(Shutdown::Write)?;
        let mut written = Vec::new();
        let reader: Box<dyn DynAsyncRead> = Box::new(empty());
        let writer: Box<dyn DynAsyncWrite + '_> = Box::new(&mut written);
        assert_eq!(copy_bidirectional(&near, (reader, writer)).await?, (10, 0));
        assert_eq!(written, TEXT);
        Ok(())
    });
}
