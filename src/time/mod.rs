//! Sleeping, ticking, and timeouts.
//!
//! Deadlines are [`Instant`]s of the runtime's clock, in nanoseconds. A sleep never ends early. It ends late by the
//! time the machine takes to wake a thread (some 10 µs); with hundreds of timers armed by up to 50 µs more, so that
//! timers due together share a pass of the event loop; and under load by at most the budget of a pass (see
//! [`Builder::budget`](crate::runtime::Builder::budget)).

mod future_ext;
mod interval;
mod sleep;
mod timeout;
mod try_future;

pub use crate::error::Elapsed;
pub use crate::error::{CutShort, TimeoutError};
pub use crate::sys::Instant;
pub use future_ext::FutureExt;
pub use interval::{Interval, MissedTicks, interval, interval_at};
pub use sleep::{Sleep, sleep, sleep_until};
pub use timeout::{Timeout, TimeoutAny, timeout, timeout_any, timeout_any_at, timeout_at};
pub use try_future::TryFuture;

use crate::runtime;
use crate::sys::machine_now;
use std::time::Duration;

impl Instant {
    /// Returns the current time by the runtime's clock; outside of a runtime, by the machine's clock.
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

    /// Returns the time elapsed since this instant.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Instant::now().saturating_duration_since(*self)
    }
}
