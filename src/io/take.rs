//! A reader with a limit.

use super::AsyncRead;
use super::read::read_part;
use crate::buf::{BufError, BufResult, IoBufMut, truncate};
use crate::op::{check_room, ended_early};
use crate::runtime::proceed_with;

/// Reads at most a given number of bytes from another reader, returned by [`AsyncRead::take`].
///
/// Bytes that were not read stay in the underlying reader, or in the stream that this borrows.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::io::AsyncRead;
///
/// gimmal::run(async {
///     let mut frame = (&b"\x03abc\x02de"[..]).take(1);
///     let mut frames = Vec::new();
///     while let (1, len) = frame.read(vec![0; 1]).await? {
///         frame.set_limit(len[0].into());
///         frames.push(frame.read_to_string(String::new()).await?.1);
///         frame.set_limit(1);
///     }
///     assert_eq!(frames, ["abc", "de"]);
///     Ok(())
/// })
/// # }
/// ```
#[derive(Debug)]
pub struct Take<R> {
    inner: R,
    limit: u64,
}

impl<R> Take<R> {
    pub(super) fn new(inner: R, limit: u64) -> Take<R> {
        Take { inner, limit }
    }

    /// Returns how many bytes may still be read. The underlying reader may end sooner.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Sets how many bytes may still be read, regardless of what was read before.
    pub fn set_limit(&mut self, bytes: u64) {
        self.limit = bytes;
    }

    /// Returns the underlying reader.
    pub fn get_ref(&self) -> &R {
        &self.inner
    }

    /// Returns the underlying reader. What is read from it directly does not count against the limit.
    pub fn get_mut(&mut self) -> &mut R {
        &mut self.inner
    }

    /// Returns the underlying reader.
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// Subtracts bytes that were read from the limit.
    fn count(&mut self, bytes: usize) {
        self.limit = self.limit.saturating_sub(bytes as u64);
    }

    /// Returns the number of bytes, capped by the limit.
    fn within(&self, bytes: usize) -> usize {
        (bytes as u64).min(self.limit) as usize
    }
}

impl<R: AsyncRead> AsyncRead for Take<R> {
    /// Reads from the underlying reader. At the limit, returns the end without reading.
    async fn read<B: IoBufMut>(&mut self, mut buf: B) -> BufResult<usize, B> {
        let room = self.within(buf.io_capacity());
        let mut n = 0;
        if self.limit == 0 && buf.io_capacity() > 0 {
            buf = proceed_with(buf).await?;
        } else {
            (n, buf) = read_part(&mut self.inner, buf, room).await?;
        }
        self.count(n);
        truncate(&mut buf, n);
        Ok((n, buf))
    }

    /// Uses the underlying reader's `read_exact`: a drop loses what that one loses.
    async fn read_exact<B: IoBufMut>(&mut self, buf: B, len: usize) -> Result<B, BufError<B>> {
        let buf = check_room(buf, len).await?;
        let part = self.within(len);
        match self.inner.read_exact(buf, part).await {
            Ok(buf) => {
                self.count(part);
                match len - part {
                    0 => Ok(buf),
                    missing => {
                        let error = ended_early("stream", missing);
                        Err(BufError::new(error, buf).with_transferred(part))
                    }
                }
            }
            Err(error) => {
                self.count(error.transferred());
                Err(error)
            }
        }
    }

    fn unread(&mut self, bytes: &[u8]) -> bool {
        let took = self.inner.unread(bytes);
        if took {
            self.limit = self.limit.saturating_add(bytes.len() as u64);
        }
        took
    }
}
