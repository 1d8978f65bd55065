//! One runtime: its tables, its ring, and what the leaves of its tasks ask of it.

use super::fault::{Fault, Hook, message_of};
use super::pool::Pool;
use super::provided_buffers::Receiving;
use super::scopes::{Mirror, NO_OWNER, Sleeper, WaitRow};
use super::short::Short;
use super::turn::{Allowance, Budget};
use crate::driver::lifecycle::{COLLECT_MAX, Polled};
use crate::driver::{Driver, DroppedDuty, Owners, Request};
use crate::scope::{CancelEffects, Scopes};
use crate::sys::{BufSizes, Completion, Entry, ForkMark, Instant, KernelRing, Opcode, coarse_ns};
use crate::table::{Key, Kind, Leaf, Owner, Table};
use crate::tasks::{End, Finished, Inbox, Origin, RuntimeSlot, SharedTasks, wake_id_of};
use crate::timer::Timers;
use crate::wait_queue::WaitQueue;
use std::cell::{Cell, RefCell, RefMut};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

/// What a builder settles.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(super) polls_per_turn: u32,
    pub(super) ns_per_turn: u64,
    pub(super) grace: Duration,
    pub(super) shutdown: Duration,
    pub(super) receive_buffers: BufSizes,
}

/// How far the end of a runtime is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// Nothing new is taken but closing.
    Closing,
    Ended,
}

/// Whether a leaf has already let the others go first before it is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Refusal {
    #[default]
    None,
    Yielded,
}

/// One runtime. It is on the heap and belongs to the thread that made it.
pub(crate) struct Core {
    pub(super) serial: u64,
    pub(super) tasks: SharedTasks,
    pub(super) driver: RefCell<Driver<KernelRing>>,
    pub(super) timers: RefCell<Timers<Sleeper>>,
    pub(super) scopes: RefCell<Scopes<Waker, Mirror>>,
    pub(super) waits: RefCell<Table<WaitRow>>,
    /// Who waits for a descriptor to be free of operations. They look again after each reap.
    pub(super) closers: RefCell<WaitQueue<Waker>>,
    pub(super) pool: Pool,
    pub(super) receiving: Receiving,
    pub(super) short: Short,
    pub(super) hook: Hook,
    pub(super) settings: Settings,
    pub(super) turns: Cell<u64>,
    pub(super) polls: Cell<u64>,
    /// The task, or child, that is being polled, or was last.
    pub(super) running: Cell<Key>,
    /// What that waits for, while it has no scope of its own and is being polled.
    pub(super) leaf: Cell<Option<Leaf>>,
    pub(super) budget: Budget,
    /// Ready leaves that the task may still pass in this poll.
    pub(super) allowance: Cell<Allowance>,
    /// What is being polled is polled together with others by one future.
    pub(super) together: Cell<bool>,
    /// The current scope.
    pub(super) at: Cell<Owner>,
    /// Whether that is canceled.
    pub(super) canceled: Cell<bool>,
    pub(super) root_canceled: Cell<bool>,
    /// Counts what may have changed whether a scope is canceled.
    pub(super) changes: Cell<u64>,
    pub(super) root: Key,
    /// How often Ctrl-C was pressed, if that is to be known.
    pub(super) interrupts: RefCell<Option<Arc<AtomicU32>>>,
    /// It was pressed once.
    pub(super) interrupted: Cell<bool>,
    /// The row of the future that `block_on` holds.
    pub(super) main: Cell<Option<Key>>,
    /// That future may be dropped before it is ready.
    pub(super) may_drop_main: Cell<bool>,
    /// What is left is not waited for any longer.
    pub(super) force_shutdown: Cell<bool>,
    /// How often canceled tasks have woken themselves.
    pub(super) self_wakes: Cell<u64>,
    /// Memory that is used again from cancel to cancel.
    pub(super) notified: Cell<Option<Box<CancelEffects<Waker, Mirror>>>>,
    /// There are some in `attributions`.
    pub(super) attributed: Cell<bool>,
    /// Scopes that were attributed with a leaf that ended `Canceled`, until whoever polls in them has looked.
    pub(super) attributions: RefCell<Vec<Key>>,
    /// Leaves that were refused so far.
    pub(super) refusals: Cell<u64>,
    /// The poll in which one was last refused to a task without a scope of its own.
    pub(super) refused_in: Cell<u64>,
    /// Where the next choice among equals falls.
    choice: Cell<u64>,
    /// What was drawn last.
    draw: Cell<u64>,
    pub(super) phase: Cell<Phase>,
    /// Tables had more memory than they need when they were last asked.
    pub(super) untidy: Cell<bool>,
    /// The turn in which they are asked again.
    pub(super) tidy_at: Cell<u64>,
    /// The period in which peaks that repeat keep their memory, and when by the coarse clock it ends.
    pub(super) period: Cell<u32>,
    pub(super) period_ends: Cell<u64>,
    /// Zero, until it is asked for in this turn.
    pub(super) turn_time: Cell<u64>,
    /// When timers last fired.
    pub(super) timers_fired: Cell<Instant>,
    /// The number of the runtime, which is a part of every name.
    pub(super) number: u16,
    fork: ForkMark,
    slot: RuntimeSlot,
}

