//! Shields, which keep outer cancellation out.

use super::{ScopedPoll, opaque_debug};
use crate::scope::ScopeKind;
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Runs a future to completion, even if the scope around it is canceled. Use it for cleanup that awaits.
///
/// The future must end soon, because everything that awaits the canceled scope waits for it. Give it its own time limit
/// with [`FutureExt::timeout`](crate::time::FutureExt::timeout) inside: `shield(file.sync_all().timeout(limit))`.
///
/// ```
/// use gimmal::cancel::{Scope, shield};
/// use gimmal::prelude::*;
/// use std::time::Duration;
///
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let scope = Scope::new();
///     scope.cancel();
///     scope
///         .run(async {
///             let path = "Cargo.toml";
///             assert!(gimmal::fs::read(path).await.is_err());
///             shield(gimmal::fs::read(path).timeout(Duration::from_secs(5))).await?;
///             Ok::<_, std::io::Error>(())
///         })
///         .await
/// })
/// # }
/// ```
///
/// # Cancel safety
///
/// A cancel does not reach the future inside. Dropping the shield drops the future.
// Test: tests/scopes.rs
pub fn shield<F: Future>(future: F) -> Shield<F> {
    Shield {
        future: Some(future),
        scoped: ScopedPoll::new(ScopeKind::Shield),
    }
}

pin_project! {
    /// The future of [`shield`].
    #[must_use = "futures do nothing unless they are awaited"]
    pub struct Shield<F> {
        // Must be dropped before `scoped`, which leaves the scope.
        #[pin]
        future: Option<F>,
        scoped: ScopedPoll,
    }
}

impl<F: Future> Future for Shield<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let Some(future) = this.future.as_mut().as_pin_mut() else {
            panic!("a shield was polled after it was ready")
        };
        match this.scoped.poll(future, context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(output)) => {
                this.future.set(None);
                this.scoped.close();
                Poll::Ready(output)
            }
            Poll::Ready(None) => unreachable!("a shield without a deadline is never canceled"),
        }
    }
}

opaque_debug! { Shield }
