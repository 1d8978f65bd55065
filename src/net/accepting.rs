//! The common part of all listeners: the waiters for a connection, and the listener's operation in the kernel.
//!
//! The socket may have other holders, so an operation is in the kernel only while a task waits here, and then it is a
//! poll, which takes nothing from the other holders (see [`Accept`]). A connection is taken by the future's poll that
//! returns it, and at most one in each poll of a task: a thread that is computing has taken none that another could
//! answer. So a dropped or canceled wait has no connection to lose, except where connections are accepted ahead: those
//! go to the next waits (C8), as does one that an older kernel (before 6.10) hands over late.

use crate::op::{Accept, Accepted, Arrived, FdOwner, OwnedOp, SharedFd, busy};
use crate::runtime::{self, Core, Fault, QueueLeaf, WakerQueue};
use crate::sys::{Descriptor, EnterWait, Features, with_context};
use crate::time::{Sleep, sleep};
use crate::wait_queue::WaitQueue;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

/// How long a listener pauses when no descriptor or no memory is left for another connection.
const PAUSE: Duration = Duration::from_millis(50);

/// A listening socket.
pub(super) struct Accepting {
    fd: FdOwner<SharedFd>,
    /// The address it listens on, for error messages.
    address: String,
    /// The operation that the kernel has.
    owned: RefCell<OwnedOp<Accept>>,
    /// Whether a connection may be ready, so that accepting is tried before waiting. If unknown (`None`), the
    /// descriptor is checked.
    is_ready: Cell<Option<bool>>,
    /// The task poll in which a connection was last taken.
    taken_in: Cell<u64>,
    /// Connections that had been accepted ahead when accepting stopped: the next waits get these first.
    kept: RefCell<VecDeque<Accepted>>,
    waiters: Arc<Waiters>,
    /// How many operations were started.
    starts: Cell<u64>,
    /// Whether the shortage of descriptors has been reported.
    is_short: Cell<bool>,
}

/// How connections are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AcceptMode {
    /// Each when a wait requests it.
    OneByOne,
    /// By one multishot request, until this many are waiting to be taken, if the kernel supports that.
    Ahead(u32),
}

impl Accepting {
    pub(super) fn new(fd: SharedFd, address: String) -> Accepting {
        Accepting {
            fd: FdOwner::new(fd),
            address,
            owned: RefCell::new(OwnedOp::new()),
            // On a socket that does not listen, only an accept fails at once, not a poll.
            is_ready: Cell::new(Some(true)),
            taken_in: Cell::new(0),
            kept: RefCell::default(),
            waiters: Arc::default(),
            starts: Cell::new(0),
            is_short: Cell::new(false),
        }
    }

    pub(super) fn fd(&self) -> &SharedFd {
        &self.fd
    }

