//! The errors of canceled children: a cancellation is no failure, and no failure is lost (G2).

use crate::help::{LONG, SHORT, doze, failure, run, run_with_faults, words};
use common::Finally;
use futures_util::StreamExt as _;
use futures_util::future::Either;
use futures_util::stream::FuturesUnordered;
use gimmal::cancel::{Scope, checkpoint, shield};
use gimmal::group::{Child, GroupError};
use gimmal::prelude::*;
use gimmal::{Canceled, fs, group, is_canceled, is_timeout, sleep, supervise, yield_now};
use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// Once canceled, writes to a directory that does not exist.
async fn write_when_canceled() -> io::Result<()> {
    match sleep(LONG).await {
        Ok(()) => Ok(()),
        Err(Canceled) => {
            shield(fs::write("no/such/directory/log", "last words")).await?;
            Ok(())
        }
    }
}

fn is_not_found(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

#[test]
fn a_failure_in_the_cleanup_of_a_group_that_cancels_itself_is_its_error() {
    run(async || {
        let error = group(async |g| {
            drop(g.spawn(write_when_canceled()));
            drop(g.spawn(doze(LONG)));
            yield_now().await;
            g.cancel();
            Ok::<_, io::Error>(5)
        })
        .await
        .unwrap_err();
        assert!(is_not_found(error.first().unwrap()));
        assert_eq!((error.rest().len(), error.canceled_errors().len()), (0, 1));
        assert_eq!(error.output(), Some(&5));
        assert!(is_not_found(&error.into()));
    });
}

#[test]
fn a_failure_in_the_cleanup_after_an_outer_cancel_is_the_error() {
    run(async || {
        let scope = Scope::new();
        let error = scope
            .run(group(async |g| {
                drop(g.spawn(write_when_canceled()));
                drop(g.spawn(doze(LONG)));
                yield_now().await;
                scope.cancel();
                doze(LONG).await
            }))
            .await
            .unwrap_err();
        assert!(is_not_found(error.first().unwrap()));
        assert_eq!((error.rest().len(), error.canceled_errors().len()), (0, 2));
        assert!(!is_canceled(&error) && !error.is_canceled());
    });
}

#[test]
fn a_failure_in_the_cleanup_follows_that_of_a_sibling() {
    run(async || {
        let error = group(async |g| {
            drop(g.spawn(write_when_canceled()));
            drop(g.spawn(doze(LONG)));
            yield_now().await;
            drop(g.spawn(async { Err::<(), _>(failure("first")) }));
            Ok(())
        })
        .await
        .unwrap_err();
        assert_eq!(error.first().unwrap().to_string(), "first");
        assert!(is_not_found(&error.rest()[0]));
        assert_eq!((error.rest().len(), error.canceled_errors().len()), (1, 1));
        // No failure is lost in the conversion to another type.
        let words = error.to_string();
        let error = io::Error::from(error);
        assert_eq!(error.to_string(), words);
        assert!(words.contains("first") && words.contains("no/such/directory"));
    });
}

#[test]
fn cleanup_failures_of_the_body_and_of_a_child_canceled_alone_are_failures() {
    run(async || {
        let error = group(async |g| {
            g.cancel();
            write_when_canceled().await
        });
        assert!(is_not_found(&error.await.unwrap_err().into()));
        let error = group(async |g| {
            let child = g.spawn(write_when_canceled());
            drop(g.spawn(doze(LONG)));
            yield_now().await;
            child.cancel();
            Ok(())
        });
        let error = error.await.unwrap_err();
        assert!(is_not_found(error.first().unwrap()));
        assert_eq!(error.canceled_errors().len(), 1);
    });
}

#[test]
fn a_failure_in_the_cleanup_of_a_timed_out_group_is_no_timeout() {
    run(async || {
        let late = || {
            group(async |g| {
                drop(g.spawn(write_when_canceled()));
                doze(LONG).await?;
                Ok::<_, io::Error>([0_u8; 3])
            })
            .timeout(SHORT)
        };
        let error = late().await.unwrap_err();
        assert!(!error.is_elapsed() && !is_timeout(&error));
        assert!(is_not_found(&error.into()));
        let any = anyhow::Error::from(late().await.unwrap_err());
        assert!(!is_timeout(any.as_ref()) && !is_canceled(any.as_ref()));
        assert!(any.chain().any(|error| {
            let error = error.downcast_ref::<io::Error>();
            error.is_some_and(is_not_found)
        }));
    });
}

#[test]
fn boxed_errors_are_inspected() {
    async fn wait_for_cancel<E: From<Canceled>>() -> Result<(), E> {
        Ok(sleep(LONG).await?)
    }
    async fn with<E: From<Canceled>>(own: Option<E>) -> Result<u8, GroupError<E, u8>> {
        group(async |g| {
            drop(g.spawn(wait_for_cancel()));
            drop(g.spawn(async {
                let _ = sleep(LONG).await;
                own.map_or(Ok(()), Err)
            }));
            yield_now().await;
            g.cancel();
            Ok(1)
        })
        .await
    }
    run(async || {
        assert_eq!(with::<Box<dyn Error>>(None).await.unwrap(), 1);
        assert_eq!(with::<Box<dyn Error + Send + Sync>>(None).await.unwrap(), 1);
        assert_eq!(with::<anyhow::Error>(None).await.unwrap(), 1);
        assert_eq!(with::<Canceled>(None).await.unwrap(), 1);
        let error = with::<Box<dyn Error>>(Some("own".into())).await;
        assert_eq!(error.unwrap_err().to_string(), "own");
        let error = with(Some(anyhow::Error::msg("own"))).await;
        assert_eq!(error.unwrap_err().to_string(), "own");
    });
}

#[derive(Debug)]
enum Mine {
    Io(io::Error),
    DiskFull,
}

impl fmt::Display for Mine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mine::Io(error) => error.fmt(f),
            Mine::DiskFull => f.write_str("the disk is full"),
        }
    }
}

