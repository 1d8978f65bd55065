//! The part that groups and supervisors share: the loop that polls body and children until none is left.

use super::child_set::{ChildSet, EndKind, Ended, NextChild};
use crate::error::Canceled;
use crate::runtime::{self, Core, Waiting};
use crate::scope::ScopeKind;
use crate::table::Key;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

/// The state of a group that its future, its body and its children share.
pub(super) struct GroupShared {
    pub(super) children: Rc<ChildSet>,
    drain: Cell<Option<Duration>>,
    /// The timer of the cleanup deadline.
    alarm: Cell<Option<Key>>,
    /// Whether a scope outside the group cut a child short.
    cut_off: Cell<bool>,
    panic: Cell<Option<Box<dyn Any + Send>>>,
    reason: RefCell<Option<String>>,
}

/// Decides what the end of a child or of the body means: a group and a supervisor differ in that.
pub(super) trait Judge {
    /// Returns true if the group is to be canceled.
    fn judge(&self, ended: &Ended) -> bool;
}

/// Empties the group's child set when dropped, on every way out (G4a).
pub(super) struct Closing(Rc<ChildSet>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.clear();
    }
}

impl GroupShared {
    /// Opens a group below the current scope.
    pub(super) fn open(keeps_panics: bool, location: &'static Location<'static>) -> GroupShared {
        let core = runtime::required();
        let scope = core.open_scope(ScopeKind::Group);
        let children = ChildSet::new(&core, scope, keeps_panics);
        children.add_body(&core, location);
        GroupShared {
            children: Rc::new(children),
            drain: Cell::new(None),
            alarm: Cell::new(None),
            cut_off: Cell::new(false),
            panic: Cell::new(None),
            reason: RefCell::new(None),
        }
    }

    pub(super) fn closing(&self) -> Closing {
        Closing(self.children.clone())
    }

    /// Whether a scope outside the group cut a child short.
    pub(super) fn was_cut_off(&self) -> bool {
        self.cut_off.get()
    }

    pub(super) fn cancel(&self, reason: Option<String>) {
        if !self.is_canceled() {
            self.reason.replace(reason);
        }
        if let Some(core) = runtime::reach(self.children.runtime_id()) {
            core.cancel_scope(self.children.scope());
            // The children are notified when the group is polled.
            core.wake_scope(self.children.scope());
        }
    }

    /// Returns the reason for the cancel, if one was given.
    pub(super) fn reason(&self) -> Option<String> {
        self.reason.borrow().clone()
    }

    pub(super) fn take_reason(&self) -> Option<String> {
        self.reason.take()
    }

    pub(super) fn is_canceled(&self) -> bool {
        let core = runtime::reach(self.children.runtime_id());
        core.is_none_or(|core| core.is_scope_canceled(self.children.scope()))
    }

    pub(super) fn set_cleanup_timeout(&self, time: Duration) {
        self.drain.set(Some(time));
        // This may be called during cleanup, when the group is already canceled: then the time starts now.
        if let Some(core) = runtime::reach(self.children.runtime_id())
            && core.is_scope_canceled(self.children.scope())
        {
            core.wake_scope(self.children.scope());
        }
    }

    /// Waits until `look` returns a value; calls it again each time a child ends.
    pub(super) async fn wait_until<T>(
        &self,
        mut look: impl FnMut() -> Option<T>,
    ) -> Result<T, Canceled> {
        let mut waiting = Waiting::default();
        let mut watch = self.children.watch();
        poll_fn(|context| {
            if let Some(found) = look() {
                watch.end();
                waiting.end();
                return Poll::Ready(Ok(found));
            }
            watch.renew(context.waker());
            waiting.poll(context).map(Err)
        })
        .await
    }

    /// Waits until another child could start at once.
    pub(super) async fn wait_for_slot(&self) -> Result<(), Canceled> {
        let children = &self.children;
        // In a canceled scope nothing is to start, whatever the limit (C2).
        let has_room = || {
            (!runtime::with(Core::is_canceled) && children.len() < children.limit()).then_some(())
        };
        self.wait_until(has_room).await
    }

    /// Polls body and children until all have ended and none of their operations is left in the kernel.
    pub(super) fn poll<F: Future>(
        &self,
        judge: &dyn Judge,
        body: &mut Pin<&mut Option<F>>,
        done: &mut dyn FnMut(F::Output),
        context: &mut Context<'_>,
    ) -> Poll<()> {
        let core = runtime::hold_own(self.children.runtime_id());
        self.children.begin(&core, context.waker());
        let refusals = core.refusals();
        let polled = self.poll_begun(&core, judge, body, done, context);
        if core.refusals() != refusals {
            self.children.note_refusal();
        }
        self.children.end(&core, context.waker());
        polled
    }

