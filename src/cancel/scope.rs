//! Scopes that users open.

use super::remote::Remote;
use super::{Due, ScopedPoll, opaque_debug};
use crate::error::Canceled;
use crate::runtime::{self, Core};
use crate::scope::ScopeKind;
use crate::sys::Instant;
use crate::table::Key;
use pin_project_lite::pin_project;
use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// A scope that can be canceled from inside or outside: Trio's `CancelScope`.
///
/// Waits inside its [`run`](Scope::run) end with [`Canceled`] once the scope is canceled: by [`cancel`](Scope::cancel),
/// by its deadline, or because a scope around it is canceled.
///
/// - A canceled scope stays canceled until it is left: every wait in it ends with [`Canceled`], not only the first.
///   (asyncio throws `CancelledError` into a task once; a task that catches it may wait again.) To clean up with
///   awaits, use a [`shield`](super::shield()).
/// - Once `cancel` is called, the next wait is rejected, also in the poll that made the call. Operations in progress are
///   asked to stop, and return their result if they completed first.
/// - A task or a child that was spawned, but has not started when it is canceled, runs to its first wait, which ends
///   with `Canceled`. (asyncio never starts it.)
/// - A deadline that has passed on the clock has canceled the scope, whether or not anything was cut short. It takes
///   effect at the first wait after the event loop was free to check its timers, or after a call of
///   [`is_canceled`](Scope::is_canceled).
/// - `run` returns what the future returns, canceled or not. [`canceled_caught`](Scope::canceled_caught) returns whether this
///   scope cut something short.
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
#[derive(Default)]
pub struct Scope {
    shared: Rc<ScopeState>,
}

#[derive(Default)]
struct ScopeState {
    /// Whether it was canceled from this thread or by its own deadline.
    canceled: Cell<bool>,
    reason: RefCell<Option<String>>,
    /// Set once a handle for other threads is requested.
    remote: OnceCell<Arc<Remote>>,
    deadline: Cell<Option<Instant>>,
    /// The runtime's ID and the scope's row, while its future runs.
    row: Cell<Option<(u64, Key)>>,
    entered: Cell<bool>,
    /// Once its future has ended or was dropped: whether it was canceled then, from anywhere. Nothing cancels it any more.
    left: Cell<Option<bool>>,
    caught: Cell<bool>,
}

/// The reason of a scope that was canceled by its deadline.
const DEADLINE: &str = "deadline";

impl ScopeState {
    fn cancel(&self, reason: Option<String>) {
        if self.canceled.replace(true) {
            return;
        }
        // If a handle was faster, the reason is the handle's. But its cancel takes effect later than this one.
        let remote = self.remote.get();
        if remote.is_none_or(|remote| remote.cancel_by_scope()) {
            self.reason.replace(reason);
        }
        self.cancel_row();
    }

    /// Calls `with` with the scope's row, if it has one.
    #[inline]
    fn with_row<T>(&self, with: impl FnOnce(&Core, Key) -> T) -> Option<T> {
        let (runtime_id, key) = self.row.get()?;
        Some(with(&*runtime::reach(runtime_id)?, key))
    }

    fn cancel_row(&self) {
        self.with_row(Core::cancel_scope);
    }

    /// Mirrors the row's cancellation time to `remote`, if the scope has a row.
    fn show(&self, remote: &Remote) {
        self.with_row(|core, key| {
            remote.go_by(core);
            core.mirror_scope(key, remote.outlook());
        });
    }

    /// Cancels the scope if its deadline has passed, whether or not its timer has fired.
    fn look_at_clock(&self) {
        if let Some(deadline) = self.deadline.get()
            && self.left.get().is_none()
            && Instant::now() >= deadline
        {
            self.deadline.set(None);
            self.cancel(Some(DEADLINE.to_owned()));
        }
    }

    /// Whether it was canceled by a call, on this or another thread, or by its deadline.
    #[inline]
    fn was_canceled(&self) -> bool {
        self.canceled.get() || self.was_canceled_elsewhere()
    }

