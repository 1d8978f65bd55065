//! When the caller is canceled.

use crate::runtime::{self, Core};
use crate::sys::Instant;

/// When what the caller awaits is canceled, as far as deadlines tell: the earliest one of the timeouts and scopes around it, up
/// to the next shield. `None` if there is none, and outside of a runtime.
///
/// In a canceled scope it is a moment that is not in the future. Of the deadlines of operations (`.timeout(d)` on an
/// [`Op`](crate::op::Op)) it knows nothing: they concern nothing but the operation.
///
/// So a request to another machine can take the time along that is left for it:
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
