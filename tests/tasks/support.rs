//! Helpers for tests of tasks and time: runtimes with the features of old kernels, recorded faults, counted polls and
//! drops, seeded random numbers, and a foreign waker that runs a closure.

#![allow(
    dead_code,
    reason = "each test program uses only some of these helpers"
)]

use gimmal::Runtime;
use gimmal::runtime::{Builder, FeatureMask};
use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

/// Runs a test with all features of this kernel, then with those of 6.1 and 5.15.
pub(crate) fn everywhere(test: impl Fn(Builder)) {
    for mask in [
        FeatureMask::none(),
        FeatureMask::linux_6_1(),
        FeatureMask::linux_5_15(),
    ] {
        let builder = Runtime::builder().entries(64).completion_entries(256);
        test(builder.mask(mask));
    }
}

/// The faults reported to a hook, as text.
#[derive(Clone, Default)]
pub(crate) struct Faults(Arc<Mutex<Vec<String>>>);

impl Faults {
    pub(crate) fn hear(&self, builder: Builder) -> Builder {
        let faults = self.0.clone();
        builder.on_fault(move |fault| faults.lock().unwrap().push(fault.to_string()))
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    /// Takes the recorded faults, and checks that each of them contains the part at its position.
    #[track_caller]
    pub(crate) fn expect(&self, parts: &[&str]) {
        let faults = self.take();
        let fits = faults.len() == parts.len()
            && faults
                .iter()
                .zip(parts)
                .all(|(fault, part)| fault.contains(part));
        assert!(fits, "faults {faults:?}, expected {parts:?}");
    }
}

/// A record of events in order.
#[derive(Clone, Default)]
pub(crate) struct Journal(Rc<RefCell<Vec<&'static str>>>);

impl Journal {
    pub(crate) fn note(&self, what: &'static str) {
        self.0.borrow_mut().push(what);
    }

    pub(crate) fn take(&self) -> Vec<&'static str> {
        self.0.take()
    }

    /// A value that records its drop.
    pub(crate) fn on_drop(&self, what: &'static str) -> OnDrop {
        OnDrop(self.clone(), what)
    }
}

pub(crate) struct OnDrop(Journal, &'static str);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.note(self.1);
    }
}

/// Panics when it is dropped.
pub(crate) struct DropBomb(pub(crate) &'static str);

impl Drop for DropBomb {
    fn drop(&mut self) {
        panic!("{}", self.0);
    }
}

/// Calls a closure when it is dropped.
pub(crate) struct Finally<F: FnMut()>(pub(crate) F);

impl<F: FnMut()> Drop for Finally<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Counts the polls of a future.
pub(crate) struct Counted<F> {
    pub(crate) inner: Pin<Box<F>>,
    pub(crate) polls: Rc<Cell<u32>>,
}

pub(crate) fn counted<F: Future>(polls: &Rc<Cell<u32>>, future: F) -> Counted<F> {
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
pub(crate) async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context))).await
}

/// Polls a future once with any waker.
pub(crate) fn poll_with<F: Future + Unpin>(waker: &Waker, future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

/// Reproducible random numbers (xorshift with a multiplication).
pub(crate) struct Random(u64);

impl Random {
    /// Seeded from `GIMMAL_SEED` or the clock. Prints the seed, so that a failure can be repeated.
    pub(crate) fn new(test: &str) -> Random {
        let seed = match std::env::var("GIMMAL_SEED") {
            Ok(seed) => seed.parse().expect("GIMMAL_SEED is a number"),
            Err(_) => std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(1, |time| time.as_nanos() as u64),
        };
        eprintln!("{test}: GIMMAL_SEED={seed}");
        Random(seed | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// The function that was called on a foreign waker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
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
pub(crate) fn foreign_waker(reaction: impl Fn(Done) + 'static) -> (Waker, ForeignGuard) {
    REACTION.with(|kept| kept.replace(Some(Rc::new(reaction))));
    // SAFETY: the four functions neither read nor free anything; they call a closure owned by this thread, if there is
    // one.
    let waker = unsafe { Waker::new(std::ptr::null(), &FOREIGN) };
    (waker, ForeignGuard)
}

pub(crate) struct ForeignGuard;

impl Drop for ForeignGuard {
    fn drop(&mut self) {
        REACTION.with(|reaction| reaction.replace(None));
    }
}

/// The two ends of a pipe; the first one is the read end.
pub(crate) fn pipe() -> (std::os::fd::OwnedFd, std::os::fd::OwnedFd) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    (reader.into(), writer.into())
}
