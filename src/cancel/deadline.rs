//! The deadline of the current scope.

use crate::runtime::{self, Core};
use crate::sys::Instant;

/// Returns the time at which waits of the caller will be canceled by a deadline: the earliest deadline of the timeouts
/// and scopes around it, up to the next shield. Returns `None` if there is none, and outside of a runtime.
///
/// In a canceled scope, the returned time is not in the future. Deadlines of operations (`.timeout(d)` on an
/// [`Op`](crate::op::Op)) do not count, because they concern only the operation.
///
/// For example, a request to another machine can pass on the time it has left:
///
/// ```
/// use gimmal::cancel;
/// use gimmal::time::{Instant, timeout};
/// use std::time::Duration;
///
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     assert_eq!(cancel::deadline(), None);
///     let request = async {
///         let left = cancel::deadline().map(|deadline| deadline - Instant::now());
///         assert!(left.is_some_and(|left| left <= Duration::from_secs(5)));
///         Ok::<_, std::io::Error>(())
///     };
///     timeout(Duration::from_secs(5), request).await?;
///     Ok(())
/// })
/// # }
/// ```
#[must_use]
pub fn deadline() -> Option<Instant> {
    runtime::try_with(Core::deadline_here).flatten()
}
