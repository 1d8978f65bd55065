//! Virtual time: it stands still while anything can happen, and else jumps to the next deadline.
//!
//! Where a test waits in real time, it waits for what must not happen: a slow machine cannot make it fail.

use common::{directory, everywhere, make_fifo, next_turn, pipe};
use futures_channel::oneshot;
use futures_util::future;
use gimmal::cancel::{Scope, shield};
use gimmal::fs::File;
use gimmal::net::{TcpListener, TcpStream, UnixStream};
use gimmal::prelude::*;
use gimmal::runtime::Builder;
use gimmal::task::{spawn_abandonable, spawn_blocking};
use gimmal::time::{Instant, MissedTicks, interval, timeout_any};
use gimmal::{Canceled, Handle, Runtime, is_timeout, sleep, spawn, timeout};
use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);
/// The least time there is.
const NANO: Duration = Duration::from_nanos(1);
/// A real time in which a clock that does not stand still would have jumped.
const REAL: Duration = Duration::from_millis(20);

/// A runtime whose time jumps as soon as nothing can run.
fn eager() -> Builder {
    Runtime::builder()
        .virtual_time()
        .jump_threshold(Duration::ZERO)
}

/// A runtime whose time does not jump while anything may come from outside.
fn patient() -> Builder {
    Runtime::builder().virtual_time().jump_threshold(HOUR)
}

#[test]
fn a_sleep_of_any_length_ends_at_once_and_takes_exactly_that_long() {
    everywhere(|builder| {
        let ran: io::Result<()> = builder.virtual_time().jump_threshold(HOUR).run(async {
            let start = Instant::now();
            for wait in [NANO, SECOND, 24 * HOUR, 365 * 24 * HOUR] {
                let before = Instant::now();
                sleep(wait).await?;
                assert_eq!(before.elapsed(), wait);
            }
            assert_eq!(start.elapsed(), NANO + SECOND + 366 * 24 * HOUR);
            assert_eq!(Handle::current().now(), Instant::now());
            Ok(())
        });
        ran.unwrap();
    });
}

#[test]
fn sleeps_end_in_the_order_of_their_deadlines_and_each_at_its_time() {
    everywhere(|builder| {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let ran: io::Result<()> = builder.virtual_time().run(async {
            let start = Instant::now();
            let tasks: Vec<_> = (0..1_000u64)
                .map(|n| {
                    let (seen, wait) = (seen.clone(), NANO * (n * 7919 % 1_000) as u32);
                    spawn(async move {
                        sleep(wait).await?;
                        assert_eq!(start.elapsed(), wait);
                        seen.borrow_mut().push(wait);
                        Ok::<_, Canceled>(())
                    })
                })
                .collect();
            for task in tasks {
                task.await??;
            }
            Ok(())
        });
        ran.unwrap();
        assert_eq!(seen.borrow().len(), 1_000);
        assert!(seen.borrow().is_sorted());
    });
}

#[test]
fn time_stands_still_while_a_task_can_run() {
    let ran: io::Result<()> = eager().run(async {
        let start = Instant::now();
        let sleeper = spawn(sleep(NANO));
        for _ in 0..100 {
            next_turn().await;
            assert_eq!(start.elapsed(), Duration::ZERO);
        }
        thread::sleep(REAL);
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert!(!sleeper.is_finished());
        sleeper.await??;
        assert_eq!(start.elapsed(), NANO);
        Ok(())
    });
    ran.unwrap();
}

#[test]
fn file_io_in_flight_holds_time() {
    everywhere(|builder| {
        let directory = directory();
        let path = directory.path().join("file");
        let builder = builder.virtual_time().jump_threshold(Duration::ZERO);
        let ran: io::Result<()> = builder.run(async {
            let start = Instant::now();
            for _ in 0..20 {
                let file = File::create(&path).timeout(NANO).await?;
                let (n, _) = file.write_at(vec![7; 1 << 16], 0).timeout(NANO).await?;
                assert_eq!(n, 1 << 16);
                file.sync_all().timeout(NANO).await?;
                file.close().timeout(NANO).await?;
                let read = gimmal::fs::read(&path);
                assert_eq!(timeout(NANO, read).await?.len(), 1 << 16);
            }
            assert_eq!(start.elapsed(), Duration::ZERO);
            Ok(())
        });
        ran.unwrap();
    });
}

