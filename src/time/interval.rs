//! Ticks at a steady pace.

use super::{Instant, Sleep, sleep_until};
use crate::error::Canceled;
use futures_core::Stream;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Returns an [`Interval`] that ticks at once, and then once per period.
///
/// ```
/// use std::time::Duration;
///
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let mut ticks = gimmal::time::interval(Duration::from_millis(2));
///     let first = ticks.tick().await?;
///     let second = ticks.tick().await?;
///     assert_eq!(second - first, Duration::from_millis(2));
///     Ok(())
/// })
/// # }
/// ```
///
/// # Panics
///
/// Panics if the period is zero.
#[track_caller]
pub fn interval(period: Duration) -> Interval {
    interval_at(Instant::now(), period)
}

/// Returns an [`Interval`] that ticks at `start`, and then once per period.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::time::{Instant, interval_at};
/// use std::time::Duration;
///
/// gimmal::run(async {
///     let period = Duration::from_millis(2);
///     let start = Instant::now() + period;
///     let mut ticks = interval_at(start, period);
///     // The first tick is not at once.
///     assert_eq!(ticks.tick().await?, start);
///     assert_eq!(ticks.tick().await?, start + period);
///     Ok(())
/// })
/// # }
/// ```
///
/// # Panics
///
/// Panics if the period is zero.
#[track_caller]
pub fn interval_at(start: Instant, period: Duration) -> Interval {
    assert!(
        !period.is_zero(),
        "the period of an interval must not be zero"
    );
    Interval {
        sleep: sleep_until(start),
        period,
        missed: MissedTicks::default(),
    }
}

/// What an [`Interval`] does about ticks that were due while nothing waited for them.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::time::{MissedTicks, interval};
/// use std::time::Duration;
///
/// gimmal::run(async {
///     let period = Duration::from_millis(1);
///     let mut ticks = interval(period).missed_ticks(MissedTicks::Skip);
///     let first = ticks.tick().await?;
///     gimmal::sleep(5 * period).await?;
///     // One of the ticks that were missed, and no more of them.
///     ticks.tick().await?;
///     let next = ticks.tick().await? - first;
///     assert!(next >= 5 * period && next.as_nanos() % period.as_nanos() == 0);
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MissedTicks {
    /// Return them at once, one after another, until it has caught up.
    #[default]
    Burst,
    /// Return one, and count the period from then.
    Delay,
    /// Return one, and continue at the next multiple of the period.
    Skip,
}

/// A series of ticks, one period apart. It is also an endless [`Stream`](futures_core::Stream), for the combinators of
/// other crates.
///
/// ```
/// use futures_util::{StreamExt, TryStreamExt};
/// use std::time::Duration;
///
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let ticks = gimmal::time::interval(Duration::from_millis(2));
///     let three: Vec<_> = ticks.take(3).try_collect().await?;
///     assert_eq!(three[2] - three[0], Duration::from_millis(4));
///     Ok(())
/// })
/// # }
/// ```
#[derive(Debug)]
pub struct Interval {
    sleep: Sleep,
    period: Duration,
    missed: MissedTicks,
}

impl Interval {
    /// Waits for the next tick, and returns the time at which it was due.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use std::time::Duration;
    ///
    /// gimmal::run(async {
    ///     let mut ticks = gimmal::time::interval(Duration::from_secs(3600));
    ///     let start = ticks.tick().await?;
    ///     assert!(start <= gimmal::time::Instant::now());
    ///     // The next tick is far away, and this wait leaves it to a later one.
    ///     let early = gimmal::timeout(Duration::from_millis(1), ticks.tick()).await;
    ///     assert!(gimmal::is_timeout(&early.unwrap_err()));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Canceled`], if its scope is canceled first.
    ///
    /// # Cancel safety
    ///
    /// No tick is lost: one that a dropped or canceled wait has waited for is returned by the next.
    // Test: tests/time/timers.rs
    pub async fn tick(&mut self) -> Result<Instant, Canceled> {
        poll_fn(|context| self.poll_tick(context)).await
    }

    /// Restarts the interval: the next tick is due one period from now. Takes effect at the next wait, or poll of the
    /// stream.
    ///
    /// ```
    /// use gimmal::time::{Instant, interval};
    /// use std::time::Duration;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gimmal::run(async {
    ///     let mut idle = interval(Duration::from_millis(2));
    ///     let now = Instant::now();
    ///     idle.reset();
    ///     assert!(idle.tick().await? >= now + idle.period());
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn reset(&mut self) {
        self.sleep.reset(Instant::now() + self.period);
    }

    /// Sets what to do about ticks that nothing waited for.
    #[must_use]
    pub fn missed_ticks(mut self, missed: MissedTicks) -> Interval {
        self.missed = missed;
        self
    }

    /// Returns the time between two ticks.
    #[must_use]
    pub fn period(&self) -> Duration {
        self.period
    }

    fn poll_tick(&mut self, context: &mut Context<'_>) -> Poll<Result<Instant, Canceled>> {
        ready!(Pin::new(&mut self.sleep).poll(context))?;
        let due = self.sleep.deadline();
        let next = self.next(due, Instant::now());
        self.sleep.reset(next);
        Poll::Ready(Ok(due))
    }

    /// Returns the time at which the tick after this one is due.
    fn next(&self, due: Instant, now: Instant) -> Instant {
        let next = due + self.period;
        if next > now {
            return next;
        }
        match self.missed {
            MissedTicks::Burst => next,
            MissedTicks::Delay => now + self.period,
            MissedTicks::Skip => {
                let behind = now.saturating_duration_since(due).as_nanos();
                let past = behind % self.period.as_nanos();
                let left = self.period - Duration::from_nanos(past as u64);
                now + left
            }
        }
    }
}

impl Stream for Interval {
    type Item = Result<Instant, Canceled>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_tick(context).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(missed: MissedTicks, due: u64, now: u64) -> u64 {
        let interval =
            interval_at(Instant::from_ns(due), Duration::from_nanos(10)).missed_ticks(missed);
        interval
            .next(Instant::from_ns(due), Instant::from_ns(now))
            .as_ns()
    }

    #[test]
    fn missed_ticks_burst_or_are_delayed_or_skipped() {
        for missed in [MissedTicks::Burst, MissedTicks::Delay, MissedTicks::Skip] {
            assert_eq!(next(missed, 100, 100), 110);
            assert_eq!(next(missed, 100, 109), 110);
        }
        assert_eq!(next(MissedTicks::Burst, 100, 135), 110);
        assert_eq!(next(MissedTicks::Delay, 100, 135), 145);
        assert_eq!(next(MissedTicks::Skip, 100, 135), 140);
        assert_eq!(next(MissedTicks::Skip, 100, 130), 140);
    }
}
