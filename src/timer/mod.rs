//! The table of timers: what is to be woken when.
//!
//! It owns a row for each timer from `insert` to `release`, and knows which is due first. It never reads a clock,
//! never waits and never wakes: times come in as nanoseconds since an epoch of the caller's choice, and what is due
//! is handed out. The runtime calls [`Timers::pop_due`] in its turn, and waits in the kernel until
//! [`Timers::next_deadline`]; sleeps and deadlines insert, renew and release.
//!
//! Timers fire by deadline, to the nanosecond, and those of one deadline in the order in which they were armed.
//! Arming and cancelling take constant time; a timer moves a few times in its life at most, between coarse slots and
//! fine ones.
//!
//! - **W1** No timer fires before its deadline, and none while an earlier one is armed.
//! - **W2** The wheel's position is never past a deadline in the wheel, nor past the latest `now` it has seen. Timers
//!   that are armed for before it were due already when they came; they wait beside the wheel, and fire before all
//!   that is in it.
//! - **W3** A row in the wheel is where the wheel would put it today. So where a row is need not be written down, and
//!   equal deadlines share a list.
//! - **W4** The bounds of a slot enclose the deadlines in it. A bound is the deadline of a row that was there once,
//!   so one cancelled timer causes at most one needless wake; bounds that are equal are exact.
//! - **W5** A row is in a list as long as it has something to wake, and in the table until whoever holds its key
//!   releases it.

#![forbid(unsafe_code)]

mod wheel;

#[cfg(test)]
mod tests;

use crate::table::{Key, Linked, Links, List, Table};
use std::collections::BTreeMap;
use wheel::Wheel;

/// One timer.
#[derive(Debug)]
struct Row<W> {
    deadline: u64,
    links: Links,
    /// Taken when it fires (W5).
    wake: Option<W>,
}

impl<W> Linked for Row<W> {
    fn links(&mut self) -> &mut Links {
        &mut self.links
    }
}

/// All timers of one runtime. `W` is what a timer wakes.
#[derive(Debug)]
pub(crate) struct Timers<W> {
    rows: Table<Row<W>>,
    wheel: Wheel,
    /// The timers that were armed for before the wheel's position, by deadline (W2). No list in it is empty.
    late: BTreeMap<u64, List>,
    armed: usize,
}

impl<W> Timers<W> {
    pub(crate) fn new(now: u64) -> Timers<W> {
        Timers {
            rows: Table::new(),
            wheel: Wheel::new(now),
            late: BTreeMap::new(),
            armed: 0,
        }
    }

    /// Arms a timer. If its deadline is past, it is due at once.
    pub(crate) fn insert(&mut self, deadline: u64, wake: W) -> Key {
        let key = self.rows.insert(Row {
            deadline,
            links: Links::new(),
            wake: Some(wake),
        });
        self.armed += 1;
        if deadline < self.wheel.position() {
            let list = self.late.entry(deadline).or_insert(List::new());
            list.push_back(&mut self.rows, key.index());
        } else {
            self.wheel.push(&mut self.rows, key.index(), deadline);
        }
        key
    }

    /// What the timer will wake, or `None` if it has fired.
    pub(crate) fn wake_mut(&mut self, key: Key) -> Option<&mut W> {
        self.rows.get_mut(key).expect(OWNED).wake.as_mut()
    }

    /// What each armed timer will wake.
    pub(crate) fn wakes_mut(&mut self) -> impl Iterator<Item = &mut W> {
        self.rows.values_mut().filter_map(|row| row.wake.as_mut())
    }

    /// Fires the earliest timer if it is due, and hands out what it wakes.
    pub(crate) fn pop_due(&mut self, now: u64) -> Option<W> {
        let index = match self.late.first_entry() {
            None => self.wheel.pop(&mut self.rows, now)?,
            Some(entry) if *entry.key() > now => return None,
            Some(mut entry) => {
                let index = entry.get_mut().pop_front(&mut self.rows)?;
                if entry.get().is_empty() {
                    entry.remove();
                }
                index
            }
        };
        let (_, row) = self.rows.at_mut(index)?;
        debug_assert!(row.deadline <= now, "W1");
        debug_assert!(row.wake.is_some(), "W5");
        self.armed -= 1;
        row.wake.take()
    }

    #[cfg(test)]
    pub(crate) fn has_fired(&self, key: Key) -> bool {
        self.row(key).wake.is_none()
    }

    /// Cancels the timer if it is armed, and forgets it. What it would have woken is the caller's to drop.
    pub(crate) fn release(&mut self, key: Key) -> Option<W> {
        let row = self.row(key);
        if row.wake.is_some() {
            self.disarm(key.index(), row.deadline);
        }
        self.rows.remove(key)?.wake
    }

    fn disarm(&mut self, index: u32, deadline: u64) {
        self.armed -= 1;
        if deadline >= self.wheel.position() {
            return self.wheel.remove(&mut self.rows, index, deadline);
        }
        let list = self.late.get_mut(&deadline).expect("W2");
        list.remove(&mut self.rows, index);
        if list.is_empty() {
            self.late.remove(&deadline);
        }
    }

    /// When to call [`Timers::pop_due`] next: never after the earliest deadline, and before it only if a timer that was
    /// due then has been cancelled. A call at that time that fires nothing corrects it (W4).
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        match self.late.first_key_value() {
            Some((&deadline, _)) => Some(deadline),
            None => self.wheel.next_deadline(),
        }
    }

    #[cfg(test)]
    pub(crate) fn deadline(&self, key: Key) -> u64 {
        self.row(key).deadline
    }

    /// The number of timers that have yet to fire.
    pub(crate) fn armed(&self) -> usize {
        self.armed
    }

    /// The number of rows: timers that were not released yet, fired or not.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() == 0
    }

    fn row(&self, key: Key) -> &Row<W> {
        self.rows.get(key).expect(OWNED)
    }
}

const OWNED: &str = "W5: whoever holds the key of a timer owns its row";
