//! A descriptor shared by several operations (O5).

mod idle;
mod ordered;
mod owner;
mod poll;

pub(crate) use idle::idle;
pub(crate) use ordered::{Lane, Ordered, OrderedFd, Permit};
pub(crate) use owner::FdOwner;
pub use poll::PollAdd;

use crate::op::file::ReadHint;
use crate::sys::Descriptor;
use std::cell::Cell;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;

/// An open descriptor, shared by reference count. It is closed when its last holder drops it, so its number is not
/// reused while an operation on it is in flight. Operations of your own should hold one.
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
    open: Rc<OpenFd>,
}

struct OpenFd {
    descriptor: Descriptor,
    read_hint: ReadHint,
    /// Its owner is gone: only operations hold it, and copies that the user requested.
    is_ownerless: Cell<bool>,
}

impl SharedFd {
    pub(crate) fn new(descriptor: Descriptor) -> SharedFd {
        SharedFd {
            open: Rc::new(OpenFd {
                descriptor,
                read_hint: ReadHint::new(),
                is_ownerless: Cell::new(false),
            }),
        }
    }

    pub(crate) fn descriptor(&self) -> &Descriptor {
        &self.open.descriptor
    }

    pub(in crate::op) fn read_hint(&self) -> &ReadHint {
        &self.open.read_hint
    }

    /// Whether its owner is gone. If so, dropping an operation on it ends that operation at once.
    pub(crate) fn is_ownerless(&self) -> bool {
        self.open.is_ownerless.get()
    }

    pub(in crate::op) fn set_ownerless(&self, is_ownerless: bool) {
        self.open.is_ownerless.set(is_ownerless);
    }

    /// Whether there is no other holder.
    pub(crate) fn is_sole(&self) -> bool {
        Rc::strong_count(&self.open) == 1
    }

    /// Returns the descriptor itself, if there is no other holder.
    pub(crate) fn try_unwrap(self) -> Result<Descriptor, SharedFd> {
        let open = Rc::try_unwrap(self.open).map_err(|open| SharedFd { open })?;
        Ok(open.descriptor)
    }
}

impl AsRawFd for SharedFd {
    fn as_raw_fd(&self) -> RawFd {
        self.open.descriptor.raw()
    }
}

impl AsFd for SharedFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.open.descriptor.borrowed()
    }
}

impl From<OwnedFd> for SharedFd {
    fn from(fd: OwnedFd) -> SharedFd {
        SharedFd::new(Descriptor::from(fd))
    }
}

impl fmt::Debug for SharedFd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedFd").field(&self.as_raw_fd()).finish()
    }
}

/// Implements access to the descriptor of a type and, with `from`, the conversions from std's type and from a
/// descriptor.
macro_rules! fd_type {
    ($type:ty, $self:ident => $fd:expr) => {
        impl std::os::fd::AsRawFd for $type {
            fn as_raw_fd(&$self) -> std::os::fd::RawFd {
                std::os::fd::AsRawFd::as_raw_fd($fd)
            }
        }

        impl std::os::fd::AsFd for $type {
            fn as_fd(&$self) -> std::os::fd::BorrowedFd<'_> {
                std::os::fd::AsFd::as_fd($fd)
            }
        }
    };
    ($type:ident, $self:ident => $fd:expr, from $std:ty, $(#[$doc:meta])* $owned:ident => $new:expr) => {
        crate::op::fd_type! { $type, $self => $fd }

        impl From<$std> for $type {
            fn from(std: $std) -> $type {
                $type::from_std(std)
            }
        }

        $(#[$doc])*
        impl From<std::os::fd::OwnedFd> for $type {
            fn from($owned: std::os::fd::OwnedFd) -> $type {
                $new
            }
        }
    };
}

pub(crate) use fd_type;
