//! Which runtime is current on this thread, and how whatever holds a key finds its own (O9).

use super::core::Core;
use crate::table::Key;
use crate::tasks::{Inbox, LocalGuard, wake_id_of};
use std::cell::RefCell;
use std::marker::PhantomData;
use std::mem::{self, ManuallyDrop};
use std::ops::Deref;
use std::rc::{Rc, Weak};
use std::task::Waker;

thread_local! {
    /// It has no destructor, so that it is there while others of the thread's locals are being dropped: a runtime may be
    /// among them. Whatever is put in is taken out by its guard.
    static CURRENT: RefCell<ManuallyDrop<Option<Rc<Core>>>> =
        const { RefCell::new(ManuallyDrop::new(None)) };
    /// The runtimes of this thread by serial.
    static RUNTIMES: RefCell<Vec<(u64, Link)>> = const { RefCell::new(Vec::new()) };
}

/// How a thread holds on to a runtime that is not current.
enum Link {
    Living(Weak<Core>),
    /// It has ended, but futures hold results that they have not looked at: they find them there.
    Ended(Rc<Core>),
}

/// Keeps what holds a key on the thread of its runtime, which it could not reach from another one (O9): there it could
/// neither be polled, nor give its row back when it is dropped. (A wait's row alone can be sent back: [`give_back`].)
pub(crate) type Local = PhantomData<*const ()>;

/// What someone who used the runtime from outside is told.
const NONE_CURRENT: &str = "no gimmal runtime is current on this thread: call this from inside a future that \
                            gimmal::run or Runtime::block_on is running, on the thread that runs it";

const FOREIGN: &str = "this future belongs to another gimmal runtime than the one that polls it: poll it where it was \
                       first polled, or where its task was spawned";

/// Makes a runtime the current one of this thread, until it is dropped.
pub(super) struct Entered {
    before: Option<Rc<Core>>,
    _local: LocalGuard,
}

