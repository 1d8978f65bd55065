//! The table of tasks.

#![forbid(unsafe_code)]

mod children;

use super::cell::{PanicPayload, Task};
use super::queue::KeyQueue;
use super::state::{Claim, Stage, TaskState};
use super::wake_id::WakeId;
use super::waker::wake_id_of;
use crate::table::{Excess, Key, Leaf, Owner, Table};
pub(crate) use children::NewChild;
use children::ReadyQueue;
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

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name:?}"),
            None => write!(f, "spawned at {}", self.location),
        }
    }
}

/// How a task ended.
pub(crate) enum End {
    /// The output is in the allocation. Those of children are in their child set.
    Output(Option<Pin<Box<dyn Task>>>),
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

/// The row of a task or child. The state and the allocation are separate fields, each moved as a whole: an enum of both
/// would be written in one size and read in another, which costs more than everything else in a poll.
struct TaskRow {
    /// The task, or the payload of its panic. `None` while the task runs; and for the future that `block_on` holds
    /// itself, and those of children.
    task: Option<Pin<Box<dyn Task>>>,
    state: TaskState,
    /// Polls in which a leaf was rejected while the task was canceled.
    rejections: u8,
    child_of: ChildOf,
    joiner: Option<Waker>,
    /// The owner of the wait of `joiner`.
    join_owner: Owner,
    /// The task's own scope, if it has one; otherwise the scope that it belongs to.
    scope: Key,
    /// The leaf that the task waits for, while it has no scope of its own.
    leaf: Option<Leaf>,
    origin: Origin,
}

/// The child set that polls a child, and the child's slot there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ChildOf {
    set: u32,
    slot: u32,
}

impl ChildOf {
    /// Marks a task of the runtime itself, which is not a child.
    const NONE: ChildOf = ChildOf {
        set: u32::MAX,
        slot: 0,
    };
}

/// A task's position in the scope tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TaskScope {
    /// The task's own scope, if it has one; otherwise the scope that it belongs to.
    pub(crate) scope: Key,
    pub(crate) state: TaskState,
}

impl TaskRow {
    #[inline(always)]
    fn new(
        task: Option<Pin<Box<dyn Task>>>,
        state: TaskState,
        child_of: ChildOf,
        scope: Key,
        origin: Origin,
    ) -> TaskRow {
        TaskRow {
            task,
            state,
            rejections: 0,
            child_of,
            joiner: None,
            join_owner: Owner::scope(scope),
            scope,
            leaf: None,
            origin,
        }
    }

    /// Begins a poll, if the task is to be polled now.
    #[inline(always)]
    fn begin_poll(&mut self, key: Key) -> Option<ReadyTask> {
        self.state.begin_poll().then(|| ReadyTask {
            key,
            state: self.state,
            leaf: self.leaf,
            task: self.task.take(),
        })
    }
}

/// A task or child that is to be polled now, or dropped if it was aborted.
pub(crate) struct ReadyTask {
    pub(crate) key: Key,
    pub(crate) state: TaskState,
    /// The leaf that it waits for, if it has no scope of its own.
    pub(crate) leaf: Option<Leaf>,
    /// `None` for a child, and for the future that `block_on` holds itself.
    pub(crate) task: Option<Pin<Box<dyn Task>>>,
}

/// The work that the end of a task leaves to do, outside the borrow.
#[must_use = "a joiner is to be woken, a scope to be closed, and a result to be disposed of"]
pub(crate) struct Finished {
    /// The joiner, if it is not a task of this runtime, which has been woken.
    pub(crate) joiner: Option<Waker>,
    /// The task's own scope.
    pub(crate) scope: Option<Key>,
    /// Whether a handle will take the result.
    pub(crate) is_claimed: bool,
}

/// The result of a task that no handle will take.
pub(crate) struct Unclaimed {
    pub(crate) end: End,
    pub(crate) origin: Origin,
    /// Whether to report a failure.
    pub(crate) is_reported: bool,
    /// The slot of a child in its child set.
    pub(crate) slot: u32,
}

/// The tasks of one runtime.
pub(crate) struct Tasks {
    runtime: u16,
    rows: Table<TaskRow>,
    ready: KeyQueue,
    /// Rows that have not ended, not counting children.
    alive: usize,
    /// One for each child set.
    sets: Table<ReadyQueue>,
}

