//! A request that does nothing: the minimum cost of an operation.

use super::operation::operation;
use super::{Entry, Op, Opcode, Operation};

/// The operation of [`nop`]: `IORING_OP_NOP`.
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
/// Nothing is lost: the request does nothing.
// Test: tests/operations/lifecycle.rs
pub fn nop() -> Op<Nop> {
    Op::new(Nop(()))
}

// SAFETY: the entry has no address and no descriptor.
unsafe impl Operation for Nop {
    operation!(simple "nop");
    const EINTR_HAD_NO_EFFECT: bool = true;

    #[inline]
    fn entry(&mut self) -> Entry {
        Entry::new(Opcode::NOP)
    }
}