    fn poll_begun<F: Future>(
        &self,
        core: &Core,
        judge: &dyn Judge,
        body: &mut Pin<&mut Option<F>>,
        done: &mut dyn FnMut(F::Output),
        context: &mut Context<'_>,
    ) -> Poll<()> {
        // `first` guarantees progress even with the smallest poll budget. But a group is a leaf that may be ready at
        // its first poll, so a loop over groups has to let other tasks go first.
        let mut first = core.has_coop_budget();
        core.spend_coop_budget();
        loop {
            let is_canceled = core.is_scope_canceled(self.children.scope());
            if !is_canceled && self.children.is_notified() {
                // The group has moved to another scope since its last poll.
                self.children.notify_free(core);
            }
            if is_canceled && self.children.alive() > 0 {
                if !self.children.is_notified() {
                    self.children.notify_canceled(core);
                }
                if self.is_drained_out(core, context) {
                    // Children spawned by their destructors must not start: nobody would drop them.
                    self.children.close();
                    let and_body = self.children.drop_children(core);
                    self.cut_short(core);
                    if and_body {
                        self.drop_body(core, body);
                    }
                }
            }
            if self.children.alive() == 0 {
                break;
            }
            let next = self.children.next(core, &mut first, &mut |context| {
                let Some(body) = body.as_mut().as_pin_mut() else {
                    return Poll::Ready(());
                };
                match body.poll(context) {
                    Poll::Ready(value) => {
                        done(value);
                        Poll::Ready(())
                    }
                    Poll::Pending => Poll::Pending,
                }
            });
            match next {
                NextChild::Ended(ended) => {
                    let is_body = ended.is_body;
                    let mut cancel = self.ended(core, judge, ended);
                    if is_body {
                        cancel |= self.drop_body(core, body);
                    }
                    if cancel {
                        core.cancel_scope(self.children.scope());
                    }
                }
                NextChild::Look => {}
                // A child may have canceled a scope around the group; that does not wake the task being polled.
                NextChild::Idle if !self.children.is_notified() && self.is_canceled() => {}
                NextChild::Idle => return Poll::Pending,
                NextChild::Spent => {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
        self.children.close();
        self.release_alarm(core);
        if core.waits_for_orphans(self.children.scope()) {
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Records that children were dropped at the end of the cleanup time.
    fn cut_short(&self, core: &Core) {
        if core.is_canceled_from_outside(self.children.scope()) {
            self.cut_off.set(true);
            core.attribute_outermost(self.children.scope());
        }
    }

    /// Drops the body, which has ended. Returns true if its destructors panic, which counts as a panic of the body.
    fn drop_body<F>(&self, core: &Core, body: &mut Pin<&mut Option<F>>) -> bool {
        // What the body leaves in the kernel becomes an orphan of the group (G1).
        let before = core.enter_to_drop(self.children.scope());
        let dropped = core.catch(|| body.set(None));
        core.leave(before);
        match dropped {
            Ok(()) => false,
            Err(payload) => {
                self.keep_panic(core, payload);
                true
            }
        }
    }

    /// Judges the end of a child or of the body. Returns true if the group is to be canceled.
    fn ended(&self, core: &Core, judge: &dyn Judge, mut ended: Ended) -> bool {
        if ended.attributed.outside() && !ended.is_body {
            self.cut_off.set(true);
        }
        let cancel = judge.judge(&ended);
        let EndKind::Panicked(payload) = std::mem::replace(&mut ended.kind, EndKind::Ready) else {
            return cancel;
        };
        self.keep_panic(core, payload);
        true
    }

    /// Keeps the first panic, to be resumed when all children have ended; reports the others.
    fn keep_panic(&self, core: &Core, payload: Box<dyn Any + Send>) {
        match self.panic.take() {
            None => self.panic.set(Some(payload)),
            Some(first) => {
                self.panic.set(Some(first));
                core.report_panic_of_group(payload);
            }
        }
    }

    /// Whether the cleanup deadline has passed. Starts its timer at the first call.
    fn is_drained_out(&self, core: &Core, context: &Context<'_>) -> bool {
        let Some(time) = self.drain.get() else {
            return false;
        };
        let waker = crate::tasks::copy_waker(context.waker());
        let Some(alarm) = self.alarm.get() else {
            self.alarm
                .set(Some(core.arm_alarm(core.now() + time, waker)));
            return false;
        };
        match core.poll_alarm(alarm, waker) {
            Ok(()) => true,
            Err(replaced) => {
                runtime::drop_waker(Some(replaced));
                false
            }
        }
    }

    fn release_alarm(&self, core: &Core) {
        if let Some(alarm) = self.alarm.take() {
            runtime::drop_waker(core.release_timer(alarm));
        }
    }

    /// Resumes the group's panic, if any, when all children have ended. Before that, `discard` drops the group's
    /// output: a second panic during the unwinding would abort the process.
    pub(super) fn resume_panic(&self, discard: impl FnOnce()) {
        if let Some(payload) = self.panic.take() {
            discard();
            std::panic::resume_unwind(payload);
        }
    }
}

impl Drop for GroupShared {
    fn drop(&mut self) {
        let panic = self.panic.take();
        if let Some(core) = runtime::reach(self.children.runtime_id()) {
            self.release_alarm(&core);
            // The group was dropped before its panic could be resumed.
            if let Some(payload) = panic {
                core.report_panic_of_group(payload);
            }
        } else {
            runtime::guard("the payload of a panic", || drop(panic));
        }
    }
}
