//! The one future that awaits an operation.

mod deadline;
mod fallback;
mod owned_op;
mod queue;
mod restart;

pub use deadline::WithDeadline;
pub(crate) use owned_op::{Collect, OwnedOp};

use super::file::{mend_cursor, watch_cursor};
use super::{Completion, Entry, Operation, Readiness, SharedFd};
use crate::driver::{OperationKind, Payload, lifecycle::Polled};
use crate::error::{Canceled, Elapsed};
use crate::runtime::{self, Core, LeafState};
use crate::sys::{Attempt, Instant};
use crate::table::Key;
use crate::tasks::copy_waker;
use fallback::NotSubmitted;
use queue::QueuedWait;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

/// Awaits an operation. The operation is submitted at the first poll, or by [`submit`](Op::submit). If a direct system
/// call can serve it at once ([`Entry::try_direct`]), the first poll may be ready.
///
/// If the future is dropped while the kernel has the operation, the runtime takes over the operation, cancels it, and
/// disposes of its late completions.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::op::{Op, Read};
///
/// gimmal::run(async {
///     let file = gimmal::fs::File::open("Cargo.toml").await?;
///     let mut size = 0;
///     // The next block is read while this one is used.
///     let mut next: Op<Read<Vec<u8>>> = file.read_at(vec![0; 256], size).submit();
///     let mut lines = 0;
///     loop {
///         let (n, block) = next.await?;
///         if n == 0 {
///             break;
///         }
///         size += n as u64;
///         next = file.read_at(vec![0; 256], size).submit();
///         lines += block.iter().filter(|byte| **byte == b'\n').count();
///     }
///     assert_eq!(lines, std::fs::read_to_string("Cargo.toml")?.lines().count());
///     Ok(())
/// })
/// # }
/// ```
///
/// # Panics
///
/// If it is polled outside a runtime, inside a runtime other than the one that submitted it, or after it was ready.
// States: Idle → InFlight → Finished, with Queued before InFlight while another operation has to go first (C8).
#[must_use = "futures do nothing unless they are awaited; `submit` starts an operation without awaiting it"]
pub struct Op<O: Operation> {
    /// `Some` until the operation is finished.
    operation: Option<O>,
    state: OpState,
    leaf: LeafState,
    /// How often it was restarted because the kernel had interrupted it.
    restarts: u16,
    /// Makes it `!Send`: it belongs to the thread of its runtime.
    _local: PhantomData<*const ()>,
}

enum OpState {
    Idle,
    /// Idle again: the kernel could not create a thread for it.
    LackedThread,
    /// Never submitted: its input is bad, or it could not be started.
    Rejected(io::Error),
    /// Waiting for another operation to go first.
    Queued(QueuedWait),
    /// Completed without the kernel, but not polled since.
    Ready(Completion),
    InFlight {
        slot: Slot,
        /// The result of an operation with several completions: the first of them.
        first: Option<Completion>,
    },
    Finished,
}

/// The completion that the operation ends with, or the error that stopped it.
type OpResult = io::Result<Completion>;

/// The runtime's ID and the slot's key.
type Slot = (u64, Key);

impl OpState {
    fn in_flight(slot: Slot) -> OpState {
        OpState::InFlight { slot, first: None }
    }

    fn lacked_thread(&self) -> bool {
        matches!(self, OpState::LackedThread)
    }
}

impl<O: Operation> Op<O> {
    /// Creates the future of an operation, which is not submitted yet.
    #[inline]
    pub fn new(operation: O) -> Op<O> {
        Op {
            operation: Some(operation),
            state: OpState::Idle,
            leaf: LeafState::New,
            restarts: 0,
            _local: PhantomData,
        }
    }

    /// Creates the future of an operation with bad input: it ends with this error and gives its values back.
    pub(crate) fn rejected(operation: O, error: io::Error) -> Op<O> {
        Op::checked(operation, Err(error))
    }

    /// Creates the future of an operation, rejected if the check of its input failed.
    #[inline]
    pub(super) fn checked(operation: O, check: io::Result<()>) -> Op<O> {
        let mut op = Op::new(operation);
        if let Err(error) = check {
            op.state = OpState::Rejected(error);
        }
        op
    }

