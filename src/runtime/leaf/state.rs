//! The protocol of leaves: what a future that the runtime will complete does at each poll (C2).
//!
//! 1. If the task has no coop budget left, it lets other tasks go first (`poll_coop_budget`).
//! 2. If the result is there, it returns that, which uses up budget.
//! 3. If its scope is canceled, it ends with [`Canceled`] ([`LeafState::cancel`]).
//! 4. Otherwise it sees to it that its task is woken. It belongs to the scope of this poll (C12).
//!
//! [`LeafState::poll`] has all four, for results in the runtime's tables. `Waiting` has 3 and 4 for leaves whose results
//! are elsewhere. A few leaves check for a cancel first when they begin, so that in a canceled scope they take nothing.

use crate::error::Canceled;
use crate::runtime::core::Core;
use crate::runtime::current::{drop_waker, with, with_own};
use crate::tasks::copy_waker;
use std::task::{Context, Poll, Waker};

/// What a leaf keeps between its polls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LeafState {
    #[default]
    New,
    /// It is to be rejected, and has yielded.
    Yielded,
    /// Its wait has begun, and is recorded in a scope.
    Waiting,
}

impl LeafState {
    /// Polls a leaf of this runtime (O9). `look` returns the result, if it is there. Otherwise `wait` stores the waker, to
    /// be woken when the result may be there, and returns the waker that this replaces. Its last argument is true if the
    /// leaf waited before.
    #[inline]
    pub(crate) fn poll<T>(
        &mut self,
        runtime_id: u64,
        context: &Context<'_>,
        look: impl FnOnce(&Core) -> Option<T>,
        wait: impl FnOnce(&Core, Waker, bool) -> Option<Waker>,
    ) -> Poll<Result<T, Canceled>> {
        enum Found<T> {
            Result(T),
            Nothing,
            Canceled,
            NoBudget,
        }
        let found = with_own(runtime_id, |core| {
            if !core.has_coop_budget() {
                return Found::NoBudget;
            }
            match look(core) {
                Some(result) => {
                    core.spend_coop_budget();
                    Found::Result(result)
                }
                None if core.is_canceled() => Found::Canceled,
                None => Found::Nothing,
            }
        });
        match found {
            Found::Result(result) => return Poll::Ready(Ok(result)),
            Found::Nothing => {}
            Found::Canceled => return self.cancel(context).map(Err),
            Found::NoBudget => {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        let waker = copy_waker(context.waker());
        let goes_on = std::mem::replace(self, LeafState::Waiting) == LeafState::Waiting;
        drop_waker(with_own(runtime_id, |core| wait(core, waker, goes_on)));
        Poll::Pending
    }

    /// Ends a leaf whose scope is canceled. A wait that has begun ends at once. A new one is rejected: it yields first,
    /// so that a loop that swallows the error cannot freeze the thread, and is counted, so that the loop ends.
    #[cold]
    pub(crate) fn cancel(&mut self, context: &Context<'_>) -> Poll<Canceled> {
        if *self == LeafState::New {
            *self = LeafState::Yielded;
            with(Core::count_rejection);
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        *self = LeafState::New;
        Poll::Ready(with(Core::attribute_canceled))
    }
}
