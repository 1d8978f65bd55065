//! The trait of readers.

use super::{Chain, Take};
use crate::buf::{BufError, BufResult, IoBuf, IoBufMut, Slice};
use crate::op::{SharedFd, read_in_loop, retry};
use std::io;

/// The minimum growth of the buffer in `read_to_end`.
pub(crate) const GROWTH_MIN: usize = 32;
/// The maximum growth of the buffer at once.
const GROWTH_MAX: usize = 4 << 20;
/// How many bytes `read_to_end` reads to find out whether more follows when the buffer is full. The buffer then grows
/// by at least as many.
const PROBE: usize = GROWTH_MIN;
/// How much room `read_append` makes in a full buffer.
const APPENDED_AT_ONCE: usize = 16 << 10;

/// A source of bytes that are read in sequence: a file at its cursor, a socket, a pipe.
///
/// Import this only for generic code; concrete types have inherent methods of the same names. Types that can be read by
/// reference implement the trait for references, too: pass `&stream`, or `&*shared` for an `Rc`, while other tasks
/// write.
///
/// ```
/// use gimmal::io::AsyncRead;
/// use std::io;
///
/// /// The first line, without its end.
/// async fn first_line(mut from: impl AsyncRead) -> io::Result<Vec<u8>> {
///     let (_, mut text) = from.read_to_end(Vec::new()).await?;
///     let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
///     text.truncate(end);
///     Ok(text)
/// }
///
/// # fn main() -> io::Result<()> {
/// gimmal::run(async {
///     let file = gimmal::fs::File::open("Cargo.toml").await?;
///     assert_eq!(first_line(file).await?, b"[package]");
///     Ok(())
/// })
/// # }
/// ```
pub trait AsyncRead {
    /// Reads available bytes into at most the buffer's whole capacity, and sets the buffer's length to their number.
    /// Returns that number, which is zero at the end, and the buffer.
    ///
    /// ```
    /// use gimmal::io::AsyncRead;
    /// use std::io;
    ///
    /// async fn count(mut from: impl AsyncRead) -> io::Result<usize> {
    ///     let (mut buffer, mut bytes) = (vec![0; 4], 0);
    ///     loop {
    ///         let (n, back) = from.read(buffer).await?;
    ///         if n == 0 {
    ///             return Ok(bytes);
    ///         }
    ///         (buffer, bytes) = (back, bytes + n);
    ///     }
    /// }
    ///
    /// # fn main() -> io::Result<()> {
    /// gimmal::run(async {
    ///     assert_eq!(count(&b"head body"[..]).await?, 9);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a buffer of capacity zero; those of the type, such as `ConnectionReset` on a socket or EIO
    /// from a disk; [`Canceled`](crate::Canceled). The error contains the buffer.
    ///
    /// # Cancel safety
    ///
    /// A canceled read has read nothing. What happens to a dropped read is documented by the type: streams lose
    /// nothing.
    // Test: tests/streams.rs
    fn read<B: IoBufMut>(&mut self, buf: B) -> impl Future<Output = BufResult<usize, B>>;

    /// Reads `len` bytes into the start of the buffer, and sets the buffer's length to `len`.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::io::AsyncRead;
    /// use std::io::ErrorKind;
    ///
    /// gimmal::run(async {
    ///     let mut reader = &b"head body"[..];
    ///     let head = reader.read_exact(Vec::with_capacity(64), 5).await?;
    ///     assert_eq!(head, b"head ");
    ///
    ///     let error = reader.read_exact(head, 5).await.unwrap_err();
    ///     assert_eq!((error.kind(), error.transferred()), (ErrorKind::UnexpectedEof, 4));
    ///     assert_eq!(error.into_buf(), b"body");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` if the reader ends first; `InvalidInput` if the buffer has no room for `len` bytes; those of
    /// [`read`](AsyncRead::read). The error contains the buffer, with the bytes read so far at its start, and their
    /// number.
    ///
    /// # Cancel safety
    ///
    /// After a cancel, the error contains what was read. A drop loses what was read, unless the type documents
    /// otherwise.
    // Test: tests/streams.rs
    fn read_exact<B: IoBufMut>(
        &mut self,
        buf: B,
        len: usize,
    ) -> impl Future<Output = Result<B, BufError<B>>> {
        read_in_loop(buf, len, "stream", async move |buf: B, done| {
            whole(self.read(buf.slice(done..len)).await)
        })
    }

