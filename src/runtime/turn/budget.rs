//! The budget of a turn: how many polls, and how much time, before the runtime enters the kernel again.
//!
//! The clock is read only now and then: after a number of polls, and when a task yields or passes many ready leaves.

use crate::runtime::core::Core;
use crate::runtime::leaf::ATTEMPTED_BYTES_PER_TURN;
use crate::sys::Instant;
use std::cell::Cell;
use std::time::Duration;

/// The most polls between two reads of the clock, and one less before the first read: most turns end earlier, and never
/// read it. When polls are long, there are fewer between two reads.
const POLLS_PER_CLOCK: u32 = 16;

/// A turn's budget for polling. Polls of children count, too.
#[derive(Debug, Default)]
pub(crate) struct TurnBudget {
    polls_max: u32,
    ns_max: u64,
    /// The number of polls in all turns before this one.
    polls_before: Cell<u64>,
    polls: Cell<u32>,
    /// The number of polls at which the clock or the end of the budget is checked next.
    look_at: Cell<u32>,
    /// The time of the first read of the clock in this turn.
    started: Cell<Option<Instant>>,
    is_over: Cell<bool>,
    /// Polls between two reads of the clock: fewer after long polls, in later turns, too.
    polls_per_clock: Cell<u32>,
    /// The number of polls from which a task that yields reads the coarse clock.
    look_at_yield: Cell<u32>,
    /// The count of rejected leaves when a yielding task last checked.
    rejections: Cell<u64>,
    /// The start, by the coarse clock, of the time that yields and ready leaves are charged to. It is set by the first
    /// check after the loop has waited, and by each check that ends a turn. It outlives the turn, so that one long step
    /// is noticed at the next check.
    charged_from: Cell<u64>,
    /// Whether the loop has waited since `charged_from`: time spent waiting does not count.
    pub(in crate::runtime) has_rested: Cell<bool>,
    /// Bytes that direct calls may still move in this turn.
    pub(in crate::runtime) attempts: Cell<u32>,
}

impl TurnBudget {
    pub(in crate::runtime) fn new(polls_max: u32, time_max: Duration) -> TurnBudget {
        TurnBudget {
            polls_max,
            ns_max: u64::try_from(time_max.as_nanos()).unwrap_or(u64::MAX),
            polls_per_clock: Cell::new(POLLS_PER_CLOCK),
            has_rested: Cell::new(true),
            ..TurnBudget::default()
        }
    }

    /// Begins a turn.
    pub(super) fn begin(&self) {
        self.polls_before.set(self.polls_so_far());
        self.polls.set(0);
        let first = self.polls_per_clock.get() - 1;
        self.look_at.set(first.min(self.polls_max));
        self.look_at_yield.set(0);
        self.started.set(None);
        self.is_over.set(false);
        self.attempts.set(ATTEMPTED_BYTES_PER_TURN);
    }

    /// Counts a poll that is about to happen.
    #[inline]
    pub(crate) fn count_poll(&self) {
        self.polls.set(self.polls.get() + 1);
    }

    /// Returns the number of polls of this turn and of all turns before it, which identifies the current poll.
    #[inline]
    pub(crate) fn polls_so_far(&self) -> u64 {
        self.polls_before.get() + u64::from(self.polls.get())
    }

    /// Whether more polls may follow at this time.
    fn look_at_clock(&self, now: Instant) -> bool {
        let started = self.started.get().unwrap_or(now);
        self.started.set(Some(started));
        let spent = now.as_ns().saturating_sub(started.as_ns());
        if self.is_enough(spent) {
            self.look_as_often_as(spent);
            self.end();
            return false;
        }
        let apart = self.polls_per_clock.get();
        if spent > 0 {
            // Polls are shorter again.
            self.polls_per_clock.set(POLLS_PER_CLOCK.min(2 * apart));
        }
        let next = self.polls.get() + self.polls_per_clock.get();
        self.look_at.set(next.min(self.polls_max));
        true
    }

    /// Whether this many nanoseconds use up the time of a turn.
    #[inline]
    pub(super) fn is_enough(&self, spent: u64) -> bool {
        spent > 0 && spent >= self.ns_max
    }

    /// Ends the polling of this turn.
    fn end(&self) {
        self.is_over.set(true);
        self.look_at.set(0);
    }

    /// Sets how often the clock is read from now on, given that the polls of this turn took at least this long.
    pub(super) fn look_as_often_as(&self, spent: u64) {
        let polls = u64::from(self.polls.get());
        let in_time = polls.saturating_mul(self.ns_max) / spent;
        let apart = in_time.clamp(1, u64::from(POLLS_PER_CLOCK));
        self.polls_per_clock.set(apart as u32);
    }
}

impl Core {
    /// Whether another task, or child, may be polled in this turn.
    #[inline]
    pub(crate) fn may_poll(&self) -> bool {
        let budget = &self.turn.budget;
        budget.polls.get() < budget.look_at.get() || self.look_at_budget()
    }

    #[cold]
    fn look_at_budget(&self) -> bool {
        let budget = &self.turn.budget;
        budget.polls.get() < budget.polls_max
            && !budget.is_over.get()
            && budget.look_at_clock(self.real_now())
    }

    /// Counts a yield: a task that was woken during its own poll goes behind the others. Ends the turn if its time is
    /// used up. The first yield of a turn checks, and after that the first one each time that the turn's polls have
    /// doubled; in between, the turn's own checks apply.
    #[inline]
    pub(crate) fn count_yield(&self) {
        if self.turn.budget.polls.get() >= self.turn.budget.look_at_yield.get() {
            self.look_at_yield();
        }
    }

    #[cold]
    fn look_at_yield(&self) {
        let budget = &self.turn.budget;
        // A task whose leaf was rejected yields only to end as canceled: that is not counted.
        let rejections = self.rejections();
        if budget.rejections.replace(rejections) == rejections {
            self.look_at_coarse_clock();
        }
        budget
            .look_at_yield
            .set(budget.polls.get().saturating_mul(2));
    }

    /// Ends the turn, as soon as the current poll is pending, if its time is used up by the coarse clock. Returns
    /// whether the turn has ended.
    #[inline(never)]
    pub(in crate::runtime) fn look_at_coarse_clock(&self) -> bool {
        let budget = &self.turn.budget;
        let now = self.coarse_ns();
        if budget.has_rested.replace(false) {
            budget.charged_from.set(now);
        } else if budget.is_enough(now.saturating_sub(budget.charged_from.get())) {
            budget.charged_from.set(now);
            budget.end();
        }
        budget.is_over.get()
    }
}
