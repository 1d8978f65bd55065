//! Anonymous pipes, and pipes with a path (FIFOs).

use super::{AsyncRead, stream_reader, stream_writer};
use crate::buf::{BufError, BufResult, IoBuf, IoBufMut, IoBufs, IoBufsMut};
use crate::op::{
    FdOwner, Op, OpenAt, Recv, RecvVectored, Send, SendVectored, SharedFd, Stream, StreamKind,
    fd_type, recv_exact, send_all,
};
use crate::runtime::pool::spawn_blocking;
use crate::runtime::ready_err;
use crate::sys::{c_path, make_fifo, with_context, with_path};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process::{ChildStderr, ChildStdin, ChildStdout};
use std::rc::Rc;

/// Creates a pipe, as [`std::io::pipe`] does: what is written to one end is read from the other, and when every writer
/// is closed, the reader gets end of file.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let (reader, writer) = gimmal::io::pipe()?;
///     writer.write_all("hello").await?;
///     writer.close().await?;
///     let (_, text) = reader.read_to_end(Vec::new()).await?;
///     assert_eq!(text, b"hello");
///     Ok(())
/// })
/// # }
/// ```
///
/// # Errors
///
/// EMFILE or ENFILE if no descriptor is left; ENFILE also above the user's limit for the memory of pipes (`pipe(7)`).
pub fn pipe() -> io::Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = io::pipe().map_err(|error| with_context(error, "make a pipe"))?;
    Ok((reader.into(), writer.into()))
}

/// Creates a FIFO, which is a pipe with a path: `mkfifo(3)`, on a thread of the pool. `mode` sets its permissions as in
/// `open(2)`, less the umask.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::io::{PipeReader, PipeWriter, mkfifo};
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("fifo");
/// gimmal::run(async {
///     mkfifo(&path, 0o600).await?;
///     // Each open waits for the other one.
///     let (reader, writer) = gimmal::try_join((PipeReader::open(&path), PipeWriter::open(&path))).await?;
///     writer.write_all("hello").await?;
///     assert_eq!(reader.read_exact(vec![0; 5], 5).await?, b"hello");
///     Ok(())
/// })
/// # }
/// ```
///
/// # Errors
///
/// Those of `mkfifo(3)`, with the path: `AlreadyExists` if the path exists, `NotFound` if its directory does not,
/// `PermissionDenied`, `ReadOnlyFilesystem`, `StorageFull`. [`Canceled`](crate::Canceled).
///
/// # Cancel safety
///
/// After a cancel, the result tells whether the FIFO was created: the wait continues until a call that has begun
/// returns. After a drop, the call may still create the FIFO.
// Test: tests/files/pipes.rs
pub async fn mkfifo(path: impl AsRef<Path>, mode: u32) -> io::Result<()> {
    let path = path.as_ref();
    let name = match c_path(path) {
        Ok(name) => name,
        Err(error) => return ready_err(error).await,
    };
    let made = match spawn_blocking(move || make_fifo(&name, mode)).await {
        Ok(made) => made,
        Err(error) => return Err(error.into()),
    };
    made.map_err(|error| with_path(error, "make the FIFO", path))
}

/// Opens one end of a FIFO.
async fn open(path: &Path, access: i32) -> io::Result<FdOwner<Rc<Stream>>> {
    // Check the type first: opening something other than a FIFO may have side effects, and would not wait.
    let found = OpenAt::path(path, libc::O_PATH, 0, false).await?;
    check(&found, path)?;
    let opened = OpenAt::path(path, access, 0, true).await?;
    // The path may refer to something else by now.
    check(&opened, path)?;
    Ok(FdOwner::new(Stream::new(opened, StreamKind::Pipe)))
}

fn check(fd: &SharedFd, path: &Path) -> io::Result<()> {
    let error = match fd.descriptor().with_std(|file| file.metadata()) {
        Ok(metadata) if metadata.file_type().is_fifo() => return Ok(()),
        Ok(_) => io::Error::new(io::ErrorKind::InvalidInput, "it is not a FIFO"),
        Err(error) => error,
    };
    Err(with_path(error, "open", path))
}

