//! What a child may end with.

use crate::error::is_cancellation;
use std::fmt::Display;

/// The output of a loop without an end: `!`, which has no name of its own on stable Rust, but is the output of a function.
type Never = <fn() -> ! as Returns>::Output;

/// What a function pointer returns.
#[doc(hidden)]
pub trait Returns {
    /// Its output.
    type Output;
}

impl<O> Returns for fn() -> O {
    type Output = O;
}

/// What a child of a group may end with: nothing (or it never ends), or a `Result` with the group's error type.
pub trait Outcome<E> {
    /// What its handle gives.
    type Value;

    /// The value, or the failure.
    ///
    /// # Errors
    ///
    /// The failure.
    fn into_result(self) -> Result<Self::Value, E>;
}

impl<E> Outcome<E> for () {
    type Value = ();

    fn into_result(self) -> Result<(), E> {
        Ok(())
    }
}

impl<E> Outcome<E> for Never {
    type Value = Never;

    fn into_result(self) -> Result<Never, E> {
        self
    }
}

impl<T, E> Outcome<E> for Result<T, E> {
    type Value = T;

    fn into_result(self) -> Result<T, E> {
        self
    }
}

/// What a child of a [`Supervisor`](super::Supervisor) may end with: nothing (or it never ends), or a `Result` whose error can be shown.
pub trait Report {
    /// The failure, in words, if it is one.
    fn failure(&self) -> Option<String>;

    /// Whether the failure is a cancellation and none of its own. `None` if there is no failure, or its type cannot be asked.
    fn is_canceled(&self) -> Option<bool> {
        None
    }
}

impl Report for () {
    fn failure(&self) -> Option<String> {
        None
    }
}

impl Report for Never {
    fn failure(&self) -> Option<String> {
        *self
    }
}

impl<T, E: Display> Report for Result<T, E> {
    fn failure(&self) -> Option<String> {
        self.as_ref().err().map(ToString::to_string)
    }

    fn is_canceled(&self) -> Option<bool> {
        is_cancellation(self.as_ref().err()?)
    }
}
