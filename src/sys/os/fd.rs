//! A descriptor that is closed when its last holder drops it (O5), and plain system calls on it.

use std::cell::Cell;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;

/// An open descriptor. Operations hold it through an `Rc`, so its number is not reused while one is in flight (O5).
#[derive(Debug)]
pub(crate) struct Descriptor {
    fd: OwnedFd,
    cursor: Cell<CursorKind>,
}

/// Whether the ring moves the cursor when it reads or writes there. io_uring stores the new position only if its last
/// attempt succeeded and did not complete later (seen on 6.18; so does the source of 6.12). So on regular files and
/// block devices, where it tries to complete a partial result, the cursor stays behind when
///
/// - a part was moved, and the attempt at the rest failed: the disk is full, a limit is reached, a block cannot be
///   read. The completion has the length of the part;
/// - the file is open with O_DIRECT, where the disk completes most requests later.
#[derive(Clone, Copy, Debug)]
enum CursorKind {
    Unknown,
    /// There is no cursor, or the ring always moves it: pipes, sockets, terminals, other devices.
    Sure,
    /// It may stay behind if fewer bytes were moved than requested.
    Cached,
    /// It may always stay behind.
    Direct,
}

impl Descriptor {
    /// Takes ownership of a descriptor that the kernel has just created for a request.
    ///
    /// # Safety
    ///
    /// It is the result of a completion that hands over a new descriptor, and nothing else takes it.
    pub(crate) unsafe fn from_completion(fd: u32) -> Descriptor {
        // SAFETY: the caller promises that the descriptor is open and has no other owner.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
        Descriptor::from(fd)
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    pub(crate) fn borrowed(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(crate) fn into_owned(self) -> OwnedFd {
        self.fd
    }

    /// Gives up the number without closing it: the caller takes over.
    pub(crate) fn into_raw(self) -> RawFd {
        self.fd.into_raw_fd()
    }

    /// Lends the file as a `std::fs::File`, which has the calls needed.
    pub(crate) fn with_std<T>(&self, look: impl FnOnce(&std::fs::File) -> T) -> T {
        // SAFETY: the descriptor is open for as long as `self` is borrowed, and `ManuallyDrop` keeps it from being
        // closed.
        let file = ManuallyDrop::new(unsafe { std::fs::File::from_raw_fd(self.raw()) });
        look(&file)
    }

    /// Moves the cursor of a regular file back, and returns whether it is one.
    pub(crate) fn move_back(&self, bytes: usize) -> bool {
        self.with_std(|mut file| {
            let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
            let back = i64::try_from(bytes).map(|bytes| io::SeekFrom::Current(-bytes));
            is_file && back.is_ok_and(|back| file.seek(back).is_ok())
        })
    }

    /// Whether it can be read, or accepted from, without waiting.
    pub(crate) fn is_readable(&self) -> bool {
        poll_now(self.raw(), libc::POLLIN) > 0
    }

    /// Whether it is known that the ring always moves the cursor, or that there is none.
    #[inline]
    pub(crate) fn is_cursor_sure(&self) -> bool {
        matches!(self.cursor.get(), CursorKind::Sure)
    }

    /// Returns the cursor's position, if the ring may leave it behind.
    pub(crate) fn watch_cursor(&self) -> Option<u64> {
        if let CursorKind::Unknown = self.cursor.get() {
            self.cursor.set(self.kind_of_cursor());
        }
        if self.is_cursor_sure() {
            return None;
        }
        // This reads memory only. It waits for a call of another process at the same cursor, like `write(2)`.
        self.with_std(|mut file| file.stream_position()).ok()
    }

    /// Moves the cursor past the bytes that a request of the ring has moved, if the ring has left it at `before`. If it
    /// is anywhere else, it was moved by the ring, or by another user of it.
    #[cold]
    pub(crate) fn mend_cursor(&self, before: u64, moved: usize, appends: bool) {
        let behind = match i64::try_from(moved) {
            // The bytes are at the end of the file, wherever the cursor was.
            _ if appends && self.flags() & libc::O_APPEND != 0 => SeekFrom::End(0),
            Ok(moved) => SeekFrom::Current(moved),
            Err(_) => return,
        };
        self.with_std(|mut file| {
            if file.stream_position().is_ok_and(|now| now == before) {
                // The position was read before, so the file can seek.
                let _sought = file.seek(behind);
            }
        });
    }

    /// Whether the ring may leave the cursor behind even though it has moved all the bytes requested.
    pub(crate) fn is_direct(&self) -> bool {
        matches!(self.cursor.get(), CursorKind::Direct)
    }

    fn kind_of_cursor(&self) -> CursorKind {
        let kind = self.with_std(|file| file.metadata().map(|metadata| metadata.file_type()));
        let is_watched = kind.is_ok_and(|kind| kind.is_file() || kind.is_block_device());
        match is_watched {
            true if self.flags() & libc::O_DIRECT != 0 => CursorKind::Direct,
            true => CursorKind::Cached,
            false => CursorKind::Sure,
        }
    }

    /// Returns the flags that it was opened with (`O_APPEND` and so on).
    #[cold]
    pub(crate) fn flags(&self) -> i32 {
        // SAFETY: no address is passed.
        unsafe { libc::fcntl(self.raw(), libc::F_GETFL) }
    }

    /// Reads what is there at the cursor, without waiting.
    pub(crate) fn read_now(&self, buf: &mut [u8]) -> io::Result<usize> {
        let vector = libc::iovec {
            iov_base: buf.as_mut_ptr().cast(),
            iov_len: buf.len(),
        };
        // SAFETY: one vector of writable memory, which is borrowed for the length of the call.
        let read = unsafe { libc::preadv2(self.raw(), &raw const vector, 1, -1, libc::RWF_NOWAIT) };
        self.or_if_ready(read, libc::POLLIN, |mut file| file.read(buf))
    }

    /// Writes at the cursor as much as there is room for, without waiting.
    pub(crate) fn write_now(&self, buf: &[u8]) -> io::Result<usize> {
        let vector = libc::iovec {
            iov_base: buf.as_ptr().cast_mut().cast(),
            iov_len: buf.len(),
        };
        // SAFETY: one vector of memory that is only read, and is borrowed for the length of the call.
        let written =
            unsafe { libc::pwritev2(self.raw(), &raw const vector, 1, -1, libc::RWF_NOWAIT) };
        // A pipe that can be written to has room for this many bytes.
        let part = &buf[..buf.len().min(libc::PIPE_BUF)];
        self.or_if_ready(written, libc::POLLOUT, |mut file| file.write(part))
    }

    /// Returns the result of a call with RWF_NOWAIT. Where that is unsupported (pipes before 6.4, FIFOs, terminals),
    /// makes the plain call if it would not wait.
    fn or_if_ready(
        &self,
        result: isize,
        events: libc::c_short,
        call: impl FnOnce(&std::fs::File) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let error = match usize::try_from(result) {
            Ok(n) => return Ok(n),
            Err(_) => io::Error::last_os_error(),
        };
        match error.raw_os_error() {
            Some(libc::EOPNOTSUPP) if poll_now(self.raw(), events) == 0 => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            Some(libc::EOPNOTSUPP) => self.with_std(call),
            _ => Err(error),
        }
    }

    /// Returns the capacity of a pipe in bytes.
    pub(crate) fn pipe_capacity(&self) -> io::Result<usize> {
        // SAFETY: no address is passed.
        let bytes = unsafe { libc::fcntl(self.raw(), libc::F_GETPIPE_SZ) };
        usize::try_from(bytes).map_err(|_| io::Error::last_os_error())
    }

    /// Sets the capacity of a pipe to at least this many bytes, and returns the actual capacity.
    pub(crate) fn set_pipe_capacity(&self, bytes: usize) -> io::Result<usize> {
        let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
        // SAFETY: no address is passed.
        let bytes = unsafe { libc::fcntl(self.raw(), libc::F_SETPIPE_SZ, bytes) };
        usize::try_from(bytes).map_err(|_| io::Error::last_os_error())
    }

    pub(crate) fn try_clone(&self) -> io::Result<Descriptor> {
        self.fd.try_clone().map(Descriptor::from)
    }
}

impl From<OwnedFd> for Descriptor {
    fn from(fd: OwnedFd) -> Descriptor {
        let cursor = Cell::new(CursorKind::Unknown);
        Descriptor { fd, cursor }
    }
}

/// Polls a descriptor now: `poll(2)`. Returns 1 for one of these events or an error, 0 for neither, -1 on failure.
pub(in crate::sys) fn poll_now(fd: i32, events: libc::c_short) -> i32 {
    let mut poll = libc::pollfd {
        fd,
        events,
        revents: 0,
    };
    // SAFETY: one pollfd is read and written during the call.
    unsafe { libc::poll(&raw mut poll, 1, 0) }
}
