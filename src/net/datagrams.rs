//! The methods that UDP and Unix datagram sockets have in common.

/// Generates the methods of a datagram socket, for a type with a field `socket: FdOwner<Rc<Datagrams>>`.
macro_rules! datagram_socket {
    ($type:ident, $std:ty, $(#[$from:meta])* from) => {
        impl $type {
            /// Sends a datagram to the connected peer: `send(2)`. Returns its length and the buffer. Waits while the
            /// queue of a Unix peer is full. Sends to the peer run in order.
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// use gimmal::net::UnixDatagram;
            ///
            /// # let directory = tempfile::tempdir()?;
            /// # let path = directory.path().join("socket");
            /// gimmal::run(async {
            ///     let server = UnixDatagram::bind(&path)?;
            ///     let client = UnixDatagram::unbound()?;
            ///     client.connect(&path)?;
            ///     for part in ["one", "two"] {
            ///         client.send(part).await?;
            ///     }
            ///     assert_eq!(server.recv(vec![0; 64]).await?.1, b"one");
            ///     assert_eq!(server.recv(vec![0; 64]).await?.1, b"two");
            ///     Ok(())
            /// })
            /// # }
            /// ```
            ///
            /// # Errors
            ///
            /// Those of [`send_to`](Self::send_to); without a peer, EDESTADDRREQ on a UDP socket and `NotConnected` on
            /// a Unix socket. `ConnectionRefused` if a UDP peer has refused an **earlier** datagram;
            /// `ConnectionRefused` or `ConnectionReset` if a Unix peer is gone.
            ///
            /// # Cancel safety
            ///
            /// A canceled send has sent nothing. Whether a dropped send has sent the datagram is unknown.
            // Test: tests/unix_datagrams.rs
            pub fn send<B: IoBuf>(&self, buf: B) -> Op<SendMessage<B>> {
                SendMessage::new(self.socket.clone(), buf, None, &[])
            }

            /// Receives a datagram into at most the buffer's whole capacity, and sets the buffer's length to what was
            /// received. Returns the number of bytes, the sender's address (unnamed if it is a Unix socket that is not
            /// bound), and the buffer: `recvfrom(2)`.
            ///
            /// Receives on one socket run one at a time, in order: a second one waits until the first has ended.
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// use gimmal::net::UdpSocket;
            /// use std::time::Duration;
            ///
            /// gimmal::run(async {
            ///     let server = UdpSocket::bind("127.0.0.1:0").await?;
            ///     let received = server.recv_from(vec![0; 64]).timeout(Duration::from_millis(1)).await;
            ///     let error = received.unwrap_err();
            ///     assert!(gimmal::is_timeout(&error));
            ///     // It took nothing, and returned the buffer.
            ///     let client = UdpSocket::bind("127.0.0.1:0").await?;
            ///     client.send_to("late", server.local_addr()?).await?;
            ///     let ((n, from), buffer) = server.recv_from(error.into_buf()).await?;
            ///     assert_eq!((&buffer[..n], from), (&b"late"[..], client.local_addr()?));
            ///     Ok(())
            /// })
            /// # }
            /// ```
            ///
            /// # Errors
            ///
            /// `InvalidInput` for a buffer of capacity zero; those of `recvfrom(2)`, with the peer's address:
            /// `ConnectionRefused` if a connected UDP peer has refused an earlier datagram; `ConnectionReset` if a Unix
            /// peer has connected to another socket; [`Canceled`](crate::Canceled). The error contains the buffer. If a
            /// Unix peer is gone, that is not an error: the receive waits.
            ///
            /// # Cancel safety
            ///
            /// No datagram is lost. A canceled receive has taken none; a dropped receive leaves its datagram to the
            /// next receive, which gets as much of it as fit into the first buffer.
            // Test: tests/udp.rs
            pub fn recv_from<B: IoBufMut>(&self, buf: B) -> Op<RecvMessage<B, (usize, SocketAddr)>> {
                RecvMessage::new(self.socket.clone(), buf)
            }

            /// Receives a datagram, and returns the number of bytes and the buffer: `recv(2)`.
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// use gimmal::net::UnixDatagram;
            /// use std::time::Duration;
            ///
            /// gimmal::run(async {
            ///     let (left, right) = UnixDatagram::pair()?;
            ///     let received = right.recv(vec![0; 64]).timeout(Duration::from_millis(1)).await;
            ///     let error = received.unwrap_err();
            ///     assert!(gimmal::is_timeout(&error));
            ///     // It took nothing, and returned the buffer.
            ///     left.send("late").await?;
            ///     assert_eq!(right.recv(error.into_buf()).await?.1, b"late");
            ///     Ok(())
            /// })
            /// # }
            /// ```
            ///
            /// # Errors
            ///
            /// Those of [`recv_from`](Self::recv_from).
            ///
            /// # Cancel safety
            ///
            /// No datagram is lost, as with [`recv_from`](Self::recv_from).
            // Test: tests/unix_datagrams.rs
            pub fn recv<B: IoBufMut>(&self, buf: B) -> Op<RecvMessage<B, usize>> {
                RecvMessage::new(self.socket.clone(), buf)
            }

            /// Receives a datagram if there is one, without waiting: `recv(2)` with `MSG_DONTWAIT`. Returns the number
            /// of bytes; bytes that do not fit into the buffer are lost. Otherwise as
            /// [`try_recv_from`](Self::try_recv_from).
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// use gimmal::net::UnixDatagram;
            /// use std::io::ErrorKind;
            ///
            /// gimmal::run(async {
            ///     let (left, right) = UnixDatagram::pair()?;
            ///     let mut buffer = [0; 64];
            ///     assert_eq!(right.try_recv(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
            ///     left.send("hello").await?;
            ///     assert_eq!(right.try_recv(&mut buffer)?, 5);
            ///     Ok(())
            /// })
            /// # }
            /// ```
            ///
            /// # Errors
            ///
            /// Those of [`try_recv_from`](Self::try_recv_from).
            pub fn try_recv(&self, buf: &mut [u8]) -> io::Result<usize> {
                self.socket.try_recv(buf)
            }

            /// Receives a datagram if there is one, without waiting, and returns the number of bytes and the sender's
            /// address (unnamed if it is a Unix socket that is not bound): `recvfrom(2)` with `MSG_DONTWAIT`. Bytes
            /// that do not fit into the buffer are lost; descriptors that come with the datagram are closed.
            ///
            /// A datagram that a dropped receive has taken comes first. A call that does not wait is not canceled
            /// either: it also works in a canceled scope.
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// use gimmal::net::UdpSocket;
            ///
            /// gimmal::run(async {
            ///     let server = UdpSocket::bind("127.0.0.1:0").await?;
            ///     let client = UdpSocket::bind("127.0.0.1:0").await?;
            ///     let mut buffer = [0; 64];
            ///     for text in ["one", "two"] {
            ///         client.try_send_to(text.as_bytes(), server.local_addr()?)?;
            ///     }
            ///     // Everything that has arrived.
            ///     let mut received = Vec::new();
            ///     while let Ok((n, from)) = server.try_recv_from(&mut buffer) {
            ///         assert_eq!(from, client.local_addr()?);
            ///         received.push(buffer[..n].to_vec());
            ///     }
            ///     assert_eq!(received, [b"one", b"two"]);
            ///     Ok(())
            /// })
            /// # }
            /// ```
            ///
            /// # Errors
            ///
            /// `WouldBlock` if no datagram is available. Also while another receive is in progress or waits for its
            /// turn, so that datagrams stay in order. A dropped receive is in progress until the kernel has stopped it:
            /// await something, then try again.
            ///
            /// `InvalidInput` for an empty buffer; otherwise those of [`recv_from`](Self::recv_from).
            pub fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
                self.socket.try_recv(buf)
            }

            /// Sends a datagram to the connected peer if there is room, without waiting: `send(2)` with `MSG_DONTWAIT`.
            /// Returns its length.
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// use gimmal::net::UnixDatagram;
            /// use std::io::ErrorKind;
            ///
            /// gimmal::run(async {
            ///     let (left, right) = UnixDatagram::pair()?;
            ///     let mut sent = 0;
            ///     let error = loop {
            ///         match left.try_send(b"hello") {
            ///             Ok(_) => sent += 1,
            ///             Err(error) => break error,
            ///         }
            ///     };
            ///     assert_eq!(error.kind(), ErrorKind::WouldBlock);
            ///     for _ in 0..sent {
            ///         assert_eq!(right.recv(vec![0; 64]).await?.0, 5);
            ///     }
            ///     Ok(())
            /// })
            /// # }
            /// ```
            ///
            /// # Errors
            ///
            /// `WouldBlock` if there is no room in the send buffer, or in the queue of a Unix peer. Also while another
            /// [`send`](Self::send) is in progress or waits for its turn, so that datagrams to the peer stay in order.
            /// A dropped one is in progress until the kernel has stopped it: await something, then try again.
            ///
            /// Otherwise those of [`send`](Self::send).
            pub fn try_send(&self, buf: &[u8]) -> io::Result<usize> {
                self.socket.try_send(buf, None)
            }

            /// Returns the descriptor, to be held by custom operations.
            #[must_use]
            pub fn shared_fd(&self) -> SharedFd {
                self.socket.fd().clone()
            }

            /// Closes the socket, and returns any error of closing it. Cancels operations that are still in progress on
            /// it, and waits for them.
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// use gimmal::net::UnixDatagram;
            /// use std::io::ErrorKind;
            ///
            /// gimmal::run(async {
            ///     let (left, right) = UnixDatagram::pair()?;
            ///     left.send("last").await?;
            ///     left.close().await?;
            ///     assert_eq!(right.recv(vec![0; 64]).await?.1, b"last");
            ///     let error = right.send("are you there?").await.unwrap_err();
            ///     assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
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
            /// The socket closes even after a cancel or a drop: if the wait is dropped, the last operation in progress
            /// on it closes it.
            // Test: tests/unix_datagrams.rs
            pub async fn close(self) -> io::Result<()> {
                self.socket.release().close().await
            }

            /// Converts the socket into a std socket over the same descriptor, which can be sent to another thread.
            ///
            /// # Errors
            ///
            /// `ResourceBusy` while an operation is in progress on the socket, even one whose future was dropped, or
            /// while a datagram that such an operation received has not been taken. The error contains the socket.
            pub fn into_std(self) -> Result<$std, BufError<$type>> {
                let what = "an operation is still in progress on the socket, or has left a datagram";
                self.socket.into_std(what, |socket| $type { socket })
            }

            /// Creates a socket from a std socket.
            #[must_use]
            pub fn from_std(socket: $std) -> $type {
                $type {
                    socket: FdOwner::new(Datagrams::new(SharedFd::from(OwnedFd::from(socket)))),
                }
            }
        }

        fd_type! {
            $type, self => self.socket.fd(),
            from $std,
            $(#[$from])*
            fd => $type::from_std(fd.into())
        }
    };
}

pub(super) use datagram_socket;
