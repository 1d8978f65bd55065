//! G1: what remains of a group when it returns, is dropped, or is forgotten.

use crate::help::{
    LONG, SHORT, counts, doze, explode, failure, leaks_on_purpose, run, run_with_faults, said,
};
use common::{
    Baseline, Census, Finally, MOMENTS, Moment, Watched, caught, descriptors, dropped_after,
    dropped_everywhere, next_turn, pipe, poll_once, poll_with, ran_in_own_process,
};
use gimmal::cancel::{Scope, shield};
use gimmal::fs::File;
use gimmal::group::{Child, Group};
use gimmal::time::timeout;
use gimmal::{Handle, Runtime, group, sleep, yield_now};
use std::cell::{Cell, RefCell};
use std::future::pending;
use std::io::{self, Write as _};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

/// How a group ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Done,
    ChildFails,
    BodyFails,
    Canceled,
    CanceledFromOutside,
    ChildPanics,
    BodyPanics,
}

const ENDINGS: [Ending; 7] = [
    Ending::Done,
    Ending::ChildFails,
    Ending::BodyFails,
    Ending::Canceled,
    Ending::CanceledFromOutside,
    Ending::ChildPanics,
    Ending::BodyPanics,
];

/// Starts a read that never completes, and drops it while it is in flight.
async fn leave_an_orphan(reader: &File) {
    let mut read = reader.read(Watched::new(64, 1));
    assert!(poll_once(&mut read).await.is_pending());
    next_turn().await;
    drop(read);
}

/// Children of every kind, in a group that ends in this way.
async fn all_kinds(
    ending: Ending,
    reader: &File,
    scope: &Scope,
    census: &Census,
) -> io::Result<()> {
    group(async |g| {
        let _sleeper = g.spawn(async {
            let _member = census.member();
            let _ = sleep(LONG).await;
        });
        let _reader = g.spawn_named("reader", async {
            let _member = census.member();
            // The buffer is returned in the error.
            let _ = reader.read(Watched::new(64, 1)).await;
        });
        let both = g.spawn(async {
            // Two leaves at once need a scope of their own.
            let mut read = reader.read(Watched::new(64, 1));
            assert!(poll_once(&mut read).await.is_pending());
            let _ = sleep(LONG).await;
            drop(read);
        });
        drop(g.spawn(leave_an_orphan_silently(reader)));
        let ended = g.spawn(async { Ok(census.member()) });
        let inner = g.spawn(async {
            let _member = census.member();
            let _ = group(async |inner| {
                drop(inner.spawn(leave_an_orphan_silently(reader)));
                drop(inner.spawn(async {
                    let _ = timeout(LONG, sleep(LONG)).await;
                }));
                reader.read(Watched::new(64, 1)).await?;
                Ok::<_, io::Error>(())
            })
            .await;
        });
        let foreign = g.spawn(async {
            let _member = census.member();
            pending::<()>().await;
        });
        for _ in 0..3 {
            next_turn().await;
        }
        assert!(ended.is_finished());
        leave_an_orphan(reader).await;
        match ending {
            Ending::Done => {
                for child in [&_sleeper, &_reader, &both, &inner, &foreign] {
                    child.cancel();
                }
                Ok(())
            }
            Ending::ChildFails => {
                drop(g.spawn(async { Err::<(), _>(failure("child")) }));
                Ok(())
            }
            Ending::BodyFails => Err(failure("body")),
            Ending::Canceled => {
                g.cancel();
                Ok(())
            }
            Ending::CanceledFromOutside => {
                scope.cancel();
                Ok(())
            }
            Ending::ChildPanics => {
                drop(g.spawn(async { explode("child") }));
                Ok(())
            }
            Ending::BodyPanics => panic!("body"),
        }
    })
    .await?;
    Ok(())
}

async fn leave_an_orphan_silently(reader: &File) {
    leave_an_orphan(reader).await;
}

