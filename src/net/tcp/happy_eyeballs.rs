//! Decides in which order the addresses of a name are tried, and when: RFC 8305. Uses no clock and no socket.

#![forbid(unsafe_code)]

use crate::time::Instant;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

/// How long an attempt runs before the next address is tried in parallel: the Connection Attempt Delay that RFC 8305
/// recommends (section 5).
pub(super) const DELAY: Duration = Duration::from_millis(250);

/// The attempts to connect to one of several addresses.
#[derive(Debug)]
pub(super) struct Attempts {
    /// Addresses still to be tried.
    left: VecDeque<SocketAddr>,
    under_way: usize,
    /// When the next attempt begins even if none has failed.
    next_at: Option<Instant>,
}

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Step {
    Begin(SocketAddr),
    /// Wait until an attempt ends, or until this time.
    WaitUntil(Instant),
    /// Wait until an attempt ends: no addresses are left to try.
    Wait,
    /// All attempts have failed.
    Over,
}

impl Attempts {
    pub(super) fn new(addrs: Vec<SocketAddr>) -> Attempts {
        Attempts {
            left: interleave(addrs),
            under_way: 0,
            next_at: None,
        }
    }

    /// Returns what to do at this time. An attempt returned as [`Step::Begin`] counts as begun.
    pub(super) fn step(&mut self, now: Instant) -> Step {
        match self.next_at {
            Some(at) if self.under_way > 0 && !self.left.is_empty() && now < at => {
                Step::WaitUntil(at)
            }
            _ => match self.left.pop_front() {
                Some(addr) => {
                    self.under_way += 1;
                    self.next_at = Some(now + DELAY);
                    Step::Begin(addr)
                }
                None if self.under_way > 0 => Step::Wait,
                None => Step::Over,
            },
        }
    }

    /// Records that an attempt has failed: the next one begins without delay.
    pub(super) fn failed(&mut self) {
        self.under_way -= 1;
        self.next_at = None;
    }
}

/// Keeps the resolver's order, but alternates between the families, beginning with that of the first address (section
/// 4), so that an unreachable family costs only one delay.
fn interleave(addrs: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let first_is_v6 = addrs.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addrs
        .into_iter()
        .partition(|addr| addr.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut all = VecDeque::with_capacity(first.len() + second.len());
    loop {
        let before = all.len();
        all.extend(first.next());
        all.extend(second.next());
        if all.len() == before {
            return all;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addrs(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_alternate_starting_with_the_first() {
        for (given, order) in [
            (&[][..], &[][..]),
            (&["1.1.1.1:1"], &["1.1.1.1:1"]),
            (
                &["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"],
                &["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"],
            ),
            (
                &["1.1.1.1:1", "2.2.2.2:1", "3.3.3.3:1", "[::1]:1"],
                &["1.1.1.1:1", "[::1]:1", "2.2.2.2:1", "3.3.3.3:1"],
            ),
        ] {
            assert_eq!(interleave(addrs(given)), addrs(order));
        }
    }

    #[test]
    fn the_next_attempt_starts_after_the_delay_or_a_failure() {
        let start = Instant::now();
        let [a, b, c] = ["[::1]:1", "1.1.1.1:1", "[::2]:1"].map(|text| text.parse().unwrap());
        let mut attempts = Attempts::new(vec![a, c, b]);
        assert_eq!(attempts.step(start), Step::Begin(a));
        assert_eq!(attempts.step(start), Step::WaitUntil(start + DELAY));
        // A caller that is woken too early waits again.
        let early = start + DELAY / 2;
        assert_eq!(attempts.step(early), Step::WaitUntil(start + DELAY));
        let later = start + DELAY;
        assert_eq!(attempts.step(later), Step::Begin(b));
        assert_eq!(attempts.step(later), Step::WaitUntil(later + DELAY));
        // One of the two fails: the other continues, and the third one starts.
        attempts.failed();
        assert_eq!(attempts.step(later), Step::Begin(c));
        assert_eq!(attempts.step(later), Step::Wait);
        attempts.failed();
        assert_eq!(attempts.step(later), Step::Wait);
        attempts.failed();
        assert_eq!(attempts.step(later), Step::Over);
    }

    /// Checks every sequence of eight events over up to four addresses: each attempt starts once, as soon as it may,
    /// and the result is `Over` if and only if all have failed.
    #[test]
    fn every_short_sequence_tries_each_address_once() {
        const EVENTS: u32 = 8;
        let all = addrs(&["1.1.1.1:1", "2.2.2.2:1", "[::1]:1", "[::2]:1"]);
        for count in 0..=all.len() {
            for sequence in 0..2u32.pow(EVENTS) {
                let mut now = Instant::now();
                let mut attempts = Attempts::new(all[..count].to_vec());
                let mut last_begun = now;
                let (mut begun, mut failed, mut just_failed) = (Vec::new(), 0, false);
                for event in 0..EVENTS {
                    let is_over = loop {
                        match attempts.step(now) {
                            Step::Begin(addr) => {
                                let first = begun.is_empty();
                                assert!(first || just_failed || now >= last_begun + DELAY);
                                assert!(!begun.contains(&addr));
                                begun.push(addr);
                                (last_begun, just_failed) = (now, false);
                            }
                            Step::WaitUntil(at) => {
                                assert!(begun.len() < count && failed < begun.len());
                                assert_eq!(at, last_begun + DELAY);
                                break false;
                            }
                            Step::Wait => {
                                assert!(begun.len() == count && failed < count);
                                break false;
                            }
                            Step::Over => {
                                assert_eq!((begun.len(), failed), (count, count));
                                break true;
                            }
                        }
                    };
                    if !is_over && sequence >> event & 1 == 1 {
                        attempts.failed();
                        failed += 1;
                        just_failed = true;
                    } else {
                        now += DELAY / 2;
                    }
                }
            }
        }
    }
}
