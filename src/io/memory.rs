//! Memory as what is read from and written to, and std's three streams that need none: they do what they do in std, and are
//! ready at once.

use super::{AsyncRead, AsyncWrite};
use crate::buf::{self, BufError, BufResult, IoBuf, IoBufMut};
use crate::op::no_room;
use crate::runtime::pass_with;
use std::future::ready;
use std::io::{BufRead, Cursor, Empty, Read, Repeat, Result, Sink, Write};

/// The buffer, when it is its turn, if it has room for anything.
async fn room_in<B: IoBufMut>(buf: B) -> std::result::Result<B, BufError<B>> {
    let buf = pass_with(buf).await?;
    match buf.io_capacity() {
        0 => Err(BufError::new(no_room(), buf)),
        _ => Ok(buf),
    }
}

/// What is read is taken from it in the poll that is ready: so none is lost, canceled or dropped.
async fn read<B: IoBufMut>(from: &mut impl BufRead, buf: B) -> BufResult<usize, B> {
    let mut buf = room_in(buf).await?;
    let n = match from.fill_buf() {
        Ok(there) => buf::fill(&mut buf, there),
        Err(error) => return Err(BufError::new(error, buf)),
    };
    from.consume(n);
    Ok((n, buf))
}

/// Written in the poll that is ready: canceled or dropped before, nothing is.
async fn write<B: IoBuf>(to: &mut impl Write, buf: B) -> BufResult<usize, B> {
    let buf = pass_with(buf).await?;
    match to.write(buf.io_bytes()) {
        Ok(n) => Ok((n, buf)),
        Err(error) => Err(BufError::new(error, buf)),
    }
}

/// From the start of the slice, which is then what follows.
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
/// A read that is canceled or dropped takes nothing (`tests/readers.rs`).
impl AsyncRead for &[u8] {
    fn read<B: IoBufMut>(&mut self, buf: B) -> impl Future<Output = BufResult<usize, B>> {
        read(self, buf)
    }
}

/// From the position on, which moves.
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
/// A read that is canceled or dropped takes nothing (`tests/readers.rs`).
impl<T: AsRef<[u8]>> AsyncRead for Cursor<T> {
    fn read<B: IoBufMut>(&mut self, buf: B) -> impl Future<Output = BufResult<usize, B>> {
        read(self, buf)
    }

    fn unread(&mut self, bytes: &[u8]) -> bool {
        let before = self.position().checked_sub(bytes.len() as u64);
        before.inspect(|at| self.set_position(*at)).is_some()
    }
}

/// There is nothing to read.
impl AsyncRead for Empty {
    fn read<B: IoBufMut>(&mut self, buf: B) -> impl Future<Output = BufResult<usize, B>> {
        read(self, buf)
    }
}

/// There is always more: do not read to its end.
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
    /// At the end of the vector, which grows.
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
    /// A write that is canceled or dropped writes nothing (`tests/readers.rs`).
    Vec<u8>
}

writer! {
    /// At the position, which moves, and over what is there; into a vector, an array, a boxed or a borrowed slice, as in std.
    /// Only a vector grows: what else is full takes nothing, and [`write_all`](AsyncWrite::write_all) fails with `WriteZero`.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::io::AsyncWrite;
    /// use std::io::Cursor;
    ///
    /// gimmal::run(async {
    ///     let mut cursor = Cursor::new([0; 6]);
    ///     let error = cursor.write_all("head body").await.unwrap_err();
    ///     assert_eq!((error.kind(), error.done()), (std::io::ErrorKind::WriteZero, 6));
    ///     assert_eq!(&cursor.into_inner(), b"head b");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// A write that is canceled or dropped writes nothing (`tests/readers.rs`).
    Cursor<T>, T
}

writer! {
    /// Takes everything, and discards it.
    Sink
}

writer! {
    /// Takes everything, and discards it.
    Empty
}