#[test]
fn a_closure_in_the_pool_holds_time_until_it_has_ended() {
    let ran: io::Result<()> = patient().blocking_threads(1).run(async {
        let start = Instant::now();
        let slow = || thread::sleep(REAL);
        // Awaited, with another that waits for the thread.
        let (first, second) = (spawn_blocking(slow), spawn_blocking(slow));
        timeout(NANO, first).await?;
        timeout(NANO, second).await?;
        assert_eq!(start.elapsed(), Duration::ZERO);
        // Not awaited while it runs, and detached: the sleep ends when the closure has.
        let (sender, ended) = mpsc::channel();
        for detaches in [false, true] {
            let sender = sender.clone();
            let closure = spawn_blocking(move || {
                thread::sleep(REAL);
                sender.send(()).is_ok()
            });
            let kept = (!detaches).then_some(closure);
            sleep(SECOND).await?;
            assert_eq!(ended.try_recv(), Ok(()));
            drop(kept);
        }
        assert_eq!(start.elapsed(), 2 * SECOND);
        Ok(())
    });
    ran.unwrap();
}

#[test]
fn an_abandoned_closure_holds_no_time() {
    let ran: io::Result<()> = patient().run(async {
        let (release, released) = mpsc::channel::<()>();
        let (started, has_started) = mpsc::channel();
        let closure = spawn_abandonable(
            move || {
                started.send(()).ok();
                released.recv().is_ok()
            },
            drop,
        );
        spawn_blocking(move || has_started.recv()).await?.ok();
        let scope = Scope::new();
        scope.cancel();
        assert!(
            scope
                .run_any(closure)
                .await
                .is_ok_and(|ended| ended.is_err())
        );
        sleep(HOUR).await?;
        drop(release);
        Ok(())
    });
    ran.unwrap();
}

/// The peer is a thread, which answers within the threshold.
#[test]
fn a_peer_that_answers_in_time_is_not_overtaken() {
    everywhere(|builder| {
        let ran: io::Result<()> = builder.virtual_time().jump_threshold(HOUR).run(async {
            let start = Instant::now();
            let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
            let address = listener.local_addr()?;
            let peer = thread::spawn(move || {
                thread::sleep(REAL);
                let (mut stream, _) = listener.accept()?;
                thread::sleep(REAL);
                stream.write_all(b"answer")
            });
            let stream = TcpStream::connect(address).timeout(NANO).await?;
            let (n, buffer) = stream.read(vec![0; 16]).timeout(NANO).await?;
            assert_eq!(buffer[..n], *b"answer");
            let read = timeout(NANO, stream.read(buffer));
            assert_eq!(read.await?.0, 0);
            assert_eq!(start.elapsed(), Duration::ZERO);
            peer.join().unwrap()
        });
        ran.unwrap();
    });
}

#[test]
fn what_waits_for_a_peer_is_overtaken_after_the_threshold() {
    everywhere(|builder| {
        let builder = builder
            .virtual_time()
            .jump_threshold(Duration::from_millis(1));
        let ran: io::Result<()> = builder.run(async {
            let start = Instant::now();
            let (ours, _theirs) = UnixStream::pair()?;
            let error = ours.read(vec![0; 16]).timeout(HOUR).await.unwrap_err();
            assert!(is_timeout(&error));
            // It is an orphan when this ends, and holds time no longer than the kernel holds it.
            assert!(timeout_any(HOUR, ours.read(vec![0; 16])).await.is_err());
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            assert!(timeout(HOUR, listener.accept()).await.is_err());
            let (reader, _writer) = gimmal::io::pipe()?;
            assert!(reader.read(vec![0; 16]).timeout(HOUR).await.is_err());
            // By its type an operation on a file, and by its descriptor one that waits.
            let (reader, _writer) = pipe();
            assert!(reader.read(vec![0; 16]).timeout(HOUR).await.is_err());
            assert_eq!(start.elapsed(), 5 * HOUR);
            Ok(())
        });
        ran.unwrap();
    });
}

#[test]
fn opening_a_fifo_waits_for_a_peer() {
    let directory = directory();
    let path = directory.path().join("fifo");
    make_fifo(&path);
    let ran: io::Result<()> = eager().run(async {
        let start = Instant::now();
        let open = gimmal::io::PipeReader::open(&path);
        assert!(is_timeout(&timeout(HOUR, open).await.unwrap_err()));
        sleep(HOUR).await?;
        assert_eq!(start.elapsed(), 2 * HOUR);
        Ok(())
    });
    ran.unwrap();
}

