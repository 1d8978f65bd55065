//! Operations on datagram sockets: messages with addresses and ancillary data.
//!
//! The operations on one socket share what they must agree on: the order of operations, and a datagram that was
//! received but not yet returned (`shared.rs`).

mod control;
mod header;
mod message;
mod recv_message;
mod send_message;
mod shared;
mod with_fds;

pub(super) use control::fds_control;
pub(crate) use control::{ControlMessages, push_control};
pub(super) use header::{Header, MessageHeader};
pub use message::FromMessage;
pub(crate) use message::Message;
pub(super) use message::{fds_cut, fds_room};
pub use recv_message::RecvMessage;
pub use send_message::{SendMessage, SendMessageFds};
pub(crate) use shared::Datagrams;
pub(super) use with_fds::WithFds;
