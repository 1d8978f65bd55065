//! One runtime: its tables, its ring, and what the leaves of its tasks ask of it.

use super::blocking::Pool;
use super::fault::{Fault, Hook, message_of};
use crate::driver::{Driver, DroppedDuty, Owners, Request, life::Polled};
use crate::scope::Canceled;
use crate::sys::{Entry, ForkMark, Instant, KernelRing, Opcode, coarse_ns};
use crate::table::Key;
use crate::tasks::{End, Finished, Inbox, Origin, Seat, SharedTasks};
use crate::timer::Timers;
use std::cell::{Cell, RefCell};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Leaves that are ready at their first poll which a task may pass in one turn, before it has to let others go first.
pub(super) const READY_LEAVES_PER_POLL: u32 = 128;

/// What a builder settles.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(super) polls_per_turn: u32,
    pub(super) time_per_turn: Duration,
    pub(super) grace: Duration,
    pub(super) shutdown: Duration,
}

/// How far the end of a runtime is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// Nothing new is taken but closing.
    Closing,
    Ended,
}

/// Whether a leaf has already let the others go first before it is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Refusal {
    #[default]
    None,
    Yielded,
}

/// One runtime. It is on the heap and belongs to the thread that made it.
#[derive(Debug)]
pub(crate) struct Core {
    pub(super) serial: u64,
    pub(super) tasks: SharedTasks,
    pub(super) driver: RefCell<Driver<KernelRing>>,
    pub(super) timers: RefCell<Timers<Waker>>,
    pub(super) pool: Pool,
    pub(super) hook: Hook,
    pub(super) settings: Settings,
    pub(super) turns: Cell<u64>,
    pub(super) polls: Cell<u64>,
    /// The bits of the name of the task that is being polled.
    pub(super) polling: Cell<u64>,
    /// Ready leaves that the task may still pass in this poll.
    pub(super) allowance: Cell<u32>,
    /// The root scope is cancelled.
    pub(super) canceled: Cell<bool>,
    pub(super) phase: Cell<Phase>,
    fork: ForkMark,
    seat: Seat,
}

impl Core {
    pub(super) fn new(
        tasks: SharedTasks,
        driver: Driver<KernelRing>,
        pool: Pool,
        hook: Hook,
        settings: Settings,
        seat: Seat,
    ) -> io::Result<Core> {
        static SERIALS: AtomicU64 = AtomicU64::new(1);
        let now = driver.now().as_ns();
        Ok(Core {
            serial: SERIALS.fetch_add(1, Ordering::Relaxed),
            tasks,
            driver: RefCell::new(driver),
            timers: RefCell::new(Timers::new(now)),
            pool,
            hook,
            settings,
            turns: Cell::new(0),
            polls: Cell::new(0),
            polling: Cell::new(0),
            allowance: Cell::new(0),
            canceled: Cell::new(false),
            phase: Cell::new(Phase::Open),
            fork: ForkMark::new()?,
            seat,
        })
    }

    pub(crate) fn serial(&self) -> u64 {
        self.serial
    }

