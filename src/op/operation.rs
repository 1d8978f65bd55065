//! The contract between an operation and the runtime: what the operation promises about the memory it lends, and what
//! the runtime calls, in which order.
//!
//! An operation of this crate is a type in the folder of what it works on (see `file/fsync.rs`). "Add an operation" in
//! CONTRIBUTING.md lists what else there is to edit.

use super::file::AtCursor;
use super::{Completion, Entry, SharedFd};
use std::io;
use std::task::Waker;

/// A request to the kernel that owns all the memory it lends.
///
/// ```
/// use gimmal::op::{Completion, Entry, Op, Opcode, Operation};
/// use std::ffi::CString;
/// use std::io;
/// use std::os::unix::ffi::OsStrExt;
///
/// /// Removes a file: `unlinkat`, which has an opcode since Linux 5.11.
/// struct Unlink {
///     path: CString,
/// }
///
/// // SAFETY: the path is an allocation of its own, which stays in place while the `CString` moves, and which nothing
/// // writes. There is one completion, and it hands over nothing.
/// unsafe impl Operation for Unlink {
///     type Output = io::Result<()>;
///     const NAME: &'static str = "unlink";
///
///     fn entry(&mut self) -> Entry {
///         Entry::new(Opcode::new(36)).fd(libc::AT_FDCWD).addr(self.path.as_ptr())
///     }
///
///     fn complete(self, completion: Completion) -> io::Result<()> {
///         completion.result().map(drop)
///     }
///
///     fn fail(self, error: io::Error) -> io::Result<()> {
///         Err(error)
///     }
///
///     fn dispose(&mut self, _: Completion) {}
/// }
///
/// # fn main() -> io::Result<()> {
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("file");
/// gimmal::run(async {
///     gimmal::fs::write(&path, "").await?;
///     let name = CString::new(path.as_os_str().as_bytes())?;
///     Op::new(Unlink { path: name }).await?;
///     assert!(!path.exists());
///     Ok(())
/// })
/// # }
/// ```
///
/// # Safety
///
/// The implementation promises:
///
/// 1. **Lent memory stays in place.** Every address in the [`Entry`] is valid, for the accesses its opcode makes, from
///    the call of `entry` until the operation is passed to `complete` or dropped. That also holds while the operation
///    itself is moved, and if it is forgotten and never dropped. So the memory is never inside the operation.
/// 2. **Nothing else accesses lent memory** in that time: nothing writes memory that the kernel reads, and nothing
///    reads or writes memory that the kernel writes. This binds `dispose` as well, which may be called while the kernel
///    still has the request.
/// 3. **Its descriptor stays open** in that time.
/// 4. The entry posts exactly one completion without `IORING_CQE_F_MORE`, its last. If it posts several completions,
///    the first is the result; the others go to `dispose`.
/// 5. Every descriptor or other resource that a completion hands over is taken exactly once, by `complete` or by
///    `dispose`.
pub unsafe trait Operation: Sized + 'static {
    /// The output of the future that awaits the operation.
    type Output;

    /// The operation's name in listings of pending work.
    const NAME: &'static str;

    /// Whether the operation can be rejected and canceled. Only closing cannot.
    const CANCELABLE: bool = true;

    /// Whether the kernel's interruption (EINTR, or one of its restart codes) proves that nothing happened. An
    /// interrupted operation that changes names or sizes may already have done so: it keeps the default, `false`.
    const EINTR_HAD_NO_EFFECT: bool = false;

    /// Whether the operation waits for another party, such as the peer of a socket or another process, and so may never
    /// complete. By default it ends by itself, as an operation on a file does.
    ///
    /// [Virtual time](crate::runtime::Builder::virtual_time) stands still until an operation that ends by itself has
    /// ended, and only briefly for one that waits. One on a descriptor of anything but a file or a directory always
    /// counts as waiting.
    #[inline]
    fn waits_for_peer(&self) -> bool {
        false
    }

    /// Returns the shared descriptor that the operation works on, if there is one. If the operation is dropped in
    /// flight after the descriptor's owner, the runtime enters the kernel at once to cancel it. So the descriptor is
    /// closed when the drop returns, unless the kernel does not give the operation up at once.
    fn shared_fd(&self) -> Option<&SharedFd> {
        None
    }

    /// Returns whether the operation can start now. Called before `entry`, and again after each wake of `waker`.
    ///
    /// Operations that must follow one another, such as those of one stream, wait here. Most operations can always
    /// start.
    #[inline]
    fn prepare(&mut self, waker: &Waker) -> Readiness {
        let _ = waker;
        Readiness::Start
    }

    /// Returns the request. Called once each time the operation is started.
    fn entry(&mut self) -> Entry;

    /// Describes an operation at a file's cursor, which the ring may fail to move. The runtime then notes where the
    /// cursor is right before the request goes to the ring, and moves it, if the ring did not, right before `complete`.
    #[doc(hidden)]
    #[inline]
    fn at_cursor(&self) -> Option<AtCursor<'_>> {
        None
    }

    /// Called when a direct system call ([`Entry::try_direct`]) would have blocked, so that the request goes to the
    /// ring. `is_never` means that its descriptor does not support such calls at all. An operation may remember either.
    #[inline]
    fn would_wait(&mut self, is_never: bool) {
        let _ = is_never;
    }

    /// Returns whether this error completion is not the caller's result: nothing has happened, and the operation starts
    /// again when [`prepare`](Operation::prepare) allows. Called on a poll after the last completion; of several
    /// completions, it receives the first. Returns `false` by default.
    #[inline]
    fn should_retry(&mut self, completion: Completion) -> bool {
        let _ = completion;
        false
    }

    /// Turns the completion into the output. Of several completions, it receives the first.
    fn complete(self, completion: Completion) -> Self::Output;

    /// Turns an error into the output of an operation that had no effect: it was never submitted, or it was canceled
    /// and its completion proves that nothing happened. The output returns what was lent, unchanged.
    fn fail(self, error: io::Error) -> Self::Output;

    /// Returns whether this completion proves that nothing happened: nothing was read, written, opened or consumed.
    /// Called for the result after a cancel request; without one, called for EINTR and ECANCELED, and `true` then
    /// restarts the operation.
    ///
    /// By default, ECANCELED proves it; so does an interruption, if
    /// [`EINTR_HAD_NO_EFFECT`](Operation::EINTR_HAD_NO_EFFECT).
    fn had_no_effect(&self, completion: Completion) -> bool {
        match Self::EINTR_HAD_NO_EFFECT {
            true => completion.was_interrupted(),
            false => completion.raw() == -libc::ECANCELED,
        }
    }

    /// Disposes of a completion that is no longer awaited: closes the descriptor it delivered, returns the resources it
    /// used. The operation itself is dropped after its last completion. There is no default, because an operation that
    /// forgot this would leak.
    fn dispose(&mut self, completion: Completion);
}

