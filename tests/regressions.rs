//! Bugs that were there once, each shown by the test that found it.

use std::future::pending;
use std::io;
use std::time::{Duration, Instant};

/// The last task ended in the turn in which its wait was cancelled; that turn went on to wait in the kernel for something
/// else to happen, and nothing was left that could: `run` took the whole grace period of 5 s.
#[test]
fn the_end_of_run_does_not_wait_once_the_last_task_has_ended() -> io::Result<()> {
    let start = Instant::now();
    gimmal::run(async {
        drop(gimmal::spawn(gimmal::sleep(Duration::from_secs(60))));
        gimmal::yield_now().await;
        io::Result::Ok(())
    })?;
    gimmal::run(async {
        gimmal::spawn(pending::<()>()).abort();
        io::Result::Ok(())
    })?;
    assert!(start.elapsed() < Duration::from_secs(4));
    Ok(())
}
