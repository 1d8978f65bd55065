//! The group in which a failure affects only the child that failed.

use super::child::Supervised;
use super::nursery::{Nursery, Verdict, nursery_methods};
use super::outcome::{Report, failure};
use crate::error::{Canceled, GroupError};
use crate::tasks::Origin;
use std::fmt;
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
// Test: tests/groups/main.rs
#[track_caller]
pub fn supervise<'env, T, E, F>(body: F) -> impl Future<Output = Result<T, GroupError<E, T>>>
where
    F: for<'scope> AsyncFnOnce(&'scope Supervisor<'scope, 'env>) -> Result<T, E>,
{
    let location = Location::caller();
    async move {
        let supervisor = Supervisor {
            nursery: Nursery::open(true, location),
        };
        // Locals are dropped in reverse order of declaration: the body, then the children, then the supervisor (G4a).
        let _closing = supervisor.nursery.closing();
        let body = pin!(Some(body(&supervisor)));
        supervisor.nursery.run(body, &Verdict::new()).await
    }
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
    nursery: Nursery<'scope, 'env>,
}

nursery_methods! {
    supervise: impl ['scope] Supervisor ['scope, '_], canceled "because the body failed";
    /// Starts a child. The child runs whether or not its handle is awaited, and the group waits for it.
    ///
    /// A child's output is `()`, or a `Result` whose error can be displayed.
    spawn: Report => Supervised<'scope, F::Output>
}

impl<'scope> Supervisor<'scope, '_> {
    fn adopt<F>(&'scope self, future: F, origin: Origin) -> Supervised<'scope, F::Output>
    where
        F: Future + 'scope,
        F::Output: Report,
    {
        let report = Some(failure::<F::Output> as _);
        Supervised(self.nursery.spawn(future, report, origin))
    }
}