    #[inline]
    fn was_canceled_elsewhere(&self) -> bool {
        let remote = self.remote.get();
        remote.is_some_and(|remote| remote.was_canceled())
    }
}

impl Scope {
    /// Creates a scope without a deadline, in which nothing runs yet.
    #[must_use]
    pub fn new() -> Scope {
        Scope::default()
    }

    /// Creates a scope that is canceled at `deadline`.
    #[must_use]
    pub fn with_deadline(deadline: Instant) -> Scope {
        let scope = Scope::new();
        scope.set_deadline(Some(deadline));
        scope
    }

    /// Runs a future in this scope, below the current scope, and returns what the future returns; or [`Canceled`], if
    /// it had to be dropped because it was canceled while it waited for something of another crate.
    ///
    /// Afterwards, [`canceled_caught`](Scope::canceled_caught) returns whether this scope cut the future short.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::cancel::Scope;
    /// use gimmal::time::Instant;
    /// use std::time::Duration;
    ///
    /// gimmal::run(async {
    ///     let scope = Scope::with_deadline(Instant::now() + Duration::from_millis(1));
    ///     let slept = scope.run(gimmal::sleep(Duration::from_secs(3600))).await;
    ///     assert_eq!(slept, Err(gimmal::Canceled));
    ///     assert!(scope.canceled_caught());
    ///     assert_eq!(scope.reason().as_deref(), Some("deadline"));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the future, and [`Canceled`] if it had to be dropped.
    ///
    /// # Panics
    ///
    /// Panics when called a second time: a scope is entered once.
    ///
    /// # Cancel safety
    ///
    /// A cancel loses nothing: operations of the future did not happen, or return their result. Dropping the wait drops
    /// the future.
    // Test: tests/scopes/main.rs
    #[track_caller]
    pub fn run<F, T, E>(&self, future: F) -> RunScope<F>
    where
        F: Future<Output = Result<T, E>>,
        E: From<Canceled>,
    {
        RunScope {
            inner: self.run_any(future),
        }
    }

    /// Runs a future as [`run`](Scope::run) does, but takes futures whose output is not a `Result`, or whose error
    /// cannot be made from [`Canceled`]: the error of a bare operation has the buffer in it.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::cancel::Scope;
    ///
    /// gimmal::run(async {
    ///     let (reader, writer) = gimmal::io::pipe()?;
    ///     let scope = Scope::new();
    ///     scope.cancel();
    ///     let read = scope.run_any(reader.read(vec![0; 16])).await?;
    ///     let error = read.unwrap_err();
    ///     assert!(gimmal::is_canceled(&error));
    ///     // The buffer is in the error.
    ///     writer.write_all("hello").await?;
    ///     assert_eq!(reader.read(error.into_buf()).await?.1, b"hello");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Canceled`], if the future had to be dropped.
    ///
    /// # Panics
    ///
    /// Panics when called a second time: a scope is entered once.
    ///
    /// # Cancel safety
    ///
    /// A cancel loses nothing: operations of the future did not happen, or return their result. Dropping the wait drops
    /// the future.
    // Test: tests/scopes/main.rs
    #[track_caller]
    pub fn run_any<F: Future>(&self, future: F) -> RunScopeAny<F> {
        assert!(
            !self.shared.entered.replace(true),
            "a scope is entered once: make a new one with Scope::new"
        );
        RunScopeAny {
            future: Some(future),
            entry: RunState {
                scoped: ScopedPoll::new(ScopeKind::Plain),
                shared: self.shared.clone(),
                known: None,
            },
        }
    }

    /// Cancels the scope, and everything below it that is not shielded. From now on, every wait in it ends with
    /// [`Canceled`].
    pub fn cancel(&self) {
        self.shared.cancel(None);
    }

    /// Cancels as [`cancel`](Scope::cancel) does, with a reason, which [`reason`](Scope::reason) returns. Only the
    /// first reason is kept.
    pub fn cancel_with(&self, reason: impl Into<String>) {
        self.shared.cancel(Some(reason.into()));
    }