impl Error for Mine {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Mine::Io(error) => Some(error),
            Mine::DiskFull => None,
        }
    }
}

impl From<io::Error> for Mine {
    fn from(error: io::Error) -> Mine {
        Mine::Io(error)
    }
}

gimmal::impl_from_errors!(Mine);

/// Two children wait and return their cancellation. A third one returns `own`, if there is one.
async fn canceled_with(own: Option<Mine>) -> Result<u8, GroupError<Mine, u8>> {
    group(async |g| {
        for _ in 0..2 {
            drop(g.spawn(async { Ok(sleep(LONG).await?) }));
        }
        drop(g.spawn(async {
            let _ = sleep(LONG).await;
            own.map_or(Ok(()), Err)
        }));
        yield_now().await;
        g.cancel();
        Ok(1)
    })
    .await
}

/// The group cannot inspect a user's own error type; only code that knows the type can.
#[test]
fn custom_errors_are_classified_where_their_type_is_known() {
    async fn question_mark(own: Option<Mine>) -> Result<u8, Mine> {
        Ok(canceled_with(own).await?)
    }
    run(async || {
        let error = canceled_with(None).await.unwrap_err();
        assert_eq!(error.rest().len(), 1);
        assert_eq!(error.settle().unwrap(), 1);
        let error = canceled_with(Some(Mine::DiskFull)).await.unwrap_err();
        let error = error.settle().unwrap_err();
        assert!(matches!(error.first(), Some(Mine::DiskFull)));
        assert_eq!((error.rest().len(), error.canceled_errors().len()), (0, 2));
        let error = question_mark(Some(Mine::DiskFull)).await.unwrap_err();
        assert!(matches!(error, Mine::DiskFull));
        assert!(is_canceled(&question_mark(None).await.unwrap_err()));
        // An error of a group canceled by an outer scope is not settled.
        let scope = Scope::new();
        let cut = group(async |g| {
            drop(g.spawn(async { Ok::<_, Mine>(sleep(LONG).await?) }));
            yield_now().await;
            scope.cancel();
            Ok(1)
        });
        let error = scope.run(cut).await.unwrap_err();
        assert!(error.settle().unwrap_err().is_canceled());
    });
}

#[derive(Debug, PartialEq)]
struct Code<'a>(&'a str);

#[test]
fn an_error_that_cannot_be_inspected_is_a_failure() {
    run(async || {
        let words = String::from("canceled?");
        let ends = async || match sleep(LONG).await {
            Ok(()) => Ok(()),
            Err(Canceled) => Err(Code(&words)),
        };
        let error = group(async |g| {
            drop(g.spawn(ends()));
            yield_now().await;
            g.cancel();
            Ok(1)
        });
        let error = error.await.unwrap_err();
        assert_eq!(
            (error.first(), error.output()),
            (Some(&Code(&words)), Some(&1))
        );
        // Canceled alone, it does not cancel its siblings.
        let error = group(async |g| {
            let sibling = g.spawn(async {
                sleep(SHORT).await.unwrap();
                Ok(())
            });
            let child = g.spawn(ends());
            yield_now().await;
            child.cancel();
            sibling.await.unwrap();
            Ok(())
        });
        assert_eq!(error.await.unwrap_err().into_first(), Some(Code(&words)));
    });
}