    /// Submits the operation now, before it is awaited, so that several can be in the kernel at once.
    ///
    /// If it cannot be submitted, because its scope is canceled or the kernel lacks the opcode, awaiting it returns the
    /// error.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// gimmal::run(async {
    ///     let file = gimmal::fs::File::open("Cargo.toml").await?;
    ///     let first = file.read_at(vec![0; 10], 0).submit();
    ///     let second = file.read_at(vec![0; 10], 10).submit();
    ///     let ((_, a), (_, b)) = (first.await?, second.await?);
    ///     assert_eq!((a.len(), b.len()), (10, 10));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// If called outside a runtime.
    #[track_caller]
    pub fn submit(mut self) -> Op<O> {
        if !is_canceled::<O>()
            && let (OpState::Idle, Some(operation)) = (&self.state, &mut self.operation)
        {
            match operation.prepare(Waker::noop()) {
                Readiness::Start => {
                    let entry = operation.entry();
                    self.state = match try_submit(operation, &entry, None, &self.state) {
                        Ok(slot) => OpState::in_flight(slot),
                        Err(why) => self.fall_back(why, &entry),
                    };
                }
                // `prepare` is called again when it is polled.
                Readiness::Wait => {}
                Readiness::Done(completion) => self.state = OpState::Ready(completion),
                Readiness::Failed(error) => self.state = OpState::Rejected(error),
            }
        }
        self
    }

    /// Limits the operation to this duration, after which it is canceled and gives its buffer back, with an error for
    /// which [`is_timeout`](crate::is_timeout) is true. If the operation completes before the cancel takes effect, its
    /// result is returned as usual. The time counts from the first poll; if the operation was [`submit`](Op::submit)ted
    /// before, from this call.
    ///
    /// This is [`time::timeout`](crate::time::timeout()) for one operation, except that the error is the operation's
    /// own error, which contains the buffer.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use std::time::Duration;
    ///
    /// gimmal::run(async {
    ///     let (reader, _writer) = std::io::pipe()?;
    ///     let pipe = gimmal::fs::File::from(std::os::fd::OwnedFd::from(reader));
    ///     let read = pipe.read(vec![7; 16]).timeout(Duration::from_millis(1));
    ///     let error = read.await.unwrap_err();
    ///     assert!(gimmal::is_timeout(&error));
    ///     assert_eq!(error.into_buf(), [7; 16]);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// That of the operation: the deadline cancels it. If it is dropped, it is as if the operation's own wait were
    /// dropped.
    // Test: tests/time/timeouts.rs
    #[inline]
    pub fn timeout(self, duration: Duration) -> WithDeadline<O> {
        WithDeadline::within(self, duration)
    }

    /// Limits the operation as [`timeout`](Op::timeout) does, with a point in time as the limit.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::time::Instant;
    /// use std::time::Duration;
    ///
    /// gimmal::run(async {
    ///     let (reader, _writer) = gimmal::io::pipe()?;
    ///     let deadline = Instant::now() + Duration::from_millis(1);
    ///     let mut buffer = vec![0; 16];
    ///     // Nobody writes, and the reads share one limit.
    ///     for _ in 0..2 {
    ///         let error = reader.read(buffer).deadline(deadline).await.unwrap_err();
    ///         assert!(gimmal::is_timeout(&error));
    ///         buffer = error.into_buf();
    ///     }
    ///     assert!(Instant::now() >= deadline);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// That of the operation: the deadline cancels it. If it is dropped, it is as if the operation's own wait were
    /// dropped.
    // Test: tests/time/timeouts.rs
    #[inline]
    pub fn deadline(self, deadline: Instant) -> WithDeadline<O> {
        WithDeadline::until(self, deadline)
    }

    /// Returns the slot while the operation is in flight.
    pub(super) fn in_flight(&self) -> Option<Slot> {
        match &self.state {
            OpState::InFlight { slot, .. } => Some(*slot),
            _ => None,
        }
    }

