//! Methods for every future: timeout, deadline and shield.

use super::{Instant, Timeout, timeout, timeout_at};
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
    fn timeout<T, E>(self, duration: Duration) -> Timeout<Self>
    where
        Self: Future<Output = Result<T, E>>,
    {
        timeout(duration, self)
    }

    /// Limits the future until `deadline`: see [`timeout_at`](crate::time::timeout_at).
    fn deadline<T, E>(self, deadline: Instant) -> Timeout<Self>
    where
        Self: Future<Output = Result<T, E>>,
    {
        timeout_at(deadline, self)
    }

    /// Runs the future to completion even if the scope is canceled: see [`shield`](crate::cancel::shield()).
    fn shield(self) -> Shield<Self> {
        shield(self)
    }
}

impl<F: Future> FutureExt for F {}
