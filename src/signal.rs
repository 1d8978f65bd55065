//! Waiting for Ctrl-C.
//!
//! [`ctrl_c`] waits for it once. To wait repeatedly, create a [`CtrlC`], which also counts signals that arrive between
//! two waits.
//!
//! ```no_run
//! # fn main() -> std::io::Result<()> {
//! gimmal::run(async {
//!     let server = gimmal::spawn(async { /* … */ });
//!     gimmal::signal::ctrl_c().await?;
//!     server.abort();
//!     Ok(())
//! })
//! # }
//! ```
//!
//! # What becomes of SIGINT
//!
//! The first listener of the process installs a handler for SIGINT, **which stays**: from then on SIGINT does not end
//! the process by itself, even when no listener is left, and even if it was ignored before. A program that has stopped
//! listening and should end on Ctrl-C must arrange that itself.
//!
//! A handler that was installed before still runs, ahead of the listeners. One that is installed later, other than by
//! the crate signal-hook-registry, replaces this one, and the listeners receive no more signals.
//!
//! A child process created by `fork` inherits the handler: a SIGINT does not end it either, and reaches only the
//! listeners that the child has created itself, never the parent's. The child must not use its parent's listeners.
//! Programs started by `exec` begin with the default action.

use crate::op::{PollAdd, SharedFd};
use crate::sys::{Caught, EventFd};
use std::fmt;
use std::io;

/// Waits for the next SIGINT, which is what Ctrl-C in a terminal sends.
///
/// The future listens from its first poll until it is dropped. To wait in a loop, use a [`CtrlC`] instead: between two
/// calls of this function, nothing listens.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     # gimmal::spawn(async {
///     #     let own = std::process::id().to_string();
///     #     std::process::Command::new("kill").args(["-INT", &own]).status()
///     # });
///     gimmal::signal::ctrl_c().await?;
///     // Time to clean up.
///     Ok(())
/// })
/// # }
/// ```
///
/// # Errors
///
/// Those of [`CtrlC::new`] and of [`CtrlC::recv`].
///
/// # Panics
///
/// If called outside of a runtime.
///
/// # Cancel safety
///
/// A dropped or canceled wait stops listening: a SIGINT that has arrived by then is lost, and so is one that arrives
/// later. A [`CtrlC`] loses none.
// Test: tests/runtime/signals.rs
pub async fn ctrl_c() -> io::Result<()> {
    CtrlC::new()?.recv().await
}

/// A listener for SIGINT, from its creation until it is dropped. Every listener gets every signal.
///
/// Each signal that the process handles is counted. (The kernel merges signals that arrive while one is already
/// pending, so of a quick series fewer may arrive than were sent, but at least one.) A listener uses two descriptors.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let mut interrupts = gimmal::signal::CtrlC::new()?;
/// gimmal::run(async {
///     // As if somebody pressed Ctrl-C.
///     let own = std::process::id().to_string();
///     std::process::Command::new("kill").args(["-INT", &own]).status()?;
///     interrupts.recv().await
/// })
/// # }
/// ```
pub struct CtrlC {
    fd: SharedFd,
    _caught: Caught,
}

impl CtrlC {
    /// Creates a listener, which listens from now on. Needs no runtime.
    ///
    /// The first listener of a process permanently changes what SIGINT does: see [the
    /// module](self#what-becomes-of-sigint).
    ///
    /// # Errors
    ///
    /// If no descriptor is left (`EMFILE`, `ENFILE`).
    pub fn new() -> io::Result<CtrlC> {
        let (caught, descriptor) = Caught::new(libc::SIGINT)?;
        Ok(CtrlC {
            fd: SharedFd::new(descriptor),
            _caught: caught,
        })
    }

    /// Waits for the next SIGINT. A signal that has arrived since the listener was created and was not received counts.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use std::time::Duration;
    ///
    /// gimmal::run(async {
    ///     let mut interrupts = gimmal::signal::CtrlC::new()?;
    ///     let waited = gimmal::timeout(Duration::from_millis(1), interrupts.recv()).await;
    ///     assert!(gimmal::is_timeout(&waited.unwrap_err()));
    ///     # // The kernel merges signals that are pending.
    ///     for _ in 0..2 {
    ///         // As if somebody pressed Ctrl-C.
    ///         let own = std::process::id().to_string();
    ///         std::process::Command::new("kill").args(["-INT", &own]).status()?;
    ///         interrupts.recv().await?;
    ///     }
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Canceled`](crate::Canceled), after which the signal can still be received.
    ///
    /// # Panics
    ///
    /// If called outside of a runtime.
    ///
    /// # Cancel safety
    ///
    /// No signal is lost: one that a dropped or canceled wait has waited for goes to the next wait.
    // Test: tests/runtime/signals.rs
    pub async fn recv(&mut self) -> io::Result<()> {
        loop {
            PollAdd::readable(self.fd.clone()).await?;
            // After a fork, two processes take from the same counter.
            if EventFd::take_one(self.fd.descriptor())? {
                return Ok(());
            }
        }
    }
}

impl fmt::Debug for CtrlC {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CtrlC").finish_non_exhaustive()
    }
}
