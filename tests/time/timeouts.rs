//! Timeouts: a successful output is returned even when late; foreign futures are dropped on time; the crate's own
//! operations lose nothing.
//!
//! Times are only checked for not being early, and against bounds of many seconds.

use common::{Baseline, Journal, next_turn, pipe, poll_once, ran_in_own_process};
use futures_util::future::{join, join_all};
use futures_util::stream::{FuturesUnordered, StreamExt};
use gimmal::buf::BufError;
use gimmal::cancel::{self, Scope, shield};
use gimmal::op::nop;
use gimmal::prelude::*;
use gimmal::task::spawn_blocking;
use gimmal::time::{
    Elapsed, Instant, TimeoutError, timeout, timeout_any, timeout_any_at, timeout_at,
};
use gimmal::{Canceled, Handle, Runtime, is_canceled, is_timeout, sleep, spawn, yield_now};
use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::future::{pending, poll_fn};
use std::io::{self, Write as _};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(2);
const LONG: Duration = Duration::from_secs(3600);
/// Nothing in these tests may take this long.
const AMPLE: Duration = Duration::from_secs(10);

/// Runs a test on virtual time.
fn run<T>(main: impl Future<Output = T>) -> T {
    let mut runtime = Runtime::builder().virtual_time().build().unwrap();
    let start = runtime.handle().now();
    let output = runtime.block_on(main);
    assert!(runtime.handle().now() - start < AMPLE, "not on time");
    output
}

/// Runs a test in which a task computes until a deadline passes, or never stops to run: virtual time would stand still.
fn run_in_real_time<T>(main: impl Future<Output = T>) -> T {
    Runtime::new().unwrap().block_on(main)
}

type Never = io::Result<()>;

#[test]
fn a_sleep_that_is_too_long_times_out() {
    if ran_in_own_process() {
        return;
    }
    gimmal::run(async {
        let error = timeout(SHORT, gimmal::sleep(LONG)).await.unwrap_err();
        assert!(error.is_elapsed());
        assert!(gimmal::is_timeout(&io::Error::from(error)));
        let text = gimmal::fs::read_to_string("Cargo.toml")
            .timeout(LONG)
            .await?;
        assert!(!text.is_empty());
        let error = timeout(SHORT, std::future::pending::<io::Result<()>>())
            .await
            .unwrap_err();
        assert!(error.is_elapsed());
        assert!(error.inner().is_none());
        Ok::<_, io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_timeout_is_never_early() {
    run(async {
        for _ in 0..5 {
            let until = Instant::now() + SHORT;
            assert!(timeout_at(until, sleep(LONG)).await.is_err());
            assert!(Instant::now() >= until);
            let until = Instant::now() + SHORT;
            assert!(timeout_any_at(until, pending::<()>()).await.is_err());
            assert!(Instant::now() >= until);
        }
        assert_eq!(Handle::current().stats().timers, 0);
    });
}

#[test]
fn a_success_is_returned_even_when_late() {
    run_in_real_time(async {
        // In time.
        assert_eq!(timeout(LONG, async { Ok::<_, Canceled>(1) }).await, Ok(1));
        // The deadline passed before the first poll, but nothing in the future notices.
        let late = timeout(Duration::ZERO, async { Ok::<_, Canceled>(2) }).await;
        assert_eq!(late, Ok(2));
        // Canceled, the future still succeeds.
        let late = timeout(SHORT, async {
            assert_eq!(sleep(LONG).await, Err(Canceled));
            shield(sleep(SHORT)).await.unwrap();
            Ok::<_, Canceled>(3)
        });
        assert_eq!(late.await, Ok(3));
        // Shielded, and late.
        let late = timeout(SHORT, shield(sleep(4 * SHORT))).await;
        assert_eq!(late, Ok(()));
        // A running closure is awaited.
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let closure = spawn_blocking(move || gone.recv().is_err());
        while Handle::current().stats().blocking_running == 0 {
            yield_now().await;
        }
        let asked = Instant::now() + SHORT;
        drop(spawn(async move {
            gimmal::time::sleep_until(asked + SHORT).await.unwrap();
            drop(go);
        }));
        assert!(timeout_at(asked, closure).await.unwrap());
        // A canceled future's output that is not a `Result` is inside the error.
        let cut = timeout_any(SHORT, async { sleep(LONG).await.is_err() }).await;
        assert_eq!(cut.unwrap_err().into_inner(), Some(true));
        assert_eq!(timeout_any(Duration::ZERO, async { 5 }).await, Ok(5));
        let asleep = || async { sleep(LONG).await.is_err() };
        let cut = asleep().timeout_any(SHORT).await;
        assert_eq!(cut.unwrap_err().into_inner(), Some(true));
        let cut = asleep().deadline_any(Instant::now() + SHORT).await;
        assert_eq!(cut.unwrap_err().into_inner(), Some(true));
        assert_eq!(Handle::current().stats().timers, 0);
    });
}

#[derive(Debug, PartialEq, Eq)]
struct Own(u8);

impl fmt::Display for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "own error {}", self.0)
    }
}

