//! Cleaning up after a cancel: a task that is canceled saves its progress before it ends.
//!
//! ```text
//! cargo run --release --example cancel_cleanup -- [STATE [MILLISECONDS]]
//! ```
//!
//! The task counts for 50 milliseconds, then it is canceled. From then on every wait ends with `Canceled`, and so would
//! writing a file; so the file is written under a shield, which keeps outer cancellation out, with its own time limit.
//! Run it again, and it continues where it stopped. STATE defaults to `cancel_cleanup.state` in the directory for
//! temporary files.
//!
//! Ctrl-C also cancels the task, and does not keep it from saving: `run` waits for it. Then the exit status is 130.

use gimmal::cancel::{Scope, shield};
use gimmal::fs;
use gimmal::prelude::*;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

const STEP: Duration = Duration::from_millis(1);

/// The time limit for writing, because everything else waits for it.
const CLEANUP_MAX: Duration = Duration::from_secs(5);

/// The exit status of a program that Ctrl-C has ended: 128 and the number of SIGINT, as shells report it.
const INTERRUPTED: u8 = 130;

async fn load(state: &Path) -> io::Result<u64> {
    match fs::read_to_string(state).await {
        Ok(text) => text.trim().parse().map_err(io::Error::other),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Counts until it is canceled.
async fn count(state: &Path) -> io::Result<()> {
    let mut steps = load(state).await?;
    println!("beginning at step {steps}");
    let canceled = loop {
        match gimmal::sleep(STEP).await {
            Ok(()) => steps += 1,
            Err(canceled) => break canceled,
        }
    };
    println!("canceled at step {steps}");

    if fs::write(state, "never written").await.is_err() {
        println!("without a shield nothing is written any more");
    }
    let text = format!("{steps}\n");
    shield(fs::write(state, text).timeout(CLEANUP_MAX)).await?;
    println!(
        "under a shield it is: step {steps} is in {}",
        state.display()
    );

    // The task was canceled, and returns that.
    Err(canceled.into())
}

async fn run(state: PathBuf, time: Duration) -> io::Result<()> {
    let scope = Scope::new();
    let handle = scope.handle();
    let counting = gimmal::spawn(async move {
        let ended = scope.run(count(&state)).await;
        match ended {
            Err(error) if gimmal::is_canceled(&error) => Ok(scope.reason()),
            ended => ended.map(|()| None),
        }
    });
    gimmal::sleep(time).await?;
    handle.cancel_with("the time is over");
    let reason = counting.await??;
    println!(
        "the task has ended: {}",
        reason.as_deref().unwrap_or("by itself")
    );
    Ok(())
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let state = arguments.next().map_or_else(
        || std::env::temp_dir().join("cancel_cleanup.state"),
        PathBuf::from,
    );
    let time = arguments
        .next()
        .map_or(Ok(50), |time| time.to_string_lossy().parse());
    let Ok(time) = time else {
        eprintln!("cancel_cleanup: MILLISECONDS must be a number");
        return ExitCode::from(2);
    };
    let runtime = gimmal::Runtime::builder().cancel_on_ctrl_c(true);
    match runtime.run(run(state, Duration::from_millis(time))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if gimmal::is_canceled(&error) => ExitCode::from(INTERRUPTED),
        Err(error) => {
            eprintln!("cancel_cleanup: {error}");
            ExitCode::FAILURE
        }
    }
}
