//! A part of a buffer, lent like a whole buffer.
//!
//! It owns the buffer and two offsets. It never shortens the buffer, and never makes an unfilled byte readable. Users
//! append with it and fill parts; loops over several reads and writes use it to continue where they were.

use super::{IoBuf, IoBufMut};
use std::fmt;
use std::ops::{Bound, Deref, RangeBounds};

/// A part of a buffer, made by [`IoBufMut::slice`] or [`Slice::new`]. It contains the buffer.
///
/// It derefs to the initialized bytes of the part. A read fills the part from its start; the buffer's length grows if
/// the new bytes end past it, and never shrinks: bytes of the part past the new ones are unchanged.
///
/// # Examples
///
/// ```
/// use gimmal::buf::{IoBuf, IoBufMut};
///
/// let part = Vec::from("abcdef").slice(2..4);
/// assert_eq!(&part[..], b"cd");
/// assert_eq!(part.io_len(), 2); // a write writes "cd"
/// assert_eq!(part.into_inner(), b"abcdef");
/// ```
pub struct Slice<B> {
    buf: B,
    /// At most `end`, and at most the buffer's length, which nothing shortens while the buffer is in here (L1, L6).
    begin: usize,
    /// At most the buffer's capacity, or its length if it has no capacity.
    end: usize,
}

impl<B: IoBuf> Slice<B> {
    /// Returns the part of `buf` in `range`, which lies within its length, like std's slicing but by value.
    ///
    /// For a part that reaches past the length, see [`IoBufMut::slice`].
    ///
    /// # Panics
    ///
    /// If the range ends before it starts, or past the length.
    ///
    /// # Examples
    ///
    /// ```
    /// use gimmal::buf::{IoBuf, Slice};
    /// use std::sync::Arc;
    ///
    /// let shared: Arc<[u8]> = Arc::from(&b"header body"[..]);
    /// assert_eq!(Slice::new(shared, 7..).io_bytes(), b"body");
    /// ```
    #[track_caller]
    pub fn new(buf: B, range: impl RangeBounds<usize>) -> Slice<B> {
        let len = buf.io_len();
        Slice::within(buf, range, len, "length")
    }

    #[track_caller]
    pub(super) fn of_capacity(buf: B, range: impl RangeBounds<usize>) -> Slice<B>
    where
        B: IoBufMut,
    {
        let capacity = buf.io_capacity();
        Slice::within(buf, range, capacity, "capacity")
    }

    #[track_caller]
    fn within(buf: B, range: impl RangeBounds<usize>, room: usize, room_name: &str) -> Slice<B> {
        let (begin, end) = offsets(range, room);
        let len = buf.io_len();
        assert!(
            begin <= end,
            "a slice that begins at {begin} cannot end at {end}"
        );
        assert!(
            end <= room,
            "a slice that ends at {end} is out of range of a buffer with a {room_name} of {room}"
        );
        assert!(
            begin <= len,
            "a slice that begins at {begin} would skip uninitialised bytes of a buffer with a length of {len}"
        );
        Slice { buf, begin, end }
    }

    /// Returns the buffer that this is a part of.
    ///
    /// # Examples
    ///
    /// ```
    /// use gimmal::buf::Slice;
    ///
    /// assert_eq!(Slice::new("abc", 1..).into_inner(), "abc");
    /// ```
    pub fn into_inner(self) -> B {
        self.buf
    }
}

/// Returns the start and the end of a range in something of `len` bytes. No buffer is long enough for a bound that
/// saturates, so the checks that follow reject it.
fn offsets(range: impl RangeBounds<usize>, len: usize) -> (usize, usize) {
    let begin = match range.start_bound() {
        Bound::Included(&at) => at,
        Bound::Excluded(&at) => at.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(&at) => at.saturating_add(1),
        Bound::Excluded(&at) => at,
        Bound::Unbounded => len,
    };
    (begin, end)
}

impl<B: IoBuf> Deref for Slice<B> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.io_bytes()
    }
}

// Not read, because the kernel may be writing the bytes.
impl<B: IoBuf> fmt::Debug for Slice<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slice")
            .field("len", &self.io_len())
            .field("capacity", &(self.end - self.begin))
            .finish_non_exhaustive()
    }
}

// SAFETY: L1, L2: the buffer's own. L3: `begin..min(len, end)` lies in the buffer's initialized bytes, as `begin` is at
// most both.
unsafe impl<B: IoBuf> IoBuf for Slice<B> {
    #[inline]
    fn io_ptr(&self) -> *const u8 {
        self.buf.io_ptr().wrapping_add(self.begin)
    }

    #[inline]
    fn io_len(&self) -> usize {
        self.buf.io_len().min(self.end) - self.begin
    }
}

// SAFETY: L4, L5: `begin..end` lies in the buffer's capacity, whichever way it was made. L6: the buffer's length is
// never set to less than it was, and what is in `begin..end` of it follows.
unsafe impl<B: IoBufMut> IoBufMut for Slice<B> {
    #[inline]
    fn io_mut_ptr(&mut self) -> *mut u8 {
        self.buf.io_mut_ptr().wrapping_add(self.begin)
    }

    #[inline]
    fn io_capacity(&self) -> usize {
        self.end - self.begin
    }

