//! The work, done by gimmal. Each is one `block_on`, with as many tasks as there are requests at once.

use crate::{Block, Sequence, share};
use gimmal::buf::AlignedBuf;
use gimmal::fs::File;
use gimmal::task::JoinHandle;
use gimmal::{Runtime, op, sleep, spawn, yield_now};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

/// A runtime as it comes.
pub fn runtime() -> Runtime {
    Runtime::new().expect("a ring")
}

async fn join_all<T: 'static>(tasks: Vec<JoinHandle<T>>) {
    for task in tasks {
        task.await.expect("no task panics");
    }
}

/// No-ops, `depth` at once.
pub fn nop(runtime: &mut Runtime, depth: u64, ops: u64) {
    runtime.block_on(async {
        let tasks = (0..depth).map(|n| {
            spawn(async move {
                for _ in 0..share(ops, depth, n) {
                    op::nop().await.expect("a no-op");
                }
            })
        });
        join_all(tasks.collect()).await;
    });
}

/// Reads of a block at random offsets into a file of `blocks`, `depth` at once. The buffers come back and are used again.
pub fn read_4k(runtime: &mut Runtime, file: &Rc<File>, blocks: u64, depth: u64, ops: u64) {
    runtime.block_on(async {
        let tasks = (0..depth).map(|n| {
            let file = file.clone();
            spawn(async move {
                let mut sequence = Sequence::new(n);
                let mut buf = AlignedBuf::new(Block::SIZE, Block::SIZE).expect("memory");
                for _ in 0..share(ops, depth, n) {
                    let read = file.read_at(buf, sequence.offset(blocks)).await;
                    let (length, back) = read.expect("a read");
                    assert_eq!(length, Block::SIZE);
                    buf = back;
                }
            })
        });
        join_all(tasks.collect()).await;
    });
}

/// Reads of `size` bytes from the start of a file into one buffer, one after the other.
pub fn read_large(runtime: &mut Runtime, file: &File, size: usize, ops: u64) {
    runtime.block_on(async {
        let mut buf = vec![0; size];
        for _ in 0..ops {
            let (length, back) = file.read_at(buf, 0).await.expect("a read");
            assert_eq!(length, size);
            buf = back;
        }
    });
}

/// Whole files by `gimmal::fs::read`, `depth` at once, round and round the list.
pub fn small_files(runtime: &mut Runtime, paths: &'static [PathBuf], depth: u64, ops: u64) {
    runtime.block_on(async {
        let tasks = (0..depth).map(|n| {
            spawn(async move {
                let mine = paths
                    .iter()
                    .cycle()
                    .skip(n as usize)
                    .step_by(depth as usize);
                for path in mine.take(share(ops, depth, n) as usize) {
                    let bytes = gimmal::fs::read(path).await.expect("a small file");
                    assert!(!bytes.is_empty());
                }
            })
        });
        join_all(tasks.collect()).await;
    });
}

/// Tasks that do nothing, each spawned and joined before the next.
pub fn spawn_and_join(runtime: &mut Runtime, ops: u64) {
    runtime.block_on(async {
        for _ in 0..ops {
            spawn(async {}).await.expect("an empty task");
        }
    });
}

/// Yields, among so many tasks that all do so.
pub fn yields(runtime: &mut Runtime, tasks: u64, ops: u64) {
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

async fn nap(duration: Duration) {
    sleep(duration).await.expect("nobody cancels it");
}

/// So many tasks that sleep at once, each for a random time between the two, all joined.
pub fn sleeps(runtime: &mut Runtime, tasks: u64, from: Duration, to: Duration) {
    runtime.block_on(async {
        let mut sequence = Sequence::new(tasks);
        let spread = (to - from).as_nanos() as u64;
        let naps =
            (0..tasks).map(|_| spawn(nap(from + Duration::from_nanos(sequence.below(spread)))));
        join_all(naps.collect()).await;
    });
}

/// Has so many tasks sleep, all of them at once, and gives the size of one's future. The caller counts what they take.
pub fn fall_asleep(runtime: &mut Runtime, tasks: u64) -> usize {
    let duration = Duration::from_secs(3600);
    runtime.block_on(async {
        for _ in 0..tasks {
            // A handle that is dropped detaches its task.
            drop(spawn(nap(duration)));
        }
        // Spawned after them, so it runs after each of them has been polled.
        spawn(async {}).await.expect("an empty task");
    });
    size_of_val(&nap(duration))
}
