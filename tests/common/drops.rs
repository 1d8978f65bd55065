//! Futures dropped at a chosen poll and moment.

use crate::{Baseline, next_turn};
use std::future::poll_fn;
use std::task::Poll;

/// When to drop a future after its last poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Right after the poll.
    AtOnce,
    /// After this number of turns, whether or not it was woken.
    Turns(usize),
    /// After it was woken, without another poll. Only for futures that are sure to be woken.
    Woken,
}

pub const MOMENTS: [Moment; 4] = [
    Moment::AtOnce,
    Moment::Turns(1),
    Moment::Turns(3),
    Moment::Woken,
];

/// Polls a future up to `polls` times, each time after a wake, then drops it. Returns its output if it became ready.
pub async fn dropped_after<F: Future>(
    future: F,
    polls: usize,
    moment: Moment,
) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let mut polled = 0;
    let output = poll_fn(|context| {
        if polled == polls {
            return Poll::Ready(None);
        }
        polled += 1;
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if polled == polls && moment != Moment::Woken => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    if output.is_none()
        && let Moment::Turns(turns) = moment
    {
        for _ in 0..turns {
            next_turn().await;
        }
    }
    drop(future);
    output
}

/// Drops a future after 0 polls, 1 poll and so on until it completes, at each of these moments, and checks that all
/// counts return to the baseline each time. Returns the number of polls that the future needs.
pub async fn dropped_everywhere<F: Future>(
    name: &str,
    moments: &[Moment],
    mut make: impl FnMut() -> F,
) -> usize {
    let baseline = Baseline::take();
    let mut most = 0;
    for moment in moments {
        let mut polls = 0;
        loop {
            let output = dropped_after(make(), polls, *moment).await;
            let ended = output.is_some();
            drop(output);
            let after = format!("{name}, dropped after {polls} polls, {moment:?}");
            baseline.returns(&after).await;
            if ended {
                break;
            }
            polls += 1;
            assert!(polls < 100_000, "{name} never completes");
        }
        most = most.max(polls);
    }
    most
}
