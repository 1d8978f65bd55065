//! The scope of one future: opened at the future's first poll, entered for each poll, closed when the future has ended.

use super::wake_probe::WakeProbe;
use crate::runtime::{self, Alarm, Before, Core, Local};
use crate::scope::ScopeKind;
use crate::sys::Instant;
use crate::table::{Key, Owner};
use std::marker::PhantomData;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// The state of a future's own scope, stored beside the future.
#[derive(Debug)]
pub(crate) struct ScopedPoll {
    kind: ScopeKind,
    /// The runtime's ID and the scope's row, while it is open.
    open: Option<(u64, Key)>,
    due: Due,
    /// The timer of the deadline, until that has passed.
    alarm: Alarm,
    /// Set once the scope is canceled and nothing of this runtime is awaited in it.
    probe: Option<Arc<WakeProbe>>,
    /// Whether it decides to drop the future, once canceled.
    decides: bool,
    /// The number of consecutive polls in which the future woke itself and waited for nothing of this runtime.
    self_wakes: u32,
    /// Polls in which a leaf was rejected while the scope was canceled.
    rejections: u32,
    _local: Local,
}

/// The time at which a scope is canceled by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Never,
    /// Counted from the first poll, which turns it into `At`.
    After(Duration),
    At(Instant),
}

/// How many times in a row a canceled future may wake itself before it is considered an endless loop, and dropped.
const SELF_WAKES_MAX: u32 = 1024;

/// A guard: the scope is the current one until this is dropped, even if the future panics.
struct Inside<'a> {
    core: &'a Core,
    before: Before,
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.core.leave(self.before);
    }
}

impl ScopedPoll {
    /// Creates a scope without a deadline.
    pub(crate) fn new(kind: ScopeKind) -> ScopedPoll {
        ScopedPoll {
            kind,
            open: None,
            due: Due::Never,
            alarm: Alarm::default(),
            probe: None,
            decides: true,
            self_wakes: 0,
            rejections: 0,
            _local: PhantomData,
        }
    }

    /// Creates a scope that leaves the decision to drop its future to the scopes around, until it is canceled itself.
    pub(crate) fn deferring() -> ScopedPoll {
        let mut scoped = ScopedPoll::new(ScopeKind::Plain);
        scoped.decides = false;
        scoped
    }

    /// Moves the deadline, which may be in the past. Takes effect when the future is next polled.
    pub(crate) fn set_due(&mut self, due: Due) {
        self.alarm = Alarm::default();
        self.due = due;
    }

    /// Whether `deadline` is the deadline that is set and has not passed.
    #[inline]
    pub(crate) fn is_due(&self, deadline: Option<Instant>) -> bool {
        match self.due {
            Due::Never => deadline.is_none(),
            Due::At(moment) => deadline == Some(moment),
            Due::After(_) => false,
        }
    }

    /// Polls a future in its scope. Returns `Ready(None)` if the future must be dropped: it was canceled, and waits for
    /// nothing that will ever come, or ignores the cancel.
    pub(crate) fn poll<F: Future>(
        &mut self,
        future: Pin<&mut F>,
        context: &mut Context<'_>,
    ) -> Poll<Option<F::Output>> {
        let (runtime_id, key) = self.open();
        let core = runtime::hold_own(runtime_id);
        let _inside = Inside {
            core: &core,
            before: core.enter_scope(key, context.waker()),
        };
        if self.due != Due::Never {
            self.look_at_deadline(&core, key, context.waker());
        }
        let before = core.rejections();
        let polled = match &self.probe {
            None => future.poll(context),
            Some(probe) => {
                probe.begin(context.waker());
                let waker = Waker::from(probe.clone());
                future.poll(&mut Context::from_waker(&waker))
            }
        };
        let was_rejected = core.rejections() != before;
        if core.is_canceled() {
            self.rejections = self.rejections.saturating_add(u32::from(was_rejected));
            if self.decides && polled.is_pending() {
                return self.poll_canceled(&core, key, was_rejected, context.waker());
            }
        } else if was_rejected {
            core.forget_rejections(before);
        }
        polled.map(Some)
    }

    /// Cancels a scope that was deferring. The future must be polled after that.
    pub(crate) fn cancel(&mut self) {
        if !mem::replace(&mut self.decides, true) {
            let (runtime_id, key) = self.open();
            if let Some(core) = runtime::reach(runtime_id) {
                core.cancel_scope(key);
            }
        }
    }

    /// Handles a future that is pending in a canceled scope, which is the current one.
    #[cold]
    fn poll_canceled<T>(
        &mut self,
        core: &Core,
        key: Key,
        was_rejected: bool,
        waker: &Waker,
    ) -> Poll<Option<T>> {
        if !core.is_spent(self.rejections) {
            // A rejected leaf has woken its task.
            if was_rejected || core.is_busy(Owner::scope(key)) {
                self.self_wakes = 0;
                return Poll::Pending;
            }
            match &self.probe {
                Some(probe) if probe.was_woken() && self.self_wakes < SELF_WAKES_MAX => {
                    self.self_wakes += 1;
                    return Poll::Pending;
                }
                Some(_) => {}
                None => {
                    // Whether the future wakes itself is seen at its next poll.
                    self.probe = Some(WakeProbe::new(waker));
                    waker.wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
        // Attribute the drop, because the future has no error of its own to do so.
        core.attribute_canceled();
        // A loop that awaits something foreign again and again is a loop that ignores the cancel, too.
        core.count_rejection();
        Poll::Ready(None)
    }

    /// Returns the runtime's ID and the scope's row. Opens the scope below the current one, if it is not open.
    #[inline]
    pub(crate) fn open(&mut self) -> (u64, Key) {
        let kind = self.kind;
        let open = || runtime::with(|core| (core.runtime_id(), core.open_scope(kind)));
        *self.open.get_or_insert_with(open)
    }

    fn look_at_deadline(&mut self, core: &Core, key: Key, waker: &Waker) {
        if let Due::At(deadline) = self.due
            && self.alarm.is_armed()
        {
            if self.alarm.poll(core, deadline, waker) {
                self.set_due(Due::Never);
                core.cancel_scope(key);
            }
            return;
        }
        let now = core.now();
        let deadline = match self.due {
            Due::Never => return,
            Due::After(limit) => now + limit,
            Due::At(deadline) => deadline,
        };
        if deadline <= now {
            self.due = Due::Never;
            core.cancel_scope(key);
        } else {
            self.due = Due::At(deadline);
            core.limit_scope(key, Some(deadline));
            self.alarm.poll(core, deadline, waker);
        }
    }

    /// Leaves the scope, because its future has ended or is dropped. Returns true if a leaf that ended `Canceled` was
    /// attributed to it.
    #[inline]
    pub(crate) fn close(&mut self) -> bool {
        self.open.is_some() && self.close_open()
    }

    fn close_open(&mut self) -> bool {
        self.alarm = Alarm::default();
        let Some((runtime_id, key)) = self.open.take() else {
            return false;
        };
        runtime::reach(runtime_id).is_some_and(|core| core.close_scope(key))
    }
}

impl Drop for ScopedPoll {
    fn drop(&mut self) {
        self.close();
    }
}
