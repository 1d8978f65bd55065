//! Reads every file below some directories, many at once: the job that this library is made for.
//!
//! ```text
//! cargo run --release --example readall -- PATH… [--tasks N] [--compare [--evict]]
//! ```
//!
//! At most N files (64 by default) are read at once, each through its own buffer, while a thread walks the tree, so
//! memory use depends on N, not on the tree. Symbolic links below a PATH are not followed. Files that cannot be read
//! are listed on standard error, and make the exit status 1. After Ctrl-C it reports what it has read so far, and the
//! exit status is 130.
//!
//! `--compare` then reads the same files again, also with std on one thread and on four, and prints the time and CPU
//! time of each. `--evict` adds a comparison in which the files come from the disk: before each pass, they are dropped
//! from the page cache.
//!
//! The reading itself is in `readall/read.rs`.

#[path = "readall/compare.rs"]
mod compare;
#[path = "readall/read.rs"]
mod read;
#[path = "readall/request.rs"]
mod request;
#[path = "readall/tally.rs"]
mod tally;
#[path = "readall/usage.rs"]
mod usage;
#[path = "readall/walk.rs"]
mod walk;

use request::Request;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tally::Tally;
use walk::Walk;

/// The exit status of a program that Ctrl-C has ended: 128 and the number of SIGINT, as shells report it.
const INTERRUPTED: u8 = 130;

/// Reads, reports and compares. Returns whether everything could be read.
async fn readall(request: Request) -> io::Result<bool> {
    let Request { roots, tasks, .. } = request;
    let tally = Arc::new(Tally::loud());
    let walk = Walk::new(roots.clone(), tally.clone());
    let start = Instant::now();
    let outcome = read::read_all(walk, tasks, tally.clone()).await;
    // Also if Ctrl-C has stopped it.
    tally.report(tasks, start.elapsed())?;
    outcome?;
    if request.compare {
        compare::compare(roots, tasks, request.evict).await?;
    }
    Ok(tally.faults() == 0)
}

fn main() -> ExitCode {
    let request = match Request::from_arguments(std::env::args_os().skip(1)) {
        Ok(request) => request,
        Err(why) => {
            eprintln!("readall: {why}");
            return ExitCode::from(2);
        }
    };
    // One pass of the event loop must poll every reader, or not all of them have a read in the kernel at once.
    let polls = 2 * request.tasks.max(128) as u32;
    let runtime = gimmal::Runtime::builder()
        .budget(polls, Duration::from_millis(10))
        .cancel_on_ctrl_c(true);
    match runtime.run(readall(request)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) if gimmal::is_canceled(&error) => ExitCode::from(INTERRUPTED),
        // If the reader of the output left after the first lines, it has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("readall: {error}");
            ExitCode::FAILURE
        }
    }
}
