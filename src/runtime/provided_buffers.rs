//! The ring of provided buffers of a runtime, and how much is received into them.

use super::core::Core;
use crate::sys::{BufRing, Opcode};
use std::cell::{Cell, OnceCell};
use std::sync::Arc;

/// The one group of provided buffers of a runtime's ring.
pub(crate) const BUFFER_GROUP: u16 = 0;

/// The most bytes that are received for one connection before anybody asks for them.
pub(crate) const READ_AHEAD_MAX: usize = 64 << 10;

/// What a runtime keeps for receives that lend no buffer.
pub(super) struct Receiving {
    /// Not there before the first such receive, and empty where the kernel has none or gives none.
    buffers: OnceCell<Option<Arc<BufRing>>>,
    /// The kernel has refused to bound a multishot receive.
    is_unbounded: Cell<bool>,
}

impl Receiving {
    pub(super) const fn new() -> Receiving {
        Receiving {
            buffers: OnceCell::new(),
            is_unbounded: Cell::new(false),
        }
    }
}

impl Core {
    /// The ring of provided buffers, made when it is first asked for. `None` if the kernel has none, or has no memory for
    /// it (`RLIMIT_MEMLOCK`).
    pub(crate) fn receive_buffers(&self) -> Option<Arc<BufRing>> {
        self.receiving
            .buffers
            .get_or_init(|| self.provide_buffers())
            .clone()
    }

    #[cold]
    fn provide_buffers(&self) -> Option<Arc<BufRing>> {
        // A multishot receive is of 6.0, as is this opcode, and the probe knows opcodes only.
        if !self.is_open() || self.is_forked() || !self.supports(Opcode::SEND_ZC) {
            return None;
        }
        let ring = Arc::new(BufRing::new(self.settings.receive_buffers).ok()?);
        let driver = self.driver.borrow();
        driver.ring().provide(BUFFER_GROUP, &ring).ok()?;
        Some(ring)
    }

    /// The kernel takes none of them from now on. What is out can still be looked at and given back: the memory goes when
    /// nobody has any of it.
    pub(super) fn withdraw_buffers(&self) {
        if let Some(Some(_)) = self.receiving.buffers.get() {
            self.driver.borrow().ring().withdraw(BUFFER_GROUP);
        }
    }

    /// Buffers that were filled, and have not been given back.
    pub(super) fn receive_buffers_out(&self) -> usize {
        match self.receiving.buffers.get() {
            Some(Some(ring)) => ring.out(),
            _ => 0,
        }
    }

    /// How many bytes one receive asks for that lends no buffer.
    pub(crate) fn receive_size(&self) -> usize {
        self.settings.receive_buffers.size().min(READ_AHEAD_MAX)
    }

    /// Whether the kernel ends a multishot receive after a given number of bytes (6.17). No feature bit tells: a kernel without
    /// the newest opcode of the version before cannot, and one that refuses fails the first such receive.
    pub(crate) fn bounds_receives(&self) -> bool {
        self.supports(Opcode::PIPE) && !self.receiving.is_unbounded.get()
    }

    /// It does not.
    #[cold]
    pub(crate) fn note_unbounded_receives(&self) {
        self.receiving.is_unbounded.set(true);
    }
}
