//! Requests to a ring and its completions, in types of our own.
//!
//! An [`Entry`] describes a request; the ring turns it into the kernel's form. It contains no user data, links or skip
//! flags: those belong to the runtime.

use std::fmt;
use std::io;
use std::os::fd::RawFd;

/// The descriptor that an entry works on.
///
/// It is resolved when the entry is submitted, so it need not be a descriptor number of the process.
///
/// ```
/// use gimmal::op::{Entry, Fd, Opcode};
///
/// // A path is relative to the working directory.
/// let entry = Entry::new(Opcode::OPENAT).fd(libc::AT_FDCWD).addr(c"Cargo.toml".as_ptr());
/// assert_eq!(entry.opcode(), Opcode::OPENAT);
/// assert_eq!(Fd::from(libc::AT_FDCWD), Fd::Plain(libc::AT_FDCWD));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fd {
    /// A descriptor of the process. `-1` if the opcode takes none, `libc::AT_FDCWD` if it takes a directory.
    Plain(RawFd),
}

impl From<RawFd> for Fd {
    fn from(fd: RawFd) -> Fd {
        Fd::Plain(fd)
    }
}

/// The requested action: an io_uring opcode by its number (`io_uring_enter(2)`).
///
/// ```
/// use gimmal::op::Opcode;
///
/// // The constants are the opcodes that this crate uses. Any other has its number in `linux/io_uring.h`.
/// let unlinkat = Opcode::new(36);
/// assert_ne!(unlinkat, Opcode::OPENAT);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Opcode(u8);

/// A file operation: it may need a kernel thread, but never waits there for another party.
const FILE: u8 = 1 << 0;

/// The ring waits for it by polling, so that it reaches a kernel thread only by chance.
const POLLED: u8 = 1 << 1;

