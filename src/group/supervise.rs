//! The group in which failures stay alone.

use super::child::{Handle, Supervised};
use super::child_set::{Ended, How};
use super::core::{Judge, Shared};
use super::outcome::Report;
use crate::error::{Failures, GroupError, is_cancellation};
use crate::runtime;
use crate::scope::Canceled;
use crate::tasks::Origin;
use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::pin;
use std::time::Duration;

/// Runs a body that starts children, as [`group`](crate::group()) does, but a child that fails or panics does so alone: what
/// servers use for their connections.
///
/// The handle of a child gives its failure. A failure that no handle takes goes to the hook
/// ([`Fault::ChildFailed`](crate::runtime::Fault), [`Builder::on_fault`](crate::runtime::Builder::on_fault)). A child that is
/// canceled and ends with that is no failure, and is not reported; one that fails by itself while it cleans up is
/// (see the [module](mod@crate::group#failures-and-cancellations)). A failure of the body cancels the children.
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
/// [`GroupError`]: the failure of the body; or canceled, if a scope outside of the group cut a child short.
///
/// # Panics
///
/// With the panic of the body, after all children have ended; outside of a runtime.
///
/// # Cancel safety
///
/// That of [`group`](crate::group()) (`tests/groups.rs`).
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
        shared: Shared::open(true, location),
        has_failed: Cell::new(false),
        was_cut_short: Cell::new(false),
        scope: PhantomData,
        env: PhantomData,
    };
    // What is declared later is dropped earlier: the body, then the children, then the supervisor (G4a).
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

/// Where supervised children are started, and what they share.
///
/// For the lifetimes see [`Group`](crate::group::Group).
pub struct Supervisor<'scope, 'env: 'scope> {
    shared: Shared,
    /// The body ended with an error.
    has_failed: Cell<bool>,
    /// It was cut short.
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
        self.has_failed.get() || matches!(ended.how, How::Dropped)
    }
}

impl<'scope> Supervisor<'scope, '_> {
    /// Starts a child. It runs whether or not its handle is awaited, and the group waits for it.
    ///
    /// A child ends with nothing, or with a `Result` whose error can be shown.
    #[track_caller]
    pub fn spawn<F>(&'scope self, future: F) -> Supervised<'scope, F::Output>
    where
        F: Future + 'scope,
        F::Output: Report,
    {
        self.spawn_as(None, future, Location::caller())
    }

    /// Starts a child as [`spawn`](Supervisor::spawn) does, with a name for lists of what is running and for reports of
    /// faults.
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
        // SAFETY: the future borrows for 'scope at least, which outlives this borrow of the supervisor; and that is dropped
        // after `Closing`, which clears the children (G4a).
        let spawned = unsafe {
            self.shared.children.spawn(
                future,
                Some(failure::<F::Output>),
                Origin { name, location },
            )
        };
        Supervised(Handle::new(&self.shared.children, spawned))
    }

    /// Cancels the body and all children: what they await ends with [`Canceled`]. That is no failure of theirs.
    pub fn cancel(&self) {
        self.shared.cancel(None);
    }

    /// Cancels as [`cancel`](Supervisor::cancel) does, and gives the reason: [`GroupError::reason`] has it, if the group ends with
    /// an error. Only the first reason is kept.
    pub fn cancel_with(&self, reason: impl Into<String>) {
        self.shared.cancel(Some(reason.into()));
    }

    /// Why the group was canceled, if [`cancel_with`](Supervisor::cancel_with) gave a reason.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        self.shared.reason()
    }

    /// Whether the group is canceled: by [`cancel`](Supervisor::cancel), because the body failed, or from outside.
    #[must_use]
    pub fn is_canceled(&self) -> bool {
        self.shared.is_canceled()
    }

    /// Children that have not ended, those that wait for room included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.children.len()
    }

    /// Whether every child has ended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lets at most so many children run at once, and one at least. Those beyond it begin in order, as others end.
    pub fn limit(&self, children: usize) {
        self.shared.children.set_limit(children);
    }

    /// Gives the children so much time to clean up once the group is canceled: what is left then is dropped, the hard way.
    /// Without this they may take as long as they like.
    pub fn drain_within(&self, time: Duration) {
        self.shared.drain_within(time);
    }

    /// Waits until another child may begin at once, by the [`limit`](Supervisor::limit).
    ///
    /// # Errors
    ///
    /// [`Canceled`], if the scope is canceled first.
    ///
    /// # Cancel safety
    ///
    /// There is nothing to lose (`tests/groups.rs`).
    pub async fn room(&self) -> Result<(), Canceled> {
        self.shared.room().await
    }
}

/// The failure, in words, unless it is only that the child was cut short.
fn failure<O: Report>(output: &O, cut_short: bool) -> Option<String> {
    match cut_short && output.is_canceled() == Some(true) {
        true => None,
        false => output.failure(),
    }
}

impl fmt::Debug for Supervisor<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor")
            .field("children", &self.len())
            .finish_non_exhaustive()
    }
}
