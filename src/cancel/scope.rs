//! Scopes that a user opens.

use super::{Due, ScopedPoll};
use crate::runtime::{self, Mirror};
use crate::scope::{CANCELED, Canceled, NEVER, ScopeKind};
use crate::sys::Instant;
use crate::table::Key;
use crate::tasks::copy_waker;
use pin_project_lite::pin_project;
use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A scope that can be canceled, from inside and from outside: Trio's `CancelScope`.
///
/// What is awaited inside of its [`run`](Scope::run) ends with [`Canceled`] once the scope is canceled, by
/// [`cancel`](Scope::cancel), by its deadline, or because it is in another scope that is.
///
/// - A canceled scope stays so until it is left: each wait in it ends with [`Canceled`], not only the first. (asyncio throws
///   `CancelledError` into a task once; who catches it may wait on.) To clean up with awaits, use a [`shield`](super::shield()).
/// - From the call of `cancel` on, the next wait is refused, also in the poll that called. What has begun is asked to stop, and
///   gives its result if it was faster.
/// - A task or a child that was spawned, but has not started when it is canceled, runs to its first wait, which ends with
///   `Canceled`. (asyncio never starts it.)
/// - A deadline that is past has canceled the scope, by the clock, whether anything was cut short or not. It takes effect at the
///   first wait after the loop was free to look at its timers, or after [`is_canceled`](Scope::is_canceled) was asked.
/// - `run` gives what the future returns, canceled or not. [`was_caught`](Scope::was_caught) tells whether it was this scope that
///   cut something short.
///
/// ```
/// use gimmal::cancel::Scope;
/// use std::time::Duration;
///
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let scope = Scope::new();
///     let handle = scope.handle();
///     std::thread::spawn(move || handle.cancel());
///     let slept = scope.run(gimmal::sleep(Duration::from_secs(3600))).await;
///     assert_eq!(slept, Err(gimmal::Canceled));
///     Ok(())
/// })
/// # }
/// ```
pub struct Scope {
    shared: Rc<Shared>,
}

struct Shared {
    /// It was canceled from this thread, or by its own deadline, and why.
    canceled: Cell<bool>,
    reason: RefCell<Option<String>>,
    /// There once a handle for other threads was asked for.
    remote: OnceCell<Arc<Remote>>,
    deadline: Cell<Option<Instant>>,
    /// The runtime and the row, while its future runs.
    row: Cell<Option<(u64, Key)>>,
    /// The row was canceled for that.
    told: Cell<bool>,
    entered: Cell<bool>,
    /// Its future has ended, or was dropped: nothing cancels it any more.
    left: Cell<bool>,
    /// It was canceled when it was left, from wherever.
    left_canceled: Cell<bool>,
    caught: Cell<bool>,
}

/// The reason of a scope that its deadline canceled.
const DEADLINE: &str = "deadline";

/// What other threads see of a scope.
#[derive(Debug)]
struct Remote {
    /// By a call.
    canceled: AtomicBool,
    /// In nanoseconds: when it is canceled, by its own deadline or from outside.
    outlook: Mirror,
    inner: Mutex<RemoteInner>,
}

#[derive(Debug, Default)]
struct RemoteInner {
    reason: Option<String>,
    waker: Option<Waker>,
}

impl Remote {
    fn lock(&self) -> MutexGuard<'_, RemoteInner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing runs in it yet.
    fn foresee(&self, deadline: Option<Instant>) {
        let outlook = deadline.map_or(NEVER, Instant::as_ns);
        self.outlook.store(outlook, Ordering::Release);
    }

    /// Nothing runs in it any more.
    fn settle(&self, canceled: bool) {
        let outlook = if canceled { CANCELED } else { NEVER };
        self.outlook.store(outlook, Ordering::Release);
    }

    /// True if it was not canceled before.
    fn cancel(&self, reason: Option<String>) -> bool {
        let mut inner = self.lock();
        let first = !self.canceled.swap(true, Ordering::AcqRel);
        if first {
            inner.reason = reason;
        }
        first
    }
}

impl Shared {
    fn cancel(&self, reason: Option<String>) {
        if self.was_canceled() {
            return;
        }
        self.canceled.set(true);
        if let Some(remote) = self.remote.get() {
            remote.cancel(None);
        }
        self.reason.replace(reason);
        self.tell();
    }

    /// Cancels its row, if it has one.
    fn tell(&self) {
        if let Some((serial, key)) = self.row.get()
            && let Some(core) = runtime::reach(serial)
        {
            self.told.set(true);
            core.cancel_scope(key);
        }
    }

