//! The error of a group.

use super::ask::{Source, Wraps, ask, is_known_cancellation, register_type, source};
use super::probe::{Ask, Hold};
use super::{Canceled, chain, is_canceled};
use std::error::Error;
use std::fmt;
use std::io;
use std::iter;

/// The error of a group that returned no value: its body or a child failed, or it was canceled.
///
/// It holds the first failure, all others, and the cancellations of the body and children that were cut short. `?`
/// converts it as it converts `E`: into the first failure alone, if there is no other; otherwise into an error that has
/// the first failure as its source and displays all of them.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use std::io::{self, ErrorKind};
///
/// gimmal::run(async {
///     let group = gimmal::group(async |g| {
///         for path in ["no/such/file", "nor/this/one"] {
///             g.spawn(gimmal::fs::read(path));
///         }
///         Ok::<_, io::Error>("started")
///     });
///     let error = group.await.unwrap_err();
///     assert_eq!(error.first().map(io::Error::kind), Some(ErrorKind::NotFound));
///     // The other one failed, too, unless it was canceled first.
///     assert_eq!(error.rest().len() + error.canceled_errors().len(), 1);
///     assert_eq!(error.into_output(), Some("started"));
///     Ok(())
/// })
/// # }
/// ```
pub struct GroupError<E, T = ()>(Box<Fields<E, T>>);

struct Fields<E, T> {
    failures: Failures<E>,
    /// Whether a scope outside the group cut a child short.
    cut_off: bool,
    reason: Option<String>,
    output: Option<T>,
}

/// The errors of the body and the children of a group.
pub(crate) struct Failures<E> {
    /// The failures, in the order in which they occurred.
    own: Vec<E>,
    canceled: Vec<E>,
    /// The indexes of failures that may be cancellations: those of children that were cut short, if their type is
    /// unknown.
    unsure: Vec<usize>,
}

impl<E> Failures<E> {
    pub(crate) fn new() -> Failures<E> {
        Failures {
            own: Vec::new(),
            canceled: Vec::new(),
            unsure: Vec::new(),
        }
    }

    /// Adds the error of a child or of the body. `cut_short` is whether it was cut short; `is_cancellation` classifies
    /// the error, if its type is known. Returns true if it is certainly a failure of its own.
    pub(crate) fn add(&mut self, error: E, cut_short: bool, is_cancellation: Option<bool>) -> bool {
        let is_sure = !cut_short || is_cancellation.is_some();
        if cut_short && is_cancellation == Some(true) {
            self.canceled.push(error);
            return false;
        }
        if !is_sure {
            self.unsure.push(self.own.len());
        }
        self.own.push(error);
        is_sure
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.own.is_empty()
    }

    /// Returns all errors, including cancellations.
    pub(crate) fn into_all(self) -> impl Iterator<Item = E> {
        self.own.into_iter().chain(self.canceled)
    }

    /// Converts the errors into a type that can be classified, and classifies those that were unsure.
    fn settle<O>(
        self,
        into: impl Fn(E) -> O,
        is_cancellation: impl Fn(&O) -> Option<bool>,
    ) -> Failures<O> {
        let mut settled = Failures::new();
        settled.canceled = self.canceled.into_iter().map(&into).collect();
        let mut unsure = self.unsure.into_iter().peekable();
        for (index, error) in self.own.into_iter().enumerate() {
            let error = into(error);
            let cut_short = unsure.next_if_eq(&index).is_some();
            let is_cancellation = cut_short.then(|| is_cancellation(&error)).flatten();
            settled.add(error, cut_short, is_cancellation);
        }
        settled
    }
}

/// How many failures after the first are displayed.
const SHOWN: usize = 8;

impl<E, T> GroupError<E, T> {
    /// Decides the result of a group. `cut_off` is whether a scope outside the group cut a child short.
    pub(crate) fn judge(
        failures: Failures<E>,
        cut_off: bool,
        reason: Option<String>,
        output: Option<T>,
    ) -> Result<T, GroupError<E, T>> {
        match output {
            Some(output) if failures.is_empty() && !cut_off => Ok(output),
            output => Err(GroupError::new(failures, cut_off, reason, output)),
        }
    }

