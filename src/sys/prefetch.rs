//! A hint to the processor that memory will be read soon.

use std::ptr;

/// The size of a cache line in bytes.
const LINE: usize = 64;

/// The most lines of a value to fetch: the processor fetches the rest by itself, or it is not needed.
const LINES_MAX: usize = 4;

/// Makes the processor fetch a value that will be used soon, while it goes on with other work. Does nothing on
/// processors other than x86-64: there is no stable intrinsic.
#[inline]
pub(crate) fn prefetch<T: ?Sized>(value: &T) {
    let start = ptr::from_ref(value).cast::<i8>();
    for line in 0..size_of_val(value).div_ceil(LINE).min(LINES_MAX) {
        let address = start.wrapping_add(line * LINE);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a hint reads nothing that the program could observe, and faults at no address.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(address);
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = address;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_value_may_be_prefetched_and_none_is_changed() {
        let bytes: Vec<u8> = (0..=255).cycle().take(10_000).collect();
        for len in [0, 1, 63, 64, 65, 10_000] {
            prefetch(&bytes[..len]);
        }
        prefetch::<dyn std::fmt::Debug>(&bytes);
        prefetch(&());
        assert!(bytes.iter().enumerate().all(|(n, byte)| *byte == n as u8));
    }
}
