//! Futures of other crates, made cancelable as leaves.

use super::opaque_debug;
use crate::error::Canceled;
use crate::runtime::{self, Core, Waiting};
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Makes a future of another crate end with [`Canceled`] when its scope is canceled: the future is dropped, and the
/// code that awaits it continues. Without this, the future is dropped together with everything around it, up to the
/// scope.
///
/// Operations and tasks of this runtime that the future holds are dropped with it, without being awaited. So use it for
/// futures that wait for other code: a channel, a lock or a semaphore of another crate.
///
/// ```
/// use gimmal::cancel::{Scope, cancelable};
///
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let (_sender, receiver) = async_channel::bounded::<u8>(1);
///     let scope = Scope::new();
///     scope.cancel();
///     let received: Result<bool, gimmal::Canceled> = scope
///         .run(async { Ok(cancelable(receiver.recv()).await.is_ok()) })
///         .await;
///     assert_eq!(received, Ok(false));
///     Ok(())
/// })
/// # }
/// ```
///
/// # Cancel safety
///
/// That of the future: it is dropped at a cancel as at a drop, and its crate documents what it loses then.
// Test: tests/scopes.rs
pub fn cancelable<F: Future>(future: F) -> Cancelable<F> {
    Cancelable {
        future: Some(future),
        begun: false,
        waiting: Waiting::default(),
    }
}

pin_project! {
    /// The future of [`cancelable`].
    #[must_use = "futures do nothing unless they are awaited"]
    pub struct Cancelable<F> {
        #[pin]
        future: Option<F>,
        // Whether the future was polled.
        begun: bool,
        waiting: Waiting,
    }
}

impl<F: Future> Future for Cancelable<F> {
    type Output = Result<F::Output, Canceled>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        // In a canceled scope, do not start the future; if it has started, it may be ready.
        if *this.begun || !runtime::with(Core::is_canceled) {
            *this.begun = true;
            let Some(future) = this.future.as_mut().as_pin_mut() else {
                panic!("a cancelable future was polled after it was ready")
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

opaque_debug! { Cancelable }
