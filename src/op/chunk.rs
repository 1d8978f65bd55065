//! A piece of what was received, in a buffer that nobody lent.

use crate::buf::IoBuf;
use crate::runtime;
use crate::sys::Lent;
use bytes::Bytes;
use std::fmt;
use std::mem;
use std::ops::Deref;

/// Bytes that were received, in a buffer that goes back to the runtime's others when this is dropped, on whatever thread
/// that is, and whether the runtime is there or not. Until then the streams of the runtime have one buffer less to receive
/// into: to keep bytes for long, copy them ([`into_vec`](Chunk::into_vec), `Bytes::from`).
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
    Lent(Lent),
    Heap(Vec<u8>),
}

impl Chunk {
    pub(super) fn lent(lent: Lent) -> Chunk {
        Chunk(Place::Lent(lent))
    }

    pub(super) fn heap(bytes: Vec<u8>) -> Chunk {
        Chunk(Place::Heap(bytes))
    }

    /// The bytes in memory of their own: copied, unless they are in such memory already.
    #[must_use]
    pub fn into_vec(mut self) -> Vec<u8> {
        match &mut self.0 {
            Place::Lent(lent) => lent.bytes().to_vec(),
            Place::Heap(bytes) => mem::take(bytes),
        }
    }

    /// Gives the buffer back, and says who is to be woken for that, where nothing is borrowed. The bytes are kept.
    pub(super) fn spill(&mut self) -> Vec<std::task::Waker> {
        let bytes = match &self.0 {
            Place::Lent(lent) => lent.bytes().to_vec(),
            Place::Heap(_) => return Vec::new(),
        };
        match mem::replace(&mut self.0, Place::Heap(bytes)) {
            Place::Lent(lent) => lent.give_back(),
            Place::Heap(_) => unreachable!("it was lent above"),
        }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if let Place::Lent(lent) = mem::replace(&mut self.0, Place::Heap(Vec::new())) {
            let woken = lent.give_back();
            if !woken.is_empty() {
                runtime::wake_all(woken);
            }
        }
    }
}

impl Deref for Chunk {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Place::Lent(lent) => lent.bytes(),
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
