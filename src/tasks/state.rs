//! The state of a task: its stage, and the flags beside it. Nothing else writes them: each change is a method here.
//!
//! | stage | [`start`](TaskState::start) | [`begin_poll`](TaskState::begin_poll) | [`park`](TaskState::park) | [`end`](TaskState::end) |
//! |---|---|---|---|---|
//! | Waiting (a child that the limit of its group holds back) | → Parked | stays; the wake is used up | – | → ended: the child was dropped |
//! | Parked | – | → Running | – | → ended: the child was dropped |
//! | Running | – | stays | → Parked | → ended |
//! | Output, Panicked, Aborted: ended | – | stays | – | – |
//!
//! | flag | set | cleared |
//! |---|---|---|
//! | `queued`: the row is in a ready queue, where it is at most once | by the first wake since it was last taken out; a task that can be polled at once starts with it | when the row is taken out, before the poll: a wake during the poll sets it again |
//! | `aborted`: the task is to be dropped in place of its next poll (C14) | by an abort of a task that has not ended | never |
//! | `cancel_called`: the task itself was canceled | by a cancel of a task without a scope of its own | never |
//! | `has_scope`: the task has a scope of its own, which from then on knows what `cancel_called` does | when it opens a scope, awaits a second leaf, or is a child that its handle cancels | when the task ends: the scope is then closed |
//!
//! The claim on the result is [`Claim::Handle`] until the handle is released, and does not change after that.

#![forbid(unsafe_code)]

/// The stage of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Waiting,
    Parked,
    Running,
    /// Its allocation holds the output.
    Output,
    /// The payload of the panic is in the place of its allocation.
    Panicked,
    Aborted,
}

/// What becomes of the result of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// A handle owns the row, and takes the result.
    Handle,
    /// It is dropped; a panic is reported.
    Dropped,
    /// The same, and a failure is reported, too.
    Reported,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct TaskState {
    stage: Stage,
    claim: Claim,
    queued: bool,
    aborted: bool,
    cancel_called: bool,
    has_scope: bool,
}

impl TaskState {
    /// The state of a new task. `queued` is whether the caller puts it into a ready queue.
    #[inline]
    pub(super) fn new(stage: Stage, queued: bool, claim: Claim) -> TaskState {
        TaskState {
            stage,
            claim,
            queued,
            aborted: false,
            cancel_called: false,
            has_scope: false,
        }
    }

    /// Returns whether the caller is to put the row into its ready queue.
    #[inline]
    #[must_use]
    pub(super) fn wake(&mut self) -> bool {
        !std::mem::replace(&mut self.queued, true)
    }

    /// Called when the row was taken out of its ready queue. Returns whether it was there: its index may be one of an
    /// earlier row.
    #[inline]
    pub(super) fn unqueue(&mut self) -> bool {
        std::mem::replace(&mut self.queued, false)
    }

    /// Called when the row was taken out of its ready queue. Returns whether the task is to be polled now.
    #[inline]
    #[must_use]
    pub(super) fn begin_poll(&mut self) -> bool {
        if !self.unqueue() || self.stage != Stage::Parked {
            return false;
        }
        self.stage = Stage::Running;
        true
    }

    /// Called after a poll that was pending. Returns whether the task was woken during the poll.
    #[inline]
    pub(super) fn park(&mut self) -> bool {
        assert!(
            self.stage == Stage::Running,
            "only the task that is being polled is parked"
        );
        self.stage = Stage::Parked;
        self.queued
    }

    /// Lets a child start that was held back. Returns whether it was.
    pub(super) fn start(&mut self) -> bool {
        let waits = self.stage == Stage::Waiting;
        if waits {
            self.stage = Stage::Parked;
        }
        waits
    }

