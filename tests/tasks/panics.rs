//! Panics in user code: they do not spread, reach the joiner or else the hook, once.

use common::{DropBomb, Faults, Finally, everywhere, poll_with};
use gimmal::{Handle, Runtime, spawn, task, yield_now};
use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::rc::Rc;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Poll, Wake, Waker};

#[test]
fn a_panic_reaches_only_the_joiner() {
    everywhere(|builder| {
        let faults = Faults::default();
        faults.hear(builder).build().unwrap().block_on(async {
            let neighbour = spawn(async {
                yield_now().await;
                1
            });
            let words = spawn(async { panic!("in words") });
            let formatted = spawn(async { panic!("number {}", 6) });
            let other = spawn(async { panic_any(42u64) });
            let words: task::JoinError = words.await.unwrap_err();
            assert!(words.to_string().contains("in words"));
            let formatted = formatted.await.unwrap_err();
            assert!(formatted.to_string().contains("number 6"));
            let other = other.await.unwrap_err();
            assert!(other.to_string().contains("not a string"));
            let payload = other.try_into_panic().unwrap();
            assert_eq!(payload.downcast_ref(), Some(&42u64));
            let again = catch_unwind(AssertUnwindSafe(|| resume_unwind(payload))).unwrap_err();
            assert_eq!(again.downcast_ref(), Some(&42u64));
            assert_eq!(neighbour.await.unwrap(), 1);
            assert_eq!(Handle::current().stats().task_rows, 1);
        });
        faults.expect(&[]);
    });
}

#[test]
fn an_unjoined_panic_reaches_the_hook_once() {
    everywhere(|builder| {
        let faults = Faults::default();
        let mut runtime = faults.hear(builder).build().unwrap();
        runtime.block_on(async {
            drop(
                task::Builder::new()
                    .name("early")
                    .spawn(async { panic!("one") }),
            );
            let late = task::Builder::new()
                .name("late")
                .spawn(async { panic!("two") });
            yield_now().await;
            faults.expect(&["\"early\" panicked, and nobody joined it: one"]);
            drop(late);
            faults.expect(&["\"late\" panicked, and nobody joined it: two"]);
            let unnamed = spawn(async { panic_any(1u8) });
            yield_now().await;
            drop(unnamed);
            faults.expect(&["panics.rs"]);
        });
        // Dropped outside `block_on`, and kept beyond the end.
        let after = runtime.block_on(async {
            let after = spawn(async { panic!("three") });
            yield_now().await;
            after
        });
        drop(after);
        faults.expect(&["three"]);
        let kept = runtime.block_on(async {
            let kept = spawn(async { panic!("four") });
            yield_now().await;
            kept
        });
        drop(runtime);
        faults.expect(&["four"]);
        drop(kept);
        faults.expect(&[]);
    });
}

#[test]
fn a_payload_that_panics_on_drop_is_reported_too() {
    everywhere(|builder| {
        let faults = Faults::default();
        let mut runtime = faults.hear(builder).build().unwrap();
        runtime.block_on(async {
            drop(spawn(async { panic_any(DropBomb("payload")) }));
            yield_now().await;
            faults.expect(&["not a string", "payload"]);
            let joined = spawn(async { panic_any(DropBomb("joined payload")) });
            let error = joined.await.unwrap_err();
            let mine = catch_unwind(AssertUnwindSafe(|| drop(error)));
            assert!(mine.is_err(), "the joiner owns the payload and drops it");
        });
        faults.expect(&[]);
        let kept = runtime.block_on(async {
            let kept = spawn(async { panic_any(DropBomb("kept payload")) });
            yield_now().await;
            kept
        });
        drop(runtime);
        faults.expect(&["not a string", "kept payload"]);
        drop(kept);
    });
}

#[test]
fn a_destructor_that_panics_after_the_output_was_ready_is_a_panic_of_the_task() {
    everywhere(|builder| {
        let faults = Faults::default();
        faults.hear(builder).build().unwrap().block_on(async {
            let bomb = DropBomb("at the end");
            let mut bomb = Some(bomb);
            let ready = spawn(poll_fn(move |_| {
                let _ = &mut bomb;
                Poll::Ready(1)
            }));
            let error = ready.await.unwrap_err();
            assert!(error.to_string().contains("at the end"));
        });
        faults.expect(&[]);
    });
}

#[test]
fn a_destructor_that_panics_in_an_abort_goes_to_the_hook_and_the_task_is_aborted() {
    everywhere(|builder| {
        let faults = Faults::default();
        faults.hear(builder).build().unwrap().block_on(async {
            let bomb = DropBomb("in the abort");
            let task = spawn(async move {
                let _bomb = bomb;
                pending::<()>().await;
            });
            yield_now().await;
            task.abort();
            assert!(task.await.unwrap_err().is_aborted());
        });
        faults.expect(&["in the abort"]);
    });
}

#[test]
fn a_task_that_panics_twice_returns_the_first_panic_to_its_joiner() {
    everywhere(|builder| {
        let faults = Faults::default();
        faults.hear(builder).build().unwrap().block_on(async {
            let mut bomb = Some(DropBomb("second"));
            let task = spawn(poll_fn(move |_| -> Poll<()> {
                let _ = &mut bomb;
                panic!("first")
            }));
            assert!(task.await.unwrap_err().to_string().contains("first"));
        });
        faults.expect(&["second"]);
    });
}

#[test]
fn an_output_that_panics_on_drop_goes_to_the_hook() {
    everywhere(|builder| {
        let faults = Faults::default();
        let mut runtime = faults.hear(builder).build().unwrap();
        let kept = runtime.block_on(async {
            drop(spawn(async { DropBomb("detached") }));
            let late = spawn(async { DropBomb("late") });
            yield_now().await;
            faults.expect(&["detached"]);
            drop(late);
            faults.expect(&["late"]);
            let kept = spawn(async { DropBomb("kept") });
            yield_now().await;
            kept
        });
        drop(runtime);
        faults.expect(&["kept"]);
        drop(kept);
        faults.expect(&[]);
    });
}

