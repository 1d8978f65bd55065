//! Checks the tree against a model written directly from the rules: every short sequence of events, then long random
//! ones.
//!
//! The model keeps no flags that would have to spread. It stores the parent of each scope, which scopes were canceled
//! themselves, and where each leaf is; everything else about a scope it recomputes each time.

use super::*;
use crate::table::{Key, Leaf, LeafKind};
use common::quick_or_full;
use proptest::collection::vec;
use proptest::prelude::*;
use std::cell::RefCell;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;

const RANKS: [ScopeKind; 3] = [ScopeKind::Plain, ScopeKind::Shield, ScopeKind::Group];

/// The scopes that a short sequence opens, each below the one before, and the leaves that are pending in it at once.
const NESTED: usize = 3;
const LEAVES_AT_ONCE: usize = 2;

/// The open scopes in a random tree, and the steps of its life, of which some are not possible.
const SCOPES_MAX: usize = 30;
const STEPS_MAX: usize = 600;

/// The tree under test, with numbers for wakers and mirrors.
type Tree = Scopes<u32, usize>;

/// The deadlines that a scope may have.
const DEADLINES: [u64; 3] = [NEVER, 10, 20];

/// What cancels a scope: the tree does not distinguish them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Hand,
    Deadline,
}

/// An event in the life of a tree. Scopes and leaves are numbered in order of creation; scope 0 is the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// A scope is opened below this one.
    Open(usize, ScopeKind),
    Cancel(usize, By),
    /// A scope gets this deadline.
    Limit(usize, u64),
    /// The outlook of a scope is mirrored from now on.
    Mirror(usize),
    /// The future of a scope is polled where the second scope is current.
    Poll(usize, usize),
    Close(usize),
    /// The future of this scope waits for the orphans below it.
    Watch(usize),
    /// A leaf starts in this scope.
    Start(usize),
    /// A leaf is polled in another scope than before.
    Repoll(usize, usize),
    Complete(usize),
    /// A leaf's future is dropped while its operation is still in the kernel.
    Drop(usize),
    OrphanEnds(usize),
    /// A leaf ends `Canceled`, and the cancel is attributed.
    EndCanceled(usize),
}

#[derive(Debug)]
struct Node {
    key: Key,
    parent: Option<usize>,
    kind: ScopeKind,
    is_open: bool,
    asked: u32,
    /// The first cause of its cancellation.
    by: Option<By>,
    has_deadline: bool,
    deadline: u64,
    mirrored: bool,
    attributed: bool,
    wake: Option<u32>,
    watched: bool,
}

