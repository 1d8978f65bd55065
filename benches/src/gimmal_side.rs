//! The work, done by gimmal. Each is one `block_on`, with as many tasks as there are requests at once.

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

/// A runtime as it comes.
pub fn runtime() -> Runtime {
    Runtime::new().expect("a ring")
}

/// A runtime that does everything by its ring, also what a plain system call could serve.
pub fn runtime_of_ring() -> Runtime {
    let mask = FeatureMask::none().without_attempts();
    Runtime::builder().mask(mask).build().expect("a ring")
}

/// System calls of a runtime so far, for what sockets did.
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

/// A message of 64 bytes over a socket pair, written and then read, with a time for the read that is not needed.
pub fn talk(runtime: &mut Runtime, ops: u64) {
    runtime.block_on(async {
        let (near, far) = UnixStream::pair().expect("a socket pair");
        let (mut message, mut room) = (vec![7u8; 64], vec![0u8; 64]);
        for _ in 0..ops {
            message = near.write_all(message).await.expect("a write");
            let (n, back) = far.read(room).timeout(LONG).await.expect("a read");
            assert_eq!(n, 64);
            room = back;
        }
    });
}

/// A message of 64 bytes over TCP to another task of the same runtime, which sends it back: by a read into one buffer, or in
/// chunks that the runtime provides.
pub fn echo(runtime: &mut Runtime, by_chunks: bool, ops: u64) {
    runtime.block_on(async {
        let (near, far) = echo::connections(1).expect("a connection");
        let [near, far] =
            [near, far].map(|mut ends| TcpStream::from_std(ends.pop().expect("one connection")));
        let server = spawn(async move {
            match by_chunks {
                true => echo::ours::answer_chunks(&far).await,
                false => echo::ours::answer(&far, 64).await,
            }
        });
        let (mut message, mut room) = (vec![7u8; 64], vec![0u8; 64]);
        for _ in 0..ops {
            message = near.write_all(message).await.expect("a write");
            let (n, back) = near.read(room).await.expect("a read");
            assert_eq!(n, 64);
            room = back;
        }
        drop(near);
        server.await.expect("no task panics");
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

/// Tasks that do nothing, a thousand spawned and then joined.
pub fn spawn_then_join(runtime: &mut Runtime, ops: u64) {
    runtime.block_on(async {
        for _ in 0..ops / 1000 {
            join_all((0..1000).map(|_| spawn(async {})).collect()).await;
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

/// No-ops with a timeout of their own that never fires, `depth` at once.
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

/// No-ops inside of a scope of their task's, `depth` at once.
pub fn nop_in_scope(runtime: &mut Runtime, depth: u64, ops: u64) {
    runtime.block_on(async {
        let tasks = (0..depth).map(|n| {
            spawn(async move {
                let all = Scope::new().run_any(async {
                    for _ in 0..share(ops, depth, n) {
                        op::nop().await.expect("a no-op");
                    }
                });
                all.await.expect("nobody cancels it");
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

/// Reads of a pipe in which nothing is, each canceled by its scope as soon as it is parked, one after the other; the buffer
/// comes back and is used again.
pub fn cancel_parked(runtime: &mut Runtime, pipe: &File, ops: u64) {
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
                .expect("it is waited for")
                .expect_err("nothing is there");
            let why;
            (why, buf) = error.into_parts();
            last = Some(why);
        }
        // To ask an error what it is is no part of the work, so it is asked once.
        assert!(last.is_none_or(|why| gimmal::is_canceled(&why)));
    });
}

/// Children of one group that each yield once, all joined; `times` times, so that the tables of the group have grown.
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

/// One child of many, or task, that yields, while the others sleep: the time of one yield.
pub fn yields_of_one(runtime: &mut Runtime, sleeping: u64, yields: u32) -> Duration {
    runtime.block_on(async {
        let group = gimmal::group(async |g| {
            for _ in 0..sleeping {
                drop(g.spawn(nap_or_not()));
            }
            let one = g.spawn(async move {
                // All have been polled once.
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

async fn nap_or_not() {
    let canceled = sleep(LONG).await;
    assert!(canceled.is_err());
}

/// So many short children through one group, whose handles are dropped, a thousand at once.
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
