//! The operation table: what the runtime knows of each operation in flight.
//!
//! The driver pushes entries into the ring, finds the row of each completion, and returns the wakers to wake and the
//! completions to dispose of. It never runs user code: wakers and payloads are returned to the caller (R1). The states of
//! an operation are described in [`lifecycle`](self::lifecycle).
//!
//! - **O1** Memory that the kernel may read or write stays in place and alive until the last completion has been
//!   reaped.
//! - **O2** Nothing that the kernel addresses lies inside a row or a future.
//! - **O3** A row is freed once: by the last completion of an orphan, or by the future that takes or drops its result.
//! - **O6** Reaping requires no future to be polled.
//! - **O7** A full submission queue is flushed; entries that do not fit even then wait in a backlog, in order.
//!
//! (The numbers are those of ARCHITECTURE.md; O4 and O5 belong to `op`, O8 and O9 to `runtime`.)

#![forbid(unsafe_code)]

mod cancel_retry;
mod deadlines;
pub(crate) mod lifecycle;

use crate::sys::{
    Answer, Attempt, Completion, Cqe, EnterWait, Entry, Instant, Opcode, Port, Supported,
    VirtualClock,
};
use crate::table::{Excess, Key, Owner, Table};
use cancel_retry::{ASKS_UNTIL_STUCK, CancelRetries, DueRetry, OVERDUE};
use deadlines::Deadlines;
use lifecycle::{Lifecycle, OnComplete, OnDrop, Polled};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::task::Waker;
use std::time::Duration;

/// The user data of the poll on the descriptor through which other threads wake this one.
const WAKE: u64 = u64::MAX;

/// Marks the user data of a cancel request; the other bits name the operation to stop. Row indices have 28 bits, so the
/// bit is free.
const CANCEL: u64 = 1 << 31;

/// The pause before entries that the kernel did not take are offered again.
const BACKLOG_PAUSE: Duration = Duration::from_millis(1);

/// The capacity of the backlog that is kept, in entries.
const BACKLOG_KEPT: usize = 64;

const POLL_MULTISHOT: u32 = 1;

/// With more operations in flight than this, the next enter will likely reap completions of others too, so a direct
/// call would only be an additional call.
const DIRECT_IN_FLIGHT_MAX: usize = 8;

/// Owns the memory that an orphan lent to the kernel.
pub(crate) trait Payload {
    /// Disposes of a completion that is not awaited.
    fn dispose(&mut self, completion: Completion);
}

/// What all operations of one type have in common.
#[derive(Debug)]
pub(crate) struct OperationKind {
    pub(crate) name: &'static str,
    /// False for closing, which is never canceled (C13).
    pub(crate) is_cancelable: bool,
    /// Whether it may wait for another party.
    pub(crate) waits_for_peer: bool,
}

/// How long what is pending keeps virtual time from moving.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TimeHold {
    No,
    /// For a short real time: it may never end.
    Briefly,
    /// Until it ends, as it does by itself.
    UntilOver,
}

struct OperationRow {
    lifecycle: Lifecycle<Waker, Box<dyn Payload>>,
    kind: &'static OperationKind,
    /// The descriptor that it works on.
    fd: i32,
    /// The second descriptor, if it works on two.
    second_fd: i32,
    /// Already checked for being overdue, or never checked because it is expected to wait.
    is_looked_at: bool,
    /// The task that polled it last, as the bits of its key.
    task: u64,
    /// The scope or task that it belongs to, by its last poll.
    owner: Owner,
    since_ns: u64,
    /// The number of collected completions at which it is asked to stop.
    collect_max: u32,
}

/// What a row holds of an operation beside its state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) kind: &'static OperationKind,
    pub(crate) task: u64,
    pub(crate) owner: Owner,
    pub(crate) since_ns: u64,
    pub(crate) collect_max: u32,
}

/// A row as shown in listings of pending work.
#[derive(Debug)]
pub(crate) struct RowView {
    pub(crate) kind: &'static str,
    pub(crate) task: u64,
    pub(crate) since_ns: u64,
    pub(crate) in_flight: bool,
    pub(crate) orphan: bool,
}

/// A completion that is not awaited: its payload is taken with [`Driver::take_payload`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Late {
    pub(crate) key: Key,
    pub(crate) completion: Completion,
    pub(crate) last: bool,
    pub(crate) owner: Owner,
}

