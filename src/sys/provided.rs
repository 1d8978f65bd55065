//! A ring of provided buffers: memory from which the kernel takes a buffer when it has data to put into it (5.19).
//!
//! It owns the memory and the queue through which buffers return to the kernel. Any thread may return a buffer: the
//! queue has one lock, and the kernel reads only its tail. Nothing waits for a buffer: a receive that finds none
//! allocates memory of its own (`op/stream/chunks.rs`).
//!
//! The memory lives as long as the ring has a holder: the runtime, every operation that may take a buffer (a leaked
//! operation leaks the memory with it, O8), and every buffer in use.

use crate::threading::{AtomicU16, Mutex, SharedCell, lock};
use std::fmt;
use std::io;
use std::mem;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The most buffers in a ring: buffer IDs have 16 bits, and this is the kernel's limit.
const COUNT_MAX: usize = 1 << 15;

/// The most bytes of one buffer: the kernel counts received bytes in 31 bits.
const SIZE_MAX: usize = 1 << 30;

/// An alignment that suffices for memory that the kernel reads in pages, on every machine.
const PAGE: usize = 1 << 16;

/// An entry of the queue: `struct io_uring_buf`. The last field of the first entry is the tail of the queue.
#[repr(C)]
struct BufEntry {
    addr: SharedCell<u64>,
    len: SharedCell<u32>,
    id: SharedCell<u16>,
    tail: AtomicU16,
}

/// The number and size of a ring's buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BufSizes {
    count: usize,
    size: usize,
}

impl BufSizes {
    /// Checks the sizes.
    pub(crate) fn new(count: usize, size: usize) -> io::Result<BufSizes> {
        let bad = |what: String| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        if !count.is_power_of_two() || count > COUNT_MAX {
            return bad(format!(
                "receive_buffers: their number is {count}, and must be a power of two up to {COUNT_MAX}"
            ));
        }
        if size == 0
            || size > SIZE_MAX
            || count
                .checked_mul(size)
                .is_none_or(|all| all > isize::MAX as usize / 2)
        {
            return bad(format!(
                "receive_buffers: their size is {size} bytes, and must be from 1 to {SIZE_MAX}"
            ));
        }
        Ok(BufSizes { count, size })
    }

    pub(crate) fn size(self) -> usize {
        self.size
    }

    /// Returns the length of the queue in bytes, in whole pages.
    fn queue_len(self) -> usize {
        (self.count * mem::size_of::<BufEntry>()).next_multiple_of(PAGE)
    }

    fn len(self) -> usize {
        self.queue_len() + self.count * self.size
    }
}

/// The queue through which buffers go to the kernel, at any address. Any thread fills it, and the kernel empties it.
struct BufQueue {
    entries: NonNull<BufEntry>,
    /// A power of two.
    count: usize,
    /// How many entries were filled so far. The lock is the right to fill the next one.
    filled: Mutex<usize>,
}

impl BufQueue {
    /// Puts the buffer with this ID, address and length into the queue.
    ///
    /// # Safety
    ///
    /// The entries are valid, as many as `count`. At most that many buffers are in the queue, this one included: so the
    /// kernel has read the entry that is overwritten.
    unsafe fn fill(&self, id: u16, addr: u64, len: u32) {
        let mut filled = lock(&self.filled);
        let at = *filled & (self.count - 1);
        *filled = filled.wrapping_add(1);
        // SAFETY: the caller promises that the entry is valid. It is written under the lock only, and the kernel, which
        // never writes, does not read it before the tail is past it. The tail, which shares the first entry, is not
        // touched before its store. The store is a release: whatever sees the tail also sees what was written before it.
        unsafe {
            let entry = self.entries.add(at).as_ref();
            entry.addr.with_mut(|place| place.write(addr));
            entry.len.with_mut(|place| place.write(len));
            entry.id.with_mut(|place| place.write(id));
            let tail = &self.entries.as_ref().tail;
            // The tail has 16 bits, more than the entries of a queue need.
            tail.store(*filled as u16, Ordering::Release);
        }
    }
}

/// A queue of buffers, and the buffers. The queue comes first in the memory.
pub(crate) struct BufRing {
    memory: NonNull<u8>,
    sizes: BufSizes,
    queue: BufQueue,
    /// How many buffers the kernel has handed out so far. Only the runtime's own thread counts them.
    handed_out: AtomicUsize,
}

