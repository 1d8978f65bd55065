//! A request that does nothing: the minimum cost of an operation.

use super::{Completion, Entry, Op, Opcode, Operation};
use std::io;

/// A request that does nothing: `IORING_OP_NOP`.
#[derive(Debug)]
pub struct Nop(());

/// Sends the kernel a request that does nothing, and awaits its completion.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async { gimmal::op::nop().await })
/// # }
/// ```
///
/// # Errors
///
/// Only [`Canceled`](crate::Canceled).
///
/// # Cancel safety
///
/// There is nothing to lose.
// Test: tests/operations.rs
pub fn nop() -> Op<Nop> {
    Op::new(Nop(()))
}

// SAFETY: the entry has no address and no descriptor.
unsafe impl Operation for Nop {
    type Output = io::Result<()>;
    const NAME: &'static str = "nop";
    const EINTR_HAD_NO_EFFECT: bool = true;

    #[inline]
    fn entry(&mut self) -> Entry {
        Entry::new(Opcode::NOP)
    }

    #[inline]
    fn complete(self, completion: Completion) -> io::Result<()> {
        completion.result().map(drop)
    }

    fn fail(self, error: io::Error) -> io::Result<()> {
        Err(error)
    }

    fn dispose(&mut self, _: Completion) {}
}
