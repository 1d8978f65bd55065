//! Sleeping until a deadline.

use super::Instant;
use crate::cancel::{Checkpoint, checkpoint};
use crate::error::Canceled;
use crate::runtime::{self, Core, LeafState, Proceed, proceed};
use crate::table::Key;
use crate::tasks::copy_waker;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
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
// Test: tests/time/timers.rs
#[inline]
pub fn sleep(duration: Duration) -> Sleep {
    let timer = match duration.is_zero() {
        true => Timer::Zero(checkpoint()),
        false => Timer::IDLE,
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
// Test: tests/time/timers.rs
#[inline]
pub fn sleep_until(deadline: Instant) -> Sleep {
    let timer = match Instant::now() >= deadline {
        true => Timer::Over(proceed()),
        false => Timer::IDLE,
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
    /// The timer belongs to the thread of its runtime.
    _local: PhantomData<*const ()>,
}

#[derive(Debug)]
enum Timer {
    /// The deadline has passed.
    Over(Proceed),
    /// A sleep of zero.
    Zero(Checkpoint),
    Idle(LeafState),
    /// The runtime's ID and the row of the timer, which this sleep owns.
    Armed(u64, Key),
}

impl Timer {
    const IDLE: Timer = Timer::Idle(LeafState::New);
}

impl Sleep {
    #[inline]
    fn new(deadline: Instant, timer: Timer) -> Sleep {
        Sleep {
            deadline,
            timer,
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
        let timer = std::mem::replace(&mut self.timer, Timer::Over(proceed()));
        if let Timer::Armed(runtime_id, key) = timer
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
        match &mut self.timer {
            Timer::Over(step) => {
                runtime::with(|_| ());
                Pin::new(step).poll(context)
            }
            Timer::Zero(step) => {
                ready!(Pin::new(step).poll(context))?;
                self.timer = Timer::Over(proceed());
                Poll::Ready(Ok(()))
            }
            Timer::Idle(state) if runtime::with(Core::is_canceled) => {
                state.cancel(context).map(Err)
            }
            Timer::Idle(_) => {
                let waker = copy_waker(context.waker());
                let arm = |core: &Core| {
                    Timer::Armed(core.runtime_id(), core.arm_timer(self.deadline, waker))
                };
                self.timer = runtime::with(arm);
                Poll::Pending
            }
            Timer::Armed(runtime_id, key) => {
                let mut waker = copy_waker(context.waker());
                let (is_over, is_canceled) = runtime::with_own(*runtime_id, |core| {
                    (core.poll_timer(*key, &mut waker), core.is_canceled())
                });
                runtime::drop_waker(Some(waker));
                if !is_over && !is_canceled {
                    return Poll::Pending;
                }
                self.release();
                if is_over {
                    return Poll::Ready(Ok(()));
                }
                // If it is awaited again, it sleeps until its deadline.
                self.timer = Timer::IDLE;
                Poll::Ready(Err(runtime::with(Core::attribute_canceled)))
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
