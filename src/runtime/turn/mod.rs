//! One pass of the event loop.
//!
//! 1. Poll ready tasks, within a budget of polls and time.
//! 2. Fire due timers; take what other threads sent.
//! 3. Enter the kernel once, waiting only if nothing is ready and nothing is left over.
//! 4. Reap: copy every completion into its row, then wake, then dispose of results that no future waits for.
//!
//! The kernel is also entered within a poll: to accept one connection on demand, and to end the operations of a socket that
//! was dropped with some in flight ([`Core::enter_now`]).

mod budget;
mod interrupt;
mod jump;
mod tidy;

pub(super) use self::jump::Jumps;

use self::budget::TurnBudget;
use self::tidy::TidyTimes;

use super::core::Core;
use super::current::{drop_waker, is_in_use};
use super::fault::{Fault, catch};
use crate::driver::{Driver, Reaped};
use crate::sys::{Completion, EnterWait, Instant, Port, Ring, prefetch};
use crate::table::Key;
use crate::tasks::{End, Posted, ReadyTask, Task, WakeId, wake_id_of};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::mem::{self, ManuallyDrop};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};
use std::time::Duration;

/// With at least `TIMERS_DENSE` timers armed, an otherwise idle runtime lets `TIMERS_APART_NS` pass between two turns that
/// fire timers, so that timers due in between share a turn: a wait in the kernel costs more than a timer. This is the
/// default slack of the kernel for every thread's sleep (`prctl(PR_SET_TIMERSLACK)`).
const TIMERS_DENSE: usize = 256;
const TIMERS_APART_NS: u64 = 50_000;

/// The most timers that fire in one turn. The rest wait for the next turn, behind the ready tasks. The number is small
/// enough that memory touched by the timers is still in the processor's cache when the tasks are polled.
const TIMERS_PER_TURN: usize = 256;

/// How many timers or tasks ahead large tables prefetch: the cost of a sleeping task is cache misses.
const AHEAD: usize = 8;

/// The most enters to end orphans. Each enter yields some twenty completions (6.18), and that of an orphan may be behind
/// many others.
const ENTERS_FOR_ORPHANS: u32 = 256;

/// The state of the event loop.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// The number of turns so far.
    pub(super) number: Cell<u64>,
    pub(crate) budget: TurnBudget,
    tidy: TidyTimes,
    /// If time is virtual.
    jumps: Option<Box<Jumps>>,
    /// The coarse time of this turn; zero until it is first read.
    coarse_ns: Cell<u64>,
    /// When timers last fired.
    timers_fired_ns: Cell<u64>,
    /// State of [`choose`](Turn::choose).
    choice: Cell<u64>,
    /// State of the generator of [`draw`](Turn::draw).
    draw: Cell<u64>,
    /// Whether an orphan disposes of a completion that is not its last: a reap would look for its payload.
    is_disposing: Cell<bool>,
    /// Foreign wakers to wake once no call of the current runtime is on the stack.
    unwoken: RefCell<Vec<Waker>>,
}

impl Turn {
    pub(super) fn new(polls_max: u32, time_max: Duration, jumps: Option<Jumps>) -> Turn {
        Turn {
            jumps: jumps.map(Box::new),
            budget: TurnBudget::new(polls_max, time_max),
            // With this seed the 66th draw is the first to be true.
            draw: Cell::new(5),
            ..Turn::default()
        }
    }

    /// Returns the coarse time of this turn. The clock is read at most once a turn, on the first call.
    #[inline]
    pub(super) fn coarse_ns(&self, driver: &Driver<Ring>) -> u64 {
        if self.coarse_ns.get() == 0 {
            self.coarse_ns.set(driver.ring.coarse_now().as_ns());
        }
        self.coarse_ns.get()
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
}

/// Vectors that are reused from turn to turn.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    reaped: Reaped,
    wakers: Vec<Waker>,
    mail: Posted,
}

/// The task that is being polled, kept where its own panic does not drop it.
#[derive(Default)]
struct PolledTask {
    key: Option<Key>,
    task: Option<Pin<Box<dyn Task>>>,
}

