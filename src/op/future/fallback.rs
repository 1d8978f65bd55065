//! An operation that was not submitted at once: its submission failed, or the kernel may be unable to create a thread
//! for it. In the latter case, the operation is served on this thread or fails, unless the ring needs no thread for it.

use super::{End, Op, OpState, in_flight, submit_to, wait};
use crate::op::file::watch_cursor;
use crate::op::{Completion, Entry, Operation};
use crate::runtime;
use crate::sys::Instant;
use crate::table::Key;
use std::io;
use std::task::{Context, Poll, Waker};

/// How often an operation is restarted when the kernel has no thread for it and the ring can serve it only sometimes.
/// Each try takes 50 ms.
const RESTARTS_WITHOUT_THREAD_MAX: u16 = 16;

/// The submission error, or `None` if the kernel may lack a thread for the operation; and the operation's unused waker.
pub(super) type NotSubmitted = (Option<io::Error>, Option<Waker>);

/// The outcome for an operation that was not submitted at once.
enum Fallback {
    /// Submitted, without a waker: the runtime's ID and the slot's key.
    InFlight(u64, Key),
    Served(Completion),
    Failed(io::Error),
    /// To be tried again.
    Later,
}

impl<O: Operation> Op<O> {
    /// Handles an entry that was not submitted at once, before the first poll.
    #[cold]
    pub(super) fn submit_fallback(&mut self, why: NotSubmitted, entry: &Entry) -> OpState {
        match self.fall_back(why, entry) {
            Fallback::InFlight(runtime_id, key) => in_flight(runtime_id, key),
            Fallback::Served(completion) => OpState::Ready(completion),
            Fallback::Failed(error) => OpState::Rejected(error),
            // `prepare` is called again when it is polled.
            Fallback::Later => OpState::Idle,
        }
    }

    /// Handles an entry that was not submitted at once, in a poll.
    #[cold]
    pub(super) fn poll_fallback(
        &mut self,
        why: NotSubmitted,
        entry: &Entry,
        context: &mut Context<'_>,
        deadline: Option<Instant>,
    ) -> Poll<End> {
        match self.fall_back(why, entry) {
            Fallback::InFlight(runtime_id, key) => {
                self.state = in_flight(runtime_id, key);
                // It was submitted without its waker.
                wait(runtime_id, key, context);
                if let Some(deadline) = deadline {
                    runtime::with(|core| core.limit_operation(key, deadline));
                }
                Poll::Pending
            }
            Fallback::Served(completion) if self.reset_to_retry(completion, false) => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Fallback::Served(completion) => Poll::Ready(Ok(completion)),
            Fallback::Failed(error) => {
                self.state = OpState::Rejected(error);
                self.reject(context)
            }
            // Yield to other tasks first.
            Fallback::Later => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    /// Starts an operation that failed to start, or for which the kernel lacked a thread a moment ago. If the kernel
    /// still lacks one, the operation is served on this thread or fails, unless the ring needs no thread for it.
    #[cold]
    fn fall_back(&mut self, (error, waker): NotSubmitted, entry: &Entry) -> Fallback {
        runtime::drop_waker(waker);
        if let Some(error) = error {
            return Fallback::Failed(error);
        }
        let core = runtime::required();
        if core.lacks_threads() {
            if !core.may_serve() {
                return Fallback::Later;
            }
            if let Some(completion) = core.serve(entry, self.state.lacked_thread()) {
                return Fallback::Served(completion);
            }
            let may_try = entry.opcode().is_polled() && self.restarts < RESTARTS_WITHOUT_THREAD_MAX;
            if self.state.lacked_thread() && !may_try && core.lacks_threads_now() {
                return Fallback::Failed(runtime::no_thread_for(O::NAME));
            }
        }
        if let Some(operation) = &mut self.operation {
            watch_cursor(operation);
        }
        match submit_to::<O>(&core, entry, None) {
            Ok((runtime_id, key)) => Fallback::InFlight(runtime_id, key),
            Err((error, _)) => Fallback::Failed(error),
        }
    }
}
