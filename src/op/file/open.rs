//! Opening and closing.

use crate::op::operation::operation;
use crate::op::{Completion, Entry, Op, Opcode, Operation, Readiness, SharedFd, idle};
use crate::runtime::{self, Worker};
use crate::sys::{Descriptor, c_path, with_path};
use std::ffi::CString;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::task::Waker;

/// The operation of [`OpenOptions::open`](crate::fs::OpenOptions::open): `openat(2)` from the working directory.
#[derive(Debug)]
pub struct OpenAt {
    path: CString,
    flags: i32,
    mode: u32,
    /// Opening blocks until the other end of the FIFO is opened.
    waits: bool,
    /// The io-wq worker that it blocks in.
    worker: Option<Worker>,
}

impl OpenAt {
    pub(in crate::op) fn new(path: CString, flags: i32, mode: u32, waits: bool) -> Op<OpenAt> {
        Op::new(OpenAt {
            path,
            flags: flags | libc::O_CLOEXEC,
            mode,
            waits,
            worker: None,
        })
    }

    /// Opens a file. `flags` and `mode` are those of `open(2)`; `O_CLOEXEC` is added. If it is known to be a FIFO,
    /// `waits`, until the other end is opened. Errors name the path.
    pub(crate) async fn path(
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
            match OpenAt::new(name, flags, mode, waits).await {
                Ok(fd) => return Ok(fd),
                // An open that creates or truncates was interrupted: retry, as std does.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A FIFO without a reader: unless O_NONBLOCK was requested, wait for one.
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

// SAFETY: the path is an allocation of its own, which stays where it is while the CString moves, and which nothing
// writes.
unsafe impl Operation for OpenAt {
    operation!("openat" -> io::Result<SharedFd>);

    fn waits_for_peer(&self) -> bool {
        self.waits
    }

    /// If the kernel cannot create a thread, this open might queue behind another open that blocks in the only worker.
    /// So it fails.
    fn prepare(&mut self, _: &Waker) -> Readiness {
        self.worker = None;
        if self.waits && Worker::may_lack() {
            return Readiness::Failed(runtime::no_thread_for(OpenAt::NAME));
        }
        Readiness::Start
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
        // Outside a worker, the kernel opens as if O_NONBLOCK were set, so it would not wait (measured on 6.18).
        self.worker = Some(Worker::add());
        entry.in_worker()
    }

    fn complete(self, completion: Completion) -> io::Result<SharedFd> {
        let fd = completion.result()?;
        // SAFETY: the completion of an open hands over a new descriptor. `complete` takes the operation, so `dispose`
        // is not called for it.
        let descriptor = unsafe { Descriptor::from_completion(fd) };
        let fd = SharedFd::new(descriptor);
        fd.read_hint().opened(self.flags);
        Ok(fd)
    }

    /// An interrupted open that creates or truncates may have had an effect; only ECANCELED proves that it never
    /// started.
    fn had_no_effect(&self, completion: Completion) -> bool {
        let changes = self.flags & (libc::O_CREAT | libc::O_TRUNC) != 0;
        match changes {
            true => completion.raw() == -libc::ECANCELED,
            false => completion.was_interrupted(),
        }
    }

    fn dispose(&mut self, completion: Completion) {
        if let Ok(fd) = completion.result() {
            // SAFETY: as above. Each completion that is not awaited is disposed of once, and an open has one (O3).
            drop(unsafe { Descriptor::from_completion(fd) });
        }
    }
}

/// The operation of [`File::close`](crate::fs::File::close): `close(2)`. It is never canceled, and dropping the wait
/// for it does not stop it.
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

    /// Linux releases the descriptor whatever `close` returns (`close(2)`, "Dealing with error returns"). ECANCELED may
    /// mean that no thread could be created for it; then the descriptor is leaked, because a file system may return the
    /// same error after the close.
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
    const CANCELABLE: bool = false;

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

    fn had_no_effect(&self, _: Completion) -> bool {
        false
    }

    fn dispose(&mut self, completion: Completion) {
        // The result of an abandoned close is not awaited.
        let _ = self.settle(completion);
    }
}

/// The error for a descriptor that still has another holder.
pub(crate) fn busy(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, what)
}

impl SharedFd {
    /// Closes the descriptor. Operations still in flight on it are canceled and awaited.
    pub(crate) async fn close(self) -> io::Result<()> {
        // Without another holder, no operation is at work on it (O5).
        let fd = match self.try_unwrap() {
            Ok(descriptor) => return Close::new(descriptor).await,
            Err(fd) => fd,
        };
        idle(&fd).await?;
        // First let the tasks that were woken with the results of their operations release it.
        runtime::leaf::yield_now().await;
        match fd.try_unwrap() {
            Ok(descriptor) => Close::new(descriptor).await,
            Err(_) => Err(busy(
                "close: something else still holds the descriptor, which closes when its last holder drops it",
            )),
        }
    }

    /// Returns an entry for this descriptor.
    pub(in crate::op) fn entry(&self, opcode: Opcode) -> Entry {
        Entry::new(opcode).fd(self.as_raw_fd())
    }
}
