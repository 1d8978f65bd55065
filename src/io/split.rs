//! What can be read and written at the same time.

use super::{AsyncRead, AsyncWrite};

/// A reader and a writer that can be used at the same time, for functions that do both, such as
/// [`copy_bidirectional`](super::copy_bidirectional).
///
/// Implemented by references to streams, and to all types that can be read and written by reference, and by pairs of a
/// reader and a writer, such as the two ends of a child process's pipes.
///
/// ```
/// use gimmal::io::{AsyncRead, AsyncWrite, Split, pipe};
/// use gimmal::net::UnixStream;
///
/// /// Sends a question, and returns the answer.
/// async fn ask(peer: impl Split, question: &'static str) -> std::io::Result<Vec<u8>> {
///     let (mut reader, mut writer) = peer.split();
///     writer.write_all(question).await?;
///     writer.shutdown().await?;
///     Ok(reader.read_to_end(Vec::new()).await?.1)
/// }
///
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let (near, far) = UnixStream::pair()?;
///     far.write_all("stream").await?;
///     far.shutdown(std::net::Shutdown::Write)?;
///     assert_eq!(ask(&near, "who?").await?, b"stream");
///
///     let (question, near) = pipe()?;
///     assert_eq!(ask((&b"pair"[..], near), "who?").await?, b"pair");
///     assert_eq!(question.read_to_end(Vec::new()).await?.1, b"who?");
///     Ok(())
/// })
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be split into a reader and a writer",
    note = "pass a reference to a stream, or a pair of a reader and a writer"
)]
pub trait Split {
    /// The type of the reader.
    type Reader: AsyncRead;

    /// The type of the writer.
    type Writer: AsyncWrite;

    /// Returns the reader and the writer.
    fn split(self) -> (Self::Reader, Self::Writer);
}

impl<'a, S: ?Sized> Split for &'a S
where
    &'a S: AsyncRead + AsyncWrite,
{
    type Reader = &'a S;
    type Writer = &'a S;

    fn split(self) -> (&'a S, &'a S) {
        (self, self)
    }
}

impl<'a, S: ?Sized> Split for &'a mut S
where
    &'a S: AsyncRead + AsyncWrite,
{
    type Reader = &'a S;
    type Writer = &'a S;

    fn split(self) -> (&'a S, &'a S) {
        (self, self)
    }
}

impl<R: AsyncRead, W: AsyncWrite> Split for (R, W) {
    type Reader = R;
    type Writer = W;

    fn split(self) -> (R, W) {
        self
    }
}
