//! Deadlines that the kernel keeps for a ring, so that a wait need not have one.
//!
//! A wait with a deadline has a cost: the clock is read, and the kernel takes an argument and starts a timer (40 ns
//! more an enter on 6.18). Most deadlines are far away and are canceled long before they pass: those of timeouts. So
//! for a far deadline, a timeout request is left in the ring (`IORING_OP_TIMEOUT`); until it has fired, no later
//! deadline has passed either, and waits need no deadline. It is not removed with its deadline: it fires once, without
//! effect, and makes room.

#![forbid(unsafe_code)]

use super::clock::Instant;
use io_uring::types::Timespec;
use std::time::Duration;

/// A deadline nearer than this is passed to the wait itself.
pub(super) const FAR: Duration = Duration::from_millis(50);

/// The most timeouts in a ring: each is nearer than those before it.
const ALARMS_MAX: usize = 8;

/// The user data of the first; no request of the driver uses these values.
const FIRST: u64 = u64::MAX - ALARMS_MAX as u64;

/// The timeouts in the ring.
#[derive(Debug)]
pub(super) struct Alarms {
    armed: [Option<Instant>; ALARMS_MAX],
    /// The nearest of them.
    next: Option<Instant>,
    /// The times that the kernel reads when it takes the requests. Each is written only while its timeout is not armed.
    times: Box<[Timespec; ALARMS_MAX]>,
    /// The kernel does not support them.
    broken: bool,
}

impl Alarms {
    pub(super) fn new(works: bool) -> Alarms {
        Alarms {
            armed: [None; ALARMS_MAX],
            next: None,
            times: Box::new([Timespec::new(); ALARMS_MAX]),
            broken: !works,
        }
    }

    /// Whether a timeout that has not fired is no later than `deadline`, which proves that `deadline` has not passed.
    #[inline]
    pub(super) fn covers(&self, deadline: Instant) -> bool {
        self.next.is_some_and(|next| next <= deadline)
    }

    /// Reserves a place for one more. Returns its user data and its time, which stays in place.
    pub(super) fn arm(&mut self, deadline: Instant) -> Option<(u64, &Timespec)> {
        if self.broken {
            return None;
        }
        let place = self.armed.iter().position(Option::is_none)?;
        self.armed[place] = Some(deadline);
        self.next = Some(self.next.map_or(deadline, |next| next.min(deadline)));
        self.times[place] = Duration::from_nanos(deadline.as_ns()).into();
        Some((FIRST + place as u64, &self.times[place]))
    }

    /// Frees the place of a request that found no room, or completed with this result.
    pub(super) fn over(&mut self, user_data: u64, result: i32) {
        let place = (user_data - FIRST) as usize;
        self.armed[place] = None;
        self.next = self.armed.iter().flatten().min().copied();
        self.broken |= !matches!(-result, libc::ETIME | libc::ECANCELED);
    }

    /// Whether a completion belongs to a timeout.
    #[inline]
    pub(super) fn is_alarm(user_data: u64) -> bool {
        (FIRST..u64::MAX).contains(&user_data)
    }

    /// Returns the user data of the timeouts in the ring.
    pub(super) fn armed(&self) -> impl Iterator<Item = u64> {
        let places = (FIRST..u64::MAX).zip(&self.armed);
        places.filter_map(|(user_data, armed)| armed.map(|_| user_data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ns: u64) -> Instant {
        Instant::from_ns(ns)
    }

    #[test]
    fn later_deadlines_are_covered_until_the_nearest_has_passed() {
        let mut alarms = Alarms::new(true);
        assert!(!alarms.covers(at(u64::MAX)));
        let (late, _) = alarms.arm(at(500)).unwrap();
        let (early, time) = alarms.arm(at(300)).unwrap();
        assert_eq!(
            format!("{time:?}"),
            format!("{:?}", Timespec::new().nsec(300))
        );
        assert!(Alarms::is_alarm(late) && Alarms::is_alarm(early) && late != early);
        assert!(alarms.covers(at(300)) && !alarms.covers(at(299)));
        alarms.over(early, -libc::ETIME);
        assert!(alarms.covers(at(500)) && !alarms.covers(at(499)));
        assert_eq!(alarms.armed().collect::<Vec<_>>(), [late]);
        alarms.over(late, -libc::ECANCELED);
        assert!(!alarms.covers(at(u64::MAX)));
    }

    #[test]
    fn their_number_is_bounded_and_a_kernel_without_them_gets_none() {
        let mut alarms = Alarms::new(true);
        let armed = (0..100).filter_map(|ns| Some(alarms.arm(at(ns))?.0));
        let armed: Vec<u64> = armed.collect();
        assert_eq!(armed.len(), ALARMS_MAX);
        alarms.over(armed[3], -libc::EINVAL);
        assert!(alarms.arm(at(1)).is_none());
        assert!(Alarms::new(false).arm(at(1)).is_none());
        assert!(!Alarms::is_alarm(u64::MAX), "that is the wake poll");
    }
}
