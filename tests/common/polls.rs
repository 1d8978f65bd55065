//! Polls by hand, and wakers that record what is done to them.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

/// Counts the polls of a future.
pub struct Counted<F> {
    pub inner: Pin<Box<F>>,
    pub polls: Rc<Cell<u32>>,
}

pub fn counted<F: Future>(polls: &Rc<Cell<u32>>, future: F) -> Counted<F> {
    Counted {
        inner: Box::pin(future),
        polls: polls.clone(),
    }
}

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.polls.set(self.polls.get() + 1);
        self.inner.as_mut().poll(context)
    }
}

/// Polls a future once with the waker of the task.
pub async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context))).await
}

/// Polls a future once with any waker.
pub fn poll_with<F: Future + Unpin>(waker: &Waker, future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

/// The function that was called on a foreign waker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    Clone,
    Wake,
    Drop,
}

type Reaction = Rc<dyn Fn(Done)>;

thread_local! {
    static REACTION: RefCell<Option<Reaction>> = const { RefCell::new(None) };
}

fn react(done: Done) {
    let reaction = REACTION.with(|reaction| reaction.borrow().clone());
    if let Some(reaction) = reaction {
        reaction(done);
    }
}

static FOREIGN: RawWakerVTable = RawWakerVTable::new(
    |data| {
        react(Done::Clone);
        RawWaker::new(data, &FOREIGN)
    },
    |_| {
        react(Done::Wake);
        react(Done::Drop);
    },
    |_| react(Done::Wake),
    |_| react(Done::Drop),
);

/// A waker of this thread that calls `reaction` for each function called on it, until the guard is dropped. On other
/// threads, it does nothing.
pub fn foreign_waker(reaction: impl Fn(Done) + 'static) -> (Waker, ForeignGuard) {
    REACTION.with(|kept| kept.replace(Some(Rc::new(reaction))));
    // SAFETY: the four functions neither read nor free anything; they call a closure owned by this thread, if there is
    // one.
    let waker = unsafe { Waker::new(std::ptr::null(), &FOREIGN) };
    (waker, ForeignGuard)
}

pub struct ForeignGuard;

impl Drop for ForeignGuard {
    fn drop(&mut self) {
        REACTION.with(|reaction| reaction.replace(None));
    }
}

/// Polls a future once, drops it, and returns its output if it was ready.
pub async fn poll_and_drop<F: Future>(future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    match std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
