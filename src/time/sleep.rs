//! Waiting for a moment.

use super::Instant;
use crate::runtime::{self, Refusal};
use crate::scope::Canceled;
use crate::table::Key;
use crate::tasks::copy_waker;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Waits for this long, counted from the call.
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
/// [`Canceled`], when its scope is cancelled before the time is over, or before it is first awaited.
///
/// # Cancel safety
///
/// There is nothing to lose: a sleep can be awaited by `&mut`, dropped, and started again (`tests/time.rs`).
#[inline]
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(Instant::now() + duration)
}

/// Waits until this moment. One that is past is ready at once, unless the scope is cancelled.
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
/// [`Canceled`], when its scope is cancelled before the moment comes, or before it is first awaited.
///
/// # Cancel safety
///
/// There is nothing to lose (`tests/time.rs`).
#[inline]
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep {
        deadline,
        armed: None,
        refusal: Refusal::None,
        _local: PhantomData,
    }
}

/// The future of [`sleep`] and [`sleep_until`].
///
/// # Panics
///
/// Polled outside of a runtime, or inside of another than the one that it was first polled in.
#[must_use = "futures do nothing unless they are awaited"]
pub struct Sleep {
    deadline: Instant,
    /// The runtime's serial and the row of the timer, which this owns.
    armed: Option<(u64, Key)>,
    refusal: Refusal,
    /// The timer belongs to the thread of its runtime.
    _local: PhantomData<*const ()>,
}

/// What a poll found while the tables were borrowed.
enum Found {
    Over,
    Armed(u64, Key),
    Waiting,
    Canceled,
    Spent,
}

impl Sleep {
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
        self.deadline = deadline;
    }

    fn release(&mut self) {
        if let Some((serial, key)) = self.armed.take()
            && let Some(core) = runtime::reach(serial)
        {
            runtime::drop_waker(core.release_timer(key));
        }
    }
}

/// It holds no timer, only the name of a row: nothing in it is pinned.
impl Unpin for Sleep {}

impl Future for Sleep {
    type Output = Result<(), Canceled>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut waker = Some(copy_waker(context.waker()));
        let found = match self.armed {
            Some((serial, key)) => runtime::with_own(serial, |core| {
                if core.poll_timer(key, &mut waker) {
                    Found::Over
                } else if core.is_canceled() {
                    Found::Canceled
                } else {
                    Found::Waiting
                }
            }),
            None => runtime::with(|core| {
                // Before the clock is looked at: a loop over sleeps of nothing is to hear of the cancel too (C2).
                if core.is_canceled() {
                    return Found::Canceled;
                }
                if core.now() >= self.deadline {
                    return if core.charge() {
                        Found::Over
                    } else {
                        Found::Spent
                    };
                }
                match waker.take() {
                    Some(waker) => {
                        Found::Armed(core.serial(), core.arm_timer(self.deadline, waker))
                    }
                    None => unreachable!("it was made above"),
                }
            }),
        };
        runtime::drop_waker(waker);
        match found {
            Found::Over => {
                self.release();
                Poll::Ready(Ok(()))
            }
            Found::Armed(serial, key) => {
                self.armed = Some((serial, key));
                Poll::Pending
            }
            Found::Waiting => Poll::Pending,
            Found::Canceled => {
                let refused = runtime::refuse(&mut self.refusal, context);
                if refused.is_ready() {
                    self.release();
                }
                refused.map(Err)
            }
            Found::Spent => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

impl Drop for Sleep {
    #[inline]
    fn drop(&mut self) {
        if self.armed.is_some() {
            self.release();
        }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep")
            .field("deadline", &self.deadline)
            .field("armed", &self.armed.is_some())
            .finish()
    }
}
