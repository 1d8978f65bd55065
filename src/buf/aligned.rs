//! A buffer with a chosen alignment, for files opened with O_DIRECT.
//!
//! It owns one heap allocation, and knows how many of its bytes are initialized. It never grows and never moves. Users
//! create it and lend it; nothing in the crate creates one for itself.

use super::{IoBuf, IoBufMut};
use std::alloc::{self, Layout};
use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::slice;

/// A byte buffer with a fixed capacity, whose address is a multiple of a chosen alignment.
///
/// O_DIRECT requires addresses, lengths and offsets that are multiples of the device's block size, often 512 or 4096
/// bytes. To write, fill the buffer with [`extend_from_slice`](AlignedBuf::extend_from_slice) and pad it with
/// [`resize`](AlignedBuf::resize); reads fill the whole capacity.
///
/// # Examples
///
/// ```
/// use gimmal::buf::AlignedBuf;
///
/// let mut buf = AlignedBuf::new(8192, 4096)?;
/// assert_eq!(buf.as_ptr().addr() % 4096, 0);
/// assert_eq!((buf.len(), buf.capacity()), (0, 8192));
///
/// buf.extend_from_slice(b"one block");
/// buf.resize(4096, 0);
/// assert_eq!(&buf[..9], b"one block");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct AlignedBuf {
    start: NonNull<u8>,
    len: usize,
    layout: Layout,
}

impl AlignedBuf {
    /// Creates an empty buffer with room for exactly `capacity` bytes, at an address that is a multiple of `alignment`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the alignment is not a power of two, if the capacity is 0 (nothing can be read into it), or if
    /// it exceeds the maximum size of an allocation. `OutOfMemory` if the allocation fails.
    ///
    /// # Examples
    ///
    /// ```
    /// use gimmal::buf::AlignedBuf;
    /// use std::io::ErrorKind;
    ///
    /// let error = AlignedBuf::new(4096, 1000).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::InvalidInput);
    /// assert!(error.to_string().contains("1000"));
    /// ```
    pub fn new(capacity: usize, alignment: usize) -> io::Result<AlignedBuf> {
        let invalid = |reason| Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        if !alignment.is_power_of_two() {
            return invalid(format!("an alignment of {alignment} is not a power of two"));
        }
        if capacity == 0 {
            return invalid("a buffer with a capacity of 0 holds nothing".into());
        }
        let Ok(layout) = Layout::from_size_align(capacity, alignment) else {
            return invalid(format!(
                "{capacity} bytes aligned to {alignment} are more than an allocation can have"
            ));
        };
        // SAFETY: the size is not 0.
        match NonNull::new(unsafe { alloc::alloc(layout) }) {
            Some(start) => Ok(AlignedBuf {
                start,
                len: 0,
                layout,
            }),
            None => Err(io::ErrorKind::OutOfMemory.into()),
        }
    }

    /// Returns the capacity in bytes.
    pub fn capacity(&self) -> usize {
        self.layout.size()
    }

    /// Returns the alignment of the address.
    pub fn alignment(&self) -> usize {
        self.layout.align()
    }

    /// Returns how many bytes are initialized: those that a write writes, and that the buffer derefs to.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no byte is initialized.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sets the length to 0. The capacity stays the same.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Appends `bytes`.
    ///
    /// # Panics
    ///
    /// If they do not fit into the capacity.
    #[track_caller]
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        let len = self.len.saturating_add(bytes.len());
        self.assert_room(len);
        // SAFETY: the copy ends inside the allocation by the assertion above; a borrow cannot reach past the length.
        unsafe {
            self.start
                .as_ptr()
                .add(self.len)
                .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        self.len = len;
    }

    /// Shortens the buffer to `len` bytes, or lengthens it with bytes of `value`.
    ///
    /// # Panics
    ///
    /// If `len` exceeds the capacity.
    #[track_caller]
    pub fn resize(&mut self, len: usize, value: u8) {
        self.assert_room(len);
        if let Some(more) = len.checked_sub(self.len) {
            // SAFETY: the bytes from the old length to the new one are inside the allocation by the assertion above.
            unsafe { self.start.add(self.len).write_bytes(value, more) };
        }
        self.len = len;
    }