#[test]
fn destructors_that_panic_at_the_end_of_the_runtime_do_not_stop_it() {
    everywhere(|builder| {
        let faults = Faults::default();
        let dropped = Rc::new(Cell::new(0));
        let mut runtime = faults.hear(builder).build().unwrap();
        for n in 0..20 {
            let dropped = dropped.clone();
            drop(runtime.spawn(async move {
                let _last = Finally(|| dropped.set(dropped.get() + 1));
                let _bomb = (n % 2 == 0).then(|| DropBomb("at shutdown"));
                pending::<()>().await;
            }));
        }
        runtime.block_on(yield_now());
        drop(runtime);
        assert_eq!(dropped.get(), 20);
        faults.expect(&["at shutdown"; 10]);
    });
}

/// A waker that panics when it is woken.
struct WakeBomb;

impl Wake for WakeBomb {
    fn wake(self: Arc<Self>) {
        panic!("a waker went off");
    }
}

#[test]
fn a_panicking_waker_goes_to_the_hook_and_the_others_are_woken() {
    everywhere(|builder| {
        let faults = Faults::default();
        faults.hear(builder).build().unwrap().block_on(async {
            let bomb = Waker::from(Arc::new(WakeBomb));
            // A join.
            let mut task = spawn(yield_now());
            assert!(poll_with(&bomb, &mut task).is_pending());
            let well = spawn(async {});
            well.await.unwrap();
            yield_now().await;
            yield_now().await;
            assert!(task.is_finished());
            faults.expect(&["a waker went off"]);
            // A timer, and another one behind it that is due at the same time.
            let due = gimmal::time::Instant::now() + std::time::Duration::from_millis(100);
            let mut sleep = gimmal::time::sleep_until(due);
            assert!(poll_with(&bomb, &mut sleep).is_pending());
            gimmal::time::sleep_until(due).await.unwrap();
            faults.expect(&["a waker went off"]);
            assert!(sleep.await.is_ok());
            // An operation, and another one behind it.
            let mut nop = gimmal::op::nop();
            assert!(poll_with(&bomb, &mut nop).is_pending());
            gimmal::op::nop().await.unwrap();
            yield_now().await;
            faults.expect(&["a waker went off"]);
            assert!(nop.await.is_ok());
        });
        faults.expect(&[]);
    });
}

#[test]
fn a_panic_of_the_main_future_goes_to_the_caller_and_the_runtime_continues() {
    everywhere(|builder| {
        let faults = Faults::default();
        let mut runtime = faults.hear(builder).build().unwrap();
        let slot = RefCell::new(None);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(async {
                slot.replace(Some(spawn(async { 4 })));
                panic!("main")
            })
        }));
        let payload: Box<dyn std::any::Any + Send> = caught.unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&"main"));
        assert_eq!(runtime.handle().stats().tasks, 1);
        assert!(Handle::try_current().is_none());
        let task = slot.take().unwrap();
        assert_eq!(runtime.block_on(task).unwrap(), 4);
        faults.expect(&[]);
    });
}

#[test]
fn a_panicking_hook_is_survived() {
    everywhere(|builder| {
        let calls = Arc::new(Mutex::new(0));
        let counted = calls.clone();
        let builder = builder.on_fault(move |_| {
            *counted
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner()) += 1;
            panic!("the hook itself");
        });
        builder.build().unwrap().block_on(async {
            drop(spawn(async { panic!("for the hook") }));
            yield_now().await;
            spawn(async {}).await.unwrap();
        });
        assert_eq!(
            *calls
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner()),
            1
        );
    });
}

/// The hook may use the runtime, since nothing of it is borrowed meanwhile.
#[test]
fn a_hook_may_start_tasks() {
    everywhere(|builder| {
        let started = Arc::new(Mutex::new(0));
        let counted = started.clone();
        let builder = builder.on_fault(move |_| {
            let counted = counted.clone();
            drop(spawn(async move { *counted.lock().unwrap() += 1 }));
            let _ = Handle::current().stats();
        });
        builder.build().unwrap().block_on(async {
            drop(spawn(async { panic!("for the hook") }));
            let late = spawn(async { DropBomb("for the hook") });
            yield_now().await;
            drop(late);
            yield_now().await;
            yield_now().await;
        });
        assert_eq!(*started.lock().unwrap(), 2);
    });
}

/// Records the lines logged through the `log` crate.
#[derive(Default)]
struct Lines(Mutex<Vec<(log::Level, String)>>);

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.0
            .lock()
            .unwrap()
            .push((record.level(), record.args().to_string()));
    }

    fn flush(&self) {}
}

#[test]
fn without_a_hook_each_fault_is_one_log_line() {
    static LINES: OnceLock<Lines> = OnceLock::new();
    let lines = LINES.get_or_init(Lines::default);
    log::set_logger(lines).unwrap();
    log::set_max_level(log::LevelFilter::Error);
    Runtime::new().unwrap().block_on(async {
        drop(
            task::Builder::new()
                .name("logged-task")
                .spawn(async { panic!("words") }),
        );
        yield_now().await;
    });
    let lines = lines.0.lock().unwrap();
    let mine: Vec<_> = lines
        .iter()
        .filter(|(_, line)| line.contains("logged-task"))
        .collect();
    assert_eq!(mine.len(), 1);
    assert_eq!(mine[0].0, log::Level::Error);
    assert!(mine[0].1.contains("words") && !mine[0].1.contains('\n'));
}