    /// Has the outlook of its row shown, if it has one.
    fn show(&self, remote: &Remote) {
        if let Some((serial, key)) = self.row.get()
            && let Some(core) = runtime::reach(serial)
        {
            core.mirror_scope(key, remote.outlook.clone());
        }
    }

    /// A deadline that is past cancels it, whether its timer has gone off or not.
    fn look_at_clock(&self) {
        if let Some(deadline) = self.deadline.get()
            && !self.left.get()
            && Instant::now() >= deadline
        {
            self.deadline.set(None);
            self.cancel(Some(DEADLINE.to_owned()));
        }
    }

    /// By a call, here or on another thread, or by its deadline.
    #[inline]
    fn was_canceled(&self) -> bool {
        let elsewhere = |remote: &Arc<Remote>| remote.canceled.load(Ordering::Acquire);
        self.canceled.get() || self.remote.get().is_some_and(elsewhere)
    }
}

impl Default for Scope {
    fn default() -> Scope {
        Scope::new()
    }
}

impl Scope {
    /// A scope without a deadline, in which nothing runs yet.
    #[must_use]
    pub fn new() -> Scope {
        Scope {
            shared: Rc::new(Shared {
                canceled: Cell::new(false),
                reason: RefCell::new(None),
                remote: OnceCell::new(),
                deadline: Cell::new(None),
                row: Cell::new(None),
                told: Cell::new(false),
                entered: Cell::new(false),
                left: Cell::new(false),
                left_canceled: Cell::new(false),
                caught: Cell::new(false),
            }),
        }
    }

    /// A scope that is canceled at this moment.
    #[must_use]
    pub fn with_deadline(deadline: Instant) -> Scope {
        let scope = Scope::new();
        scope.set_deadline(Some(deadline));
        scope
    }

    /// Runs a future in this scope, below the scope of whoever awaits it. What the future says is what this says; if it had
    /// to be dropped, because it was canceled and waited for something of another crate, that is [`Canceled`].
    ///
    /// [`was_caught`](Scope::was_caught) says afterwards whether it was this scope that cut it short.
    ///
    /// # Errors
    ///
    /// Those of the future.
    ///
    /// # Panics
    ///
    /// A scope is entered once: the second time this panics.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the future inside (`tests/scopes.rs`).
    #[track_caller]
    pub fn run<F, T, E>(&self, future: F) -> Run<F>
    where
        F: Future<Output = Result<T, E>>,
        E: From<Canceled>,
    {
        Run {
            inner: self.run_any(future),
        }
    }

    /// As [`run`](Scope::run), for a future whose output is no `Result`, or one whose error cannot be made of [`Canceled`]: that
    /// of a bare operation has the buffer in it.
    ///
    /// # Errors
    ///
    /// [`Canceled`], if the future had to be dropped.
    ///
    /// # Panics
    ///
    /// A scope is entered once: the second time this panics.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the future inside (`tests/scopes.rs`).
    #[track_caller]
    pub fn run_any<F: Future>(&self, future: F) -> RunAny<F> {
        assert!(
            !self.shared.entered.replace(true),
            "a scope is entered once: make a new one with Scope::new"
        );
        RunAny {
            future: Some(future),
            entry: Entry {
                region: ScopedPoll::new(ScopeKind::Plain),
                shared: self.shared.clone(),
                known: None,
            },
        }
    }

    /// Cancels the scope, and all below it but what is shielded. From now on everything that is awaited in it ends with
    /// [`Canceled`].
    pub fn cancel(&self) {
        self.shared.cancel(None);
    }

    /// As [`cancel`](Scope::cancel), and says why: [`reason`](Scope::reason) tells. Only the first reason is kept.
    pub fn cancel_with(&self, reason: impl Into<String>) {
        self.shared.cancel(Some(reason.into()));
    }

    /// Whether it is canceled: by a call, by its deadline, or from outside while its future runs.
    ///
    /// A deadline counts by the clock, whether anything was cut short or not: before the future runs, and while it computes and
    /// awaits nothing, too. Once the future has ended, neither a deadline nor anything around the scope changes what it was.
    #[doc(alias = "is_cancelled")]
    #[must_use]
    pub fn is_canceled(&self) -> bool {
        let shared = &self.shared;
        shared.look_at_clock();
        shared.was_canceled() || shared.left_canceled.get() || {
            let open = shared.row.get();
            let core = open.and_then(|(serial, key)| Some((runtime::reach(serial)?, key)));
            core.is_some_and(|(core, key)| core.is_scope_over(key))
        }
    }

