//! A piece of received data, in a buffer that the caller did not lend.

use crate::buf::IoBuf;
use crate::sys::ProvidedBuf;
use bytes::Bytes;
use std::fmt;
use std::ops::Deref;

/// Received bytes.
///
/// They are in one of the runtime's buffers ([`Builder::receive_buffers`](crate::runtime::Builder::receive_buffers))
/// or, if none was free, in an allocation of their own. Dropping the chunk returns the buffer to the runtime; this
/// works on any thread, and after the runtime is gone. While a program keeps many chunks, further receives allocate
/// memory for each chunk, which is slower, but they do not wait. To keep a few bytes for long, copy them
/// ([`into_vec`](Chunk::into_vec), `Bytes::from`).
///
/// A chunk can be passed to a write as it is:
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::net::{TcpListener, TcpStream};
///
/// gimmal::run(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let client = TcpStream::connect(listener.local_addr()?).await?;
///     let (server, _peer) = listener.accept().await?;
///     client.write_all("echo").await?;
///     if let Some(chunk) = server.chunks().next().await? {
///         server.write_all(chunk).await?;
///     }
///     assert_eq!(client.read_exact(vec![0; 4], 4).await?, b"echo");
///     Ok(())
/// })
/// # }
/// ```
pub struct Chunk(Storage);

enum Storage {
    ProvidedBuf(ProvidedBuf),
    Heap(Vec<u8>),
}

impl Chunk {
    pub(super) fn lent(lent: ProvidedBuf) -> Chunk {
        Chunk(Storage::ProvidedBuf(lent))
    }

    pub(super) fn heap(bytes: Vec<u8>) -> Chunk {
        Chunk(Storage::Heap(bytes))
    }

    /// Returns the bytes in an allocation of their own. Copies them unless they already have one.
    #[must_use]
    pub fn into_vec(self) -> Vec<u8> {
        match self.0 {
            Storage::ProvidedBuf(lent) => lent.bytes().to_vec(),
            Storage::Heap(bytes) => bytes,
        }
    }
}

impl Deref for Chunk {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Storage::ProvidedBuf(lent) => lent.bytes(),
            Storage::Heap(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Chunk> for Vec<u8> {
    fn from(chunk: Chunk) -> Vec<u8> {
        chunk.into_vec()
    }
}

impl From<Chunk> for Bytes {
    fn from(chunk: Chunk) -> Bytes {
        chunk.into_vec().into()
    }
}

// SAFETY: a lent buffer lies in the ring's memory, which stays where it is for as long as the chunk holds the ring, and
// goes back to the kernel only when the chunk is dropped; the rest is a vector's heap memory. Nothing can write either
// (L1 to L3).
unsafe impl IoBuf for Chunk {
    fn io_ptr(&self) -> *const u8 {
        self.as_ptr()
    }

    fn io_len(&self) -> usize {
        self.len()
    }
}

/// Shows the length, not the bytes.
impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunk")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
