//! A buffered reader, for lines and small pieces.

use super::{AsyncRead, Lines};
use crate::buf::{self, BufError, BufResult, IoBufMut};
use crate::op::{ended_early, room_for};
use crate::runtime::{proceed, proceed_with};
use crate::sys::counted;
use std::fmt;
use std::io;
use std::mem;
use std::str;

/// The default number of bytes that a [`BufReader`] requests at once.
const CAPACITY: usize = 16 << 10;

/// The default limit on the length of a line that a [`BufReader`] reads: a peer that never ends its line must not fill
/// the memory.
pub const LINE_MAX: usize = 1 << 20;

/// Reads ahead into its own buffer, for reading lines and small pieces.
///
/// Bytes that were read and not consumed stay in the buffer, even when a wait is canceled or dropped.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::fs::File;
/// use gimmal::io::BufReader;
///
/// gimmal::run(async {
///     let mut reader = BufReader::new(File::open("Cargo.toml").await?);
///     let mut line = String::new();
///     reader.read_line(&mut line).await?;
///     assert_eq!(line, "[package]\n");
///     Ok(())
/// })
/// # }
/// ```
pub struct BufReader<R> {
    inner: R,
    /// The bytes that were read, of which those from `start` on are not consumed yet.
    held: Vec<u8>,
    start: usize,
    /// The buffer for the next read, kept apart from `held` because a dropped read does not return it.
    spare: Vec<u8>,
    capacity: usize,
    line_max: usize,
    bad: Bad,
}

/// What an error left at the front of the buffer, which the next read of a line skips.
#[derive(Clone, Copy, Debug)]
enum Bad {
    Nothing,
    /// A line of this many bytes, including its end, that is not UTF-8.
    NotText(usize),
    /// A line that is too long, up to this delimiter.
    TooLong(u8),
    /// A line that is too long and was partly discarded, up to this delimiter.
    Discarded(u8),
}

/// The kind of data that is searched for a delimiter.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sought {
    /// Text: a line that was found not to be UTF-8 is skipped.
    Line,
    Bytes,
}

impl<R: AsyncRead> BufReader<R> {
    /// Creates a reader with a buffer of 16 KiB.
    pub fn new(inner: R) -> BufReader<R> {
        BufReader::with_capacity(CAPACITY, inner)
    }

    /// Creates a reader with a buffer of `capacity` bytes; the minimum is one.
    pub fn with_capacity(capacity: usize, inner: R) -> BufReader<R> {
        BufReader {
            inner,
            held: Vec::new(),
            start: 0,
            spare: Vec::new(),
            capacity: capacity.max(1),
            line_max: LINE_MAX,
            bad: Bad::Nothing,
        }
    }

    /// Returns the reader with another limit on the bytes of a line, not counting its end. The default is [`LINE_MAX`].
    #[must_use]
    pub fn line_max(mut self, bytes: usize) -> BufReader<R> {
        self.set_line_max(bytes);
        self
    }

    /// Sets the limit on the bytes of a line. A line that was too long is read again with the new limit, unless a call
    /// has begun to discard it.
    pub fn set_line_max(&mut self, bytes: usize) {
        self.line_max = bytes;
        if let Bad::TooLong(_) = self.bad {
            self.bad = Bad::Nothing;
        }
    }

    /// Reads a line and appends it, including its `\n`, which only the last line may lack. Returns the number of bytes,
    /// which is zero at the end.
    ///
    /// # Errors
    ///
    /// Those of [`read_until`](BufReader::read_until); `InvalidData` if the line is not UTF-8. Nothing is appended
    /// then, and the next call returns the next line. Until that call, the bad line is at the front of the
    /// [buffer](BufReader::buffer), and `read_until` or any other read returns its bytes.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::io::{BufReader, pipe};
    ///
    /// gimmal::run(async {
    ///     let (reader, writer) = pipe()?;
    ///     writer.write_all(&b"caf\xe9\nnext\n"[..]).await?;
    ///     let mut reader = BufReader::new(reader);
    ///     let mut line = String::new();
    ///     let error = reader.read_line(&mut line).await.unwrap_err();
    ///     assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    ///     assert!(reader.buffer().starts_with(b"caf\xe9\n"));
    ///     reader.read_line(&mut line).await?;
    ///     assert_eq!(line, "next\n");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// No byte is lost: what was read stays in the buffer, and nothing is appended. The rest is as in
    /// [`read_until`](BufReader::read_until).
    // Test: tests/io/lines.rs
    pub async fn read_line(&mut self, into: &mut String) -> io::Result<usize> {
        let len = self.find(b'\n', Sought::Line).await?;
        into.push_str(self.text(len)?);
        self.consume(len);
        Ok(len)
    }

