//! Buffers watched after they are freed.

use gimmal::buf::{IoBuf, IoBufMut};
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::{Cell, RefCell};
use std::ptr::NonNull;

/// A buffer that fills its memory with a canary when it is dropped, and keeps the memory, so that later reads and
/// writes are detected.
#[derive(Debug)]
pub struct Watched {
    start: NonNull<u8>,
    layout: Layout,
    len: usize,
    /// The only byte that may have been written into the buffer.
    expected: Option<u8>,
}

/// A byte that no test writes.
pub const CANARY: u8 = 0xC5;
const FRESH: u8 = 0x11;
const PAGE: [u8; 4096] = [CANARY; 4096];

/// The memory of a dropped buffer, kept while it is watched.
struct Freed {
    start: NonNull<u8>,
    layout: Layout,
}

impl Freed {
    fn is_untouched(&self) -> bool {
        // SAFETY: the memory was initialized and is kept.
        let bytes = unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.layout.size()) };
        bytes
            .chunks(PAGE.len())
            .all(|part| part == &PAGE[..part.len()])
    }
}

impl Drop for Freed {
    fn drop(&mut self) {
        // SAFETY: the buffer allocated the memory with this layout and passed it to this value alone.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}

thread_local! {
    static ALIVE: Cell<usize> = const { Cell::new(0) };
    static FREED: RefCell<Vec<Freed>> = const { RefCell::new(Vec::new()) };
    static STRANGE: RefCell<Option<String>> = const { RefCell::new(None) };
}

impl Watched {
    /// An empty buffer.
    pub fn new(capacity: usize, alignment: usize) -> Watched {
        let layout = Layout::from_size_align(capacity, alignment).expect("a layout");
        assert!(capacity > 0);
        // SAFETY: the size is not zero.
        let start = unsafe { alloc(layout) };
        let Some(start) = NonNull::new(start) else {
            handle_alloc_error(layout)
        };
        // SAFETY: `capacity` bytes were just allocated.
        unsafe { start.write_bytes(FRESH, capacity) };
        ALIVE.with(|alive| alive.set(alive.get() + 1));
        Watched {
            start,
            layout,
            len: 0,
            expected: None,
        }
    }

    /// A buffer full of `byte`.
    pub fn full(byte: u8, capacity: usize, alignment: usize) -> Watched {
        assert_ne!(byte, CANARY);
        let mut buf = Watched::new(capacity, alignment);
        // SAFETY: `capacity` bytes are allocated.
        unsafe { buf.start.write_bytes(byte, capacity) };
        buf.len = capacity;
        buf
    }

    /// Declares the only byte that may be written into the buffer.
    pub fn expecting(mut self, byte: u8) -> Watched {
        self.expected = Some(byte);
        self
    }

    /// The number of buffers of this thread that have not been dropped.
    pub fn alive() -> usize {
        ALIVE.with(Cell::get)
    }

    /// Checks that freed memory is untouched, and that no dropped buffer held an unexpected byte.
    #[track_caller]
    pub fn check(after: &str) {
        FREED.with_borrow(|freed| {
            assert!(
                freed.iter().all(Freed::is_untouched),
                "freed memory was written to, found after {after}"
            );
        });
        if let Some(strange) = STRANGE.take() {
            panic!("{strange}, found after {after}");
        }
    }

    /// Checks, and frees the memory that was kept.
    #[track_caller]
    pub fn check_and_forget(after: &str) {
        Watched::check(after);
        drop(FREED.take());
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // SAFETY: `new` initialized all of the memory, which belongs to this value.
        let bytes =
            unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.layout.size()) };
        if let Some(expected) = self.expected
            && let Some(byte) = bytes.iter().find(|byte| ![FRESH, expected].contains(byte))
        {
            let what = format!("a buffer for {expected:#x} contains {byte:#x}");
            let _ = STRANGE.try_with(|strange| strange.replace(Some(what)));
        }
        bytes.fill(CANARY);
        let _ = ALIVE.try_with(|alive| alive.set(alive.get() - 1));
        let freed = Freed {
            start: self.start,
            layout: self.layout,
        };
        // While the thread exits, nothing can watch the memory any longer, so it is freed.
        let _ = FREED.try_with(|kept| kept.borrow_mut().push(freed));
    }
}

// SAFETY: L1, L2: nothing frees the allocation while the value exists or is forgotten. L3: all of it is initialized.
unsafe impl IoBuf for Watched {
    fn io_ptr(&self) -> *const u8 {
        self.start.as_ptr()
    }

    fn io_len(&self) -> usize {
        self.len
    }
}

// SAFETY: L4, L5: the allocation belongs to this value alone. L6: only a number is stored.
unsafe impl IoBufMut for Watched {
    fn io_mut_ptr(&mut self) -> *mut u8 {
        self.start.as_ptr()
    }

    fn io_capacity(&self) -> usize {
        self.layout.size()
    }

    unsafe fn set_io_len(&mut self, n: usize) {
        self.len = n;
    }
}
