//! The tree itself.

use super::leaves::{LeafStatus, Leaves};
use crate::table::{Excess, Key, Leaf, Table};
use std::fmt;

/// The key of no row: rows never have generation zero.
const NONE: Key = Key::new(0, 0);

/// The outlook of a scope that is canceled, and of one that has no deadline around it (S5).
pub(crate) const CANCELED: u64 = 0;
pub(crate) const NEVER: u64 = u64::MAX;

/// The kind of a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScopeKind {
    /// The scope of a task that awaits several leaves at once or has opened a scope.
    Task,
    /// The scope of a timeout, or one that a user opened.
    Plain,
    /// A scope into which a cancel from outside does not spread.
    Shield,
    /// A scope with children, which waits for them.
    Group,
}

struct ScopeRow<W, M> {
    parent: Key,
    first_child: Key,
    next: Key,
    before: Key,
    kind: ScopeKind,
    /// Whether this scope itself was canceled.
    cancel_called: bool,
    /// Whether it is canceled, itself or from above (S1).
    canceled: bool,
    /// Whether a leaf that ended `Canceled` was attributed to it.
    attributed: bool,
    /// Set during a cancel's walk if the scope's future is being polled.
    polled: bool,
    /// Whether its future is woken when an orphan in it or below it ends or moves away.
    watched: bool,
    /// Its own deadline in nanoseconds, or `NEVER`.
    deadline: u64,
    /// The cell that shows its outlook to other threads.
    mirror: Option<M>,
    /// The waker to wake when it is canceled.
    wake: Option<W>,
    leaves: Leaves,
}

/// Leaves and wakers to notify after a cancel.
#[derive(Debug)]
#[must_use]
pub(crate) struct CancelEffects<W, M> {
    /// Leaves to notify, each with the scope where it must still be pending. One that left and came back may be listed
    /// twice.
    pub(crate) leaves: Vec<(Leaf, Key)>,
    pub(crate) woken: Vec<W>,
    pub(crate) mirrored: Mirrored<M>,
}

/// Mirrors of scopes whose outlook may have changed, each with its new value.
pub(crate) type Mirrored<M> = Vec<(M, u64)>;

impl<W, M> Default for CancelEffects<W, M> {
    fn default() -> CancelEffects<W, M> {
        CancelEffects {
            leaves: Vec::new(),
            woken: Vec::new(),
            mirrored: Vec::new(),
        }
    }
}

impl<W, M> CancelEffects<W, M> {
    /// Returns the capacity of the largest list.
    pub(crate) fn capacity(&self) -> usize {
        let others = self.woken.capacity().max(self.mirrored.capacity());
        self.leaves.capacity().max(others)
    }
}

/// The scopes of one runtime. `W` is the waker of the future that runs in a scope, and `M` the cell that shows its
/// outlook to other threads.
pub(crate) struct Scopes<W, M> {
    rows: Table<ScopeRow<W, M>>,
    root: Key,
    /// The number of scopes that have a mirror.
    mirrors: usize,
    /// The number of scopes of tasks, including the root.
    of_tasks: usize,
}

const OWNED: &str = "S3: the opener of a scope owns its row until it closes it";

impl<W, M: Clone> Scopes<W, M> {
    pub(crate) fn new() -> Scopes<W, M> {
        let mut rows = Table::new();
        let root = rows.insert(ScopeRow::new(NONE, ScopeKind::Task));
        Scopes {
            rows,
            root,
            mirrors: 0,
            of_tasks: 1,
        }
    }

    pub(crate) fn root(&self) -> Key {
        self.root
    }

    /// Returns the number of open scopes, not counting those of tasks.
    pub(crate) fn len(&self) -> usize {
        self.rows.len() - self.of_tasks
    }

    /// Frees a part of the memory that a peak has left. Returns whether there is more to free.
    pub(crate) fn tidy(&mut self, period: u32) -> Excess {
        self.rows.tidy(period)
    }

    #[inline]
    fn row(&self, key: Key) -> &ScopeRow<W, M> {
        self.rows.get(key).expect(OWNED)
    }

