//! `join`: awaits several futures at once, for all of their outputs.

use super::sub_wakers::{Look, SubWakers};
use crate::runtime::JointPoll;
use crate::tasks::TaskCell;
use pin_project_lite::pin_project;
use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

pub(super) const AGAIN: &str = "it was polled after it had returned its outputs";

/// Awaits several futures in one task, and returns the tuple of their outputs: asyncio's `gather`.
///
/// They run in the current scope, as if they were awaited one after another. A failure of one does not cancel the
/// others: for that, use [`try_join`](crate::try_join()).
///
/// ```
/// use gimmal::fs;
///
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let (left, right) = gimmal::join((fs::read("Cargo.toml"), fs::read("README.md"))).await;
///     assert!(left?.len() + right?.len() > 0);
///     Ok(())
/// })
/// # }
/// ```
///
/// # Panics
///
/// Panics if one of the futures panics; the others are dropped.
///
/// # Cancel safety
///
/// A cancel loses nothing: each future is canceled, and the outputs are what they return. Dropping this drops the
/// futures and the outputs of those that were ready.
// Test: tests/groups/combinators.rs
pub fn join<J: Join>(futures: J) -> J::Joined {
    futures.into_joined()
}

/// The argument of [`join`]: a tuple of one to eight futures.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be joined",
    label = "this is not a tuple of up to eight futures",
    note = "for a list of futures, use `join_all`"
)]
pub trait Join {
    /// The tuple of the outputs.
    type Outputs;

    /// The future that returns the outputs.
    type Joined: Future<Output = Self::Outputs>;

    #[doc(hidden)]
    fn into_joined(self) -> Self::Joined;
}

/// A future, then its output, with the type erased.
trait PollErased {
    /// Polls the future, unless it is ready. Returns whether it is.
    fn run(self: Pin<&mut Self>, context: &mut Context<'_>) -> bool;
}

impl<F: Future> PollErased for TaskCell<F> {
    fn run(self: Pin<&mut Self>, context: &mut Context<'_>) -> bool {
        self.is_ready() || self.poll_stored(context).is_ready()
    }
}

fn run_all(futures: &mut [Pin<&mut dyn PollErased>], context: &mut Context<'_>) -> Poll<()> {
    let _joint = JointPoll::begin();
    let mut all = true;
    for future in futures {
        all &= future.as_mut().run(context);
    }
    if all { Poll::Ready(()) } else { Poll::Pending }
}

macro_rules! join_tuples {
    ($($name:ident: $($F:ident $f:ident),+;)+) => {$(
        pin_project! {
            /// The future of [`join`](crate::join()).
            #[must_use = "futures do nothing unless they are awaited"]
            pub struct $name<$($F: Future),+> {
                $(#[pin] $f: TaskCell<$F>,)+
            }
        }

        impl<$($F: Future),+> Join for ($($F,)+) {
            type Outputs = ($($F::Output,)+);
            type Joined = $name<$($F),+>;

            fn into_joined(self) -> $name<$($F),+> {
                let ($($f,)+) = self;
                $name { $($f: TaskCell::new($f),)+ }
            }
        }

        impl<$($F: Future),+> Future for $name<$($F),+> {
            type Output = ($($F::Output,)+);

            fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
                let mut this = self.project();
                match run_all(&mut [$(this.$f.as_mut()),+], context) {
                    Poll::Ready(()) => Poll::Ready(($(this.$f.output().take().expect(AGAIN),)+)),
                    Poll::Pending => Poll::Pending,
                }
            }
        }

        impl<$($F: Future),+> fmt::Debug for $name<$($F),+> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )+};
}

join_tuples! {
    Join1: A a;
    Join2: A a, B b;
    Join3: A a, B b, C c;
    Join4: A a, B b, C c, D d;
    Join5: A a, B b, C c, D d, E e;
    Join6: A a, B b, C c, D d, E e, F f;
    Join7: A a, B b, C c, D d, E e, F f, G g;
    Join8: A a, B b, C c, D d, E e, F f, G g, H h;
}

/// Awaits any number of futures of one type at once, and returns their outputs in the order of the futures.
///
/// They run in the current scope. Only futures that were woken are polled, and in one pass of the event loop no more
/// than its poll budget allows.
///
/// ```
/// use gimmal::fs;
///
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let paths = ["Cargo.toml", "README.md"];
///     let mut total = 0;
///     for text in gimmal::join_all(paths.map(|path| fs::read(path))).await {
///         total += text?.len();
///     }
///     assert!(total > 0);
///     Ok(())
/// })
/// # }
/// ```
///
/// # Panics
///
/// Panics if one of the futures panics; the others are dropped. Panics outside of a runtime.
///
/// # Cancel safety
///
/// A cancel loses nothing: each future is canceled, and the outputs are what they return. Dropping this drops the
/// futures and the outputs of those that were ready.
// Test: tests/groups/combinators.rs
#[track_caller]
pub fn join_all<I>(futures: I) -> JoinAll<I::Item>
where
    I: IntoIterator<Item: Future>,
{
    let futures: Vec<_> = futures.into_iter().map(|f| Some(Box::pin(f))).collect();
    JoinAll {
        left: futures.len(),
        outputs: Some(futures.iter().map(|_| None).collect()),
        names: SubWakers::new(futures.len(), Location::caller()),
        futures,
    }
}

/// The future of [`join_all`].
#[must_use = "futures do nothing unless they are awaited"]
pub struct JoinAll<F: Future> {
    futures: Vec<Option<Pin<Box<F>>>>,
    /// `None` once they have been returned.
    outputs: Option<Vec<Option<F::Output>>>,
    left: usize,
    names: SubWakers,
}

/// The futures are pinned in their boxes, and outputs are never pinned.
impl<F: Future> Unpin for JoinAll<F> {}

impl<F: Future> Future for JoinAll<F> {
    type Output = Vec<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let outputs = this.outputs.as_mut().expect(AGAIN);
        if this.left > 0 {
            let (futures, left) = (&mut this.futures, &mut this.left);
            this.names.poll(context, &mut |index, context| {
                let Some(output) = poll_one(&mut futures[index], context) else {
                    return Look::Pending;
                };
                outputs[index] = Some(output);
                *left -= 1;
                Look::Ended
            });
        }
        if this.left > 0 {
            return Poll::Pending;
        }
        let outputs = this.outputs.take().into_iter().flatten();
        Poll::Ready(outputs.flatten().collect())
    }
}

/// Polls a future, unless it has ended. Drops it when it is ready, and returns its output.
pub(super) fn poll_one<F: Future + Unpin>(
    place: &mut Option<F>,
    context: &mut Context<'_>,
) -> Option<F::Output> {
    let future = place.as_mut()?;
    let Poll::Ready(output) = Pin::new(future).poll(context) else {
        return None;
    };
    *place = None;
    Some(output)
}

impl<F: Future> fmt::Debug for JoinAll<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinAll")
            .field("pending", &self.left)
            .finish_non_exhaustive()
    }
}
