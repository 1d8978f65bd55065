//! The loops that read or write until a given number of bytes is done: of a file, of a stream whose lock is held, of any
//! reader or writer.

use crate::buf::{BufError, BufResult, IoBuf, IoBufMut, truncate};
use crate::runtime::{proceed, proceed_with};
use crate::sys::counted;
use std::io;

/// Reads `len` bytes from `source` into the start of the buffer. `read` reads once, behind the bytes that are done.
#[inline]
pub(crate) async fn read_in_loop<B: IoBufMut>(
    buf: B,
    len: usize,
    source: &str,
    mut read: impl AsyncFnMut(B, usize) -> BufResult<usize, B>,
) -> Result<B, BufError<B>> {
    let mut buf = check_room(buf, len).await?;
    let mut done = 0;
    while done < len {
        buf = count_read(read(buf, done).await, &mut done, len, source)?;
    }
    // Some buffers have kept the length that they had.
    truncate(&mut buf, len);
    Ok(buf)
}

/// Counts what one read of a loop has read, and returns the buffer for the next one; or the error that ends the loop.
#[inline]
pub(crate) fn count_read<B: IoBufMut>(
    read: BufResult<usize, B>,
    done: &mut usize,
    len: usize,
    source: &str,
) -> Result<B, BufError<B>> {
    match read {
        Ok((n, buf)) if n > 0 => {
            *done += n;
            Ok(buf)
        }
        Ok((_, mut buf)) => {
            truncate(&mut buf, *done);
            let error = BufError::new(ended_early(source, len - *done), buf);
            Err(error.with_transferred(*done))
        }
        Err(error) => {
            let error = error.map_buf(|mut buf| {
                // A read of nothing leaves the buffer unchanged.
                if *done > 0 {
                    truncate(&mut buf, *done);
                }
                buf
            });
            retry(error, *done)
        }
    }
}

/// Writes all the bytes that the buffer contains. `write` writes once, what comes after the bytes that are done.
#[inline]
pub(crate) async fn write_in_loop<B: IoBuf>(
    mut buf: B,
    mut write: impl AsyncFnMut(B, usize) -> BufResult<usize, B>,
) -> Result<B, BufError<B>> {
    let len = buf.io_len();
    if len == 0 {
        return proceed_with(buf).await;
    }
    let mut done = 0;
    while done < len {
        buf = count_written(write(buf, done).await, &mut done)?;
    }
    Ok(buf)
}

/// Counts what one write of a loop has written, and returns the buffer for the next one; or the error that ends the loop.
#[inline]
pub(crate) fn count_written<B>(
    written: BufResult<usize, B>,
    done: &mut usize,
) -> Result<B, BufError<B>> {
    match written {
        Ok((n, buf)) if n > 0 => {
            *done += n;
            Ok(buf)
        }
        Ok((_, buf)) => Err(BufError::new(nothing_taken(), buf).with_transferred(*done)),
        Err(error) => retry(error, *done),
    }
}

/// Returns the buffer if it has room for `len` bytes. Lets other tasks go first if there is nothing else to await.
pub(crate) async fn check_room<B: IoBufMut>(buf: B, len: usize) -> Result<B, BufError<B>> {
    match room_for(buf, len) {
        Ok(buf) if len == 0 => proceed_with(buf).await,
        Err(error) => match proceed().await {
            Ok(()) => Err(error),
            Err(canceled) => Err(BufError::new(canceled.into(), error.into_buf())),
        },
        has_room => has_room,
    }
}

/// Returns the buffer if it has room for `len` bytes.
pub(crate) fn room_for<B: IoBufMut>(buf: B, len: usize) -> Result<B, BufError<B>> {
    if len <= buf.io_capacity() {
        return Ok(buf);
    }
    let what = format!(
        "read of {} into a buffer of capacity {}",
        counted(len, "byte"),
        buf.io_capacity()
    );
    let error = io::Error::new(io::ErrorKind::InvalidInput, what);
    Err(BufError::new(error, buf))
}

#[cold]
pub(crate) fn ended_early(source: &str, missing: usize) -> io::Error {
    let what = format!("the {source} ended {} early", counted(missing, "byte"));
    io::Error::new(io::ErrorKind::UnexpectedEof, what)
}

#[cold]
pub(crate) fn nothing_taken() -> io::Error {
    io::Error::new(
        io::ErrorKind::WriteZero,
        "the kernel took none of the bytes",
    )
}

/// As in std, a loop continues when a signal interrupts one of its calls.
#[cold]
pub(crate) fn retry<B>(error: BufError<B>, done: usize) -> Result<B, BufError<B>> {
    if error.kind() == io::ErrorKind::Interrupted {
        return Ok(error.into_buf());
    }
    Err(error.with_transferred(done))
}
