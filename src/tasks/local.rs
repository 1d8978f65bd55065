//! Which tasks belong to the thread that is running: the short way of a wake.

#![forbid(unsafe_code)]

use super::rows::Tasks;
use std::cell::{Cell, RefCell};
use std::ptr;
use std::rc::Rc;

/// The tasks of one runtime, as the runtime and the wakers of its thread reach them.
pub(crate) type SharedTasks = Rc<RefCell<Tasks>>;

thread_local! {
    /// What the innermost living [`LocalGuard`] of this thread holds, or null. A plain pointer, so that a wake costs one
    /// load and works while the thread's storage is torn down.
    static LOCAL: Cell<*const RefCell<Tasks>> = const { Cell::new(ptr::null()) };
}

/// Makes these tasks the ones that wakes on this thread reach directly, until it is dropped.
///
/// - **K4** The pointer in `LOCAL` is that of tasks which a living guard of this thread keeps alive, or null. Guards are
///   dropped in the reverse order of their making, and never forgotten: they live on the stack of `block_on` and of the
///   shutdown.
#[derive(Debug)]
pub(crate) struct LocalGuard {
    _tasks: SharedTasks,
    before: *const RefCell<Tasks>,
}

impl LocalGuard {
    pub(crate) fn enter(tasks: SharedTasks) -> LocalGuard {
        let before = LOCAL.replace(Rc::as_ptr(&tasks));
        LocalGuard {
            _tasks: tasks,
            before,
        }
    }
}

impl Drop for LocalGuard {
    fn drop(&mut self) {
        LOCAL.set(self.before);
    }
}

/// The tasks that are current on this thread, valid for as long as no guard is dropped (K4), or null.
#[inline]
pub(super) fn current() -> *const RefCell<Tasks> {
    LOCAL.get()
}
