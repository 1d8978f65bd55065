//! Models of buffers that return to the kernel from other threads. The checker reports an entry of the queue that one
//! thread writes while another one, or the kernel, reads or writes it.

use super::*;
use crate::threading::{check, thread};

const COUNT: usize = 2;
const LEN: u32 = 16;

/// A queue in memory of its own, with every buffer in it.
struct World(BufQueue);

// SAFETY: the entries belong to this value. They are written under the lock only, and read by the thread that plays the
// kernel.
unsafe impl Send for World {}
// SAFETY: as above.
unsafe impl Sync for World {}

impl World {
    fn new() -> World {
        let entry = || BufEntry {
            addr: SharedCell::new(0),
            len: SharedCell::new(0),
            id: SharedCell::new(0),
            tail: AtomicU16::new(0),
        };
        let entries: Box<[BufEntry; COUNT]> = Box::new([entry(), entry()]);
        let world = World(BufQueue {
            entries: NonNull::from(Box::leak(entries)).cast(),
            count: COUNT,
            filled: Mutex::default(),
        });
        world.fill(0);
        world.fill(1);
        world
    }

    fn fill(&self, id: u16) {
        // SAFETY: there are `COUNT` entries, and as many buffers, of which the caller holds this one.
        unsafe { self.0.fill(id, address_of(id), LEN) };
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // SAFETY: the entries were allocated in `new` as this array, and nothing else refers to them.
        drop(unsafe { Box::from_raw(self.0.entries.cast::<[BufEntry; COUNT]>().as_ptr()) });
    }
}

fn address_of(id: u16) -> u64 {
    0x1000 + u64::from(id) * u64::from(LEN)
}

/// The kernel's side: `io_ring_buffer_select` reads the tail with acquire, then the entry.
#[derive(Default)]
struct Kernel {
    head: u16,
}

impl Kernel {
    fn take(&mut self, world: &World) -> Option<u16> {
        let entries = world.0.entries.as_ptr().cast::<[BufEntry; COUNT]>();
        // SAFETY: the entries live as long as the world.
        let entries = unsafe { &*entries };
        if entries[0].tail.load(Ordering::Acquire) == self.head {
            return None;
        }
        let entry = &entries[usize::from(self.head) % COUNT];
        self.head += 1;
        // SAFETY: the pointers are valid. Whether another thread writes there is what the checker finds out.
        let (addr, len, id) = unsafe {
            (
                entry.addr.with(|place| *place),
                entry.len.with(|place| *place),
                entry.id.with(|place| *place),
            )
        };
        assert_eq!((addr, len), (address_of(id), LEN));
        Some(id)
    }
}

/// Two threads return a buffer each, while the kernel takes one and the runtime's own thread returns that one again.
#[test]
fn buffers_return_from_several_threads_while_the_kernel_takes_them() {
    check(4, || {
        let world = Arc::new(World::new());
        let mut kernel = Kernel::default();
        let taken = [(); COUNT].map(|()| kernel.take(&world).unwrap());
        assert_eq!(taken, [0, 1]);
        let threads = taken.map(|id| {
            let world = world.clone();
            thread::spawn(move || world.fill(id))
        });
        if let Some(id) = kernel.take(&world) {
            world.fill(id);
        }
        for thread in threads {
            thread.join().unwrap();
        }
        let mut taken = [(); COUNT].map(|()| kernel.take(&world).unwrap());
        taken.sort();
        assert_eq!(taken, [0, 1]);
        assert_eq!(kernel.take(&world), None);
    });
}
