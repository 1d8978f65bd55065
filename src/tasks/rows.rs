//! The table of tasks and the ready queue.

#![forbid(unsafe_code)]

use super::name::Name;
use super::stored::Task;
use crate::table::{Key, Table};
use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Poll, Waker};

/// Where a task comes from: what a list of what is running shows of it.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) name: Option<Box<str>>,
    pub(crate) location: &'static Location<'static>,
}

/// How a task ended.
pub(crate) enum End {
    /// The output is in the allocation.
    Output(Pin<Box<dyn Task>>),
    Panicked(Box<dyn Any + Send>),
    Aborted,
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            End::Output(_) => "Output",
            End::Panicked(_) => "Panicked",
            End::Aborted => "Aborted",
        })
    }
}

/// What the runtime polls.
pub(crate) enum Body {
    /// The future that `block_on` holds itself.
    Main,
    Spawned(Pin<Box<dyn Task>>),
}

enum State {
    Parked(Body),
    Running,
    Ended(End),
}

struct Row {
    state: State,
    /// In the ready queue. It is there once at most.
    queued: bool,
    /// To be dropped instead of polled.
    aborted: bool,
    /// A join handle owns the row.
    held: bool,
    joiner: Option<Waker>,
    origin: Origin,
}

/// A task whose turn it is.
pub(crate) struct Turn {
    pub(crate) key: Key,
    pub(crate) body: Body,
    /// Drop it instead of polling it.
    pub(crate) aborted: bool,
}

/// What the end of a task leaves to do, outside of the borrow.
#[must_use = "a joiner waits, or an ended task is to be looked at and dropped"]
pub(crate) struct Finished {
    pub(crate) joiner: Option<Waker>,
    /// Nobody will ask for this end any more.
    pub(crate) unclaimed: Option<(End, Origin)>,
}

/// The tasks of one runtime.
pub(crate) struct Tasks {
    runtime: u16,
    rows: Table<Row>,
    ready: VecDeque<Key>,
    /// Rows that have not ended.
    alive: usize,
}

impl Tasks {
    pub(crate) fn new(runtime: u16) -> Tasks {
        Tasks {
            runtime,
            rows: Table::new(),
            ready: VecDeque::new(),
            alive: 0,
        }
    }

    /// A new task, which is ready. `held` says that a join handle will own its row.
    #[inline]
    pub(crate) fn insert(&mut self, body: Body, origin: Origin, held: bool) -> Key {
        let key = self.rows.insert(Row {
            state: State::Parked(body),
            queued: true,
            aborted: false,
            held,
            joiner: None,
            origin,
        });
        self.alive += 1;
        self.ready.push_back(key);
        key
    }

    pub(crate) fn name(&self, key: Key) -> Name {
        Name::new(self.runtime, key)
    }

    /// Wakes the task of that name, if it is of this runtime. False if the name belongs elsewhere.
    #[inline]
    pub(crate) fn wake_if_ours(&mut self, name: Name) -> bool {
        if name.runtime() != self.runtime {
            return false;
        }
        self.wake(name);
        true
    }

    /// Wakes the task of that name (K3).
    #[inline]
    pub(crate) fn wake(&mut self, name: Name) {
        if let Some((key, row)) = self.rows.at_mut(name.index())
            && name.fits(key)
            && !row.queued
            && !matches!(row.state, State::Ended(_))
        {
            row.queued = true;
            self.ready.push_back(key);
        }
    }

    pub(crate) fn wake_everyone(&mut self) {
        let names: Vec<Name> = self.rows.iter().map(|(key, _)| self.name(key)).collect();
        for name in names {
            self.wake(name);
        }
    }

    /// The next task whose turn it is. Its future is out of the table until [`park`](Tasks::park) or
    /// [`finish`](Tasks::finish).
    #[inline]
    pub(crate) fn next(&mut self) -> Option<Turn> {
        while let Some(key) = self.ready.pop_front() {
            // The row of a task that ended while it was queued is gone, or waits for its handle.
            let Some(row) = self.rows.get_mut(key) else {
                continue;
            };
            row.queued = false;
            match std::mem::replace(&mut row.state, State::Running) {
                State::Parked(body) => {
                    let aborted = row.aborted;
                    return Some(Turn { key, body, aborted });
                }
                State::Ended(end) => row.state = State::Ended(end),
                State::Running => unreachable!("a task is not polled while it is being polled"),
            }
        }
        None
    }

    /// The task was polled and is not ready.
    #[inline]
    pub(crate) fn park(&mut self, key: Key, body: Body) {
        match self.rows.get_mut(key) {
            Some(row) if matches!(row.state, State::Running) => row.state = State::Parked(body),
            _ => unreachable!("only the task that is being polled is parked"),
        }
    }

