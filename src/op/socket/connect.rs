//! Connecting a socket.

use crate::op::operation::{debug_fields, operation};
use crate::op::{Completion, Entry, Op, Opcode, Operation, SharedFd};
use socket2::SockAddr;
use std::io;

/// Connects a socket to an address: `connect(2)`. The operation owns the socket and closes it unless it succeeds: a
/// connection that is established after a cancel is never returned (C4).
pub(crate) struct Connect {
    socket: SharedFd,
    /// An allocation of its own (O2).
    address: Box<SockAddr>,
}

impl Connect {
    pub(crate) fn new(socket: SharedFd, address: SockAddr) -> Op<Connect> {
        socket.set_ownerless(true);
        Op::new(Connect {
            socket,
            address: Box::new(address),
        })
    }
}

// SAFETY: the address is a boxed allocation of its own, which nothing writes. The operation holds the descriptor (O5).
unsafe impl Operation for Connect {
    operation!("connect" -> io::Result<SharedFd>);

    #[inline]
    fn waits_for_peer(&self) -> bool {
        true
    }

    fn shared_fd(&self) -> Option<&SharedFd> {
        Some(&self.socket)
    }

    fn entry(&mut self) -> Entry {
        // `connect` passes the length of the address in the offset field.
        self.socket
            .entry(Opcode::CONNECT)
            .addr(self.address.as_ptr())
            .offset(u64::from(self.address.len()))
    }

    fn complete(self, completion: Completion) -> Self::Output {
        completion.result().map(|_| self.socket)
    }

    /// Nothing else holds the socket: whatever happened, closing it leaves nothing behind.
    fn had_no_effect(&self, completion: Completion) -> bool {
        completion.raw() == 0
            || completion.was_interrupted()
            || completion.raw() == -libc::EINPROGRESS
    }

    /// The socket closes with the operation.
    fn dispose(&mut self, _: Completion) {}
}

debug_fields!(Connect { socket });
