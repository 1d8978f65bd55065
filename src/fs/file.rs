//! An open file.

use super::OpenOptions;
use crate::buf::{BufError, BufResult, IoBuf, IoBufMut, IoBufs, IoBufsMut, Part};
use crate::io::{AsyncRead, GROWTH_MIN, grow};
use crate::op::{
    Fsync, Offset, Op, Read, ReadVectored, SharedFd, Write, WriteVectored, busy, fd_type,
    read_in_loop, write_in_loop,
};
use crate::sys::Descriptor;
use std::io::{self, Seek};
use std::os::fd::OwnedFd;
use std::path::Path;

/// A file with fewer bytes left is not spliced: it would fill at most one chunk of a splice.
const SPLICE_MIN: u64 = 256 << 10;

/// An open file, or anything else that is read and written like a file: a pipe, a terminal, a device.
///
/// Its methods take `&self`, and several operations may be in flight at once. At the cursor, await each operation
/// before the next begins: the kernel does not order them, and two that are in flight at once may both start at the
/// same position. Dropping the file closes it as soon as no operation is in progress on it; [`close`](File::close) also
/// reports errors.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let file = gimmal::fs::File::open("Cargo.toml").await?;
///     let (n, buffer) = file.read_at(vec![0; 9], 0).await?;
///     assert_eq!(&buffer[..n], b"[package]");
///     file.close().await
/// })
/// # }
/// ```
#[derive(Debug)]
pub struct File {
    fd: SharedFd,
}

impl File {
    pub(super) fn from_shared(fd: SharedFd) -> File {
        File { fd }
    }

    /// Opens a file for reading.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::fs::File;
    /// use std::io::ErrorKind;
    ///
    /// gimmal::run(async {
    ///     let file = File::open("Cargo.toml").await?;
    ///     let (n, _) = file.read_at(vec![0; 16], 0).await?;
    ///     assert_eq!(n, 16);
    ///
    ///     let error = File::open("no/such/file").await.unwrap_err();
    ///     assert_eq!(error.kind(), ErrorKind::NotFound);
    ///     assert!(error.to_string().contains("no/such/file"));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`OpenOptions::open`], such as `NotFound` and `PermissionDenied`, prefixed with the path.
    ///
    /// # Cancel safety
    ///
    /// No descriptor leaks: a file that the kernel still opens after the wait was canceled or dropped is closed.
    // Test: tests/operations.rs
    pub async fn open(path: impl AsRef<Path>) -> io::Result<File> {
        OpenOptions::new().read(true).open(path).await
    }