/// Defines opcodes: the constant, its number, and its class (`FILE`, `POLLED`), if it has one.
macro_rules! opcodes {
    ($($(#[$doc:meta])* $vis:vis $name:ident = $number:literal $(: $class:expr)?;)*) => {
        impl Opcode {
            $($(#[$doc])* $vis const $name: Opcode = Opcode($number);)*

            const fn class(self) -> u8 {
                match self.0 {
                    $($number => 0 $(| $class)?,)*
                    _ => 0,
                }
            }

            const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

opcodes! {
    /// Does nothing (5.1).
    pub NOP = 0;
    /// `preadv2` (5.1).
    pub READV = 1: FILE | POLLED;
    /// `pwritev2` (5.1).
    pub WRITEV = 2: FILE | POLLED;
    /// `fsync` and `fdatasync` (5.1).
    pub FSYNC = 3: FILE;
    /// Waits until a descriptor is ready (5.1).
    pub POLL_ADD = 6: POLLED;
    /// `sendmsg` (5.3).
    pub SENDMSG = 9: POLLED;
    /// `recvmsg` (5.3).
    pub RECVMSG = 10: POLLED;
    /// Completes after a time (5.4).
    pub(crate) TIMEOUT = 11;
    /// `accept4` (5.5).
    pub ACCEPT = 13: POLLED;
    /// Cancels another request (5.5).
    pub ASYNC_CANCEL = 14;
    /// `connect` (5.5).
    pub CONNECT = 16;
    /// `fallocate` (5.6).
    pub(crate) FALLOCATE = 17: FILE;
    /// `openat` (5.6).
    pub OPENAT = 18: FILE;
    /// `close` (5.6).
    pub CLOSE = 19: FILE;
    /// `statx` (5.6).
    pub(crate) STATX = 21: FILE;
    /// `pread` (5.6).
    pub READ = 22: FILE | POLLED;
    /// `pwrite` (5.6).
    pub WRITE = 23: FILE | POLLED;
    /// `send` (5.6).
    pub SEND = 26: POLLED;
    /// `recv` (5.6).
    pub RECV = 27: POLLED;
    /// `splice` (5.7).
    pub SPLICE = 30;
    /// `renameat2` (5.11).
    pub(crate) RENAMEAT = 35: FILE;
    /// `unlinkat` (5.11).
    pub(crate) UNLINKAT = 36: FILE;
    /// `mkdirat` (5.15).
    pub(crate) MKDIRAT = 37: FILE;
    /// `symlinkat` (5.15).
    pub(crate) SYMLINKAT = 38: FILE;
    /// `linkat` (5.15).
    pub(crate) LINKAT = 39: FILE;
    /// `send` without a copy: the network card reads the lent bytes (6.0).
    pub SEND_ZC = 47: POLLED;
    /// `read` into a sequence of provided buffers, for pollable descriptors (6.7).
    pub READ_MULTISHOT = 49: POLLED;
    /// `ftruncate` (6.9).
    pub(crate) FTRUNCATE = 55: FILE;
    /// `bind` (6.11).
    pub(crate) BIND = 56;
    /// `pipe2` (6.16).
    pub(crate) PIPE = 62;
}

impl Opcode {
    const fn is_of_files(self) -> bool {
        self.class() & FILE != 0
    }

    pub(crate) const fn is_polled(self) -> bool {
        self.class() & POLLED != 0
    }

    /// Creates any other opcode by its number, for operations of your own.
    #[must_use]
    pub const fn new(number: u8) -> Opcode {
        Opcode(number)
    }

    /// Returns the kernel's number of this opcode.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl fmt::Debug for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "Opcode({})", self.0),
        }
    }
}

/// A request to the kernel: opcode, descriptor, addresses, lengths and flags.
///
/// The fields are named as in the first half of `struct io_uring_sqe`; `io_uring_enter(2)` defines their meaning for
/// each opcode. The operation is responsible for the memory that they point to (see
/// [`Operation`](crate::op::Operation)).
///
/// ```
/// use gimmal::op::{Entry, Opcode};
///
/// let mut buffer = vec![0u8; 512];
/// let entry = Entry::new(Opcode::READ).fd(0).addr(buffer.as_mut_ptr()).len(512).offset(4096);
/// assert_eq!(entry.opcode(), Opcode::READ);
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Entry {
    pub(super) opcode: Opcode,
    pub(super) in_worker: bool,
    pub(super) tries_first: bool,
    pub(super) ioprio: u16,
    /// The group of provided buffers from which it takes one.
    pub(super) buf_group: Option<u16>,
    pub(super) fd: Fd,
    /// The second descriptor, if the opcode has two; or the field that shares its place: the byte limit of a multishot
    /// receive.
    pub(super) second: u32,
    pub(super) len: u32,
    pub(super) op_flags: u32,
    pub(super) offset: u64,
    pub(super) addr: u64,
}

impl Entry {
    /// Creates a request with this opcode, without a descriptor, and with every other field zero.
    pub const fn new(opcode: Opcode) -> Entry {
        Entry {
            opcode,
            in_worker: false,
            tries_first: false,
            ioprio: 0,
            buf_group: None,
            fd: Fd::Plain(-1),
            second: 0,
            len: 0,
            op_flags: 0,
            offset: 0,
            addr: 0,
        }
    }

    /// Sets the descriptor.
    pub fn fd(mut self, fd: impl Into<Fd>) -> Entry {
        self.fd = fd.into();
        self
    }

    /// Sets the address of the memory lent to the kernel: a buffer, a path, an array of vectors.
    pub fn addr<T>(mut self, addr: *const T) -> Entry {
        self.addr = addr.expose_provenance() as u64;
        self
    }

    /// Sets the length of the lent memory: bytes, or the number of vectors.
    pub const fn len(mut self, len: u32) -> Entry {
        self.len = len;
        self
    }

    /// Sets the offset in the file in bytes; `u64::MAX` means the cursor. The kernel fails to move the cursor of a
    /// regular file if an error stops the operation partway, and often if the file was opened with `O_DIRECT`.
    pub const fn offset(mut self, offset: u64) -> Entry {
        self.offset = offset;
        self
    }

    /// Sets the second address of an opcode that has one. It shares its field with the offset.
    pub fn addr2<T>(self, addr: *const T) -> Entry {
        let addr = addr.expose_provenance() as u64;
        self.offset(addr)
    }

    /// Sets the opcode's own flags: `rw_flags`, `open_flags`, `fsync_flags` and so on.
    pub const fn op_flags(mut self, flags: u32) -> Entry {
        self.op_flags = flags;
        self
    }

    /// Sets the second flags word of receives, sends and accepts (`IORING_RECV_MULTISHOT`, `IORING_RECVSEND_POLL_FIRST`
    /// and so on). For files, the same field contains a priority: `ioprio`.
    pub const fn ioprio(mut self, flags: u16) -> Entry {
        self.ioprio = flags;
        self
    }

    /// Sets the descriptor that a splice reads from: `splice_fd_in`.
    pub const fn splice_from(mut self, fd: RawFd) -> Entry {
        self.second = fd as u32;
        self
    }

    /// Makes the kernel take a buffer from this group of provided buffers when it has data to put into it
    /// (`IOSQE_BUFFER_SELECT`).
    pub(crate) const fn buffer_of(mut self, group: u16) -> Entry {
        self.buf_group = Some(group);
        self
    }

    /// Ends a multishot receive when it has delivered this many bytes, and never delivers more (6.17): `optlen`.
    pub(crate) const fn at_most(mut self, bytes: u32) -> Entry {
        self.second = bytes;
        self
    }

    /// Sets the events that a poll waits for (`POLLIN` and so on). The kernel reads them as two 16-bit words, the lower
    /// first, on every machine.
    pub(crate) const fn poll_events(self, events: u32) -> Entry {
        let words = if cfg!(target_endian = "big") {
            events.rotate_left(16)
        } else {
            events
        };
        self.op_flags(words)
    }

    /// Makes a kernel worker thread run the request, even if it could complete at once (`IOSQE_ASYNC`). That costs
    /// about 3 µs, and keeps a request that burns time in the kernel from delaying those behind it.
    pub const fn in_worker(mut self) -> Entry {
        self.in_worker = true;
        self
    }

    /// Allows a direct system call to serve the request, if the ring would be entered for it alone and it would not
    /// block. That saves the enter, and a pass of the event loop. Supported for SEND, RECV, SENDMSG and RECVMSG with
    /// only a descriptor, address, length and flags, and for READ and READV, which may also have an offset. A request
    /// that would block goes to the ring as usual, after a call of
    /// [`Operation::would_wait`](crate::op::Operation::would_wait).
    ///
    /// Such a call may transfer less than requested even with `MSG_WAITALL`, and a read of a file ends where the next
    /// bytes are not cached. With `O_DIRECT`, such a call waits for the disk.
    pub const fn try_direct(mut self) -> Entry {
        self.tries_first = true;
        self
    }

    /// Whether it is a file operation that may need a kernel thread to serve it. (An open that requires a worker is
    /// expected to wait for another party.)
    pub(crate) const fn is_of_files(&self) -> bool {
        self.opcode.is_of_files() && !(self.in_worker && matches!(self.opcode, Opcode::OPENAT))
    }

    /// Whether it always runs in a kernel worker thread.
    #[inline]
    pub(crate) const fn is_in_worker(&self) -> bool {
        self.in_worker
    }

    /// Whether a direct system call may serve it.
    #[inline]
    pub(crate) const fn tries_first(&self) -> bool {
        self.tries_first
    }

    /// Returns the process's number of its descriptor, `-1` if it has none.
    pub(crate) const fn plain_fd(&self) -> RawFd {
        let Fd::Plain(fd) = self.fd;
        fd
    }

    /// Returns the number of the descriptor that a splice reads from, `-1` for other opcodes.
    pub(crate) fn second_fd(&self) -> RawFd {
        match self.opcode {
            Opcode::SPLICE => self.second as RawFd,
            _ => -1,
        }
    }

    /// Returns the opcode.
    #[must_use]
    pub const fn opcode(&self) -> Opcode {
        self.opcode
    }
}

/// The kernel's answer to a request.
///
/// ```
/// use gimmal::op::{Completion, Entry, Op, Opcode, Operation};
/// use std::io;
///
/// /// Flushes a file that is not open.
/// struct Flush;
///
/// // SAFETY: the entry lends no memory, and has no descriptor.
/// unsafe impl Operation for Flush {
///     type Output = io::Result<Completion>;
///     const NAME: &'static str = "flush";
///
///     fn entry(&mut self) -> Entry {
///         Entry::new(Opcode::FSYNC).fd(-1)
///     }
///
///     fn complete(self, completion: Completion) -> io::Result<Completion> {
///         Ok(completion)
///     }
/// #
/// #     fn fail(self, error: io::Error) -> io::Result<Completion> {
/// #         Err(error)
/// #     }
/// #
/// #     fn dispose(&mut self, _: Completion) {}
///     // …
/// }
///
/// # fn main() -> io::Result<()> {
/// gimmal::run(async {
///     let completion = Op::new(Flush).await?;
///     assert_eq!(completion.raw(), -libc::EBADF);
///     assert_eq!(completion.result().unwrap_err().raw_os_error(), Some(libc::EBADF));
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    result: i32,
    flags: u32,
}

impl Completion {
    /// The upper half of the flags is the ID of a provided buffer (`IORING_CQE_F_BUFFER`).
    const BUFFER: u32 = 1 << 0;
    /// More completions of the same request follow (`IORING_CQE_F_MORE`).
    const MORE: u32 = 1 << 1;
    /// The socket has more data than was received (`IORING_CQE_F_SOCK_NONEMPTY`).
    const SOCK_NONEMPTY: u32 = 1 << 2;
    /// It was served without the ring. Not one of the kernel's bits, which are 0 to 5 and 15 (6.18).
    const AT_ONCE: u32 = 1 << 14;

    pub(crate) const fn new(result: i32, flags: u32) -> Completion {
        Completion { result, flags }
    }

    pub(crate) const fn at_once(result: i32) -> Completion {
        Completion::new(result, Completion::AT_ONCE)
    }

    /// Returns the result as the system call would: a count or a descriptor, or the error that the number stands for.
    ///
    /// # Errors
    ///
    /// The kernel's errno. Its internal codes for restarting an interrupted system call become EINTR.
    #[inline]
    pub fn result(&self) -> io::Result<u32> {
        match u32::try_from(self.result) {
            Ok(value) => Ok(value),
            Err(_) => Err(io::Error::from_raw_os_error(self.errno())),
        }
    }

    /// Returns the errno. An interrupted kernel worker returns EINTR, or the kernel's own restart codes leak through
    /// (measured on 6.18: 512).
    fn errno(&self) -> i32 {
        const ERESTARTSYS: i32 = 512;
        const ERESTARTNOINTR: i32 = 513;
        const ERESTARTNOHAND: i32 = 514;
        const ERESTART_RESTARTBLOCK: i32 = 516;
        match self.result.wrapping_neg() {
            ERESTARTSYS | ERESTARTNOINTR | ERESTARTNOHAND | ERESTART_RESTARTBLOCK => libc::EINTR,
            errno => errno,
        }
    }

    /// Whether the request was stopped before it had any effect: canceled, or interrupted in a kernel worker.
    pub(crate) fn was_interrupted(&self) -> bool {
        matches!(self.errno(), libc::ECANCELED | libc::EINTR)
    }

    /// Returns the number as the kernel wrote it: negative for an errno.
    #[must_use]
    pub const fn raw(&self) -> i32 {
        self.result
    }

    /// Returns the flags of the completion (`IORING_CQE_F_*`).
    #[must_use]
    pub const fn flags(&self) -> u32 {
        self.flags & !Completion::AT_ONCE
    }

    /// Whether it was served without the ring: by a direct call, or from kept data.
    pub(crate) const fn came_at_once(&self) -> bool {
        self.flags & Completion::AT_ONCE != 0
    }

    pub(crate) const fn has_more(&self) -> bool {
        self.flags & Completion::MORE != 0
    }

    /// Whether the socket had more data when this was received. Kernels before 5.19 never report it.
    pub(crate) const fn socket_has_more(&self) -> bool {
        self.flags & Completion::SOCK_NONEMPTY != 0
    }

    /// Returns the provided buffer that the kernel has taken. There may be one even if the result is an error (O4).
    pub(crate) const fn buffer(&self) -> Option<u16> {
        if self.flags & Completion::BUFFER == 0 {
            return None;
        }
        Some((self.flags >> 16) as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opcode_has_its_name_and_class() {
        let named = [
            Opcode::STATX,
            Opcode::READ,
            Opcode::SPLICE,
            Opcode::new(200),
        ];
        assert_eq!(format!("{named:?}"), "[STATX, READ, SPLICE, Opcode(200)]");
        assert_eq!(named.map(Opcode::is_of_files), [true, true, false, false]);
        assert_eq!(named.map(Opcode::is_polled), [false, true, false, false]);
    }

    #[test]
    fn a_negative_result_is_an_errno() {
        assert_eq!(Completion::new(7, 0).result().unwrap(), 7);
        let error = Completion::new(-libc::ENOENT, 0).result().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let error = Completion::new(-512, 0).result().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
    }
}
