//! What listeners of every kind have in common: one accept in the kernel, and who waits for what it brings.
//!
//! The accept belongs to the listener. It goes on when a wait for a connection is dropped or cancelled, and what it brings is
//! for the next wait (C8).

use crate::op::{Accept, Accepted, SharedFd, Standing};
use crate::runtime::{self, Core, Fault, Waiting};
use crate::sys::explain;
use crate::tasks::copy_waker;
use crate::time::{Sleep, sleep};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

/// How long a listener waits when there is no descriptor, or no memory, for another connection.
const PAUSE: Duration = Duration::from_millis(50);

/// A socket that listens.
pub(super) struct Accepting {
    fd: SharedFd,
    /// Where it listens, for the text of errors.
    address: String,
    standing: RefCell<Standing<Accept>>,
    /// Who waits for a connection. The accept wakes the one that looked last; whoever goes wakes the others.
    waiting: RefCell<Vec<Waker>>,
    /// It was said that there are no descriptors left.
    is_short: Cell<bool>,
}

/// How connections are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// One request for each: the kernel tells who it is.
    OneByOne,
    /// One request for all of them.
    Multishot,
}

impl Accepting {
    pub(super) fn new(fd: SharedFd, address: String) -> Accepting {
        Accepting {
            fd,
            address,
            standing: RefCell::new(Standing::new()),
            waiting: RefCell::default(),
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
            leaf: Waiting::default(),
            waits: false,
            listed: None,
            pause: None,
        }
    }

    fn start(&self, way: Way) -> io::Result<()> {
        let accept = match way {
            Way::OneByOne => Accept::one(self.fd.clone()),
            Way::Multishot => Accept::many(self.fd.clone()),
        };
        self.standing.borrow_mut().start(accept)
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

/// The wait for the next connection.
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub(super) struct Next<'a> {
    accepting: &'a Accepting,
    way: Way,
    leaf: Waiting,
    /// It has begun to wait.
    waits: bool,
    /// The waker that is in the listener's list.
    listed: Option<Waker>,
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
            if !this.waits && runtime::with(Core::is_canceled) {
                return this.leaf.poll(context).map(|canceled| Err(canceled.into()));
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
        let mut waker = Some(copy_waker(context.waker()));
        let looked = loop {
            let looked = self.accepting.standing.borrow_mut().poll(&mut waker);
            match looked {
                Poll::Ready(None) => {
                    if let Err(error) = self.accepting.start(self.way) {
                        break Poll::Ready(Err(error));
                    }
                }
                Poll::Ready(Some(accepted)) => break Poll::Ready(accepted),
                Poll::Pending => break Poll::Pending,
            }
        };
        runtime::drop_waker(waker);
        match looked {
            Poll::Ready(item) => {
                runtime::with(Core::charge);
                self.stop_waiting();
                Poll::Ready(item)
            }
            Poll::Pending => {
                self.list(context.waker());
                self.waits = true;
                let canceled = ready!(self.leaf.poll(context));
                self.stop_waiting();
                Poll::Ready(Err(canceled.into()))
            }
        }
    }

    /// Puts the waker into the list of those that wait, in place of the one before.
    fn list(&mut self, waker: &Waker) {
        if self
            .listed
            .as_ref()
            .is_some_and(|listed| listed.will_wake(waker))
        {
            return;
        }
        self.unlist();
        let (listed, kept) = (copy_waker(waker), copy_waker(waker));
        self.accepting.waiting.borrow_mut().push(kept);
        self.listed = Some(listed);
    }

    fn unlist(&mut self) {
        let Some(listed) = self.listed.take() else {
            return;
        };
        let mut waiting = self.accepting.waiting.borrow_mut();
        let place = waiting.iter().position(|kept| kept.will_wake(&listed));
        let kept = place.map(|place| waiting.remove(place));
        drop(waiting);
        runtime::drop_waker(kept);
        runtime::drop_waker(Some(listed));
    }

    /// This one waits no longer. The others look again: the accept may be going to wake nobody but this one.
    fn stop_waiting(&mut self) {
        self.leaf.end();
        self.waits = false;
        self.unlist();
        let others = self.accepting.waiting.take();
        if !others.is_empty() {
            runtime::wake_all(others);
        }
    }
}

impl Drop for Next<'_> {
    fn drop(&mut self) {
        if self.listed.is_some() {
            self.stop_waiting();
        }
    }
}
