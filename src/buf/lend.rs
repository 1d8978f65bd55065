//! What one operation lends: a part of one buffer, or several buffers at once.
//!
//! To the kernel, both are an address and a length: of the bytes, or of an array that describes several buffers. So
//! reads and writes are written once, for whatever lends: [`Lend`] for the kernel to read, [`LendMut`] for it to fill.

use super::{BufError, BufResult, IoBuf, IoBufMut, IoBufs, IoBufsMut};
use std::borrow::Cow;
use std::fmt;
use std::io;
use std::iter;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::slice;

/// The most bytes that the kernel moves in one call (`read(2)`, NOTES).
pub(crate) const BYTES_MAX: usize = 0x7fff_f000;

/// The most buffers of one call, `IOV_MAX` (`readv(2)`): only the first ones are used, as in std. A call may do less
/// than requested anyway.
const BUFFERS_MAX: usize = 1024;

/// Memory lent for the kernel to read.
///
/// # Safety
///
/// For as long as the value exists, moved or not, or forever if it is forgotten, `addr` returns the same address, from
/// which the kernel may read `entry_len` bytes or, if `IS_VECTORED`, as many vectors and the bytes that they describe.
/// Nothing writes them (L1 to L3).
pub unsafe trait Lend: fmt::Debug + Sized + 'static {
    /// What the caller has passed, and gets back.
    type Bufs;

    const IS_VECTORED: bool;

    /// Returns the former for one buffer, the latter for several.
    #[inline]
    fn either<T>(part: T, vectored: T) -> T {
        if Self::IS_VECTORED { vectored } else { part }
    }

    /// Lends all the bytes that the buffers contain.
    fn contents(bufs: Self::Bufs) -> Self;

    fn addr(&self) -> *const u8;

    /// Returns the length for the entry: of the bytes, as far as one call moves them, or of the array.
    fn entry_len(&self) -> u32;

    /// Returns how many bytes are lent.
    fn bytes(&self) -> usize;

    fn into_bufs(self) -> Self::Bufs;

    /// Returns how many bytes are requested from the kernel.
    #[inline]
    fn requested(&self) -> usize {
        self.bytes().min(BYTES_MAX)
    }

    /// Gives the buffers back, with the number of bytes written or the error.
    #[inline]
    fn give_back(self, written: io::Result<u32>) -> BufResult<usize, Self::Bufs> {
        match written {
            Ok(n) => Ok((n as usize, self.into_bufs())),
            Err(error) => Err(BufError::new(error, self.into_bufs())),
        }
    }
}

/// Memory lent for the kernel to fill.
///
/// # Safety
///
/// In addition to the obligations of [`Lend`], for what was made by `room`: the kernel may also write the bytes at
/// `addr_mut`, which returns the address that `addr` does, or those that the vectors describe; nothing else reads or
/// writes them (L4, L5).
pub unsafe trait LendMut: Lend {
    /// Lends the whole capacity.
    fn room(bufs: Self::Bufs) -> Self;

    fn addr_mut(&mut self) -> *mut u8;

    /// Sets the lengths of the buffers, which have been filled with this number of bytes.
    ///
    /// # Safety
    ///
    /// That many of the lent bytes have been written, from the start and each buffer to its capacity before the next.
    unsafe fn set_filled(&mut self, n: usize);

    /// Returns what has been received: the first `n` of the lent bytes, after those that precede them in the buffer.
    ///
    /// # Safety
    ///
    /// As for [`set_filled`](LendMut::set_filled).
    unsafe fn received(&mut self, n: usize) -> Cow<'_, [u8]>;

    /// Returns the lent memory, piece by piece.
    ///
    /// # Safety
    ///
    /// The kernel does not have it, and nothing but bytes are written to it.
    unsafe fn rooms(&mut self) -> impl Iterator<Item = &mut [MaybeUninit<u8>]>;
}

/// Rejects a read without room.
#[inline]
pub(crate) fn need_room(bytes: usize) -> io::Result<()> {
    match bytes {
        0 => Err(no_room()),
        _ => Ok(()),
    }
}

/// The error for a read without room, which would look like the end of the file (B2).
#[cold]
pub(crate) fn no_room() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "read into a buffer of capacity 0: give it a capacity, for example with Vec::with_capacity",
    )
}

/// A part of one buffer.
pub struct Part<B> {
    buf: B,
    /// Within the length to be read, within the capacity to be filled. What is before it is initialized.
    part: Range<usize>,
}

impl<B: IoBuf> Part<B> {
    /// Lends that part of the bytes that the buffer contains.
    #[inline]
    pub(crate) fn of_contents(buf: B, part: Range<usize>) -> Part<B> {
        assert!(part.end <= buf.io_len() && part.start <= part.end);
        Part { buf, part }
    }

