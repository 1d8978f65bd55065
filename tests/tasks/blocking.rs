//! Blocking closures: bounded, in order, withdrawn or awaited (C10), and their panics.
//!
//! Closures report their progress to the test over channels, so no test waits by sleeping.

use common::{DropBomb, Faults, poll_once};
use futures_util::stream::{FuturesUnordered, StreamExt};
use gimmal::cancel::Scope;
use gimmal::task::{JoinError, spawn_abandonable, spawn_blocking};
use gimmal::{Handle, Runtime, sleep, spawn, yield_now};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

/// Waited for in full only if the test fails.
const AMPLE: Duration = Duration::from_secs(3600);
const LONG: Duration = Duration::from_secs(3600);

/// A closure that reports its start, then waits until it is released.
struct Held {
    begun: Receiver<()>,
    release: Sender<()>,
}

fn held<T: Send + 'static>(value: T) -> (Held, impl FnOnce() -> T + Send + 'static) {
    let (begin, begun) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let closure = move || {
        // An error means that the test has moved on: nobody listens, and there is nothing to wait for.
        let _ = begin.send(());
        let _ = released.recv();
        value
    };
    (Held { begun, release }, closure)
}

/// Counts its drops.
struct Tally(Arc<AtomicUsize>);

impl Drop for Tally {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn tally() -> (Arc<AtomicUsize>, Tally) {
    let count = Arc::new(AtomicUsize::new(0));
    (count.clone(), Tally(count))
}

/// Yields, so that the pool's threads can run, until `done`.
async fn until(done: impl Fn() -> bool) {
    while !done() {
        thread::yield_now();
        yield_now().await;
    }
}

#[test]
fn a_closure_runs_on_another_thread_and_returns_its_result() {
    Runtime::new().unwrap().block_on(async {
        let here = thread::current().id();
        let (there, name) = spawn_blocking(|| {
            assert!(Handle::try_current().is_none());
            let thread = thread::current();
            (thread.id(), thread.name().map(str::to_owned))
        })
        .await
        .unwrap();
        assert_ne!(here, there);
        assert_eq!(name.as_deref(), Some("gimmal-blocking"));
        let owned = spawn_blocking(|| String::from("moved")).await.unwrap();
        assert_eq!(owned, "moved");
    });
}

#[test]
fn a_closure_panic_reaches_the_joiner() {
    let faults = Faults::default();
    let mut runtime = faults.hear(Runtime::builder()).build().unwrap();
    runtime.block_on(async {
        let error = spawn_blocking(|| -> u8 { panic!("in words") })
            .await
            .unwrap_err();
        assert!(error.is_panic() && error.to_string().contains("in words"));
        let error = spawn_blocking(|| -> u8 { panic_any(5u32) })
            .await
            .unwrap_err();
        assert_eq!(error.try_into_panic().unwrap().downcast_ref(), Some(&5u32));
        assert_eq!(spawn_blocking(|| 1).await.unwrap(), 1);
    });
    faults.expect(&[]);
}

#[test]
fn the_builder_bounds_the_number_of_threads() {
    const THREADS: usize = 2;
    const CLOSURES: usize = 200;
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut runtime = Runtime::builder()
        .blocking_threads(THREADS)
        .build()
        .unwrap();
    runtime.block_on(async {
        let handles: Vec<_> = (0..CLOSURES)
            .map(|n| {
                let (running, most) = (running.clone(), most.clone());
                spawn_blocking(move || {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    thread::yield_now();
                    running.fetch_sub(1, Ordering::SeqCst);
                    n
                })
            })
            .collect();
        for (n, handle) in handles.into_iter().enumerate() {
            assert_eq!(handle.await.unwrap(), n);
        }
        let stats = Handle::current().stats();
        assert!(stats.blocking_threads <= THREADS);
        until(|| Handle::current().stats().blocking_running == 0).await;
        assert_eq!(Handle::current().stats().blocking_waiting, 0);
    });
    assert!(most.load(Ordering::SeqCst) <= THREADS);
}

#[test]
fn one_thread_runs_closures_in_order_while_others_wait() {
    let mut runtime = Runtime::builder().blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let (first, closure) = held(0);
        let first_handle = spawn_blocking(closure);
        first.begun.recv().unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let waiting: Vec<_> = (1..=10)
            .map(|n| {
                let order = order.clone();
                spawn_blocking(move || order.lock().unwrap().push(n))
            })
            .collect();
        let stats = Handle::current().stats();
        let figures = (
            stats.blocking_threads,
            stats.blocking_running,
            stats.blocking_waiting,
        );
        assert_eq!(figures, (1, 1, 10));
        let mut last = waiting.into_iter().next_back().unwrap();
        assert!(poll_once(&mut last).await.is_pending());
        // While all threads are busy, only callers of the pool wait.
        gimmal::op::nop().await.unwrap();
        first.release.send(()).unwrap();
        last.await.unwrap();
        assert_eq!(first_handle.await.unwrap(), 0);
        assert_eq!(*order.lock().unwrap(), (1..=10).collect::<Vec<_>>());
    });
}

