//! Faults that no caller awaits, and the hook that reports them.

use crate::error::panic_message;
use crate::sys::counted;
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// An error or panic that no caller awaits.
///
/// ```
/// use gimmal::runtime::Fault;
/// use std::sync::mpsc;
///
/// # fn main() -> std::io::Result<()> {
/// let (sender, reports) = mpsc::channel();
/// let builder = gimmal::Runtime::builder().on_fault(move |fault| {
///     if let Fault::Panicked { message, .. } = fault {
///         let _ = sender.send(message.clone());
///     }
/// });
/// builder.run(async {
///     // Nobody will join it.
///     drop(gimmal::spawn(async { panic!("out of cheese") }));
///     std::io::Result::Ok(())
/// })?;
/// assert_eq!(reports.recv().as_deref(), Ok("out of cheese"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Fault {
    /// A task, or a closure given to [`spawn_blocking`](crate::task::spawn_blocking), panicked, and its handle was
    /// dropped.
    Panicked {
        /// The task's name, or the location that spawned it.
        task: String,
        /// The panic message.
        message: String,
    },
    /// A destructor, a disposal or a waker panicked while the runtime called it.
    DestructorPanicked {
        /// The value that was being dropped, disposed of or woken.
        what: &'static str,
        /// The panic message.
        message: String,
    },
    /// The runtime shut down while operations were still in the kernel. The memory that they lent to the kernel is never
    /// freed.
    OperationsLeaked {
        /// The kind of each operation.
        kinds: Vec<&'static str>,
    },
    /// The runtime shut down while closures given to [`spawn_blocking`](crate::task::spawn_blocking) were still running.
    /// Their threads keep running.
    BlockingLeft {
        /// The number of closures.
        running: usize,
    },
    /// A task in a canceled scope ignored the error and started a new wait 64 times, and was dropped.
    CancelIgnored {
        /// The task's name, or the location that spawned it.
        task: String,
    },
    /// An operation is still in the kernel although the runtime has tried to cancel it for a second. The task that
    /// awaits the operation keeps waiting: the memory it lent is not free before.
    OperationStuck {
        /// The kind of operation.
        kind: &'static str,
        /// The task that last polled it: its name, or the location that spawned it.
        task: String,
    },
    /// A child of [`supervise`](crate::supervise) ended with an error, and its handle was dropped.
    ChildFailed {
        /// The child's name, or the location that spawned it.
        child: String,
        /// The text of the child's error.
        message: String,
    },
    /// A task that was [detached](crate::task::JoinHandle::detach) ended with an error.
    TaskFailed {
        /// The task's name, or the location that spawned it.
        task: String,
        /// The text of the task's error.
        message: String,
    },
    /// A listener cannot accept connections for lack of descriptors or memory. It retries, and connections wait in the
    /// kernel's queue. Reported once, until a connection is accepted again.
    AcceptPaused {
        /// The address that the listener is bound to.
        listener: String,
        /// The kernel's error.
        message: String,
    },
    /// The kernel cannot create a thread for requests that may block (RLIMIT_NPROC, or the `pids.max` of the cgroup).
    /// File operations run on the runtime's own thread and block it; opens of FIFOs, splices, and other operations that
    /// may wait for a peer, fail. Reported once, until threads can be created again.
    NoThreads {
        /// The limits in the way, and the remedy.
        message: String,
    },
    /// The kernel no longer serves the ring.
    RingLost {
        /// The kernel's error.
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
                "the runtime ended with {} still in the kernel, whose memory is leaked: {}",
                counted(kinds.len(), "operation"),
                kinds.join(", ")
            ),
            Fault::BlockingLeft { running } => write!(
                f,
                "the runtime ended while {} of spawn_blocking {} still running",
                counted(*running, "closure"),
                if *running == 1 { "was" } else { "were" },
            ),
            Fault::CancelIgnored { task } => write!(
                f,
                "task {task} was canceled, ignored it 64 times, and was dropped"
            ),
            Fault::OperationStuck { kind, task } => write!(
                f,
                "a {kind} of task {task} is still in the kernel a second after its cancel"
            ),
            Fault::ChildFailed { child, message } => {
                write!(f, "child {child} failed, and nobody joined it: {message}")
            }
            Fault::TaskFailed { task, message } => {
                write!(f, "task {task} failed, and nobody joined it: {message}")
            }
            Fault::AcceptPaused { listener, message } => write!(
                f,
                "no connection can be accepted on {listener} for the moment, and it is tried again: {message}"
            ),
            Fault::NoThreads { message } => write!(
                f,
                "file operations block the runtime, and operations that may wait for a peer fail: {message}"
            ),
            Fault::RingLost { message } => write!(f, "the ring is lost: {message}"),
        }
    }
}

/// The callback that faults are reported to. Threads of the pool call it too.
#[derive(Clone)]
pub(crate) struct Hook(Arc<dyn Fn(&Fault) + Send + Sync>);

impl Hook {
    pub(crate) fn new(hook: impl Fn(&Fault) + Send + Sync + 'static) -> Hook {
        Hook(Arc::new(hook))
    }

    /// Calls the hook, which is user code: the caller borrows nothing. A panic of the hook itself is swallowed.
    pub(crate) fn report(&self, fault: &Fault) {
        if let Err(payload) = catch(|| (self.0)(fault))
            && let Err(second) = catch(|| drop(payload))
        {
            give_up(second);
        }
    }

    /// Runs user code, and reports its panic to the hook. Returns `None` after a panic.
    pub(crate) fn guard<T>(&self, what: &'static str, run: impl FnOnce() -> T) -> Option<T> {
        match catch(run) {
            Ok(value) => Some(value),
            Err(payload) => {
                self.destructor_panicked(what, payload);
                None
            }
        }
    }

    /// Reports the panic of a task, whose name this is, that nobody joins.
    pub(crate) fn report_panic(&self, task: String, payload: Box<dyn Any + Send>) {
        let message = panic_message(&*payload);
        self.report(&Fault::Panicked { task, message });
        self.drop_payload(payload);
    }

    #[cold]
    fn destructor_panicked(&self, what: &'static str, payload: Box<dyn Any + Send>) {
        let message = panic_message(&*payload);
        self.report(&Fault::DestructorPanicked { what, message });
        self.drop_payload(payload);
    }

    /// Drops a panic payload. If its destructor panics, reports that to the hook and gives up the second payload.
    pub(crate) fn drop_payload(&self, payload: Box<dyn Any + Send>) {
        if let Err(second) = catch(|| drop(payload)) {
            self.report(&Fault::DestructorPanicked {
                what: "the payload of a panic",
                message: panic_message(&*second),
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

/// Runs user code and catches its panic. `AssertUnwindSafe` holds because nothing of the runtime is borrowed (R1): only
/// the user's own state can be left half done.
pub(crate) fn catch<T>(run: impl FnOnce() -> T) -> Result<T, Box<dyn Any + Send>> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run))
}

/// Gives up the payload of a panic in a payload's destructor: strings are freed, and anything else is leaked, because
/// its destructor could panic again, without end.
fn give_up(payload: Box<dyn Any + Send>) {
    if !payload.is::<&'static str>() && !payload.is::<String>() {
        std::mem::forget(payload);
    }
}