/// Polls the future that `block_on` holds, and returns whether it is ready.
pub(super) type PollMain<'a> = &'a mut dyn FnMut(&mut Context<'_>) -> bool;

impl Core {
    /// Runs step 1, after which a shutdown checks whether there is anything left to wait for. Returns true when the main
    /// future is ready: the turn ends there.
    pub(super) fn first_half(&self, main: PollMain<'_>) -> bool {
        self.assert_not_forked();
        self.turn.number.set(self.turn.number.get() + 1);
        self.turn.coarse_ns.set(0);
        self.tidy_at_times();
        self.turn.budget.begin();
        let mut polled = PolledTask::default();
        // One `catch_unwind` for all polls costs less than one for each. After a panic the remaining polls continue.
        loop {
            match catch(|| self.poll_tasks(&mut polled, main)) {
                Ok(main_is_ready) => return main_is_ready,
                Err(payload) => self.task_panicked(&mut polled, payload),
            }
        }
    }

    /// Panics in a forked child: only the parent may enter the ring.
    fn assert_not_forked(&self) {
        assert!(
            !self.is_forked(),
            "this gimmal runtime belongs to the process that forked this one: build a new one in the child, \
             or call exec"
        );
    }

    /// Runs steps 2 to 4, which wait at most until `limit`: a deadline while the runtime is open, and a real time while it
    /// is closing.
    pub(super) fn second_half(&self, limit: Option<Instant>, scratch: &mut Scratch) {
        // A task may have forked: only the parent may submit what is queued.
        self.assert_not_forked();
        self.wake_kept();
        self.fire_timers(scratch);
        self.take_posted(scratch);
        self.enter(limit, scratch);
    }

    fn poll_tasks(&self, polled: &mut PolledTask, main: PollMain<'_>) -> bool {
        while self.may_poll() {
            let turn = {
                let mut tasks = self.tasks.borrow_mut();
                if let Some(task) = tasks.upcoming(AHEAD) {
                    prefetch(task);
                }
                tasks.next()
            };
            let Some(turn) = turn else {
                return false;
            };
            self.turn.budget.count_poll();
            if self.poll_task(turn, polled, main) {
                return true;
            }
        }
        false
    }

    /// Polls one task, or drops it if it was aborted. Returns whether it is the main future and that is ready or to be
    /// dropped.
    #[inline]
    fn poll_task(&self, turn: ReadyTask, polled: &mut PolledTask, main: PollMain<'_>) -> bool {
        let here = &self.context;
        let waker = self.enter_ready(&turn);
        let ReadyTask { key, task, .. } = turn;
        let mut context = Context::from_waker(&waker);
        let Some(task) = task else {
            let rejections = self.rejections();
            // Park the row first: a panic of the main future propagates to the caller of `block_on`.
            let _ = self.tasks.borrow_mut().park(key, None, None);
            let ready =
                main(&mut context) || here.canceled.get() && self.drops_main(key, rejections);
            if self.tasks.borrow_mut().keep_leaf(key, here.leaf.get()) {
                self.count_yield();
            }
            self.leave_task();
            return ready;
        };
        if turn.state.is_aborted() {
            self.drop_aborted(key, task);
            self.leave_task();
            return false;
        }
        polled.key = Some(key);
        // The slot is empty: the previous task was taken out below, or after its panic.
        std::mem::forget(polled.task.replace(task));
        let rejections = self.rejections();
        let ready = match &mut polled.task {
            Some(task) => task.as_mut().poll(&mut context).is_ready(),
            None => unreachable!("it was put there above"),
        };
        let task = polled.task.take();
        if ready {
            self.end_task(key, End::Output(task));
        } else if here.canceled.get() && self.should_drop_canceled(key, rejections) {
            if let Some(task) = task {
                self.drop_aborted(key, task);
            }
        } else {
            self.park_task(key, task);
        }
        self.leave_task();
        false
    }

    /// Whether the main future, which is canceled and pending, is to be dropped.
    #[cold]
    fn drops_main(&self, key: Key, rejections: u64) -> bool {
        self.lifecycle.may_drop_main.get()
            && (self.lifecycle.is_forced() || self.should_drop_canceled(key, rejections))
    }

    /// Makes a task current that is to be polled or dropped. Returns its waker.
    #[inline]
    fn enter_ready(&self, turn: &ReadyTask) -> ManuallyDrop<Waker> {
        let canceled = turn.state.is_cancel_called() || self.context.root_canceled.get();
        self.enter_task(turn, canceled)
    }

    /// Drops an aborted task instead of polling it.
    pub(super) fn drop_ready(&self, turn: ReadyTask) {
        self.enter_ready(&turn);
        if let Some(task) = turn.task {
            self.drop_aborted(turn.key, task);
        }
        self.leave_task();
    }

    #[cold]
    fn drop_aborted(&self, key: Key, task: Pin<Box<dyn Task>>) {
        self.hook.guard("an aborted task", || drop(task));
        self.end_task(key, End::Aborted);
    }

    /// Ends the task that was being polled with this panic payload. The panic of the main future is resumed.
    #[cold]
    fn task_panicked(&self, polled: &mut PolledTask, payload: Box<dyn Any + Send>) {
        let (Some(task), Some(key)) = (polled.task.take(), polled.key) else {
            std::panic::resume_unwind(payload)
        };
        self.leave_task();
        self.hook.guard("a task that had panicked", || drop(task));
        self.end_task(key, End::Panicked(payload));
    }

    /// Fires due timers (step 2).
    fn fire_timers(&self, scratch: &mut Scratch) {
        {
            let mut timers = self.timers.borrow_mut();
            let Some(due) = timers.next_deadline() else {
                return;
            };
            if self.driver.borrow().is_before(Instant::from_ns(due)) {
                return;
            }
            let now_ns = self.now().as_ns();
            let late = now_ns.saturating_sub(due);
            if self.turn.budget.is_enough(late) {
                self.turn.budget.look_as_often_as(late);
            }
            while scratch.wakers.len() < TIMERS_PER_TURN
                && let Some(sleeper) = timers.pop_due(now_ns)
            {
                scratch.wakers.push(sleeper.waker);
                if let Some(row) = timers.upcoming(AHEAD) {
                    prefetch(row);
                }
            }
            // After a full batch more timers are due, which must not be delayed to share a turn.
            if (1..TIMERS_PER_TURN).contains(&scratch.wakers.len()) {
                self.turn.timers_fired_ns.set(now_ns);
            }
        }
        self.wake_all(&mut scratch.wakers);
    }

    /// Takes what other threads sent (step 2).
    fn take_posted(&self, scratch: &mut Scratch) {
        self.look_at_interrupts();
        if !self.slot.inbox().has_remote_wakes() {
            return;
        }
        let mail = &mut scratch.mail;
        self.slot.inbox().take(mail);
        let mut foreign = Vec::new();
        {
            let mut tasks = self.tasks.borrow_mut();
            if mem::take(&mut mail.everyone) {
                foreign = tasks.wake_everyone();
            }
            for wake_id in mail.wake_ids.drain(..) {
                if tasks.is_ours(wake_id) {
                    foreign.extend(tasks.wake(wake_id));
                }
            }
        }
        self.wake_foreign(foreign);
        for wait in mail.waits.drain(..) {
            drop_waker(self.end_wait(wait));
        }
    }

    /// Enters the kernel and reaps (steps 3 and 4).
    fn enter(&self, limit: Option<Instant>, scratch: &mut Scratch) {
        let Some(wait) = self.wait_for(limit) else {
            return;
        };
        let outcome = {
            let mut driver = self.driver.borrow_mut();
            if wait == EnterWait::No && !driver.needs_turn() {
                return;
            }
            // Do not wait if there is work left over, or a wake from another thread.
            let may_wait = wait != EnterWait::No && !driver.has_work() && self.slot.inbox().park();
            let wait = if may_wait { wait } else { EnterWait::No };
            let outcome = driver.turn(wait, &mut scratch.reaped);
            if may_wait {
                self.slot.inbox().wake_up();
                self.turn.budget.has_rested.set(true);
            }
            outcome
        };
        self.bring_in(&mut scratch.reaped);
        if let Err(error) = outcome {
            self.ring_lost(&error);
        }
    }

    /// Wakes the tasks of reaped completions, and disposes of results without a future.
    #[inline]
    fn bring_in(&self, reaped: &mut Reaped) {
        // Tasks that close a descriptor check again for operations in flight on it.
        let mut closers = self.closers.borrow_mut();
        if !closers.is_empty() {
            reaped.woken.append(&mut closers.take_all());
        }
        drop(closers);
        self.wake_all(&mut reaped.woken);
        if !reaped.late.is_empty() || !reaped.stuck.is_empty() || !reaped.overdue.is_empty() {
            self.bring_in_rest(reaped);
        }
    }

    #[inline(never)]
    fn bring_in_rest(&self, reaped: &mut Reaped) {
        self.dispose_late(reaped);
        for (kind, task) in reaped.stuck.drain(..) {
            let task = self.describe_task(WakeId::from_bits(task));
            self.hook.report(&Fault::OperationStuck { kind, task });
        }
        if !reaped.overdue.is_empty() {
            self.look_at_overdue(&mut reaped.overdue);
        }
    }

    /// Runs steps 3 and 4 within a poll. Runs user code: the caller borrows nothing (R1).
    pub(crate) fn enter_now(&self, wait: EnterWait) {
        if self.turn.is_disposing.get() {
            // The next turn enters.
            return;
        }
        let mut reaped = Reaped::default();
        // The next turn reports that the ring is lost.
        let _lost = self.driver.borrow_mut().turn(wait, &mut reaped);
        self.bring_in(&mut reaped);
    }

    /// Whether no table is borrowed, and no payload taken out. If one is, the kernel is entered at the end of the turn
    /// instead.
    fn is_free(&self) -> bool {
        self.driver.is_free()
            && self.tasks.is_free()
            && self.scopes.is_free()
            && !self.turn.is_disposing.get()
    }

    /// Ends orphans now and releases what they hold, so that a descriptor that was dropped with operations in flight is
    /// closed at once. Orphans that the kernel does not end immediately are released in a later turn, or at shutdown,
    /// which waits for them anyway.
    #[cold]
    pub(crate) fn end_orphans(&self) {
        if !self.is_open() || self.is_forked() || !self.is_free() {
            return;
        }
        for _ in 0..ENTERS_FOR_ORPHANS {
            if self.driver.borrow().orphans() == 0 {
                return;
            }
            self.enter_now(EnterWait::No);
            if !self.driver.borrow_mut().has_work() {
                return;
            }
        }
    }

    /// Handles Ctrl-C: the first press cancels the main future; the next stops waiting for canceled tasks.
    fn look_at_interrupts(&self) {
        let Some(interrupts) = self.lifecycle.interrupts.get() else {
            return;
        };
        let count = interrupts.load(Ordering::SeqCst);
        let seen = self.lifecycle.interrupts_seen.replace(count);
        if seen == 0
            && count > 0
            && let Some(main) = self.lifecycle.main.get()
        {
            self.cancel_task(main);
        }
        if seen < count && count > 1 {
            let foreign = self.tasks.borrow_mut().wake_everyone();
            self.wake_foreign(foreign);
        }
    }

    /// Returns how long to wait in the kernel: not at all if a task is ready. Returns `None` if virtual time has jumped: as
    /// always, timers are to fire before the kernel is entered.
    fn wait_for(&self, limit: Option<Instant>) -> Option<EnterWait> {
        if self.tasks.borrow().has_ready() || self.tidy_before_wait() {
            return Some(EnterWait::No);
        }
        if let Some(jumps) = &self.turn.jumps {
            return self.wait_or_jump(jumps, limit);
        }
        let timer = self.next_timer();
        let again = self.driver.borrow().next_deadline();
        let earliest = [timer, again, limit].into_iter().flatten().min();
        Some(earliest.map_or(EnterWait::Forever, EnterWait::Until))
    }

    /// Returns when timers must be checked again.
    fn next_timer(&self) -> Option<Instant> {
        let timers = self.timers.borrow();
        let due = timers.next_deadline()?;
        let earliest = match timers.armed() {
            TIMERS_DENSE.. => self.turn.timers_fired_ns.get() + TIMERS_APART_NS,
            _ => 0,
        };
        Some(Instant::from_ns(due.max(earliest)))
    }

    /// Wakes all of them: our own by wake ID in one borrow, then foreign ones, which run user code (R1).
    #[inline]
    pub(crate) fn wake_all(&self, wakers: &mut Vec<Waker>) {
        if !wakers.is_empty() {
            self.wake_some(wakers);
        }
    }

    fn wake_some(&self, wakers: &mut Vec<Waker>) {
        let mut foreign = Vec::new();
        {
            let mut tasks = self.tasks.borrow_mut();
            let (mut rest, are_far) = (wakers.drain(..), tasks.are_far());
            while let Some(waker) = rest.next() {
                if are_far
                    && let Some(wake_id) = rest.as_slice().get(AHEAD).and_then(wake_id_of)
                    && let Some(row) = tasks.place(wake_id)
                {
                    prefetch(row);
                }
                match wake_id_of(&waker) {
                    Some(wake_id) if tasks.is_ours(wake_id) => foreign.extend(tasks.wake(wake_id)),
                    _ => foreign.push(waker),
                }
            }
        }
        self.wake_foreign(foreign);
    }

    /// Wakes a task or child.
    pub(crate) fn wake_task(&self, task: Key) {
        let foreign = self.tasks.borrow_mut().wake(self.wake_id(task));
        self.wake_foreign(foreign);
    }

    /// Wakes foreign wakers, which run user code: the caller borrows nothing. Within a call of the current runtime, as
    /// when a leaf moves to another scope, they are kept until the polls of this turn are over.
    #[inline]
    pub(crate) fn wake_foreign(&self, wakers: impl IntoIterator<Item = Waker>) {
        for waker in wakers {
            self.wake_or_keep(waker);
        }
    }

    #[cold]
    fn wake_or_keep(&self, waker: Waker) {
        if is_in_use() {
            self.turn.unwoken.borrow_mut().push(waker);
        } else {
            self.hook.guard("a waker", || waker.wake());
        }
    }

    /// Wakes the foreign wakers that were kept.
    #[inline]
    pub(super) fn wake_kept(&self) {
        let any = !self.turn.unwoken.borrow().is_empty();
        if any {
            self.wake_unwoken();
        }
    }

    #[cold]
    fn wake_unwoken(&self) {
        let kept = self.turn.unwoken.take();
        self.wake_foreign(kept);
    }

    fn dispose_late(&self, reaped: &mut Reaped) {
        for late in reaped.late.drain(..) {
            if late.last {
                let mut payload = self.driver.borrow_mut().take_payload(late.key, true);
                self.dispose(&mut *payload, [late.completion]);
                self.hook.guard("an operation", || drop(payload));
                self.orphan_ended(late.owner);
            } else {
                self.dispose_in_flight(late.key, [late.completion]);
            }
        }
    }

    /// Has an orphan that is still in flight dispose of completions. The kernel is not entered meanwhile.
    pub(super) fn dispose_in_flight(
        &self,
        key: Key,
        completions: impl IntoIterator<Item = Completion>,
    ) {
        let mut payload = self.driver.borrow_mut().take_payload(key, false);
        let before = self.turn.is_disposing.replace(true);
        self.dispose(&mut *payload, completions);
        self.turn.is_disposing.set(before);
        self.driver.borrow_mut().return_payload(key, payload);
    }

    /// Reports that the ring is lost, and panics out of `block_on`. During shutdown it does not panic: operations in
    /// flight are leaked.
    #[cold]
    fn ring_lost(&self, error: &std::io::Error) {
        let message = error.to_string();
        self.hook.report(&Fault::RingLost { message });
        assert!(
            !self.is_open(),
            "gimmal: the ring is lost, and with it every operation in flight: {error}"
        );
    }
}
