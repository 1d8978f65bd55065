//! Whether a future was woken: a waker that remembers it, and passes it on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

/// It is between a canceled future of another crate and whoever polls it. What waits for something will be woken; what has
/// not been woken by the end of its poll, and waits for nothing of this runtime, may never be (C6).
#[derive(Debug)]
pub(super) struct WakeProbe {
    woken: AtomicBool,
    /// Shared, so that under the lock it is counted and not cloned, which may be a user's code.
    waker: Mutex<Arc<Waker>>,
}

impl WakeProbe {
    pub(super) fn new(waker: &Waker) -> Arc<WakeProbe> {
        Arc::new(WakeProbe {
            woken: AtomicBool::new(false),
            waker: Mutex::new(Arc::new(waker.clone())),
        })
    }

    /// The future is about to be polled, and `waker` wakes whoever does that.
    pub(super) fn begin(&self, waker: &Waker) {
        self.woken.store(false, Ordering::Release);
        let same = lock(&self.waker).will_wake(waker);
        if !same {
            // Neither the clone nor the drop, which may be a user's code, under the lock.
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