impl Error for Own {}

#[test]
fn the_futures_own_error_differs_from_a_timeout() {
    run(async {
        // A failure without a timeout.
        let failed = timeout(LONG, async { Err::<(), _>(Own(1)) })
            .await
            .unwrap_err();
        assert!(!failed.is_elapsed() && !is_timeout(&failed));
        assert_eq!(failed.inner(), Some(&Own(1)));
        assert_eq!(failed.to_string(), "own error 1");
        // Late, but nothing was canceled.
        let failed = timeout(Duration::ZERO, async { Err::<(), _>(Own(2)) })
            .await
            .unwrap_err();
        assert!(!failed.is_elapsed());
        assert_eq!(failed.into_inner(), Some(Own(2)));
        // Canceled, the future returns an error of its own: it is inside the timeout error.
        let cut = timeout(SHORT, async {
            match sleep(LONG).await {
                Ok(()) => Ok(()),
                Err(Canceled) => Err(Own(3)),
            }
        });
        let cut = cut.await.unwrap_err();
        assert!(cut.is_elapsed() && is_timeout(&cut) && !is_canceled(&cut));
        assert_eq!(cut.inner(), Some(&Own(3)));
        assert!(cut.to_string().contains("timed out") && cut.to_string().contains("own error 3"));
        assert_eq!(cut.into_inner(), Some(Own(3)));
    });
}

/// That its waits were canceled is the effect of the timeout: the text does not repeat it.
#[test]
fn the_text_of_a_timeout_is_plain() {
    run(async {
        let read = async { io::Result::Ok(sleep(LONG).await?) };
        let error = timeout(SHORT, read).await.unwrap_err();
        assert_eq!(error.to_string(), "timed out");
        assert!(error.inner().is_some_and(|inner| is_canceled(inner)));
        let error = io::Error::from(error);
        assert_eq!(error.to_string(), "timed out");
        assert!(is_timeout(&error));
        let group = gimmal::group(async |_| io::Result::Ok(sleep(LONG).await?));
        let error = timeout(SHORT, group).await.unwrap_err();
        assert_eq!(error.to_string(), "timed out");
        // Other text stays.
        let save = async { Ok::<_, Box<dyn Error>>(sleep(LONG).await.map_err(Saving)?) };
        let error = timeout(SHORT, save).await.unwrap_err();
        assert!(error.is_elapsed());
        assert_eq!(error.to_string(), "timed out: saving: canceled");
    });
}

#[derive(Debug)]
struct Saving(Canceled);

impl fmt::Display for Saving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "saving: {}", self.0)
    }
}

