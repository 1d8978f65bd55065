//! Waiting for Ctrl-C.
//!
//! [`ctrl_c`] waits for it once. Who waits for it again and again makes a [`CtrlC`], which also counts what arrives between
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
//! The first listener of the process installs a handler for SIGINT, **which stays**: from then on SIGINT does not end the
//! process by itself, also when there is no listener any more, and also if it was ignored before. A program that has
//! stopped listening and shall end on Ctrl-C must see to that itself.
//!
//! A handler that was installed before still runs, ahead of the listeners. One that is installed later, other than by the
//! crate signal-hook-registry, takes the place of this one, and the listeners hear nothing more.
//!
//! A child made by `fork` inherits the handler: a SIGINT does not end it either, and is told only to listeners that it has
//! made itself, never to its parent. The listeners of its parent are not for it to use. Programs that are started (`exec`)
//! begin with the default.

use crate::op::{PollAdd, SharedFd};
use crate::sys::{Caught, EventFd};
use std::fmt;
use std::io;

/// Waits for the next SIGINT, which is what Ctrl-C in a terminal sends.
///
/// It listens from its first poll on, and as long as it is there. Whoever waits for it in a loop uses a [`CtrlC`] instead:
/// between two calls of this function nobody listens.
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
/// Outside of a runtime.
///
/// # Cancel safety
///
/// A wait that is dropped listens no more: a SIGINT that had arrived by then is lost, and so is one that arrives later. Of a
/// [`CtrlC`] none is (`tests/signal.rs`).
pub async fn ctrl_c() -> io::Result<()> {
    CtrlC::new()?.recv().await
}

/// Listens for SIGINT from when it is made until it is dropped. Every listener gets every signal.
///
/// Each signal that the process handles counts. (The kernel itself merges those that arrive while one is already pending,
/// so a quick series may be fewer than were sent, but at least one.) It takes two descriptors.
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
    /// Listens from now on. It needs no runtime.
    ///
    /// The first one of a process changes what SIGINT does, for good: see [the module](self#what-becomes-of-sigint).
    ///
    /// # Errors
    ///
    /// If there is no descriptor left (`EMFILE`, `ENFILE`).
    pub fn new() -> io::Result<CtrlC> {
        let (caught, descriptor) = Caught::new(libc::SIGINT)?;
        Ok(CtrlC {
            fd: SharedFd::new(descriptor),
            _caught: caught,
        })
    }

    /// Waits for the next SIGINT. One that arrived since the listener was made, and was not received, is the next.
    ///
    /// # Errors
    ///
    /// [`Canceled`](crate::Canceled), and the signal is still to be received; what the kernel says of a poll.
    ///
    /// # Panics
    ///
    /// Outside of a runtime.
    ///
    /// # Cancel safety
    ///
    /// A wait that is dropped or canceled takes no signal: the next one gets it (`tests/signal.rs`).
    pub async fn recv(&mut self) -> io::Result<()> {
        loop {
            PollAdd::readable(self.fd.clone()).await?;
            // In a child made by fork there are two who take from the same counter.
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
