//! Ctrl-C: every listener receives every signal, and a wait that is dropped or canceled consumes none; with all
//! features of this kernel and with those of 6.1 and 5.15.
//!
//! `raise` returns after the handler has run, so no test waits for a signal to arrive. Signals belong to the process,
//! so the tests run one at a time.

use common::{
    Baseline, MOMENTS, descriptors, dropped_after, dropped_everywhere, is_child, next_turn,
    passes_in_child, ran_in_own_process, rings,
};
use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::{FutureExt, select_biased};
use gimmal::cancel::shield;
use gimmal::signal::{CtrlC, ctrl_c};
use gimmal::{Runtime, is_canceled, spawn};
use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Longer than any test.
const LONG: Duration = Duration::from_secs(3600);

/// Turns after which a poll operation that can complete has completed: one to submit it, one to reap it, one to poll
/// its task.
const TURNS: usize = 4;

/// Sends SIGINT to this thread. The handler has run when this returns.
fn raise() {
    // SAFETY: no address is passed, and SIGINT has a handler whenever a test calls this.
    assert_eq!(unsafe { libc::raise(libc::SIGINT) }, 0);
}

fn block_on<F: Future>(future: F) -> F::Output {
    Runtime::builder().build().unwrap().block_on(future)
}

/// Whether a signal is pending for this listener. If so, it is consumed.
async fn receives(listener: &mut CtrlC) -> bool {
    let turns = async {
        for _ in 0..TURNS {
            next_turn().await;
        }
    };
    select_biased! {
        received = listener.recv().fuse() => {
            received.unwrap();
            true
        }
        () = turns.fuse() => false,
    }
}

#[test]
fn a_signal_wakes_the_waiters() {
    if ran_in_own_process() {
        return;
    }
    for (name, builder) in rings() {
        builder.build().unwrap().block_on(async {
            let mut listener = CtrlC::new().unwrap();
            assert!(!receives(&mut listener).await, "{name}");
            let waiter = spawn(async move {
                listener.recv().await.unwrap();
                listener
            });
            next_turn().await;
            assert!(!waiter.is_finished());
            raise();
            let mut listener = waiter.await.unwrap();
            assert!(!receives(&mut listener).await, "{name}: received twice");
        });
    }
}

#[test]
fn a_signal_wakes_the_listener_whichever_thread_handles_it() {
    const SIGNALS: usize = 100;
    if ran_in_own_process() {
        return;
    }
    block_on(async {
        let mut listener = CtrlC::new().unwrap();
        // SAFETY: the call has no preconditions.
        let own = unsafe { libc::pthread_self() };
        let (ready, is_ready) = mpsc::channel();
        let other = thread::spawn(move || {
            for here in is_ready {
                // Usually long enough for the runtime to enter the kernel, where the signal interrupts its wait.
                thread::yield_now();
                if here {
                    raise();
                    continue;
                }
                // SAFETY: the other thread waits for the signal, so it exists. SIGINT has a handler.
                assert_eq!(unsafe { libc::pthread_kill(own, libc::SIGINT) }, 0);
            }
        });
        for n in 0..SIGNALS {
            let ready = ready.clone();
            drop(spawn(async move { ready.send(n % 2 == 0).unwrap() }));
            listener.recv().await.unwrap();
        }
        drop(ready);
        other.join().unwrap();
        assert!(!receives(&mut listener).await);
    });
}

#[test]
fn ctrl_c_waits_for_the_next_one() {
    if ran_in_own_process() {
        return;
    }
    block_on(async {
        // Installs the handler of SIGINT.
        drop(CtrlC::new().unwrap());
        raise();
        let waiter = spawn(ctrl_c());
        for _ in 0..TURNS {
            next_turn().await;
        }
        assert!(
            !waiter.is_finished(),
            "it received a signal from before its first poll"
        );
        raise();
        waiter.await.unwrap().unwrap();
    });
}