#[test]
fn without_a_threshold_peers_in_one_runtime_still_answer_in_no_time() {
    everywhere(|builder| {
        let builder = builder.virtual_time().jump_threshold(Duration::ZERO);
        let ran: io::Result<()> = builder.run(async {
            let start = Instant::now();
            let (client, server) = UnixStream::pair()?;
            let echo = spawn(async move {
                loop {
                    let (n, buffer) = server.read(vec![0; 64]).timeout(HOUR).await?;
                    if n == 0 {
                        return io::Result::Ok(());
                    }
                    sleep(SECOND).await?;
                    server.write_all(buffer).await?;
                }
            });
            for n in 1..=20 {
                client.write_all(vec![7; 64]).await?;
                let answer = client.read_exact(vec![0; 64], 64).await?;
                assert_eq!(answer, [7; 64]);
                assert_eq!(start.elapsed(), n * SECOND);
            }
            drop(client);
            echo.await?
        });
        ran.unwrap();
    });
}

/// A thread that holds a waker may wake the runtime, and so may one with a handle.
#[test]
fn another_thread_that_may_wake_the_runtime_is_not_overtaken() {
    let ran: io::Result<()> = patient().run(async {
        let start = Instant::now();
        let (sender, receiver) = oneshot::channel();
        let thread = thread::spawn(move || {
            thread::sleep(REAL);
            sender.send(7)
        });
        assert_eq!(timeout_any(NANO, receiver).await, Ok(Ok(7)));
        thread.join().unwrap().unwrap();

        let scope = Scope::new();
        let handle = scope.handle();
        let thread = thread::spawn(move || {
            thread::sleep(REAL);
            handle.cancel();
        });
        assert_eq!(scope.run(sleep(NANO)).await, Err(Canceled));
        thread.join().unwrap();

        let task = spawn(sleep(NANO));
        let handle = task.abort_handle();
        let thread = thread::spawn(move || {
            thread::sleep(REAL);
            handle.cancel();
        });
        assert_eq!(task.await?, Err(Canceled));
        thread.join().unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);

        // Nobody has a waker any more.
        sleep(HOUR).await?;
        assert_eq!(start.elapsed(), HOUR);
        Ok(())
    });
    ran.unwrap();
}

/// The handle is made while its scope runs, and the scope is not polled again before the thread uses the handle.
#[test]
fn a_handle_made_within_its_scope_is_not_overtaken() {
    let ran: io::Result<()> = patient().run(async {
        let scope = Rc::new(Scope::new());
        let inner = scope.clone();
        let slept = scope.run(async move {
            let handle = inner.handle();
            let thread = thread::spawn(move || {
                thread::sleep(REAL);
                handle.cancel();
            });
            let slept = sleep(NANO).await;
            thread.join().unwrap();
            slept
        });
        assert_eq!(slept.await, Err(Canceled));
        Ok(())
    });
    ran.unwrap();
}

#[test]
fn without_a_deadline_the_runtime_waits_and_time_stands_still() {
    everywhere(|builder| {
        let builder = builder.virtual_time().jump_threshold(Duration::ZERO);
        let ran: io::Result<()> = builder.run(async {
            let start = Instant::now();
            let (reader, mut writer) = pipe();
            writer.write_all(b"first")?;
            // Deadlines of what has ended do not count, nor do those that are never reached.
            reader.read(vec![0; 16]).timeout(SECOND).await?;
            timeout(HOUR, sleep(NANO)).await?;
            let never = spawn(sleep(Duration::MAX));
            let thread = thread::spawn(move || {
                thread::sleep(REAL);
                writer.write_all(b"second")
            });
            let (n, buffer) = reader.read(vec![0; 16]).await?;
            assert_eq!(buffer[..n], *b"second");
            thread.join().unwrap()?;
            assert_eq!(start.elapsed(), NANO);
            never.abort();
            Ok(())
        });
        ran.unwrap();
    });
}

