//! Reading with gimmal: a group with one child per file, and a thread of the pool that walks ahead of it.

use crate::tally::Tally;
use crate::walk::Walk;
use gimmal::buf::{BufError, BufResult};
use gimmal::fs::File;
use gimmal::task::{BlockingHandle, spawn_blocking};
use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The size of one read: most files need no more. `gimmal::fs::read` would hold each file as a whole.
pub(crate) const BUFFER: usize = 64 << 10;
/// The number of paths that the walk finds in one call on the pool.
const BATCH: usize = 128;
/// The time between two samples of what is in flight.
const SAMPLE_PERIOD: Duration = Duration::from_millis(1);

/// Reads the files that a walk finds, at most `tasks` at once.
pub(crate) async fn read_all(walk: Walk, tasks: usize, tally: Arc<Tally>) -> io::Result<()> {
    let sampler = gimmal::spawn(sample(tally.clone())).cancel_on_drop();
    let buffers = Buffers::default();
    gimmal::group(async |g| {
        g.set_limit(tasks);
        let mut next = next_batch(walk);
        loop {
            let (batch, walk) = next.await?;
            if batch.is_empty() {
                return Ok(());
            }
            // The walk continues while these files are read.
            next = next_batch(walk);
            for path in batch {
                g.wait_for_slot().await?;
                let (buffers, tally) = (&buffers, &tally);
                g.spawn(async move { count(&path, buffers, tally).await });
            }
            tally.peak(in_flight().await);
        }
    })
    .await?;
    drop(sampler);
    Ok(())
}

/// Reads these files, at most `tasks` at once.
pub(crate) async fn read_listed(paths: &[PathBuf], tasks: usize, tally: &Tally) -> io::Result<()> {
    let buffers = Buffers::default();
    gimmal::map(paths, tasks, async |path| {
        count(path, &buffers, tally).await
    })
    .await?;
    Ok(())
}

/// io_uring has no opcode that reads a directory, so a thread of the pool does it.
fn next_batch(mut walk: Walk) -> BlockingHandle<(Vec<PathBuf>, Walk)> {
    spawn_blocking(move || (walk.by_ref().take(BATCH).collect(), walk))
}

/// Buffers that no file uses at the moment.
type Buffers = RefCell<Vec<Vec<u8>>>;

/// Reads one file and counts it, or its failure. Only a cancellation is an error.
async fn count(path: &Path, buffers: &Buffers, tally: &Tally) -> io::Result<()> {
    let spare = buffers.borrow_mut().pop();
    let buf = spare.unwrap_or_else(|| Vec::with_capacity(BUFFER));
    let back = match read(path, buf).await {
        Ok((length, back)) => {
            tally.add(1, length);
            back
        }
        Err(error) if gimmal::is_canceled(error.error()) => return Err(error.into()),
        Err(error) => {
            tally.fault(error.error());
            error.into_buf()
        }
    };
    buffers.borrow_mut().push(back);
    Ok(())
}

/// Reads one file to its end, and returns its length. The buffer comes back, even with an error.
async fn read(path: &Path, mut buf: Vec<u8>) -> BufResult<u64, Vec<u8>> {
    let file = match File::open(path).await {
        Ok(file) => file,
        Err(error) => return Err(BufError::new(error, buf)),
    };
    let mut length = 0;
    loop {
        match file.read_at(buf, length).await {
            Ok((0, back)) => return Ok((length, back)),
            Ok((n, back)) => (length, buf) = (length + n as u64, back),
            Err(error) if gimmal::is_canceled(error.error()) => return Err(error),
            Err(error) => {
                // The error of opening a file names it; that of reading from an open one cannot.
                let (error, back) = error.into_parts();
                let what = format!("read {}: {error}", path.display());
                return Err(BufError::new(io::Error::new(error.kind(), what), back));
            }
        }
    }
}

/// Returns the number of operations in the runtime, once every reader that the last completions woke has started its
/// next one.
async fn in_flight() -> u64 {
    gimmal::yield_now().await;
    gimmal::Handle::current().stats().operations as u64
}

/// Samples what is in flight, until it is canceled.
async fn sample(tally: Arc<Tally>) -> Result<(), gimmal::Canceled> {
    loop {
        gimmal::sleep(SAMPLE_PERIOD).await?;
        tally.sample(in_flight().await);
    }
}
