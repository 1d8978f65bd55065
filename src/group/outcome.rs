//! What a child, or a task that is detached, may return.

use crate::error::is_cancellation;
use crate::runtime::task::JoinHandle;
use std::fmt::Display;

/// The output of an endless loop: `!`, which cannot be named on stable Rust except as the return type of a function
/// pointer.
type Never = <fn() -> ! as Returns>::Output;

/// The return type of a function pointer.
#[doc(hidden)]
pub trait Returns {
    /// The return type.
    type Output;
}

impl<O> Returns for fn() -> O {
    type Output = O;
}

/// The output of a group's child: `()`, `!`, or a `Result` with the group's error type.
///
/// ```
/// use gimmal::group::{Child, Group, Outcome};
///
/// /// Starts two children that do the same.
/// fn twice<'scope, F, E>(
///     g: &'scope Group<'scope, '_, E>,
///     start: impl Fn() -> F,
/// ) -> [Child<'scope, <F::Output as Outcome<E>>::Value>; 2]
/// where
///     F: Future<Output: Outcome<E>> + 'scope,
/// {
///     [g.spawn(start()), g.spawn(start())]
/// }
///
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let lengths = gimmal::group(async |g| {
///         let [one, two] = twice(g, || gimmal::fs::read("Cargo.toml"));
///         twice(g, || async { /* This one returns nothing. */ });
///         Ok((one.await?.len(), two.await?.len()))
///     })
///     .await?;
///     assert_eq!(lengths.0, lengths.1);
///     Ok::<_, std::io::Error>(())
/// })
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "a child of a group cannot return `{Self}`",
    label = "the output is `{Self}`",
    note = "a child returns `()` or a `Result` with the group's error type: for another value, return `Ok(value)`"
)]
pub trait Outcome<E> {
    /// The value that the child's handle returns.
    type Value;

    /// Converts the output into the value or the failure.
    ///
    /// # Errors
    ///
    /// The child's failure.
    fn into_result(self) -> Result<Self::Value, E>;
}

impl<E> Outcome<E> for () {
    type Value = ();

    fn into_result(self) -> Result<(), E> {
        Ok(())
    }
}

impl<E> Outcome<E> for Never {
    type Value = Never;

    fn into_result(self) -> Result<Never, E> {
        self
    }
}

impl<T, E> Outcome<E> for Result<T, E> {
    type Value = T;

    fn into_result(self) -> Result<T, E> {
        self
    }
}

/// The output of a [`Supervisor`](super::Supervisor)'s child, or of a task that is
/// [detached](crate::task::JoinHandle::detach): `()`, `!`, or a `Result` whose error can be displayed.
///
/// ```
/// use gimmal::group::{Report, Supervisor};
/// use std::io;
///
/// /// Starts a child whose failure nobody awaits.
/// fn start<'scope, F>(s: &'scope Supervisor<'scope, '_>, name: &str, child: F)
/// where
///     F: Future<Output: Report> + 'scope,
/// {
///     drop(s.spawn_named(name, child));
/// }
///
/// # fn main() -> io::Result<()> {
/// let (sender, reports) = std::sync::mpsc::channel();
/// let builder = gimmal::Runtime::builder().on_fault(move |fault| {
///     let _ = sender.send(fault.to_string());
/// });
/// builder.run(async {
///     gimmal::supervise(async |s| {
///         start(s, "reader", gimmal::fs::read("no/such/file"));
///         start(s, "idler", async {});
///         Ok::<_, io::Error>(())
///     })
///     .await?;
///     io::Result::Ok(())
/// })?;
/// let report = reports.recv().unwrap_or_default();
/// assert!(report.contains("reader") && report.contains("no/such/file"), "{report}");
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither `()` nor a `Result` whose error can be displayed",
    label = "the output is `{Self}`",
    note = "supervised children, connection handlers and detached tasks return one of these, so that their failures can \
            be reported: for another value, return `Ok(value)`"
)]
pub trait Report {
    /// Returns a description of the failure, if there is one.
    fn failure(&self) -> Option<String>;

    /// Whether the failure is a cancellation rather than an error of its own. `None` if there is no failure, or its
    /// type cannot tell.
    fn is_canceled(&self) -> Option<bool> {
        None
    }
}

impl Report for () {
    fn failure(&self) -> Option<String> {
        None
    }
}

impl Report for Never {
    fn failure(&self) -> Option<String> {
        *self
    }
}

impl<T, E: Display> Report for Result<T, E> {
    fn failure(&self) -> Option<String> {
        self.as_ref().err().map(ToString::to_string)
    }

    fn is_canceled(&self) -> Option<bool> {
        is_cancellation(self.as_ref().err()?)
    }
}

/// Describes the failure, unless the task was only cut short.
pub(super) fn failure<O: Report>(output: &O, cut_short: bool) -> Option<String> {
    match cut_short && output.is_canceled() == Some(true) {
        true => None,
        false => output.failure(),
    }
}

impl<O> JoinHandle<O> {
    /// Lets the task run on without a handle. If it ends with an error, that is reported to the hook
    /// ([`Fault::TaskFailed`](crate::runtime::Fault), [`Builder::on_fault`](crate::runtime::Builder::on_fault)), which
    /// logs it by default. If the handle is dropped instead, an error is dropped with the output.
    ///
    /// An error that comes from a cancellation ([`is_canceled`](crate::is_canceled) is true of it) is not reported: tasks
    /// that are left when [`run`](crate::run) ends are canceled. An error of your own type cannot be asked, and is
    /// reported.
    ///
    /// ```
    /// use gimmal::fs;
    /// use std::sync::mpsc;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let (sender, faults) = mpsc::channel();
    /// let builder = gimmal::Runtime::builder().on_fault(move |fault| drop(sender.send(fault.to_string())));
    /// builder.run(async {
    ///     gimmal::spawn(fs::write("no/such/directory/log", "started")).detach();
    ///     let fault = loop {
    ///         match faults.try_recv() {
    ///             Ok(fault) => break fault,
    ///             Err(_) => gimmal::yield_now().await,
    ///         }
    ///     };
    ///     assert!(fault.contains("no/such/directory/log"));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn detach(self)
    where
        O: Report + 'static,
    {
        self.detach_with(|output| failure(output.downcast_ref::<Option<O>>()?.as_ref()?, true));
    }
}
