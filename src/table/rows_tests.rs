//! Tables: keys stay distinct whatever happens, and the memory of a peak is released.

use super::*;
use common::quick_or_full;
use std::collections::{BTreeMap, BTreeSet};

/// Two rows in a chunk, so that a few events fill several chunks and release some.
const BITS: u32 = 1;

type Small = Table<u32, BITS>;

#[derive(Clone, Copy, Debug)]
enum Event {
    Insert,
    /// The row at this position, by increasing key.
    Remove(usize),
    /// The same, in place.
    Discard(usize),
    Tidy,
    EndPeriod,
}

/// The table, its model, and every key that it ever returned.
#[derive(Default)]
struct Pair {
    table: Small,
    rows: BTreeMap<u64, (Key, u32)>,
    keys: BTreeSet<u64>,
    next_value: u32,
}

impl Default for Small {
    fn default() -> Small {
        Table::new()
    }
}

impl Pair {
    /// Returns false if the event is not possible.
    fn apply(&mut self, event: Event) -> bool {
        let row = |rows: &BTreeMap<u64, (Key, u32)>, at| rows.values().nth(at).copied();
        match event {
            Event::Insert => {
                let key = self.table.insert(self.next_value);
                assert!(
                    self.keys.insert(key.to_u64()),
                    "T4: {key:?} was there before"
                );
                self.rows.insert(key.to_u64(), (key, self.next_value));
                self.next_value += 1;
            }
            Event::Remove(at) => {
                let Some((key, value)) = row(&self.rows, at) else {
                    return false;
                };
                assert_eq!(self.table.remove(key), Some(value));
                self.rows.remove(&key.to_u64());
            }
            Event::Discard(at) => {
                let Some((key, _)) = row(&self.rows, at) else {
                    return false;
                };
                self.table.discard(key);
                self.rows.remove(&key.to_u64());
            }
            Event::Tidy => {
                self.table.tidy(0);
            }
            Event::EndPeriod => self.table.end_period(),
        }
        true
    }

    /// T1: each key that was ever returned names its row, or none.
    fn check(&mut self) {
        let Pair {
            table, rows, keys, ..
        } = self;
        assert_eq!(table.len(), rows.len());
        for bits in keys.iter() {
            let key = Key::from_u64(*bits);
            let value = rows.get(bits).map(|(_, value)| value);
            assert_eq!(table.get(key), value, "{key:?}");
            assert_eq!(table.get_mut(key).as_deref(), value, "{key:?}");
            let at = table.at(key.index());
            assert_eq!(
                at.filter(|(found, _)| *found == key).map(|(_, at)| at),
                value
            );
            if value.is_none() {
                assert_eq!(table.remove(key), None);
                table.discard(key);
            }
        }
        let mut found: Vec<u64> = table.iter().map(|(key, _)| key.to_u64()).collect();
        assert!(table.iter().is_sorted_by_key(|(key, _)| key.index()));
        found.sort_unstable();
        assert!(found.iter().eq(rows.keys()));
        assert_eq!(table.iter_mut().count(), rows.len());
        self.check_lists();
    }

    /// Every free row is in the heap or on the shelf of its chunk, once.
    fn check_lists(&self) {
        let table = &self.table;
        let walk = |first: u32| {
            std::iter::successors(table.row(first).map(|row| (first, row)), |(_, row)| {
                table.row(row.next_free).map(|next| (row.next_free, next))
            })
        };
        let mut free = BTreeSet::new();
        for (index, row) in walk(table.free) {
            assert!(row.value.is_none() && free.insert(index));
        }
        let mut shelved = 0;
        for (at, shelf) in table.shelves.iter().enumerate() {
            let rows: Vec<_> = walk(shelf.first).collect();
            assert_eq!(rows.len(), shelf.len);
            shelved += shelf.len;
            for (index, row) in rows {
                assert_eq!((index >> BITS) as usize, at);
                assert!(row.value.is_none() && free.insert(index));
            }
        }
        assert_eq!(shelved, table.shelved);
        let made: usize = table.chunks.iter().map(Vec::len).sum();
        assert_eq!(made, table.made);
        assert_eq!(free.len() + table.len, made);
    }
}

