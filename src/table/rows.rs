//! A table: rows in slabs, found by key.

use super::Key;
use slab::Slab;

/// Rows in one slab. A slab grows by copying, so its size bounds what one insertion can cost (T3); one slab more costs
/// nothing but a longer vector of slabs.
const CHUNK_BITS: u32 = 12;
const CHUNK_ROWS: usize = 1 << CHUNK_BITS;
const ROW_MASK: u32 = CHUNK_ROWS as u32 - 1;

/// The most rows a table takes: the index of a row fits in 28 bits, which is what the name of a task has for it.
pub(crate) const ROWS_MAX: usize = 1 << 28;

#[derive(Debug)]
struct Row<T> {
    generation: u32,
    value: T,
}

/// A table of rows that are found by key.
#[derive(Debug)]
pub(crate) struct Table<T> {
    chunks: Vec<Slab<Row<T>>>,
    /// The chunks with room, the one that is filled next last. A chunk is in it exactly if it is not full.
    open: Vec<u32>,
    generation: u32,
    len: usize,
}

impl<T> Table<T> {
    pub(crate) const fn new() -> Table<T> {
        Table {
            chunks: Vec::new(),
            open: Vec::new(),
            generation: 0,
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn insert(&mut self, value: T) -> Key {
        let chunk_index = match self.open.last() {
            Some(&index) => index,
            None => self.add_chunk(),
        };
        let chunk = &mut self.chunks[chunk_index as usize];
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let row = chunk.insert(Row { generation, value });
        if chunk.len() == CHUNK_ROWS {
            self.open.pop();
        }
        self.len += 1;
        Key::new(chunk_index << CHUNK_BITS | row as u32, generation)
    }

    #[cold]
    fn add_chunk(&mut self) -> u32 {
        assert!(self.len < ROWS_MAX, "a table holds at most 2^28 rows");
        let index = self.chunks.len() as u32;
        self.chunks.push(Slab::new());
        self.open.push(index);
        index
    }

    /// The row of this name, if it is still there (T1).
    #[inline]
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let row = self.row(key.index())?;
        (row.generation == key.generation()).then_some(&row.value)
    }

    /// The row of this name, if it is still there (T1).
    #[inline]
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let index = key.index();
        let row = self
            .chunks
            .get_mut((index >> CHUNK_BITS) as usize)?
            .get_mut((index & ROW_MASK) as usize)?;
        (row.generation == key.generation()).then_some(&mut row.value)
    }

    /// Takes the row of this name out, if it is still there (T1).
    #[inline]
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let chunk_index = key.index() >> CHUNK_BITS;
        let chunk = self.chunks.get_mut(chunk_index as usize)?;
        let row = (key.index() & ROW_MASK) as usize;
        if chunk.get(row)?.generation != key.generation() {
            return None;
        }
        if chunk.len() == CHUNK_ROWS {
            self.open.push(chunk_index);
        }
        self.len -= 1;
        Some(chunk.remove(row).value)
    }

    /// The row at this index, and its key.
    #[inline]
    pub(crate) fn at(&self, index: u32) -> Option<(Key, &T)> {
        let row = self.row(index)?;
        Some((Key::new(index, row.generation), &row.value))
    }

    /// The row at this index, and its key.
    #[inline]
    pub(crate) fn at_mut(&mut self, index: u32) -> Option<(Key, &mut T)> {
        let row = self
            .chunks
            .get_mut((index >> CHUNK_BITS) as usize)?
            .get_mut((index & ROW_MASK) as usize)?;
        Some((Key::new(index, row.generation), &mut row.value))
    }

    #[inline]
    fn row(&self, index: u32) -> Option<&Row<T>> {
        self.chunks
            .get((index >> CHUNK_BITS) as usize)?
            .get((index & ROW_MASK) as usize)
    }

    /// Every row, by rising index.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let rows = self.chunks.iter_mut().flat_map(|chunk| chunk.iter_mut());
        rows.map(|(_, entry)| &mut entry.value)
    }

    /// Every row with its key, by rising index.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        (0u32..).zip(&self.chunks).flat_map(|(chunk_index, chunk)| {
            chunk.iter().map(move |(row, entry)| {
                let index = chunk_index << CHUNK_BITS | row as u32;
                (Key::new(index, entry.generation), &entry.value)
            })
        })
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
        assert_eq!(table.get(second), Some(&'b'));
        assert_eq!(table.len(), 1);
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
        assert!(table.open.is_empty());
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
            table.insert(n);
        }
        assert_eq!(table.at(key.index()), Some((key, &0)));
    }
}
