//! Operations on sockets of every kind: connecting, accepting, and describing an address in an error message.

mod accept;
mod connect;
mod describe;

pub(crate) use accept::{Accept, Accepted, Arrived};
pub(crate) use connect::Connect;
pub(crate) use describe::describe;
pub(super) use describe::with_peer;
