//! The handle of a child.

use super::child_set::ChildSet;
use crate::error::{Canceled, JoinError};
use crate::runtime::{self, Core, LeafState};
use crate::table::Key;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Makes the lifetime invariant.
type Invariant<'scope> = &'scope mut &'scope ();

/// Owns the result of a child whose output is an `O`.
pub(super) struct ChildHandle<'scope, O> {
    children: &'scope ChildSet,
    /// The key of the child, until the result is taken.
    key: Option<Key>,
    /// Whether the group was closed when the child was spawned, and the handle has yet to return that.
    is_late: bool,
    leaf: LeafState,
    _scope: PhantomData<Invariant<'scope>>,
    /// The exact output type that the child was spawned with; invariant (G4b).
    _output: PhantomData<fn(O) -> O>,
}

impl<'scope, O> ChildHandle<'scope, O> {
    /// The handle of a spawned child. There is no key if the group was closed.
    ///
    /// # Safety
    ///
    /// `O` is the output of the future that the child was spawned with (G4b).
    #[inline]
    pub(super) unsafe fn new(children: &'scope ChildSet, key: Option<Key>) -> Self {
        ChildHandle {
            children,
            key,
            is_late: key.is_none(),
            leaf: LeafState::New,
            _scope: PhantomData,
            _output: PhantomData,
        }
    }

    /// Returns a number that no other child of this group has while this handle exists.
    pub(super) fn id(&self) -> u64 {
        self.key.map_or(0, Key::to_u64)
    }

    pub(super) fn cancel(&self) {
        if let Some(key) = self.key
            && let Some(core) = runtime::reach(self.children.runtime_id)
        {
            self.children.cancel(&core, key);
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        match (self.key, runtime::reach(self.children.runtime_id)) {
            (Some(key), Some(core)) => core.tasks.borrow().is_finished(key),
            _ => true,
        }
    }

    /// # Errors
    ///
    /// Why there is no output.
    #[inline]
    pub(super) fn poll(&mut self, context: &Context<'_>) -> Poll<Result<O, JoinError>> {
        let Some(key) = self.key else {
            let is_late = std::mem::take(&mut self.is_late);
            assert!(
                is_late,
                "the handle of a child was polled after it had given its end"
            );
            return Poll::Ready(Err(self.no_value()));
        };
        let children = self.children;
        // SAFETY: `new` was called with this `O`, which is the output of the spawned future (G4b).
        let look = |core: &Core| unsafe { children.take::<O>(core, key) };
        let wait = |core: &Core, waker, goes_on| core.wait_for_end(key, waker, goes_on);
        let Ok(taken) = ready!(self.leaf.poll(children.runtime_id, context, look, wait)) else {
            return Poll::Ready(Err(JoinError::canceled()));
        };
        self.key = None;
        Poll::Ready(taken.map_err(|panic| match panic {
            Some(payload) => JoinError::panicked(payload),
            None => self.no_value(),
        }))
    }

    /// Returns the error of a child without a value. If the group is canceled, that is the reason, and an error that
    /// results from it is secondary (G2).
    #[cold]
    fn no_value(&self) -> JoinError {
        let core = runtime::hold_own(self.children.runtime_id);
        if core.is_scope_canceled(self.children.scope) {
            core.attribute_outermost(self.children.scope);
            JoinError::dropped()
        } else {
            JoinError::aborted()
        }
    }
}

impl<O> Drop for ChildHandle<'_, O> {
    fn drop(&mut self) {
        if let Some(key) = self.key
            && let Some(core) = runtime::reach(self.children.runtime_id)
        {
            self.children.release(&core, key);
        }
    }
}

/// The handle of a child of a [`Group`](crate::group::Group). Await it for the child's value. Dropping it drops the
/// value; the child continues, and the group waits for it.
///
/// It can be awaited by value or by `&mut`, so a wait can be abandoned without affecting the child.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use std::time::Duration;
///
/// gimmal::run(async {
///     let answer = gimmal::group(async |g| {
///         let slow = g.spawn(async {
///             gimmal::sleep(Duration::from_secs(3600)).await?;
///             std::io::Result::Ok("slow")
///         });
///         let quick = g.spawn(async { std::io::Result::Ok("quick") });
///         let answer = quick.await?;
///         // This ends the child, not the group.
///         slow.cancel();
///         assert_eq!(slow.await, Err(gimmal::Canceled));
///         Ok(answer)
///     });
///     assert_eq!(answer.await?, "quick");
///     Ok(())
/// })
/// # }
/// ```
///
/// # Errors
///
/// [`Canceled`], if there is no value, because the child failed (the group's error has the failure), panicked, or was
/// canceled and dropped; or if the wait itself was canceled.
///
/// # Cancel safety
///
/// If the wait is dropped or canceled, the child and the handle are unchanged.
// Test: tests/groups/main.rs
pub struct Child<'scope, T>(pub(super) ChildHandle<'scope, Option<T>>);

