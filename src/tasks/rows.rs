//! The table of tasks.

#![forbid(unsafe_code)]

mod children;

use super::cell::{PanicPayload, Task};
use super::queue::KeyQueue;
use super::wake_id::WakeId;
use super::waker::wake_id_of;
use crate::table::{Excess, Key, Leaf, Owner, Table};
use children::ReadyQueue;
pub(crate) use children::{NewChild, ReadyChild};
use std::any::Any;
use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::task::Waker;

/// The name of a task and the location that spawned it, for listings and reports.
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

/// The state of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Parked,
    Running,
    /// Its allocation holds the output.
    Output,
    /// The task holds the payload.
    Panicked,
    Aborted,
}

/// What becomes of the result of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// A join handle owns the row, and takes the result.
    Handle,
    /// It is dropped; a panic is reported.
    Dropped,
    /// The same, and a failure is reported, too.
    Reported,
}

/// The row of a task. The stage and the allocation are separate fields, each moved as a whole: an enum of both would be
/// written in one size and read in another, which costs more than everything else in a poll.
struct TaskRow {
    /// `None` while the task runs, and always for the future that `block_on` holds itself.
    task: Option<Pin<Box<dyn Task>>>,
    stage: Stage,
    /// Whether the row is in the ready queue, where it is at most once.
    queued: bool,
    /// Whether to drop the task instead of polling it.
    aborted: bool,
    claim: Claim,
    /// Whether the task itself was canceled. Unused if it has a scope of its own, which knows that.
    cancel_called: bool,
    /// Whether `scope` is the task's own, not the one that it belongs to.
    has_scope: bool,
    /// Polls in which a leaf was rejected while the task was canceled.
    rejections: u8,
    /// The child set that holds it, and its slot there.
    child_of: ChildPlace,
    joiner: Option<Waker>,
    /// The owner of the wait of `joiner`.
    join_owner: Owner,
    scope: Key,
    /// The leaf that the task waits for, while it has no scope of its own.
    leaf: Option<Leaf>,
    origin: Origin,
}

/// The index of a child's child set, and its slot there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ChildPlace {
    queue: u32,
    slot: u32,
}

impl ChildPlace {
    /// Marks a task of the runtime itself, which is not a child.
    const NONE: ChildPlace = ChildPlace {
        queue: u32::MAX,
        slot: 0,
    };
}

/// A task's position in the scope tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TaskScope {
    /// The task's own scope, if it has one; otherwise the scope that it belongs to.
    pub(crate) scope: Key,
    pub(crate) has_scope: bool,
    pub(crate) cancel_called: bool,
}

impl TaskRow {
    #[inline]
    fn has_ended(&self) -> bool {
        !matches!(self.stage, Stage::Parked | Stage::Running)
    }

    fn task_scope(&self) -> TaskScope {
        TaskScope {
            scope: self.scope,
            has_scope: self.has_scope,
            cancel_called: self.cancel_called,
        }
    }
}

/// A task that is to be polled now.
pub(crate) struct ReadyTask {
    pub(crate) key: Key,
    /// `None` for the future that `block_on` holds itself.
    pub(crate) task: Option<Pin<Box<dyn Task>>>,
    /// Whether to drop the task instead of polling it.
    pub(crate) aborted: bool,
    /// The leaf that the task waits for, and whether it was canceled itself, if it has no scope of its own.
    pub(crate) leaf: Option<Leaf>,
    pub(crate) cancel_called: bool,
    pub(crate) has_scope: bool,
}

/// The work that the end of a task leaves to do, outside the borrow.
#[must_use = "a joiner is to be woken, or a result to be disposed of"]
pub(crate) struct Finished {
    pub(crate) joiner: Option<Waker>,
    /// The result of a task without a handle.
    pub(crate) unclaimed: Option<Unclaimed>,
    /// The task's own scope, to be closed.
    pub(crate) scope: Option<Key>,
}

/// The result of a task that no handle will take.
pub(crate) struct Unclaimed {
    pub(crate) end: End,
    pub(crate) origin: Origin,
    /// Whether to report a failure.
    pub(crate) is_reported: bool,
}

impl Unclaimed {
    #[inline]
    fn new(end: End, origin: Origin, claim: Claim) -> Unclaimed {
        Unclaimed {
            end,
            origin,
            is_reported: claim == Claim::Reported,
        }
    }
}

/// The tasks of one runtime.
pub(crate) struct Tasks {
    runtime: u16,
    rows: Table<TaskRow>,
    ready: KeyQueue,
    /// Rows that have not ended, not counting children.
    alive: usize,
    queues: Table<ReadyQueue>,
}