/// Whether an operation can be started: the result of [`Operation::prepare`].
///
/// ```
/// use gimmal::op::{Completion, Entry, Op, Opcode, Operation, Readiness};
/// use std::cell::{Cell, RefCell};
/// use std::io;
/// use std::rc::Rc;
/// use std::task::Waker;
///
/// #[derive(Default)]
/// struct Gate {
///     is_open: Cell<bool>,
///     waker: RefCell<Option<Waker>>,
/// }
///
/// /// A request that waits for the gate. One at a time, because the gate keeps one waker.
/// struct Gated(Rc<Gate>);
///
/// // SAFETY: the entry lends no memory and has no descriptor.
/// unsafe impl Operation for Gated {
///     type Output = io::Result<()>;
///     const NAME: &'static str = "gated";
///
///     fn prepare(&mut self, waker: &Waker) -> Readiness {
///         if self.0.is_open.get() {
///             return Readiness::Start;
///         }
///         self.0.waker.replace(Some(waker.clone()));
///         Readiness::Wait
///     }
///
///     fn entry(&mut self) -> Entry {
///         Entry::new(Opcode::NOP)
///     }
/// #
/// #     fn complete(self, completion: Completion) -> io::Result<()> {
/// #         completion.result().map(drop)
/// #     }
/// #
/// #     fn fail(self, error: io::Error) -> io::Result<()> {
/// #         Err(error)
/// #     }
/// #
/// #     fn dispose(&mut self, _: Completion) {}
///     // …
/// }
///
/// # fn main() -> io::Result<()> {
/// gimmal::run(async {
///     let gate = Rc::new(Gate::default());
///     let waits = gimmal::spawn(Op::new(Gated(gate.clone())));
///     gimmal::yield_now().await;
///     assert!(!waits.is_finished());
///     gate.is_open.set(true);
///     if let Some(waker) = gate.waker.take() {
///         waker.wake();
///     }
///     waits.await?
/// })
/// # }
/// ```
#[derive(Debug)]
pub enum Readiness {
    /// Submit it to the kernel.
    Start,
    /// Not yet. The operation has kept the waker and wakes it when `prepare` is to be called again.
    Wait,
    /// Complete it with this completion, without the kernel.
    Done(Completion),
    /// Fail it with this error: it cannot be started.
    Failed(io::Error),
}

