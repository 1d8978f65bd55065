//! A waker that records whether it was woken, and passes the wake on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

/// Stands between a canceled future of another crate and the waker of its task. A future that waits for something will
/// be woken. One that has not been woken by the end of its poll, and waits for nothing of this runtime, may never be
/// (C6).
#[derive(Debug)]
pub(super) struct WakeProbe {
    woken: AtomicBool,
    /// In an `Arc`, so that under the lock only a count changes: cloning the waker itself may run user code.
    waker: Mutex<Arc<Waker>>,
}

impl WakeProbe {
    pub(super) fn new(waker: &Waker) -> Arc<WakeProbe> {
        Arc::new(WakeProbe {
            woken: AtomicBool::new(false),
            waker: Mutex::new(Arc::new(waker.clone())),
        })
    }

    /// Called before the future is polled. `waker` wakes its task.
    pub(super) fn begin(&self, waker: &Waker) {
        self.woken.store(false, Ordering::Release);
        let same = lock(&self.waker).will_wake(waker);
        if !same {
            // Clone and drop outside the lock, because both may run user code.
            let new = Arc::new(waker.clone());
            let old = std::mem::replace(&mut *lock(&self.waker), new);
            drop(old);
        }
    }

    pub(super) fn was_woken(&self) -> bool {
        self.woken.load(Ordering::Acquire)
    }
}

impl Wake for WakeProbe {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        let waker = Arc::clone(&lock(&self.waker));
        waker.wake_by_ref();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
