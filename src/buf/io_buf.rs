//! A single buffer that can be lent: the two traits, and the types of std and `bytes` that implement them.
//!
//! Nothing here copies a byte or allocates. Operations take their pointers from these traits when they are submitted,
//! and set the length when they have completed.

use super::Slice;
use bytes::{Bytes, BytesMut};
use std::ops::RangeBounds;
use std::rc::Rc;
use std::slice;
use std::sync::Arc;

/// Memory that the kernel may read during an operation: the data of a write or a send.
///
/// The names begin with `io_`, so that bringing the trait into scope changes the meaning of no method of `Vec`, `Bytes`
/// or a slice.
///
/// # Safety
///
/// For as long as the value exists, or forever if it is forgotten:
///
/// 1. L1: moving the value moves none of its bytes, and changes the result of neither `io_ptr` nor `io_len`. An array
///    inside the value does not qualify.
/// 2. L2: the bytes stay allocated. A value that borrows does not qualify unless it borrows for `'static`.
/// 3. L3: `io_ptr` is not null, and the `io_len` bytes from it are initialized, lie in one allocation, and are written
///    only by code that has the value. Clones that share them for reading do no harm.
///
/// # Examples
///
/// ```
/// use gimmal::buf::IoBuf;
///
/// fn longest<B: IoBuf>(bufs: &[B]) -> usize {
///     bufs.iter().map(|buf| buf.io_len()).max().unwrap_or(0)
/// }
/// assert_eq!(longest(&["a", "bcd"]), 3);
/// assert_eq!(String::from("bcd").io_bytes(), b"bcd");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be lent to the kernel",
    label = "this is not a buffer that can be lent",
    note = "a buffer goes in by value and comes back: give the `Vec`, `String` or `Bytes` itself, or a value that lives forever"
)]
pub unsafe trait IoBuf: 'static {
    /// Returns a pointer to the first byte.
    fn io_ptr(&self) -> *const u8;

    /// Returns how many bytes are initialized: those that a write writes.
    fn io_len(&self) -> usize;

    /// Returns the initialized bytes.
    fn io_bytes(&self) -> &[u8] {
        // SAFETY: initialized, readable and of one allocation by L3, by which nothing writes them while `self` is
        // borrowed.
        unsafe { slice::from_raw_parts(self.io_ptr(), self.io_len()) }
    }
}

/// Memory that the kernel may write during an operation: the buffer of a read or a receive.
///
/// # Safety
///
/// In addition to the obligations of [`IoBuf`], for the whole capacity:
///
/// 1. L4: `io_mut_ptr` returns the same address as `io_ptr`, and the `io_capacity` bytes from there lie in one
///    allocation and may be written through it. `io_capacity` is at least `io_len`, and moving the value does not
///    change it.
/// 2. L5: only code that has the value reads or writes them. Shared memory does not qualify, not even for reading.
/// 3. L6: after `set_io_len(n)`, `io_len` is `n`, or its old value if that is greater; the call has moved and changed
///    no byte.
///
/// # Examples
///
/// The steps that every read takes after the kernel has completed it:
///
/// ```
/// use gimmal::buf::IoBufMut;
///
/// fn fill<B: IoBufMut>(mut buf: B, source: &[u8]) -> (usize, B) {
///     let n = source.len().min(buf.io_capacity());
///     // SAFETY: the first n bytes are in the capacity, and initialised by the copy.
///     unsafe {
///         buf.io_mut_ptr().copy_from_nonoverlapping(source.as_ptr(), n);
///         buf.set_io_len(n);
///     }
///     (n, buf)
/// }
/// let (n, buf) = fill(Vec::with_capacity(8), b"hello");
/// assert_eq!((n, &buf[..]), (5, &b"hello"[..]));
/// let (n, buf) = fill(buf, b"ho");
/// assert_eq!((n, &buf[..]), (2, &b"ho"[..]));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be lent to the kernel to be filled",
    label = "this is not a buffer that can be filled",
    note = "a buffer goes in by value and comes back: `let (n, buffer) = file.read(buffer).await?`, with a `Vec<u8>`, a \
            `Box<[u8]>`, a `BytesMut` or an `AlignedBuf`"
)]
pub unsafe trait IoBufMut: IoBuf {
    /// Returns a pointer to the start of the capacity.
    fn io_mut_ptr(&mut self) -> *mut u8;