/// The results of one reap.
#[derive(Debug, Default)]
pub(crate) struct Reaped {
    pub(crate) woken: Vec<Waker>,
    pub(crate) late: Vec<Late>,
    /// Operations that the kernel has not stopped for a second: kinds, and the tasks that polled them.
    pub(crate) stuck: Vec<(&'static str, u64)>,
    /// File operations that the kernel has had for a second while others wait in its workers. If it can create no
    /// thread for them, they can be withdrawn.
    pub(crate) overdue: Vec<Key>,
}

/// Counters, which only grow.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) enters: u64,
    pub(crate) attempts: u64,
    pub(crate) submitted: u64,
    pub(crate) completed: u64,
    pub(crate) cancels_asked: u64,
}

/// What is left to do after a future was dropped, outside the borrow. The waker is only to be dropped.
#[must_use]
pub(crate) struct Dropped {
    pub(crate) waker: Option<Waker>,
    pub(crate) duty: DroppedDuty,
}

/// What must be disposed of after a future was dropped.
pub(crate) enum DroppedDuty {
    /// The completions that an orphan had collected.
    Items(Key, VecDeque<Completion>),
    /// All remaining completions; the payload is dropped after them.
    Ended(Box<dyn Payload>, VecDeque<Completion>),
}

/// The operations of one runtime, on a ring.
pub(crate) struct Driver<P> {
    supported: Supported,
    /// For uses other than requests.
    pub(crate) ring: P,
    /// The clock by which deadlines go, if it is not the ring's.
    clock: Option<VirtualClock>,
    rows: Table<OperationRow>,
    in_flight: usize,
    orphans: usize,
    /// Entries that found no room (O7).
    backlog: VecDeque<(Entry, u64, Answer)>,
    retries: CancelRetries,
    held_workers: usize,
    /// Boxed, so that the fields that each operation touches lie closer together.
    deadlines: Box<Deadlines>,
    wake_fd: i32,
    wake_armed: bool,
    /// The kernel was asked to end that poll, and has not reported a failure.
    wake_asked: bool,
    /// The ring is lost: every later turn returns this error.
    lost: Option<io::Error>,
    counts: Counts,
}

impl<P: Port> Driver<P> {
    /// Creates a driver on this ring, woken through `wake_fd`. Deadlines go by `clock`, or by the ring's clock if it is
    /// `None`.
    pub(crate) fn new(ring: P, wake_fd: i32, clock: Option<VirtualClock>) -> Driver<P> {
        Driver {
            supported: ring.supported(),
            ring,
            clock,
            rows: Table::new(),
            in_flight: 0,
            orphans: 0,
            backlog: VecDeque::new(),
            retries: CancelRetries::default(),
            held_workers: 0,
            deadlines: Box::new(Deadlines::new()),
            wake_fd,
            wake_armed: false,
            wake_asked: false,
            lost: None,
            counts: Counts::default(),
        }
    }

    /// Returns the opcodes and features of the ring.
    #[inline]
    pub(crate) fn supported(&self) -> &Supported {
        &self.supported
    }

    /// Returns the time by which deadlines go. The ring's waits, and what the driver does at times of its own, go by the
    /// ring's clock.
    #[inline]
    pub(crate) fn now(&self) -> Instant {
        match &self.clock {
            None => self.ring.now(),
            Some(clock) => clock.now(),
        }
    }

    /// Whether it is known, without reading a clock, that this deadline has not passed.
    #[inline]
    pub(crate) fn is_before(&self, deadline: Instant) -> bool {
        self.ring.is_before(deadline) && self.clock.is_none()
    }

    /// Called before an operation that may block indefinitely in a kernel worker. Adds a worker for it, if possible,
    /// and returns whether it did.
    pub(crate) fn hold_worker(&mut self) -> bool {
        self.held_workers += 1;
        if !self.retries.looks() {
            self.retries.look_at(self.ring.now() + OVERDUE);
        }
        self.ring.add_workers(1)
    }

    /// Ends such a wait, and removes the worker that was added for it.
    pub(crate) fn release_worker(&mut self, was_added: bool) {
        self.held_workers -= 1;
        if was_added {
            self.ring.add_workers(-1);
        }
    }

