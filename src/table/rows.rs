//! The table: rows in chunks, found by key.
//!
//! It does what a `slab::Slab` does, plus two things that a slab lacks: chunks (T3), and generations that outlive a
//! value. Built on `slab`, a no-op through a task took 775 instructions in user space instead of 692 (callgrind, 32 at
//! once).
//!
//! A free row is in one of two places. A row that was just freed goes to the *heap*, a list from which the next
//! insertion takes the last: that is all that an insertion and a removal do. While the free rows far exceed a chunk,
//! the heap is tidied, a part of it at a time: each row moves to the *shelf* of its chunk, and a chunk whose rows are
//! all on its shelf is released. An insertion that finds the heap empty takes the lowest shelf as the heap, so rows
//! gather in few chunks, and the others empty.
//!
//! | free rows | next insertion | tidied, with too many of them |
//! |---|---|---|
//! | in the heap | takes the last one | move to their shelves |
//! | on a shelf, some of their chunk | takes the lowest shelf as the heap, if the heap is empty | stay |
//! | on a shelf, all of their chunk | the same | released: the memory is freed, the highest generation stays (T4) |
//! | released | allocates them again, if there is no heap, no shelf and no room in the newest chunk | |
//!
//! Most peaks occur once, so at first nothing is kept for the next one. If a chunk is allocated again in the period in
//! which one was released, peaks repeat: from then on, one more is kept, until a period has no such peak.

use super::Key;

/// The rows of one chunk, as a power of two. A chunk is grown by copying, or handled as a whole, so its size bounds the
/// cost of one call (T3); one more chunk costs nothing but a longer vector of chunks.
const CHUNK_BITS: u32 = 12;

/// The most rows of a table: a row index fits in 28 bits, which is the size of the index in a wake ID.
pub(crate) const ROWS_MAX: usize = 1 << 28;

/// A table with more rows is large: with fewer, prefetching a row costs more than it saves.
const CACHED_ROWS: usize = 4096;

/// No row: the end of the free list.
const NONE: u32 = u32::MAX;

/// A chunk with a generation from here on is not released: its other rows would skip too many generations to be told
/// from their own old ones (T4).
const GENERATION_MAX: u32 = 1 << 31;

/// The most rows moved to shelves in one call: some ten microseconds, if none of them is in the cache.
const TIDIED_MAX: usize = 1024;

/// The most chunks released in one call: freeing the memory of one takes some ten microseconds, too.
const GIVEN_BACK_MAX: usize = 2;

#[derive(Debug)]
struct Row<T> {
    /// Counts the values of this row, from the first generation of its chunk.
    generation: u32,
    /// The next free row, while it is free.
    next_free: u32,
    value: Option<T>,
}

/// The free rows of a chunk that are not in the heap.
#[derive(Debug)]
struct Shelf {
    first: u32,
    len: usize,
    /// No row on this shelf has had a key with this generation, or a later one (T4).
    generation: u32,
}

/// Where the next row is, if the heap is empty.
#[derive(Clone, Copy, Debug)]
enum NextFree {
    /// On this shelf.
    Shelf(usize),
    /// The next one of the newest chunk.
    Last,
    /// The first row of this chunk, which is not allocated yet.
    New(usize),
}

/// A table of rows that are found by key.
#[derive(Debug)]
pub(crate) struct Table<T, const BITS: u32 = CHUNK_BITS> {
    chunks: Vec<Vec<Row<T>>>,
    /// The heap: the row that was freed last.
    free: u32,
    len: usize,
    /// One for each chunk.
    shelves: Vec<Shelf>,
    /// The number of rows on shelves.
    shelved: usize,
    /// The number of allocated rows, free or not.
    made: usize,
    /// The newest chunk, and the generation of its new rows.
    growing: usize,
    generation: u32,
    /// The number of chunks, beyond one, that may stay free.
    kept: usize,
    /// The number of chunks released in this period and not allocated again.
    given_back: usize,
    /// The largest length seen in this period, and the period's number.
    len_max: usize,
    period: u32,
}

/// The memory that a peak has left in a table, and that can be released: not yet, or now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Excess {
    None,
    Later,
    Now,
}

impl<T, const BITS: u32> Table<T, BITS> {
    const CHUNK_ROWS: usize = 1 << BITS;
    const ROW_MASK: u32 = (1 << BITS) - 1;

