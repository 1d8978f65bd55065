//! Helpers shared by the tests of groups.

use crate::common::{Counts, alone, is_child, passes_in_child, passes_in_child_that_leaks};
use crate::support::Faults;
use gimmal::fs::File;
use gimmal::{Handle, Runtime};
use std::any::Any;
use std::cell::Cell;
use std::future::poll_fn;
use std::io::{self, PipeWriter};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
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
    let _alone = alone();
    passes_in_child_that_leaks(name);
    true
}

/// For a test whose failure could abort the process.
#[track_caller]
pub(crate) fn may_abort(name: &str) -> bool {
    if is_child() {
        return false;
    }
    let _alone = alone();
    passes_in_child(name);
    true
}

/// Runs a test in its own runtime, and checks that no fault is reported.
pub(crate) fn run(test: impl AsyncFnOnce()) {
    run_with_faults(async |faults| {
        test().await;
        faults.expect(&[]);
    });
}

/// The same for a test that checks the faults itself. No fault may be reported after it.
pub(crate) fn run_with_faults(test: impl AsyncFnOnce(&Faults)) {
    let _alone = alone();
    let faults = Faults::default();
    let mut runtime = faults.hear(Runtime::builder()).build().unwrap();
    runtime.block_on(test(&faults));
    drop(runtime);
    faults.expect(&[]);
}

/// The current counts of this runtime.
pub(crate) fn counts() -> Counts {
    Handle::current().stats().into()
}

pub(crate) fn pipe() -> (File, PipeWriter) {
    let (reader, writer) = io::pipe().unwrap();
    (File::from(OwnedFd::from(reader)), writer)
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

/// The output of a future, or the payload of its panic.
pub(crate) async fn caught<F: Future>(future: F) -> Result<F::Output, Box<dyn Any + Send>> {
    let mut future = pin!(future);
    poll_fn(
        |context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(polled) => polled.map(Ok),
            Err(payload) => Poll::Ready(Err(payload)),
        },
    )
    .await
}

/// The message of a panic.
#[track_caller]
pub(crate) fn said<T>(outcome: Result<T, Box<dyn Any + Send>>) -> String {
    match outcome {
        Ok(_) => panic!("no panic"),
        Err(payload) => match payload.downcast::<String>() {
            Ok(said) => *said,
            Err(payload) => (*payload.downcast_ref::<&str>().unwrap()).to_owned(),
        },
    }
}

/// Counts its members that were not dropped.
#[derive(Clone, Default)]
pub(crate) struct Census {
    made: Rc<Cell<usize>>,
    dropped: Rc<Cell<usize>>,
}

pub(crate) struct Member {
    dropped: Rc<Cell<usize>>,
    /// False once the value was dropped, to detect a second drop.
    alive: Cell<bool>,
}

impl Census {
    pub(crate) fn member(&self) -> Member {
        self.made.set(self.made.get() + 1);
        Member {
            dropped: self.dropped.clone(),
            alive: Cell::new(true),
        }
    }

    pub(crate) fn alive(&self) -> usize {
        self.made.get() - self.dropped.get()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        assert!(self.alive.replace(false), "a value is dropped once");
        self.dropped.set(self.dropped.get() + 1);
    }
}