    fn new(
        failures: Failures<E>,
        cut_off: bool,
        reason: Option<String>,
        output: Option<T>,
    ) -> GroupError<E, T> {
        register_type::<GroupError<E, T>>();
        GroupError(Box::new(Fields {
            failures,
            cut_off,
            reason,
            output,
        }))
    }

    /// Whether the group was canceled, and nothing in it failed by itself.
    #[must_use]
    pub fn is_canceled(&self) -> bool {
        self.0.failures.is_empty()
    }

    /// Returns the reason for the cancel that was given to [`Group::cancel_with`](crate::group::Group::cancel_with), if
    /// any.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// Returns the first failure. `None` if the group was canceled.
    pub fn first(&self) -> Option<&E> {
        self.0.failures.own.first()
    }

    /// Returns the first failure, without the others.
    pub fn into_first(self) -> Option<E> {
        self.into_failures().next()
    }

    /// Returns the failures after the first, in the order in which they occurred.
    pub fn rest(&self) -> &[E] {
        self.0.failures.own.get(1..).unwrap_or_default()
    }

    /// Returns the cancellation errors of the body and of children that were cut short.
    pub fn canceled_errors(&self) -> &[E] {
        &self.0.failures.canceled
    }

    /// Returns every failure in order, without the cancellations of [`canceled_errors`](GroupError::canceled_errors).
    pub fn into_failures(self) -> impl Iterator<Item = E> {
        self.0.failures.own.into_iter()
    }

    /// Returns the value of the group's body, if it succeeded.
    pub fn output(&self) -> Option<&T> {
        self.0.output.as_ref()
    }

    /// Returns the value of the group's body, if it succeeded.
    pub fn into_output(self) -> Option<T> {
        self.0.output
    }

    /// Classifies errors of your own type as failures or cancellations. A group cannot do that: it counts them as
    /// failures, even when they result from its own cancellation, because they could be anything. If none of them is a
    /// failure and nothing outside the group cut it short, this returns the value of the body.
    ///
    /// An error of this crate that wraps yours, such as a `TimeoutError<MyError>`, stays a failure: this cannot look
    /// inside it, but `?` does. Error types that a group knows need no such call (see
    /// [`group`](mod@crate::group#failures-and-cancellations)).
    ///
    /// ```
    /// use gimmal::group::GroupError;
    /// use std::{fmt, io};
    ///
    /// #[derive(Debug)]
    /// struct MyError(io::Error);
    /// # impl fmt::Display for MyError {
    /// #     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    /// #         write!(f, "mine: {}", self.0)
    /// #     }
    /// # }
    ///
    /// impl std::error::Error for MyError {
    ///     fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
    ///         Some(&self.0)
    ///     }
    /// }
    /// # impl From<io::Error> for MyError {
    /// #     fn from(error: io::Error) -> MyError {
    /// #         MyError(error)
    /// #     }
    /// # }
    /// # gimmal::impl_from_errors!(MyError);
    ///
    /// # fn main() -> Result<(), MyError> {
    /// gimmal::run(async {
    ///     let group = gimmal::group(async |g| {
    ///         drop(g.spawn(async { Ok(gimmal::sleep(std::time::Duration::MAX).await?) }));
    ///         gimmal::yield_now().await;
    ///         g.cancel();
    ///         Ok::<_, MyError>("done")
    ///     });
    ///     assert_eq!(group.await.or_else(GroupError::settle)?, "done");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The error itself, if there is a failure, or if there is no value.
    pub fn settle(self) -> Result<T, GroupError<E, T>>
    where
        E: Error + 'static,
    {
        let Fields {
            failures,
            cut_off,
            reason,
            output,
        } = *self.0;
        let failures = failures.settle(|error| error, is_known_cancellation);
        GroupError::judge(failures, cut_off, reason, output)
    }

