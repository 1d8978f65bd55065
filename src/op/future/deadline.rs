//! An operation with a deadline of its own.

use super::Op;
use crate::op::Operation;
use crate::runtime;
use crate::sys::Instant;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// The future of [`Op::timeout`](Op::timeout) and [`Op::deadline`](Op::deadline): awaits an operation, cancels it at
/// the deadline, and then waits until the kernel has given it up.
#[must_use = "futures do nothing unless they are awaited"]
pub struct WithDeadline<O: Operation> {
    op: Op<O>,
    /// The deadline, once `is_running` is set. Before, the limit, stored as its distance from `Instant` zero.
    deadline: Instant,
    is_running: bool,
    /// The deadline had already passed when it was set.
    is_past: bool,
    /// It was polled at least once.
    is_polled: bool,
}

impl<O: Operation> WithDeadline<O> {
    /// Limits `op` from its first poll. If it was submitted before, from now.
    #[inline]
    pub(super) fn within(op: Op<O>, limit: Duration) -> WithDeadline<O> {
        let mut this = WithDeadline {
            op,
            deadline: Instant::from_ns(0) + limit,
            is_running: false,
            is_past: limit.is_zero(),
            is_polled: false,
        };
        if this.op.in_flight().is_some() {
            this.run();
        }
        this
    }

    #[inline]
    pub(super) fn until(op: Op<O>, deadline: Instant) -> WithDeadline<O> {
        WithDeadline {
            op,
            deadline,
            is_running: true,
            is_past: Instant::now() >= deadline,
            is_polled: false,
        }
    }

    /// Returns the deadline. Before the time starts to count, returns the deadline as if it started now.
    #[must_use]
    pub fn at(&self) -> Instant {
        match self.is_running {
            true => self.deadline,
            false => from_now(self.deadline),
        }
    }

    /// Starts the time.
    #[inline]
    fn run(&mut self) {
        self.deadline = from_now(self.deadline);
        self.is_running = true;
    }

    /// Passes the deadline on to an operation that is already in flight. A late one is not submitted.
    #[inline]
    fn first_poll(&mut self) {
        self.is_polled = true;
        if !self.is_running {
            self.run();
        }
        match self.op.in_flight() {
            None if self.is_past => self.op.reject_if_idle(),
            None => {}
            Some((runtime_id, key)) => runtime::with_own(runtime_id, |core| match self.is_past {
                true => core.ask_cancel(key),
                false => core.limit_operation(key, self.deadline),
            }),
        }
    }
}

/// Returns a time as far from now as `after` is from `Instant` zero.
#[inline]
fn from_now(after: Instant) -> Instant {
    Instant::from_ns(Instant::now().as_ns().saturating_add(after.as_ns()))
}

impl<O: Operation> Future for WithDeadline<O> {
    type Output = O::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<O::Output> {
        let this = self.get_mut();
        if !this.is_polled {
            this.first_poll();
        }
        let deadline = this.deadline;
        this.op.poll_until(context, || Some(deadline))
    }
}

impl<O: Operation> fmt::Debug for WithDeadline<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithDeadline")
            .field("op", &self.op)
            .field("deadline", &self.at())
            .finish_non_exhaustive()
    }
}
