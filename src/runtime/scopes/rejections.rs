//! The count of rejections (C2): leaves that a future starts although its scope is canceled.
//!
//! The runtime counts rejections; each poller compares the count before and after its polls. A poll with any is one
//! sign of a loop that ignores its errors, however many leaves were rejected in it, in whatever scope below. A task, a
//! child and a scoped future that is canceled is dropped after [`REJECTIONS_MAX`] such polls. What is no sign for the
//! pollers around, a poller takes out of the count:
//!
//! - a scope that is not canceled: its future has a right to the rejections in scopes below it, such as timeouts;
//! - a group: its children are counted each by itself, and the group as one rejection when it ends;
//! - futures with a waker each: only the poll of the one that was rejected most often counts.

use crate::runtime::core::Core;

/// The number of polls in which a future in a canceled scope may start a new wait before it counts as a loop that
/// ignores every error, and is dropped (C2).
pub(crate) const REJECTIONS_MAX: u32 = 64;

impl Core {
    #[inline]
    pub(crate) fn rejections(&self) -> u64 {
        self.context.rejections.get()
    }

    pub(crate) fn count_rejection(&self) {
        self.context
            .rejections
            .set(self.context.rejections.get() + 1);
    }

    /// Takes the rejections since the count was `before` out of it: they are no sign for the pollers around this one.
    pub(crate) fn forget_rejections(&self, before: u64) {
        self.context.rejections.set(before);
    }
}
