//! Copying from a reader to a writer, to the end.

use super::splice::splice;
use super::{AsyncRead, AsyncWrite};
use crate::cancel::Scope;
pub use crate::error::CopyError;
use crate::group::try_join;
use crate::runtime::pass;
use crate::scope::is_canceled;
use std::future::poll_fn;
use std::io::{self, ErrorKind::Interrupted};
use std::pin::{Pin, pin};
use std::task::{Poll, ready};

/// What is read at once. With more the time for a byte stays what it is (`benches/src/bin/copy.rs`).
const CHUNK: usize = 64 << 10;

/// Copies all that there is to read, and gives the number of bytes: from a file, a socket, a pipe or anything else, to any
/// of them. It does not [shut the writer down](AsyncWrite::shutdown), but [flushes](AsyncWrite::flush) it at the end, and
/// whenever there is nothing to read for now. [`copy_with`] reports how far it is.
///
/// A file of 256 KiB or more goes to a file, a socket, or a pipe that [holds](super::PipeWriter::set_capacity) as much,
/// without passing through the memory of the program: `splice(2)`. (As with `sendfile(2)`, bytes of the file that change
/// meanwhile arrive as they were or as they are.) A thread of the kernel does that, and waits where there is no room; so of
/// the copies of one thread sixteen at once go that way.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::fs::File;
///
/// gimmal::run(async {
///     let mut file = File::open("Cargo.toml").await?;
///     let (mut reader, mut writer) = gimmal::io::pipe()?;
///     let copied = gimmal::io::copy(&mut file, &mut writer).await?;
///     writer.close().await?;
///     let (n, _text) = reader.read_to_end(Vec::new()).await?;
///     assert_eq!(n as u64, copied);
///     Ok(())
/// })
/// # }
/// ```
///
/// # Errors
///
/// Those of reading and writing, and how far it came; `QuotaExceeded` if the kernel can make no thread for `splice(2)`. What was
/// read and could not be written goes back to the reader, if that takes it back ([`AsyncRead::unread`]), or else is in the
/// error: so a copy that failed or was canceled can be continued. What the writer had taken by then, and holds back, stays with
/// it, and counts as copied.
///
/// # Cancel safety
///
/// Canceled, it loses nothing, as with any error. Dropped, how much was written is unknown (`tests/copying.rs`).
pub async fn copy<R, W>(reader: &mut R, writer: &mut W) -> Result<u64, CopyError>
where
    R: AsyncRead + ?Sized,
    W: AsyncWrite + ?Sized,
{
    copy_with(reader, writer, |_| ()).await
}

/// [`copy`], which calls `progress` after each piece that was written, with the number of bytes copied until then. A piece
/// has 64 KiB at most, spliced 256 KiB.
///
/// To stop it, `progress` can cancel a [scope](crate::cancel::Scope) around it: it has then copied what it has reported.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::fs::File;
/// use gimmal::io::{copy_with, sink};
///
/// gimmal::run(async {
///     let mut file = File::open("Cargo.toml").await?;
///     let len = std::fs::metadata("Cargo.toml")?.len();
///     let mut percent = 0;
///     copy_with(&mut file, &mut sink(), |copied| percent = copied * 100 / len).await?;
///     assert_eq!(percent, 100);
///     Ok(())
/// })
/// # }
/// ```
///
/// # Errors
///
/// Those of [`copy`]. What a write that failed has taken was not reported, and is in the error.
///
/// # Cancel safety
///
/// That of [`copy`] (`tests/copying.rs`).
pub async fn copy_with<R, W>(
    reader: &mut R,
    writer: &mut W,
    mut progress: impl FnMut(u64),
) -> Result<u64, CopyError>
where
    R: AsyncRead + ?Sized,
    W: AsyncWrite + ?Sized,
{
    let mut copied = 0;
    // Read and not written.
    let mut full = Vec::new();
    // What was written before may be held back, too.
    let mut is_flushed = false;
    if let (Some(file), Some(to)) = (reader.inlet(), writer.outlet()) {
        match splice(&file, &to, &mut copied, &mut progress).await {
            Ok(()) => return Ok(copied),
            Err(stopped) if stopped.is_unable() => full = stopped.rest,
            Err(stopped) => return Err(stop(reader, stopped.error, copied, stopped.rest)),
        }
    }
    full.reserve(CHUNK);
    loop {
        // The reader and the writer may be a user's own, which await nothing.
        if let Err(canceled) = pass().await {
            return Err(stop(reader, canceled.into(), copied, full));
        }
        let len = full.len();
        let mut buf = match writer.write_all(full).await {
            Ok(buf) => buf,
            Err(error) => {
                let done = error.done();
                let (error, mut rest) = error.into_parts();
                rest.drain(..done);
                return Err(stop(reader, error, copied + done as u64, rest));
            }
        };
        copied += len as u64;
        if len > 0 {
            is_flushed = false;
            progress(copied);
        }
        full = loop {
            let mut brought = None;
            let flushed = {
                let mut read = pin!(reader.read(buf));
                let flush = pin!(writer.flush());
                let flushed =
                    read_or_flush(read.as_mut(), flush, &mut brought, &mut is_flushed).await;
                if flushed.is_err() && brought.is_none() {
                    brought = end(read).await;
                }
                flushed
            };
            let (n, mut read) = match brought {
                Some(Ok(read)) => read,
                Some(Err(error)) if error.kind() == Interrupted && flushed.is_ok() => {
                    buf = error.into_buf();
                    continue;
                }
                // It counts before the error of a flush: the kernel tells some errors once.
                Some(Err(error)) if flushed.is_ok() || !is_canceled(&error) => {
                    return Err(CopyError::new(error.into_error(), copied, Vec::new()));
                }
                _ => (0, Vec::new()),
            };
            read.truncate(n);
            if let Err(error) = flushed {
                return Err(stop(reader, error, copied, read));
            }
            if n > 0 {
                break read;
            }
            if !is_flushed && let Err(error) = writer.flush().await {
                return Err(CopyError::new(error, copied, Vec::new()));
            }
            return Ok(copied);
        };
    }
}

