//! Several buffers lent at once, for vectored reads and writes.
//!
//! These traits define the order in which the buffers are visited, and how received bytes are distributed. They never
//! build the kernel's array of vectors: the operation does that, in an allocation of its own (O2).

use super::{IoBuf, IoBufMut};

/// Several buffers that the kernel may read: a `Vec` or an array of one type, or a tuple of up to four.
///
/// # Safety
///
/// L7: each call of `for_each_buf` visits the same buffers in the same order, and the value owns them: moving the value
/// at most moves them; forgetting it forgets them without dropping them.
///
/// # Examples
///
/// ```
/// use gimmal::buf::IoBufs;
///
/// let message = (String::from("length: 4\n\n"), &b"body"[..]);
/// let mut bytes = Vec::new();
/// message.for_each_buf(&mut |buf| bytes.extend_from_slice(buf.io_bytes()));
/// assert_eq!(bytes, b"length: 4\n\nbody");
/// assert_eq!(message.total_len(), bytes.len());
/// ```
pub unsafe trait IoBufs: 'static {
    /// Calls `visit` with each buffer, in order.
    fn for_each_buf(&self, visit: &mut dyn FnMut(&dyn IoBuf));

    /// Returns how many bytes are initialized in all of them.
    fn total_len(&self) -> usize {
        let mut total = 0usize;
        // One static slice can occur in it many times, so the sum may exceed the address space.
        self.for_each_buf(&mut |buf| total = total.saturating_add(buf.io_len()));
        total
    }
}

/// Several buffers that the kernel may fill, one after the other.
///
/// # Safety
///
/// L7 also holds for `for_each_buf_mut`, which visits the buffers that `for_each_buf` visits; and an overridden
/// `set_lens` does the same as the default.
///
/// # Examples
///
/// ```
/// use gimmal::buf::IoBufsMut;
///
/// let mut bufs = [Vec::with_capacity(4), Vec::with_capacity(4), Vec::with_capacity(4)];
/// let mut source = &b"abcdef"[..];
/// bufs.for_each_buf_mut(&mut |buf| {
///     let (head, tail) = source.split_at(source.len().min(4));
///     // SAFETY: each has room for four bytes.
///     unsafe { buf.io_mut_ptr().copy_from_nonoverlapping(head.as_ptr(), head.len()) };
///     source = tail;
/// });
/// // SAFETY: six bytes were written, filling each before the next.
/// unsafe { bufs.set_lens(6) };
/// assert_eq!(bufs, [&b"abcd"[..], b"ef", b""]);
/// ```
pub unsafe trait IoBufsMut: IoBufs {
    /// Calls `visit` with each buffer, in order.
    fn for_each_buf_mut(&mut self, visit: &mut dyn FnMut(&mut dyn IoBufMut));

    /// Returns the total capacity in bytes.
    fn total_capacity(&mut self) -> usize {
        let mut total = 0usize;
        self.for_each_buf_mut(&mut |buf| total = total.saturating_add(buf.io_capacity()));
        total
    }

    /// Declares that `n` bytes have been filled, each buffer to its capacity before the next. Each buffer gets the
    /// length of its share, as with [`IoBufMut::set_io_len`], and those after the last one filled get 0.
    ///
    /// # Safety
    ///
    /// `n` does not exceed the total capacity, and those bytes are initialized.
    unsafe fn set_lens(&mut self, n: usize) {
        let mut rest = n;
        self.for_each_buf_mut(&mut |buf| {
            let len = rest.min(buf.io_capacity());
            rest -= len;
            // SAFETY: the caller has initialized n bytes, and this buffer's share of them is its first `len`.
            unsafe { buf.set_io_len(len) };
        });
        assert_eq!(rest, 0, "{n} bytes came into buffers with less room");
    }
}

// SAFETY: L7: the buffers are this value's elements, in their order.
unsafe impl<B: IoBuf> IoBufs for Vec<B> {
    fn for_each_buf(&self, visit: &mut dyn FnMut(&dyn IoBuf)) {
        self.iter().for_each(|buf| visit(buf));
    }
}

// SAFETY: L7: the same elements, in the same order.
unsafe impl<B: IoBufMut> IoBufsMut for Vec<B> {
    fn for_each_buf_mut(&mut self, visit: &mut dyn FnMut(&mut dyn IoBufMut)) {
        self.iter_mut().for_each(|buf| visit(buf));
    }
}

// SAFETY: L7: the buffers are this value's elements, in their order; moving them with it leaves their bytes (L1).
unsafe impl<B: IoBuf, const N: usize> IoBufs for [B; N] {
    fn for_each_buf(&self, visit: &mut dyn FnMut(&dyn IoBuf)) {
        self.iter().for_each(|buf| visit(buf));
    }
}