    /// Returns how many operations hold kernel workers that way.
    pub(crate) fn held_workers(&self) -> usize {
        self.held_workers
    }

    /// Submits an operation to the ring. The memory of its entry is in place (O2), and stays (O1).
    #[inline]
    pub(crate) fn submit(&mut self, entry: &Entry, request: Request, waker: Option<Waker>) -> Key {
        let key = self.rows.insert(OperationRow {
            lifecycle: Lifecycle::new(waker),
            kind: request.kind,
            fd: entry.plain_fd(),
            second_fd: entry.second_fd(),
            is_looked_at: entry.is_in_worker(),
            task: request.task,
            owner: request.owner,
            since_ns: request.since_ns,
            collect_max: request.collect_max,
        });
        self.in_flight += 1;
        self.push(entry, key.to_u64(), Answer::Always);
        key
    }

    /// Serves an operation at once, without a row, if the next enter would be for it alone: nothing is queued, few
    /// operations are in flight, and no completion is ready to be reaped.
    #[inline]
    pub(crate) fn attempt(&mut self, entry: &Entry) -> Attempt {
        if self.in_flight > DIRECT_IN_FLIGHT_MAX
            || self.ring.queued() > 0
            || !self.backlog.is_empty()
            || self.ring.has_work()
            || !self.supported.opcodes.contains(entry.opcode())
        {
            return Attempt::Unserved;
        }
        let attempt = self.ring.attempt(entry);
        self.counts.attempts += u64::from(!matches!(attempt, Attempt::Unserved));
        self.counts.completed += u64::from(matches!(attempt, Attempt::Done(_)));
        attempt
    }

    /// Serves an operation without the ring's queue and without a row (see [`Port::serve`]).
    pub(crate) fn serve(&mut self, entry: &Entry, refused: bool) -> Option<Completion> {
        let served = self.ring.serve(entry, refused);
        self.counts.completed += u64::from(served.is_some());
        served
    }

    /// Takes back an operation that no kernel thread has started: it completes with ECANCELED, although no cancel was
    /// requested. A running one is at most interrupted.
    pub(crate) fn withdraw(&mut self, key: Key) {
        if self
            .rows
            .get(key)
            .is_some_and(|row| row.lifecycle.is_awaited())
        {
            self.push_cancel(key);
        }
    }

    /// Cancels an operation in flight at this time, unless it has completed by then.
    #[inline]
    pub(crate) fn set_deadline(&mut self, key: Key, deadline: Instant) {
        self.deadlines.set(deadline, key);
    }

    /// Polls an operation for its future. Its last completion frees the row.
    #[inline]
    pub(crate) fn poll(&mut self, key: Key) -> Polled {
        let Some(row) = self.rows.get_mut(key) else {
            unreachable!("O3: a future owns its row until it has taken the result")
        };
        let polled = row.lifecycle.poll();
        if let Polled::Last { .. } = polled {
            self.rows.discard(key);
        }
        polled
    }

    /// Stores the waker of a pending operation's future, and the task that awaits it. Returns the replaced waker, to be
    /// dropped, and the owner of the operation.
    #[inline]
    pub(crate) fn renew(&mut self, key: Key, waker: Waker, task: u64) -> (Option<Waker>, Owner) {
        let Some(row) = self.rows.get_mut(key) else {
            unreachable!("O3: a future owns its row until it has taken the result")
        };
        row.task = task;
        (row.lifecycle.renew(waker), row.owner)
    }

    /// Moves an operation to another owner.
    pub(crate) fn set_owner(&mut self, key: Key, owner: Owner) {
        if let Some(row) = self.rows.get_mut(key) {
            row.owner = owner;
        }
    }

    /// If an operation of this owner is in flight, returns whether its future is gone. Otherwise returns `None`.
    #[inline]
    pub(crate) fn is_orphan_in(&self, key: Key, owner: Owner) -> Option<bool> {
        let row = self.rows.get(key)?;
        (row.owner == owner && row.lifecycle.is_in_flight()).then(|| row.lifecycle.is_orphan())
    }