    #[inline]
    fn row_mut(&mut self, key: Key) -> &mut ScopeRow<W, M> {
        self.rows.get_mut(key).expect(OWNED)
    }

    /// Opens a scope below this one.
    pub(crate) fn open(&mut self, parent: Key, kind: ScopeKind) -> Key {
        let above = self.row(parent);
        let mut row = ScopeRow::new(parent, kind);
        row.next = above.first_child;
        row.canceled = kind != ScopeKind::Shield && above.canceled;
        let key = self.rows.insert(row);
        self.of_tasks += usize::from(kind == ScopeKind::Task);
        let next = std::mem::replace(&mut self.row_mut(parent).first_child, key);
        if next != NONE {
            self.row_mut(next).before = key;
        }
        key
    }

    /// Whether a scope is canceled from above (S1).
    fn inherits(&self, key: Key) -> bool {
        let row = self.row(key);
        row.kind != ScopeKind::Shield && self.row(row.parent).canceled
    }

    fn link(&mut self, key: Key, parent: Key) {
        let next = std::mem::replace(&mut self.row_mut(parent).first_child, key);
        if next != NONE {
            self.row_mut(next).before = key;
        }
        let row = self.row_mut(key);
        row.parent = parent;
        row.before = NONE;
        row.next = next;
    }

    fn unlink(&mut self, key: Key) {
        let row = self.row(key);
        self.bridge(row.parent, row.before, row.next);
    }

    /// Links these two siblings, to remove the scope between them.
    #[inline]
    fn bridge(&mut self, parent: Key, before: Key, next: Key) {
        match before {
            NONE => self.row_mut(parent).first_child = next,
            before => self.row_mut(before).next = next,
        }
        if next != NONE {
            self.row_mut(next).before = before;
        }
    }

    /// Closes a scope. Returns its waker and its enlisted leaves, of which those still pending move to the parent.
    pub(crate) fn close(&mut self, key: Key) -> Closed<W, M> {
        assert!(key != self.root, "the root is never closed");
        // Scopes whose futures have moved elsewhere.
        let outlived = match self.row(key).first_child {
            NONE => None,
            _ => Some(self.hand_children_up(key)),
        };
        match self.rows.remove(key) {
            Some(row) => {
                self.bridge(row.parent, row.before, row.next);
                self.of_tasks -= usize::from(row.kind == ScopeKind::Task);
                self.mirrors -= usize::from(row.mirror.is_some());
                Closed {
                    parent: row.parent,
                    outlived,
                    attributed: row.attributed,
                    wake: row.wake,
                    leaves: row.leaves,
                }
            }
            None => unreachable!("S3: it was found above"),
        }
    }

    #[cold]
    fn hand_children_up(&mut self, key: Key) -> CancelEffects<W, M> {
        let mut effects = CancelEffects::default();
        let parent = self.row(key).parent;
        loop {
            match self.row(key).first_child {
                NONE => return effects,
                child => self.hang_below(child, parent, &mut effects),
            }
        }
    }

    /// Moves a scope, with all below it, to a new parent, because its future is now polled there.
    pub(crate) fn move_below(&mut self, key: Key, parent: Key, effects: &mut CancelEffects<W, M>) {
        debug_assert!(key != self.root && !self.is_at_or_below(parent, key), "S3");
        // An orphan may move along: wake the futures above that wait for it, unless they are also above the new parent.
        let mut at = self.row(key).parent;
        while let Some(row) = self.rows.get(at) {
            let above = row.parent;
            if row.watched {
                if self.is_at_or_below(parent, at) {
                    break;
                }
                let row = self.row_mut(at);
                row.watched = false;
                effects.woken.extend(row.wake.take());
            }
            at = above;
        }
        self.hang_below(key, parent, effects);
    }

    fn hang_below(&mut self, key: Key, parent: Key, effects: &mut CancelEffects<W, M>) {
        self.unlink(key);
        self.link(key, parent);
        let row = self.row(key);
        let canceled = row.cancel_called || self.inherits(key);
        match (row.canceled, canceled) {
            (false, true) => self.spread(key, effects),
            (true, false) => self.recede(key),
            _ => {}
        }
        self.reflect(key, &mut effects.mirrored);
    }

