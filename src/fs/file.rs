//! An open file.

use super::OpenOptions;
use crate::buf::{BufError, BufResult, IoBuf, IoBufMut, IoBufs, IoBufsMut, truncate};
use crate::io::{AsyncRead, check_room};
use crate::op::{Fsync, Offset, Op, Read, ReadVectored, SharedFd, Write, WriteVectored, busy};
use crate::runtime::proceed_with;
use crate::sys::Descriptor;
use std::io::{self, Seek};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

/// The minimum growth of the buffer when reading a whole file.
const GROWTH_MIN: usize = 32;
/// The maximum growth of the buffer when the size of the file is unknown.
const GROWTH_MAX: usize = 4 << 20;
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
    /// # Errors
    ///
    /// Those of [`OpenOptions::open`].
    ///
    /// # Cancel safety
    ///
    /// A file that the kernel still opens after the wait was dropped is closed.
    // Test: tests/operations.rs
    pub async fn open(path: impl AsRef<Path>) -> io::Result<File> {
        OpenOptions::new().read(true).open(path).await
    }

    /// Opens a file for writing, creates it if it does not exist, and truncates it if it does.
    ///
    /// # Errors
    ///
    /// Those of [`OpenOptions::open`].
    ///
    /// # Cancel safety
    ///
    /// A file that the kernel still opens after the wait was dropped is closed; it may have been created or truncated.
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
    /// read. Returns the number of bytes, which is zero at the end of the file, and the buffer: `pread(2)`.
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
    /// `InvalidInput` for a buffer of capacity zero; those of `pread(2)`; [`Canceled`](crate::Canceled). The error
    /// contains the buffer.
    ///
    /// # Cancel safety
    ///
    /// Dropping the wait loses the buffer and nothing else; the buffer is freed when the kernel no longer uses it.
    // Test: tests/operations.rs
    #[inline]
    pub fn read_at<B: IoBufMut>(&self, buf: B, offset: u64) -> Op<Read<B>> {
        Read::new(self.fd.clone(), buf, Offset::At(offset))
    }

    /// Writes at an offset in bytes. Returns the number of bytes, which may be less than the buffer's length, and the
    /// buffer: `pwrite(2)`.
    ///
    /// # Errors
    ///
    /// Those of `pwrite(2)`, such as `StorageFull`; [`Canceled`](crate::Canceled). The error contains the buffer.
    ///
    /// # Cancel safety
    ///
    /// How much a dropped write has written is unknown.
    // Test: tests/operations.rs
    #[inline]
    pub fn write_at<B: IoBuf>(&self, buf: B, offset: u64) -> Op<Write<B>> {
        Write::new(self.fd.clone(), buf, Offset::At(offset))
    }

    /// Reads at the cursor, and advances it: `read(2)`. Otherwise as [`read_at`](File::read_at).
    ///
    /// # Errors
    ///
    /// Those of [`read_at`](File::read_at).
    ///
    /// # Cancel safety
    ///
    /// A dropped wait may have advanced the cursor and lost what was read. A canceled wait has not.
    // Test: tests/operations.rs
    #[inline]
    pub fn read<B: IoBufMut>(&self, buf: B) -> Op<Read<B>> {
        Read::new(self.fd.clone(), buf, Offset::CURSOR)
    }

    /// Writes at the cursor, and advances it: `write(2)`. Otherwise as [`write_at`](File::write_at).
    ///
    /// # Errors
    ///
    /// Those of [`write_at`](File::write_at).
    ///
    /// # Cancel safety
    ///
    /// How much a dropped write has written is unknown.
    // Test: tests/operations.rs
    #[inline]
    pub fn write<B: IoBuf>(&self, buf: B) -> Op<Write<B>> {
        Write::new(self.fd.clone(), buf, Offset::CURSOR)
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
    /// Those of [`read_at`](File::read_at).
    ///
    /// # Cancel safety
    ///
    /// As [`read_at`](File::read_at).
    // Test: tests/operations.rs
    pub fn read_vectored_at<B: IoBufsMut>(&self, bufs: B, offset: u64) -> Op<ReadVectored<B>> {
        ReadVectored::new(self.fd.clone(), bufs, Offset::At(offset))
    }

    /// Writes at an offset from several buffers in order: `pwritev(2)`. As in std, only the first 1024 buffers are
    /// written.
    ///
    /// # Errors
    ///
    /// Those of [`write_at`](File::write_at).
    ///
    /// # Cancel safety
    ///
    /// As [`write_at`](File::write_at).
    // Test: tests/operations.rs
    pub fn write_vectored_at<B: IoBufs>(&self, bufs: B, offset: u64) -> Op<WriteVectored<B>> {
        WriteVectored::new(self.fd.clone(), bufs, Offset::At(offset))
    }

    /// Reads at the cursor into several buffers: `readv(2)`. As in std, only the first 1024 buffers are filled; the
    /// others get a length of 0.
    ///
    /// # Errors
    ///
    /// Those of [`read_vectored_at`](File::read_vectored_at).
    ///
    /// # Cancel safety
    ///
    /// As [`read`](File::read).
    // Test: tests/operations.rs
    pub fn read_vectored<B: IoBufsMut>(&self, bufs: B) -> Op<ReadVectored<B>> {
        ReadVectored::new(self.fd.clone(), bufs, Offset::CURSOR)
    }

    /// Writes at the cursor from several buffers: `writev(2)`. As in std, only the first 1024 buffers are written.
    ///
    /// # Errors
    ///
    /// Those of [`write_vectored_at`](File::write_vectored_at).
    ///
    /// # Cancel safety
    ///
    /// As [`write`](File::write).
    // Test: tests/operations.rs
    pub fn write_vectored<B: IoBufs>(&self, bufs: B) -> Op<WriteVectored<B>> {
        WriteVectored::new(self.fd.clone(), bufs, Offset::CURSOR)
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
    /// As [`read_at`](File::read_at).
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
    /// # Errors
    ///
    /// Those of [`read_exact_at`](File::read_exact_at).
    ///
    /// # Cancel safety
    ///
    /// As [`read`](File::read).
    // Test: tests/operations.rs
    pub async fn read_exact<B: IoBufMut>(&self, buf: B, len: usize) -> Result<B, BufError<B>> {
        self.read_exact_from(buf, len, None).await
    }

    async fn read_exact_from<B: IoBufMut>(
        &self,
        mut buf: B,
        len: usize,
        offset: Option<u64>,
    ) -> Result<B, BufError<B>> {
        buf = check_room(buf, len).await?;
        let mut done = 0;
        while done < len {
            let read = Read::part(self.fd.clone(), buf, done..len, place(offset, done));
            match read.await {
                Ok((0, back)) => {
                    let what = format!("the file ended {} bytes early", len - done);
                    let error = io::Error::new(io::ErrorKind::UnexpectedEof, what);
                    return Err(BufError::new(error, back).with_transferred(done));
                }
                Ok((n, back)) => {
                    done += n;
                    buf = back;
                }
                Err(error) => return Err(error.with_transferred(done)),
            }
        }
        if len == 0 {
            truncate(&mut buf, 0);
        }
        Ok(buf)
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
    /// As [`write_at`](File::write_at).
    // Test: tests/operations.rs
    pub async fn write_all_at<B: IoBuf>(&self, buf: B, offset: u64) -> Result<B, BufError<B>> {
        self.write_all_from(buf, Some(offset)).await
    }

    /// Writes the whole buffer at the cursor.
    ///
    /// # Errors
    ///
    /// Those of [`write_all_at`](File::write_all_at).
    ///
    /// # Cancel safety
    ///
    /// As [`write`](File::write).
    // Test: tests/operations.rs
    pub async fn write_all<B: IoBuf>(&self, buf: B) -> Result<B, BufError<B>> {
        self.write_all_from(buf, None).await
    }

    async fn write_all_from<B: IoBuf>(
        &self,
        mut buf: B,
        offset: Option<u64>,
    ) -> Result<B, BufError<B>> {
        let len = buf.io_len();
        if len == 0 {
            return proceed_with(buf).await;
        }
        let mut done = 0;
        while done < len {
            let write = Write::part(self.fd.clone(), buf, done..len, place(offset, done));
            match write.await {
                Ok((0, back)) => {
                    let error = io::Error::new(
                        io::ErrorKind::WriteZero,
                        "the kernel took none of the bytes",
                    );
                    return Err(BufError::new(error, back).with_transferred(done));
                }
                Ok((n, back)) => {
                    done += n;
                    buf = back;
                }
                Err(error) => return Err(error.with_transferred(done)),
            }
        }
        Ok(buf)
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
    /// Those of `read(2)`; [`Canceled`](crate::Canceled); `OutOfMemory` if the buffer cannot grow. The error contains
    /// the buffer with everything read so far, and the number of those bytes.
    ///
    /// # Cancel safety
    ///
    /// Dropping the wait loses the buffer, and with it what was read.
    // Test: tests/operations.rs
    pub async fn read_to_end(&self, buf: Vec<u8>) -> BufResult<usize, Vec<u8>> {
        AsyncRead::read_to_end(&mut &*self, buf).await
    }

    /// Reads text to the end, appends it to the string, and returns the number of bytes read.
    ///
    /// # Errors
    ///
    /// `InvalidData` if the text is not UTF-8; those of [`read_to_end`](File::read_to_end). Whatever the error, it
    /// contains the string's bytes followed by everything read so far, and the number of bytes read.
    ///
    /// # Cancel safety
    ///
    /// As [`read_to_end`](File::read_to_end).
    // Test: tests/readers.rs
    pub async fn read_to_string(&self, buf: String) -> Result<(usize, String), BufError<Vec<u8>>> {
        AsyncRead::read_to_string(&mut &*self, buf).await
    }

    /// Reads once, appending available bytes in the buffer's spare capacity; if it has none, the buffer first grows by
    /// 16 KiB or more. Returns the number of bytes, which is zero at the end, and the buffer.
    ///
    /// # Errors
    ///
    /// `OutOfMemory` if the buffer cannot grow; those of [`read`](File::read). The error contains the buffer with its
    /// former content.
    ///
    /// # Cancel safety
    ///
    /// As [`read`](File::read), but dropping the wait loses the buffer and its content.
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
            let part = part_to_fill(&buf);
            let read = Read::part(self.fd.clone(), buf, part, Offset::At(done as u64));
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
        let growth = wanted.max(buf.capacity().clamp(GROWTH_MIN, GROWTH_MAX));
        buf.try_reserve(growth)
            .map_err(|error| io::Error::new(io::ErrorKind::OutOfMemory, error))
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
    /// # Errors
    ///
    /// Those of `fsync(2)`, including an error of an earlier write that occurred on its way to disk.
    ///
    /// # Cancel safety
    ///
    /// After a drop, what has reached the disk is unknown.
    // Test: tests/operations.rs
    pub fn sync_all(&self) -> Op<Fsync> {
        Fsync::new(self.fd.clone(), false)
    }

    /// Flushes data to disk, and the metadata that is needed to read it back: `fdatasync(2)`.
    ///
    /// # Errors
    ///
    /// Those of [`sync_all`](File::sync_all).
    ///
    /// # Cancel safety
    ///
    /// As [`sync_all`](File::sync_all).
    // Test: tests/operations.rs
    pub fn sync_data(&self) -> Op<Fsync> {
        Fsync::new(self.fd.clone(), true)
    }

    /// Closes the file, and returns any error of closing it. Cancels operations that are still in progress on it, and
    /// waits for them.
    ///
    /// # Errors
    ///
    /// Those of `close(2)`; the descriptor is closed even then. `ResourceBusy` if something else holds the descriptor:
    /// an operation that was started and not awaited, or a [`SharedFd`]; the descriptor closes when its last holder is
    /// dropped. [`Canceled`](crate::Canceled) while waiting for operations.
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
    /// `ResourceBusy` while an operation is in progress on the file, even one whose future was dropped. The error
    /// contains the file.
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

impl From<OwnedFd> for File {
    fn from(fd: OwnedFd) -> File {
        File::from_shared(SharedFd::new(Descriptor::from(fd)))
    }
}

impl From<std::fs::File> for File {
    fn from(file: std::fs::File) -> File {
        File::from_std(file)
    }
}

impl AsRawFd for File {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.descriptor().borrowed()
    }
}

/// Returns the position of the next part in a loop.
fn place(offset: Option<u64>, done: usize) -> Offset {
    match offset {
        Some(offset) => Offset::At(offset.saturating_add(done as u64)),
        None => Offset::CURSOR,
    }
}

fn part_to_fill(buf: &Vec<u8>) -> Range<usize> {
    buf.len()..buf.capacity()
}