    /// Opens a file for writing, creates it if it does not exist, and truncates it if it does.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("file");
    /// gimmal::run(async {
    ///     let file = gimmal::fs::File::create(&path).await?;
    ///     file.write_all("hello\n").await?;
    ///     file.close().await?;
    ///     assert_eq!(gimmal::fs::read_to_string(&path).await?, "hello\n");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`OpenOptions::open`], such as `PermissionDenied`, and `IsADirectory` if the path is a directory.
    ///
    /// # Cancel safety
    ///
    /// No descriptor leaks: a file that the kernel still opens after the wait was canceled or dropped is closed. It may
    /// have been created or truncated.
    // Test: tests/operations.rs
    pub async fn create(path: impl AsRef<Path>) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
            .await
    }

    /// Returns the descriptor, to be held by custom operations.
    #[must_use]
    pub fn shared_fd(&self) -> SharedFd {
        self.fd.clone()
    }

    /// Reads at an offset in bytes into at most the buffer's whole capacity, and sets the buffer's length to what was
    /// read. Returns the number of bytes, which is zero at the end of the file, and the buffer: `pread(2)`. A pipe or a
    /// terminal has no offsets: there, the offset is ignored.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// gimmal::run(async {
    ///     let file = gimmal::fs::File::open("Cargo.toml").await?;
    ///     let (n, buffer) = file.read_at(Vec::with_capacity(4096), 1).await?;
    ///     assert_eq!(&buffer[..7], b"package");
    ///     assert_eq!(n, buffer.len());
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a buffer of capacity zero; those of `pread(2)`: `IsADirectory`, EBADF if the file was not
    /// opened for reading, EIO if the device fails; [`Canceled`](crate::Canceled). The error contains the buffer.
    ///
    /// # Cancel safety
    ///
    /// A canceled read returns the buffer unchanged. A dropped read loses the buffer and nothing else; the buffer is
    /// freed when the kernel no longer uses it.
    // Test: tests/operations.rs
    #[inline]
    pub fn read_at<B: IoBufMut>(&self, buf: B, offset: u64) -> Op<Read<B>> {
        Read::new(self.fd.clone(), buf, Offset::At(offset))
    }

    /// Writes at an offset in bytes. Returns the number of bytes, which may be less than the buffer's length, and the
    /// buffer: `pwrite(2)`. A pipe or a terminal has no offsets: there, the offset is ignored.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("file");
    /// gimmal::run(async {
    ///     let file = gimmal::fs::File::create(&path).await?;
    ///     let (n, buffer) = file.write_at(b"data".to_vec(), 2).await?;
    ///     assert_eq!((n, &buffer[..]), (4, &b"data"[..]));
    ///     // What was never written reads as zeros.
    ///     assert_eq!(gimmal::fs::read(&path).await?, b"\0\0data");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `pwrite(2)`: `StorageFull`, `QuotaExceeded`, `FileTooLarge`, `BrokenPipe` for a pipe without a reader,
    /// EBADF if the file was not opened for writing, EIO if the device fails; [`Canceled`](crate::Canceled). The error
    /// contains the buffer.
    ///
    /// # Cancel safety
    ///
    /// A canceled write has written nothing. How much a dropped write has written is unknown.
    // Test: tests/operations.rs
    #[inline]
    pub fn write_at<B: IoBuf>(&self, buf: B, offset: u64) -> Op<Write<B>> {
        Write::new(self.fd.clone(), buf, Offset::At(offset))
    }

    /// Reads at the cursor, and advances it: `read(2)`. Otherwise as [`read_at`](File::read_at).
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// gimmal::run(async {
    ///     let file = gimmal::fs::File::open("Cargo.toml").await?;
    ///     let (mut buffer, mut size) = (vec![0; 256], 0);
    ///     loop {
    ///         // The buffer goes back in as it came out.
    ///         let (n, back) = file.read(buffer).await?;
    ///         if n == 0 {
    ///             break;
    ///         }
    ///         (buffer, size) = (back, size + n as u64);
    ///     }
    ///     assert_eq!(size, std::fs::metadata("Cargo.toml")?.len());
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`read_at`](File::read_at).
    ///
    /// # Cancel safety
    ///
    /// A canceled read leaves the cursor and the buffer unchanged. A dropped read may have advanced the cursor and lost
    /// what it read.
    // Test: tests/operations.rs
    #[inline]
    pub fn read<B: IoBufMut>(&self, buf: B) -> Op<Read<B>> {
        Read::new(self.fd.clone(), buf, Offset::cursor())
    }

    /// Writes at the cursor, and advances it: `write(2)`. Otherwise as [`write_at`](File::write_at).
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("file");
    /// gimmal::run(async {
    ///     let file = gimmal::fs::File::create(&path).await?;
    ///     let (n, _) = file.write("one, ").await?;
    ///     assert_eq!(n, 5);
    ///     file.write("two").await?;
    ///     assert_eq!(gimmal::fs::read(&path).await?, b"one, two");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`write_at`](File::write_at).
    ///
    /// # Cancel safety
    ///
    /// A canceled write has written nothing. How much a dropped write has written, and with it the cursor's position,
    /// is unknown.
    // Test: tests/operations.rs
    #[inline]
    pub fn write<B: IoBuf>(&self, buf: B) -> Op<Write<B>> {
        Write::new(self.fd.clone(), buf, Offset::cursor())
    }

    /// Reads at an offset into several buffers in order: `preadv(2)`. As in std, only the first 1024 buffers are
    /// filled; the others get a length of 0.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// gimmal::run(async {
    ///     let file = gimmal::fs::File::open("Cargo.toml").await?;
    ///     let (n, (a, b)) = file.read_vectored_at((vec![0; 3], vec![0; 6]), 0).await?;
    ///     assert_eq!((n, &a[..], &b[..]), (9, &b"[pa"[..], &b"ckage]"[..]));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`read_at`](File::read_at). The error contains the buffers.
    ///
    /// # Cancel safety
    ///
    /// A canceled read returns the buffers unchanged. A dropped read loses the buffers and nothing else.
    // Test: tests/operations.rs
    pub fn read_vectored_at<B: IoBufsMut>(&self, bufs: B, offset: u64) -> Op<ReadVectored<B>> {
        ReadVectored::new(self.fd.clone(), bufs, Offset::At(offset))
    }

    /// Writes at an offset from several buffers in order: `pwritev(2)`. As in std, only the first 1024 buffers are
    /// written.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("file");
    /// gimmal::run(async {
    ///     let file = gimmal::fs::File::create(&path).await?;
    ///     let (n, (_head, _body)) = file.write_vectored_at(("head ", b"body".to_vec()), 0).await?;
    ///     assert_eq!(n, 9);
    ///     assert_eq!(gimmal::fs::read(&path).await?, b"head body");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`write_at`](File::write_at). The error contains the buffers.
    ///
    /// # Cancel safety
    ///
    /// A canceled write has written nothing. How much a dropped write has written is unknown.
    // Test: tests/operations.rs
    pub fn write_vectored_at<B: IoBufs>(&self, bufs: B, offset: u64) -> Op<WriteVectored<B>> {
        WriteVectored::new(self.fd.clone(), bufs, Offset::At(offset))
    }

    /// Reads at the cursor into several buffers: `readv(2)`. As in std, only the first 1024 buffers are filled; the
    /// others get a length of 0.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// gimmal::run(async {
    ///     let file = gimmal::fs::File::open("Cargo.toml").await?;
    ///     file.read_exact(vec![0; 1], 1).await?;
    ///     let (n, [a, b]) = file.read_vectored([vec![0; 4], vec![0; 3]]).await?;
    ///     assert_eq!((n, &a[..], &b[..]), (7, &b"pack"[..], &b"age"[..]));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`read`](File::read). The error contains the buffers.
    ///
    /// # Cancel safety
    ///
    /// A canceled read leaves the cursor and the buffers unchanged. A dropped read may have advanced the cursor and
    /// lost what it read.
    // Test: tests/operations.rs
    pub fn read_vectored<B: IoBufsMut>(&self, bufs: B) -> Op<ReadVectored<B>> {
        ReadVectored::new(self.fd.clone(), bufs, Offset::cursor())
    }

    /// Writes at the cursor from several buffers: `writev(2)`. As in std, only the first 1024 buffers are written.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("file");
    /// gimmal::run(async {
    ///     let file = gimmal::fs::File::create(&path).await?;
    ///     for line in ["one", "two"] {
    ///         file.write_vectored((line, "\n")).await?;
    ///     }
    ///     assert_eq!(gimmal::fs::read(&path).await?, b"one\ntwo\n");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`write`](File::write). The error contains the buffers.
    ///
    /// # Cancel safety
    ///
    /// A canceled write has written nothing. How much a dropped write has written, and with it the cursor's position,
    /// is unknown.
    // Test: tests/operations.rs
    pub fn write_vectored<B: IoBufs>(&self, bufs: B) -> Op<WriteVectored<B>> {
        WriteVectored::new(self.fd.clone(), bufs, Offset::cursor())
    }

    /// Reads `len` bytes at an offset into the start of the buffer, and sets the buffer's length to `len`.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// gimmal::run(async {
    ///     let file = gimmal::fs::File::open("Cargo.toml").await?;
    ///     let buffer = file.read_exact_at(Vec::with_capacity(64), 9, 0).await?;
    ///     assert_eq!(buffer, b"[package]");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` if the file ends first; `InvalidInput` if the buffer has no room for `len` bytes; those of
    /// [`read_at`](File::read_at). The error contains the buffer, with the bytes read so far at its start, and their
    /// number.
    ///
    /// # Cancel safety
    ///
    /// After a cancel, the error contains what was read. After a drop, that is lost with the buffer.
    // Test: tests/operations.rs
    pub async fn read_exact_at<B: IoBufMut>(
        &self,
        buf: B,
        len: usize,
        offset: u64,
    ) -> Result<B, BufError<B>> {
        self.read_exact_from(buf, len, Some(offset)).await
    }

    /// Reads `len` bytes at the cursor into the start of the buffer, and sets the buffer's length to `len`.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::fs::File;
    ///
    /// gimmal::run(async {
    ///     let file = File::open("Cargo.toml").await?;
    ///     let head = file.read_exact(Vec::with_capacity(64), 9).await?;
    ///     assert_eq!(head, b"[package]");
    ///     // The next read continues after it.
    ///     let rest = file.read_exact(head, 5).await?;
    ///     assert_eq!(rest, b"\nname");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`read_exact_at`](File::read_exact_at). The cursor is after the bytes read so far.
    ///
    /// # Cancel safety
    ///
    /// After a cancel, the error contains what was read, and the cursor is after it. A dropped read may have advanced
    /// the cursor and lost what it read.
    // Test: tests/operations.rs
    pub async fn read_exact<B: IoBufMut>(&self, buf: B, len: usize) -> Result<B, BufError<B>> {
        self.read_exact_from(buf, len, None).await
    }

    async fn read_exact_from<B: IoBufMut>(
        &self,
        buf: B,
        len: usize,
        offset: Option<u64>,
    ) -> Result<B, BufError<B>> {
        let read = async |buf, done| {
            let lent = Part::of_room(buf, done..len);
            Read::lent(self.fd.clone(), lent, place(offset, done)).await
        };
        read_in_loop(buf, len, "file", read).await
    }

    /// Writes the whole buffer at an offset.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("file");
    /// gimmal::run(async {
    ///     let file = gimmal::fs::File::create(&path).await?;
    ///     file.write_all_at("hello", 0).await?;
    ///     file.sync_all().await
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `WriteZero` if the kernel accepts no more bytes; those of [`write_at`](File::write_at). The error contains the
    /// buffer, and the number of bytes written.
    ///
    /// # Cancel safety
    ///
    /// After a cancel, the error reports how much was written. After a drop, that is unknown.
    // Test: tests/operations.rs
    pub async fn write_all_at<B: IoBuf>(&self, buf: B, offset: u64) -> Result<B, BufError<B>> {
        self.write_all_from(buf, Some(offset)).await
    }

    /// Writes the whole buffer at the cursor.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("file");
    /// gimmal::run(async {
    ///     let file = gimmal::fs::File::create(&path).await?;
    ///     // The buffer comes back, and can be filled again.
    ///     let mut line = file.write_all(b"one\n".to_vec()).await?;
    ///     line[..3].copy_from_slice(b"two");
    ///     file.write_all(line).await?;
    ///     assert_eq!(gimmal::fs::read(&path).await?, b"one\ntwo\n");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `WriteZero` if the kernel accepts no more bytes; those of [`write`](File::write). The error contains the buffer,
    /// and the number of bytes written.
    ///
    /// # Cancel safety
    ///
    /// After a cancel, the error reports how much was written. After a drop, that and the cursor's position are
    /// unknown.
    // Test: tests/operations.rs
    pub async fn write_all<B: IoBuf>(&self, buf: B) -> Result<B, BufError<B>> {
        self.write_all_from(buf, None).await
    }

    async fn write_all_from<B: IoBuf>(
        &self,
        buf: B,
        offset: Option<u64>,
    ) -> Result<B, BufError<B>> {
        let len = buf.io_len();
        let write = async |buf, done| {
            let lent = Part::of_contents(buf, done..len);
            Write::lent(self.fd.clone(), lent, place(offset, done)).await
        };
        write_in_loop(buf, write).await
    }

    /// Reads from the cursor to the end, appends the bytes to the buffer, and returns their number.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// gimmal::run(async {
    ///     let file = gimmal::fs::File::open("Cargo.toml").await?;
    ///     let (n, text) = file.read_to_end(b"# copy\n".to_vec()).await?;
    ///     assert_eq!(text.len(), n + 7);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`read`](File::read); `OutOfMemory` if the buffer cannot grow. The error contains the buffer with
    /// everything read so far, and the number of those bytes.
    ///
    /// # Cancel safety
    ///
    /// After a cancel, the error contains what was read. After a drop, that is lost with the buffer.
    // Test: tests/operations.rs
    pub async fn read_to_end(&self, buf: Vec<u8>) -> BufResult<usize, Vec<u8>> {
        AsyncRead::read_to_end(&mut &*self, buf).await
    }

    /// Reads text to the end, appends it to the string, and returns the number of bytes read.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// gimmal::run(async {
    ///     let file = gimmal::fs::File::open("Cargo.toml").await?;
    ///     let (n, text) = file.read_to_string(String::from("# copy\n")).await?;
    ///     assert!(text.starts_with("# copy\n[package]"));
    ///     assert_eq!(text.len(), n + 7);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidData` if the text is not UTF-8; those of [`read_to_end`](File::read_to_end). Whatever the error, it
    /// contains the string's bytes followed by everything read so far, and the number of bytes read.
    ///
    /// # Cancel safety
    ///
    /// After a cancel, the error contains what was read. After a drop, that is lost with the string.
    // Test: tests/readers.rs
    pub async fn read_to_string(&self, buf: String) -> Result<(usize, String), BufError<Vec<u8>>> {
        AsyncRead::read_to_string(&mut &*self, buf).await
    }

    /// Reads once, appending available bytes in the buffer's spare capacity; if it has none, the buffer first grows by
    /// 16 KiB or more. Returns the number of bytes, which is zero at the end, and the buffer.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// gimmal::run(async {
    ///     let file = gimmal::fs::File::open("Cargo.toml").await?;
    ///     let mut text = b"# copy\n".to_vec();
    ///     loop {
    ///         let (n, back) = file.read_append(text).await?;
    ///         text = back;
    ///         if n == 0 || text.len() > 1 << 20 {
    ///             break;
    ///         }
    ///     }
    ///     assert!(text.starts_with(b"# copy\n[package]"));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `OutOfMemory` if the buffer cannot grow; those of [`read`](File::read). The error contains the buffer with its
    /// former content.
    ///
    /// # Cancel safety
    ///
    /// A canceled read leaves the cursor and the buffer unchanged. A dropped read loses the buffer with its content,
    /// and may have advanced the cursor.
    // Test: tests/readers.rs
    pub async fn read_append(&self, buf: Vec<u8>) -> BufResult<usize, Vec<u8>> {
        AsyncRead::read_append(&mut &*self, buf).await
    }

    /// Reads as [`read_to_end`](File::read_to_end) does, but from the start. Only a read of 0 bytes is end of file:
    /// files in `/proc` return less than requested, and any file may grow or shrink during the read.
    pub(super) async fn read_whole(&self, mut buf: Vec<u8>) -> BufResult<usize, Vec<u8>> {
        let start = buf.len();
        loop {
            let done = buf.len() - start;
            if buf.len() == buf.capacity()
                && let Err(error) = self.make_room(&mut buf, done as u64)
            {
                return Err(BufError::new(error, buf).with_transferred(done));
            }
            let part = buf.len()..buf.capacity();
            let lent = Part::of_room(buf, part);
            let read = Read::lent(self.fd.clone(), lent, Offset::At(done as u64));
            match read.await {
                Ok((0, back)) => return Ok((done, back)),
                Ok((_, back)) => buf = back,
                Err(error) => return Err(error.with_transferred(done)),
            }
        }
    }

    /// Makes room for the rest of a file whose size is known, plus one byte for the read that finds the end; otherwise
    /// doubles the capacity. Gets the size by a direct `fstat`, which touches only memory: STATX in the ring goes to a
    /// worker.
    fn make_room(&self, buf: &mut Vec<u8>, at: u64) -> io::Result<()> {
        let metadata = self.fd.descriptor().with_std(|file| file.metadata());
        let left = metadata.map_or(0, |metadata| metadata.len().saturating_sub(at));
        let wanted = usize::try_from(left.saturating_add(1)).unwrap_or(usize::MAX);
        grow(buf, wanted.max(GROWTH_MIN))
    }

    /// Returns the descriptor if many bytes are left to read from its cursor.
    pub(super) fn inlet_if_large(&self) -> Option<SharedFd> {
        let left = self.fd.descriptor().with_std(|mut file| {
            let metadata = file.metadata().ok()?;
            let is_file = metadata.is_file();
            is_file.then(|| Some(metadata.len().saturating_sub(file.stream_position().ok()?)))?
        });
        (left? >= SPLICE_MIN).then(|| self.fd.clone())
    }

    /// Flushes data and metadata to disk: `fsync(2)`.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("file");
    /// gimmal::run(async {
    ///     let file = gimmal::fs::File::create(&path).await?;
    ///     file.write_all("to be kept").await?;
    ///     file.sync_all().await?;
    ///     // Now the content survives a loss of power. (For the name, flush the directory as well.)
    ///     gimmal::fs::File::open(directory.path()).await?.sync_all().await?;
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// EIO if the device fails; `StorageFull` or `QuotaExceeded` if an earlier write found no room on its way to disk,
    /// as on NFS; `InvalidInput` for a pipe or another descriptor that has nothing to flush: `fsync(2)`. The kernel
    /// reports the error of an earlier write once. [`Canceled`](crate::Canceled).
    ///
    /// # Cancel safety
    ///
    /// No data is lost: what was not flushed remains to be flushed. But what has reached the disk is unknown after a
    /// cancel or a drop, and an error that a dropped call would have reported is lost.
    // Test: tests/operations.rs
    pub fn sync_all(&self) -> Op<Fsync> {
        Fsync::new(self.fd.clone(), false)
    }

    /// Flushes data to disk, and the metadata that is needed to read it back: `fdatasync(2)`.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("log");
    /// gimmal::run(async {
    ///     let mut options = gimmal::fs::OpenOptions::new();
    ///     let log = options.append(true).create(true).open(&path).await?;
    ///     for entry in ["begin\n", "commit\n"] {
    ///         log.write_all(entry).await?;
    ///         // An entry counts when it is on disk.
    ///         log.sync_data().await?;
    ///     }
    ///     assert_eq!(gimmal::fs::read(&path).await?, b"begin\ncommit\n");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`sync_all`](File::sync_all).
    ///
    /// # Cancel safety
    ///
    /// No data is lost, as in [`sync_all`](File::sync_all); what has reached the disk is unknown after a cancel or a
    /// drop.
    // Test: tests/operations.rs
    pub fn sync_data(&self) -> Op<Fsync> {
        Fsync::new(self.fd.clone(), true)
    }

    /// Closes the file, and returns any error of closing it. Cancels operations that are still in progress on it, and
    /// waits for them.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::fs::File;
    /// use std::io::ErrorKind;
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("file");
    /// gimmal::run(async {
    ///     let file = File::create(&path).await?;
    ///     file.write_all("hello").await?;
    ///     // A drop would ignore an error.
    ///     file.close().await?;
    ///
    ///     let file = File::open(&path).await?;
    ///     let held = file.shared_fd();
    ///     let error = file.close().await.unwrap_err();
    ///     assert_eq!(error.kind(), ErrorKind::ResourceBusy);
    ///     // This closes it.
    ///     drop(held);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// EIO, `StorageFull` or `QuotaExceeded` if an earlier write failed on its way to disk, as on NFS: `close(2)`; the
    /// descriptor is closed even then. `ResourceBusy` if something else holds the descriptor: an operation that was
    /// started and not awaited, or a [`SharedFd`]; the descriptor closes when its last holder is dropped.
    /// [`Canceled`](crate::Canceled) while waiting for operations.
    ///
    /// # Cancel safety
    ///
    /// The file closes even after a cancel or a drop: if the wait is dropped, the last operation in progress on it
    /// closes it.
    // Test: tests/operations.rs
    pub async fn close(self) -> io::Result<()> {
        self.fd.close().await
    }

    /// Creates a second file over the same open file description: `dup(2)`. The two share the cursor.
    ///
    /// # Errors
    ///
    /// If no descriptor is left (`EMFILE`).
    pub fn try_clone(&self) -> io::Result<File> {
        let descriptor = self.fd.descriptor().try_clone()?;
        Ok(File::from_shared(SharedFd::new(descriptor)))
    }

    /// Converts the file into a std file over the same descriptor.
    ///
    /// # Errors
    ///
    /// `ResourceBusy` while an operation is in progress on the file, even one whose future was dropped, or while a
    /// [`SharedFd`] holds the descriptor. The error contains the file.
    pub fn into_std(self) -> Result<std::fs::File, BufError<File>> {
        match self.fd.try_unwrap() {
            Ok(descriptor) => Ok(descriptor.into_owned().into()),
            Err(fd) => {
                let error = busy("an operation is still in progress on the file");
                Err(BufError::new(error, File { fd }))
            }
        }
    }

    /// Creates a file from an open std file, or from anything else that is read and written like one.
    #[must_use]
    pub fn from_std(file: std::fs::File) -> File {
        File::from(OwnedFd::from(file))
    }
}

fd_type! {
    File, self => &self.fd,
    from std::fs::File,
    fd => File::from_shared(SharedFd::new(Descriptor::from(fd)))
}

/// Returns the position of the next part in a loop.
fn place(offset: Option<u64>, done: usize) -> Offset {
    match offset {
        Some(offset) => Offset::At(offset.saturating_add(done as u64)),
        None => Offset::cursor(),
    }
}