// SAFETY: L7: the same elements, in the same order.
unsafe impl<B: IoBufMut, const N: usize> IoBufsMut for [B; N] {
    fn for_each_buf_mut(&mut self, visit: &mut dyn FnMut(&mut dyn IoBufMut)) {
        self.iter_mut().for_each(|buf| visit(buf));
    }
}

macro_rules! tuple {
    ($($name:ident $index:tt),+) => {
        // SAFETY: L7: the buffers are this value's fields, in their order; moving them with it leaves their bytes (L1).
        unsafe impl<$($name: IoBuf),+> IoBufs for ($($name,)+) {
            fn for_each_buf(&self, visit: &mut dyn FnMut(&dyn IoBuf)) {
                $(visit(&self.$index);)+
            }
        }

        // SAFETY: L7: the same fields, in the same order.
        unsafe impl<$($name: IoBufMut),+> IoBufsMut for ($($name,)+) {
            fn for_each_buf_mut(&mut self, visit: &mut dyn FnMut(&mut dyn IoBufMut)) {
                $(visit(&mut self.$index);)+
            }
        }
    };
}

tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);

#[cfg(test)]
mod tests {
    use super::*;

    /// Scatters `source` over the buffers as the kernel does, then sets the lengths.
    fn read_into(bufs: &mut impl IoBufsMut, source: &[u8]) {
        let mut parts = Vec::new();
        bufs.for_each_buf_mut(&mut |buf| parts.push((buf.io_mut_ptr(), buf.io_capacity())));
        let mut rest = source;
        for (start, capacity) in parts {
            let (head, tail) = rest.split_at(rest.len().min(capacity));
            // SAFETY: at most the capacity is written (L4).
            unsafe { start.copy_from_nonoverlapping(head.as_ptr(), head.len()) };
            rest = tail;
        }
        // SAFETY: the loop above has initialized as many bytes, each buffer before the next.
        unsafe { bufs.set_lens(source.len()) };
    }

    fn gathered(bufs: &impl IoBufs) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        bufs.for_each_buf(&mut |buf| all.push(buf.io_bytes().to_vec()));
        all
    }

    fn with_room(capacity: usize) -> Vec<u8> {
        let mut buf = Vec::with_capacity(capacity);
        buf.resize(capacity, 7);
        buf
    }

    #[test]
    fn bytes_read_are_distributed_from_the_first_buffer_on() {
        for capacities in (0..4 * 4 * 4).map(|n| [n / 16, n / 4 % 4, n % 4]) {
            let total: usize = capacities.iter().sum();
            for n in 0..=total {
                let source: Vec<u8> = (0..n as u8).collect();
                let mut rest = &source[..];
                let oracle = capacities.map(|capacity| {
                    let (head, tail) = rest.split_at(rest.len().min(capacity));
                    rest = tail;
                    head.to_vec()
                });

                let mut array = capacities.map(with_room);
                assert_eq!((array.total_len(), array.total_capacity()), (total, total));
                read_into(&mut array, &source);
                assert_eq!(array, oracle);
                assert_eq!(array.total_len(), n);

                let mut vec: Vec<_> = capacities.map(with_room).into();
                read_into(&mut vec, &source);
                assert_eq!(vec, oracle);

                let [a, b, c] = capacities.map(with_room);
                let mut tuple = (a, b.slice(..), c.into_boxed_slice());
                read_into(&mut tuple, &source);
                let (a, b, c) = tuple;
                assert_eq!(a, oracle[0]);
                // A slice and a fixed buffer keep their length: the bytes beyond the new ones are unchanged.
                for (buf, new) in [(b.into_inner(), &oracle[1]), (c.into(), &oracle[2])] {
                    assert_eq!(buf[..new.len()], **new);
                    assert!(buf[new.len()..].iter().all(|&byte| byte == 7));
                }
            }
        }
    }

    #[test]
    #[should_panic = "5 bytes came into buffers with less room"]
    fn more_bytes_than_room_violate_the_contract() {
        let mut bufs = [with_room(2), with_room(2)];
        // SAFETY: violated on purpose: the test checks that the lengths stay within the capacities, and that the
        // violation is detected.
        unsafe { bufs.set_lens(5) };
    }

    #[test]
    fn tuples_take_buffers_of_different_types() {
        let two = ("a", String::from("b"));
        assert_eq!(gathered(&two), [b"a", b"b"]);
        let four = ("a", vec![b'b'], &b"c"[..], bytes::Bytes::from_static(b"d"));
        assert_eq!(gathered(&four), [b"a", b"b", b"c", b"d"]);
        assert_eq!(four.total_len(), 4);
    }

    #[test]
    fn moving_buffers_leaves_their_bytes_in_place() {
        let places = |bufs: &[Vec<u8>; 2]| {
            let mut all = Vec::new();
            bufs.for_each_buf(&mut |buf| all.push(buf.io_ptr()));
            all
        };
        let bufs = [with_room(3), with_room(5)];
        let before = places(&bufs);
        assert_eq!(places(&Box::new(bufs)), before);
    }
}