    #[cfg(test)]
    pub(crate) fn parent(&self, key: Key) -> Key {
        self.row(key).parent
    }

    /// Cancels a scope and all below it that is not shielded. If `inside` is a scope at or below it, the futures from
    /// there up to this one are being polled: they check by themselves, and need not be woken.
    pub(crate) fn cancel(
        &mut self,
        key: Key,
        inside: Option<Key>,
        effects: &mut CancelEffects<W, M>,
    ) {
        let row = self.row_mut(key);
        row.cancel_called = true;
        if row.canceled {
            return;
        }
        if row.first_child == NONE {
            row.cancel(key, inside == Some(key), effects);
        } else {
            let inside = inside.filter(|inside| self.is_at_or_below(*inside, key));
            self.mark_polled(inside, key, true);
            self.spread(key, effects);
            // The walk has skipped shielded scopes.
            self.mark_polled(inside, key, false);
        }
        self.reflect(key, &mut effects.mirrored);
    }

    /// Sets the deadline of a scope, or removes it with `NEVER`. The tree does not know the time: the caller cancels the
    /// scope.
    #[inline]
    pub(crate) fn limit(&mut self, key: Key, deadline: u64, mirrored: &mut Mirrored<M>) {
        self.row_mut(key).deadline = deadline;
        self.reflect(key, mirrored);
    }

    /// Mirrors the outlook of a scope until it is closed.
    pub(crate) fn mirror(&mut self, key: Key, mirror: M, mirrored: &mut Mirrored<M>) {
        let replaced = self.row_mut(key).mirror.replace(mirror);
        self.mirrors += usize::from(replaced.is_none());
        self.reflect(key, mirrored);
    }

    /// Updates the mirrors of this scope and all below it, whose outlook may have changed.
    #[inline]
    fn reflect(&self, top: Key, mirrored: &mut Mirrored<M>) {
        if self.mirrors > 0 {
            self.reflect_below(top, mirrored);
        }
    }

    #[cold]
    fn reflect_below(&self, top: Key, mirrored: &mut Mirrored<M>) {
        let mut at = Some(top);
        while let Some(key) = at {
            let row = self.row(key);
            let stops = key != top && row.kind == ScopeKind::Shield;
            if !stops && let Some(mirror) = &row.mirror {
                mirrored.push((mirror.clone(), self.outlook(key)));
            }
            at = self.after(key, top, !stops);
        }
    }

    /// Returns a scope and those around it, up to and including the next shield.
    fn around(&self, key: Key) -> impl Iterator<Item = (Key, &ScopeRow<W, M>)> {
        let mut next = Some(key);
        std::iter::from_fn(move || {
            let at = next?;
            let row = self.rows.get(at)?;
            next = (row.kind != ScopeKind::Shield).then_some(row.parent);
            Some((at, row))
        })
    }

    /// Returns the outlook of a scope (S5): `CANCELED`, or the earliest deadline around it, or `NEVER`.
    pub(crate) fn outlook(&self, key: Key) -> u64 {
        if self.row(key).canceled {
            return CANCELED;
        }
        let deadlines = self.around(key).map(|(_, row)| row.deadline);
        deadlines.min().unwrap_or(NEVER)
    }

    /// Returns the outermost scope around this one whose deadline has passed by `now`.
    pub(crate) fn outermost_due(&self, key: Key, now: u64) -> Option<Key> {
        let due = self.around(key).filter(|(_, row)| row.deadline <= now);
        due.last().map(|(key, _)| key)
    }

    /// Sets whether the futures of the scopes from `inside` up to `top` are being polled.
    fn mark_polled(&mut self, inside: Option<Key>, top: Key, polled: bool) {
        let Some(mut at) = inside else {
            return;
        };
        loop {
            let row = self.row_mut(at);
            row.polled = polled;
            if at == top {
                return;
            }
            at = row.parent;
        }
    }