/// The read end of a pipe.
///
/// Its methods take `&self`. Reads of one pipe run one at a time, in order: a second one waits until the first has
/// ended. A pipe belongs to its runtime's thread; to move it to another thread, convert it with
/// [`into_std`](PipeReader::into_std).
///
/// [`pipe`] creates both ends. The output of a child process is one, too:
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::io::PipeReader;
/// use std::process::{Command, Stdio};
///
/// gimmal::run(async {
///     let mut child = Command::new("echo").arg("hello").stdout(Stdio::piped()).spawn()?;
///     if let Some(stdout) = child.stdout.take() {
///         let (_, text) = PipeReader::from(stdout).read_to_end(Vec::new()).await?;
///         assert_eq!(text, b"hello\n");
///     }
///     let status = gimmal::task::spawn_blocking(move || child.wait()).await??;
///     assert!(status.success());
///     Ok(())
/// })
/// # }
/// ```
#[derive(Debug)]
pub struct PipeReader {
    stream: FdOwner<Rc<Stream>>,
}

impl PipeReader {
    /// Opens the read end of a FIFO, and waits until the FIFO is opened for writing. [`mkfifo`] has an example with
    /// both ends.
    ///
    /// The open blocks in an additional kernel worker thread, so other operations do not wait for a worker. It also
    /// completes a waiting `open` of the other end in another process.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::io::{PipeReader, mkfifo};
    /// use std::io::ErrorKind;
    /// use std::time::Duration;
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("fifo");
    /// gimmal::run(async {
    ///     mkfifo(&path, 0o600).await?;
    ///     // Nobody writes.
    ///     let opened = gimmal::timeout(Duration::from_millis(1), PipeReader::open(&path)).await;
    ///     assert!(gimmal::is_timeout(&opened.unwrap_err()));
    ///
    ///     let error = PipeReader::open("Cargo.toml").await.unwrap_err();
    ///     assert_eq!(error.kind(), ErrorKind::InvalidInput);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `open(2)`, with the path: `NotFound`, `PermissionDenied`, EMFILE and ENFILE if no descriptor is left.
    /// `InvalidInput` if the path is not a FIFO; `QuotaExceeded`, with the limits that were reached, if no thread can
    /// be created to wait in; [`Canceled`](crate::Canceled).
    ///
    /// # Cancel safety
    ///
    /// No descriptor leaks: after a cancel or a drop, the FIFO is not open, or is closed at once. A process that waits
    /// for this end may see it open and end.
    // Test: tests/files/pipes.rs
    pub async fn open(path: impl AsRef<Path>) -> io::Result<PipeReader> {
        let stream = open(path.as_ref(), libc::O_RDONLY).await?;
        Ok(PipeReader { stream })
    }

    /// Reads available bytes into at most the buffer's whole capacity, and sets the buffer's length to their number.
    /// Returns that number, which is zero when every writer is closed, and the buffer: `read(2)`.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use std::time::Duration;
    ///
    /// gimmal::run(async {
    ///     let (reader, writer) = gimmal::io::pipe()?;
    ///     let read = reader.read(vec![0; 16]).timeout(Duration::from_millis(1)).await;
    ///     let error = read.unwrap_err();
    ///     assert!(gimmal::is_timeout(&error));
    ///     // It took nothing, and returned the buffer.
    ///     writer.write_all("late").await?;
    ///     let (n, text) = reader.read(error.into_buf()).await?;
    ///     assert_eq!((n, &text[..]), (4, &b"late"[..]));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a buffer of capacity zero; [`Canceled`](crate::Canceled). The error contains the buffer.
    ///
    /// # Cancel safety
    ///
    /// No byte is lost. A canceled read has taken nothing; what a dropped read receives, the next read returns first.
    // Test: tests/files/pipes.rs
    #[inline]
    pub fn read<B: IoBufMut>(&self, buf: B) -> Op<Recv<B>> {
        Recv::new(self.stream.clone(), buf)
    }

