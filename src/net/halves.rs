//! The read and write halves of a stream.

use crate::buf::{BufError, BufResult, IoBuf, IoBufMut};
use crate::io::{AsyncRead, AsyncWrite};
use crate::op::Outlet;
use std::fmt;
use std::io;
use std::rc::Rc;

/// The borrowed read half of a stream, returned by [`TcpStream::split`](super::TcpStream::split) and
/// [`UnixStream::split`](super::UnixStream::split).
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::io::BufReader;
/// use gimmal::net::UnixStream;
///
/// gimmal::run(async {
///     let (left, right) = UnixStream::pair()?;
///     left.write_all("one\ntwo\n").await?;
///     left.close().await?;
///     let (reader, _writer) = right.split();
///     let mut lines = BufReader::new(reader).lines();
///     assert_eq!(lines.next_line().await?.as_deref(), Some("one"));
///     Ok(())
/// })
/// # }
/// ```
#[derive(Debug)]
pub struct ReadHalf<'a, S>(&'a S);

/// The borrowed write half of a stream, returned by [`TcpStream::split`](super::TcpStream::split) and
/// [`UnixStream::split`](super::UnixStream::split).
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::io::{AsyncWrite, BufWriter};
/// use gimmal::net::UnixStream;
///
/// gimmal::run(async {
///     let (left, right) = UnixStream::pair()?;
///     let (_reader, writer) = left.split();
///     let mut writer = BufWriter::new(writer);
///     for part in ["one, ", "two"] {
///         writer.write_all(part).await?;
///     }
///     writer.shutdown().await?;
///     assert_eq!(right.read_to_end(Vec::new()).await?.1, b"one, two");
///     Ok(())
/// })
/// # }
/// ```
#[derive(Debug)]
pub struct WriteHalf<'a, S>(&'a S);

pub(super) fn halves<S>(stream: &S) -> (ReadHalf<'_, S>, WriteHalf<'_, S>) {
    (ReadHalf(stream), WriteHalf(stream))
}

/// The owned read half of a stream, returned by [`TcpStream::into_split`](super::TcpStream::into_split) and
/// [`UnixStream::into_split`](super::UnixStream::into_split).
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::io::AsyncRead;
/// use gimmal::net::UnixStream;
///
/// gimmal::run(async {
///     let (left, right) = UnixStream::pair()?;
///     let (mut reader, mut writer) = right.into_split();
///     let text = gimmal::spawn(async move { reader.read_to_end(Vec::new()).await });
///     // The other half stays here.
///     gimmal::io::AsyncWrite::write_all(&mut writer, "ready").await?;
///     assert_eq!(left.read_exact(vec![0; 5], 5).await?, b"ready");
///     left.write_all("hello").await?;
///     left.close().await?;
///     assert_eq!(text.await??.1, b"hello");
///     Ok(())
/// })
/// # }
/// ```
#[derive(Debug)]
pub struct OwnedReadHalf<S>(Rc<S>);

/// The owned write half of a stream, returned by [`TcpStream::into_split`](super::TcpStream::into_split) and
/// [`UnixStream::into_split`](super::UnixStream::into_split). Dropping it shuts down that direction.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::io::AsyncWrite;
/// use gimmal::net::UnixStream;
///
/// gimmal::run(async {
///     let (left, right) = UnixStream::pair()?;
///     let (_reader, mut writer) = left.into_split();
///     let written = gimmal::spawn(async move { writer.write_all("hello").await });
///     // The task has ended, and dropped its half: this is the end of the stream.
///     assert_eq!(right.read_to_end(Vec::new()).await?.1, b"hello");
///     written.await??;
///     Ok(())
/// })
/// # }
/// ```
pub struct OwnedWriteHalf<S: EndOutput> {
    stream: Rc<S>,
    forgotten: bool,
}

