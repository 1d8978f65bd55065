//! Giving back the memory that a peak has left in the tables.
//!
//! Each table does a bounded part of it when it is asked to, which costs nothing where nothing is to be done. They are asked every
//! few turns, and while they have more than they need before each wait in the kernel, for that may be a long one: so a runtime
//! that falls asleep after a peak does so without its memory.

use super::core::Core;
use crate::scope::CancelEffects;
use crate::sys::coarse_ns;

/// Turns between two looks at the tables, and between two while one of them has more than it needs.
const TURNS: u64 = 64;
const TURNS_IN_EXCESS: u64 = 8;

/// Peaks that come again in this time keep their memory.
const PERIOD_NS: u64 = 1_000_000_000;

/// The room for leaves of a canceled scope, and for the wakers to wake for it, that is kept.
const EFFECTS_KEPT: usize = 1024;

impl Core {
    /// The number of the period in which peaks are taken for the same.
    pub(crate) fn period(&self) -> u32 {
        self.period.get()
    }

    /// A turn begins.
    #[inline]
    pub(super) fn tidy_at_times(&self) {
        if self.turns.get() >= self.tidy_at.get() {
            self.tidy();
        }
    }

    /// The kernel is about to be waited for. True if there is something to do before.
    #[inline]
    pub(super) fn tidy_before_wait(&self) -> bool {
        self.untidy.get() && self.tidy()
    }

    /// Does a part of it. True if there is more to do.
    #[inline(never)]
    fn tidy(&self) -> bool {
        let effects = self.notified.take();
        let size = |effects: &CancelEffects<_, _>| {
            let lists = [
                effects.leaves.capacity(),
                effects.woken.capacity(),
                effects.mirrored.capacity(),
            ];
            lists.into_iter().max()
        };
        if effects.as_deref().and_then(size) <= Some(EFFECTS_KEPT) {
            self.notified.set(effects);
        }
        let (mut tasks, mut timers) = (self.tasks.borrow_mut(), self.timers.borrow_mut());
        let (mut scopes, mut driver) = (self.scopes.borrow_mut(), self.driver.borrow_mut());
        let mut waits = self.waits.borrow_mut();
        let now = coarse_ns();
        if now >= self.period_ends.get() {
            self.period_ends.set(now + PERIOD_NS);
            self.period.set(self.period.get().wrapping_add(1));
        }
        let period = self.period.get();
        let more = tasks.tidy(period)
            | timers.tidy(period)
            | scopes.tidy(period)
            | driver.tidy(period)
            | waits.tidy(period);
        let has_excess = tasks.has_excess()
            || timers.has_excess()
            || scopes.has_excess()
            || driver.has_excess()
            || waits.has_excess();
        self.untidy.set(more || has_excess);
        let turns = match (more, has_excess) {
            (true, _) => 1,
            (false, true) => TURNS_IN_EXCESS,
            (false, false) => TURNS,
        };
        self.tidy_at.set(self.turns.get() + turns);
        more
    }
}
