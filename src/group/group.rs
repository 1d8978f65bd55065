//! The group: its body, its children and its verdict.

use super::child::{Child, ChildId};
use super::nursery::{Nursery, Verdict, nursery_methods};
use super::outcome::Outcome;
use crate::error::{Canceled, GroupError};
use crate::tasks::Origin;
use pin_project_lite::pin_project;
use std::fmt;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

/// Runs a body that can start children. Returns when the body and all children have ended and none of their operations
/// is left, not even in the kernel. This is asyncio's `TaskGroup` and Trio's nursery.
///
/// The first failure of the body or of a child cancels the rest, which end in order. Children may borrow what lives
/// outside the group.
///
/// ```
/// use gimmal::fs;
///
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let (left, right) = ("Cargo.toml".to_owned(), "README.md".to_owned());
///     let total = gimmal::group(async |g| {
///         let a = g.spawn(async { fs::read(&left).await });
///         let b = g.spawn(async { fs::read(&right).await });
///         Ok(a.await?.len() + b.await?.len())
///     })
///     .await?;
///     assert!(total > 0);
///     Ok(())
/// })
/// # }
/// ```
///
/// See the [module](mod@crate::group) for what children can borrow, and for a loop that starts one child per item of a
/// list.
///
/// # Errors
///
/// [`GroupError`]: the first failure of a child or of the body, with all others; or canceled, if a scope outside the
/// group cut a child short. See the [module](mod@crate::group#failures-and-cancellations) for what counts as a failure.
///
/// # Panics
///
/// Resumes the first panic of the body or of a child, after all have ended. Panics outside of a runtime.
///
/// # Cancel safety
///
/// A cancel loses nothing: the group is canceled, and waits until its children have ended. If its future is dropped, it
/// drops the children at once, and their operations are gone after the next passes of the event loop.
// Test: tests/groups/main.rs
#[track_caller]
pub fn group<'env, T, E, F>(body: F) -> impl Future<Output = Result<T, GroupError<E, T>>>
where
    F: for<'scope> AsyncFnOnce(&'scope Group<'scope, 'env, E>) -> Result<T, E>,
{
    run_group(body, Location::caller())
}

pub(super) async fn run_group<'env, T, E, F>(
    body: F,
    location: &'static Location<'static>,
) -> Result<T, GroupError<E, T>>
where
    F: for<'scope> AsyncFnOnce(&'scope Group<'scope, 'env, E>) -> Result<T, E>,
{
    let group = Group {
        nursery: Nursery::open(false, location),
        verdict: Verdict::new(),
    };
    // Locals are dropped in reverse order of declaration: the body, then the children, then the group (G4a).
    let _closing = group.nursery.closing();
    let body = pin!(Some(body(&group)));
    group.nursery.run(body, &group.verdict).await
}

/// A task group as its body sees it: it starts children, and holds what they share.
///
/// `'env` is the lifetime of what children may borrow, which outlives the group. `'scope` is the lifetime of the group
/// itself. It is invariant, so nothing of the group can leave it.
///
/// ```
/// use gimmal::group::{Child, Group};
/// use std::io;
///
/// /// Starts a child for each path.
/// fn read_all<'scope, 'env>(
///     g: &'scope Group<'scope, 'env, io::Error>,
///     paths: &'env [String],
/// ) -> Vec<Child<'scope, Vec<u8>>> {
///     paths.iter().map(|path| g.spawn(gimmal::fs::read(path))).collect()
/// }
///
/// # fn main() -> io::Result<()> {
/// gimmal::run(async {
///     let paths = ["Cargo.toml".to_owned(), "README.md".to_owned()];
///     let total = gimmal::group(async |g| {
///         let mut total = 0;
///         for text in read_all(g, &paths) {
///             total += text.await?.len();
///         }
///         Ok(total)
///     })
///     .await?;
///     assert!(total > 0);
///     Ok(())
/// })
/// # }
/// ```
pub struct Group<'scope, 'env: 'scope, E> {
    nursery: Nursery<'scope, 'env>,
    verdict: Verdict<E>,
}

nursery_methods! {
    group: impl ['scope, E] Group ['scope, '_, E], canceled "by a failure";
    /// Starts a child. The child runs whether or not its handle is awaited, and the group waits for it.
    ///
    /// The future is first polled later, never inside this call, and only while the group itself is polled. It may
    /// start siblings. If the group has ended, the future is dropped, and the handle returns [`Canceled`].
    ///
    /// A child's output is `()`, or a `Result` with the group's error type, whose failure cancels the group.
    spawn: Outcome<E> => Child<'scope, <F::Output as Outcome<E>>::Value>
}

impl<'scope, E> Group<'scope, '_, E> {
    pub(super) fn adopt<F>(
        &'scope self,
        future: F,
        origin: Origin,
    ) -> Child<'scope, <F::Output as Outcome<E>>::Value>
    where
        F: Future + 'scope,
        F::Output: Outcome<E>,
    {
        let judged = Judged {
            future,
            group: self,
        };
        Child(self.nursery.spawn(judged, None, origin))
    }

    /// Waits for a child to end, and returns its ID: the first to end of those that this has not returned yet and whose
    /// handles were neither awaited nor dropped. Returns `None` when no child is left that could end.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use std::collections::HashMap;
    ///
    /// gimmal::run(async {
    ///     let sum = gimmal::group(async |g| {
    ///         let mut children = HashMap::new();
    ///         for n in 1..=3 {
    ///             let child = g.spawn(async move { Ok::<_, std::io::Error>(n) });
    ///             children.insert(child.id(), child);
    ///         }
    ///         let mut sum = 0;
    ///         while let Some(id) = g.next_finished().await? {
    ///             if let Some(child) = children.remove(&id) {
    ///                 sum += child.await?;
    ///             }
    ///         }
    ///         Ok(sum)
    ///     })
    ///     .await?;
    ///     assert_eq!(sum, 6);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Canceled`], if the scope is canceled first.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: a wait that is dropped or canceled consumes no child's ID.
    // Test: tests/groups/main.rs
    pub async fn next_finished(&self) -> Result<Option<ChildId>, Canceled> {
        let children = &self.nursery.children;
        let wait = self.nursery.wait_until(|| match children.next_ended() {
            Some(key) => Some(Some(ChildId(key.to_u64()))),
            None if children.len() == 0 => Some(None),
            None => None,
        });
        wait.await
    }
}

pin_project! {
    /// A child's future. Its failure goes to the group.
    struct Judged<'scope, 'env, F, E> {
        #[pin]
        future: F,
        group: &'scope Group<'scope, 'env, E>,
    }
}

impl<F, E> Future for Judged<'_, '_, F, E>
where
    F: Future,
    F::Output: Outcome<E>,
{
    type Output = Option<<F::Output as Outcome<E>>::Value>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let group = *this.group;
        this.future.poll(context).map(|outcome| {
            let value = group.verdict.value_of(outcome.into_result());
            if value.is_none() {
                group.nursery.children.failed.set(true);
            }
            value
        })
    }
}
