//! The work, done by gimmal: one `block_on` with a task for each request that is in flight at once.

use crate::{Block, Sequence, echo, share};
use gimmal::buf::AlignedBuf;
use gimmal::cancel::Scope;
use gimmal::fs::File;
use gimmal::net::{TcpStream, UnixStream};
use gimmal::runtime::FeatureMask;
use gimmal::task::JoinHandle;
use gimmal::{Handle, Runtime, op, sleep, spawn, yield_now};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Longer than any bench.
const LONG: Duration = Duration::from_secs(3600);

/// Builds a runtime with the default settings.
pub fn runtime() -> Runtime {
    Runtime::new().expect("a ring")
}

/// Builds a runtime without direct calls: every operation goes through the ring.
pub fn ring_only_runtime() -> Runtime {
    let mask = FeatureMask::none().without_attempts();
    Runtime::builder().mask(mask).build().expect("a ring")
}

/// Returns the number of system calls that a runtime has made for its operations: enters and direct calls.
pub fn system_calls(runtime: &Handle) -> u64 {
    let stats = runtime.stats();
    stats.enters + stats.attempts
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

/// A message of 64 bytes over a socket pair, written and then read, with a timeout for the read that never fires.
pub fn talk(runtime: &mut Runtime, ops: u64) {
    runtime.block_on(async {
        let (near, far) = UnixStream::pair().expect("a socket pair");
        let (mut message, mut buf) = (vec![7u8; 64], vec![0u8; 64]);
        for _ in 0..ops {
            message = near.write_all(message).await.expect("a write");
            let (n, back) = far.read(buf).timeout(LONG).await.expect("a read");
            assert_eq!(n, 64);
            buf = back;
        }
    });
}

/// A message of 64 bytes over TCP to another task of the same runtime, which sends it back: with reads into one buffer,
/// or in chunks.
pub fn echo(runtime: &mut Runtime, by_chunks: bool, ops: u64) {
    runtime.block_on(async {
        let (near, far) = echo::connections(1).expect("a connection");
        let [near, far] =
            [near, far].map(|mut ends| TcpStream::from_std(ends.pop().expect("one connection")));
        let server = spawn(async move {
            match by_chunks {
                true => echo::gimmal_side::answer_chunks(&far).await,
                false => echo::gimmal_side::answer(&far, 64).await,
            }
        });
        let (mut message, mut buf) = (vec![7u8; 64], vec![0u8; 64]);
        for _ in 0..ops {
            message = near.write_all(message).await.expect("a write");
            let (n, back) = near.read(buf).await.expect("a read");
            assert_eq!(n, 64);
            buf = back;
        }
        drop(near);
        server.await.expect("no task panics");
    });
}

/// Reads of a block at random offsets into a file of `blocks`, `depth` at once. The buffers are reused.
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

/// Reads of `size` bytes from the start of a file into one buffer, one after another.
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

/// Whole files by `gimmal::fs::read`, `depth` at once, cycling through the list.
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

/// Spawns tasks that do nothing, and joins each before the next.
pub fn spawn_and_join(runtime: &mut Runtime, ops: u64) {
    runtime.block_on(async {
        for _ in 0..ops {
            spawn(async {}).await.expect("an empty task");
        }
    });
}

/// Spawns a thousand tasks that do nothing, then joins them; `ops / 1000` times.
pub fn spawn_then_join(runtime: &mut Runtime, ops: u64) {
    runtime.block_on(async {
        for _ in 0..ops / 1000 {
            join_all((0..1000).map(|_| spawn(async {})).collect()).await;
        }
    });
}

/// Yields, by `tasks` tasks that all do so.
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
    sleep(duration).await.expect("the scope is not canceled");
}

/// Spawns tasks that all sleep at once, each for a random time between `from` and `to`, and joins them.
pub fn sleeps(runtime: &mut Runtime, tasks: u64, from: Duration, to: Duration) {
    runtime.block_on(async {
        let mut sequence = Sequence::new(tasks);
        let spread = (to - from).as_nanos() as u64;
        let naps =
            (0..tasks).map(|_| spawn(nap(from + Duration::from_nanos(sequence.below(spread)))));
        join_all(naps.collect()).await;
    });
}

/// Spawns tasks, waits until all of them sleep, and returns the size of one future. The caller counts their memory.
pub fn fall_asleep(runtime: &mut Runtime, tasks: u64) -> usize {
    let duration = Duration::from_secs(3600);
    runtime.block_on(async {
        for _ in 0..tasks {
            // A handle that is dropped detaches its task.
            drop(spawn(nap(duration)));
        }
        // Spawned last, so all others have been polled when it runs.
        spawn(async {}).await.expect("an empty task");
    });
    size_of_val(&nap(duration))
}

