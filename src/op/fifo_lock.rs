//! One operation at a time: the order in which bytes go through one direction of a stream.
//!
//! The kernel answers two receives of one socket in either order, and a receive that was dropped lives until its last
//! completion. So the operations of each direction pass a gate: the next one begins when the one before has ended, also
//! if nobody waits for that one any more (C8).
//!
//! Whoever goes hands the gate to the one that has waited longest, so a task that writes in a loop starves nobody.

use super::Prepared;
use crate::runtime;
use crate::scope::Canceled;
use crate::tasks::copy_waker;
use crate::wait_queue::{Ticket, WaitQueue};
use std::cell::{Cell, RefCell};
use std::task::Waker;

/// Lets one through at a time, in the order in which they came, until it is closed.
#[derive(Debug, Default)]
pub(super) struct FifoLock {
    is_taken: Cell<bool>,
    /// Its owner closes what is behind it: nobody begins any more.
    is_closed: Cell<bool>,
    /// Who has been let in, and has not come as yet.
    admitted: Cell<Option<Ticket>>,
    waiting: RefCell<WaitQueue<Waker>>,
}

/// Where one stands that wants to go through a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    Outside,
    /// In line, with this ticket.
    Waiting(Ticket),
    Inside,
}

impl FifoLock {
    /// A gate that lets nobody in: at it one only waits until it closes.
    pub(super) fn taken() -> FifoLock {
        FifoLock {
            is_taken: Cell::new(true),
            ..FifoLock::default()
        }
    }

    /// Why an operation that is to pass here may not be started, if that is so.
    #[inline]
    pub(super) fn prepare(&self, spot: &mut Position, waker: &Waker) -> Option<Prepared> {
        if let Some(closed) = self.check_open() {
            return Some(closed);
        }
        (!self.enter(spot, waker)).then_some(Prepared::Wait)
    }

    /// Nobody begins if it is closed, not even who need not stand in line.
    #[inline]
    pub(super) fn check_open(&self) -> Option<Prepared> {
        let is_closed = self.is_closed.get();
        is_closed.then(|| Prepared::Failed(Canceled.into()))
    }

    /// Goes through, if it is this one's turn. Else `waker` is woken when it is, and is to ask again.
    #[inline]
    pub(super) fn enter(&self, spot: &mut Position, waker: &Waker) -> bool {
        match *spot {
            Position::Inside => return true,
            Position::Outside if !self.is_taken.replace(true) => *spot = Position::Inside,
            _ => self.wait(spot, waker),
        }
        *spot == Position::Inside
    }

    #[cold]
    fn wait(&self, spot: &mut Position, waker: &Waker) {
        // A foreign waker's clone is a user's code: it runs before the list is borrowed (R1).
        let waker = copy_waker(waker);
        let needless = match *spot {
            Position::Waiting(ticket) if self.admitted.get() == Some(ticket) => {
                self.admitted.set(None);
                *spot = Position::Inside;
                self.waiting.borrow_mut().remove(ticket);
                Some(waker)
            }
            // A ticket that has not been let in is in line.
            Position::Waiting(ticket) => self.waiting.borrow_mut().renew(ticket, waker),
            Position::Outside | Position::Inside => {
                *spot = Position::Waiting(self.waiting.borrow_mut().push(waker));
                None
            }
        };
        runtime::drop_waker(needless);
    }

    /// Lets nobody begin any more. All that wait ask again, and are told so; until then they stay in line.
    pub(super) fn close(&self) {
        self.is_closed.set(true);
        let mut woken = Vec::new();
        self.waiting
            .borrow_mut()
            .each(|waker| woken.push(std::mem::replace(waker, Waker::noop().clone())));
        runtime::wake_all(woken);
    }

    /// Whoever stands there goes, and stands in nobody's way.
    #[inline]
    pub(super) fn leave(&self, spot: Position) {
        match spot {
            Position::Outside => {}
            Position::Inside => self.admit(),
            Position::Waiting(ticket) => self.give_up(ticket),
        }
    }

    #[cold]
    fn give_up(&self, ticket: Ticket) {
        let left = self.waiting.borrow_mut().remove(ticket);
        runtime::drop_waker(left);
        if self.admitted.get() == Some(ticket) {
            self.admitted.set(None);
            self.admit();
        }
    }

    /// Nobody is inside: the next one may come.
    #[inline]
    fn admit(&self) {
        debug_assert!(self.is_taken.get() && self.admitted.get().is_none());
        let next = self.waiting.borrow_mut().take_first();
        match next {
            None => self.is_taken.set(false),
            Some((ticket, waker)) => {
                self.admitted.set(Some(ticket));
                runtime::wake_all(vec![waker]);
            }
        }
    }
}
