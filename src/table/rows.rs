//! A table: rows in chunks, found by key.
//!
//! It does what a `slab::Slab` does, and what that lacks: chunks (T3), and generations that outlive a value. Built over
//! `slab` a no-op through a task took 775 instructions in user space instead of 692 (callgrind, 32 at once).

use super::Key;

/// Rows in one chunk. A chunk grows by copying, so its size bounds what one insertion can cost (T3); one chunk more costs
/// nothing but a longer vector of chunks.
const CHUNK_BITS: u32 = 12;
const CHUNK_ROWS: usize = 1 << CHUNK_BITS;
const ROW_MASK: u32 = CHUNK_ROWS as u32 - 1;

/// The most rows a table takes: the index of a row fits in 28 bits, which is what the name of a task has for it.
pub(crate) const ROWS_MAX: usize = 1 << 28;

/// A table with more rows is large: with fewer, to fetch one ahead costs more than it saves.
const CACHED_ROWS: usize = 4096;

/// No row: the end of the list of free ones.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Row<T> {
    /// Counts the values that have been here, from one.
    generation: u32,
    /// While it is free: the free row behind it.
    next_free: u32,
    value: Option<T>,
}

/// A table of rows that are found by key.
#[derive(Debug)]
pub(crate) struct Table<T> {
    chunks: Vec<Vec<Row<T>>>,
    /// The row that was freed last.
    free: u32,
    len: usize,
}

impl<T> Table<T> {
    pub(crate) const fn new() -> Table<T> {
        Table {
            chunks: Vec::new(),
            free: NONE,
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn insert(&mut self, value: T) -> Key {
        let index = self.free;
        match self.row_mut(index) {
            Some(row) => {
                let before = row.value.replace(value);
                debug_assert!(before.is_none(), "T2");
                // So there is nothing to drop, which the compiler cannot know.
                std::mem::forget(before);
                let (generation, next) = (row.generation, row.next_free);
                self.free = next;
                self.len += 1;
                Key::new(index, generation)
            }
            None => self.insert_new(value),
        }
    }

    /// The index of the row that the next insertion will take.
    #[inline]
    pub(crate) fn next_index(&self) -> u32 {
        if self.free != NONE {
            return self.free;
        }
        let full = self.chunks.len().saturating_sub(1) << CHUNK_BITS;
        let index = full + self.chunks.last().map_or(0, Vec::len);
        index as u32
    }

    /// There is no free row: a new one, in a new chunk if the last is full.
    #[cold]
    fn insert_new(&mut self, value: T) -> Key {
        assert!(self.len < ROWS_MAX, "a table holds at most 2^28 rows");
        if self
            .chunks
            .last()
            .is_none_or(|last| last.len() == CHUNK_ROWS)
        {
            self.chunks.push(Vec::new());
        }
        let chunk_index = self.chunks.len() - 1;
        let chunk = &mut self.chunks[chunk_index];
        let index = chunk_index << CHUNK_BITS | chunk.len();
        self.len += 1;
        chunk.push(Row {
            generation: 1,
            next_free: NONE,
            value: Some(value),
        });
        Key::new(index as u32, 1)
    }

    /// The row of this name, if it is still there (T1).
    #[inline]
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let row = self.row(key.index())?;
        if row.generation != key.generation() {
            return None;
        }
        row.value.as_ref()
    }

    /// The row of this name, if it is still there (T1).
    #[inline]
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let row = self.row_mut(key.index())?;
        if row.generation != key.generation() {
            return None;
        }
        row.value.as_mut()
    }

    /// Takes the row of this name out, if it is still there (T1).
    #[inline]
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.free_with(key, Option::take)
    }

    /// Drops the row of this name where it is, if it is still there (T1): to take it out is to copy it.
    #[inline]
    pub(crate) fn discard(&mut self, key: Key) {
        self.free_with(key, |value| value.is_some().then(|| *value = None));
    }

    /// Frees the row of this name, if it is still there and `empty` finds a value to take out of it.
    #[inline]
    fn free_with<R>(
        &mut self,
        key: Key,
        empty: impl FnOnce(&mut Option<T>) -> Option<R>,
    ) -> Option<R> {
        let free = self.free;
        let row = self.row_mut(key.index())?;
        if row.generation != key.generation() {
            return None;
        }
        let emptied = empty(&mut row.value)?;
        // Zero is the generation of no row, also after 2^32 values.
        row.generation = row.generation.wrapping_add(1).max(1);
        row.next_free = free;
        self.free = key.index();
        self.len -= 1;
        Some(emptied)
    }

    /// The row at this index, and its key.
    #[inline]
    pub(crate) fn at(&self, index: u32) -> Option<(Key, &T)> {
        let row = self.row(index)?;
        Some((Key::new(index, row.generation), row.value.as_ref()?))
    }

    /// The row at this index, and its key.
    #[inline]
    pub(crate) fn at_mut(&mut self, index: u32) -> Option<(Key, &mut T)> {
        let row = self.row_mut(index)?;
        Some((Key::new(index, row.generation), row.value.as_mut()?))
    }

    /// Whether there are so many rows that one which was not looked at lately is hardly in the processor's cache.
    #[inline]
    pub(crate) fn is_large(&self) -> bool {
        self.len > CACHED_ROWS
    }

    /// The place of a row, whatever is in it: to be fetched ahead, for to look at it is to wait for it.
    #[inline]
    pub(crate) fn place(&self, index: u32) -> Option<&impl Sized> {
        self.row(index)
    }

    #[inline]
    fn row(&self, index: u32) -> Option<&Row<T>> {
        self.chunks
            .get((index >> CHUNK_BITS) as usize)?
            .get((index & ROW_MASK) as usize)
    }

    #[inline]
    fn row_mut(&mut self, index: u32) -> Option<&mut Row<T>> {
        self.chunks
            .get_mut((index >> CHUNK_BITS) as usize)?
            .get_mut((index & ROW_MASK) as usize)
    }

    /// Every row, by rising index.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let rows = self.chunks.iter_mut().flatten();
        rows.filter_map(|row| row.value.as_mut())
    }

    /// Every row with its key, by rising index.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        (0u32..)
            .zip(self.chunks.iter().flatten())
            .filter_map(|(index, row)| Some((Key::new(index, row.generation), row.value.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_row_is_not_found_again_even_when_its_place_is_taken() {
        let mut table = Table::new();
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
    fn places_are_used_again_in_every_chunk_before_a_new_one_is_made() {
        let mut table = Table::new();
        let keys: Vec<Key> = (0..3 * CHUNK_ROWS).map(|n| table.insert(n)).collect();
        assert_eq!(table.chunks.len(), 3);
        for key in keys.iter().step_by(2) {
            assert!(table.remove(*key).is_some());
        }
        for n in 0..keys.len() / 2 {
            table.insert(n);
        }
        assert_eq!(table.len(), 3 * CHUNK_ROWS);
        assert_eq!(table.chunks.len(), 3);
        assert_eq!(table.free, NONE);
        assert_eq!(table.iter().count(), table.len());
        for (key, value) in table.iter() {
            assert_eq!(table.get(key), Some(value));
        }
    }

    #[test]
    fn a_row_does_not_move_while_the_table_grows() {
        let mut table = Table::new();
        let key = table.insert(0);
        for n in 1..2 * CHUNK_ROWS {
            let next = table.next_index();
            assert_eq!(table.insert(n).index(), next, "T4");
        }
        assert_eq!(table.at(key.index()), Some((key, &0)));
    }
}
