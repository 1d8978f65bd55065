//! The methods that TCP and Unix stream sockets have in common.

/// Generates the methods of a byte stream, for a type with a field `stream: Owned<Rc<Stream>>`.
macro_rules! byte_stream {
    ($type:ident) => {
        impl $type {
            /// Receives available bytes into at most the buffer's whole capacity, and sets the buffer's length to their
            /// number. Returns that number, which is zero after the peer has ended its side, and the buffer: `recv(2)`.
            ///
            /// Reads of one stream run in the order in which they began: a second one waits until the first has ended,
            /// so one task must await its reads in that order.
            ///
            /// # Errors
            ///
            /// `InvalidInput` for a buffer of capacity zero; those of `recv(2)`, with the peer's address, such as
            /// `ConnectionReset`; [`Canceled`](crate::Canceled). The error contains the buffer.
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
                let buf = check_room(buf, len).await?;
                RecvExact::new(self.stream.clone(), buf, len).await
            }

            /// Receives until the peer ends its side, appends the bytes to the buffer, and returns their number.
            ///
            /// # Errors
            ///
            /// Those of [`read`](Self::read); `OutOfMemory` if the buffer cannot grow. The error contains the buffer
            /// with everything received so far, and the number of those bytes.
            ///
            /// # Cancel safety
            ///
            /// After a cancel, the error contains what was received; after a drop, it is lost.
            // Test: tests/streams.rs
            pub async fn read_to_end(&self, buf: Vec<u8>) -> BufResult<usize, Vec<u8>> {
                AsyncRead::read_to_end(&mut &*self, buf).await
            }

            /// Reads text to the end, appends it to the string, and returns the number of bytes read.
            ///
            /// # Errors
            ///
            /// `InvalidData` if the text is not UTF-8; those of [`read_to_end`](Self::read_to_end). Whatever the error,
            /// it contains the string's bytes followed by everything read so far, and the number of bytes read.
            ///
            /// # Cancel safety
            ///
            /// As [`read_to_end`](Self::read_to_end).
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
            /// # Errors
            ///
            /// `OutOfMemory` if the buffer cannot grow; those of [`read`](Self::read). The error contains the buffer
            /// with its former content.
            ///
            /// # Cancel safety
            ///
            /// As [`read`](Self::read), but dropping the wait loses the buffer and its content.
            // Test: tests/readers.rs
            pub async fn read_append(&self, buf: Vec<u8>) -> BufResult<usize, Vec<u8>> {
                AsyncRead::read_append(&mut &*self, buf).await
            }

            /// Receives into several buffers in order: `readv(2)`. As in std, only the first 1024 buffers are filled;
            /// the others get a length of 0.
            ///
            /// # Errors
            ///
            /// Those of [`read`](Self::read).
            ///
            /// # Cancel safety
            ///
            /// As [`read`](Self::read).
            // Test: tests/streams.rs
            pub fn read_vectored<B: IoBufsMut>(&self, bufs: B) -> Op<RecvVectored<B>> {
                RecvVectored::new(self.stream.clone(), bufs)
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
            pub fn chunks(&self) -> Chunks<'_> {
                Chunks::new(self.stream.clone())
            }

            /// Receives available bytes without removing them, so the next read returns them again: `recv(2)` with
            /// `MSG_PEEK`.
            ///
            /// # Errors
            ///
            /// Those of [`read`](Self::read).
            ///
            /// # Cancel safety
            ///
            /// There is nothing to lose.
            // Test: tests/streams.rs
            pub fn peek<B: IoBufMut>(&self, buf: B) -> Op<Recv<B>> {
                Recv::peek(self.stream.clone(), buf)
            }

            /// Sends as much of the buffer as one system call takes, and returns the number of bytes and the buffer:
            /// `send(2)`.
            ///
            /// Writes to one stream run in the order in which they began, as reads do.
            ///
            /// # Errors
            ///
            /// Those of `send(2)`, with the peer's address (`BrokenPipe` if the peer is gone; no SIGPIPE is raised);
            /// [`Canceled`](crate::Canceled). The error contains the buffer.
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

            /// Sends from several buffers in order: `sendmsg(2)`. As in std, only the first 1024 buffers are written.
            ///
            /// # Errors
            ///
            /// Those of [`write`](Self::write).
            ///
            /// # Cancel safety
            ///
            /// As [`write`](Self::write).
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
            /// # Errors
            ///
            /// Those of [`write`](Self::write); `Unsupported` before Linux 6.0, and on sockets without support for it.
            /// Without `CAP_IPC_LOCK`, the bytes in flight of all of a user's processes, and their rings, count against
            /// `RLIMIT_MEMLOCK`: if not all bytes fit, fewer are sent; if none do, the error is `OutOfMemory` and names
            /// the limit.
            ///
            /// # Cancel safety
            ///
            /// As [`write`](Self::write). However, the kernel cannot abort a send that it has begun: a cancel or a
            /// timeout ends the wait only when the peer has acknowledged those bytes or the connection is lost. So a
            /// peer that does not read delays a timeout, a group, `close` and the shutdown of a server.
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
            /// # Errors
            ///
            /// Those of `close(2)`. `ResourceBusy` if something else holds the descriptor: an operation that was
            /// started and not awaited, or a [`SharedFd`]; the descriptor closes when its last holder is dropped.
            /// [`Canceled`](crate::Canceled) while waiting for operations.
            ///
            /// # Cancel safety
            ///
            /// The stream closes even after a cancel or a drop.
            // Test: tests/streams.rs
            pub async fn close(self) -> io::Result<()> {
                self.stream.give_up().close().await
            }
        }

        byte_stream! { generic: $type, $type }
        byte_stream! { generic: $type, &$type }
    };
    (generic: $type:ident, $generic:ty) => {
        impl AsyncRead for $generic {
            fn read<B: IoBufMut>(&mut self, buf: B) -> impl Future<Output = BufResult<usize, B>> {
                $type::read(self, buf)
            }

            fn read_exact<B: IoBufMut>(
                &mut self,
                buf: B,
                len: usize,
            ) -> impl Future<Output = Result<B, BufError<B>>> {
                $type::read_exact(self, buf, len)
            }

            fn unread(&mut self, bytes: &[u8]) -> bool {
                self.stream.give_back(bytes);
                true
            }
        }

        impl AsyncWrite for $generic {
            fn write<B: IoBuf>(&mut self, buf: B) -> impl Future<Output = BufResult<usize, B>> {
                $type::write(self, buf)
            }

            fn write_all<B: IoBuf>(
                &mut self,
                buf: B,
            ) -> impl Future<Output = Result<B, BufError<B>>> {
                $type::write_all(self, buf)
            }

            async fn shutdown(&mut self) -> io::Result<()> {
                let stream: &$type = self;
                end_if_connected(stream)
            }

            fn outlet(&self) -> Option<crate::op::Outlet> {
                Some(crate::op::Outlet::of_stream(&self.stream))
            }
        }
    };
}

pub(super) use byte_stream;