impl Tasks {
    pub(crate) fn new(runtime: u16) -> Tasks {
        Tasks {
            runtime,
            rows: Table::new(),
            ready: KeyQueue::default(),
            alive: 0,
            sets: Table::new(),
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
        let state = TaskState::new(Stage::Parked, true, claim);
        let row = TaskRow::new(task, state, ChildOf::NONE, scope, origin);
        let key = self.rows.insert(row);
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
            .max(self.sets.tidy(period))
    }

    // Scopes of tasks.

    #[inline]
    pub(crate) fn task_scope(&self, key: Key) -> Option<TaskScope> {
        let row = self.rows.get(key)?;
        Some(TaskScope {
            scope: row.scope,
            state: row.state,
        })
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
            row.state.give_scope();
            row.leaf = None;
        }
    }

    /// Cancels a task that has no scope of its own. Returns whether it was not canceled before.
    pub(crate) fn cancel(&mut self, key: Key) -> bool {
        let row = self.rows.get_mut(key);
        row.is_some_and(|row| row.state.cancel())
    }

    /// Counts a poll of a canceled task in which a leaf was rejected, if this was one. Returns the number of such polls.
    pub(crate) fn count_rejections(&mut self, key: Key, was_rejected: bool) -> u32 {
        self.rows.get_mut(key).map_or(0, |row| {
            row.rejections = row.rejections.saturating_add(u8::from(was_rejected));
            u32::from(row.rejections)
        })
    }

    /// Whether a task is queued to be polled again.
    #[inline]
    pub(crate) fn is_woken(&self, key: Key) -> bool {
        self.rows.get(key).is_some_and(|row| row.state.is_queued())
    }

    /// Returns every task of the runtime itself that has no scope of its own and has not ended.
    pub(crate) fn without_scope(&self) -> Vec<Key> {
        self.own(|state| !state.has_scope() && !state.has_ended())
    }

    /// Returns every task of the runtime itself, ended or not, whose state `is_wanted`.
    fn own(&self, is_wanted: impl Fn(TaskState) -> bool) -> Vec<Key> {
        self.rows
            .keys(&|row| row.child_of == ChildOf::NONE && is_wanted(row.state))
    }

