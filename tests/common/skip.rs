//! `skip!(why)` reports a test, or a part of one, that cannot run here. An unreported skip looks like a pass.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::{self, Write};

/// The list of skips of all test programs, one per line. Tests only append to it: `.ci/run` removes it before it runs
/// the tests, and counts its lines afterward.
const LIST: &str = "skipped";

const MARK: &str = "skipped: ";

/// Reports that this test cannot run here, with a reason in the form of `format!`. The macro does not return from the
/// test, so the rest of the test can still run. To end the test, write `return skip!("only root can do this")`.
#[macro_export]
macro_rules! skip {
    ($($why:tt)+) => {
        $crate::report_skip(file!(), line!(), format_args!($($why)+))
    };
}

pub fn report(file: &str, line: u32, why: impl Display) {
    let thread = std::thread::current();
    // In a process that runs only one test, the test runs on the main thread.
    let test = thread.name().filter(|name| *name != "main");
    let text = format!("{file}:{line} {}: {why}", test.unwrap_or_default());
    pass_on(&text);
}

/// Reports the skips of a child process, whose standard error is `captured`.
pub fn relay(captured: &str) {
    let skips = captured.lines().filter_map(|line| line.strip_prefix(MARK));
    skips.for_each(pass_on);
}

/// A child process leaves it to its parent to write to the list, for which it may have lost the permission.
fn pass_on(text: &str) {
    match crate::is_child_process() {
        true => eprintln!("\n{MARK}{text}"),
        false => write(text),
    }
}

fn write(text: &str) {
    // The harness captures the output of the print macros, but not direct writes to the descriptor.
    let _ = write!(io::stderr(), "\n{MARK}{text}\n");
    let mut list = OpenOptions::new()
        .create(true)
        .append(true)
        .open(crate::target_tmpdir().join(LIST))
        .expect("a file under the target directory");
    // A single write keeps lines of concurrent processes apart.
    list.write_all(format!("{text}\n").as_bytes())
        .expect("an append to the list of skips");
}
