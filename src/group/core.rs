//! What groups and supervisors have in common: the loop that polls body and children until none is left.

use super::child_set::{ChildSet, Ended, How, Next};
use crate::runtime::{self, Core, Waiting};
use crate::scope::{Canceled, ScopeKind};
use crate::table::Key;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

/// A group as its future, its body and its children see it.
pub(super) struct Shared {
    pub(super) children: Rc<ChildSet>,
    drain: Cell<Option<Duration>>,
    /// The timer of the deadline for draining.
    alarm: Cell<Option<Key>>,
    /// A scope outside of the group cut a child short.
    cut_off: Cell<bool>,
    panic: Cell<Option<Box<dyn Any + Send>>>,
    reason: RefCell<Option<String>>,
}

/// What the group's own kind says to the end of a child or of the body.
pub(super) trait Judge {
    /// True if the group is to be canceled.
    fn judge(&self, ended: &Ended) -> bool;
}

/// Empties the group on every way out (G4a).
pub(super) struct Closing(Rc<ChildSet>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.clear();
    }
}

impl Shared {
    /// Opens the group below the current scope.
    pub(super) fn open(keeps_panics: bool, location: &'static Location<'static>) -> Shared {
        let core = runtime::required();
        let scope = core.open_scope(ScopeKind::Group);
        let children = ChildSet::new(&core, scope, keeps_panics);
        children.add_body(&core, location);
        Shared {
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

    /// A scope outside of the group cut a child short.
    pub(super) fn was_cut_off(&self) -> bool {
        self.cut_off.get()
    }

    pub(super) fn cancel(&self, reason: Option<String>) {
        if !self.is_canceled() {
            self.reason.replace(reason);
        }
        if let Some(core) = runtime::reach(self.children.serial()) {
            core.cancel_scope(self.children.scope());
            // The children are told when the group is polled.
            core.wake_scope(self.children.scope());
        }
    }

    /// Why it was canceled.
    pub(super) fn reason(&self) -> Option<String> {
        self.reason.borrow().clone()
    }

    pub(super) fn take_reason(&self) -> Option<String> {
        self.reason.take()
    }

    pub(super) fn is_canceled(&self) -> bool {
        let core = runtime::reach(self.children.serial());
        core.is_none_or(|core| core.is_scope_canceled(self.children.scope()))
    }

    pub(super) fn drain_within(&self, time: Duration) {
        self.drain.set(Some(time));
        // Whoever cleans up may ask for it: then the time begins now.
        if let Some(core) = runtime::reach(self.children.serial())
            && core.is_scope_canceled(self.children.scope())
        {
            core.wake_scope(self.children.scope());
        }
    }

    /// Waits until a look finds something; it looks again each time that a child ends.
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

    /// Waits until another child may begin at once.
    pub(super) async fn room(&self) -> Result<(), Canceled> {
        let children = &self.children;
        // In a canceled scope nothing is to begin, whether there is room or not (C2).
        let has_room = || {
            (!runtime::with(Core::is_canceled) && children.len() < children.limit()).then_some(())
        };
        self.wait_until(has_room).await
    }

    /// Polls body and children until all have ended and the kernel has nothing of theirs.
    pub(super) fn poll<F: Future>(
        &self,
        judge: &dyn Judge,
        body: &mut Pin<&mut Option<F>>,
        done: &mut dyn FnMut(F::Output),
        context: &mut Context<'_>,
    ) -> Poll<()> {
        let core = runtime::hold_own(self.children.serial());
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
        // So that the smallest budget comes to an end. But a group is a leaf that may be ready at its first poll: a loop over
        // groups has to let others go first.
        let mut first = core.has_budget();
        core.consume_budget();
        loop {
            let is_canceled = core.is_scope_canceled(self.children.scope());
            if !is_canceled && self.children.is_notified() {
                // Polled inside of another scope than before.
                self.children.notify_free(core);
            }
            if is_canceled && self.children.alive() > 0 {
                self.notify(core);
                if self.is_drained_out(core, context) {
                    // What their destructors spawn does not begin: nobody would drop it.
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
                Next::Ended(ended) => {
                    let is_body = ended.is_body;
                    let mut cancel = self.ended(core, judge, ended);
                    if is_body {
                        cancel |= self.drop_body(core, body);
                    }
                    if cancel {
                        core.cancel_scope(self.children.scope());
                    }
                }
                Next::Look => {}
                // A child may have canceled a scope around the group, which does not wake what is being polled.
                Next::Idle if !self.children.is_notified() && self.is_canceled() => {}
                Next::Idle => return Poll::Pending,
                Next::Spent => {
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

    /// Tells the children that the group is canceled, once.
    fn notify(&self, core: &Core) {
        if self.children.is_notified() {
            return;
        }
        if self.children.notify_canceled(core) {
            self.cut_short(core);
        }
    }

    /// Children were dropped because the group is canceled.
    fn cut_short(&self, core: &Core) {
        if core.is_canceled_from_outside(self.children.scope()) {
            self.cut_off.set(true);
            core.attribute_outermost(self.children.scope());
        }
    }

    /// The body has ended. True if its destructors panic: that is a panic of the body.
    fn drop_body<F>(&self, core: &Core, body: &mut Pin<&mut Option<F>>) -> bool {
        // What it leaves in the kernel is an orphan of the group (G1).
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

    /// True if the group is to be canceled.
    fn ended(&self, core: &Core, judge: &dyn Judge, mut ended: Ended) -> bool {
        if ended.attributed.outside() && !ended.is_body {
            self.cut_off.set(true);
        }
        let cancel = judge.judge(&ended);
        let How::Panicked(payload) = std::mem::replace(&mut ended.how, How::Ready) else {
            return cancel;
        };
        self.keep_panic(core, payload);
        true
    }

    /// The first panic is carried on when all is over.
    fn keep_panic(&self, core: &Core, payload: Box<dyn Any + Send>) {
        match self.panic.take() {
            None => self.panic.set(Some(payload)),
            Some(first) => {
                self.panic.set(Some(first));
                core.report_panic_of_group(payload);
            }
        }
    }

    /// Whether the time for draining is over.
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

    /// All is over: a panic goes on from here. What the group would have given is dropped before, by `discard`: a second
    /// panic there would end the process.
    pub(super) fn resume_panic(&self, discard: impl FnOnce()) {
        if let Some(payload) = self.panic.take() {
            discard();
            std::panic::resume_unwind(payload);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let panic = self.panic.take();
        if let Some(core) = runtime::reach(self.children.serial()) {
            self.release_alarm(&core);
            // The group was dropped before it could be carried on.
            if let Some(payload) = panic {
                core.report_panic_of_group(payload);
            }
        } else {
            runtime::guard("the payload of a panic", || drop(panic));
        }
    }
}