#[test]
fn a_supervisor_reports_failures_in_the_cleanup_and_no_cancellations() {
    run_with_faults(async |faults| {
        let served = supervise(async |s| {
            for _ in 0..1000 {
                drop(s.spawn(doze(LONG)));
            }
            drop(s.spawn_named("log", write_when_canceled()));
            let alone = s.spawn(doze(LONG));
            yield_now().await;
            alone.cancel();
            drop(alone);
            s.cancel();
            Ok::<_, io::Error>(())
        });
        served.await.unwrap();
        faults.expect(&["\"log\" failed"]);
        // A supervisor's own body counts like that of a group.
        let error = supervise(async |s| {
            s.cancel();
            write_when_canceled().await
        });
        assert!(is_not_found(&error.await.unwrap_err().into()));
    });
}

#[test]
fn the_reason_of_a_cancel_is_in_the_error() {
    run(async || {
        let error = group(async |g| {
            drop(g.spawn(doze(LONG)));
            g.cancel_with("no more work");
            g.cancel_with("too late");
            assert_eq!(g.reason().unwrap(), "no more work");
            doze(LONG).await
        });
        let error = error.await.unwrap_err();
        assert_eq!(error.reason(), Some("no more work"));
        assert_eq!(error.to_string(), "canceled: no more work");
        let error = io::Error::from(error);
        assert_eq!(error.to_string(), "canceled: no more work");
        assert!(is_canceled(&error));
        let error = supervise(async |s| {
            s.cancel_with("closing");
            Err::<(), _>(Mine::from(sleep(LONG).await.unwrap_err()))
        });
        let error = error.await.unwrap_err().settle().unwrap_err();
        assert_eq!(error.to_string(), "canceled: closing");
        assert_eq!(Mine::from(error).to_string(), "canceled: closing");
    });
}

#[test]
fn a_future_dropped_in_a_scope_is_a_canceled_error_of_each_type() {
    run(async || {
        let scope = Scope::new();
        scope.cancel();
        let pending = std::future::pending::<io::Result<()>>();
        let error = scope.run(pending.timeout(LONG)).await.unwrap_err();
        assert!(is_canceled(&error) && !error.is_elapsed());
        let scope = Scope::new();
        scope.cancel();
        let error = scope.run(group(async |_| doze(LONG).await)).await;
        assert!(error.unwrap_err().is_canceled());
    });
}

/// The group has not canceled its children yet when one of them is canceled alone.
#[test]
fn a_child_canceled_after_its_group_in_the_same_poll_ends_canceled() {
    async fn ends(outer: bool, child_first: bool) -> Result<u8, GroupError<io::Error, u8>> {
        let scope = Scope::new();
        let ended = scope.run(group(async |g| {
            let sleeps = g.spawn(doze(LONG));
            let foreign = g.spawn(std::future::pending::<io::Result<()>>());
            yield_now().await;
            yield_now().await;
            if child_first {
                sleeps.cancel();
                foreign.cancel();
            }
            match outer {
                true => scope.cancel(),
                false => g.cancel(),
            }
            sleeps.cancel();
            foreign.cancel();
            Ok(1)
        }));
        ended.await
    }
    run(async || {
        for child_first in [true, false] {
            assert_eq!(ends(false, child_first).await.unwrap(), 1);
            let error = ends(true, child_first).await.unwrap_err();
            assert!(error.is_canceled() && error.output() == Some(&1));
        }
    });
}

/// A child gets a scope of its own between canceling its group and being canceled by it.
#[test]
fn waits_of_a_child_that_cancels_its_group_end_canceled() {
    run(async || {
        let ended = group(async |g| {
            drop(g.spawn(async {
                // Only woken futures are polled.
                let parts = FuturesUnordered::new();
                parts.push(Either::Left(sleep(LONG)));
                parts.push(Either::Right(async {
                    yield_now().await;
                    g.cancel();
                    // A timeout opens a scope, so the child needs one.
                    let stopped = checkpoint().timeout(LONG).await;
                    stopped.map_err(|_| Canceled)
                }));
                let ended: Vec<_> = parts.collect().await;
                assert_eq!(ended, [Err(Canceled), Err(Canceled)]);
                Ok::<_, io::Error>(())
            }));
            Ok(1)
        });
        assert_eq!(ended.await.unwrap(), 1);
    });
}