    /// Marks a scope and all below it as canceled, except for shields, scopes that are already canceled, and all below
    /// those.
    fn spread(&mut self, top: Key, effects: &mut CancelEffects<W, M>) {
        let mut at = Some(top);
        while let Some(key) = at {
            let row = self.row_mut(key);
            let stops = key != top && (row.kind == ScopeKind::Shield || row.canceled);
            if !stops {
                row.cancel(key, row.polled, effects);
            }
            at = self.after(key, top, !stops);
        }
    }

    /// Clears the cancel that came from above, in a scope and all below it.
    fn recede(&mut self, top: Key) {
        let mut at = Some(top);
        while let Some(key) = at {
            let row = self.row_mut(key);
            let stops = row.cancel_called || key != top && row.kind == ScopeKind::Shield;
            if !stops {
                row.canceled = false;
            }
            at = self.after(key, top, !stops);
        }
    }

    /// Returns the next scope in a preorder walk below `top`, with or without the scopes below this one (S4).
    fn after(&self, key: Key, top: Key, down: bool) -> Option<Key> {
        let mut row = self.row(key);
        if down && row.first_child != NONE {
            return Some(row.first_child);
        }
        let mut at = key;
        while at != top {
            if row.next != NONE {
                return Some(row.next);
            }
            at = row.parent;
            row = self.row(at);
        }
        None
    }

    #[inline]
    pub(crate) fn is_canceled(&self, key: Key) -> bool {
        self.row(key).canceled
    }

    /// Adds a pending leaf to this scope.
    #[inline]
    pub(crate) fn enlist(&mut self, key: Key, leaf: Leaf, status: impl Fn(Leaf) -> LeafStatus) {
        self.row_mut(key).leaves.add(leaf, status);
    }

    /// Sets the waker to wake when the scope is canceled. Returns the replaced one, for the caller to drop.
    pub(crate) fn wake_with(&mut self, key: Key, wake: W) -> Option<W> {
        self.row_mut(key).wake.replace(wake)
    }

    /// Returns whether the scope still has this parent, whether `wakes` accepts its waker, and whether it is canceled.
    #[inline]
    pub(crate) fn is_as_before(
        &self,
        key: Key,
        parent: Key,
        wakes: impl FnOnce(&W) -> bool,
    ) -> (bool, bool, bool) {
        let row = self.row(key);
        let same = row.wake.as_ref().is_some_and(wakes);
        (row.parent == parent, same, row.canceled)
    }

    pub(crate) fn wake_of(&self, key: Key) -> Option<&W> {
        self.row(key).wake.as_ref()
    }

    /// Whether the scope is open and canceled.
    pub(crate) fn is_open_and_canceled(&self, key: Key) -> bool {
        self.rows.get(key).is_some_and(|row| row.canceled)
    }

    pub(crate) fn take_wake(&mut self, key: Key) -> Option<W> {
        self.row_mut(key).wake.take()
    }

    /// Returns the outermost canceled scope that is visible from this one, to which a leaf that ends here is attributed.
    pub(crate) fn outermost(&self, key: Key) -> Option<Key> {
        let mut found = None;
        let mut at = key;
        while let Some(row) = self.rows.get(at) {
            if row.cancel_called {
                found = Some(at);
            }
            // Above a scope that is not canceled, no visible scope is (S1).
            if row.kind == ScopeKind::Shield || !row.canceled {
                break;
            }
            at = row.parent;
        }
        found
    }

    /// Attributes a leaf that ended `Canceled` in this scope, and returns the scope that it is attributed to.
    pub(crate) fn attribute_outermost(&mut self, key: Key) -> Option<Key> {
        let outermost = self.outermost(key)?;
        self.row_mut(outermost).attributed = true;
        Some(outermost)
    }

    pub(crate) fn is_at_or_below(&self, key: Key, above: Key) -> bool {
        let mut at = key;
        while let Some(row) = self.rows.get(at) {
            if at == above {
                return true;
            }
            at = row.parent;
        }
        false
    }