    /// Reads `len` bytes into the start of the buffer, and sets the buffer's length to `len`.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// gimmal::run(async {
    ///     let (reader, writer) = gimmal::io::pipe()?;
    ///     writer.write_all(&b"\x05hello\x03you"[..]).await?;
    ///     let (mut length, mut body) = (vec![0; 1], Vec::with_capacity(256));
    ///     for expected in ["hello", "you"] {
    ///         length = reader.read_exact(length, 1).await?;
    ///         body = reader.read_exact(body, length[0].into()).await?;
    ///         assert_eq!(body, expected.as_bytes());
    ///     }
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` if every writer is closed first; `InvalidInput` if the buffer has no room for `len` bytes; those
    /// of [`read`](PipeReader::read). The error contains the buffer, with the bytes read so far at its start, and their
    /// number.
    ///
    /// # Cancel safety
    ///
    /// No byte is lost. After a cancel, the error contains what was read; after a drop, the next read returns it first.
    // Test: tests/files/pipes.rs
    pub async fn read_exact<B: IoBufMut>(&self, buf: B, len: usize) -> Result<B, BufError<B>> {
        recv_exact(self.stream.clone(), buf, len).await
    }

    /// Reads until every writer is closed, appends the bytes to the buffer, and returns their number.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// gimmal::run(async {
    ///     let (reader, writer) = gimmal::io::pipe()?;
    ///     let written = async {
    ///         writer.write_all(vec![b'x'; 100_000]).await?;
    ///         // This ends the read.
    ///         writer.close().await
    ///     };
    ///     let read = async { Ok(reader.read_to_end(Vec::new()).await?) };
    ///     let (_, (n, bytes)) = gimmal::try_join((written, read)).await?;
    ///     assert_eq!((n, bytes), (100_000, vec![b'x'; 100_000]));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`read`](PipeReader::read); `OutOfMemory` if the buffer cannot grow. The error contains the buffer with
    /// everything read so far, and the number of those bytes.
    ///
    /// # Cancel safety
    ///
    /// After a cancel, the error contains what was read. After a drop, that is lost with the buffer.
    // Test: tests/files/pipes.rs
    pub async fn read_to_end(&self, buf: Vec<u8>) -> BufResult<usize, Vec<u8>> {
        AsyncRead::read_to_end(&mut &*self, buf).await
    }

    /// Reads text to the end, appends it to the string, and returns the number of bytes read.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// gimmal::run(async {
    ///     let (reader, writer) = gimmal::io::pipe()?;
    ///     writer.write_all("naïve").await?;
    ///     writer.close().await?;
    ///     let (n, text) = reader.read_to_string(String::from("café, ")).await?;
    ///     assert_eq!((n, &text[..]), (6, "café, naïve"));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidData` if the text is not UTF-8; those of [`read_to_end`](PipeReader::read_to_end). Whatever the error,
    /// it contains the string's bytes followed by everything read so far, and the number of bytes read.
    ///
    /// # Cancel safety
    ///
    /// After a cancel, the error contains what was read. After a drop, that is lost with the string.
    // Test: tests/io/readers.rs
    pub async fn read_to_string(&self, buf: String) -> Result<(usize, String), BufError<Vec<u8>>> {
        AsyncRead::read_to_string(&mut &*self, buf).await
    }

    /// Reads once, appending available bytes in the buffer's spare capacity; if it has none, the buffer first grows by
    /// 16 KiB or more. Returns the number of bytes, which is zero at the end, and the buffer.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// gimmal::run(async {
    ///     let (reader, writer) = gimmal::io::pipe()?;
    ///     let mut message = Vec::new();
    ///     for part in ["length 4\n", "\nbo", "dy"] {
    ///         writer.write_all(part).await?;
    ///         (_, message) = reader.read_append(message).await?;
    ///     }
    ///     assert_eq!(message, b"length 4\n\nbody");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `OutOfMemory` if the buffer cannot grow; those of [`read`](PipeReader::read). The error contains the buffer with
    /// its former content.
    ///
    /// # Cancel safety
    ///
    /// No byte is lost from the pipe: what a dropped read receives, the next read returns first. But a drop loses the
    /// buffer with its content. A cancel returns the buffer unchanged.
    // Test: tests/io/readers.rs
    pub async fn read_append(&self, buf: Vec<u8>) -> BufResult<usize, Vec<u8>> {
        AsyncRead::read_append(&mut &*self, buf).await
    }

