//! `AsyncRead` and `AsyncWrite` for memory, and for std's `empty`, `sink` and `repeat`: they behave as in std, and are
//! ready at once.

use super::{AsyncRead, AsyncWrite};
use crate::buf::{self, BufError, BufResult, IoBuf, IoBufMut, no_room};
use crate::runtime::proceed_with;
use std::future::ready;
use std::io::{BufRead, Cursor, Empty, Read, Repeat, Result, Sink, Write};

/// Lets other tasks go first if necessary, and returns the buffer unless its capacity is zero.
async fn room_in<B: IoBufMut>(buf: B) -> std::result::Result<B, BufError<B>> {
    let buf = proceed_with(buf).await?;
    match buf.io_capacity() {
        0 => Err(BufError::new(no_room(), buf)),
        _ => Ok(buf),
    }
}

/// Takes the bytes in the poll that returns them, so a cancel or a drop loses none.
async fn read<B: IoBufMut>(from: &mut impl BufRead, buf: B) -> BufResult<usize, B> {
    let mut buf = room_in(buf).await?;
    let n = match from.fill_buf() {
        Ok(there) => buf::fill(&mut buf, there),
        Err(error) => return Err(BufError::new(error, buf)),
    };
    from.consume(n);
    Ok((n, buf))
}

/// Writes in the poll that returns ready: nothing is written after an earlier cancel or drop.
async fn write<B: IoBuf>(to: &mut impl Write, buf: B) -> BufResult<usize, B> {
    let buf = proceed_with(buf).await?;
    match to.write(buf.io_bytes()) {
        Ok(n) => Ok((n, buf)),
        Err(error) => Err(BufError::new(error, buf)),
    }
}

/// Reads from the start of the slice, and advances it past those bytes.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::io::AsyncRead;
///
/// gimmal::run(async {
///     let mut bytes = &b"head body"[..];
///     assert_eq!(bytes.read_exact(vec![0; 5], 5).await?, b"head ");
///     assert_eq!(bytes, b"body");
///     Ok(())
/// })
/// # }
/// ```
///
/// # Cancel safety
///
/// A canceled or dropped read takes nothing.
// Test: tests/readers.rs
impl AsyncRead for &[u8] {
    fn read<B: IoBufMut>(&mut self, buf: B) -> impl Future<Output = BufResult<usize, B>> {
        read(self, buf)
    }
}

/// Reads from the cursor's position, and advances it.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::io::AsyncRead;
/// use std::io::Cursor;
///
/// gimmal::run(async {
///     let mut cursor = Cursor::new("head body");
///     cursor.set_position(5);
///     assert_eq!(cursor.read(vec![0; 64]).await?.1, b"body");
///     Ok(())
/// })
/// # }
/// ```
///
/// # Cancel safety
///
/// A canceled or dropped read takes nothing.
// Test: tests/readers.rs
impl<T: AsRef<[u8]>> AsyncRead for Cursor<T> {
    fn read<B: IoBufMut>(&mut self, buf: B) -> impl Future<Output = BufResult<usize, B>> {
        read(self, buf)
    }

    fn unread(&mut self, bytes: &[u8]) -> bool {
        let before = self.position().checked_sub(bytes.len() as u64);
        before.inspect(|at| self.set_position(*at)).is_some()
    }
}

/// Always at the end.
impl AsyncRead for Empty {
    fn read<B: IoBufMut>(&mut self, buf: B) -> impl Future<Output = BufResult<usize, B>> {
        read(self, buf)
    }
}

/// Never ends, so do not read it to the end.
impl AsyncRead for Repeat {
    async fn read<B: IoBufMut>(&mut self, buf: B) -> BufResult<usize, B> {
        let mut buf = room_in(buf).await?;
        let mut byte = [0];
        match Read::read_exact(self, &mut byte) {
            Ok(()) => Ok((buf::repeat(&mut buf, byte[0]), buf)),
            Err(error) => Err(BufError::new(error, buf)),
        }
    }

    fn unread(&mut self, _: &[u8]) -> bool {
        true
    }
}

macro_rules! writer {
    ($(#[$doc:meta])+ $type:ty $(, $param:ident)?) => {
        $(#[$doc])+
        impl $(<$param>)? AsyncWrite for $type
        where
            $type: Write,
        {
            fn write<B: IoBuf>(&mut self, buf: B) -> impl Future<Output = BufResult<usize, B>> {
                write(self, buf)
            }

            fn shutdown(&mut self) -> impl Future<Output = Result<()>> {
                ready(Ok(()))
            }
        }
    };
}

writer! {
    /// Appends to the vector, which grows.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::io::AsyncWrite;
    ///
    /// gimmal::run(async {
    ///     let mut written = b"head ".to_vec();
    ///     written.write_all("body").await?;
    ///     assert_eq!(written, b"head body");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// A canceled or dropped write writes nothing.
    // Test: tests/readers.rs
    Vec<u8>
}

writer! {
    /// Writes at the cursor's position, overwrites what is there, and advances the position, as in std; into a vector,
    /// an array, a boxed or a borrowed slice. Only a vector grows: any other type accepts nothing when it is full, and
    /// [`write_all`](AsyncWrite::write_all) fails with `WriteZero`.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::io::AsyncWrite;
    /// use std::io::Cursor;
    ///
    /// gimmal::run(async {
    ///     let mut cursor = Cursor::new([0; 6]);
    ///     let error = cursor.write_all("head body").await.unwrap_err();
    ///     assert_eq!((error.kind(), error.transferred()), (std::io::ErrorKind::WriteZero, 6));
    ///     assert_eq!(&cursor.into_inner(), b"head b");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// A canceled or dropped write writes nothing.
    // Test: tests/readers.rs
    Cursor<T>, T
}

writer! {
    /// Accepts everything, and discards it.
    Sink
}

writer! {
    /// Accepts everything, and discards it.
    Empty
}
