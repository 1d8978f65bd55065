//! Tasks: a detached task belongs to the root scope whatever is current (C12). A cancel lets a task clean up; an abort
//! does not.

use crate::{LONG, SHORT, pipe, settle, until};
use common::{Journal, block_on, on_virtual_time, ran_in_own_process};
use gimmal::cancel::{Canceled, Scope, cancelable, shield};
use gimmal::time::timeout;
use gimmal::{Handle, is_canceled, sleep, spawn, yield_now};
use std::cell::Cell;
use std::future::pending;
use std::io::Write as _;
use std::rc::Rc;

#[test]
fn a_task_does_not_belong_to_the_scope_that_spawned_it() {
    on_virtual_time(async {
        let (file, mut writer) = pipe();
        let scope = Scope::new();
        let task = scope
            .run_any(async {
                let before = spawn(async move { file.read(vec![0; 4]).await.unwrap() });
                yield_now().await;
                scope.cancel();
                let after = spawn(async { sleep(SHORT).await });
                assert!(sleep(LONG).await.is_err());
                (before, after)
            })
            .await;
        let (before, after) = task.unwrap();
        assert_eq!(after.await.unwrap(), Ok(()));
        settle().await;
        assert!(!before.is_finished());
        writer.write_all(b"byte").unwrap();
        assert_eq!(before.await.unwrap(), (4, b"byte".to_vec()));
        let late = timeout(SHORT, async {
            let task = spawn(async {
                sleep(2 * SHORT).await.unwrap();
                9
            });
            Ok::<_, Canceled>((sleep(LONG).await, task))
        });
        let (slept, task) = late.await.unwrap();
        assert_eq!((slept, task.await.unwrap()), (Err(Canceled), 9));
    });
}

#[test]
fn a_canceled_task_cleans_up_and_returns_its_value() {
    on_virtual_time(async {
        let (file, _writer) = pipe();
        let journal = Journal::default();
        let theirs = journal.clone();
        let task = spawn(async move {
            let read = file.read(vec![7; 9]).await.unwrap_err();
            assert!(is_canceled(&read));
            assert_eq!(sleep(LONG).await, Err(Canceled));
            theirs.note("unshielded");
            shield(async {
                sleep(SHORT).await.unwrap();
                theirs.note("shielded");
            })
            .await;
            assert_eq!(sleep(LONG).await, Err(Canceled));
            read.into_buf()
        });
        settle().await;
        task.cancel();
        assert_eq!(task.await.unwrap(), [7; 9]);
        assert_eq!(journal.take(), ["unshielded", "shielded"]);
    });
}

#[test]
fn a_canceled_task_that_waits_for_a_foreign_future_is_dropped() {
    block_on(async {
        let journal = Journal::default();
        let (_sender, receiver) = async_channel::bounded::<u8>(1);
        let held = journal.on_drop("dropped");
        let task = spawn(async move {
            let _held = held;
            receiver.recv().await
        });
        settle().await;
        task.cancel();
        assert!(task.await.unwrap_err().is_aborted());
        assert_eq!(journal.take(), ["dropped"]);
        // As a leaf, the foreign future ends, and the task continues.
        let (_sender, receiver) = async_channel::bounded::<u8>(1);
        let task = spawn(async move { cancelable(receiver.recv()).await.is_err() });
        settle().await;
        task.cancel();
        assert!(task.await.unwrap());
    });
}

#[test]
fn a_task_canceled_twice_is_canceled_once() {
    on_virtual_time(async {
        let task = spawn(async {
            let mut times = 0;
            if sleep(LONG).await.is_err() {
                times += 1;
            }
            shield(sleep(SHORT)).await.unwrap();
            times
        });
        settle().await;
        task.cancel();
        task.cancel();
        yield_now().await;
        task.cancel();
        assert_eq!(task.await.unwrap(), 1);
    });
}

#[test]
fn a_finished_task_is_not_canceled() {
    block_on(async {
        let mut task = spawn(async { 3 });
        until("it ends", || task.is_finished()).await;
        task.cancel();
        assert_eq!((&mut task).await.unwrap(), 3);
        task.cancel();
        // Nor is the task that has its row now.
        let other = spawn(sleep(SHORT));
        task.cancel();
        assert_eq!(other.await.unwrap(), Ok(()));
        drop(task);
    });
}

#[test]
fn a_task_canceled_before_its_first_poll_starts_in_a_canceled_scope() {
    on_virtual_time(async {
        let begun = Rc::new(Cell::new(false));
        let theirs = begun.clone();
        // Operations that the runtime submits for itself.
        sleep(SHORT).await.unwrap();
        let submitted = Handle::current().stats().submitted;
        let task = spawn(async move {
            theirs.set(true);
            let slept = sleep(LONG).await;
            let opened = gimmal::fs::read("Cargo.toml").await.map(drop);
            shield(sleep(SHORT)).await.unwrap();
            (slept, is_canceled(&opened.unwrap_err()))
        });
        task.cancel();
        assert!(!begun.get());
        assert_eq!(task.await.unwrap(), (Err(Canceled), true));
        assert!(begun.get());
        assert_eq!(Handle::current().stats().submitted, submitted);
        let task = spawn(async { 5 });
        task.cancel();
        assert_eq!(task.await.unwrap(), 5);
    });
}