impl Error for Saving {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

/// Every order of three deadlines: the outermost one that has passed when the leaf ends is responsible.
#[test]
fn nested_timeouts_in_every_order() {
    run(async {
        // Long enough not to pass before the leaf is canceled by a shorter one, even if this thread is delayed
        // meanwhile.
        let medium = 50 * SHORT;
        let times = [Duration::ZERO, medium, LONG];
        for outer in times {
            for middle in times {
                for inner in times {
                    let what = format!("{outer:?} {middle:?} {inner:?}");
                    let least = outer.min(middle).min(inner);
                    if least == LONG {
                        continue;
                    }
                    let start = Instant::now();
                    let leaf = sleep(2 * LONG);
                    let in_inner = RefCell::new(None);
                    let in_middle = RefCell::new(None);
                    let ended = timeout_at(start + outer, async {
                        let ended = timeout_at(start + middle, async {
                            let ended = timeout_at(start + inner, leaf).await;
                            in_inner.replace(Some(ended.as_ref().unwrap_err().is_elapsed()));
                            ended
                        })
                        .await;
                        in_middle.replace(Some(ended.as_ref().unwrap_err().is_elapsed()));
                        ended
                    })
                    .await;
                    let error = ended.unwrap_err();
                    let answers = [
                        error.is_elapsed(),
                        in_middle.take().unwrap(),
                        in_inner.take().unwrap(),
                    ];
                    let expected = [
                        outer == least,
                        middle == least && outer != least,
                        inner == least && middle != least && outer != least,
                    ];
                    assert_eq!(answers, expected, "{what}");
                    // Whichever was responsible, the result is a timeout.
                    assert!(is_timeout(&error), "{what}: {error:?}");
                    assert!(is_timeout(&io::Error::from(error)), "{what}");
                }
            }
        }
    });
}

#[test]
fn an_outer_timeout_over_a_foreign_future_drops_it_through_the_inner_ones() {
    run(async {
        let journal = Journal::default();
        for (outer, inner, by_outer) in [
            (SHORT, LONG, true),
            (LONG, SHORT, false),
            (SHORT, SHORT, true),
        ] {
            let start = Instant::now();
            let held = journal.on_drop("dropped");
            let foreign = async move {
                let _held = held;
                pending::<Never>().await
            };
            let ended = timeout_at(start + outer, timeout_at(start + inner, foreign)).await;
            let error = ended.unwrap_err();
            assert_eq!(error.is_elapsed(), by_outer);
            assert!(is_timeout(&error));
            assert_eq!(error.into_inner().unwrap().is_elapsed(), !by_outer);
            assert_eq!(journal.take(), ["dropped"]);
        }
    });
}

#[test]
fn a_timeout_in_a_canceled_scope_returns_a_canceled_error() {
    run(async {
        let scope = Scope::new();
        scope.cancel();
        let ended = scope
            .run_any(async {
                let ours = timeout(LONG, sleep(LONG)).await.unwrap_err();
                assert!(!ours.is_elapsed() && is_canceled(&ours) && !is_timeout(&ours));
                let foreign = timeout(LONG, pending::<Never>()).await.unwrap_err();
                assert!(!foreign.is_elapsed() && is_canceled(&foreign));
                assert!(foreign.inner().is_none());
                assert!(is_canceled(&io::Error::from(foreign)));
                // Both are due: the scope wins.
                let both = timeout(Duration::ZERO, sleep(LONG)).await.unwrap_err();
                assert!(!both.is_elapsed() && is_canceled(&both));
            })
            .await;
        assert_eq!(ended, Ok(()));
        assert!(scope.canceled_caught());
    });
}

/// A oneshot channel like those of other crates.
#[derive(Clone)]
struct Oneshot<T>(Rc<RefCell<(Option<T>, Option<Waker>)>>);

impl<T> Oneshot<T> {
    fn new() -> Oneshot<T> {
        Oneshot(Rc::new(RefCell::new((None, None))))
    }

