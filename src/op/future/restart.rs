//! When an operation that had no effect is started once more.

use super::{Op, OpState};
use crate::op::{Completion, Operation};
use crate::runtime;

/// How often an operation is restarted that the kernel interrupted although no cancel was requested.
const RESTARTS_MAX: u16 = 1000;

impl<O: Operation> Op<O> {
    /// Resets the operation if it had no effect and is to be started once more, and returns whether it did.
    #[inline]
    pub(super) fn reset_to_retry(
        &mut self,
        completion: Completion,
        is_cancel_requested: bool,
    ) -> bool {
        completion.raw() < 0 && self.reset_after_error(completion, is_cancel_requested)
    }

    #[cold]
    fn reset_after_error(&mut self, completion: Completion, is_cancel_requested: bool) -> bool {
        let Some(operation) = &mut self.operation else {
            return false;
        };
        let retries = operation.should_retry(completion);
        let restarts = match is_cancel_requested {
            true => retries && !operation.had_no_effect(completion),
            false => retries || self.note_interruption(completion),
        };
        if restarts {
            // No cancel was requested, and no signal arrived: no kernel thread has started on it.
            let lacked_thread = !retries
                && completion.raw() == -libc::ECANCELED
                && runtime::required().lacks_threads();
            self.state = match lacked_thread {
                true => OpState::LackedThread,
                false => OpState::Idle,
            };
        }
        restarts
    }

    /// Counts an interruption: the kernel gave the operation up before it had any effect, although no cancel was
    /// requested. Returns whether it was one, and the operation may be started again.
    ///
    /// A waiting worker is interrupted when the process is stopped and continued, where a plain system call would be
    /// restarted; and a signal may prevent the creation of the first worker, which the kernel reports as ECANCELED
    /// (both seen on 6.18).
    fn note_interruption(&mut self, completion: Completion) -> bool {
        let operation = self.operation.as_ref();
        let was_interrupted = completion.was_interrupted()
            && operation.is_some_and(|operation| operation.had_no_effect(completion))
            && self.restarts < RESTARTS_MAX;
        self.restarts += u16::from(was_interrupted);
        was_interrupted
    }
}