    /// Returns the operation while the kernel does not have it.
    pub(super) fn at_rest(&mut self) -> Option<&mut O> {
        match &self.state {
            OpState::Idle | OpState::LackedThread | OpState::Queued(_) | OpState::Rejected(_) => {
                self.operation.as_mut()
            }
            OpState::InFlight { .. } | OpState::Ready(_) | OpState::Finished => None,
        }
    }

    /// Rejects an operation that was not started before its deadline.
    pub(super) fn reject_if_idle(&mut self) {
        if let OpState::Idle | OpState::LackedThread | OpState::Queued(_) = self.state {
            self.state = OpState::Rejected(Elapsed.into());
        }
    }

    // It moves the operation, which is long: called, it would be moved twice.
    #[inline(always)]
    fn finish(&mut self) -> O {
        self.state = OpState::Finished;
        match self.operation.take() {
            Some(operation) => operation,
            None => panic!("an operation was polled after it was ready"),
        }
    }

    /// Returns the error of an operation that failed without the kernel. Consumes budget, so that a loop that ignores
    /// the error still yields.
    #[cold]
    fn reject(&mut self, context: &Context<'_>) -> Poll<OpResult> {
        ready!(runtime::poll_coop_budget(context.waker()));
        runtime::try_with(Core::spend_coop_budget);
        match mem::replace(&mut self.state, OpState::Finished) {
            OpState::Rejected(error) => Poll::Ready(Err(error)),
            _ => unreachable!("only what is rejected comes here"),
        }
    }

    /// Starts the operation, if it can be started.
    #[inline]
    fn start(
        &mut self,
        context: &mut Context<'_>,
        deadline: impl Fn() -> Option<Instant>,
    ) -> Poll<OpResult> {
        let Some(operation) = &mut self.operation else {
            unreachable!("an operation that is still to start is there")
        };
        match operation.prepare(context.waker()) {
            Readiness::Start => {}
            readiness => return self.not_started(readiness, context, deadline()),
        }
        let entry = operation.entry();
        if entry.tries_first()
            && let Some(completion) = attempt(operation, &entry, context.waker())
        {
            if self.reset_to_retry(completion, false) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            return Poll::Ready(Ok(completion));
        }
        match try_submit(
            operation,
            &entry,
            Some(copy_waker(context.waker())),
            &self.state,
        ) {
            Ok(slot) => {
                self.state = OpState::in_flight(slot);
                if let Some(deadline) = deadline() {
                    runtime::with(|core| core.limit_operation(slot.1, deadline));
                }
                Poll::Pending
            }
            Err(why) => self.poll_fallback(why, &entry, context, deadline()),
        }
    }

    /// Handles an operation that must not start, by the result of its `prepare`.
    #[cold]
    fn not_started(
        &mut self,
        readiness: Readiness,
        context: &Context<'_>,
        deadline: Option<Instant>,
    ) -> Poll<OpResult> {
        match readiness {
            Readiness::Start | Readiness::Wait => {
                if !matches!(self.state, OpState::Queued(_)) {
                    self.state = OpState::Queued(QueuedWait::default());
                }
                let OpState::Queued(queue) = &mut self.state else {
                    unreachable!("it was put there above")
                };
                queue.wait(context, deadline).map(Err)
            }
            // Being ready without the kernel consumes budget.
            Readiness::Done(completion) => {
                runtime::with(Core::spend_coop_budget);
                Poll::Ready(Ok(completion))
            }
            Readiness::Failed(error) => {
                runtime::with(Core::spend_coop_budget);
                Poll::Ready(Err(error))
            }
        }
    }

    fn reject_canceled(&mut self, context: &Context<'_>) -> Poll<OpResult> {
        let canceled = ready!(self.leaf.cancel(context));
        Poll::Ready(Err(canceled.into()))
    }
}

/// Whether the operation must not be started at all (C2). If so, `entry` is not called either.
#[inline]
#[track_caller]
fn is_canceled<O: Operation>() -> bool {
    runtime::with(Core::is_canceled) && O::CANCELABLE
}

/// The same check where there may be no runtime: a rejected operation returns its error even there.
fn is_canceled_here<O: Operation>() -> bool {
    runtime::try_with(Core::is_canceled).unwrap_or(false) && O::CANCELABLE
}