    /// Returns the status of the first leaf, in this scope or below it, that the runtime will still complete. A shield
    /// or a group below ends by itself, and counts as a pending leaf.
    pub(crate) fn pending(
        &mut self,
        top: Key,
        status: impl Fn(Leaf, Key) -> LeafStatus,
    ) -> LeafStatus {
        let mut at = Some(top);
        while let Some(key) = at {
            let row = self.row_mut(key);
            if key != top && matches!(row.kind, ScopeKind::Shield | ScopeKind::Group) {
                return LeafStatus::Pending;
            }
            let found = row.leaves.pending(|leaf| status(leaf, key));
            if found != LeafStatus::Finished {
                return found;
            }
            at = self.after(key, top, true);
        }
        LeafStatus::Finished
    }

    /// Whether a shield is open below this scope.
    pub(crate) fn has_shield(&self, top: Key) -> bool {
        self.any(top, |key, row| key != top && row.kind == ScopeKind::Shield)
    }

    /// Whether this scope, or one below it, has an orphan.
    pub(crate) fn has_orphan(&self, top: Key, status: impl Fn(Leaf, Key) -> LeafStatus) -> bool {
        self.any(top, |key, row| {
            let mut leaves = row.leaves.iter();
            leaves.any(|leaf| status(leaf, key) == LeafStatus::Orphaned)
        })
    }

    fn any(&self, top: Key, test: impl Fn(Key, &ScopeRow<W, M>) -> bool) -> bool {
        let mut at = Some(top);
        while let Some(key) = at {
            if test(key, self.row(key)) {
                return true;
            }
            at = self.after(key, top, true);
        }
        false
    }

    /// Has the scope's future woken when an orphan in it or below it ends or moves away.
    pub(crate) fn watch(&mut self, key: Key) {
        self.row_mut(key).watched = true;
    }

    /// Handles the end of an orphan of this scope: adds the wakers of the watching scopes to `woken`.
    pub(crate) fn orphan_ended(&mut self, key: Key, woken: &mut Vec<W>) {
        let mut at = key;
        while let Some(row) = self.rows.get_mut(at) {
            if std::mem::take(&mut row.watched) {
                woken.extend(row.wake.take());
            }
            at = row.parent;
        }
    }

    /// Takes the wakers of all scopes, for the caller to drop at shutdown.
    pub(crate) fn take_wakes(&mut self) -> Vec<W> {
        let rows = self.rows.iter_mut();
        rows.filter_map(|row| row.wake.take()).collect()
    }
}

impl<W, M> ScopeRow<W, M> {
    /// Marks the scope as canceled. Its future need not be woken if it is being polled.
    fn cancel(&mut self, key: Key, is_polled: bool, effects: &mut CancelEffects<W, M>) {
        self.canceled = true;
        if !is_polled {
            effects.woken.extend(self.wake.take());
        }
        effects
            .leaves
            .extend(self.leaves.iter().map(|leaf| (leaf, key)));
    }

    fn new(parent: Key, kind: ScopeKind) -> ScopeRow<W, M> {
        ScopeRow {
            parent,
            first_child: NONE,
            next: NONE,
            before: NONE,
            kind,
            cancel_called: false,
            canceled: false,
            attributed: false,
            polled: false,
            watched: false,
            deadline: NEVER,
            mirror: None,
            wake: None,
            leaves: Leaves::default(),
        }
    }
}

/// What remains of a closed scope.
#[must_use]
pub(crate) struct Closed<W, M> {
    pub(crate) parent: Key,
    /// The effects on scopes that outlived it and are now below its parent.
    pub(crate) outlived: Option<CancelEffects<W, M>>,
    /// Whether a leaf that ended `Canceled` was attributed to it.
    pub(crate) attributed: bool,
    pub(crate) wake: Option<W>,
    leaves: Leaves,
}

impl<W, M> Closed<W, M> {
    /// Returns the leaves that may still be pending.
    pub(crate) fn leaves(&self) -> impl Iterator<Item = Leaf> {
        self.leaves.iter()
    }
}

impl<W, M: Clone> fmt::Debug for Scopes<W, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scopes")
            .field("open", &self.len())
            .finish_non_exhaustive()
    }
}
