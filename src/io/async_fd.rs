//! Waiting until any descriptor is ready: for what has no type here.

use crate::op::{Op, Owned, PollAdd, SharedFd};
use crate::sys::with_context;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

/// Waits until a descriptor can be read or written: an eventfd, a timerfd, an inotify, a netlink socket, a library's own
/// descriptor. What is done with it then is the caller's business.
///
/// It has a second descriptor of the same open file, made by `dup(2)`, so what becomes of the first one while a wait is in
/// the kernel does no harm (O5).
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
    fd: Owned<SharedFd>,
}

impl<T: AsFd> AsyncFd<T> {
    /// For whatever has a descriptor.
    ///
    /// # Errors
    ///
    /// What `dup(2)` says: that there are too many descriptors.
    pub fn new(inner: T) -> io::Result<AsyncFd<T>> {
        let fd = inner.as_fd().try_clone_to_owned();
        let fd = fd.map_err(|error| with_context(error, "duplicate the descriptor to wait on"))?;
        Ok(AsyncFd {
            inner,
            fd: Owned::new(SharedFd::from(fd)),
        })
    }

    /// Until it can be read without waiting; also if what would be read is its end or an error. If it can be read already,
    /// that is at once. Several waits may be in flight, of both kinds.
    ///
    /// # Errors
    ///
    /// What `poll(2)` says; [`Canceled`](crate::Canceled).
    ///
    /// # Cancel safety
    ///
    /// It takes nothing from the descriptor: there is nothing to lose (`tests/async_fd.rs`).
    pub fn readable(&self) -> Op<PollAdd> {
        PollAdd::readable(self.fd.clone())
    }

    /// Until it can be written without waiting; also if that would fail. Otherwise as [`readable`](AsyncFd::readable).
    ///
    /// # Errors
    ///
    /// Those of [`readable`](AsyncFd::readable).
    ///
    /// # Cancel safety
    ///
    /// As [`readable`](AsyncFd::readable) (`tests/async_fd.rs`).
    pub fn writable(&self) -> Op<PollAdd> {
        PollAdd::writable(self.fd.clone())
    }

    /// Reads by a call of your own as soon as that need not wait: until it says something else than `WouldBlock`. The
    /// descriptor is to be non-blocking, for others may read it first.
    ///
    /// # Errors
    ///
    /// Those of [`readable`](AsyncFd::readable), and of the call.
    ///
    /// # Cancel safety
    ///
    /// The call is made only to be returned from at once: either it was not made, or its result is given
    /// (`tests/async_fd.rs`).
    pub async fn read_with<V>(&self, mut read: impl FnMut(&T) -> io::Result<V>) -> io::Result<V> {
        loop {
            self.readable().await?;
            match read(&self.inner) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }

    /// Writes by a call of your own as soon as that need not wait. Otherwise as [`read_with`](AsyncFd::read_with).
    ///
    /// # Errors
    ///
    /// Those of [`writable`](AsyncFd::writable), and of the call.
    ///
    /// # Cancel safety
    ///
    /// As [`read_with`](AsyncFd::read_with) (`tests/async_fd.rs`).
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
    /// What it was made from.
    pub fn get_ref(&self) -> &T {
        &self.inner
    }

    /// What it was made from.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.inner
    }

    /// What it was made from.
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
