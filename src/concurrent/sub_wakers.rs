//! A wake ID for each of many futures that one future owns and polls as parts of itself. Only those that were woken are
//! polled, so a wake costs the same among ten of them as among a hundred thousand.
//!
//! Such a wake ID is a row in the task table that is used for wakes only. Its future runs in the scope of the task that
//! polls it.

use crate::runtime::{self, Core, Local};
use crate::table::Key;
use crate::tasks::Origin;
use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::panic::Location;
use std::task::{Context, Poll};

/// Polls the future at an index. Ready once that has ended, with `Break` if the others must not be polled now.
type PollAt<'a> = dyn FnMut(usize, &mut Context<'_>) -> Poll<ControlFlow<()>> + 'a;

#[derive(Debug)]
pub(super) struct SubWakers {
    location: &'static Location<'static>,
    /// The runtime's ID and the ready queue, from the first poll on.
    open: Option<(u64, Key)>,
    rows: Vec<SubWaker>,
    /// The scope of the latest poll.
    scope: Key,
    /// The largest `rejections` of all rows.
    rejections_max: u32,
    /// Whether the last poll yielded at once, because the turn's poll budget was spent before any of these futures was
    /// polled.
    yielded: bool,
    _local: Local,
}

#[derive(Clone, Copy, Debug)]
struct SubWaker {
    /// `None` before the first poll, and once the future has ended.
    name: Option<Key>,
    /// The number of its polls in which a leaf was rejected while the current scope was canceled.
    rejections: u32,
}

impl SubWakers {
    /// Wake IDs for `count` futures that were passed in at `location`. The first poll polls all of them.
    pub(super) fn new(count: usize, location: &'static Location<'static>) -> SubWakers {
        assert!(u32::try_from(count).is_ok(), "more futures than names");
        let row = SubWaker {
            name: None,
            rejections: 0,
        };
        SubWakers {
            location,
            open: None,
            rows: vec![row; count],
            // Not a valid scope, so it always differs from the current one.
            scope: Key::new(0, 0),
            rejections_max: 0,
            yielded: false,
            _local: PhantomData,
        }
    }

    fn open(&mut self) -> (u64, Key) {
        runtime::with(|core| {
            let mut tasks = core.tasks.borrow_mut();
            let children = tasks.open_child_set();
            let origin = Origin {
                name: None,
                location: self.location,
            };
            for (slot, row) in self.rows.iter_mut().enumerate() {
                row.name = Some(tasks.insert_sub_waker(children, slot as u32, origin.clone()));
            }
            *self.open.insert((core.runtime_id(), children))
        })
    }

    /// Calls `poll_at` with the index of each woken future, as far as the turn's poll budget allows; the rest follow in
    /// the next turn.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, poll_at: &mut PollAt<'_>) {
        let (runtime_id, children) = self.open.unwrap_or_else(|| self.open());
        let core = runtime::hold_own(runtime_id);
        let _polling = core.poll_children(children, context.waker());
        let scope = core.current_scope();
        if std::mem::replace(&mut self.scope, scope) != scope {
            // What they await is registered in the new scope (C12).
            self.wake_all();
        }
        let mut any = false;
        while core.tasks.borrow().has_ready_child(children) {
            if !core.may_poll() && (any || !self.yielded) {
                self.yielded = !any;
                return;
            }
            let Some(index) = core.tasks.borrow_mut().next_sub_waker(children) else {
                return;
            };
            core.turn.budget.count_poll();
            any = true;
            self.yielded = false;
            if self.poll_one(&core, index as usize, poll_at).is_break() {
                return;
            }
        }
    }

    /// Wakes all futures that have not ended.
    pub(super) fn wake_all(&self) {
        if let Some((runtime_id, _)) = self.open
            && let Some(core) = runtime::reach(runtime_id)
        {
            for name in self.rows.iter().filter_map(|row| row.name) {
                core.wake_task(name);
            }
        }
    }

    fn poll_one(&mut self, core: &Core, index: usize, poll_at: &mut PollAt<'_>) -> ControlFlow<()> {
        let row = &mut self.rows[index];
        let Some(name) = row.name else {
            return ControlFlow::Continue(());
        };
        let before = core.rejections();
        let polled = core.poll_sub_waker(name, |context| poll_at(index, context));
        if core.rejections() != before && core.is_canceled() {
            // A thousand futures that are rejected once each are not a loop that ignores its errors: count only the one
            // that was rejected most often.
            row.rejections = row.rejections.saturating_add(1);
            match row.rejections > self.rejections_max {
                true => self.rejections_max = row.rejections,
                false => core.forget_rejections(before),
            }
        }
        let Poll::Ready(flow) = polled else {
            return ControlFlow::Continue(());
        };
        row.name = None;
        core.tasks.borrow_mut().remove_sub_waker(name);
        flow
    }
}

impl Drop for SubWakers {
    fn drop(&mut self) {
        if let Some((runtime_id, children)) = self.open
            && let Some(core) = runtime::reach(runtime_id)
        {
            let mut tasks = core.tasks.borrow_mut();
            for name in self.rows.iter().filter_map(|row| row.name) {
                tasks.remove_sub_waker(name);
            }
            let waker = tasks.close_child_set(children);
            drop(tasks);
            runtime::drop_waker(waker);
        }
    }
}
