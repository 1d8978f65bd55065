//! The owner of a descriptor that is shared with operations (O5).
//!
//! A descriptor that is dropped with operations in flight would stay open until the next turn: its address could not be
//! bound again, and its peer would not see the end. So dropping the owner ends the operations that were dropped before
//! it, and dropping an operation after its owner ends that operation: see [`Core::end_orphans`]. An operation that is
//! still awaited goes on and keeps its descriptor.
//!
//! [`Core::end_orphans`]: crate::runtime::Core::end_orphans

use super::{Ordered, OrderedFd};
use crate::buf::BufError;
use crate::op::{SharedFd, busy};
use crate::runtime;
use crate::sys::Descriptor;
use std::fmt;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// The share that operations hold while they work on a descriptor.
pub(crate) trait Share: Clone {
    fn shared_fd(&self) -> &SharedFd;

    /// Whether there is no other holder.
    fn is_sole(&self) -> bool;

    /// Returns the descriptor itself, if nothing else needs the share.
    fn try_into_descriptor(self) -> Result<Descriptor, Self>;
}

impl Share for SharedFd {
    fn shared_fd(&self) -> &SharedFd {
        self
    }

    fn is_sole(&self) -> bool {
        SharedFd::is_sole(self)
    }

    fn try_into_descriptor(self) -> Result<Descriptor, SharedFd> {
        self.try_unwrap()
    }
}

impl<K: Ordered> Share for Rc<OrderedFd<K>> {
    fn shared_fd(&self) -> &SharedFd {
        self.fd()
    }

    fn is_sole(&self) -> bool {
        Rc::strong_count(self) == 1 && self.fd().is_sole()
    }

    fn try_into_descriptor(self) -> Result<Descriptor, Self> {
        OrderedFd::try_into_descriptor(self)
    }
}

/// The owner's share, of which there is one.
pub(crate) struct FdOwner<T: Share> {
    share: T,
    is_released: bool,
}

impl<T: Share> FdOwner<T> {
    pub(crate) fn new(share: T) -> FdOwner<T> {
        share.shared_fd().set_ownerless(false);
        FdOwner {
            share,
            is_released: false,
        }
    }

    /// Gives up ownership: returns a share without an owner, to be closed, handed out, or owned again.
    pub(crate) fn release(mut self) -> T {
        self.is_released = true;
        self.share.shared_fd().set_ownerless(true);
        self.share.clone()
    }

    /// Converts it into std's type, or returns an error with the owner if the descriptor is in use: `why` describes
    /// that.
    pub(crate) fn into_std<S: From<OwnedFd>, O>(
        self,
        why: &'static str,
        owner: impl FnOnce(FdOwner<T>) -> O,
    ) -> Result<S, BufError<O>> {
        match self.release().try_into_descriptor() {
            Ok(descriptor) => Ok(descriptor.into_owned().into()),
            Err(share) => Err(BufError::new(busy(why), owner(FdOwner::new(share)))),
        }
    }
}

impl<T: Share> Deref for FdOwner<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.share
    }
}

impl<T: Share> Drop for FdOwner<T> {
    #[inline]
    fn drop(&mut self) {
        if !self.share.is_sole() && !self.is_released {
            orphan(self.share.shared_fd());
        }
    }
}

/// Marks the owner as gone: operations hold the descriptor, and the last of them closes it.
#[cold]
fn orphan(fd: &SharedFd) {
    fd.set_ownerless(true);
    runtime::end_orphans();
}

impl<T: Share + fmt::Debug> fmt::Debug for FdOwner<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.share.fmt(f)
    }
}