#[test]
fn when_a_group_returns_nothing_of_it_remains() {
    if common::ran_in_own_process() {
        return;
    }
    run(async || {
        let (reader, _writer) = pipe();
        let census = Census::default();
        let baseline = Baseline::take();
        for ending in ENDINGS {
            let before = counts();
            let scope = Scope::new();
            let run = scope.run(all_kinds(ending, &reader, &scope, &census));
            let outcome = caught(async {
                let mut run = pin!(run);
                let outcome = run.as_mut().await;
                // Not even a turn later, and while the future still exists.
                assert_eq!(counts(), before, "{ending:?}");
                assert_eq!(census.alive(), 0, "{ending:?}");
                outcome
            })
            .await;
            match ending {
                Ending::Done | Ending::Canceled => outcome.unwrap().unwrap(),
                Ending::ChildPanics | Ending::BodyPanics => drop(outcome.unwrap_err()),
                Ending::CanceledFromOutside => {
                    let error = outcome.unwrap().unwrap_err();
                    assert!(gimmal::is_canceled(&error), "{error:?}");
                }
                _ => drop(outcome.unwrap().unwrap_err()),
            }
            assert_eq!(counts(), before, "{ending:?}");
            assert_eq!(census.alive(), 0, "{ending:?}");
            baseline.returns(&format!("{ending:?}")).await;
            assert_eq!(Handle::current().tasks().len(), 1);
        }
    });
}

#[test]
fn a_group_dropped_at_any_poll_is_gone_after_the_next_turns() {
    if common::ran_in_own_process() {
        return;
    }
    run_with_faults(async |faults| {
        let census = Census::default();
        for ending in ENDINGS {
            let name = format!("all kinds, {ending:?}");
            let census = &census;
            let make = || async move {
                let (reader, _writer) = pipe();
                let scope = Scope::new();
                let run = scope.run(all_kinds(ending, &reader, &scope, census));
                let _ = caught(run).await;
            };
            let polls = dropped_everywhere(&name, &[Moment::AtOnce, Moment::Woken], make).await;
            assert!(polls > 4, "{name}: {polls}");
            assert_eq!(census.alive(), 0, "{name}");
            // A panic that was not propagated is reported, if the group had more to wait for than its next poll. So is a
            // read that the kernel has not stopped within a second. Both depend on what else the machine does.
            let mut said = faults.take();
            said.retain(|fault| !fault.contains("a second after its cancel"));
            let panics = matches!(ending, Ending::ChildPanics | Ending::BodyPanics);
            assert!(panics || said.is_empty(), "{name}: {said:?}");
        }
    });
}

async fn sleepers() -> io::Result<()> {
    group(async |g| {
        for n in 0..3 {
            drop(g.spawn(sleep(SHORT / 8 * n)));
        }
        sleep(SHORT / 2).await
    })
    .await?;
    Ok(())
}

async fn readers() -> io::Result<()> {
    let (reader, mut writer) = pipe();
    let left = Cell::new(4);
    group(async |g| {
        for _ in 0..4 {
            let (reader, left) = (&reader, &left);
            drop(g.spawn(async move {
                let (n, _) = reader.read(Watched::new(1, 1)).await?;
                left.set(left.get() - n);
                Ok::<_, io::Error>(())
            }));
        }
        for _ in 0..4 {
            next_turn().await;
            writer.write_all(b"x")?;
        }
        Ok::<_, io::Error>(())
    })
    .await?;
    assert_eq!(left.get(), 0);
    Ok(())
}

async fn families() -> io::Result<()> {
    fn family<'scope>(g: &'scope Group<'scope, '_, io::Error>, depth: usize) {
        for _ in 0..2 * depth.min(1) {
            drop(g.spawn(async move {
                yield_now().await;
                family(g, depth - 1);
                doze(SHORT / 16).await
            }));
        }
    }
    group(async |g| {
        family(g, 3);
        Ok::<_, io::Error>(())
    })
    .await?;
    Ok(())
}

/// Each child holds the handle of its predecessor, and the first one holds that of the last: a cycle.
async fn handles_of_siblings() -> io::Result<()> {
    let census = &Census::default();
    group(async |g| {
        let mut before: Option<Child<'_, _>> = None;
        for _ in 0..4 {
            let kept = before.take();
            before = Some(g.spawn(async move {
                let _member = census.member();
                yield_now().await;
                if let Some(before) = kept {
                    drop(before.await?);
                }
                Ok::<_, io::Error>(census.member())
            }));
        }
        // A child that owns the place of its own handle.
        let own: Rc<RefCell<Option<Child<'_, ()>>>> = Rc::default();
        let place = own.clone();
        let child = g.spawn(async move {
            let _place = place;
            doze(SHORT / 8).await
        });
        *own.borrow_mut() = Some(child);
        drop(own);
        drop(before.unwrap().await?);
        Ok::<_, io::Error>(())
    })
    .await?;
    Ok(())
}