#[test]
fn signals_between_two_calls_are_all_received() {
    if ran_in_own_process() {
        return;
    }
    // Listening needs no runtime.
    let mut listener = CtrlC::new().unwrap();
    raise();
    block_on(async {
        listener.recv().await.unwrap();
        raise();
        raise();
        listener.recv().await.unwrap();
        listener.recv().await.unwrap();
        assert!(!receives(&mut listener).await);
    });
}

#[test]
fn every_listener_receives_every_signal() {
    if ran_in_own_process() {
        return;
    }
    block_on(async {
        let mut early = CtrlC::new().unwrap();
        raise();
        let mut late = CtrlC::new().unwrap();
        raise();
        drop(CtrlC::new().unwrap());
        assert!(receives(&mut early).await);
        assert!(receives(&mut early).await);
        assert!(!receives(&mut early).await);
        assert!(receives(&mut late).await);
        assert!(
            !receives(&mut late).await,
            "it received a signal from before its creation"
        );
        drop(early);
        raise();
        assert!(receives(&mut late).await);
    });
}

#[test]
fn a_burst_is_received_once_per_handler_call() {
    const BURST: usize = 1000;
    if ran_in_own_process() {
        return;
    }
    block_on(async {
        let mut listener = CtrlC::new().unwrap();
        let other = thread::spawn(|| (0..BURST).for_each(|_| raise()));
        for _ in 0..BURST {
            listener.recv().await.unwrap();
        }
        other.join().unwrap();
        assert!(!receives(&mut listener).await);
    });
}

#[test]
fn a_burst_that_the_kernel_merges_is_received_at_least_once() {
    const BURST: usize = 100;
    if ran_in_own_process() {
        return;
    }
    // The last signals may be handled after this test has ended.
    if !is_child() {
        return passes_in_child("a_burst_that_the_kernel_merges_is_received_at_least_once");
    }
    block_on(async {
        let mut listener = CtrlC::new().unwrap();
        // Sent to the process: signals that arrive while one is pending are merged.
        for _ in 0..BURST {
            // SAFETY: no address is passed, and SIGINT has a handler.
            assert_eq!(unsafe { libc::kill(libc::getpid(), libc::SIGINT) }, 0);
        }
        listener.recv().await.unwrap();
        let mut received = 1;
        while receives(&mut listener).await {
            received += 1;
        }
        assert!(received <= BURST);
    });
}

#[test]
fn a_dropped_wait_consumes_no_signal() {
    if ran_in_own_process() {
        return;
    }
    block_on(async {
        let mut listener = CtrlC::new().unwrap();
        let baseline = Baseline::take();

        // Never polled.
        raise();
        drop(listener.recv());
        assert!(receives(&mut listener).await);

        for moment in MOMENTS {
            // The signal arrives before the wait, which is dropped after one poll.
            raise();
            let received = dropped_after(listener.recv(), 1, moment).await;
            assert!(received.is_none());
            assert!(receives(&mut listener).await, "before the wait, {moment:?}");

            // The signal arrives during the wait, or after it was dropped.
            let signal = spawn(async {
                next_turn().await;
                raise();
            });
            let received = dropped_after(listener.recv(), 1, moment).await;
            assert!(received.is_none());
            signal.await.unwrap();
            assert!(receives(&mut listener).await, "during the wait, {moment:?}");
            assert!(!receives(&mut listener).await, "{moment:?}");

            baseline
                .returns(&format!("dropped waits, {moment:?}"))
                .await;
        }
    });
}

