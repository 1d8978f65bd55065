//! The timer table: what is to be woken, and when.
//!
//! It holds a row for each timer from `insert` to `release`, and knows which is due first. It never reads a clock,
//! never waits and never wakes: times are passed in as nanoseconds since an epoch of the caller's choice, and whatever
//! is due is returned. The runtime calls [`Timers::pop_due`] in its turn, and waits in the kernel until
//! [`Timers::next_deadline`]; sleeps and deadlines insert, renew and release.
//!
//! Timers fire by deadline, to the nanosecond, and those of one deadline in the order in which they were armed. Arming
//! and canceling take amortized constant time; a timer moves at most a few times in its life, from coarse slots to
//! finer ones. Slots are contiguous memory, and contain what they need of a timer apart from its row.
//!
//! - **W1** No timer fires before its deadline, and none while an earlier one is armed.
//! - **W2** Every timer armed for up to the wheel's position is in the fired slot, and no other is.
//! - **W3** An entry past the position is where the wheel would put it today, relative to the position. So its place
//!   need not be recorded, and equal deadlines share a slot, in the order in which they were armed.
//! - **W4** The bounds of a slot are the least and the greatest deadline of its entries, including stale ones; a stale
//!   entry is dropped when it is the first and its time has come. So one canceled timer causes at most one needless
//!   wake.
//! - **W5** Every armed timer has one entry. An entry whose timer was canceled is stale: no row has its key and its
//!   deadline any more. (A generation recurs after 2³² values of its row, together with a deadline it does not.) A slot
//!   counts its stale entries, and they are never all of it, nor, beyond a few, more than half.
//! - **W6** A row has something to wake until it fires or is released, and stays in the table until the holder of its
//!   key releases it.

#![forbid(unsafe_code)]

mod wheel;

#[cfg(test)]
mod tests;

use crate::table::{Excess, Key, Table};
use wheel::Wheel;

/// A timer.
#[derive(Debug)]
struct TimerRow<W> {
    deadline: u64,
    /// Taken when it fires (W6).
    wake: Option<W>,
}

/// The timers of one runtime. `W` is what a timer wakes.
#[derive(Debug)]
pub(crate) struct Timers<W> {
    rows: Table<TimerRow<W>>,
    wheel: Wheel,
    armed: usize,
}

impl<W> Timers<W> {
    pub(crate) fn new(now: u64) -> Timers<W> {
        Timers {
            rows: Table::new(),
            wheel: Wheel::new(now),
            armed: 0,
        }
    }

    /// Arms a timer. If its deadline has passed, it is due at once.
    pub(crate) fn insert(&mut self, deadline: u64, wake: W) -> Key {
        let key = self.rows.insert(TimerRow {
            deadline,
            wake: Some(wake),
        });
        self.armed += 1;
        self.wheel.push(deadline, key);
        key
    }

    /// Returns what the timer will wake, or `None` if it has fired.
    pub(crate) fn wake_mut(&mut self, key: Key) -> Option<&mut W> {
        self.rows.get_mut(key).expect(OWNED).wake.as_mut()
    }

    /// Returns what the timer will wake, if it exists and has not fired. The caller need not own it.
    pub(crate) fn peek(&self, key: Key) -> Option<&W> {
        self.rows.get(key)?.wake.as_ref()
    }

    /// Returns what the timer will wake, if it exists and has not fired.
    pub(crate) fn peek_mut(&mut self, key: Key) -> Option<&mut W> {
        self.rows.get_mut(key)?.wake.as_mut()
    }

    /// Iterates over what the armed timers wake.
    pub(crate) fn wakes_mut(&mut self) -> impl Iterator<Item = &mut W> {
        self.rows.iter_mut().filter_map(|row| row.wake.as_mut())
    }

    /// Fires the earliest timer if it is due, and returns what it wakes.
    pub(crate) fn pop_due(&mut self, now: u64) -> Option<W> {
        let key = self.wheel.pop(&self.rows, now)?;
        let row = self.rows.get_mut(key)?;
        debug_assert!(row.deadline <= now, "W1");
        debug_assert!(row.wake.is_some(), "W6");
        self.armed -= 1;
        row.wake.take()
    }

    /// Returns the memory to prefetch for the timer that fires after `others` more.
    #[inline]
    pub(crate) fn upcoming(&self, others: usize) -> Option<&impl Sized> {
        if !self.rows.is_large() {
            return None;
        }
        self.rows.place(self.wheel.upcoming(others)?.index())
    }

    #[cfg(test)]
    pub(crate) fn has_fired(&self, key: Key) -> bool {
        self.row(key).wake.is_none()
    }

    /// Cancels the timer if it is armed, and removes it. Returns what it would have woken, for the caller to drop.
    pub(crate) fn release(&mut self, key: Key) -> Option<W> {
        let row = self.rows.remove(key).expect(OWNED);
        if row.wake.is_some() {
            self.armed -= 1;
            self.wheel.cancel(&self.rows, row.deadline);
        }
        row.wake
    }

    /// Releases row memory left over from a peak, a part of it at a time; slots do so themselves. Returns whether there
    /// is more to do.
    pub(crate) fn tidy(&mut self, period: u32) -> Excess {
        self.rows.tidy(period)
    }

    /// Returns when to call [`Timers::pop_due`] next: never after the earliest deadline, and before it only if a timer
    /// due then has been canceled. A call at that time that fires nothing corrects it (W4).
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.wheel.next_deadline()
    }

    #[cfg(test)]
    pub(crate) fn deadline(&self, key: Key) -> u64 {
        self.row(key).deadline
    }

    /// Returns the number of timers that have yet to fire.
    pub(crate) fn armed(&self) -> usize {
        self.armed
    }

    /// Returns the number of rows: timers that were not released yet, fired or not.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() == 0
    }

    /// Returns the number of entries in the wheel, including stale ones, and the number for which it has room.
    #[cfg(test)]
    fn entries(&self) -> (usize, usize) {
        self.wheel.entries()
    }

    #[cfg(test)]
    fn row(&self, key: Key) -> &TimerRow<W> {
        self.rows.get(key).expect(OWNED)
    }
}

const OWNED: &str = "W6: the holder of a timer's key owns its row";
