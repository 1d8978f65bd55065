//! A table: rows in chunks, found by key.
//!
//! It does what a `slab::Slab` does, and what that lacks: chunks (T3), and generations that outlive a value. Built over
//! `slab` a no-op through a task took 775 instructions in user space instead of 692 (callgrind, 32 at once).
//!
//! A free row is in one of two places. One that was freed lies in the *heap*, a list from which the next insertion takes the
//! last: that is all that an insertion and a removal do. While there are many more free rows than a chunk has, the heap is
//! tidied, a part of it at a time: each row goes to the *shelf* of its chunk, and a chunk that lies there as a whole is given
//! back. An insertion that finds no heap takes the lowest shelf for one, so rows gather in few chunks, and the others empty.
//!
//! | free rows | next insertion | tidied, with too many of them |
//! |---|---|---|
//! | in the heap | takes the last one | go to their shelves |
//! | on a shelf, some of their chunk | takes the lowest shelf as the heap, if there is none | stay |
//! | on a shelf, all of their chunk | the same | given back: the memory is freed, the highest generation stays (T5) |
//! | given back | makes them again, if there is neither heap nor shelf nor room in the last chunk made | |
//!
//! Most peaks come once, so nothing is kept for the next one at first. A chunk that is made again in the period in which one
//! was given back shows that peaks repeat: from then on one more is kept, until there is a period without such a peak.

use super::Key;

/// Rows in one chunk, as a power of two. A chunk grows by copying, or is dealt with as a whole, so its size bounds what one
/// call can cost (T3); one chunk more costs nothing but a longer vector of chunks.
const CHUNK_BITS: u32 = 12;

/// The most rows a table takes: the index of a row fits in 28 bits, which is what the name of a task has for it.
pub(crate) const ROWS_MAX: usize = 1 << 28;

/// A table with more rows is large: with fewer, to fetch one ahead costs more than it saves.
const CACHED_ROWS: usize = 4096;

/// No row: the end of the list of free ones.
const NONE: u32 = u32::MAX;

/// A chunk with a generation from here on is not given back: its other rows would skip too many to be told from their own old
/// ones (T5).
const GENERATION_MAX: u32 = 1 << 31;

/// Rows that go to their shelves in one call: some ten microseconds, if none of them is in the cache.
const TIDIED_MAX: usize = 1024;

/// Chunks that are given back in one call: freeing the memory of one takes some ten microseconds, too.
const GIVEN_BACK_MAX: usize = 2;

#[derive(Debug)]
struct Row<T> {
    /// Counts the values that have been here, from the first generation of its chunk.
    generation: u32,
    /// While it is free: the free row behind it.
    next_free: u32,
    value: Option<T>,
}

/// The free rows of a chunk that are not in the heap.
#[derive(Debug)]
struct Shelf {
    first: u32,
    len: usize,
    /// No row that came here had a key with this generation, or a later one (T5).
    generation: u32,
}

/// Where the next row is, if there is no heap, and no room in the chunk that was made last.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// On this shelf.
    Shelf(usize),
    /// The first one of this chunk, which is still to be made.
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
    /// Rows on shelves.
    shelved: usize,
    /// Rows there are, free or not.
    made: usize,
    /// The chunk that was made last, and the generation of its new rows.
    growing: usize,
    generation: u32,
    /// Chunks that may be free beyond one.
    kept: usize,
    /// Chunks that were given back in this period, and none was made for them.
    given_back: usize,
    /// The most rows that were seen in this period, and its number.
    len_max: usize,
    period: u32,
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

    // Left to itself the compiler makes a call of it in groups, which costs a child 1 %.
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

    /// The index of the row that the next insertion will take.
    #[inline]
    pub(crate) fn next_index(&self) -> u32 {
        match self.free {
            NONE => self.next_index_new(),
            free => free,
        }
    }

    #[cold]
    fn next_index_new(&self) -> u32 {
        if self.shelved == 0
            && let Some(chunk) = self.chunks.get(self.growing)
            && (1..Self::CHUNK_ROWS).contains(&chunk.len())
        {
            return (self.growing << BITS | chunk.len()) as u32;
        }
        match self.next() {
            Next::Shelf(at) => self.shelves[at].first,
            Next::New(at) => (at << BITS) as u32,
        }
    }

    fn next(&self) -> Next {
        if self.shelved > 0
            && let Some(at) = self.shelves.iter().position(|shelf| shelf.len > 0)
        {
            return Next::Shelf(at);
        }
        let given_back = self.chunks.iter().position(Vec::is_empty);
        Next::New(given_back.unwrap_or(self.chunks.len()))
    }

    /// There is no heap: most of the time because the table grows.
    #[cold]
    fn insert_new(&mut self, value: T) -> Key {
        let at = self.growing;
        if self.shelved == 0
            && let Some(chunk) = self.chunks.get_mut(at)
            && (1..Self::CHUNK_ROWS).contains(&chunk.len())
        {
            let index = at << BITS | chunk.len();
            let generation = self.generation;
            self.len += 1;
            self.made += 1;
            chunk.push(Row {
                generation,
                next_free: NONE,
                value: Some(value),
            });
            return Key::new(index as u32, generation);
        }
        self.insert_elsewhere(value)
    }

    fn insert_elsewhere(&mut self, value: T) -> Key {
        let at = match self.next() {
            Next::Shelf(at) => {
                let shelf = &mut self.shelves[at];
                self.free = std::mem::replace(&mut shelf.first, NONE);
                self.shelved -= std::mem::take(&mut shelf.len);
                return self.insert(value);
            }
            Next::New(at) => at,
        };
        self.make_chunk(at);
        let generation = self.generation;
        self.len += 1;
        self.made += 1;
        self.chunks[at].push(Row {
            generation,
            next_free: NONE,
            value: Some(value),
        });
        Key::new((at << BITS) as u32, generation)
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

    /// Gives back what a peak has left, a part of it at a time (T3): in the period of this number, which the caller chooses. True
    /// if there is more to do.
    pub(crate) fn tidy(&mut self, period: u32) -> bool {
        self.len_max = self.len_max.max(self.len);
        if period != self.period {
            self.period = period;
            self.end_period();
        }
        self.has_excess() && self.tidy_some()
    }

    /// More is free than a chunk, and those that are kept.
    pub(crate) fn has_excess(&self) -> bool {
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

    /// Takes a row from the heap to its shelf, if there is one.
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

    /// Gives the highest chunk back that is on its shelf as a whole, if there is one.
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

    /// What was kept for a peak that did not come is not kept any longer.
    #[cold]
    fn end_period(&mut self) {
        self.kept = self.kept.min(self.len_max >> BITS);
        self.given_back = 0;
        self.len_max = 0;
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

    /// Whether a row that was not used lately is hardly in the processor's cache, because there are too many.
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
            .get((index >> BITS) as usize)?
            .get((index & Self::ROW_MASK) as usize)
    }

    #[inline(always)]
    fn row_mut(&mut self, index: u32) -> Option<&mut Row<T>> {
        self.chunks
            .get_mut((index >> BITS) as usize)?
            .get_mut((index & Self::ROW_MASK) as usize)
    }

    /// Every row, by rising index.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let rows = self.chunks.iter_mut().flatten();
        rows.filter_map(|row| row.value.as_mut())
    }

    /// Every row with its key, by rising index.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        let chunks = (0..).step_by(Self::CHUNK_ROWS).zip(&self.chunks);
        chunks
            .flat_map(|(first, chunk)| (first..).zip(chunk))
            .filter_map(|(index, row)| Some((Key::new(index, row.generation), row.value.as_ref()?)))
    }
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
