//! The pass with gimmal: a thread walks, tasks read, and one task samples how much is in flight.

use crate::tally::Tally;
use crate::walk;
use async_channel::Receiver;
use gimmal::buf::{BufError, BufResult};
use gimmal::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The size of one read: most files need no more. `gimmal::fs::read` would hold each file as a whole.
const BUFFER: usize = 64 << 10;
/// The time between two samples of what is in flight.
const LOOK: Duration = Duration::from_millis(1);

/// Reads the files below the roots. Paths come in batches from the thread, and go one by one to the readers.
pub(crate) async fn read_all(
    roots: Vec<PathBuf>,
    tasks: usize,
    tally: Arc<Tally>,
) -> io::Result<()> {
    let (give, paths) = async_channel::bounded(tasks);
    let readers: Vec<_> = (0..tasks)
        .map(|_| gimmal::spawn(reader(paths.clone(), tally.clone())))
        .collect();
    let watch = gimmal::spawn(watch(paths, tally.clone()));
    let (walk, batches) = walk::ahead(roots, tally.clone());
    let walk = gimmal::task::spawn_blocking(walk);
    while let Ok(batch) = batches.recv().await {
        for path in batch {
            give.send(path).await.map_err(io::Error::other)?;
        }
        tally.peak(in_flight().await);
    }
    walk.await?;
    drop(give);
    for reader in readers {
        reader.await?;
    }
    watch.abort();
    Ok(())
}

/// Takes a path, reads the file and counts it, until there are no more.
async fn reader(paths: Receiver<PathBuf>, tally: Arc<Tally>) {
    let mut buf = Vec::with_capacity(BUFFER);
    while let Ok(path) = paths.recv().await {
        buf = match read(&path, buf).await {
            Ok((length, back)) => {
                tally.add(1, length);
                back
            }
            Err(error) => {
                tally.fault(error.error());
                error.into_buf()
            }
        };
    }
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
            Err(error) => {
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

async fn watch(paths: Receiver<PathBuf>, tally: Arc<Tally>) -> Result<(), gimmal::Canceled> {
    loop {
        gimmal::sleep(LOOK).await?;
        let in_flight = in_flight().await;
        if paths.is_closed() && paths.is_empty() {
            return Ok(());
        }
        tally.look(in_flight);
    }
}
