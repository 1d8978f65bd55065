//! The group in which a failure affects only the child that failed.

use super::child::{ChildHandle, Supervised};
use super::child_set::{EndKind, Ended};
use super::core::{GroupShared, Judge};
use super::outcome::{Report, failure};
use crate::error::Canceled;
use crate::error::{Failures, GroupError, is_cancellation};
use crate::runtime;
use crate::tasks::Origin;
use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::pin;
use std::time::Duration;

/// Runs a body that can start children, as [`group`](crate::group()) does, but a child that fails or panics does not
/// cancel the others. Servers use this for their connections.
///
/// The child's handle returns its failure. A failure that no handle takes goes to the hook
/// ([`Fault::ChildFailed`](crate::runtime::Fault), [`Builder::on_fault`](crate::runtime::Builder::on_fault)). A child
/// that is canceled and ends with the cancellation is not a failure, and is not reported; one that fails by itself
/// while it cleans up is (see the [module](mod@crate::group#failures-and-cancellations)). A failure of the body cancels
/// the children.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let names = ["Cargo.toml", "no/such/file"];
///     let found = gimmal::supervise(async |s| {
///         let children = names.map(|name| s.spawn(gimmal::fs::read(name)));
///         let mut found = 0;
///         for child in children {
///             // Each has its own result.
///             if child.await?.is_ok() {
///                 found += 1;
///             }
///         }
///         Ok::<_, std::io::Error>(found)
///     })
///     .await?;
///     assert_eq!(found, 1);
///     Ok(())
/// })
/// # }
/// ```
///
/// # Errors
///
/// [`GroupError`]: the failure of the body; or canceled, if a scope outside the group cut a child short.
///
/// # Panics
///
/// Resumes the panic of the body, after all children have ended. Panics outside of a runtime.
///
/// # Cancel safety
///
/// A cancel loses nothing: the group is canceled, and waits until its children have ended. If its future is dropped, it
/// drops the children at once, and their operations are gone after the next passes of the event loop.
// Test: tests/groups.rs
#[track_caller]
pub fn supervise<'env, T, E, F>(body: F) -> impl Future<Output = Result<T, GroupError<E, T>>>
where
    F: for<'scope> AsyncFnOnce(&'scope Supervisor<'scope, 'env>) -> Result<T, E>,
{
    run_supervisor(body, Location::caller())
}

async fn run_supervisor<'env, T, E, F>(
    body: F,
    location: &'static Location<'static>,
) -> Result<T, GroupError<E, T>>
where
    F: for<'scope> AsyncFnOnce(&'scope Supervisor<'scope, 'env>) -> Result<T, E>,
{
    let supervisor = Supervisor {
        shared: GroupShared::open(true, location),
        has_failed: Cell::new(false),
        was_cut_short: Cell::new(false),
        scope: PhantomData,
        env: PhantomData,
    };
    // Locals are dropped in reverse order of declaration: the body, then the children, then the supervisor (G4a).
    let _closing = supervisor.shared.closing();
    let mut body = pin!(Some(body(&supervisor)));
    let mut outcome = None;
    poll_fn(|context| {
        let outcome = &mut outcome;
        let mut done = |ended: Result<T, E>| {
            supervisor.has_failed.set(ended.is_err());
            *outcome = Some(ended);
        };
        supervisor
            .shared
            .poll(&supervisor, &mut body, &mut done, context)
    })
    .await;
    supervisor.shared.resume_panic(|| {
        runtime::guard("what a group gave", || drop(outcome.take()));
    });
    let mut failures = Failures::new();
    let output = match outcome {
        Some(Err(error)) => {
            let cut_short = supervisor.was_cut_short.get();
            let is_cancellation = if cut_short {
                is_cancellation(&error)
            } else {
                None
            };
            failures.add(error, cut_short, is_cancellation);
            None
        }
        Some(Ok(output)) => Some(output),
        None => None,
    };
    let shared = &supervisor.shared;
    GroupError::judge(failures, shared.was_cut_off(), shared.take_reason(), output)
}

/// A supervised group as its body sees it: it starts children, and holds what they share.
///
/// See [`Group`](crate::group::Group) for the lifetimes.
///
/// ```
/// use gimmal::group::Supervisor;
/// use gimmal::net::UnixStream;
/// use std::io;
///
/// /// Serves a connection until the peer ends it.
/// fn serve<'scope>(s: &'scope Supervisor<'scope, '_>, stream: UnixStream) {
///     drop(s.spawn(async move {
///         loop {
///             let (n, buffer) = stream.read(vec![0; 64]).await?;
///             if n == 0 {
///                 return io::Result::Ok(());
///             }
///             stream.write_all(buffer).await?;
///         }
///     }));
/// }
///
/// # fn main() -> io::Result<()> {
/// gimmal::run(async {
///     let (client, server) = UnixStream::pair()?;
///     gimmal::supervise(async |s| {
///         serve(s, server);
///         client.write_all("hello").await?;
///         assert_eq!(client.read(vec![0; 64]).await?.1, b"hello");
///         client.close().await
///     })
///     .await?;
///     Ok(())
/// })
/// # }
/// ```
pub struct Supervisor<'scope, 'env: 'scope> {
    shared: GroupShared,
    /// Whether the body failed.
    has_failed: Cell<bool>,
    /// Whether the body was cut short.
    was_cut_short: Cell<bool>,
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

