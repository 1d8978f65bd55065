//! How large a test is: quick by default, full with `GIMMAL_TEST=full`.

use std::env::VarError;

/// Whether this is a run at full size. A value other than `quick` and `full` is an error.
pub fn is_full() -> bool {
    match std::env::var("GIMMAL_TEST").as_deref() {
        Err(VarError::NotPresent) | Ok("quick") => false,
        Ok("full") => true,
        other => panic!("GIMMAL_TEST is {other:?} instead of `quick` or `full`"),
    }
}

/// The number of rounds of a storm, or the bound of an exhaustive test. Even the quick size must exercise every property
/// that the test is about.
pub fn quick_or_full<T>(quick: T, full: T) -> T {
    if is_full() { full } else { quick }
}