impl Core {
    pub(super) fn new(
        tasks: SharedTasks,
        driver: Driver<KernelRing>,
        pool: Pool,
        hook: Hook,
        settings: Settings,
        slot: RuntimeSlot,
    ) -> io::Result<Core> {
        static SERIALS: AtomicU64 = AtomicU64::new(1);
        let now = driver.now().as_ns();
        let scopes = Scopes::new();
        let serial = SERIALS.fetch_add(1, Ordering::Relaxed);
        slot.inbox().open(serial);
        Ok(Core {
            serial,
            tasks,
            driver: RefCell::new(driver),
            timers: RefCell::new(Timers::new(now)),
            at: Cell::new(Owner::scope(scopes.root())),
            root: scopes.root(),
            scopes: RefCell::new(scopes),
            waits: RefCell::new(Table::new()),
            closers: RefCell::default(),
            pool,
            receiving: Receiving::new(),
            short: Short::new(),
            hook,
            settings,
            turns: Cell::new(0),
            polls: Cell::new(0),
            running: Cell::new(Key::new(0, 0)),
            leaf: Cell::new(None),
            budget: Budget::new(),
            allowance: Cell::new(Allowance::NONE),
            together: Cell::new(false),
            canceled: Cell::new(false),
            root_canceled: Cell::new(false),
            changes: Cell::new(0),
            interrupts: RefCell::new(None),
            interrupted: Cell::new(false),
            main: Cell::new(None),
            may_drop_main: Cell::new(false),
            force_shutdown: Cell::new(false),
            self_wakes: Cell::new(0),
            notified: Cell::default(),
            attributed: Cell::new(false),
            attributions: RefCell::new(Vec::new()),
            refusals: Cell::new(0),
            refused_in: Cell::new(0),
            choice: Cell::new(0),
            // The first that is drawn is the 66th.
            draw: Cell::new(5),
            phase: Cell::new(Phase::Open),
            untidy: Cell::new(false),
            tidy_at: Cell::new(0),
            period: Cell::new(0),
            period_ends: Cell::new(0),
            turn_time: Cell::new(0),
            timers_fired: Cell::new(Instant::from_ns(0)),
            number: slot.number(),
            fork: ForkMark::new()?,
            slot,
        })
    }

    pub(crate) fn serial(&self) -> u64 {
        self.serial
    }

