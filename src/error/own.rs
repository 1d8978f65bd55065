//! What [`errors_into!`](crate::errors_into) finds out about a type: whether it is an `Error`, and whether an error of std can
//! hold it.
//!
//! A macro knows the type, so an inherent constant whose bounds hold comes before that of a trait, and the trait's is used
//! where they do not.

#![expect(missing_docs, reason = "only the macro uses this")]

use std::error::Error;
use std::fmt;
use std::marker::PhantomData;

/// The error whose chain of sources says what a value comes from, if its type is one.
pub type Ask<T> = fn(&T) -> Option<&(dyn Error + 'static)>;

/// Makes an error of a value of any type, so that another error can hold it. Gives it back if that cannot be.
pub type Hold<T> = fn(T) -> Result<Box<dyn Error + Send + Sync>, T>;

/// A type whose constants say what it is.
#[derive(Debug)]
pub struct Own<T>(PhantomData<T>);

impl<T: Error + 'static> Own<T> {
    pub const ASK: Ask<T> = |error| Some(error);
}

impl<T: Error + Send + Sync + 'static> Own<T> {
    pub const HOLD: Option<Hold<T>> = Some(|error| Ok(Box::new(error)));
}

impl<T: fmt::Debug + Send + Sync + 'static> Own<T> {
    pub const SHOW: Option<Hold<T>> = Some(|value| Ok(Box::new(Shown(value))));
}

/// The constants of a type that is not what they ask for.
pub trait Otherwise<T> {
    const ASK: Ask<T> = |_| None;
    const HOLD: Option<Hold<T>> = None;
    const SHOW: Option<Hold<T>> = None;
}

impl<T> Otherwise<T> for Own<T> {}

/// The first way that there is.
pub const fn hold<T>(as_error: Option<Hold<T>>, shown: Option<Hold<T>>) -> Hold<T> {
    match (as_error, shown) {
        (Some(hold), _) | (None, Some(hold)) => hold,
        (None, None) => |value| Err(value),
    }
}

/// A value that is no error, inside of one.
#[derive(Debug)]
struct Shown<T>(T);

impl<T: fmt::Debug> fmt::Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl<T: fmt::Debug> Error for Shown<T> {}
