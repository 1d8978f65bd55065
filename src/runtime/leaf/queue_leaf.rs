//! Leaves that wait in a queue of wakers: for a child to end, a connection, a descriptor to be idle.

use crate::error::Canceled;
use crate::runtime::core::Core;
use crate::runtime::current::{drop_waker, with};
use crate::runtime::leaf::coop::poll_coop_budget;
use crate::runtime::scopes::Waiting;
use crate::tasks::copy_waker;
use crate::wait_queue::{Ticket, WaitQueue};
use std::cell::RefCell;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker, ready};

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

/// Waits in this queue until `look` returns a value. It is called again after each wake.
pub(crate) async fn wait_until<T>(
    queue: impl WakerQueue,
    mut look: impl FnMut() -> Option<T>,
) -> Result<T, Canceled> {
    let mut wait = QueueLeaf::new(queue);
    poll_fn(|context| {
        // A loop over waits that are ready at once must let other tasks go first.
        ready!(poll_coop_budget(context.waker()));
        if let Some(found) = look() {
            with(Core::spend_coop_budget);
            return Poll::Ready(Ok(found));
        }
        wait.poll(context).map(Err)
    })
    .await
}

impl<Q: WakerQueue> Drop for QueueLeaf<Q> {
    fn drop(&mut self) {
        self.end();
    }
}
