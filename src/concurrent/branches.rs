//! The futures of a combinator, in a tuple or a list.

use super::join::{Join, Joined};
use super::race::{Race, Racer, Racing};
use super::sub_wakers::SubWakers;
use super::try_join::{TryJoin, TryJoined};
use crate::runtime::JointPoll;
use crate::tasks::TaskCell;
use pin_project_lite::pin_project;
use std::ops::ControlFlow;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

pub(super) const AGAIN: &str = "it was polled after it had returned its outputs";

/// One of the futures, later its output. `X` is what can end the wait for all of them early.
pub trait Branch<X> {
    type Output
    where
        Self: Sized;

    /// Polls the future, unless it has ended. Returns whether it has. Sets `stop` if this ends the wait for the others.
    fn run(
        self: Pin<&mut Self>,
        index: usize,
        stop: &mut Option<X>,
        context: &mut Context<'_>,
    ) -> bool;

    /// Takes the output of a future that has ended.
    fn take(self: Pin<&mut Self>) -> Self::Output
    where
        Self: Sized;
}

/// All futures of a combinator.
pub trait Branches<X> {
    type Outputs;

    /// Polls the futures in order, until `stop` is set. If it was set before, polls all. Ready once all have ended, but
    /// pending in the poll that sets `stop`.
    fn poll_all(self: Pin<&mut Self>, stop: &mut Option<X>, context: &mut Context<'_>) -> Poll<()>;

    /// Takes the outputs, once all have ended.
    fn take_all(self: Pin<&mut Self>) -> Self::Outputs;
}

fn poll_in_order<X>(
    branches: &mut [Pin<&mut dyn Branch<X>>],
    stop: &mut Option<X>,
    context: &mut Context<'_>,
) -> Poll<()> {
    let _joint = JointPoll::begin();
    let had_stopped = stop.is_some();
    let mut all = true;
    for (index, branch) in branches.iter_mut().enumerate() {
        all &= branch.as_mut().run(index, stop, context);
        if stop.is_some() && !had_stopped {
            return Poll::Pending;
        }
    }
    if all { Poll::Ready(()) } else { Poll::Pending }
}

macro_rules! tuples {
    ($($name:ident: $($B:ident $T:ident $b:ident),+;)+) => {$(
        pin_project! {
            pub struct $name<$($B),+> {
                $(#[pin] $b: $B,)+
            }
        }

        impl<X, $($B: Branch<X>),+> Branches<X> for $name<$($B),+> {
            type Outputs = ($($B::Output,)+);

            fn poll_all(self: Pin<&mut Self>, stop: &mut Option<X>, context: &mut Context<'_>) -> Poll<()> {
                let this = self.project();
                poll_in_order(&mut [$(this.$b),+], stop, context)
            }

            fn take_all(self: Pin<&mut Self>) -> Self::Outputs {
                let this = self.project();
                ($(this.$b.take(),)+)
            }
        }

        impl<$($B: Future),+> Join for ($($B,)+) {
            type Outputs = ($($B::Output,)+);
            type Joined = Joined<$name<$(TaskCell<$B>),+>>;

            fn into_joined(self) -> Self::Joined {
                let ($($b,)+) = self;
                Joined::new($name { $($b: TaskCell::new($b)),+ })
            }
        }

        impl<X, $($B, $T),+> TryJoin for ($($B,)+)
        where
            $($B: Future<Output = Result<$T, X>>,)+
        {
            type Values = ($($T,)+);
            type Error = X;
            type Joined = TryJoined<$name<$(TaskCell<$B>),+>, X>;

            fn into_try_joined(self) -> Self::Joined {
                let ($($b,)+) = self;
                TryJoined::new($name { $($b: TaskCell::new($b)),+ })
            }
        }

        impl<$($B: Future),+> Race for ($($B,)+) {
            type Outputs = ($(Option<$B::Output>,)+);
            type Racing = Racing<$name<$(Racer<$B>),+>>;

            fn into_race(self) -> Self::Racing {
                let ($($b,)+) = self;
                Racing::new($name { $($b: Racer::new($b)),+ })
            }
        }
    )+};
}

tuples! {
    Tuple1: A T a;
    Tuple2: A T a, B U b;
    Tuple3: A T a, B U b, C V c;
    Tuple4: A T a, B U b, C V c, D W d;
    Tuple5: A T a, B U b, C V c, D W d, E Y e;
    Tuple6: A T a, B U b, C V c, D W d, E Y e, F Z f;
    Tuple7: A T a, B U b, C V c, D W d, E Y e, F Z f, G R g;
    Tuple8: A T a, B U b, C V c, D W d, E Y e, F Z f, G R g, H S h;
}

/// Any number of futures. Only those that were woken are polled.
#[derive(Debug)]
pub struct List<B> {
    branches: Vec<Pin<Box<B>>>,
    /// The number of futures that have not ended.
    left: usize,
    wakers: SubWakers,
}

/// The futures are pinned in their boxes.
impl<B> Unpin for List<B> {}

impl<B> List<B> {
    pub(super) fn new(
        branches: impl Iterator<Item = B>,
        location: &'static Location<'static>,
    ) -> List<B> {
        let branches: Vec<_> = branches.map(Box::pin).collect();
        List {
            left: branches.len(),
            wakers: SubWakers::new(branches.len(), location),
            branches,
        }
    }
}

impl<X, B: Branch<X>> Branches<X> for List<B> {
    type Outputs = Vec<B::Output>;

    fn poll_all(
        mut self: Pin<&mut Self>,
        stop: &mut Option<X>,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        let this = &mut *self;
        if this.left == 0 {
            return Poll::Ready(());
        }
        let had_stopped = stop.is_some();
        this.wakers.poll(context, &mut |index, context| {
            if !this.branches[index].as_mut().run(index, stop, context) {
                return Poll::Pending;
            }
            this.left -= 1;
            Poll::Ready(match stop.is_some() && !had_stopped {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            })
        });
        if stop.is_some() && !had_stopped {
            this.wakers.wake_all();
            return Poll::Pending;
        }
        match this.left {
            0 => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }

    fn take_all(mut self: Pin<&mut Self>) -> Self::Outputs {
        let branches = std::mem::take(&mut self.branches);
        let outputs = branches
            .into_iter()
            .map(|mut branch| branch.as_mut().take());
        outputs.collect()
    }
}
