//! The error of a timeout around a future whose output is not a `Result`.

use super::ask::{Source, Wraps, register_type, source};
use super::{Canceled, Elapsed};
use std::error::Error;
use std::fmt;
use std::io;

/// The error of a future that was cut short by a deadline or by a scope around the timeout. It holds the future's
/// output, if there is one.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::time::timeout_any;
/// use std::time::Duration;
///
/// gimmal::run(async {
///     let asleep = gimmal::sleep(Duration::from_secs(3600));
///     let both = gimmal::join((asleep, async { "done" }));
///     let error = timeout_any(Duration::from_millis(1), both).await.unwrap_err();
///     assert!(error.is_elapsed());
///     // What the future returned is not lost.
///     assert_eq!(error.into_inner(), Some((Err(gimmal::Canceled), "done")));
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CutShort<O> {
    output: Option<O>,
    is_timeout: bool,
}

impl<O> CutShort<O> {
    /// `is_timeout` is whether the deadline cut the future short. If not, it was dropped, because a scope around the
    /// timeout was canceled.
    pub(crate) fn new(output: Option<O>, is_timeout: bool) -> CutShort<O> {
        register_type::<CutShort<O>>();
        CutShort { output, is_timeout }
    }

    /// Whether the deadline cut the future short. If not, a scope around the timeout was canceled.
    #[must_use]
    pub fn is_elapsed(&self) -> bool {
        self.is_timeout
    }

    /// Returns the future's output. `None` if it was dropped while it waited for something of another crate.
    pub fn inner(&self) -> Option<&O> {
        self.output.as_ref()
    }

    /// Returns the future's output. `None` if it was dropped while it waited for something of another crate.
    pub fn into_inner(self) -> Option<O> {
        self.output
    }
}

impl<O> fmt::Display for CutShort<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_timeout {
            true => write!(f, "{Elapsed}"),
            false => write!(f, "{Canceled}"),
        }
    }
}

// The output is omitted: it need not implement Debug.
impl<O> fmt::Debug for CutShort<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CutShort")
            .field("is_timeout", &self.is_timeout)
            .field("has_output", &self.output.is_some())
            .finish_non_exhaustive()
    }
}

impl<O> Error for CutShort<O> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        source(self)
    }
}

impl<O> Wraps for CutShort<O> {
    type Inner = ();

    fn known_source(&self) -> Option<Source<'_>> {
        match self.is_timeout {
            true => Some(Source::new(&Elapsed)),
            false => Some(Source::new(&Canceled)),
        }
    }
}

impl<O> From<CutShort<O>> for io::Error {
    fn from(error: CutShort<O>) -> io::Error {
        match error.is_timeout {
            true => Elapsed.into(),
            false => Canceled.into(),
        }
    }
}
