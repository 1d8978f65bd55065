//! The current runtime of this thread, and the lookup of a runtime by ID for holders of its keys (O9).

use super::core::Core;
use crate::table::Key;
use crate::tasks::{Inbox, LocalGuard, has_nothing_to_drop};
use std::cell::RefCell;
use std::marker::PhantomData;
use std::mem::{self, ManuallyDrop};
use std::ops::Deref;
use std::rc::{Rc, Weak};
use std::task::Waker;

thread_local! {
    /// Has no destructor, so that it stays usable while the thread's other locals are dropped: a runtime may be among
    /// them. The guard that puts a runtime in takes it out.
    static CURRENT: RefCell<ManuallyDrop<Option<Rc<Core>>>> =
        const { RefCell::new(ManuallyDrop::new(None)) };
    /// The runtimes of this thread.
    static RUNTIMES: RefCell<Vec<Known>> = const { RefCell::new(Vec::new()) };
}

/// A runtime that may not be current.
struct Known {
    id: u64,
    core: Weak<Core>,
    /// Keeps a runtime that has ended, for futures that have not taken their results.
    kept: Option<Rc<Core>>,
}

/// Marker that makes the holder of a key `!Send`. On another thread the holder could not reach its runtime (O9): it
/// could neither be polled nor free its row on drop. (Only a wait's row can be sent back: [`give_back`].)
pub(crate) type Local = PhantomData<*const ()>;

/// Panics at a call from outside a runtime. Out of line, as `foreign` is: these checks are inlined in many places, in
/// every crate.
#[cold]
#[inline(never)]
#[track_caller]
fn none_current() -> ! {
    panic!("{NONE_CURRENT}")
}

/// Panics because a key of another runtime was used (O9).
#[cold]
#[inline(never)]
#[track_caller]
fn foreign() -> ! {
    panic!("{FOREIGN}")
}

/// Panic message for a call from outside a runtime.
const NONE_CURRENT: &str = "no gimmal runtime is current on this thread: call this from inside a future that \
                            gimmal::run or Runtime::block_on is running, on the thread that runs it";

const FOREIGN: &str = "this future belongs to another gimmal runtime than the one that polls it: poll it where it was \
                       first polled, or where its task was spawned";

/// Guard that makes a runtime the current one of this thread.
pub(super) struct Entered {
    before: Option<Rc<Core>>,
    _local: LocalGuard,
}

