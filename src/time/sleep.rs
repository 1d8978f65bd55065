//! Waiting for a moment.

use super::Instant;
use crate::runtime::{self, Core, Refusal};
use crate::scope::Canceled;
use crate::table::Key;
use crate::tasks::copy_waker;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Waits for this long, counted from the call. A sleep of zero lets every other ready task go first, once, as
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
/// [`Canceled`], when its scope is canceled before the time is over.
///
/// # Cancel safety
///
/// There is nothing to lose: a sleep can be awaited by `&mut`, dropped, and started again (`tests/time.rs`).
#[inline]
pub fn sleep(duration: Duration) -> Sleep {
    let timer = match duration.is_zero() {
        true => Timer::Zero,
        false => Timer::Idle,
    };
    Sleep::new(Instant::now() + duration, timer)
}

/// Waits until this moment. One that is past is ready at once, unless the task has to let others go first (see
/// [`Builder::budget`](crate::runtime::Builder::budget)).
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
/// [`Canceled`], when its scope is canceled before the moment comes.
///
/// # Cancel safety
///
/// There is nothing to lose (`tests/time.rs`).
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
/// Polled outside of a runtime, or inside of another than the one that it was first polled in.
#[must_use = "futures do nothing unless they are awaited"]
pub struct Sleep {
    deadline: Instant,
    timer: Timer,
    refusal: Refusal,
    /// The timer belongs to the thread of its runtime.
    _local: PhantomData<*const ()>,
}

#[derive(Clone, Copy, Debug)]
enum Timer {
    /// The time was over when the deadline was set: no timer is needed.
    Over,
    Idle,
    /// Others are still to go first, and nothing else is waited for.
    Zero,
    /// They have.
    Yielded,
    /// The runtime's serial and the row of the timer, which this owns.
    Armed(u64, Key),
}

/// What a poll found while the tables were borrowed.
enum Found {
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
            refusal: Refusal::None,
            _local: PhantomData,
        }
    }

    /// When it will be over.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether the time is over.
    #[must_use]
    pub fn is_elapsed(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// Moves the deadline, earlier or later. It takes effect at the next poll, so a task that waits elsewhere for this
    /// sleep is not told.
    pub fn reset(&mut self, deadline: Instant) {
        self.release();
        *self = sleep_until(deadline);
    }

    fn release(&mut self) {
        if let Timer::Armed(serial, key) = std::mem::replace(&mut self.timer, Timer::Over)
            && let Some(core) = runtime::reach(serial)
        {
            let waker = core.release_timer(key);
            runtime::drop_waker(waker);
        }
    }
}

/// It holds no timer, only the name of a row: nothing in it is pinned.
impl Unpin for Sleep {}

impl Future for Sleep {
    type Output = Result<(), Canceled>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut waker = Some(copy_waker(context.waker()));
        let found = match self.timer {
            Timer::Armed(serial, key) => runtime::with_own(serial, |core| {
                if core.poll_timer(key, &mut waker) {
                    Found::Over
                } else if core.is_canceled() {
                    Found::Canceled
                } else {
                    Found::Waiting
                }
            }),
            Timer::Over => runtime::with(|core| {
                if core.is_canceled() {
                    return Found::Canceled;
                }
                if !core.has_budget() {
                    return Found::Spent;
                }
                core.consume_budget();
                Found::Over
            }),
            Timer::Idle | Timer::Zero | Timer::Yielded if runtime::with(Core::is_canceled) => {
                Found::Canceled
            }
            Timer::Zero => Found::Zero,
            Timer::Yielded => Found::Over,
            Timer::Idle => runtime::with(|core| match waker.take() {
                Some(waker) => Found::Armed(core.serial(), core.arm_timer(self.deadline, waker)),
                None => unreachable!("it was made above"),
            }),
        };
        runtime::drop_waker(waker);
        match found {
            Found::Over => {
                self.release();
                Poll::Ready(Ok(()))
            }
            Found::Armed(serial, key) => {
                self.timer = Timer::Armed(serial, key);
                Poll::Pending
            }
            Found::Waiting => Poll::Pending,
            Found::Canceled if matches!(self.timer, Timer::Armed(..) | Timer::Yielded) => {
                self.release();
                // Awaited again, it sleeps on.
                self.timer = Timer::Idle;
                Poll::Ready(Err(runtime::with(runtime::canceled_here)))
            }
            Found::Canceled => runtime::reject_canceled(&mut self.refusal, context).map(Err),
            Found::Spent => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Found::Zero => {
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
