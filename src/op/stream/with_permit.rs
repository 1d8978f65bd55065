//! A part of a loop over one direction of a stream: no other operation gets in between two parts.

use super::shared::StreamPermit;
use crate::op::operation::forward_operation;
use crate::op::{Completion, Op, Operation};
use std::io;

/// An operation that needs a stream's lock.
pub(in crate::op) trait HoldsPermit: Operation {
    fn permit(&mut self) -> &mut StreamPermit;
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
    type Output = (O::Output, StreamPermit);
    const NAME: &'static str = O::NAME;
    forward_operation!(0);

    fn complete(mut self, completion: Completion) -> Self::Output {
        let permit = self.0.permit().take();
        (self.0.complete(completion), permit)
    }

    fn fail(mut self, error: io::Error) -> Self::Output {
        let permit = self.0.permit().take();
        (self.0.fail(error), permit)
    }
}
