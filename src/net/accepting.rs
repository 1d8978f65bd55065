//! What listeners of every kind have in common: one accept in the kernel, and who waits for what it brings.
//!
//! The accept belongs to the listener. It goes on when a wait for a connection is dropped or cancelled, and what it brings is
//! for the next wait (C8).

use crate::op::{Accept, Accepted, Opcode, Owned, SharedFd, Standing, busy};
use crate::runtime::{self, Core, Fault, Waiting};
use crate::scope::Canceled;
use crate::sys::{Descriptor, explain};
use crate::tasks::copy_waker;
use crate::time::{Sleep, sleep};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

/// How long a listener waits when there is no descriptor, or no memory, for another connection.
const PAUSE: Duration = Duration::from_millis(50);

/// A socket that listens.
pub(super) struct Accepting {
    fd: Owned<SharedFd>,
    /// Where it listens, for the text of errors.
    address: String,
    standing: RefCell<Standing<Accept>>,
    /// What the accept brought while it was being stopped: the next waits get these first.
    kept: RefCell<VecDeque<Accepted>>,
    waiters: Arc<Waiters>,
    /// Waits so far that were pending: their numbers in the list.
    waits: Cell<u64>,
    /// Accepts so far that were handed to the kernel.
    starts: Cell<u64>,
    /// It was said that there are no descriptors left.
    is_short: Cell<bool>,
}

/// How connections are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// One request for each: the kernel tells who it is.
    OneByOne,
    /// One request for all of them, where the kernel can do that.
    Multishot,
}

impl Accepting {
    pub(super) fn new(fd: SharedFd, address: String) -> Accepting {
        Accepting {
            fd: Owned::new(fd),
            address,
            standing: RefCell::new(Standing::new()),
            kept: RefCell::default(),
            waiters: Arc::default(),
            waits: Cell::new(0),
            starts: Cell::new(0),
            is_short: Cell::new(false),
        }
    }

    pub(super) fn fd(&self) -> &SharedFd {
        &self.fd
    }