    /// Returns the capacity in bytes, counted from the first byte: the length that a read requests.
    fn io_capacity(&self) -> usize;

    /// Declares that the first `n` bytes have been filled.
    ///
    /// A buffer with a length of its own (`Vec`, `BytesMut`, [`AlignedBuf`](super::AlignedBuf)) has the length `n`
    /// afterwards. A buffer with a fixed length (`Box<[u8]>`) keeps it, and a [`Slice`] never shortens the buffer that
    /// it is a part of: their bytes past `n` are unchanged, and only `n` tells how many are new.
    ///
    /// # Safety
    ///
    /// `n` does not exceed the capacity, and the first `n` bytes are initialized.
    unsafe fn set_io_len(&mut self, n: usize);

    /// Returns the part of the buffer in `range` as a buffer of its own, to fill or to write just that part.
    ///
    /// The range may reach past the length, up to the capacity, and a range without an end does: a part that begins at
    /// the length appends. A write writes the initialized bytes of the part.
    ///
    /// (For memory that is only read, there is [`Slice::new`]. `Bytes` has its own `slice`, which this method therefore
    /// does not hide.)
    ///
    /// # Panics
    ///
    /// If the range ends before it starts or past the capacity, or if it starts past the length, because the bytes in
    /// between would be uninitialized.
    ///
    /// # Examples
    ///
    /// ```
    /// use gimmal::buf::{IoBuf, IoBufMut};
    ///
    /// let mut vec = Vec::with_capacity(16);
    /// vec.extend_from_slice(b"head");
    /// let at = vec.len();
    /// let tail = vec.slice(at..10);
    /// assert_eq!((tail.io_len(), tail.io_capacity()), (0, 6));
    /// assert_eq!(tail.into_inner(), b"head");
    /// ```
    #[track_caller]
    fn slice(self, range: impl RangeBounds<usize>) -> Slice<Self>
    where
        Self: Sized,
    {
        Slice::of_capacity(self, range)
    }
}

macro_rules! io_buf {
    ($($type:ty: $fact:literal)+) => {$(
        // SAFETY: L1, L2 and L3 by the fact given for the type in the list below.
        unsafe impl IoBuf for $type {
            #[inline]
            fn io_ptr(&self) -> *const u8 {
                self.as_ptr()
            }

            #[inline]
            fn io_len(&self) -> usize {
                self.len()
            }
        }
    )+};
}

io_buf! {
    Vec<u8>: "Pointer, capacity and length of a heap allocation, which only it can reach and only its drop frees."
    String: "It is a `Vec<u8>` that promises UTF-8."
    Box<[u8]>: "Pointer and length of a heap allocation, which only it can reach and only its drop frees."
    BytesMut: "It owns its range of a counted heap allocation alone; other handles have ranges that do not overlap it."
    Bytes: "It counts as an owner of what it was made from; while it does, no handle of any kind can write the range."
    Rc<[u8]>: "It is a strong reference: its heap allocation has the bytes, and `get_mut` fails for the others."
    Arc<[u8]>: "It is a strong reference: its heap allocation has the bytes, and `get_mut` fails for the others."
    &'static [u8]: "A shared borrow of `u8` that never ends: nothing may write or free what it borrows."
    &'static str: "A shared borrow of `str` that never ends: nothing may write or free what it borrows."
}

// SAFETY: L1, L2 and L3: a shared borrow of bytes that never ends, like that of a slice: nothing may write or free
// them. The array is not inside the value.
unsafe impl<const N: usize> IoBuf for &'static [u8; N] {
    #[inline]
    fn io_ptr(&self) -> *const u8 {
        self.as_ptr()
    }

    #[inline]
    fn io_len(&self) -> usize {
        N
    }
}

