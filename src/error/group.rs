//! The error of a group.

use super::as_error;
use crate::scope::Canceled;
use std::error::Error;
use std::fmt;
use std::io;

/// Why a group gave no value: its body or a child failed, or a scope around it was cancelled.
///
/// It holds the first failure and all others, and what those said that were only cut short because of the first. `?` takes
/// it into whatever `E` goes into: for `io::Error` that is the first failure, with the others inside if there are any.
pub struct GroupError<E, T = ()>(Box<Inner<E, T>>);

struct Inner<E, T> {
    first: Option<E>,
    rest: Vec<E>,
    echoes: Vec<E>,
    output: Option<T>,
}

impl<E, T> GroupError<E, T> {
    pub(crate) fn new(
        first: Option<E>,
        rest: Vec<E>,
        echoes: Vec<E>,
        output: Option<T>,
    ) -> GroupError<E, T> {
        GroupError(Box::new(Inner {
            first,
            rest,
            echoes,
            output,
        }))
    }

    /// Whether nothing of the group failed by itself: it was cancelled.
    #[must_use]
    pub fn is_canceled(&self) -> bool {
        self.0.first.is_none()
    }

    /// The first failure. `None` if the group was cancelled.
    pub fn first(&self) -> Option<&E> {
        self.0.first.as_ref()
    }

    /// The first failure, without the others.
    pub fn into_first(self) -> Option<E> {
        self.0.first
    }

    /// The failures after the first, in the order in which they came.
    pub fn rest(&self) -> &[E] {
        &self.0.rest
    }

    /// What children said that were cut short by the cancelling of the group.
    pub fn echoes(&self) -> &[E] {
        &self.0.echoes
    }

    /// Every failure, the first one first, without echoes.
    pub fn into_failures(self) -> impl Iterator<Item = E> {
        let Inner { first, rest, .. } = *self.0;
        first.into_iter().chain(rest)
    }

    /// What the body of the group gave, if it ended well.
    pub fn output(&self) -> Option<&T> {
        self.0.output.as_ref()
    }

    /// What the body of the group gave, if it ended well.
    pub fn into_output(self) -> Option<T> {
        self.0.output
    }

    #[doc(hidden)]
    pub fn into_error<O>(self) -> O
    where
        O: From<E> + From<io::Error>,
    {
        match self.0.first {
            Some(first) => O::from(first),
            None => O::from(io::Error::from(Canceled)),
        }
    }
}

impl<E: fmt::Display, T> fmt::Display for GroupError<E, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = &self.0.first else {
            return write!(f, "{Canceled}");
        };
        match self.0.rest.len() {
            0 => write!(f, "{first}"),
            more => write!(f, "{first} (and {more} more failed)"),
        }
    }
}

// What the body gave is not shown: it may be long, and needs no Debug.
impl<E: fmt::Debug, T> fmt::Debug for GroupError<E, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupError")
            .field("first", &self.0.first)
            .field("rest", &self.0.rest)
            .field("echoes", &self.0.echoes)
            .finish_non_exhaustive()
    }
}

/// As for `TimeoutError`, what is inside needs not be an `Error`.
impl<E: fmt::Debug + fmt::Display + 'static, T> Error for GroupError<E, T> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0.first {
            Some(first) => as_error(first),
            None => Some(&Canceled),
        }
    }
}

impl<E: Into<io::Error>, T> From<GroupError<E, T>> for io::Error {
    fn from(error: GroupError<E, T>) -> io::Error {
        let Inner {
            first,
            rest,
            echoes,
            ..
        } = *error.0;
        let Some(first) = first else {
            return Canceled.into();
        };
        let first: io::Error = first.into();
        if rest.is_empty() {
            return first;
        }
        let all = GroupError::<io::Error>::new(
            Some(first),
            rest.into_iter().map(Into::into).collect(),
            echoes.into_iter().map(Into::into).collect(),
            None,
        );
        io::Error::new(
            all.0
                .first
                .as_ref()
                .map_or(io::ErrorKind::Other, io::Error::kind),
            all,
        )
    }
}
