//! Leaves that have a row in no other table.

use super::take_waker;
use crate::error::Canceled;
use crate::runtime::core::Core;
use crate::runtime::current::{self, drop_waker};
use crate::runtime::leaf::LeafState;
use crate::table::{Key, Leaf, LeafKind, Owner};
use crate::tasks::copy_waker;
use crate::threading::{Arc, AtomicBool};
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker, ready};

/// The row of a wait that has none in another table.
#[derive(Debug)]
pub(in crate::runtime) struct WaitRow {
    pub(in crate::runtime) waker: Waker,
    pub(super) owner: Owner,
    /// For a wait that a cancel does not end: set when the result is there.
    over: Option<Arc<AtomicBool>>,
    /// Whether the waiter has already had its final wake.
    notified: bool,
}

impl WaitRow {
    /// Whether the waiter has yet to be woken.
    pub(super) fn is_pending(&self) -> bool {
        !self.notified
    }

    /// Whether the result is there, but the waiter has not taken it yet. Its wake may still be on the way.
    pub(super) fn is_overdue(&self) -> bool {
        let over = |over: &Arc<AtomicBool>| over.load(Ordering::Acquire);
        !self.notified && self.over.as_ref().is_some_and(over)
    }
}

impl Core {
    pub(super) fn begin_wait(&self, waker: Waker) -> Key {
        let owner = self.owner_of_next_leaf();
        let key = self.waits.borrow_mut().insert(WaitRow {
            waker,
            owner,
            over: None,
            notified: false,
        });
        self.enlist(Leaf::new(LeafKind::Wait, key), owner);
        key
    }

    pub(super) fn renew_wait(&self, key: Key, waker: Waker) -> Option<Waker> {
        let (replaced, before) = {
            let mut waits = self.waits.borrow_mut();
            let Some(wait) = waits.get_mut(key) else {
                return Some(waker);
            };
            (std::mem::replace(&mut wait.waker, waker), wait.owner)
        };
        self.keep_here(Leaf::new(LeafKind::Wait, key), before);
        Some(replaced)
    }

    /// Wakes the waiter one last time. If it does not poll the wait then, the wait no longer counts as pending.
    pub(super) fn notify_overdue(&self, key: Key) {
        let woken = self.waits.borrow_mut().get_mut(key).map(|wait| {
            wait.notified = true;
            take_waker(&mut wait.waker)
        });
        self.wake_all(&mut woken.into_iter().collect());
    }

    pub(super) fn hold_wait(&self, key: Key, over: &Arc<AtomicBool>) {
        if let Some(wait) = self.waits.borrow_mut().get_mut(key) {
            wait.over.get_or_insert_with(|| over.clone());
        }
    }

    pub(in crate::runtime) fn end_wait(&self, key: Key) -> Option<Waker> {
        let wait = self.waits.borrow_mut().remove(key);
        wait.map(|wait| wait.waker)
    }
}

/// A leaf that waits for something without a row in another table. It is notified when its scope is canceled.
///
/// Polled on another thread, it panics (O9). Dropped there, it sends its row back.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    row: Option<(u64, Key)>,
    state: LeafState,
}

impl Waiting {
    /// Waits on for a result that is not there yet, or ends with [`Canceled`].
    pub(crate) fn poll(&mut self, context: &Context<'_>) -> Poll<Canceled> {
        let is_canceled = match self.row {
            Some((runtime_id, _)) => current::with_own(runtime_id, Core::is_canceled),
            None => current::with(Core::is_canceled),
        };
        if is_canceled {
            let canceled = ready!(self.state.cancel(context));
            self.end();
            return Poll::Ready(canceled);
        }
        self.wait(context);
        Poll::Pending
    }

    /// Whether it waits: it has been polled, and was not rejected.
    pub(crate) fn has_begun(&self) -> bool {
        self.state == LeafState::Waiting
    }

    /// Waits on for a result that is not there yet, even if the scope is canceled, until `over` is set.
    pub(crate) fn hold(&mut self, context: &Context<'_>, over: &Arc<AtomicBool>) {
        self.wait(context);
        if let Some((runtime_id, key)) = self.row {
            current::with_own(runtime_id, |core| core.hold_wait(key, over));
        }
    }

    fn wait(&mut self, context: &Context<'_>) {
        let waker = copy_waker(context.waker());
        self.state = LeafState::Waiting;
        if let Some((runtime_id, key)) = self.row {
            let replaced = current::with_own(runtime_id, |core| core.renew_wait(key, waker));
            drop_waker(replaced);
        } else {
            self.row = Some(current::with(|core| {
                (core.runtime_id(), core.begin_wait(waker))
            }));
        }
    }

    /// Ends the wait and frees its row.
    pub(crate) fn end(&mut self) {
        self.state = LeafState::New;
        if let Some((runtime_id, key)) = self.row.take() {
            match current::reach(runtime_id) {
                Some(core) => drop_waker(core.end_wait(key)),
                None => current::give_back(runtime_id, key),
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.end();
    }
}
