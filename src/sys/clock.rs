//! The clock that every deadline is measured by: `CLOCK_MONOTONIC`, which is also what the ring waits by.

use std::fmt;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::time::Duration;

/// A moment of the monotonic clock, in nanoseconds since some moment in the past.
///
/// It is [`std::time::Instant`] in all but its origin: it comes from the runtime, so that a runtime with a clock of its own
/// is possible. Its range ends 584 years after the machine was started; arithmetic that would leave it saturates, so a
/// deadline that is too far away to be named is simply never reached.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant {
    ns: u64,
}

impl Instant {
    /// The last moment that can be named.
    pub(crate) const FAR_FUTURE: Instant = Instant { ns: u64::MAX };

    pub(crate) const fn from_ns(ns: u64) -> Instant {
        Instant { ns }
    }

    pub(crate) const fn as_ns(self) -> u64 {
        self.ns
    }

    /// The time from `earlier` to this moment, or zero if `earlier` is later.
    #[must_use]
    pub fn duration_since(&self, earlier: Instant) -> Duration {
        self.saturating_duration_since(earlier)
    }

    /// The time from `earlier` to this moment, or zero if `earlier` is later.
    #[must_use]
    pub fn saturating_duration_since(&self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.ns.saturating_sub(earlier.ns))
    }

    /// The time from `earlier` to this moment, or `None` if `earlier` is later.
    #[must_use]
    pub fn checked_duration_since(&self, earlier: Instant) -> Option<Duration> {
        self.ns.checked_sub(earlier.ns).map(Duration::from_nanos)
    }

    /// This moment and `duration`, or `None` if that cannot be named.
    #[must_use]
    pub fn checked_add(&self, duration: Duration) -> Option<Instant> {
        let ns = u64::try_from(duration.as_nanos()).ok()?;
        self.ns.checked_add(ns).map(Instant::from_ns)
    }

    /// This moment less `duration`, or `None` if that cannot be named.
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

/// The machine's own clock, for where no ring is: `clock_gettime(CLOCK_MONOTONIC)`, answered without entering the kernel.
#[inline]
pub(crate) fn machine_now() -> Instant {
    Instant {
        ns: clock_ns(libc::CLOCK_MONOTONIC),
    }
}

/// A clock that is as coarse as the kernel's tick (1 to 10 ms) and costs a few nanoseconds: good enough to say since when
/// an operation has been in flight.
#[inline]
pub(crate) fn coarse_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC_COARSE)
}

#[inline]
fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is valid for writing for the length of the call, and nothing keeps its address.
    let failed = unsafe { libc::clock_gettime(clock, &mut time) };
    assert_eq!(failed, 0, "the monotonic clocks are there on every Linux");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_stays_within_what_can_be_named() {
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
