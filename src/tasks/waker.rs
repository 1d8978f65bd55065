//! Wakers that hold only a wake ID: not counted, never freed, and usable on every thread.

use super::inbox::Inbox;
use super::local;
use super::wake_id::WakeId;
use crate::table::TableCell;
use std::ptr;
use std::task::{RawWaker, RawWakerVTable, Waker};

/// A `static`, so that its address tells our wakers from foreign ones.
static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake, drop);

/// Of the wakers that a runtime with virtual time polls with: their clones are counted. Only other code makes some, with
/// which another thread may wake the runtime; ours are made by [`copy_waker`].
static WATCHED: RawWakerVTable = RawWakerVTable::new(clone_counted, wake, wake, drop);

/// Of those clones.
static COUNTED: RawWakerVTable =
    RawWakerVTable::new(clone_counted, wake_counted, wake, drop_counted);

/// Returns the data of a waker: the wake ID as a number, never an address.
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
    // SAFETY: the pointer is null, or points to tasks that a guard on this thread's stack keeps alive (K4). No guard is
    // dropped while this reference lives: it ends with the borrow below, and no user code runs before that (K1).
    let tasks = unsafe { local::current().as_ref() };
    let Some(mut tasks) = tasks
        .map(TableCell::borrow_mut)
        .filter(|tasks| tasks.is_ours(name))
    else {
        return Inbox::of(name.runtime()).post(name);
    };
    let foreign = tasks.wake(name);
    std::mem::drop(tasks);
    if let Some(parent) = foreign {
        // The parent of a child is polled by a future of another crate, whose waker is user code.
        parent.wake();
    }
}

unsafe fn drop(_: *const ()) {}

unsafe fn clone_counted(data: *const ()) -> RawWaker {
    Inbox::of(name(data).runtime()).count_waker();
    RawWaker::new(data, &COUNTED)
}

unsafe fn wake_counted(data: *const ()) {
    // SAFETY: `wake` has no requirements: it only reads the number. (It is unsafe to fit the table.)
    unsafe { wake(data) };
    Inbox::of(name(data).runtime()).discount_waker();
}

unsafe fn drop_counted(data: *const ()) {
    Inbox::of(name(data).runtime()).discount_waker();
}

/// Returns the waker of this task.
#[inline]
pub(crate) fn waker(name: WakeId) -> Waker {
    // SAFETY: the four functions only read a number, and keep, share or free nothing. So any thread may call them in any
    // order, any number of times, even after the task and its runtime are gone, which is all that the contract of
    // RawWaker requires.
    unsafe { Waker::new(data(name), &VTABLE) }
}

/// Returns the waker of this task whose clones are counted.
pub(crate) fn watched_waker(name: WakeId) -> Waker {
    // SAFETY: the four functions read a number, and change at most a count in a static inbox. So any thread may call them
    // in any order, any number of times: dropping a clone once is a matter of the count, not of soundness.
    unsafe { Waker::new(data(name), &WATCHED) }
}

/// Returns a counted waker of this task, for a handle that another thread may use.
pub(crate) fn counted_waker(name: WakeId) -> Waker {
    watched_waker(name).clone()
}

/// Returns the wake ID in this waker, if it is one of ours.
#[inline]
pub(crate) fn wake_id_of(waker: &Waker) -> Option<WakeId> {
    (has_nothing_to_drop(waker) || is_watched(waker)).then(|| name(waker.data()))
}

/// Whether it is one of ours, and not counted.
#[inline]
pub(crate) fn has_nothing_to_drop(waker: &Waker) -> bool {
    ptr::eq(waker.vtable(), &VTABLE)
}

#[cold]
#[inline(never)]
fn is_watched(waker: &Waker) -> bool {
    ptr::eq(waker.vtable(), &WATCHED) || ptr::eq(waker.vtable(), &COUNTED)
}

/// Clones a waker, without a call through the vtable if it is ours. Cloning a foreign waker runs user code (R1).
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
    fn a_waker_returns_its_wake_id_and_a_foreign_one_has_none() {
        let name = WakeId::new(3, Key::new(5, 7));
        let ours = waker(name);
        assert_eq!(wake_id_of(&ours), Some(name));
        assert_eq!(wake_id_of(&ours.clone()), Some(name));
        assert!(ours.will_wake(&copy_waker(&ours)));
        assert_eq!(wake_id_of(Waker::noop()), None);
    }

    #[test]
    fn the_clones_of_a_watched_waker_are_counted() {
        let name = WakeId::new(3999, Key::new(5, 7));
        let inbox = Inbox::of(3999);
        let watched = watched_waker(name);
        let copy = copy_waker(&watched);
        assert_eq!((wake_id_of(&watched), inbox.wakers_out()), (Some(name), 0));
        let clones = [watched.clone(), watched.clone(), copy.clone()];
        assert_eq!(inbox.wakers_out(), 2);
        let third = clones[0].clone();
        third.wake_by_ref();
        assert_eq!((wake_id_of(&third), inbox.wakers_out()), (Some(name), 3));
        third.wake();
        std::mem::drop((clones, copy, watched));
        assert_eq!(inbox.wakers_out(), 0);
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
