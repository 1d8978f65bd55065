//! An operation with a deadline of its own.

use super::{Op, Operation};
use crate::runtime;
use crate::sys::Instant;
use crate::table::Key;
use crate::tasks::copy_waker;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Awaits an operation until a deadline, and then until the kernel has given it up: the future of
/// [`Op::timeout`](Op::timeout) and [`Op::deadline`](Op::deadline).
#[must_use = "futures do nothing unless they are awaited"]
pub struct Timed<O: Operation> {
    op: Op<O>,
    deadline: Instant,
    alarm: Alarm,
}

#[derive(Clone, Copy, Debug)]
enum Alarm {
    /// The deadline was past when it was set: no timer is needed.
    Past,
    Idle,
    /// The runtime's serial and the row of the timer, which this owns.
    Armed(u64, Key),
    Over,
}

impl<O: Operation> Timed<O> {
    #[inline]
    pub(super) fn new(op: Op<O>, deadline: Instant, is_past: bool) -> Timed<O> {
        Timed {
            op,
            deadline,
            alarm: if is_past { Alarm::Past } else { Alarm::Idle },
        }
    }

    /// When it is stopped.
    #[must_use]
    pub fn at(&self) -> Instant {
        self.deadline
    }

    /// Whether the deadline is past. When it comes to that the kernel is asked to stop the operation.
    #[inline]
    fn is_late(&mut self, waker: &Waker) -> bool {
        match self.alarm {
            Alarm::Over => true,
            Alarm::Armed(serial, key) => {
                let polled =
                    runtime::with_own(serial, |core| core.poll_alarm(key, copy_waker(waker)));
                match polled {
                    Err(replaced) => {
                        runtime::drop_waker(Some(replaced));
                        false
                    }
                    Ok(()) => {
                        self.expire();
                        true
                    }
                }
            }
            Alarm::Past => {
                self.expire();
                true
            }
            Alarm::Idle => {
                let waker = copy_waker(waker);
                let (serial, key) =
                    runtime::with(|core| (core.serial(), core.arm_alarm(self.deadline, waker)));
                self.alarm = Alarm::Armed(serial, key);
                false
            }
        }
    }

    #[cold]
    fn expire(&mut self) {
        self.release();
        self.alarm = Alarm::Over;
        match self.op.in_flight() {
            Some((serial, key)) => runtime::with_own(serial, |core| core.ask_cancel(key)),
            None => self.op.reject_if_idle(),
        }
    }

    #[inline]
    fn release(&mut self) {
        if let Alarm::Armed(serial, key) = self.alarm
            && let Some(core) = runtime::reach(serial)
        {
            self.alarm = Alarm::Over;
            runtime::drop_waker(core.release_timer(key));
        }
    }
}

impl<O: Operation> Future for Timed<O> {
    type Output = O::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<O::Output> {
        let this = self.get_mut();
        let is_late = this.is_late(context.waker());
        let polled = this.op.poll_until(context, is_late);
        if polled.is_ready() {
            this.release();
        }
        polled
    }
}

impl<O: Operation> Drop for Timed<O> {
    #[inline]
    fn drop(&mut self) {
        self.release();
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
