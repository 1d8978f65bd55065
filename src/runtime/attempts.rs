//! Which operations are served by a plain system call: those that are alone, and only so many in a turn.

use super::core::Core;
use super::current::try_with;
use crate::sys::{Completion, Entry};
use crate::tasks::name_of;
use std::task::Waker;

/// What operations that are served at once may move in one turn, each counted as so many bytes more: eight of them, for a
/// message over TCP takes some 7 µs on loopback (`benches/src/bin/receive.rs`). What comes after them ends the turn, as every
/// operation does that goes into the ring.
pub(super) const ATTEMPTED_BYTES_PER_TURN: u32 = 64 << 10;
const ATTEMPT_COST: u32 = ATTEMPTED_BYTES_PER_TURN / 8;

/// One in so many goes into the ring all the same, and is not ready when it is first polled: a loop in which every other
/// future is polled only then, a biased select, has no rhythm that keeps it from them.
const ATTEMPTS_SKIPPED: u32 = 32;

impl Core {
    /// Serves an operation at once, if the ring would be entered for it alone and this turn has room for it.
    pub(crate) fn attempt(&self, entry: &Entry, waker: &Waker) -> Option<Completion> {
        let left = &self.budget.attempts;
        if left.get() == 0
            || !self.may_pass()
            || self.together.get()
            || self.may_submit(true).is_some()
        {
            return None;
        }
        let name = name_of(waker).filter(|name| name.runtime() == self.number)?;
        if !self.tasks.borrow().is_alone(name) || self.choose(ATTEMPTS_SKIPPED) == 0 {
            return None;
        }
        let completion = self.driver.borrow_mut().attempt(entry)?;
        self.count_attempt(completion);
        Some(completion)
    }

    /// Whether another operation may be served at once in this turn.
    pub(crate) fn may_attempt(&self) -> bool {
        self.budget.attempts.get() > 0 && self.may_pass()
    }

    /// One was.
    #[inline]
    pub(super) fn count_attempt(&self, completion: Completion) {
        let left = &self.budget.attempts;
        let moved = u32::try_from(completion.raw()).unwrap_or(0);
        let cost = ATTEMPT_COST.saturating_add(moved);
        left.set(left.get().saturating_sub(cost));
        self.charge();
    }
}

/// While this is there, what is polled is not alone: futures that one task polls one after the other as if they ran at once
/// are submitted together.
#[derive(Debug)]
pub(crate) struct Together {
    before: bool,
}

impl Together {
    #[inline]
    pub(crate) fn begin() -> Together {
        let before = try_with(|core: &Core| core.together.replace(true));
        Together {
            before: before.unwrap_or_default(),
        }
    }
}

impl Drop for Together {
    #[inline]
    fn drop(&mut self) {
        try_with(|core: &Core| core.together.set(self.before));
    }
}
