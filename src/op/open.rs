//! Opening and closing.

use super::{Completion, Entry, Idle, Op, Opcode, Operation, Prepared, SharedFd};
use crate::runtime::{self, Worker};
use crate::sys::{Descriptor, c_path, with_path};
use std::ffi::CString;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::task::Waker;

/// Opens a file by its path: `openat(2)` from the working directory.
#[derive(Debug)]
pub struct OpenAt {
    path: CString,
    flags: i32,
    mode: u32,
    /// It waits for the other side of a FIFO.
    waits: bool,
    /// Which it does in a worker of its own.
    worker: Option<Worker>,
}

impl OpenAt {
    /// Opens it. `flags` and `mode` are those of `open(2)`; `O_CLOEXEC` is added. Errors name the path.
    pub(crate) async fn path(path: &Path, flags: i32, mode: u32) -> io::Result<SharedFd> {
        OpenAt::path_with(path, flags, mode, false).await
    }

    /// Opens a FIFO, and waits until the other side is there.
    pub(crate) async fn fifo(path: &Path, flags: i32) -> io::Result<SharedFd> {
        OpenAt::path_with(path, flags, 0, true).await
    }

    async fn path_with(
        path: &Path,
        flags: i32,
        mode: u32,
        mut waits: bool,
    ) -> io::Result<SharedFd> {
        loop {
            let name = match c_path(path) {
                Ok(name) => name,
                Err(error) => return runtime::ready_err(error).await,
            };
            let open = Op::new(OpenAt {
                path: name,
                flags: flags | libc::O_CLOEXEC,
                mode,
                waits,
                worker: None,
            });
            match open.await {
                Ok(fd) => return Ok(fd),
                // One that creates or truncates and was interrupted: as std does it.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A FIFO that nobody reads from: who did not ask for O_NONBLOCK waits for a reader.
                Err(error)
                    if error.raw_os_error() == Some(libc::ENXIO)
                        && !waits
                        && flags & libc::O_NONBLOCK == 0 =>
                {
                    waits = true;
                }
                Err(error) => return Err(with_path(error, "open", path)),
            }
        }
    }
}

// SAFETY: the path is an allocation of its own, which stays where it is while the CString moves, and which nobody writes.
unsafe impl Operation for OpenAt {
    type Output = io::Result<SharedFd>;
    const NAME: &'static str = "openat";

    /// If the kernel can make no thread, and another open may be waiting in the only one that there is, this one would wait
    /// behind that.
    fn prepare(&mut self, _: &Waker) -> Prepared {
        self.worker = None;
        if self.waits && Worker::may_lack() {
            return Prepared::Failed(runtime::no_thread_for(OpenAt::NAME));
        }
        Prepared::Start
    }

    fn entry(&mut self) -> Entry {
        let entry = Entry::new(Opcode::OPENAT)
            .fd(libc::AT_FDCWD)
            .addr(self.path.as_ptr())
            .len(self.mode)
            .op_flags(self.flags as u32);
        if !self.waits {
            return entry;
        }
        // Outside of a worker the kernel opens as if O_NONBLOCK were given, which waits for nobody (measured on 6.18).
        self.worker = Some(Worker::add());
        entry.in_worker()
    }

    fn complete(self, completion: Completion) -> io::Result<SharedFd> {
        let fd = completion.result()?;
        // SAFETY: the completion of an open hands over a new descriptor. `complete` takes the operation, so `dispose` is
        // not called for it.
        let descriptor = unsafe { Descriptor::from_completion(fd) };
        let fd = SharedFd::new(descriptor);
        fd.cached().opened(self.flags);
        Ok(fd)
    }

    fn fail(self, error: io::Error) -> io::Result<SharedFd> {
        Err(error)
    }

    /// An open that creates or truncates and is interrupted later on its way has done something; only ECANCELED says
    /// that it was never begun.
    fn proves_nothing_happened(&self, completion: Completion) -> bool {
        let changes = self.flags & (libc::O_CREAT | libc::O_TRUNC) != 0;
        match changes {
            true => completion.raw() == -libc::ECANCELED,
            false => completion.was_interrupted(),
        }
    }

    fn dispose(&mut self, completion: Completion) {
        if let Ok(fd) = completion.result() {
            // SAFETY: as above. Each completion that nobody waits for is disposed of once, and an open has one (O3).
            drop(unsafe { Descriptor::from_completion(fd) });
        }
    }
}

/// Closes a descriptor: `close(2)`. It is never asked to stop (C13), and a wait for it that is dropped leaves it closing.
#[derive(Debug)]
pub struct Close {
    descriptor: Option<Descriptor>,
}

impl Close {
    pub(crate) fn new(descriptor: Descriptor) -> Op<Close> {
        Op::new(Close {
            descriptor: Some(descriptor),
        })
    }

    /// Linux releases the number whatever `close` returns (`close(2)`, "Dealing with error returns"). ECANCELED may say that
    /// no thread could be made for it, and then the number is leaked: a file system may answer the same after the close.
    fn settle(&mut self, completion: Completion) -> io::Result<()> {
        if let Some(descriptor) = self.descriptor.take() {
            descriptor.into_raw();
        }
        completion.result().map(drop)
    }
}

// SAFETY: the entry has no address. Its descriptor is owned by the operation, and open until the kernel closes it.
unsafe impl Operation for Close {
    type Output = io::Result<()>;
    const NAME: &'static str = "close";
    const ALWAYS: bool = true;

    fn entry(&mut self) -> Entry {
        let fd = self.descriptor.as_ref().map_or(-1, Descriptor::raw);
        Entry::new(Opcode::CLOSE).fd(fd)
    }

    fn complete(mut self, completion: Completion) -> io::Result<()> {
        self.settle(completion)
    }

    /// It was not submitted: dropping the descriptor closes it.
    fn fail(self, error: io::Error) -> io::Result<()> {
        match error.kind() {
            io::ErrorKind::Unsupported => Ok(()),
            _ => Err(error),
        }
    }

    fn proves_nothing_happened(&self, _: Completion) -> bool {
        false
    }

    fn dispose(&mut self, completion: Completion) {
        // Nobody waits for the result of a close that was left behind.
        let _ = self.settle(completion);
    }
}

/// Something still holds a descriptor.
pub(crate) fn busy(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, what)
}

impl SharedFd {
    /// Closes it. Operations that are still at work on it are asked to stop and waited for.
    pub(crate) async fn close(self) -> io::Result<()> {
        // What nobody else holds has no operation at work on it (O5).
        let fd = match self.try_unwrap() {
            Ok(descriptor) => return Close::new(descriptor).await,
            Err(fd) => fd,
        };
        Idle::new(&fd).await?;
        // Tasks that were woken with the results of their operations let go of it first.
        runtime::yielding::yield_now().await;
        match fd.try_unwrap() {
            Ok(descriptor) => Close::new(descriptor).await,
            Err(_) => Err(busy(
                "close: the descriptor closes when its last holder lets go",
            )),
        }
    }

    /// The entry for this descriptor.
    pub(super) fn entry(&self, opcode: Opcode) -> Entry {
        Entry::new(opcode).fd(self.as_raw_fd())
    }
}
