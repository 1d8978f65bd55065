//! The errno at the end of an error's chain of sources.

use crate::scope::chain;
use std::error::Error;
use std::io;

/// The errno that this error, or one that it came from, has from the kernel.
///
/// Many errors of this crate name what was tried, such as the path or the address. An [`io::Error`] holds either such a text or
/// an errno, so [`raw_os_error`](io::Error::raw_os_error) is `None` for them, and the errno is that of a source. This
/// function finds it, however deep it is wrapped, and tells apart what has no [`ErrorKind`](io::ErrorKind) of its own.
/// The numbers are those of `errno(3)` and of the `libc` crate.
///
/// `None` for an error that is not the kernel's, such as [`Canceled`](crate::Canceled) or a timeout.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let error = gimmal::fs::File::open("no/such/file").await.unwrap_err();
///     assert!(error.to_string().contains("no/such/file"));
///     assert_eq!(gimmal::errno(&error), Some(libc::ENOENT));
///     assert_eq!(gimmal::errno(&std::io::Error::from(gimmal::Canceled)), None);
///     Ok(())
/// })
/// # }
/// ```
#[must_use]
pub fn errno(error: &(dyn Error + 'static)) -> Option<i32> {
    chain(error).find_map(|error| error.downcast_ref::<io::Error>()?.raw_os_error())
}