impl Entered {
    pub(super) fn new(core: &Rc<Core>) -> Entered {
        let local = LocalGuard::enter(core.tasks.clone());
        let before = replace_current(Some(core.clone()));
        Entered {
            before,
            _local: local,
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let ours = replace_current(self.before.take());
        drop(ours);
    }
}

fn replace_current(core: Option<Rc<Core>>) -> Option<Rc<Core>> {
    CURRENT.with(|current| mem::replace(&mut **current.borrow_mut(), core))
}

/// Calls `f` with the current runtime, if there is one. `f` runs no code of a user (R1).
#[inline]
pub(crate) fn try_with<T>(f: impl FnOnce(&Core) -> T) -> Option<T> {
    // `LocalKey::with` is not inlined here, which costs a no-op 130 of its 700 instructions.
    let found = CURRENT.try_with(|current| current.borrow().as_deref().map(f));
    found.ok().flatten()
}

/// Calls `f` with the current runtime, as [`try_with`] does.
///
/// # Panics
///
/// If there is none.
#[inline]
#[track_caller]
pub(crate) fn with<T>(f: impl FnOnce(&Core) -> T) -> T {
    match try_with(f) {
        Some(value) => value,
        None => panic!("{NONE_CURRENT}"),
    }
}

/// Calls `f` with the current runtime, which must be the one with that serial: whoever calls holds a key of it (O9).
///
/// # Panics
///
/// If there is none, or it is another.
#[inline]
#[track_caller]
pub(crate) fn with_own<T>(serial: u64, f: impl FnOnce(&Core) -> T) -> T {
    with(|core| {
        assert!(core.serial == serial, "{FOREIGN}");
        f(core)
    })
}

/// Drops a waker that a leaf has no use for. A foreign one's drop is a user's code: call this where nothing is borrowed. A
/// panic there goes to the hook, and the leaf goes on (R1).
#[inline]
pub(crate) fn drop_waker(waker: Option<Waker>) {
    if let Some(waker) = waker {
        match wake_id_of(&waker) {
            // Ours have nothing to drop.
            Some(_) => mem::forget(waker),
            None => drop_foreign(waker),
        }
    }
}

#[cold]
fn drop_foreign(waker: Waker) {
    guard("a waker", || drop(waker));
}

/// Wakes them where nothing is borrowed, whether a runtime is current or not.
pub(crate) fn wake_all(wakers: Vec<Waker>) {
    for waker in wakers {
        guard("a waker", || waker.wake());
    }
}

/// Runs a user's code where its runtime may be gone; if it panics, the hook of the current runtime hears of it, or that of a
/// runtime for which none was set.
pub(crate) fn guard<T>(what: &'static str, run: impl FnOnce() -> T) -> Option<T> {
    let hook = current().map(|core| core.hook.clone()).unwrap_or_default();
    hook.guard(what, run)
}

/// The current runtime, to be held while a user's code runs.
///
/// # Panics
///
/// If there is none.
#[track_caller]
pub(crate) fn required() -> Rc<Core> {
    match current() {
        Some(core) => core,
        None => panic!("{NONE_CURRENT}"),
    }
}

/// The current runtime, to be held while a user's code runs, which must be the one with that serial (O9).
///
/// # Panics
///
/// If there is none, or it is another.
#[track_caller]
pub(crate) fn hold_own(serial: u64) -> Rc<Core> {
    let core = required();
    assert!(core.serial == serial, "{FOREIGN}");
    core
}

/// The current runtime, to be held.
#[inline]
pub(crate) fn current() -> Option<Rc<Core>> {
    // As in `try_with`.
    let found = CURRENT.try_with(|current| Option::clone(&current.borrow()));
    found.ok().flatten()
}

/// The runtime of that serial, whether it is current or not. `None` if it is gone, if it belongs to the parent of this
/// process, or if the thread is ending: then what was lent is forgotten, never freed (O9).
///
/// What is done with it may run a user's code: the current runtime is not borrowed meanwhile (R1).
#[inline]
pub(crate) fn reach(serial: u64) -> Option<Reached> {
    let core = match current() {
        Some(core) if core.serial == serial => core,
        _ => find(serial)?,
    };
    (!core.is_forked()).then_some(Reached(core))
}

#[cold]
fn find(serial: u64) -> Option<Rc<Core>> {
    let find = |runtimes: &RefCell<Vec<(u64, Link)>>| {
        let runtimes = runtimes.borrow();
        let (_, link) = runtimes.iter().find(|(known, _)| *known == serial)?;
        match link {
            Link::Living(core) => core.upgrade(),
            Link::Ended(core) => Some(core.clone()),
        }
    };
    RUNTIMES.try_with(find).ok()?
}

/// The owner of a descriptor is gone, and operations hold it: whichever runtime of this thread has them ends those that nobody
/// awaits.
#[cold]
pub(crate) fn end_orphans() {
    let living = |runtimes: &RefCell<Vec<(u64, Link)>>| -> Vec<Rc<Core>> {
        let runtimes = runtimes.borrow();
        let living = runtimes.iter().filter_map(|(_, link)| match link {
            Link::Living(core) => core.upgrade(),
            Link::Ended(_) => None,
        });
        living.collect()
    };
    for core in RUNTIMES.try_with(living).into_iter().flatten() {
        core.end_orphans();
    }
}

/// The row of a wait goes back to a runtime that is not of this thread, if it is there. A child of the process has no use for
/// the row, and the locks of its parent's other threads.
#[cold]
pub(crate) fn give_back(serial: u64, wait: Key) {
    if find(serial).is_none() {
        Inbox::give_back(serial, wait);
    }
}

/// A runtime that was reached by its serial.
pub(crate) struct Reached(Rc<Core>);

impl Deref for Reached {
    type Target = Core;

    fn deref(&self) -> &Core {
        &self.0
    }
}

impl Drop for Reached {
    /// Whoever reached a runtime that has ended may have taken the last of what it was kept for.
    fn drop(&mut self) {
        if self.has_ended() {
            forget_if_empty(&self.0);
        }
    }
}

/// A runtime of this thread is born.
pub(super) fn register(core: &Rc<Core>) {
    // While the thread is ending it stays unknown, which `reach` allows for.
    let _ = RUNTIMES.try_with(|runtimes| {
        let link = Link::Living(Rc::downgrade(core));
        runtimes.borrow_mut().push((core.serial, link));
    });
}

/// A runtime of this thread has ended. While futures hold results of it, it is kept for them.
pub(super) fn retire(core: &Rc<Core>) {
    let _ = RUNTIMES.try_with(|runtimes| {
        if let Some((_, link)) = runtimes
            .borrow_mut()
            .iter_mut()
            .find(|(known, _)| *known == core.serial)
        {
            *link = Link::Ended(core.clone());
        }
    });
    forget_if_empty(core);
}

fn forget_if_empty(core: &Rc<Core>) {
    if !core.has_ended() || core.holds_results() {
        return;
    }
    let removed = RUNTIMES.try_with(|runtimes| {
        let mut runtimes = runtimes.borrow_mut();
        let at = runtimes
            .iter()
            .position(|(known, _)| *known == core.serial)?;
        Some(runtimes.swap_remove(at))
    });
    drop(removed);
}
