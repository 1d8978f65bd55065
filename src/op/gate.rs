//! One operation at a time: the order in which bytes go through one direction of a stream.
//!
//! The kernel answers two receives of one socket in either order, and a receive that was dropped lives until its last
//! completion. So the operations of each direction pass a gate: the next one begins when the one before has ended, also
//! if nobody waits for that one any more (C8).

use crate::runtime;
use crate::tasks::copy_waker;
use std::cell::{Cell, RefCell};
use std::task::Waker;

/// Lets one through at a time, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    is_taken: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl Gate {
    /// Goes through, if nobody is inside. Else `waker` is woken when somebody leaves, and is to ask again.
    #[inline]
    pub(crate) fn enter(&self, waker: &Waker) -> bool {
        if !self.is_taken.replace(true) {
            return true;
        }
        self.wait(waker);
        false
    }

    #[cold]
    fn wait(&self, waker: &Waker) {
        // A foreign waker's clone is a user's code: it runs before the list is borrowed (R1).
        let waker = copy_waker(waker);
        let known = |kept: &Waker| kept.will_wake(&waker);
        if self.waiting.borrow().iter().any(known) {
            return runtime::drop_waker(Some(waker));
        }
        self.waiting.borrow_mut().push(waker);
    }

    /// Whoever is inside goes. All that wait are woken: one that does not want to enter any more stands in nobody's way.
    #[inline]
    pub(crate) fn leave(&self) {
        debug_assert!(self.is_taken.get());
        self.is_taken.set(false);
        if !self.waiting.borrow().is_empty() {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        runtime::wake_all(self.waiting.take());
    }
}