/// A stream whose write direction can be shut down.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::net::{EndOutput, UnixStream};
///
/// gimmal::run(async {
///     let (left, right) = UnixStream::pair()?;
///     left.end_output()?;
///     assert_eq!(right.read(vec![0; 16]).await?.0, 0);
///     // The other direction is open.
///     right.write_all("hello").await?;
///     assert_eq!(left.read(vec![0; 16]).await?.1, b"hello");
///     Ok(())
/// })
/// # }
/// ```
pub trait EndOutput {
    /// Shuts down the write direction: nothing more will be written.
    ///
    /// # Errors
    ///
    /// `NotConnected` if the connection has ended: after a reset by the peer, and on TCP after both directions have
    /// been shut down.
    fn end_output(&self) -> io::Result<()>;
}

/// Shuts down the write direction for generic code, and ignores that the connection has already ended: the kernel
/// returns `ENOTCONN` after a reset by the peer, and on TCP also once both directions have ended.
pub(super) fn end_if_connected(stream: &impl EndOutput) -> io::Result<()> {
    match stream.end_output() {
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        ended => ended,
    }
}

pub(super) fn owned_halves<S: EndOutput>(stream: S) -> (OwnedReadHalf<S>, OwnedWriteHalf<S>) {
    let stream = Rc::new(stream);
    let half = OwnedWriteHalf {
        stream: stream.clone(),
        forgotten: false,
    };
    (OwnedReadHalf(stream), half)
}

impl<S: EndOutput> OwnedReadHalf<S> {
    /// Joins the two halves into the whole stream again.
    ///
    /// # Errors
    ///
    /// Returns the halves if they belong to different streams.
    pub fn reunite(
        self,
        mut other: OwnedWriteHalf<S>,
    ) -> Result<S, (OwnedReadHalf<S>, OwnedWriteHalf<S>)> {
        if !Rc::ptr_eq(&self.0, &other.stream) {
            return Err((self, other));
        }
        other.forgotten = true;
        drop(other);
        match Rc::try_unwrap(self.0) {
            Ok(stream) => Ok(stream),
            Err(_) => unreachable!("a stream has two halves"),
        }
    }
}

impl<S: EndOutput> Drop for OwnedWriteHalf<S> {
    fn drop(&mut self) {
        if !self.forgotten {
            // If the peer is gone, there is nothing to shut down.
            let _ = self.stream.end_output();
        }
    }
}

macro_rules! half {
    (read: $($type:ty)+) => {$(
        impl<S> $type {
            /// Returns the whole stream.
            #[must_use]
            pub fn stream(&self) -> &S {
                &self.0
            }
        }

        impl<S> AsyncRead for $type
        where
            for<'s> &'s S: AsyncRead,
        {
            async fn read<B: IoBufMut>(&mut self, buf: B) -> BufResult<usize, B> {
                (&*self.stream()).read(buf).await
            }

            async fn read_exact<B: IoBufMut>(
                &mut self,
                buf: B,
                len: usize,
            ) -> Result<B, BufError<B>> {
                (&*self.stream()).read_exact(buf, len).await
            }

            fn unread(&mut self, bytes: &[u8]) -> bool {
                (&*self.stream()).unread(bytes)
            }
        }
    )+};
    (write: $($type:ty, $stream:tt;)+) => {$(
        impl<S: EndOutput> $type {
            /// Returns the whole stream.
            #[must_use]
            pub fn stream(&self) -> &S {
                &self.$stream
            }
        }

        impl<S: EndOutput> AsyncWrite for $type
        where
            for<'s> &'s S: AsyncWrite,
        {
            async fn write<B: IoBuf>(&mut self, buf: B) -> BufResult<usize, B> {
                (&*self.stream()).write(buf).await
            }

            async fn write_all<B: IoBuf>(&mut self, buf: B) -> Result<B, BufError<B>> {
                (&*self.stream()).write_all(buf).await
            }

            async fn flush(&mut self) -> io::Result<()> {
                (&*self.stream()).flush().await
            }

            async fn shutdown(&mut self) -> io::Result<()> {
                end_if_connected(self.stream())
            }

            fn outlet(&self) -> Option<Outlet> {
                (&self.stream()).outlet()
            }
        }
    )+};
}

half! { read: ReadHalf<'_, S> OwnedReadHalf<S> }
half! { write: WriteHalf<'_, S>, 0; OwnedWriteHalf<S>, stream; }

impl<S: EndOutput + fmt::Debug> fmt::Debug for OwnedWriteHalf<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnedWriteHalf").field(&self.stream).finish()
    }
}
