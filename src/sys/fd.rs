//! A descriptor that closes when its last holder lets go (O5), and the plain calls on one.

use std::io::{self, Seek};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

/// An open descriptor. Operations hold it through an `Rc`, so its number is not used again while one is in flight (O5).
#[derive(Debug)]
pub(crate) struct Descriptor {
    fd: OwnedFd,
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
        Descriptor { fd }
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

    /// How it was opened: the flags of `open(2)`.
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
        Descriptor { fd }
    }
}
