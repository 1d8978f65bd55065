//! What groups and supervisors have in common: the loop that polls body and children until none is left, the verdict on
//! how they ended, and the methods that users call.
//!
//! They differ in what becomes of the failure of a child. A group's child puts it into the group's [`Verdict`]; that of
//! a supervised child stays with its handle.

use super::child::ChildHandle;
use super::child_cell::FailureReport;
use super::child_set::{ChildSet, EndKind, Ended, PollEnd};
use crate::error::{Canceled, Failures, GroupError, is_cancellation};
use crate::runtime::{self, Alarm, Core, catch};
use crate::scope::ScopeKind;
use crate::tasks::Origin;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// The state of a group that its future, its body and its children share.
pub(super) struct Nursery<'scope, 'env: 'scope> {
    pub(super) children: ChildSet,
    drain: Cell<Option<Duration>>,
    /// The timer of the cleanup deadline.
    alarm: Cell<Alarm>,
    /// Whether a scope outside the group cut a child short.
    cut_off: Cell<bool>,
    panic: Cell<Option<Box<dyn Any + Send>>>,
    pub(super) reason: RefCell<Option<String>>,
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// The failures that become the error of the group.
pub(super) struct Verdict<E> {
    /// The error of the child, or of the body, that is being polled.
    failed: Cell<Option<E>>,
    failures: RefCell<Failures<E>>,
}

impl<E> Verdict<E> {
    pub(super) fn new() -> Verdict<E> {
        Verdict {
            failed: Cell::new(None),
            failures: RefCell::new(Failures::new()),
        }
    }

    /// Returns the value of the child, or of the body, that is being polled, or keeps its error.
    pub(super) fn value_of<T>(&self, ended: Result<T, E>) -> Option<T> {
        ended.map_err(|error| self.failed.set(Some(error))).ok()
    }
}

/// The body of a group, with its types erased: the loop is compiled once.
trait Body {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()>;

    /// Drops the future.
    fn clear(&mut self);

    /// Judges the end of a child or of the body. Returns true if the group is to be canceled.
    fn judge(&self, ended: &Ended) -> bool;
}

struct JudgedBody<'a, F, T, E> {
    future: Pin<&'a mut Option<F>>,
    output: Option<T>,
    verdict: &'a Verdict<E>,
}

impl<F: Future<Output = Result<T, E>>, T, E> Body for JudgedBody<'_, F, T, E> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(future) = self.future.as_mut().as_pin_mut() else {
            return Poll::Ready(());
        };
        let verdict = self.verdict;
        future
            .poll(context)
            .map(|ended| self.output = verdict.value_of(ended))
    }

    fn clear(&mut self) {
        self.future.set(None);
    }

    fn judge(&self, ended: &Ended) -> bool {
        let Some(error) = self.verdict.failed.take() else {
            return ended.is_body && matches!(ended.kind, EndKind::Dropped);
        };
        let cut_short = ended.attributed.any();
        // Called outside the borrow, because it runs user code (R1).
        let is_cancellation = cut_short.then(|| is_cancellation(&error)).flatten();
        let mut failures = self.verdict.failures.borrow_mut();
        failures.add(error, cut_short, is_cancellation) || ended.is_body
    }
}

/// Ends the group when dropped, on every way out: empties its child set (G4a), and reports a panic that was not resumed.
pub(super) struct Closing<'a, 'scope, 'env>(&'a Nursery<'scope, 'env>);

impl Drop for Closing<'_, '_, '_> {
    fn drop(&mut self) {
        let Closing(nursery) = self;
        nursery.children.clear();
        // The group was dropped before its panic could be resumed.
        if let Some(payload) = nursery.panic.take() {
            match runtime::reach(nursery.children.runtime_id) {
                Some(core) => core.hook.report_panic(core.running_task(), payload),
                None => drop(runtime::guard("the payload of a panic", || drop(payload))),
            }
        }
    }
}

