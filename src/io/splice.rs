//! Copying a file inside the kernel: from the page cache into a pipe, and from there to the destination.
//!
//! In chunks of 256 KiB, a splice from a file costs less than reads and writes, whatever the destination; from a socket
//! or a pipe it gains little or nothing. (The figures are in `benches/README.md`.)
//!
//! A splice always goes to a kernel worker, which it occupies for as long as the other side makes it wait. So only
//! large files are spliced, and at most sixteen at once on a thread.

use crate::buf::BufError;
use crate::op::{Outlet, SharedFd, Splice};
use crate::sys::Descriptor;
use std::cell::Cell;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// The capacity of the pipe in bytes.
pub(super) const CHUNK: usize = 256 << 10;

/// The error of a copy that was stopped, with the bytes that were taken from the file and not written.
type Stopped = BufError<Vec<u8>>;

fn unable() -> Stopped {
    BufError::new(io::ErrorKind::Unsupported.into(), Vec::new())
}

/// Whether the file cannot be spliced at all, or not to its end: the kernel returns EINVAL for files it cannot splice
/// (for example a file opened for appending), and the ring may lack the opcode. If the other side is nonblocking, a
/// splice does not wait for room, as a write does.
pub(super) fn is_unable(stopped: &Stopped) -> bool {
    use io::ErrorKind::{InvalidInput, Unsupported, WouldBlock};
    matches!(stopped.kind(), InvalidInput | Unsupported | WouldBlock)
}

/// The maximum number of copies that occupy a kernel worker at once, for each thread, as each has its own ring. Further
/// copies use buffers, so that peers that do not read cost no threads.
const SLOTS: usize = 16;

thread_local! {
    static TAKEN: Cell<usize> = const { Cell::new(0) };
}

/// The right to occupy a worker.
#[derive(Debug)]
struct WorkerPermit(());

impl WorkerPermit {
    fn take() -> Option<WorkerPermit> {
        TAKEN.with(|taken| {
            let is_free = taken.get() < SLOTS;
            taken.update(|taken| taken + usize::from(is_free));
            is_free.then(|| WorkerPermit(()))
        })
    }
}

impl Drop for WorkerPermit {
    fn drop(&mut self) {
        TAKEN.with(|taken| taken.update(|taken| taken - 1));
    }
}

/// The pipe that the bytes pass through.
#[derive(Debug)]
struct Through {
    reader: SharedFd,
    writer: SharedFd,
    _slot: WorkerPermit,
}

impl Through {
    /// Creates the pipe. Returns `None` if no descriptor is left, or if this user's pipes leave no room for one that is
    /// large enough.
    fn new(slot: WorkerPermit) -> Option<Through> {
        let (reader, writer) = io::pipe().ok()?;
        let writer = Descriptor::from(OwnedFd::from(writer));
        writer.set_pipe_capacity(CHUNK).ok()?;
        Some(Through {
            reader: SharedFd::from(OwnedFd::from(reader)),
            writer: SharedFd::new(writer),
            _slot: slot,
        })
    }

    /// Returns the content of the pipe, which is `len` bytes.
    fn rest(&self, len: usize) -> Vec<u8> {
        let mut rest = vec![0; len];
        let read = |mut pipe: &std::fs::File| pipe.read_exact(&mut rest);
        // The bytes are there, so the read does not wait; and nothing else holds the other end, so there is no other
        // error.
        let there = self.reader.descriptor().with_std(read);
        debug_assert!(there.is_ok());
        rest
    }
}

/// Copies from the cursor of a file to its end. Calls `moved` with the number of bytes that have arrived since its last
/// call.
pub(super) async fn splice(
    file: &SharedFd,
    to: &Outlet,
    moved: &mut impl FnMut(usize),
) -> Result<(), Stopped> {
    let capacity = to.pipe_capacity();
    // A small pipe would cost a trip to a worker for every small piece that fits.
    if capacity.is_some_and(|capacity| capacity < CHUNK) {
        return Err(unable());
    }
    let Some(slot) = WorkerPermit::take() else {
        return Err(unable());
    };
    match capacity {
        Some(_) => into_pipe(file, to, moved, slot).await,
        None => through_pipe(file, to, moved, slot).await,
    }
}

/// Splices directly into the destination, which is a pipe itself.
async fn into_pipe(
    file: &SharedFd,
    to: &Outlet,
    moved: &mut impl FnMut(usize),
    slot: WorkerPermit,
) -> Result<(), Stopped> {
    let slot = Rc::new(slot);
    loop {
        match Splice::new(file, to, CHUNK, slot.clone(), false).await {
            Ok(0) => return Ok(()),
            Ok(n) => moved(n),
            Err(error) => return Err(BufError::new(error, Vec::new())),
        }
    }
}

async fn through_pipe(
    file: &SharedFd,
    to: &Outlet,
    moved: &mut impl FnMut(usize),
    slot: WorkerPermit,
) -> Result<(), Stopped> {
    let Some(pipe) = Through::new(slot).map(Rc::new) else {
        return Err(unable());
    };
    let writer = Outlet::of_file(&pipe.writer);
    loop {
        let mut left = match Splice::new(file, &writer, CHUNK, pipe.clone(), true).await {
            Ok(0) => return Ok(()),
            Ok(n) => n,
            Err(error) => return Err(BufError::new(error, Vec::new())),
        };
        while left > 0 {
            let error = match Splice::new(&pipe.reader, to, left, pipe.clone(), false).await {
                Ok(0) => crate::op::nothing_taken(),
                Ok(n) => {
                    left -= n;
                    moved(n);
                    continue;
                }
                Err(error) => error,
            };
            return Err(BufError::new(error, pipe.rest(left)));
        }
    }
}
