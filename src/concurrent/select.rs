//! `select`: awaits the first of several futures by reference, and leaves the others as they are.

use crate::runtime::{self, Core, JointPoll};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Awaits several futures by reference until the first is ready. The others are neither canceled nor dropped, and can
/// be awaited later.
///
/// Takes a tuple of two to eight `&mut` to futures that are `Unpin`, as those of this crate are; pin any other first
/// with [`std::pin::pin!`]. Each of the futures is polled first equally often, so if several are ready at once, a loop
/// that selects serves all of them. (To prefer the first in order, or to get the outputs of all, use
/// [`race`](crate::race()).)
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
/// Panics if one of the futures panics, and outside of a runtime. A future that has returned its output may panic
/// when it is polled again, so do not select over it.
///
/// # Cancel safety
///
/// Dropping the select loses nothing, because it only borrows the futures. In a canceled scope, each future is
/// canceled, and the first that returns wins.
// Test: tests/combinators.rs
pub fn select<S: Select>(futures: S) -> Selecting<S> {
    Selecting(futures)
}

/// The argument of [`select`]: a tuple of two to eight `&mut` to futures that are `Unpin`.
#[diagnostic::on_unimplemented(
    message = "`select` cannot wait for `{Self}`",
    label = "this is not a tuple of two to eight `&mut` to futures that are `Unpin`",
    note = "pin a future that is not `Unpin` with `std::pin::pin!`, and pass a `&mut` to it"
)]
pub trait Select: Unpin {
    /// The future that was ready, with its output.
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
        let _joint = JointPoll::begin();
        self.0.poll_select(context)
    }
}

/// Returns the index of the future to poll first: each index equally often.
fn start(among: u32) -> u32 {
    runtime::with(|core: &Core| core.turn.choose(among))
}

macro_rules! select_tuples {
    ($($name:ident $count:literal: $($F:ident $Place:ident $index:tt),+;)+) => {$(
        #[doc = concat!("Which of ", $count, " futures was ready, with its output: what [`select`] returns.")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name<$($F),+> {
            $(
                #[doc = concat!("The output of the future at index ", $index, ".")]
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
    Select2 2: A First 0, B Second 1;
    Select3 3: A First 0, B Second 1, C Third 2;
    Select4 4: A First 0, B Second 1, C Third 2, D Fourth 3;
    Select5 5: A First 0, B Second 1, C Third 2, D Fourth 3, E Fifth 4;
    Select6 6: A First 0, B Second 1, C Third 2, D Fourth 3, E Fifth 4, F Sixth 5;
    Select7 7: A First 0, B Second 1, C Third 2, D Fourth 3, E Fifth 4, F Sixth 5, G Seventh 6;
    Select8 8: A First 0, B Second 1, C Third 2, D Fourth 3, E Fifth 4, F Sixth 5, G Seventh 6, H Eighth 7;
}
