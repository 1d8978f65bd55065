//! Copying in both directions between two streams.

use super::{AsyncRead, AsyncWrite, Split, copy_with};
use crate::concurrent::try_join;
use crate::error::{Canceled, CopyBidirectionalError, CopyDirection, CopyError};
use std::cell::{Cell, RefCell};

/// Copies in both directions between two streams until both have ended, and returns the numbers of bytes from `a` to
/// `b` and from `b` to `a`. When one direction ends, its writer is [shut down](AsyncWrite::shutdown), while the other
/// direction continues. Each direction flushes its writer when a read has to wait, as [`copy`](super::copy()) does.
///
/// Each side is a reference to a stream, or a pair of a reader and a writer: see [`Split`]. A writer that is passed by
/// value is dropped when its direction ends, which closes a pipe; a reader that is passed by value takes with it what
/// it has buffered, so pass `&mut reader` to continue after an error.
///
/// ```
/// use gimmal::io::copy_bidirectional;
/// use gimmal::net::TcpStream;
///
/// /// Stands between a client and a server.
/// async fn proxy(client: TcpStream, server: &str) -> std::io::Result<()> {
///     let server = TcpStream::connect(server).await?;
///     copy_bidirectional(&client, &server).await?;
///     Ok(())
/// }
///
/// # fn main() -> std::io::Result<()> {
/// # use gimmal::net::TcpListener;
/// # use std::net::Shutdown;
/// gimmal::run(async {
/// #   let listener = TcpListener::bind("127.0.0.1:0").await?;
/// #   let address = listener.local_addr()?;
/// #   let client = TcpStream::connect(address).await?;
/// #   let accepted = listener.accept().await?.0;
/// #   let proxy = gimmal::spawn(async move { proxy(accepted, &address.to_string()).await });
/// #   let server = listener.accept().await?.0;
/// #   client.write_all("question").await?;
/// #   client.shutdown(Shutdown::Write)?;
/// #   assert_eq!(server.read_to_end(Vec::new()).await?.1, b"question");
/// #   server.write_all("answer").await?;
/// #   drop(server);
/// #   assert_eq!(client.read_to_end(Vec::new()).await?.1, b"answer");
/// #   proxy.await??;
///     // The counts of both directions; here one side is in memory.
///     let (near, far) = gimmal::net::UnixStream::pair()?;
///     far.write_all("to b").await?;
///     far.shutdown(std::net::Shutdown::Write)?;
///     let (from_b, mut to_b) = (&b"to the peer of a"[..], Vec::new());
///     assert_eq!(copy_bidirectional(&near, (from_b, &mut to_b)).await?, (4, 16));
///     assert_eq!(to_b, b"to b");
///     Ok(())
/// })
/// # }
/// ```
///
/// # Errors
///
/// Those of [`copy`](super::copy()) and of the shutdown, of the direction that failed first. The other direction is
/// canceled: bytes that it has read and not written go back to its reader. The error has the counts of both directions.
///
/// # Cancel safety
///
/// After a cancel, nothing is lost: bytes that were read and not written go back to their reader. After a drop, how
/// much was written is unknown.
// Test: tests/bidirectional.rs
pub async fn copy_bidirectional<A: Split, B: Split>(
    a: A,
    b: B,
) -> Result<(u64, u64), CopyBidirectionalError> {
    let (from_a, to_a) = a.split();
    let (from_b, to_b) = b.split();
    let (a_to_b, b_to_a) = (OneWay::default(), OneWay::default());
    let failed = try_join((
        a_to_b.copy(from_a, to_b, CopyDirection::AToB),
        b_to_a.copy(from_b, to_a, CopyDirection::BToA),
    ));
    let first = failed.await.err().unwrap_or(CopyDirection::AToB);
    CopyBidirectionalError::check(first, a_to_b.end(), b_to_a.end())
}

/// One direction. Its result is kept here, because its future is dropped if it is canceled while it waits for something
/// of another crate.
#[derive(Default)]
struct OneWay {
    copied: Cell<u64>,
    result: RefCell<Option<Result<u64, CopyError>>>,
}

impl OneWay {
    /// Copies to the end, then shuts the writer down. Returns the direction if it fails.
    async fn copy<R, W>(
        &self,
        from: R,
        to: W,
        direction: CopyDirection,
    ) -> Result<(), CopyDirection>
    where
        R: AsyncRead,
        W: AsyncWrite,
    {
        let result = self.copy_to_the_end(from, to).await;
        let failed = result.is_err();
        self.result.replace(Some(result));
        if failed { Err(direction) } else { Ok(()) }
    }

    async fn copy_to_the_end<R, W>(&self, mut from: R, mut to: W) -> Result<u64, CopyError>
    where
        R: AsyncRead,
        W: AsyncWrite,
    {
        let copied = copy_with(&mut from, &mut to, |copied| self.copied.set(copied)).await?;
        match to.shutdown().await {
            Ok(()) => Ok(copied),
            Err(error) => Err(CopyError::new(error, copied, Vec::new())),
        }
    }

    fn end(self) -> Result<u64, CopyError> {
        let dropped = || CopyError::new(Canceled.into(), self.copied.get(), Vec::new());
        self.result.into_inner().unwrap_or_else(|| Err(dropped()))
    }
}