    pub(super) fn inbox(&self) -> &'static Inbox {
        self.slot.inbox()
    }

    /// This process is a child of the one that made the runtime, and must not touch its ring.
    #[inline]
    pub(crate) fn is_forked(&self) -> bool {
        self.fork.is_forked()
    }

    pub(super) fn is_open(&self) -> bool {
        self.phase.get() == Phase::Open
    }

    pub(super) fn has_ended(&self) -> bool {
        self.phase.get() == Phase::Ended
    }

    /// Operations have results that their futures have not looked at.
    pub(super) fn holds_results(&self) -> bool {
        self.driver.borrow().len() > 0
    }

    /// Whether the kernel has this opcode.
    #[inline]
    pub(crate) fn supports(&self, opcode: Opcode) -> bool {
        self.driver.borrow().supports(opcode)
    }

    pub(crate) fn now(&self) -> Instant {
        self.driver.borrow().now()
    }

    // What operations ask for.

    /// Hands an operation to the ring, or says why not. The waker that is given back is to be dropped.
    #[inline]
    pub(crate) fn submit(
        &self,
        entry: &Entry,
        kind: &'static str,
        stoppable: bool,
        waker: Option<Waker>,
    ) -> Result<Key, (io::Error, Option<Waker>)> {
        if let Some(error) = self.may_submit(stoppable) {
            return Err((error, waker));
        }
        let owner = self.owner_of_next_leaf();
        let mut driver = self.driver.borrow_mut();
        if !driver.supports(entry.opcode()) {
            return Err((lacks(entry.opcode()), waker));
        }
        let request = Request {
            kind,
            stoppable,
            task: self.id_of_running().bits(),
            owner,
            since_ns: self.turn_time(),
            collect_max: COLLECT_MAX,
        };
        let key = driver.submit(entry, request, waker);
        drop(driver);
        self.enlist(Leaf::new(Kind::Operation, key), owner);
        Ok(key)
    }

    /// Hands an operation to the ring that belongs to no scope: whoever polls it may go, and it goes on.
    pub(crate) fn submit_standing(
        &self,
        entry: &Entry,
        kind: &'static str,
        collect_max: u32,
    ) -> io::Result<Key> {
        if let Some(error) = self.may_submit(true) {
            return Err(error);
        }
        let mut driver = self.driver.borrow_mut();
        if !driver.supports(entry.opcode()) {
            return Err(lacks(entry.opcode()));
        }
        let request = Request {
            kind,
            stoppable: true,
            task: self.id_of_running().bits(),
            owner: NO_OWNER,
            since_ns: self.turn_time(),
            collect_max,
        };
        Ok(driver.submit(entry, request, None))
    }

    /// Looks at a standing operation for the task that waits for what it brings. While there is nothing it may be a leaf
    /// ([`wait_for_operation`](Core::wait_for_operation)), and what it brings ends that.
    #[inline]
    pub(crate) fn poll_standing(&self, key: Key) -> Polled {
        let polled = self.poll_operation(key);
        if let Polled::Item(_) = polled {
            self.rest_standing(key);
        }
        polled
    }

    /// A standing operation is awaited by nobody, and no leaf.
    #[inline]
    pub(crate) fn rest_standing(&self, key: Key) {
        self.driver.borrow_mut().set_owner(key, NO_OWNER);
        self.leaf_ended(Leaf::new(Kind::Operation, key));
    }

    /// Has a standing operation wake this, in the task that is being polled. The waker that this replaces is to be dropped.
    pub(crate) fn watch_standing(&self, key: Key, waker: Waker) -> Option<Waker> {
        let task = self.id_of_running().bits();
        self.driver.borrow_mut().renew(key, waker, task).0
    }

    /// A standing operation is given up. Whoever gives it up has its orphan in his scope (G1).
    pub(crate) fn abandon_standing(&self, key: Key, owners: Box<dyn Owners>) {
        if self.driver.borrow().is_in_flight(key) && !self.has_ended() {
            self.leaf_ended(Leaf::new(Kind::Operation, key));
            let owner = self.owner_of_next_leaf();
            self.driver.borrow_mut().set_owner(key, owner);
            self.enlist(Leaf::new(Kind::Operation, key), owner);
        }
        self.abandon(key, None, owners);
    }

    /// Has the kernel asked at this moment to stop an operation, if it still has it then. Whoever awaits it is not woken for
    /// that, but by its end.
    #[inline]
    pub(crate) fn limit_operation(&self, key: Key, deadline: Instant) {
        self.driver.borrow_mut().limit(key, deadline);
    }

    /// Why nothing may be submitted any more, if that is so. Closing always may, but in a child of the process.
    #[inline]
    pub(super) fn may_submit(&self, stoppable: bool) -> Option<io::Error> {
        if self.is_open() && !self.is_forked() {
            return None;
        }
        self.refuses(stoppable)
    }

    #[cold]
    fn refuses(&self, stoppable: bool) -> Option<io::Error> {
        if self.is_forked() {
            return Some(io::Error::other(
                "this gimmal runtime belongs to the process that forked this one: build a new one in the child",
            ));
        }
        stoppable
            .then(|| io::Error::other("the runtime is shutting down and takes no more operations"))
    }

    /// The time of this turn by the coarse clock, which is asked once a turn, if anybody wants to know.
    #[inline]
    fn turn_time(&self) -> u64 {
        match self.turn_time.get() {
            0 => {
                let now = coarse_ns();
                self.turn_time.set(now);
                now
            }
            time => time,
        }
    }

    pub(super) fn enter_phase(&self, phase: Phase) {
        self.phase.set(phase);
    }

    #[inline]
    pub(crate) fn poll_operation(&self, key: Key) -> Polled {
        let polled = self.driver.borrow_mut().poll(key);
        if let Polled::Last { .. } = polled {
            self.leaf_ended(Leaf::new(Kind::Operation, key));
        }
        polled
    }

    /// The task that polls it waits for an operation. The waker that this replaces is to be dropped.
    pub(crate) fn wait_for_operation(&self, key: Key, waker: Waker) -> Option<Waker> {
        let task = self.id_of_running().bits();
        let (replaced, owner) = {
            let mut driver = self.driver.borrow_mut();
            if self.is_canceled() && !self.is_forked() {
                driver.ask_cancel(key);
            }
            driver.renew(key, waker, task)
        };
        self.keep_here(Leaf::new(Kind::Operation, key), owner);
        replaced
    }

    pub(crate) fn ask_cancel(&self, key: Key) {
        if !self.is_forked() {
            self.driver.borrow_mut().ask_cancel(key);
        }
    }

    /// Asks everything on a descriptor to stop. True if there is anything.
    pub(crate) fn cancel_on(&self, fd: i32) -> bool {
        !self.is_forked() && self.driver.borrow_mut().cancel_on(fd)
    }

    /// Who waits for a descriptor to be free of operations.
    pub(crate) fn closers(&self) -> RefMut<'_, WaitQueue<Waker>> {
        self.closers.borrow_mut()
    }

    /// The future of an operation is gone. What is to be disposed of is disposed of here, outside of the borrow: `first` is
    /// a completion that the future had taken already.
    pub(crate) fn abandon(&self, key: Key, first: Option<Completion>, owners: Box<dyn Owners>) {
        if self.has_ended() && self.driver.borrow().is_in_flight(key) {
            // The kernel may still write into what was lent, and nobody will reap the end of it (O8).
            std::mem::forget(owners);
            self.driver.borrow_mut().forget(key);
            return;
        }
        let dropped = self.driver.borrow_mut().abandon(key, owners);
        self.hook.guard("a waker", || drop(dropped.waker));
        match dropped.duty {
            DroppedDuty::Items(key, items) => {
                if first.is_some() || !items.is_empty() {
                    let mut owners = self.driver.borrow_mut().lend_owners(key, false);
                    self.dispose(&mut *owners, first.into_iter().chain(items));
                    self.driver.borrow_mut().return_owners(key, owners);
                }
            }
            DroppedDuty::Ended(mut owners, items) => {
                self.dispose(&mut *owners, first.into_iter().chain(items));
                self.hook.guard("an operation", || drop(owners));
            }
        }
    }

    fn dispose(&self, owners: &mut dyn Owners, completions: impl Iterator<Item = Completion>) {
        for completion in completions {
            self.hook
                .guard("an operation's disposal", || owners.dispose(completion));
        }
    }

    // What timers ask for.

    /// A timer that is awaited: a leaf.
    pub(crate) fn arm_timer(&self, deadline: Instant, waker: Waker) -> Key {
        let owner = self.owner_of_next_leaf();
        let sleeper = Sleeper { waker, owner };
        let key = self.timers.borrow_mut().insert(deadline.as_ns(), sleeper);
        self.enlist(Leaf::new(Kind::Timer, key), owner);
        key
    }

    /// Whether the timer has fired. If not, it wakes `waker` from now on; what that replaces comes back to be dropped.
    pub(crate) fn poll_timer(&self, key: Key, waker: &mut Option<Waker>) -> bool {
        let owner = {
            let mut timers = self.timers.borrow_mut();
            let Some(kept) = timers.wake_mut(key) else {
                return true;
            };
            if let Some(new) = waker.take() {
                *waker = Some(std::mem::replace(&mut kept.waker, new));
            }
            kept.owner
        };
        self.keep_here(Leaf::new(Kind::Timer, key), owner);
        false
    }

    /// A timer that only wakes: that of a deadline, which is no leaf.
    pub(crate) fn arm_alarm(&self, deadline: Instant, waker: Waker) -> Key {
        let sleeper = Sleeper::alarm(waker);
        self.timers.borrow_mut().insert(deadline.as_ns(), sleeper)
    }

    /// Whether the alarm has gone off. If not, it wakes `waker` from now on; what that replaces is to be dropped.
    pub(crate) fn poll_alarm(&self, key: Key, waker: Waker) -> Result<(), Waker> {
        match self.timers.borrow_mut().wake_mut(key) {
            Some(kept) => Err(std::mem::replace(&mut kept.waker, waker)),
            None => Ok(()),
        }
    }

    /// Gives the row of a timer up. The waker is to be dropped.
    pub(crate) fn release_timer(&self, key: Key) -> Option<Waker> {
        self.leaf_ended(Leaf::new(Kind::Timer, key));
        let released = self.timers.borrow_mut().release(key);
        released.map(|sleeper| sleeper.waker)
    }

    // What every leaf asks for.

    /// Whether the scope of the task is canceled.
    #[inline]
    pub(crate) fn is_canceled(&self) -> bool {
        self.canceled.get()
    }

    /// One of so many, each as often as the others, also if several callers take turns: the steps are as even as can be, and
    /// so is every second or third of them.
    pub(crate) fn choose(&self, among: u32) -> u32 {
        /// The golden section of 2⁶⁴.
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let choice = self.choice.get().wrapping_add(STEP);
        self.choice.set(choice);
        (((choice >> 32) * u64::from(among)) >> 32) as u32
    }

    /// True once in 32 times, in no rhythm at all.
    pub(super) fn draw(&self) -> bool {
        /// Of the PCG generators, by Knuth.
        const FACTOR: u64 = 6_364_136_223_846_793_005;
        let draw = self.draw.get().wrapping_mul(FACTOR).wrapping_add(1);
        self.draw.set(draw);
        draw >> 59 == 0
    }

    /// Tells the hook. It is a user's code: nothing is borrowed.
    pub(crate) fn report(&self, fault: &Fault) {
        self.hook.report(fault);
    }

    // What tasks leave behind.

    /// Wakes who joins a task, and looks after an end that nobody will ask for.
    pub(super) fn settle(&self, finished: Finished) {
        if let Some(scope) = finished.scope {
            self.close_scope(scope);
        }
        if let Some(joiner) = finished.joiner {
            // One of ours runs no code of a user, and is woken by name.
            let foreign = match wake_id_of(&joiner) {
                Some(name) if name.runtime() == self.number => self.tasks.borrow_mut().wake(name),
                _ => Some(joiner),
            };
            self.wake_foreign(foreign);
        }
        if let Some((end, origin)) = finished.unclaimed {
            self.dispose_of_end(end, &origin);
        }
    }

    pub(super) fn dispose_of_end(&self, end: End, origin: &Origin) {
        match end {
            End::Output(task) => {
                self.hook.guard("a task's output", || drop(task));
            }
            End::Panicked(payload) => {
                let fault = Fault::Panicked {
                    task: describe(origin),
                    message: message_of(&*payload),
                };
                self.hook.report(&fault);
                self.hook.drop_payload(payload);
            }
            End::Aborted => {}
        }
    }
}

#[cold]
fn lacks(opcode: Opcode) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!("this kernel's io_uring has no {opcode:?}"),
    )
}

/// A task by its name, or by the place that spawned it.
pub(super) fn describe(origin: &Origin) -> String {
    match &origin.name {
        Some(name) => format!("{name:?}"),
        None => format!("spawned at {}", origin.location),
    }
}

/// Only what is not borrowed: formatting may run a user's code (R1).
impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("serial", &self.serial)
            .field("phase", &self.phase.get())
            .field("turns", &self.turns.get())
            .finish_non_exhaustive()
    }
}
