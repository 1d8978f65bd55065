//! Two readers in sequence.

use super::AsyncRead;
use super::read::read_part;
use crate::buf::{BufResult, IoBufMut, truncate};

/// Reads one reader to its end and then another, returned by [`AsyncRead::chain`].
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::io::{AsyncRead, BufReader};
///
/// gimmal::run(async {
///     // What was read ahead, and what is still to come.
///     let mut reader = BufReader::with_capacity(4, &b"abcdef"[..]);
///     reader.fill_buf().await?;
///     let (below, ahead) = reader.into_inner();
///     let mut chain = (&ahead[..]).chain(below);
///     assert_eq!(chain.read_exact(vec![0; 5], 5).await?, b"abcde");
///     assert_eq!(chain.into_inner(), (&b""[..], &b"f"[..]));
///     Ok(())
/// })
/// # }
/// ```
#[derive(Debug)]
pub struct Chain<R, S> {
    first: R,
    second: S,
    first_ended: bool,
    /// The number of bytes that came from the second reader, which it can take back.
    from_second: u64,
}

impl<R, S> Chain<R, S> {
    pub(super) fn new(first: R, second: S) -> Chain<R, S> {
        Chain {
            first,
            second,
            first_ended: false,
            from_second: 0,
        }
    }

    /// Returns the underlying readers.
    pub fn get_ref(&self) -> (&R, &S) {
        (&self.first, &self.second)
    }

    /// Returns the underlying readers.
    pub fn get_mut(&mut self) -> (&mut R, &mut S) {
        (&mut self.first, &mut self.second)
    }

    /// Returns the underlying readers.
    pub fn into_inner(self) -> (R, S) {
        (self.first, self.second)
    }
}

impl<R: AsyncRead, S: AsyncRead> AsyncRead for Chain<R, S> {
    /// Reads from the first reader, and after its end from the second.
    async fn read<B: IoBufMut>(&mut self, mut buf: B) -> BufResult<usize, B> {
        if !self.first_ended {
            let room = buf.io_capacity();
            let n;
            // At the first reader's end the buffer is unchanged, so it is returned intact if the second read is
            // canceled.
            (n, buf) = read_part(&mut self.first, buf, room).await?;
            if n > 0 {
                truncate(&mut buf, n);
                return Ok((n, buf));
            }
            self.first_ended = true;
        }
        let (n, buf) = self.second.read(buf).await?;
        self.from_second += n as u64;
        Ok((n, buf))
    }

    /// Bytes that came from both readers cannot be taken back together.
    fn unread(&mut self, bytes: &[u8]) -> bool {
        let len = bytes.len() as u64;
        if len <= self.from_second {
            let took = self.second.unread(bytes);
            self.from_second -= if took { len } else { 0 };
            return took;
        }
        let took = self.from_second == 0 && self.first.unread(bytes);
        self.first_ended &= !took;
        took
    }
}