    #[track_caller]
    fn assert_room(&self, len: usize) {
        assert!(
            len <= self.capacity(),
            "{len} bytes do not fit into an aligned buffer with a capacity of {}",
            self.capacity()
        );
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.io_bytes()
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: the length counts initialized bytes of an allocation that only this value reaches.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        // SAFETY: `new` allocated it with this layout, and nothing else frees it.
        unsafe { alloc::dealloc(self.start.as_ptr(), self.layout) }
    }
}

// Not read, because the kernel may be writing the bytes.
impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlignedBuf")
            .field("len", &self.len)
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

// SAFETY: the allocation belongs to the value alone, and any thread may free what another has allocated.
unsafe impl Send for AlignedBuf {}
// SAFETY: through a shared reference it can only be read.
unsafe impl Sync for AlignedBuf {}

// SAFETY: L1, L2: a heap allocation that only drop frees. L3: `len` counts initialized bytes, and the pointer never
// leaves.
unsafe impl IoBuf for AlignedBuf {
    #[inline]
    fn io_ptr(&self) -> *const u8 {
        self.start.as_ptr()
    }

    #[inline]
    fn io_len(&self) -> usize {
        self.len
    }
}

// SAFETY: L4, L5: `capacity` bytes are allocated from there, for this value alone. L6: a number is stored.
unsafe impl IoBufMut for AlignedBuf {
    #[inline]
    fn io_mut_ptr(&mut self) -> *mut u8 {
        self.start.as_ptr()
    }

    #[inline]
    fn io_capacity(&self) -> usize {
        self.capacity()
    }

    #[inline]
    unsafe fn set_io_len(&mut self, n: usize) {
        self.len = n;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alignment_up_to_a_page_is_a_power_of_two_or_rejected() {
        for alignment in 0..=4096 {
            for capacity in [1, 7, 4096] {
                match AlignedBuf::new(capacity, alignment) {
                    Ok(mut buf) => {
                        assert!(alignment.is_power_of_two());
                        assert_eq!(buf.as_ptr().addr() % alignment, 0);
                        assert_eq!((buf.capacity(), buf.alignment()), (capacity, alignment));
                        buf.resize(capacity, 9);
                        assert_eq!(*buf, vec![9; capacity]);
                    }
                    Err(error) => {
                        assert!(!alignment.is_power_of_two());
                        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
                        assert!(error.to_string().contains(&format!(" {alignment} ")));
                    }
                }
            }
        }
    }

    #[test]
    fn an_impossible_capacity_is_named_in_the_error() {
        for (capacity, alignment) in [(0, 512), (usize::MAX, 512), (1, 1 << (usize::BITS - 1))] {
            let error = AlignedBuf::new(capacity, alignment).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(error.to_string().contains(&capacity.to_string()));
        }
    }

    #[test]
    fn resizing_and_extending_behave_as_in_vec() {
        const CAPACITY: usize = 5;
        for from in 0..=CAPACITY {
            for to in 0..=CAPACITY {
                let mut buf = AlignedBuf::new(CAPACITY, 16).unwrap();
                let mut oracle = vec![1; from];
                buf.resize(from, 1);
                buf.resize(to, 2);
                oracle.resize(to, 2);
                assert_eq!(*buf, oracle);
                for more in 0..=CAPACITY - to {
                    buf.extend_from_slice(&vec![3; more]);
                    oracle.extend_from_slice(&vec![3; more]);
                    assert_eq!(*buf, oracle);
                    buf.resize(to, 0);
                    oracle.truncate(to);
                }
                buf.clear();
                assert!(buf.is_empty());
                assert_eq!(buf.capacity(), CAPACITY);
            }
        }
    }

    #[test]
    #[should_panic = "6 bytes do not fit into an aligned buffer with a capacity of 4"]
    fn an_aligned_buffer_never_grows() {
        let mut buf = AlignedBuf::new(4, 4).unwrap();
        buf.extend_from_slice(b"abc");
        buf.extend_from_slice(b"def");
    }

    #[test]
    fn debug_shows_the_length_and_not_the_content() {
        let mut buf = AlignedBuf::new(4096, 512).unwrap();
        buf.extend_from_slice(b"abc");
        assert_eq!(
            format!("{buf:?}"),
            "AlignedBuf { len: 3, capacity: 4096, .. }"
        );
    }

    #[test]
    fn an_aligned_buffer_is_send_and_sync() {
        fn check<T: Send + Sync + 'static>() {}
        check::<AlignedBuf>();
    }
}
