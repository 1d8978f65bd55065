//! One operation at a time: the order in which bytes pass through one direction of a stream.
//!
//! The kernel may complete two receives on one socket in either order, and a dropped receive lives until its last
//! completion. So each direction has a lock: an operation starts only when the one before it has ended, even if that
//! one is no longer awaited (C8).
//!
//! Releasing the lock hands it to the longest waiter, so a task that writes in a loop starves nobody.

use super::Readiness;
use crate::error::Canceled;
use crate::runtime;
use crate::tasks::copy_waker;
use crate::wait_queue::{Ticket, WaitQueue};
use std::cell::{Cell, RefCell};
use std::io;
use std::task::Waker;

/// A lock that is granted in order of arrival, until it is closed.
#[derive(Debug, Default)]
pub(crate) struct FifoLock {
    is_taken: Cell<bool>,
    /// The owner is closing what the lock guards: no operation may start any more.
    is_closed: Cell<bool>,
    /// The waiter that was granted the lock but has not taken it yet.
    granted: Cell<Option<Ticket>>,
    waiting: RefCell<WaitQueue<Waker>>,
}

/// A waiter's state in the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    Outside,
    /// In line, with this ticket.
    Waiting(Ticket),
    Inside,
}

impl FifoLock {
    /// Creates a lock that is never granted: waiting for it only ends when it closes.
    pub(super) fn taken() -> FifoLock {
        FifoLock {
            is_taken: Cell::new(true),
            ..FifoLock::default()
        }
    }

    /// Returns why an operation that needs the lock must not be started now, or `None` if it has the lock.
    #[inline]
    pub(super) fn prepare(&self, position: &mut Position, waker: &Waker) -> Option<Readiness> {
        if let Some(closed) = self.check_open() {
            return Some(closed);
        }
        (!self.enter(position, waker)).then_some(Readiness::Wait)
    }

    /// Returns a failure if the lock is closed. Also for operations that do not need the lock.
    #[inline]
    pub(super) fn check_open(&self) -> Option<Readiness> {
        let is_closed = self.is_closed.get();
        is_closed.then(|| Readiness::Failed(Canceled.into()))
    }

    /// Returns `WouldBlock` if an operation has the lock or waits for it: a call that never waits must not go first.
    pub(super) fn check_free(&self) -> io::Result<()> {
        match self.is_taken.get() {
            true => Err(io::ErrorKind::WouldBlock.into()),
            false => Ok(()),
        }
    }

    /// Takes the lock, if it is this waiter's turn. Otherwise `waker` is woken when it is, to call this again.
    #[inline]
    pub(super) fn enter(&self, position: &mut Position, waker: &Waker) -> bool {
        match *position {
            Position::Inside => return true,
            Position::Outside if !self.is_taken.replace(true) => *position = Position::Inside,
            _ => self.wait(position, waker),
        }
        *position == Position::Inside
    }

    #[cold]
    fn wait(&self, position: &mut Position, waker: &Waker) {
        // Cloning a foreign waker runs user code, so it happens before the list is borrowed (R1). That may have released
        // the lock.
        let waker = copy_waker(waker);
        let needless = match *position {
            Position::Outside if !self.is_taken.replace(true) => {
                *position = Position::Inside;
                Some(waker)
            }
            Position::Waiting(ticket) if self.granted.get() == Some(ticket) => {
                self.granted.set(None);
                *position = Position::Inside;
                self.waiting.borrow_mut().remove(ticket);
                Some(waker)
            }
            // A ticket that was not granted the lock is still in line.
            Position::Waiting(ticket) => self.waiting.borrow_mut().renew(ticket, waker),
            Position::Outside | Position::Inside => {
                *position = Position::Waiting(self.waiting.borrow_mut().push(waker));
                None
            }
        };
        runtime::drop_waker(needless);
    }

    /// Closes the lock. All waiters are woken and fail when they ask again; until then they stay in line.
    pub(super) fn close(&self) {
        self.is_closed.set(true);
        let mut woken = Vec::new();
        self.waiting
            .borrow_mut()
            .each(|waker| woken.push(std::mem::replace(waker, Waker::noop().clone())));
        runtime::wake_all(woken);
    }

    /// Releases the lock, or leaves the line.
    #[inline]
    pub(super) fn leave(&self, position: Position) {
        match position {
            Position::Outside => {}
            Position::Inside => self.grant(),
            Position::Waiting(ticket) => self.give_up(ticket),
        }
    }

    #[cold]
    fn give_up(&self, ticket: Ticket) {
        let left = self.waiting.borrow_mut().remove(ticket);
        runtime::drop_waker(left);
        if self.granted.get() == Some(ticket) {
            self.granted.set(None);
            self.grant();
        }
    }

    /// Grants the free lock to the next waiter.
    #[inline]
    fn grant(&self) {
        debug_assert!(self.is_taken.get() && self.granted.get().is_none());
        let is_wanted = !self.waiting.borrow().is_empty();
        if is_wanted {
            self.grant_first();
        } else {
            self.is_taken.set(false);
        }
    }

    #[cold]
    fn grant_first(&self) {
        let first = self.waiting.borrow_mut().take_first();
        if let Some((ticket, waker)) = first {
            self.granted.set(Some(ticket));
            runtime::wake_all(vec![waker]);
        }
    }
}