    fn send(&self, value: T) {
        let waker = {
            let mut inner = self.0.borrow_mut();
            inner.0 = Some(value);
            inner.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    async fn receive(&self) -> T {
        poll_fn(|context| {
            let mut inner = self.0.borrow_mut();
            match inner.0.take() {
                Some(value) => Poll::Ready(value),
                None => {
                    inner.1 = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

/// Foreign futures that never end are dropped on time.
#[test]
fn foreign_futures_that_never_end_are_dropped_on_time() {
    run_in_real_time(async {
        let (_sender, receiver) = async_channel::bounded::<u8>(1);
        let oneshot = Oneshot::<u8>::new();
        type Foreign<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;
        let futures: Vec<(&str, Foreign<'_>)> = vec![
            ("pending", Box::pin(pending())),
            (
                "channel",
                Box::pin(async { assert!(receiver.recv().await.is_ok()) }),
            ),
            (
                "oneshot",
                Box::pin(async { assert_eq!(oneshot.receive().await, 0) }),
            ),
            (
                "unordered",
                Box::pin(async {
                    let waits = [1, 2, 3].map(|_| receiver.recv());
                    let mut all: FuturesUnordered<_> = waits.into_iter().collect();
                    while all.next().await.is_some() {}
                }),
            ),
            (
                "unordered of boxes",
                Box::pin(async {
                    let mut all = FuturesUnordered::<Foreign<'_>>::new();
                    all.push(Box::pin(pending()));
                    all.push(Box::pin(async { assert_eq!(oneshot.receive().await, 0) }));
                    all.push(Box::pin(async {}));
                    while all.next().await.is_some() {}
                }),
            ),
            (
                "wakes itself forever",
                Box::pin(poll_fn(|context| {
                    context.waker().wake_by_ref();
                    Poll::Pending
                })),
            ),
            (
                "yields forever",
                Box::pin(async {
                    loop {
                        yield_now().await;
                    }
                }),
            ),
            (
                "ping pong inside",
                Box::pin(async {
                    let (a, b) = (Oneshot::new(), Oneshot::new());
                    let ping = async {
                        loop {
                            a.send(1);
                            b.receive().await;
                        }
                    };
                    let pong = async {
                        loop {
                            a.receive().await;
                            b.send(2);
                        }
                    };
                    let _: ((), ()) = join(ping, pong).await;
                }),
            ),
            (
                "abandoned a sleep",
                Box::pin(async {
                    let mut asleep = sleep(LONG);
                    assert!(poll_once(&mut asleep).await.is_pending());
                    pending().await
                }),
            ),
            (
                "lost a race",
                Box::pin(async {
                    let mut asleep = sleep(LONG);
                    let won = futures_util::future::select(&mut asleep, Box::pin(yield_now()));
                    drop(won.await);
                    assert!(receiver.recv().await.is_ok());
                }),
            ),
        ];
        for (name, future) in futures {
            let journal = Journal::default();
            let held = journal.on_drop("dropped");
            let future = async move {
                let _held = held;
                future.await;
            };
            let error = timeout_any(SHORT, future).await.unwrap_err();
            assert!(error.is_elapsed() && error.inner().is_none(), "{name}");
            assert_eq!(journal.take(), ["dropped"], "{name}");
        }
        assert_eq!(Handle::current().stats().timers, 0);
    });
}

/// Channels of the `futures` crate: a receive is dropped when its timeout expires, and messages sent before that are
/// not lost.
#[test]
fn a_timed_receive_on_a_futures_channel_loses_no_message() {
    run(async {
        let (sender, receiver) = futures_channel::oneshot::channel::<u8>();
        let error = timeout_any(SHORT, receiver).await.unwrap_err();
        assert!(error.is_elapsed() && error.inner().is_none());
        assert!(sender.is_canceled(), "the receiver was dropped");

        let (mut sender, mut receiver) = futures_channel::mpsc::channel::<u32>(1);
        let sends = spawn(async move {
            for n in 0..200u32 {
                if n % 10 == 0 {
                    sleep(SHORT / 2).await.unwrap();
                }
                while sender.try_send(n).is_err() {
                    yield_now().await;
                }
            }
        });
        let mut received = Vec::new();
        loop {
            match timeout_any(SHORT / 4, receiver.next()).await {
                Ok(Some(n)) => received.push(n),
                Ok(None) => break,
                Err(late) => assert!(late.is_elapsed() && late.into_inner().is_none()),
            }
        }
        sends.await.unwrap();
        assert_eq!(received, (0..200).collect::<Vec<_>>());
    });
}

/// Another task wakes the future in time.
#[test]
fn a_foreign_future_that_is_woken_in_time_returns_its_output() {
    run(async {
        let oneshot = Oneshot::new();
        let other = oneshot.clone();
        drop(spawn(async move {
            next_turn().await;
            other.send(7);
        }));
        assert_eq!(timeout_any(LONG, oneshot.receive()).await, Ok(7));
        // Sent, but the deadline has passed: the available output is returned.
        oneshot.send(8);
        assert_eq!(timeout_any(Duration::ZERO, oneshot.receive()).await, Ok(8));
    });
}

/// Reads in flight beside a foreign future: the timeout cancels the reads and waits for them, then drops the rest.
#[test]
fn operations_in_a_foreign_future_are_awaited_and_lose_nothing() {
    if common::ran_in_own_process() {
        return;
    }
    run(async {
        let baseline = Baseline::take();
        let (file, mut writer) = pipe();
        let back = Rc::new(RefCell::new(Vec::new()));
        let journal = Journal::default();
        let held = journal.on_drop("dropped");
        let ended = timeout_any(SHORT, async {
            let _held = held;
            let mut all = FuturesUnordered::<Pin<Box<dyn Future<Output = ()> + '_>>>::new();
            for n in 0..50 {
                let (back, read) = (back.clone(), file.read(vec![n; 8]));
                all.push(Box::pin(async move {
                    let error = read.await.unwrap_err();
                    assert!(is_canceled(&error));
                    back.borrow_mut().push(error.into_buf());
                }));
            }
            all.push(Box::pin(pending()));
            while all.next().await.is_some() {}
        })
        .await;
        let error = ended.unwrap_err();
        assert!(error.is_elapsed() && error.inner().is_none());
        assert_eq!(journal.take(), ["dropped"]);
        let mut back = back.take();
        back.sort_unstable();
        let expected: Vec<_> = (0..50).map(|n| vec![n; 8]).collect();
        assert_eq!(back, expected, "each buffer is returned unchanged");
        assert_eq!(Handle::current().stats().operations, 0);
        // No read took any bytes.
        writer.write_all(b"all of it").unwrap();
        assert_eq!(file.read(vec![0; 64]).await.unwrap().1, b"all of it");
        drop((file, writer));
        baseline.returns("reads beside a foreign future").await;
    });
}

/// The timeout also waits for operations that were dropped inside of it.
#[test]
fn an_operation_that_a_foreign_future_drops_is_gone_when_the_timeout_returns() {
    run(async {
        for _ in 0..20 {
            let (file, _writer) = pipe();
            let ended = timeout_any(SHORT, async {
                let reads = [0, 1, 2].map(|_| file.read(vec![0; 4]));
                let mut all: FuturesUnordered<_> = reads.into_iter().collect();
                let waits = all.next();
                drop(futures_util::future::select(waits, Box::pin(sleep(SHORT / 2))).await);
                drop(all);
                pending::<()>().await
            })
            .await;
            assert!(ended.unwrap_err().is_elapsed());
            let stats = Handle::current().stats();
            assert_eq!((stats.operations, stats.orphans), (0, 0));
            assert!(file.into_std().is_ok());
        }
    });
}

#[test]
fn a_shielded_foreign_future_is_awaited() {
    run(async {
        let oneshot = Oneshot::new();
        let other = oneshot.clone();
        let at = Instant::now() + SHORT;
        drop(spawn(async move {
            gimmal::time::sleep_until(at + 2 * SHORT).await.unwrap();
            other.send(5);
        }));
        assert_eq!(timeout_any_at(at, shield(oneshot.receive())).await, Ok(5));
        // Beside a foreign future without a shield: the shielded future completes, then the rest is dropped.
        let other = oneshot.clone();
        let journal = Journal::default();
        let at = Instant::now() + SHORT;
        let note = journal.clone();
        drop(spawn(async move {
            gimmal::time::sleep_until(at + 2 * SHORT).await.unwrap();
            note.note("sent");
            other.send(6);
        }));
        let held = journal.on_drop("dropped");
        let ended = timeout_any_at(at, async {
            let _held = held;
            join(
                async {
                    assert_eq!(shield(oneshot.receive()).await, 6);
                    journal.note("received");
                },
                pending::<()>(),
            )
            .await
        });
        assert!(ended.await.unwrap_err().is_elapsed());
        assert_eq!(journal.take(), ["sent", "received", "dropped"]);
    });
}

// Timeouts of operations.

#[test]
fn a_deadline_that_passed_before_the_start_returns_the_buffer() {
    run(async {
        let (file, mut writer) = pipe();
        writer.write_all(b"here").unwrap();
        let submitted = Handle::current().stats().submitted;
        let mut buf = Vec::with_capacity(32);
        buf.extend_from_slice(b"mine");
        let (at, capacity) = (buf.as_ptr(), buf.capacity());
        let error = file.read(buf).timeout(Duration::ZERO).await.unwrap_err();
        assert!(is_timeout(&error) && !is_canceled(&error));
        assert_eq!(
            (error.kind(), error.transferred()),
            (io::ErrorKind::TimedOut, 0)
        );
        let buf = error.into_buf();
        assert_eq!(
            (buf.as_ptr(), buf.capacity(), &buf[..]),
            (at, capacity, &b"mine"[..])
        );
        let error = file
            .write("abc")
            .deadline(Instant::now())
            .await
            .unwrap_err();
        assert!(is_timeout(&error) && error.into_buf() == "abc");
        assert!(is_timeout(
            &nop().timeout(Duration::ZERO).await.unwrap_err()
        ));
        assert_eq!(Handle::current().stats().submitted, submitted);
        assert_eq!(file.read(vec![0; 8]).await.unwrap().1, b"here");
    });
}

#[test]
fn a_timeout_of_a_pending_operation_returns_the_buffer() {
    run(async {
        let (file, mut writer) = pipe();
        for submitted in [false, true] {
            let mut buf = Vec::with_capacity(32);
            buf.extend_from_slice(b"mine");
            let at = buf.as_ptr();
            let read = file.read(buf);
            let read = if submitted { read.submit() } else { read };
            let until = Instant::now() + SHORT;
            let timed = read.deadline(until);
            assert_eq!(timed.at(), until);
            let error: BufError<Vec<u8>> = timed.await.unwrap_err();
            assert!(Instant::now() >= until);
            assert!(is_timeout(&error) && is_timeout(error.error()));
            let buf = error.into_buf();
            assert_eq!((buf.as_ptr(), &buf[..]), (at, &b"mine"[..]));
        }
        // Vectored operations and others.
        let bufs = (vec![1; 3], vec![2; 4]);
        let error = file.read_vectored(bufs).timeout(SHORT).await.unwrap_err();
        assert!(is_timeout(&error));
        assert_eq!(error.into_buf(), (vec![1; 3], vec![2; 4]));
        writer.write_all(b"later").unwrap();
        assert_eq!(file.read(vec![0; 8]).await.unwrap().1, b"later");
        let stats = Handle::current().stats();
        assert_eq!((stats.timers, stats.operation_rows), (0, 0));
    });
}

#[test]
fn a_completed_operation_returns_its_result_even_when_late() {
    run(async {
        let (file, mut writer) = pipe();
        writer.write_all(b"abc").unwrap();
        assert_eq!(file.read(vec![0; 8]).timeout(LONG).await.unwrap().1, b"abc");
        // In flight, and complete before its first poll.
        let read = file.read(vec![0; 8]).submit();
        writer.write_all(b"def").unwrap();
        let handle = Handle::current();
        let completed = handle.stats().completed;
        while handle.stats().completed == completed {
            yield_now().await;
        }
        assert_eq!(read.timeout(Duration::ZERO).await.unwrap().1, b"def");
        let done = nop().submit();
        next_turn().await;
        next_turn().await;
        done.timeout(Duration::ZERO).await.unwrap();
        assert_eq!(handle.stats().timers, 0);
    });
}

#[test]
fn when_an_operation_and_its_scope_are_both_due_the_scope_wins() {
    run(async {
        let (file, _writer) = pipe();
        // Before the operation starts.
        let scope = Scope::new();
        scope.cancel();
        let ended = scope
            .run_any(async {
                for _ in 0..3 {
                    let error = file
                        .read(vec![1; 4])
                        .timeout(Duration::ZERO)
                        .await
                        .unwrap_err();
                    assert!(is_canceled(&error) && !is_timeout(&error), "{error}");
                    assert_eq!(error.into_buf(), [1; 4]);
                    let error = file.read(vec![1; 4]).timeout(LONG).await.unwrap_err();
                    assert!(is_canceled(&error));
                }
            })
            .await;
        assert_eq!(ended, Ok(()));
        assert!(scope.canceled_caught());
        // In flight, with both deadlines at the same moment.
        for _ in 0..10 {
            let at = Instant::now() + SHORT;
            let read = file.read(vec![2; 4]).deadline(at);
            let error = timeout_at(at, read).await.unwrap_err();
            assert!(error.is_elapsed());
            let inner = error.into_inner().unwrap();
            assert!(is_canceled(&inner) && !is_timeout(&inner), "{inner}");
            assert_eq!(inner.into_buf(), [2; 4]);
        }
        // The operation's own deadline passes first.
        let error = timeout(LONG, file.read(vec![3; 4]).timeout(SHORT))
            .await
            .unwrap_err();
        assert!(!error.is_elapsed());
        let inner = error.into_inner().unwrap();
        assert!(is_timeout(&inner) && !is_canceled(&inner));
        // In flight, then awaited in a canceled scope.
        let read = file.read(vec![4; 4]).submit();
        next_turn().await;
        let scope = Scope::new();
        scope.cancel();
        let error = scope
            .run_any(read.timeout(Duration::ZERO))
            .await
            .unwrap()
            .unwrap_err();
        assert!(is_canceled(&error) && !is_timeout(&error));
        assert!(scope.canceled_caught());
    });
}

/// Closing a file cancels its operations; neither a timeout nor a scope is responsible.
#[test]
fn operations_stopped_by_a_close_are_canceled_and_not_timed_out() {
    run(async {
        let (file, _writer) = pipe();
        let read = file.read(vec![5; 4]).timeout(LONG);
        let task = spawn(async move { read.await.unwrap_err() });
        next_turn().await;
        next_turn().await;
        file.close().await.unwrap();
        let error = task.await.unwrap();
        assert!(is_canceled(&error) && !is_timeout(&error));
        assert_eq!(error.into_buf(), [5; 4]);
    });
}

#[test]
fn a_timed_operation_that_is_dropped_leaves_nothing_behind() {
    if common::ran_in_own_process() {
        return;
    }
    run(async {
        let (file, _writer) = pipe();
        let baseline = Baseline::take();
        for turns in 0..4 {
            let mut read = file.read(vec![0; 4]).timeout(LONG);
            assert!(poll_once(&mut read).await.is_pending());
            for _ in 0..turns {
                next_turn().await;
            }
            drop(read);
            baseline.returns("a dropped timed read").await;
            drop(timeout_any(SHORT, file.read(vec![0; 4])));
            let mut cut = Box::pin(timeout_any(SHORT, file.read(vec![0; 4])));
            assert!(poll_once(&mut cut).await.is_pending());
            drop(cut);
            baseline.returns("a dropped timeout").await;
        }
    });
}

#[test]
fn a_thousand_timed_reads_at_once_each_time_out() {
    run(async {
        let (file, _writer) = pipe();
        let reads = (0..1000_u32).map(|n| {
            let time = Duration::from_micros(u64::from(n) * 5);
            let read = file.read(n.to_le_bytes().to_vec()).timeout(time);
            async move { (n, read.await.unwrap_err()) }
        });
        for (n, error) in join_all(reads).await {
            assert!(is_timeout(&error));
            assert_eq!(error.into_buf(), n.to_le_bytes());
        }
        assert_eq!(Handle::current().stats().timers, 0);
    });
}

// How a timeout is recognized in other errors.

#[test]
fn no_errno_is_mistaken_for_a_timeout() {
    for errno in 1..200 {
        let error = io::Error::from_raw_os_error(errno);
        assert!(!is_timeout(&error) && !is_canceled(&error), "{errno}");
        let error = BufError::new(io::Error::from_raw_os_error(errno), ());
        assert!(!is_timeout(&error) && !is_canceled(&error), "{errno}");
    }
    let kind = io::Error::from(io::ErrorKind::TimedOut);
    assert!(!is_timeout(&kind));
    assert!(!is_timeout(&io::Error::new(
        io::ErrorKind::TimedOut,
        "timed out"
    )));
    assert!(!is_canceled(&io::Error::other("canceled")));
    run(async {
        let peer = async { Err::<(), _>(io::Error::from_raw_os_error(libc::ETIMEDOUT)) };
        let error = timeout(LONG, peer).await.unwrap_err();
        assert!(!error.is_elapsed() && !is_timeout(&error));
        let error = io::Error::from(error);
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(!is_timeout(&error));
    });
}

async fn timed_out() -> TimeoutError<Canceled> {
    timeout(Duration::ZERO, sleep(LONG)).await.unwrap_err()
}

#[test]
fn a_timeout_is_recognized_through_every_common_error() {
    run(async {
        let (file, _writer) = pipe();
        let read = async || {
            file.read(vec![0; 4])
                .timeout(Duration::ZERO)
                .await
                .unwrap_err()
        };
        assert!(is_timeout(&timed_out().await));
        assert!(is_timeout(&io::Error::from(timed_out().await)));
        assert_eq!(
            io::Error::from(timed_out().await).kind(),
            io::ErrorKind::TimedOut
        );
        assert!(is_timeout(&io::Error::from(Elapsed)));
        assert!(is_timeout(&io::Error::other(io::Error::from(
            timed_out().await
        ))));
        assert!(is_timeout(&read().await));
        assert!(is_timeout(&io::Error::from(read().await)));
        let boxed: Box<dyn Error> = timed_out().await.into();
        assert!(is_timeout(&*boxed));
        let boxed: Box<dyn Error + Send + Sync> = timed_out().await.into();
        assert!(is_timeout(&*boxed));
        let boxed: Box<dyn Error> = read().await.into();
        assert!(is_timeout(&*boxed));
        let any = anyhow::Error::from(timed_out().await).context("while testing");
        assert!(is_timeout(any.as_ref()));
        let any = anyhow::Error::from(read().await).context("while reading");
        assert!(is_timeout(any.as_ref()));
        let any = anyhow::Error::from(io::Error::from(read().await)).context("once more");
        assert!(is_timeout(any.as_ref()));
        // An inner timeout, through an outer one that has not expired.
        for_each_inner(async { sleep(LONG).await.map_err(io::Error::from) }).await;
        for_each_inner(sleep(LONG)).await;
        // Through a function that uses `?`.
        let boxed = async {
            timeout(Duration::ZERO, sleep(LONG)).await?;
            Ok::<_, Box<dyn Error>>(())
        };
        assert!(is_timeout(&timeout(LONG, boxed).await.unwrap_err()));
        let boxed = async {
            timeout(Duration::ZERO, sleep(LONG)).await?;
            Ok::<_, Box<dyn Error + Send + Sync>>(())
        };
        assert!(is_timeout(&timeout(LONG, boxed).await.unwrap_err()));
    });
}

/// A generic wrapper cannot see the sources of an error that does not implement `Error` itself.
#[test]
fn a_timeout_is_recognized_through_a_timeout_around_a_foreign_error() {
    run(async {
        let any = async {
            timeout(Duration::ZERO, sleep(LONG)).await?;
            anyhow::Ok(())
        };
        let error = timeout(LONG, any).await.unwrap_err();
        assert!(!error.is_elapsed());
        assert!(is_timeout(error.inner().unwrap().as_ref()));
        assert!(is_timeout(&error), "{error:?}");
    });
}

async fn for_each_inner<F, E>(future: F)
where
    F: Future<Output = Result<(), E>>,
    E: fmt::Debug + fmt::Display + 'static,
{
    let error = timeout(LONG, timeout(Duration::ZERO, future))
        .await
        .unwrap_err();
    assert!(!error.is_elapsed());
    assert!(is_timeout(&error), "{error:?}");
    assert!(error.into_inner().unwrap().is_elapsed());
}

/// The flat timeout of an operation, inside the timeout of a future.
#[test]
fn a_timeout_with_a_buffer_is_recognized_through_another_timeout() {
    run(async {
        let (file, _writer) = pipe();
        let read = || timeout(LONG, file.read(vec![0; 4]).timeout(Duration::ZERO));
        let error = read().await.unwrap_err();
        assert!(!error.is_elapsed());
        assert!(is_timeout(&error), "{error:?}");
        assert!(is_timeout(&io::Error::from(error)));
        let any = anyhow::Error::from(read().await.unwrap_err());
        assert!(is_timeout(any.as_ref()));
        let write = timeout(LONG, file.write("text").timeout(Duration::ZERO));
        assert!(is_timeout(&write.await.unwrap_err()));
    });
}

#[test]
fn errors_can_be_sent_and_shared() {
    fn check<T: Send + Sync + 'static>() {}
    check::<TimeoutError<io::Error>>();
    check::<TimeoutError<Canceled>>();
    check::<TimeoutError<BufError<Vec<u8>>>>();
    check::<TimeoutError<TimeoutError<io::Error>>>();
    check::<Elapsed>();
}

#[test]
fn whole_files_with_a_timeout() {
    run(async {
        let path = "Cargo.toml";
        let text = gimmal::fs::read_to_string(path)
            .timeout(LONG)
            .await
            .unwrap();
        assert_eq!(text, std::fs::read_to_string(path).unwrap());
        let error = gimmal::fs::read(path)
            .timeout(Duration::ZERO)
            .await
            .unwrap_err();
        assert!(error.is_elapsed());
        let inner = error.into_inner().unwrap();
        assert!(is_canceled(&inner));
        let missing = gimmal::fs::read("/there/is/none")
            .timeout(LONG)
            .await
            .unwrap_err();
        assert_eq!(io::Error::from(missing).kind(), io::ErrorKind::NotFound);
        let late = gimmal::fs::read(path).deadline(Instant::now() + LONG).await;
        assert_eq!(late.unwrap(), std::fs::read(path).unwrap());
    });
}

/// Timeouts started and dropped at every moment of a task's life.
#[test]
fn ten_thousand_timeouts_leave_nothing_behind() {
    if common::ran_in_own_process() {
        return;
    }
    run(async {
        let baseline = Baseline::take();
        let ended = Cell::new(0);
        for n in 0..10_000_u64 {
            let time = Duration::from_nanos(n * 10);
            let cut = timeout(time, async {
                yield_now().await;
                nop().await
            });
            match cut.await {
                Ok(()) => ended.set(ended.get() + 1),
                Err(error) => assert!(error.is_elapsed()),
            }
        }
        assert!(ended.get() > 0);
        baseline.returns("ten thousand timeouts").await;
    });
}

#[test]
fn the_time_counts_from_the_first_poll() {
    run_in_real_time(async {
        let asked = async || Ok::<_, Canceled>(cancel::deadline().unwrap());
        let whole = timeout(LONG, asked());
        let any = timeout_any(LONG, asked());
        let dotted = asked().timeout(LONG);
        let (file, _writer) = pipe();
        let mut parked = file.read(vec![0; 8]).timeout(LONG);
        let submitted = file.read(vec![0; 8]).submit().timeout(LONG);
        let counts = submitted.at();
        let moment = Instant::now() + SHORT;
        while Instant::now() < moment {}
        assert!(whole.await.unwrap() >= moment + LONG);
        assert!(any.await.unwrap().unwrap() >= moment + LONG);
        assert!(dotted.await.unwrap() >= moment + LONG);
        assert!(poll_once(&mut parked).await.is_pending());
        let began = parked.at();
        assert!(began >= moment + LONG);
        assert!(poll_once(&mut parked).await.is_pending());
        assert_eq!(parked.at(), began);
        assert_eq!(submitted.at(), counts, "already in flight");
        drop((parked, submitted));
        next_turn().await;
        // If the time counted from the creation, it would have passed.
        let asleep = timeout(SHORT, yield_now_ok());
        let moment = Instant::now() + SHORT * 2;
        while Instant::now() < moment {}
        let mut asleep = Box::pin(asleep);
        let stats = Handle::current().stats().timers;
        assert!(poll_once(&mut asleep).await.is_pending());
        assert_eq!(Handle::current().stats().timers, stats + 1);
    });
}

async fn yield_now_ok() -> Result<(), Canceled> {
    yield_now().await;
    Ok(())
}

#[test]
fn a_task_awaited_in_a_timeout_continues_unless_canceled_on_drop() {
    run(async {
        let journal = Journal::default();
        let start = |name| {
            let note = journal.clone();
            spawn(async move {
                if sleep(LONG).await.is_err() {
                    note.note(name);
                }
            })
        };
        assert!(timeout_any(SHORT, start("detached")).await.is_err());
        assert!(
            timeout_any(SHORT, start("canceled").cancel_on_drop())
                .await
                .is_err()
        );
        next_turn().await;
        next_turn().await;
        assert_eq!(journal.take(), ["canceled"]);
    });
}