    /// Ends the task. Returns whether it had a scope of its own, which is to be closed.
    #[inline]
    #[must_use]
    pub(super) fn end(&mut self, stage: Stage) -> bool {
        assert!(!self.has_ended(), "a task ends once");
        self.stage = stage;
        std::mem::replace(&mut self.has_scope, false)
    }

    /// Returns whether the task is to be woken, to be dropped at its turn.
    #[must_use]
    pub(super) fn abort(&mut self) -> bool {
        let is_alive = !self.has_ended();
        self.aborted |= is_alive;
        is_alive
    }

    /// Cancels a task that has no scope of its own. Returns whether it was not canceled before.
    #[must_use]
    pub(super) fn cancel(&mut self) -> bool {
        !std::mem::replace(&mut self.cancel_called, true)
    }

    pub(super) fn give_scope(&mut self) {
        self.has_scope = true;
    }

    /// Records that the handle is gone.
    #[inline]
    pub(super) fn release(&mut self, claim: Claim) {
        self.claim = claim;
    }

    #[inline]
    pub(super) fn stage(self) -> Stage {
        self.stage
    }

    #[inline]
    pub(super) fn has_ended(self) -> bool {
        matches!(self.stage, Stage::Output | Stage::Panicked | Stage::Aborted)
    }

    #[inline]
    pub(super) fn claim(self) -> Claim {
        self.claim
    }

    #[inline]
    pub(super) fn is_queued(self) -> bool {
        self.queued
    }

    #[inline]
    pub(crate) fn is_aborted(self) -> bool {
        self.aborted
    }

    #[inline]
    pub(crate) fn is_cancel_called(self) -> bool {
        self.cancel_called
    }

    #[inline]
    pub(crate) fn has_scope(self) -> bool {
        self.has_scope
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Wake,
        Poll,
        Park,
        Start,
        End,
    }

    const EVENTS: [Event; 5] = [
        Event::Wake,
        Event::Poll,
        Event::Park,
        Event::Start,
        Event::End,
    ];
    const LENGTH: u32 = 7;

    /// Applies an event if it is possible. `queued` is whether the row is in its ready queue.
    fn apply(state: &mut TaskState, queued: &mut bool, event: Event) {
        let before = state.stage();
        match event {
            Event::Wake => assert_eq!(state.wake(), !std::mem::replace(queued, true)),
            Event::Poll if *queued => {
                *queued = false;
                assert_eq!(state.begin_poll(), before == Stage::Parked);
            }
            Event::Park if before == Stage::Running => assert_eq!(state.park(), *queued),
            Event::Start => assert_eq!(state.start(), before == Stage::Waiting),
            Event::End if !state.has_ended() => assert!(!state.end(Stage::Output)),
            Event::Poll | Event::Park | Event::End => {}
        }
    }

    #[test]
    fn in_every_sequence_of_events_a_wake_queues_the_row_once() {
        let count = EVENTS.len();
        for stage in [Stage::Parked, Stage::Waiting] {
            for number in 0..count.pow(LENGTH) {
                let mut queued = stage == Stage::Parked;
                let mut state = TaskState::new(stage, queued, Claim::Handle);
                let mut has_ended = false;
                for step in 0..LENGTH {
                    apply(
                        &mut state,
                        &mut queued,
                        EVENTS[number / count.pow(step) % count],
                    );
                    assert_eq!(state.is_queued(), queued, "{number}");
                    assert!(state.has_ended() || !has_ended, "{number}: an end is final");
                    has_ended = state.has_ended();
                }
            }
        }
    }

    #[test]
    fn only_a_task_that_has_not_ended_is_aborted() {
        let mut state = TaskState::new(Stage::Parked, true, Claim::Handle);
        assert!(state.abort() && state.is_aborted());
        let mut state = TaskState::new(Stage::Parked, true, Claim::Handle);
        state.give_scope();
        assert!(state.end(Stage::Aborted), "its scope is to be closed");
        assert!(!state.has_scope() && !state.abort() && !state.is_aborted());
    }
}
