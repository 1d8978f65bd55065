//! Cancels that missed, and when each operation is asked again.
//!
//! One ask is not enough: about one receive in a thousand that a kernel worker had taken stayed parked after the answer
//! EALREADY (measured on 6.18). Each that is still in flight is asked again: in the next turn, then after growing pauses.

use super::life::Asks;
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

/// Room for so many is kept.
const ROOM_KEPT: usize = 64;

/// Operations to ask again. Whether one is still in flight is for the caller to see.
#[derive(Debug, Default)]
pub(super) struct Again {
    /// Their cancel failed in the reap that is under way.
    missed: Vec<Key>,
    due: BinaryHeap<Reverse<(Instant, u64)>>,
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
    pub(super) fn schedule(&mut self, now: Instant, mut asks: impl FnMut(Key) -> Option<Asks>) {
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

    /// Takes one out whose time has come.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Key> {
        let Reverse((due, _)) = self.due.peek()?;
        if *due > now {
            return None;
        }
        self.due.pop().map(|Reverse((_, bits))| Key::from_u64(bits))
    }
}