    pub(crate) fn buf(&self) -> &B {
        &self.buf
    }

    /// Lends only the first half of it.
    pub(crate) fn halve(&mut self) {
        self.part.end -= self.part.len() / 2;
    }
}

impl<B: IoBufMut> Part<B> {
    /// Lends that part of the capacity. The bytes before it are initialized, and count towards the length afterwards.
    #[inline]
    pub(crate) fn of_room(buf: B, part: Range<usize>) -> Part<B> {
        assert!(part.end <= buf.io_capacity() && part.start <= buf.io_len());
        Part { buf, part }
    }
}

// SAFETY: L1 to L3: the part is within the initialized bytes of the buffer, or was made by `room`.
unsafe impl<B: IoBuf> Lend for Part<B> {
    type Bufs = B;
    const IS_VECTORED: bool = false;

    #[inline]
    fn contents(buf: B) -> Part<B> {
        let part = 0..buf.io_len();
        Part { buf, part }
    }

    #[inline]
    fn addr(&self) -> *const u8 {
        self.buf.io_ptr().wrapping_add(self.part.start)
    }

    #[inline]
    fn entry_len(&self) -> u32 {
        self.requested() as u32
    }

    #[inline]
    fn bytes(&self) -> usize {
        self.part.len()
    }

    #[inline]
    fn into_bufs(self) -> B {
        self.buf
    }
}

// SAFETY: L4 and L5: the part is within the capacity.
unsafe impl<B: IoBufMut> LendMut for Part<B> {
    #[inline]
    fn room(buf: B) -> Part<B> {
        let part = 0..buf.io_capacity();
        Part { buf, part }
    }

    #[inline]
    fn addr_mut(&mut self) -> *mut u8 {
        self.buf.io_mut_ptr().wrapping_add(self.part.start)
    }

    #[inline]
    unsafe fn set_filled(&mut self, n: usize) {
        assert!(n <= self.part.len(), "the kernel read more than was lent");
        // SAFETY: what is before the part is initialized, and by the caller's promise `n` bytes from its start are.
        unsafe { self.buf.set_io_len(self.part.start + n) };
    }

    unsafe fn received(&mut self, n: usize) -> Cow<'_, [u8]> {
        // A pointer from `io_ptr` may be used for the length only.
        let start = self.buf.io_mut_ptr();
        // SAFETY: what is before the part is initialized, and by the caller's promise `n` bytes from its start are; no
        // more is written while `self` is borrowed (L3 to L5).
        unsafe { slice::from_raw_parts(start, self.part.start + n) }.into()
    }

    unsafe fn rooms(&mut self) -> impl Iterator<Item = &mut [MaybeUninit<u8>]> {
        let (start, len) = (self.addr_mut().cast(), self.part.len());
        // SAFETY: the part is within the capacity, which is writable and this value's alone (L4, L5).
        iter::once(unsafe { slice::from_raw_parts_mut(start, len) })
    }
}

// The memory is never read (B3).
impl<B> fmt::Debug for Part<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Part").field(&self.part).finish()
    }
}

/// Several buffers, and the array that tells the kernel where they are: an allocation of its own (O2).
pub struct Vectored<B> {
    bufs: B,
    array: Box<[libc::iovec]>,
    /// The length of all buffers together.
    bytes: usize,
}

impl<B> Vectored<B> {
    fn new(bufs: B, array: Vec<libc::iovec>) -> Vectored<B> {
        let lens = array.iter().map(|vector| vector.iov_len);
        Vectored {
            bufs,
            bytes: lens.fold(0, usize::saturating_add),
            array: array.into(),
        }
    }
}

fn add(array: &mut Vec<libc::iovec>, start: *mut u8, len: usize) {
    if array.len() < BUFFERS_MAX {
        array.push(libc::iovec {
            iov_base: start.cast(),
            iov_len: len,
        });
    }
}

// SAFETY: L1 to L3 for each buffer, which the value owns (L7); the array is a boxed allocation of its own.
unsafe impl<B: IoBufs> Lend for Vectored<B> {
    type Bufs = B;
    const IS_VECTORED: bool = true;

    fn contents(bufs: B) -> Vectored<B> {
        let mut array = Vec::new();
        bufs.for_each_buf(&mut |buf| add(&mut array, buf.io_ptr().cast_mut(), buf.io_len()));
        Vectored::new(bufs, array)
    }

    fn addr(&self) -> *const u8 {
        self.array.as_ptr().cast()
    }

