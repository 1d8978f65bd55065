//! What can be written.

use super::read::retry;
use crate::buf::{BufError, BufResult, IoBuf, Slice};
use crate::op::{Outlet, nothing_taken};
use crate::runtime::pass_with;
use std::future::ready;
use std::io;

/// What bytes can be written to, one after the other: a file at its cursor, a socket, a pipe.
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
    /// Writes what the buffer holds, as far as one call goes. Gives the number of bytes, and the buffer.
    ///
    /// # Errors
    ///
    /// What the kernel says; [`Canceled`](crate::Canceled). The error contains the buffer.
    ///
    /// # Cancel safety
    ///
    /// A wait that was canceled has written nothing. How much one has written that is dropped is unknown
    /// (`tests/streams.rs`).
    fn write<B: IoBuf>(&mut self, buf: B) -> impl Future<Output = BufResult<usize, B>>;

    /// Writes all that the buffer holds.
    ///
    /// # Errors
    ///
    /// `WriteZero` if nothing more is taken; those of [`write`](AsyncWrite::write). The error contains the buffer, and
    /// the number of bytes written.
    ///
    /// # Cancel safety
    ///
    /// How much was written when it is dropped is unknown (`tests/streams.rs`).
    fn write_all<B: IoBuf>(&mut self, buf: B) -> impl Future<Output = Result<B, BufError<B>>> {
        async move {
            let mut buf = buf;
            let len = buf.io_len();
            if len == 0 {
                return pass_with(buf).await;
            }
            let mut done = 0;
            while done < len {
                match self.write(Slice::new(buf, done..len)).await {
                    Ok((0, part)) => {
                        let error = nothing_taken();
                        return Err(BufError::new(error, part.into_inner()).with_done(done));
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

    /// Passes on what this writer holds back, so that all that was written is with the kernel. Files, sockets and pipes hold
    /// nothing back, and are ready at once. (That a file is on its disk is a matter of
    /// [`sync_all`](crate::fs::File::sync_all).)
    ///
    /// The default does nothing, for writers that hold nothing back. [`copy`](super::copy) relies on this method, so a writer
    /// with a buffer must implement it, and one that wraps another must pass the call on.
    ///
    /// # Errors
    ///
    /// Those of [`write`](AsyncWrite::write). What was not passed on is still held back.
    ///
    /// # Cancel safety
    ///
    /// After a cancel, what was not passed on is still held back. After a drop, how much was passed on is unknown, and the
    /// type documents what becomes of the rest (`tests/copying.rs`).
    fn flush(&mut self) -> impl Future<Output = io::Result<()>> {
        ready(Ok(()))
    }

    /// Says that nothing more will be written: a socket sends what it has, and then its end. A file has nothing to say. On
    /// a connection that has already ended, by an earlier call or by the peer's reset, it does nothing.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    ///
    /// # Cancel safety
    ///
    /// It does not wait (`tests/streams.rs`).
    fn shutdown(&mut self) -> impl Future<Output = io::Result<()>>;

    /// Where [`copy`](super::copy) can splice to.
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