#[test]
fn an_abort_withdraws_a_waiting_closure_and_drops_it_without_running() {
    let faults = Faults::default();
    let builder = faults.hear(Runtime::builder()).blocking_threads(1);
    builder.build().unwrap().block_on(async {
        let (busy, closure) = held(());
        let busy_handle = spawn_blocking(closure);
        busy.begun.recv().unwrap();
        let (dropped, tally) = tally();
        let withdrawn = spawn_blocking(move || {
            let _tally = tally;
            unreachable!("it was aborted before it started")
        });
        assert!(!withdrawn.is_finished());
        withdrawn.abort();
        assert_eq!(dropped.load(Ordering::SeqCst), 1);
        assert!(withdrawn.is_finished());
        let error: JoinError = withdrawn.await.unwrap_err();
        assert!(error.is_aborted() && !error.is_wait_canceled());
        busy.release.send(()).unwrap();
        busy_handle.await.unwrap();
    });
    faults.expect(&[]);
}

#[test]
fn an_abort_wakes_the_joiner_even_if_the_closure_panics_in_its_destructor() {
    let faults = Faults::default();
    let builder = faults.hear(Runtime::builder()).blocking_threads(1);
    builder.build().unwrap().block_on(async {
        let (busy, closure) = held(());
        let busy_handle = spawn_blocking(closure);
        busy.begun.recv().unwrap();
        let bomb = DropBomb("destructor of a closure");
        let shared = std::rc::Rc::new(std::cell::RefCell::new(spawn_blocking(move || {
            let _bomb = &bomb;
        })));
        let waiting = shared.clone();
        let joiner = spawn(std::future::poll_fn(move |context| {
            std::pin::Pin::new(&mut *waiting.borrow_mut()).poll(context)
        }));
        yield_now().await;
        shared.borrow().abort();
        assert!(joiner.await.unwrap().unwrap_err().is_aborted());
        busy.release.send(()).unwrap();
        busy_handle.await.unwrap();
    });
    faults.expect(&["destructor of a closure"]);
}

#[test]
fn a_running_closure_is_awaited_despite_an_abort() {
    Runtime::new().unwrap().block_on(async {
        let (running, closure) = held(4);
        let mut handle = spawn_blocking(closure);
        running.begun.recv().unwrap();
        handle.abort();
        assert!(!handle.is_finished());
        assert!(poll_once(&mut handle).await.is_pending());
        running.release.send(()).unwrap();
        assert_eq!((&mut handle).await.unwrap(), 4);
        handle.abort();
        assert!(handle.is_finished());
    });
}

#[test]
fn a_dropped_wait_leaves_closure_and_handle_unchanged() {
    Runtime::new().unwrap().block_on(async {
        let (running, closure) = held(6);
        let mut handle = spawn_blocking(closure);
        for _ in 0..5 {
            assert!(poll_once(&mut &mut handle).await.is_pending());
        }
        running.release.send(()).unwrap();
        assert_eq!((&mut handle).await.unwrap(), 6);
        let again = catch_unwind(AssertUnwindSafe(|| {
            common::poll_with(std::task::Waker::noop(), &mut handle)
        }));
        let payload = again.map(drop).unwrap_err();
        assert!(
            payload
                .downcast_ref::<&str>()
                .unwrap()
                .contains("after it had given")
        );
    });
}

