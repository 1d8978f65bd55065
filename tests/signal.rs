//! Ctrl-C: every listener hears every signal, and a wait that is dropped or canceled takes none; on this kernel and with
//! what 6.1 and 5.15 have.
//!
//! `raise` returns when the handler has run, so nothing here waits for a signal to arrive. Signals are the process's: one
//! test at a time.

#![expect(
    clippy::unwrap_used,
    reason = "a test that meets an error fails where it stands"
)]

mod common;

use common::{
    Baseline, MOMENTS, alone, descriptors, dropped_after, dropped_everywhere, is_child, next_turn,
    passes_in_child, rings,
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

/// Turns after which a poll of the ring that can complete has done so: one to submit it, one to reap it, one to be polled.
const TURNS: usize = 4;

/// A SIGINT to this thread. Its handler has run when this returns.
fn raise() {
    // SAFETY: no address is passed, and the tests call it when SIGINT has a handler.
    assert_eq!(unsafe { libc::raise(libc::SIGINT) }, 0);
}

fn block_on<F: Future>(future: F) -> F::Output {
    Runtime::builder().build().unwrap().block_on(future)
}

/// Whether there is something to receive. If there is, it has been.
async fn hears(listener: &mut CtrlC) -> bool {
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
fn a_signal_wakes_who_waits() {
    let _alone = alone();
    for (name, builder) in rings() {
        builder.build().unwrap().block_on(async {
            let mut listener = CtrlC::new().unwrap();
            assert!(!hears(&mut listener).await, "{name}");
            let waiter = spawn(async move {
                listener.recv().await.unwrap();
                listener
            });
            next_turn().await;
            assert!(!waiter.is_finished());
            raise();
            let mut listener = waiter.await.unwrap();
            assert!(!hears(&mut listener).await, "{name}: heard twice");
        });
    }
}

#[test]
fn a_signal_from_another_thread_wakes_whichever_thread_handles_it() {
    const SIGNALS: usize = 100;
    let _alone = alone();
    block_on(async {
        let mut listener = CtrlC::new().unwrap();
        // SAFETY: it only asks who this is.
        let own = unsafe { libc::pthread_self() };
        let (ready, is_ready) = mpsc::channel();
        let other = thread::spawn(move || {
            for here in is_ready {
                // Long enough for the runtime to be in the kernel, mostly: there the signal interrupts its wait.
                thread::yield_now();
                if here {
                    raise();
                    continue;
                }
                // SAFETY: the thread waits for the signal, so it is there; SIGINT has a handler.
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
        assert!(!hears(&mut listener).await);
    });
}

#[test]
fn ctrl_c_waits_for_the_next_one() {
    let _alone = alone();
    block_on(async {
        // So that SIGINT has a handler.
        drop(CtrlC::new().unwrap());
        raise();
        let waiter = spawn(ctrl_c());
        for _ in 0..TURNS {
            next_turn().await;
        }
        assert!(
            !waiter.is_finished(),
            "it has heard what came before its time"
        );
        raise();
        waiter.await.unwrap().unwrap();
    });
}

#[test]
fn signals_between_two_calls_are_all_received() {
    let _alone = alone();
    // Listening needs no runtime.
    let mut listener = CtrlC::new().unwrap();
    raise();
    block_on(async {
        listener.recv().await.unwrap();
        raise();
        raise();
        listener.recv().await.unwrap();
        listener.recv().await.unwrap();
        assert!(!hears(&mut listener).await);
    });
}

#[test]
fn every_listener_hears_every_signal() {
    let _alone = alone();
    block_on(async {
        let mut early = CtrlC::new().unwrap();
        raise();
        let mut late = CtrlC::new().unwrap();
        raise();
        drop(CtrlC::new().unwrap());
        assert!(hears(&mut early).await);
        assert!(hears(&mut early).await);
        assert!(!hears(&mut early).await);
        assert!(hears(&mut late).await);
        assert!(!hears(&mut late).await, "it has heard what was before it");
        drop(early);
        raise();
        assert!(hears(&mut late).await);
    });
}

#[test]
fn a_burst_is_received_as_often_as_it_was_handled() {
    const BURST: usize = 1000;
    let _alone = alone();
    block_on(async {
        let mut listener = CtrlC::new().unwrap();
        let other = thread::spawn(|| (0..BURST).for_each(|_| raise()));
        for _ in 0..BURST {
            listener.recv().await.unwrap();
        }
        other.join().unwrap();
        assert!(!hears(&mut listener).await);
    });
}

#[test]
fn a_burst_that_the_kernel_merges_is_received_once_at_least() {
    const BURST: usize = 100;
    let _alone = alone();
    // The last of them may be handled when this test is over.
    if !is_child() {
        return passes_in_child("a_burst_that_the_kernel_merges_is_received_once_at_least");
    }
    block_on(async {
        let mut listener = CtrlC::new().unwrap();
        // To the process: those that arrive while one is pending are merged into it.
        for _ in 0..BURST {
            // SAFETY: no address is passed, and SIGINT has a handler.
            assert_eq!(unsafe { libc::kill(libc::getpid(), libc::SIGINT) }, 0);
        }
        listener.recv().await.unwrap();
        let mut received = 1;
        while hears(&mut listener).await {
            received += 1;
        }
        assert!(received <= BURST);
    });
}

#[test]
fn a_wait_that_is_dropped_takes_no_signal() {
    let _alone = alone();
    block_on(async {
        let mut listener = CtrlC::new().unwrap();
        let baseline = Baseline::take();

        // Not polled at all.
        raise();
        drop(listener.recv());
        assert!(hears(&mut listener).await);

        for moment in MOMENTS {
            // The signal is there before the wait, which is dropped when it has been polled once.
            raise();
            let received = dropped_after(listener.recv(), 1, moment).await;
            assert!(received.is_none());
            assert!(hears(&mut listener).await, "there before, {moment:?}");

            // It comes while the kernel polls, or after the wait was dropped.
            let signal = spawn(async {
                next_turn().await;
                raise();
            });
            let received = dropped_after(listener.recv(), 1, moment).await;
            assert!(received.is_none());
            signal.await.unwrap();
            assert!(hears(&mut listener).await, "there meanwhile, {moment:?}");
            assert!(!hears(&mut listener).await, "{moment:?}");

            baseline
                .returns(&format!("waits that were dropped, {moment:?}"))
                .await;
        }
    });
}

#[test]
fn a_wait_that_loses_a_foreign_select_takes_no_signal() {
    let _alone = alone();
    block_on(async {
        let mut listener = CtrlC::new().unwrap();
        let (send, receive) = async_channel::bounded(1);
        for _ in 0..20 {
            // Both are ready in the end, and the other one is looked at first.
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
            assert!(hears(&mut listener).await);
        }
        // The signal comes in the very turn in which the other one wins.
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
            assert!(hears(&mut listener).await);
        }
        assert!(!hears(&mut listener).await);
    });
}

#[test]
fn a_wait_that_is_cancelled_says_so_and_takes_no_signal() {
    let _alone = alone();
    let mut listener = CtrlC::new().unwrap();
    let ended = Rc::new(Cell::new(None));
    // What is left when this returns is canceled, and waited for.
    gimmal::run(async {
        drop(spawn({
            let ended = ended.clone();
            async move {
                // The first is in the kernel when it is canceled, the second has a signal to take.
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
        assert!(hears(&mut listener).await);
        assert!(!hears(&mut listener).await);
    });
}

#[test]
fn dropped_at_every_poll_nothing_is_left() {
    let _alone = alone();
    for (name, builder) in rings() {
        builder.build().unwrap().block_on(async {
            // So that SIGINT has a handler, and the registry what it keeps.
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
fn descriptors_come_back_when_the_listeners_are_dropped() {
    let _alone = alone();
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
    // And SIGINT does nothing any more.
    raise();
}

#[test]
fn without_a_descriptor_left_it_says_what_to_do() {
    let _alone = alone();
    if !is_child() {
        return passes_in_child("without_a_descriptor_left_it_says_what_to_do");
    }
    let limit = libc::rlimit {
        rlim_cur: 64,
        rlim_max: 64,
    };
    // SAFETY: the limit is valid for reading for the length of the call.
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
    // What it could have has been given back.
    CtrlC::new().unwrap();
}

#[test]
fn a_handler_that_was_there_before_still_runs() {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn handler(_: libc::c_int) {
        RUNS.fetch_add(1, Ordering::SeqCst);
    }

    let _alone = alone();
    // The first listener of a process finds what was there before.
    if !is_child() {
        return passes_in_child("a_handler_that_was_there_before_still_runs");
    }
    // SAFETY: a sigaction of zeros is a valid one; the fields that matter are set below.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = handler as *const () as usize;
    // SAFETY: the action is valid for reading for the length of the call, and its handler adds to an atomic number only.
    let failed = unsafe { libc::sigaction(libc::SIGINT, &action, ptr::null_mut()) };
    assert_eq!(failed, 0);

    block_on(async {
        let mut listener = CtrlC::new().unwrap();
        raise();
        assert_eq!(RUNS.load(Ordering::SeqCst), 1);
        assert!(hears(&mut listener).await);
        drop(listener);
        raise();
        assert_eq!(RUNS.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn a_forked_child_does_not_tell_its_parent() {
    let _alone = alone();
    block_on(async {
        let mut listener = CtrlC::new().unwrap();
        // SAFETY: until it ends, the child calls what may be called in a child of a process with several threads only.
        let child = unsafe { libc::fork() };
        assert!(child >= 0, "{}", io::Error::last_os_error());
        if child == 0 {
            // SAFETY: no address is passed. SIGINT has a handler, so the child ends by _exit, with nothing of its parent's run.
            unsafe {
                libc::raise(libc::SIGINT);
                libc::_exit(7);
            }
        }
        let mut status = 0;
        // SAFETY: the address is valid for writing for the length of the call.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert!(
            libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7,
            "the child was killed: {status:#x}"
        );
        assert!(!hears(&mut listener).await);
        raise();
        assert!(hears(&mut listener).await);
    });
}

/// As `asyncio.run` does: what the main future awaits ends, and it may clean up.
#[test]
fn a_run_that_is_to_end_on_ctrl_c_cancels_its_main_future_and_lets_it_clean_up() {
    let _alone = alone();
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

/// Whoever does not end is dropped on the second one: the main future, and tasks that have the grace period still before
/// them, also where they wait for something of another crate.
#[test]
fn on_a_second_ctrl_c_what_is_left_is_dropped() {
    let _alone = alone();
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
