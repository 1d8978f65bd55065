//! What every future gets: a time, and a shield.

use super::{Instant, Timeout, timeout, timeout_at};
use crate::cancel::{Shield, shield};
use std::time::Duration;

/// A time and a shield for any future, behind a dot: `fs::read(path).timeout(limit).await?`.
///
/// Operations have a [`timeout`](crate::op::Op::timeout) of their own, which costs less and gives the buffer back.
pub trait InScope: Future + Sized {
    /// Gives it so much time, counted from its first poll: [`timeout`](crate::time::timeout()).
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

    /// Gives it time until this moment: [`timeout_at`](crate::time::timeout_at).
    fn deadline<T, E>(self, deadline: Instant) -> Timeout<Self>
    where
        Self: Future<Output = Result<T, E>>,
    {
        timeout_at(deadline, self)
    }

    /// Runs it to its end even if the scope is canceled: [`shield`](crate::cancel::shield()).
    fn shield(self) -> Shield<Self> {
        shield(self)
    }
}

impl<F: Future> InScope for F {}