    /// Handles the drop of an operation's future, which leaves its payload here.
    pub(crate) fn abandon(&mut self, key: Key, payload: Box<dyn Payload>) -> Dropped {
        let Some(row) = self.rows.get_mut(key) else {
            unreachable!("O3: a future owns its row until it is dropped")
        };
        let (abandoned, waker) = row.lifecycle.abandon(payload);
        let duty = match abandoned {
            OnDrop::Orphaned {
                ask_cancel,
                collected,
            } => {
                self.orphans += 1;
                if ask_cancel && row.kind.is_cancelable {
                    self.push_cancel(key);
                }
                DroppedDuty::Items(key, collected.map_or_else(VecDeque::new, |items| *items))
            }
            OnDrop::Ended {
                payload,
                collected,
                last,
            } => {
                self.rows.remove(key);
                let mut items = collected.map_or_else(VecDeque::new, |items| *items);
                items.push_back(last);
                DroppedDuty::Ended(payload, items)
            }
        };
        Dropped { waker, duty }
    }

    /// Takes the payload of an orphan, to dispose of a completion. With the last completion, the row is freed.
    pub(crate) fn take_payload(&mut self, key: Key, last: bool) -> Box<dyn Payload> {
        let payload = self
            .rows
            .get_mut(key)
            .and_then(|row| row.lifecycle.take_payload());
        if last {
            self.rows.remove(key);
        }
        match payload {
            Some(payload) => payload,
            None => unreachable!("O1: an orphan has its payload until its last completion"),
        }
    }

    /// Gives the payload back: the kernel still has the operation.
    pub(crate) fn return_payload(&mut self, key: Key, payload: Box<dyn Payload>) {
        match self.rows.get_mut(key) {
            Some(row) => row.lifecycle.return_payload(payload),
            None => unreachable!("O3: an orphan's row is there until its last completion"),
        }
    }

    /// Asks the kernel to stop an operation, if it is in flight and was not asked before.
    #[inline]
    pub(crate) fn ask_cancel(&mut self, key: Key) {
        let row = self.rows.get_mut(key);
        if row.is_some_and(|row| row.kind.is_cancelable && row.lifecycle.ask_cancel()) {
            self.push_cancel(key);
        }
    }

    /// Asks the kernel to stop all operations on this descriptor, and returns whether there are any (C13).
    pub(crate) fn cancel_on(&mut self, fd: i32) -> bool {
        let keys = self
            .rows
            .keys(&|row| (row.fd == fd || row.second_fd == fd) && row.lifecycle.is_in_flight());
        for key in &keys {
            self.ask_cancel(*key);
        }
        !keys.is_empty()
    }

    /// Asks the kernel to stop all operations, and the wake poll (O8). Returns the wakers that waited for them, to be
    /// dropped.
    pub(crate) fn cancel_all(&mut self) -> Vec<Waker> {
        let keys = self.rows.keys(&|_| true);
        let mut wakers = Vec::new();
        for key in keys {
            self.ask_cancel(key);
            wakers.extend(
                self.rows
                    .get_mut(key)
                    .and_then(|row| row.lifecycle.take_wake()),
            );
        }
        // Never re-arm the wake poll from here on: nothing would cancel it.
        self.wake_fd = -1;
        self.wake_asked = false;
        wakers
    }

    /// Asks the kernel to end the wake poll, repeatedly if that fails: another thread may be waking at that moment.
    fn end_wake(&mut self) {
        self.wake_asked = true;
        // No row has generation zero, so this is not an operation's key.
        self.push(&cancel_entry(WAKE), CANCEL, Answer::OnFailure);
    }

    fn push_cancel(&mut self, key: Key) {
        self.counts.cancels_asked += 1;
        let target = key.to_u64();
        self.push(&cancel_entry(target), target | CANCEL, Answer::OnFailure);
    }

    #[inline]
    fn push(&mut self, entry: &Entry, user_data: u64, answer: Answer) {
        self.counts.submitted += 1;
        if self.backlog.is_empty() && self.ring.push(entry, user_data, answer).is_ok() {
            return;
        }
        self.push_slowly(entry, user_data, answer);
    }

    /// Flushes the full queue, once. An entry that does not fit even then goes into the backlog (O7).
    #[cold]
    fn push_slowly(&mut self, entry: &Entry, user_data: u64, answer: Answer) {
        if self.backlog.is_empty() {
            self.enter(EnterWait::Submit);
            if self.ring.push(entry, user_data, answer).is_ok() {
                return;
            }
        }
        self.backlog.push_back((*entry, user_data, answer));
    }