// SAFETY: L4 and L5: `capacity` bytes are allocated from `as_mut_ptr`, for this value alone. L6: `set_len` stores a
// number.
unsafe impl IoBufMut for Vec<u8> {
    #[inline]
    fn io_mut_ptr(&mut self) -> *mut u8 {
        self.as_mut_ptr()
    }

    #[inline]
    fn io_capacity(&self) -> usize {
        self.capacity()
    }

    #[inline]
    unsafe fn set_io_len(&mut self, n: usize) {
        // SAFETY: the caller promises what `Vec::set_len` requires.
        unsafe { self.set_len(n) }
    }
}

// SAFETY: L4 and L5: all of the allocation is initialized, and it belongs to this value alone. L6: the length stays the
// capacity.
unsafe impl IoBufMut for Box<[u8]> {
    #[inline]
    fn io_mut_ptr(&mut self) -> *mut u8 {
        self.as_mut_ptr()
    }

    #[inline]
    fn io_capacity(&self) -> usize {
        self.len()
    }

    #[inline]
    unsafe fn set_io_len(&mut self, _n: usize) {}
}

// SAFETY: L4 and L5: from `as_ptr`, `capacity` bytes belong to this handle alone; others of the same allocation have
// disjoint ranges, and may take this range over only when the handle is dropped. L6: `set_len` stores a number.
unsafe impl IoBufMut for BytesMut {
    #[inline]
    fn io_mut_ptr(&mut self) -> *mut u8 {
        // A pointer from `as_mut` may be used for the length only. With a length of 0, the spare capacity is
        // everything.
        let len = self.len();
        self.clear();
        let start = self.spare_capacity_mut().as_mut_ptr().cast();
        // SAFETY: this was the length, and no byte has been written since.
        unsafe { self.set_len(len) };
        start
    }

    #[inline]
    fn io_capacity(&self) -> usize {
        self.capacity()
    }

    #[inline]
    unsafe fn set_io_len(&mut self, n: usize) {
        // SAFETY: the caller promises what `BytesMut::set_len` requires.
        unsafe { self.set_len(n) }
    }
}

// SAFETY: L1, L2 and L3: those of the buffer inside, whose bytes move neither with it nor with the box.
unsafe impl<B: IoBuf + ?Sized> IoBuf for Box<B> {
    #[inline]
    fn io_ptr(&self) -> *const u8 {
        (**self).io_ptr()
    }

    #[inline]
    fn io_len(&self) -> usize {
        (**self).io_len()
    }
}

// SAFETY: L4, L5 and L6: those of the buffer inside, which only the box can reach.
unsafe impl<B: IoBufMut + ?Sized> IoBufMut for Box<B> {
    #[inline]
    fn io_mut_ptr(&mut self) -> *mut u8 {
        (**self).io_mut_ptr()
    }

    #[inline]
    fn io_capacity(&self) -> usize {
        (**self).io_capacity()
    }

    #[inline]
    unsafe fn set_io_len(&mut self, n: usize) {
        // SAFETY: the caller promises what the buffer inside requires.
        unsafe { (**self).set_io_len(n) }
    }
}

/// Shortens the initialized part of a buffer, if it is longer.
pub(crate) fn truncate<B: IoBufMut>(buf: &mut B, len: usize) {
    if len < buf.io_len() {
        // SAFETY: these bytes are among those that are initialized, and within the capacity.
        unsafe { buf.set_io_len(len) };
    }
}

/// Fills the start of a buffer with as much of `source` as fits, sets the length, and returns it: a read that needs no
/// kernel.
pub(crate) fn fill<B: IoBufMut>(buf: &mut B, source: &[u8]) -> usize {
    let n = source.len().min(buf.io_capacity());
    // SAFETY: `len` bytes fit into the capacity, which is the buffer's alone (L4, L5), and the copy initializes them.
    unsafe {
        buf.io_mut_ptr()
            .copy_from_nonoverlapping(source.as_ptr(), n);
        buf.set_io_len(n);
    }
    n
}

