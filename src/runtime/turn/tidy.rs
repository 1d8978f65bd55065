//! Frees the memory that a peak has left in the tables.
//!
//! Each call frees a bounded part of a table's excess, and costs nothing if there is none. The tables are tidied every
//! few turns, and, while they have excess, before each wait in the kernel, because that may be long: so a runtime that
//! goes idle after a peak does not keep the peak's memory.

use crate::runtime::core::Core;
use crate::scope::CancelEffects;
use crate::table::Excess;
use std::cell::Cell;

/// Turns between two checks of the tables: normally, and while one of them has excess memory.
const TURNS: u64 = 64;
const TURNS_IN_EXCESS: u64 = 8;

/// Peaks that recur within this time keep their memory.
const PERIOD_NS: u64 = 1_000_000_000;

/// The capacity that is kept for the leaves and wakers of a canceled scope.
const EFFECTS_KEPT: usize = 1024;

/// When the tables are tidied.
#[derive(Debug, Default)]
pub(super) struct TidyTimes {
    /// Whether the tables had more memory than they need when last checked.
    is_due: Cell<bool>,
    /// The turn in which the tables are checked again.
    next: Cell<u64>,
    /// The period in which repeated peaks keep their memory, and its end by the coarse clock.
    period: Cell<u32>,
    period_ends: Cell<u64>,
}

impl Core {
    /// Tidies at the start of a turn, every few turns.
    #[inline]
    pub(super) fn tidy_at_times(&self) {
        if self.turn.number.get() >= self.turn.tidy.next.get() {
            self.tidy();
        }
    }

    /// Tidies before a wait in the kernel. Returns whether there is more to free first.
    #[inline]
    pub(super) fn tidy_before_wait(&self) -> bool {
        self.turn.tidy.is_due.get() && self.tidy()
    }

    /// Frees a part of the excess. Returns whether there is more to free.
    #[inline(never)]
    fn tidy(&self) -> bool {
        let effects = self.cancel_scratch.take();
        if effects.as_deref().map(CancelEffects::capacity) <= Some(EFFECTS_KEPT) {
            self.cancel_scratch.set(effects);
        }
        let now = self.coarse_ns();
        let (mut tasks, mut timers) = (self.tasks.borrow_mut(), self.timers.borrow_mut());
        let (mut scopes, mut driver) = (self.scopes.borrow_mut(), self.driver.borrow_mut());
        let mut waits = self.waits.borrow_mut();
        let times = &self.turn.tidy;
        if now >= times.period_ends.get() {
            times.period_ends.set(now + PERIOD_NS);
            times.period.set(times.period.get().wrapping_add(1));
        }
        let period = times.period.get();
        let excess = tasks
            .tidy(period)
            .max(timers.tidy(period))
            .max(scopes.tidy(period))
            .max(driver.tidy(period))
            .max(waits.tidy(period));
        times.is_due.set(excess != Excess::None);
        let turns = match excess {
            Excess::Now => 1,
            Excess::Later => TURNS_IN_EXCESS,
            Excess::None => TURNS,
        };
        times.next.set(self.turn.number.get() + turns);
        excess == Excess::Now
    }
}