impl Tasks {
    pub(crate) fn new(runtime: u16) -> Tasks {
        Tasks {
            runtime,
            rows: Table::new(),
            ready: KeyQueue::default(),
            alive: 0,
            queues: Table::new(),
        }
    }

    /// Inserts a new task, which is ready. `scope` is the scope that it belongs to.
    #[inline]
    pub(crate) fn insert(
        &mut self,
        task: Option<Pin<Box<dyn Task>>>,
        origin: Origin,
        claim: Claim,
        scope: Key,
    ) -> Key {
        let key = self.rows.insert(TaskRow {
            task,
            stage: Stage::Parked,
            queued: true,
            aborted: false,
            claim,
            cancel_called: false,
            has_scope: false,
            rejections: 0,
            child_of: ChildPlace::NONE,
            joiner: None,
            join_owner: Owner::scope(scope),
            scope,
            leaf: None,
            origin,
        });
        self.alive += 1;
        self.ready.push(key);
        key
    }

    /// Frees a part of the memory that a peak has left. Returns whether there is more to free.
    pub(crate) fn tidy(&mut self, period: u32) -> Excess {
        let ready = match self.ready.trim() {
            true => Excess::Now,
            false => Excess::None,
        };
        ready
            .max(self.rows.tidy(period))
            .max(self.queues.tidy(period))
    }

    // Scopes of tasks.

    #[inline]
    pub(crate) fn task_scope(&self, key: Key) -> Option<TaskScope> {
        self.rows.get(key).map(TaskRow::task_scope)
    }

    /// Returns the leaf that a task without a scope of its own waits for.
    #[inline]
    pub(crate) fn leaf(&self, key: Key) -> Option<Leaf> {
        self.rows.get(key)?.leaf
    }

    /// Gives the task a scope of its own, which takes over its leaf.
    pub(crate) fn give_scope(&mut self, key: Key, scope: Key) {
        if let Some(row) = self.rows.get_mut(key) {
            row.scope = scope;
            row.has_scope = true;
            row.leaf = None;
        }
    }

    /// Cancels a task that has no scope of its own. Returns whether it was not canceled before.
    pub(crate) fn cancel(&mut self, key: Key) -> bool {
        let row = self.rows.get_mut(key);
        row.is_some_and(|row| !std::mem::replace(&mut row.cancel_called, true))
    }

    /// Counts a poll of a canceled task in which a leaf was rejected, if this was one. Returns the number of such polls.
    pub(crate) fn count_rejections(&mut self, key: Key, was_rejected: bool) -> u32 {
        self.rows.get_mut(key).map_or(0, |row| {
            row.rejections = row.rejections.saturating_add(u8::from(was_rejected));
            u32::from(row.rejections)
        })
    }

    /// Whether the task is queued to be polled again.
    #[inline]
    pub(crate) fn is_queued(&self, key: Key) -> bool {
        self.rows.get(key).is_some_and(|row| row.queued)
    }

    /// Returns every task of the runtime itself that has no scope of its own and has not ended.
    pub(crate) fn without_scope(&self) -> Vec<Key> {
        self.rows
            .keys(&|row| row.child_of == ChildPlace::NONE && !row.has_scope && !row.has_ended())
    }

    /// Whether a join of this task is pending for this owner.
    pub(crate) fn is_joined(&self, key: Key, place: Owner) -> bool {
        let row = self.rows.get(key);
        row.is_some_and(|row| row.joiner.is_some() && row.join_owner == place && !row.has_ended())
    }

    /// Takes the joiner of a task, to be woken for another reason than the task's end.
    pub(crate) fn take_joiner(&mut self, key: Key) -> Option<Waker> {
        self.rows.get_mut(key)?.joiner.take()
    }

    /// Sets the owner of the join of a task.
    pub(crate) fn move_join(&mut self, key: Key, place: Owner) {
        if let Some(row) = self.rows.get_mut(key) {
            row.join_owner = place;
        }
    }

    pub(crate) fn name(&self, key: Key) -> WakeId {
        WakeId::new(self.runtime, key)
    }

    /// Whether this wake ID belongs to this runtime.
    #[inline]
    pub(crate) fn is_ours(&self, name: WakeId) -> bool {
        name.runtime() == self.runtime
    }

    /// Wakes the task with this wake ID, which belongs to this runtime (K3). For a child in a future of another crate,
    /// returns the waker of that future, for the caller to wake outside the borrow (R1).
    #[inline]
    pub(crate) fn wake(&mut self, name: WakeId) -> Option<Waker> {
        if let Some((key, row)) = self.rows.at_mut(name.index())
            && name.fits(key)
            && !row.queued
        {
            // A task that has ended is skipped by `next`.
            row.queued = true;
            if row.child_of == ChildPlace::NONE {
                self.ready.push(key);
            } else {
                let child = row.child_of;
                return self.wake_parent(key, child);
            }
        }
        None
    }

