//! Child processes of the test program, and limits of a process.

use crate::relay_skips;
use std::process::{Command, Output};

/// Sets the soft limit of descriptors, and returns the previous limit.
pub fn limit_descriptors(soft: u64) -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a valid `rlimit`, which is only written during the call.
    let got = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    let before = std::mem::replace(&mut limit.rlim_cur, soft);
    // SAFETY: the pointer is to a valid `rlimit`, which is only read during the call.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!((got, set), (0, 0));
    before
}

pub const CHILD: &str = "GIMMAL_TEST_CHILD";

/// Set in the child process of [`ran_in_own_process`], which may start children itself.
const ALONE: &str = "GIMMAL_TEST_ALONE";

/// Whether this process was started by [`child`].
pub fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Whether this process was started by a test.
pub(crate) fn is_child_process() -> bool {
    is_child() || std::env::var_os(ALONE).is_some()
}

/// Whether no other test runs in this process.
pub(crate) fn is_alone() -> bool {
    // With one thread, the harness runs one test after another on the main thread.
    is_child_process() || std::thread::current().name() == Some("main")
}

/// Runs the calling test in a child process, unless it runs in one already, and checks that it passes there: for a test
/// that counts descriptors, that checks that a drop closes one (a neighbor that starts a process holds copies of all for a
/// moment), or that changes a limit, a signal or a file that belongs to the process. A test begins with
///
/// ```ignore
/// if ran_in_own_process() {
///     return;
/// }
/// ```
#[track_caller]
pub fn ran_in_own_process() -> bool {
    if is_alone() {
        return false;
    }
    let thread = std::thread::current();
    let test = thread.name().expect("the harness names its threads");
    let mut command = child(test, &[]);
    command.arg("--exact").env(ALONE, "1").env_remove(CHILD);
    let output = command.output().expect("a child");
    assert_passed(test, &output);
    true
}

/// A command that runs the test with this name in a child process, under `wrapper` unless that is empty.
pub fn child(test: &str, wrapper: &[&str]) -> Command {
    let program = std::env::current_exe().expect("the test's own program");
    let mut command = match wrapper {
        [] => Command::new(&program),
        [wrapper, arguments @ ..] => {
            let mut command = Command::new(wrapper);
            command.args(arguments).arg(&program);
            command
        }
    };
    command.args([test, "--nocapture", "--test-threads=1"]);
    command.env(CHILD, "1");
    command
}

/// Like [`passes_in_child`], but for a test that leaks on purpose, with leak checking off.
#[track_caller]
pub fn passes_in_child_that_leaks(test: &str) {
    let output = without_leak_checker(&mut child(test, &[]))
        .output()
        .expect("a child");
    assert_passed(test, &output);
}

/// Turns leak checking off. Needed also for a traced process, since the leak checker does not work under a tracer.
pub fn without_leak_checker(command: &mut Command) -> &mut Command {
    command.env("ASAN_OPTIONS", "detect_leaks=0")
}

/// Runs this one test again in a child process, and checks that it passes.
#[track_caller]
pub fn passes_in_child(test: &str) {
    let output = child(test, &[]).output().expect("a child");
    assert_passed(test, &output);
}

#[track_caller]
pub fn assert_passed(test: &str, output: &Output) {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success() && out.contains("ok. 1 passed"),
        "{test} in a child: {}\n{out}\n{err}",
        output.status
    );
    relay_skips(&err);
}