/// No-ops, each with its own `.timeout` that never fires, `depth` at once.
pub fn nop_in_time(runtime: &mut Runtime, depth: u64, ops: u64) {
    runtime.block_on(async {
        let tasks = (0..depth).map(|n| {
            spawn(async move {
                for _ in 0..share(ops, depth, n) {
                    op::nop().timeout(LONG).await.expect("a no-op");
                }
            })
        });
        join_all(tasks.collect()).await;
    });
}

/// No-ops inside a scope, one scope per task, `depth` at once.
pub fn nop_in_scope(runtime: &mut Runtime, depth: u64, ops: u64) {
    runtime.block_on(async {
        let tasks = (0..depth).map(|n| {
            spawn(async move {
                let all = Scope::new().run_any(async {
                    for _ in 0..share(ops, depth, n) {
                        op::nop().await.expect("a no-op");
                    }
                });
                all.await.expect("the scope is not canceled");
            })
        });
        join_all(tasks.collect()).await;
    });
}

/// No-ops, each in a `time::timeout` that never fires, `depth` at once.
pub fn nop_in_timeout(runtime: &mut Runtime, depth: u64, ops: u64) {
    runtime.block_on(async {
        let tasks = (0..depth).map(|n| {
            spawn(async move {
                for _ in 0..share(ops, depth, n) {
                    gimmal::timeout(LONG, op::nop()).await.expect("a no-op");
                }
            })
        });
        join_all(tasks.collect()).await;
    });
}

/// Reads of an empty pipe, one after another, each canceled by its scope once it is submitted. The buffer is reused.
pub fn cancel_waiting_read(runtime: &mut Runtime, pipe: &File, ops: u64) {
    runtime.block_on(async {
        let mut buf = vec![0u8; 64];
        let mut last = None;
        for _ in 0..ops {
            let scope = Scope::new();
            let read = scope.run_any(async {
                let read = pipe.read(buf).submit();
                scope.cancel();
                read.await
            });
            let error = read
                .await
                .expect("an operation is never dropped")
                .expect_err("the pipe is empty");
            let why;
            (why, buf) = error.into_parts();
            last = Some(why);
        }
        // Examining an error is not part of the work, so only the last one is examined.
        assert!(last.is_none_or(|why| gimmal::is_canceled(&why)));
    });
}

/// Children of one group that each yield once, all joined; `times` times, so that the group reuses its tables.
pub fn children(runtime: &mut Runtime, times: u64, ops: u64) {
    runtime.block_on(async {
        let group = gimmal::group(async |g| {
            for _ in 0..times {
                let children: Vec<_> = (0..ops / times).map(|_| g.spawn(yield_now())).collect();
                for child in children {
                    child.await?;
                }
            }
            Ok::<_, gimmal::Canceled>(())
        });
        group.await.expect("no child fails");
    });
}

/// Tasks that each yield once, all joined; `times` times.
pub fn tasks(runtime: &mut Runtime, times: u64, ops: u64) {
    runtime.block_on(async {
        for _ in 0..times {
            join_all((0..ops / times).map(|_| spawn(yield_now())).collect()).await;
        }
    });
}

/// Returns the time of one yield of a child, while its `sleeping` siblings sleep.
pub fn yields_of_one(runtime: &mut Runtime, sleeping: u64, yields: u32) -> Duration {
    runtime.block_on(async {
        let group = gimmal::group(async |g| {
            for _ in 0..sleeping {
                drop(g.spawn(sleep_until_canceled()));
            }
            let one = g.spawn(async move {
                // After this, all siblings have been polled once.
                yield_now().await;
                let before = Instant::now();
                for _ in 0..yields {
                    yield_now().await;
                }
                Ok(before.elapsed() / yields)
            });
            let time = one.await?;
            g.cancel();
            Ok::<_, gimmal::Canceled>(time)
        });
        group.await.expect("no child fails")
    })
}

async fn sleep_until_canceled() {
    let canceled = sleep(LONG).await;
    assert!(canceled.is_err());
}

/// Runs `ops` short children through one group, a thousand at once, and drops their handles.
pub fn short_children(runtime: &mut Runtime, ops: u64) {
    runtime.block_on(async {
        let group = gimmal::group(async |g| {
            g.set_limit(1000);
            for _ in 0..ops {
                g.wait_for_slot().await?;
                drop(g.spawn(yield_now()));
            }
            Ok::<_, gimmal::Canceled>(())
        });
        group.await.expect("no child fails");
    });
}
