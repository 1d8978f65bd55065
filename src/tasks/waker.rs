//! Wakers that are names: nothing is counted, nothing is freed, and every thread may have one.

use super::inbox::Inbox;
use super::local;
use super::wake_id::WakeId;
use std::cell::RefCell;
use std::ptr;
use std::task::{RawWaker, RawWakerVTable, Waker};

/// It is a `static` so that its address tells our wakers from those of others.
static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake, drop);

/// The data of a waker is the name as a number, never an address.
fn data(name: WakeId) -> *const () {
    ptr::without_provenance(name.bits() as usize)
}

fn name(data: *const ()) -> WakeId {
    WakeId::from_bits(data.addr() as u64)
}

unsafe fn clone(data: *const ()) -> RawWaker {
    RawWaker::new(data, &VTABLE)
}

#[inline]
unsafe fn wake(data: *const ()) {
    let name = name(data);
    // SAFETY: the pointer is null, or that of tasks which a guard on this thread's stack keeps alive (K4). No guard is
    // dropped while this reference lives: it ends with the borrow below, until which no code of a user runs (K1).
    let tasks = unsafe { local::current().as_ref() };
    let Some(mut tasks) = tasks
        .map(RefCell::borrow_mut)
        .filter(|tasks| tasks.is_ours(name))
    else {
        return Inbox::of(name.runtime()).post(name);
    };
    let foreign = tasks.wake(name);
    std::mem::drop(tasks);
    if let Some(parent) = foreign {
        // A child in a future of another crate, whose waker is a user's code.
        parent.wake();
    }
}

unsafe fn drop(_: *const ()) {}

/// The waker of this task.
#[inline]
pub(crate) fn waker(name: WakeId) -> Waker {
    // SAFETY: the four functions read a number and keep, share or free nothing, so any thread may call them in any order,
    // any number of times, also after the task and its runtime are gone: the contract of RawWaker asks no more.
    unsafe { Waker::new(data(name), &VTABLE) }
}

/// The task that this waker wakes, if it is one of ours.
#[inline]
pub(crate) fn wake_id_of(waker: &Waker) -> Option<WakeId> {
    ptr::eq(waker.vtable(), &VTABLE).then(|| name(waker.data()))
}

/// A clone that does not call through the table of a waker that is ours. A foreign waker's clone is a user's code (R1).
#[inline]
pub(crate) fn copy_waker(original: &Waker) -> Waker {
    match wake_id_of(original) {
        Some(name) => waker(name),
        None => original.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Key;

    #[test]
    fn a_waker_tells_its_name_and_a_foreign_one_has_none() {
        let name = WakeId::new(3, Key::new(5, 7));
        let ours = waker(name);
        assert_eq!(wake_id_of(&ours), Some(name));
        assert_eq!(wake_id_of(&ours.clone()), Some(name));
        assert!(ours.will_wake(&copy_waker(&ours)));
        assert_eq!(wake_id_of(Waker::noop()), None);
    }

    #[test]
    fn a_waker_is_send_and_sync_and_outlives_everything() {
        let ours = waker(WakeId::new(4000, Key::new(5, 7)));
        std::thread::spawn(move || {
            ours.wake_by_ref();
            ours.wake();
        })
        .join()
        .unwrap();
    }
}