#[test]
fn a_task_can_cancel_itself() {
    block_on(async {
        let own: Rc<Cell<Option<gimmal::task::JoinHandle<_>>>> = Rc::default();
        let theirs = own.clone();
        let (sender, receiver) = async_channel::bounded(1);
        let task = spawn(async move {
            let own = theirs.take().unwrap();
            own.cancel();
            let slept = sleep(LONG).await;
            drop(own);
            sender.try_send(slept).unwrap();
        });
        own.set(Some(task));
        assert_eq!(receiver.recv().await.unwrap(), Err(Canceled));
    });
}

#[test]
fn canceling_a_task_affects_neither_its_spawned_tasks_nor_its_joiner() {
    block_on(async {
        let (sender, receiver) = async_channel::bounded(1);
        let task = spawn(async move {
            let child = spawn(sleep(4 * SHORT));
            sender.try_send(child).unwrap();
            sleep(LONG).await
        });
        let child = receiver.recv().await.unwrap();
        let joiner = spawn(async move {
            let cut_short = task.await.unwrap();
            (cut_short, sleep(SHORT).await)
        });
        settle().await;
        assert!(!joiner.is_finished());
        joiner.cancel();
        // The joiner's wait was canceled, and it panicked on that; the joined task was not affected.
        assert!(joiner.await.unwrap_err().is_panic());
        assert_eq!(child.await.unwrap(), Ok(()));
    });
}

#[test]
fn an_abort_drops_a_task_even_during_its_cleanup() {
    block_on(async {
        let journal = Journal::default();
        let held = journal.on_drop("dropped");
        let task = spawn(async move {
            let _held = held;
            let _ = sleep(LONG).await;
            shield(sleep(LONG)).await
        });
        settle().await;
        task.cancel();
        settle().await;
        assert!(!task.is_finished(), "the shield holds");
        task.abort();
        assert!(task.await.unwrap_err().is_aborted());
        assert_eq!(journal.take(), ["dropped"]);
        assert_eq!(Handle::current().stats().timers, 0);
        let (file, _writer) = pipe();
        let task = spawn(async move { file.read(vec![0; 4]).await.is_err() });
        settle().await;
        task.abort();
        assert!(task.await.unwrap_err().is_aborted());
        until("the orphan ends", || {
            Handle::current().stats().operation_rows == 0
        })
        .await;
    });
}

/// An operation dropped inside the scope is awaited before the scope's future is dropped.
#[test]
fn orphans_are_awaited_before_a_canceled_future_is_dropped() {
    block_on(async {
        for in_task in [false, true] {
            let (file, _writer) = pipe();
            let journal = Journal::default();
            let held = journal.on_drop("dropped");
            let wait = async move {
                let _held = held;
                let mut read = file.read(vec![0; 4]);
                assert!(common::poll_once(&mut read).await.is_pending());
                yield_now().await;
                drop(read);
                pending::<()>().await;
            };
            let handle = Handle::current();
            let scope = Rc::new(Scope::new());
            let theirs = scope.clone();
            let task = spawn(async move {
                match in_task {
                    true => wait.await,
                    false => assert!(theirs.run_any(wait).await.is_err()),
                }
            });
            // In the turn in which it is dropped, it becomes an orphan.
            until("it is an orphan", || handle.stats().orphans == 1).await;
            match in_task {
                true => task.cancel(),
                false => scope.cancel(),
            }
            while handle.stats().orphans == 1 {
                assert!(journal.take().is_empty(), "dropped before the orphan ended");
                yield_now().await;
            }
            until("it ends", || task.is_finished()).await;
            assert_eq!(journal.take(), ["dropped"]);
            assert_eq!(task.await.is_err(), in_task);
        }
    });
}

/// Cancellations from timeouts before the cancel do not count as a loop that ignores errors.
#[test]
fn earlier_timeouts_do_not_count_against_a_canceled_task() {
    if ran_in_own_process() {
        return;
    }
    let faults = common::Faults::default();
    let mut runtime = faults.hear(gimmal::Runtime::builder()).build().unwrap();
    runtime.block_on(async {
        for in_scope in [false, true] {
            let cleaned = Rc::new(Cell::new(false));
            let theirs = cleaned.clone();
            let life = async move {
                for _ in 0..200 {
                    let late = timeout(std::time::Duration::ZERO, sleep(LONG)).await;
                    assert!(late.unwrap_err().is_elapsed());
                }
                assert!(sleep(LONG).await.is_err());
                assert!(sleep(LONG).await.is_err());
                shield(sleep(SHORT)).await.unwrap();
                theirs.set(true);
            };
            let scope = Rc::new(Scope::new());
            let its = scope.clone();
            let task = spawn(async move {
                match in_scope {
                    true => its.run_any(life).await,
                    false => {
                        life.await;
                        Ok(())
                    }
                }
            });
            until("it sleeps", || Handle::current().stats().timers == 1).await;
            match in_scope {
                true => scope.cancel(),
                false => task.cancel(),
            }
            task.await.unwrap().unwrap();
            assert!(cleaned.get());
        }
    });
    faults.expect(&[]);
}