    /// Waits for the next connection.
    pub(super) fn next(&self, way: Way) -> Next<'_> {
        Next {
            accepting: self,
            way,
            wait: Wait::new(self),
            pause: None,
        }
    }

    fn start(&self, way: Way) -> io::Result<()> {
        // No opcode tells a kernel that has it (5.19); one that has SEND_ZC (6.0) does.
        let knows_multishot = || runtime::with(|core| core.supports(Opcode::SEND_ZC));
        let accept = match way {
            Way::Multishot if knows_multishot() => Accept::many(self.fd.clone()),
            Way::Multishot | Way::OneByOne => Accept::one(self.fd.clone()),
        };
        self.starts.set(self.starts.get() + 1);
        self.standing.borrow_mut().start(accept)
    }

    /// Has the kernel accept no more, and waits until that is so. What it has brought by then is for the next waits, which
    /// start it again.
    pub(super) async fn stop(&self) -> io::Result<()> {
        self.standing.borrow().ask_cancel();
        let asked = self.starts.get();
        let mut wait = Wait::new(self);
        poll_fn(|context| {
            // If it was started again somebody else waits for a connection.
            while self.starts.get() == asked {
                match self.poll_standing() {
                    Poll::Ready(None) => break,
                    Poll::Ready(Some(Ok(accepted))) => self.kept.borrow_mut().push_back(accepted),
                    // It says that it was stopped; or what the next accept will say, too.
                    Poll::Ready(Some(Err(_))) => {}
                    Poll::Pending => {
                        return wait.poll(context).map(|canceled| Err(canceled.into()));
                    }
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Looks at what the accept has brought. If there is nothing it wakes everybody who waits.
    fn poll_standing(&self) -> Poll<Option<io::Result<Accepted>>> {
        let mut waker = Some(Waker::from(self.waiters.clone()));
        let polled = self.standing.borrow_mut().poll(&mut waker);
        drop(waker);
        polled
    }

    /// The socket, once nothing is at work on it. A connection that waits here belongs to whoever accepts the next one, so
    /// then it is not given away.
    pub(super) async fn into_descriptor(self) -> Result<Descriptor, (io::Error, Accepting)> {
        let stopped = match self.stop().await {
            Ok(()) if !self.kept.borrow().is_empty() => Err(busy(
                "a connection was accepted that nobody has asked for: accept it first",
            )),
            stopped => stopped,
        };
        match stopped {
            Err(error) => Err((error, self)),
            Ok(()) if !self.fd.is_sole() => {
                Err((busy("an operation is still at work on it"), self))
            }
            Ok(()) => match self.fd.give_up().try_unwrap() {
                Ok(descriptor) => Ok(descriptor),
                Err(_) => unreachable!("it was its sole holder above"),
            },
        }
    }

    /// Closes it, and what it has accepted.
    pub(super) async fn close(self) -> io::Result<()> {
        let Accepting { fd, standing, .. } = self;
        drop(standing);
        fd.give_up().close().await
    }

    /// There is nothing to make another connection of: said once, until there is again.
    fn report_shortage(&self, error: &io::Error) {
        if !self.is_short.replace(true) {
            runtime::with(|core| {
                core.report(&Fault::AcceptPaused {
                    listener: self.address.clone(),
                    message: error.to_string(),
                });
            });
        }
    }
}

impl fmt::Debug for Accepting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepting")
            .field("fd", &self.fd)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Those that wait for a connection. Whatever the accept brings wakes all of them: one that is woken may be one that nobody
/// polls any more, or that is dropped before it looks, and then the connection is for another.
#[derive(Debug, Default)]
struct Waiters {
    /// Each with its number. It is locked by the thread of the listener alone, and no code of a user runs meanwhile (R1).
    list: Mutex<Vec<(u64, Waker)>>,
}

impl Waiters {
    fn lock(&self) -> MutexGuard<'_, Vec<(u64, Waker)>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts it into the list, or in place of the one before. What it replaces is to be dropped.
    fn put(&self, number: u64, waker: Waker) -> Option<Waker> {
        let mut list = self.lock();
        match list.iter_mut().find(|(listed, _)| *listed == number) {
            Some((_, listed)) => Some(mem::replace(listed, waker)),
            None => {
                list.push((number, waker));
                None
            }
        }
    }

    fn take(&self, number: u64) -> Option<Waker> {
        let mut list = self.lock();
        let place = list.iter().position(|(listed, _)| *listed == number)?;
        Some(list.swap_remove(place).1)
    }
}

impl Wake for Waiters {
    fn wake(self: Arc<Self>) {
        let all = mem::take(&mut *self.lock());
        runtime::wake_all(all.into_iter().map(|(_, waker)| waker).collect());
    }
}

/// A place among the waiters.
#[derive(Debug)]
struct Wait<'a> {
    accepting: &'a Accepting,
    leaf: Waiting,
    /// Once it has begun to wait.
    number: Option<u64>,
}

impl Wait<'_> {
    fn new(accepting: &Accepting) -> Wait<'_> {
        Wait {
            accepting,
            leaf: Waiting::default(),
            number: None,
        }
    }

    fn has_begun(&self) -> bool {
        self.number.is_some()
    }

    /// There is nothing: waits for what the accept brings next.
    fn poll(&mut self, context: &Context<'_>) -> Poll<Canceled> {
        let accepting = self.accepting;
        let number = *self.number.get_or_insert_with(|| {
            let number = accepting.waits.get();
            accepting.waits.set(number + 1);
            number
        });
        let replaced = accepting.waiters.put(number, copy_waker(context.waker()));
        runtime::drop_waker(replaced);
        let canceled = ready!(self.leaf.poll(context));
        self.end();
        Poll::Ready(canceled)
    }

    fn end(&mut self) {
        self.leaf.end();
        if let Some(number) = self.number.take() {
            runtime::drop_waker(self.accepting.waiters.take(number));
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

/// The wait for the next connection.
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub(super) struct Next<'a> {
    accepting: &'a Accepting,
    way: Way,
    wait: Wait<'a>,
    /// There were no descriptors left.
    pause: Option<Sleep>,
}

impl Future for Next<'_> {
    type Output = io::Result<Accepted>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            if let Some(pause) = &mut this.pause {
                let over = ready!(Pin::new(pause).poll(context));
                this.pause = None;
                if let Err(canceled) = over {
                    return Poll::Ready(Err(canceled.into()));
                }
            }
            // What begins in a cancelled scope is refused, whether there is a connection or not (C2).
            if !this.wait.has_begun() && runtime::with(Core::is_canceled) {
                let canceled = this.wait.leaf.poll(context);
                return canceled.map(|canceled| Err(canceled.into()));
            }
            let error = match ready!(this.look(context)) {
                Ok(accepted) => {
                    this.accepting.is_short.set(false);
                    return Poll::Ready(Ok(accepted));
                }
                Err(error) => error,
            };
            match error.raw_os_error() {
                Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                    this.accepting.report_shortage(&error);
                    this.pause = Some(sleep(PAUSE));
                }
                // These are of a connection that was over before it was accepted (accept(2), "Error handling").
                Some(
                    libc::ECONNABORTED
                    | libc::EPROTO
                    | libc::ENETDOWN
                    | libc::ENETUNREACH
                    | libc::EHOSTDOWN
                    | libc::EHOSTUNREACH
                    | libc::ENONET
                    | libc::ENOPROTOOPT
                    | libc::EINTR
                    // The accept had collected enough, and was stopped for that.
                    | libc::ECANCELED,
                ) => {}
                Some(_) => {
                    let what = format!("accept a connection on {}", this.accepting.address);
                    return Poll::Ready(Err(explain(error, what)));
                }
                None => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Next<'_> {
    /// Looks at what the accept has brought, and starts it if it is not there.
    fn look(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        if !runtime::with(Core::may_pass) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let kept = self.accepting.kept.borrow_mut().pop_front();
        let looked = match kept {
            Some(accepted) => Poll::Ready(Ok(accepted)),
            None => self.look_at_standing(),
        };
        match looked {
            Poll::Ready(item) => {
                runtime::with(Core::charge);
                self.wait.end();
                Poll::Ready(item)
            }
            Poll::Pending => self.wait.poll(context).map(|canceled| Err(canceled.into())),
        }
    }

    fn look_at_standing(&self) -> Poll<io::Result<Accepted>> {
        loop {
            match self.accepting.poll_standing() {
                Poll::Ready(None) => {
                    if let Err(error) = self.accepting.start(self.way) {
                        return Poll::Ready(Err(error));
                    }
                }
                Poll::Ready(Some(accepted)) => return Poll::Ready(accepted),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// The connections of a listener, one after the other. The wait for the next one keeps its place when nobody looks.
#[derive(Debug)]
pub(super) struct Ahead<'a> {
    accepting: &'a Accepting,
    next: Option<Next<'a>>,
}

impl Ahead<'_> {
    pub(super) fn new(accepting: &Accepting) -> Ahead<'_> {
        Ahead {
            accepting,
            next: None,
        }
    }

    pub(super) async fn next(&mut self) -> io::Result<Accepted> {
        poll_fn(|context| self.poll_next(context)).await
    }

    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        let begin = || self.accepting.next(Way::Multishot);
        let next = self.next.get_or_insert_with(begin);
        let accepted = ready!(Pin::new(next).poll(context));
        self.next = None;
        Poll::Ready(accepted)
    }
}