// SAFETY: the pointers are into a mapping of its own, which lives as long as the ring. The queue in it is written
// under the lock only; a buffer in it is read only through its `ProvidedBuf`, of which there is one.
unsafe impl Send for BufRing {}
// SAFETY: as above.
unsafe impl Sync for BufRing {}

impl BufRing {
    /// Creates a ring with all of its buffers in the queue. It is not registered with any kernel ring yet.
    pub(crate) fn new(sizes: BufSizes) -> io::Result<BufRing> {
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches no memory that exists.
        let memory = unsafe {
            libc::mmap(
                ptr::null_mut(),
                sizes.len(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let Some(memory) = NonNull::new(memory.cast()) else {
            unreachable!("the kernel maps nothing at address zero unless it is asked to")
        };
        let ring = BufRing {
            memory,
            sizes,
            queue: BufQueue {
                entries: memory.cast(),
                count: sizes.count,
                filled: Mutex::default(),
            },
            handed_out: AtomicUsize::new(0),
        };
        for id in 0..sizes.count {
            ring.fill(id as u16);
        }
        Ok(ring)
    }

    /// Returns the address of the queue, which is at a page boundary.
    pub(super) fn address(&self) -> u64 {
        self.memory.as_ptr().expose_provenance() as u64
    }

    /// Returns the number of buffers, a power of two.
    pub(super) fn count(&self) -> u16 {
        self.sizes.count as u16
    }

    /// Returns how many buffers the kernel has handed out that were not returned yet.
    pub(crate) fn out(&self) -> usize {
        let given_back = *lock(&self.queue.filled) - self.sizes.count;
        self.handed_out.load(Ordering::Relaxed) - given_back
    }

    fn buffer(&self, id: u16) -> *mut u8 {
        let offset = self.sizes.queue_len() + usize::from(id) * self.sizes.size;
        self.memory.as_ptr().wrapping_add(offset)
    }

    /// Puts a buffer into the queue. The caller is its only holder.
    fn fill(&self, id: u16) {
        let addr = self.buffer(id).expose_provenance() as u64;
        // SAFETY: the entries are in the mapping, aligned and zeroed at first, which is valid for them. There are as many
        // buffers as entries, and this one is not in the queue, because the caller holds it.
        unsafe { self.queue.fill(id, addr, self.sizes.size as u32) };
    }
}

impl Drop for BufRing {
    fn drop(&mut self) {
        // SAFETY: the mapping belongs to this ring and has this length, and nothing that could read it is left: every
        // `ProvidedBuf` and every operation that may take a buffer holds the ring.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), self.sizes.len()) };
    }
}

impl fmt::Debug for BufRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufRing")
            .field("sizes", &self.sizes)
            .field("out", &self.out())
            .finish_non_exhaustive()
    }
}

/// A buffer that the kernel has filled, with this as its only holder.
#[derive(Debug)]
pub(crate) struct ProvidedBuf {
    ring: Arc<BufRing>,
    id: u16,
    len: usize,
}

impl ProvidedBuf {
    /// Returns the buffer that a completion names.
    ///
    /// # Safety
    ///
    /// The completion belongs to a request that takes its buffers from this ring, and is passed here once. It reports
    /// that the kernel has filled `len` bytes.
    pub(crate) unsafe fn from_completion(ring: &Arc<BufRing>, id: u16, len: usize) -> ProvidedBuf {
        assert!(usize::from(id) < ring.sizes.count && len <= ring.sizes.size);
        // One thread counts them, so load and store need not be one step.
        let handed_out = ring.handed_out.load(Ordering::Relaxed);
        ring.handed_out.store(handed_out + 1, Ordering::Relaxed);
        ProvidedBuf {
            ring: ring.clone(),
            id,
            len,
        }
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the buffer is mapped and was zeroed at first; the kernel writes into it only while it has it, which
        // ended with the completion and begins again when this is dropped.
        unsafe { slice::from_raw_parts(self.ring.buffer(self.id), self.len) }
    }
}

/// Returns the buffer to the kernel.
impl Drop for ProvidedBuf {
    #[inline]
    fn drop(&mut self) {
        self.ring.fill(self.id);
    }
}

#[cfg(all(test, gimmal_loom))]
#[path = "provided_models.rs"]
mod models;
