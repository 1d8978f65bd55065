//! The clock by which every deadline is measured: `CLOCK_MONOTONIC`, by which the ring waits as well.

use std::fmt;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A point in time of the monotonic clock, in nanoseconds since an arbitrary point in the past.
///
/// It is [`std::time::Instant`] with a different origin: it comes from the runtime, so that a runtime can have a clock
/// of its own. Its range ends 584 years after the machine was started. Arithmetic saturates at the ends of the range,
/// so a deadline too far away to be represented is simply never reached.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::time::Instant;
/// use std::time::Duration;
///
/// gimmal::run(async {
///     let start = Instant::now();
///     let deadline = start + Duration::from_secs(60);
///     assert_eq!(deadline - start, Duration::from_secs(60));
///     // Time does not run backwards, and the end of time is never reached.
///     assert_eq!(start - deadline, Duration::ZERO);
///     assert_eq!(start + Duration::MAX, deadline + Duration::MAX);
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant {
    ns: u64,
}

impl Instant {
    /// The last representable time.
    pub(crate) const FAR_FUTURE: Instant = Instant { ns: u64::MAX };

    pub(crate) const fn from_ns(ns: u64) -> Instant {
        Instant { ns }
    }

    pub(crate) const fn as_ns(self) -> u64 {
        self.ns
    }

    /// Returns the time from `earlier` to this instant, or zero if `earlier` is later.
    #[must_use]
    pub fn duration_since(&self, earlier: Instant) -> Duration {
        self.saturating_duration_since(earlier)
    }

    /// Returns the time from `earlier` to this instant, or zero if `earlier` is later.
    #[must_use]
    pub fn saturating_duration_since(&self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.ns.saturating_sub(earlier.ns))
    }

    /// Returns the time from `earlier` to this instant, or `None` if `earlier` is later.
    #[must_use]
    pub fn checked_duration_since(&self, earlier: Instant) -> Option<Duration> {
        self.ns.checked_sub(earlier.ns).map(Duration::from_nanos)
    }

    /// Returns this instant plus `duration`, or `None` if that cannot be represented.
    #[must_use]
    pub fn checked_add(&self, duration: Duration) -> Option<Instant> {
        let ns = u64::try_from(duration.as_nanos()).ok()?;
        self.ns.checked_add(ns).map(Instant::from_ns)
    }

    /// Returns this instant minus `duration`, or `None` if that cannot be represented.
    #[must_use]
    pub fn checked_sub(&self, duration: Duration) -> Option<Instant> {
        let ns = u64::try_from(duration.as_nanos()).ok()?;
        self.ns.checked_sub(ns).map(Instant::from_ns)
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    #[inline]
    fn add(self, duration: Duration) -> Instant {
        self.checked_add(duration).unwrap_or(Instant::FAR_FUTURE)
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;

    fn sub(self, duration: Duration) -> Instant {
        self.checked_sub(duration).unwrap_or(Instant { ns: 0 })
    }
}

impl SubAssign<Duration> for Instant {
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        self.saturating_duration_since(earlier)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Instant({:?})", Duration::from_nanos(self.ns))
    }
}

/// A clock that stands still until the runtime moves it. Its copies are one clock, for handles on other threads.
#[derive(Clone, Debug)]
pub(crate) struct VirtualClock(Arc<AtomicU64>);

impl VirtualClock {
    pub(crate) fn new(now: Instant) -> VirtualClock {
        VirtualClock(Arc::new(AtomicU64::new(now.ns)))
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::from_ns(self.0.load(Ordering::Acquire))
    }

    /// Moves the clock forward.
    pub(crate) fn move_to(&self, now: Instant) {
        self.0.fetch_max(now.ns, Ordering::Release);
    }
}

/// Reads the machine's own clock, where there is no ring: `clock_gettime(CLOCK_MONOTONIC)`, which does not enter the
/// kernel.
#[inline]
pub(crate) fn machine_now() -> Instant {
    Instant {
        ns: clock_ns(libc::CLOCK_MONOTONIC),
    }
}

/// Reads a clock that is as coarse as the kernel's tick (1 to 10 ms) and costs a few nanoseconds: precise enough to
/// tell how long an operation has been in flight.
#[inline]
pub(crate) fn coarse_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC_COARSE)
}

/// Out of line, because the clock is read inline in many places.
#[cold]
#[inline(never)]
fn no_clock() -> ! {
    unreachable!("the monotonic clocks are there on every Linux")
}

#[inline]
fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is valid for writing for the length of the call, and nothing keeps its address.
    let failed = unsafe { libc::clock_gettime(clock, &mut time) };
    if failed != 0 {
        no_clock();
    }
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        let start = Instant::from_ns(5);
        assert_eq!(start + Duration::from_nanos(7), Instant::from_ns(12));
        assert_eq!(start + Duration::MAX, Instant::FAR_FUTURE);
        assert_eq!(start - Duration::MAX, Instant::from_ns(0));
        assert_eq!(start.checked_add(Duration::MAX), None);
        assert_eq!(start.checked_sub(Duration::from_nanos(6)), None);
        assert_eq!(start - Instant::from_ns(9), Duration::ZERO);
        assert_eq!(start.checked_duration_since(Instant::from_ns(9)), None);
    }

    #[test]
    fn the_clocks_agree_within_a_tick() {
        let before = coarse_ns();
        let now = machine_now().as_ns();
        assert!(before <= now);
    }
}