/// Fills the whole capacity with one byte, as a read would, and returns its length.
pub(crate) fn repeat<B: IoBufMut>(buf: &mut B, byte: u8) -> usize {
    let n = buf.io_capacity();
    // SAFETY: the capacity is the buffer's alone (L4, L5), and all of it is initialized here.
    unsafe {
        buf.io_mut_ptr().write_bytes(byte, n);
        buf.set_io_len(n);
    }
    n
}

/// Stands in for the kernel in every test of this module.
#[cfg(test)]
pub(super) mod kernel {
    use super::IoBufMut;

    /// Fills the first bytes of the capacity with `source` and sets the length, as a completed read would.
    pub(in crate::buf) fn read_into(buf: &mut impl IoBufMut, source: &[u8]) {
        assert!(source.len() <= buf.io_capacity());
        // SAFETY: the bytes fit into the capacity (L4), and the copy initializes them.
        unsafe {
            buf.io_mut_ptr()
                .copy_from_nonoverlapping(source.as_ptr(), source.len());
            buf.set_io_len(source.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::AlignedBuf;
    use super::kernel::read_into;
    use super::*;
    use std::mem::ManuallyDrop;
    use std::thread;

    const TEXT: &str = "lent";

    fn place(buf: &impl IoBuf) -> (usize, usize) {
        (buf.io_ptr().addr(), buf.io_len())
    }

    /// Checks L1 and L2 for the buffers that `make` returns, which contain `TEXT`.
    fn stays<B: IoBuf>(make: impl Fn() -> B) {
        let buf = make();
        let before = place(&buf);
        assert_eq!(buf.io_bytes(), TEXT.as_bytes());
        let boxed = Box::new(buf);
        assert_eq!(place(&*boxed), before);
        let mut many = vec![*boxed];
        many.extend((0..100).map(|_| make()));
        let buf = many.swap_remove(0);
        assert_eq!(place(&buf), before);
        assert_eq!(buf.io_bytes(), TEXT.as_bytes());

        // Like forgetting, except that the value can be dropped at the end of the test.
        let forgotten = ManuallyDrop::new(buf);
        let (start, len) = (forgotten.io_ptr(), forgotten.io_len());
        drop(many);
        let _reuse: Vec<B> = (0..100).map(|_| make()).collect();
        // SAFETY: not dropped; the test checks that the bytes are still there (L2).
        let bytes = unsafe { slice::from_raw_parts(start, len) };
        assert_eq!(bytes, TEXT.as_bytes());
        drop(ManuallyDrop::into_inner(forgotten));
    }

    fn stays_across_threads<B: IoBuf + Send>(make: impl Fn() -> B) {
        let buf = make();
        let before = place(&buf);
        let back = thread::spawn(move || {
            assert_eq!(place(&buf), before);
            buf
        });
        assert_eq!(place(&back.join().unwrap()), before);
        stays(make);
    }

    fn aligned() -> AlignedBuf {
        let mut buf = AlignedBuf::new(8, 512).unwrap();
        buf.extend_from_slice(TEXT.as_bytes());
        buf
    }

    #[test]
    fn moving_or_forgetting_a_value_leaves_its_bytes_where_they_are() {
        stays_across_threads(|| Vec::from(TEXT));
        stays_across_threads(|| String::from(TEXT));
        stays_across_threads(|| Box::<[u8]>::from(TEXT.as_bytes()));
        stays_across_threads(|| Bytes::from(Vec::from(TEXT)));
        stays_across_threads(|| Bytes::from_owner(Vec::from(TEXT)));
        stays_across_threads(|| Bytes::from_static(TEXT.as_bytes()));
        stays_across_threads(|| BytesMut::from(TEXT));
        stays_across_threads(|| BytesMut::from("split-lent").split_off(6));
        stays_across_threads(|| Arc::<[u8]>::from(TEXT.as_bytes()));
        stays_across_threads(|| TEXT);
        stays_across_threads(|| TEXT.as_bytes());
        stays_across_threads(|| b"lent");
        stays_across_threads(aligned);
        stays_across_threads(|| Vec::from("a lent one").slice(2..6));
        stays_across_threads(|| Slice::new("a lent one", 2..6));
        stays_across_threads(|| Box::new(Vec::from(TEXT)));
        stays(|| Box::new(Vec::from(TEXT)) as Box<dyn IoBufMut>);
        stays(|| Box::new(TEXT) as Box<dyn IoBuf>);
        stays(|| Rc::<[u8]>::from(TEXT.as_bytes()));
    }

    /// A clone shares the bytes for reading, and takes away a sole owner's right to write.
    #[test]
    fn a_shared_buffer_cannot_be_written_by_the_other_owners() {
        let lent = Rc::<[u8]>::from(TEXT.as_bytes());
        let mut other = Rc::clone(&lent);
        assert!(Rc::get_mut(&mut other).is_none());
        let lent = Arc::<[u8]>::from(TEXT.as_bytes());
        let mut other = Arc::clone(&lent);
        assert!(Arc::get_mut(&mut other).is_none());
        let lent = Bytes::from(Vec::from(TEXT));
        assert!(lent.clone().try_into_mut().is_err());
    }

    /// Checks L4 and L6 for every old length and every number of bytes read; `fixed` buffers keep their length.
    fn fills<B: IoBufMut>(capacity: usize, fixed: bool, make: impl Fn(&[u8]) -> B) {
        for len in 0..=capacity {
            for n in 0..=capacity {
                let old: Vec<u8> = (0..len as u8).collect();
                let new: Vec<u8> = (100..100 + n as u8).collect();
                let mut buf = make(&old);
                let room = buf.io_capacity();
                assert!(room >= capacity);
                assert_eq!(buf.io_mut_ptr().cast_const(), buf.io_ptr());
                assert_eq!(buf.io_bytes()[..len], old);

                let mut oracle = buf.io_bytes().to_vec();
                if !fixed {
                    oracle.resize(n, 0);
                }
                oracle[..n].copy_from_slice(&new);
                let start = buf.io_ptr();
                read_into(&mut buf, &new);
                assert_eq!(buf.io_bytes(), oracle);
                assert_eq!((buf.io_ptr(), buf.io_capacity()), (start, room));
            }
        }
    }

    #[test]
    fn a_read_fills_from_the_start_and_sets_the_length() {
        for capacity in 0..=8 {
            fills(capacity, false, |old| {
                let mut buf = Vec::with_capacity(capacity);
                buf.extend_from_slice(old);
                buf
            });
            fills(capacity, false, |old| {
                let mut buf = Vec::with_capacity(capacity);
                buf.extend_from_slice(old);
                Box::new(buf) as Box<dyn IoBufMut>
            });
            fills(capacity, false, |old| {
                let mut buf = BytesMut::with_capacity(capacity);
                buf.extend_from_slice(old);
                buf
            });
            fills(capacity, false, |old| {
                let mut whole = BytesMut::with_capacity(3 + capacity);
                whole.extend_from_slice(b"abc");
                let mut buf = whole.split_off(3);
                buf.extend_from_slice(old);
                buf
            });
            fills(capacity, true, |old| {
                let mut buf = vec![7; capacity].into_boxed_slice();
                buf[..old.len()].copy_from_slice(old);
                buf
            });
            if capacity > 0 {
                fills(capacity, false, |old| {
                    let mut buf = AlignedBuf::new(capacity, 64).unwrap();
                    buf.extend_from_slice(old);
                    buf
                });
            }
        }
    }

    #[test]
    fn bytes_keeps_its_own_slice_and_vec_its_own_methods() {
        let bytes = Bytes::from_static(b"abcd");
        let head: Bytes = bytes.slice(..2);
        let tail: Bytes = bytes.slice(2..);
        assert_eq!((&head[..], &tail[..]), (&b"ab"[..], &b"cd"[..]));
    }
}