async fn nested() -> io::Result<()> {
    let (reader, _writer) = pipe();
    group(async |g| {
        for _ in 0..2 {
            drop(g.spawn(async {
                let error = timeout(SHORT / 2, async {
                    group(async |inner| {
                        drop(inner.spawn(async {
                            reader.read(Watched::new(8, 1)).await?;
                            Ok::<_, io::Error>(())
                        }));
                        drop(inner.spawn(shield(doze(SHORT / 4))));
                        sleep(LONG).await?;
                        Ok::<_, io::Error>(())
                    })
                    .await
                })
                .await
                .unwrap_err();
                assert!(error.is_elapsed());
                Ok::<_, io::Error>(())
            }));
        }
        doze(SHORT / 8).await
    })
    .await?;
    Ok(())
}

#[test]
fn groups_of_several_shapes_are_dropped_everywhere() {
    if common::ran_in_own_process() {
        return;
    }
    run(async || {
        let shape =
            async |name: &str, make: &dyn Fn() -> Pin<Box<dyn Future<Output = io::Result<()>>>>| {
                let make = || async { make().await.unwrap() };
                let polls = dropped_everywhere(name, &MOMENTS, make).await;
                assert!(polls > 1, "{name}: {polls}");
            };
        shape("sleepers", &|| Box::pin(sleepers())).await;
        shape("readers", &|| Box::pin(readers())).await;
        shape("families", &|| Box::pin(families())).await;
        shape("handles of siblings", &|| Box::pin(handles_of_siblings())).await;
        shape("nested", &|| Box::pin(nested())).await;
    });
}

#[test]
fn dropped_children_of_a_dropped_group_are_dropped_at_once() {
    if common::ran_in_own_process() {
        return;
    }
    run(async || {
        let census = Census::default();
        let (reader, _writer) = pipe();
        let baseline = Baseline::take();
        for polls in 0..4 {
            let future = group(async |g| {
                for _ in 0..10 {
                    drop(g.spawn(async {
                        let _member = census.member();
                        reader.read(Watched::new(64, 1)).await?;
                        Ok::<_, io::Error>(())
                    }));
                }
                yield_now().await;
                yield_now().await;
                sleep(LONG).await?;
                Ok::<_, io::Error>(())
            });
            let mut future = Box::pin(future);
            for _ in 0..polls {
                assert!(poll_once(&mut future).await.is_pending());
            }
            drop(future);
            assert_eq!(census.alive(), 0);
            baseline.returns("a drop").await;
        }
    });
}

/// The values that a forgotten group's children borrow are freed; then everything that the children wait for happens.
#[test]
fn a_forgotten_group_never_runs_again() {
    if leaks_on_purpose("gone::a_forgotten_group_never_runs_again") {
        return;
    }
    for polls in 0..6 {
        run(async || {
            let (reader, mut writer) = pipe();
            let (sender, receiver) = async_channel::unbounded::<u8>();
            let ran = Rc::new(Cell::new(0));
            let dropped = Rc::new(Cell::new(0));
            {
                // A child that ran after this block would access the freed value.
                let borrowed = Box::new(Cell::new(0u64));
                let mut future = Box::pin(group(async |g| {
                    ran.set(ran.get() + 1);
                    for n in 0..4 {
                        let (borrowed, receiver, reader) = (&borrowed, &receiver, &reader);
                        let ran = ran.clone();
                        let member = Touches(borrowed, dropped.clone());
                        drop(g.spawn(async move {
                            let _member = member;
                            for _ in 0..1_000_000 {
                                borrowed.set(borrowed.get() + 1);
                                ran.set(ran.get() + 1);
                                match n {
                                    0 => drop(sleep(SHORT / 4).await),
                                    1 => drop(receiver.recv().await),
                                    2 => drop(reader.read(Watched::new(1, 1)).await),
                                    _ => yield_now().await,
                                }
                            }
                        }));
                    }
                    let held = g.spawn(async { Ok(Touches(&borrowed, dropped.clone())) });
                    let kept = held.await?;
                    yield_now().await;
                    // An unclaimed output.
                    let _held = g.spawn(async { Ok(Touches(&borrowed, dropped.clone())) });
                    sleep(LONG).await?;
                    drop(kept);
                    Ok::<_, io::Error>(())
                }));
                for _ in 0..polls {
                    assert!(poll_once(&mut future).await.is_pending());
                    next_turn().await;
                }
                std::mem::forget(future);
            }
            let before = ran.get();
            assert_eq!(before > 0, polls > 0);
            writer.write_all(b"xxxx").unwrap();
            for n in 0..4 {
                sender.send(n).await.unwrap();
            }
            sleep(SHORT).await.unwrap();
            for _ in 0..10 {
                next_turn().await;
            }
            // Other groups are not affected.
            sleepers().await.unwrap();
            assert_eq!(ran.get(), before);
            assert_eq!(dropped.get(), 0);
        });
    }
    a_group_forgotten_in_a_task_that_ends_stays_forgotten();
    a_group_forgotten_in_run_stays_forgotten();
}