    pub(super) fn inbox(&self) -> &'static Inbox {
        self.seat.inbox()
    }

    /// This process is a child of the one that made the runtime, and must not touch its ring.
    #[inline]
    pub(crate) fn is_child(&self) -> bool {
        self.fork.is_child()
    }

    pub(super) fn is_open(&self) -> bool {
        self.phase.get() == Phase::Open
    }

    pub(super) fn has_ended(&self) -> bool {
        self.phase.get() == Phase::Ended
    }

    /// Operations have results that their futures have not looked at.
    pub(super) fn holds_results(&self) -> bool {
        self.driver.borrow().len() > 0
    }

    pub(crate) fn now(&self) -> Instant {
        self.driver.borrow().now()
    }

    // What operations ask for.

    /// Why an operation cannot be submitted, if it cannot. `always` is for closing.
    #[inline]
    pub(crate) fn refuses(&self, opcode: Opcode, always: bool) -> Option<io::Error> {
        if self.phase.get() == Phase::Open && !self.is_child() {
            if self.driver.borrow().supports(opcode) {
                return None;
            }
            return Some(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("this kernel's io_uring has no {opcode:?}"),
            ));
        }
        self.refuses_late(always)
    }

    #[cold]
    fn refuses_late(&self, always: bool) -> Option<io::Error> {
        if self.is_child() {
            return Some(io::Error::other(
                "this gimmal runtime belongs to the process that forked this one: build a new one in the child",
            ));
        }
        (!always)
            .then(|| io::Error::other("the runtime is shutting down and takes no more operations"))
    }

    #[inline]
    pub(crate) fn submit(
        &self,
        entry: &Entry,
        kind: &'static str,
        stoppable: bool,
        waker: Option<Waker>,
    ) -> Key {
        let request = Request {
            kind,
            stoppable,
            task: self.polling.get(),
            since_ns: coarse_ns(),
        };
        self.driver.borrow_mut().submit(entry, request, waker)
    }

    #[inline]
    pub(crate) fn poll_operation(&self, key: Key, waker: &mut Option<Waker>) -> Polled {
        self.driver
            .borrow_mut()
            .poll(key, waker, self.polling.get())
    }

    pub(crate) fn ask_cancel(&self, key: Key) {
        if !self.is_child() {
            self.driver.borrow_mut().ask_cancel(key);
        }
    }

    /// Asks everything on a descriptor to stop.
    pub(crate) fn cancel_on(&self, fd: i32) {
        if !self.is_child() {
            self.driver.borrow_mut().cancel_on(fd);
        }
    }

    /// The future of an operation is gone. What is to be disposed of is disposed of here, outside of the borrow.
    pub(crate) fn abandon(&self, key: Key, owners: Box<dyn Owners>) {
        if self.has_ended() && self.driver.borrow().is_in_flight(key) {
            // The kernel may still write into what was lent, and nobody will reap the end of it (O8).
            std::mem::forget(owners);
            return;
        }
        let dropped = self.driver.borrow_mut().abandon(key, owners);
        self.hook.guard("a waker", || drop(dropped.waker));
        match dropped.duty {
            DroppedDuty::Items(key, items) if !items.is_empty() => {
                let mut owners = self.driver.borrow_mut().lend_owners(key, false);
                for item in items {
                    self.hook
                        .guard("an operation's disposal", || owners.dispose(item));
                }
                self.driver.borrow_mut().return_owners(key, owners);
            }
            DroppedDuty::Items(..) => {}
            DroppedDuty::Ended(mut owners, items) => {
                for item in items {
                    self.hook
                        .guard("an operation's disposal", || owners.dispose(item));
                }
                self.hook.guard("an operation", || drop(owners));
            }
        }
    }

    // What timers ask for.

    pub(crate) fn arm_timer(&self, deadline: Instant, waker: Waker) -> Key {
        self.timers.borrow_mut().insert(deadline.as_ns(), waker)
    }

    /// Whether the timer has fired. If not, it wakes `waker` from now on; what that replaces comes back to be dropped.
    pub(crate) fn poll_timer(&self, key: Key, waker: &mut Option<Waker>) -> bool {
        let mut timers = self.timers.borrow_mut();
        let Some(kept) = timers.wake_mut(key) else {
            return true;
        };
        if let Some(new) = waker.take() {
            let replaced = std::mem::replace(kept, new);
            *waker = Some(replaced);
        }
        false
    }

    /// Gives the row of a timer up. The waker is to be dropped.
    pub(crate) fn release_timer(&self, key: Key) -> Option<Waker> {
        self.timers.borrow_mut().release(key)
    }

    // What every leaf asks for.

    /// Whether the scope of the task is cancelled.
    #[inline]
    pub(crate) fn is_canceled(&self) -> bool {
        self.canceled.get()
    }

    /// A leaf is ready at its first poll: whether the task may go on. If not, it yields once.
    #[inline]
    pub(crate) fn charge(&self) -> bool {
        match self.allowance.get() {
            0 => false,
            left => {
                self.allowance.set(left - 1);
                true
            }
        }
    }

    // What tasks leave behind.

    /// Wakes who joins a task, and looks after an end that nobody will ask for.
    pub(super) fn settle(&self, finished: Finished) {
        if let Some(joiner) = finished.joiner {
            self.hook.guard("a waker", || joiner.wake());
        }
        if let Some((end, origin)) = finished.unclaimed {
            self.dispose_of_end(end, &origin);
        }
    }

    pub(super) fn dispose_of_end(&self, end: End, origin: &Origin) {
        match end {
            End::Output(task) => {
                self.hook.guard("a task's output", || drop(task));
            }
            End::Panicked(payload) => {
                let fault = Fault::Panicked {
                    task: describe(origin),
                    message: message_of(&*payload),
                };
                self.hook.report(&fault);
                self.hook.drop_payload(payload);
            }
            End::Aborted => {}
        }
    }
}

/// A task by its name, or by the place that spawned it.
pub(super) fn describe(origin: &Origin) -> String {
    match &origin.name {
        Some(name) => format!("{name:?}"),
        None => format!("spawned at {}", origin.location),
    }
}

/// A leaf in a cancelled scope ends with [`Canceled`], but lets the others go first, once: so a loop that swallows the
/// error cannot freeze the thread.
pub(crate) fn refuse(refusal: &mut Refusal, context: &Context<'_>) -> Poll<Canceled> {
    match refusal {
        Refusal::None => {
            *refusal = Refusal::Yielded;
            context.waker().wake_by_ref();
            Poll::Pending
        }
        Refusal::Yielded => {
            *refusal = Refusal::None;
            Poll::Ready(Canceled)
        }
    }
}