    fn enter(&mut self, wait: EnterWait) {
        self.counts.enters += 1;
        if let Err(error) = self.ring.enter(wait) {
            self.lost.get_or_insert(error);
        }
    }

    /// Releases memory left over from a peak, a part of it at a time. Returns whether there is more to do.
    pub(crate) fn tidy(&mut self, period: u32) -> Excess {
        if self.backlog.capacity() / 4 > self.backlog.len().max(BACKLOG_KEPT) {
            self.backlog.shrink_to(BACKLOG_KEPT);
        }
        self.retries.trim();
        self.rows.tidy(period)
    }

    fn flush_backlog(&mut self) {
        while let Some((entry, user_data, answer)) = self.backlog.front() {
            if self.ring.push(entry, *user_data, *answer).is_ok() {
                self.backlog.pop_front();
                continue;
            }
            let before = self.ring.queued();
            self.enter(EnterWait::Submit);
            if self.ring.queued() == before {
                return;
            }
        }
    }

    /// Whether a turn that does not wait has any reason to look at the ring.
    #[inline]
    pub(crate) fn needs_turn(&mut self) -> bool {
        self.ring.queued() > 0
            || !self.backlog.is_empty()
            || self.ring.wants_turn()
            || self
                .next_retry()
                .is_some_and(|due| !self.ring.is_before(due) && due <= self.ring.now())
            || self
                .deadlines
                .next()
                .is_some_and(|due| !self.is_before(due) && due <= self.now())
    }

    /// Returns the time, by the ring's clock, at which this table next has something to do of its own accord.
    pub(crate) fn next_retry(&self) -> Option<Instant> {
        self.retries.next()
    }