/// The items that most operations spell alike. Each use names the operation and its output.
macro_rules! operation {
    // Returns nothing but success, and no completion leaves anything to dispose of.
    (simple $name:literal) => {
        operation!($name -> std::io::Result<()>);

        #[inline]
        fn complete(self, completion: crate::op::Completion) -> std::io::Result<()> {
            completion.result().map(drop)
        }

        fn dispose(&mut self, _: crate::op::Completion) {}
    };
    ($name:literal -> $output:ty) => {
        type Output = $output;
        const NAME: &'static str = $name;

        fn fail(self, error: std::io::Error) -> Self::Output {
            Err(error)
        }
    };
    // Gives back what this field lends, whatever happens.
    ($name:expr, lends $lent:ident -> $output:ty) => {
        type Output = $output;
        const NAME: &'static str = $name;

        fn fail(self, error: std::io::Error) -> Self::Output {
            Err(crate::buf::BufError::new(error, self.$lent.into_bufs()))
        }
    };
}

/// Forwards to the operation in a field all that neither consumes it nor returns its output.
macro_rules! forward_operation {
    ($inner:tt) => {
        #[inline]
        fn waits_for_peer(&self) -> bool {
            self.$inner.waits_for_peer()
        }

        fn shared_fd(&self) -> Option<&crate::op::SharedFd> {
            self.$inner.shared_fd()
        }

        #[inline]
        fn prepare(&mut self, waker: &std::task::Waker) -> crate::op::Readiness {
            self.$inner.prepare(waker)
        }

        #[inline]
        fn entry(&mut self) -> crate::op::Entry {
            self.$inner.entry()
        }

        #[inline]
        fn at_cursor(&self) -> Option<crate::op::file::AtCursor<'_>> {
            self.$inner.at_cursor()
        }

        fn should_retry(&mut self, completion: crate::op::Completion) -> bool {
            self.$inner.should_retry(completion)
        }

        fn had_no_effect(&self, completion: crate::op::Completion) -> bool {
            self.$inner.had_no_effect(completion)
        }

        fn dispose(&mut self, completion: crate::op::Completion) {
            self.$inner.dispose(completion);
        }
    };
}

/// Implements `Debug` for an operation by some of its fields: the memory that it lends is never read (B3).
macro_rules! debug_fields {
    ($([$($bounds:tt)*])? $type:ident $(<$($parameter:ident),+>)? { $($field:ident),+ }) => {
        impl $(<$($bounds)*>)? std::fmt::Debug for $type $(<$($parameter),+>)? {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($type))
                    $(.field(stringify!($field), &self.$field))+
                    .finish_non_exhaustive()
            }
        }
    };
}

pub(super) use {debug_fields, forward_operation, operation};
