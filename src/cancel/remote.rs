//! The part of a scope that other threads see: a cancel, and the time at which one is due.

use crate::runtime::{self, Core, Mirror};
use crate::scope::{CANCELED, NEVER};
use crate::sys::{Instant, VirtualClock};
use crate::tasks::copy_waker;
use crate::threading::{AtomicBool, Mutex, lock};
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::task::Waker;

/// Shared by a scope and its handles.
#[derive(Debug)]
pub(super) struct Remote {
    /// Whether a call canceled it.
    canceled: AtomicBool,
    /// The time, in nanoseconds, at which it is canceled, by its own deadline or from outside.
    outlook: Mirror,
    /// The clock of its runtime, if that is virtual.
    clock: OnceLock<VirtualClock>,
    inner: Mutex<RemoteInner>,
}

#[derive(Debug)]
struct RemoteInner {
    reason: Option<String>,
    waker: Option<Waker>,
}

impl Remote {
    pub(super) fn new(canceled: bool, waker: Option<Waker>) -> Remote {
        Remote {
            canceled: AtomicBool::new(canceled),
            outlook: Mirror::default(),
            clock: OnceLock::new(),
            inner: Mutex::new(RemoteInner {
                reason: None,
                waker,
            }),
        }
    }

    pub(super) fn outlook(&self) -> Mirror {
        self.outlook.clone()
    }

    /// Publishes the deadline before the scope's future runs.
    pub(super) fn foresee(&self, deadline: Option<Instant>) {
        let outlook = deadline.map_or(NEVER, Instant::as_ns);
        self.outlook.store(outlook, Ordering::Release);
    }

    /// Has deadlines go by the clock of this runtime.
    pub(super) fn go_by(&self, core: &Core) {
        if let Some(clock) = core.virtual_clock() {
            self.clock.get_or_init(|| clock.clone());
        }
    }

    fn now(&self) -> Instant {
        self.clock
            .get()
            .map_or_else(Instant::now, VirtualClock::now)
    }

    /// Publishes the final state when the scope is left.
    pub(super) fn settle(&self, canceled: bool) {
        let outlook = if canceled { CANCELED } else { NEVER };
        self.outlook.store(outlook, Ordering::Release);
    }

    /// Cancels the scope, and wakes its future. Called from any thread.
    pub(super) fn cancel(&self, reason: Option<String>) {
        if self.mark_canceled(reason) {
            let waker = lock(&self.inner).waker.take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Records that the scope itself was canceled, on its own thread. Returns true unless a handle was faster.
    pub(super) fn cancel_by_scope(&self) -> bool {
        self.mark_canceled(None)
    }

    /// Returns true if it was not canceled before. Only the first reason is kept.
    fn mark_canceled(&self, reason: Option<String>) -> bool {
        let mut inner = lock(&self.inner);
        let first = !self.canceled.swap(true, Ordering::AcqRel);
        if first {
            inner.reason = reason;
        }
        first
    }

    /// Whether a call canceled it.
    pub(super) fn was_canceled(&self) -> bool {
        self.canceled.load(Ordering::Acquire)
    }

    /// Whether it is canceled, by a call or by the clock.
    pub(super) fn is_canceled(&self) -> bool {
        self.was_canceled() || {
            let outlook = self.outlook.load(Ordering::Acquire);
            outlook != NEVER && self.now().as_ns() >= outlook
        }
    }

    pub(super) fn reason(&self) -> Option<String> {
        lock(&self.inner).reason.clone()
    }

    /// Called when the scope's future is polled: stores the waker that a cancel wakes, unless it is the `known` one, and
    /// then returns whether there was a cancel. In this order, another thread finds the waker, or its cancel is found
    /// here.
    pub(super) fn watch(&self, known: &mut Option<Waker>, waker: &Waker) -> bool {
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            // Cloned first: that may run user code, which may lock it (R1). The clone is counted: another thread may use it.
            let clone = waker.clone();
            let replaced = lock(&self.inner).waker.replace(clone);
            runtime::drop_waker(replaced);
            runtime::drop_waker(known.replace(copy_waker(waker)));
        }
        self.was_canceled()
    }

    /// Called when the scope is left.
    pub(super) fn forget_waker(&self) {
        let waker = lock(&self.inner).waker.take();
        runtime::drop_waker(waker);
    }
}

#[cfg(all(test, gimmal_loom))]
#[path = "remote_models.rs"]
mod models;