    /// Returns the time at which this table next has something to do, if deadlines go by the ring's clock.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        match (self.retries.next(), self.deadlines.next()) {
            (Some(retries), Some(limit)) => Some(retries.min(limit)),
            (retries, limit) => retries.or(limit),
        }
    }

    /// Returns the first deadline of an operation in flight.
    pub(crate) fn first_deadline(&mut self) -> Option<Instant> {
        let Driver {
            deadlines, rows, ..
        } = self;
        deadlines.first(|key| is_awaited(rows, key))
    }

    /// Returns how long the operations in flight keep virtual time from moving. Those that were asked to stop end by
    /// themselves.
    pub(crate) fn hold(&self) -> TimeHold {
        let mut hold = TimeHold::No;
        for (_, row) in self.rows.iter() {
            if !row.lifecycle.is_in_flight() {
                continue;
            }
            let waits = row.kind.is_cancelable
                && row.lifecycle.asks() == 0
                // Reads and writes wait for a peer if they work on a pipe, a terminal or a socket.
                && (row.kind.waits_for_peer || row.fd >= 0 && !self.ring.is_file(row.fd));
            if !waits {
                return TimeHold::UntilOver;
            }
            hold = TimeHold::Briefly;
        }
        hold
    }

    /// Submits what is queued, waits as told, and reaps the completions. An error means that the ring is lost.
    pub(crate) fn turn(&mut self, wait: EnterWait, reaped: &mut Reaped) -> io::Result<()> {
        if self
            .retries
            .next()
            .is_some_and(|next| !self.ring.is_before(next))
        {
            self.look_at_again(reaped);
        }
        if let Some(next) = self.deadlines.next() {
            self.look_at_limits(next);
        }
        match self.wake_fd >= 0 {
            true if !self.wake_armed => self.arm_wake(),
            false if self.wake_armed && !self.wake_asked => self.end_wake(),
            _ => {}
        }
        self.flush_backlog();
        let wait = if self.backlog.is_empty() {
            wait
        } else {
            self.wait_for_room(wait)
        };
        self.enter(wait);
        self.reap(reaped);
        match self.lost.take() {
            Some(error) => {
                self.lost = Some(io::Error::from(error.kind()));
                Err(error)
            }
            None => Ok(()),
        }
    }

    /// Cancels the operations whose deadline has passed.
    #[inline(never)]
    fn look_at_limits(&mut self, next: Instant) {
        let Driver {
            deadlines, rows, ..
        } = self;
        deadlines.age(|key| is_awaited(rows, key));
        if !self.is_before(next) && next <= self.now() {
            self.stop_overdue();
        }
    }

    #[cold]
    fn stop_overdue(&mut self) {
        let Driver {
            deadlines, rows, ..
        } = self;
        // Moves the remaining ones to the heap.
        deadlines.age(|key| is_awaited(rows, key));
        let now = self.now();
        loop {
            let Driver {
                deadlines, rows, ..
            } = self;
            match deadlines.pop(now, |key| is_awaited(rows, key)) {
                Some(key) => self.ask_cancel(key),
                None => return,
            }
        }
    }

    /// Limits the wait while there is a backlog that the kernel did not take, so that it is offered again soon.
    #[cold]
    fn wait_for_room(&self, wait: EnterWait) -> EnterWait {
        let soon = self.ring.now() + BACKLOG_PAUSE;
        match wait {
            EnterWait::Submit | EnterWait::No => wait,
            EnterWait::Until(deadline) => EnterWait::Until(deadline.min(soon)),
            EnterWait::Forever => EnterWait::Until(soon),
        }
    }

    fn reap(&mut self, reaped: &mut Reaped) {
        let Driver {
            ring,
            rows,
            in_flight,
            orphans,
            retries,
            wake_armed,
            wake_asked,
            lost,
            counts,
            ..
        } = self;
        let mut limit_reached = Vec::new();
        ring.reap(
            |Cqe {
                 user_data,
                 completion,
             }| {
                if user_data & CANCEL != 0 {
                    if user_data == WAKE {
                        *wake_armed = completion.has_more();
                        // Re-armed, it would fail again at once.
                        if let libc::EBADF | libc::EINVAL = -completion.raw() {
                            lost.get_or_insert(io::Error::from_raw_os_error(-completion.raw()));
                        }
                    } else if user_data == CANCEL {
                        *wake_asked &= completion.raw() >= 0;
                    } else if completion.raw() < 0 {
                        retries.missed(Key::from_u64(user_data & !CANCEL));
                    }
                    return;
                }
                let key = Key::from_u64(user_data);
                let Some(row) = rows.get_mut(key) else {
                    unreachable!("O3: a row is there until its last completion")
                };
                if !completion.has_more() {
                    counts.completed += 1;
                    *in_flight -= 1;
                }
                match row.lifecycle.complete(completion, row.collect_max) {
                    OnComplete::Wake { wake, ask_cancel } => {
                        reaped.woken.extend(wake);
                        if ask_cancel {
                            limit_reached.push(key);
                        }
                    }
                    OnComplete::Dispose { last } => {
                        *orphans -= usize::from(last);
                        reaped.late.push(Late {
                            key,
                            completion,
                            last,
                            owner: row.owner,
                        });
                    }
                }
            },
        );
        for key in limit_reached {
            self.push_cancel(key);
        }
        if self.retries.has_missed() {
            self.schedule_missed();
        }
    }

    #[cold]
    fn schedule_missed(&mut self) {
        let Driver {
            retries,
            rows,
            ring,
            ..
        } = self;
        retries.schedule(ring.now(), |key| {
            rows.get_mut(key)?.lifecycle.cancel_missed()
        });
    }

    fn look_at_again(&mut self, reaped: &mut Reaped) {
        let now = self.ring.now();
        while let Some(due) = self.retries.pop(now) {
            match due {
                DueRetry::Look => self.look_for_overdue(now, &mut reaped.overdue),
                DueRetry::Ask(key) => self.ask_again(key, &mut reaped.stuck),
            }
        }
    }

    fn ask_again(&mut self, key: Key, stuck: &mut Vec<(&'static str, u64)>) {
        if let Some(row) = self.rows.get(key)
            && row.lifecycle.is_in_flight()
        {
            if row.lifecycle.asks() == ASKS_UNTIL_STUCK {
                stuck.push((row.kind.name, row.task));
            }
            self.push_cancel(key);
        }
    }

    /// Finds overdue operations: those that may be queued behind one that blocks in a worker. Each is found once.
    #[cold]
    fn look_for_overdue(&mut self, now: Instant, overdue: &mut Vec<Key>) {
        let is_overdue = |row: &OperationRow| {
            let due = Instant::from_ns(row.since_ns) + OVERDUE;
            !row.is_looked_at && row.kind.is_cancelable && row.lifecycle.is_awaited() && due <= now
        };
        for key in self.rows.keys(&is_overdue) {
            if let Some(row) = self.rows.get_mut(key) {
                row.is_looked_at = true;
                // Only paths and files: other operations wait for their peers, not for a thread.
                if row.fd == libc::AT_FDCWD || self.ring.is_file(row.fd) {
                    overdue.push(key);
                }
            }
        }
        if self.held_workers > 0 {
            self.retries.look_at(now + OVERDUE);
        }
    }

    /// Polls the descriptor that other threads signal. The poll stays armed: each write to an eventfd is an edge.
    fn arm_wake(&mut self) {
        self.wake_armed = true;
        let entry = Entry::new(Opcode::POLL_ADD)
            .fd(self.wake_fd)
            .len(POLL_MULTISHOT)
            .poll_events(libc::POLLIN as u32);
        self.push(&entry, WAKE, Answer::Always);
    }

    /// Whether an operation is in flight. Its row exists, because the caller owns it.
    pub(crate) fn is_in_flight(&self, key: Key) -> bool {
        self.rows
            .get(key)
            .is_some_and(|row| row.lifecycle.is_in_flight())
    }

    /// Whether there are completions to reap, including those that the kernel has yet to post.
    #[inline]
    pub(crate) fn has_work(&mut self) -> bool {
        self.ring.has_work()
    }

    /// Returns the number of operations in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Returns the number of operations in flight whose future is gone.
    pub(crate) fn orphans(&self) -> usize {
        self.orphans
    }

    /// Returns the number of rows: operations in flight, and results not yet taken.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether the kernel has none of this driver's requests left, and will post no completion.
    pub(crate) fn is_drained(&self) -> bool {
        self.in_flight == 0 && !self.wake_armed
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = RowView> {
        self.rows.iter().map(|(_, row)| RowView {
            kind: row.kind.name,
            task: row.task,
            since_ns: row.since_ns,
            in_flight: row.lifecycle.is_in_flight(),
            orphan: row.lifecycle.is_orphan(),
        })
    }

    /// Whether the ring has failed for good.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    /// Leaks the operations in flight at the end of the runtime. Their payload is never freed: the kernel may still
    /// write into their memory (O8). Returns the kind of each.
    pub(crate) fn leak(&mut self) -> Vec<&'static str> {
        leak_owners(&mut self.rows)
    }

    /// Removes the row of an operation that was in flight when the runtime ended, and whose future is now gone, with
    /// the memory it lent.
    ///
    /// No waker is dropped with the row: the shutdown took them all (R1).
    pub(crate) fn forget(&mut self, key: Key) {
        self.rows.remove(key);
    }
}

