//! The errno at the end of an error's chain of sources.

use super::chain;
use std::error::Error;
use std::io;

/// Returns the errno (`errno(3)`) that the kernel returned, found in this error or in its chain of sources.
///
/// Many errors of this crate name what was attempted, such as the path or the address. An [`io::Error`] holds either such a text
/// or an errno, never both, so [`raw_os_error`](io::Error::raw_os_error) is `None` for them, and the errno is in a source.
/// Use this function to tell apart errors that have no [`ErrorKind`](io::ErrorKind) of their own, such as `EMFILE` and
/// `EMSGSIZE`; the `libc` crate has the numbers.
///
/// Returns `None` for an error that did not come from the kernel, such as [`Canceled`](crate::Canceled) or a timeout.
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
