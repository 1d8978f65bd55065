//! Tasks that run on without a handle: what is reported of them.

use common::{DropBomb, Faults, everywhere};
use gimmal::cancel::shield;
use gimmal::task::{self, JoinHandle};
use gimmal::{Canceled, Handle, Runtime, sleep, spawn, yield_now};
use std::cell::RefCell;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(3600);

/// Runs a test, and returns the faults when all its tasks have ended.
fn faults_of(test: impl AsyncFnOnce() + Copy, expected: &[&str]) {
    everywhere(|builder| {
        let faults = Faults::default();
        let mut runtime = faults.hear(builder).build().unwrap();
        runtime.block_on(async {
            test().await;
            while Handle::current().stats().tasks > 1 {
                yield_now().await;
            }
            assert_eq!(Handle::current().stats().task_rows, 1);
        });
        faults.expect(expected);
        drop(runtime);
        faults.expect(&[]);
    });
}

fn fails(text: &str) -> io::Result<u8> {
    Err(io::Error::other(text.to_owned()))
}

#[test]
fn a_failure_is_reported_with_the_name_and_the_error() {
    let test = async || {
        let saves = task::Builder::new().name("saves");
        saves.spawn(async { fails("the disk is full") }).detach();
    };
    faults_of(
        test,
        &["task \"saves\" failed, and nobody joined it: the disk is full"],
    );
    let test = async || spawn(async { Err::<(), _>("any text") }).detach();
    faults_of(test, &["tests/tasks/detached.rs"]);
}

#[test]
fn a_failure_from_before_the_detach_is_reported_at_once() {
    let test = async || {
        let task = spawn(async { fails("early") });
        while !task.is_finished() {
            yield_now().await;
        }
        task.detach();
        assert_eq!(Handle::current().stats().task_rows, 1);
    };
    faults_of(test, &["early"]);
}

#[test]
fn what_does_not_fail_is_not_reported() {
    let test = async || {
        spawn(async {}).detach();
        spawn(async { Ok::<_, io::Error>(3) }).detach();
        let task = spawn(std::future::pending::<()>());
        task.abort();
        task.detach();
        // The error of a task whose handle is dropped goes with it, before and after its end.
        drop(spawn(async { fails("dropped") }));
        let task = spawn(async { fails("dropped") });
        while !task.is_finished() {
            yield_now().await;
        }
        drop(task);
    };
    faults_of(test, &[]);
}

#[test]
fn a_cancellation_is_not_reported_and_a_failure_in_the_cleanup_is() {
    let test = async || {
        let canceled = spawn(sleep(LONG));
        canceled.cancel();
        canceled.detach();
        let boxed = spawn(async { Err::<(), Box<dyn std::error::Error>>(Canceled.into()) });
        boxed.detach();
        let failed = spawn(async {
            let _ = sleep(LONG).await;
            shield(async { fails("in the cleanup") }).await
        });
        failed.cancel();
        failed.detach();
        // It cannot be asked.
        spawn(async { Err::<(), _>(Canceled.to_string()) }).detach();
    };
    faults_of(test, &["canceled", "in the cleanup"]);
}

/// The tasks that are left at the end of `run` are canceled.
#[test]
fn the_end_of_a_program_reports_no_cancellations() {
    let faults = Faults::default();
    let main = async {
        for _ in 0..3 {
            spawn(async { Ok::<_, io::Error>(sleep(LONG).await?) }).detach();
        }
        spawn(async {
            let _ = sleep(LONG).await;
            fails("the last words")
        })
        .detach();
        yield_now().await;
        Ok::<_, io::Error>(())
    };
    faults.hear(Runtime::builder()).run(main).unwrap();
    faults.expect(&["the last words"]);
}

#[test]
fn a_panic_is_reported_once() {
    let test = async || spawn(async { panic!("a bug") as io::Result<()> }).detach();
    faults_of(test, &["panicked, and nobody joined it: a bug"]);
}

/// Panics when it is displayed.
struct Undisplayed;

impl fmt::Display for Undisplayed {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("no text")
    }
}

/// Displays itself by starting another task.
struct Starts(DropBomb);

impl fmt::Display for Starts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        spawn(async { fails("the inner one") }).detach();
        write!(f, "the outer one, with {}", self.0.0)
    }
}

/// The error is displayed and dropped where the runtime borrows nothing.
#[test]
fn an_error_may_use_the_runtime_and_may_panic() {
    let test = async || {
        spawn(async { Err::<(), _>(Undisplayed) }).detach();
        spawn(async { Err::<(), _>(Starts(DropBomb("a destructor"))) }).detach();
    };
    faults_of(
        test,
        &[
            "a task's output panicked: no text",
            "a task's output panicked: a destructor",
            "the outer one",
            "the inner one",
        ],
    );
}

#[test]
fn a_task_may_detach_itself() {
    let test = async || {
        let slot = Rc::new(RefCell::new(None::<JoinHandle<io::Result<u8>>>));
        let own = slot.clone();
        slot.replace(Some(spawn(async move {
            own.take().unwrap().detach();
            yield_now().await;
            fails("alone")
        })));
    };
    faults_of(test, &["alone"]);
}

#[test]
fn a_handle_is_detached_outside_of_its_runtime_and_after_it() {
    let faults = Faults::default();
    let mut runtime = faults.hear(Runtime::builder()).build().unwrap();
    runtime.spawn(async { fails("outside") }).detach();
    let late = runtime.spawn(async { fails("never seen") });
    runtime.block_on(async {
        while Handle::current().stats().tasks > 1 {
            yield_now().await;
        }
    });
    faults.expect(&["outside"]);
    drop(runtime);
    late.detach();
    faults.expect(&[]);
}
