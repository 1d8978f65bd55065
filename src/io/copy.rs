//! Copying from a reader to a writer, to the end.

use super::splice::splice;
use super::{AsyncRead, AsyncWrite};
pub use crate::error::CopyError;
use crate::group::try_join;
use crate::runtime::pass;
use std::io;

/// What is read at once. With more the time for a byte stays what it is (`benches/src/bin/copy.rs`).
const CHUNK: usize = 64 << 10;

/// Copies all that there is to read, and gives the number of bytes: from a file, a socket, a pipe or anything else, to any
/// of them. It does not [shut the writer down](AsyncWrite::shutdown).
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
/// Those of reading and writing, and how far it came. What was read and could not be written goes back to the reader, if
/// that takes it back ([`AsyncRead::unread`]), or else is in the error: so a copy that failed or was cancelled can be gone
/// on with.
///
/// # Cancel safety
///
/// Cancelled, it loses nothing, as with any error. Dropped, how much was written is unknown (`tests/copying.rs`).
pub async fn copy<R, W>(reader: &mut R, writer: &mut W) -> Result<u64, CopyError>
where
    R: AsyncRead + ?Sized,
    W: AsyncWrite + ?Sized,
{
    let mut copied = 0;
    // Read and not written.
    let mut full = Vec::new();
    if let (Some(file), Some(to)) = (reader.inlet(), writer.outlet()) {
        match splice(&file, &to, &mut copied).await {
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
        full = loop {
            match reader.read(buf).await {
                Ok((0, _)) => return Ok(copied),
                Ok((n, mut full)) => {
                    full.truncate(n);
                    break full;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => buf = error.into_buf(),
                Err(error) => return Err(CopyError::new(error.into_error(), copied, Vec::new())),
            }
        };
    }
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
/// to `a`. When one way ends the other stream is told so ([`AsyncWrite::shutdown`]), and the other way goes on.
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
/// That of the way that failed first, with what it came to. The other way is cancelled: what it has read and not written
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