    /// Whether the scope is canceled: by a call, by its deadline, or from outside while its future runs.
    ///
    /// A deadline counts by the clock, whether or not anything was cut short: also before the future runs, and while it
    /// computes without awaiting. Once the future has ended, neither a deadline nor a scope around this one changes the
    /// result.
    #[doc(alias = "is_cancelled")]
    #[must_use]
    pub fn is_canceled(&self) -> bool {
        let shared = &self.shared;
        shared.look_at_clock();
        shared.was_canceled()
            || shared.left.get() == Some(true)
            || shared.with_row(Core::is_scope_over) == Some(true)
    }

    /// Whether a wait in the scope was cut short and this scope was the cause: no scope around it was canceled as well.
    /// Known once the future has ended.
    #[must_use]
    pub fn canceled_caught(&self) -> bool {
        self.shared.caught.get()
    }

    /// Returns the reason for the cancel: that given to [`cancel_with`](Scope::cancel_with), `"deadline"` if its
    /// deadline came first, or `None`.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        self.shared.look_at_clock();
        let reason = self.shared.reason.borrow().clone();
        reason.or_else(|| self.shared.remote.get()?.reason())
    }

    /// Returns the deadline. `None` if there is none, or it has passed.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.shared.deadline.get()
    }

    /// Sets, moves or removes the deadline, also while the future runs. A deadline in the past cancels the scope at the
    /// call.
    ///
    /// A canceled scope stays canceled, even if its deadline is moved after it has passed.
    pub fn set_deadline(&self, deadline: Option<Instant>) {
        let shared = &self.shared;
        shared.look_at_clock();
        shared.deadline.set(deadline);
        let in_row = shared.with_row(|core, key| {
            core.limit_scope(key, deadline);
            shared.look_at_clock();
            // The scope's future sets or moves its timer.
            core.wake_scope(key);
        });
        if let (None, Some(remote), None) = (in_row, shared.remote.get(), shared.left.get()) {
            remote.foresee(deadline);
        }
    }

    /// Returns a handle that cancels the scope from any thread.
    #[must_use]
    pub fn handle(&self) -> ScopeHandle {
        let shared = &self.shared;
        let remote = shared.remote.get_or_init(|| {
            // The future may be running: the handle wakes it through the scope's waker.
            let waker = |core: &Core, key| Some(core.waker_for_others(core.waker_of_scope(key)?));
            let waker = shared.with_row(waker).flatten();
            let remote = Remote::new(shared.canceled.get(), waker);
            runtime::try_with(|core| remote.go_by(core));
            match shared.left.get() {
                Some(canceled) => remote.settle(canceled),
                None => remote.foresee(shared.deadline.get()),
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

/// A handle that cancels a [`Scope`] from any thread, and tells whether it is canceled. It keeps nothing alive, and
/// does nothing once the scope has been left.
///
/// A cancel through the handle takes effect when the scope's future is next polled, even on the runtime's thread;
/// [`Scope::cancel`] takes effect at once.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::cancel::Scope;
/// use std::time::Duration;
///
/// gimmal::run(async {
///     let scope = Scope::new();
///     let handle = scope.handle();
///     std::thread::spawn(move || handle.cancel_with("the operator asked for it"));
///     let slept = scope.run(gimmal::sleep(Duration::from_secs(3600))).await;
///     assert_eq!(slept, Err(gimmal::Canceled));
///     assert_eq!(scope.reason().as_deref(), Some("the operator asked for it"));
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ScopeHandle {
    remote: Arc<Remote>,
}

impl ScopeHandle {
    /// Cancels the scope, as [`Scope::cancel`] does.
    pub fn cancel(&self) {
        self.remote.cancel(None);
    }

    /// Cancels the scope with a reason, as [`Scope::cancel_with`] does.
    pub fn cancel_with(&self, reason: impl Into<String>) {
        self.remote.cancel(Some(reason.into()));
    }

    /// Whether the scope is canceled: by a call, by its deadline, or from outside while its future runs. Returns the
    /// same as [`Scope::is_canceled`], and reads the clock. Only a cancel by a handle of an outer scope is seen later,
    /// when that scope's future is polled.
    ///
    /// So a closure on another thread can learn that its result is no longer needed, even while the scope's thread is
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
        self.remote.is_canceled()
    }
}

pin_project! {
    /// The future of [`Scope::run_any`].
    #[must_use = "futures do nothing unless they are awaited"]
    pub struct RunScopeAny<F> {
        // Must be dropped before `entry`, which leaves the scope.
        #[pin]
        future: Option<F>,
        entry: RunState,
    }
}

struct RunState {
    scoped: ScopedPoll,
    shared: Rc<ScopeState>,
    /// The waker that `remote` has.
    known: Option<Waker>,
}

impl RunState {
    /// Applies what was requested of the scope since its future was last polled, also by another thread. Opens the scope,
    /// if it is not open.
    #[inline]
    fn look(&mut self, waker: &Waker) {
        let shared = &self.shared;
        let deadline = shared.deadline.get();
        if !self.scoped.is_due(deadline) {
            self.scoped.set_due(deadline.map_or(Due::Never, Due::At));
        }
        let remote = shared.remote.get();
        let elsewhere = remote.is_some_and(|remote| remote.watch(&mut self.known, waker));
        if self.shared.row.get().is_none() {
            self.open_now();
        }
        if elsewhere {
            self.shared.cancel_row();
        }
    }

    fn open_now(&mut self) {
        let shared = &self.shared;
        shared.row.set(Some(self.scoped.open()));
        if let Some(remote) = shared.remote.get() {
            shared.show(remote);
        }
        if shared.canceled.get() {
            shared.cancel_row();
        }
    }

    #[inline]
    fn leave(&mut self) {
        // From now on, a cancel finds no row.
        if let Some(open) = self.shared.row.take() {
            self.leave_open(open);
        } else if self.shared.left.get().is_none() {
            self.shared.left.set(Some(false));
        }
    }

    fn leave_open(&mut self, (runtime_id, key): (u64, Key)) {
        let shared = &self.shared;
        shared.look_at_clock();
        let is_over = || runtime::reach(runtime_id).is_some_and(|core| core.is_scope_over(key));
        let canceled = shared.was_canceled() || is_over();
        shared.left.set(Some(canceled));
        let caught = self.scoped.close();
        shared.caught.set(shared.caught.get() | caught);
        if let Some(remote) = shared.remote.get() {
            remote.settle(canceled);
            remote.forget_waker();
        }
    }
}

impl Drop for RunState {
    fn drop(&mut self) {
        self.leave();
    }
}

impl<F: Future> Future for RunScopeAny<F> {
    type Output = Result<F::Output, Canceled>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let entry = this.entry;
        let Some(future) = this.future.as_mut().as_pin_mut() else {
            panic!("a scope's future was polled after it was ready")
        };
        entry.look(context.waker());
        match entry.scoped.poll(future, context) {
            Poll::Ready(output) => {
                this.future.set(None);
                entry.leave();
                Poll::Ready(output.ok_or(Canceled))
            }
            Poll::Pending => {
                if !entry.scoped.is_due(entry.shared.deadline.get()) {
                    entry.shared.look_at_clock();
                    // The deadline has passed, or the future has moved it.
                    if !entry.scoped.is_due(entry.shared.deadline.get()) {
                        context.waker().wake_by_ref();
                    }
                }
                Poll::Pending
            }
        }
    }
}

pin_project! {
    /// The future of [`Scope::run`].
    #[must_use = "futures do nothing unless they are awaited"]
    pub struct RunScope<F> {
        #[pin]
        inner: RunScopeAny<F>,
    }
}

impl<F, T, E> Future for RunScope<F>
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

opaque_debug! { RunScope RunScopeAny }
