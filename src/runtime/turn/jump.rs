//! Virtual time: when it stands still, and when it jumps to the next deadline.
//!
//! Virtual time never passes by itself. When no task is ready, what is pending decides:
//!
//! | pending | time |
//! |---|---|
//! | a closure in the pool; an operation that ends by itself, such as one on a file, or one that was asked to stop | stands still until that has ended |
//! | an operation that waits for a peer; a waker that other code has cloned, and that another thread may wake | stands still until nothing has happened for the threshold, a real time |
//! | no deadline | stands still |
//! | nothing but deadlines | jumps to the first |
//!
//! This is the one place that moves the clock. What the runtime does for its own sake goes by the ring's clock: the
//! budget of a turn, repeated cancels, the search for a lack of threads, the shutdown.

use crate::driver::TimeHold;
use crate::runtime::core::Core;
use crate::sys::{EnterWait, Instant, VirtualClock};
use std::cell::Cell;
use std::time::Duration;

/// The clock of a runtime whose time is virtual, and when it is to be moved.
#[derive(Debug)]
pub(in crate::runtime) struct Jumps {
    clock: VirtualClock,
    threshold: Duration,
    /// The real time since which nothing has happened, and the number of polls by then.
    quiet: Cell<Option<(Instant, u64)>>,
}

impl Jumps {
    pub(in crate::runtime) fn new(start: Instant, threshold: Duration) -> Jumps {
        Jumps {
            clock: VirtualClock::new(start),
            threshold,
            quiet: Cell::new(None),
        }
    }

    pub(in crate::runtime) fn clock(&self) -> &VirtualClock {
        &self.clock
    }

    /// Returns the real time until which time stands still for something that may never happen. Returns `None` once that
    /// has come, but never before the kernel has been entered since the last poll, the one numbered `polls`.
    fn stands_until(&self, polls: u64, now: Instant) -> Option<Instant> {
        match self.quiet.get() {
            Some((since, before)) if before == polls => {
                let until = since + self.threshold;
                (now < until).then_some(until)
            }
            _ => {
                self.quiet.set(Some((now, polls)));
                Some(now + self.threshold)
            }
        }
    }
}

impl Core {
    /// Returns how long to wait, in real time. Or moves the clock to the next deadline, and returns `None`. No task is ready.
    #[cold]
    pub(super) fn wait_or_jump(&self, jumps: &Jumps, limit: Option<Instant>) -> Option<EnterWait> {
        let retry = self.driver.borrow().next_retry();
        let wait_until = |until: Option<Instant>| {
            let earliest = [retry, until].into_iter().flatten().min();
            Some(earliest.map_or(EnterWait::Forever, EnterWait::Until))
        };
        if !self.is_open() {
            return wait_until(limit);
        }
        let timer = self.timers.borrow().next_deadline().map(Instant::from_ns);
        let operation = self.driver.borrow_mut().first_deadline();
        let deadline = [timer, operation, limit].into_iter().flatten().min();
        let Some(deadline) = deadline.filter(|deadline| *deadline < Instant::FAR_FUTURE) else {
            return wait_until(None);
        };
        let stands_until = match self.hold() {
            TimeHold::UntilOver => return wait_until(None),
            TimeHold::Briefly => {
                jumps.stands_until(self.turn.budget.polls_so_far(), self.real_now())
            }
            TimeHold::No => None,
        };
        if let Some(until) = stands_until {
            return wait_until(Some(until));
        }
        // Something may have happened since the ring and the inbox were last looked at.
        let has_news =
            self.driver.borrow_mut().needs_turn() || self.slot.inbox().has_remote_wakes();
        if has_news {
            return Some(EnterWait::No);
        }
        jumps.clock.move_to(deadline);
        None
    }

    /// Returns how long what is pending keeps time from moving.
    fn hold(&self) -> TimeHold {
        if self.pool.holds_time() {
            return TimeHold::UntilOver;
        }
        let has_wakers = self.slot.inbox().wakers_out() > 0;
        let least = if has_wakers {
            TimeHold::Briefly
        } else {
            TimeHold::No
        };
        self.driver.borrow().hold().max(least)
    }

    /// Returns the clock, if time is virtual.
    pub(crate) fn virtual_clock(&self) -> Option<&VirtualClock> {
        self.turn.jumps.as_deref().map(Jumps::clock)
    }
}