    /// Reads into several buffers in order: `readv(2)`. As in std, only the first 1024 buffers are filled; the others
    /// get a length of 0.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// gimmal::run(async {
    ///     let (reader, writer) = gimmal::io::pipe()?;
    ///     writer.write_all("headbody").await?;
    ///     let (n, (head, body)) = reader.read_vectored((vec![0; 4], vec![0; 64])).await?;
    ///     assert_eq!((n, &head[..], &body[..]), (8, &b"head"[..], &b"body"[..]));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`read`](PipeReader::read). The error contains the buffers.
    ///
    /// # Cancel safety
    ///
    /// No byte is lost. A canceled read has taken nothing; what a dropped read receives, the next read returns first.
    // Test: tests/files/pipes.rs
    pub fn read_vectored<B: IoBufsMut>(&self, bufs: B) -> Op<RecvVectored<B>> {
        RecvVectored::new(self.stream.clone(), bufs)
    }

    /// Reads available bytes if there are any, without waiting: `preadv2(2)` with `RWF_NOWAIT`. Returns their number,
    /// which is zero when every writer is closed.
    ///
    /// FIFOs, and before Linux 6.4 all pipes, are polled first: if another process reads from the same pipe, it may
    /// take the bytes in between, and this then waits for others.
    ///
    /// Bytes that a dropped read has received come first. A call that does not wait is not canceled either: it also
    /// works in a canceled scope.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::io::pipe;
    /// use std::io::ErrorKind;
    ///
    /// gimmal::run(async {
    ///     let (reader, writer) = pipe()?;
    ///     let mut buffer = [0; 64];
    ///     assert_eq!(reader.try_read(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
    ///     writer.write_all("hello").await?;
    ///     assert_eq!(reader.try_read(&mut buffer)?, 5);
    ///     drop(writer);
    ///     assert_eq!(reader.try_read(&mut buffer)?, 0);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `WouldBlock` if no bytes are available. Also while another read is in progress or waits for its turn, so that
    /// bytes stay in order. A dropped read is in progress until the kernel has stopped it: await something, then try
    /// again.
    ///
    /// `InvalidInput` for an empty buffer; those of [`read`](Self::read).
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.stream.try_recv(buf)
    }
}

/// The write end of a pipe.
///
/// Its methods take `&self`. Writes to one pipe run one at a time, in order: a second one waits until the first has
/// ended. When every reader is gone, a write fails with `BrokenPipe`. (The kernel also sends SIGPIPE, which Rust
/// programs ignore by default.) A pipe belongs to its runtime's thread; to move it to another thread, convert it with
/// [`into_std`](PipeWriter::into_std).
///
/// [`pipe`] creates both ends. The input of a child process is one, too:
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::io::{PipeReader, PipeWriter};
/// use std::process::{Command, Stdio};
///
/// gimmal::run(async {
///     let mut command = Command::new("sort");
///     let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
///     if let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) {
///         let stdin = PipeWriter::from(stdin);
///         stdin.write_all("two\none\n").await?;
///         stdin.close().await?;
///         let (_, text) = PipeReader::from(stdout).read_to_end(Vec::new()).await?;
///         assert_eq!(text, b"one\ntwo\n");
///     }
///     gimmal::task::spawn_blocking(move || child.wait()).await??;
///     Ok(())
/// })
/// # }
/// ```
#[derive(Debug)]
pub struct PipeWriter {
    stream: FdOwner<Rc<Stream>>,
}

