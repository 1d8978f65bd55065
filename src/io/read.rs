//! What can be read.

use super::{Chain, Take};
use crate::buf::{BufError, BufResult, IoBufMut, Slice, truncate};
use crate::op::SharedFd;
use crate::runtime::{pass, pass_with};
use std::io;

/// The least that `read_to_end` makes room for.
const GROWTH_MIN: usize = 32;
/// The most that it makes room for at once.
const GROWTH_MAX: usize = 4 << 20;
/// What it reads to find out whether there is more than the buffer has room for. As much is made room for then.
const PROBE: usize = GROWTH_MIN;
/// What `read_append` makes room for in a buffer that is full.
const APPENDED_AT_ONCE: usize = 16 << 10;

/// What bytes can be read from, one after the other: a file at its cursor, a socket, a pipe.
///
/// The types that have methods of these names themselves need no import of the trait; it is for functions that take any
/// of them. What can be read by reference goes in as that, too: `&stream`, and `&*shared` of an `Rc`, while other tasks write.
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
    /// # Errors
    ///
    /// `InvalidInput` for a buffer of capacity zero; what the kernel says; [`Canceled`](crate::Canceled). The error
    /// contains the buffer.
    ///
    /// # Cancel safety
    ///
    /// A wait that was canceled has read nothing. What becomes of one that is dropped, the type says (`tests/streams.rs`).
    fn read<B: IoBufMut>(&mut self, buf: B) -> impl Future<Output = BufResult<usize, B>>;

    /// Reads `len` bytes into the start of the buffer, and sets the buffer's length to `len`.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` if it ends first; `InvalidInput` if the buffer has no room for `len` bytes; those of
    /// [`read`](AsyncRead::read). The error contains the buffer, with the bytes read so far at its start, and their
    /// number.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it loses what it has read, unless the type says otherwise (`tests/streams.rs`).
    fn read_exact<B: IoBufMut>(
        &mut self,
        buf: B,
        len: usize,
    ) -> impl Future<Output = Result<B, BufError<B>>> {
        async move {
            let mut buf = check_room(buf, len).await?;
            let mut done = 0;
            while done < len {
                let part = buf.slice(done..len);
                match self.read(part).await {
                    Ok((0, part)) => {
                        let mut buf = part.into_inner();
                        truncate(&mut buf, done);
                        return Err(BufError::new(ended_early(len - done), buf).with_done(done));
                    }
                    Ok((n, part)) => {
                        done += n;
                        buf = part.into_inner();
                    }
                    Err(error) => {
                        let error = error.map_buf(|part| {
                            let mut buf = part.into_inner();
                            // What has read nothing leaves the buffer as it was.
                            if done > 0 {
                                truncate(&mut buf, done);
                            }
                            buf
                        });
                        buf = retry(error, done)?;
                    }
                }
            }
            // A part never shortens the buffer that it is of.
            truncate(&mut buf, len);
            Ok(buf)
        }
    }

    /// Reads to the end, appends the bytes to the buffer, and returns their number.
    ///
    /// # Errors
    ///
    /// Those of [`read`](AsyncRead::read); `OutOfMemory` if the buffer cannot grow. The error contains the buffer with
    /// everything read so far, and the number of those bytes.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it loses the buffer, and with it what it has read (`tests/streams.rs`).
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
    ///     assert_eq!((error.done(), error.into_buf()), (4, b"head bodycaf\xe9".to_vec()));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidData` if what was read to the end is not UTF-8; those of [`read_to_end`](AsyncRead::read_to_end). The error holds
    /// bytes: what the string held, and behind it all that was read until then, however it failed. How many bytes those were is
    /// in it, too, and `read_to_end` can go on with them.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it loses the string, and with it what it has read (`tests/readers.rs`).
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
                    Err(BufError::new(why, error.into_bytes()).with_done(n))
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
    /// A wait that was canceled has read nothing, and its error holds the buffer. Dropped, it loses the buffer with what that
    /// held; what becomes of the read, the type says (`tests/readers.rs`).
    fn read_append(&mut self, buf: Vec<u8>) -> impl Future<Output = BufResult<usize, Vec<u8>>> {
        append(self, buf, APPENDED_AT_ONCE)
    }

    /// What this reads, and after its end what the other one does.
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
    /// That of both readers, which have what was not read (`tests/readers.rs`).
    fn chain<R: AsyncRead>(self, other: R) -> Chain<Self, R>
    where
        Self: Sized,
    {
        Chain::new(self, other)
    }

    /// The first bytes of this, so many at most: after them it is the end, and nothing more is read.
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
    /// That of the reader: what was not read does not count against the limit (`tests/readers.rs`).
    fn take(self, limit: u64) -> Take<Self>
    where
        Self: Sized,
    {
        Take::new(self, limit)
    }

    /// Takes back what was read last and not used, so that the next read gives it first, and says whether it could. Streams
    /// can, and files whose cursor moves, and cursors of memory.
    fn unread(&mut self, bytes: &[u8]) -> bool {
        let _ = bytes;
        false
    }

    /// The file that [`copy`](super::copy) can splice from, if it is one, and large enough.
    #[doc(hidden)]
    fn inlet(&self) -> Option<SharedFd> {
        None
    }
}