#[test]
fn a_detached_closure_runs_on_and_its_result_is_dropped_once() {
    Runtime::builder()
        .blocking_threads(1)
        .build()
        .unwrap()
        .block_on(async {
            // Detached while it runs, while it waits, and after it has finished.
            let (running_count, value) = tally();
            let (running, closure) = held(value);
            let handle = spawn_blocking(closure);
            running.begun.recv().unwrap();
            drop(handle);
            let (waiting_count, value) = tally();
            drop(spawn_blocking(move || value));
            assert_eq!(running_count.load(Ordering::SeqCst), 0);
            running.release.send(()).unwrap();
            until(|| waiting_count.load(Ordering::SeqCst) == 1).await;
            assert_eq!(running_count.load(Ordering::SeqCst), 1);
            let (done_count, value) = tally();
            let done = spawn_blocking(move || value);
            until(|| done.is_finished()).await;
            assert_eq!(done_count.load(Ordering::SeqCst), 0);
            drop(done);
            assert_eq!(done_count.load(Ordering::SeqCst), 1);
        });
}

#[test]
fn an_unjoined_panic_reaches_the_hook_once_whenever_the_handle_was_dropped() {
    let faults = Faults::default();
    let builder = faults.hear(Runtime::builder()).blocking_threads(1);
    let mut runtime = builder.build().unwrap();
    let calm = || async {
        until(|| {
            let stats = Handle::current().stats();
            stats.blocking_running + stats.blocking_waiting == 0
        })
        .await;
    };
    let kept = runtime.block_on(async {
        // Dropped while it waits.
        let (busy, closure) = held(());
        let busy_handle = spawn_blocking(closure);
        drop(spawn_blocking(|| panic!("waiting")));
        busy.release.send(()).unwrap();
        busy_handle.await.unwrap();
        calm().await;
        faults.expect(&["waiting"]);
        // While it runs.
        let (running, closure) = held(());
        let handle = spawn_blocking(move || {
            closure();
            panic!("running")
        });
        running.begun.recv().unwrap();
        drop::<gimmal::task::BlockingHandle<()>>(handle);
        running.release.send(()).unwrap();
        calm().await;
        faults.expect(&["running"]);
        // After it has finished.
        let done = spawn_blocking(|| panic!("done"));
        until(|| done.is_finished()).await;
        faults.expect(&[]);
        drop::<gimmal::task::BlockingHandle<()>>(done);
        faults.expect(&["done"]);
        let kept = spawn_blocking(|| panic!("outside"));
        until(|| kept.is_finished()).await;
        kept
    });
    // Outside `block_on`, and on a thread without a runtime.
    thread::spawn(move || drop::<gimmal::task::BlockingHandle<()>>(kept))
        .join()
        .unwrap();
    faults.expect(&["outside"]);
    let kept = runtime.block_on(async {
        let kept = spawn_blocking(|| panic!("after the end"));
        until(|| kept.is_finished()).await;
        kept
    });
    drop(runtime);
    drop::<gimmal::task::BlockingHandle<()>>(kept);
    faults.expect(&["after the end"]);
}

/// A foreign waker whose clones are counted by its references.
struct Counted;

impl std::task::Wake for Counted {
    fn wake(self: Arc<Self>) {}
}

/// Moves a waiting handle to another thread, and drops it there.
fn drop_on_another_thread<T: Send>(handle: gimmal::task::BlockingHandle<T>) {
    thread::scope(|threads| threads.spawn(move || drop(handle)).join().unwrap());
}

#[test]
fn a_wait_dropped_on_another_thread_leaves_nothing_behind() {
    const WAITS: usize = 200;
    let mut runtime = Runtime::builder().blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let (busy, closure) = held(());
        let first = spawn_blocking(closure);
        let waker = Arc::new(Counted);
        for _ in 0..WAITS {
            let mut handle = spawn_blocking(|| ());
            let foreign = waker.clone().into();
            let polled = Pin::new(&mut handle).poll(&mut Context::from_waker(&foreign));
            assert!(polled.is_pending());
            drop_on_another_thread(handle);
        }
        assert_eq!(Handle::current().stats().waits, 0);
        busy.release.send(()).unwrap();
        first.await.unwrap();
        until(|| Handle::current().stats().blocking_waiting == 0).await;
        // The rows are freed between two turns.
        until(|| Arc::strong_count(&waker) == 1).await;
    });
}

