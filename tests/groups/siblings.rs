//! G4: children borrow, and may spawn siblings at any time.

use crate::help::{LONG, SHORT, counts, failure, leaks_on_purpose, run};
use common::{Baseline, Census, Finally, Journal, next_turn, poll_once};
use gimmal::group::Group;
use gimmal::{Canceled, Handle, group, sleep, yield_now};
use std::cell::{Cell, RefCell};
use std::future::pending;
use std::io;
use std::rc::Rc;

#[test]
fn children_borrow_from_outside_the_group() {
    run(async || {
        let names = vec!["a".to_owned(), "b".to_owned()];
        let mut left = Vec::new();
        let mut right = String::new();
        let longest = group(async |g| {
            let (left, right) = (&mut left, &mut right);
            drop(g.spawn(async {
                yield_now().await;
                left.extend(names.iter().map(String::len));
            }));
            drop(g.spawn(async {
                for name in &names {
                    yield_now().await;
                    right.push_str(name);
                }
            }));
            // A value that borrows.
            let first = g.spawn(async { Ok(names.first()) });
            Ok::<_, io::Error>(first.await?.cloned())
        })
        .await
        .unwrap();
        assert_eq!(
            (left.len(), right.as_str(), longest.as_deref()),
            (2, "ab", Some("a"))
        );
    });
}

fn tree<'scope>(g: &'scope Group<'scope, '_, io::Error>, depth: u32, leaves: &'scope Cell<u32>) {
    if depth == 0 {
        leaves.set(leaves.get() + 1);
        return;
    }
    for _ in 0..4 {
        drop(g.spawn(async move {
            yield_now().await;
            tree(g, depth - 1, leaves);
        }));
    }
}

#[test]
fn children_spawn_siblings() {
    run(async || {
        let leaves = Cell::new(0);
        let before = counts();
        group(async |g| {
            tree(g, 6, &leaves);
            Ok::<_, io::Error>(())
        })
        .await
        .unwrap();
        assert_eq!(leaves.get(), 4096);
        assert_eq!(counts(), before);
    });
}

/// The body has ended long ago; the group is open until its last child has ended.
#[test]
fn the_last_child_may_spawn_another() {
    run(async || {
        let journal = Journal::default();
        group(async |g| {
            let journal = &journal;
            drop(g.spawn(async move {
                sleep(SHORT / 8).await?;
                journal.note("first");
                let child = g.spawn(async move {
                    journal.note("second");
                    // By its destructor, when it is ready.
                    let _late = Finally(|| {
                        drop(g.spawn(async move {
                            yield_now().await;
                            journal.note("third");
                        }));
                    });
                    Ok(())
                });
                Ok::<_, io::Error>(child.await?)
            }));
            Ok::<_, io::Error>(())
        })
        .await
        .unwrap();
        assert_eq!(journal.take(), ["first", "second", "third"]);
    });
}

/// A child spawned in a canceled group starts in a canceled scope.
#[test]
fn a_child_of_a_canceled_group_starts_canceled() {
    run(async || {
        let journal = Journal::default();
        group(async |g| {
            let journal = &journal;
            drop(g.spawn(async move {
                let _ = sleep(LONG).await;
                let child = g.spawn(async move {
                    assert_eq!(sleep(LONG).await, Err(Canceled));
                    journal.note("canceled");
                });
                let waited = gimmal::cancel::shield(child).await;
                assert_eq!(waited, Ok(()));
            }));
            yield_now().await;
            g.cancel();
            Ok::<_, io::Error>(())
        })
        .await
        .unwrap();
        assert_eq!(journal.take(), ["canceled"]);
    });
}

/// Children spawned while the group is dropped are dropped too, and their handles report it.
#[test]
fn children_spawned_by_destructors_while_the_group_is_dropped_are_dropped() {
    if common::ran_in_own_process() {
        return;
    }
    run(async || {
        let census = Census::default();
        let refused = Cell::new(0);
        let baseline = Baseline::take();
        for polls in 1..4 {
            refused.set(0);
            let mut future = Box::pin(group(async |g| {
                let spawn = |what: &'static str| {
                    let member = census.member();
                    let child = g.spawn(async move {
                        let _member = member;
                        let _ = what;
                        sleep(LONG).await
                    });
                    refused.set(refused.get() + usize::from(child.is_finished()));
                    drop(child);
                };
                // A variable of the body: the group is still open while it is dropped.
                let spawn = &spawn;
                let spawn_in_child = |what: &'static str| {
                    let (census, refused) = (&census, &refused);
                    Finally(move || {
                        let member = census.member();
                        let nested = Finally(move || {
                            let late = g.spawn(async {});
                            refused.set(refused.get() + usize::from(late.is_finished()));
                        });
                        let child = g.spawn(async move {
                            let (_member, _nested) = (member, nested);
                            let _ = what;
                            sleep(LONG).await
                        });
                        refused.set(refused.get() + usize::from(child.is_finished()));
                    })
                };
                let _of_the_body = Finally(|| spawn("by the body"));
                for _ in 0..2 {
                    let late = spawn_in_child("by a child");
                    drop(g.spawn(async move {
                        let _late = late;
                        sleep(LONG).await
                    }));
                }
                let late = spawn_in_child("by an output");
                let _kept = g.spawn(async move { Ok(late) });
                sleep(LONG).await
            }));
            for _ in 0..polls {
                assert!(poll_once(&mut future).await.is_pending());
            }
            drop(future);
            assert_eq!(census.alive(), 0, "{polls}");
            // Two children: the child of each, and what that child's future would spawn. The output is dropped with the
            // body, which owns its handle: the group is still open, so the output's child starts, and only what that
            // child spawns is rejected.
            assert_eq!(refused.get(), 5, "{polls}");
            baseline.returns("late children").await;
        }
    });
}