struct Touches<'a>(&'a Cell<u64>, Rc<Cell<u32>>);

impl Drop for Touches<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
        self.1.set(self.1.get() + 1);
    }
}

/// The task whose waker a forgotten group holds has ended, and its row is reused.
fn a_group_forgotten_in_a_task_that_ends_stays_forgotten() {
    run(async || {
        let (sender, receiver) = async_channel::unbounded::<u8>();
        let _kept = receiver.clone();
        let task = gimmal::spawn(async move {
            let borrowed = Box::new(Cell::new(0u64));
            let mut future = Box::pin(group(async |g| {
                for _ in 0..3 {
                    drop(g.spawn(async {
                        let _ = receiver.recv().await;
                        borrowed.set(1);
                    }));
                }
                Ok::<_, io::Error>(())
            }));
            assert!(poll_once(&mut future).await.is_pending());
            std::mem::forget(future);
            drop(borrowed);
        });
        task.await.unwrap();
        for _ in 0..3 {
            sender.send(1).await.unwrap();
            drop(gimmal::spawn(async { next_turn().await }));
            next_turn().await;
        }
    });
}

/// The end of `run` cancels the remaining tasks, and closes the scopes above those of a forgotten group.
fn a_group_forgotten_in_run_stays_forgotten() {
    let outcome = gimmal::run(async {
        let borrowed = Box::new(Cell::new(0u64));
        let outer = timeout(LONG, async {
            let mut future = Box::pin(group(async |g| {
                drop(g.spawn(async {
                    let _ = shield(sleep(SHORT)).await;
                    borrowed.set(1);
                }));
                drop(g.spawn(async {
                    let _ = sleep(LONG).await;
                    borrowed.set(1);
                }));
                Ok::<_, io::Error>(())
            }));
            assert!(poll_once(&mut future).await.is_pending());
            std::mem::forget(future);
            Ok::<_, io::Error>(())
        });
        outer.await?;
        drop(borrowed);
        drop(gimmal::spawn(async {
            let _ = sleep(LONG).await;
        }));
        Ok::<_, io::Error>(())
    });
    outcome.unwrap();
}

/// Its operations are in flight, and the runtime makes no more turns.
#[test]
fn a_group_dropped_outside_or_after_its_runtime_is_gone() {
    if ran_in_own_process() {
        return;
    }
    let warm = Runtime::new().unwrap();
    drop(warm);
    for after_its_end in [false, true] {
        let before = (descriptors(), Watched::alive());
        let census = Census::default();
        let refused = Cell::new(0);
        let (reader, writer) = pipe();
        let mut runtime = Runtime::new().unwrap();
        let mut future = Box::pin(group(async |g| {
            for _ in 0..3 {
                drop(g.spawn(async {
                    let _member = census.member();
                    // A destructor that starts a sibling, and waits for a slot.
                    let _late = Finally(|| {
                        g.set_limit(3);
                        let child = g.spawn(async {
                            let _member = census.member();
                        });
                        refused.set(refused.get() + usize::from(child.is_finished()));
                        child.cancel();
                    });
                    reader.read(Watched::new(64, 1)).await?;
                    Ok::<_, io::Error>(())
                }));
            }
            let _ended = g.spawn(async { Ok(census.member()) });
            sleep(LONG).await?;
            Ok::<_, io::Error>(())
        }));
        runtime.block_on(async {
            assert!(poll_once(&mut future).await.is_pending());
            next_turn().await;
        });
        if after_its_end {
            drop(runtime);
            drop(future);
        } else {
            drop(future);
            assert_eq!(census.alive(), 0);
            assert_eq!(refused.get(), 3);
            runtime.block_on(async {
                for _ in 0..20 {
                    next_turn().await;
                }
                assert_eq!(Handle::current().stats().operation_rows, 0);
            });
            drop(runtime);
        }
        assert_eq!(census.alive(), 0);
        drop((reader, writer));
        assert_eq!((descriptors(), Watched::alive()), before);
        Watched::check_and_forget("a group outside");
    }
}

