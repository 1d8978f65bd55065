//! Writing in small pieces, through a buffer.

use super::AsyncWrite;
use crate::buf::{BufError, BufResult, IoBuf};
use crate::runtime::pass_with;
use std::fmt;
use std::io;
use std::mem;

/// Bytes that a [`BufWriter`] gathers, unless it was told otherwise.
const CAPACITY: usize = 16 << 10;

/// Gathers what is written, and writes it when that is much, or when it is [flushed](BufWriter::flush).
///
/// What is in the buffer when this is dropped is not written.
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
    /// With a buffer of 16 KiB.
    pub fn new(inner: W) -> BufWriter<W> {
        BufWriter::with_capacity(CAPACITY, inner)
    }

    /// With a buffer of so many bytes.
    pub fn with_capacity(capacity: usize, inner: W) -> BufWriter<W> {
        BufWriter {
            inner,
            held: Vec::with_capacity(capacity),
            capacity,
        }
    }

    /// Writes what is in the buffer, and flushes the writer below.
    ///
    /// # Errors
    ///
    /// Those of the writer. What was not written stays in the buffer.
    ///
    /// # Cancel safety
    ///
    /// Canceled, what was not written stays in the buffer. Dropped, how much was written is unknown, and the rest is lost
    /// (`tests/lines.rs`).
    pub async fn flush(&mut self) -> io::Result<()> {
        self.write_out().await?;
        self.inner.flush().await
    }

    /// Writes what is in the buffer.
    async fn write_out(&mut self) -> io::Result<()> {
        let full = mem::take(&mut self.held);
        match self.inner.write_all(full).await {
            Ok(mut written) => {
                written.clear();
                self.held = written;
                Ok(())
            }
            Err(error) => {
                let done = error.done();
                let (error, mut rest) = error.into_parts();
                rest.drain(..done);
                self.held = rest;
                Err(error)
            }
        }
    }
}

impl<W> BufWriter<W> {
    /// What is not written as yet.
    pub fn buffer(&self) -> &[u8] {
        &self.held
    }

    /// Returns the underlying writer.
    pub fn get_ref(&self) -> &W {
        &self.inner
    }

    /// The writer below. What is written to it comes before what is in the buffer.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.inner
    }

    /// The writer below, and what is not written as yet.
    pub fn into_inner(self) -> (W, Vec<u8>) {
        (self.inner, self.held)
    }
}

impl<W: AsyncWrite> AsyncWrite for BufWriter<W> {
    /// Takes all of it, or, if it is as much as the buffer holds, writes it past that. What was in the buffer goes first.
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
        let buf = pass_with(buf).await?;
        self.held.extend_from_slice(buf.io_bytes());
        Ok((len, buf))
    }

    fn flush(&mut self) -> impl Future<Output = io::Result<()>> {
        BufWriter::flush(self)
    }

    /// What is in the buffer goes first.
    async fn shutdown(&mut self) -> io::Result<()> {
        self.write_out().await?;
        self.inner.shutdown().await
    }
}

/// Not what is in it.
impl<W: fmt::Debug> fmt::Debug for BufWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufWriter")
            .field("inner", &self.inner)
            .field("buffered", &self.held.len())
            .finish_non_exhaustive()
    }
}
