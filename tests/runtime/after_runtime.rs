//! Operations, sleeps and join handles that outlive their runtime, and are then dropped, polled, or polled in another
//! runtime. Freed memory is never written to. Misuse panics with a clear message.

use common::{
    Watched, descriptors, is_child, passes_in_child_that_leaks, pipe, ran_in_own_process, rings,
};
use gimmal::fs::File;
use gimmal::op::{Op, Read, nop};
use gimmal::runtime::Fault;
use gimmal::task::JoinHandle;
use gimmal::time::Sleep;
use gimmal::{Handle, Runtime, sleep};
use std::cell::RefCell;
use std::future::{pending, poll_fn};
use std::io::{self, PipeWriter, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// Futures of a runtime, each polled once and pending.
struct Kept {
    read: Op<Read<Watched>>,
    sleep: Sleep,
    join: JoinHandle<()>,
    reader: File,
    writer: PipeWriter,
}

impl Kept {
    async fn polled_once() -> Kept {
        let (reader, writer) = pipe();
        let mut kept = Kept {
            read: reader.read(Watched::new(256, 1)),
            sleep: sleep(HOUR),
            join: gimmal::spawn(pending()),
            reader,
            writer,
        };
        poll_fn(|context| {
            assert!(Pin::new(&mut kept.read).poll(context).is_pending());
            assert!(Pin::new(&mut kept.sleep).poll(context).is_pending());
            assert!(Pin::new(&mut kept.join).poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
        kept
    }
}

#[track_caller]
fn panics<T>(run: impl FnOnce() -> T, messages: &[&str]) {
    let Err(payload) = catch_unwind(AssertUnwindSafe(run)) else {
        panic!("no panic");
    };
    let said = match payload.downcast::<String>() {
        Ok(said) => *said,
        Err(payload) => payload
            .downcast_ref::<&str>()
            .expect("a panic message")
            .to_string(),
    };
    assert!(
        messages.iter().any(|part| said.contains(part)),
        "unexpected panic message: {said:?}"
    );
}

fn poll_outside<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

const OUTSIDE: &[&str] = &["no gimmal runtime is current on this thread"];
const FOREIGN: &[&str] = &["another gimmal runtime"];

/// Opens the descriptors that the runtimes of a test leave open for the next runtimes.
fn warm_up() {
    let both = [Runtime::new(), Runtime::new()];
    drop(both.map(|runtime| runtime.expect("a runtime")));
}

#[test]
fn futures_dropped_after_their_runtime_release_what_they_hold() {
    if ran_in_own_process() {
        return;
    }
    warm_up();
    let before = (descriptors(), Watched::alive());
    for (name, ring) in rings() {
        println!("ring: {name}");
        let mut runtime = ring.build().expect("a runtime");
        let kept = runtime.block_on(Kept::polled_once());
        drop(runtime);
        assert_eq!(Watched::alive(), before.1 + 1, "the buffer is still lent");
        let Kept {
            read,
            sleep,
            join,
            reader,
            mut writer,
        } = kept;
        // Bytes written from here on are not read by the dropped operation.
        writer.write_all(b"late").expect("the reader is open");
        drop((sleep, join, read));
        Watched::check(&name);
        let mut rest = [0; 8];
        let mut reader = reader.into_std().expect("no operation in flight");
        let n = io::Read::read(&mut reader, &mut rest).expect("late bytes");
        assert_eq!(&rest[..n], b"late", "the canceled read must not take bytes");
        drop((reader, writer));
        Watched::check_and_forget(&name);
        assert_eq!((descriptors(), Watched::alive()), before, "{name}");
    }
}

#[test]
fn futures_polled_after_their_runtime_panic() {
    if ran_in_own_process() {
        return;
    }
    for (name, ring) in rings() {
        println!("ring: {name}");
        let mut runtime = ring.build().expect("a runtime");
        let mut kept = runtime.block_on(Kept::polled_once());
        drop(runtime);
        for _ in 0..2 {
            panics(|| poll_outside(&mut kept.read), OUTSIDE);
            panics(|| poll_outside(&mut kept.sleep), OUTSIDE);
            panics(|| poll_outside(&mut kept.join), OUTSIDE);
        }
        let mut other = Runtime::new().expect("a runtime");
        other.block_on(async {
            for _ in 0..2 {
                panics(|| poll_outside(&mut kept.read), FOREIGN);
                panics(|| poll_outside(&mut kept.sleep), FOREIGN);
                panics(|| poll_outside(&mut kept.join), FOREIGN);
            }
            // Calls that need no poll still work.
            kept.join.abort();
            assert!(kept.join.is_finished());
            let _ = format!("{:?} {:?} {:?}", kept.read, kept.sleep, kept.join);
            let before = Handle::current().stats().operation_rows;
            drop(kept);
            let after = Handle::current().stats();
            assert_eq!(after.operation_rows, before, "rows of another runtime");
            nop().await.expect("the current runtime keeps working");
        });
        drop(other);
        Watched::check_and_forget(&name);
    }
}

/// A future dropped while another runtime is current reaches its own runtime.
#[test]
fn futures_dropped_inside_another_runtime_reach_their_own() {
    if ran_in_own_process() {
        return;
    }
    warm_up();
    let before = (descriptors(), Watched::alive());
    for (name, ring) in rings() {
        println!("ring: {name}");
        let mut own = ring.build().expect("a runtime");
        let mut other = Runtime::new().expect("a runtime");
        for _ in 0..5 {
            let mut kept = own.block_on(Kept::polled_once());
            other.block_on(async {
                panics(|| poll_outside(&mut kept.read), FOREIGN);
                panics(|| poll_outside(&mut kept.sleep), FOREIGN);
                panics(|| poll_outside(&mut kept.join), FOREIGN);
                kept.join.abort();
                drop(kept);
            });
            assert_eq!(own.handle().stats().orphans, 1);
            assert_eq!(own.handle().stats().timers, 0);
            own.block_on(async {
                while Handle::current().stats().operation_rows > 0 {
                    gimmal::yield_now().await;
                }
            });
            assert_eq!(own.handle().stats().task_rows, 0);
        }
        drop((own, other));
        Watched::check_and_forget(&name);
        assert_eq!((descriptors(), Watched::alive()), before, "{name}");
    }
}

/// An operation that was not started does not belong to a runtime yet.
#[test]
fn futures_that_were_not_started_can_be_awaited_in_any_runtime() {
    if ran_in_own_process() {
        return;
    }
    let mut first = Runtime::new().expect("a runtime");
    let (op, pause) = first.block_on(async { (nop(), sleep(Duration::ZERO)) });
    drop(first);
    let mut second = Runtime::new().expect("a runtime");
    second.block_on(async {
        op.await.expect("a no-op");
        pause.await.expect("no pause");
    });
}

/// Dropping an operation after its runtime disposes of a result that was already there.
#[test]
fn unread_results_are_disposed_of_after_their_runtime_ended() {
    if ran_in_own_process() {
        return;
    }
    warm_up();
    let before = (descriptors(), Watched::alive());
    for (name, ring) in rings() {
        let mut runtime = ring.build().expect("a runtime");
        let (opens, reads) = runtime.block_on(async {
            let file = File::open("Cargo.toml").await.expect("an existing file");
            let reads: Vec<_> = (0..50)
                .map(|_| file.read_at(Watched::new(64, 1), 0).submit())
                .collect();
            let mut opens: Vec<_> = (0..50)
                .map(|_| Box::pin(File::open("Cargo.toml")))
                .collect();
            poll_fn(|context| {
                for open in &mut opens {
                    assert!(open.as_mut().poll(context).is_pending());
                }
                Poll::Ready(())
            })
            .await;
            (opens, reads)
        });
        drop(runtime);
        drop(reads);
        // Polled outside a runtime, it panics; after that it behaves as if dropped.
        let mut opens = opens.into_iter();
        let mut first = opens.next().expect("fifty");
        let polled = catch_unwind(AssertUnwindSafe(|| poll_outside(&mut first)));
        assert!(polled.is_err());
        drop(first);
        opens.for_each(drop);
        Watched::check_and_forget(&name);
        assert_eq!((descriptors(), Watched::alive()), before, "{name}");
    }
}

/// The shutdown has no time to wait for the kernel: memory that the kernel may still write to is never freed.
#[test]
fn a_shutdown_without_time_leaks_operations_in_flight_and_reports_them() {
    if !is_child() {
        if ran_in_own_process() {
            return;
        }
        passes_in_child_that_leaks(
            "a_shutdown_without_time_leaks_operations_in_flight_and_reports_them",
        );
        return;
    }
    for (name, ring) in rings() {
        println!("ring: {name}");
        let alive = Watched::alive();
        let faults = Arc::new(Mutex::new(Vec::new()));
        let seen = faults.clone();
        let ring = ring.on_fault(move |fault| {
            if let Fault::OperationsLeaked { kinds } = fault {
                seen.lock().expect("not poisoned").extend(kinds.clone());
            }
        });
        let mut runtime = ring.build().expect("a runtime");
        let (kept, mut writers) = runtime.block_on(async {
            let kept = Kept::polled_once().await;
            let (reader, writer) = pipe();
            drop(reader.read(Watched::new(256, 1)).submit());
            let (in_a_task, task_writer) = pipe();
            let read = in_a_task.read(Watched::new(256, 1));
            drop(gimmal::spawn(async move { read.await.map(drop) }));
            common::next_turn().await;
            common::next_turn().await;
            (kept, vec![writer, task_writer])
        });
        let ended = runtime.shutdown(Duration::ZERO);
        // Operations that had completed by then were freed as usual.
        let leaked = faults.lock().expect("not poisoned").len();
        assert_eq!(ended.is_err(), leaked > 0);
        if let Err(error) = ended {
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert!(error.to_string().contains("read"), "{error}");
        }
        writers.push(kept.writer);
        drop((kept.read, kept.sleep, kept.join));
        assert_eq!(Watched::alive() - alive, leaked, "only the leaked buffers");
        // The kernel may still hold the reads: complete them now.
        for writer in &mut writers {
            let _ = writer.write_all(&[9; 64]);
        }
        Watched::check_and_forget(&name);
    }
}

thread_local! {
    static KEEPSAKE: RefCell<Option<Box<dyn std::any::Any>>> = const { RefCell::new(None) };
    static SECOND: RefCell<Option<Box<dyn std::any::Any>>> = const { RefCell::new(None) };
}

/// The order in which a thread's locals are dropped depends on which was used first, so the test tries each order.
#[derive(Clone, Copy, Debug)]
enum First {
    /// The keepsake exists before the runtime's own locals, and so is dropped after them.
    Keepsake,
    Runtime,
}

fn on_a_thread(first: First, body: impl FnOnce() + Send + 'static) {
    std::thread::spawn(move || {
        match first {
            First::Keepsake => {
                KEEPSAKE.with(|_| ());
                SECOND.with(|_| ());
            }
            First::Runtime => {
                let mut runtime = Runtime::new().expect("a runtime");
                runtime.block_on(async { nop().await.expect("a no-op") });
            }
        }
        body();
    })
    .join()
    .expect("the thread does not panic");
}

fn keep(first: impl std::any::Any, second: impl std::any::Any) {
    KEEPSAKE.set(Some(Box::new(first)));
    SECOND.set(Some(Box::new(second)));
}

#[test]
fn futures_in_a_thread_local_outlive_their_runtime() {
    const NAME: &str = "futures_in_a_thread_local_outlive_their_runtime";
    if !is_child() {
        if ran_in_own_process() {
            return;
        }
        passes_in_child_that_leaks(NAME);
        return;
    }
    for first in [First::Keepsake, First::Runtime] {
        for (name, ring) in rings() {
            eprintln!("{first:?}, {name}");
            on_a_thread(first, move || {
                let mut runtime = ring.build().expect("a runtime");
                let kept = runtime.block_on(Kept::polled_once());
                drop(runtime);
                keep(kept, ());
            });
        }
    }
}

/// The runtime itself is in a thread local, and ends with the thread.
#[test]
fn a_runtime_in_a_thread_local_ends_with_its_thread() {
    const NAME: &str = "a_runtime_in_a_thread_local_ends_with_its_thread";
    if !is_child() {
        if ran_in_own_process() {
            return;
        }
        passes_in_child_that_leaks(NAME);
        return;
    }
    for first in [First::Keepsake, First::Runtime] {
        for order in [true, false] {
            for (name, ring) in rings() {
                eprintln!("{first:?}, {order}, {name}");
                on_a_thread(first, move || {
                    let mut runtime = ring.build().expect("a runtime");
                    let kept = runtime.block_on(async {
                        let task_holds = Kept::polled_once().await;
                        drop(gimmal::spawn(async move {
                            let _holds = task_holds;
                            pending::<()>().await;
                        }));
                        common::next_turn().await;
                        Kept::polled_once().await
                    });
                    match order {
                        true => keep(kept, runtime),
                        false => keep(runtime, kept),
                    }
                });
            }
        }
    }
}

/// A task of the other runtime drops the future, when that runtime drops its tasks.
#[test]
fn a_future_is_dropped_by_a_task_of_another_runtime_that_ends() {
    if ran_in_own_process() {
        return;
    }
    warm_up();
    let before = (descriptors(), Watched::alive());
    let mut own = Runtime::new().expect("a runtime");
    let mut other = Runtime::new().expect("a runtime");
    let kept = own.block_on(Kept::polled_once());
    other.block_on(async {
        drop(gimmal::spawn(async move {
            let _kept = kept;
            pending::<()>().await;
        }));
        common::next_turn().await;
    });
    drop(other);
    assert_eq!(own.handle().stats().orphans, 1);
    drop(own);
    Watched::check_and_forget("two runtimes");
    assert_eq!((descriptors(), Watched::alive()), before);
}

/// A cycle: the task of a runtime owns its own handle and an operation, which it drops last.
#[test]
fn a_task_that_holds_its_own_handle_ends_with_its_runtime() {
    if ran_in_own_process() {
        return;
    }
    warm_up();
    let before = (descriptors(), Watched::alive());
    let mut runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let own: Rc<RefCell<Option<JoinHandle<()>>>> = Rc::default();
        let (held, (reader, writer)) = (own.clone(), pipe());
        let task = gimmal::spawn(async move {
            let _held = held;
            let _ = reader.read(Watched::new(64, 1)).await;
            drop(writer);
        });
        *own.borrow_mut() = Some(task);
        common::next_turn().await;
    });
    drop(runtime);
    Watched::check_and_forget("a cycle");
    assert_eq!((descriptors(), Watched::alive()), before);
}

/// Without any current runtime.
#[test]
fn futures_used_outside_a_runtime_panic_with_advice() {
    if ran_in_own_process() {
        return;
    }
    let (reader, _writer) = pipe();
    panics(|| poll_outside(&mut nop()), &["gimmal::run"]);
    panics(|| nop().submit(), &["gimmal::run"]);
    panics(
        || poll_outside(&mut reader.read(vec![0; 4])),
        &["gimmal::run"],
    );
    panics(|| poll_outside(&mut sleep(HOUR)), &["gimmal::run"]);
    panics(|| gimmal::spawn(async {}), &["gimmal::run"]);
    panics(Handle::current, &["gimmal::run"]);
    assert!(Handle::try_current().is_none());
}

/// An operation that is polled after completion panics.
#[test]
fn an_operation_polled_after_completion_panics() {
    if ran_in_own_process() {
        return;
    }
    let mut runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut op = nop();
        (&mut op).await.expect("a no-op");
        panics(|| poll_outside(&mut op), &["after it was ready"]);
    });
}
