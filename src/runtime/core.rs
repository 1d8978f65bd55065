//! One runtime: its tables, its ring, and the calls that leaves make into it.

use super::fault::{Fault, Hook};
use super::leaf::CoopBudget;
use super::leaf::ProvidedBuffers;
use super::pool::Pool;
use super::pool::ThreadShortage;
use super::scopes::{Mirror, NO_OWNER, Sleeper, WaitRow};
use super::task::Ending;
use super::turn::TurnBudget;
use crate::driver::lifecycle::{COLLECT_MAX, Polled};
use crate::driver::{Driver, DroppedDuty, Payload, Request};
use crate::error::panic_message;
use crate::scope::{CancelEffects, Scopes};
use crate::sys::{BufSizes, Completion, Entry, Features, ForkMark, Instant, Opcode, Port, Ring};
use crate::table::{Key, Leaf, LeafKind, Owner, Table};
use crate::tasks::{
    End, Finished, Inbox, Origin, RuntimeSlot, SharedTasks, Task, Tasks, Unclaimed,
};
use crate::timer::Timers;
use crate::wait_queue::WaitQueue;
use std::any::{Any, TypeId};
use std::cell::{Cell, RefCell, RefMut};
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

/// The builder's settings that the runtime keeps.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(super) polls_per_turn: u32,
    pub(super) ns_per_turn: u64,
    pub(super) grace: Duration,
    pub(super) shutdown: Duration,
    pub(super) receive_buffers: BufSizes,
}

/// The lifecycle of a runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// Rejects everything new except closes.
    Closing,
    Ended,
}

/// Whether a leaf has already yielded once before it is rejected with `Canceled`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Refusal {
    #[default]
    None,
    Yielded,
}

/// Describes the failure in the output of a task, an `Option` of its type, if there is one.
pub(crate) type Reporter = fn(&dyn Any) -> Option<String>;

/// One runtime. It lives on the heap and belongs to the thread that built it.
pub(crate) struct Core {
    pub(super) id: u64,
    pub(super) tasks: SharedTasks,
    pub(super) driver: RefCell<Driver<Ring>>,
    pub(super) timers: RefCell<Timers<Sleeper>>,
    pub(super) scopes: RefCell<Scopes<Waker, Mirror>>,
    pub(super) waits: RefCell<Table<WaitRow>>,
    /// Tasks that wait for a descriptor to have no operations in flight. They are woken after each reap, to check again.
    pub(super) closers: RefCell<WaitQueue<Waker>>,
    pub(super) pool: Pool,
    pub(super) provided: ProvidedBuffers,
    pub(super) thread_shortage: ThreadShortage,
    pub(super) hook: Hook,
    /// By the type of the `Option`, for each type of output that a task was detached with.
    pub(super) reporters: RefCell<HashMap<TypeId, Reporter>>,
    /// Tasks that were running when abort handles for them were made.
    pub(super) unwrapped: RefCell<Vec<(Key, Ending)>>,
    pub(super) settings: Settings,
    pub(super) turns: Cell<u64>,
    pub(super) polls: Cell<u64>,
    /// The task or child that is being polled, or was polled last.
    pub(super) running: Cell<Key>,
    /// The leaf that the running task waits for, while it is being polled and has no scope of its own.
    pub(super) leaf: Cell<Option<Leaf>>,
    pub(super) turn_budget: TurnBudget,
    /// The running task's coop budget: ready leaves that it may still pass in this poll.
    pub(super) coop_budget: Cell<CoopBudget>,
    /// Whether a combinator is polling several futures in this poll.
    pub(super) in_joint_poll: Cell<bool>,
    /// The current scope.
    pub(super) current_owner: Cell<Owner>,
    /// Whether the current scope is canceled.
    pub(super) canceled: Cell<bool>,
    pub(super) root_canceled: Cell<bool>,
    /// Counts the events that may have changed whether a scope is canceled.
    pub(super) scope_epoch: Cell<u64>,
    pub(crate) root: Key,
    /// Ctrl-C presses since the last check, if the builder asked for `cancel_on_ctrl_c`.
    pub(super) interrupts: RefCell<Option<Arc<AtomicU32>>>,
    /// Whether Ctrl-C was pressed once.
    pub(super) interrupted: Cell<bool>,
    /// The task-table row of the future that `block_on` holds.
    pub(super) main: Cell<Option<Key>>,
    /// Whether `run` may drop that future before it is ready.
    pub(super) may_drop_main: Cell<bool>,
    /// Whether to stop waiting for canceled tasks: set by the second Ctrl-C.
    pub(super) force_shutdown: Cell<bool>,
    /// The number of times that canceled tasks have woken themselves.
    pub(super) self_wakes: Cell<u64>,
    /// Memory that is reused from cancel to cancel.
    pub(super) cancel_scratch: Cell<Option<Box<CancelEffects<Waker, Mirror>>>>,
    /// Whether `attributions` holds any.
    pub(super) attributed: Cell<bool>,
    /// Scopes whose cancel ended a leaf with `Canceled`, until the future that polls in them has looked.
    pub(super) attributions: RefCell<Vec<Key>>,
    /// Leaves that were rejected with `Canceled` so far.
    pub(super) refusals: Cell<u64>,
    /// The last poll in which a task without a scope of its own had a leaf rejected.
    pub(super) refused_in: Cell<u64>,
    /// State of [`choose`](Core::choose).
    choice: Cell<u64>,
    /// State of the generator of [`draw`](Core::draw).
    draw: Cell<u64>,
    pub(super) phase: Cell<Phase>,
    /// Whether the tables had more memory than they need when last checked.
    pub(super) untidy: Cell<bool>,
    /// The turn in which the tables are checked again.
    pub(super) tidy_at: Cell<u64>,
    /// The period in which repeated peaks keep their memory, and its end by the coarse clock.
    pub(super) period: Cell<u32>,
    pub(super) period_ends: Cell<u64>,
    /// The coarse time of this turn; zero until it is first read.
    pub(super) turn_time: Cell<u64>,
    /// When timers last fired.
    pub(super) timers_fired: Cell<Instant>,
    /// The runtime's slot number, which is part of every wake ID.
    pub(super) slot_number: u16,
    fork: ForkMark,
    slot: RuntimeSlot,
}

