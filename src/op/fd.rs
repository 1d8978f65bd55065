//! A descriptor that several operations hold at once (O5).

use crate::sys::Descriptor;
use std::cell::RefCell;
use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// An open descriptor, shared. It closes when its last holder lets go, so its number is not used again while an operation
/// that works on it is in flight. Operations of your own hold one of these.
///
/// ```
/// use std::os::fd::AsRawFd;
///
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let file = gimmal::fs::File::open("Cargo.toml").await?;
///     let shared = file.shared_fd();
///     assert!(shared.as_raw_fd() >= 0);
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone)]
pub struct SharedFd {
    inner: Rc<Inner>,
}

struct Inner {
    descriptor: Descriptor,
    /// Who waits to be the last holder.
    closer: RefCell<Option<Waker>>,
}

impl SharedFd {
    pub(crate) fn new(descriptor: Descriptor) -> SharedFd {
        SharedFd {
            inner: Rc::new(Inner {
                descriptor,
                closer: RefCell::new(None),
            }),
        }
    }

    pub(crate) fn descriptor(&self) -> &Descriptor {
        &self.inner.descriptor
    }

    /// The descriptor itself, if nobody else holds it.
    pub(crate) fn try_unwrap(self) -> Result<Descriptor, SharedFd> {
        // The count is looked at first, because `drop` keeps the fields from being moved out.
        if Rc::strong_count(&self.inner) > 1 {
            return Err(self);
        }
        let inner = self.inner.clone();
        drop(self);
        match Rc::try_unwrap(inner) {
            Ok(inner) => Ok(inner.descriptor),
            Err(inner) => Err(SharedFd { inner }),
        }
    }

    /// Ready when nobody else holds it.
    pub(crate) fn poll_last(&self, context: &mut Context<'_>) -> Poll<()> {
        if Rc::strong_count(&self.inner) == 1 {
            return Poll::Ready(());
        }
        let waker = context.waker().clone();
        drop(self.inner.closer.replace(Some(waker)));
        Poll::Pending
    }
}

impl AsRawFd for SharedFd {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.descriptor.raw()
    }
}

impl From<OwnedFd> for SharedFd {
    fn from(fd: OwnedFd) -> SharedFd {
        SharedFd::new(Descriptor::from(fd))
    }
}

impl Drop for SharedFd {
    #[inline]
    fn drop(&mut self) {
        // Two are left, this one and the one that waits to be the last.
        if Rc::strong_count(&self.inner) == 2 {
            let closer = self.inner.closer.take();
            if let Some(waker) = closer {
                waker.wake();
            }
        }
    }
}

impl fmt::Debug for SharedFd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedFd").field(&self.as_raw_fd()).finish()
    }
}