/// Tries to serve the operation by a direct system call.
fn attempt<O: Operation>(operation: &mut O, entry: &Entry, waker: &Waker) -> Option<Completion> {
    match runtime::with(|core| core.attempt(entry, waker)) {
        Attempt::Done(completion) => return Some(completion),
        Attempt::WouldWait => operation.would_wait(false),
        Attempt::Never => operation.would_wait(true),
        Attempt::Unserved => {}
    }
    None
}

/// Submits the entry to the current runtime, unless that is short of threads and the entry may need one.
#[inline]
#[track_caller]
fn try_submit<O: Operation>(
    operation: &mut O,
    entry: &Entry,
    waker: Option<Waker>,
    state: &OpState,
) -> Result<Slot, NotSubmitted> {
    runtime::with(|core| {
        if core.thread_shortage.is_short() && (state.lacked_thread() || entry.is_of_files()) {
            return Err((None, waker));
        }
        watch_cursor(operation);
        let submitted = submit_to(core, operation, entry, waker);
        submitted.map_err(|(error, waker)| (Some(error), waker))
    })
}

/// The two kinds of an operation.
trait Kinds: Operation {
    const ENDS_BY_ITSELF: &'static OperationKind = &OperationKind {
        name: Self::NAME,
        is_cancelable: Self::CANCELABLE,
        waits_for_peer: false,
    };
    const WAITS_FOR_PEER: &'static OperationKind = &OperationKind {
        name: Self::NAME,
        is_cancelable: Self::CANCELABLE,
        waits_for_peer: true,
    };
}

impl<O: Operation> Kinds for O {}

#[inline]
fn kind_of<O: Operation>(operation: &O) -> &'static OperationKind {
    match operation.waits_for_peer() {
        true => O::WAITS_FOR_PEER,
        false => O::ENDS_BY_ITSELF,
    }
}

#[inline]
fn submit_to<O: Operation>(
    core: &Core,
    operation: &O,
    entry: &Entry,
    waker: Option<Waker>,
) -> Result<Slot, (io::Error, Option<Waker>)> {
    let key = core.submit(entry, kind_of(operation), waker)?;
    Ok((core.runtime_id(), key))
}

/// Submits the entry of an owned operation to the current runtime.
pub(super) fn start_owned<O: Collect>(operation: &O, entry: &Entry) -> io::Result<Slot> {
    runtime::with(|core| {
        let key = core.submit_owned(entry, kind_of(operation), operation.max())?;
        Ok((core.runtime_id(), key))
    })
}

// Nothing in it is pinned: the memory that the kernel uses lies outside the operation (O2).
impl<O: Operation> Unpin for Op<O> {}

impl<O: Operation> Future for Op<O> {
    type Output = O::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<O::Output> {
        self.get_mut().poll_until(context, || None)
    }
}