impl Entered {
    pub(super) fn new(core: &Rc<Core>) -> Entered {
        let local = LocalGuard::enter(core.tasks.clone());
        Entered {
            before: replace_current(Some(core.clone())),
            _local: local,
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        drop(replace_current(self.before.take()));
    }
}

fn replace_current(core: Option<Rc<Core>>) -> Option<Rc<Core>> {
    CURRENT.with(|current| mem::replace(&mut **current.borrow_mut(), core))
}

/// Calls `f` with the current runtime, if there is one. `f` must not run user code (R1).
#[inline]
pub(crate) fn try_with<T>(f: impl FnOnce(&Core) -> T) -> Option<T> {
    // `LocalKey::with` is not inlined here, which costs a no-op 130 of its 700 instructions.
    let found = CURRENT.try_with(|current| current.borrow().as_deref().map(f));
    found.ok().flatten()
}

/// Whether the caller runs inside of [`try_with`], so that it must not run user code (R1).
pub(super) fn is_in_use() -> bool {
    let in_use = CURRENT.try_with(|current| current.try_borrow_mut().is_err());
    in_use.unwrap_or(false)
}

/// Calls `f` with the current runtime, as [`try_with`] does.
///
/// # Panics
///
/// If no runtime is current.
#[inline]
#[track_caller]
pub(crate) fn with<T>(f: impl FnOnce(&Core) -> T) -> T {
    match try_with(f) {
        Some(output) => output,
        None => none_current(),
    }
}

/// Calls `f` with the current runtime, which must have this ID: the caller holds a key of it (O9).
///
/// # Panics
///
/// If no runtime is current, or another one is.
#[inline]
#[track_caller]
pub(crate) fn with_own<T>(runtime_id: u64, f: impl FnOnce(&Core) -> T) -> T {
    with(|core| {
        if core.id != runtime_id {
            foreign();
        }
        f(core)
    })
}

/// Drops a waker that a leaf no longer needs. Dropping a foreign waker runs user code: call this where nothing is
/// borrowed. A panic in it goes to the hook, and the leaf continues (R1).
#[inline]
pub(crate) fn drop_waker(waker: Option<Waker>) {
    if let Some(waker) = waker {
        match has_nothing_to_drop(&waker) {
            true => mem::forget(waker),
            false => drop_foreign(waker),
        }
    }
}

#[cold]
fn drop_foreign(waker: Waker) {
    guard("a waker", || drop(waker));
}

/// Wakes all of them, with or without a current runtime. The caller borrows nothing.
pub(crate) fn wake_all(wakers: Vec<Waker>) {
    for waker in wakers {
        guard("a waker", || waker.wake());
    }
}

/// Runs user code whose runtime may be gone. A panic is reported to the hook of the current runtime, or to the default
/// hook if there is none.
pub(crate) fn guard<T>(what: &'static str, run: impl FnOnce() -> T) -> Option<T> {
    let hook = current().map(|core| core.hook.clone()).unwrap_or_default();
    hook.guard(what, run)
}

/// Returns the current runtime, to hold while user code runs.
///
/// # Panics
///
/// If no runtime is current.
#[track_caller]
pub(crate) fn required() -> Rc<Core> {
    current().unwrap_or_else(|| none_current())
}

/// Returns the current runtime, to hold while user code runs. It must have this ID (O9).
///
/// # Panics
///
/// If no runtime is current, or another one is.
#[track_caller]
pub(crate) fn hold_own(runtime_id: u64) -> Rc<Core> {
    let core = required();
    assert!(core.id == runtime_id, "{FOREIGN}");
    core
}

/// Returns the current runtime, if there is one.
#[inline]
pub(crate) fn current() -> Option<Rc<Core>> {
    // As in `try_with`.
    let found = CURRENT.try_with(|current| Option::clone(&current.borrow()));
    found.ok().flatten()
}

/// Returns the runtime with this ID, whether or not it is current. `None` if it is gone, if it belongs to this
/// process's parent, or if the thread is ending: the caller then forgets lent memory, and never frees it (O9).
///
/// The caller may run user code while it holds the runtime: this borrows nothing of the current one (R1).
#[inline]
pub(crate) fn reach(runtime_id: u64) -> Option<Reached> {
    let core = match current() {
        Some(core) if core.id == runtime_id => core,
        _ => find(runtime_id)?,
    };
    (!core.is_forked()).then_some(Reached(core))
}

#[cold]
fn find(runtime_id: u64) -> Option<Rc<Core>> {
    let find = |runtimes: &RefCell<Vec<Known>>| {
        let runtimes = runtimes.borrow();
        let known = runtimes.iter().find(|known| known.id == runtime_id)?;
        known.core.upgrade()
    };
    RUNTIMES.try_with(find).ok()?
}

/// Ends the orphans of every runtime of this thread. Called when the owner of a descriptor was dropped but operations
/// still hold the descriptor.
#[cold]
pub(crate) fn end_orphans() {
    let all = |runtimes: &RefCell<Vec<Known>>| {
        let runtimes = runtimes.borrow();
        let living = runtimes.iter().filter_map(|known| known.core.upgrade());
        living.collect::<Vec<_>>()
    };
    for core in RUNTIMES.try_with(all).into_iter().flatten() {
        core.end_orphans();
    }
}

/// Sends the row of a wait back to its runtime on another thread, if that still exists. If the runtime is of this
/// thread, does nothing: a forked child has no use for the row, and could inherit locks held by its parent's other
/// threads.
#[cold]
pub(crate) fn give_back(runtime_id: u64, wait: Key) {
    if find(runtime_id).is_none() {
        Inbox::give_back(runtime_id, wait);
    }
}

/// A runtime that was reached by its ID.
pub(crate) struct Reached(Rc<Core>);

impl Deref for Reached {
    type Target = Core;

    fn deref(&self) -> &Core {
        &self.0
    }
}

impl Drop for Reached {
    /// Forgets a runtime that has ended if the last result that it was kept for may have been taken.
    fn drop(&mut self) {
        if self.has_ended() {
            forget_if_empty(&self.0);
        }
    }
}

/// Registers a new runtime with this thread.
pub(super) fn register(core: &Rc<Core>) {
    // While the thread is ending it stays unknown, which `reach` allows for.
    let _ = RUNTIMES.try_with(|runtimes| {
        runtimes.borrow_mut().push(Known {
            id: core.id,
            core: Rc::downgrade(core),
            kept: None,
        });
    });
}

/// Marks a runtime of this thread as ended. It is kept as long as futures have results in it.
pub(super) fn retire(core: &Rc<Core>) {
    let _ = RUNTIMES.try_with(|runtimes| {
        let mut runtimes = runtimes.borrow_mut();
        if let Some(known) = runtimes.iter_mut().find(|known| known.id == core.id) {
            known.kept = Some(core.clone());
        }
    });
    forget_if_empty(core);
}

fn forget_if_empty(core: &Rc<Core>) {
    if !core.has_ended() || core.driver.borrow().len() > 0 {
        return;
    }
    let removed = RUNTIMES.try_with(|runtimes| {
        let mut runtimes = runtimes.borrow_mut();
        let at = runtimes.iter().position(|known| known.id == core.id)?;
        Some(runtimes.swap_remove(at))
    });
    drop(removed);
}
