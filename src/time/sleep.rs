//! Sleeping until a deadline.

use super::Instant;
use crate::error::Canceled;
use crate::runtime::{self, Core, Rejection};
use crate::table::Key;
use crate::tasks::copy_waker;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Waits for `duration`, counted from the call. A sleep of zero lets every other ready task run once, as
/// [`checkpoint`](crate::cancel::checkpoint) does.
///
/// ```
/// use std::time::Duration;
///
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let start = gimmal::time::Instant::now();
///     gimmal::sleep(Duration::from_millis(5)).await?;
///     assert!(start.elapsed() >= Duration::from_millis(5));
///     Ok(())
/// })
/// # }
/// ```
///
/// # Errors
///
/// [`Canceled`], if its scope is canceled before the time has passed.
///
/// # Cancel safety
///
/// Nothing is lost: a sleep can be awaited by `&mut`, dropped, and started again.
// Test: tests/time.rs
#[inline]
pub fn sleep(duration: Duration) -> Sleep {
    let timer = match duration.is_zero() {
        true => Timer::Zero,
        false => Timer::Idle,
    };
    Sleep::new(Instant::now() + duration, timer)
}

/// Waits until `deadline`. If it has passed, the sleep is ready at once, unless the task has to let others run first
/// (see [`Builder::budget`](crate::runtime::Builder::budget)).
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     gimmal::time::sleep_until(gimmal::time::Instant::now()).await?;
///     Ok(())
/// })
/// # }
/// ```
///
/// # Errors
///
/// [`Canceled`], if its scope is canceled before the deadline.
///
/// # Cancel safety
///
/// Nothing is lost: a sleep can be awaited by `&mut`, dropped, and started again.
// Test: tests/time.rs
#[inline]
pub fn sleep_until(deadline: Instant) -> Sleep {
    let timer = match Instant::now() >= deadline {
        true => Timer::Over,
        false => Timer::Idle,
    };
    Sleep::new(deadline, timer)
}

/// The future of [`sleep`] and [`sleep_until`].
///
/// # Panics
///
/// Panics when polled outside of a runtime, or in another runtime than at its first poll.
#[must_use = "futures do nothing unless they are awaited"]
pub struct Sleep {
    deadline: Instant,
    timer: Timer,
    rejection: Rejection,
    /// The timer belongs to the thread of its runtime.
    _local: PhantomData<*const ()>,
}

#[derive(Clone, Copy, Debug)]
enum Timer {
    /// The deadline had passed when it was set, so no timer is needed.
    Over,
    Idle,
    /// A sleep of zero that has not yielded yet.
    Zero,
    /// A sleep of zero that has yielded.
    Yielded,
    /// The runtime's ID and the row of the timer, which this sleep owns.
    Armed(u64, Key),
}

/// The result of a poll, taken while the tables are borrowed.
enum SleepPoll {
    Over,
    Armed(u64, Key),
    Waiting,
    Canceled,
    Spent,
    Zero,
}

impl Sleep {
    #[inline]
    fn new(deadline: Instant, timer: Timer) -> Sleep {
        Sleep {
            deadline,
            timer,
            rejection: Rejection::None,
            _local: PhantomData,
        }
    }

    /// Returns the deadline.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether the deadline has passed.
    #[must_use]
    pub fn is_elapsed(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// Moves the deadline, earlier or later. Takes effect at the next poll: a task that is already waiting for this
    /// sleep is not woken.
    pub fn reset(&mut self, deadline: Instant) {
        self.release();
        *self = sleep_until(deadline);
    }

    fn release(&mut self) {
        if let Timer::Armed(runtime_id, key) = std::mem::replace(&mut self.timer, Timer::Over)
            && let Some(core) = runtime::reach(runtime_id)
        {
            let waker = core.release_timer(key);
            runtime::drop_waker(waker);
        }
    }
}

// The sleep holds only the key of its timer's row, so nothing in it is pinned.
impl Unpin for Sleep {}

impl Future for Sleep {
    type Output = Result<(), Canceled>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut waker = Some(copy_waker(context.waker()));
        let found = match self.timer {
            Timer::Armed(runtime_id, key) => runtime::with_own(runtime_id, |core| {
                if core.poll_timer(key, &mut waker) {
                    SleepPoll::Over
                } else if core.is_canceled() {
                    SleepPoll::Canceled
                } else {
                    SleepPoll::Waiting
                }
            }),
            Timer::Over => runtime::with(|core| {
                if core.is_canceled() {
                    return SleepPoll::Canceled;
                }
                if !core.has_coop_budget() {
                    return SleepPoll::Spent;
                }
                core.spend_coop_budget();
                SleepPoll::Over
            }),
            Timer::Idle | Timer::Zero | Timer::Yielded if runtime::with(Core::is_canceled) => {
                SleepPoll::Canceled
            }
            Timer::Zero => SleepPoll::Zero,
            Timer::Yielded => SleepPoll::Over,
            Timer::Idle => runtime::with(|core| match waker.take() {
                Some(waker) => {
                    SleepPoll::Armed(core.runtime_id(), core.arm_timer(self.deadline, waker))
                }
                None => unreachable!("it was made above"),
            }),
        };
        runtime::drop_waker(waker);
        match found {
            SleepPoll::Over => {
                self.release();
                Poll::Ready(Ok(()))
            }
            SleepPoll::Armed(runtime_id, key) => {
                self.timer = Timer::Armed(runtime_id, key);
                Poll::Pending
            }
            SleepPoll::Waiting => Poll::Pending,
            SleepPoll::Canceled if matches!(self.timer, Timer::Armed(..) | Timer::Yielded) => {
                self.release();
                // If it is awaited again, it sleeps until its deadline.
                self.timer = Timer::Idle;
                Poll::Ready(Err(runtime::with(runtime::canceled_here)))
            }
            SleepPoll::Canceled => runtime::reject_canceled(&mut self.rejection, context).map(Err),
            SleepPoll::Spent => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            SleepPoll::Zero => {
                self.timer = Timer::Yielded;
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

impl Drop for Sleep {
    #[inline]
    fn drop(&mut self) {
        self.release();
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep")
            .field("deadline", &self.deadline)
            .field("timer", &self.timer)
            .finish()
    }
}
