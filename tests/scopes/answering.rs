//! The scope that is responsible for a `Canceled` leaf: the outermost canceled one that it sees, up to the next shield.

use crate::{LONG, Nothing, pipe, settle};
use common::block_on;
use gimmal::cancel::{Canceled, Scope, shield};
use gimmal::time::{Instant, timeout_at};
use gimmal::{is_canceled, sleep, spawn};
use std::cell::RefCell;
use std::future::pending;
use std::io::Write as _;
use std::pin::Pin;
use std::rc::Rc;

/// A level of nested scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Plain,
    /// Canceled by a call.
    Canceled,
    /// Its deadline has passed.
    Due,
    /// A timeout that has expired.
    TimedOut,
    Shield,
}

const LEVELS: [Level; 5] = [
    Level::Plain,
    Level::Canceled,
    Level::Due,
    Level::TimedOut,
    Level::Shield,
];

/// The index of the responsible level, counted from the outermost one.
fn responsible(levels: &[Level]) -> Option<usize> {
    let start = levels.iter().rposition(|level| *level == Level::Shield);
    let start = start.map_or(0, |at| at + 1);
    let at = levels[start..]
        .iter()
        .position(|level| *level != Level::Plain);
    at.map(|at| start + at)
}

type Leaf<'a> = Pin<Box<dyn Future<Output = Nothing> + 'a>>;

/// Runs the leaf inside all the levels, and records which of them report being responsible.
fn nested<'a>(
    levels: &'a [Level],
    depth: usize,
    caught: &'a RefCell<Vec<usize>>,
    leaf: Leaf<'a>,
) -> Leaf<'a> {
    let Some(level) = levels.get(depth) else {
        return leaf;
    };
    Box::pin(async move {
        let inner = nested(levels, depth + 1, caught, leaf);
        let scope = Scope::new();
        let outcome = match level {
            Level::Shield => return shield(inner).await,
            Level::TimedOut => {
                return match timeout_at(Instant::now(), inner).await {
                    Err(error) if error.is_elapsed() => {
                        caught.borrow_mut().push(depth);
                        Err(Canceled)
                    }
                    other => other.map_err(|error| {
                        assert!(is_canceled(&error));
                        Canceled
                    }),
                };
            }
            Level::Canceled => {
                scope.cancel();
                scope.run(inner).await
            }
            Level::Due => {
                scope.set_deadline(Some(Instant::now()));
                scope.run(inner).await
            }
            Level::Plain => scope.run(inner).await,
        };
        if scope.canceled_caught() {
            caught.borrow_mut().push(depth);
        }
        outcome
    })
}

/// Calls `each` with each nesting of this depth.
fn nestings(depth: usize, mut each: impl FnMut(&[Level])) {
    for number in 0..LEVELS.len().pow(depth as u32) {
        let mut rest = number;
        let levels: Vec<Level> = (0..depth)
            .map(|_| {
                let level = LEVELS[rest % LEVELS.len()];
                rest /= LEVELS.len();
                level
            })
            .collect();
        each(&levels);
    }
}

#[test]
fn in_every_nesting_exactly_the_responsible_scope_reports_it() {
    block_on(async {
        let mut all = Vec::new();
        for depth in 0..=4 {
            nestings(depth, |levels| all.push(levels.to_vec()));
        }
        for levels in all {
            let caught = RefCell::default();
            let leaf = Box::pin(sleep(std::time::Duration::ZERO));
            let outcome = nested(&levels, 0, &caught, leaf).await;
            let expected = responsible(&levels);
            assert_eq!(outcome.is_err(), expected.is_some(), "{levels:?}");
            assert_eq!(*caught.borrow(), Vec::from_iter(expected), "{levels:?}");
        }
    });
}

/// The same for a foreign leaf: the future is dropped.
#[test]
fn the_responsible_scope_reports_a_dropped_future() {
    block_on(async {
        let mut all = Vec::new();
        for depth in 1..=3 {
            nestings(depth, |levels| all.push(levels.to_vec()));
        }
        for levels in all {
            let expected = responsible(&levels);
            if expected.is_none() {
                continue;
            }
            let caught = RefCell::default();
            let outcome = nested(&levels, 0, &caught, Box::pin(pending())).await;
            assert_eq!(outcome, Err(Canceled), "{levels:?}");
            assert_eq!(*caught.borrow(), Vec::from_iter(expected), "{levels:?}");
        }
    });
}

/// The scopes are canceled in this order while the leaf is in flight.
#[test]
fn the_order_of_the_cancels_does_not_matter() {
    block_on(async {
        const DEPTH: usize = 3;
        let orders = [
            [0, 1, 2],
            [0, 2, 1],
            [1, 0, 2],
            [1, 2, 0],
            [2, 0, 1],
            [2, 1, 0],
        ];
        for order in orders {
            for canceled in 0_usize..1 << DEPTH {
                for shield_at in 0..=DEPTH {
                    let scopes: Vec<Rc<Scope>> = (0..DEPTH).map(|_| Rc::default()).collect();
                    let (file, mut writer) = pipe();
                    let theirs = scopes.clone();
                    let task = spawn(async move {
                        let mut future: Pin<Box<dyn Future<Output = Result<usize, Canceled>>>> =
                            Box::pin(async move {
                                match file.read(vec![0; 8]).await {
                                    Ok((n, _)) => Ok(n),
                                    Err(error) if is_canceled(&error) => Err(Canceled),
                                    Err(error) => panic!("{error}"),
                                }
                            });
                        for (depth, scope) in theirs.into_iter().enumerate().rev() {
                            if depth + 1 == shield_at {
                                // Inside this scope, around the inner ones.
                                future = Box::pin(shield(future));
                            }
                            future = Box::pin(async move { scope.run(future).await });
                        }
                        future.await
                    });
                    settle().await;
                    for depth in order {
                        if canceled & 1 << depth != 0 {
                            scopes[depth].cancel();
                        }
                    }
                    let expected = (shield_at..DEPTH).find(|depth| canceled & 1 << depth != 0);
                    if expected.is_none() {
                        settle().await;
                        assert!(!task.is_finished());
                        writer.write_all(b"abc").unwrap();
                    }
                    let outcome = task.await.unwrap();
                    let what = format!("{order:?} {canceled:b} {shield_at}");
                    assert_eq!(outcome.is_err(), expected.is_some(), "{what}");
                    for (depth, scope) in scopes.iter().enumerate() {
                        assert_eq!(
                            scope.canceled_caught(),
                            expected == Some(depth),
                            "{what} {depth}"
                        );
                    }
                }
            }
        }
    });
}

#[test]
fn a_canceled_task_is_responsible_before_its_scopes() {
    block_on(async {
        let scope = Rc::new(Scope::new());
        let inside = scope.clone();
        let task = spawn(async move {
            let ended = inside.run(sleep(LONG)).await;
            (ended, inside.canceled_caught())
        });
        settle().await;
        scope.cancel();
        task.cancel();
        assert_eq!(task.await.unwrap(), (Err(Canceled), false));
        assert!(!scope.canceled_caught());
    });
}

#[test]
fn no_scope_is_responsible_for_the_futures_own_error() {
    block_on(async {
        let scope = Scope::new();
        let outcome: std::io::Result<()> = scope
            .run(async {
                scope.cancel();
                Err(std::io::Error::other("own error"))
            })
            .await;
        assert_eq!(outcome.unwrap_err().to_string(), "own error");
        assert!(!scope.canceled_caught());
    });
}