/// Reads behind what is in the buffer, which grows by so much at least if it is full.
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
    match reader.read(buf.slice(len..)).await {
        Ok((n, part)) => Ok((n, part.into_inner())),
        Err(error) => Err(error.map_buf(Slice::into_inner)),
    }
}

/// Reads a few bytes into memory of their own. What is read may have as many bytes as the caller made room for; only if there are
/// more does the buffer grow. So does std.
async fn probe<R>(reader: &mut R, mut buf: Vec<u8>) -> BufResult<usize, Vec<u8>>
where
    R: AsyncRead + ?Sized,
{
    match reader.read(Vec::with_capacity(PROBE)).await {
        Ok((0, _)) => Ok((0, buf)),
        Ok((n, few)) => {
            if let Err(error) = grow(&mut buf, GROWTH_MIN) {
                // If they cannot go back they are lost: there is no room for them.
                let _went_back = reader.unread(&few);
                return Err(BufError::new(error, buf));
            }
            buf.extend_from_slice(&few);
            Ok((n, buf))
        }
        Err(error) => Err(BufError::new(error.into_error(), buf)),
    }
}

/// Reads into the first bytes of the buffer, of which it has so many. A read of nothing leaves the buffer as it was, and
/// one of less than it holds does not shorten it.
pub(super) async fn read_part<R, B>(reader: &mut R, buf: B, room: usize) -> BufResult<usize, B>
where
    R: AsyncRead,
    B: IoBufMut,
{
    match reader.read(buf.slice(..room)).await {
        Ok((n, part)) => Ok((n, part.into_inner())),
        Err(error) => Err(error.map_buf(Slice::into_inner)),
    }
}

/// Makes room for so many bytes at least.
fn grow(buf: &mut Vec<u8>, growth_min: usize) -> io::Result<()> {
    let growth = buf.capacity().clamp(growth_min, GROWTH_MAX);
    buf.try_reserve(growth)
        .map_err(|error| io::Error::new(io::ErrorKind::OutOfMemory, error))
}

/// The buffer, if it has room for so many bytes. Where nothing is left to be awaited, this lets others go first.
pub(crate) async fn check_room<B: IoBufMut>(buf: B, len: usize) -> Result<B, BufError<B>> {
    match room_for(buf, len) {
        Ok(buf) if len == 0 => pass_with(buf).await,
        Err(error) => match pass().await {
            Ok(()) => Err(error),
            Err(canceled) => Err(BufError::new(canceled.into(), error.into_buf())),
        },
        has_room => has_room,
    }
}

/// The buffer, if it has room for so many bytes.
pub(super) fn room_for<B: IoBufMut>(buf: B, len: usize) -> Result<B, BufError<B>> {
    if len <= buf.io_capacity() {
        return Ok(buf);
    }
    let what = format!(
        "read of {len} bytes into a buffer of capacity {}",
        buf.io_capacity()
    );
    let error = io::Error::new(io::ErrorKind::InvalidInput, what);
    Err(BufError::new(error, buf))
}

pub(super) fn ended_early(missing: usize) -> io::Error {
    let what = format!("the stream ended {missing} bytes early");
    io::Error::new(io::ErrorKind::UnexpectedEof, what)
}

/// A signal that interrupted one part of a loop is no reason to end it, as in std.
pub(super) fn retry<B>(error: BufError<B>, done: usize) -> Result<B, BufError<B>> {
    if error.kind() == io::ErrorKind::Interrupted {
        return Ok(error.into_buf());
    }
    Err(error.with_done(done))
}

impl<R: AsyncRead + ?Sized> AsyncRead for &mut R {
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

    fn unread(&mut self, bytes: &[u8]) -> bool {
        (**self).unread(bytes)
    }

    fn inlet(&self) -> Option<SharedFd> {
        (**self).inlet()
    }
}
