//! Copying from a reader to a writer until the end.

use super::splice::{is_unable, splice};
use super::{AsyncRead, AsyncWrite};
use crate::cancel::Scope;
pub use crate::error::CopyError;
use crate::error::is_canceled;
use crate::runtime::proceed;
use std::future::poll_fn;
use std::io::{self, ErrorKind::Interrupted};
use std::pin::{Pin, pin};
use std::task::{Poll, ready};

/// The size of one read. A larger size does not reduce the time per byte (`benches/src/bin/copy.rs`).
const CHUNK: usize = 64 << 10;

/// Copies everything from the reader to the writer, which may be files, sockets, pipes or anything else, and returns
/// the number of bytes. Does not [shut the writer down](AsyncWrite::shutdown), but [flushes](AsyncWrite::flush) it at
/// the end, and whenever a read has to wait. [`copy_with`] reports progress.
///
/// A file of 256 KiB or more is copied to a file, a socket, or a pipe that [holds](super::PipeWriter::set_capacity) as
/// much without passing through the program's memory: `splice(2)`. (As with `sendfile(2)`, bytes of the file that
/// change during the copy arrive in their old or new state.) A kernel thread does the work, and blocks while there is
/// no room, so at most sixteen copies of one thread are spliced at once.
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
/// Those of reading and writing, such as `BrokenPipe`, `ConnectionReset` or `StorageFull`, with the number of bytes
/// copied; `QuotaExceeded` if the kernel cannot create a thread for `splice(2)`; [`Canceled`](crate::Canceled). Bytes
/// that were read and could not be written go back to the reader if it takes them back ([`AsyncRead::unread`]), and are
/// in the error otherwise: so a copy that failed or was canceled can be continued. Bytes that the writer has accepted
/// and buffered stay with it, and count as copied.
///
/// # Cancel safety
///
/// After a cancel, nothing is lost, as after any other error. After a drop, how much was written is unknown.
// Test: tests/copying.rs
pub async fn copy<R, W>(reader: &mut R, writer: &mut W) -> Result<u64, CopyError>
where
    R: AsyncRead + ?Sized,
    W: AsyncWrite + ?Sized,
{
    copy_with(reader, writer, |_| ()).await
}

/// Copies as [`copy`] does, and calls `progress` after each piece that was written, with the number of bytes copied so
/// far. A piece has at most 64 KiB, or 256 KiB if spliced.
///
/// To stop the copy, `progress` can cancel a [scope](crate::cancel::Scope) around it: exactly the reported bytes are
/// then copied.
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
/// Those of [`copy`]. Bytes that a failed write had accepted were not reported to `progress`; the error counts them.
///
/// # Cancel safety
///
/// After a cancel, nothing is lost, and exactly the reported bytes were written. After a drop, more may have been
/// written.
// Test: tests/copying.rs
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
    // Bytes that were read and not written.
    let mut full = Vec::new();
    // The writer may still buffer bytes of earlier writes.
    let mut is_flushed = false;
    if let (Some(file), Some(to)) = (reader.inlet(), writer.outlet()) {
        let mut moved = |n| {
            copied += n as u64;
            progress(copied);
        };
        match splice(&file, &to, &mut moved).await {
            Ok(()) => return Ok(copied),
            Err(stopped) if is_unable(&stopped) => full = stopped.into_buf(),
            Err(stopped) => {
                let (error, rest) = stopped.into_parts();
                return Err(stop(reader, error, copied, rest));
            }
        }
    }
    full.reserve(CHUNK);
    loop {
        // A user's reader and writer may never wait.
        if let Err(canceled) = proceed().await {
            return Err(stop(reader, canceled.into(), copied, full));
        }
        let len = full.len();
        let mut buf = match writer.write_all(full).await {
            Ok(buf) => buf,
            Err(error) => {
                let done = error.transferred();
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
                // A read error takes precedence over a flush error, because the kernel reports some errors only once.
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

/// Waits for the read, whose result goes to `brought`. While the read is pending, flushes the writer: the receiver may
/// have to reply before there is more to read. A flush that has begun is awaited.
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

/// Cancels a read that may be in the kernel, and returns its result, so that bytes that still arrive are not lost.
#[cold]
async fn end<T>(read: impl Future<Output = T>) -> Option<T> {
    let scope = Scope::new();
    scope.cancel();
    scope.run_any(read).await.ok()
}

/// Returns the error, and gives bytes that were read and not written back to the reader if it takes them.
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
