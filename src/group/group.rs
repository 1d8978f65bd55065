//! The group: its body, its children and its verdict.

use super::child::{Child, ChildHandle, ChildId};
use super::child_set::Ended;
use super::core::{GroupShared, Judge};
use super::outcome::Outcome;
use crate::error::Canceled;
use crate::error::{Failures, GroupError, is_cancellation};
use crate::runtime;
use crate::tasks::Origin;
use pin_project_lite::pin_project;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
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
// Test: tests/groups.rs
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
        shared: GroupShared::open(false, location),
        failed: Cell::new(None),
        failures: RefCell::new(Failures::new()),
        scope: PhantomData,
        env: PhantomData,
    };
    // Locals are dropped in reverse order of declaration: the body, then the children, then the group (G4a).
    let _closing = group.shared.closing();
    let mut body = pin!(Some(body(&group)));
    let mut output = None;
    poll_fn(|context| {
        let judged = &mut JudgedBody {
            group: &group,
            output: &mut output,
        };
        judged.poll(&mut body, context)
    })
    .await;
    group.shared.resume_panic(|| {
        runtime::guard("what a group gave", || drop(output.take()));
        group.discard_failures();
    });
    group.verdict(output)
}

/// The body of a group. Its failure is judged like that of a child.
struct JudgedBody<'a, 'scope, 'env, T, E> {
    group: &'a Group<'scope, 'env, E>,
    output: &'a mut Option<T>,
}

impl<T, E> JudgedBody<'_, '_, '_, T, E> {
    fn poll<F: Future<Output = Result<T, E>>>(
        &mut self,
        body: &mut Pin<&mut Option<F>>,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        let group = self.group;
        let output = &mut *self.output;
        group.shared.poll(
            group,
            body,
            &mut |ended| match ended {
                Ok(value) => *output = Some(value),
                Err(error) => group.fail(error),
            },
            context,
        )
    }
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
    shared: GroupShared,
    /// The error of the child that is being polled.
    failed: Cell<Option<E>>,
    failures: RefCell<Failures<E>>,
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

impl<E> Judge for Group<'_, '_, E> {
    fn judge(&self, ended: &Ended) -> bool {
        let Some(error) = self.failed.take() else {
            return false;
        };
        let cut_short = ended.attributed.any();
        // Called outside the borrow, because it runs user code (R1).
        let is_cancellation = if cut_short {
            is_cancellation(&error)
        } else {
            None
        };
        let mut failures = self.failures.borrow_mut();
        failures.add(error, cut_short, is_cancellation) || ended.is_body
    }
}

