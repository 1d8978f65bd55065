//! A descriptor that closes when its last holder lets go (O5), and the plain calls on one.

use std::cell::Cell;
use std::io::{self, Seek, SeekFrom};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;

/// An open descriptor. Operations hold it through an `Rc`, so its number is not used again while one is in flight (O5).
#[derive(Debug)]
pub(crate) struct Descriptor {
    fd: OwnedFd,
    cursor: Cell<Cursor>,
}

/// What becomes of the cursor when the ring reads or writes at it. io_uring stores the new position only if its last attempt
/// succeeded and did not complete later (seen on 6.18; so does the source of 6.12). So on regular files and block devices, where it
/// tries to complete a partial result, the cursor stays behind when
///
/// - a part was moved, and the attempt at the rest failed: the disk is full, a limit is reached, a block cannot be read. The
///   completion has the length of the part;
/// - the file is open with O_DIRECT, where the disk completes most requests later.
#[derive(Clone, Copy, Debug)]
enum Cursor {
    Unknown,
    /// There is none, or the ring always moves it: pipes, sockets, terminals, other devices.
    Sure,
    /// It may stay behind where less was moved than was asked for.
    Cached,
    /// It may always stay behind.
    Direct,
}

impl Descriptor {
    /// Takes over a descriptor that the kernel has just made for us in answer to a request.
    ///
    /// # Safety
    ///
    /// It is the result of a completion that hands over a new descriptor, and nobody else takes it.
    pub(crate) unsafe fn from_completion(fd: u32) -> Descriptor {
        // SAFETY: the caller says that the descriptor is open and that nobody else owns it.
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

    /// Gives up the number without closing it: somebody else does.
    pub(crate) fn into_raw(self) -> RawFd {
        self.fd.into_raw_fd()
    }

    /// Looks at the file through std, whose calls on a descriptor are all there.
    pub(crate) fn with_std<T>(&self, look: impl FnOnce(&std::fs::File) -> T) -> T {
        // SAFETY: the descriptor is open for as long as `self` is borrowed, and `ManuallyDrop` keeps it from being closed.
        let file = ManuallyDrop::new(unsafe { std::fs::File::from_raw_fd(self.raw()) });
        look(&file)
    }

    /// Moves the cursor of a regular file back, and says whether it is one.
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
        matches!(self.cursor.get(), Cursor::Sure)
    }

    /// Where the cursor is, if the ring may leave it behind.
    pub(crate) fn watch_cursor(&self) -> Option<u64> {
        if let Cursor::Unknown = self.cursor.get() {
            self.cursor.set(self.kind_of_cursor());
        }
        if self.is_cursor_sure() {
            return None;
        }
        // It looks at memory only. A call of another process at the same cursor is waited for, as in `write(2)`.
        self.with_std(|mut file| file.stream_position()).ok()
    }

    /// Brings the cursor behind the bytes that a request of the ring has moved, if that has left it at `before`. Anywhere else it
    /// was brought by the ring, or by somebody who shares it.
    #[cold]
    pub(crate) fn mend_cursor(&self, before: u64, moved: usize, appends: bool) {
        let behind = match i64::try_from(moved) {
            // They are at the end of the file, wherever the cursor was.
            _ if appends && self.flags() & libc::O_APPEND != 0 => SeekFrom::End(0),
            Ok(moved) => SeekFrom::Current(moved),
            Err(_) => return,
        };
        self.with_std(|mut file| {
            if file.stream_position().is_ok_and(|now| now == before) {
                // The position was asked for, so the file can seek.
                let _sought = file.seek(behind);
            }
        });
    }

    /// Whether the ring may leave the cursor behind though it has moved all that was asked for.
    pub(crate) fn is_direct(&self) -> bool {
        matches!(self.cursor.get(), Cursor::Direct)
    }

    fn kind_of_cursor(&self) -> Cursor {
        let kind = self.with_std(|file| file.metadata().map(|metadata| metadata.file_type()));
        let is_watched = kind.is_ok_and(|kind| kind.is_file() || kind.is_block_device());
        match is_watched {
            true if self.flags() & libc::O_DIRECT != 0 => Cursor::Direct,
            true => Cursor::Cached,
            false => Cursor::Sure,
        }
    }

    /// The flags that it was opened with (`O_APPEND` and so on).
    #[cold]
    pub(crate) fn flags(&self) -> i32 {
        // SAFETY: no address is passed.
        unsafe { libc::fcntl(self.raw(), libc::F_GETFL) }
    }

    /// How many bytes a pipe holds.
    pub(crate) fn pipe_capacity(&self) -> io::Result<usize> {
        // SAFETY: no address is passed.
        let bytes = unsafe { libc::fcntl(self.raw(), libc::F_GETPIPE_SZ) };
        usize::try_from(bytes).map_err(|_| io::Error::last_os_error())
    }

    /// Has a pipe hold so many bytes at least, and says how many it holds.
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
        let cursor = Cell::new(Cursor::Unknown);
        Descriptor { fd, cursor }
    }
}

/// Whether a descriptor has one of these events, or an error, now: `poll(2)`, which answers 1 or 0, or -1 where it fails.
pub(super) fn poll_now(fd: i32, events: libc::c_short) -> i32 {
    let mut poll = libc::pollfd {
        fd,
        events,
        revents: 0,
    };
    // SAFETY: one pollfd is read and written during the call.
    unsafe { libc::poll(&raw mut poll, 1, 0) }
}