#[test]
fn a_wait_that_loses_a_foreign_select_consumes_no_signal() {
    if ran_in_own_process() {
        return;
    }
    block_on(async {
        let mut listener = CtrlC::new().unwrap();
        let (send, receive) = async_channel::bounded(1);
        for _ in 0..20 {
            // Both become ready, and the other future is polled first.
            let other = spawn({
                let send = send.clone();
                async move {
                    raise();
                    for _ in 0..TURNS {
                        next_turn().await;
                    }
                    send.send(()).await.unwrap();
                }
            });
            let received = select_biased! {
                _ = receive.recv().fuse() => false,
                received = listener.recv().fuse() => {
                    received.unwrap();
                    true
                }
            };
            other.await.unwrap();
            if received {
                receive.recv().await.unwrap();
                continue;
            }
            assert!(receives(&mut listener).await);
        }
        // The signal arrives in the same turn in which the other future wins.
        for _ in 0..20 {
            let other = spawn({
                let send = send.clone();
                async move {
                    next_turn().await;
                    raise();
                    send.send(()).await.unwrap();
                }
            });
            let received = select_biased! {
                _ = receive.recv().fuse() => false,
                _ = listener.recv().fuse() => true,
            };
            assert!(!received);
            other.await.unwrap();
            assert!(receives(&mut listener).await);
        }
        assert!(!receives(&mut listener).await);
    });
}

#[test]
fn a_canceled_wait_returns_an_error_and_consumes_no_signal() {
    if ran_in_own_process() {
        return;
    }
    let mut listener = CtrlC::new().unwrap();
    let ended = Rc::new(Cell::new(None));
    // `run` cancels the remaining task and waits for it.
    gimmal::run(async {
        drop(spawn({
            let ended = ended.clone();
            async move {
                // The first wait is canceled in flight, the second one while a signal is pending.
                let first = listener.recv().await.unwrap_err();
                raise();
                let second = listener.recv().await.unwrap_err();
                ended.set(Some((listener, [first, second])));
            }
        }));
        for _ in 0..TURNS {
            next_turn().await;
        }
        io::Result::Ok(())
    })
    .unwrap();
    let (mut listener, errors) = ended.take().unwrap();
    assert!(errors.iter().all(|error| is_canceled(error)));
    block_on(async {
        assert!(receives(&mut listener).await);
        assert!(!receives(&mut listener).await);
    });
}

#[test]
fn waits_dropped_at_every_poll_leave_nothing_behind() {
    if ran_in_own_process() {
        return;
    }
    for (name, builder) in rings() {
        builder.build().unwrap().block_on(async {
            // Installs the handler of SIGINT, and opens what the registry keeps open.
            drop(CtrlC::new().unwrap());
            dropped_everywhere(&format!("{name}: recv"), &MOMENTS, || async {
                let mut listener = CtrlC::new()?;
                raise();
                listener.recv().await
            })
            .await;
            dropped_everywhere(&format!("{name}: ctrl_c"), &MOMENTS, || async {
                let signal = async {
                    next_turn().await;
                    raise();
                };
                let (received, ()) = futures_util::join!(ctrl_c(), signal);
                received
            })
            .await;
        });
    }
}

#[test]
fn dropping_the_listeners_closes_the_descriptors() {
    if ran_in_own_process() {
        return;
    }
    // The handler of a signal stays installed with its descriptor, and the inbox of a runtime is kept for the next.
    block_on(async { drop(CtrlC::new().unwrap()) });
    let before = descriptors();
    let mut listeners: Vec<_> = (0..50).map(|_| CtrlC::new().unwrap()).collect();
    assert!(descriptors() > before);
    raise();
    drop(listeners.drain(10..));
    block_on(async {
        for listener in &mut listeners {
            listener.recv().await.unwrap();
        }
    });
    drop(listeners);
    assert_eq!(descriptors(), before);
    // SIGINT is now ignored by the runtime.
    raise();
}

#[test]
fn without_free_descriptors_the_error_gives_advice() {
    if ran_in_own_process() {
        return;
    }
    if !is_child() {
        return passes_in_child("without_free_descriptors_the_error_gives_advice");
    }
    let limit = libc::rlimit {
        rlim_cur: 64,
        rlim_max: 64,
    };
    // SAFETY: the pointer to the limit is valid for the length of the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
    for left in 0..2 {
        let mut taken = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            taken.push(file);
        }
        taken.truncate(taken.len() - left);
        let error = CtrlC::new().unwrap_err();
        drop(taken);
        let text = error.to_string();
        assert!(text.contains("RLIMIT_NOFILE"), "{left} left: {text}");
    }
    // Everything that had been opened was closed again.
    CtrlC::new().unwrap();
}

