//! The ring of provided buffers of a runtime, and who has filled ones that nobody has asked for.

use super::core::Core;
use crate::sys::{BufRing, Opcode};
use crate::table::{Key, Table};
use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Weak;
use std::sync::Arc;
use std::task::Waker;

/// The one group of provided buffers of a runtime's ring.
pub(crate) const BUFFER_GROUP: u16 = 0;

/// Something that collects filled buffers until it is asked for them.
pub(crate) trait Collects {
    /// Copies what it has, and gives the buffers back. Who is to be woken for that goes to `woken`: nothing of a user runs
    /// in here (R1).
    fn spill(&self, woken: &mut Vec<Waker>);
}

/// What a runtime keeps for receives that lend no buffer.
pub(super) struct Receiving {
    /// Not there before the first such receive, and empty where the kernel has none or gives none.
    buffers: OnceCell<Option<Arc<BufRing>>>,
    collecting: RefCell<Table<Weak<dyn Collects>>>,
    /// The turn in which they were copied last.
    spilled_in: Cell<u64>,
}

impl Receiving {
    pub(super) const fn new() -> Receiving {
        Receiving {
            buffers: OnceCell::new(),
            collecting: RefCell::new(Table::new()),
            spilled_in: Cell::new(0),
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
        if !self.is_open() || self.is_child() || !self.supports(Opcode::SEND_ZC) {
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
        self.settings.receive_buffers.size()
    }

    /// This one collects from now on.
    pub(crate) fn begin_collecting(&self, collector: Weak<dyn Collects>) -> Key {
        self.receiving.collecting.borrow_mut().insert(collector)
    }

    pub(crate) fn end_collecting(&self, key: Key) {
        self.receiving.collecting.borrow_mut().remove(key);
    }

    /// There are no buffers left: those that were filled and that nobody has asked for are copied, so that only a user can
    /// hold others up.
    #[cold]
    pub(crate) fn spill(&self) {
        // What is there was there when the turn began.
        let turn = self.turns.get();
        if self.receiving.spilled_in.replace(turn) == turn {
            return;
        }
        let mut woken = Vec::new();
        for (_, collector) in self.receiving.collecting.borrow().iter() {
            if let Some(collector) = collector.upgrade() {
                collector.spill(&mut woken);
            }
        }
        self.wake_all(&mut woken);
    }
}
