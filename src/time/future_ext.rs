//! Methods for every future: timeout, deadline and shield.

use super::{
    Instant, Timeout, TimeoutAny, TryFuture, timeout, timeout_any, timeout_any_at, timeout_at,
};
use crate::cancel::{Shield, shield};
use std::time::Duration;

/// Adds timeouts and shields to any future as methods: `fs::read(path).timeout(limit).await?`.
///
/// Operations have their own [`timeout`](crate::op::Op::timeout), which costs less and returns the buffer.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::cancel::Scope;
/// use gimmal::prelude::*;
/// use std::time::Duration;
///
/// gimmal::run(async {
///     let scope = Scope::new();
///     scope.cancel();
///     // Cleanup that a cancel does not cut short, and that does not take forever.
///     let cleanup = gimmal::fs::read("Cargo.toml").timeout(Duration::from_secs(5)).shield();
///     let text = scope.run_any(cleanup).await??;
///     assert!(text.starts_with(b"[package]"));
///     Ok(())
/// })
/// # }
/// ```
pub trait FutureExt: Future + Sized {
    /// Limits the future to `duration`, counted from its first poll: see [`timeout`](crate::time::timeout()).
    ///
    /// ```
    /// use gimmal::prelude::*;
    /// use std::time::Duration;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gimmal::run(async {
    ///     let text = gimmal::fs::read_to_string("Cargo.toml").timeout(Duration::from_secs(5)).await?;
    ///     assert!(text.contains("[package]"));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    fn timeout(self, duration: Duration) -> Timeout<Self>
    where
        Self: TryFuture,
    {
        timeout(duration, self)
    }

    /// Limits the future until `deadline`: see [`timeout_at`](crate::time::timeout_at).
    fn deadline(self, deadline: Instant) -> Timeout<Self>
    where
        Self: TryFuture,
    {
        timeout_at(deadline, self)
    }

    /// Limits a future whose output is not a `Result`: see [`timeout_any`](crate::time::timeout_any).
    ///
    /// ```
    /// use gimmal::prelude::*;
    /// use std::time::Duration;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gimmal::run(async {
    ///     let waits = std::future::pending::<u8>();
    ///     assert!(waits.timeout_any(Duration::from_millis(1)).await.unwrap_err().is_elapsed());
    ///     Ok(())
    /// })
    /// # }
    /// ```
    fn timeout_any(self, duration: Duration) -> TimeoutAny<Self> {
        timeout_any(duration, self)
    }

    /// Limits a future whose output is not a `Result` until `deadline`: see
    /// [`timeout_any_at`](crate::time::timeout_any_at).
    fn deadline_any(self, deadline: Instant) -> TimeoutAny<Self> {
        timeout_any_at(deadline, self)
    }

    /// Runs the future to completion even if the scope is canceled: see [`shield`](crate::cancel::shield()).
    fn shield(self) -> Shield<Self> {
        shield(self)
    }
}

impl<F: Future> FutureExt for F {}
