//! A piece of what was received, in a buffer that nobody lent.

use crate::buf::IoBuf;
use crate::sys::ProvidedBuf;
use bytes::Bytes;
use std::fmt;
use std::ops::Deref;

/// Bytes that were received.
///
/// They are in one of the runtime's buffers ([`Builder::receive_buffers`](crate::runtime::Builder::receive_buffers)), to which it
/// goes back when this is dropped, on any thread, and whether the runtime still exists or not; or, if none was left, in memory
/// of their own. While a program keeps many chunks, others are received into memory that is allocated for each, which
/// is slower; nothing waits. To keep a few bytes for long, copy them ([`into_vec`](Chunk::into_vec), `Bytes::from`).
///
/// It can be written as it is:
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
pub struct Chunk(Place);

enum Place {
    ProvidedBuf(ProvidedBuf),
    Heap(Vec<u8>),
}

impl Chunk {
    pub(super) fn lent(lent: ProvidedBuf) -> Chunk {
        Chunk(Place::ProvidedBuf(lent))
    }

    pub(super) fn heap(bytes: Vec<u8>) -> Chunk {
        Chunk(Place::Heap(bytes))
    }

    /// The bytes in memory of their own: copied, unless they are in such memory already.
    #[must_use]
    pub fn into_vec(self) -> Vec<u8> {
        match self.0 {
            Place::ProvidedBuf(lent) => lent.bytes().to_vec(),
            Place::Heap(bytes) => bytes,
        }
    }
}

impl Deref for Chunk {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Place::ProvidedBuf(lent) => lent.bytes(),
            Place::Heap(bytes) => bytes,
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

// SAFETY: a lent buffer lies in the ring's memory, which stays where it is for as long as the chunk holds the ring, and goes
// back to the kernel only when the chunk is dropped; the rest is a vector's heap memory. Nobody can write either (L1 to L3).
unsafe impl IoBuf for Chunk {
    fn io_ptr(&self) -> *const u8 {
        self.as_ptr()
    }

    fn io_len(&self) -> usize {
        self.len()
    }
}

/// How many bytes, and not which.
impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunk")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