impl Core {
    pub(super) fn new(
        tasks: SharedTasks,
        driver: Driver<Ring>,
        pool: Pool,
        hook: Hook,
        settings: Settings,
        slot: RuntimeSlot,
    ) -> io::Result<Core> {
        static RUNTIME_IDS: AtomicU64 = AtomicU64::new(1);
        let now = driver.now().as_ns();
        let scopes = Scopes::new();
        let id = RUNTIME_IDS.fetch_add(1, Ordering::Relaxed);
        slot.inbox().open(id);
        Ok(Core {
            id,
            tasks,
            driver: RefCell::new(driver),
            timers: RefCell::new(Timers::new(now)),
            current_owner: Cell::new(Owner::scope(scopes.root())),
            root: scopes.root(),
            scopes: RefCell::new(scopes),
            waits: RefCell::new(Table::new()),
            closers: RefCell::default(),
            pool,
            provided: ProvidedBuffers::new(),
            thread_shortage: ThreadShortage::new(),
            hook,
            reporters: RefCell::default(),
            unwrapped: RefCell::default(),
            settings,
            turns: Cell::new(0),
            polls: Cell::new(0),
            running: Cell::new(Key::new(0, 0)),
            leaf: Cell::new(None),
            turn_budget: TurnBudget::new(),
            coop_budget: Cell::new(CoopBudget::NONE),
            in_joint_poll: Cell::new(false),
            canceled: Cell::new(false),
            root_canceled: Cell::new(false),
            scope_epoch: Cell::new(0),
            interrupts: RefCell::new(None),
            interrupted: Cell::new(false),
            main: Cell::new(None),
            may_drop_main: Cell::new(false),
            force_shutdown: Cell::new(false),
            self_wakes: Cell::new(0),
            cancel_scratch: Cell::default(),
            attributed: Cell::new(false),
            attributions: RefCell::new(Vec::new()),
            refusals: Cell::new(0),
            refused_in: Cell::new(0),
            choice: Cell::new(0),
            // With this seed the 66th draw is the first to be true.
            draw: Cell::new(5),
            phase: Cell::new(Phase::Open),
            untidy: Cell::new(false),
            tidy_at: Cell::new(0),
            period: Cell::new(0),
            period_ends: Cell::new(0),
            turn_time: Cell::new(0),
            timers_fired: Cell::new(Instant::from_ns(0)),
            slot_number: slot.number(),
            fork: ForkMark::new()?,
            slot,
        })
    }

    pub(crate) fn runtime_id(&self) -> u64 {
        self.id
    }