/// Waits for the read, whose result goes to `brought`. While it is pending the writer is flushed: the receiver of its bytes may
/// have to answer before there is more to read. A flush that has begun is awaited.
fn read_or_flush<T>(
    mut read: Pin<&mut impl Future<Output = T>>,
    mut flush: Pin<&mut impl Future<Output = io::Result<()>>>,
    brought: &mut Option<T>,
    is_flushed: &mut bool,
) -> impl Future<Output = io::Result<()>> {
    let mut is_flushing = false;
    poll_fn(move |context| {
        if brought.is_none() {
            match read.as_mut().poll(context) {
                Poll::Ready(result) => *brought = Some(result),
                Poll::Pending => is_flushing |= !*is_flushed,
            }
        }
        if is_flushing {
            ready!(flush.as_mut().poll(context))?;
            (is_flushing, *is_flushed) = (false, true);
        }
        match brought {
            Some(_) => Poll::Ready(Ok(())),
            None => Poll::Pending,
        }
    })
}

/// Ends a read that the kernel may have: it is asked to stop, and what it brings all the same is not lost.
#[cold]
async fn end<T>(read: impl Future<Output = T>) -> Option<T> {
    let scope = Scope::new();
    scope.cancel();
    scope.run_any(read).await.ok()
}

/// What was read and is not written goes back, if the reader takes it back.
#[cold]
fn stop<R>(reader: &mut R, error: io::Error, copied: u64, mut rest: Vec<u8>) -> CopyError
where
    R: AsyncRead + ?Sized,
{
    if reader.unread(&rest) {
        rest = Vec::new();
    }
    CopyError::new(error, copied, rest)
}

/// Copies both ways between two streams until both have ended, and gives the numbers of bytes from `a` to `b` and from `b`
/// to `a`. When one way ends the other stream is told so ([`AsyncWrite::shutdown`]), and the other way goes on. Each way flushes
/// its writer when there is nothing to read, as [`copy`] does.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::io::copy_bidirectional;
/// use gimmal::net::TcpStream;
///
/// /// Stands between a client and a server.
/// async fn proxy(client: TcpStream, server: &str) -> std::io::Result<()> {
///     let server = TcpStream::connect(server).await?;
///     copy_bidirectional(&client, &server).await?;
///     Ok(())
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// That of the way that failed first, with what it came to. The other way is canceled: what it has read and not written
/// goes back to its reader.
///
/// # Cancel safety
///
/// That of [`copy`], for both ways (`tests/copying.rs`).
pub async fn copy_bidirectional<A, B>(a: &A, b: &B) -> Result<(u64, u64), CopyError>
where
    for<'x> &'x A: AsyncRead + AsyncWrite,
    for<'x> &'x B: AsyncRead + AsyncWrite,
{
    try_join((one_way(a, b), one_way(b, a))).await
}

async fn one_way<R: AsyncRead, W: AsyncWrite>(mut from: R, mut to: W) -> Result<u64, CopyError> {
    let copied = copy(&mut from, &mut to).await?;
    match to.shutdown().await {
        Ok(()) => Ok(copied),
        Err(error) => Err(CopyError::new(error, copied, Vec::new())),
    }
}
