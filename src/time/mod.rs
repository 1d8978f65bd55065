//! Sleeping, ticking, and timeouts.
//!
//! Deadlines are [`Instant`]s of the runtime's clock, in nanoseconds. A sleep is never early; it is late by what the
//! machine takes to wake a thread (some 10 µs), where hundreds of timers are armed by 50 µs more, so that those due together
//! share a turn, and under load by at most the budget of a turn (see [`Builder::budget`](crate::runtime::Builder::budget)).

mod in_scope;
mod interval;
mod sleep;
mod timeout;

pub use crate::error::{CutShort, TimeoutError};
pub use crate::scope::Elapsed;
pub use crate::sys::Instant;
pub use in_scope::InScope;
pub use interval::{Interval, MissedTicks, interval, interval_at};
pub use sleep::{Sleep, sleep, sleep_until};
pub use timeout::{Timeout, TimeoutAny, timeout, timeout_any, timeout_any_at, timeout_at};

use crate::runtime;
use crate::sys::machine_now;
use std::time::Duration;

impl Instant {
    /// This moment, by the clock of the current runtime; outside of one, by the machine's own.
    ///
    /// ```
    /// let before = gimmal::time::Instant::now();
    /// assert!(gimmal::time::Instant::now() >= before);
    /// ```
    #[must_use]
    #[inline]
    pub fn now() -> Instant {
        runtime::try_with(|core| core.now()).unwrap_or_else(machine_now)
    }

    /// The time from this moment until now.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Instant::now().saturating_duration_since(*self)
    }
}