    /// Whether something that was awaited in it was cut short, and it is this scope that answers for it: no scope around it
    /// was canceled, too. It is known once the future has ended.
    #[must_use]
    pub fn was_caught(&self) -> bool {
        self.shared.caught.get()
    }

    /// Why it was canceled: what [`cancel_with`](Scope::cancel_with) was given, `"deadline"` if its deadline came first, or
    /// `None`.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        self.shared.look_at_clock();
        let reason = self.shared.reason.borrow().clone();
        reason.or_else(|| self.shared.remote.get()?.lock().reason.clone())
    }

    /// When it is canceled by itself. `None` when it has no deadline, or that is past.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.shared.deadline.get()
    }

    /// Sets, moves or takes away the deadline, also while the future runs. One that is past cancels the scope at the call.
    ///
    /// What is canceled stays so. That includes a scope whose deadline was past before it was moved.
    pub fn set_deadline(&self, deadline: Option<Instant>) {
        let shared = &self.shared;
        shared.look_at_clock();
        shared.deadline.set(deadline);
        if let Some((serial, key)) = shared.row.get()
            && let Some(core) = runtime::reach(serial)
        {
            core.limit_scope(key, deadline);
            shared.look_at_clock();
            // It has a timer for it, or needs one.
            core.wake_scope(key);
        } else if let Some(remote) = shared.remote.get()
            && !shared.left.get()
        {
            remote.foresee(deadline);
        }
    }

    /// Something that cancels it from any thread.
    #[must_use]
    pub fn handle(&self) -> ScopeHandle {
        let shared = &self.shared;
        let remote = shared.remote.get_or_init(|| {
            // The future may be running: it is woken as its scope is.
            let waker = shared.row.get().and_then(|(serial, key)| {
                let core = runtime::reach(serial)?;
                core.waker_of_scope(key)
            });
            let remote = Remote {
                canceled: AtomicBool::new(shared.canceled.get()),
                outlook: Mirror::default(),
                inner: Mutex::new(RemoteInner {
                    reason: None,
                    waker,
                }),
            };
            match shared.left.get() {
                true => remote.settle(shared.left_canceled.get()),
                false => remote.foresee(shared.deadline.get()),
            }
            shared.show(&remote);
            Arc::new(remote)
        });
        ScopeHandle {
            remote: remote.clone(),
        }
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("canceled", &self.is_canceled())
            .field("deadline", &self.deadline())
            .finish_non_exhaustive()
    }
}

/// Cancels a [`Scope`] from any thread, and tells there whether it is canceled. It keeps nothing alive, and does nothing when the
/// scope has been left.
///
/// A call from the thread of the runtime cancels when the scope's future is polled next; [`Scope::cancel`] does so at once.
#[derive(Clone, Debug)]
pub struct ScopeHandle {
    remote: Arc<Remote>,
}

impl ScopeHandle {
    /// Cancels the scope, as [`Scope::cancel`] does.
    pub fn cancel(&self) {
        self.cancel_now(None);
    }

    /// Cancels the scope and says why, as [`Scope::cancel_with`] does.
    pub fn cancel_with(&self, reason: impl Into<String>) {
        self.cancel_now(Some(reason.into()));
    }

