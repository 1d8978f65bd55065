//! The methods that TCP and Unix stream sockets have in common.

/// Generates the methods of a byte stream, for a type with a field `stream: FdOwner<Rc<Stream>>`.
macro_rules! byte_stream {
    ($type:ident, $std:ty) => {
        impl $type {
            /// Receives available bytes into at most the buffer's whole capacity, and sets the buffer's length to their
            /// number. Returns that number, which is zero after the peer has ended its side, and the buffer: `recv(2)`.
            ///
            /// Reads of one stream run in the order in which they began: a second one waits until the first has ended,
            /// so one task must await its reads in that order.
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// use gimmal::net::UnixStream;
            /// use std::time::Duration;
            ///
            /// gimmal::run(async {
            ///     let (left, right) = UnixStream::pair()?;
            ///     let read = right.read(vec![0; 64]).timeout(Duration::from_millis(1)).await;
            ///     let error = read.unwrap_err();
            ///     assert!(gimmal::is_timeout(&error));
            ///     // It took nothing, and returned the buffer.
            ///     left.write_all("late").await?;
            ///     let (n, text) = right.read(error.into_buf()).await?;
            ///     assert_eq!((n, &text[..]), (4, &b"late"[..]));
            ///     Ok(())
            /// })
            /// # }
            /// ```
            ///
            /// # Errors
            ///
            /// `InvalidInput` for a buffer of capacity zero; those of `recv(2)`, with the peer's address:
            /// `ConnectionReset`, `TimedOut` if the peer stopped answering, `NotConnected`;
            /// [`Canceled`](crate::Canceled). The error contains the buffer.
            ///
            /// # Cancel safety
            ///
            /// No byte is lost. A canceled read has taken nothing; what a dropped read receives, the next read returns
            /// first.
            // Test: tests/streams.rs
            #[inline]
            pub fn read<B: IoBufMut>(&self, buf: B) -> Op<Recv<B>> {
                Recv::new(self.stream.clone(), buf)
            }

            /// Receives `len` bytes into the start of the buffer, and sets the buffer's length to `len`.
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// use gimmal::net::UnixStream;
            ///
            /// gimmal::run(async {
            ///     let (left, right) = UnixStream::pair()?;
            ///     left.write_all(&b"\x05hello\x03you"[..]).await?;
            ///     let (mut length, mut body) = (vec![0; 1], Vec::with_capacity(256));
            ///     for expected in ["hello", "you"] {
            ///         length = right.read_exact(length, 1).await?;
            ///         body = right.read_exact(body, length[0].into()).await?;
            ///         assert_eq!(body, expected.as_bytes());
            ///     }
            ///     Ok(())
            /// })
            /// # }
            /// ```
            ///
            /// # Errors
            ///
            /// `UnexpectedEof` if the peer ends its side first; `InvalidInput` if the buffer has no room for `len`
            /// bytes; those of [`read`](Self::read). The error contains the buffer, with the bytes received so far at
            /// its start, and their number.
            ///
            /// # Cancel safety
            ///
            /// No byte is lost. After a cancel, the error contains what was received; after a drop, the next read
            /// returns it first.
            // Test: tests/streams.rs
            pub async fn read_exact<B: IoBufMut>(
                &self,
                buf: B,
                len: usize,
            ) -> Result<B, BufError<B>> {
                recv_exact(self.stream.clone(), buf, len).await
            }

            /// Receives until the peer ends its side, appends the bytes to the buffer, and returns their number.
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// use gimmal::net::UnixStream;
            /// use std::net::Shutdown;
            ///
            /// gimmal::run(async {
            ///     let (left, right) = UnixStream::pair()?;
            ///     left.write_all("hello").await?;
            ///     left.shutdown(Shutdown::Write)?;
            ///     let (n, bytes) = right.read_to_end(b"received: ".to_vec()).await?;
            ///     assert_eq!((n, &bytes[..]), (5, &b"received: hello"[..]));
            ///     Ok(())
            /// })
            /// # }
            /// ```
            ///
            /// # Errors
            ///
            /// Those of [`read`](Self::read); `OutOfMemory` if the buffer cannot grow. The error contains the buffer
            /// with everything received so far, and the number of those bytes.
            ///
            /// # Cancel safety
            ///
            /// After a cancel, the error contains what was received. After a drop, that is lost with the buffer.
            // Test: tests/streams.rs
            pub async fn read_to_end(&self, buf: Vec<u8>) -> BufResult<usize, Vec<u8>> {
                AsyncRead::read_to_end(&mut &*self, buf).await
            }

            /// Reads text to the end, appends it to the string, and returns the number of bytes read.
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// use gimmal::net::UnixStream;
            ///
            /// gimmal::run(async {
            ///     let (left, right) = UnixStream::pair()?;
            ///     left.write_all("naïve").await?;
            ///     left.close().await?;
            ///     let (n, text) = right.read_to_string(String::from("café, ")).await?;
            ///     assert_eq!((n, &text[..]), (6, "café, naïve"));
            ///     Ok(())
            /// })
            /// # }
            /// ```
            ///
            /// # Errors
            ///
            /// `InvalidData` if the text is not UTF-8; those of [`read_to_end`](Self::read_to_end). Whatever the error,
            /// it contains the string's bytes followed by everything read so far, and the number of bytes read.
            ///
            /// # Cancel safety
            ///
            /// After a cancel, the error contains what was received. After a drop, that is lost with the string.
            // Test: tests/readers.rs
            pub async fn read_to_string(
                &self,
                buf: String,
            ) -> Result<(usize, String), BufError<Vec<u8>>> {
                AsyncRead::read_to_string(&mut &*self, buf).await
            }

            /// Reads once, appending available bytes in the buffer's spare capacity; if it has none, the buffer first
            /// grows by 16 KiB or more. Returns the number of bytes, which is zero at the end, and the buffer.
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// use gimmal::net::UnixStream;
            ///
            /// gimmal::run(async {
            ///     let (left, right) = UnixStream::pair()?;
            ///     let mut head = Vec::new();
            ///     for part in ["GET / HT", "TP/1.1\r\n", "\r\n"] {
            ///         left.write_all(part).await?;
            ///         (_, head) = right.read_append(head).await?;
            ///     }
            ///     assert_eq!(head, b"GET / HTTP/1.1\r\n\r\n");
            ///     Ok(())
            /// })
            /// # }
            /// ```
            ///
            /// # Errors
            ///
            /// `OutOfMemory` if the buffer cannot grow; those of [`read`](Self::read). The error contains the buffer
            /// with its former content.
            ///
            /// # Cancel safety
            ///
            /// No byte is lost from the stream: what a dropped read receives, the next read returns first. But a drop
            /// loses the buffer with its content. A cancel returns the buffer unchanged.
            // Test: tests/readers.rs
            pub async fn read_append(&self, buf: Vec<u8>) -> BufResult<usize, Vec<u8>> {
                AsyncRead::read_append(&mut &*self, buf).await
            }

            /// Receives into several buffers in order: `recvmsg(2)`. As in std, only the first 1024 buffers are
            /// filled; the others get a length of 0.
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// use gimmal::net::UnixStream;
            ///
            /// gimmal::run(async {
            ///     let (left, right) = UnixStream::pair()?;
            ///     left.write_all("headbody").await?;
            ///     let (n, (head, body)) = right.read_vectored((vec![0; 4], vec![0; 64])).await?;
            ///     assert_eq!((n, &head[..], &body[..]), (8, &b"head"[..], &b"body"[..]));
            ///     Ok(())
            /// })
            /// # }
            /// ```
            ///
            /// # Errors
            ///
            /// Those of [`read`](Self::read). The error contains the buffers.
            ///
            /// # Cancel safety
            ///
            /// No byte is lost. A canceled read has taken nothing; what a dropped read receives, the next read returns
            /// first.
            // Test: tests/streams.rs
            pub fn read_vectored<B: IoBufsMut>(&self, bufs: B) -> Op<RecvVectored<B>> {
                RecvVectored::new(self.stream.clone(), bufs)
            }

            /// Receives available bytes if there are any, without waiting: `recv(2)` with `MSG_DONTWAIT`. Returns their
            /// number, which is zero after the peer has ended its side.
            ///
            /// Bytes that a dropped read has received come first. A call that does not wait is not canceled either: it
            /// also works in a canceled scope.
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// use gimmal::net::UnixStream;
            /// use std::io::ErrorKind;
            ///
            /// gimmal::run(async {
            ///     let (left, right) = UnixStream::pair()?;
            ///     let mut buffer = [0; 64];
            ///     assert_eq!(right.try_read(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
            ///     left.write_all("hello").await?;
            ///     assert_eq!(right.try_read(&mut buffer)?, 5);
            ///     drop(left);
            ///     assert_eq!(right.try_read(&mut buffer)?, 0);
            ///     Ok(())
            /// })
            /// # }
            /// ```
            ///
            /// # Errors
            ///
            /// `WouldBlock` if no bytes are available. Also while another read is in progress or waits for its turn, so
            /// that bytes stay in order. A dropped read is in progress until the kernel has stopped it: await
            /// something, then try again.
            ///
            /// `InvalidInput` for an empty buffer; otherwise those of [`read`](Self::read).
            pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
                self.stream.try_recv(buf)
            }

            /// Returns the bytes in chunks as they arrive. The chunks are in buffers shared by the runtime's streams,
            /// or, while all of those are held, in memory of their own; an idle connection holds no buffer. On TCP, one
            /// request to the kernel returns several chunks (multishot receive, bounded since 6.17); on older kernels,
            /// and on Unix sockets, where a multishot receive may miss the end, each chunk takes one request.
            ///
            /// This is the fast way to serve many connections. A [`read`](Self::read) into one buffer is faster only
            /// between tasks of one thread, where data arrives before it is requested.
            ///
            /// From the first chunk until the returned value is dropped, other reads of the stream wait. At most 64 KiB
            /// are received ahead of the reader: a peer that sends more has to wait. After a drop, the next read first
            /// returns what was received ahead.
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// use gimmal::net::UnixStream;
            /// use std::net::Shutdown;
            ///
            /// gimmal::run(async {
            ///     let (left, right) = UnixStream::pair()?;
            ///     left.write_all("hello").await?;
            ///     left.shutdown(Shutdown::Write)?;
            ///     let (mut chunks, mut text) = (right.chunks(), Vec::new());
            ///     while let Some(chunk) = chunks.next().await? {
            ///         text.extend_from_slice(&chunk);
            ///     }
            ///     assert_eq!(text, b"hello");
            ///     Ok(())
            /// })
            /// # }
            /// ```
            pub fn chunks(&self) -> Chunks<'_> {
                Chunks::new(self.stream.clone())
            }

            /// Receives available bytes without removing them, so the next read returns them again: `recv(2)` with
            /// `MSG_PEEK`.
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// use gimmal::net::UnixStream;
            ///
            /// gimmal::run(async {
            ///     let (left, right) = UnixStream::pair()?;
            ///     left.write_all(&b"\x16\x03\x01"[..]).await?;
            ///     // Which protocol does the peer use?
            ///     let (_, first) = right.peek(vec![0; 1]).await?;
            ///     let is_tls = first == [0x16];
            ///     assert!(is_tls);
            ///     assert_eq!(right.read(vec![0; 16]).await?.1, [0x16, 3, 1]);
            ///     Ok(())
            /// })
            /// # }
            /// ```
            ///
            /// # Errors
            ///
            /// Those of [`read`](Self::read).
            ///
            /// # Cancel safety
            ///
            /// Nothing is lost: a peek takes nothing.
            // Test: tests/streams.rs
            pub fn peek<B: IoBufMut>(&self, buf: B) -> Op<Recv<B>> {
                Recv::peek(self.stream.clone(), buf)
            }

            /// Sends as much of the buffer as one system call takes, and returns the number of bytes and the buffer:
            /// `send(2)`.
            ///
            /// Writes to one stream run in the order in which they began, as reads do.
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// use gimmal::net::UnixStream;
            /// use std::io::ErrorKind;
            ///
            /// gimmal::run(async {
            ///     let (left, right) = UnixStream::pair()?;
            ///     let (n, buffer) = left.write(b"hello".to_vec()).await?;
            ///     assert_eq!((n, buffer.len()), (5, 5));
            ///
            ///     right.close().await?;
            ///     let error = left.write(buffer).await.unwrap_err();
            ///     assert_eq!((error.kind(), error.into_buf().len()), (ErrorKind::BrokenPipe, 5));
            ///     Ok(())
            /// })
            /// # }
            /// ```
            ///
            /// # Errors
            ///
            /// Those of `send(2)`, with the peer's address: `BrokenPipe` or `ConnectionReset` if the peer is gone (no
            /// SIGPIPE is raised), `TimedOut` if it stopped answering, `NotConnected`; [`Canceled`](crate::Canceled).
            /// The error contains the buffer.
            ///
            /// # Cancel safety
            ///
            /// A canceled write has sent nothing. How much a dropped write has sent is unknown.
            // Test: tests/streams.rs
            #[inline]
            pub fn write<B: IoBuf>(&self, buf: B) -> Op<Send<B>> {
                Send::new(self.stream.clone(), buf)
            }

            /// Sends the whole buffer. Bytes of other writes come before or after it, never in between.
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// use gimmal::net::UnixStream;
            /// use std::time::Duration;
            ///
            /// gimmal::run(async {
            ///     let (left, right) = UnixStream::pair()?;
            ///     // The peer does not read.
            ///     let bytes = vec![b'x'; 10 << 20];
            ///     let sent = gimmal::timeout(Duration::from_millis(1), left.write_all(bytes)).await;
            ///     let Some(error) = sent.unwrap_err().into_inner() else {
            ///         panic!("a write reports how far it came");
            ///     };
            ///     let (done, bytes) = (error.transferred(), error.into_buf());
            ///     assert!(done < bytes.len());
            ///     assert_eq!(right.read_exact(vec![0; done], done).await?, bytes[..done]);
            ///     Ok(())
            /// })
            /// # }
            /// ```
            ///
            /// # Errors
            ///
            /// Those of [`write`](Self::write). The error contains the buffer, and the number of bytes sent.
            ///
            /// # Cancel safety
            ///
            /// After a cancel, the error reports how much was sent. After a drop, that is unknown.
            // Test: tests/streams.rs
            pub async fn write_all<B: IoBuf>(&self, buf: B) -> Result<B, BufError<B>> {
                send_all(self.stream.clone(), buf).await
            }

            /// Sends as much of the buffer as there is room for, without waiting: `send(2)` with `MSG_DONTWAIT`.
            /// Returns the number of bytes.
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// use gimmal::net::UnixStream;
            /// use std::io::ErrorKind;
            ///
            /// gimmal::run(async {
            ///     let (left, right) = UnixStream::pair()?;
            ///     let mut sent = 0;
            ///     // Until the buffers of the kernel are full.
            ///     let error = loop {
            ///         match left.try_write(&[7; 4096]) {
            ///             Ok(n) => sent += n,
            ///             Err(error) => break error,
            ///         }
            ///     };
            ///     assert_eq!(error.kind(), ErrorKind::WouldBlock);
            ///     drop(left);
            ///     assert_eq!(right.read_to_end(Vec::new()).await?.0, sent);
            ///     Ok(())
            /// })
            /// # }
            /// ```
            ///
            /// # Errors
            ///
            /// `WouldBlock` if there is no room. Also while another write is in progress or waits for its turn, so that
            /// bytes stay in order. A dropped write is in progress until the kernel has stopped it: await something,
            /// then try again.
            ///
            /// Otherwise those of [`write`](Self::write).
            pub fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
                self.stream.try_send(buf)
            }

            /// Sends from several buffers in order: `sendmsg(2)`. As in std, only the first 1024 buffers are written.
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// use gimmal::net::UnixStream;
            ///
            /// gimmal::run(async {
            ///     let (left, right) = UnixStream::pair()?;
            ///     let (n, _) = left.write_vectored(("head", b"body".to_vec())).await?;
            ///     assert_eq!(n, 8);
            ///     assert_eq!(right.read(vec![0; 64]).await?.1, b"headbody");
            ///     Ok(())
            /// })
            /// # }
            /// ```
            ///
            /// # Errors
            ///
            /// Those of [`write`](Self::write). The error contains the buffers.
            ///
            /// # Cancel safety
            ///
            /// A canceled write has sent nothing. How much a dropped write has sent is unknown.
            // Test: tests/streams.rs
            pub fn write_vectored<B: IoBufs>(&self, bufs: B) -> Op<SendVectored<B>> {
                SendVectored::new(self.stream.clone(), bufs)
            }

            /// Sends as much of the buffer as one call takes without copying it, if the device supports that:
            /// `IORING_OP_SEND_ZC` (Linux 6.0). Completes when the kernel no longer uses the buffer; on TCP, that is
            /// when the peer has acknowledged the bytes.
            ///
            /// Zero copy pays off for large buffers on real network cards. On loopback the kernel copies anyway, and
            /// the call is more expensive than [`write`](Self::write) at every size.
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// use gimmal::net::{TcpListener, TcpStream};
            /// use std::io::ErrorKind;
            ///
            /// gimmal::run(async {
            ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
            ///     let client = TcpStream::connect(listener.local_addr()?).await?;
            ///     let (server, _peer) = listener.accept().await?;
            ///     let (n, bytes) = match client.write_zero_copy(vec![b'x'; 20_000]).await {
            ///         // An old kernel, or too little memory that may be locked.
            ///         Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::OutOfMemory) => {
            ///             client.write(error.into_buf()).await?
            ///         }
            ///         sent => sent?,
            ///     };
            ///     assert_eq!(server.read_exact(vec![0; n], n).await?, bytes[..n]);
            ///     Ok(())
            /// })
            /// # }
            /// ```
            ///
            /// # Errors
            ///
            /// Those of [`write`](Self::write); `Unsupported` before Linux 6.0, and on sockets without support for it.
            /// Without `CAP_IPC_LOCK`, the bytes in flight of all of a user's processes, and their rings, count against
            /// `RLIMIT_MEMLOCK`: if not all bytes fit, fewer are sent; if none do, the error is `OutOfMemory` and names
            /// the limit.
            ///
            /// # Cancel safety
            ///
            /// A canceled write has sent nothing. How much a dropped write has sent is unknown. However, the kernel
            /// cannot abort a send that it has begun: a cancel or a timeout ends the wait only when the peer has
            /// acknowledged those bytes or the connection is lost. So a peer that does not read delays a timeout, a
            /// group, `close` and the shutdown of a server.
            // Test: tests/streams.rs
            pub fn write_zero_copy<B: IoBuf>(&self, buf: B) -> Op<SendZeroCopy<B>> {
                SendZeroCopy::new(self.stream.clone(), buf)
            }

            /// Shuts down one direction or both: `shutdown(2)`. The peer reads what was sent, and then the end.
            ///
            /// # Errors
            ///
            /// `NotConnected` if the connection has ended: after a reset by the peer, and on TCP after both directions
            /// have been shut down. [`AsyncWrite::shutdown`](crate::io::AsyncWrite::shutdown) does not treat this as an
            /// error.
            pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
                // A direct call: it touches only memory, and in the ring it would go to a worker thread.
                SockRef::from(self).shutdown(how)
            }

            /// Splits the stream into a read half and a write half that borrow it and can be used at the same time.
            #[must_use]
            pub fn split(&self) -> (ReadHalf<'_, Self>, WriteHalf<'_, Self>) {
                halves(self)
            }

            /// Splits the stream into an owned read half and an owned write half, for tasks that share it. Dropping the
            /// write half shuts down that direction, as [`shutdown`](Self::shutdown) does.
            #[must_use]
            pub fn into_split(self) -> (OwnedReadHalf<Self>, OwnedWriteHalf<Self>) {
                owned_halves(self)
            }

            /// Returns the descriptor, to be held by custom operations.
            #[must_use]
            pub fn shared_fd(&self) -> SharedFd {
                self.stream.fd().clone()
            }

            /// Closes the stream, and returns any error of closing it. Cancels operations that are still in progress on
            /// it, and waits for them.
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// use gimmal::net::UnixStream;
            ///
            /// gimmal::run(async {
            ///     let (left, right) = UnixStream::pair()?;
            ///     left.write_all("last").await?;
            ///     left.close().await?;
            ///     assert_eq!(right.read(vec![0; 16]).await?.1, b"last");
            ///     assert_eq!(right.read(vec![0; 16]).await?.0, 0);
            ///     Ok(())
            /// })
            /// # }
            /// ```
            ///
            /// # Errors
            ///
            /// `ResourceBusy` if something else holds the descriptor: an operation that was started and not awaited, or
            /// a [`SharedFd`]; the descriptor closes when its last holder is dropped. [`Canceled`](crate::Canceled)
            /// while waiting for operations.
            ///
            /// # Cancel safety
            ///
            /// The stream closes even after a cancel or a drop: if the wait is dropped, the last operation in progress
            /// on it closes it.
            // Test: tests/streams.rs
            pub async fn close(self) -> io::Result<()> {
                self.stream.release().close().await
            }

            /// Converts the stream into a std stream over the same descriptor, which can be sent to another thread. The
            /// std stream is blocking, unless this one was created from a nonblocking socket.
            ///
            /// # Errors
            ///
            /// `ResourceBusy` while an operation is in progress on the stream, even one whose future was dropped, or
            /// while bytes that such an operation received have not been read. The error contains the stream.
            pub fn into_std(self) -> Result<$std, BufError<$type>> {
                let what =
                    "an operation is still in progress on the stream, or has left unread bytes";
                self.stream.into_std(what, |stream| $type { stream })
            }
        }

        impl EndOutput for $type {
            fn end_output(&self) -> io::Result<()> {
                self.shutdown(Shutdown::Write)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let ends = [self.local_addr(), self.peer_addr()];
                debug(f, stringify!($type), self, ends)
            }
        }

        stream_reader! { $type }
        stream_writer! { $type, end_if_connected }
    };
}

pub(super) use byte_stream;