/// The row is freed even if the runtime is asleep.
#[test]
fn a_wait_dropped_on_another_thread_wakes_a_sleeping_runtime() {
    let mut runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let (busy, closure) = held(());
        let mut handle = spawn_blocking(closure);
        assert!(poll_once(&mut handle).await.is_pending());
        let (told, was_told) = async_channel::bounded::<()>(1);
        let waker: std::task::Waker = Arc::new(DropNotice(Mutex::new(Some(told)))).into();
        let polled = Pin::new(&mut handle).poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        drop(waker);
        thread::spawn(move || drop(handle));
        // The channel closes when the last waker is dropped: the one in the row.
        let told = gimmal::time::timeout_any(AMPLE, was_told.recv()).await;
        told.unwrap().unwrap_err();
        assert_eq!(Handle::current().stats().waits, 0);
        busy.release.send(()).unwrap();
    });
}

/// A waker that closes a channel when it is dropped.
struct DropNotice(
    #[expect(dead_code, reason = "closes the channel on drop")]
    Mutex<Option<async_channel::Sender<()>>>,
);

impl std::task::Wake for DropNotice {
    fn wake(self: Arc<Self>) {}
}

#[test]
fn a_wait_of_an_ended_runtime_does_not_belong_to_the_one_that_reuses_its_number() {
    let mut gone = Runtime::new().unwrap();
    let (first, closure) = held(());
    let mut handle = spawn_on(&mut gone, closure);
    assert!(gone.block_on(poll_once(&mut handle)).is_pending());
    first.release.send(()).unwrap();
    drop(gone);
    let mut next = Runtime::new().unwrap();
    let (second, closure) = held(5);
    let mut waits = spawn_on(&mut next, closure);
    next.block_on(async {
        // The first row of the table, like the other runtime's.
        assert!(poll_once(&mut waits).await.is_pending());
        drop_on_another_thread(handle);
        for _ in 0..10 {
            yield_now().await;
            assert_eq!(Handle::current().stats().waits, 1);
        }
        second.release.send(()).unwrap();
        assert_eq!(waits.await.unwrap(), 5);
    });
}

fn spawn_on<T: Send + 'static>(
    runtime: &mut Runtime,
    closure: impl FnOnce() -> T + Send + 'static,
) -> gimmal::task::BlockingHandle<T> {
    runtime.block_on(async { spawn_blocking(closure) })
}

#[test]
fn a_result_that_panics_on_drop_goes_to_the_hook() {
    let faults = Faults::default();
    let mut runtime = faults.hear(Runtime::builder()).build().unwrap();
    runtime.block_on(async {
        let (running, closure) = held(());
        let handle = spawn_blocking(move || {
            closure();
            DropBomb("late result")
        });
        running.begun.recv().unwrap();
        drop(handle);
        running.release.send(()).unwrap();
        until(|| Handle::current().stats().blocking_running == 0).await;
        faults.expect(&["late result"]);
        assert_eq!(spawn_blocking(|| 2).await.unwrap(), 2);
    });
}

#[test]
fn at_the_end_of_run_waiting_closures_are_canceled_and_running_ones_awaited() {
    let outcome = Arc::new(Mutex::new(Vec::new()));
    let (dropped, tally) = tally();
    let kept = outcome.clone();
    let builder = Runtime::builder().blocking_threads(1).grace_period(AMPLE);
    let ended: io::Result<()> = builder.run(async move {
        let (running, closure) = held(7);
        let handle = spawn_blocking(closure);
        running.begun.recv().unwrap();
        let outcomes = kept.clone();
        drop(spawn(async move {
            let value = handle.await.unwrap();
            outcomes.lock().unwrap().push(format!("ran: {value}"));
        }));
        let waiting = spawn_blocking(move || {
            let _tally = tally;
            unreachable!("the closure was withdrawn")
        });
        let outcomes = kept;
        drop(spawn(async move {
            let error: JoinError = waiting.await.unwrap_err();
            assert!(error.is_wait_canceled() && gimmal::is_canceled(&error));
            outcomes.lock().unwrap().push("withdrawn".to_owned());
            // The running closure ends after the cancel, and its value is not lost.
            running.release.send(()).unwrap();
        }));
        yield_now().await;
        Ok(())
    });
    ended.unwrap();
    assert_eq!(*outcome.lock().unwrap(), ["withdrawn", "ran: 7"]);
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}