impl<'scope, 'env> Nursery<'scope, 'env> {
    /// Opens a group below the current scope. The caller drops it after its [`closing`](Nursery::closing).
    pub(super) fn open(keeps_panics: bool, location: &'static Location<'static>) -> Self {
        let core = runtime::required();
        let scope = core.open_scope(ScopeKind::Group);
        Nursery {
            children: ChildSet::new(&core, scope, keeps_panics, location),
            drain: Cell::new(None),
            alarm: Cell::default(),
            cut_off: Cell::new(false),
            panic: Cell::new(None),
            reason: RefCell::new(None),
            scope: PhantomData,
            env: PhantomData,
        }
    }

    pub(super) fn closing(&self) -> Closing<'_, 'scope, 'env> {
        Closing(self)
    }

    /// Starts a child. `report` describes the failure in an output that nobody takes.
    pub(super) fn spawn<F>(
        &'scope self,
        future: F,
        report: Option<FailureReport<F::Output>>,
        origin: Origin,
    ) -> ChildHandle<'scope, F::Output>
    where
        F: Future + 'scope,
    {
        // SAFETY: the future's borrows live for 'scope at least, which outlives this borrow of the group; and the group
        // is dropped after `Closing`, which clears the children (G4a).
        unsafe { self.children.spawn(future, report, origin) }
    }

    /// Polls body and children until all have ended, and returns the result of the group. `body` is `Some`.
    pub(super) async fn run<T, E>(
        &self,
        body: Pin<&mut Option<impl Future<Output = Result<T, E>>>>,
        verdict: &Verdict<E>,
    ) -> Result<T, GroupError<E, T>> {
        let mut body = JudgedBody {
            future: body,
            output: None,
            verdict,
        };
        poll_fn(|context| self.poll(&mut body, context)).await;
        let failures = verdict.failures.replace(Failures::new());
        let output = body.output;
        if let Some(payload) = self.panic.take() {
            // What the group has is dropped first: a second panic during the unwinding would abort the process.
            runtime::guard("what a group gave", || drop(output));
            for error in failures.into_all() {
                runtime::guard("the failure of a child", || drop(error));
            }
            std::panic::resume_unwind(payload);
        }
        GroupError::judge(failures, self.cut_off.get(), self.reason.take(), output)
    }

    pub(super) fn cancel(&self, reason: Option<String>) {
        if !self.is_canceled() {
            self.reason.replace(reason);
        }
        if let Some(core) = runtime::reach(self.children.runtime_id) {
            core.cancel_scope(self.children.scope);
            // The children are notified when the group is polled.
            core.wake_scope(self.children.scope);
        }
    }

    pub(super) fn is_canceled(&self) -> bool {
        let core = runtime::reach(self.children.runtime_id);
        core.is_none_or(|core| core.is_scope_canceled(self.children.scope))
    }

    pub(super) fn set_cleanup_timeout(&self, time: Duration) {
        self.drain.set(Some(time));
        // This may be called during cleanup, when the group is already canceled: then the time starts now.
        if let Some(core) = runtime::reach(self.children.runtime_id)
            && core.is_scope_canceled(self.children.scope)
        {
            core.wake_scope(self.children.scope);
        }
    }

    /// Waits until `look` returns a value; calls it again each time a child ends.
    pub(super) async fn wait_until<T>(
        &self,
        look: impl FnMut() -> Option<T>,
    ) -> Result<T, Canceled> {
        runtime::wait_until(&self.children.watchers, look).await
    }

    /// Waits until another child could start at once.
    pub(super) async fn wait_for_slot(&self) -> Result<(), Canceled> {
        let children = &self.children;
        // In a canceled scope nothing is to start, whatever the limit (C2).
        let has_room = || {
            (!runtime::with(Core::is_canceled) && children.len() < children.limit.get())
                .then_some(())
        };
        self.wait_until(has_room).await
    }

    /// Polls body and children until all have ended and none of their operations is left in the kernel.
    fn poll(&self, body: &mut dyn Body, context: &mut Context<'_>) -> Poll<()> {
        let core = runtime::hold_own(self.children.runtime_id);
        core.renew_scope(self.children.scope, context.waker());
        let _polling = core.poll_children(self.children.set, context.waker());
        let rejections = core.rejections();
        let polled = self.poll_begun(&core, body, context);
        if core.rejections() != rejections {
            // Each child was counted by itself.
            core.forget_rejections(rejections);
            self.children.rejected.set(true);
        }
        self.children.tidy();
        polled
    }

    fn poll_begun(&self, core: &Core, body: &mut dyn Body, context: &mut Context<'_>) -> Poll<()> {
        // `first` guarantees progress even with the smallest poll budget. But a group is a leaf that may be ready at
        // its first poll, so a loop over groups has to let other tasks go first.
        let mut first = core.has_coop_budget();
        core.spend_coop_budget();
        loop {
            let is_canceled = core.is_scope_canceled(self.children.scope);
            if !is_canceled && self.children.notified.get() {
                // The group has moved to another scope since its last poll.
                self.children.notified.set(false);
            }
            if is_canceled && !self.children.have_ended() {
                if !self.children.notified.get() {
                    self.children.notify_canceled(core);
                }
                if self.is_drained_out(core, context) {
                    // Children spawned by their destructors must not start: nobody would drop them.
                    self.children.closed.set(true);
                    let and_body = self.children.drop_children(core);
                    self.cut_short(core);
                    if and_body {
                        self.drop_body(core, body);
                    }
                }
            }
            if self.children.have_ended() {
                break;
            }
            let next = self
                .children
                .next(core, &mut first, &mut |context| body.poll(context));
            match next {
                PollEnd::Ended(ended) => {
                    let is_body = ended.is_body;
                    let mut cancel = self.ended(core, body, ended);
                    if is_body {
                        cancel |= self.drop_body(core, body);
                    }
                    if cancel {
                        core.cancel_scope(self.children.scope);
                    }
                }
                PollEnd::Look => {}
                // A child may have canceled a scope around the group; that does not wake the task being polled.
                PollEnd::Idle if !self.children.notified.get() && self.is_canceled() => {}
                PollEnd::Idle => return Poll::Pending,
                PollEnd::Spent => {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
        self.children.closed.set(true);
        drop(self.alarm.take());
        if core.waits_for_orphans(self.children.scope) {
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Records that children were dropped at the end of the cleanup time.
    fn cut_short(&self, core: &Core) {
        if core.is_canceled_from_outside(self.children.scope) {
            self.cut_off.set(true);
            core.attribute_outermost(self.children.scope);
        }
    }

    /// Drops the body, which has ended. Returns true if its destructors panic, which counts as a panic of the body.
    fn drop_body(&self, core: &Core, body: &mut dyn Body) -> bool {
        // What the body leaves in the kernel becomes an orphan of the group (G1).
        let before = core.enter_to_drop(self.children.scope);
        let dropped = catch(|| body.clear());
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
    fn ended(&self, core: &Core, body: &dyn Body, ended: Ended) -> bool {
        if ended.attributed.outside() && !ended.is_body {
            self.cut_off.set(true);
        }
        let cancel = body.judge(&ended);
        let EndKind::Panicked(payload) = ended.kind else {
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
                core.hook.report_panic(core.running_task(), payload);
            }
        }
    }

    /// Whether the cleanup deadline has passed. The time starts at the first call.
    fn is_drained_out(&self, core: &Core, context: &Context<'_>) -> bool {
        self.drain.get().is_some_and(|time| {
            let mut alarm = self.alarm.take();
            let is_over = alarm.poll(core, core.now() + time, context.waker());
            self.alarm.set(alarm);
            is_over
        })
    }
}

/// Writes the methods that [`Group`](super::Group) and [`Supervisor`](super::Supervisor) have in common.
macro_rules! nursery_methods {
    (
        $function:ident: impl [$($generics:tt)*] $group:ident [$($arguments:tt)*], canceled $canceled_by:literal;
        $(#[$spawn:meta])*
        spawn: $output:path => $child:ty
    ) => {
        impl<$($generics)*> $group<$($arguments)*> {
            $(#[$spawn])*
            #[track_caller]
            pub fn spawn<F>(&'scope self, future: F) -> $child
            where
                F: Future + 'scope,
                F::Output: $output,
            {
                let location = Location::caller();
                self.adopt(future, Origin { name: None, location })
            }

            /// Starts a child as [`spawn`](Self::spawn) does, with a name that appears in task listings and fault
            /// reports.
            #[track_caller]
            pub fn spawn_named<F>(&'scope self, name: impl Into<String>, future: F) -> $child
            where
                F: Future + 'scope,
                F::Output: $output,
            {
                let name = Some(name.into().into_boxed_str());
                let location = Location::caller();
                self.adopt(future, Origin { name, location })
            }

            /// Cancels the body and all children: what they await ends with [`Canceled`]. A child that ends with the
            /// cancellation has not failed; one that fails by itself while it cleans up has.
            pub fn cancel(&self) {
                self.nursery.cancel(None);
            }

            /// Cancels as [`cancel`](Self::cancel) does, with a reason. If the group ends with an error,
            /// [`GroupError::reason`] returns it. Only the first reason is kept.
            pub fn cancel_with(&self, reason: impl Into<String>) {
                self.nursery.cancel(Some(reason.into()));
            }

            /// Returns the reason given to [`cancel_with`](Self::cancel_with), if any.
            #[must_use]
            pub fn reason(&self) -> Option<String> {
                self.nursery.reason.borrow().clone()
            }

            #[doc = concat!("Whether the group is canceled: by [`cancel`](Self::cancel), ", $canceled_by, ",")]
            /// or from outside.
            #[must_use]
            pub fn is_canceled(&self) -> bool {
                self.nursery.is_canceled()
            }

            /// Returns the number of children that have not ended, including those queued under the
            /// [`limit`](Self::set_limit).
            #[must_use]
            pub fn len(&self) -> usize {
                self.nursery.children.len()
            }

            /// Whether every child has ended.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Limits how many children run at once (at least one). Children beyond the limit start in order, as others
            /// end.
            ///
            /// The limit holds when the group is canceled, too: queued children start as room allows, and run to their
            /// first wait, which ends with [`Canceled`]. A queued child that is canceled through its handle starts at
            /// once, beyond the limit.
            pub fn set_limit(&self, children: usize) {
                self.nursery.children.set_limit(children);
            }

            /// Limits how long children may clean up after the group is canceled: any child left then is dropped, even
            /// in the middle of its cleanup. Without this, cleanup may take arbitrarily long.
            pub fn set_cleanup_timeout(&self, time: Duration) {
                self.nursery.set_cleanup_timeout(time);
            }

            /// Waits until another child could start at once under the [`limit`](Self::set_limit). A loop that awaits this
            /// before each `spawn` never has more children than the limit.
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// gimmal::run(async {
            ///     let most = std::cell::Cell::new(0);
            #[doc = concat!("    gimmal::", stringify!($function), "(async |g| {")]
            ///         g.set_limit(2);
            ///         // Of an endless list, only as much as there is room for.
            ///         for number in 0.. {
            ///             g.wait_for_slot().await?;
            ///             drop(g.spawn(gimmal::cancel::checkpoint()));
            ///             most.set(most.get().max(g.len()));
            ///             if number == 10 {
            ///                 break;
            ///             }
            ///         }
            ///         Ok::<_, gimmal::Canceled>(())
            ///     })
            ///     .await?;
            ///     assert_eq!(most.get(), 2);
            ///     Ok(())
            /// })
            /// # }
            /// ```
            ///
            /// # Errors
            ///
            /// [`Canceled`], if the scope is canceled first.
            ///
            /// # Cancel safety
            ///
            /// Nothing is lost: the wait reserves nothing.
            // Test: tests/groups/main.rs
            pub async fn wait_for_slot(&self) -> Result<(), Canceled> {
                self.nursery.wait_for_slot().await
            }
        }

        impl<$($generics)*> fmt::Debug for $group<$($arguments)*> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($group))
                    .field("children", &self.len())
                    .finish_non_exhaustive()
            }
        }
    };
}

pub(super) use nursery_methods;
