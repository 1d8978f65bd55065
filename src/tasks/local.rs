//! The task table that is current on this thread: the fast path of a wake.

#![forbid(unsafe_code)]

use super::rows::Tasks;
use crate::table::TableCell;
use std::cell::Cell;
use std::ptr;
use std::rc::Rc;

/// The tasks of one runtime, shared by the runtime and the wakers of its thread.
pub(crate) type SharedTasks = Rc<TableCell<Tasks>>;

thread_local! {
    /// The tasks that the innermost living [`LocalGuard`] of this thread holds, or null. A plain pointer, so that a wake
    /// costs one load and works while the thread's storage is torn down.
    static LOCAL: Cell<*const TableCell<Tasks>> = const { Cell::new(ptr::null()) };
}

/// Guard that lets wakes on this thread reach these tasks directly.
///
/// - **K4** The pointer in `LOCAL` is null, or points to tasks that a living guard of this thread keeps alive. Guards are
///   dropped in reverse order of creation, and never forgotten: they live on the stack of `block_on` and of the shutdown.
#[derive(Debug)]
pub(crate) struct LocalGuard {
    _tasks: SharedTasks,
    before: *const TableCell<Tasks>,
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

/// Returns the tasks that are current on this thread, or null. The pointer is valid until a guard is dropped (K4).
#[inline]
pub(super) fn current() -> *const TableCell<Tasks> {
    LOCAL.get()
}
