//! A wake ID for each of many futures that one future owns and polls as parts of itself. Only those that were woken are
//! polled, so a wake costs the same among ten of them as among a hundred thousand.
//!
//! Such a wake ID is a row in the task table that is used for wakes only. Its future runs in the scope of the task that
//! polls it.

use crate::runtime::{self, Core, Local};
use crate::table::Key;
use crate::tasks::Origin;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::task::{Context, Waker};

/// The result of polling one of the futures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Pending,
    /// The future has ended, and its wake ID is free.
    Ended,
    /// The future has ended, and the others must not be polled now.
    EndedAndStop,
}

#[derive(Debug)]
pub(super) struct SubWakers {
    count: usize,
    location: &'static Location<'static>,
    open: Option<Registered>,
}

/// The state from the first poll on.
#[derive(Debug)]
struct Registered {
    runtime_id: u64,
    children: Key,
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
    /// `None` once the future has ended.
    name: Option<Key>,
    /// The number of its polls in which a leaf was rejected while the current scope was canceled.
    rejections: u32,
}

impl SubWakers {
    /// Wake IDs for `count` futures that were passed in at `location`. The first poll polls all of them.
    pub(super) fn new(count: usize, location: &'static Location<'static>) -> SubWakers {
        assert!(u32::try_from(count).is_ok(), "more futures than names");
        SubWakers {
            count,
            location,
            open: None,
        }
    }

    /// Calls `look` with the index of each woken future, as far as the turn's poll budget allows; the rest follow in
    /// the next turn.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        look: &mut dyn FnMut(usize, &mut Context<'_>) -> Look,
    ) {
        let open = match &mut self.open {
            Some(open) => open,
            None => self.open.insert(Registered::new(self.count, self.location)),
        };
        open.poll(context.waker(), look);
    }

    /// Wakes all futures that have not ended.
    pub(super) fn wake_all(&self) {
        if let Some(open) = &self.open
            && let Some(core) = runtime::reach(open.runtime_id)
        {
            open.wake_all(&core);
        }
    }
}

impl Registered {
    fn new(count: usize, location: &'static Location<'static>) -> Registered {
        runtime::with(|core| {
            let mut tasks = core.tasks.borrow_mut();
            let children = tasks.open_child_set();
            let origin = Origin {
                name: None,
                location,
            };
            let name = |slot| SubWaker {
                name: Some(tasks.insert_sub_waker(children, slot as u32, origin.clone())),
                rejections: 0,
            };
            Registered {
                runtime_id: core.runtime_id(),
                children,
                rows: (0..count).map(name).collect(),
                // Not a valid scope, so it always differs from the current one.
                scope: Key::new(0, 0),
                rejections_max: 0,
                yielded: false,
                _local: PhantomData,
            }
        })
    }

    fn poll(&mut self, waker: &Waker, look: &mut dyn FnMut(usize, &mut Context<'_>) -> Look) {
        let core = runtime::hold_own(self.runtime_id);
        let _polling = core.poll_children(self.children, waker);
        self.look_at_scope(&core);
        let mut any = false;
        while core.tasks.borrow().has_ready_child(self.children) {
            if !core.may_poll() && (any || !self.yielded) {
                self.yielded = !any;
                return;
            }
            let Some(index) = core.tasks.borrow_mut().next_sub_waker(self.children) else {
                return;
            };
            core.count_poll();
            any = true;
            self.yielded = false;
            if self.poll_one(&core, index as usize, look) == Look::EndedAndStop {
                return;
            }
        }
    }

    /// If the scope has changed, wakes all, so that what they await is registered in the new scope (C12). The first
    /// poll does so, too.
    fn look_at_scope(&mut self, core: &Core) {
        let scope = core.current_scope();
        if self.scope == scope {
            return;
        }
        self.scope = scope;
        self.wake_all(core);
    }

    fn wake_all(&self, core: &Core) {
        for name in self.rows.iter().filter_map(|row| row.name) {
            core.wake_task(name);
        }
    }

    fn poll_one(
        &mut self,
        core: &Core,
        index: usize,
        look: &mut dyn FnMut(usize, &mut Context<'_>) -> Look,
    ) -> Look {
        let row = &mut self.rows[index];
        let Some(name) = row.name else {
            return Look::Pending;
        };
        let before = core.rejections();
        core.fill_coop_budget();
        // A waker of ours has nothing to drop.
        let waker = ManuallyDrop::new(core.waker_of(name));
        let looked = look(index, &mut Context::from_waker(&waker));
        if core.tasks.borrow().is_woken(name) {
            core.count_yield();
        }
        if core.rejections() != before && core.is_canceled() {
            // A thousand futures that are rejected once each are not a loop that ignores its errors: count only the one
            // that was rejected most often.
            row.rejections = row.rejections.saturating_add(1);
            match row.rejections > self.rejections_max {
                true => self.rejections_max = row.rejections,
                false => core.forget_rejections(before),
            }
        }
        if looked != Look::Pending {
            row.name = None;
            core.tasks.borrow_mut().remove_sub_waker(name);
        }
        looked
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        if let Some(core) = runtime::reach(self.runtime_id) {
            let mut tasks = core.tasks.borrow_mut();
            for name in self.rows.iter().filter_map(|row| row.name) {
                tasks.remove_sub_waker(name);
            }
            let waker = tasks.close_child_set(self.children);
            drop(tasks);
            runtime::drop_waker(waker);
        }
    }
}