/// How a child of the model ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Done,
    Fails,
    /// Waits, and returns its cancellation.
    ReturnsCanceled,
    /// Waits, and fails during its cleanup.
    FailsInCleanup,
    /// Waits, and succeeds nonetheless.
    Succeeds,
    /// Waits for a foreign future.
    Foreign,
}

/// What happens once all children have been polled.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    Cancel,
    Outer,
    /// Each child is canceled by its handle.
    Handles,
    BodyFails,
    TimeOver,
}

const CHILDREN: [Kind; 6] = [
    Kind::Done,
    Kind::Fails,
    Kind::ReturnsCanceled,
    Kind::FailsInCleanup,
    Kind::Succeeds,
    Kind::Foreign,
];

const THEN: [Then; 5] = [
    Then::Cancel,
    Then::Outer,
    Then::Handles,
    Then::BodyFails,
    Then::TimeOver,
];

/// The failures in order, the number of cancellations, and whether the group returned `Ok`.
#[derive(Debug, PartialEq)]
struct Verdict {
    failures: Vec<String>,
    canceled: usize,
    is_ok: bool,
}

fn expected(children: &[Kind], then: Then) -> Verdict {
    let named = |wanted: Kind, what: &'static str| {
        let found = children.iter().enumerate();
        found
            .filter(move |(_, child)| **child == wanted)
            .map(move |(index, _)| format!("{index} {what}"))
    };
    let mut failures: Vec<String> = named(Kind::Fails, "fails").collect();
    // A failing child has canceled the group before anything else happens.
    let is_first = failures.is_empty();
    let from_outside = is_first && matches!(then, Then::Outer | Then::TimeOver);
    let body = || (then == Then::BodyFails).then(|| "the body".to_owned());
    failures.extend(body().filter(|_| is_first));
    failures.extend(named(Kind::FailsInCleanup, "fails in cleanup"));
    failures.extend(body().filter(|_| !is_first));
    let canceled = children
        .iter()
        .filter(|child| **child == Kind::ReturnsCanceled)
        .count();
    let waits = |child: &Kind| !matches!(child, Kind::Done | Kind::Fails);
    let cut_off = from_outside && children.iter().any(waits);
    Verdict {
        is_ok: failures.is_empty() && !cut_off,
        failures,
        canceled,
    }
}

/// Which children began, and how many were there at once.
#[derive(Default)]
struct Log {
    begun: RefCell<Vec<usize>>,
    alive: Cell<usize>,
    most: Cell<usize>,
}

async fn child(index: usize, child: Kind, log: &Log) -> io::Result<()> {
    log.begun.borrow_mut().push(index);
    log.alive.set(log.alive.get() + 1);
    log.most.set(log.most.get().max(log.alive.get()));
    let _end = Finally(|| log.alive.set(log.alive.get() - 1));
    match child {
        Kind::Done => return Ok(()),
        Kind::Fails => return Err(failure(&format!("{index} fails"))),
        Kind::Foreign => std::future::pending().await,
        Kind::ReturnsCanceled | Kind::FailsInCleanup | Kind::Succeeds => {}
    }
    let Err(canceled) = sleep(LONG).await else {
        return Ok(());
    };
    match child {
        Kind::ReturnsCanceled => Err(canceled.into()),
        Kind::FailsInCleanup => Err(failure(&format!("{index} fails in cleanup"))),
        _ => Ok(()),
    }
}

/// Every group of three children, every way in which it is canceled, and every limit. Under a limit, failures come in
/// the order in which there is room for their children; for the rest, a limit makes no difference.
#[test]
fn the_model_of_a_canceled_group() {
    run(async || {
        for numbers in 0..CHILDREN.len().pow(3) {
            let children = [1, 6, 36].map(|digit| CHILDREN[numbers / digit % 6]);
            for (then, limit) in THEN.iter().flat_map(|then| [1, 2, 3].map(|n| (*then, n))) {
                let outer = Scope::new();
                let log = &Log::default();
                let ended = outer.run(group(async |g| {
                    g.set_limit(limit);
                    let handles: Vec<_> = children
                        .iter()
                        .enumerate()
                        .map(|(index, kind)| g.spawn(child(index, *kind, log)))
                        .collect();
                    yield_now().await;
                    yield_now().await;
                    match then {
                        Then::Cancel => g.cancel(),
                        Then::Outer => outer.cancel(),
                        Then::Handles => handles.iter().for_each(Child::cancel),
                        Then::BodyFails => return Err(failure("the body")),
                        Then::TimeOver => {
                            let past = gimmal::time::Instant::now() - Duration::from_millis(1);
                            outer.set_deadline(Some(past));
                        }
                    }
                    Ok(())
                }));
                let mut expected = expected(&children, then);
                let mut verdict = match ended.await {
                    Ok(()) => Verdict {
                        failures: Vec::new(),
                        canceled: expected.canceled,
                        is_ok: true,
                    },
                    Err(error) => Verdict {
                        canceled: error.canceled_errors().len(),
                        failures: {
                            let first: Vec<_> =
                                error.first().into_iter().map(ToString::to_string).collect();
                            [first, words(error.rest())].concat()
                        },
                        is_ok: false,
                    },
                };
                let case = format!("{children:?}, {then:?}, {limit} at once");
                let mut begun = log.begun.take();
                if limit < children.len() {
                    verdict.failures.sort();
                    expected.failures.sort();
                }
                // Children that are canceled by their handles do not wait for room.
                if then == Then::Handles {
                    begun.sort();
                } else {
                    assert!(log.most.get() <= limit, "{case}");
                }
                assert_eq!(verdict, expected, "{case}");
                assert_eq!((begun, log.alive.get()), (vec![0, 1, 2], 0), "{case}");
            }
        }
    });
}

