//! The I/O traits for readers and writers whose type is chosen while the program runs.
//!
//! [`AsyncRead`] and [`AsyncWrite`] are generic over buffers, and return futures without a name, so there is no `dyn
//! AsyncRead`. Here, the buffer and the future are boxed instead.

use super::{AsyncRead, AsyncWrite};
use crate::buf::{BufError, BufResult, IoBuf, IoBufMut};
use crate::op::{Outlet, SharedFd};
use std::any::Any;
use std::io;
use std::pin::Pin;

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// A buffer with its type erased.
type DynBuf = Box<dyn AnyBuf>;

/// A mutable buffer with its type erased.
type DynBufMut = Box<dyn AnyBufMut>;

/// A dyn-compatible [`AsyncRead`]: every reader implements it, and a `Box<dyn DynAsyncRead>` is a reader.
///
/// Each read allocates twice, for the buffer's type and for the future. The bytes are not copied.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::fs::File;
/// use gimmal::io::{AsyncRead, DynAsyncRead};
/// use gimmal::net::TcpStream;
/// use std::io::{self, Cursor};
///
/// async fn open(source: &str) -> io::Result<Box<dyn DynAsyncRead>> {
///     Ok(match source.split_once("://") {
///         Some(("tcp", address)) => Box::new(TcpStream::connect(address).await?),
///         Some(("text", text)) => Box::new(Cursor::new(text.to_owned())),
///         _ => Box::new(File::open(source).await?),
///     })
/// }
///
/// gimmal::run(async {
///     # let listener = gimmal::net::TcpListener::bind("127.0.0.1:0").await?;
///     # let server = format!("tcp://{}", listener.local_addr()?);
///     # let server = &*server;
///     # let answer = gimmal::spawn(async move {
///     #     listener.accept().await?.0.write_all("[from a server]").await?;
///     #     io::Result::Ok(())
///     # });
///     for source in ["Cargo.toml", "text://[from memory]", server] {
///         let mut reader = open(source).await?;
///         assert_eq!(reader.read_exact(vec![0; 1], 1).await?, b"[");
///         let copied = gimmal::io::copy(&mut reader, &mut gimmal::io::sink()).await?;
///         assert!(copied > 10);
///     }
///     # answer.await??;
///     Ok(())
/// })
/// # }
/// ```
///
/// # Cancel safety
///
/// That of the reader in the box.
// Test: tests/dyn_io.rs
pub trait DynAsyncRead {
    #[doc(hidden)]
    fn dyn_read(&mut self, buf: DynBufMut) -> BoxFuture<'_, BufResult<usize, DynBufMut>>;

    #[doc(hidden)]
    fn dyn_read_exact(
        &mut self,
        buf: DynBufMut,
        len: usize,
    ) -> BoxFuture<'_, Result<DynBufMut, BufError<DynBufMut>>>;

    #[doc(hidden)]
    fn dyn_read_to_end(&mut self, buf: Vec<u8>) -> BoxFuture<'_, BufResult<usize, Vec<u8>>>;

    #[doc(hidden)]
    fn dyn_unread(&mut self, bytes: &[u8]) -> bool;

    #[doc(hidden)]
    fn dyn_inlet(&self) -> Option<SharedFd>;
}

/// A dyn-compatible [`AsyncWrite`]: every writer implements it, and a `Box<dyn DynAsyncWrite>` is a writer.
///
/// Each write allocates twice, for the buffer's type and for the future. The bytes are not copied.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::fs::File;
/// use gimmal::io::{AsyncWrite, BufWriter, DynAsyncWrite, pipe, sink};
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("log");
/// gimmal::run(async {
///     let (reader, writer) = pipe()?;
///     let mut logs: Vec<Box<dyn DynAsyncWrite>> = vec![
///         Box::new(BufWriter::new(File::create(&path).await?)),
///         Box::new(writer),
///         Box::new(sink()),
///     ];
///     for log in &mut logs {
///         log.write_all("started\n").await?;
///         log.flush().await?;
///     }
///     assert_eq!(std::fs::read(&path)?, b"started\n");
///     assert_eq!(reader.read(vec![0; 64]).await?.1, b"started\n");
///     Ok(())
/// })
/// # }
/// ```
///
/// # Cancel safety
///
/// That of the writer in the box.
// Test: tests/dyn_io.rs
pub trait DynAsyncWrite {
    #[doc(hidden)]
    fn dyn_write(&mut self, buf: DynBuf) -> BoxFuture<'_, BufResult<usize, DynBuf>>;

    #[doc(hidden)]
    fn dyn_write_all(&mut self, buf: DynBuf) -> BoxFuture<'_, Result<DynBuf, BufError<DynBuf>>>;

