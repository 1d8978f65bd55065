//! The coop budget: how many leaves that are ready at their first poll a task may pass before it yields.
//!
//! Such a leaf asks [`Core::has_coop_budget`], and yields once if there is none left; when it is ready, it calls
//! [`Core::spend_coop_budget`]. Each poll of a task or child begins with a full budget. The coarse clock is read after a
//! few leaves, then each time their number has grown: a loop over ready leaves ends the turn when its time is up.

use crate::runtime::core::Core;

/// The most ready leaves that a task may pass in one poll before it has to yield.
const READY_LEAVES_PER_POLL: u32 = 128;
/// Ready leaves that a task passes before it first reads the coarse clock; it reads the clock again each time that the
/// number has grown by the factor below.
const READY_LEAVES_TO_CLOCK: u32 = 4;
const READY_LEAVES_GROWTH: u32 = 8;

/// How many ready leaves a task may still pass in this poll. The low 16 bits are the leaves before the next read of the
/// clock, the high 16 bits those after it.
#[derive(Clone, Copy, Debug)]
pub(in crate::runtime) struct CoopBudget(u32);

impl CoopBudget {
    const FULL: CoopBudget = CoopBudget::new(
        READY_LEAVES_TO_CLOCK,
        READY_LEAVES_PER_POLL - READY_LEAVES_TO_CLOCK,
    );
    pub(in crate::runtime) const NONE: CoopBudget = CoopBudget(0);

    const fn new(now: u32, later: u32) -> CoopBudget {
        CoopBudget(later << 16 | now)
    }

    #[inline]
    pub(in crate::runtime) fn is_some(self) -> bool {
        self.0 > 0
    }

    #[inline]
    fn now(self) -> u32 {
        self.0 & 0xffff
    }

    /// Returns the allowance after a read of the clock.
    fn next(self) -> CoopBudget {
        let passed = READY_LEAVES_PER_POLL - (self.0 >> 16);
        self.next_after((READY_LEAVES_GROWTH - 1) * passed)
    }

    /// Returns the allowance whose next read of the clock is after this many more leaves.
    fn next_after(self, leaves: u32) -> CoopBudget {
        let left = self.0 >> 16;
        let now = left.min(leaves);
        CoopBudget::new(now, left - now)
    }
}

impl Core {
    /// Fills the budget: the poll of a task, a child or a sibling future begins.
    #[inline]
    pub(crate) fn fill_coop_budget(&self) {
        self.context.coop_budget.set(CoopBudget::FULL);
    }

    /// Whether the task may pass another ready leaf in this poll. If not, it yields once.
    #[inline]
    pub(crate) fn has_coop_budget(&self) -> bool {
        self.context.coop_budget.get().now() > 0 || self.refill_coop_budget()
    }

    #[cold]
    fn refill_coop_budget(&self) -> bool {
        // The first check after the loop has waited only sets the start time.
        let is_first = self.turn.budget.has_rested.get();
        let allowance = self.context.coop_budget.get();
        let allowance = match self.look_at_coarse_clock() {
            true => CoopBudget::NONE,
            false if is_first => allowance.next_after(READY_LEAVES_TO_CLOCK),
            false => allowance.next(),
        };
        self.context.coop_budget.set(allowance);
        allowance.now() > 0
    }

    /// Counts a ready leaf that the task passes.
    #[inline]
    pub(crate) fn spend_coop_budget(&self) {
        let allowance = self.context.coop_budget.get();
        let passed = u32::from(allowance.now() > 0);
        self.context
            .coop_budget
            .set(CoopBudget(allowance.0 - passed));
    }
}
