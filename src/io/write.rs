//! The trait of writers.

use super::read::retry;
use crate::buf::{BufError, BufResult, IoBuf, Slice};
use crate::op::{Outlet, nothing_taken};
use crate::runtime::proceed_with;
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
    /// # Errors
    ///
    /// Those of the underlying system call, such as `BrokenPipe`; [`Canceled`](crate::Canceled). The error contains the
    /// buffer.
    ///
    /// # Cancel safety
    ///
    /// A canceled write has written nothing. How much a dropped write has written is unknown.
    // Test: tests/streams.rs
    fn write<B: IoBuf>(&mut self, buf: B) -> impl Future<Output = BufResult<usize, B>>;

    /// Writes the whole buffer.
    ///
    /// # Errors
    ///
    /// `WriteZero` if the writer accepts no more bytes; those of [`write`](AsyncWrite::write). The error contains the
    /// buffer, and the number of bytes written.
    ///
    /// # Cancel safety
    ///
    /// After a drop, how much was written is unknown.
    // Test: tests/streams.rs
    fn write_all<B: IoBuf>(&mut self, buf: B) -> impl Future<Output = Result<B, BufError<B>>> {
        async move {
            let mut buf = buf;
            let len = buf.io_len();
            if len == 0 {
                return proceed_with(buf).await;
            }
            let mut done = 0;
            while done < len {
                match self.write(Slice::new(buf, done..len)).await {
                    Ok((0, part)) => {
                        let error = nothing_taken();
                        return Err(BufError::new(error, part.into_inner()).with_transferred(done));
                    }
                    Ok((n, part)) => {
                        done += n;
                        buf = part.into_inner();
                    }
                    Err(error) => buf = retry(error.map_buf(Slice::into_inner), done)?,
                }
            }
            Ok(buf)
        }
    }

    /// Flushes buffered bytes, so that everything written has reached the kernel. Files, sockets and pipes do not
    /// buffer, and are ready at once. (To get a file onto its disk, use [`sync_all`](crate::fs::File::sync_all).)
    ///
    /// The default does nothing, for writers without a buffer. [`copy`](super::copy) relies on this method, so a writer
    /// with a buffer must implement it, and one that wraps another must forward the call.
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
    /// # Errors
    ///
    /// Those of `shutdown(2)`, for sockets; for buffering writers also those of [`write`](AsyncWrite::write).
    ///
    /// # Cancel safety
    ///
    /// Sockets, files and pipes do not wait.
    // Test: tests/streams.rs
    fn shutdown(&mut self) -> impl Future<Output = io::Result<()>>;

    /// Returns the destination that [`copy`](super::copy) can splice to.
    #[doc(hidden)]
    fn outlet(&self) -> Option<Outlet> {
        None
    }
}

impl<W: AsyncWrite + ?Sized> AsyncWrite for &mut W {
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
