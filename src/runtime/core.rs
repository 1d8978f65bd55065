//! One runtime: its tables, its ring, and the parts that own the rest of its state.

use super::builder::Builder;
use super::fault::Hook;
use super::leaf::ProvidedBuffers;
use super::pool::{Pool, ThreadShortage};
use super::scopes::{Context, Mirror, Sleeper, WaitRow};
use super::shutdown::{Phase, RuntimeLifecycle};
use super::task::Ending;
use super::turn::{Jumps, Turn};
use crate::driver::Driver;
use crate::scope::{CancelEffects, Scopes};
use crate::sys::{BufSizes, Features, ForkMark, Instant, Port, Ring};
use crate::table::{Key, Table, TableCell};
use crate::tasks::{
    RuntimeSlot, SharedTasks, Tasks, WakeId, counted_waker, wake_id_of, waker, watched_waker,
};
use crate::timer::Timers;
use crate::wait_queue::WaitQueue;
use std::any::{Any, TypeId};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

/// Describes the failure in the output of a task, an `Option` of its type, if there is one.
pub(crate) type Reporter = fn(&dyn Any) -> Option<String>;

/// One runtime: its tables, which most calls join, and the parts that own the rest. It lives on the heap and belongs to
/// the thread that built it.
pub(crate) struct Core {
    pub(super) id: u64,
    pub(crate) tasks: SharedTasks,
    pub(super) driver: TableCell<Driver<Ring>>,
    pub(super) timers: TableCell<Timers<Sleeper>>,
    pub(super) scopes: TableCell<Scopes<Waker, Mirror>>,
    pub(super) waits: TableCell<Table<WaitRow>>,
    /// Tasks that wait for a descriptor to have no operations in flight. They are woken after each reap, to check again.
    pub(crate) closers: RefCell<WaitQueue<Waker>>,
    pub(crate) context: Context,
    pub(crate) turn: Turn,
    pub(super) lifecycle: RuntimeLifecycle,
    pub(super) pool: Pool,
    pub(crate) provided: ProvidedBuffers,
    pub(crate) thread_shortage: ThreadShortage,
    pub(crate) hook: Hook,
    /// By the type of the `Option`, for each type of output that a task was detached with.
    pub(super) reporters: RefCell<Vec<(TypeId, Reporter)>>,
    /// Tasks that were running when abort handles for them were made.
    pub(super) unwrapped: RefCell<Vec<(Key, Ending)>>,
    /// Memory that is reused from cancel to cancel.
    pub(super) cancel_scratch: Cell<Option<Box<CancelEffects<Waker, Mirror>>>>,
    fork: ForkMark,
    /// The runtime's number, which is part of every wake ID, and its inbox.
    pub(super) slot: RuntimeSlot,
}

impl Core {
    pub(super) fn new(
        settings: Builder,
        receive_buffers: BufSizes,
        ring: Ring,
        slot: RuntimeSlot,
    ) -> io::Result<Rc<Core>> {
        static RUNTIME_IDS: AtomicU64 = AtomicU64::new(1);
        let fork = ForkMark::new()?;
        // What can panic comes before what it would have to drop, and `new_cyclic` allocates before all of it: so no code
        // is needed here that drops a runtime.
        Ok(Rc::new_cyclic(|_| {
            let start = ring.now();
            let tasks = Rc::new(TableCell::new(Tasks::new(slot.number())));
            let timers = Timers::new(start.as_ns());
            let scopes = Scopes::new();
            let id = RUNTIME_IDS.fetch_add(1, Ordering::Relaxed);
            slot.inbox().open(id);
            let jumps = settings
                .jumps_after()
                .map(|threshold| Jumps::new(start, threshold));
            let inbox = jumps.is_some().then(|| slot.inbox());
            let pool = Pool::new(
                settings.blocking_threads,
                &settings.name,
                &settings.hook,
                inbox,
            );
            let clock = jumps.as_ref().map(|jumps| jumps.clock().clone());
            let driver = Driver::new(ring, slot.descriptor(), clock);
            Core {
                id,
                tasks,
                driver: TableCell::new(driver),
                timers: TableCell::new(timers),
                context: Context::new(scopes.root()),
                scopes: TableCell::new(scopes),
                waits: TableCell::new(Table::new()),
                closers: RefCell::default(),
                turn: Turn::new(settings.polls_per_turn, settings.time_per_turn, jumps),
                lifecycle: RuntimeLifecycle::new(settings.grace, settings.shutdown),
                pool,
                provided: ProvidedBuffers::new(receive_buffers),
                thread_shortage: ThreadShortage::default(),
                hook: settings.hook,
                reporters: RefCell::default(),
                unwrapped: RefCell::default(),
                cancel_scratch: Cell::default(),
                fork,
                slot,
            }
        }))
    }

    pub(crate) fn runtime_id(&self) -> u64 {
        self.id
    }

    /// Returns the wake ID of a task or child.
    #[inline]
    pub(super) fn wake_id(&self, key: Key) -> WakeId {
        WakeId::new(self.slot.number(), key)
    }

    /// Returns the waker of a task or child, which has nothing to drop.
    #[inline]
    pub(crate) fn waker_of(&self, key: Key) -> Waker {
        waker(self.wake_id(key))
    }

    /// Returns the waker that a task or child is polled with, which has nothing to drop.
    #[inline]
    pub(super) fn polling_waker_of(&self, key: Key) -> Waker {
        match self.virtual_clock() {
            None => self.waker_of(key),
            Some(_) => watched_waker(self.wake_id(key)),
        }
    }

    /// Returns a waker to keep where another thread may use it.
    pub(crate) fn waker_for_others(&self, waker: Waker) -> Waker {
        match (self.virtual_clock(), wake_id_of(&waker)) {
            (Some(_), Some(name)) => counted_waker(name),
            _ => waker,
        }
    }

    /// Whether this process was forked from the one that built the runtime, and so must not touch the ring.
    #[inline]
    pub(crate) fn is_forked(&self) -> bool {
        self.fork.is_forked()
    }

    pub(super) fn is_open(&self) -> bool {
        self.lifecycle.phase.get() == Phase::Open
    }

    pub(super) fn has_ended(&self) -> bool {
        self.lifecycle.phase.get() == Phase::Ended
    }

    /// Whether the ring has all of these features.
    #[inline]
    pub(crate) fn has(&self, features: Features) -> bool {
        self.driver.borrow().supported().features.has(features)
    }

    /// Returns the coarse time of the ring in nanoseconds.
    pub(super) fn coarse_ns(&self) -> u64 {
        self.driver.borrow().ring.coarse_now().as_ns()
    }

    /// Returns the time by which deadlines go.
    pub(crate) fn now(&self) -> Instant {
        self.driver.borrow().now()
    }

    /// Returns the time that passes, even if that of deadlines is virtual.
    pub(crate) fn real_now(&self) -> Instant {
        self.driver.borrow().ring.now()
    }

    /// Whether the running task's current scope is canceled.
    #[inline]
    pub(crate) fn is_canceled(&self) -> bool {
        self.context.canceled.get()
    }
}

/// Shows only fields that need no borrow: formatting may run user code (R1).
impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("runtime_id", &self.id)
            .field("phase", &self.lifecycle.phase.get())
            .field("turns", &self.turn.number.get())
            .finish_non_exhaustive()
    }
}