#[test]
fn abandoning_a_closure_ends_the_wait_at_once_and_disposes_of_the_late_result() {
    let (told, tell) = mpsc::channel();
    let (running, closure) = held(String::from("late"));
    let (disposed, disposal) = mpsc::channel();
    let faults = Faults::default();
    let builder = faults
        .hear(Runtime::builder())
        .grace_period(AMPLE)
        .shutdown_timeout(AMPLE);
    let Held { begun, release } = running;
    let ended: io::Result<()> = builder.run(async move {
        let slow = spawn_abandonable(closure, move |late| disposed.send(late).unwrap());
        begun.recv().unwrap();
        drop(spawn(async move {
            let error = slow.await.unwrap_err();
            told.send(error.is_wait_canceled()).unwrap();
        }));
        yield_now().await;
        Ok(())
    });
    ended.unwrap();
    // `run` has returned while the closure still runs: nothing has to wait for it.
    assert_eq!(tell.try_recv(), Ok(true));
    assert!(disposal.try_recv().is_err());
    release.send(()).unwrap();
    assert_eq!(disposal.recv_timeout(AMPLE).unwrap(), "late");
    faults.expect(&[]);
}

#[test]
fn an_abandonable_closure_whose_wait_is_not_canceled_returns_its_result() {
    Runtime::new().unwrap().block_on(async {
        let (count, value) = tally();
        let disposals = Arc::new(AtomicUsize::new(0));
        let counted = disposals.clone();
        let handle = spawn_abandonable(
            move || value,
            move |_| {
                counted.fetch_add(1, Ordering::SeqCst);
            },
        );
        let value = handle.await.unwrap();
        assert_eq!(count.load(Ordering::SeqCst), 0);
        drop(value);
        assert_eq!(disposals.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn a_detached_abandonable_closure_disposes_of_its_result() {
    Runtime::builder()
        .blocking_threads(1)
        .build()
        .unwrap()
        .block_on(async {
            let (disposed, disposal) = mpsc::channel();
            // Detached while it runs, and while it waits.
            let (running, closure) = held(1);
            let tell = disposed.clone();
            let handle = spawn_abandonable(closure, move |late| tell.send(late).unwrap());
            running.begun.recv().unwrap();
            drop(handle);
            let tell = disposed.clone();
            drop(spawn_abandonable(
                || 2,
                move |late| tell.send(late).unwrap(),
            ));
            running.release.send(()).unwrap();
            assert_eq!(disposal.recv_timeout(AMPLE), Ok(1));
            assert_eq!(disposal.recv_timeout(AMPLE), Ok(2));
            // And after it has finished.
            let handle = spawn_abandonable(|| 3, move |late| disposed.send(late).unwrap());
            until(|| handle.is_finished()).await;
            assert!(disposal.try_recv().is_err());
            drop(handle);
            assert_eq!(disposal.try_recv(), Ok(3));
        });
}

#[test]
fn dropping_a_runtime_drops_waiting_closures_and_awaits_running_ones() {
    let faults = Faults::default();
    let builder = faults
        .hear(Runtime::builder())
        .blocking_threads(2)
        .shutdown_timeout(AMPLE);
    let mut runtime = builder.build().unwrap();
    let (ran, finish) = tally();
    let (never_ran, tally) = tally();
    let (one, closure_one) = held(());
    let (two, closure_two) = held(());
    runtime.block_on(async {
        drop(spawn_blocking(move || {
            closure_one();
            drop(finish);
        }));
        drop(spawn_blocking(closure_two));
        drop(spawn_blocking(move || {
            let _tally = tally;
            unreachable!("the runtime ended before it started")
        }));
    });
    one.begun.recv().unwrap();
    two.begun.recv().unwrap();
    // Releases the closures once the waiting one was dropped, when the shutdown is under way.
    let dropped = never_ran.clone();
    let releaser = thread::spawn(move || {
        while dropped.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        drop((one, two));
    });
    drop(runtime);
    releaser.join().unwrap();
    assert_eq!(never_ran.load(Ordering::SeqCst), 1);
    assert_eq!(ran.load(Ordering::SeqCst), 1);
    faults.expect(&[]);
}

#[test]
fn closures_that_outlast_the_shutdown_are_reported_and_continue() {
    let faults = Faults::default();
    let builder = faults
        .hear(Runtime::builder())
        .shutdown_timeout(Duration::from_millis(20));
    let mut runtime = builder.build().unwrap();
    let (count, value) = tally();
    let (running, closure) = held(value);
    let handle = runtime.block_on(async { spawn_blocking(closure) });
    running.begun.recv().unwrap();
    drop(runtime);
    faults.expect(&["1 closure of spawn_blocking was"]);
    assert!(!handle.is_finished());
    running.release.send(()).unwrap();
    while !handle.is_finished() {
        thread::yield_now();
    }
    // The handle is not a leaf in the runtime's tables, so another runtime can still take the result.
    let value = Runtime::new().unwrap().block_on(handle).unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 0);
    drop(value);
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[test]
fn a_closure_may_use_its_own_runtime() {
    Runtime::new().unwrap().block_on(async {
        let sum = spawn_blocking(|| {
            Runtime::new().unwrap().block_on(async {
                sleep(Duration::from_millis(1)).await.unwrap();
                spawn(async { 3 }).await.unwrap() + 4
            })
        });
        assert_eq!(sum.await.unwrap(), 7);
    });
}

#[test]
fn ten_thousand_closures_return_their_results() {
    const CLOSURES: usize = 10_000;
    let mut runtime = Runtime::builder().blocking_threads(8).build().unwrap();
    runtime.block_on(async {
        let mut all: FuturesUnordered<_> =
            (0..CLOSURES).map(|n| spawn_blocking(move || n)).collect();
        let (mut count, mut sum) = (0, 0);
        while let Some(n) = all.next().await {
            count += 1;
            sum += n.unwrap();
        }
        assert_eq!((count, sum), (CLOSURES, CLOSURES * (CLOSURES - 1) / 2));
        let stats = Handle::current().stats();
        assert!(stats.blocking_threads <= 8);
        assert_eq!(stats.blocking_waiting, 0);
    });
}

#[test]
fn closures_are_started_detached_aborted_and_awaited_at_random() {
    let mut random = common::Random::new();
    let faults = Faults::default();
    let builder = faults.hear(Runtime::builder()).blocking_threads(3);
    let mut runtime = builder.build().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    const CLOSURES: usize = 3_000;
    let mut panics = 0;
    runtime.block_on(async {
        for _ in 0..CLOSURES {
            let tally = Tally(count.clone());
            let panicking = random.below(10) == 0;
            let mut handle = spawn_blocking(move || {
                assert!(!panicking, "random panic");
                tally
            });
            match random.below(4) {
                0 => match handle.await {
                    Ok(_) => assert!(!panicking),
                    Err(error) => assert!(panicking && error.is_panic()),
                },
                1 => {
                    panics += usize::from(panicking);
                    drop(handle);
                }
                2 => {
                    handle.abort();
                    match handle.await {
                        Ok(_) => assert!(!panicking),
                        Err(error) => assert!(error.is_aborted() || panicking && error.is_panic()),
                    }
                }
                _ => {
                    if let Poll::Ready(ended) = poll_once(&mut handle).await {
                        assert_eq!(ended.is_err(), panicking);
                    } else {
                        panics += usize::from(panicking);
                    }
                }
            }
        }
        until(|| {
            let stats = Handle::current().stats();
            stats.blocking_running + stats.blocking_waiting == 0
        })
        .await;
    });
    assert_eq!(count.load(Ordering::SeqCst), CLOSURES);
    assert_eq!(faults.take().len(), panics);
}

#[test]
fn sleeps_and_closures_at_once() {
    Runtime::new().unwrap().block_on(async {
        let (running, closure) = held(());
        let handle = spawn_blocking(closure);
        // The event loop keeps running while a closure blocks.
        sleep(Duration::from_millis(1)).await.unwrap();
        assert!(!handle.is_finished());
        drop(running);
        handle.await.unwrap();
        let _ = LONG;
    });
}

#[test]
fn threads_are_named_after_their_runtime() {
    for (builder, expected) in [
        (Runtime::builder(), "gimmal-blocking"),
        (Runtime::builder().name("pump"), "pump-blocking"),
    ] {
        let name = builder.build().unwrap().block_on(async {
            let name = spawn_blocking(|| thread::current().name().map(str::to_owned));
            name.await.unwrap()
        });
        assert_eq!(name.as_deref(), Some(expected));
    }
}

/// A shutdown continues even if the values owned by a disposal panic when they are dropped.
#[test]
fn a_disposal_that_panics_on_drop_does_not_end_a_shutdown() {
    let faults = Faults::default();
    let mut runtime = faults
        .hear(Runtime::builder().blocking_threads(1))
        .build()
        .unwrap();
    let (running, closure) = held(());
    runtime.block_on(async {
        drop(spawn_blocking(closure));
        running.begun.recv().unwrap();
        for _ in 0..3 {
            let bomb = DropBomb("destructor of a disposal");
            drop(spawn_abandonable(|| 1, move |_| drop(bomb)));
        }
    });
    drop(running);
    runtime.shutdown(AMPLE).unwrap();
    assert_eq!(faults.take().len(), 3);
}

#[test]
fn a_closure_aborted_before_it_starts_leaves_the_queue() {
    Runtime::builder()
        .blocking_threads(1)
        .build()
        .unwrap()
        .block_on(async {
            let (running, closure) = held(());
            let busy = spawn_blocking(closure);
            running.begun.recv().unwrap();
            for _ in 0..100 {
                let waiting = spawn_blocking(|| ());
                waiting.abort();
                assert!(waiting.await.unwrap_err().is_aborted());
            }
            assert_eq!(Handle::current().stats().blocking_waiting, 0);
            drop(running);
            busy.await.unwrap();
        });
}

/// Counts its drops.
struct OnDrop(Arc<AtomicUsize>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn in_a_canceled_scope_a_closure_is_rejected_at_the_call() {
    let mut runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let (ran, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let closure = || {
            let (ran, on_drop) = (ran.clone(), OnDrop(dropped.clone()));
            move || {
                drop(on_drop);
                ran.fetch_add(1, Ordering::Relaxed);
            }
        };
        let scope = Scope::new();
        let outlives = scope.run_any(async {
            scope.cancel();
            let rejected = [
                spawn_blocking(closure()),
                spawn_abandonable(closure(), |()| ()),
                spawn_blocking(closure()),
            ];
            assert_eq!(dropped.load(Ordering::Relaxed), 3, "at once");
            let [first, second, outlives] = rejected;
            assert!(first.is_finished() && second.is_finished());
            for rejected in [first, second] {
                let error = rejected.await.unwrap_err();
                assert!(error.is_wait_canceled() && gimmal::is_canceled(&error));
            }
            // Behind a shield, it is not rejected.
            gimmal::cancel::shield(async { spawn_blocking(|| 5).await })
                .await
                .unwrap();
            outlives
        });
        let outlives = outlives.await.unwrap();
        assert!(scope.canceled_caught());
        assert!(outlives.await.unwrap_err().is_wait_canceled());
        assert_eq!(ran.load(Ordering::Relaxed), 0);
        assert_eq!(Handle::current().stats().blocking_waiting, 0);
    });
}

#[test]
fn a_loop_of_rejected_closures_ends() {
    let faults = Faults::default();
    let mut runtime = faults.hear(Runtime::builder()).build().unwrap();
    runtime.block_on(async {
        let task = spawn(async {
            loop {
                drop(spawn_blocking(|| ()).await);
            }
        });
        yield_now().await;
        task.cancel();
        assert!(task.await.unwrap_err().is_aborted());
    });
    faults.expect(&["ignor"]);
}