    pub(crate) const fn new() -> Self {
        Table {
            chunks: Vec::new(),
            free: NONE,
            len: 0,
            shelves: Vec::new(),
            shelved: 0,
            made: 0,
            growing: 0,
            generation: 1,
            kept: 0,
            given_back: 0,
            len_max: 0,
            period: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    // Left alone, the compiler does not inline this into groups, which costs a child 1 %.
    #[inline(always)]
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

    fn next(&self) -> NextFree {
        if self.shelved > 0
            && let Some(at) = self.shelves.iter().position(|shelf| shelf.len > 0)
        {
            return NextFree::Shelf(at);
        }
        let newest = self.chunks.get(self.growing);
        if newest.is_some_and(|chunk| (1..Self::CHUNK_ROWS).contains(&chunk.len())) {
            return NextFree::Last;
        }
        let given_back = self.chunks.iter().position(Vec::is_empty);
        NextFree::New(given_back.unwrap_or(self.chunks.len()))
    }

    /// Inserts when the heap is empty, which is mostly because the table grows.
    #[cold]
    fn insert_new(&mut self, value: T) -> Key {
        self.refill();
        self.insert(value)
    }

    /// Puts at least one row into the empty heap.
    fn refill(&mut self) {
        match self.next() {
            NextFree::Shelf(at) => {
                let shelf = &mut self.shelves[at];
                self.free = std::mem::replace(&mut shelf.first, NONE);
                self.shelved -= std::mem::take(&mut shelf.len);
                return;
            }
            NextFree::Last => {}
            NextFree::New(at) => self.make_chunk(at),
        }
        let chunk = &mut self.chunks[self.growing];
        self.free = (self.growing << BITS | chunk.len()) as u32;
        self.made += 1;
        chunk.push(Row {
            generation: self.generation,
            next_free: NONE,
            value: None,
        });
    }

    fn make_chunk(&mut self, at: usize) {
        if at == self.chunks.len() {
            assert!(at < ROWS_MAX >> BITS, "a table holds at most 2^28 rows");
            self.chunks.push(Vec::new());
            self.shelves.push(Shelf {
                first: NONE,
                len: 0,
                generation: 1,
            });
        }
        if self.made > 0 {
            // A table of several chunks will use all of it, and the memory is not touched before that.
            self.chunks[at].reserve_exact(Self::CHUNK_ROWS);
        }
        if self.given_back > 0 {
            self.given_back -= 1;
            self.kept += 1;
        }
        self.growing = at;
        self.generation = self.shelves[at].generation;
    }

    /// Releases memory left over from a peak, a part of it at a time (T3). `period` is the number of the current
    /// period, which the caller chooses. Returns what is left.
    pub(crate) fn tidy(&mut self, period: u32) -> Excess {
        self.len_max = self.len_max.max(self.len);
        if period != self.period {
            self.period = period;
            self.end_period();
        }
        if self.has_excess() && self.tidy_some() {
            Excess::Now
        } else if self.has_excess() {
            Excess::Later
        } else {
            Excess::None
        }
    }

    /// Whether more rows are free than one chunk plus those that are kept.
    fn has_excess(&self) -> bool {
        self.made - self.len > (self.kept + 1) << BITS
    }

    #[cold]
    fn tidy_some(&mut self) -> bool {
        for _ in 0..TIDIED_MAX {
            if !self.shelve() {
                break;
            }
        }
        for _ in 0..GIVEN_BACK_MAX {
            if !self.has_excess() || !self.give_back() {
                return self.free != NONE && self.has_excess();
            }
        }
        true
    }

    /// Moves a row from the heap to its shelf, if there is one.
    fn shelve(&mut self) -> bool {
        let index = self.free;
        let shelf = self.shelves.get_mut((index >> BITS) as usize);
        let chunk = self.chunks.get_mut((index >> BITS) as usize);
        let (Some(shelf), Some(chunk)) = (shelf, chunk) else {
            return false;
        };
        let row = &mut chunk[(index & Self::ROW_MASK) as usize];
        self.free = std::mem::replace(&mut row.next_free, shelf.first);
        shelf.first = index;
        shelf.len += 1;
        shelf.generation = shelf.generation.max(row.generation);
        self.shelved += 1;
        true
    }

    /// Releases the highest chunk whose rows are all on its shelf, if there is one.
    fn give_back(&mut self) -> bool {
        let mut chunks = self.chunks.iter_mut().zip(&mut self.shelves);
        let whole = chunks.rfind(|(chunk, shelf)| {
            shelf.len > 0 && shelf.len == chunk.len() && shelf.generation < GENERATION_MAX
        });
        let Some((chunk, shelf)) = whole else {
            return false;
        };
        *chunk = Vec::new();
        shelf.first = NONE;
        let rows = std::mem::take(&mut shelf.len);
        self.shelved -= rows;
        self.made -= rows;
        self.given_back += 1;
        true
    }

    /// Stops keeping memory for a peak that did not come.
    #[cold]
    fn end_period(&mut self) {
        self.kept = self.kept.min(self.len_max >> BITS);
        self.given_back = 0;
        self.len_max = 0;
    }

    /// Returns the row with this key, if it still exists (T1).
    #[inline]
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let row = self.row(key.index())?;
        if row.generation != key.generation() {
            return None;
        }
        row.value.as_ref()
    }

    /// Returns the row with this key, if it still exists (T1).
    #[inline]
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let row = self.row_mut(key.index())?;
        if row.generation != key.generation() {
            return None;
        }
        row.value.as_mut()
    }

