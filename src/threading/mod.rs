//! What threads meet in: the locks, atomics and threads of the parts of this crate that more than one thread touches.
//!
//! They are std's, and what only one thread touches uses std directly. In the models (`cargo test --lib models` with
//! `--cfg gimmal_loom`), they are loom's, which runs a test in every order that its threads can meet in, and lets each
//! load return every value that the memory orderings allow. The models are beside what they are about, in files that end
//! with `models.rs`.

#![forbid(unsafe_code)]

#[cfg(all(test, gimmal_loom))]
pub(crate) use self::loom_types::{
    Arc, AtomicBool, AtomicU8, AtomicU16, AtomicU64, Condvar, Mutex, MutexGuard, OnceLock,
    SharedCell, thread,
};
#[cfg(all(test, gimmal_loom))]
pub(crate) use self::loom_types::{Event, check, event_waker};
#[cfg(not(all(test, gimmal_loom)))]
pub(crate) use self::std_types::{
    Arc, AtomicBool, AtomicU8, AtomicU16, AtomicU64, Condvar, Mutex, MutexGuard, OnceLock,
    SharedCell, thread,
};

use std::sync::PoisonError;

/// Locks a mutex and ignores poisoning: no code that can panic runs under the locks of this crate.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(not(all(test, gimmal_loom)))]
mod std_types {
    use std::cell::UnsafeCell;
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU64};
    pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
    pub(crate) use std::thread;

    /// A value that is written through a pointer, by one thread at a time.
    #[derive(Debug)]
    #[repr(transparent)]
    pub(crate) struct SharedCell<T>(UnsafeCell<T>);

    impl<T> SharedCell<T> {
        #[inline]
        pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}

#[cfg(all(test, gimmal_loom))]
#[path = "models.rs"]
mod loom_types;
