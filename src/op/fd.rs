//! A descriptor that several operations hold at once (O5).

use super::cached::Cached;
use crate::sys::Descriptor;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;

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
    shared: Rc<Shared>,
}

struct Shared {
    descriptor: Descriptor,
    cached: Cached,
}

impl SharedFd {
    pub(crate) fn new(descriptor: Descriptor) -> SharedFd {
        let cached = Cached::new();
        SharedFd {
            shared: Rc::new(Shared { descriptor, cached }),
        }
    }

    pub(crate) fn descriptor(&self) -> &Descriptor {
        &self.shared.descriptor
    }

    pub(super) fn cached(&self) -> &Cached {
        &self.shared.cached
    }

    /// Whether nobody else holds it.
    pub(crate) fn is_sole(&self) -> bool {
        Rc::strong_count(&self.shared) == 1
    }

    /// The descriptor itself, if nobody else holds it.
    pub(crate) fn try_unwrap(self) -> Result<Descriptor, SharedFd> {
        let unwrapped = Rc::try_unwrap(self.shared);
        unwrapped.map_or_else(
            |shared| Err(SharedFd { shared }),
            |sole| Ok(sole.descriptor),
        )
    }
}

impl AsRawFd for SharedFd {
    fn as_raw_fd(&self) -> RawFd {
        self.descriptor().raw()
    }
}

impl AsFd for SharedFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor().borrowed()
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