    #[inline]
    unsafe fn set_io_len(&mut self, n: usize) {
        let len = self.buf.io_len().max(self.begin + n);
        // SAFETY: the caller has initialized n bytes from `begin` on, which end in the capacity; those before `begin`
        // already were, and so were those up to the old length.
        unsafe { self.buf.set_io_len(len) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::io_buf::kernel::read_into;
    use super::super::{AlignedBuf, IoBuf, IoBufMut};
    use super::Slice;
    use bytes::BytesMut;
    use std::ops::RangeBounds;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    const CAPACITY: usize = 6;

    /// Compares every length, slice and number of bytes read with the same on plain slices.
    fn fills<B: IoBufMut>(make: impl Fn(&[u8]) -> B) {
        for len in 0..=CAPACITY {
            let old: Vec<u8> = (0..len as u8).collect();
            // A fixed buffer is longer than the data it was made from.
            let init = make(&old).io_bytes().to_vec();
            for begin in 0..=CAPACITY + 1 {
                for end in 0..=CAPACITY {
                    let part = catch_unwind(AssertUnwindSafe(|| make(&old).slice(begin..end)));
                    assert_eq!(
                        part.is_ok(),
                        begin <= end && begin <= init.len(),
                        "{begin}..{end} of {len}"
                    );
                    if part.is_err() {
                        continue;
                    }
                    for n in 0..=end - begin {
                        let new: Vec<u8> = (100..100 + n as u8).collect();
                        let mut part = make(&old).slice(begin..end);
                        assert_eq!(part.io_capacity(), end - begin);
                        assert_eq!(*part, init[begin..end.min(init.len())]);
                        assert_eq!(part.io_mut_ptr().cast_const(), part.io_ptr());
                        read_into(&mut part, &new);

                        let mut oracle = init.clone();
                        oracle.resize(init.len().max(begin + n), 0);
                        oracle[begin..begin + n].copy_from_slice(&new);
                        assert_eq!(*part, oracle[begin..end.min(oracle.len())]);
                        assert_eq!(part.into_inner().io_bytes(), oracle);
                    }
                }
            }
        }
    }

    #[test]
    fn a_read_fills_the_slice_and_leaves_the_rest() {
        fills(|old| {
            let mut buf = Vec::with_capacity(CAPACITY);
            buf.extend_from_slice(old);
            buf
        });
        fills(|old| {
            let mut buf = BytesMut::with_capacity(CAPACITY);
            buf.extend_from_slice(old);
            buf
        });
        fills(|old| {
            let mut buf = AlignedBuf::new(CAPACITY, 8).unwrap();
            buf.extend_from_slice(old);
            buf
        });
        fills(|old| {
            let mut buf = vec![7; CAPACITY].into_boxed_slice();
            buf[..old.len()].copy_from_slice(old);
            buf
        });
        // A slice of a slice.
        fills(|old| {
            let mut buf = Vec::with_capacity(CAPACITY + 4);
            buf.extend_from_slice(b"ab");
            buf.extend_from_slice(old);
            buf.slice(2..2 + CAPACITY)
        });
    }

    #[test]
    fn without_an_end_a_slice_extends_to_the_capacity_or_the_length() {
        let mut vec = Vec::with_capacity(100);
        vec.extend_from_slice(b"abc");
        let (len, capacity) = (vec.len(), vec.capacity());
        let mut part = vec.slice(len..);
        assert_eq!((part.io_len(), part.io_capacity()), (0, capacity - 3));
        read_into(&mut part, b"def");
        let vec = part.into_inner();
        assert_eq!(vec, b"abcdef");
        assert_eq!(Slice::new(vec, 1..).io_capacity(), 5);
        assert_eq!(*Slice::new("abc", ..=1), *b"ab");
        assert_eq!(*Slice::new("abc", ..), *b"abc");
    }

    #[test]
    fn ranges_that_std_rejects_are_rejected() {
        fn same(range: impl RangeBounds<usize> + std::slice::SliceIndex<[u8]> + Clone) {
            let std = catch_unwind(AssertUnwindSafe(|| {
                let _ = &b"abc"[range.clone()];
            }));
            let ours = catch_unwind(AssertUnwindSafe(|| Slice::new("abc", range.clone())));
            assert_eq!(ours.is_ok(), std.is_ok());
        }
        for begin in 0..6 {
            same(begin..);
            same(..begin);
            same(..=begin);
            for end in 0..6 {
                same(begin..end);
                same(begin..=end);
            }
        }
        same(..=usize::MAX);
        same(usize::MAX..=usize::MAX);
    }

    #[test]
    #[should_panic = "a slice that ends at 9 is out of range of a buffer with a capacity of 3"]
    fn a_slice_past_the_capacity_panics_with_the_numbers() {
        let _ = Box::<[u8]>::from(&b"abc"[..]).slice(1..9);
    }

    #[test]
    #[should_panic = "a slice that begins at 2 would skip uninitialised bytes of a buffer with a length of 1"]
    fn a_slice_cannot_begin_past_the_length() {
        let mut vec = Vec::with_capacity(8);
        vec.push(b'a');
        let _ = vec.slice(2..4);
    }

    #[test]
    fn debug_shows_the_length_and_not_the_content() {
        let part = Vec::from("abcdef").slice(2..5);
        assert_eq!(format!("{part:?}"), "Slice { len: 3, capacity: 3, .. }");
    }
}