#[test]
fn an_earlier_handler_still_runs() {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn handler(_: libc::c_int) {
        RUNS.fetch_add(1, Ordering::SeqCst);
    }

    if ran_in_own_process() {
        return;
    }
    // The first listener of a process chains to the handler that was installed before.
    if !is_child() {
        return passes_in_child("an_earlier_handler_still_runs");
    }
    // SAFETY: a zeroed sigaction is valid. The fields that matter are set below.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = handler as *const () as usize;
    // SAFETY: the pointer to the action is valid for the length of the call, and the handler only adds to an atomic.
    let failed = unsafe { libc::sigaction(libc::SIGINT, &action, ptr::null_mut()) };
    assert_eq!(failed, 0);

    block_on(async {
        let mut listener = CtrlC::new().unwrap();
        raise();
        assert_eq!(RUNS.load(Ordering::SeqCst), 1);
        assert!(receives(&mut listener).await);
        drop(listener);
        raise();
        assert_eq!(RUNS.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn a_signal_in_a_forked_child_does_not_reach_the_parent() {
    if ran_in_own_process() {
        return;
    }
    block_on(async {
        let mut listener = CtrlC::new().unwrap();
        // SAFETY: the child calls only functions that are allowed after a fork of a multithreaded process, until it
        // ends.
        let child = unsafe { libc::fork() };
        assert!(child >= 0, "{}", io::Error::last_os_error());
        if child == 0 {
            // SAFETY: no address is passed. SIGINT has a handler, so the child ends by _exit and runs no code of its
            // parent.
            unsafe {
                libc::raise(libc::SIGINT);
                libc::_exit(7);
            }
        }
        let mut status = 0;
        // SAFETY: the pointer to the status is valid for the length of the call.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert!(
            libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7,
            "the child was killed: {status:#x}"
        );
        assert!(!receives(&mut listener).await);
        raise();
        assert!(receives(&mut listener).await);
    });
}

/// Like `asyncio.run`: what the main future awaits is canceled, and it may clean up.
#[test]
fn with_cancel_on_ctrl_c_the_main_future_is_canceled_and_may_clean_up() {
    if ran_in_own_process() {
        return;
    }
    for (name, builder) in rings() {
        let cleaned = Cell::new(false);
        let outcome: io::Result<()> = builder.cancel_on_ctrl_c(true).run(async {
            raise();
            let asleep = gimmal::sleep(LONG).await;
            shield(gimmal::yield_now()).await;
            cleaned.set(true);
            asleep?;
            Ok(())
        });
        assert!(is_canceled(&outcome.unwrap_err()), "{name}");
        assert!(cleaned.get(), "{name}");
    }
}

/// The second Ctrl-C drops the main future, and the tasks whose grace period has not passed, even if they wait for a
/// foreign future.
#[test]
fn a_second_ctrl_c_drops_the_remaining_tasks() {
    if ran_in_own_process() {
        return;
    }
    for (name, builder) in rings() {
        let dropped = Rc::new(Cell::new(0));
        let outcome: io::Result<()> =
            builder
                .cancel_on_ctrl_c(true)
                .grace_period(LONG)
                .run(async {
                    for _ in 0..2 {
                        let dropped = dropped.clone();
                        drop(spawn(async move {
                            let _held = OnDrop(dropped);
                            let mut stubborn = FuturesUnordered::new();
                            stubborn.push(shield(gimmal::sleep(LONG)));
                            let _ = stubborn.next().await;
                        }));
                    }
                    let _held = OnDrop(dropped.clone());
                    next_turn().await;
                    raise();
                    let _ = gimmal::sleep(LONG).await;
                    raise();
                    shield(std::future::pending()).await
                });
        assert!(is_canceled(&outcome.unwrap_err()), "{name}");
        assert_eq!(dropped.get(), 3, "{name}");
    }
}

struct OnDrop(Rc<Cell<u32>>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}