    /// Reads to the end, appends the bytes to the buffer, and returns their number.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::io::AsyncRead;
    ///
    /// gimmal::run(async {
    ///     let mut reader = (&b"body"[..]).chain(&b", tail"[..]);
    ///     let (n, bytes) = reader.read_to_end(b"head, ".to_vec()).await?;
    ///     assert_eq!((n, &bytes[..]), (10, &b"head, body, tail"[..]));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`read`](AsyncRead::read); `OutOfMemory` if the buffer cannot grow. The error contains the buffer with
    /// everything read so far, and the number of those bytes.
    ///
    /// # Cancel safety
    ///
    /// After a cancel, the error contains what was read. After a drop, that is lost with the buffer.
    // Test: tests/streams.rs
    fn read_to_end(&mut self, mut buf: Vec<u8>) -> impl Future<Output = BufResult<usize, Vec<u8>>> {
        async move {
            let (start, given) = (buf.len(), buf.capacity());
            loop {
                let done = buf.len() - start;
                let is_full_as_given = buf.len() == given && buf.capacity() == given;
                let read = match is_full_as_given {
                    true => probe(self, buf).await,
                    false => append(self, buf, GROWTH_MIN).await,
                };
                match read {
                    Ok((0, buf)) => return Ok((done, buf)),
                    Ok((_, more)) => buf = more,
                    Err(error) => buf = retry(error, done)?,
                }
            }
        }
    }

    /// Reads text to the end, appends it to the string, and returns the number of bytes read.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::io::AsyncRead;
    ///
    /// gimmal::run(async {
    ///     let (n, text) = (&b"body"[..]).read_to_string("head ".to_owned()).await?;
    ///     assert_eq!((n, &*text), (4, "head body"));
    ///
    ///     let error = (&b"caf\xe9"[..]).read_to_string(text).await.unwrap_err();
    ///     assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    ///     assert_eq!((error.transferred(), error.into_buf()), (4, b"head bodycaf\xe9".to_vec()));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidData` if the bytes that were read are not UTF-8; those of [`read_to_end`](AsyncRead::read_to_end).
    /// Whatever the error, it contains the string's bytes followed by everything read so far, and the number of bytes
    /// read; `read_to_end` can continue with that buffer.
    ///
    /// # Cancel safety
    ///
    /// After a cancel, the error contains what was read. After a drop, that is lost with the string.
    // Test: tests/readers.rs
    fn read_to_string(
        &mut self,
        buf: String,
    ) -> impl Future<Output = Result<(usize, String), BufError<Vec<u8>>>> {
        async move {
            let (n, bytes) = self.read_to_end(buf.into_bytes()).await?;
            match String::from_utf8(bytes) {
                Ok(text) => Ok((n, text)),
                Err(error) => {
                    let why = io::Error::new(io::ErrorKind::InvalidData, error.utf8_error());
                    Err(BufError::new(why, error.into_bytes()).with_transferred(n))
                }
            }
        }
    }

    /// Reads once, appending available bytes in the buffer's spare capacity; if it has none, the buffer first grows by
    /// 16 KiB or more. Returns the number of bytes, which is zero at the end, and the buffer.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::io::{AsyncRead, pipe};
    ///
    /// gimmal::run(async {
    ///     let (reader, writer) = pipe()?;
    ///     let mut message = Vec::new();
    ///     for part in ["length 4\n", "\nbody"] {
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
    /// `OutOfMemory` if the buffer cannot grow; those of [`read`](AsyncRead::read). The error contains the buffer with
    /// its former content.
    ///
    /// # Cancel safety
    ///
    /// A canceled read has read nothing, and its error contains the buffer. A drop loses the buffer and its content;
    /// what happens to the read is documented by the type.
    // Test: tests/readers.rs
    fn read_append(&mut self, buf: Vec<u8>) -> impl Future<Output = BufResult<usize, Vec<u8>>> {
        append(self, buf, APPENDED_AT_ONCE)
    }

    /// Returns a reader that reads this one to its end, and then the other one.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::fs::File;
    /// use gimmal::io::AsyncRead;
    ///
    /// gimmal::run(async {
    ///     let file = File::open("Cargo.toml").await?;
    ///     let mut reader = (&b"# begin\n"[..]).chain(file).chain(&b"# end\n"[..]);
    ///     let (_, text) = reader.read_to_end(Vec::new()).await?;
    ///     assert!(text.starts_with(b"# begin\n[package]\n") && text.ends_with(b"\n# end\n"));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// That of both readers, which keep what was not read.
    // Test: tests/readers.rs
    fn chain<R: AsyncRead>(self, other: R) -> Chain<Self, R>
    where
        Self: Sized,
    {
        Chain::new(self, other)
    }