impl<'scope, E> Group<'scope, '_, E> {
    /// Starts a child. The child runs whether or not its handle is awaited, and the group waits for it.
    ///
    /// The future is first polled later, never inside this call, and only while the group itself is polled. It may
    /// start siblings. If the group has ended, the future is dropped, and the handle returns [`Canceled`].
    ///
    /// A child's output is `()`, or a `Result` with the group's error type, whose failure cancels the group.
    #[track_caller]
    pub fn spawn<F>(&'scope self, future: F) -> Child<'scope, <F::Output as Outcome<E>>::Value>
    where
        F: Future + 'scope,
        F::Output: Outcome<E>,
    {
        self.spawn_as(None, future, Location::caller())
    }

    /// Starts a child as [`spawn`](Group::spawn) does, with a name that appears in task listings and fault reports.
    #[track_caller]
    pub fn spawn_named<F>(
        &'scope self,
        name: impl Into<String>,
        future: F,
    ) -> Child<'scope, <F::Output as Outcome<E>>::Value>
    where
        F: Future + 'scope,
        F::Output: Outcome<E>,
    {
        let name = name.into().into_boxed_str();
        self.spawn_as(Some(name), future, Location::caller())
    }

    pub(super) fn spawn_as<F>(
        &'scope self,
        name: Option<Box<str>>,
        future: F,
        location: &'static Location<'static>,
    ) -> Child<'scope, <F::Output as Outcome<E>>::Value>
    where
        F: Future + 'scope,
        F::Output: Outcome<E>,
    {
        let judged = Judged {
            future,
            group: self,
        };
        // SAFETY: the future's borrows live for 'scope at least, which outlives this borrow of the group; and the group
        // is dropped after `Closing`, which clears the children (G4a).
        let spawned = unsafe {
            self.shared
                .children
                .spawn(judged, None, Origin { name, location })
        };
        Child(ChildHandle::new(&self.shared.children, spawned))
    }

    fn fail(&self, error: E) {
        self.failed.set(Some(error));
        self.shared.children.note_failure();
    }

    /// Cancels the body and all children: what they await ends with [`Canceled`]. A child that ends with the
    /// cancellation is not a failure of the group; one that fails by itself while it cleans up is.
    pub fn cancel(&self) {
        self.shared.cancel(None);
    }

    /// Cancels as [`cancel`](Group::cancel) does, with a reason. If the group ends with an error,
    /// [`GroupError::reason`] returns it. Only the first reason is kept.
    pub fn cancel_with(&self, reason: impl Into<String>) {
        self.shared.cancel(Some(reason.into()));
    }

    /// Returns the reason given to [`cancel_with`](Group::cancel_with), if any.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        self.shared.reason()
    }

    /// Whether the group is canceled: by [`cancel`](Group::cancel), by a failure, or from outside.
    #[must_use]
    pub fn is_canceled(&self) -> bool {
        self.shared.is_canceled()
    }

    /// Returns the number of children that have not ended, including those queued under the [`limit`](Group::set_limit).
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.children.len()
    }

    /// Whether every child has ended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Limits how many children run at once (at least one). Children beyond the limit start in order, as others end.
    ///
    /// The limit holds when the group is canceled, too: queued children start as room allows, and run to their first
    /// wait, which ends with [`Canceled`]. A queued child that its handle cancels ([`Child::cancel`]) starts at once,
    /// beyond the limit.
    pub fn set_limit(&self, children: usize) {
        self.shared.children.set_limit(children);
    }

    /// Limits how long children may clean up after the group is canceled: any child left then is dropped, even in the
    /// middle of its cleanup. Without this, cleanup may take arbitrarily long.
    pub fn set_cleanup_timeout(&self, time: Duration) {
        self.shared.set_cleanup_timeout(time);
    }

    /// Waits until another child could start at once under the [`limit`](Group::set_limit). A loop that awaits this before
    /// each `spawn` never has more children than the limit.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// gimmal::run(async {
    ///     let most = std::cell::Cell::new(0);
    ///     gimmal::group(async |g| {
    ///         g.set_limit(2);
    ///         // Of an endless list, only as much as there is room for.
    ///         for number in 0.. {
    ///             g.wait_for_slot().await?;
    ///             g.spawn(gimmal::cancel::checkpoint());
    ///             most.set(most.get().max(g.len()));
    ///             if number == 10 {
    ///                 break;
    ///             }
    ///         }
    ///         Ok::<_, gimmal::Canceled>(())
    ///     })
    ///     .await?;
    ///     assert_eq!(most.get(), 2);
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
    /// Nothing is lost: the wait reserves nothing.
    // Test: tests/groups.rs
    pub async fn wait_for_slot(&self) -> Result<(), Canceled> {
        self.shared.wait_for_slot().await
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
    // Test: tests/groups.rs
    pub async fn next_finished(&self) -> Result<Option<ChildId>, Canceled> {
        let children = &self.shared.children;
        let wait = self.shared.wait_until(|| match children.next_ended() {
            Some(key) => Some(Some(ChildId(key.to_u64()))),
            None if children.len() == 0 => Some(None),
            None => None,
        });
        wait.await
    }

    fn discard_failures(&self) {
        let failures = self.failures.replace(Failures::new());
        for error in self.failed.take().into_iter().chain(failures.into_all()) {
            runtime::guard("the failure of a child", || drop(error));
        }
    }

    fn verdict<T>(&self, output: Option<T>) -> Result<T, GroupError<E, T>> {
        let failures = self.failures.replace(Failures::new());
        let cut_off = self.shared.was_cut_off();
        GroupError::judge(failures, cut_off, self.shared.take_reason(), output)
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
        this.future
            .poll(context)
            .map(|outcome| match outcome.into_result() {
                Ok(value) => Some(value),
                Err(error) => {
                    group.fail(error);
                    None
                }
            })
    }
}

impl<E> fmt::Debug for Group<'_, '_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("children", &self.len())
            .finish_non_exhaustive()
    }
}