impl Node {
    fn new(key: Key, parent: Option<usize>, kind: ScopeKind, wake: Option<u32>) -> Node {
        Node {
            key,
            parent,
            kind,
            is_open: true,
            asked: 0,
            by: None,
            has_deadline: parent.is_some(),
            deadline: NEVER,
            mirrored: false,
            attributed: false,
            wake,
            watched: false,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pending {
    status: LeafStatus,
    at: usize,
    /// Every scope that the leaf was in, once for each time that it entered.
    places: Vec<usize>,
    effects: bool,
}

/// The state before an event, to tell what the event changed.
struct Before {
    canceled: Vec<bool>,
    wakes: Vec<Option<u32>>,
}

/// The tree and its model, side by side.
struct World {
    tree: Tree,
    nodes: Vec<Node>,
    leaves: Vec<Pending>,
    wakes: u32,
    /// The value in each scope's mirror, if it has one.
    shown: Vec<Option<u64>>,
    /// Leaves that ended `Canceled` because of a call to cancel, and because of a deadline.
    responsible: [u32; 2],
}

fn leaf(n: usize) -> Leaf {
    Leaf::new(LeafKind::Operation, Key::new(n as u32, 1))
}

fn number(leaf: Leaf) -> usize {
    leaf.key().index() as usize
}

/// Returns the status that the operation table would report.
fn status(nodes: &[Node], leaves: &[Pending], leaf: Leaf, scope: Key) -> LeafStatus {
    let pending = &leaves[number(leaf)];
    if nodes[pending.at].key == scope {
        pending.status
    } else {
        LeafStatus::Finished
    }
}

impl World {
    fn new() -> World {
        let tree = Scopes::new();
        let root = Node::new(tree.root(), None, ScopeKind::Plain, None);
        World {
            tree,
            nodes: vec![root],
            leaves: Vec::new(),
            wakes: 0,
            shown: vec![None],
            responsible: [0; 2],
        }
    }

    // The model: each rule computed from scratch.

    fn open_scopes(&self) -> impl Iterator<Item = usize> {
        (0..self.nodes.len()).filter(|i| self.nodes[*i].is_open)
    }

    fn is_at_or_below(&self, scope: usize, above: usize) -> bool {
        let parent = self.nodes[scope].parent;
        scope == above || parent.is_some_and(|parent| self.is_at_or_below(parent, above))
    }

    /// Returns the scope from which a cancel spreads into this one.
    fn outside(&self, scope: usize) -> Option<usize> {
        let node = &self.nodes[scope];
        node.parent.filter(|_| node.kind != ScopeKind::Shield)
    }

    /// S1.
    fn is_canceled(&self, scope: usize) -> bool {
        let outside = self.outside(scope);
        self.nodes[scope].asked > 0 || outside.is_some_and(|outside| self.is_canceled(outside))
    }

    /// C7: an outer scope has precedence.
    fn outermost(&self, scope: usize) -> Option<usize> {
        let outside = self.outside(scope);
        let found = outside.and_then(|outside| self.outermost(outside));
        found.or((self.nodes[scope].asked > 0).then_some(scope))
    }

    /// S5.
    fn outlook(&self, scope: usize) -> u64 {
        if self.is_canceled(scope) {
            return CANCELED;
        }
        let outside = self.outside(scope).map(|outside| self.outlook(outside));
        self.nodes[scope].deadline.min(outside.unwrap_or(NEVER))
    }

    /// Returns the outermost scope that is visible from this one and whose deadline has passed.
    fn outermost_due(&self, scope: usize, now: u64) -> Option<usize> {
        let outside = self.outside(scope);
        let found = outside.and_then(|outside| self.outermost_due(outside, now));
        found.or((self.nodes[scope].deadline <= now).then_some(scope))
    }

    fn has_leaf(&self, scope: usize, is: impl Fn(LeafStatus) -> bool) -> bool {
        let mut leaves = self.leaves.iter();
        leaves.any(|leaf| is(leaf.status) && self.is_at_or_below(leaf.at, scope))
    }

    fn has_orphan(&self, scope: usize) -> bool {
        self.has_leaf(scope, |status| status == LeafStatus::Orphaned)
    }

    fn has_below(&self, scope: usize, is: impl Fn(ScopeKind) -> bool) -> bool {
        self.open_scopes()
            .any(|at| at != scope && is(self.nodes[at].kind) && self.is_at_or_below(at, scope))
    }

    /// C6.
    fn is_busy(&self, scope: usize) -> bool {
        self.has_leaf(scope, |status| status != LeafStatus::Finished)
            || self.has_below(scope, |kind| kind != ScopeKind::Plain)
    }

    // The possible events, and their effects.

    fn is_possible(&self, event: Event) -> bool {
        let is_open = |scope: usize| self.nodes[scope].is_open;
        let is = |n: usize, status| self.leaves[n].status == status;
        match event {
            Event::Open(scope, _) | Event::Cancel(scope, By::Hand) | Event::Start(scope) => {
                is_open(scope)
            }
            Event::Limit(scope, deadline) => {
                scope != 0 && is_open(scope) && self.nodes[scope].deadline != deadline
            }
            Event::Mirror(scope) => is_open(scope),
            Event::Cancel(scope, By::Deadline) => is_open(scope) && self.nodes[scope].has_deadline,
            Event::Poll(scope, parent) => {
                scope != 0
                    && is_open(scope)
                    && is_open(parent)
                    && !self.is_at_or_below(parent, scope)
            }
            Event::Close(scope) => scope != 0 && is_open(scope),
            Event::Watch(scope) => is_open(scope) && self.has_orphan(scope),
            Event::Repoll(n, scope) => {
                is(n, LeafStatus::Pending) && is_open(scope) && self.leaves[n].at != scope
            }
            Event::Complete(n) | Event::Drop(n) => is(n, LeafStatus::Pending),
            Event::OrphanEnds(n) => is(n, LeafStatus::Orphaned),
            Event::EndCanceled(n) => {
                is(n, LeafStatus::Pending) && self.is_canceled(self.leaves[n].at)
            }
        }
    }

    fn new_wake(&mut self) -> Option<u32> {
        self.wakes += 1;
        Some(self.wakes)
    }

    /// Applies an event to the tree and the model, and checks the effects if `checked`.
    fn apply(&mut self, event: Event, checked: bool) {
        let before = checked.then(|| Before {
            canceled: (0..self.nodes.len()).map(|i| self.is_canceled(i)).collect(),
            wakes: self.nodes.iter().map(|node| node.wake).collect(),
        });
        let mut effects = CancelEffects::default();
        match event {
            Event::Open(parent, kind) => {
                let key = self.tree.open(self.nodes[parent].key, kind);
                let wake = self.new_wake();
                self.nodes.push(Node::new(key, Some(parent), kind, wake));
                self.shown.push(None);
                let replaced = self.tree.wake_with(key, self.wakes);
                assert_eq!(replaced, None, "a new scope wakes nobody");
            }
            Event::Cancel(scope, by) => {
                let node = &mut self.nodes[scope];
                node.asked += 1;
                node.by.get_or_insert(by);
                node.has_deadline &= by == By::Hand;
                self.tree.cancel(node.key, None, &mut effects);
                self.deliver(effects, before, &[]);
            }
            Event::Limit(scope, deadline) => {
                let node = &mut self.nodes[scope];
                node.deadline = deadline;
                self.tree.limit(node.key, deadline, &mut effects.mirrored);
                self.deliver(effects, before, &[]);
            }
            Event::Mirror(scope) => {
                let node = &mut self.nodes[scope];
                node.mirrored = true;
                self.tree.mirror(node.key, scope, &mut effects.mirrored);
                self.deliver(effects, before, &[]);
            }
            Event::Poll(scope, parent) => self.poll(scope, parent, before),
            Event::Close(scope) => self.close(scope, before),
            Event::Watch(scope) => {
                if self.nodes[scope].wake.is_none() {
                    self.renew_wake(scope);
                }
                self.nodes[scope].watched = true;
                self.tree.watch(self.nodes[scope].key);
            }
            Event::Start(scope) => {
                // In a canceled scope it is rejected.
                if !self.is_canceled(scope) {
                    self.leaves.push(Pending {
                        status: LeafStatus::Pending,
                        at: scope,
                        places: Vec::new(),
                        effects: false,
                    });
                    self.put(self.leaves.len() - 1, scope);
                }
            }
            Event::Repoll(n, scope) => self.put(n, scope),
            Event::Complete(n) => self.leaves[n].status = LeafStatus::Finished,
            Event::Drop(n) => self.leaves[n].status = LeafStatus::Orphaned,
            Event::OrphanEnds(n) => {
                let leaf = &mut self.leaves[n];
                leaf.status = LeafStatus::Finished;
                let at = leaf.at;
                let watchers = self.take_watchers(at, None);
                let key = self.nodes[at].key;
                self.tree.orphan_ended(key, &mut effects.woken);
                self.deliver(effects, before, &watchers);
            }
            Event::EndCanceled(n) => {
                let leaf = &mut self.leaves[n];
                leaf.status = LeafStatus::Finished;
                let at = leaf.at;
                let scope = self.outermost(at).expect("S1: some scope was canceled");
                let key = self.nodes[scope].key;
                let attributed = self.tree.attribute_outermost(self.nodes[at].key);
                assert_eq!(attributed, Some(key), "C7");
                self.nodes[scope].attributed = true;
                let by = self.nodes[scope].by.expect("it was canceled");
                self.responsible[by as usize] += 1;
            }
        }
    }

    /// Polls the future of a scope: updates its parent and its waker.
    fn poll(&mut self, scope: usize, parent: usize, before: Option<Before>) {
        let key = self.nodes[scope].key;
        let mut effects = CancelEffects::default();
        if let Some(left) = self.nodes[scope].parent
            && left != parent
        {
            // These scopes may have waited for an orphan that is no longer below them.
            let watchers = self.take_watchers(left, Some(parent));
            self.nodes[scope].parent = Some(parent);
            self.tree
                .move_below(key, self.nodes[parent].key, &mut effects);
            self.deliver(effects, before, &watchers);
        }
        self.renew_wake(scope);
    }

    fn renew_wake(&mut self, scope: usize) {
        let wake = self.new_wake();
        let replaced = self.tree.wake_with(self.nodes[scope].key, self.wakes);
        assert_eq!(
            replaced,
            std::mem::replace(&mut self.nodes[scope].wake, wake)
        );
    }

    fn close(&mut self, scope: usize, before: Option<Before>) {
        let node = &mut self.nodes[scope];
        let key = node.key;
        let parent = node.parent.expect("the root is not closed");
        node.is_open = false;
        node.mirrored = false;
        let wake = node.wake.take();
        let mut closed = self.tree.close(key);
        for node in &mut self.nodes {
            if node.parent == Some(scope) {
                node.parent = Some(parent);
            }
        }
        assert_eq!(closed.parent, self.nodes[parent].key);
        assert_eq!(closed.attributed, self.nodes[scope].attributed, "C7");
        assert_eq!(closed.wake, wake);
        for leaf in closed.leaves() {
            if status(&self.nodes, &self.leaves, leaf, key) != LeafStatus::Finished {
                self.put(number(leaf), parent);
            }
        }
        let left = |leaf: &Pending| leaf.at == scope && leaf.status != LeafStatus::Finished;
        assert!(!self.leaves.iter().any(left), "C12: lost at the close");
        self.shown[scope] = None;
        let effects = closed.outlived.take().unwrap_or_default();
        self.deliver(effects, before, &[]);
    }

    /// Moves a leaf to this scope, and notifies it if the scope is canceled.
    fn put(&mut self, n: usize, scope: usize) {
        let (canceled, key) = (self.is_canceled(scope), self.nodes[scope].key);
        let pending = &mut self.leaves[n];
        pending.at = scope;
        pending.places.push(scope);
        pending.effects |= canceled;
        let (nodes, leaves) = (&self.nodes, &self.leaves);
        self.tree
            .enlist(key, leaf(n), |leaf| status(nodes, leaves, leaf, key));
    }

    /// Returns the wakers of scopes that watch an orphan of this scope and no longer have it below them: it has ended,
    /// or is now below the second scope. A watch fires once.
    fn take_watchers(&mut self, scope: usize, now: Option<usize>) -> Vec<u32> {
        let mut watchers = Vec::new();
        for at in 0..self.nodes.len() {
            let watches = self.nodes[at].watched && self.is_at_or_below(scope, at);
            if watches && !now.is_some_and(|now| self.is_at_or_below(now, at)) {
                self.nodes[at].watched = false;
                watchers.extend(self.nodes[at].wake);
            }
        }
        watchers
    }

    /// Delivers the effects that the tree returned, and checks that they concern only newly canceled scopes and the
    /// watchers.
    fn deliver(
        &mut self,
        mut effects: CancelEffects<u32, usize>,
        before: Option<Before>,
        watchers: &[u32],
    ) {
        // As in the runtime, skip leaves that are no longer pending in that scope.
        effects.leaves.retain(|(leaf, scope)| {
            status(&self.nodes, &self.leaves, *leaf, *scope) == LeafStatus::Pending
        });
        if let Some(before) = before {
            self.check_effects(&effects, &before, watchers);
        }
        for (mirror, outlook) in effects.mirrored {
            self.shown[mirror] = Some(outlook);
        }
        for (leaf, _) in effects.leaves {
            self.leaves[number(leaf)].effects = true;
        }
        for node in &mut self.nodes {
            node.wake.take_if(|wake| effects.woken.contains(wake));
        }
    }

    fn check_effects(
        &self,
        effects: &CancelEffects<u32, usize>,
        before: &Before,
        watchers: &[u32],
    ) {
        let is_new = |scope: usize| {
            self.nodes[scope].is_open && !before.canceled[scope] && self.is_canceled(scope)
        };
        for (n, pending) in self.leaves.iter().enumerate() {
            let named = effects.leaves.iter().filter(|(named, _)| *named == leaf(n));
            let named = named.count();
            if pending.status == LeafStatus::Pending && is_new(pending.at) {
                // A leaf that left a scope and came back may be in its list twice.
                let came = pending.places.iter().filter(|at| **at == pending.at);
                assert!(
                    (1..=came.count()).contains(&named),
                    "leaf {n} notified {named}×"
                );
            } else {
                assert_eq!(named, 0, "leaf {n} is not concerned");
            }
        }
        let concerned = self.open_scopes().filter(|i| is_new(*i));
        let mut expected: Vec<u32> = concerned.filter_map(|i| before.wakes[i]).collect();
        expected.extend(watchers);
        expected.sort_unstable();
        let mut woken = effects.woken.clone();
        woken.sort_unstable();
        assert_eq!(woken, expected, "each waker is woken once");
    }

    /// Checks, as a future does after its poll, whether each scope is busy. The tree may then remove finished leaves.
    fn check_busy_scopes(&mut self) {
        for scope in 0..self.nodes.len() {
            if !self.nodes[scope].is_open {
                continue;
            }
            let (nodes, leaves) = (&self.nodes, &self.leaves);
            let pending = self.tree.pending(nodes[scope].key, |leaf, scope| {
                status(nodes, leaves, leaf, scope)
            });
            let busy = pending != LeafStatus::Finished;
            assert_eq!(busy, self.is_busy(scope), "C6: scope {scope}");
        }
    }

    /// Compares every query of the tree with the model.
    fn audit(&mut self) {
        self.check_busy_scopes();
        let key = |scope: usize| self.nodes[scope].key;
        let status = |leaf, scope| status(&self.nodes, &self.leaves, leaf, scope);
        for scope in self.open_scopes() {
            let (at, node) = (key(scope), &self.nodes[scope]);
            let canceled = self.is_canceled(scope);
            assert_eq!(self.tree.is_canceled(at), canceled, "S1: scope {scope}");
            let outermost = self.outermost(scope);
            assert_eq!(
                outermost.is_some(),
                canceled,
                "a canceled scope has a cause"
            );
            assert_eq!(self.tree.outermost(at), outermost.map(key), "C7");
            assert_eq!(self.tree.outlook(at), self.outlook(scope), "S5: {scope}");
            for now in DEADLINES {
                let due = self.outermost_due(scope, now).map(key);
                assert_eq!(self.tree.outermost_due(at, now), due, "scope {scope}");
            }
            let shown = node.mirrored.then(|| self.outlook(scope));
            assert_eq!(self.shown[scope], shown, "S5: the mirror of scope {scope}");
            let shield = self.has_below(scope, |kind| kind == ScopeKind::Shield);
            assert_eq!(self.tree.has_shield(at), shield, "scope {scope}");
            let orphan = self.has_orphan(scope);
            assert_eq!(self.tree.has_orphan(at, status), orphan, "scope {scope}");
            assert_eq!(self.tree.wake_of(at), node.wake.as_ref());
            if let Some(parent) = node.parent {
                assert_eq!(self.tree.parent(at), key(parent), "S3");
            }
        }
        // All parents are correct, so checking one path to the root is enough.
        let last = self.open_scopes().last().expect("the root is open");
        for above in self.open_scopes() {
            let below = self.tree.is_at_or_below(key(last), key(above));
            assert_eq!(below, self.is_at_or_below(last, above));
        }
        assert_eq!(self.tree.len() + 1, self.open_scopes().count());
        // A walk that finds nothing visits every scope.
        let listed = RefCell::new(Vec::new());
        self.tree.has_orphan(self.tree.root(), |leaf, scope| {
            listed.borrow_mut().push((leaf, scope));
            LeafStatus::Finished
        });
        let listed = listed.into_inner();
        for (n, pending) in self.leaves.iter().enumerate() {
            if pending.status == LeafStatus::Finished {
                continue;
            }
            let here = (leaf(n), key(pending.at));
            let times = listed.iter().filter(|listed| **listed == here).count();
            let came = pending.places.iter().filter(|at| **at == pending.at);
            assert!((1..=came.count()).contains(&times), "S2, S3: {times}×");
            assert!(
                pending.effects
                    || pending.status == LeafStatus::Orphaned
                    || !self.is_canceled(pending.at),
                "C2: leaf {n} waits on in a canceled scope"
            );
        }
    }

    /// Returns the events that can come next in a short sequence, without symmetric ones: of two leaves that are alike
    /// only the first has events; a scope is canceled at most twice, once in each way, and the first cancel of all is by
    /// a deadline (the root has none); a poll in the same place must set a new waker; the root is not watched, and no
    /// scope twice.
    fn next_events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        let open: Vec<usize> = self.open_scopes().collect();
        let any_asked = self.nodes[1..].iter().any(|node| node.by.is_some());
        let mut live = 0;
        for (n, pending) in self.leaves.iter().enumerate() {
            if pending.status == LeafStatus::Finished {
                continue;
            }
            live += 1;
            if self.leaves[..n].contains(pending) {
                continue;
            }
            events.extend([
                Event::Complete(n),
                Event::Drop(n),
                Event::OrphanEnds(n),
                Event::EndCanceled(n),
            ]);
            events.extend(open.iter().map(|scope| Event::Repoll(n, *scope)));
        }
        if self.nodes.len() <= NESTED
            && let Some(innermost) = open.last()
        {
            events.extend(RANKS.map(|kind| Event::Open(*innermost, kind)));
        }
        for scope in open.iter().copied() {
            let node = &self.nodes[scope];
            if node.asked < 2 {
                let first = !any_asked && scope != 0;
                let bys = [By::Hand, By::Deadline].into_iter();
                let bys = bys.filter(|by| node.by != Some(*by) || scope == 0);
                let bys = bys.filter(|by| !first || *by == By::Deadline);
                events.extend(bys.map(|by| Event::Cancel(scope, by)));
            }
            events.push(Event::Close(scope));
            if live < LEAVES_AT_ONCE {
                events.push(Event::Start(scope));
            }
            if !node.watched && scope != 0 {
                events.push(Event::Watch(scope));
            }
            for parent in open.iter().copied() {
                if node.parent != Some(parent) || node.wake.is_none() {
                    events.push(Event::Poll(scope, parent));
                }
            }
        }
        events.retain(|event| self.is_possible(*event));
        events
    }

    /// Returns the events that can come next when there are only scopes and deadlines. A scope gets at most one mirror.
    fn next_events_of_deadlines(&self) -> Vec<Event> {
        let open: Vec<usize> = self.open_scopes().collect();
        let mut events = Vec::new();
        for scope in open.iter().copied() {
            if self.nodes.len() <= NESTED {
                events.extend(
                    [ScopeKind::Plain, ScopeKind::Shield].map(|kind| Event::Open(scope, kind)),
                );
            }
            if self.nodes[scope].asked == 0 {
                events.push(Event::Cancel(scope, By::Hand));
            }
            if !self.nodes[scope].mirrored {
                events.push(Event::Mirror(scope));
            }
            events.extend(DEADLINES.map(|deadline| Event::Limit(scope, deadline)));
            events.push(Event::Close(scope));
            let elsewhere = open.iter().copied();
            let elsewhere = elsewhere.filter(|parent| self.nodes[scope].parent != Some(*parent));
            events.extend(elsewhere.map(|parent| Event::Poll(scope, parent)));
        }
        events.retain(|event| self.is_possible(*event));
        events
    }
}

/// A count of what was tried.
#[derive(Debug, Default)]
struct Tally {
    sequences: u32,
    responsible: [u32; 2],
}

impl Tally {
    fn add(&mut self, sequences: u32, responsible: [u32; 2]) {
        self.sequences += sequences;
        self.responsible[0] += responsible[0];
        self.responsible[1] += responsible[1];
    }
}

/// When the futures ask whether their scopes are busy, which makes the tree remove finished leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CheckBusy {
    AtTheEnd,
    AllTheTime,
    /// For sequences of deadlines, in which nothing is awaited.
    Never,
}

/// Tries every sequence with this prefix, up to `events_max` events. Only the effects of the last event are checked:
/// each earlier event was the last one of a shorter sequence.
fn try_all(events: &mut Vec<Event>, events_max: usize, check_busy: CheckBusy, tally: &mut Tally) {
    let mut world = World::new();
    if let Some((last, before)) = events.split_last() {
        for event in before {
            world.apply(*event, false);
            if check_busy == CheckBusy::AllTheTime {
                world.check_busy_scopes();
            }
        }
        world.responsible = [0; 2];
        world.apply(*last, true);
        world.audit();
        tally.add(1, world.responsible);
    }
    if events.len() == events_max {
        return;
    }
    let next = match check_busy {
        CheckBusy::Never => world.next_events_of_deadlines(),
        CheckBusy::AtTheEnd | CheckBusy::AllTheTime => world.next_events(),
    };
    for event in next {
        events.push(event);
        try_all(events, events_max, check_busy, tally);
        events.pop();
    }
}

/// Tries every sequence with one of these prefixes, on as many threads as there are processors. Prints the sequence if
/// one fails.
fn try_all_from(starts: Vec<Vec<Event>>, events_max: usize, check_busy: CheckBusy) -> Tally {
    let (starts, total) = (Mutex::new(starts), Mutex::new(Tally::default()));
    let work = || {
        loop {
            let next = starts.lock().expect("not poisoned").pop();
            let Some(mut events) = next else {
                return;
            };
            let mut tally = Tally::default();
            let tried =
                AssertUnwindSafe(|| try_all(&mut events, events_max, check_busy, &mut tally));
            if let Err(payload) = catch_unwind(tried) {
                eprintln!("failed at {events:?}");
                resume_unwind(payload);
            }
            let mut total = total.lock().expect("not poisoned");
            total.add(tally.sequences, tally.responsible);
        }
    };
    std::thread::scope(|threads| {
        for _ in 0..std::thread::available_parallelism().map_or(1, NonZero::get) {
            threads.spawn(work);
        }
    });
    total.into_inner().expect("not poisoned")
}

/// Checks how many sequences were tried: if there are fewer than this, some event was not.
fn report(tally: &Tally, sequences_min: u32) {
    let [by_hand, by_deadline] = tally.responsible;
    println!(
        "{} sequences; leaves ended canceled by a call {by_hand} times, by a deadline {by_deadline} times",
        tally.sequences
    );
    assert!(
        tally.sequences >= sequences_min,
        "only {} sequences were tried",
        tally.sequences
    );
    assert!(by_hand > 0 && by_deadline > 0);
}

#[test]
fn every_short_sequence_of_events_follows_the_rules() {
    let mut starts = Vec::new();
    for first in World::new().next_events() {
        starts.push(vec![first]);
    }
    let (events_max, sequences_min) = quick_or_full((5, 52_000), (6, 740_000));
    let tally = try_all_from(starts, events_max, CheckBusy::AtTheEnd);
    report(&tally, sequences_min);
}

#[test]
fn three_scopes_of_any_kinds_follow_the_rules_while_all_check_whether_they_are_busy() {
    let mut starts = Vec::new();
    for first in RANKS {
        for second in RANKS {
            for third in RANKS {
                starts.push(vec![
                    Event::Open(0, first),
                    Event::Open(1, second),
                    Event::Open(2, third),
                ]);
            }
        }
    }
    let (every_nth, sequences_min) = quick_or_full((5, 23_000), (1, 100_000));
    let starts = starts.into_iter().step_by(every_nth).collect();
    let tally = try_all_from(starts, NESTED + 3, CheckBusy::AllTheTime);
    report(&tally, sequences_min);
}

#[test]
fn every_short_sequence_of_events_mirrors_when_each_scope_is_canceled() {
    let starts = [ScopeKind::Plain, ScopeKind::Shield].map(|kind| vec![Event::Open(0, kind)]);
    let (events_max, sequences_min) = quick_or_full((5, 85_000), (6, 500_000));
    let tally = try_all_from(starts.into(), events_max, CheckBusy::Never);
    println!("{} sequences", tally.sequences);
    assert!(tally.sequences >= sequences_min);
}

/// A kind of event and two numbers, which name an event of a tree: scopes and leaves are those that there are then.
type Step = (u8, usize, usize);

/// Returns the event of a step, which may not be possible. The root is canceled late, if at all: little can happen after
/// that.
fn event_of(world: &World, (kind, first, second): Step, late: bool) -> Event {
    let open: Vec<usize> = world.open_scopes().collect();
    let live = (0..world.leaves.len()).filter(|n| world.leaves[*n].status != LeafStatus::Finished);
    let live: Vec<usize> = live.collect();
    let (scope, other) = (open[first % open.len()], open[second % open.len()]);
    let kind = if live.is_empty() { kind % 17 } else { kind };
    if kind < 17 {
        return match kind {
            0..=3 if open.len() <= SCOPES_MAX => Event::Open(scope, RANKS[second % 3]),
            4 if scope != 0 || late => Event::Cancel(scope, By::Hand),
            5 if scope != 0 => Event::Cancel(scope, By::Deadline),
            6..=8 => Event::Poll(scope, other),
            9 => Event::Close(scope),
            10..=11 => Event::Limit(scope, DEADLINES[second % 3]),
            12 => Event::Mirror(scope),
            _ => Event::Start(scope),
        };
    }
    let n = live[second % live.len()];
    match kind {
        17..=20 => Event::Repoll(n, scope),
        21..=22 => Event::Complete(n),
        23..=24 => Event::Drop(n),
        25 => Event::OrphanEnds(n),
        26..=27 => Event::EndCanceled(n),
        _ => Event::Watch(scope),
    }
}

fn live(steps: &[Step]) {
    let mut world = World::new();
    for (at, step) in steps.iter().enumerate() {
        let event = event_of(&world, *step, at > steps.len() * 3 / 4);
        if world.is_possible(event) {
            world.apply(event, true);
            world.audit();
        }
    }
    // Close all open scopes in any order: then all leaves that are left belong to the root.
    let mut picks = steps.iter().map(|(_, _, pick)| pick).cycle();
    loop {
        let open: Vec<usize> = world.open_scopes().skip(1).collect();
        if open.is_empty() {
            break;
        }
        let pick = picks.next().map_or(0, |pick| pick % open.len());
        world.apply(Event::Close(open[pick]), true);
        world.audit();
    }
    let mut left = world
        .leaves
        .iter()
        .filter(|leaf| leaf.status != LeafStatus::Finished);
    assert!(left.all(|leaf| leaf.at == 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: quick_or_full(6, 60), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_long_life_of_many_scopes_follows_the_rules(
        steps in vec((0..31_u8, 0..1000_usize, 0..1000_usize), 0..STEPS_MAX),
    ) {
        live(&steps);
    }
}

// Subtle cases, one at a time.

/// Enlists a leaf that counts as pending in every scope.
fn enlist(tree: &mut Tree, scope: Key, n: usize) {
    tree.enlist(scope, leaf(n), |_| LeafStatus::Pending);
}

fn cancel(tree: &mut Tree, scope: Key) -> (Vec<(Leaf, Key)>, Vec<u32>) {
    let mut effects = CancelEffects::default();
    tree.cancel(scope, None, &mut effects);
    (effects.leaves, effects.woken)
}

fn move_below(tree: &mut Tree, scope: Key, parent: Key) -> (Vec<(Leaf, Key)>, Vec<u32>) {
    let mut effects = CancelEffects::default();
    tree.move_below(scope, parent, &mut effects);
    (effects.leaves, effects.woken)
}

fn nothing() -> (Vec<(Leaf, Key)>, Vec<u32>) {
    (Vec::new(), Vec::new())
}

#[test]
fn scopes_that_leave_a_canceled_one_are_no_longer_canceled_unless_directly() {
    let mut tree = Tree::new();
    let canceled = tree.open(tree.root(), ScopeKind::Plain);
    let moved = tree.open(canceled, ScopeKind::Plain);
    let innocent = tree.open(moved, ScopeKind::Plain);
    let asked = tree.open(moved, ScopeKind::Plain);
    let below_asked = tree.open(asked, ScopeKind::Plain);
    let _ = cancel(&mut tree, asked);
    let _ = cancel(&mut tree, canceled);
    assert!(tree.is_canceled(innocent));
    assert_eq!(tree.outermost(below_asked), Some(canceled));

    let root = tree.root();
    assert_eq!(move_below(&mut tree, moved, root), nothing());
    assert!(!tree.is_canceled(moved) && !tree.is_canceled(innocent));
    assert!(tree.is_canceled(asked) && tree.is_canceled(below_asked));
    assert_eq!(tree.outermost(below_asked), Some(asked));
    assert_eq!(tree.outermost(innocent), None);

    // And back again: leaves in newly canceled scopes are notified, and leaves in scopes that stayed canceled are not.
    enlist(&mut tree, innocent, 0);
    enlist(&mut tree, below_asked, 1);
    tree.wake_with(innocent, 7);
    tree.wake_with(below_asked, 8);
    let effects = move_below(&mut tree, moved, canceled);
    assert_eq!(effects, (vec![(leaf(0), innocent)], vec![7]));
}

#[test]
fn a_mirror_shows_outer_cancels_but_not_those_outside_a_shield() {
    let mut tree = Tree::new();
    let outer = tree.open(tree.root(), ScopeKind::Plain);
    let shield = tree.open(outer, ScopeKind::Shield);
    let inner = tree.open(shield, ScopeKind::Plain);
    let beside = tree.open(outer, ScopeKind::Plain);
    let mut mirrored = Mirrored::new();
    for (mirror, scope) in [inner, beside].into_iter().enumerate() {
        tree.mirror(scope, mirror, &mut mirrored);
    }
    tree.limit(outer, 20, &mut mirrored);
    tree.limit(shield, 30, &mut mirrored);
    tree.limit(beside, 40, &mut mirrored);
    assert_eq!(
        mirrored,
        [(0, NEVER), (1, NEVER), (1, 20), (0, 30), (1, 20)]
    );
    assert_eq!(tree.outermost_due(beside, 40), Some(outer));
    assert_eq!(tree.outermost_due(inner, 40), Some(shield));
    let mut effects = CancelEffects::default();
    tree.cancel(outer, None, &mut effects);
    assert_eq!(effects.mirrored, [(1, CANCELED)]);
    // When the shield is closed, a scope that outlives it is outside.
    let effects = tree.close(shield).outlived.expect("one outlives it");
    assert_eq!(effects.mirrored, [(0, CANCELED)]);
}

#[test]
fn a_closed_scope_takes_its_cancel_with_it() {
    let mut tree = Tree::new();
    let closing = tree.open(tree.root(), ScopeKind::Plain);
    let outlives = tree.open(closing, ScopeKind::Plain);
    let _ = cancel(&mut tree, closing);
    let closed = tree.close(closing);
    assert_eq!(closed.parent, tree.root());
    assert_eq!(tree.parent(outlives), tree.root());
    assert!(!tree.is_canceled(outlives));
}

#[test]
fn a_shield_blocks_outer_cancels_and_nothing_else() {
    let mut tree = Tree::new();
    let outer = tree.open(tree.root(), ScopeKind::Plain);
    let shield = tree.open(outer, ScopeKind::Shield);
    let inner = tree.open(shield, ScopeKind::Plain);
    enlist(&mut tree, inner, 0);
    assert_eq!(cancel(&mut tree, outer), nothing());
    assert!(!tree.is_canceled(shield) && !tree.is_canceled(inner));
    let late = tree.open(outer, ScopeKind::Shield);
    assert!(!tree.is_canceled(late), "opened in a canceled scope");
    assert!(tree.has_shield(outer) && !tree.has_shield(shield));

    // The shield's own deadline is inside: the cancel is attributed to the shield, not to the scope outside that was
    // canceled before.
    assert_eq!(cancel(&mut tree, shield).0, [(leaf(0), inner)]);
    assert_eq!(tree.outermost(inner), Some(shield));
    assert_eq!(tree.outermost(outer), Some(outer));

    // When a shield is closed, a scope that outlives it is outside.
    let open = tree.open(late, ScopeKind::Plain);
    enlist(&mut tree, open, 1);
    let effects = tree.close(late).outlived.expect("one outlives it");
    assert_eq!(effects.leaves, [(leaf(1), open)]);
    assert!(tree.is_canceled(open));
}

#[test]
fn a_second_cancel_notifies_nothing_again() {
    let mut tree = Tree::new();
    let outer = tree.open(tree.root(), ScopeKind::Plain);
    let inner = tree.open(outer, ScopeKind::Plain);
    enlist(&mut tree, inner, 0);
    tree.wake_with(inner, 7);
    assert_eq!(cancel(&mut tree, inner), (vec![(leaf(0), inner)], vec![7]));
    // The scope's future was polled, and is still pending.
    tree.wake_with(inner, 8);
    assert_eq!(cancel(&mut tree, inner), nothing());
    assert_eq!(cancel(&mut tree, outer), nothing());
    assert_eq!(
        tree.outermost(inner),
        Some(outer),
        "now the outer scope is responsible"
    );
    assert_eq!(tree.take_wakes(), [8]);
}

#[test]
fn a_scope_that_waits_for_an_orphan_is_woken_when_the_orphan_moves_away() {
    let mut tree = Tree::new();
    let root = tree.root();
    let around = tree.open(root, ScopeKind::Plain);
    let waiting = tree.open(around, ScopeKind::Group);
    let moved = tree.open(waiting, ScopeKind::Plain);
    enlist(&mut tree, moved, 0);
    for (scope, wake) in [(around, 6), (waiting, 7), (moved, 8)] {
        tree.wake_with(scope, wake);
        tree.watch(scope);
    }
    // The orphan is still below the other two.
    assert_eq!(move_below(&mut tree, moved, around).1, [7]);
    assert!(!tree.has_orphan(waiting, |_, _| LeafStatus::Orphaned));
    let mut woken = Vec::new();
    tree.orphan_ended(moved, &mut woken);
    assert_eq!(woken, [8, 6]);
}

#[test]
fn a_chain_of_a_hundred_thousand_scopes_is_walked_on_a_small_stack() {
    const DEEP: usize = 100_000;
    const STACK_BYTES: usize = 64 << 10;
    let walk = || {
        let mut tree = Tree::new();
        let root = tree.root();
        let top = tree.open(root, ScopeKind::Plain);
        let mut chain = vec![top];
        for n in 1..DEEP {
            chain.push(tree.open(chain[n - 1], ScopeKind::Plain));
        }
        let last = chain[DEEP - 1];
        enlist(&mut tree, last, 0);
        tree.wake_with(last, 7);
        assert!(!tree.has_shield(root));
        assert_eq!(
            tree.pending(root, |_, _| LeafStatus::Pending),
            LeafStatus::Pending
        );
        assert!(tree.has_orphan(root, |_, _| LeafStatus::Orphaned));
        assert!(tree.is_at_or_below(last, root));
        assert_eq!(cancel(&mut tree, root), (vec![(leaf(0), last)], vec![7]));
        assert_eq!(tree.outermost(last), Some(root));
        // Out of the canceled scope, and back into it.
        let shield = tree.open(root, ScopeKind::Shield);
        assert_eq!(move_below(&mut tree, top, shield), nothing());
        assert!(!tree.is_canceled(last));
        assert_eq!(move_below(&mut tree, top, root).0, [(leaf(0), last)]);
        tree.orphan_ended(last, &mut Vec::new());
        // From the top: each close moves the chain below to the root.
        for scope in &chain[..DEEP / 2] {
            let _ = tree.close(*scope);
        }
        for scope in chain[DEEP / 2..].iter().rev() {
            let _ = tree.close(*scope);
        }
        assert_eq!(tree.len(), 1);
    };
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    let walked = thread.spawn(walk).expect("a thread").join();
    walked.unwrap_or_else(|payload| resume_unwind(payload));
}

#[test]
fn a_cancel_from_inside_wakes_no_scope_that_is_being_polled() {
    let mut tree = Tree::new();
    let outer = tree.open(tree.root(), ScopeKind::Plain);
    let shield = tree.open(outer, ScopeKind::Shield);
    let inner = tree.open(outer, ScopeKind::Plain);
    let beside = tree.open(outer, ScopeKind::Plain);
    let hidden = tree.open(shield, ScopeKind::Plain);
    for (wake, scope) in [outer, shield, inner, beside, hidden]
        .into_iter()
        .enumerate()
    {
        tree.wake_with(scope, wake as u32);
    }
    let mut effects = CancelEffects::default();
    tree.cancel(outer, Some(inner), &mut effects);
    assert_eq!(effects.woken, [3], "the sibling");
    // Cancel a scope inside an open shield while another scope's future is being polled.
    let mut effects = CancelEffects::default();
    tree.cancel(hidden, Some(inner), &mut effects);
    assert_eq!(effects.woken, [4]);
    let mut effects = CancelEffects::default();
    tree.cancel(shield, Some(hidden), &mut effects);
    assert_eq!(effects.woken, []);
    assert!(tree.is_canceled(shield));
}
