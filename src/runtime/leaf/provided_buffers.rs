//! The runtime's ring of provided buffers, and the limits of receives into them.

use crate::runtime::core::Core;
use crate::sys::{BufRing, BufSizes, Features, Port};
use std::cell::{Cell, OnceCell};
use std::sync::Arc;

/// The one group of provided buffers of a runtime's ring.
pub(crate) const BUFFER_GROUP: u16 = 0;

/// The most bytes that are received for one connection before a task requests them.
pub(crate) const READ_AHEAD_MAX: usize = 64 << 10;

/// The runtime's state for receives that lend no buffer.
pub(crate) struct ProvidedBuffers {
    sizes: BufSizes,
    /// Unset before the first such receive; `None` if the kernel does not support provided buffers or has no memory for
    /// them.
    buffers: OnceCell<Option<Arc<BufRing>>>,
    /// Whether the kernel has rejected a bounded multishot receive.
    is_unbounded: Cell<bool>,
}

impl ProvidedBuffers {
    pub(in crate::runtime) const fn new(sizes: BufSizes) -> ProvidedBuffers {
        ProvidedBuffers {
            sizes,
            buffers: OnceCell::new(),
            is_unbounded: Cell::new(false),
        }
    }

    /// Returns the number of buffers that were filled and have not been returned.
    pub(in crate::runtime) fn out(&self) -> usize {
        let ring = self.buffers.get().and_then(Option::as_ref);
        ring.map_or(0, |ring| ring.out())
    }

    /// Returns how many bytes a receive that lends no buffer requests.
    pub(crate) fn receive_size(&self) -> usize {
        self.sizes.size().min(READ_AHEAD_MAX)
    }

    /// Records that the kernel does not bound multishot receives.
    #[cold]
    pub(crate) fn note_unbounded(&self) {
        self.is_unbounded.set(true);
    }
}

impl Core {
    /// Returns the ring of provided buffers, which the first call creates. `None` if the kernel does not support it, or
    /// has no memory for it (`RLIMIT_MEMLOCK`).
    pub(crate) fn receive_buffers(&self) -> Option<Arc<BufRing>> {
        self.provided
            .buffers
            .get_or_init(|| self.provide_buffers())
            .clone()
    }

    #[cold]
    fn provide_buffers(&self) -> Option<Arc<BufRing>> {
        if !self.is_open() || self.is_forked() || !self.has(Features::MULTISHOT_RECV) {
            return None;
        }
        let ring = Arc::new(BufRing::new(self.provided.sizes).ok()?);
        let provided = self.driver.borrow_mut().ring.provide(BUFFER_GROUP, &ring);
        provided.is_ok().then_some(ring)
    }

    /// Unregisters the buffers, so that the kernel fills no more of them. Chunks that hold one stay valid; the memory is
    /// freed when the last is dropped.
    pub(in crate::runtime) fn withdraw_buffers(&self) {
        if let Some(Some(_)) = self.provided.buffers.get() {
            self.driver.borrow_mut().ring.withdraw(BUFFER_GROUP);
        }
    }

    /// Whether the ring ends a multishot receive after a given number of bytes. A kernel may have been taken for one that
    /// does: then the first such receive has failed.
    pub(crate) fn bounds_receives(&self) -> bool {
        self.has(Features::RECV_BOUND) && !self.provided.is_unbounded.get()
    }
}
