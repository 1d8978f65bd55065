//! A name for each of many futures that one future owns and polls as a part of itself, so that a wake costs the same with ten
//! of them as with a hundred thousand: only those that were woken are polled.
//!
//! A name is a row in the table of tasks that is for wakes only. What has one runs in the scope of whoever polls it.

use crate::runtime::{self, Core, Local};
use crate::table::Key;
use std::marker::PhantomData;
use std::panic::Location;
use std::task::{Context, Waker};

/// What a look at one of them brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Pending,
    /// It has ended, and its name is free.
    Ended,
    /// It has ended, and the others are not to be polled now.
    EndedAndStop,
}

#[derive(Debug)]
pub(super) struct SubWakers {
    count: usize,
    location: &'static Location<'static>,
    open: Option<Open>,
}

/// From the first poll on.
#[derive(Debug)]
struct Open {
    serial: u64,
    children: Key,
    rows: Vec<Row>,
    /// The scope in which they were polled latest.
    scope: Key,
    /// The most refusals of one of them there.
    refused_max: u32,
    /// The turn had polled enough before any of these was polled, and the others were let go first.
    yielded: bool,
    _local: Local,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    /// Not there once it has ended.
    name: Option<Key>,
    /// How often it was refused in the scope of the latest poll.
    refused: u32,
}

/// The future that has the names is being polled, until this is dropped.
struct Begun<'a> {
    core: &'a Core,
    children: Key,
    waker: &'a Waker,
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if self.core.end_children(self.children) {
            self.waker.wake_by_ref();
        }
    }
}

impl SubWakers {
    /// So many, for futures that were handed over at that place. All are polled in the first poll.
    pub(super) fn new(count: usize, location: &'static Location<'static>) -> SubWakers {
        assert!(u32::try_from(count).is_ok(), "more futures than names");
        SubWakers {
            count,
            location,
            open: None,
        }
    }

    /// Polls those that were woken, by their place, as far as the turn allows it; the rest in the next.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        look: &mut dyn FnMut(usize, &mut Context<'_>) -> Look,
    ) {
        let open = match &mut self.open {
            Some(open) => open,
            None => self.open.insert(Open::new(self.count, self.location)),
        };
        open.poll(context.waker(), look);
    }

    /// Has one polled, if it has not ended.
    pub(super) fn wake(&self, index: usize) {
        if let Some(open) = &self.open
            && let Some(name) = open.rows[index].name
            && let Some(core) = runtime::reach(open.serial)
        {
            core.wake_child(name);
        }
    }
}

impl Open {
    fn new(count: usize, location: &'static Location<'static>) -> Open {
        runtime::with(|core| {
            let children = core.open_ready_queue();
            let name = |slot| Row {
                name: Some(core.insert_sub_waker(children, slot as u32, location)),
                refused: 0,
            };
            Open {
                serial: core.serial(),
                children,
                rows: (0..count).map(name).collect(),
                // No scope: it is always another than the current one.
                scope: Key::new(0, 0),
                refused_max: 0,
                yielded: false,
                _local: PhantomData,
            }
        })
    }

    fn poll(&mut self, waker: &Waker, look: &mut dyn FnMut(usize, &mut Context<'_>) -> Look) {
        let core = runtime::hold_own(self.serial);
        core.begin_children(self.children, waker);
        let _begun = Begun {
            core: &core,
            children: self.children,
            waker,
        };
        self.look_at_scope(&core);
        let mut any = false;
        while core.has_ready_child(self.children) {
            if !core.may_poll() && (any || !self.yielded) {
                self.yielded = !any;
                return;
            }
            let Some(index) = core.next_sub_waker(self.children) else {
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

    /// In another scope than before, all are polled, so that what they await is awaited there (C12). So they are at first.
    fn look_at_scope(&mut self, core: &Core) {
        let scope = core.current_scope();
        if self.scope == scope {
            return;
        }
        self.scope = scope;
        self.refused_max = 0;
        for row in &mut self.rows {
            row.refused = 0;
            if let Some(name) = row.name {
                core.wake_child(name);
            }
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
        let before = core.refusals_in(self.scope);
        let looked = core.poll_sub_waker(name, |context| look(index, context));
        let refused = core.refusals_in(self.scope).saturating_sub(before);
        if refused > 0 {
            // A thousand futures of which each is refused once are no loop that ignores its errors: the one that was refused
            // most often counts.
            row.refused += refused;
            let more = row.refused.saturating_sub(self.refused_max);
            self.refused_max += more;
            core.set_refusals_in(self.scope, before + more);
        }
        if looked != Look::Pending {
            row.name = None;
            core.remove_sub_waker(name);
        }
        looked
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(core) = runtime::reach(self.serial) {
            for row in &self.rows {
                if let Some(name) = row.name {
                    core.remove_sub_waker(name);
                }
            }
            core.close_ready_queue(self.children);
        }
    }
}