/// A sibling's handle, its value and the group in a cycle: destructors drop handles, spawn children, and cancel.
#[test]
fn values_may_have_destructors_that_do_everything() {
    if leaks_on_purpose("siblings::values_may_have_destructors_that_do_everything") {
        return;
    }
    run(async || {
        let census = Census::default();
        for cancels in [false, true] {
            let before = counts();
            let _ = group(async |g| {
                let census = &census;
                for n in 0..5 {
                    let sibling = g.spawn(async move {
                        for _ in 0..n {
                            yield_now().await;
                        }
                        Ok(census.member())
                    });
                    let member = census.member();
                    let value = Finally(move || {
                        let _ = &member;
                        if cancels {
                            g.cancel();
                        }
                        drop(g.spawn(async move { Ok(census.member()) }));
                        assert!(g.len() <= 20);
                    });
                    let child = g.spawn(async move {
                        yield_now().await;
                        Ok((value, sibling))
                    });
                    match n {
                        0 => drop(child),
                        1 => {
                            let (value, sibling) = child.await?;
                            drop(value);
                            drop(sibling);
                        }
                        2 => std::mem::forget(child),
                        _ => drop(
                            g.spawn(async move { child.await.map(drop).map_err(io::Error::from) }),
                        ),
                    }
                }
                Ok::<_, io::Error>(())
            })
            .await;
            assert_eq!(census.alive(), 0, "{cancels}");
            assert_eq!(counts(), before, "{cancels}");
        }
    });
}

#[test]
fn a_child_spawned_into_an_ended_group_is_dropped() {
    run(async || {
        let census = Census::default();
        let said = RefCell::new(None);
        let mut future = Box::pin(group(async |g| {
            let (census, said) = (&census, &said);
            let late = Finally(move || {
                let member = census.member();
                let mut child = g.spawn(async move {
                    let _member = member;
                });
                assert_eq!(census.alive(), 0, "at once");
                assert!(child.is_finished());
                child.cancel();
                let waker = std::task::Waker::noop();
                *said.borrow_mut() = Some(common::poll_with(waker, &mut child));
            });
            drop(g.spawn(async move {
                let _late = late;
                pending::<()>().await;
            }));
            pending::<io::Result<()>>().await
        }));
        assert!(poll_once(&mut future).await.is_pending());
        drop(future);
        assert_eq!(said.take(), Some(std::task::Poll::Ready(Err(Canceled))));
    });
}

/// A reference to a group lives as long as its children: two groups, each of which spawns children in the other.
#[test]
fn groups_spawn_children_in_each_other() {
    run(async || {
        let sum = Cell::new(0);
        group(async |outer| {
            let sum = &sum;
            group(async |inner| {
                drop(inner.spawn(async {
                    yield_now().await;
                    drop(outer.spawn(async {
                        yield_now().await;
                        sum.set(sum.get() + 1);
                    }));
                }));
                drop(outer.spawn(async { sum.set(sum.get() + 10) }));
                Ok::<_, io::Error>(())
            })
            .await?;
            Ok::<_, io::Error>(())
        })
        .await
        .unwrap();
        assert_eq!(sum.get(), 11);
    });
}

#[test]
fn names_and_spawn_locations_are_listed() {
    run(async || {
        group(async |g| {
            drop(g.spawn_named("the named one", pending::<()>()));
            drop(g.spawn(pending::<()>()));
            yield_now().await;
            let tasks = Handle::current().tasks();
            assert!(
                tasks
                    .iter()
                    .any(|task| task.name.as_deref() == Some("the named one"))
            );
            assert_eq!(
                tasks
                    .iter()
                    .filter(|task| task.spawned_at.file().ends_with("siblings.rs"))
                    .count(),
                3,
                "two children and the body: {tasks:?}"
            );
            g.cancel();
            Ok::<_, io::Error>(())
        })
        .await
        .unwrap();
    });
}

/// A group in a variable, in a queue of futures, in a recursion: its future may be moved until it is polled, and boxed.
#[test]
fn groups_may_be_recursive() {
    fn count(depth: u32) -> std::pin::Pin<Box<dyn Future<Output = io::Result<u32>>>> {
        Box::pin(async move {
            if depth == 0 {
                next_turn().await;
                return Ok(1);
            }
            let sum = group(async |g| {
                let a = g.spawn(count(depth - 1));
                let b = g.spawn(count(depth - 1));
                Ok::<_, io::Error>(a.await? + b.await?)
            })
            .await?;
            Ok(sum)
        })
    }
    run(async || {
        let before = counts();
        assert_eq!(count(7).await.unwrap(), 128);
        assert_eq!(counts(), before);
        // Dropped from the top.
        let mut deep = count(5);
        assert!(poll_once(&mut deep).await.is_pending());
        drop(deep);
        assert_eq!(counts(), before);
    });
}

/// Custom values and failures need not be `Send`, `'static` or printable.
#[test]
fn children_may_return_values_of_any_type() {
    struct Mute<'a>(&'a Rc<u8>);
    run(async || {
        let number = Rc::new(5);
        let error = group(async |g| {
            drop(g.spawn(async { Err::<Mute<'_>, _>(Mute(&number)) }));
            Ok(Mute(&number))
        })
        .await
        .err()
        .unwrap();
        assert_eq!(error.first().map(|mute| **mute.0), Some(5));
        assert!(error.output().is_some());
        let _unused = failure("of help");
    });
}
