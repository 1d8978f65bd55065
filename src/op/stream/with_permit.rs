//! A part of a loop over one direction of a stream: no other operation gets in between two parts.

use super::shared::Permit;
use crate::op::file::AtCursor;
use crate::op::{Completion, Entry, Op, Operation, Readiness, SharedFd};
use std::io;
use std::task::Waker;

/// An operation that needs a stream's lock.
pub(in crate::op) trait HoldsPermit: Operation {
    fn permit(&mut self) -> &mut Permit;
}

/// An operation as a part of a loop: the permit comes back with the result.
pub(crate) struct WithPermit<O>(pub(super) O);

impl<O: HoldsPermit> WithPermit<O> {
    pub(super) fn new(operation: O) -> Op<WithPermit<O>> {
        Op::new(WithPermit(operation))
    }
}

// SAFETY: everything is forwarded to the operation, which keeps the promises.
unsafe impl<O: HoldsPermit> Operation for WithPermit<O> {
    type Output = (O::Output, Permit);
    const NAME: &'static str = O::NAME;

    fn shared_fd(&self) -> Option<&SharedFd> {
        self.0.shared_fd()
    }

    fn prepare(&mut self, waker: &Waker) -> Readiness {
        self.0.prepare(waker)
    }

    fn entry(&mut self) -> Entry {
        self.0.entry()
    }

    fn at_cursor(&self) -> Option<AtCursor<'_>> {
        self.0.at_cursor()
    }

    fn complete(mut self, completion: Completion) -> Self::Output {
        let permit = self.0.permit().take();
        (self.0.complete(completion), permit)
    }

    fn fail(mut self, error: io::Error) -> Self::Output {
        let permit = self.0.permit().take();
        (self.0.fail(error), permit)
    }

    fn had_no_effect(&self, completion: Completion) -> bool {
        self.0.had_no_effect(completion)
    }

    fn dispose(&mut self, completion: Completion) {
        self.0.dispose(completion);
    }
}
