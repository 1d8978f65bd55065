//! Which tasks belong to the thread that is running: the short way of a wake.

#![forbid(unsafe_code)]

use super::name::Name;
use super::rows::Tasks;
use std::cell::RefCell;
use std::mem::{self, ManuallyDrop};
use std::rc::Rc;

/// The tasks of one runtime, as the runtime and the wakers of its thread reach them.
pub(crate) type SharedTasks = Rc<RefCell<Tasks>>;

thread_local! {
    /// It has no destructor, so that it is there while others of the thread's locals are being dropped: a runtime may be
    /// among them. Whatever is put in is taken out by its guard.
    static LOCAL: RefCell<ManuallyDrop<Option<SharedTasks>>> = const { RefCell::new(ManuallyDrop::new(None)) };
}

/// Makes these tasks the ones that wakes on this thread reach directly, until it is dropped.
#[derive(Debug)]
pub(crate) struct LocalGuard {
    before: Option<SharedTasks>,
}

impl LocalGuard {
    pub(crate) fn enter(tasks: SharedTasks) -> LocalGuard {
        LocalGuard {
            before: replace(Some(tasks)),
        }
    }
}

impl Drop for LocalGuard {
    fn drop(&mut self) {
        let ours = replace(self.before.take());
        drop(ours);
    }
}

fn replace(tasks: Option<SharedTasks>) -> Option<SharedTasks> {
    LOCAL.with(|local| mem::replace(&mut **local.borrow_mut(), tasks))
}

/// Wakes the task if it belongs to the runtime that is current on this thread.
#[inline]
pub(super) fn wake(name: Name) -> bool {
    LOCAL.with(|local| match &**local.borrow() {
        Some(tasks) => tasks.borrow_mut().wake_if_ours(name),
        None => false,
    })
}