#[test]
fn a_group_dropped_with_a_task_or_with_the_runtime_is_gone() {
    if ran_in_own_process() {
        return;
    }
    let census = Census::default();
    let members = (census.clone(), census.clone());
    let mut runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let census = members.0;
        let aborted = gimmal::spawn(async move {
            let made = &census;
            let _ = group(async |g| {
                drop(g.spawn(async move {
                    let _member = made.member();
                    let _ = shield(sleep(LONG)).await;
                }));
                Ok::<_, io::Error>(())
            })
            .await;
        });
        next_turn().await;
        aborted.abort();
        assert!(aborted.await.is_err());
        let census = members.1;
        drop(gimmal::spawn(async move {
            let made = &census;
            let _ = group(async |g| {
                drop(g.spawn(async move {
                    let _member = made.member();
                    let _ = shield(sleep(LONG)).await;
                }));
                pending::<io::Result<()>>().await
            })
            .await;
        }));
        next_turn().await;
    });
    drop(runtime);
    assert_eq!(census.alive(), 0);
}

/// Polled or dropped while another runtime is current.
#[test]
fn a_group_polled_in_another_runtime_panics_and_a_dropped_one_reaches_its_own() {
    if ran_in_own_process() {
        return;
    }
    let (mut own, mut other) = (Runtime::new().unwrap(), Runtime::new().unwrap());
    let census = Census::default();
    let (reader, _writer) = pipe();
    for polled in [false, true] {
        let mut future = Box::pin(group(async |g| {
            for _ in 0..3 {
                drop(g.spawn(async {
                    let _member = census.member();
                    let _late = Finally(|| drop(g.spawn(async {})));
                    let read = reader.read(Watched::new(64, 1));
                    timeout(LONG, async {
                        read.await.map(drop).map_err(io::Error::from)
                    })
                    .await?;
                    Ok(())
                }));
            }
            doze(LONG).await
        }));
        let before = own.block_on(async {
            let before = counts();
            assert!(poll_once(&mut future).await.is_pending());
            next_turn().await;
            before
        });
        other.block_on(async {
            let before = counts();
            if polled {
                let said = said(caught(&mut future).await);
                assert!(said.contains("another gimmal runtime"), "{said}");
                assert_eq!(census.alive(), 0, "a panicked future holds nothing");
            }
            drop(future);
            assert_eq!(counts(), before);
        });
        assert_eq!(census.alive(), 0);
        own.block_on(async {
            while counts() != before {
                next_turn().await;
            }
        });
    }
    drop((own, other));
    Watched::check_and_forget("two runtimes");
}

#[test]
fn a_group_that_was_never_polled_starts_nothing() {
    if common::ran_in_own_process() {
        return;
    }
    run(async || {
        let baseline = Baseline::take();
        let outcome =
            dropped_after(group(async |_| Ok::<_, io::Error>(())), 0, Moment::AtOnce).await;
        assert!(outcome.is_none());
        baseline.returns("nothing").await;
    });
}

/// Opens a group while a child is dropped: with the child's group, at the end of its cleanup, because it waits for
/// something foreign, or because it has panicked.
#[test]
fn a_destructor_of_a_child_may_open_a_group() {
    if common::ran_in_own_process() {
        return;
    }
    run(async || {
        let (reader, _writer) = pipe();
        let census = Census::default();
        let opened = Cell::new(0);
        let baseline = Baseline::take();
        let opens = || {
            Finally(|| {
                let mut inner = Box::pin(group(async |inner| {
                    drop(inner.spawn(async {
                        let _member = census.member();
                        reader.read(Watched::new(8, 1)).await?;
                        Ok::<_, io::Error>(())
                    }));
                    timeout(LONG, doze(LONG)).await?;
                    Ok(())
                }));
                // In a canceled scope, it ends in this poll.
                let _ = poll_with(Waker::noop(), &mut inner);
                opened.set(opened.get() + 1);
            })
        };
        for ending in ["drop", "cleanup", "foreign", "panic"] {
            let before = opened.get();
            let mut outer = Box::pin(caught(group(async |g| {
                if ending == "cleanup" {
                    g.set_cleanup_timeout(Duration::ZERO);
                }
                drop(g.spawn(async {
                    let _opens = opens();
                    match ending {
                        "cleanup" => shield(pending::<()>()).await,
                        "panic" => explode("child"),
                        _ => pending::<()>().await,
                    }
                    Ok(())
                }));
                next_turn().await;
                g.cancel();
                if ending == "drop" {
                    let _ = shield(sleep(LONG)).await;
                }
                Ok::<_, io::Error>(())
            })));
            match ending {
                "drop" => {
                    assert!(poll_once(&mut outer).await.is_pending());
                    drop(outer);
                }
                "panic" => drop(outer.await.unwrap_err()),
                _ => outer.await.unwrap().unwrap(),
            }
            assert_eq!((opened.get() - before, census.alive()), (1, 0), "{ending}");
            baseline.returns(ending).await;
        }
    });
}