    /// Converts the error into another type: from the first failure, if there is no other; otherwise from an
    /// [`io::Error`] that holds all failures that `hold` can hold.
    #[doc(hidden)]
    pub fn into_error<O>(self, ask: Ask<O>, hold: Hold<O>) -> O
    where
        E: Into<O>,
        O: From<io::Error>,
    {
        let Fields {
            failures, reason, ..
        } = *self.0;
        let asked = |error: &O| ask(error).map(is_canceled);
        let settled = failures.settle(Into::into, asked);
        let mut own = settled.own.into_iter();
        let Some(first) = own.next() else {
            return O::from(cancellation(reason));
        };
        if own.len() == 0 {
            return first;
        }
        let kind = kind(ask(&first));
        match hold(first) {
            Ok(first) => {
                let held = |error| hold(error).ok();
                let failures = Failures {
                    own: iter::once(first).chain(own.filter_map(held)).collect(),
                    canceled: settled.canceled.into_iter().filter_map(held).collect(),
                    unsure: Vec::new(),
                };
                let all = GroupError::<Held>::new(failures, false, reason, None);
                O::from(io::Error::new(kind, all))
            }
            Err(first) => first,
        }
    }
}

type Held = Box<dyn Error + Send + Sync>;

/// Converts a canceled group into an `io::Error`.
fn cancellation(reason: Option<String>) -> io::Error {
    match reason {
        None => Canceled.into(),
        reason => io::Error::other(GroupError::<Held>::new(
            Failures::new(),
            false,
            reason,
            None,
        )),
    }
}

/// Returns the kind of the first `io::Error` in a chain of sources.
fn kind(error: Option<&(dyn Error + 'static)>) -> io::ErrorKind {
    let mut chain = error.into_iter().flat_map(chain);
    let found = chain.find_map(|error| error.downcast_ref::<io::Error>());
    found.map_or(io::ErrorKind::Other, io::Error::kind)
}

impl<E: fmt::Display, T> fmt::Display for GroupError<E, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, rest)) = self.0.failures.own.split_first() else {
            return match &self.0.reason {
                None => write!(f, "{Canceled}"),
                Some(reason) => write!(f, "{Canceled}: {reason}"),
            };
        };
        write!(f, "{first}")?;
        if rest.is_empty() {
            return Ok(());
        }
        write!(f, " (and {} more failed", rest.len())?;
        for (index, error) in rest.iter().take(SHOWN).enumerate() {
            write!(f, "{} {error}", if index == 0 { ":" } else { ";" })?;
        }
        f.write_str(if rest.len() > SHOWN { "; …)" } else { ")" })
    }
}

/// The first few errors of a list, and the number of the others, for `Debug`.
struct Few<'a, E>(&'a [E]);

impl<E: fmt::Debug> fmt::Debug for Few<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = f.debug_list();
        list.entries(self.0.iter().take(SHOWN));
        if self.0.len() > SHOWN {
            list.entry(&format_args!("and {} more", self.0.len() - SHOWN));
        }
        list.finish()
    }
}

// The value of the body is omitted: it may be long, and need not implement Debug.
impl<E: fmt::Debug, T> fmt::Debug for GroupError<E, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupError")
            .field("first", &self.first())
            .field("rest", &Few(self.rest()))
            .field("canceled", &Few(&self.0.failures.canceled))
            .field("reason", &self.0.reason)
            .finish_non_exhaustive()
    }
}

/// As in `TimeoutError`, the error inside need not implement `Error`.
impl<E: fmt::Debug + fmt::Display + 'static, T> Error for GroupError<E, T> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        source(self)
    }
}

impl<E, T> Wraps for GroupError<E, T> {
    type Inner = E;

    fn known_source(&self) -> Option<Source<'_>> {
        match self.first() {
            Some(first) => ask(first),
            None => Some(Source::new(&Canceled)),
        }
    }
}

impl<E: Into<io::Error>, T> From<GroupError<E, T>> for io::Error {
    fn from(error: GroupError<E, T>) -> io::Error {
        error.into_error(|error| Some(error), |error| Ok(error.into()))
    }
}

impl<E, T> From<Canceled> for GroupError<E, T> {
    fn from(_: Canceled) -> GroupError<E, T> {
        GroupError::new(Failures::new(), false, None, None)
    }
}