    pub(super) fn inbox(&self) -> &'static Inbox {
        self.slot.inbox()
    }

    /// Whether this process was forked from the one that built the runtime, and so must not touch the ring.
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

    /// Whether operations hold results that their futures have not taken.
    pub(super) fn holds_results(&self) -> bool {
        self.driver.borrow().len() > 0
    }

    /// Whether the ring has all of these features.
    #[inline]
    pub(crate) fn has(&self, features: Features) -> bool {
        self.driver.borrow().supported().features.has(features)
    }

    /// Returns the coarse time of the ring in nanoseconds.
    pub(super) fn coarse_ns(&self) -> u64 {
        self.driver.borrow().ring().coarse_now().as_ns()
    }

    pub(crate) fn now(&self) -> Instant {
        self.driver.borrow().now()
    }

    // Calls by operations.

    /// Queues an operation for submission. On an error, returns the waker too, for the caller to drop.
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
        if !driver.supported().opcode(entry.opcode()) {
            return Err((lacks(entry.opcode()), waker));
        }
        let request = Request {
            kind,
            stoppable,
            task: self.id_of_running().bits(),
            owner,
            since_ns: self.turn_time(&driver),
            collect_max: COLLECT_MAX,
        };
        let key = driver.submit(entry, request, waker);
        drop(driver);
        self.enlist(Leaf::new(LeafKind::Operation, key), owner);
        Ok(key)
    }

    /// Queues an owned operation for submission. It belongs to no scope: it continues when the task that polls it is
    /// gone.
    pub(crate) fn submit_owned(
        &self,
        entry: &Entry,
        kind: &'static str,
        collect_max: u32,
    ) -> io::Result<Key> {
        if let Some(error) = self.may_submit(true) {
            return Err(error);
        }
        let mut driver = self.driver.borrow_mut();
        if !driver.supported().opcode(entry.opcode()) {
            return Err(lacks(entry.opcode()));
        }
        let request = Request {
            kind,
            stoppable: true,
            task: self.id_of_running().bits(),
            owner: NO_OWNER,
            since_ns: self.turn_time(&driver),
            collect_max,
        };
        Ok(driver.submit(entry, request, None))
    }

    /// Polls an owned operation for the task that waits for its next item. Until an item arrives the operation may be a
    /// leaf ([`wait_for_operation`](Core::wait_for_operation)); the item ends that.
    #[inline]
    pub(crate) fn poll_owned(&self, key: Key) -> Polled {
        let polled = self.poll_operation(key);
        if let Polled::Item(_) = polled {
            self.rest_owned(key);
        }
        polled
    }

    /// Detaches an owned operation from its scope: no task awaits it, and it is not a leaf.
    #[inline]
    pub(crate) fn rest_owned(&self, key: Key) {
        self.driver.borrow_mut().set_owner(key, NO_OWNER);
        self.leaf_ended(Leaf::new(LeafKind::Operation, key));
    }

    /// Sets the waker of an owned operation, for the running task. Returns the replaced waker, for the caller to drop.
    pub(crate) fn watch_owned(&self, key: Key, waker: Waker) -> Option<Waker> {
        let task = self.id_of_running().bits();
        self.driver.borrow_mut().renew(key, waker, task).0
    }

    /// Abandons an owned operation. Its orphan belongs to the current scope (G1).
    pub(crate) fn abandon_owned(&self, key: Key, payload: Box<dyn Payload>) {
        if self.driver.borrow().is_in_flight(key) && !self.has_ended() {
            self.leaf_ended(Leaf::new(LeafKind::Operation, key));
            let owner = self.owner_of_next_leaf();
            self.driver.borrow_mut().set_owner(key, owner);
            self.enlist(Leaf::new(LeafKind::Operation, key), owner);
        }
        self.abandon(key, None, payload);
    }

    /// Cancels an operation at this deadline if it is still in the kernel. The deadline does not wake the task that
    /// awaits the operation; its completion does.
    #[inline]
    pub(crate) fn limit_operation(&self, key: Key, deadline: Instant) {
        self.driver.borrow_mut().set_deadline(key, deadline);
    }

    /// Returns the error if operations can no longer be submitted. Closes always can, except in a forked child.
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

    /// Returns the coarse time of this turn. The clock is read at most once a turn, on the first call.
    #[inline]
    fn turn_time(&self, driver: &Driver<Ring>) -> u64 {
        match self.turn_time.get() {
            0 => {
                let now = driver.ring().coarse_now().as_ns();
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
            self.leaf_ended(Leaf::new(LeafKind::Operation, key));
        }
        polled
    }

    /// Makes an operation the leaf that the running task waits for. Returns the replaced waker, for the caller to drop.
    pub(crate) fn wait_for_operation(&self, key: Key, waker: Waker) -> Option<Waker> {
        let task = self.id_of_running().bits();
        let (replaced, owner) = {
            let mut driver = self.driver.borrow_mut();
            if self.is_canceled() && !self.is_forked() {
                driver.ask_cancel(key);
            }
            driver.renew(key, waker, task)
        };
        self.keep_here(Leaf::new(LeafKind::Operation, key), owner);
        replaced
    }

    pub(crate) fn ask_cancel(&self, key: Key) {
        if !self.is_forked() {
            self.driver.borrow_mut().ask_cancel(key);
        }
    }

    /// Requests the cancel of every operation on a descriptor. Returns whether there is any.
    pub(crate) fn cancel_on(&self, fd: i32) -> bool {
        !self.is_forked() && self.driver.borrow_mut().cancel_on(fd)
    }

    /// Returns the queue of tasks that wait for a descriptor to have no operations in flight.
    pub(crate) fn closers(&self) -> RefMut<'_, WaitQueue<Waker>> {
        self.closers.borrow_mut()
    }

    /// Abandons an operation whose future was dropped. Results that need disposal are disposed of here, outside the
    /// borrow: `first` is a completion that the future had already taken.
    pub(crate) fn abandon(&self, key: Key, first: Option<Completion>, payload: Box<dyn Payload>) {
        if self.has_ended() && self.driver.borrow().is_in_flight(key) {
            // The kernel may still write into the lent memory, and the completion will never be reaped (O8).
            std::mem::forget(payload);
            self.driver.borrow_mut().forget(key);
            return;
        }
        let dropped = self.driver.borrow_mut().abandon(key, payload);
        self.hook.guard("a waker", || drop(dropped.waker));
        match dropped.duty {
            DroppedDuty::Items(key, items) => {
                if first.is_some() || !items.is_empty() {
                    let mut payload = self.driver.borrow_mut().take_payload(key, false);
                    self.dispose(&mut *payload, first.into_iter().chain(items));
                    self.driver.borrow_mut().return_payload(key, payload);
                }
            }
            DroppedDuty::Ended(mut payload, items) => {
                self.dispose(&mut *payload, first.into_iter().chain(items));
                self.hook.guard("an operation", || drop(payload));
            }
        }
    }

    fn dispose(&self, payload: &mut dyn Payload, completions: impl Iterator<Item = Completion>) {
        for completion in completions {
            self.hook
                .guard("an operation's disposal", || payload.dispose(completion));
        }
    }

    // Calls by timers.

    /// Arms a timer that is awaited, and so is a leaf.
    pub(crate) fn arm_timer(&self, deadline: Instant, waker: Waker) -> Key {
        let owner = self.owner_of_next_leaf();
        let sleeper = Sleeper { waker, owner };
        let key = self.timers.borrow_mut().insert(deadline.as_ns(), sleeper);
        self.enlist(Leaf::new(LeafKind::Timer, key), owner);
        key
    }

    /// Returns whether the timer has fired. If it has not, `waker` becomes its waker, and is replaced by the old one,
    /// for the caller to drop.
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
        self.keep_here(Leaf::new(LeafKind::Timer, key), owner);
        false
    }

    /// Arms an alarm: the timer of a deadline, which only wakes and is not a leaf.
    pub(crate) fn arm_alarm(&self, deadline: Instant, waker: Waker) -> Key {
        let sleeper = Sleeper::alarm(waker);
        self.timers.borrow_mut().insert(deadline.as_ns(), sleeper)
    }

    /// Returns `Ok` if the alarm has gone off. If it has not, sets its waker and returns the old one, for the caller to
    /// drop.
    pub(crate) fn poll_alarm(&self, key: Key, waker: Waker) -> Result<(), Waker> {
        match self.timers.borrow_mut().wake_mut(key) {
            Some(kept) => Err(std::mem::replace(&mut kept.waker, waker)),
            None => Ok(()),
        }
    }

    /// Frees the row of a timer. Returns its waker, for the caller to drop.
    pub(crate) fn release_timer(&self, key: Key) -> Option<Waker> {
        self.leaf_ended(Leaf::new(LeafKind::Timer, key));
        let released = self.timers.borrow_mut().release(key);
        released.map(|sleeper| sleeper.waker)
    }

    // Calls by every leaf.

    /// Whether the running task's current scope is canceled.
    #[inline]
    pub(crate) fn is_canceled(&self) -> bool {
        self.canceled.get()
    }

    /// Returns a number below `among`, each equally often, even if several callers alternate: golden-ratio steps are
    /// spread as evenly as possible, and so is every second or third of them.
    pub(crate) fn choose(&self, among: u32) -> u32 {
        /// 2⁶⁴ divided by the golden ratio.
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let choice = self.choice.get().wrapping_add(STEP);
        self.choice.set(choice);
        (((choice >> 32) * u64::from(among)) >> 32) as u32
    }

    /// Returns true pseudorandomly, once in 32 calls on average.
    pub(super) fn draw(&self) -> bool {
        /// Knuth's multiplier, which the PCG generators use.
        const FACTOR: u64 = 6_364_136_223_846_793_005;
        let draw = self.draw.get().wrapping_mul(FACTOR).wrapping_add(1);
        self.draw.set(draw);
        draw >> 59 == 0
    }

    /// Returns the table of tasks. The caller runs no user code before it drops the borrow (R1).
    #[inline]
    pub(crate) fn tasks(&self) -> RefMut<'_, Tasks> {
        self.tasks.borrow_mut()
    }

    /// Runs user code, and reports its panic to the hook. Returns `None` after a panic.
    pub(crate) fn guard<T>(&self, what: &'static str, run: impl FnOnce() -> T) -> Option<T> {
        self.hook.guard(what, run)
    }

    /// Reports a fault to the hook, which is user code: the caller borrows nothing.
    pub(crate) fn report(&self, fault: &Fault) {
        self.hook.report(fault);
    }

    // The ends of tasks.

    /// Ends a task whose future has completed or was dropped.
    #[inline(never)]
    pub(super) fn finish_task(&self, key: Key, end: End) {
        let finished = self.tasks.borrow_mut().finish(key, end);
        let is_claimed = finished.is_claimed;
        self.settle(finished);
        if !is_claimed {
            let unclaimed = self.tasks.borrow_mut().take_unclaimed(key);
            self.dispose_of_end(unclaimed);
        }
    }

    /// Closes the scope of a finished task or child, and wakes its joiner.
    #[inline]
    pub(crate) fn settle(&self, finished: Finished) {
        if let Some(scope) = finished.scope {
            self.close_scope(scope);
        }
        self.wake_foreign(finished.joiner);
    }

    pub(crate) fn dispose_of_end(&self, unclaimed: Option<Unclaimed>) {
        let Some(unclaimed) = unclaimed else {
            return;
        };
        match unclaimed.end {
            End::Output(Some(task)) if unclaimed.is_reported => {
                self.report_failure(task, &unclaimed.origin);
            }
            End::Output(task) => {
                self.hook.guard("a task's output", || drop(task));
            }
            End::Panicked(payload) => self.report_panic(unclaimed.origin.to_string(), payload),
            End::Aborted => {}
        }
    }

    /// Reports a panic that no handle will take, and drops its payload.
    pub(crate) fn report_panic(&self, task: String, payload: Box<dyn Any + Send>) {
        let message = panic_message(&*payload);
        self.hook.report(&Fault::Panicked { task, message });
        self.hook.drop_payload(payload);
    }

    /// Drops the output of a detached task, and reports its failure.
    #[cold]
    fn report_failure(&self, mut task: Pin<Box<dyn Task>>, origin: &Origin) {
        let output: &dyn Any = task.as_mut().output();
        let reporter = self.reporters.borrow().get(&output.type_id()).copied();
        let Some(reporter) = reporter else {
            unreachable!("a task is detached with the reporter for its output")
        };
        let failure = self.hook.guard("a task's output", || reporter(output));
        self.hook.guard("a task's output", || drop(task));
        if let Some(Some(message)) = failure {
            let task = origin.to_string();
            self.hook.report(&Fault::TaskFailed { task, message });
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

/// Shows only fields that need no borrow: formatting may run user code (R1).
impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("runtime_id", &self.id)
            .field("phase", &self.phase.get())
            .field("turns", &self.turns.get())
            .finish_non_exhaustive()
    }
}
