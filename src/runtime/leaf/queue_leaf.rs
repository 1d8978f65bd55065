//! Leaves that wait in a queue of wakers: for a child to end, a connection, a descriptor to be idle.

use crate::error::Canceled;
use crate::runtime::current::drop_waker;
use crate::runtime::scopes::Waiting;
use crate::tasks::copy_waker;
use crate::wait_queue::{Ticket, WaitQueue};
use std::cell::RefCell;
use std::task::{Context, Poll, Waker};

/// A queue in which leaves wait.
pub(crate) trait WakerQueue {
    /// Calls `f` with the queue, unless that is gone. `f` runs no user code (R1).
    fn with<T>(&self, f: impl FnOnce(&mut WaitQueue<Waker>) -> T) -> Option<T>;
}

impl WakerQueue for &RefCell<WaitQueue<Waker>> {
    fn with<T>(&self, f: impl FnOnce(&mut WaitQueue<Waker>) -> T) -> Option<T> {
        Some(f(&mut self.borrow_mut()))
    }
}

/// A leaf in such a queue. A wake only means that it has to look again.
#[derive(Debug)]
pub(crate) struct QueueLeaf<Q: WakerQueue> {
    queue: Q,
    ticket: Option<Ticket>,
    waiting: Waiting,
}

impl<Q: WakerQueue> QueueLeaf<Q> {
    pub(crate) fn new(queue: Q) -> QueueLeaf<Q> {
        QueueLeaf {
            queue,
            ticket: None,
            waiting: Waiting::default(),
        }
    }

    /// Whether it is in the queue.
    pub(crate) fn has_begun(&self) -> bool {
        self.ticket.is_some()
    }

    /// Waits on for a result that is not there yet, or ends with [`Canceled`].
    pub(crate) fn poll(&mut self, context: &Context<'_>) -> Poll<Canceled> {
        let ended = self.waiting.poll(context);
        if ended.is_ready() {
            self.end();
        } else if self.waiting.has_begun() {
            let waker = copy_waker(context.waker());
            let replaced = self.queue.with(|queue| match self.ticket {
                Some(ticket) => queue.renew(ticket, waker),
                None => {
                    self.ticket = Some(queue.push(waker));
                    None
                }
            });
            drop_waker(replaced.flatten());
        }
        ended
    }

    /// Ends the wait, and leaves the queue.
    pub(crate) fn end(&mut self) {
        self.waiting.end();
        if let Some(ticket) = self.ticket.take() {
            drop_waker(self.queue.with(|queue| queue.remove(ticket)).flatten());
        }
    }
}

impl<Q: WakerQueue> Drop for QueueLeaf<Q> {
    fn drop(&mut self) {
        self.end();
    }
}
