//! An operation that was not submitted at once: its submission failed, or the kernel may be unable to create a thread
//! for it. In the latter case, the operation is served on this thread or fails, unless the ring needs no thread for it.

use super::{Op, OpResult, OpState, submit_to, wait};
use crate::op::file::watch_cursor;
use crate::op::{Entry, Operation};
use crate::runtime::{self, Core};
use crate::sys::Instant;
use std::io;
use std::task::{Context, Poll, Waker};

/// How often an operation is restarted when the kernel has no thread for it and the ring can serve it only sometimes.
/// Each try takes 50 ms.
const RESTARTS_WITHOUT_THREAD_MAX: u16 = 16;

/// The submission error, or `None` if the kernel may lack a thread for the operation; and the operation's unused waker.
pub(super) type NotSubmitted = (Option<io::Error>, Option<Waker>);

impl<O: Operation> Op<O> {
    /// Handles an entry that was not submitted at once, in a poll.
    #[cold]
    pub(super) fn poll_fallback(
        &mut self,
        why: NotSubmitted,
        entry: &Entry,
        context: &mut Context<'_>,
        deadline: Option<Instant>,
    ) -> Poll<OpResult> {
        match self.fall_back(why, entry) {
            // Yield to other tasks first.
            OpState::Idle => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            OpState::Ready(completion) if self.reset_to_retry(completion, false) => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            OpState::Ready(completion) => Poll::Ready(Ok(completion)),
            state => {
                self.state = state;
                let Some(slot) = self.in_flight() else {
                    return self.reject(context);
                };
                // It was submitted without its waker.
                wait(slot, context);
                if let Some(deadline) = deadline {
                    runtime::with(|core| core.limit_operation(slot.1, deadline));
                }
                Poll::Pending
            }
        }
    }

    /// Starts an operation that failed to start, or for which the kernel lacked a thread a moment ago. If the kernel
    /// still lacks one, the operation is served on this thread or fails, unless the ring needs no thread for it. Returns
    /// the state that follows: `Idle` if it is to be tried again later.
    #[cold]
    pub(super) fn fall_back(&mut self, (error, waker): NotSubmitted, entry: &Entry) -> OpState {
        runtime::drop_waker(waker);
        if let Some(error) = error {
            return OpState::Rejected(error);
        }
        let core = runtime::required();
        if core.lacks_threads()
            && let Some(state) = without_thread(&core, entry, &self.state, self.restarts, O::NAME)
        {
            return state;
        }
        let Some(operation) = &mut self.operation else {
            unreachable!("an operation that is still to start is there")
        };
        watch_cursor(operation);
        match submit_to(&core, operation, entry, None) {
            Ok(slot) => OpState::in_flight(slot),
            Err((error, _)) => OpState::Rejected(error),
        }
    }
}

/// Serves an entry while the kernel can create no thread. Returns the state of the operation, or `None` if the ring may
/// be able to serve it all the same.
fn without_thread(
    core: &Core,
    entry: &Entry,
    state: &OpState,
    restarts: u16,
    kind: &'static str,
) -> Option<OpState> {
    if !core.may_serve() {
        return Some(OpState::Idle);
    }
    if let Some(completion) = core.serve(entry, state.lacked_thread()) {
        return Some(OpState::Ready(completion));
    }
    let may_try = entry.opcode().is_polled() && restarts < RESTARTS_WITHOUT_THREAD_MAX;
    let fails = state.lacked_thread() && !may_try && core.lacks_threads_now();
    fails.then(|| OpState::Rejected(runtime::no_thread_for(kind)))
}