    /// Waits for the next connection.
    pub(super) fn next(&self, way: AcceptMode) -> NextAccepted<'_> {
        NextAccepted {
            accepting: self,
            way,
            wait: QueueLeaf::new(&self.waiters),
            pause: None,
            is_over: false,
        }
    }

    fn start(&self, accept: Accept) -> io::Result<()> {
        self.starts.set(self.starts.get() + 1);
        self.owned.borrow_mut().start(accept)
    }

    /// Takes a connection if there is one. The result is there when this returns, unless the kernel is old or short of
    /// memory.
    fn take(&self) -> io::Result<()> {
        let core = runtime::required();
        let knows_dont_wait = core.has(Features::ACCEPT_DONT_WAIT);
        self.start(Accept::one(self.fd.clone(), knows_dont_wait))?;
        if knows_dont_wait {
            core.enter_now(EnterWait::Submit);
        } else {
            self.owned.borrow().ask_cancel();
            core.enter_now(EnterWait::No);
        }
        Ok(())
    }

    /// Ends the operation in the kernel if no waiter is left, except that accepting ahead continues if the last wait
    /// ended with a connection.
    fn rest(&self, was_given_up: bool) {
        if !self.waiters.lock().is_empty() {
            return;
        }
        let owned = self.owned.borrow();
        match owned.started().map(Accept::is_poll) {
            Some(true) => {}
            Some(false) if was_given_up => return owned.ask_cancel(),
            Some(false) | None => return,
        }
        drop(owned);
        // So that a caller that polls each wait only once makes progress, too.
        self.is_ready.set(None);
        // Dropped outside of the borrow, because the drop may run user code (R1).
        let poll = self.owned.replace(OwnedOp::new());
        drop(poll);
    }

    /// Stops accepting, and waits for the kernel to confirm. Connections accepted by then go to the next waits, which
    /// start accepting again.
    pub(super) async fn stop(&self) -> io::Result<()> {
        if self.owned.borrow().started().is_none_or(Accept::is_poll) {
            // There may be the poll of a dropped wait.
            runtime::end_orphans();
            return Ok(());
        }
        self.owned.borrow().ask_cancel();
        let asked = self.starts.get();
        let mut wait = QueueLeaf::new(&*self.waiters);
        poll_fn(|context| {
            // If accepting was started again, another task waits for a connection.
            while self.starts.get() == asked {
                match self.poll_owned() {
                    Poll::Ready(None) => break,
                    Poll::Ready(Some(Arrived::Connection(Ok(accepted)))) => {
                        self.kept.borrow_mut().push_back(accepted);
                    }
                    // The operation was stopped, or failed with an error that the next accept will return, too.
                    Poll::Ready(Some(Arrived::Connection(Err(_)) | Arrived::Ready)) => {}
                    Poll::Pending => {
                        return wait.poll(context).map(|canceled| Err(canceled.into()));
                    }
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Polls the operation in the kernel. If it is pending, its completion will wake all waiters.
    fn poll_owned(&self) -> Poll<Option<Arrived>> {
        let mut waker = Some(Waker::from(self.waiters.clone()));
        let polled = self.owned.borrow_mut().poll(&mut waker);
        drop(waker);
        polled
    }

    /// Returns the socket once no operation is in progress on it. Fails while a connection is kept here, which belongs
    /// to the next wait.
    pub(super) async fn into_descriptor(self) -> Result<Descriptor, (io::Error, Accepting)> {
        let stopped = match self.stop().await {
            Ok(()) if !self.kept.borrow().is_empty() => Err(busy(
                "a connection was accepted ahead and has not been taken: accept it first",
            )),
            stopped => stopped,
        };
        if let Err(error) = stopped {
            return Err((error, self));
        }
        if !self.fd.is_sole() {
            return Err((
                busy("an operation is still in progress on the listener"),
                self,
            ));
        }
        match self.fd.release().try_unwrap() {
            Ok(descriptor) => Ok(descriptor),
            Err(_) => unreachable!("it was its sole holder above"),
        }
    }

    /// Closes the socket, and the connections that were accepted ahead.
    pub(super) async fn close(self) -> io::Result<()> {
        let Accepting { fd, owned, .. } = self;
        drop(owned);
        fd.release().close().await
    }

    /// Reports that no descriptor or no memory is left for another connection, once until one is accepted again.
    fn report_shortage(&self, error: &io::Error) {
        if !self.is_short.replace(true) {
            // Held, not borrowed: the hook is user code (R1).
            runtime::required().hook.report(&Fault::AcceptPaused {
                listener: self.address.clone(),
                message: error.to_string(),
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

/// The tasks that wait for a connection. Each completion wakes all of them: a woken wait may not be polled any more, or
/// may be dropped before it looks, and then the connection goes to another.
///
/// Only the listener's thread locks the queue, and no user code runs under the lock (R1).
#[derive(Debug, Default)]
struct Waiters(Mutex<WaitQueue<Waker>>);

impl Waiters {
    fn lock(&self) -> MutexGuard<'_, WaitQueue<Waker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Waiters {
    fn wake(self: Arc<Self>) {
        let all = self.lock().take_all();
        runtime::wake_all(all);
    }
}

impl WakerQueue for &Waiters {
    fn with<T>(&self, f: impl FnOnce(&mut WaitQueue<Waker>) -> T) -> Option<T> {
        Some(f(&mut self.lock()))
    }
}

/// The wait for the next connection.
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub(super) struct NextAccepted<'a> {
    accepting: &'a Accepting,
    way: AcceptMode,
    wait: QueueLeaf<&'a Waiters>,
    /// The pause after a shortage of descriptors or memory.
    pause: Option<Sleep>,
    is_over: bool,
}

impl Future for NextAccepted<'_> {
    type Output = io::Result<Accepted>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let accepted = ready!(this.wait_and_look(context));
        this.end(accepted.is_err());
        Poll::Ready(accepted)
    }
}

impl Drop for NextAccepted<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.end(true);
        }
    }
}

/// The result of looking for a connection.
enum Looked {
    Found(io::Result<Accepted>),
    Nothing,
    /// This poll has already taken one, so other tasks go first.
    Yields,
}

impl NextAccepted<'_> {
    fn end(&mut self, was_given_up: bool) {
        self.is_over = true;
        self.wait.end();
        self.accepting.rest(was_given_up);
    }

    fn wait_and_look(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        loop {
            if let Some(pause) = &mut self.pause {
                let over = ready!(Pin::new(pause).poll(context));
                self.pause = None;
                if let Err(canceled) = over {
                    return Poll::Ready(Err(canceled.into()));
                }
            }
            // A wait that begins in a canceled scope is rejected, whether a connection is ready or not (C2).
            if !self.wait.has_begun() && runtime::with(Core::is_canceled) {
                let canceled = self.wait.poll(context);
                return canceled.map(|canceled| Err(canceled.into()));
            }
            let error = match ready!(self.look(context)) {
                Ok(accepted) => {
                    self.accepting.is_short.set(false);
                    return Poll::Ready(Ok(accepted));
                }
                Err(error) => error,
            };
            match error.raw_os_error() {
                Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                    self.accepting.report_shortage(&error);
                    self.pause = Some(sleep(PAUSE));
                }
                // Errors of a connection that ended before it was accepted (accept(2), "Error handling").
                Some(
                    libc::ECONNABORTED
                    | libc::EPROTO
                    | libc::ENETDOWN
                    | libc::ENETUNREACH
                    | libc::EHOSTDOWN
                    | libc::EHOSTUNREACH
                    | libc::ENONET
                    | libc::ENOPROTOOPT
                    | libc::EINTR,
                ) => {}
                Some(_) => {
                    let what = format!("accept a connection on {}", self.accepting.address);
                    return Poll::Ready(Err(with_context(error, what)));
                }
                None => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Looks for a connection, and waits if there is none.
    fn look(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        ready!(runtime::poll_coop_budget(context.waker()));
        let kept = self.accepting.kept.borrow_mut().pop_front();
        let looked = match kept {
            Some(accepted) => Looked::Found(Ok(accepted)),
            None => self.look_at_socket(),
        };
        match looked {
            Looked::Found(item) => {
                runtime::with(Core::spend_coop_budget);
                self.wait.end();
                Poll::Ready(item)
            }
            Looked::Nothing => self.wait.poll(context).map(|canceled| Err(canceled.into())),
            Looked::Yields => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn look_at_socket(&self) -> Looked {
        let accepting = self.accepting;
        loop {
            let taken = match accepting.poll_owned() {
                Poll::Pending => return Looked::Nothing,
                Poll::Ready(None) => match self.go_on() {
                    Ok(true) => continue,
                    Ok(false) => return Looked::Yields,
                    Err(error) => return Looked::Found(Err(error)),
                },
                Poll::Ready(Some(Arrived::Ready)) => {
                    accepting.is_ready.set(Some(true));
                    continue;
                }
                Poll::Ready(Some(Arrived::Connection(taken))) => taken,
            };
            let errno = taken.as_ref().err().and_then(io::Error::raw_os_error);
            match (&taken, errno) {
                // No connection was ready, or another holder was faster, or the multishot accept had collected enough
                // and was stopped.
                (Err(_), Some(libc::EAGAIN | libc::ECANCELED)) => {
                    accepting.is_ready.set(Some(false));
                    continue;
                }
                (Ok(accepted), _) => accepting.is_ready.set(accepted.has_more),
                (Err(_), _) => {}
            }
            return Looked::Found(taken);
        }
    }

    /// Starts the next operation, because the kernel has none. Returns false if a later poll has to do it.
    fn go_on(&self) -> io::Result<bool> {
        let accepting = self.accepting;
        let knows_multishot = || runtime::with(|core| core.has(Features::MULTISHOT_ACCEPT));
        match self.way {
            AcceptMode::Ahead(ahead) if knows_multishot() => {
                accepting.start(Accept::many(accepting.fd.clone(), ahead))?;
            }
            _ => {
                let now = runtime::with(|core| core.turn.budget.polls_so_far());
                let is_ready = accepting.is_ready.get();
                if is_ready != Some(false) && accepting.taken_in.get() == now {
                    return Ok(false);
                }
                if is_ready.unwrap_or_else(|| accepting.fd.descriptor().is_readable()) {
                    accepting.taken_in.set(now);
                    accepting.take()?;
                } else {
                    accepting.start(Accept::poll(accepting.fd.clone()))?;
                }
            }
        }
        Ok(true)
    }
}