    fn cancel_now(&self, reason: Option<String>) {
        if self.remote.cancel(reason) {
            let waker = self.remote.lock().waker.take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Whether the scope is canceled: by a call, by its deadline, or from outside while its future runs. It is what
    /// [`Scope::is_canceled`] is, and costs a look at the clock. Only what a handle of a scope around it has canceled is seen
    /// later, when that scope's future is polled.
    ///
    /// So a closure on a thread of its own learns that nobody needs its result any more, also while the thread of the scope is
    /// busy:
    ///
    /// ```
    /// use gimmal::cancel::Scope;
    /// use gimmal::time::Instant;
    /// use std::time::Duration;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gimmal::run(async {
    ///     let scope = Scope::with_deadline(Instant::now() + Duration::from_millis(1));
    ///     let handle = scope.handle();
    ///     let counts = move || (0..).take_while(|_| !handle.is_canceled()).count();
    ///     let counting = gimmal::task::spawn_blocking(counts);
    ///     // Once it has started it is waited for.
    ///     let _count = scope.run_any(counting).await;
    ///     assert!(scope.is_canceled());
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[doc(alias = "is_cancelled")]
    #[must_use]
    pub fn is_canceled(&self) -> bool {
        let remote = &self.remote;
        remote.canceled.load(Ordering::Acquire) || {
            let outlook = remote.outlook.load(Ordering::Acquire);
            outlook != NEVER && Instant::now().as_ns() >= outlook
        }
    }
}

pin_project! {
    /// The future of [`Scope::run_any`].
    #[must_use = "futures do nothing unless they are awaited"]
    pub struct RunAny<F> {
        // Dropped before the scope is left.
        #[pin]
        future: Option<F>,
        entry: Entry,
    }
}

struct Entry {
    region: ScopedPoll,
    shared: Rc<Shared>,
    /// The waker that other threads have.
    known: Option<Waker>,
}

impl Entry {
    /// What others have asked of the scope since its future was polled.
    #[inline]
    fn look(&mut self, waker: &Waker) {
        self.take_over_deadline();
        if self.shared.remote.get().is_some() {
            self.keep_waker(waker);
        }
    }

    /// The deadline is what it was set to.
    fn take_over_deadline(&mut self) {
        let deadline = self.shared.deadline.get();
        if !self.region.is_due(deadline) {
            self.region.set_due(deadline.map_or(Due::Never, Due::At));
        }
    }

    /// Whoever cancels it from another thread wakes this.
    fn keep_waker(&mut self, waker: &Waker) {
        if let Some(remote) = self.shared.remote.get()
            && !self
                .known
                .as_ref()
                .is_some_and(|known| known.will_wake(waker))
        {
            let replaced = remote.lock().waker.replace(copy_waker(waker));
            runtime::drop_waker(replaced);
            runtime::drop_waker(self.known.replace(copy_waker(waker)));
        }
    }

    /// Opens the scope, if it is not. What was asked of it before that, or by another thread, is done now.
    #[inline]
    fn open(&mut self) {
        let shared = &self.shared;
        if shared.row.get().is_none() {
            shared.row.set(Some(self.region.open()));
            if let Some(remote) = shared.remote.get() {
                shared.show(remote);
            }
        }
        if !shared.told.get() && shared.was_canceled() {
            self.shared.tell();
        }
    }

    #[inline]
    fn leave(&mut self) {
        // From now on there is nobody to tell.
        if let Some(open) = self.shared.row.take() {
            self.leave_open(open);
        }
        self.shared.left.set(true);
    }

    fn leave_open(&mut self, (serial, key): (u64, Key)) {
        let shared = &self.shared;
        shared.look_at_clock();
        let is_over = || runtime::reach(serial).is_some_and(|core| core.is_scope_over(key));
        let canceled = shared.was_canceled() || is_over();
        shared.left_canceled.set(canceled);
        let caught = self.region.close();
        shared.caught.set(shared.caught.get() | caught);
        if let Some(remote) = shared.remote.get() {
            remote.settle(canceled);
            let waker = remote.lock().waker.take();
            runtime::drop_waker(waker);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.leave();
    }
}

impl<F: Future> Future for RunAny<F> {
    type Output = Result<F::Output, Canceled>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let entry = this.entry;
        let Some(future) = this.future.as_mut().as_pin_mut() else {
            panic!("a scope's future was polled after it was ready")
        };
        entry.look(context.waker());
        // After that: another thread either finds the waker, or what it has asked is found here.
        entry.open();
        match entry.region.poll(future, context) {
            Poll::Ready(output) => {
                this.future.set(None);
                entry.leave();
                Poll::Ready(output.ok_or(Canceled))
            }
            Poll::Pending => {
                if !entry.region.is_due(entry.shared.deadline.get()) {
                    entry.shared.look_at_clock();
                    // It is past, or the future has moved it.
                    if !entry.region.is_due(entry.shared.deadline.get()) {
                        context.waker().wake_by_ref();
                    }
                }
                Poll::Pending
            }
        }
    }
}

impl<F> fmt::Debug for RunAny<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunAny").finish_non_exhaustive()
    }
}

pin_project! {
    /// The future of [`Scope::run`].
    #[must_use = "futures do nothing unless they are awaited"]
    #[derive(Debug)]
    pub struct Run<F> {
        #[pin]
        inner: RunAny<F>,
    }
}

impl<F, T, E> Future for Run<F>
where
    F: Future<Output = Result<T, E>>,
    E: From<Canceled>,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.project()
            .inner
            .poll(context)
            .map(|ended| ended.unwrap_or_else(|canceled| Err(canceled.into())))
    }
}
