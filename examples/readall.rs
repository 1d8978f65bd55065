//! Reads every file below some directories, many at once: the job that this library is made for.
//!
//! ```text
//! cargo run --release --example readall -- PATH… [--tasks N] [--compare]
//! ```
//!
//! N tasks read (64 by default), each through one buffer, while a thread walks the tree, so memory use depends on N,
//! not on the tree. Symbolic links below a PATH are not followed. Files that cannot be read are listed on standard
//! error, and make the exit status 1. `--compare` has std read the same files, in a loop and with a pool of threads.
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
#[path = "readall/walk.rs"]
mod walk;

use request::Request;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tally::Tally;

/// Times a pass over the files and reports the result. Returns whether everything could be read.
fn pass(
    name: &str,
    tally: Tally,
    run: impl FnOnce(Arc<Tally>) -> io::Result<()>,
) -> io::Result<bool> {
    let tally = Arc::new(tally);
    let start = Instant::now();
    run(tally.clone())?;
    tally.report(name, start.elapsed().as_secs_f64())?;
    Ok(tally.faults() == 0)
}

fn readall(request: &Request) -> io::Result<bool> {
    let (roots, tasks) = (&request.roots, request.tasks);
    let name = format!("gimmal, {tasks} tasks");
    // One pass of the event loop must poll every reader, or not all of them have a read in the kernel at once.
    let runtime =
        gimmal::Runtime::builder().budget(2 * tasks.max(128) as u32, Duration::from_millis(10));
    let by_gimmal = |tally| {
        let main = read::read_all(roots.clone(), tasks, tally);
        runtime.clone().run(main)
    };
    let all_read = pass(&name, Tally::loud(), by_gimmal)?;
    if request.compare {
        writeln!(
            io::stdout(),
            "again, from the cache as that pass left it, each beside a thread that walks, the walk in its time:"
        )?;
        pass(&name, Tally::default(), by_gimmal)?;
        for (name, threads) in [
            ("std::fs::read, in a loop", 1),
            ("std::fs::read, 4 threads", 4),
        ] {
            pass(name, Tally::default(), |tally| {
                compare::read_all(roots.clone(), threads, tally);
                Ok(())
            })?;
        }
    }
    Ok(all_read)
}

fn main() -> ExitCode {
    let request = match Request::from_arguments(std::env::args_os().skip(1)) {
        Ok(request) => request,
        Err(why) => {
            eprintln!("readall: {why}");
            return ExitCode::from(2);
        }
    };
    match readall(&request) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // If the reader of the output left after the first lines, it has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("readall: {error}");
            ExitCode::FAILURE
        }
    }
}