impl<T> Child<'_, T> {
    /// Cancels only this child: what it awaits ends with [`Canceled`]. If the child ends with the cancellation, its
    /// group continues. If it fails by itself while it cleans up, the group fails. An error that the group cannot
    /// classify (see the [module](mod@crate::group#failures-and-cancellations)) is a failure, too, but cancels no
    /// siblings: the group returns it when they have ended.
    ///
    /// A child that has not started runs to its first wait. It starts even if the
    /// [`limit`](crate::group::Group::set_limit) leaves no room for it.
    ///
    /// Awaiting the handle then returns [`Canceled`], which is an error of the awaiting code: with `?` it is a failure
    /// like any other.
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// Whether the child has ended, in any way.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// Returns an ID that no other child of the group has while this handle exists.
    /// [`Group::next_finished`](crate::group::Group::next_finished) returns it when the child has ended.
    #[must_use]
    pub fn id(&self) -> ChildId {
        ChildId(self.0.id())
    }
}

impl<T> Future for Child<'_, T> {
    type Output = Result<T, Canceled>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(context).map(|joined| match joined {
            Ok(Some(value)) => Ok(value),
            Ok(None) => {
                let _canceled = self.0.no_value();
                Err(Canceled)
            }
            Err(_) => Err(Canceled),
        })
    }
}

impl<T> fmt::Debug for Child<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child").field("id", &self.id()).finish()
    }
}

/// Identifies a child within its group.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::group::ChildId;
/// use std::collections::HashMap;
///
/// gimmal::run(async {
///     gimmal::group(async |g| {
///         let children = ["one", "two"].map(|name| (name, g.spawn(async {})));
///         let mut names: HashMap<ChildId, &str> = HashMap::new();
///         names.extend(children.iter().map(|(name, child)| (child.id(), *name)));
///         while let Some(id) = g.next_finished().await? {
///             assert!(names.remove(&id).is_some());
///         }
///         assert!(names.is_empty());
///         Ok::<_, std::io::Error>(())
///     })
///     .await?;
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChildId(pub(super) u64);

/// The handle of a child of a [`Supervisor`](crate::group::Supervisor). Await it for the child's output. If it is
/// dropped, the child continues, and its failure goes to the hook.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use std::io;
///
/// gimmal::run(async {
///     gimmal::supervise(async |s| {
///         let failed = s.spawn(gimmal::fs::read("no/such/file"));
///         let panicked = s.spawn(async { panic!("out of cheese") });
///         // Neither affects the other, or the body.
///         assert_eq!(failed.await?.unwrap_err().kind(), io::ErrorKind::NotFound);
///         assert!(panicked.await.unwrap_err().is_panic());
///         Ok::<_, io::Error>(())
///     })
///     .await?;
///     Ok(())
/// })
/// # }
/// ```
///
/// # Errors
///
/// A [`JoinError`], if the child panicked or was canceled and dropped, or if the wait for it was canceled.
///
/// # Cancel safety
///
/// If the wait is dropped or canceled, the child and the handle are unchanged.
// Test: tests/groups/main.rs
pub struct Supervised<'scope, O>(pub(super) ChildHandle<'scope, O>);

impl<O> Supervised<'_, O> {
    /// Cancels only this child: what it awaits ends with [`Canceled`]. A child that has not started runs to its first
    /// wait. It starts even if the [`limit`](crate::group::Supervisor::set_limit) leaves no room for it.
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// Whether the child has ended, in any way.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl<O> Future for Supervised<'_, O> {
    type Output = Result<O, JoinError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(context)
    }
}

impl<O> fmt::Debug for Supervised<'_, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervised").finish_non_exhaustive()
    }
}
