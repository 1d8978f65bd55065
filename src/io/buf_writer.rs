//! A buffered writer, for small pieces.

use super::AsyncWrite;
use crate::buf::{BufError, BufResult, IoBuf};
use crate::runtime::proceed_with;
use std::fmt;
use std::io;
use std::mem;

/// The default capacity of a [`BufWriter`] in bytes.
const CAPACITY: usize = 16 << 10;

/// Buffers small writes, and writes them out when the buffer is full or [flushed](BufWriter::flush).
///
/// Dropping the writer discards the content of the buffer.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::io::{AsyncWrite, BufWriter};
///
/// gimmal::run(async {
///     let (reader, writer) = gimmal::io::pipe()?;
///     let mut writer = BufWriter::new(writer);
///     for number in 0..3 {
///         writer.write_all(format!("{number}\n")).await?;
///     }
///     assert_eq!(writer.buffer(), b"0\n1\n2\n");
///     writer.flush().await?;
///     assert_eq!(reader.read(vec![0; 64]).await?.1, b"0\n1\n2\n");
///     Ok(())
/// })
/// # }
/// ```
pub struct BufWriter<W> {
    inner: W,
    held: Vec<u8>,
    capacity: usize,
}

impl<W: AsyncWrite> BufWriter<W> {
    /// Creates a writer with a buffer of 16 KiB.
    pub fn new(inner: W) -> BufWriter<W> {
        BufWriter::with_capacity(CAPACITY, inner)
    }

    /// Creates a writer with a buffer of `capacity` bytes.
    pub fn with_capacity(capacity: usize, inner: W) -> BufWriter<W> {
        BufWriter {
            inner,
            held: Vec::with_capacity(capacity),
            capacity,
        }
    }

    /// Writes out the content of the buffer, and flushes the underlying writer.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::io::{AsyncWrite, BufWriter};
    ///
    /// gimmal::run(async {
    ///     let mut writer = BufWriter::new(Vec::new());
    ///     writer.write_all("hello").await?;
    ///     assert_eq!(writer.get_ref(), b"");
    ///     writer.flush().await?;
    ///     assert_eq!(writer.get_ref(), b"hello");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the underlying writer, such as `BrokenPipe` or `StorageFull`. What was not written stays in the buffer.
    ///
    /// # Cancel safety
    ///
    /// After a cancel, what was not written stays in the buffer. After a drop, how much was written is unknown, and the
    /// rest is lost.
    // Test: tests/io/lines.rs
    pub async fn flush(&mut self) -> io::Result<()> {
        self.write_out().await?;
        self.inner.flush().await
    }

    /// Writes out the content of the buffer.
    async fn write_out(&mut self) -> io::Result<()> {
        let full = mem::take(&mut self.held);
        match self.inner.write_all(full).await {
            Ok(mut written) => {
                written.clear();
                self.held = written;
                Ok(())
            }
            Err(error) => {
                let done = error.transferred();
                let (error, mut rest) = error.into_parts();
                rest.drain(..done);
                self.held = rest;
                Err(error)
            }
        }
    }
}

impl<W> BufWriter<W> {
    /// Returns the bytes that are not written yet.
    pub fn buffer(&self) -> &[u8] {
        &self.held
    }

    /// Returns the underlying writer.
    pub fn get_ref(&self) -> &W {
        &self.inner
    }

    /// Returns the underlying writer. What is written to it directly comes before the content of the buffer.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.inner
    }

    /// Returns the underlying writer, and the bytes that are not written yet.
    pub fn into_inner(self) -> (W, Vec<u8>) {
        (self.inner, self.held)
    }
}

impl<W: AsyncWrite> AsyncWrite for BufWriter<W> {
    /// Buffers all of the bytes, or, if they are at least the buffer's capacity, writes them directly. The content of
    /// the buffer goes first.
    async fn write<B: IoBuf>(&mut self, buf: B) -> BufResult<usize, B> {
        let len = buf.io_len();
        let ready = match self.held.len() + len > self.capacity && !self.held.is_empty() {
            true => self.write_out().await,
            false => Ok(()),
        };
        if let Err(error) = ready {
            return Err(BufError::new(error, buf));
        }
        if len >= self.capacity {
            return self.inner.write(buf).await;
        }
        let buf = proceed_with(buf).await?;
        self.held.extend_from_slice(buf.io_bytes());
        Ok((len, buf))
    }

    fn flush(&mut self) -> impl Future<Output = io::Result<()>> {
        BufWriter::flush(self)
    }

    /// Writes out the buffer first.
    async fn shutdown(&mut self) -> io::Result<()> {
        self.write_out().await?;
        self.inner.shutdown().await
    }
}

/// Omits the content of the buffer.
impl<W: fmt::Debug> fmt::Debug for BufWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufWriter")
            .field("inner", &self.inner)
            .field("buffered", &self.held.len())
            .finish_non_exhaustive()
    }
}
