//! Repeats failed cancels at growing intervals, and schedules the search for operations stuck without a kernel thread.
//!
//! One cancel request is not enough: about one in a thousand receives held by a kernel worker stayed parked after
//! EALREADY (measured on 6.18). So the request is repeated for each operation that is still in flight: in the next
//! turn, then at growing intervals.

use crate::sys::Instant;
use crate::table::Key;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// The pause before the third request; it doubles with each further request. The second is sent at once.
const FIRST: Duration = Duration::from_millis(1);
/// The longest pause between two requests, in doublings of the first: about a quarter of a second.
const DOUBLINGS_MAX: u8 = 8;

/// The request sent a second after the first: 0 + 1 + 2 + … + 256 + 256 + 256 ms. It triggers the report (C3).
pub(super) const ASKS_UNTIL_STUCK: u8 = 13;

/// How long a file operation may take before the runtime checks whether it lacks a kernel thread, while others hold
/// some.
pub(super) const OVERDUE: Duration = Duration::from_secs(1);

/// Stands for the search. It is not a valid key, because no row has generation zero.
const LOOK: u64 = 0;

/// The action that is due.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DueRetry {
    /// Repeat the cancel request for this operation.
    Ask(Key),
    /// Search for overdue operations.
    Look,
}

/// The capacity of each list that is kept.
const ROOM_KEPT: usize = 64;

/// The operations whose cancel is to be repeated. The caller checks whether each is still in flight.
#[derive(Debug, Default)]
pub(super) struct CancelRetries {
    /// The operations whose cancel failed in the current reap.
    missed: Vec<Key>,
    due: BinaryHeap<Reverse<(Instant, u64)>>,
    /// A search is scheduled in `due`.
    looks: bool,
}

impl CancelRetries {
    pub(super) fn missed(&mut self, key: Key) {
        self.missed.push(key);
    }

    #[inline]
    pub(super) fn has_missed(&self) -> bool {
        !self.missed.is_empty()
    }

    /// Called after each reap. `asks` returns how many requests were made for an operation, if it is still in flight.
    pub(super) fn schedule(&mut self, now: Instant, mut asks: impl FnMut(Key) -> Option<u8>) {
        for key in self.missed.drain(..) {
            if let Some(asks) = asks(key) {
                let pause = match asks {
                    0 | 1 => Duration::ZERO,
                    n => FIRST * (1 << (n - 2).min(DOUBLINGS_MAX)),
                };
                self.due.push(Reverse((now + pause, key.to_u64())));
            }
        }
    }

    /// Releases memory left over from a peak.
    pub(super) fn trim(&mut self) {
        if self.due.capacity() / 4 > self.due.len().max(ROOM_KEPT) {
            self.due.shrink_to(ROOM_KEPT);
        }
        if self.missed.capacity() / 4 > self.missed.len().max(ROOM_KEPT) {
            self.missed.shrink_to(ROOM_KEPT);
        }
    }

    #[inline]
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((due, _))| *due)
    }

    /// Whether a search for overdue operations is scheduled.
    #[inline]
    pub(super) fn looks(&self) -> bool {
        self.looks
    }

    /// Schedules a search for overdue operations.
    pub(super) fn look_at(&mut self, moment: Instant) {
        self.looks = true;
        self.due.push(Reverse((moment, LOOK)));
    }

    /// Takes the next action that is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<DueRetry> {
        let Reverse((due, bits)) = *self.due.peek()?;
        if due > now {
            return None;
        }
        self.due.pop();
        if bits == LOOK {
            self.looks = false;
            return Some(DueRetry::Look);
        }
        Some(DueRetry::Ask(Key::from_u64(bits)))
    }
}
