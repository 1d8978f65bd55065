//! A descriptor whose operations follow one another: a byte stream, a datagram socket.
//!
//! Its owner and the operations on it share it (O5), and with it what these must agree on: their order, and what
//! abandoned receives have left for the next one (C8).

use crate::op::fifo_lock::{FifoLock, Position};
use crate::op::stream::RecvHint;
use crate::op::{Entry, Opcode, Readiness, SharedFd};
use crate::sys::Descriptor;
use std::cell::Cell;
use std::fmt;
use std::io;
use std::mem;
use std::rc::Rc;
use std::task::Waker;

/// The line that an operation stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    In,
    Out,
    /// Not in order with other operations, but it ends when the descriptor closes.
    Unordered,
}

/// A kind of ordered descriptors, and what one of them has beside its order.
pub(crate) trait Ordered: 'static {
    /// An array with a lock for each lane.
    type Locks: AsRef<[FifoLock]>;

    /// What a permit lends to its operation, and leaves for the next one in its lane.
    type Spare: Default;

    fn reuse(&self, lane: Lane, spare: Self::Spare);
}

/// A descriptor shared by its owner and the operations on it.
pub(crate) struct OrderedFd<K: Ordered> {
    fd: SharedFd,
    locks: K::Locks,
    has_kept: Cell<bool>,
    recv_hint: RecvHint,
    pub(in crate::op) own: K,
}

impl<K: Ordered> OrderedFd<K> {
    pub(in crate::op) fn share(fd: SharedFd, locks: K::Locks, own: K) -> Rc<OrderedFd<K>> {
        Rc::new(OrderedFd {
            fd,
            locks,
            has_kept: Cell::new(false),
            recv_hint: RecvHint::default(),
            own,
        })
    }

    pub(crate) fn fd(&self) -> &SharedFd {
        &self.fd
    }

    pub(in crate::op) fn entry(&self, opcode: Opcode) -> Entry {
        self.fd.entry(opcode)
    }

    pub(in crate::op) fn recv_hint(&self) -> &RecvHint {
        &self.recv_hint
    }

    /// Whether the next receive has something kept to return first.
    #[inline]
    pub(in crate::op) fn has_kept(&self) -> bool {
        self.has_kept.get()
    }

    pub(in crate::op) fn set_kept(&self, has_kept: bool) {
        self.has_kept.set(has_kept);
    }

    #[inline]
    pub(in crate::op) fn lock(&self, lane: Lane) -> &FifoLock {
        &self.locks.as_ref()[lane as usize]
    }

    /// Returns the descriptor itself, if no operation is at work on it and nothing is kept here.
    pub(in crate::op) fn try_into_descriptor(self: Rc<Self>) -> Result<Descriptor, Rc<Self>> {
        if self.has_kept() || !self.fd.is_sole() {
            return Err(self);
        }
        let shared = Rc::try_unwrap(self)?;
        shared
            .fd
            .try_unwrap()
            .map_err(|_| unreachable!("it was its sole holder above"))
    }

    /// Closes the descriptor, as [`SharedFd::close`] does. Also stops the operations that wait for a lock: they would
    /// otherwise start once those ahead of them are stopped.
    pub(crate) async fn close(self: Rc<Self>) -> io::Result<()> {
        let fd = self.fd.clone();
        self.locks.as_ref().iter().for_each(FifoLock::close);
        drop(self);
        fd.close().await
    }
}

impl<K: Ordered> fmt::Debug for OrderedFd<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fd.fmt(f)
    }
}

/// The right to operate on a descriptor in one lane, until it is dropped.
pub(crate) struct Permit<K: Ordered> {
    shared: Rc<OrderedFd<K>>,
    lane: Lane,
    position: Position,
    pub(in crate::op) spare: K::Spare,
}

impl<K: Ordered> Permit<K> {
    #[inline]
    pub(in crate::op) fn new(shared: Rc<OrderedFd<K>>, lane: Lane) -> Permit<K> {
        Permit {
            shared,
            lane,
            position: Position::Outside,
            spare: K::Spare::default(),
        }
    }

    #[inline]
    pub(in crate::op) fn shared(&self) -> &OrderedFd<K> {
        &self.shared
    }

    pub(in crate::op) fn lane(&self) -> Lane {
        self.lane
    }

    /// Moves the right to a new permit; `self` is left without it.
    pub(in crate::op) fn take(&mut self) -> Permit<K> {
        let outside = Permit::new(self.shared.clone(), self.lane);
        mem::replace(self, outside)
    }

    /// Returns why an operation with this permit must not be started now, or `None` if it may be.
    #[inline]
    pub(in crate::op) fn prepare(&mut self, waker: &Waker) -> Option<Readiness> {
        let lock = self.shared.lock(self.lane);
        match self.lane {
            Lane::In | Lane::Out => lock.prepare(&mut self.position, waker),
            Lane::Unordered => lock.check_open(),
        }
    }

    /// Returns whether it is this permit's turn. If not, `waker` is woken to ask again, also when the descriptor closes.
    #[inline]
    pub(in crate::op) fn enter(&mut self, waker: &Waker) -> bool {
        let lock = self.shared.lock(self.lane);
        lock.enter(&mut self.position, waker)
    }
}

impl<K: Ordered> Drop for Permit<K> {
    fn drop(&mut self) {
        self.shared.own.reuse(self.lane, mem::take(&mut self.spare));
        self.shared.lock(self.lane).leave(self.position);
    }
}

impl<K: Ordered> fmt::Debug for Permit<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("shared", &self.shared)
            .field("lane", &self.lane)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
