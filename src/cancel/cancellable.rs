//! Futures of other crates, as leaves.

use crate::runtime::{self, Core, Waiting};
use crate::scope::Canceled;
use pin_project_lite::pin_project;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Makes a future of another crate end with [`Canceled`] when its scope is canceled: it is dropped then, and whoever awaits
/// it goes on. Without this it is dropped together with all that is around it, up to the scope.
///
/// What the future holds of this runtime is dropped with it, the hard way; so this is for what waits for others: a channel
/// of another crate, a lock, a semaphore.
///
/// ```
/// use gimmal::cancel::{Scope, cancellable};
///
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let (_sender, receiver) = async_channel::bounded::<u8>(1);
///     let scope = Scope::new();
///     scope.cancel();
///     let received: Result<bool, gimmal::Canceled> = scope
///         .run(async { Ok(cancellable(receiver.recv()).await.is_ok()) })
///         .await;
///     assert_eq!(received, Ok(false));
///     Ok(())
/// })
/// # }
/// ```
///
/// # Cancel safety
///
/// That of the future: it is dropped where it stands (`tests/scopes.rs`).
pub fn cancellable<F: Future>(future: F) -> Cancellable<F> {
    Cancellable {
        future: Some(future),
        begun: false,
        waiting: Waiting::default(),
    }
}

pin_project! {
    /// The future of [`cancellable`].
    #[must_use = "futures do nothing unless they are awaited"]
    pub struct Cancellable<F> {
        #[pin]
        future: Option<F>,
        // It was polled.
        begun: bool,
        waiting: Waiting,
    }
}

impl<F: Future> Future for Cancellable<F> {
    type Output = Result<F::Output, Canceled>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        // What would begin in a canceled scope does not; what has begun may have won.
        if *this.begun || !runtime::with(Core::is_canceled) {
            *this.begun = true;
            let Some(future) = this.future.as_mut().as_pin_mut() else {
                panic!("a cancellable future was polled after it was ready")
            };
            if let Poll::Ready(output) = future.poll(context) {
                this.future.set(None);
                this.waiting.end();
                return Poll::Ready(Ok(output));
            }
        }
        let ended = this.waiting.poll(context);
        if ended.is_ready() {
            this.future.set(None);
        }
        ended.map(Err)
    }
}

impl<F> fmt::Debug for Cancellable<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancellable").finish_non_exhaustive()
    }
}