#[test]
fn every_sequence_of_events_keeps_keys_apart() {
    let (length, sequences_min, reallocated_min) =
        quick_or_full((7, 190_000, 30), (8, 200_000, 500));
    let events = [
        Event::Insert,
        Event::Remove(0),
        Event::Remove(1),
        Event::Discard(3),
        Event::Tidy,
        Event::EndPeriod,
    ];
    let count = events.len();
    let (mut sequences, mut reallocated) = (0, 0);
    let mut number = 0;
    // Each number encodes a sequence by its digits. Sequences begin with a peak of three chunks, which may be released
    // and allocated again.
    while number < count.pow(length) {
        let mut pair = Pair::default();
        for _ in 0..5 {
            pair.apply(Event::Insert);
        }
        let mut step = count.pow(length);
        let mut possible = true;
        let mut gave_back = false;
        while step > 1 && possible {
            step /= count;
            possible = pair.apply(events[number / step % count]);
            gave_back |= pair.table.chunks.iter().any(Vec::is_empty);
        }
        if possible {
            sequences += 1;
            reallocated += u32::from(gave_back && !pair.table.chunks.iter().any(Vec::is_empty));
            pair.check();
        }
        // Sequences that begin with an impossible one are skipped.
        number = (number / step + 1) * step;
    }
    assert!(sequences > sequences_min, "{sequences}");
    assert!(reallocated > reallocated_min, "{reallocated}");
}

#[test]
fn long_random_sequences_keep_keys_apart() {
    let seed = std::env::var("GIMMAL_SEED").ok();
    let mut random: u64 = seed.map_or(0x2545_f491_4f6c_dd1d, |seed| seed.parse().unwrap());
    println!("GIMMAL_SEED={random}");
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random >> 16
    };
    for _ in 0..200 {
        let mut pair = Pair::default();
        // Up and down, like real peaks.
        for n in 0..300 {
            let rows = pair.rows.len();
            let grows = n / 50 % 2 == 0;
            let event = match next() % 8 {
                0 => Event::Tidy,
                1 if next() % 8 == 0 => Event::EndPeriod,
                n if (n < 6) == grows || rows == 0 => Event::Insert,
                n if n % 2 == 0 => Event::Remove(next() as usize % rows),
                _ => Event::Discard(next() as usize % rows),
            };
            assert!(pair.apply(event));
            if n % 10 == 0 {
                pair.check();
            }
        }
        pair.check();
    }
}

/// Tidies until there is nothing to do.
fn tidy<T, const BITS: u32>(table: &mut Table<T, BITS>) {
    while table.tidy(0) == Excess::Now {}
}

/// The number of rows in memory.
fn room<T, const BITS: u32>(table: &Table<T, BITS>) -> usize {
    table.chunks.iter().map(Vec::capacity).sum()
}

const ROWS: usize = 1 << CHUNK_BITS;

/// A peak of ten chunks that are freed in the order of insertion, or in another.
fn peak(table: &mut Table<usize>, order: usize) {
    let keys: Vec<Key> = (0..10 * ROWS).map(|n| table.insert(n)).collect();
    table.tidy(0);
    for n in 0..keys.len() {
        let at = n * order % keys.len();
        assert_eq!(table.remove(keys[at]), Some(at));
        if n % 256 == 0 {
            table.tidy(0);
        }
    }
    tidy(table);
}

#[test]
fn the_memory_of_a_peak_is_released_and_old_keys_find_nothing() {
    for order in [1, 10_007] {
        let mut table: Table<usize> = Table::new();
        let long = table.insert(7);
        let keys: Vec<Key> = (0..10 * ROWS).map(|n| table.insert(n)).collect();
        assert!(room(&table) > 10 * ROWS);
        for n in 0..keys.len() {
            table.remove(keys[n * order % keys.len()]);
        }
        tidy(&mut table);
        assert!(room(&table) <= 2 * ROWS, "{}", room(&table));
        assert_eq!(table.get(long), Some(&7));
        for _ in 0..2 {
            for key in &keys {
                assert_eq!(table.get(*key), None);
                assert_eq!(table.remove(*key), None);
            }
            // The same rows, allocated again.
            for n in 0..keys.len() {
                table.insert(n);
            }
        }
    }
}

