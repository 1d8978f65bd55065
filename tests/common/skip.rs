//! `skip!(why)`: reports a test, or a part of one, that cannot run here. A skip that nobody sees looks like a pass.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::{self, Write};

/// The skips of all test programs, one a line. The tests only append to it: `.ci/run` removes it before they run, and counts
/// its lines afterward.
const LIST: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/skipped");

const MARK: &str = "skipped: ";

/// Reports that this test cannot run here, with a reason in the form of `format!`. It does not return from the test, so
/// that the rest of one can go on. To end the test, write `return skip!("only root can do this")`.
macro_rules! skip {
    ($($why:tt)+) => {
        $crate::common::skip::report(file!(), line!(), format_args!($($why)+))
    };
}

pub(crate) fn report(file: &str, line: u32, why: impl Display) {
    let thread = std::thread::current();
    // A test that is alone in its process runs on the main thread.
    let test = thread.name().filter(|name| *name != "main");
    let text = format!("{file}:{line} {}: {why}", test.unwrap_or_default());
    match super::is_child() {
        // It may no longer be allowed to write to the list.
        true => eprintln!("\n{MARK}{text}"),
        false => write(&text),
    }
}

/// Reports what was skipped in a child process, whose standard error is `captured`.
pub(crate) fn relay(captured: &str) {
    let skips = captured.lines().filter_map(|line| line.strip_prefix(MARK));
    skips.for_each(write);
}

fn write(text: &str) {
    // The harness captures what the print macros write, but not what is written to the descriptor.
    let _ = write!(io::stderr(), "\n{MARK}{text}\n");
    let mut list = OpenOptions::new()
        .create(true)
        .append(true)
        .open(LIST)
        .expect("a file under the target directory");
    // One write, so that the lines of processes that run side by side do not mix.
    list.write_all(format!("{text}\n").as_bytes())
        .expect("a line of the list of skips");
}
