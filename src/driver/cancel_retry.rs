//! Cancels that missed, and when each operation is asked again; and when to look for operations that no thread comes to.
//!
//! One ask is not enough: about one receive in a thousand that a kernel worker had taken stayed parked after the answer
//! EALREADY (measured on 6.18). Each that is still in flight is asked again: in the next turn, then after growing pauses.

use super::lifecycle::CancelAttempts;
use crate::sys::Instant;
use crate::table::Key;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// The wait before a cancel is asked for a third time; it doubles from ask to ask. The second goes out at once.
const FIRST: Duration = Duration::from_millis(1);
/// The longest wait between two asks, in doublings of the first: about a quarter of a second.
const DOUBLINGS_MAX: u8 = 8;

/// With this ask a second has passed since the first: 0 + 1 + 2 + … + 256 + 256 + 256 ms. Then it is reported (C3).
pub(super) const ASKS_UNTIL_STUCK: u8 = 13;

/// How long an operation on a file may take before it is asked whether there is a thread for it, where others hold some.
pub(super) const OVERDUE: Duration = Duration::from_secs(1);

/// Names no operation: no row has generation zero.
const LOOK: u64 = 0;

/// What the moment has come for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// To ask this operation again.
    Ask(Key),
    /// To look for operations that are overdue.
    Look,
}

/// The room of each list that is kept.
const ROOM_KEPT: usize = 64;

/// Operations to ask again. Whether one is still in flight is for the caller to see.
#[derive(Debug, Default)]
pub(super) struct Again {
    /// Their cancel failed in the reap that is under way.
    missed: Vec<Key>,
    due: BinaryHeap<Reverse<(Instant, u64)>>,
    /// There is a look in `due`.
    looks: bool,
}

impl Again {
    pub(super) fn miss(&mut self, key: Key) {
        self.missed.push(key);
    }

    #[inline]
    pub(super) fn has_missed(&self) -> bool {
        !self.missed.is_empty()
    }

    /// The reap is over. `asks` says how often one was asked before, if it is still in flight.
    pub(super) fn schedule(
        &mut self,
        now: Instant,
        mut asks: impl FnMut(Key) -> Option<CancelAttempts>,
    ) {
        for key in self.missed.drain(..) {
            if let Some(asks) = asks(key) {
                let pause = match asks.count() {
                    0 | 1 => Duration::ZERO,
                    n => FIRST * (1 << (n - 2).min(DOUBLINGS_MAX)),
                };
                self.due.push(Reverse((now + pause, key.to_u64())));
            }
        }
    }

    /// Gives back the room of a crowd that is gone.
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

    /// Whether there is a moment to look for overdue operations.
    #[inline]
    pub(super) fn looks(&self) -> bool {
        self.looks
    }

    /// Operations that are overdue are looked for then.
    pub(super) fn look_at(&mut self, moment: Instant) {
        self.looks = true;
        self.due.push(Reverse((moment, LOOK)));
    }

    /// Takes out what the time has come for.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Due> {
        let Reverse((due, bits)) = *self.due.peek()?;
        if due > now {
            return None;
        }
        self.due.pop();
        if bits == LOOK {
            self.looks = false;
            return Some(Due::Look);
        }
        Some(Due::Ask(Key::from_u64(bits)))
    }
}