    /// Reads up to and including this byte, or to the end, and appends the bytes. Returns their number, which is zero
    /// at the end.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::io::BufReader;
    ///
    /// gimmal::run(async {
    ///     let mut reader = BufReader::new(&b"PATH=/bin\0HOME=/root\0"[..]);
    ///     let (mut variables, mut variable) = (Vec::new(), Vec::new());
    ///     while reader.read_until(0, &mut variable).await? > 0 {
    ///         variable.pop();
    ///         variables.push(std::mem::take(&mut variable));
    ///     }
    ///     assert_eq!(variables, [&b"PATH=/bin"[..], b"HOME=/root"]);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidData`, with the limit, as soon as [more bytes](BufReader::line_max) than the limit were read without the
    /// delimiter: nothing is appended, and what was read is at the front of the [buffer](BufReader::buffer). The next
    /// call of this method or for a line first discards everything up to the delimiter, in little memory. To get the
    /// bytes instead, read them with another method, or set a higher limit.
    ///
    /// Those of the reader: what was read so far stays in the buffer, and nothing is appended.
    ///
    /// # Cancel safety
    ///
    /// No byte is lost from the buffer: what was read so far stays there, and nothing is appended. A wait that was
    /// discarding a line that is too long has discarded part of it, and the next call continues. What happens to a read
    /// in the kernel when the wait is dropped depends on the reader: streams lose nothing, a file has advanced its
    /// cursor.
    // Test: tests/io/lines.rs
    pub async fn read_until(&mut self, delimiter: u8, into: &mut Vec<u8>) -> io::Result<usize> {
        let len = self.find(delimiter, Sought::Bytes).await?;
        into.extend_from_slice(&self.buffer()[..len]);
        self.consume(len);
        Ok(len)
    }

    /// Reads up to and including this byte, or to the end, and discards the bytes. Returns their number, which is not
    /// limited, and is zero at the end.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::io::BufReader;
    ///
    /// gimmal::run(async {
    ///     let mut reader = BufReader::new(&b"# a comment of any length\nname = gimmal\n"[..]);
    ///     let mut line = String::new();
    ///     if reader.fill_buf().await?.starts_with(b"#") {
    ///         reader.skip_until(b'\n').await?;
    ///     }
    ///     reader.read_line(&mut line).await?;
    ///     assert_eq!(line, "name = gimmal\n");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the reader, such as `ConnectionReset`; [`Canceled`](crate::Canceled).
    ///
    /// # Cancel safety
    ///
    /// Nothing else is lost: some of the bytes may have been discarded, and the following ones are in the buffer or not
    /// read yet. A read in the kernel is as in [`read_until`](BufReader::read_until).
    // Test: tests/io/lines.rs
    pub async fn skip_until(&mut self, delimiter: u8) -> io::Result<usize> {
        proceed().await?;
        self.bad = Bad::Nothing;
        self.skip(delimiter).await
    }

    /// Returns the lines of the reader, each without its line ending.
    pub fn lines(self) -> Lines<R> {
        Lines::new(self)
    }