    /// Whether a join of this task is pending for this owner.
    pub(crate) fn is_joined(&self, key: Key, place: Owner) -> bool {
        let row = self.rows.get(key);
        row.is_some_and(|row| {
            row.joiner.is_some() && row.join_owner == place && !row.state.has_ended()
        })
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
            // A task that has ended is skipped by `next`.
            && row.state.wake()
        {
            if row.child_of == ChildOf::NONE {
                self.ready.push(key);
            } else {
                let child_of = row.child_of;
                return self.wake_parent(key, child_of);
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
                && row.child_of == ChildOf::NONE
                && let Some(ready) = row.begin_poll(key)
            {
                return Some(ready);
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
        (!row.state.has_ended()).then_some(&mut row.task)
    }

    /// Parks a task or child that was polled and is pending. Returns whether it was woken during the poll.
    #[inline]
    pub(crate) fn park(
        &mut self,
        key: Key,
        task: Option<Pin<Box<dyn Task>>>,
        leaf: Option<Leaf>,
    ) -> bool {
        let Some(row) = self.rows.get_mut(key) else {
            unreachable!("K2: a task that is being polled has not ended")
        };
        row.leaf = leaf;
        // `next` took the future out, so there is nothing to drop.
        let before = std::mem::replace(&mut row.task, task);
        debug_assert!(before.is_none());
        std::mem::forget(before);
        row.state.park()
    }

    /// Stores the leaf of a task after its poll, if it has no scope of its own. Returns whether it was woken during the
    /// poll.
    #[inline]
    pub(crate) fn keep_leaf(&mut self, key: Key, leaf: Option<Leaf>) -> bool {
        self.rows.get_mut(key).is_some_and(|row| {
            row.leaf = leaf;
            row.state.is_queued()
        })
    }

    /// Ends a task or child whose future has completed or was dropped, and wakes its joiner.
    #[inline]
    pub(crate) fn finish(&mut self, key: Key, end: End) -> Finished {
        let Some(row) = self.rows.get_mut(key) else {
            unreachable!("K2: a task ends once")
        };
        self.alive -= usize::from(row.child_of == ChildOf::NONE);
        let stage = match end {
            End::Output(task) => {
                row.task = task;
                Stage::Output
            }
            End::Panicked(payload) => {
                row.task = Some(Box::pin(PanicPayload(Some(payload))));
                Stage::Panicked
            }
            End::Aborted => Stage::Aborted,
        };
        let scope = row.state.end(stage).then_some(row.scope);
        let is_claimed = row.state.claim() == Claim::Handle;
        let joiner = row.joiner.take();
        let joiner = match joiner.as_ref().and_then(wake_id_of) {
            Some(name) if self.is_ours(name) => self.wake(name),
            _ => joiner,
        };
        Finished {
            joiner,
            scope,
            is_claimed,
        }
    }

    /// Removes the row of a task or child that has ended (K2). Returns the result, and the slot of a child.
    #[inline]
    pub(crate) fn take_end(&mut self, key: Key) -> Option<(End, u32)> {
        self.take_row(key, |row, end| (end, row.child_of.slot))
    }

    /// Removes the row of a task or child that has ended and has no handle (K2).
    pub(crate) fn take_unclaimed(&mut self, key: Key) -> Option<Unclaimed> {
        self.take_row(key, |row, end| Unclaimed {
            end,
            origin: Origin {
                name: row.origin.name.take(),
                location: row.origin.location,
            },
            is_reported: row.state.claim() == Claim::Reported,
            slot: row.child_of.slot,
        })
    }

    #[inline(always)]
    fn take_row<R>(&mut self, key: Key, take: impl FnOnce(&mut TaskRow, End) -> R) -> Option<R> {
        self.rows.take_out(key, |row| {
            let end = match row.state.stage() {
                Stage::Output => End::Output(row.task.take()),
                Stage::Panicked => End::Panicked(PanicPayload::take(row.task.take()?)?),
                Stage::Aborted => End::Aborted,
                Stage::Waiting | Stage::Parked | Stage::Running => return None,
            };
            Some(take(row, end))
        })
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
        self.rows.get(key).is_none_or(|row| row.state.has_ended())
    }

    /// Releases the row when its handle is gone. Returns the joiner and the result, for the caller to drop outside the
    /// borrow.
    #[inline]
    pub(crate) fn release(&mut self, key: Key, claim: Claim) -> (Option<Waker>, Option<Unclaimed>) {
        let Some(row) = self.rows.get_mut(key) else {
            return (None, None);
        };
        row.state.release(claim);
        (row.joiner.take(), self.take_unclaimed(key))
    }

    /// Marks the task to be dropped at its next turn (C14). Does nothing if it has ended.
    pub(crate) fn abort(&mut self, key: Key) {
        if let Some(row) = self.rows.get_mut(key)
            && row.state.abort()
        {
            let name = self.name(key);
            let foreign = self.wake(name);
            debug_assert!(foreign.is_none(), "only tasks of the runtime are aborted");
        }
    }

    /// Marks every spawned task to be dropped. Children are dropped with the futures that own them.
    pub(crate) fn abort_all(&mut self) {
        for key in self.own(|_| true) {
            self.abort(key);
        }
    }

    /// Removes the row of the future of `block_on`. Returns its own scope, if it has one, for the caller to close.
    pub(crate) fn remove_main(&mut self, key: Key) -> Option<Key> {
        self.alive -= 1;
        match self.rows.remove(key) {
            Some(row) => row.state.has_scope().then_some(row.scope),
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
            if child_of == ChildOf::NONE {
                return true;
            }
            let above = match self.sets.at(child_of.set) {
                Some((_, set)) if set.ready.len() == 0 => set.waker.as_ref(),
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
            .filter(|(_, row)| !row.state.has_ended())
            .map(|(key, row)| (key, &row.origin, row.state.is_queued()))
    }

    /// Returns the origin of the task with this wake ID.
    pub(crate) fn origin_of(&self, name: WakeId) -> Option<&Origin> {
        let (key, row) = self.rows.at(name.index())?;
        name.fits(key).then_some(&row.origin)
    }

    /// Takes the results that handles have not taken, at shutdown. The handles find nothing.
    pub(crate) fn take_ended(&mut self) -> Vec<Unclaimed> {
        let ended = self.own(TaskState::has_ended).into_iter();
        ended.filter_map(|key| self.take_unclaimed(key)).collect()
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
