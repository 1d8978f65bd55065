//! Faults that nobody awaits, and the hook that they go to.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// Something that went wrong where nobody waits for it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Fault {
    /// A task, or a closure given to [`spawn_blocking`](crate::task::spawn_blocking), panicked, and its handle was dropped.
    Panicked {
        /// The task's name, or the place that spawned it.
        task: String,
        /// What it said.
        message: String,
    },
    /// A destructor, a disposal or a waker panicked while the runtime called it.
    DestructorPanicked {
        /// What was being dropped, disposed of or woken.
        what: &'static str,
        /// What it said.
        message: String,
    },
    /// The runtime ended with operations that the kernel would not give up. What they had lent to the kernel is never
    /// freed.
    OperationsLeaked {
        /// The kind of each operation.
        kinds: Vec<&'static str>,
    },
    /// The runtime ended while closures given to [`spawn_blocking`](crate::task::spawn_blocking) were still running.
    /// Their threads go on.
    BlockingLeft {
        /// How many.
        running: usize,
    },
    /// A task whose scope was canceled began to wait again 64 times, as if nothing had happened, and was dropped.
    CancelIgnored {
        /// The task's name, or the place that spawned it.
        task: String,
    },
    /// The kernel was asked to stop an operation for a second, and still has it. Whoever awaits it waits on: what was lent
    /// is not free before.
    OperationStuck {
        /// The kind of operation.
        kind: &'static str,
        /// The task that polled it last: its name, or the place that spawned it.
        task: String,
    },
    /// A child of a [`supervise`](crate::supervise) ended with an error, and its handle was dropped.
    ChildFailed {
        /// The child's name, or the place that spawned it.
        child: String,
        /// What it said.
        message: String,
    },
    /// A listener has no descriptor, or no memory, to make another connection of. It tries again, and the connections wait
    /// in the kernel's queue. It is said once, until a connection is accepted again.
    AcceptPaused {
        /// Where it listens.
        listener: String,
        /// What the kernel said.
        message: String,
    },
    /// The kernel can make no thread for requests that may block (RLIMIT_NPROC, or the `pids.max` of the cgroup). Operations
    /// on files are served on the thread of the runtime, which they hold up; opens of FIFOs, splices, and whatever else may
    /// have to wait for somebody, fail. It is said once, until there are threads again.
    NoThreads {
        /// The limits in the way, and what to do.
        message: String,
    },
    /// The kernel does not serve the ring any more.
    RingLost {
        /// What it said.
        message: String,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Panicked { task, message } => {
                write!(f, "task {task} panicked, and nobody joined it: {message}")
            }
            Fault::DestructorPanicked { what, message } => {
                write!(f, "{what} panicked: {message}")
            }
            Fault::OperationsLeaked { kinds } => write!(
                f,
                "the runtime ended with {} operations still in the kernel, whose memory is leaked: {}",
                kinds.len(),
                kinds.join(", ")
            ),
            Fault::BlockingLeft { running } => write!(
                f,
                "the runtime ended while {running} closures of spawn_blocking were still running"
            ),
            Fault::CancelIgnored { task } => write!(
                f,
                "task {task} was canceled, ignored it 64 times, and was dropped"
            ),
            Fault::OperationStuck { kind, task } => write!(
                f,
                "the kernel was asked to stop a {kind} of task {task} for a second, and still has it"
            ),
            Fault::ChildFailed { child, message } => {
                write!(f, "child {child} failed, and nobody joined it: {message}")
            }
            Fault::AcceptPaused { listener, message } => write!(
                f,
                "no connection can be accepted on {listener} for the moment, and it is tried again: {message}"
            ),
            Fault::NoThreads { message } => write!(
                f,
                "operations on files hold up the runtime, and what may wait fails: {message}"
            ),
            Fault::RingLost { message } => write!(f, "the ring is lost: {message}"),
        }
    }
}

/// Where faults go. Threads of the pool call it too.
#[derive(Clone)]
pub(crate) struct Hook(Arc<dyn Fn(&Fault) + Send + Sync>);

impl Hook {
    pub(crate) fn new(hook: impl Fn(&Fault) + Send + Sync + 'static) -> Hook {
        Hook(Arc::new(hook))
    }

    /// Tells the hook. A hook that panics itself is not told of that.
    pub(crate) fn report(&self, fault: &Fault) {
        if let Err(payload) = catch(|| (self.0)(fault))
            && let Err(second) = catch(|| drop(payload))
        {
            give_up(second);
        }
    }

    /// Runs a user's code; if it panics, the hook hears of it.
    pub(crate) fn guard<T>(&self, what: &'static str, run: impl FnOnce() -> T) -> Option<T> {
        match catch(run) {
            Ok(value) => Some(value),
            Err(payload) => {
                let message = message_of(&*payload);
                self.report(&Fault::DestructorPanicked { what, message });
                self.drop_payload(payload);
                None
            }
        }
    }

    /// A payload may panic in its own destructor, and the hook hears of it; the payload of that is given up.
    pub(crate) fn drop_payload(&self, payload: Box<dyn Any + Send>) {
        if let Err(second) = catch(|| drop(payload)) {
            self.report(&Fault::DestructorPanicked {
                what: "the payload of a panic",
                message: message_of(&*second),
            });
            give_up(second);
        }
    }
}

impl Default for Hook {
    fn default() -> Hook {
        Hook::new(|fault| log::error!("{fault}"))
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}

/// Runs a user's code and keeps its panic. What it may have left half done is its own: nothing of the runtime is borrowed
/// meanwhile (R1).
pub(crate) fn catch<T>(run: impl FnOnce() -> T) -> Result<T, Box<dyn Any + Send>> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run))
}

/// The payload of a panic in the destructor of a payload: words are freed, anything else is leaked, for it could go on so.
fn give_up(payload: Box<dyn Any + Send>) {
    if !payload.is::<&'static str>() && !payload.is::<String>() {
        std::mem::forget(payload);
    }
}

/// What a panic said, if it said it in words.
pub(crate) fn message_of(payload: &(dyn Any + Send)) -> String {
    if let Some(message) = payload.downcast_ref::<&str>() {
        (*message).to_owned()
    } else if let Some(message) = payload.downcast_ref::<String>() {
        message.clone()
    } else {
        "(a payload that is not a string)".to_owned()
    }
}
