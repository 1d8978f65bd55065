//! Awaiting several futures by reference, for the first of them, and leaving the others as they are.

use crate::runtime::{self, Core, JointPoll};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Awaits several futures by reference until the first is ready, and leaves the others as they were: neither canceled nor
/// dropped, they can be awaited later.
///
/// It takes a tuple of two to four `&mut` to futures that can be moved, as those of this crate can; any other is pinned first
/// with [`std::pin::pin!`]. If several are ready at once each of them is as likely to be given as the others, so a loop that
/// selects serves all of them. (For the first in the order given, and for outputs of all, there is [`race`](crate::race()).)
///
/// ```
/// use gimmal::group::Select2;
/// use std::pin::pin;
/// use std::time::Duration;
///
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let mut reading = pin!(gimmal::fs::read("Cargo.toml"));
///     let mut tick = gimmal::sleep(Duration::from_micros(1));
///     let mut ticked = false;
///     let text = loop {
///         match gimmal::select((&mut reading, &mut tick)).await {
///             Select2::First(text) => break text?,
///             Select2::Second(slept) => {
///                 slept?;
///                 ticked = true;
///                 tick = gimmal::sleep(Duration::from_millis(5));
///             }
///         }
///     };
///     assert!(!text.is_empty() || ticked);
///     Ok(())
/// })
/// # }
/// ```
///
/// # Panics
///
/// With the panic of one of the futures. Outside of a runtime. Futures that were ready before may panic when they are polled again: do not select
/// over one that has given its output.
///
/// # Cancel safety
///
/// In a canceled scope each future is told, and the first that says so is given. Nothing is lost when it is dropped: the
/// futures are their owner's (`tests/combinators.rs`).
pub fn select<S: Select>(futures: S) -> Selecting<S> {
    Selecting(futures)
}

/// What [`select`] takes: tuples of two to four `&mut` to futures that are `Unpin`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no tuple of two to four `&mut` to futures that are `Unpin`",
    note = "pin a future that is not `Unpin` with `std::pin::pin!`, and give a `&mut` to that"
)]
pub trait Select: Unpin {
    /// Which one was ready, with its output.
    type Output;

    #[doc(hidden)]
    fn poll_select(&mut self, context: &mut Context<'_>) -> Poll<Self::Output>;
}

/// The future of [`select`].
#[must_use = "futures do nothing unless they are awaited"]
#[derive(Debug)]
pub struct Selecting<S>(S);

impl<S: Select> Future for Selecting<S> {
    type Output = S::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<S::Output> {
        let _together = JointPoll::begin();
        self.0.poll_select(context)
    }
}

/// Which of so many is polled first.
fn start(among: u32) -> u32 {
    runtime::with(|core: &Core| core.choose(among))
}

macro_rules! select_tuples {
    ($($name:ident $count:literal: $($F:ident $Place:ident $index:tt $doc:literal),+;)+) => {$(
        #[doc = concat!("Which of ", $count, " futures was ready, with its output: what [`select`] gives.")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name<$($F),+> {
            $(
                #[doc = $doc]
                $Place($F),
            )+
        }

        impl<$($F: Future + Unpin),+> Select for ($(&mut $F,)+) {
            type Output = $name<$($F::Output),+>;

            fn poll_select(&mut self, context: &mut Context<'_>) -> Poll<Self::Output> {
                let start = start($count);
                for turn in start..start + $count {
                    match turn % $count {
                        $($index => {
                            if let Poll::Ready(output) = Pin::new(&mut *self.$index).poll(context) {
                                return Poll::Ready($name::$Place(output));
                            }
                        })+
                        _ => unreachable!("a remainder is below the divisor"),
                    }
                }
                Poll::Pending
            }
        }
    )+};
}

select_tuples! {
    Select2 2: A First 0 "The first.", B Second 1 "The second.";
    Select3 3: A First 0 "The first.", B Second 1 "The second.", C Third 2 "The third.";
    Select4 4: A First 0 "The first.", B Second 1 "The second.", C Third 2 "The third.", D Fourth 3 "The fourth.";
}
