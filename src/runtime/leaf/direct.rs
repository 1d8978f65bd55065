//! Direct calls: which operations run as a plain system call in place of a submission to the ring.
//!
//! | condition | where |
//! |---|---|
//! | the entry asks for it | `Entry::try_direct`, set by the operation: always, or by what its last calls found (`op/stream/recv_hint.rs`, `op/file/read_hint.rs`) |
//! | the ring would be entered for it alone: no task is ready, no sibling future is polled with it | here |
//! | nothing is queued, little is in flight, and nothing is to be reaped | `Driver::attempt` |
//! | the turn's bytes and calls are not used up, and the task has coop budget | here |
//! | one in 32 goes into the ring anyway | here |
//! | there is a call for the opcode and its fields | `sys/direct.rs` |

use crate::runtime::core::Core;
use crate::runtime::current::try_with;
use crate::sys::{Attempt, Completion, Entry};
use crate::tasks::wake_id_of;
use std::task::Waker;

/// The bytes that direct calls may move in one turn, each call counted as at least a 32nd of this: at most 32 calls,
/// which take some 0.2 ms for messages over TCP on loopback (`benches/src/bin/receive.rs`), and 50 µs for reads or large
/// transfers. The next operation goes into the ring and so ends the turn.
pub(in crate::runtime) const ATTEMPTED_BYTES_PER_TURN: u32 = 256 << 10;
const ATTEMPT_COST: u32 = ATTEMPTED_BYTES_PER_TURN / 32;

impl Core {
    /// Whether [`attempt`](Core::attempt) is worth calling, by its cheapest checks.
    #[inline]
    pub(crate) fn may_attempt(&self) -> bool {
        self.has_room_alone() && self.context.coop_budget.get().is_some()
    }

    #[inline]
    fn has_room_alone(&self) -> bool {
        !self.tasks.borrow().has_ready()
            && self.turn.budget.attempts.get() > 0
            && !self.context.in_joint_poll.get()
    }

    /// Tries an operation as a direct call, if the ring would be entered for it alone and the turn's budget allows it.
    pub(crate) fn attempt(&self, entry: &Entry, waker: &Waker) -> Attempt {
        if !self.has_room_alone() || !self.has_coop_budget() || self.may_submit(true).is_err() {
            return Attempt::Unserved;
        }
        let may_run_inline = wake_id_of(waker).is_some_and(|name| {
            name.runtime() == self.slot.number() && self.tasks.borrow().may_run_inline(name)
        });
        // One in 32 goes into the ring anyway, and so is pending at its first poll. A loop that polls its other futures
        // only then, as a biased select does, cannot starve them by any rhythm.
        if !may_run_inline || self.turn.draw() {
            return Attempt::Unserved;
        }
        let attempt = self.driver.borrow_mut().attempt(entry);
        if let Attempt::Done(completion) = attempt {
            self.count_attempt(completion);
        }
        attempt
    }

    /// Whether another direct call may run in this turn, even if other tasks are ready.
    pub(crate) fn may_serve(&self) -> bool {
        self.turn.budget.attempts.get() > 0 && self.has_coop_budget()
    }

    /// Charges a completed direct call to the turn's budget and the task's.
    #[inline]
    pub(in crate::runtime) fn count_attempt(&self, completion: Completion) {
        let moved = u32::try_from(completion.raw()).unwrap_or(0);
        let attempts = &self.turn.budget.attempts;
        attempts.set(attempts.get().saturating_sub(moved.max(ATTEMPT_COST)));
        self.spend_coop_budget();
    }
}

/// Guard that turns direct calls off while a task polls sibling futures one after another, so that their operations are
/// submitted in one batch.
#[derive(Debug)]
pub(crate) struct JointPoll {
    before: bool,
}

impl JointPoll {
    #[inline]
    pub(crate) fn begin() -> JointPoll {
        let before = try_with(|core: &Core| core.context.in_joint_poll.replace(true));
        JointPoll {
            before: before.unwrap_or_default(),
        }
    }
}

impl Drop for JointPoll {
    #[inline]
    fn drop(&mut self) {
        try_with(|core: &Core| core.context.in_joint_poll.set(self.before));
    }
}
