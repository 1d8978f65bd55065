//! Options for opening a file.

use super::{File, with_path};
use crate::op::OpenAt;
use crate::runtime::ready_err;
use std::io;
use std::path::Path;

/// Options for opening a file: those of [`std::fs::OpenOptions`], with its Unix extensions.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("log");
/// gimmal::run(async {
///     let file = gimmal::fs::OpenOptions::new().append(true).create(true).open(&path).await?;
///     file.write_all("one more line\n").await?;
///     file.close().await
/// })
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct OpenOptions {
    read: bool,
    write: bool,
    append: bool,
    truncate: bool,
    create: bool,
    create_new: bool,
    mode: u32,
    custom_flags: i32,
}

impl Default for OpenOptions {
    fn default() -> OpenOptions {
        OpenOptions::new()
    }
}

impl OpenOptions {
    /// Creates options with nothing set. The mode of a created file is `0o666`, less the umask.
    #[must_use]
    pub const fn new() -> OpenOptions {
        OpenOptions {
            read: false,
            write: false,
            append: false,
            truncate: false,
            create: false,
            create_new: false,
            mode: 0o666,
            custom_flags: 0,
        }
    }

    /// Opens for reading.
    pub const fn read(&mut self, read: bool) -> &mut OpenOptions {
        self.read = read;
        self
    }

    /// Opens for writing.
    pub const fn write(&mut self, write: bool) -> &mut OpenOptions {
        self.write = write;
        self
    }

    /// Opens for appending: each write goes to the end of the file at that time.
    pub const fn append(&mut self, append: bool) -> &mut OpenOptions {
        self.append = append;
        self
    }

    /// Truncates the file to length zero. Requires [`write`](OpenOptions::write).
    pub const fn truncate(&mut self, truncate: bool) -> &mut OpenOptions {
        self.truncate = truncate;
        self
    }

    /// Creates the file if it does not exist. Requires `write` or `append`.
    pub const fn create(&mut self, create: bool) -> &mut OpenOptions {
        self.create = create;
        self
    }

    /// Creates the file, and fails if it exists. Requires `write` or `append`.
    pub const fn create_new(&mut self, create_new: bool) -> &mut OpenOptions {
        self.create_new = create_new;
        self
    }

    /// Sets the permissions of a created file, less the umask: `open(2)`.
    pub const fn mode(&mut self, mode: u32) -> &mut OpenOptions {
        self.mode = mode;
        self
    }

    /// Sets additional flags for `open(2)`, such as `libc::O_DIRECT`. Their access mode is ignored.
    pub const fn custom_flags(&mut self, flags: i32) -> &mut OpenOptions {
        self.custom_flags = flags;
        self
    }

    /// Opens the file.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::fs::OpenOptions;
    /// use std::io::ErrorKind;
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("lock");
    /// gimmal::run(async {
    ///     let mut options = OpenOptions::new();
    ///     options.write(true).create_new(true).mode(0o600);
    ///     let _lock = options.open(&path).await?;
    ///     // Only the first open creates it.
    ///     let error = options.open(&path).await.unwrap_err();
    ///     assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    ///     assert_eq!(gimmal::errno(&error), Some(libc::EEXIST));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `open(2)`, prefixed with the path, with the errno as the source: `NotFound`, `PermissionDenied`,
    /// `AlreadyExists` with [`create_new`](OpenOptions::create_new), `IsADirectory` when opening a directory for
    /// writing, `NotADirectory`, `ReadOnlyFilesystem`, EMFILE and ENFILE if no descriptor is left. `InvalidInput` for
    /// options that exclude each other, or a path that contains a zero byte; [`Canceled`](crate::Canceled).
    ///
    /// # Cancel safety
    ///
    /// No descriptor leaks: a file that the kernel still opens after the wait was canceled or dropped is closed. With
    /// `create`, the file may have been created; with `truncate`, truncated.
    // Test: tests/operations/lifecycle.rs
    pub async fn open(&self, path: impl AsRef<Path>) -> io::Result<File> {
        let path = path.as_ref();
        let flags = match self.flags() {
            Ok(flags) => flags,
            Err(error) => return ready_err(with_path(error, "open", path)).await,
        };
        let fd = OpenAt::path(path, flags, self.mode, false).await?;
        Ok(File::from_shared(fd))
    }

    fn flags(&self) -> io::Result<i32> {
        let invalid = |what| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        let access = match (self.read, self.write, self.append) {
            (true, false, false) => libc::O_RDONLY,
            (false, true, false) => libc::O_WRONLY,
            (true, true, false) => libc::O_RDWR,
            (false, _, true) => libc::O_WRONLY | libc::O_APPEND,
            (true, _, true) => libc::O_RDWR | libc::O_APPEND,
            (false, false, false) => {
                return invalid("open options without read, write or append");
            }
        };
        let makes = self.create || self.create_new;
        if makes && !self.write && !self.append {
            return invalid("create needs write or append");
        }
        if self.truncate && !self.create_new && (self.append || !self.write) {
            return invalid("truncate needs write, and excludes append");
        }
        let creation = match (self.create, self.truncate, self.create_new) {
            (_, _, true) => libc::O_CREAT | libc::O_EXCL,
            (true, true, false) => libc::O_CREAT | libc::O_TRUNC,
            (true, false, false) => libc::O_CREAT,
            (false, true, false) => libc::O_TRUNC,
            (false, false, false) => 0,
        };
        Ok(access | creation | (self.custom_flags & !libc::O_ACCMODE))
    }
}
