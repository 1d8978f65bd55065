//! The hierarchical wheel: armed timers in slots that get finer as their time comes near.
//!
//! It owns the lists of the rows that are armed, and a position in time that it moves on itself. It never decides what
//! firing means, and never sees a payload; `Timers` alone calls it.
//!
//! A deadline is read as eleven digits to the base 64. The highest digit in which it differs from the position is its
//! level, and the value of that digit its slot. So the first slot of the lowest level that is not empty holds what
//! comes first. If all rows there have one deadline, they fire from where they are, and the position stays; so a
//! million equal deadlines, or a few timers far apart, never move. Otherwise the position moves to that slot's lower
//! bound, and its rows are dealt out to lower levels. That costs as much as the slot has rows, so it is done only
//! when it must be: when that bound is due; most timeouts are cancelled before that. It is done in one go, at some 13
//! ns a row: a million different deadlines in one slot hold up one turn by 13 ms, and the turns after it hardly at
//! all.
//!
//! Why W3 outlives a move: the new position agrees with the old one in all digits above the level of the slot, so
//! rows on higher levels stay right, as do those in other slots of this level; and below it there are none.

use super::Row;
use crate::table::{List, Table};

const DIGIT_BITS: u32 = 6;
const SLOTS: usize = 1 << DIGIT_BITS;
const LEVELS: usize = u64::BITS.div_ceil(DIGIT_BITS) as usize;

#[derive(Clone, Copy, Debug)]
struct Slot {
    list: List,
    /// Bounds of the deadlines in the list (W4). They mean nothing while it is empty.
    min: u64,
    max: u64,
}

#[derive(Debug)]
pub(super) struct Wheel {
    /// W2.
    position: u64,
    /// A bit for each level that is not empty.
    levels: u16,
    /// A bit for each slot that is not empty.
    occupied: [u64; LEVELS],
    slots: Box<[[Slot; SLOTS]; LEVELS]>,
}

impl Wheel {
    pub(super) fn new(position: u64) -> Wheel {
        let empty = Slot {
            list: List::new(),
            min: 0,
            max: 0,
        };
        Wheel {
            position,
            levels: 0,
            occupied: [0; LEVELS],
            slots: Box::new([[empty; SLOTS]; LEVELS]),
        }
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The level and the slot of a deadline (W3).
    fn place(&self, deadline: u64) -> (usize, usize) {
        debug_assert!(deadline >= self.position, "W2");
        let level = ((deadline ^ self.position) | 1).ilog2() / DIGIT_BITS;
        let digit = (deadline >> (level * DIGIT_BITS)) as usize % SLOTS;
        (level as usize, digit)
    }

    /// The slot with the earliest deadline.
    fn first(&self) -> Option<(usize, usize)> {
        let level = self.levels.trailing_zeros() as usize;
        let digit = self.occupied.get(level)?.trailing_zeros() as usize;
        Some((level, digit))
    }

    fn mark_empty(&mut self, level: usize, digit: usize) {
        self.occupied[level] &= !(1 << digit);
        if self.occupied[level] == 0 {
            self.levels &= !(1 << level);
        }
    }

    /// Puts in the row at `index`, which is in no list, behind those of the same deadline.
    pub(super) fn push<W>(&mut self, rows: &mut Table<Row<W>>, index: u32, deadline: u64) {
        let (level, digit) = self.place(deadline);
        let slot = &mut self.slots[level][digit];
        if slot.list.is_empty() {
            (slot.min, slot.max) = (deadline, deadline);
            self.occupied[level] |= 1 << digit;
            self.levels |= 1 << level;
        } else {
            slot.min = slot.min.min(deadline);
            slot.max = slot.max.max(deadline);
        }
        slot.list.push_back(rows, index);
    }

    /// Takes out the row at `index`, which is in the wheel. The bounds of its slot stay (W4).
    pub(super) fn remove<W>(&mut self, rows: &mut Table<Row<W>>, index: u32, deadline: u64) {
        let (level, digit) = self.place(deadline);
        let slot = &mut self.slots[level][digit];
        debug_assert!(slot.min <= deadline && deadline <= slot.max, "W4");
        slot.list.remove(rows, index);
        if slot.list.is_empty() {
            self.mark_empty(level, digit);
        }
    }

    /// Takes out the earliest row if it is due.
    pub(super) fn pop<W>(&mut self, rows: &mut Table<Row<W>>, now: u64) -> Option<u32> {
        loop {
            let (level, digit) = self.first()?;
            let slot = &mut self.slots[level][digit];
            if slot.min > now {
                return None;
            }
            if slot.min == slot.max {
                let index = slot.list.pop_front(rows);
                if slot.list.is_empty() {
                    self.mark_empty(level, digit);
                }
                return index;
            }
            self.cascade(rows, level, digit);
        }
    }

    /// Moves the position to the lower bound of the first slot, and deals its rows out to lower levels.
    fn cascade<W>(&mut self, rows: &mut Table<Row<W>>, level: usize, digit: usize) {
        debug_assert!(level > 0, "a slot of the lowest level has one deadline");
        let slot = &mut self.slots[level][digit];
        let mut list = std::mem::replace(&mut slot.list, List::new());
        self.position = slot.min;
        self.mark_empty(level, digit);
        while let Some(index) = list.pop_front(rows) {
            let (_, row) = rows.at(index).expect("W5");
            let deadline = row.deadline;
            debug_assert!(self.place(deadline).0 < level, "W3");
            self.push(rows, index, deadline);
        }
    }

    /// A time that no deadline in the wheel is before (W4).
    pub(super) fn next_deadline(&self) -> Option<u64> {
        let (level, digit) = self.first()?;
        Some(self.slots[level][digit].min)
    }
}
