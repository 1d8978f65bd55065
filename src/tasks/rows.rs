//! The table of tasks and the ready queue.

#![forbid(unsafe_code)]

use super::name::Name;
use super::stored::Task;
use crate::table::{Key, Table};
use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::task::Waker;

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

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Parked,
    Running,
    /// Its allocation holds the output.
    Output,
    /// The payload is in [`Tasks::payloads`].
    Panicked,
    Aborted,
}

/// The stage and the allocation stand apart, and are each moved as a whole: an enum of both would be written in one size
/// and read in another, which costs more than everything else that a poll does.
struct Row {
    /// Not there while it runs; never there for the future that `block_on` holds itself.
    task: Option<Pin<Box<dyn Task>>>,
    stage: Stage,
    /// In the ready queue. It is there once at most.
    queued: bool,
    /// To be dropped instead of polled.
    aborted: bool,
    /// A join handle owns the row.
    held: bool,
    joiner: Option<Waker>,
    origin: Origin,
}

impl Row {
    #[inline]
    fn has_ended(&self) -> bool {
        !matches!(self.stage, Stage::Parked | Stage::Running)
    }
}

/// A task whose turn it is.
pub(crate) struct Turn {
    pub(crate) key: Key,
    /// `None` for the future that `block_on` holds itself.
    pub(crate) task: Option<Pin<Box<dyn Task>>>,
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
    /// The ready queue, first in, first out: what is being worked off, from `next_ready` on, and behind it what has been
    /// woken since. Two vectors that change places cost less at each end than one ring does.
    ready: Vec<Key>,
    next_ready: usize,
    woken: Vec<Key>,
    /// Rows that have not ended.
    alive: usize,
    /// What held tasks panicked with. There are few.
    payloads: HashMap<Key, Box<dyn Any + Send>>,
}

impl Tasks {
    pub(crate) fn new(runtime: u16) -> Tasks {
        Tasks {
            runtime,
            rows: Table::new(),
            ready: Vec::new(),
            next_ready: 0,
            woken: Vec::new(),
            alive: 0,
            payloads: HashMap::new(),
        }
    }

    /// A new task, which is ready. `held` says that a join handle will own its row.
    #[inline]
    pub(crate) fn insert(
        &mut self,
        task: Option<Pin<Box<dyn Task>>>,
        origin: Origin,
        held: bool,
    ) -> Key {
        let key = self.rows.insert(Row {
            task,
            stage: Stage::Parked,
            queued: true,
            aborted: false,
            held,
            joiner: None,
            origin,
        });
        self.alive += 1;
        self.woken.push(key);
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
        {
            // One that has ended is passed over by `next`.
            row.queued = true;
            self.woken.push(key);
        }
    }

    /// Who waits for the end of a task, taken out to be woken for another reason.
    pub(crate) fn take_joiners(&mut self) -> Vec<Waker> {
        let rows = self.rows.iter_mut();
        rows.filter_map(|row| row.joiner.take()).collect()
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
        loop {
            let Some(&key) = self.ready.get(self.next_ready) else {
                self.ready.clear();
                self.next_ready = 0;
                if self.woken.is_empty() {
                    return None;
                }
                std::mem::swap(&mut self.ready, &mut self.woken);
                continue;
            };
            self.next_ready += 1;
            // The row of a task that ended while it was queued is gone, or waits for its handle.
            if let Some(row) = self.rows.get_mut(key)
                && row.stage == Stage::Parked
            {
                row.queued = false;
                row.stage = Stage::Running;
                return Some(Turn {
                    key,
                    task: row.task.take(),
                    aborted: row.aborted,
                });
            }
        }
    }

    /// The task was polled and is not ready.
    #[inline]
    pub(crate) fn park(&mut self, key: Key, task: Option<Pin<Box<dyn Task>>>) {
        let row = self.running(key);
        row.stage = Stage::Parked;
        // It was taken out by `next`, so there is nothing to drop.
        let before = std::mem::replace(&mut row.task, task);
        debug_assert!(before.is_none());
        std::mem::forget(before);
    }

