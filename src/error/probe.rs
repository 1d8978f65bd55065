//! Lets [`impl_from_errors!`](crate::impl_from_errors) find out whether a type is an `Error`, and whether an `io::Error` can hold
//! it.
//!
//! In a macro the type is concrete, so an inherent constant takes precedence over a trait's where the inherent impl's
//! bounds hold, and the trait's constant is used elsewhere.

#![expect(missing_docs, reason = "only the macro uses this")]

use std::error::Error;
use std::fmt;
use std::marker::PhantomData;

/// Returns the error whose chain of sources shows where a value comes from, if the type is an `Error`.
pub type Ask<T> = fn(&T) -> Option<&(dyn Error + 'static)>;

/// Makes an error from a value of any type, so that another error can hold it. Returns the value if that is impossible.
pub type Hold<T> = fn(T) -> Result<Box<dyn Error + Send + Sync>, T>;

/// A type whose constants depend on what `T` implements.
#[derive(Debug)]
pub struct Probe<T>(PhantomData<T>);

impl<T: Error + 'static> Probe<T> {
    pub const ASK: Ask<T> = |error| Some(error);
}

impl<T: Error + Send + Sync + 'static> Probe<T> {
    pub const HOLD: Option<Hold<T>> = Some(|error| Ok(Box::new(error)));
}

impl<T: fmt::Debug + Send + Sync + 'static> Probe<T> {
    pub const SHOW: Option<Hold<T>> = Some(|value| Ok(Box::new(Shown(value))));
}

/// The constants for types whose impls above do not apply.
pub trait ProbeFallback<T> {
    const ASK: Ask<T> = |_| None;
    const HOLD: Option<Hold<T>> = None;
    const SHOW: Option<Hold<T>> = None;
}

impl<T> ProbeFallback<T> for Probe<T> {}

/// Returns the first conversion that exists.
pub const fn hold<T>(as_error: Option<Hold<T>>, shown: Option<Hold<T>>) -> Hold<T> {
    match (as_error, shown) {
        (Some(hold), _) | (None, Some(hold)) => hold,
        (None, None) => |value| Err(value),
    }
}

/// An error that holds a value of a type that is not an `Error`.
#[derive(Debug)]
struct Shown<T>(T);

impl<T: fmt::Debug> fmt::Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl<T: fmt::Debug> Error for Shown<T> {}