    /// The task that was being polled has ended.
    #[inline]
    pub(crate) fn finish(&mut self, key: Key, end: End) -> Finished {
        self.alive -= 1;
        match self.rows.get_mut(key) {
            Some(row) if matches!(row.state, State::Running) => {
                if row.held {
                    row.state = State::Ended(end);
                    return Finished {
                        joiner: row.joiner.take(),
                        unclaimed: None,
                    };
                }
            }
            _ => unreachable!("only the task that is being polled ends"),
        }
        let row = self.rows.remove(key);
        Finished {
            joiner: None,
            unclaimed: row.map(|row| (end, row.origin)),
        }
    }

    /// The holder of the row asks for its end. Ready takes the row (K2). Else `waker` is kept, and what it replaces is put
    /// in its place: a foreign one's drop is a user's code, as is its clone.
    #[inline]
    pub(crate) fn join(&mut self, key: Key, waker: &mut Option<Waker>) -> Poll<End> {
        let Some(row) = self.rows.get_mut(key) else {
            unreachable!("a join handle owns its row until it has taken it")
        };
        debug_assert!(row.held);
        if !matches!(row.state, State::Ended(_)) {
            std::mem::swap(&mut row.joiner, waker);
            return Poll::Pending;
        }
        match self.rows.remove(key).map(|row| row.state) {
            Some(State::Ended(end)) => Poll::Ready(end),
            _ => unreachable!("the row was looked at above"),
        }
    }

    pub(crate) fn is_finished(&self, key: Key) -> bool {
        self.rows
            .get(key)
            .is_none_or(|row| matches!(row.state, State::Ended(_)))
    }

    /// The holder of the row lets go. What it leaves is to be dropped outside of the borrow.
    #[inline]
    pub(crate) fn release(&mut self, key: Key) -> Finished {
        let Some(row) = self.rows.get_mut(key) else {
            unreachable!("a join handle owns its row until it releases it")
        };
        row.held = false;
        let joiner = row.joiner.take();
        let mut unclaimed = None;
        if matches!(row.state, State::Ended(_))
            && let Some(row) = self.rows.remove(key)
            && let State::Ended(end) = row.state
        {
            unclaimed = Some((end, row.origin));
        }
        Finished { joiner, unclaimed }
    }

    /// Marks the task: its next turn drops it (C14). Nothing, if it has ended.
    pub(crate) fn abort(&mut self, key: Key) {
        if let Some(row) = self.rows.get_mut(key)
            && !matches!(row.state, State::Ended(_))
        {
            row.aborted = true;
            let name = self.name(key);
            self.wake(name);
        }
    }

    /// Marks every spawned task.
    pub(crate) fn abort_all(&mut self) {
        let keys: Vec<Key> = self.rows.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.abort(key);
        }
    }

    /// The waker of each join that waits.
    pub(crate) fn joiners_mut(&mut self) -> impl Iterator<Item = &mut Waker> {
        self.rows.values_mut().filter_map(|row| row.joiner.as_mut())
    }

    /// Takes the row of `block_on`'s own future out.
    pub(crate) fn remove_main(&mut self, key: Key) {
        let removed = self.rows.remove(key);
        assert!(removed.is_some(), "block_on owns its row");
        self.alive -= 1;
    }

    /// Tasks that have not ended.
    pub(crate) fn alive(&self) -> usize {
        self.alive
    }

    /// Rows, those included whose end is still to be asked for.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn ready_len(&self) -> usize {
        self.ready.len()
    }

    #[inline]
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Every task that has not ended: its name, where it was spawned, and whether it is ready.
    pub(crate) fn origins(&self) -> impl Iterator<Item = (Key, &Origin, bool)> {
        self.rows
            .iter()
            .filter(|(_, row)| !matches!(row.state, State::Ended(_)))
            .map(|(key, row)| (key, &row.origin, row.queued))
    }

    /// Who is this, for a list of what is running?
    pub(crate) fn origin_of(&self, name: Name) -> Option<&Origin> {
        let (key, row) = self.rows.at(name.index())?;
        name.fits(key).then_some(&row.origin)
    }

    /// The runtime ends: takes out what has ended and whose handle has not asked for it. The handle finds nothing.
    pub(crate) fn take_ended(&mut self) -> Vec<(End, Origin)> {
        let keys: Vec<Key> = self.rows.iter().map(|(key, _)| key).collect();
        let rows = keys.into_iter().filter_map(|key| self.rows.remove(key));
        rows.filter_map(|row| match row.state {
            State::Ended(end) => Some((end, row.origin)),
            State::Parked(_) | State::Running => None,
        })
        .collect()
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks")
            .field("runtime", &self.runtime)
            .field("alive", &self.alive)
            .field("ready", &self.ready.len())
            .finish_non_exhaustive()
    }
}
