//! The types of loom, with what it lacks, and what the models share.

pub(crate) use loom::cell::UnsafeCell as SharedCell;
use loom::sync::atomic::{self, fence};
pub(crate) use loom::sync::atomic::{AtomicU8, AtomicU16, AtomicU64};
pub(crate) use loom::sync::{Arc, Mutex, MutexGuard};
pub(crate) use loom::thread;
use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::sync::{LockResult, PoisonError};
use std::task::{Wake, Waker};
use std::time::Duration;

/// Runs a model in every order with at most this many preemptions, in which a thread that could go on makes way for another,
/// and prints how many orders there are.
pub(crate) fn check(preemptions_max: usize, model: impl Fn() + Send + Sync + 'static) {
    let orders = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let count = orders.clone();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions_max);
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        model();
    });
    println!("{} orders", orders.load(Ordering::Relaxed));
}

/// What a thread of a model waits for. One before the wait ends that wait, and the wait may end by itself.
#[derive(Debug, Default)]
pub(crate) struct Event(loom::sync::Notify);

impl Event {
    pub(crate) fn wait(&self) {
        self.0.wait();
    }

    pub(crate) fn set(&self) {
        self.0.notify();
    }
}

impl Wake for Event {
    fn wake(self: std::sync::Arc<Self>) {
        self.set();
    }
}

/// Returns an event, and the waker that sets it.
pub(crate) fn event_waker() -> (std::sync::Arc<Event>, Waker) {
    let event = std::sync::Arc::<Event>::default();
    (event.clone(), Waker::from(event))
}

loom::thread_local! {
    /// Whether the last access was a sequentially consistent store.
    static STORED: Cell<bool> = Cell::new(false);
}

/// An atomic whose sequentially consistent accesses are that. Loom knows only fences of this kind, and takes such an
/// access for an acquire or a release. What sequential consistency adds is that a load is not moved before a store,
/// if both are of this kind: then there is a fence between them.
///
/// A store is a swap, so that all that is written to an atomic has one order, the one in which it happens. Loom orders
/// stores only as far as they depend on each other, and lets a load return what a swap of another thread had written before
/// a later store, which the rules for swaps exclude.
#[derive(Debug)]
pub(crate) struct AtomicBool(atomic::AtomicBool);

impl AtomicBool {
    pub(crate) fn new(value: bool) -> AtomicBool {
        AtomicBool(atomic::AtomicBool::new(value))
    }

    pub(crate) fn load(&self, ordering: Ordering) -> bool {
        if ordering == Ordering::SeqCst && STORED.with(Cell::get) {
            fence(ordering);
        }
        self.0.load(ordering)
    }

    pub(crate) fn store(&self, value: bool, ordering: Ordering) {
        self.0.swap(value, ordering);
        STORED.with(|stored| stored.set(ordering == Ordering::SeqCst));
    }

    pub(crate) fn swap(&self, value: bool, ordering: Ordering) -> bool {
        self.0.swap(value, ordering)
    }
}

impl Default for AtomicBool {
    fn default() -> AtomicBool {
        AtomicBool::new(false)
    }
}

/// Loom has none. The value is there before the flag is set.
#[derive(Debug)]
pub(crate) struct OnceLock<T> {
    is_set: atomic::AtomicBool,
    value: std::sync::OnceLock<T>,
}

impl<T> OnceLock<T> {
    pub(crate) fn new() -> OnceLock<T> {
        OnceLock {
            is_set: atomic::AtomicBool::new(false),
            value: std::sync::OnceLock::new(),
        }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        match self.is_set.load(Ordering::Acquire) {
            true => self.value.get(),
            false => None,
        }
    }

    pub(crate) fn set(&self, value: T) -> Result<(), T> {
        self.value.set(value)?;
        self.is_set.store(true, Ordering::Release);
        Ok(())
    }
}

/// Loom's, with what it lacks. Its waits never time out.
#[derive(Debug, Default)]
pub(crate) struct Condvar(loom::sync::Condvar);

impl Condvar {
    pub(crate) fn new() -> Condvar {
        Condvar::default()
    }

    pub(crate) fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, loom::sync::WaitTimeoutResult)> {
        self.0.wait_timeout(guard, timeout)
    }

    pub(crate) fn wait_timeout_while<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        _: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(MutexGuard<'a, T>, ())> {
        while condition(&mut guard) {
            guard = self.0.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        Ok((guard, ()))
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}