    /// Wakes every task. Returns foreign wakers, for the caller to wake outside the borrow.
    pub(crate) fn wake_everyone(&mut self) -> Vec<Waker> {
        let keys = self.rows.keys(&|_| true).into_iter();
        keys.filter_map(|key| self.wake(self.name(key))).collect()
    }

    /// Returns the next task to poll. Its future is out of the table until [`park`](Tasks::park) or
    /// [`finish`](Tasks::finish).
    #[inline]
    pub(crate) fn next(&mut self) -> Option<ReadyTask> {
        loop {
            if let Some((key, row)) = self.rows.at_mut(self.ready.pop()?)
                && row.queued
                && row.child_of == ChildPlace::NONE
                && row.stage == Stage::Parked
            {
                row.queued = false;
                row.stage = Stage::Running;
                return Some(ReadyTask {
                    key,
                    task: row.task.take(),
                    aborted: row.aborted,
                    leaf: row.leaf,
                    cancel_called: row.cancel_called,
                    has_scope: row.has_scope,
                });
            }
        }
    }

    /// Whether the table is so large that it pays to prefetch rows.
    #[inline]
    pub(crate) fn are_far(&self) -> bool {
        self.rows.is_large()
    }

    /// Returns what to prefetch to wake the task with this wake ID.
    #[inline]
    pub(crate) fn place(&self, name: WakeId) -> Option<&impl Sized> {
        self.rows.place(name.index())
    }

    /// Returns what to prefetch for the task that is polled after `others` more: its future, because its row was touched
    /// when it was woken.
    #[inline]
    pub(crate) fn upcoming(&self, others: usize) -> Option<&dyn Task> {
        if !self.are_far() {
            return None;
        }
        let (_, row) = self.rows.at(self.ready.upcoming(others)?)?;
        row.task.as_deref()
    }

    /// Returns the place of a task's future, which is empty while the task runs. `None` once the task has ended.
    pub(crate) fn future_mut(&mut self, key: Key) -> Option<&mut Option<Pin<Box<dyn Task>>>> {
        let row = self.rows.get_mut(key)?;
        (!row.has_ended()).then_some(&mut row.task)
    }

    /// Parks a task that was polled and is pending. Returns whether it was woken during the poll.
    #[inline]
    pub(crate) fn park(
        &mut self,
        key: Key,
        task: Option<Pin<Box<dyn Task>>>,
        leaf: Option<Leaf>,
    ) -> bool {
        let row = self.running(key);
        row.stage = Stage::Parked;
        row.leaf = leaf;
        // `next` took the future out, so there is nothing to drop.
        let before = std::mem::replace(&mut row.task, task);
        debug_assert!(before.is_none());
        std::mem::forget(before);
        row.queued
    }

    #[inline]
    fn running(&mut self, key: Key) -> &mut TaskRow {
        match self.rows.get_mut(key) {
            Some(row) if row.stage == Stage::Running => row,
            _ => unreachable!("only the task that is being polled is parked or ends"),
        }
    }

    /// Ends the task that was being polled.
    #[inline]
    pub(crate) fn finish(&mut self, key: Key, end: End) -> Finished {
        self.alive -= 1;
        let row = self.running(key);
        let scope = row.has_scope.then_some(row.scope);
        if row.claim != Claim::Handle {
            let row = self.rows.remove(key);
            return Finished {
                joiner: None,
                unclaimed: row.map(|row| Unclaimed::new(end, row.origin, row.claim)),
                scope,
            };
        }
        row.has_scope = false;
        let joiner = row.joiner.take();
        match end {
            End::Output(task) => {
                row.stage = Stage::Output;
                row.task = Some(task);
            }
            End::Aborted => row.stage = Stage::Aborted,
            End::Panicked(payload) => {
                row.stage = Stage::Panicked;
                row.task = Some(Box::pin(PanicPayload(Some(payload))));
            }
        }
        Finished {
            joiner,
            unclaimed: None,
            scope,
        }
    }

    /// Removes the row of a task that has ended, and returns its result.
    #[inline]
    fn remove_ended(&mut self, key: Key) -> Option<Unclaimed> {
        if !self.rows.get(key)?.has_ended() {
            return None;
        }
        let row = self.rows.remove(key)?;
        let end = match row.stage {
            Stage::Output => End::Output(row.task?),
            Stage::Panicked => End::Panicked(PanicPayload::take(row.task?)?),
            _ => End::Aborted,
        };
        Some(Unclaimed::new(end, row.origin, row.claim))
    }

    /// Takes the result for the handle, if the task has ended, and removes the row (K2).
    #[inline]
    pub(crate) fn take_end(&mut self, key: Key) -> Option<End> {
        self.remove_ended(key).map(|unclaimed| unclaimed.end)
    }