#[test]
fn repeated_peaks_allocate_nothing_until_they_cease() {
    for order in [1, 10_007] {
        let mut table: Table<usize> = Table::new();
        peak(&mut table, order);
        assert!(room(&table) <= ROWS, "{}", room(&table));
        peak(&mut table, order);
        let kept = room(&table);
        assert!(kept >= 9 * ROWS, "{kept}");
        for _ in 0..5 {
            let before: Vec<_> = table.chunks.iter().map(Vec::as_ptr).collect();
            peak(&mut table, order);
            let after: Vec<_> = table.chunks.iter().map(Vec::as_ptr).collect();
            assert_eq!(before, after);
        }
        // A period with a peak, and one without.
        for period in 1..=2 {
            let key = table.insert(0);
            table.tidy(period);
            table.remove(key);
        }
        while table.tidy(2) == Excess::Now {}
        assert!(room(&table) <= ROWS, "{}", room(&table));
    }
}

/// The remaining rows are scattered: none of their chunks is empty, and new rows gather in the lowest ones.
#[test]
fn rows_gather_in_few_chunks() {
    let mut table: Table<usize> = Table::new();
    let keys: Vec<Key> = (0..10 * ROWS).map(|n| table.insert(n)).collect();
    let mut kept = std::collections::VecDeque::new();
    for (n, key) in keys.into_iter().enumerate() {
        match n % 1024 {
            0 => kept.push_back(key),
            _ => assert_eq!(table.remove(key), Some(n)),
        }
    }
    tidy(&mut table);
    assert!(room(&table) >= 10 * ROWS);
    // They are removed one by one, and replaced by others.
    for n in 0..kept.len() {
        kept.push_back(table.insert(n));
        assert!(
            kept.pop_front()
                .is_some_and(|key| table.remove(key).is_some())
        );
        tidy(&mut table);
    }
    assert!(room(&table) <= 2 * ROWS, "{}", room(&table));
}

#[test]
fn a_chunk_whose_generations_are_spent_is_kept() {
    let mut table = Small::new();
    let keys: Vec<Key> = (0..6).map(|n| table.insert(n)).collect();
    // As after 2^31 values.
    table.chunks[2][1].generation = GENERATION_MAX - 1;
    let old = Key::new(5, GENERATION_MAX - 1);
    assert_eq!(table.remove(old), Some(5));
    for key in &keys[..5] {
        table.remove(*key);
    }
    tidy(&mut table);
    assert!(!table.chunks[2].is_empty());
    for _ in 0..6 {
        table.insert(0);
    }
    assert_eq!(table.get(old), None);
    assert_eq!(
        table.at(5).map(|(key, _)| key),
        Some(Key::new(5, GENERATION_MAX))
    );
}

#[test]
fn a_removed_row_is_not_found_even_after_reuse() {
    let mut table: Table<char> = Table::new();
    let first = table.insert('a');
    assert_eq!(table.remove(first), Some('a'));
    let second = table.insert('b');
    assert_eq!(second.index(), first.index());
    assert_ne!(second, first);
    assert_eq!(table.get(first), None);
    assert_eq!(table.get_mut(first), None);
    assert_eq!(table.remove(first), None);
    table.discard(first);
    assert_eq!(table.get(second), Some(&'b'));
    assert_eq!(table.len(), 1);
    table.discard(second);
    assert_eq!(table.get(second), None);
    assert_eq!(table.len(), 0);
    assert_eq!(table.insert('c').index(), first.index());
}

#[test]
fn free_rows_in_every_chunk_are_reused_before_a_new_chunk() {
    let mut table: Table<usize> = Table::new();
    let keys: Vec<Key> = (0..3 * ROWS).map(|n| table.insert(n)).collect();
    assert_eq!(table.chunks.len(), 3);
    for key in keys.iter().step_by(2) {
        assert!(table.remove(*key).is_some());
    }
    for n in 0..keys.len() / 2 {
        table.insert(n);
    }
    assert_eq!(table.len(), 3 * ROWS);
    assert_eq!(table.chunks.len(), 3);
    assert_eq!(table.free, NONE);
    assert_eq!(table.iter().count(), table.len());
    for (key, value) in table.iter() {
        assert_eq!(table.get(key), Some(value));
    }
}

#[test]
fn a_row_does_not_move_while_the_table_grows() {
    let mut table: Table<usize> = Table::new();
    let key = table.insert(0);
    for n in 1..2 * ROWS {
        table.insert(n);
    }
    assert_eq!(table.at(key.index()), Some((key, &0)));
}
