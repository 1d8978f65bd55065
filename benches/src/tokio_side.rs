//! The work, done by tokio on one thread (`current_thread`), and for files on its pool of threads.

use crate::{Block, Sequence, share};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinHandle, spawn, spawn_blocking, yield_now};
use tokio::time::sleep;

/// Longer than any bench.
const LONG: Duration = Duration::from_secs(3600);

/// Builds a runtime with one thread, timers and I/O.
pub fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime of tokio")
}

async fn join_all<T>(tasks: Vec<JoinHandle<T>>) {
    for task in tasks {
        task.await.expect("no task panics");
    }
}

/// A message of 64 bytes over a socket pair, written and then read, with a timeout for the read that never fires.
pub fn talk(runtime: &Runtime, ops: u64) {
    runtime.block_on(async {
        let (mut near, mut far) = UnixStream::pair().expect("a socket pair");
        let (message, mut buf) = ([7u8; 64], [0u8; 64]);
        for _ in 0..ops {
            near.write_all(&message).await.expect("a write");
            let read = tokio::time::timeout(LONG, far.read(&mut buf)).await;
            assert_eq!(read.expect("in time").expect("a read"), 64);
        }
    });
}

/// Reads of a block at random offsets into a file of `blocks`, `depth` at once: `spawn_blocking` with a `pread`, which
/// is one trip to the pool. A seek and a read of `tokio::fs::File` would be two.
pub fn read_4k(runtime: &Runtime, file: &Arc<File>, blocks: u64, depth: u64, ops: u64) {
    runtime.block_on(async {
        let tasks = (0..depth).map(|n| {
            let file = file.clone();
            spawn(async move {
                let mut sequence = Sequence::new(n);
                let mut block = Box::<Block>::default();
                for _ in 0..share(ops, depth, n) {
                    let file = file.clone();
                    let offset = sequence.offset(blocks);
                    let read = spawn_blocking(move || {
                        let length = file.read_at(&mut block.0, offset).expect("a read");
                        (length, block)
                    });
                    let (length, back) = read.await.expect("it does not panic");
                    assert_eq!(length, Block::SIZE);
                    block = back;
                }
            })
        });
        join_all(tasks.collect()).await;
    });
}

/// Whole files by `tokio::fs::read`, `depth` at once, cycling through the list.
pub fn small_files(runtime: &Runtime, paths: &'static [PathBuf], depth: u64, ops: u64) {
    runtime.block_on(async {
        let tasks = (0..depth).map(|n| {
            spawn(async move {
                let mine = paths
                    .iter()
                    .cycle()
                    .skip(n as usize)
                    .step_by(depth as usize);
                for path in mine.take(share(ops, depth, n) as usize) {
                    let bytes = tokio::fs::read(path).await.expect("a small file");
                    assert!(!bytes.is_empty());
                }
            })
        });
        join_all(tasks.collect()).await;
    });
}

/// Spawns tasks that do nothing, and joins each before the next.
pub fn spawn_and_join(runtime: &Runtime, ops: u64) {
    runtime.block_on(async {
        for _ in 0..ops {
            spawn(async {}).await.expect("an empty task");
        }
    });
}

/// Yields, by `tasks` tasks that all do so.
pub fn yields(runtime: &Runtime, tasks: u64, ops: u64) {
    runtime.block_on(async {
        let tasks = (0..tasks).map(|n| {
            spawn(async move {
                for _ in 0..share(ops, tasks, n) {
                    yield_now().await;
                }
            })
        });
        join_all(tasks.collect()).await;
    });
}

/// Spawns tasks that all sleep at once, each for a random time between `from` and `to`, and joins them.
pub fn sleeps(runtime: &Runtime, tasks: u64, from: Duration, to: Duration) {
    runtime.block_on(async {
        let mut sequence = Sequence::new(tasks);
        let spread = (to - from).as_nanos() as u64;
        let naps =
            (0..tasks).map(|_| spawn(nap(from + Duration::from_nanos(sequence.below(spread)))));
        join_all(naps.collect()).await;
    });
}

async fn nap(duration: Duration) {
    sleep(duration).await;
}

/// Spawns tasks, waits until all of them sleep, and returns the size of one future. The caller counts their memory.
pub fn fall_asleep(runtime: &Runtime, tasks: u64) -> usize {
    let duration = Duration::from_secs(3600);
    runtime.block_on(async {
        for _ in 0..tasks {
            // A handle that is dropped detaches its task.
            drop(spawn(nap(duration)));
        }
        // Spawned last, so all others have been polled when it runs.
        spawn(async {}).await.expect("an empty task");
    });
    runtime.block_on(async { size_of_val(&nap(duration)) })
}
