//! Sorts numbers by sleeping: one task per number, which sleeps that many milliseconds and then prints its number.
//!
//! ```text
//! cargo run --example sleep_sort -- 300 20 100 0
//! ```
//!
//! It shows tasks, their handles, and time. Timers fire in the exact order of their deadlines, so numbers that are
//! close together are sorted as well. Ctrl-C cancels the sleeps; then the exit status is 130.

use gimmal::time::{Instant, sleep_until};
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

/// How long each task may take until it sleeps. The first deadline is this times the number of tasks ahead, because a
/// task that started after its own deadline would not wait its turn.
const LEAD_PER_TASK: Duration = Duration::from_micros(20);

/// The exit status of a program that Ctrl-C has ended: 128 and the number of SIGINT, as shells report it.
const INTERRUPTED: u8 = 130;

async fn sleep_sort(numbers: Vec<u64>) -> io::Result<()> {
    let start = Instant::now() + LEAD_PER_TASK * u32::try_from(numbers.len()).unwrap_or(u32::MAX);
    let mut tasks = Vec::new();
    for number in numbers {
        tasks.push(gimmal::spawn(async move {
            sleep_until(start + Duration::from_millis(number)).await?;
            writeln!(io::stdout(), "{number}")
        }));
    }
    for task in tasks {
        // The first `?` is for the task, which may have panicked; the second for its result.
        task.await??;
    }
    Ok(())
}

fn main() -> ExitCode {
    let mut numbers = Vec::new();
    for argument in std::env::args_os().skip(1) {
        match argument.to_string_lossy().parse() {
            Ok(number) => numbers.push(number),
            Err(error) => {
                eprintln!("sleep_sort: {argument:?} is not a number of milliseconds: {error}");
                return ExitCode::from(2);
            }
        }
    }
    let runtime = gimmal::Runtime::builder().cancel_on_ctrl_c(true);
    match runtime.run(sleep_sort(numbers)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if gimmal::is_canceled(&error) => ExitCode::from(INTERRUPTED),
        // If the reader of the output has left, it has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sleep_sort: {error}");
            ExitCode::FAILURE
        }
    }
}
