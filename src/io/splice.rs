//! Copying a file inside of the kernel: from the page cache into a pipe, and from there to where it goes.
//!
//! Measured on 6.18 in a bare ring (`benches/src/bin/copy.rs`), against a loop of reads and writes with buffers of the same
//! size, in time for one chunk:
//!
//! | from | to | 64 KiB | 128 KiB | 256 KiB | 1 MiB |
//! |---|---|---|---|---|---|
//! | file | socket | 1.13 | 0.85 | 0.56 to 0.86 | 0.72 to 0.75 |
//! | file | pipe | 4.0 | 2.1 | 0.28 | 0.12 |
//! | file | file | 1.00 | 0.88 | 0.80 | 0.81 |
//! | socket | socket | 1.19 | 1.04 | 1.00 | 0.94 |
//! | socket | file | 2.5 | 2.1 | 0.6 to 1.5 | 0.84 |
//! | pipe | socket | 1.02 | – | 1.09 | 1.02 |
//!
//! And by `gimmal::io::copy` itself, whole files of 256 KiB, 1 MiB and 32 MiB: to a socket 0.83, 0.74 and 0.69, to a pipe
//! that holds 1 MiB 0.5, 0.4 and 0.34, to a file 0.93, 0.88 and 0.83. To a pipe that holds 64 KiB it was 0.6 to 1.9.
//!
//! A splice always goes to a worker of the kernel, which it then holds for as long as the other side lets it wait. So it is
//! done for files alone, for large ones, and for sixteen at once on a thread.

use crate::op::{Outlet, SharedFd, Splice};
use crate::sys::Descriptor;
use std::cell::Cell;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// What the pipe holds.
pub(super) const CHUNK: usize = 256 << 10;

/// A copy that was stopped: why, and what has left the file and is not written.
pub(super) struct Stopped {
    pub(super) error: io::Error,
    pub(super) rest: Vec<u8>,
}

impl Stopped {
    fn unable() -> Stopped {
        Stopped {
            error: io::ErrorKind::Unsupported.into(),
            rest: Vec::new(),
        }
    }

    /// Whether this cannot be spliced at all, or not to its end: the kernel says EINVAL of files that it cannot (one that is
    /// appended to, for example), and the ring may lack the opcode. Where the other side does not block, a splice does not
    /// wait for room, as a write does.
    pub(super) fn is_unable(&self) -> bool {
        use io::ErrorKind::{InvalidInput, Unsupported, WouldBlock};
        matches!(self.error.kind(), InvalidInput | Unsupported | WouldBlock)
    }
}

/// Copies that hold a worker of the kernel at once, which are of the thread as its ring is. More go by buffers: peers that do not
/// read are to cost no threads.
const SLOTS: usize = 16;

thread_local! {
    static TAKEN: Cell<usize> = const { Cell::new(0) };
}

/// The right to hold one.
#[derive(Debug)]
struct Slot(());

impl Slot {
    fn take() -> Option<Slot> {
        TAKEN.with(|taken| {
            let is_free = taken.get() < SLOTS;
            taken.update(|taken| taken + usize::from(is_free));
            is_free.then(|| Slot(()))
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        TAKEN.with(|taken| taken.update(|taken| taken - 1));
    }
}

/// The pipe that bytes go through.
#[derive(Debug)]
struct Through {
    reader: SharedFd,
    writer: SharedFd,
    _slot: Slot,
}

impl Through {
    /// `None` where there is none that is large enough: no descriptors, or too much in this user's pipes.
    fn new(slot: Slot) -> Option<Through> {
        let (reader, writer) = io::pipe().ok()?;
        let writer = Descriptor::from(OwnedFd::from(writer));
        writer.set_pipe_capacity(CHUNK).ok()?;
        Some(Through {
            reader: SharedFd::from(OwnedFd::from(reader)),
            writer: SharedFd::new(writer),
            _slot: slot,
        })
    }

    /// What is in it, of which so much is known.
    fn rest(&self, len: usize) -> Vec<u8> {
        let mut rest = vec![0; len];
        let read = |mut pipe: &std::fs::File| pipe.read_exact(&mut rest);
        // They are there, so it does not wait; and nobody else has the other end, so there is no other error.
        let there = self.reader.descriptor().with_std(read);
        debug_assert!(there.is_ok());
        rest
    }
}

/// Copies from the cursor of a file to its end, and adds to `copied` what has arrived, which it reports.
pub(super) async fn splice(
    file: &SharedFd,
    to: &Outlet,
    copied: &mut u64,
    progress: &mut impl FnMut(u64),
) -> Result<(), Stopped> {
    let capacity = to.pipe_capacity();
    // It would be a worker's trip for every little that there is room for.
    if capacity.is_some_and(|capacity| capacity < CHUNK) {
        return Err(Stopped::unable());
    }
    let Some(slot) = Slot::take() else {
        return Err(Stopped::unable());
    };
    match capacity {
        Some(_) => into_pipe(file, to, copied, progress, slot).await,
        None => through_pipe(file, to, copied, progress, slot).await,
    }
}

/// What comes out of the file is in the pipe already.
async fn into_pipe(
    file: &SharedFd,
    to: &Outlet,
    copied: &mut u64,
    progress: &mut impl FnMut(u64),
    slot: Slot,
) -> Result<(), Stopped> {
    let slot = Rc::new(slot);
    loop {
        match Splice::new(file, to, CHUNK, slot.clone()).await {
            Ok(0) => return Ok(()),
            Ok(n) => {
                *copied += n as u64;
                progress(*copied);
            }
            Err(error) => {
                let rest = Vec::new();
                return Err(Stopped { error, rest });
            }
        }
    }
}

async fn through_pipe(
    file: &SharedFd,
    to: &Outlet,
    copied: &mut u64,
    progress: &mut impl FnMut(u64),
    slot: Slot,
) -> Result<(), Stopped> {
    let Some(pipe) = Through::new(slot).map(Rc::new) else {
        return Err(Stopped::unable());
    };
    loop {
        let mut left = match Splice::first_half(file, &pipe.writer, CHUNK, pipe.clone()).await {
            Ok(0) => return Ok(()),
            Ok(n) => n,
            Err(error) => {
                let rest = Vec::new();
                return Err(Stopped { error, rest });
            }
        };
        while left > 0 {
            let error = match Splice::new(&pipe.reader, to, left, pipe.clone()).await {
                Ok(0) => crate::op::nothing_taken(),
                Ok(n) => {
                    left -= n;
                    *copied += n as u64;
                    progress(*copied);
                    continue;
                }
                Err(error) => error,
            };
            let rest = pipe.rest(left);
            return Err(Stopped { error, rest });
        }
    }
}
