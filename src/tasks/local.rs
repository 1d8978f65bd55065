//! Which tasks belong to the thread that is running: the short way of a wake.

#![forbid(unsafe_code)]

use super::name::Name;
use super::rows::Tasks;
use std::cell::RefCell;
use std::rc::Rc;

/// The tasks of one runtime, as the runtime and the wakers of its thread reach them.
pub(crate) type SharedTasks = Rc<RefCell<Tasks>>;

thread_local! {
    static LOCAL: RefCell<Option<SharedTasks>> = const { RefCell::new(None) };
}

/// Makes these tasks the ones that wakes on this thread reach directly, until it is dropped.
#[derive(Debug)]
pub(crate) struct LocalGuard {
    before: Option<SharedTasks>,
}

impl LocalGuard {
    pub(crate) fn enter(tasks: SharedTasks) -> LocalGuard {
        let before = LOCAL.with(|local| local.replace(Some(tasks)));
        LocalGuard { before }
    }
}

impl Drop for LocalGuard {
    fn drop(&mut self) {
        let before = self.before.take();
        // While the thread's own storage is torn down there is nothing to restore.
        let _ = LOCAL.try_with(|local| local.replace(before));
    }
}

/// Wakes the task if it belongs to the runtime that is current on this thread.
#[inline]
pub(super) fn wake(name: Name) -> bool {
    LOCAL
        .try_with(|local| match &*local.borrow() {
            Some(tasks) => tasks.borrow_mut().wake_if_ours(name),
            None => false,
        })
        .unwrap_or(false)
}