/// When a supervisor is canceled, a child that waits for a foreign future is dropped. For those who await it, this is a
/// cancellation.
#[test]
fn a_child_dropped_with_its_supervisor_is_a_cancellation_for_its_siblings() {
    run(async || {
        let served = supervise(async |s| {
            let foreign = s.spawn(std::future::pending::<()>());
            drop(s.spawn(async { Ok::<_, io::Error>(foreign.await?) }));
            yield_now().await;
            yield_now().await;
            s.cancel();
            Ok::<_, io::Error>(2)
        });
        // No fault was reported.
        assert_eq!(served.await.unwrap(), 2);
        let error = supervise(async |s| {
            let foreign = s.spawn(std::future::pending::<()>());
            yield_now().await;
            s.cancel();
            let error = shield(foreign).await.unwrap_err();
            assert!(error.is_aborted() && !error.is_wait_canceled());
            Err::<(), _>(error)
        });
        assert!(error.await.unwrap_err().is_canceled());
    });
}

/// `settle` does not mistake an error for a failure if it is hidden inside one of this crate's errors.
#[test]
fn settle_leaves_errors_it_cannot_inspect_unchanged() {
    async fn wait_for_cancel() -> Result<(), Mine> {
        Ok(sleep(LONG).await?)
    }
    async fn question_mark() -> Result<(), Mine> {
        let group = group(async |g| {
            drop(g.spawn(wait_for_cancel()));
            Ok::<_, Mine>(())
        });
        Ok(group.timeout(SHORT).await?)
    }
    run(async || {
        let cut = group(async |g| {
            drop(g.spawn(wait_for_cancel()));
            Ok::<_, Mine>(())
        });
        assert!(cut.timeout(SHORT).await.unwrap_err().settle().is_elapsed());
        let cut = wait_for_cancel().timeout(LONG).timeout(SHORT).await;
        assert!(cut.unwrap_err().settle().is_elapsed());
        assert!(is_timeout(&question_mark().await.unwrap_err()));
        let error = group(async |g| {
            drop(g.spawn(wait_for_cancel().timeout(LONG)));
            yield_now().await;
            g.cancel();
            Ok(())
        });
        let error = error.await.unwrap_err().settle().unwrap_err();
        assert!(!error.is_canceled() && error.canceled_errors().is_empty());
        assert!(is_canceled(&Mine::from(error)));
    });
}

type Slot<'scope> = Rc<RefCell<Option<Child<'scope, ()>>>>;

/// Cancels a child when it is dropped.
struct Cancels<'scope>(Slot<'scope>);

impl Drop for Cancels<'_> {
    fn drop(&mut self) {
        self.0.take().unwrap().cancel();
    }
}

/// A destructor runs in the scope of the group, and may cancel the child that drops the value.
#[test]
fn a_child_canceled_by_its_own_destructor_fails_nothing() {
    run(async || {
        let ended = group(async |g| {
            let slot = Slot::default();
            let value = Cancels(slot.clone());
            let sibling = g.spawn(async { Ok::<_, io::Error>(value) });
            let child = g.spawn(async {
                yield_now().await;
                drop(sibling);
                // A timeout opens a scope below that of the child.
                doze(LONG).timeout(LONG).await?;
                Ok(())
            });
            slot.replace(Some(child));
            Ok(1)
        });
        assert_eq!(ended.await.unwrap(), 1);
    });
}