    /// Sets the joiner of a task, and the owner of that wait. Returns the replaced waker, for the caller to drop outside
    /// the borrow.
    #[inline]
    pub(crate) fn wait_for_end(&mut self, key: Key, waker: Waker, place: Owner) -> Option<Waker> {
        match self.rows.get_mut(key) {
            Some(row) => {
                row.join_owner = place;
                row.joiner.replace(waker)
            }
            None => unreachable!("a join handle owns its row until it has taken the end"),
        }
    }

    /// Returns the owner of the join of a task.
    pub(crate) fn join_owner(&self, key: Key) -> Owner {
        match self.rows.get(key) {
            Some(row) => row.join_owner,
            None => unreachable!("a join handle owns its row until it has taken the end"),
        }
    }

    pub(crate) fn is_finished(&self, key: Key) -> bool {
        self.rows.get(key).is_none_or(|row| row.has_ended())
    }

    /// Releases the row when its handle is gone. Returns what is left, for the caller to drop outside the borrow.
    #[inline]
    pub(crate) fn release(&mut self, key: Key, claim: Claim) -> Finished {
        let Some(row) = self.rows.get_mut(key) else {
            unreachable!("a join handle owns its row until it releases it")
        };
        row.claim = claim;
        let joiner = row.joiner.take();
        let unclaimed = self.remove_ended(key);
        Finished {
            joiner,
            unclaimed,
            scope: None,
        }
    }

    /// Marks the task to be dropped at its next turn (C14). Does nothing if it has ended.
    pub(crate) fn abort(&mut self, key: Key) {
        if let Some(row) = self.rows.get_mut(key)
            && !row.has_ended()
        {
            row.aborted = true;
            let name = self.name(key);
            let foreign = self.wake(name);
            debug_assert!(foreign.is_none(), "only tasks of the runtime are aborted");
        }
    }

    /// Marks every spawned task to be dropped. Children are dropped with the futures that own them.
    pub(crate) fn abort_all(&mut self) {
        let keys = self.rows.keys(&|row| row.child_of == ChildPlace::NONE);
        for key in keys {
            self.abort(key);
        }
    }

    /// Removes the row of the future of `block_on`. Returns its own scope, if it has one, for the caller to close.
    pub(crate) fn remove_main(&mut self, key: Key) -> Option<Key> {
        self.alive -= 1;
        match self.rows.remove(key) {
            Some(row) => row.has_scope.then_some(row.scope),
            None => unreachable!("block_on owns its row"),
        }
    }

    /// Returns the number of tasks that have not ended.
    pub(crate) fn alive(&self) -> usize {
        self.alive
    }

    /// Returns the number of rows, including those whose result is still to be taken.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn ready_len(&self) -> usize {
        self.ready.len()
    }

    #[inline]
    pub(crate) fn has_ready(&self) -> bool {
        self.ready_len() > 0
    }

    /// Whether no other task or child is ready, as far as this wake ID can tell. Returns false for a child of a future
    /// of another crate, and for one nested too deep.
    pub(crate) fn may_run_inline(&self, mut name: WakeId) -> bool {
        const DEPTH_MAX: usize = 8;
        if self.has_ready() {
            return false;
        }
        for _ in 0..DEPTH_MAX {
            let child_of = match self.rows.at(name.index()) {
                Some((key, row)) if name.fits(key) => row.child_of,
                _ => return false,
            };
            if child_of == ChildPlace::NONE {
                return true;
            }
            let above = match self.queues.at(child_of.queue) {
                Some((_, queue)) if queue.ready.len() == 0 => queue.waker.as_ref(),
                _ => return false,
            };
            match above.and_then(wake_id_of) {
                Some(above) if self.is_ours(above) => name = above,
                _ => return false,
            }
        }
        false
    }

    /// Returns every task that has not ended: its key, its origin, and whether it is ready.
    pub(crate) fn origins(&self) -> impl Iterator<Item = (Key, &Origin, bool)> {
        self.rows
            .iter()
            .filter(|(_, row)| !row.has_ended())
            .map(|(key, row)| (key, &row.origin, row.queued))
    }

    /// Returns the origin of the task with this wake ID.
    pub(crate) fn origin_of(&self, name: WakeId) -> Option<&Origin> {
        let (key, row) = self.rows.at(name.index())?;
        name.fits(key).then_some(&row.origin)
    }

    /// Takes the results that handles have not taken, at shutdown. The handles find nothing.
    pub(crate) fn take_ended(&mut self) -> Vec<Unclaimed> {
        let keys = self.rows.keys(&|row| row.child_of == ChildPlace::NONE);
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
