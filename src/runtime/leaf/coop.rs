//! The coop budget: how many leaves that are ready at their first poll a task may pass before it yields.
//!
//! Such a leaf calls [`poll_coop_budget`], which yields once if there is none left, and when it is ready,
//! [`Core::spend_coop_budget`]. Each poll of a task or child begins with a full budget. The coarse clock is read after a
//! few leaves, then each time their number has grown: a loop over ready leaves ends the turn when its time is up.

use crate::runtime::core::Core;
use crate::runtime::current::try_with;
use crate::runtime::scopes::Context;
use std::task::{Poll, Waker};

/// The most ready leaves that a task may pass in one poll before it has to yield.
const READY_LEAVES_PER_POLL: u32 = 128;
/// Ready leaves that a task passes before it first reads the coarse clock; it reads the clock again each time that the
/// number has grown by the factor below.
const READY_LEAVES_TO_CLOCK: u32 = 4;
const READY_LEAVES_GROWTH: u32 = 8;

/// How many ready leaves a task may still pass in this poll. The low 16 bits are the leaves before the next read of the
/// clock, the high 16 bits those after it.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::runtime) struct CoopBudget(u32);

impl CoopBudget {
    const FULL: CoopBudget = CoopBudget::new(READY_LEAVES_TO_CLOCK, READY_LEAVES_PER_POLL);

    /// Returns a budget of `total` leaves with a read of the clock after `now` of them.
    const fn new(now: u32, total: u32) -> CoopBudget {
        let now = if now < total { now } else { total };
        CoopBudget((total - now) << 16 | now)
    }

    #[inline]
    pub(in crate::runtime) fn is_some(self) -> bool {
        self.0 > 0
    }

    #[inline]
    fn now(self) -> u32 {
        self.0 & 0xffff
    }
}

/// Lets other tasks go first, if the running task has no coop budget left: `waker` is woken. Outside a runtime there is
/// no budget to wait for.
#[inline]
pub(crate) fn poll_coop_budget(waker: &Waker) -> Poll<()> {
    if try_with(Core::has_coop_budget) == Some(false) {
        waker.wake_by_ref();
        return Poll::Pending;
    }
    Poll::Ready(())
}

impl Context {
    /// Fills the budget: the poll of a task, a child or a sibling future begins.
    #[inline]
    pub(in crate::runtime) fn fill_coop_budget(&self) {
        self.coop_budget.set(CoopBudget::FULL);
    }
}

impl Core {
    /// Whether the task may pass another ready leaf in this poll. If not, it yields once.
    #[inline]
    pub(crate) fn has_coop_budget(&self) -> bool {
        self.context.coop_budget.get().now() > 0 || self.refill_coop_budget()
    }

    #[cold]
    fn refill_coop_budget(&self) -> bool {
        // The first check after the loop has waited only sets the start time.
        let is_first = self.turn.budget.has_rested.get();
        let left = self.context.coop_budget.get().0 >> 16;
        let passed = READY_LEAVES_PER_POLL - left;
        let now = match is_first {
            true => READY_LEAVES_TO_CLOCK,
            false => (READY_LEAVES_GROWTH - 1) * passed,
        };
        let budget = match self.look_at_coarse_clock() {
            true => CoopBudget::default(),
            false => CoopBudget::new(now, left),
        };
        self.context.coop_budget.set(budget);
        budget.now() > 0
    }

    /// Counts a ready leaf that the task passes.
    #[inline]
    pub(crate) fn spend_coop_budget(&self) {
        let budget = &self.context.coop_budget;
        let passed = u32::from(budget.get().now() > 0);
        budget.set(CoopBudget(budget.get().0 - passed));
    }
}