impl PipeWriter {
    /// Opens the write end of a FIFO, and waits until the FIFO is opened for reading.
    ///
    /// Otherwise as [`PipeReader::open`].
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::io::{PipeReader, PipeWriter, mkfifo};
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("fifo");
    /// gimmal::run(async {
    ///     mkfifo(&path, 0o600).await?;
    ///     let to = path.clone();
    ///     let written = gimmal::spawn(async move {
    ///         let writer = PipeWriter::open(to).await?;
    ///         writer.write_all("hello").await?;
    ///         writer.close().await
    ///     });
    ///     let reader = PipeReader::open(&path).await?;
    ///     assert_eq!(reader.read_to_end(Vec::new()).await?.1, b"hello");
    ///     written.await??;
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`PipeReader::open`].
    ///
    /// # Cancel safety
    ///
    /// No descriptor leaks: after a cancel or a drop, the FIFO is not open, or is closed at once. A process that waits
    /// for this end may see it open and end.
    // Test: tests/files/pipes.rs
    pub async fn open(path: impl AsRef<Path>) -> io::Result<PipeWriter> {
        let stream = open(path.as_ref(), libc::O_WRONLY).await?;
        Ok(PipeWriter { stream })
    }

    /// Writes as much of the buffer as the pipe has room for, and returns the number of bytes and the buffer:
    /// `write(2)`. A write of up to 4096 bytes (`PIPE_BUF`) is atomic: all of its bytes are written, and no other
    /// writer's bytes come between them. Linux 6.1 waits until all bytes of a longer write are written, too; 6.12 does
    /// not.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// gimmal::run(async {
    ///     let (reader, writer) = gimmal::io::pipe()?;
    ///     // More than there is room for.
    ///     let (n, bytes) = writer.write(vec![b'x'; 100_000]).await?;
    ///     assert_eq!((n, bytes.len()), (writer.capacity()?, 100_000));
    ///
    ///     drop(reader);
    ///     let error = writer.write(bytes).await.unwrap_err();
    ///     assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `BrokenPipe` if every reader is gone; [`Canceled`](crate::Canceled). The error contains the buffer.
    ///
    /// # Cancel safety
    ///
    /// A canceled write has written nothing. How much a dropped write has written is unknown.
    // Test: tests/files/pipes.rs
    #[inline]
    pub fn write<B: IoBuf>(&self, buf: B) -> Op<Send<B>> {
        Send::new(self.stream.clone(), buf)
    }

    /// Writes the whole buffer. Bytes of other writes through this `PipeWriter` come before or after it, never in
    /// between.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use std::time::Duration;
    ///
    /// gimmal::run(async {
    ///     let (reader, writer) = gimmal::io::pipe()?;
    ///     let bytes = vec![b'x'; 100_000];
    ///     // Nobody reads.
    ///     let written = gimmal::timeout(Duration::from_millis(1), writer.write_all(bytes)).await;
    ///     let Some(error) = written.unwrap_err().into_inner() else {
    ///         panic!("the write reports how far it came");
    ///     };
    ///     let done = error.transferred();
    ///     assert_eq!(done, writer.capacity()?);
    ///     assert_eq!(reader.read_exact(vec![0; done], done).await?, error.into_buf()[..done]);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`write`](PipeWriter::write). The error contains the buffer, and the number of bytes written.
    ///
    /// # Cancel safety
    ///
    /// After a cancel, the error reports how much was written. After a drop, that is unknown.
    // Test: tests/files/pipes.rs
    pub async fn write_all<B: IoBuf>(&self, buf: B) -> Result<B, BufError<B>> {
        send_all(self.stream.clone(), buf).await
    }

    /// Writes from several buffers in order: `writev(2)`. As in std, only the first 1024 buffers are written.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// gimmal::run(async {
    ///     let (reader, writer) = gimmal::io::pipe()?;
    ///     let (n, _) = writer.write_vectored(["head", "body"]).await?;
    ///     assert_eq!(n, 8);
    ///     assert_eq!(reader.read(vec![0; 64]).await?.1, b"headbody");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`write`](PipeWriter::write). The error contains the buffers.
    ///
    /// # Cancel safety
    ///
    /// A canceled write has written nothing. How much a dropped write has written is unknown.
    // Test: tests/files/pipes.rs
    pub fn write_vectored<B: IoBufs>(&self, bufs: B) -> Op<SendVectored<B>> {
        SendVectored::new(self.stream.clone(), bufs)
    }

    /// Writes as much of the buffer as there is room for, without waiting: `pwritev2(2)` with `RWF_NOWAIT`. Returns the
    /// number of bytes. A write of up to 4096 bytes (`PIPE_BUF`) is atomic.
    ///
    /// FIFOs, and before Linux 6.4 all pipes, are polled first, and get at most 4096 bytes at once: if another process
    /// writes to the same pipe, it may take the room in between, and this then waits for more.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::io::pipe;
    /// use std::io::ErrorKind;
    ///
    /// gimmal::run(async {
    ///     let (reader, writer) = pipe()?;
    ///     let mut written = 0;
    ///     let error = loop {
    ///         match writer.try_write(&[7; 1000]) {
    ///             Ok(n) => written += n,
    ///             Err(error) => break error,
    ///         }
    ///     };
    ///     assert_eq!(error.kind(), ErrorKind::WouldBlock);
    ///     drop(writer);
    ///     assert_eq!(reader.read_to_end(Vec::new()).await?.0, written);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is no room. Also while another write is in progress or waits for its turn, so that bytes
    /// stay in order. A dropped write is in progress until the kernel has stopped it: await something, then try again.
    ///
    /// Otherwise those of [`write`](Self::write).
    pub fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        self.stream.try_send(buf)
    }
}