    /// Returns a reader of at most the first `limit` bytes of this one: after them it is at its end, and reads nothing
    /// more.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::io::{AsyncRead, pipe};
    ///
    /// gimmal::run(async {
    ///     let (reader, writer) = pipe()?;
    ///     writer.write_all("head body").await?;
    ///     let mut head = (&reader).take(4);
    ///     assert_eq!(head.read_to_end(Vec::new()).await?.1, b"head");
    ///     assert_eq!(head.limit(), 0);
    ///     assert_eq!(reader.read(vec![0; 64]).await?.1, b" body");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// That of the reader: what was not read does not count against the limit.
    // Test: tests/readers.rs
    fn take(self, limit: u64) -> Take<Self>
    where
        Self: Sized,
    {
        Take::new(self, limit)
    }

    /// Takes back bytes that were read last and not used, so that the next read returns them first. Returns whether the
    /// reader could: streams, seekable files and in-memory cursors can.
    fn unread(&mut self, bytes: &[u8]) -> bool {
        let _ = bytes;
        false
    }

    /// Returns the file that [`copy`](super::copy) can splice from, if this is a file, and large enough.
    #[doc(hidden)]
    fn inlet(&self) -> Option<SharedFd> {
        None
    }
}

/// Reads once and appends to the buffer, which first grows by at least `growth_min` bytes if it is full.
async fn append<R>(reader: &mut R, mut buf: Vec<u8>, growth_min: usize) -> BufResult<usize, Vec<u8>>
where
    R: AsyncRead + ?Sized,
{
    if buf.len() == buf.capacity()
        && let Err(error) = grow(&mut buf, growth_min)
    {
        return Err(BufError::new(error, buf));
    }
    let len = buf.len();
    whole(reader.read(buf.slice(len..)).await)
}

/// Reads a few bytes into separate memory. The caller may have made exactly enough room, so the buffer grows only if
/// more bytes follow, as in std.
async fn probe<R>(reader: &mut R, mut buf: Vec<u8>) -> BufResult<usize, Vec<u8>>
where
    R: AsyncRead + ?Sized,
{
    match reader.read(Vec::with_capacity(PROBE)).await {
        Ok((0, _)) => Ok((0, buf)),
        Ok((n, few)) => {
            if let Err(error) = grow(&mut buf, GROWTH_MIN) {
                // If the reader cannot take them back, the bytes are lost: there is no room for them.
                let _went_back = reader.unread(&few);
                return Err(BufError::new(error, buf));
            }
            buf.extend_from_slice(&few);
            Ok((n, buf))
        }
        Err(error) => Err(BufError::new(error.into_error(), buf)),
    }
}

/// Reads into the first `room` bytes of the buffer, which must have that capacity. A read of nothing leaves the buffer
/// unchanged, and a read of less than its length does not shorten it.
pub(super) async fn read_part<R, B>(reader: &mut R, buf: B, room: usize) -> BufResult<usize, B>
where
    R: AsyncRead,
    B: IoBufMut,
{
    whole(reader.read(buf.slice(..room)).await)
}

/// Returns the whole buffer after a call that got a part of it.
pub(super) fn whole<B: IoBuf>(result: BufResult<usize, Slice<B>>) -> BufResult<usize, B> {
    match result {
        Ok((n, part)) => Ok((n, part.into_inner())),
        Err(error) => Err(error.map_buf(Slice::into_inner)),
    }
}

/// Makes room for at least `growth_min` more bytes.
pub(crate) fn grow(buf: &mut Vec<u8>, growth_min: usize) -> io::Result<()> {
    let growth = buf.capacity().min(GROWTH_MAX).max(growth_min);
    buf.try_reserve(growth)
        .map_err(|error| io::Error::new(io::ErrorKind::OutOfMemory, error))
}

macro_rules! forward {
    ($($type:ty)+) => {$(
        impl<R: AsyncRead + ?Sized> AsyncRead for $type {
            fn read<B: IoBufMut>(&mut self, buf: B) -> impl Future<Output = BufResult<usize, B>> {
                (**self).read(buf)
            }

            fn read_exact<B: IoBufMut>(
                &mut self,
                buf: B,
                len: usize,
            ) -> impl Future<Output = Result<B, BufError<B>>> {
                (**self).read_exact(buf, len)
            }

            fn read_to_end(&mut self, buf: Vec<u8>) -> impl Future<Output = BufResult<usize, Vec<u8>>> {
                (**self).read_to_end(buf)
            }

            fn read_to_string(
                &mut self,
                buf: String,
            ) -> impl Future<Output = Result<(usize, String), BufError<Vec<u8>>>> {
                (**self).read_to_string(buf)
            }

            fn read_append(&mut self, buf: Vec<u8>) -> impl Future<Output = BufResult<usize, Vec<u8>>> {
                (**self).read_append(buf)
            }

            fn unread(&mut self, bytes: &[u8]) -> bool {
                (**self).unread(bytes)
            }

            fn inlet(&self) -> Option<SharedFd> {
                (**self).inlet()
            }
        }
    )+};
}

forward! { &mut R Box<R> }