    fn entry_len(&self) -> u32 {
        self.array.len() as u32
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn into_bufs(self) -> B {
        self.bufs
    }
}

// SAFETY: L4 and L5 for each buffer; the vectors describe their capacities.
unsafe impl<B: IoBufsMut> LendMut for Vectored<B> {
    fn room(mut bufs: B) -> Vectored<B> {
        let mut array = Vec::new();
        bufs.for_each_buf_mut(&mut |buf| {
            let (start, room) = (buf.io_mut_ptr(), buf.io_capacity());
            add(&mut array, start, room);
        });
        Vectored::new(bufs, array)
    }

    fn addr_mut(&mut self) -> *mut u8 {
        self.array.as_mut_ptr().cast()
    }

    unsafe fn set_filled(&mut self, n: usize) {
        // SAFETY: the caller promises that `n` bytes were written, in order, each buffer to its capacity.
        unsafe { self.bufs.set_lens(n) };
    }

    unsafe fn received(&mut self, n: usize) -> Cow<'_, [u8]> {
        let mut bytes = Vec::with_capacity(n);
        let mut lens = self.array.iter().map(|vector| vector.iov_len);
        // The addresses in the array are for the kernel: a box may have moved since they were taken.
        self.bufs.for_each_buf_mut(&mut |buf| {
            let len = lens.next().unwrap_or(0).min(n - bytes.len());
            // SAFETY: the caller promises that `n` bytes were written, in order, so these were.
            bytes.extend_from_slice(unsafe { slice::from_raw_parts(buf.io_mut_ptr(), len) });
        });
        bytes.into()
    }

    unsafe fn rooms(&mut self) -> impl Iterator<Item = &mut [MaybeUninit<u8>]> {
        let mut rooms = Vec::new();
        // As for `received`. Those past the end of the array are not lent.
        self.bufs.for_each_buf_mut(&mut |buf| {
            let (start, room) = (buf.io_mut_ptr().cast(), buf.io_capacity());
            // SAFETY: the capacity is writable and this value's alone (L4, L5), which is borrowed for as long.
            rooms.push(unsafe { slice::from_raw_parts_mut(start, room) });
        });
        rooms.truncate(self.array.len());
        rooms.into_iter()
    }
}

impl<B> fmt::Debug for Vectored<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Vectored").field(&self.bytes).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;

    /// Fills as much of what is lent as there is in `source`, as a stream fills it with what it has kept.
    fn fill(lent: &mut impl LendMut, source: &[u8]) {
        let mut rest = source;
        // SAFETY: there is no kernel, and bytes are written.
        for room in unsafe { lent.rooms() } {
            let (head, tail) = rest.split_at(rest.len().min(room.len()));
            for (place, byte) in room.iter_mut().zip(head) {
                place.write(*byte);
            }
            rest = tail;
        }
        assert!(rest.is_empty());
        // SAFETY: as many bytes were written above, in order.
        unsafe {
            assert_eq!(*lent.received(source.len()), *source);
            lent.set_filled(source.len());
        }
    }

    fn move_about<L>(lent: L) -> L {
        *Box::new(lent)
    }

    #[test]
    fn what_is_lent_is_filled_wherever_the_value_has_moved() {
        let source = *b"abcdefgh";
        for n in 0..=source.len() {
            let source = &source[..n];
            let bufs = (
                Vec::with_capacity(2),
                vec![0; 3].into_boxed_slice(),
                BytesMut::with_capacity(3),
            );
            let mut lent = move_about(Vectored::room(bufs));
            assert_eq!((lent.entry_len(), lent.bytes()), (3, 8));
            fill(&mut lent, source);
            let (a, b, c) = move_about(lent).into_bufs();
            let (head, tail) = source.split_at(n.min(2));
            assert_eq!(a, head);
            let (head, tail) = tail.split_at(tail.len().min(3));
            assert_eq!(b[..head.len()], *head);
            assert_eq!(c, tail);

            let mut lent = move_about(Part::room(vec![0; 8].into_boxed_slice()));
            fill(&mut lent, source);
            assert_eq!(move_about(lent).into_bufs()[..n], *source);
        }
    }

    #[test]
    fn what_precedes_a_part_is_received_before() {
        let mut buf = Vec::with_capacity(8);
        buf.extend_from_slice(b"abc");
        let mut part = move_about(Part::of_room(buf, 3..6));
        // SAFETY: there is no kernel, and a byte is written, as the length then says.
        unsafe {
            part.rooms().for_each(|room| {
                room[0].write(b'd');
            });
            assert_eq!(*part.received(1), *b"abcd");
            part.set_filled(1);
        }
        assert_eq!(part.into_bufs(), b"abcd");
    }
}
