//! Which operations are served by a plain system call: those that are alone, and only so many in a turn.

use super::core::Core;
use super::current::try_with;
use crate::sys::{Attempt, Completion, Entry};
use crate::tasks::wake_id_of;
use std::task::Waker;

/// What operations that are served at once may move in one turn, each counted as at least a 32nd of this: 32 of them, which is
/// some 0.2 ms of messages over TCP on loopback (`benches/src/bin/receive.rs`), and 50 µs of what is read or is large. What
/// comes after them ends the turn, as every operation does that goes into the ring.
pub(super) const ATTEMPTED_BYTES_PER_TURN: u32 = 256 << 10;
const ATTEMPT_COST: u32 = ATTEMPTED_BYTES_PER_TURN / 32;

impl Core {
    /// Whether it is worth asking for [`attempt`](Core::attempt): what costs least to know.
    #[inline]
    pub(crate) fn may_attempt(&self) -> bool {
        self.has_room_alone() && self.allowance.get().is_some()
    }

    #[inline]
    fn has_room_alone(&self) -> bool {
        !self.tasks.borrow().has_ready() && self.budget.attempts.get() > 0 && !self.together.get()
    }

    /// Serves an operation at once, if the ring would be entered for it alone and this turn has room for it.
    pub(crate) fn attempt(&self, entry: &Entry, waker: &Waker) -> Attempt {
        if !self.has_room_alone() || !self.has_budget() || self.may_submit(true).is_some() {
            return Attempt::Unserved;
        }
        let may_run_inline = wake_id_of(waker).is_some_and(|name| {
            name.runtime() == self.number && self.tasks.borrow().may_run_inline(name)
        });
        // One in 32 goes into the ring all the same, and is not ready when it is first polled: a loop in which every other future
        // is polled only then, a biased select, has no rhythm that keeps it from them.
        if !may_run_inline || self.draw() {
            return Attempt::Unserved;
        }
        let attempt = self.driver.borrow_mut().attempt(entry);
        if let Attempt::Done(completion) = attempt {
            self.count_attempt(completion);
        }
        attempt
    }

    /// Whether another operation may be served by a plain call in this turn, whatever else is ready.
    pub(crate) fn may_serve(&self) -> bool {
        self.budget.attempts.get() > 0 && self.has_budget()
    }

    /// One was.
    #[inline]
    pub(super) fn count_attempt(&self, completion: Completion) {
        let moved = u32::try_from(completion.raw()).unwrap_or(0);
        let left = self.budget.attempts.get();
        self.budget
            .attempts
            .set(left.saturating_sub(moved.max(ATTEMPT_COST)));
        self.consume_budget();
    }
}

/// While this is there, what is polled is not alone: futures that one task polls one after the other as if they ran at once
/// are submitted together.
#[derive(Debug)]
pub(crate) struct JointPoll {
    before: bool,
}

impl JointPoll {
    #[inline]
    pub(crate) fn begin() -> JointPoll {
        let before = try_with(|core: &Core| core.together.replace(true));
        JointPoll {
            before: before.unwrap_or_default(),
        }
    }
}

impl Drop for JointPoll {
    #[inline]
    fn drop(&mut self) {
        try_with(|core: &Core| core.together.set(self.before));
    }
}