    /// Removes and returns the row with this key, if it still exists (T1).
    #[inline]
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.free_with(key, Option::take)
    }

    /// Drops the row with this key in place, if it still exists (T1).
    #[inline]
    pub(crate) fn discard(&mut self, key: Key) {
        self.take_out(key, |_| Some(()));
    }

    /// Takes something out of the row with this key, if the row still exists (T1), and drops the rest of it in place:
    /// removing it would copy it. If `take` returns `None`, the row stays.
    #[inline]
    pub(crate) fn take_out<R>(
        &mut self,
        key: Key,
        take: impl FnOnce(&mut T) -> Option<R>,
    ) -> Option<R> {
        self.free_with(key, |value| {
            let taken = take(value.as_mut()?)?;
            *value = None;
            Some(taken)
        })
    }

    /// Frees the row with this key, if it still exists and `empty` returns a value taken out of it.
    #[inline(always)]
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
        // No row has generation zero, not even after 2^32 values.
        row.generation = row.generation.wrapping_add(1).max(1);
        row.next_free = free;
        self.free = key.index();
        self.len -= 1;
        Some(emptied)
    }

    /// Returns the row at this index, and its key.
    #[inline]
    pub(crate) fn at(&self, index: u32) -> Option<(Key, &T)> {
        let row = self.row(index)?;
        Some((Key::new(index, row.generation), row.value.as_ref()?))
    }

    /// Returns the row at this index, and its key.
    #[inline]
    pub(crate) fn at_mut(&mut self, index: u32) -> Option<(Key, &mut T)> {
        let row = self.row_mut(index)?;
        Some((Key::new(index, row.generation), row.value.as_mut()?))
    }

    /// Whether the table is so large that a row not used lately is unlikely to be in the processor's cache.
    #[inline]
    pub(crate) fn is_large(&self) -> bool {
        self.len > CACHED_ROWS
    }

    /// Returns the memory of a row, whatever it contains, for prefetching: looking at it would stall.
    #[inline]
    pub(crate) fn place(&self, index: u32) -> Option<&impl Sized> {
        self.row(index)
    }

    #[inline]
    fn row(&self, index: u32) -> Option<&Row<T>> {
        self.chunks
            .get((index >> BITS) as usize)?
            .get((index & Self::ROW_MASK) as usize)
    }

    #[inline(always)]
    fn row_mut(&mut self, index: u32) -> Option<&mut Row<T>> {
        self.chunks
            .get_mut((index >> BITS) as usize)?
            .get_mut((index & Self::ROW_MASK) as usize)
    }

    /// Iterates over all rows, by increasing index.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let rows = self.chunks.iter_mut().flatten();
        rows.filter_map(|row| row.value.as_mut())
    }

    /// Iterates over all rows with their keys, by increasing index.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        let last = self.chunks.last().map_or(0, Vec::len);
        let end = (self.chunks.len().saturating_sub(1) << BITS) + last;
        // Row by row, not chunk by chunk: many calls walk a table, and nested iterators are a kilobyte of code for each.
        (0..end as u32).filter_map(|index| self.at(index))
    }

    /// Returns the keys of the rows for which `is_wanted` returns true.
    pub(crate) fn keys(&self, is_wanted: &dyn Fn(&T) -> bool) -> Vec<Key> {
        let wanted = self.iter().filter(|(_, row)| is_wanted(row));
        wanted.map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
