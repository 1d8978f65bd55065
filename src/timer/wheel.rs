//! The hierarchical wheel: armed timers in slots that become finer as their time approaches.
//!
//! It holds an entry for each armed timer, and a position in time that it advances itself. It never decides what firing
//! means, and checks a row only to learn whether the entry is still live (W5); it is called by `Timers` alone.
//!
//! A deadline is read as eleven digits to the base 64. The highest digit in which it differs from the position is its
//! level, and the value of that digit its slot. So the first slot of the lowest level that is not empty contains what
//! comes first. Once that is due, there are two ways on. If its entries are few and close together, or all of one
//! deadline, the slot as a whole becomes the *fired* one: it is sorted, and the position moves to its upper bound.
//! Otherwise the position moves to its lower bound, and its entries are dealt out: those at the bound to the fired
//! slot, the others to lower levels. That costs in proportion to the slot's entries, so it is done only when necessary;
//! most timeouts are canceled before that. Dealing reads and writes in order, and looks at no row unless a timer of the
//! slot was canceled: the cost of a timer is its cache misses, so its row is touched when it is armed and when it
//! fires. A slot is dealt out in one go, at some 12 to 20 ns an entry: a million different deadlines in one slot delay
//! one turn by up to 20 ms, and the turns after it hardly at all.
//!
//! Why W3 survives a move: the new position agrees with the old one in all digits above the level of the slot, so
//! entries on higher levels stay right, as do those in other slots of this level; and below it there are none.

use super::TimerRow;
use crate::table::{Key, Table};
use std::collections::VecDeque;

const DIGIT_BITS: u32 = 6;
const SLOTS: usize = 1 << DIGIT_BITS;
const LEVELS: usize = u64::BITS.div_ceil(DIGIT_BITS) as usize;

/// A slot is fired as a whole if it has at most this many entries, and they span at most this many nanoseconds: a timer
/// armed for that span in the meantime has to be sorted into it.
const FEW: usize = 512;
const CLOSE: u64 = 1 << (3 * DIGIT_BITS);

/// How many stale entries may stay in any slot, and for how many entries an empty slot keeps room.
const STALE_KEPT: usize = 16;
const ROOM_KEPT: usize = 64;

/// The entry of a timer in a slot.
#[derive(Clone, Copy, Debug)]
struct TimerEntry {
    deadline: u64,
    key: Key,
}

impl TimerEntry {
    /// Whether its timer is still armed (W5).
    #[inline]
    fn is_live<W>(&self, rows: &Table<TimerRow<W>>) -> bool {
        let row = rows.get(self.key);
        row.is_some_and(|row| row.deadline == self.deadline && row.wake.is_some())
    }
}

#[derive(Debug)]
struct WheelSlot {
    entries: VecDeque<TimerEntry>,
    /// Bounds of the deadlines of the entries (W4). They mean nothing while there are none.
    min: u64,
    max: u64,
    /// The number of stale entries (W5).
    stale: usize,
}

impl WheelSlot {
    const fn new() -> WheelSlot {
        WheelSlot {
            entries: VecDeque::new(),
            min: 0,
            max: 0,
            stale: 0,
        }
    }

    #[inline]
    fn push(&mut self, entry: TimerEntry) {
        if self.entries.is_empty() {
            (self.min, self.max) = (entry.deadline, entry.deadline);
        } else {
            self.min = self.min.min(entry.deadline);
            self.max = self.max.max(entry.deadline);
        }
        self.entries.push_back(entry);
    }

    /// Counts one more stale entry.
    #[inline]
    fn cancel<W>(&mut self, rows: &Table<TimerRow<W>>) {
        self.stale += 1;
        if self.stale == self.entries.len() {
            self.clear();
        } else if self.stale > STALE_KEPT && self.stale > self.entries.len() / 2 {
            self.compact(rows);
        }
    }

    /// Removes the stale entries; the others keep their order.
    fn compact<W>(&mut self, rows: &Table<TimerRow<W>>) {
        self.entries.retain(|entry| entry.is_live(rows));
        self.stale = 0;
        let deadlines = self.entries.iter().map(|entry| entry.deadline);
        (self.min, self.max) = deadlines.fold((u64::MAX, 0), |(min, max), deadline| {
            (min.min(deadline), max.max(deadline))
        });
        self.trim();
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.stale = 0;
        self.trim();
    }

    /// Releases memory left over from a burst.
    fn trim(&mut self) {
        if self.entries.capacity() / 4 > self.entries.len().max(ROOM_KEPT / 4) {
            self.entries.shrink_to(self.entries.len() * 2);
        }
    }
}

#[derive(Debug)]
pub(super) struct Wheel {
    /// See W2.
    position: u64,
    /// The entries up to the position.
    fired: WheelSlot,
    /// Whether the entries of `fired` are sorted by deadline.
    is_sorted: bool,
    /// A bit for each level that is not empty.
    levels: u16,
    /// A bit for each slot that is not empty.
    occupied: [u64; LEVELS],
    slots: Box<[[WheelSlot; SLOTS]; LEVELS]>,
}

impl Wheel {
    pub(super) fn new(position: u64) -> Wheel {
        Wheel {
            position,
            fired: WheelSlot::new(),
            is_sorted: true,
            levels: 0,
            occupied: [0; LEVELS],
            slots: Box::new([const { [const { WheelSlot::new() }; SLOTS] }; LEVELS]),
        }
    }