impl Judge for Supervisor<'_, '_> {
    fn judge(&self, ended: &Ended) -> bool {
        if !ended.is_body {
            return false;
        }
        self.was_cut_short.set(ended.attributed.any());
        self.has_failed.get() || matches!(ended.kind, EndKind::Dropped)
    }
}

impl<'scope> Supervisor<'scope, '_> {
    /// Starts a child. The child runs whether or not its handle is awaited, and the group waits for it.
    ///
    /// A child's output is `()`, or a `Result` whose error can be displayed.
    #[track_caller]
    pub fn spawn<F>(&'scope self, future: F) -> Supervised<'scope, F::Output>
    where
        F: Future + 'scope,
        F::Output: Report,
    {
        self.spawn_as(None, future, Location::caller())
    }

    /// Starts a child as [`spawn`](Supervisor::spawn) does, with a name that appears in task listings and fault
    /// reports.
    #[track_caller]
    pub fn spawn_named<F>(
        &'scope self,
        name: impl Into<String>,
        future: F,
    ) -> Supervised<'scope, F::Output>
    where
        F: Future + 'scope,
        F::Output: Report,
    {
        let name = name.into().into_boxed_str();
        self.spawn_as(Some(name), future, Location::caller())
    }

    fn spawn_as<F>(
        &'scope self,
        name: Option<Box<str>>,
        future: F,
        location: &'static Location<'static>,
    ) -> Supervised<'scope, F::Output>
    where
        F: Future + 'scope,
        F::Output: Report,
    {
        // SAFETY: the future's borrows live for 'scope at least, which outlives this borrow of the supervisor; and the
        // supervisor is dropped after `Closing`, which clears the children (G4a).
        let spawned = unsafe {
            self.shared.children.spawn(
                future,
                Some(failure::<F::Output>),
                Origin { name, location },
            )
        };
        Supervised(ChildHandle::new(&self.shared.children, spawned))
    }

    /// Cancels the body and all children: what they await ends with [`Canceled`]. Children that end with it have not
    /// failed.
    pub fn cancel(&self) {
        self.shared.cancel(None);
    }

    /// Cancels as [`cancel`](Supervisor::cancel) does, with a reason. If the group ends with an error,
    /// [`GroupError::reason`] returns it. Only the first reason is kept.
    pub fn cancel_with(&self, reason: impl Into<String>) {
        self.shared.cancel(Some(reason.into()));
    }

    /// Returns the reason given to [`cancel_with`](Supervisor::cancel_with), if any.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        self.shared.reason()
    }

    /// Whether the group is canceled: by [`cancel`](Supervisor::cancel), because the body failed, or from outside.
    #[must_use]
    pub fn is_canceled(&self) -> bool {
        self.shared.is_canceled()
    }

    /// Returns the number of children that have not ended, including those queued under the
    /// [`limit`](Supervisor::set_limit).
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
    /// wait, which ends with [`Canceled`]. A queued child that its handle cancels ([`Supervised::cancel`]) starts at
    /// once, beyond the limit.
    pub fn set_limit(&self, children: usize) {
        self.shared.children.set_limit(children);
    }

    /// Limits how long children may clean up after the group is canceled: any child left then is dropped, even in the
    /// middle of its cleanup. Without this, cleanup may take arbitrarily long.
    pub fn set_cleanup_timeout(&self, time: Duration) {
        self.shared.set_cleanup_timeout(time);
    }

    /// Waits until another child could start at once under the [`limit`](Supervisor::set_limit).
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// gimmal::run(async {
    ///     gimmal::supervise(async |s| {
    ///         s.set_limit(2);
    ///         for path in ["Cargo.toml", "README.md", "no/such/file"] {
    ///             s.wait_for_slot().await?;
    ///             assert!(s.len() < 2);
    ///             drop(s.spawn(gimmal::fs::read(path)));
    ///         }
    ///         Ok::<_, gimmal::Canceled>(())
    ///     })
    ///     .await?;
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
}

impl fmt::Debug for Supervisor<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor")
            .field("children", &self.len())
            .finish_non_exhaustive()
    }
}
