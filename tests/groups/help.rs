//! Helpers shared by the tests of groups.

use common::{
    Counts, Faults, is_child, panic_message, passes_in_child, passes_in_child_that_leaks,
};
use gimmal::runtime::Builder;
use gimmal::{Handle, Runtime};
use std::any::Any;
use std::io;
use std::time::Duration;

pub(crate) const LONG: Duration = Duration::from_secs(3600);
pub(crate) const SHORT: Duration = Duration::from_millis(2);

/// For a test that leaks on purpose: runs it in a child process without leak checking, and returns false in that
/// process.
#[track_caller]
pub(crate) fn leaks_on_purpose(name: &str) -> bool {
    if is_child() {
        return false;
    }
    passes_in_child_that_leaks(name);
    true
}

/// For a test whose failure could abort the process.
#[track_caller]
pub(crate) fn may_abort(name: &str) -> bool {
    if is_child() {
        return false;
    }
    passes_in_child(name);
    true
}

/// Runs a test in its own runtime, on virtual time, and checks that no fault is reported.
pub(crate) fn run(test: impl AsyncFnOnce()) {
    run_with_faults(async |faults| {
        test().await;
        faults.expect(&[]);
    });
}

/// The same for a test that checks the faults itself. No fault may be reported after it.
pub(crate) fn run_with_faults(test: impl AsyncFnOnce(&Faults)) {
    run_on(Runtime::builder().virtual_time(), test);
}

/// The same for a test in which something can always run, so that virtual time would stand still.
pub(crate) fn run_in_real_time(test: impl AsyncFnOnce(&Faults)) {
    run_on(Runtime::builder(), test);
}

fn run_on(builder: Builder, test: impl AsyncFnOnce(&Faults)) {
    let faults = Faults::default();
    let mut runtime = faults.hear(builder).build().unwrap();
    runtime.block_on(test(&faults));
    drop(runtime);
    faults.expect(&[]);
}

/// The current counts of this runtime.
pub(crate) fn counts() -> Counts {
    Handle::current().stats().into()
}

/// A recognizable failure.
pub(crate) fn failure(what: &str) -> io::Error {
    io::Error::other(what.to_owned())
}

pub(crate) fn words(errors: &[io::Error]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

/// A panic that does not have the type `!`.
pub(crate) fn explode(what: &'static str) {
    std::panic::panic_any(what)
}

/// A sleep with an `io::Error`.
pub(crate) async fn doze(duration: Duration) -> io::Result<()> {
    Ok(gimmal::sleep(duration).await?)
}

/// The message of a panic.
#[track_caller]
pub(crate) fn said<T>(outcome: Result<T, Box<dyn Any + Send>>) -> String {
    match outcome {
        Ok(_) => panic!("no panic"),
        Err(payload) => panic_message(payload),
    }
}