impl<O: Operation> Op<O> {
    /// Polls the operation. If this poll submits it, it is given this deadline.
    #[inline]
    pub(super) fn poll_until(
        &mut self,
        context: &mut Context<'_>,
        deadline: impl Fn() -> Option<Instant>,
    ) -> Poll<O::Output> {
        match self.poll_end(context, deadline) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(completion)) => Poll::Ready(self.finish().complete(completion)),
            Poll::Ready(Err(error)) => Poll::Ready(self.finish().fail(error)),
        }
    }

    /// Polls for the end of the operation, which is still there.
    #[inline]
    fn poll_end(
        &mut self,
        context: &mut Context<'_>,
        deadline: impl Fn() -> Option<Instant>,
    ) -> Poll<OpResult> {
        let this = self;
        match &mut this.state {
            OpState::InFlight { slot, first } => {
                let (runtime_id, key) = *slot;
                loop {
                    match runtime::with_own(runtime_id, |core| core.poll_operation(key)) {
                        Polled::Pending => {
                            wait((runtime_id, key), context);
                            return Poll::Pending;
                        }
                        Polled::Item(item) => match (&first, &mut this.operation) {
                            // The first of several completions is the result; the rest are not awaited.
                            (Some(_), Some(operation)) => operation.dispose(item),
                            _ => *first = Some(item),
                        },
                        Polled::Last {
                            completion,
                            asked: is_cancel_requested,
                        } => {
                            let first = first.take();
                            let result = first.unwrap_or(completion);
                            if first.is_some()
                                && let Some(operation) = &mut this.operation
                            {
                                operation.dispose(completion);
                            }
                            if this.reset_to_retry(result, is_cancel_requested) {
                                // Treat it as a first start, which is rejected if the scope was canceled since the
                                // completion (C2).
                                return this.poll_end(context, deadline);
                            }
                            if let Some(operation) = &this.operation {
                                if is_cancel_requested && operation.had_no_effect(result) {
                                    return Poll::Ready(Err(stopped(deadline())));
                                }
                                mend_cursor(operation, result);
                            }
                            return Poll::Ready(Ok(result));
                        }
                    }
                }
            }
            OpState::Idle | OpState::LackedThread if is_canceled::<O>() => {
                return this.reject_canceled(context);
            }
            OpState::Idle | OpState::LackedThread => {}
            OpState::Queued(queue) => {
                if let Some(error) = queue.over(context, deadline()) {
                    return Poll::Ready(Err(error));
                }
            }
            OpState::Ready(completion) => return Poll::Ready(Ok(*completion)),
            // Rejections are counted, so that a loop that swallows the error ends (C2).
            OpState::Rejected(_) if is_canceled_here::<O>() => {
                return this.reject_canceled(context);
            }
            OpState::Rejected(_) => return this.reject(context),
            OpState::Finished => panic!("an operation was polled after it was ready"),
        }
        this.start(context, deadline)
    }
}

/// Returns the error of an operation that was stopped before it had any effect. If its scope was canceled and its own
/// deadline has also passed, the scope's error wins (C7).
#[cold]
fn stopped(deadline: Option<Instant>) -> io::Error {
    runtime::with(|core| match deadline {
        _ if core.is_canceled() => core.attribute_canceled().into(),
        Some(deadline) if deadline <= core.now() => Elapsed.into(),
        // Closing the descriptor cancels the operations in flight on it.
        _ => Canceled.into(),
    })
}

/// Waits on for an operation that the kernel still has. In a canceled scope, it is asked to stop.
#[cold]
pub(super) fn wait((runtime_id, key): Slot, context: &Context<'_>) {
    let waker = copy_waker(context.waker());
    let replaced = runtime::with_own(runtime_id, |core| core.wait_for_operation(key, waker));
    runtime::drop_waker(replaced);
}

/// An operation whose future was dropped.
struct Orphaned<O: Operation>(O);

impl<O: Operation> Payload for Orphaned<O> {
    fn dispose(&mut self, completion: Completion) {
        self.0.dispose(completion);
    }
}

impl<O: Operation> Drop for Op<O> {
    #[inline]
    fn drop(&mut self) {
        if let OpState::InFlight { slot, first } = self.state
            && let Some(operation) = self.operation.take()
        {
            abandon(slot, first, operation);
        } else if let OpState::Ready(completion) = self.state
            && let Some(operation) = &mut self.operation
        {
            operation.dispose(completion);
        }
    }
}

/// Hands an operation that is no longer awaited over to its runtime.
#[cold]
fn abandon<O: Operation>((runtime_id, key): Slot, first: Option<Completion>, operation: O) {
    match runtime::reach(runtime_id) {
        Some(core) => {
            let is_ownerless = operation.shared_fd().is_some_and(SharedFd::is_ownerless);
            core.abandon(key, first, Box::new(Orphaned(operation)));
            if is_ownerless {
                core.end_orphans();
            }
        }
        // The kernel may still write into the lent memory, and its runtime is gone, so no completion will be reaped
        // (O9).
        None => mem::forget(operation),
    }
}

/// Shows the operation's state, and never reads the lent memory.
impl<O: Operation> fmt::Debug for Op<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            OpState::Idle | OpState::LackedThread => "idle",
            OpState::Rejected(_) => "rejected",
            OpState::Queued(_) => "queued",
            OpState::Ready(_) => "ready",
            OpState::InFlight { .. } => "in flight",
            OpState::Finished => "finished",
        };
        f.debug_struct("Op")
            .field("operation", &O::NAME)
            .field("state", &state)
            .finish_non_exhaustive()
    }
}
