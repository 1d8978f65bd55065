//! Scopes that a user opens.

use super::Region;
use crate::runtime::{self, Core};
use crate::scope::{Canceled, Rank};
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

/// A scope that can be cancelled, from inside and from outside: Trio's `CancelScope`.
///
/// What is awaited inside of its [`run`](Scope::run) ends with [`Canceled`] once the scope is cancelled, by
/// [`cancel`](Scope::cancel), by its deadline, or because it is in another scope that is.
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
    /// It was cancelled from this thread, and why.
    canceled: Cell<bool>,
    reason: RefCell<Option<String>>,
    /// There once a handle for other threads was asked for.
    remote: OnceCell<Arc<Remote>>,
    deadline: Cell<Option<Instant>>,
    /// The runtime and the row, while its future runs.
    row: Cell<Option<(u64, Key)>>,
    /// The row was cancelled for that.
    told: Cell<bool>,
    entered: Cell<bool>,
    caught: Cell<bool>,
}

/// What other threads see of a scope.
#[derive(Debug)]
struct Remote {
    canceled: AtomicBool,
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

    /// True if it was not cancelled before.
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
    /// Cancels its row, if it has one.
    fn tell(&self) {
        if let Some((serial, key)) = self.row.get()
            && let Some(core) = runtime::reach(serial)
        {
            self.told.set(true);
            core.cancel_scope(key);
        }
    }

    /// By a call, here or on another thread.
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
                caught: Cell::new(false),
            }),
        }
    }

    /// A scope that is cancelled at this moment.
    #[must_use]
    pub fn with_deadline(deadline: Instant) -> Scope {
        let scope = Scope::new();
        scope.set_deadline(Some(deadline));
        scope
    }

    /// Runs a future in this scope, below the scope of whoever awaits it. What the future says is what this says; if it had
    /// to be dropped, because it was cancelled and waited for something of another crate, that is [`Canceled`].
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
                region: Region::new(Rank::Plain),
                shared: self.shared.clone(),
                known: None,
            },
        }
    }

    /// Cancels the scope, and all below it but what is shielded. From now on everything that is awaited in it ends with
    /// [`Canceled`].
    pub fn cancel(&self) {
        self.cancel_now(None);
    }

    /// As [`cancel`](Scope::cancel), and says why: [`reason`](Scope::reason) tells. Only the first reason is kept.
    pub fn cancel_with(&self, reason: impl Into<String>) {
        self.cancel_now(Some(reason.into()));
    }

    fn cancel_now(&self, reason: Option<String>) {
        let shared = &self.shared;
        if shared.was_canceled() {
            return;
        }
        shared.canceled.set(true);
        if let Some(remote) = shared.remote.get() {
            remote.cancel(None);
        }
        shared.reason.replace(reason);
        shared.tell();
    }

    /// Whether it is cancelled: by a call, by its deadline, or from outside while its future runs.
    #[doc(alias = "is_cancelled")]
    #[must_use]
    pub fn is_canceled(&self) -> bool {
        self.shared.was_canceled()
            || self.shared.row.get().is_some_and(|(serial, key)| {
                runtime::reach(serial).is_some_and(|core| core.is_scope_canceled(key))
            })
    }

    /// Whether something that was awaited in it was cut short, and it is this scope that answers for it: no scope around it
    /// was cancelled, too. It is known once the future has ended.
    #[must_use]
    pub fn was_caught(&self) -> bool {
        self.shared.caught.get()
    }

    /// Why it was cancelled, if whoever did it said so.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let reason = self.shared.reason.borrow().clone();
        reason.or_else(|| self.shared.remote.get()?.lock().reason.clone())
    }

    /// When it is cancelled by itself. `None` when it has no deadline, or that is past.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.shared.deadline.get()
    }

    /// Sets, moves or takes away the deadline, also while the future runs. What is cancelled stays so.
    pub fn set_deadline(&self, deadline: Option<Instant>) {
        self.shared.deadline.set(deadline);
        if let Some((serial, key)) = self.shared.row.get()
            && let Some(core) = runtime::reach(serial)
        {
            core.wake_scope(key);
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
            Arc::new(Remote {
                canceled: AtomicBool::new(shared.canceled.get()),
                inner: Mutex::new(RemoteInner {
                    reason: None,
                    waker,
                }),
            })
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

/// Cancels a [`Scope`] from any thread. It keeps nothing alive, and does nothing when the scope has been left.
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

    /// Whether [`cancel`](ScopeHandle::cancel) was called, here or elsewhere.
    #[must_use]
    pub fn is_canceled(&self) -> bool {
        self.remote.canceled.load(Ordering::Acquire)
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
    region: Region,
    shared: Rc<Shared>,
    /// The waker that other threads have.
    known: Option<Waker>,
}

impl Entry {
    /// What others have asked of the scope since its future was polled.
    #[inline]
    fn look(&mut self, waker: &Waker) {
        if self.region.deadline() != self.shared.deadline.get() {
            self.look_at_deadline();
        }
        if self.shared.remote.get().is_some() {
            self.keep_waker(waker);
        }
    }

    fn look_at_deadline(&mut self) {
        let deadline = self.shared.deadline.get();
        let is_past = deadline.is_some_and(|deadline| runtime::with(Core::now) >= deadline);
        self.region.set_deadline(deadline, is_past);
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
        }
        if !shared.told.get() && shared.was_canceled() {
            self.shared.tell();
        }
    }

    #[inline]
    fn leave(&mut self) {
        if self.shared.row.take().is_some() {
            self.leave_open();
        }
    }

    fn leave_open(&mut self) {
        let caught = self.region.close();
        self.shared.caught.set(self.shared.caught.get() | caught);
        if let Some(remote) = self.shared.remote.get() {
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
        let deadline = entry.region.deadline();
        let polled = entry.region.poll(future, context);
        if entry.region.deadline() != deadline && entry.shared.deadline.get() == deadline {
            // It is past.
            entry.shared.deadline.set(None);
        }
        match polled {
            Poll::Ready(output) => {
                this.future.set(None);
                entry.leave();
                Poll::Ready(output.ok_or(Canceled))
            }
            Poll::Pending => {
                if entry.region.deadline() != entry.shared.deadline.get() {
                    // The future has moved it.
                    context.waker().wake_by_ref();
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
