//! Waiting for the readiness of any descriptor, for kinds that have no type in this crate.

use crate::op::{FdOwner, Op, PollAdd, SharedFd};
use crate::sys::with_context;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

/// Waits until a descriptor is readable or writable: an eventfd, a timerfd, an inotify instance, a netlink socket, a
/// library's own descriptor. The caller then reads or writes it.
///
/// It waits on a duplicate of the descriptor, made by `dup(2)`, so closing or reusing the original while a wait is in
/// the kernel does no harm.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::io::AsyncFd;
/// use std::io::Read;
/// use std::os::unix::net::UnixStream;
///
/// gimmal::run(async {
///     let (left, right) = UnixStream::pair()?;
///     left.set_nonblocking(true)?;
///     let left = AsyncFd::new(left)?;
///     std::io::Write::write_all(&mut &right, b"hello")?;
///     let mut buffer = [0; 16];
///     let n = left.read_with(|mut left| left.read(&mut buffer)).await?;
///     assert_eq!(&buffer[..n], b"hello");
///     Ok(())
/// })
/// # }
/// ```
#[derive(Debug)]
pub struct AsyncFd<T> {
    inner: T,
    fd: FdOwner<SharedFd>,
}

impl<T: AsFd> AsyncFd<T> {
    /// Wraps any value that has a descriptor.
    ///
    /// # Errors
    ///
    /// If no descriptor is left (`EMFILE`).
    pub fn new(inner: T) -> io::Result<AsyncFd<T>> {
        let fd = inner.as_fd().try_clone_to_owned();
        let fd = fd.map_err(|error| with_context(error, "duplicate the descriptor to wait on"))?;
        Ok(AsyncFd {
            inner,
            fd: FdOwner::new(SharedFd::from(fd)),
        })
    }

    /// Waits until a read would not block, including when it would return end of file or an error. Completes at once if
    /// the descriptor is already readable. Several waits, for reading and for writing, may be in flight.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::io::AsyncFd;
    /// use std::net::UdpSocket;
    ///
    /// gimmal::run(async {
    ///     let socket = AsyncFd::new(UdpSocket::bind("127.0.0.1:0")?)?;
    ///     let to = socket.get_ref().local_addr()?;
    ///     UdpSocket::bind("127.0.0.1:0")?.send_to(b"hello", to)?;
    ///     socket.readable().await?;
    ///     assert_eq!(socket.get_ref().recv(&mut [0; 16])?, 5);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Canceled`](crate::Canceled); ENOMEM if the kernel has no memory for the wait. An error of the descriptor
    /// itself makes it readable, and the read returns it.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: the wait takes nothing from the descriptor.
    // Test: tests/io/async_fd.rs
    pub fn readable(&self) -> Op<PollAdd> {
        PollAdd::readable(self.fd.clone())
    }

    /// Waits until a write would not block, including when it would fail. Otherwise as [`readable`](AsyncFd::readable).
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::io::AsyncFd;
    /// use std::io::{ErrorKind, Write, copy, sink};
    /// use std::os::unix::net::UnixStream;
    ///
    /// gimmal::run(async {
    ///     let (left, right) = UnixStream::pair()?;
    ///     left.set_nonblocking(true)?;
    ///     right.set_nonblocking(true)?;
    ///     // Fill it up, and let the other side read everything.
    ///     let left = AsyncFd::new(left)?;
    ///     while left.get_ref().write(&[0; 4096]).is_ok() {}
    ///     let error = copy(&mut &right, &mut sink()).unwrap_err();
    ///     assert_eq!(error.kind(), ErrorKind::WouldBlock);
    ///     left.writable().await?;
    ///     assert_eq!(left.get_ref().write(b"more")?, 4);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`readable`](AsyncFd::readable).
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: the wait writes nothing.
    // Test: tests/io/async_fd.rs
    pub fn writable(&self) -> Op<PollAdd> {
        PollAdd::writable(self.fd.clone())
    }

    /// Waits until the descriptor is readable, then calls `read`, and repeats while that returns `WouldBlock`. The
    /// descriptor must be nonblocking, because others may read it first.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::io::AsyncFd;
    /// use std::net::UdpSocket;
    ///
    /// gimmal::run(async {
    ///     let socket = UdpSocket::bind("127.0.0.1:0")?;
    ///     socket.set_nonblocking(true)?;
    ///     let socket = AsyncFd::new(socket)?;
    ///     let to = socket.get_ref().local_addr()?;
    ///     let sent = gimmal::spawn(async move { UdpSocket::bind("127.0.0.1:0")?.send_to(b"hello", to) });
    ///     let mut buffer = [0; 16];
    ///     let (n, _from) = socket.read_with(|socket| socket.recv_from(&mut buffer)).await?;
    ///     assert_eq!(&buffer[..n], b"hello");
    ///     assert_eq!(sent.await??, 5);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`readable`](AsyncFd::readable); those that `read` returns, except `WouldBlock`.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost. Nothing is awaited after a successful call of `read`: either no call has succeeded, or its
    /// result is returned.
    // Test: tests/io/async_fd.rs
    pub async fn read_with<V>(&self, mut read: impl FnMut(&T) -> io::Result<V>) -> io::Result<V> {
        loop {
            self.readable().await?;
            match read(&self.inner) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }

    /// Waits until the descriptor is writable, then calls `write`, and repeats while that returns `WouldBlock`.
    /// Otherwise as [`read_with`](AsyncFd::read_with).
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::io::AsyncFd;
    /// use std::io::{Read, Write};
    /// use std::os::unix::net::UnixStream;
    ///
    /// gimmal::run(async {
    ///     let (left, mut right) = UnixStream::pair()?;
    ///     left.set_nonblocking(true)?;
    ///     let left = AsyncFd::new(left)?;
    ///     let n = left.write_with(|mut left| left.write(b"hello")).await?;
    ///     let mut text = vec![0; n];
    ///     right.read_exact(&mut text)?;
    ///     assert_eq!(text, b"hello");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`writable`](AsyncFd::writable); those that `write` returns, except `WouldBlock`.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost. Nothing is awaited after a successful call of `write`: either no call has succeeded, or its
    /// result is returned.
    // Test: tests/io/async_fd.rs
    pub async fn write_with<V>(&self, mut write: impl FnMut(&T) -> io::Result<V>) -> io::Result<V> {
        loop {
            self.writable().await?;
            match write(&self.inner) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }
}

impl<T> AsyncFd<T> {
    /// Returns a reference to the wrapped value.
    pub fn get_ref(&self) -> &T {
        &self.inner
    }

    /// Returns a mutable reference to the wrapped value.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.inner
    }

    /// Returns the wrapped value.
    pub fn into_inner(self) -> T {
        self.inner
    }
}

impl<T: AsFd> AsFd for AsyncFd<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl<T: AsFd> AsRawFd for AsyncFd<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}