/// Generates the methods that both ends have.
macro_rules! end {
    ($($type:ident)+) => {$(
        impl $type {
            /// Returns how many unread bytes the pipe can hold: 65536 by default.
            ///
            /// # Errors
            ///
            /// EBADF if the descriptor is not a pipe, which it need not be if it was wrapped: `fcntl(2)`.
            pub fn capacity(&self) -> io::Result<usize> {
                self.stream.fd().descriptor().pipe_capacity()
            }

            /// Sets how many bytes the pipe can hold, rounded up to a size that the kernel supports, and returns the
            /// new capacity.
            ///
            /// # Errors
            ///
            /// `PermissionDenied`, with the number, above `/proc/sys/fs/pipe-max-size`; `ResourceBusy` for less than
            /// the pipe contains.
            pub fn set_capacity(&self, bytes: usize) -> io::Result<usize> {
                let set = self.stream.fd().descriptor().set_pipe_capacity(bytes);
                set.map_err(|error| with_context(error, format!("set the capacity of a pipe to {bytes}")))
            }

            /// Returns the descriptor, to be held by custom operations.
            #[must_use]
            pub fn shared_fd(&self) -> SharedFd {
                self.stream.fd().clone()
            }

            /// Closes this end, and returns any error of closing it. Cancels operations that are still in progress on
            /// it, and waits for them.
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// gimmal::run(async {
            ///     let (reader, writer) = gimmal::io::pipe()?;
            ///     writer.write_all("last").await?;
            ///     writer.close().await?;
            ///     assert_eq!(reader.read(vec![0; 16]).await?.1, b"last");
            ///     // No writer is left: this is the end.
            ///     assert_eq!(reader.read(vec![0; 16]).await?.0, 0);
            ///     reader.close().await?;
            ///     Ok(())
            /// })
            /// # }
            /// ```
            ///
            /// # Errors
            ///
            /// `ResourceBusy` if something else holds the descriptor: an operation that was started and not awaited, or
            /// a [`SharedFd`]; the descriptor closes when its last holder is dropped. [`Canceled`](crate::Canceled)
            /// while waiting for operations.
            ///
            /// # Cancel safety
            ///
            /// The end closes even after a cancel or a drop: if the wait is dropped, the last operation in progress on
            /// it closes it.
            // Test: tests/files/pipes.rs
            pub async fn close(self) -> io::Result<()> {
                self.stream.release().close().await
            }

            /// Converts the end into std's type, which can be sent to another thread.
            ///
            /// # Errors
            ///
            /// `ResourceBusy` while an operation is in progress on the pipe, even one whose future was dropped, or
            /// while bytes that such an operation read have not been taken. The error contains the end.
            pub fn into_std(self) -> Result<io::$type, BufError<$type>> {
                let what = "an operation is still in progress on the pipe, or has left unread bytes";
                self.stream.into_std(what, |stream| $type { stream })
            }

            /// Creates an end from std's type.
            #[must_use]
            pub fn from_std(end: io::$type) -> $type {
                $type::from(OwnedFd::from(end))
            }
        }

        fd_type! {
            $type, self => self.stream.fd(),
            from io::$type,
            /// Wraps a descriptor that is read and written like a pipe, such as a terminal, or one handed over by
            /// another process.
            fd => $type {
                stream: FdOwner::new(Stream::new(SharedFd::from(fd), StreamKind::Pipe)),
            }
        }
    )+};
}

end! { PipeReader PipeWriter }

macro_rules! of_a_child {
    ($($type:ident: $end:ident;)+) => {$(
        /// Converts the end of a pipe whose other end belongs to a child process.
        impl From<$end> for $type {
            fn from(end: $end) -> $type {
                $type::from(OwnedFd::from(end))
            }
        }
    )+};
}

of_a_child! {
    PipeReader: ChildStdout;
    PipeReader: ChildStderr;
    PipeWriter: ChildStdin;
}

stream_reader! { PipeReader }
stream_writer! { PipeWriter, |_| Ok(()) }