    /// Returns the content of the buffer, and first fills it if it is empty. The result is empty only at the end. Mark
    /// the used bytes with [`consume`](BufReader::consume).
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::io::BufReader;
    ///
    /// gimmal::run(async {
    ///     let mut reader = BufReader::with_capacity(4, &b"hello"[..]);
    ///     let mut sum = 0;
    ///     loop {
    ///         let bytes = reader.fill_buf().await?;
    ///         if bytes.is_empty() {
    ///             break;
    ///         }
    ///         let n = bytes.len();
    ///         sum += bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    ///         reader.consume(n);
    ///     }
    ///     assert_eq!(sum, 532);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the reader, such as `ConnectionReset`; [`Canceled`](crate::Canceled).
    ///
    /// # Cancel safety
    ///
    /// No byte is lost: what was read stays in the buffer. A read in the kernel is as in
    /// [`read_until`](BufReader::read_until).
    // Test: tests/io/lines.rs
    pub async fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self.buffer().is_empty() {
            true => _ = self.fill_more().await?,
            false => proceed().await?,
        }
        Ok(self.buffer())
    }

    /// Returns the text of the line that was found, or marks it as not UTF-8.
    pub(super) fn text(&mut self, len: usize) -> io::Result<&str> {
        str::from_utf8(&self.held[self.start..][..len]).map_err(|error| {
            self.bad = Bad::NotText(len);
            not_text(error)
        })
    }

    /// Reads until the buffer contains the delimiter or the end, and returns the number of bytes up to there, counting
    /// the delimiter.
    pub(super) async fn find(&mut self, delimiter: u8, sought: Sought) -> io::Result<usize> {
        proceed().await?;
        match (self.bad, sought) {
            (Bad::Nothing, _) | (Bad::NotText(_), Sought::Bytes) => {}
            (Bad::NotText(len), Sought::Line) => self.consume(len),
            (Bad::TooLong(end) | Bad::Discarded(end), _) => {
                self.bad = Bad::Discarded(end);
                self.skip(end).await?;
                self.bad = Bad::Nothing;
            }
        }
        let mut looked = 0;
        loop {
            let held = self.buffer();
            let found = held[looked..].iter().position(|byte| *byte == delimiter);
            let len = found.map_or(held.len(), |at| looked + at);
            if len > self.line_max {
                self.bad = Bad::TooLong(delimiter);
                return Err(too_long(self.line_max));
            }
            if found.is_some() {
                return Ok(len + 1);
            }
            looked = len;
            if self.fill_more().await? == 0 {
                return Ok(looked);
            }
        }
    }

    async fn skip(&mut self, delimiter: u8) -> io::Result<usize> {
        let mut skipped = 0;
        loop {
            let held = self.buffer();
            let found = held.iter().position(|byte| *byte == delimiter);
            let len = found.map_or(held.len(), |at| at + 1);
            self.start += len;
            skipped += len;
            if found.is_some() {
                return Ok(skipped);
            }
            // A user's reader may never wait and never end.
            proceed().await?;
            if self.fill_more().await? == 0 {
                return Ok(skipped);
            }
        }
    }

    /// Reads once, appends to the [buffer](BufReader::buffer), and consumes nothing. Returns the number of bytes, which
    /// is zero at the end. The buffer grows as long as nothing is consumed, so code that reads from a peer needs a
    /// bound.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::io::{BufReader, pipe};
    ///
    /// gimmal::run(async {
    ///     let (reader, writer) = pipe()?;
    ///     let mut reader = BufReader::new(reader);
    ///     writer.write_all("len").await?;
    ///     reader.fill_buf().await?;
    ///     writer.write_all("gth").await?;
    ///     assert_eq!(reader.fill_more().await?, 3);
    ///     assert_eq!(reader.buffer(), b"length");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the reader, such as `ConnectionReset`; [`Canceled`](crate::Canceled). The content of the buffer is
    /// kept.
    ///
    /// # Cancel safety
    ///
    /// No byte is lost: what was read stays in the buffer. A read in the kernel is as in
    /// [`read_until`](BufReader::read_until).
    // Test: tests/io/readers.rs
    pub async fn fill_more(&mut self) -> io::Result<usize> {
        loop {
            let mut chunk = mem::take(&mut self.spare);
            chunk.clear();
            if chunk.capacity() == 0 {
                chunk.reserve_exact(self.capacity);
            }
            match self.inner.read(chunk).await {
                Ok((n, mut chunk)) => {
                    chunk.truncate(n);
                    self.hold(chunk);
                    return Ok(n);
                }
                Err(error) => {
                    let (error, chunk) = error.into_parts();
                    self.spare = chunk;
                    if error.kind() != io::ErrorKind::Interrupted {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Appends bytes to those that are held.
    fn hold(&mut self, chunk: Vec<u8>) {
        if self.buffer().is_empty() {
            self.spare = mem::replace(&mut self.held, chunk);
        } else {
            self.held.drain(..self.start);
            self.held.extend_from_slice(&chunk);
            self.spare = chunk;
        }
        self.start = 0;
        // The memory that a long line took is not kept for the next.
        if self.spare.capacity() > self.capacity {
            self.spare = Vec::new();
        }
    }
}

impl<R> BufReader<R> {
    /// Returns the bytes that were read and not consumed.
    pub fn buffer(&self) -> &[u8] {
        &self.held[self.start..]
    }

    /// Marks this many bytes of the buffer as used.
    ///
    /// # Panics
    ///
    /// If the buffer contains fewer bytes.
    pub fn consume(&mut self, bytes: usize) {
        assert!(
            bytes <= self.buffer().len(),
            "consumed {} of {} in the buffer",
            counted(bytes, "byte"),
            self.buffer().len()
        );
        self.start += bytes;
        self.bad = Bad::Nothing;
    }

    /// Returns the underlying reader.
    pub fn get_ref(&self) -> &R {
        &self.inner
    }

    /// Returns the underlying reader. What is read from it directly does not pass through the buffer.
    pub fn get_mut(&mut self) -> &mut R {
        &mut self.inner
    }

    /// Returns the underlying reader, and the bytes that were read and not consumed.
    pub fn into_inner(mut self) -> (R, Vec<u8>) {
        self.held.drain(..self.start);
        (self.inner, self.held)
    }
}

#[cold]
fn too_long(line_max: usize) -> io::Error {
    let limit = counted(line_max, "byte");
    let what = format!("a line of more than {limit}, which is the limit");
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cold]
fn not_text(error: str::Utf8Error) -> io::Error {
    let what = format!("a line that is not UTF-8: {error}");
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl<R: AsyncRead> AsyncRead for BufReader<R> {
    /// Reads from the buffer, which is filled if it is empty; a read of at least the buffer's capacity bypasses an
    /// empty buffer.
    async fn read<B: IoBufMut>(&mut self, mut buf: B) -> BufResult<usize, B> {
        let room = buf.io_capacity();
        if room == 0 || self.buffer().is_empty() && room >= self.capacity {
            let read = self.inner.read(buf).await?;
            self.bad = Bad::Nothing;
            return Ok(read);
        }
        if let Err(error) = self.fill_buf().await {
            return Err(BufError::new(error, buf));
        }
        let n = buf::fill(&mut buf, self.buffer());
        self.consume(n);
        Ok((n, buf))
    }

    /// Takes nothing out of the buffer until it contains `len` bytes, so a drop or a cancel loses none.
    async fn read_exact<B: IoBufMut>(&mut self, buf: B, len: usize) -> Result<B, BufError<B>> {
        let mut buf = room_for(proceed_with(buf).await?, len)?;
        while self.buffer().len() < len {
            match self.fill_more().await {
                Ok(0) => {
                    let error = ended_early("stream", len - self.buffer().len());
                    buf::truncate(&mut buf, 0);
                    return Err(BufError::new(error, buf));
                }
                Ok(_) => {}
                Err(error) => return Err(BufError::new(error, buf)),
            }
        }
        buf::fill(&mut buf, &self.buffer()[..len]);
        self.consume(len);
        Ok(buf)
    }

    fn unread(&mut self, bytes: &[u8]) -> bool {
        self.held.splice(..self.start, bytes.iter().copied());
        self.start = 0;
        self.bad = Bad::Nothing;
        true
    }
}

/// Omits the content of the buffer: a page of bytes would hide the rest.
impl<R: fmt::Debug> fmt::Debug for BufReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufReader")
            .field("inner", &self.inner)
            .field("buffered", &self.buffer().len())
            .field("line_max", &self.line_max)
            .finish_non_exhaustive()
    }
}
