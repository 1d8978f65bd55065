//! An operation with a deadline of its own.

use super::{Op, Operation};
use crate::runtime;
use crate::sys::Instant;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Awaits an operation until a deadline, and then until the kernel has given it up: the future of
/// [`Op::timeout`](Op::timeout) and [`Op::deadline`](Op::deadline).
#[must_use = "futures do nothing unless they are awaited"]
pub struct Timed<O: Operation> {
    op: Op<O>,
    deadline: Instant,
    /// The deadline was past when it was set.
    is_past: bool,
    /// It was polled.
    begun: bool,
}

impl<O: Operation> Timed<O> {
    #[inline]
    pub(super) fn new(op: Op<O>, deadline: Instant, is_past: bool) -> Timed<O> {
        Timed {
            op,
            deadline,
            is_past,
            begun: false,
        }
    }

    /// When it is stopped.
    #[must_use]
    pub fn at(&self) -> Instant {
        self.deadline
    }

    /// What is in flight already has no deadline as yet, and what is late is not submitted.
    #[inline]
    fn begin(&mut self) {
        self.begun = true;
        match self.op.in_flight() {
            None if self.is_past => self.op.reject_if_idle(),
            None => {}
            Some((serial, key)) => runtime::with_own(serial, |core| match self.is_past {
                true => core.ask_cancel(key),
                false => core.limit_operation(key, self.deadline),
            }),
        }
    }
}

impl<O: Operation> Future for Timed<O> {
    type Output = O::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<O::Output> {
        let this = self.get_mut();
        if !this.begun {
            this.begin();
        }
        let deadline = this.deadline;
        this.op.poll_until(context, || Some(deadline))
    }
}

impl<O: Operation> fmt::Debug for Timed<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timed")
            .field("op", &self.op)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