#[test]
fn timeouts_and_sleeps_race_by_virtual_time() {
    everywhere(|builder| {
        let ran: io::Result<()> = builder.virtual_time().run(async {
            let start = Instant::now();
            let error = timeout(SECOND, sleep(HOUR)).await.unwrap_err();
            assert!(is_timeout(&error));
            assert_eq!(start.elapsed(), SECOND);
            timeout(HOUR, sleep(SECOND)).await?;
            assert_eq!(start.elapsed(), 2 * SECOND);
            // The canceled sleeps move nothing.
            let canceled: Vec<_> = (1..50).map(|n| spawn(sleep(NANO * n))).collect();
            next_turn().await;
            for task in &canceled {
                task.cancel();
            }
            for task in canceled {
                assert_eq!(task.await?, Err(Canceled));
            }
            assert_eq!(start.elapsed(), 2 * SECOND);
            let waits = [3, 1, 2].map(|n| sleep(n * SECOND));
            let (_, first, rest) = future::select_all(waits).await;
            assert_eq!((first, rest.len()), (1, 2));
            assert_eq!(start.elapsed(), 3 * SECOND);
            Ok(())
        });
        ran.unwrap();
    });
}

#[test]
fn an_interval_ticks_at_its_times() {
    let ran: io::Result<()> = eager().run(async {
        let start = Instant::now();
        let mut ticks = interval(SECOND).missed_ticks(MissedTicks::Skip);
        for n in 0..100 {
            ticks.tick().await?;
            assert_eq!(start.elapsed(), n * SECOND);
        }
        sleep(SECOND * 5 / 2).await?;
        ticks.tick().await?;
        ticks.tick().await?;
        assert_eq!(start.elapsed(), 102 * SECOND);
        Ok(())
    });
    ran.unwrap();
}

#[test]
fn each_runtime_has_its_own_clock() {
    let (asks, asked) = mpsc::channel::<()>();
    let other = thread::spawn(move || {
        let ran: io::Result<()> = eager().run(async {
            let start = Instant::now();
            spawn_blocking(move || asked.recv()).await?.ok();
            assert_eq!(start.elapsed(), Duration::ZERO);
            sleep(SECOND).await?;
            assert_eq!(start.elapsed(), SECOND);
            Ok(())
        });
        ran
    });
    let mut real = Runtime::new().unwrap();
    let mut first = eager().build().unwrap();
    let mut second = eager().build().unwrap();
    let now = async { Instant::now() };
    let (first_start, second_start) = (
        first.block_on(now),
        second.block_on(async { Instant::now() }),
    );
    first.block_on(async { sleep(HOUR).await }).unwrap();
    assert!(first.handle().now() - first_start == HOUR);
    assert_eq!(second.handle().now(), second_start);
    assert!(real.block_on(async { Instant::now() }) < first_start + HOUR);
    asks.send(()).unwrap();
    other.join().unwrap().unwrap();
}

/// A scope's handle goes by the clock of the scope's runtime on every thread.
#[test]
fn a_handle_on_another_thread_goes_by_the_virtual_clock() {
    let ran: io::Result<()> = eager().run(async {
        let scope = Scope::with_deadline(Instant::now() + NANO);
        let (within, after) = (scope.handle(), scope.handle());
        let outcome = scope.run(async {
            let is_canceled = spawn_blocking(move || {
                thread::sleep(REAL);
                within.is_canceled()
            });
            assert!(!is_canceled.await.unwrap());
            sleep(SECOND).await
        });
        assert_eq!(outcome.await, Err(Canceled));
        assert!(spawn_blocking(move || after.is_canceled()).await?);
        Ok(())
    });
    ran.unwrap();
}

#[test]
fn the_grace_period_is_virtual() {
    let cleaned = Rc::new(RefCell::new(Vec::new()));
    let outer = cleaned.clone();
    let ran: io::Result<()> = eager().grace_period(HOUR).run(async move {
        for minutes in [61, 59, 1] {
            let cleaned = outer.clone();
            drop(spawn(async move {
                assert_eq!(sleep(Duration::MAX).await, Err(Canceled));
                shield(sleep(60 * minutes * SECOND)).await.unwrap();
                cleaned.borrow_mut().push(minutes);
            }));
        }
        next_turn().await;
        Ok(())
    });
    ran.unwrap();
    assert_eq!(*cleaned.borrow(), [1, 59]);
}

/// The shutdown waits for the kernel and for threads, which take real time.
#[test]
fn the_shutdown_timeout_is_real() {
    let mut runtime = eager().build().unwrap();
    let (release, released) = mpsc::channel::<()>();
    runtime.block_on(async {
        sleep(HOUR).await.unwrap();
        let (reader, writer) = pipe();
        drop(spawn(async move {
            let _held = writer;
            reader.read(vec![0; 16]).await.is_ok()
        }));
        drop(spawn_blocking(move || {
            thread::sleep(REAL);
            released.recv().is_ok()
        }));
        next_turn().await;
    });
    drop(release);
    runtime.shutdown(HOUR).unwrap();
}