/// However a driver ends, memory that the kernel still uses is never freed (O1).
impl<P> Drop for Driver<P> {
    fn drop(&mut self) {
        leak_owners(&mut self.rows);
    }
}

/// Forgets the memory that orphans lent to the kernel, and their rows. A row that a future owns stays: the future keeps
/// its memory, or forgets it. Returns the kinds of the operations in flight.
fn leak_owners(rows: &mut Table<OperationRow>) -> Vec<&'static str> {
    let keys = rows.keys(&|row| row.lifecycle.is_in_flight());
    let mut kinds = Vec::with_capacity(keys.len());
    for key in keys {
        if let Some(row) = rows.get_mut(key) {
            kinds.push(row.kind.name);
            if row.lifecycle.is_orphan() {
                std::mem::forget(row.lifecycle.take_payload());
                rows.remove(key);
            }
        }
    }
    kinds
}

/// Whether an operation is in flight and a future awaits it.
fn is_awaited(rows: &Table<OperationRow>, key: Key) -> bool {
    rows.get(key).is_some_and(|row| row.lifecycle.is_awaited())
}

fn cancel_entry(target: u64) -> Entry {
    Entry::new(Opcode::ASYNC_CANCEL).addr(std::ptr::without_provenance::<u8>(target as usize))
}

impl<P: fmt::Debug> fmt::Debug for Driver<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("ring", &self.ring)
            .field("in_flight", &self.in_flight)
            .field("orphans", &self.orphans)
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