    #[inline]
    fn running(&mut self, key: Key) -> &mut Row {
        match self.rows.get_mut(key) {
            Some(row) if row.stage == Stage::Running => row,
            _ => unreachable!("only the task that is being polled is parked or ends"),
        }
    }

    /// The task that was being polled has ended.
    #[inline]
    pub(crate) fn finish(&mut self, key: Key, end: End) -> Finished {
        self.alive -= 1;
        let row = self.running(key);
        if !row.held {
            let row = self.rows.remove(key);
            return Finished {
                joiner: None,
                unclaimed: row.map(|row| (end, row.origin)),
            };
        }
        let joiner = row.joiner.take();
        match end {
            End::Output(task) => {
                row.stage = Stage::Output;
                row.task = Some(task);
            }
            End::Aborted => row.stage = Stage::Aborted,
            End::Panicked(payload) => {
                row.stage = Stage::Panicked;
                self.payloads.insert(key, payload);
            }
        }
        Finished {
            joiner,
            unclaimed: None,
        }
    }

    /// Takes the row of a task that has ended out, and its end with it.
    #[inline]
    fn remove_ended(&mut self, key: Key) -> Option<(End, Origin)> {
        if !self.rows.get(key)?.has_ended() {
            return None;
        }
        let row = self.rows.remove(key)?;
        let end = match row.stage {
            Stage::Output => End::Output(row.task?),
            Stage::Panicked => End::Panicked(self.payloads.remove(&key)?),
            _ => End::Aborted,
        };
        Some((end, row.origin))
    }

    /// The holder of the row takes its end, if there is one, and the row with it (K2).
    #[inline]
    pub(crate) fn take_end(&mut self, key: Key) -> Option<End> {
        self.remove_ended(key).map(|(end, _)| end)
    }

    /// The holder of the row waits for its end. The waker that this replaces is to be dropped outside of the borrow.
    #[inline]
    pub(crate) fn wait_for_end(&mut self, key: Key, waker: Waker) -> Option<Waker> {
        match self.rows.get_mut(key) {
            Some(row) => row.joiner.replace(waker),
            None => unreachable!("a join handle owns its row until it has taken the end"),
        }
    }

    pub(crate) fn is_finished(&self, key: Key) -> bool {
        self.rows.get(key).is_none_or(|row| row.has_ended())
    }

    /// The holder of the row lets go. What it leaves is to be dropped outside of the borrow.
    #[inline]
    pub(crate) fn release(&mut self, key: Key) -> Finished {
        let Some(row) = self.rows.get_mut(key) else {
            unreachable!("a join handle owns its row until it releases it")
        };
        row.held = false;
        let joiner = row.joiner.take();
        let unclaimed = self.remove_ended(key);
        Finished { joiner, unclaimed }
    }

    /// Marks the task: its next turn drops it (C14). Nothing, if it has ended.
    pub(crate) fn abort(&mut self, key: Key) {
        if let Some(row) = self.rows.get_mut(key)
            && !row.has_ended()
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
        self.ready.len() - self.next_ready + self.woken.len()
    }

    #[inline]
    pub(crate) fn has_ready(&self) -> bool {
        self.ready_len() > 0
    }

    /// Every task that has not ended: its name, where it was spawned, and whether it is ready.
    pub(crate) fn origins(&self) -> impl Iterator<Item = (Key, &Origin, bool)> {
        self.rows
            .iter()
            .filter(|(_, row)| !row.has_ended())
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
        keys.into_iter()
            .filter_map(|key| self.remove_ended(key))
            .collect()
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks")
            .field("runtime", &self.runtime)
            .field("alive", &self.alive)
            .field("ready", &self.ready_len())
            .finish_non_exhaustive()
    }
}