    /// Returns the level and the slot of a deadline past the position (W3).
    fn place(&self, deadline: u64) -> (usize, usize) {
        debug_assert!(deadline > self.position, "W2");
        let level = (deadline ^ self.position).ilog2() / DIGIT_BITS;
        let digit = (deadline >> (level * DIGIT_BITS)) as usize % SLOTS;
        (level as usize, digit)
    }

    /// Returns the slot with the earliest deadline past the position.
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

    /// Inserts an armed timer, behind those of the same deadline.
    #[inline]
    pub(super) fn push(&mut self, deadline: u64, key: Key) {
        let entry = TimerEntry { deadline, key };
        if deadline <= self.position {
            self.is_sorted &= self.fired.entries.is_empty() || self.fired.max <= deadline;
            return self.fired.push(entry);
        }
        let (level, digit) = self.place(deadline);
        self.slots[level][digit].push(entry);
        self.occupied[level] |= 1 << digit;
        self.levels |= 1 << level;
    }

    /// Records that an armed timer of this deadline was canceled.
    #[inline]
    pub(super) fn cancel<W>(&mut self, rows: &Table<TimerRow<W>>, deadline: u64) {
        if deadline <= self.position {
            return self.fired.cancel(rows);
        }
        let (level, digit) = self.place(deadline);
        let slot = &mut self.slots[level][digit];
        slot.cancel(rows);
        if slot.entries.is_empty() {
            self.mark_empty(level, digit);
        }
    }

    /// Takes the earliest timer if it is due.
    pub(super) fn pop<W>(&mut self, rows: &Table<TimerRow<W>>, now: u64) -> Option<Key> {
        loop {
            if self.fired.entries.is_empty() {
                self.advance(rows, now)?;
            } else if self.fired.min > now {
                return None;
            }
            if let Some(key) = self.pop_fired(rows) {
                return Some(key);
            }
        }
    }

    /// Takes the first entry out of the fired slot. Returns its timer, or `None` if the entry is stale.
    #[inline]
    fn pop_fired<W>(&mut self, rows: &Table<TimerRow<W>>) -> Option<Key> {
        let fired = &mut self.fired;
        if !self.is_sorted {
            let entries = fired.entries.make_contiguous();
            entries.sort_by_key(|entry| entry.deadline);
            self.is_sorted = true;
        }
        let entry = fired.entries.pop_front()?;
        debug_assert_eq!(entry.deadline, fired.min, "W4");
        let is_live = entry.is_live(rows);
        fired.stale -= usize::from(!is_live);
        if fired.stale == fired.entries.len() {
            fired.clear();
        } else if let Some(next) = fired.entries.front() {
            fired.min = next.deadline;
        }
        is_live.then_some(entry.key)
    }

    /// Advances the position, and moves the next slot's entries into the fired slot, which is empty. Returns `None` if
    /// they are not due.
    fn advance<W>(&mut self, rows: &Table<TimerRow<W>>, now: u64) -> Option<()> {
        while self.fired.entries.is_empty() {
            let (level, digit) = self.first()?;
            let slot = &mut self.slots[level][digit];
            if slot.min > now {
                return None;
            }
            if slot.stale > 0 {
                slot.compact(rows);
                continue;
            }
            if slot.min == slot.max || slot.entries.len() <= FEW && slot.max - slot.min < CLOSE {
                self.position = slot.max;
                self.is_sorted = slot.min == slot.max;
                std::mem::swap(&mut self.fired, slot);
                self.mark_empty(level, digit);
            } else {
                self.deal(level, digit);
            }
        }
        Some(())
    }

    /// Moves the position to the lower bound of the first slot, and deals its entries out.
    fn deal(&mut self, level: usize, digit: usize) {
        debug_assert!(level > 0, "a slot of the lowest level has one deadline");
        let slot = &mut self.slots[level][digit];
        let mut entries = std::mem::take(&mut slot.entries);
        self.position = slot.min;
        self.mark_empty(level, digit);
        for entry in entries.drain(..) {
            debug_assert!(
                entry.deadline <= self.position || self.place(entry.deadline).0 < level,
                "W3"
            );
            self.push(entry.deadline, entry.key);
        }
        let slot = &mut self.slots[level][digit];
        slot.entries = entries;
        slot.trim();
    }

    /// Returns the timer that fires after `others` more, as far as known: canceled ones are counted.
    #[inline]
    pub(super) fn upcoming(&self, others: usize) -> Option<Key> {
        Some(self.fired.entries.get(others)?.key)
    }

    /// Returns a time that no deadline in the wheel precedes (W4).
    pub(super) fn next_deadline(&self) -> Option<u64> {
        if !self.fired.entries.is_empty() {
            return Some(self.fired.min);
        }
        let (level, digit) = self.first()?;
        Some(self.slots[level][digit].min)
    }

    #[cfg(test)]
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Returns the number of entries, and the number for which there is room.
    #[cfg(test)]
    pub(super) fn entries(&self) -> (usize, usize) {
        let slots = self.slots.iter().flatten().chain([&self.fired]);
        slots.fold((0, 0), |(len, room), slot| {
            (len + slot.entries.len(), room + slot.entries.capacity())
        })
    }
}