    #[doc(hidden)]
    fn dyn_flush(&mut self) -> BoxFuture<'_, io::Result<()>>;

    #[doc(hidden)]
    fn dyn_shutdown(&mut self) -> BoxFuture<'_, io::Result<()>>;

    #[doc(hidden)]
    fn dyn_outlet(&self) -> Option<Outlet>;
}

/// A buffer to be written, of a type that is known only to the caller.
#[doc(hidden)]
pub trait AnyBuf: IoBuf + Any {}

impl<B: IoBuf> AnyBuf for B {}

/// A buffer to be filled, of a type that is known only to the caller.
#[doc(hidden)]
pub trait AnyBufMut: IoBufMut + Any {}

impl<B: IoBufMut> AnyBufMut for B {}

/// Returns the buffer that the caller has passed.
fn unbox<B: 'static>(buf: Box<dyn Any>) -> B {
    match buf.downcast() {
        Ok(buf) => *buf,
        Err(_) => panic!("a reader or writer returned another buffer than it was given"),
    }
}

impl<R: AsyncRead> DynAsyncRead for R {
    fn dyn_read(&mut self, buf: DynBufMut) -> BoxFuture<'_, BufResult<usize, DynBufMut>> {
        Box::pin(self.read(buf))
    }

    fn dyn_read_exact(
        &mut self,
        buf: DynBufMut,
        len: usize,
    ) -> BoxFuture<'_, Result<DynBufMut, BufError<DynBufMut>>> {
        Box::pin(self.read_exact(buf, len))
    }

    fn dyn_read_to_end(&mut self, buf: Vec<u8>) -> BoxFuture<'_, BufResult<usize, Vec<u8>>> {
        Box::pin(self.read_to_end(buf))
    }

    fn dyn_unread(&mut self, bytes: &[u8]) -> bool {
        self.unread(bytes)
    }

    fn dyn_inlet(&self) -> Option<SharedFd> {
        self.inlet()
    }
}

impl<W: AsyncWrite> DynAsyncWrite for W {
    fn dyn_write(&mut self, buf: DynBuf) -> BoxFuture<'_, BufResult<usize, DynBuf>> {
        Box::pin(self.write(buf))
    }

    fn dyn_write_all(&mut self, buf: DynBuf) -> BoxFuture<'_, Result<DynBuf, BufError<DynBuf>>> {
        Box::pin(self.write_all(buf))
    }

    fn dyn_flush(&mut self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(self.flush())
    }

    fn dyn_shutdown(&mut self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(self.shutdown())
    }

    fn dyn_outlet(&self) -> Option<Outlet> {
        self.outlet()
    }
}

impl AsyncRead for dyn DynAsyncRead + '_ {
    async fn read<B: IoBufMut>(&mut self, buf: B) -> BufResult<usize, B> {
        match self.dyn_read(Box::new(buf)).await {
            Ok((n, buf)) => Ok((n, unbox(buf))),
            Err(error) => Err(error.map_buf(|buf| unbox(buf))),
        }
    }

    async fn read_exact<B: IoBufMut>(&mut self, buf: B, len: usize) -> Result<B, BufError<B>> {
        match self.dyn_read_exact(Box::new(buf), len).await {
            Ok(buf) => Ok(unbox(buf)),
            Err(error) => Err(error.map_buf(|buf| unbox(buf))),
        }
    }

    fn read_to_end(&mut self, buf: Vec<u8>) -> impl Future<Output = BufResult<usize, Vec<u8>>> {
        self.dyn_read_to_end(buf)
    }

    fn unread(&mut self, bytes: &[u8]) -> bool {
        self.dyn_unread(bytes)
    }

    fn inlet(&self) -> Option<SharedFd> {
        self.dyn_inlet()
    }
}

impl AsyncWrite for dyn DynAsyncWrite + '_ {
    async fn write<B: IoBuf>(&mut self, buf: B) -> BufResult<usize, B> {
        match self.dyn_write(Box::new(buf)).await {
            Ok((n, buf)) => Ok((n, unbox(buf))),
            Err(error) => Err(error.map_buf(|buf| unbox(buf))),
        }
    }

    async fn write_all<B: IoBuf>(&mut self, buf: B) -> Result<B, BufError<B>> {
        match self.dyn_write_all(Box::new(buf)).await {
            Ok(buf) => Ok(unbox(buf)),
            Err(error) => Err(error.map_buf(|buf| unbox(buf))),
        }
    }

    fn flush(&mut self) -> impl Future<Output = io::Result<()>> {
        self.dyn_flush()
    }

    fn shutdown(&mut self) -> impl Future<Output = io::Result<()>> {
        self.dyn_shutdown()
    }

    fn outlet(&self) -> Option<Outlet> {
        self.dyn_outlet()
    }
}
