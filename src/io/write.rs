//! The trait of writers.

use super::read::whole;
use crate::buf::{BufError, BufResult, IoBuf, Slice};
use crate::op::{Outlet, write_in_loop};
use std::future::ready;
use std::io;

/// A destination of bytes that are written in sequence: a file at its cursor, a socket, a pipe.
///
/// ```
/// use gimmal::io::AsyncWrite;
/// use std::io;
///
/// async fn greet(mut to: impl AsyncWrite) -> io::Result<()> {
///     to.write_all("hello\n").await?;
///     Ok(())
/// }
///
/// # fn main() -> io::Result<()> {
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("file");
/// gimmal::run(async {
///     greet(gimmal::fs::File::create(&path).await?).await?;
///     assert_eq!(gimmal::fs::read(&path).await?, b"hello\n");
///     Ok(())
/// })
/// # }
/// ```
pub trait AsyncWrite {
    /// Writes as much of the buffer as one call takes, and returns the number of bytes and the buffer.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::io::AsyncWrite;
    /// use std::io::Cursor;
    ///
    /// gimmal::run(async {
    ///     // A writer with little room takes a part.
    ///     let mut room = [0; 5];
    ///     let mut writer = Cursor::new(&mut room[..]);
    ///     let (n, buffer) = writer.write("hello, world").await?;
    ///     assert_eq!((n, buffer), (5, "hello, world"));
    ///     assert_eq!(&room, b"hello");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the type, such as `BrokenPipe` on a pipe or a socket, `StorageFull` on a file;
    /// [`Canceled`](crate::Canceled). The error contains the buffer.
    ///
    /// # Cancel safety
    ///
    /// A canceled write has written nothing. How much a dropped write has written is unknown.
    // Test: tests/streams.rs
    fn write<B: IoBuf>(&mut self, buf: B) -> impl Future<Output = BufResult<usize, B>>;

    /// Writes the whole buffer.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::io::AsyncWrite;
    ///
    /// gimmal::run(async {
    ///     let mut written = Vec::new();
    ///     // Anything that is a buffer can be written, and comes back.
    ///     let line = written.write_all(String::from("one\n")).await?;
    ///     written.write_all(line.replace("one", "two")).await?;
    ///     assert_eq!(written, b"one\ntwo\n");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `WriteZero` if the writer accepts no more bytes; those of [`write`](AsyncWrite::write). The error contains the
    /// buffer, and the number of bytes written.
    ///
    /// # Cancel safety
    ///
    /// After a cancel, the error reports how much was written. After a drop, that is unknown.
    // Test: tests/streams.rs
    fn write_all<B: IoBuf>(&mut self, buf: B) -> impl Future<Output = Result<B, BufError<B>>> {
        let len = buf.io_len();
        write_in_loop(buf, async move |buf, done| {
            whole(self.write(Slice::new(buf, done..len)).await)
        })
    }

    /// Flushes buffered bytes, so that everything written has reached the kernel. Files, sockets and pipes do not
    /// buffer, and are ready at once. (To get a file onto its disk, use [`sync_all`](crate::fs::File::sync_all).)
    ///
    /// The default does nothing, for writers without a buffer. [`copy`](super::copy) relies on this method, so a writer
    /// with a buffer must implement it, and one that wraps another must forward the call.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::io::{AsyncWrite, BufWriter};
    ///
    /// gimmal::run(async {
    ///     /// Sends a request whose reply is awaited next.
    ///     async fn request(to: &mut impl AsyncWrite) -> std::io::Result<()> {
    ///         to.write_all("ready?\n").await?;
    ///         to.flush().await
    ///     }
    ///
    ///     let mut written = BufWriter::new(Vec::new());
    ///     request(&mut written).await?;
    ///     assert_eq!(written.get_ref(), b"ready?\n");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`write`](AsyncWrite::write). Bytes that were not flushed stay buffered.
    ///
    /// # Cancel safety
    ///
    /// After a cancel, bytes that were not flushed stay buffered. After a drop, how much was flushed is unknown, and
    /// the type documents what happens to the rest.
    // Test: tests/copying.rs
    fn flush(&mut self) -> impl Future<Output = io::Result<()>> {
        ready(Ok(()))
    }

    /// Ends the output: a socket sends what it has, and then the end of the stream. On a file, or a connection that has
    /// already ended by an earlier call or a reset by the peer, this does nothing.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::io::AsyncWrite;
    /// use gimmal::net::UnixStream;
    ///
    /// gimmal::run(async {
    ///     /// Sends everything there is to send.
    ///     async fn send(mut to: impl AsyncWrite) -> std::io::Result<()> {
    ///         to.write_all("hello").await?;
    ///         to.shutdown().await
    ///     }
    ///
    ///     let (left, right) = UnixStream::pair()?;
    ///     send(&left).await?;
    ///     // The end was sent, too; the other direction is open.
    ///     assert_eq!(right.read_to_end(Vec::new()).await?.1, b"hello");
    ///     right.write_all("thanks").await?;
    ///     assert_eq!(left.read(vec![0; 16]).await?.1, b"thanks");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `BrokenPipe` or another error of [`write`](AsyncWrite::write) if a buffering writer has bytes left;
    /// `NotConnected` for a socket without a peer.
    ///
    /// # Cancel safety
    ///
    /// After a cancel, no byte is lost: sockets, files and pipes do not wait, and a buffering writer keeps what it has
    /// not written. After a drop, the type documents what happens to that.
    // Test: tests/streams.rs
    fn shutdown(&mut self) -> impl Future<Output = io::Result<()>>;

    /// Returns the destination that [`copy`](super::copy) can splice to.
    #[doc(hidden)]
    fn outlet(&self) -> Option<Outlet> {
        None
    }
}

macro_rules! forward {
    ($($type:ty)+) => {$(
        impl<W: AsyncWrite + ?Sized> AsyncWrite for $type {
            fn write<B: IoBuf>(&mut self, buf: B) -> impl Future<Output = BufResult<usize, B>> {
                (**self).write(buf)
            }

            fn write_all<B: IoBuf>(&mut self, buf: B) -> impl Future<Output = Result<B, BufError<B>>> {
                (**self).write_all(buf)
            }

            fn flush(&mut self) -> impl Future<Output = io::Result<()>> {
                (**self).flush()
            }

            fn shutdown(&mut self) -> impl Future<Output = io::Result<()>> {
                (**self).shutdown()
            }

            fn outlet(&self) -> Option<Outlet> {
                (**self).outlet()
            }
        }
    )+};
}

forward! { &mut W Box<W> }
